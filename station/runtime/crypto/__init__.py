"""Work with keys and certificates in a process of its own, which ends when it is done.

`cryptography` takes 11 MiB, which would stay in the station. `process` is what the station calls.
It runs `program`, which imports the library. `frame_certificates` has what a received frame needs.
"""
