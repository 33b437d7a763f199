"""How fast and how small is the station, beside the machine's own limit and a peer?

`make bench` measures the rows of the README's table in one run, in pairs, and says which goals are
missed. Absolute times mean little on a shared machine; ratios within a run do.
"""
