"""HTTP file server of the bench: firmware downloads and log uploads."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.e2e.files import make_firmware_image

# An image the station's installer accepts, and one it refuses.
FIRMWARE = make_firmware_image("1.1", bytes(range(256)) * 256)
BROKEN_FIRMWARE = b"this is signed, but no firmware image\n" * 64

FIRMWARE_PATH = "/firmware.bin"
BROKEN_PATH = "/broken.bin"
UPLOAD_PATH = "/logs/"
CHUNK_BYTES = 16_384


class FileServer:
    """An HTTP server for firmware (GET) and logs (PUT and POST).

    `pause_s` delays every transfer, so that a case can act during it. An upload to a path that is
    not under UPLOAD_PATH gets 404.
    """

    def __init__(self) -> None:
        self.downloads: dict[str, bytes] = {FIRMWARE_PATH: FIRMWARE, BROKEN_PATH: BROKEN_FIRMWARE}
        self.uploads: dict[str, bytes] = {}
        self.pause_s = 0.0
        self._stop_requested = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="files", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_requested.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        files = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                files._stop_requested.wait(files.pause_s)
                data = files.downloads.get(self.path)
                self._reply(404 if data is None else 200, data or b"")

            def do_PUT(self) -> None:
                data = self._body()
                files._stop_requested.wait(files.pause_s)
                if not self.path.startswith(UPLOAD_PATH):
                    self._reply(404, b"")
                    return
                files.uploads[self.path] = data
                self._reply(201, b"")

            do_POST = do_PUT

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    return b"".join(iter(self._chunk, b""))
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def _chunk(self) -> bytes:
                length = int(self.rfile.readline().split(b";")[0], 16)
                data = self.rfile.read(length)
                self.rfile.readline()
                return data

            def _reply(self, status: int, data: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Write no log: the report has all that is needed."""

        return Handler
