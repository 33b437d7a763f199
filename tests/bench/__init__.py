"""Speed and size of the station, compared with the limit of the machine and with other software.

`make bench` measures the rows of `RESULTS.md` in one run, in pairs, and marks the goals that are
missed. Absolute times mean little on a shared machine; ratios within one run do. `RESULTS.md` has
the method, the figures of the last whole run with its date, and why goals are missed.
"""
