"""TCP connections of FTP and SFTP."""

from __future__ import annotations

import socket

from station.runtime.transfers.results import TransferLimits
from station.runtime.transfers.url import TransferUrl


def open_connection(url: TransferUrl, limits: TransferLimits) -> socket.socket:
    """A connection to the first address of the host that accepts. Blocks. Raises TransferFailed."""
    try:
        return connect_address((url.host, url.port), limits)
    except TimeoutError:
        raise url.transfer_error(f"no connection within {limits.connect_timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:  # the latter: a host name that cannot be encoded
        raise url.transfer_error(f"no connection: {error}") from error


def connect_address(address: tuple[str, int], limits: TransferLimits) -> socket.socket:
    """A connection whose reads and writes end after `stall_timeout_s`. Blocks. Raises OSError."""
    connection = socket.create_connection(address, limits.connect_timeout_s)
    connection.settimeout(limits.stall_timeout_s)
    return connection
