"""Transfers over FTP and FTPS.

* Always passive mode (L01, N01: remarks) and binary.
* An interrupted transfer continues with REST, in both directions (RFC 3659 §5).
* FTPS is AUTH TLS, or TLS from the first byte on port 990. Data connections are encrypted too; a
  server that refuses that gets no file.
* A download that has all bytes counts as complete even without the server's final reply.

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import ftplib
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from station.runtime.transfers.connect import connect_address, open_connection
from station.runtime.transfers.partial_download import PartialDownload
from station.runtime.transfers.results import (
    CHUNK_BYTES,
    TransferFailureStatus,
    TransferLimits,
    TransferOptions,
)
from station.runtime.transfers.upload_source import UploadSource
from station.runtime.transfers.url import IMPLICIT_FTPS, TransferUrl

REPLY_BYTES_MAX: Final = 256 * 1024  # of replies on one control connection
STATUS_BY_REPLY_CODE: Final[dict[str, TransferFailureStatus]] = {
    "500": "NotSupportedOperation",
    "501": "BadMessage",
    "502": "NotSupportedOperation",
    "504": "NotSupportedOperation",
    "530": "PermissionDenied",
    "532": "PermissionDenied",
    "534": "NotSupportedOperation",
    "553": "PermissionDenied",
}


def fetch_file(url: TransferUrl, download: PartialDownload, options: TransferOptions) -> None:
    """Download the missing part of the file. Raises TransferFailed."""
    with _open_session(url, options) as client:
        _receive_file(client, url.decoded_path, download)
    if download.total_bytes is not None and download.received_bytes != download.total_bytes:
        raise url.transfer_error(
            f"received {download.received_bytes} of {download.total_bytes} bytes"
        )


def send_file(url: TransferUrl, upload_source: UploadSource, options: TransferOptions) -> None:
    """Upload the part of the file that the server lacks. Raises TransferFailed."""
    with _open_session(url, options) as client:
        path = client.upload_path(url.decoded_path, upload_source.name)
        _store_file(client, path, upload_source)


def _receive_file(client: _FtpClient, path: str, download: PartialDownload) -> None:
    total = client.file_size(path)
    changed = client.modification_time(path)
    validator = f"{total} {changed}" if total is not None and changed else ""
    offset = (
        download.received_bytes if download.is_resumable and download.validator == validator else 0
    )
    data, offset = client.open_data_connection(f"RETR {path}", offset)
    with data:
        if not offset:
            download.start_from_zero(total, validator)
        while chunk := data.recv(CHUNK_BYTES):
            download.append(chunk)
    if download.received_bytes != total:  # the reply matters only if bytes are missing
        client.voidresp()


def _store_file(client: _FtpClient, path: str, upload_source: UploadSource) -> None:
    offset = (
        min(client.file_size(path) or 0, upload_source.sent_bytes)
        if upload_source.sent_bytes
        else 0
    )
    with upload_source.open() as file:
        data, offset = client.open_data_connection(f"STOR {path}", offset)
        with data:
            upload_source.sent_bytes = file.seek(offset)
            while chunk := file.read(CHUNK_BYTES):
                data.sendall(chunk)
                upload_source.sent_bytes += len(chunk)
            with contextlib.suppress(OSError):  # the reply has whether all was received
                if isinstance(data, ssl.SSLSocket):
                    data.unwrap()
    client.voidresp()


class _FtpClient(ftplib.FTP_TLS):
    """An FTP client with bounded replies. Without AUTH it is plain FTP."""

    def __init__(
        self, url: TransferUrl, connection: socket.socket, options: TransferOptions
    ) -> None:
        super().__init__(context=options.tls_context, timeout=options.limits.stall_timeout_s)
        self.host = url.host
        self.sock = connection
        self.af = connection.family
        self._limits = options.limits
        self._reply_bytes = 0

    def log_in(self, url: TransferUrl) -> None:
        """Greeting, TLS for FTPS, login."""
        assert self.sock is not None
        if url.scheme == "ftps" and url.port == IMPLICIT_FTPS:
            self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        secure = url.scheme == "ftps"
        self.login(url.user, url.password, secure=secure)  # anonymous if both are empty
        if secure:
            self.prot_p()
        self.voidcmd("TYPE I")

    def getline(self) -> str:
        """Limit the replies: ftplib would collect the lines of an endless reply."""
        line = super().getline()
        self._reply_bytes += len(line)
        if self._reply_bytes > REPLY_BYTES_MAX:
            raise ftplib.error_proto(f"more than {REPLY_BYTES_MAX} bytes of replies")
        return line

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        """As ftplib's, passive only, with a time limit.

        The data connection reuses the TLS session of the control connection: servers require it as
        proof that both are of the same client.
        """
        assert self.sock is not None
        host, port = self.makepasv()
        connection = connect_address((host, port), self._limits)
        try:
            if rest is not None:
                self.sendcmd(f"REST {rest}")
            reply = self.sendcmd(cmd)
            if not reply.startswith("1"):
                raise ftplib.error_reply(reply)
            if isinstance(self.sock, ssl.SSLSocket):
                connection = self.context.wrap_socket(
                    connection, server_hostname=self.host, session=self.sock.session
                )
        except BaseException:
            connection.close()
            raise
        return connection, None

    def open_data_connection(self, command: str, offset: int) -> tuple[socket.socket, int]:
        """The data connection and the byte it starts at: 0 if the server does not support REST."""
        if offset:
            with contextlib.suppress(ftplib.error_perm):
                return self.transfercmd(command, offset), offset
        return self.transfercmd(command), 0

    def file_size(self, path: str) -> int | None:
        """Size of a file; None: no such file, or the server does not support SIZE."""
        try:
            return self.size(path)
        except ftplib.error_perm:
            return None

    def modification_time(self, path: str) -> str:
        """Time of the last change; empty: the server does not support MDTM."""
        try:
            return self.sendcmd(f"MDTM {path}").removeprefix("213 ")
        except ftplib.error_perm:
            return ""

    def upload_path(self, path: str, name: str) -> str:
        """The path to upload to: `name` in `path` if that is a directory, else `path`."""
        if not path:
            return name
        try:
            self.cwd(path)
        except ftplib.error_perm:
            if path.endswith("/"):
                raise
            return path
        return name


@contextlib.contextmanager
def _open_session(url: TransferUrl, options: TransferOptions) -> Iterator[_FtpClient]:
    """A client that is logged in. Errors become TransferFailed."""
    limits = options.limits
    with open_connection(url, limits) as connection, _translate_errors(url, limits):
        client = _FtpClient(url, connection, options)
        try:
            client.log_in(url)
            yield client
        finally:
            client.close()


@contextlib.contextmanager
def _translate_errors(url: TransferUrl, limits: TransferLimits) -> Iterator[None]:
    try:
        yield
    except ftplib.Error as error:
        status = STATUS_BY_REPLY_CODE.get(str(error)[:3], "UploadFailure")
        raise url.transfer_error(str(error), status) from error
    except TimeoutError as error:
        raise url.transfer_error(f"no data for {limits.stall_timeout_s:g} s") from error
    except EOFError as error:
        raise url.transfer_error("connection closed") from error
    except ValueError as error:
        raise url.transfer_error(f"malformed reply: {error}", "BadMessage") from error
    except OSError as error:
        raise url.transfer_error(str(error)) from error
