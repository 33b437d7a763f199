"""The pages of a station: EV driver's display, operators' page, metrics. A process of its own.

It reads the journal and asks the control socket; the station never imports it. Needs the extra
`page`.
"""
