"""Journals from stations in simulated worlds, and what is true of them.

    make questions JOURNALS=80 SEED=0

makes so many journals of each sort and asks the command line about them: why did it stop, why was
the card refused, why is it Unavailable, why was this sent twice? Each answer is compared with what
the world knows: the people, the devices, the wire and the CSMS, never the journal itself.

`scenes` puts days together out of `stops`, `refusals`, `outages` and `deliveries`, whose questions
and answers are known beforehand; `storms` asks about worlds in which everything goes wrong at once.
"""
