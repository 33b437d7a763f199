"""Transfers over SFTP.

* An interrupted transfer continues at its byte, in both directions.
* OCPP has no way to give a station the host keys of file servers. So every host key is accepted and
  its fingerprint is logged: SFTP protects against eavesdroppers, not against impostors. A firmware
  image is protected by its signature; for logs that need more, use HTTPS or FTPS.

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import logging
import stat
from collections.abc import Iterator
from typing import Final

import paramiko

from station.runtime.transfers.connect import open_connection
from station.runtime.transfers.partial_download import PartialDownload
from station.runtime.transfers.results import TransferLimits, TransferOptions
from station.runtime.transfers.upload_source import UploadSource
from station.runtime.transfers.url import TransferUrl

REQUEST_BYTES: Final = 32 * 1024  # of one SFTP request

# It logs tracebacks of errors that become one line of the result here.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def fetch_file(url: TransferUrl, download: PartialDownload, options: TransferOptions) -> None:
    """Download the missing part of the file. Raises TransferFailed."""
    with _open_session(url, options) as client:
        _receive_file(client, _remote_path(url), download)
    if download.received_bytes != download.total_bytes:
        raise url.transfer_error(
            f"received {download.received_bytes} of {download.total_bytes} bytes"
        )


def send_file(url: TransferUrl, upload_source: UploadSource, options: TransferOptions) -> None:
    """Upload the part of the file that the server lacks. Raises TransferFailed."""
    with _open_session(url, options) as client:
        path = _upload_path(client, _remote_path(url), upload_source.name)
        _store_file(client, path, upload_source)
        stored_bytes = client.stat(path).st_size
    if stored_bytes != upload_source.size_bytes:
        raise url.transfer_error(
            f"the server stored {stored_bytes} of {upload_source.size_bytes} bytes"
        )


def _receive_file(client: paramiko.SFTPClient, path: str, download: PartialDownload) -> None:
    file = client.open(path, "rb")
    attributes = file.stat()
    validator = f"{attributes.st_size} {attributes.st_mtime}" if attributes.st_mtime else ""
    if download.is_resumable and download.validator == validator:
        file.seek(download.received_bytes)
    else:
        download.start_from_zero(attributes.st_size, validator)
    while chunk := file.read(REQUEST_BYTES):
        download.append(chunk)
    file.close()  # it waits for a response; after a failure the end of the session closes the file


def _store_file(client: paramiko.SFTPClient, path: str, upload_source: UploadSource) -> None:
    """Write one chunk at a time: of several under way the first may fail and leave a hole."""
    offset = (
        min(_file_size(client, path), upload_source.sent_bytes) if upload_source.sent_bytes else 0
    )
    with upload_source.open() as source:
        file = client.open(path, "r+b" if offset else "wb")
        file.seek(offset)
        upload_source.sent_bytes = source.seek(offset)
        while chunk := source.read(REQUEST_BYTES):
            file.write(chunk)
            upload_source.sent_bytes += len(chunk)
        file.close()  # as in _receive_file


def _remote_path(url: TransferUrl) -> str:
    """The path on the server: absolute, but /~/ is the user's home directory."""
    return url.decoded_path[2:] if url.decoded_path.startswith("~/") else "/" + url.decoded_path


def _upload_path(client: paramiko.SFTPClient, path: str, name: str) -> str:
    """The path to upload to: `name` in `path` if that is a directory, else `path`."""
    try:
        mode = client.stat(path or ".").st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        return f"{path.rstrip('/')}/{name}" if path else name
    return path


def _file_size(client: paramiko.SFTPClient, path: str) -> int:
    """Size of a file on the server; 0 if there is none."""
    try:
        return client.stat(path).st_size or 0
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _open_session(url: TransferUrl, options: TransferOptions) -> Iterator[paramiko.SFTPClient]:
    """A client that is logged in. Errors become TransferFailed."""
    limits = options.limits
    with open_connection(url, limits) as connection, _translate_errors(url, limits):
        transport = paramiko.Transport(connection)
        try:
            transport.banner_timeout = limits.connect_timeout_s
            transport.handshake_timeout = limits.connect_timeout_s
            transport.auth_timeout = limits.stall_timeout_s
            transport.channel_timeout = limits.stall_timeout_s
            transport.start_client(timeout=limits.connect_timeout_s)
            key = transport.get_remote_server_key()
            options.notes.append(
                f"{url.loggable_url}: host key {key.get_name()} {key.fingerprint} accepted; it is"
                " not checked"
            )
            transport.auth_password(url.user, url.password)
            client = paramiko.SFTPClient.from_transport(transport)
            assert client is not None  # a channel that does not open raises
            channel = client.get_channel()
            assert channel is not None
            channel.settimeout(limits.stall_timeout_s)
            yield client
        finally:
            transport.close()


@contextlib.contextmanager
def _translate_errors(url: TransferUrl, limits: TransferLimits) -> Iterator[None]:
    try:
        yield
    except paramiko.AuthenticationException as error:
        raise url.transfer_error(f"login refused: {error}", "PermissionDenied") from error
    except paramiko.SSHException as error:
        raise url.transfer_error(str(error) or "SSH failed", "BadMessage") from error
    except PermissionError as error:
        raise url.transfer_error("permission denied", "PermissionDenied") from error
    except TimeoutError as error:
        raise url.transfer_error(f"no data for {limits.stall_timeout_s:g} s") from error
    except EOFError as error:
        raise url.transfer_error("connection closed") from error
    except OSError as error:
        raise url.transfer_error(error.strerror or str(error) or type(error).__name__) from error
