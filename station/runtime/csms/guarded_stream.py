"""Stream to the CSMS that bounds what received bytes can cost.

A WebSocket library works through everything it has received before other tasks run. A peer that
sends many tiny frames (2 bytes each), or an HTTP refusal with an endless body, could hold the loop
that protects the power path for hundreds of milliseconds. `GuardedStream` is between TCP or TLS
and the library and keeps these bounds:

* Handshake. Until the end of the HTTP head, received bytes are collected, `HEAD_BYTES_MAX` at most.
  A status other than 101 raises UpgradeRefused at once: a body is never read, and a refusal
  without Content-Length or without an end is known as soon as its head is.
* Reading. One call returns `READ_BYTES_MAX` bytes at most: a few milliseconds of work even if they
  are 500 frames. If the library needed longer than `BUSY_S` for the bytes before, the next read
  waits `PAUSE_FACTOR` times as long as it took (`PAUSE_MAX_S` at most), so a flood gets a share of
  the processor and not all of it.
* Messages. Between two complete messages at most `BYTES_BETWEEN_MESSAGES_MAX` bytes are accepted in
  `WINDOW_S`: the largest message with generous framing. More is a flood of fragments or pings and
  ends the connection.
"""

from __future__ import annotations

import re
from typing import Final

import trio

HEAD_BYTES_MAX: Final = 16 * 1024  # a head of a reverse proxy with cookies is a tenth of it
READ_BYTES_MAX: Final = 1024  # 512 empty frames of 2 bytes: 4 ms
BUSY_S: Final = 0.001
PAUSE_FACTOR: Final = 3
PAUSE_MAX_S: Final = 0.02
BYTES_BETWEEN_MESSAGES_MAX: Final = 320 * 1024
WINDOW_S: Final = 10.0
SWITCHING_PROTOCOLS: Final = 101

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_END_OF_HEAD: Final = b"\r\n\r\n"


class UpgradeRefused(Exception):
    """The CSMS answered the WebSocket handshake with another HTTP status than 101.

    Attributes:
        status: HTTP status; 0 if the response is no HTTP or its head is longer than allowed.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class UpgradeAborted(Exception):
    """The connection ended before the HTTP answer to the WebSocket handshake.

    With TLS 1.3 a CSMS that refuses the certificate of the station does so here; the cause is then
    the ssl.SSLError of its alert. The library would wait for the answer until its timeout.
    """


class ReceiveFlood(Exception):
    """The peer sent more bytes without a complete message than any message needs."""


class GuardedStream(trio.abc.Stream):
    """A client's stream with bounds on what it receives; everything else is passed through."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._head: bytearray | None = bytearray()
        self._passed_s = 0.0  # trio time at which bytes were last passed to the library
        self._bytes_since_message = 0
        self._window_start_s = 0.0

    def on_message(self) -> None:
        """A complete message was received: start counting again."""
        self._bytes_since_message = 0
        self._window_start_s = trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive within the bounds.

        Raises:
            UpgradeRefused, UpgradeAborted: in the handshake.
            ReceiveFlood: after it.
            trio.BrokenResourceError: as the stream below.
        """
        if self._head is not None:
            return await self._receive_head()
        busy_s = trio.current_time() - self._passed_s
        if busy_s > BUSY_S:
            await trio.sleep(min(PAUSE_FACTOR * busy_s, PAUSE_MAX_S))
        received = await self._stream.receive_some(min(max_bytes or READ_BYTES_MAX, READ_BYTES_MAX))
        self._count_bytes(len(received))
        self._passed_s = trio.current_time()
        return received

    async def _receive_head(self) -> bytes:
        """All bytes up to the end of the HTTP head, and what came with its last bytes."""
        head = self._head
        assert head is not None
        while _END_OF_HEAD not in head:
            try:
                received = await self._stream.receive_some(READ_BYTES_MAX)
            except trio.BrokenResourceError as error:
                raise UpgradeAborted("the connection broke in the handshake") from error.__cause__
            if not received:
                raise UpgradeAborted("the CSMS closed the connection without an answer")
            head += received
            self._check_status(head)
            if len(head) > HEAD_BYTES_MAX:
                raise UpgradeRefused(0, f"HTTP head longer than {HEAD_BYTES_MAX} bytes")
        self._head = None
        self._passed_s = self._window_start_s = trio.current_time()
        return bytes(head)

    @staticmethod
    def _check_status(head: bytearray) -> None:
        if b"\n" not in head:
            return
        status_line = _STATUS_LINE.match(head)
        status = int(status_line.group(1)) if status_line else 0
        if status != SWITCHING_PROTOCOLS:
            reason = f"HTTP {status}" if status else "the answer is no HTTP"
            raise UpgradeRefused(status, reason)

    def _count_bytes(self, count: int) -> None:
        now_s = trio.current_time()
        if now_s - self._window_start_s > WINDOW_S:
            self._window_start_s, self._bytes_since_message = now_s, 0
        self._bytes_since_message += count
        if self._bytes_since_message > BYTES_BETWEEN_MESSAGES_MAX:
            raise ReceiveFlood(
                f"{self._bytes_since_message} bytes without a complete message in "
                f"{now_s - self._window_start_s:.1f} s"
            )

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()
