"""A file server for HTTP and HTTPS on loopback, with faults."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.runtime.transfers.faults import ConnectionCut, TransferFaults

CHUNK_BYTES = 16 * 1024


class HttpServer:
    """Serves a directory; `requests` has the requests received.

    Attributes:
        requests: method, path and headers of each.
        offsets: the byte each download started at.
        answers: status and headers given instead of the file, by method and path.
        etag: of every file, None for none.
        ranges: whether Range is supported.
        credentials: required with HTTP Basic; None: no credentials are required.
    """

    def __init__(self, root: Path, tls: ssl.SSLContext | None = None) -> None:
        self.root = root
        self.faults = TransferFaults()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.offsets: list[int] = []
        self.fixed_responses: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}
        self.etag: str | None = '"7"'
        self.supports_ranges = True
        self.credentials: tuple[str, str] | None = None
        self.posted_body = b""
        files = self

        class Server(ThreadingHTTPServer):
            daemon_threads = False

            def finish_request(self, request: Any, client_address: Any) -> None:
                with contextlib.suppress(OSError):
                    if tls is None:
                        FileRequestHandler(request, client_address, self, files)
                        return
                    with tls.wrap_socket(request, server_side=True) as secure:
                        FileRequestHandler(secure, client_address, self, files)

        self._server = Server(("127.0.0.1", 0), BaseHTTPRequestHandler)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str, userinfo: str = "") -> str:
        return f"{self._scheme}://{userinfo}127.0.0.1:{self.port}/{path}"

    def close(self) -> None:
        self.faults.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class FileRequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def __init__(
        self, request: socket.socket, address: Any, server: ThreadingHTTPServer, files: HttpServer
    ) -> None:
        self.files = files
        super().__init__(request, address, server)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        self.close_connection = True
        path = unquote(urlsplit(self.path).path)
        self.file = self.files.root / path.lstrip("/")
        self.files.requests.append((self.command, self.path, dict(self.headers)))
        response = self.files.fixed_responses.get((self.command, path))
        if self.files.credentials is not None:
            expected = base64.b64encode(":".join(self.files.credentials).encode()).decode()
            if self.headers["Authorization"] != f"Basic {expected}":
                response = 401, {}
        if response:
            # Unread data would turn the close into a reset.
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.send_answer(*response)
            return False
        return True

    def send_answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Connection", "close")
        if "Content-Length" not in headers:
            self.send_header("Content-Length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        if not self.file.is_file():
            self.send_answer(404, {})
            return
        content = self.file.read_bytes()
        changed = email.utils.formatdate(self.file.stat().st_mtime, usegmt=True)
        headers = {"Last-Modified": changed}
        if self.files.etag is not None:
            headers["ETag"] = self.files.etag
        offset = 0
        requested_range = self.headers["Range"]
        if (
            self.files.supports_ranges
            and requested_range
            and self.headers["If-Range"] in headers.values()
        ):
            offset = int(requested_range.removeprefix("bytes=").removesuffix("-"))
            if offset >= len(content):
                self.send_answer(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {offset}-{len(content) - 1}/{len(content)}"
        self.files.offsets.append(offset)
        headers["Content-Length"] = str(len(content) - offset)
        self.send_answer(206 if offset else 200, headers)
        self.send_body(content[offset:])

    def send_body(self, rest: bytes) -> None:
        with contextlib.suppress(ConnectionCut):
            while rest:
                allowed = self.files.faults.pass_bytes(min(CHUNK_BYTES, len(rest)))
                self.wfile.write(rest[:allowed])
                rest = rest[allowed:]

    def receive_body(self) -> bytes | None:
        """The body; None if it was cut."""
        left = int(self.headers["Content-Length"])
        body = b""
        try:
            while left:
                chunk = self.rfile.read(self.files.faults.pass_bytes(min(CHUNK_BYTES, left)))
                if not chunk:
                    return None
                body += chunk
                left -= len(chunk)
        except ConnectionCut:
            return None
        return body

    def do_PUT(self) -> None:
        body = self.receive_body()
        if body is not None:
            self.file.write_bytes(body)
            self.send_answer(201, {})

    def do_POST(self) -> None:
        body = self.receive_body()
        if body is not None:
            self.files.posted_body = body
            self.send_answer(200, {})
