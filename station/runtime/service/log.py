"""The log of a service: to journald with fields where it runs there, else as lines on stderr.

systemd sets `JOURNAL_STREAM` to device and inode of the stream that it connected to stderr. If
stderr is still that stream, records are sent to journald's own socket, with `PRIORITY`, `LOGGER`
and the place in the code as fields (systemd.journal-fields(7)); otherwise stderr gets text.

Identical lines are counted instead of written: a port that is absent for a night is two lines.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

JOURNALD_SOCKET: Final = "/run/systemd/journal/socket"
STREAM_VARIABLE: Final = "JOURNAL_STREAM"
IDENTIFIER: Final = "station"
LINE_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
PRIORITIES: Final = {  # syslog(3)
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}
REPEATED_S: Final = 600.0  # a line that repeats is written again after this time, with its count
LINES_WATCHED_MAX: Final = 256
MESSAGE_BYTES_MAX: Final = 48_000  # one datagram; the rest of a long traceback is cut


def configure_log(level: int) -> None:
    """Send the records of all loggers to journald or stderr, without repetitions."""
    handler = _open_journald() or logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(LINE_FORMAT))
    handler.addFilter(RepetitionFilter())
    logging.basicConfig(level=level, handlers=[handler])


def _open_journald() -> JournaldHandler | None:
    stream = os.environ.get(STREAM_VARIABLE)
    if stream is None or not is_journald_stream(stream, sys.stderr.fileno()):
        return None
    try:
        return JournaldHandler(JOURNALD_SOCKET)
    except OSError:
        return None


def is_journald_stream(variable: str, descriptor: int) -> bool:
    """Whether a descriptor is the stream that `JOURNAL_STREAM` describes, `device:inode`."""
    status = os.fstat(descriptor)
    return variable == f"{status.st_dev}:{status.st_ino}"


class JournaldHandler(logging.Handler):
    """Sends records with fields, by journald's native protocol."""

    def __init__(self, path: str) -> None:
        """Raises OSError: there is no such socket."""
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.send(encode_fields(fields_of(record)))
        except OSError:  # journald restarts or is full: stderr leads there too
            sys.stderr.write(f"<{_priority(record.levelno)}>{record.getMessage()}\n")

    def close(self) -> None:
        self._socket.close()
        super().close()


def fields_of(record: logging.LogRecord) -> dict[str, str]:
    """The fields of a record; the message has the traceback, if there is one."""
    message = record.getMessage()
    if record.exc_info:
        message += "\n" + logging.Formatter().formatException(record.exc_info)
    return {
        "MESSAGE": message[:MESSAGE_BYTES_MAX],
        "PRIORITY": str(_priority(record.levelno)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
    }


def _priority(level: int) -> int:
    return next(
        (priority for minimum, priority in PRIORITIES.items() if level >= minimum),
        PRIORITIES[logging.DEBUG],
    )


def encode_fields(fields: Mapping[str, str]) -> bytes:
    """Fields in the native protocol: `NAME=value`, or with a length if the value has a newline."""
    return b"".join(_encode_field(name, value) for name, value in fields.items())


def _encode_field(name: str, value: str) -> bytes:
    encoded = value.encode("utf-8", "backslashreplace")
    if b"\n" not in encoded:
        return f"{name}=".encode() + encoded + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(encoded)) + encoded + b"\n"


class RepetitionFilter(logging.Filter):
    """Lets a line through once in `REPEATED_S`, then with the number of those left out."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._lines: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.levelno, record.getMessage())
        now = self._now()
        written_at, left_out = self._lines.get(key, (-REPEATED_S, 0))
        if now - written_at < REPEATED_S:
            self._lines[key] = written_at, left_out + 1
            return False
        self._lines.pop(key, None)
        for old in list(self._outdated(now)):
            del self._lines[old]
        self._lines[key] = now, 0
        if left_out:
            record.msg = f"{key[2]} ({left_out} more times in the last {now - written_at:.0f} s)"
            record.args = ()
        return True

    def _outdated(self, now: float) -> Iterator[tuple[str, int, str]]:
        """Lines that need not be watched: too old with nothing left out, or too many."""
        surplus = len(self._lines) - LINES_WATCHED_MAX
        for position, (key, (written_at, left_out)) in enumerate(self._lines.items()):
            if position < surplus or (now - written_at >= REPEATED_S and not left_out):
                yield key
