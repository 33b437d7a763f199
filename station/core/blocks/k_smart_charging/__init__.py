"""Smart charging. Block K.

`schedule.py` combines limits over time, `limits.py` collects those that apply from the state.
K15 to K17, schedules negotiated with the EV, are not in it.
"""
