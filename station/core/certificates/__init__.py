"""What a certificate contains, and who signed it: facts that depend on nothing else.

`facts` has the types. `parser` reads them from a certificate with `cryptography`, a library of 11
MiB. `known_facts` keeps what was read; the running station lets another process read it before a
decision needs it (`station.runtime.crypto`). Otherwise `known_facts` calls the parser itself.
"""
