"""pyftpdlib on loopback with faults: an FTP and FTPS server of another make."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

from tests.runtime.transfers.faults import ConnectionCut, TransferFaults

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # asyncore, before Python 3.12
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import DTPHandler, FTPHandler, TLS_DTPHandler, TLS_FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

USER, PASSWORD = "station", "p@ss:w0rd"


class FtpServer:
    """Serves a directory.

    Attributes:
        offsets: the byte each transfer started at.
        protected: whether each data connection was encrypted.
        commands: received before the login.
    """

    def __init__(
        self, root: Path, certificate: Path | None = None, *, implicit: bool = False
    ) -> None:
        self.root = root
        self.faults = TransferFaults()
        self.offsets: list[int] = []
        self.protected: list[bool] = []
        self.commands: list[str] = []
        self._scheme = "ftp" if certificate is None else "ftps"
        self._stopped = threading.Event()
        authorizer = DummyAuthorizer()
        authorizer.add_user(USER, PASSWORD, str(root), perm="elradfmw")
        handler = _make_handler(self, certificate, implicit=implicit)
        handler.authorizer = authorizer
        self.handler = handler
        self._server = FTPServer(("127.0.0.1", 0), handler, ioloop=IOLoop())
        self._thread = threading.Thread(target=self._run_server)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.address[1])

    def url(self, path: str, userinfo: str = f"{USER}:p%40ss%3Aw0rd@") -> str:
        return f"{self._scheme}://{userinfo}127.0.0.1:{self.port}/{path}"

    def close(self) -> None:
        self.faults.released.set()
        self._stopped.set()
        self._thread.join()

    def _run_server(self) -> None:
        while not self._stopped.is_set():
            self._server.serve_forever(timeout=0.02, blocking=False, handle_exit=False)
        self._server.close_all()


def _make_handler(files: FtpServer, certificate: Path | None, *, implicit: bool) -> Any:
    """The handler class of one server: pyftpdlib is configured by class attributes."""
    control = FTPHandler if certificate is None else TLS_FTPHandler
    data = DTPHandler if certificate is None else TLS_DTPHandler

    class Data(data):  # type: ignore[misc, valid-type]
        def send(self, content: bytes) -> int:
            files.offsets.extend(self._noted())
            try:
                allowed = files.faults.pass_bytes(len(content))
            except ConnectionCut:
                self.cmd_channel.close()  # closes this connection too
                return 0
            return int(super().send(content[:allowed]))

        def recv(self, size: int) -> bytes:
            files.offsets.extend(self._noted())
            try:
                return bytes(super().recv(files.faults.pass_bytes(size)))
            except ConnectionCut:
                self.cmd_channel.close()  # closes this connection too
                return b""

        def _noted(self) -> list[int]:
            if getattr(self, "counted", False):
                return []
            self.counted = True
            if certificate is not None:
                files.protected.append(bool(self.cmd_channel._prot))
            return [self.cmd_channel.start_offset]

    class Control(control):  # type: ignore[misc, valid-type]
        dtp_handler = Data
        use_sendfile = False
        auth_failed_timeout = 0.01
        start_offset = 0

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            if not self.authenticated:
                files.commands.append(cmd)
            super().pre_process_command(line, cmd, arg)

        def ftp_RETR(self, file: str) -> Any:
            self.start_offset = self._restart_position
            return super().ftp_RETR(file)

        def ftp_STOR(self, file: str, mode: str = "w") -> Any:
            self.start_offset = self._restart_position
            return super().ftp_STOR(file, mode)

        if implicit:

            def handle(self) -> None:
                self.secure_connection(self.ssl_context)

            def handle_ssl_established(self) -> None:
                super().handle()

    if certificate is not None:
        Control.certfile = str(certificate)
        Control.tls_control_required = not implicit
        Control.tls_data_required = True
        Control.ssl_context = Control.get_ssl_context()
    return Control
