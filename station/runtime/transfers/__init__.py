"""File transfers: downloads of firmware (L01, L02) and uploads of logs (N01).

`http`, `ftp` and `sftp` have one family of protocols each; `retry` has the attempts and the pauses
between them, which all protocols share.
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
