"""The log of a service: journald's protocol, priorities, and counted repetitions."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from station.runtime.service.log import (
    JournaldHandler,
    RepetitionFilter,
    encode_fields,
    is_journald_stream,
)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("station.test-of-log")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def decode_fields(datagram: bytes) -> dict[str, str]:
    """The fields, read as journald reads them."""
    fields = {}
    while datagram:
        name, newline, datagram = datagram.partition(b"\n")
        if b"=" in name:
            name, _, value = name.partition(b"=")
        else:
            (length,) = struct.unpack("<Q", datagram[:8])
            value, datagram = datagram[8 : 8 + length], datagram[9 + length :]
        assert newline
        fields[name.decode()] = value.decode()
    return fields


def test_a_record_has_its_priority_and_place_as_fields(
    tmp_path: Path, logger: logging.Logger
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        journald.settimeout(5)
        logger.addHandler(JournaldHandler(str(tmp_path / "socket")))
        logger.warning("EVSE %d: meter silent\nPRIORITY=0", 2)
        fields = decode_fields(journald.recv(10_000))
        assert fields["MESSAGE"] == "EVSE 2: meter silent\nPRIORITY=0"
        assert fields["PRIORITY"] == "4"
        assert fields["LOGGER"] == "station.test-of-log"
        assert fields["CODE_FILE"] == __file__
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("a task failed")
        fields = decode_fields(journald.recv(10_000))
        assert fields["PRIORITY"] == "3"
        assert "ValueError: broken" in fields["MESSAGE"]


def test_journald_that_is_away_loses_no_line(
    tmp_path: Path, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journald.bind(str(tmp_path / "socket"))
    logger.addHandler(JournaldHandler(str(tmp_path / "socket")))
    journald.close()
    logger.error("disk full")
    assert capsys.readouterr().err == "<3>disk full\n"


def test_a_value_with_a_newline_has_a_length() -> None:
    assert encode_fields({"A": "1", "B": "2\n3"}) == (
        b"A=1\nB\n\x03\0\0\0\0\0\0\0" + b"2\n3" + b"\n"
    )


def test_stderr_of_a_service_is_recognized(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert is_journald_stream(f"{status.st_dev}:{status.st_ino}", stream.fileno())
        assert not is_journald_stream("", stream.fileno())
        assert not is_journald_stream(f"{status.st_dev}:1", stream.fileno())


def test_a_repeated_line_is_counted_and_written_again_later(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepetitionFilter(lambda: now))
    logger.addHandler(handler)
    for second in range(700):
        now = float(second)
        logger.warning("%s does not exist", "/dev/ttyUSB0")
        if second == 5:
            logger.warning("%s does not exist", "/dev/ttyUSB1")
    assert capsys.readouterr().err.splitlines() == [
        "/dev/ttyUSB0 does not exist",
        "/dev/ttyUSB1 does not exist",
        "/dev/ttyUSB0 does not exist (599 more times in the last 600 s)",
    ]


def test_the_lines_that_are_watched_are_bounded(logger: logging.Logger) -> None:
    repetitions = RepetitionFilter(lambda: 0.0)
    logger.addFilter(repetitions)
    logger.addHandler(logging.NullHandler())
    for number in range(5_000):
        logger.warning("line %d", number)
    assert len(repetitions._lines) < 300
    logger.removeFilter(repetitions)
