"""How does a file come from a URL the CSMS names, and how does one get there?

`download` for firmware (L01, L02), `upload` for logs (N01); `http`, `ftp` and `sftp` each speak one
family of protocols, `transfer` has what they share: attempts, pauses, the end of it.
"""

from station.runtime.transfers.partial import discard
from station.runtime.transfers.target import SCHEMES
from station.runtime.transfers.terms import Limits, Progress, TransferFailed
from station.runtime.transfers.transfer import download, trust_of, upload

__all__ = [
    "SCHEMES",
    "Limits",
    "Progress",
    "TransferFailed",
    "discard",
    "download",
    "trust_of",
    "upload",
]
