"""An SFTP server on loopback, made of paramiko's server half, with faults."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import paramiko

from tests.runtime.transfers.faults import ConnectionCut, TransferFaults
from tests.runtime.transfers.ftp_server import PASSWORD, USER


class SftpServer:
    """Serves a directory.

    Attributes:
        offsets: the byte each transfer started at.
        key: what the server identifies itself with.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = TransferFaults()
        self.offsets: list[int] = []
        self.key = paramiko.ECDSAKey.generate()
        self._transports: list[paramiko.Transport] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run_server)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def url(self, path: str, userinfo: str = f"{USER}:p%40ss%3Aw0rd@") -> str:
        return f"sftp://{userinfo}127.0.0.1:{self.port}/{path}"

    def close(self) -> None:
        self.faults.released.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        for transport in self._transports:
            transport.close()
            transport.join(10)
        for thread in threading.enumerate():
            if isinstance(thread, paramiko.SFTPServer):
                thread.join(10)  # it closes its files

    def _run_server(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                transport = paramiko.Transport(connection)
                transport.add_server_key(self.key)
                transport.set_subsystem_handler(
                    "sftp", paramiko.SFTPServer, _DirectoryServer, files=self
                )
                self._transports.append(transport)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(event=threading.Event(), server=_AuthServer(transport))


class _AuthServer(paramiko.ServerInterface):  # type: ignore[misc]
    def __init__(self, transport: paramiko.Transport) -> None:
        self.transport = transport

    def check_auth_password(self, username: str, password: str) -> int:
        right = (username, password) == (USER, PASSWORD)
        return int(paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)


class _DirectoryServer(paramiko.SFTPServerInterface):  # type: ignore[misc]
    def __init__(self, server: _AuthServer, files: SftpServer) -> None:
        super().__init__(server)
        self.files = files
        self.transport = server.transport

    def _local_path(self, path: str) -> Path:
        return self.files.root / str(self.canonicalize(path)).lstrip("/")

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(self._local_path(path).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            handle = os.open(self._local_path(path), flags, 0o600)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        return _FaultyHandle(self, os.fdopen(handle, "wb" if flags & os.O_WRONLY else "r+b"), flags)


class _FaultyHandle(paramiko.SFTPHandle):  # type: ignore[misc]
    def __init__(self, disk: _DirectoryServer, file: Any, flags: int) -> None:
        super().__init__(flags)
        self.readfile = self.writefile = file
        self.disk = disk
        self.counted = False

    def stat(self) -> Any:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def read(self, offset: int, length: int) -> Any:
        self._record_offset(offset)
        try:
            return super().read(offset, self.disk.files.faults.pass_bytes(length))
        except ConnectionCut:
            return self._close_transport()

    def write(self, offset: int, data: bytes) -> Any:
        self._record_offset(offset)
        try:
            allowed = self.disk.files.faults.pass_bytes(len(data))
            result = super().write(offset, data[:allowed])
            while allowed < len(data):
                more = self.disk.files.faults.pass_bytes(len(data) - allowed)
                result = super().write(offset + allowed, data[allowed : allowed + more])
                allowed += more
        except ConnectionCut:
            return self._close_transport()
        return result

    def _record_offset(self, offset: int) -> None:
        if not self.counted:
            self.counted = True
            self.disk.files.offsets.append(offset)

    def _close_transport(self) -> int:
        self.disk.transport.sock.shutdown(socket.SHUT_RDWR)
        return int(paramiko.SFTP_FAILURE)
