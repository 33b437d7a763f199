"""Journals from stations in simulated worlds, and what is true of them.

    python -m tests.history.fleet --journals 200 --seed 0

makes so many journals of each sort and asks the command line about them: why did it stop, why was
the card refused, why is it Unavailable, why was this sent twice? Each answer is compared with what
the world knows: the people, the devices, the wire and the CSMS, never the journal itself.
"""
