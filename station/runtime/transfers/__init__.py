"""How does a file come from a URL the CSMS names, and how does one get there?

`download` for firmware (L01, L02), `upload` for logs (N01); `http`, `ftp` and `sftp` each speak one
family of protocols, `transfer` has what they share: attempts, pauses, the end of it.
"""

from station.runtime.transfers.partial_download import discard_partial
from station.runtime.transfers.results import ProgressCallback, TransferFailed, TransferLimits
from station.runtime.transfers.retry import create_tls_context, download_file, upload_file
from station.runtime.transfers.url import SCHEMES

__all__ = [
    "SCHEMES",
    "ProgressCallback",
    "TransferFailed",
    "TransferLimits",
    "create_tls_context",
    "discard_partial",
    "download_file",
    "upload_file",
]
