"""Is everything the station acknowledged still there after a power cut?

`syscalls` watches a process, `recording` keeps what it did to its files, `session` is what it did,
`disk` makes the images a power cut can leave of that, `reference` knows what each of them must
hold, `boot` opens one and goes on from it, `sweep` does so for many and counts.
"""
