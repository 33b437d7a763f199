"""Downloads: files that are sent piece by piece, at most `RUNNING_MAX` at the same time.

A piece is read in a thread when the one before it is sent, so a download needs the memory of one
piece, however large the file is and however slowly the client reads.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, NamedTuple

import trio
from starlette.responses import Response

log = logging.getLogger("station.page")

RUNNING_MAX: Final = 4
DURATION_MAX_S: Final = 900.0  # 256 MiB at 300 kB/s


class TooManyDownloads(Exception):
    """`RUNNING_MAX` are running."""


class Content(NamedTuple):
    """What is sent.

    Attributes:
        filename: for the client; printable ASCII without quotes.
        size: in bytes; None: known at the end only.
        chunks: blocks; may raise OSError, which ends the download incomplete.
        close: frees the files; called once.
    """

    filename: str
    size: int | None
    chunks: Iterator[bytes]
    close: Callable[[], None]


class Downloads:
    """Starts downloads and counts them."""

    def __init__(self) -> None:
        self._slots = trio.Semaphore(RUNNING_MAX)

    async def start(self, open_content: Callable[[], Awaitable[Content]]) -> Response:
        """Open the content; the response sends it.

        Raises:
            TooManyDownloads: nothing was opened.
        """
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            raise TooManyDownloads from None
        try:
            content = await open_content()
        except BaseException:
            self._slots.release()
            raise
        return Download(content, self._slots.release)


class Download(Response):
    """Sends a content once; `on_end` is called at the end, also of a download that failed."""

    def __init__(self, content: Content, on_end: Callable[[], None]) -> None:
        """Prepare the headers."""
        disposition = f'attachment; filename="{content.filename}"'
        super().__init__(
            headers={
                "content-type": "application/octet-stream",
                "content-disposition": disposition,
            }
        )
        del self.headers["content-length"]
        if content.size is not None:
            self.headers["content-length"] = str(content.size)
        self._content = content
        self._on_end = on_end

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send until the end, an error, or `DURATION_MAX_S`."""
        try:
            with trio.move_on_after(DURATION_MAX_S):
                await send(
                    {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                )
                if scope["method"] != "HEAD":
                    await self._send_chunks(send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError as error:  # the client gets less than was announced, or no last chunk
            log.warning("download of %s: %s", self._content.filename, error.strerror)
        finally:
            self._content.close()
            self._on_end()

    async def _send_chunks(self, send: Any) -> None:
        while True:
            chunk = await trio.to_thread.run_sync(next, self._content.chunks, None)
            if chunk is None:
                return
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
