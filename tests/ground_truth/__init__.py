"""Journals from stations in simulated worlds, and what is true of them.

    make questions JOURNALS=80 SEED=0

makes so many journals of each sort and runs the commands on them: why did a transaction stop, why
was a card refused, why is an EVSE Unavailable, why was a message sent twice? Each answer is
compared with what happened outside the station (EV drivers, devices, network, CSMS), never with the
journal itself.

`days` builds days from the scenes of `stops`, `refusals`, `outages` and `deliveries`; each scene
has its questions and their expected answers, which `scene_checks` compares. `world_checks` checks
the answers about worlds with random faults, where no answer is known beforehand: each given reason
must be true of that world. `recorded_run` runs a plan and records what happens outside.
"""
