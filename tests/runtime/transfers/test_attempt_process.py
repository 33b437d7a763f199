"""Attempts in a process of their own: cancelled, killed, without the station, without secrets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from station.runtime.transfers import attempt_process
from station.runtime.transfers.attempt import AttemptOrder
from station.runtime.transfers.results import CHUNK_BYTES, TransferLimits
from station.runtime.transfers.retry import download_file, upload_file
from station.runtime.transfers.url import parse_url
from tests.runtime.transfers import faults
from tests.runtime.transfers.conftest import FileServer, ServerStarter
from tests.runtime.transfers.ftp_server import USER

CUT = 150_001
TIMEOUT_S = 60.0  # for what ends or starts at once, on a machine that is busy with other tests
STALL_S = 10 * TIMEOUT_S  # no attempt ends by itself
LIMITS = TransferLimits(connect_timeout_s=TIMEOUT_S, stall_timeout_s=STALL_S, free_bytes_min=0)

STATION = """
import sys, trio
from pathlib import Path
from station.runtime.transfers.results import TransferLimits
from station.runtime.transfers.retry import download_file
url, into, stall_s = sys.argv[1:]
limits = TransferLimits(stall_timeout_s=float(stall_s), free_bytes_min=0)
trio.run(lambda: download_file(
    url, Path(into), roots_pem="", attempts=1, interval_s=0, limits=limits
))
"""

FAILING_TRANSFERS = """
import sys, trio
from pathlib import Path
import station.runtime.app, station.runtime.jobs.firmware, station.runtime.jobs.logs
from station.runtime.transfers.results import TransferFailed
from station.runtime.transfers.retry import download_file, upload_file
port, path = sys.argv[1:]
options = dict(roots_pem="", attempts=1, interval_s=0)
async def fail(transfer, *arguments):
    try:
        await transfer(*arguments, **options)
    except TransferFailed as failure:
        print(failure)
async def main():
    await fail(upload_file, Path(path), f"http://127.0.0.1:{port}/x")
    await fail(download_file, f"sftp://127.0.0.1:{port}/x", Path(path))
trio.run(main)
loaded = {"httpx", "httpcore", "paramiko", "ftplib", "cryptography"} & set(sys.modules)
assert not loaded, loaded
"""


@pytest.fixture(autouse=True)
def long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled process gets the time to end on a busy machine; a stalled server never ends."""
    monkeypatch.setattr(attempt_process, "EXIT_TIMEOUT_S", TIMEOUT_S)
    monkeypatch.setattr(faults, "STALL_TIMEOUT_S", STALL_S)


def attempt_pids(parent_pid: int) -> list[int]:
    """The processes of attempts that a process has started."""
    return [pid for pid in _pids() if _is_attempt_of(pid, parent_pid)]


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())


def _is_attempt_of(pid: int, parent_pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    parent = int(status.rpartition(")")[2].split()[1])
    return parent == parent_pid and b"station.runtime.transfers.attempt" in command


async def wait_stalled(server: FileServer, part: Path | None = None) -> int:
    """Wait until the server has stalled the attempt of this process; its pid.

    Args:
        server: of the transfer.
        part: of a download; its file then has more bytes than are appended at a time.
    """
    with trio.fail_after(TIMEOUT_S):
        while not server.faults.stalled.is_set():
            await trio.sleep(0.02)
        while part is not None and part.stat().st_size <= CHUNK_BYTES:
            await trio.sleep(0.02)
    [pid] = attempt_pids(os.getpid())
    return pid


def release(server: FileServer) -> None:
    """Let the server go on with the transfers that it stalls."""
    server.faults.stall_at = None
    server.faults.released.set()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    """Whether a process has ended; it may still be a zombie if its parent was killed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("kind", ["http", "ftp", "sftp"])
async def test_a_cancelled_download_ends_its_process_and_keeps_its_bytes(
    start_server: ServerStarter, roots_pem: str, tmp_path: Path, content: bytes, kind: str
) -> None:
    server = start_server(kind)
    (server.root / "image.bin").write_bytes(content)
    os.utime(server.root / "image.bin", (1_000_000_000, 1_000_000_000))
    server.faults.stall_at = CUT
    into, part = tmp_path / "image.bin", tmp_path / "image.bin.part"
    download = partial(
        download_file,
        server.url("image.bin"),
        into,
        roots_pem=roots_pem,
        attempts=1,
        interval_s=0,
        limits=LIMITS,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(download)
        pid = await wait_stalled(server, part)
        nursery.cancel_scope.cancel()
    assert has_ended(pid)
    kept = json.loads((tmp_path / "image.bin.part.json").read_text())["size"]
    assert 0 < kept <= CUT
    assert not into.exists()
    release(server)
    await download()
    assert into.read_bytes() == content
    assert server.offsets == [0, kept]


@pytest.mark.parametrize("kind", ["http", "ftp", "sftp"])
async def test_a_cancelled_upload_ends_its_process_n01_fr_12(
    start_server: ServerStarter, tmp_path: Path, kind: str
) -> None:
    server = start_server(kind)
    source = tmp_path / "log.zip"
    source.write_bytes(bytes(16 * 1024 * 1024))  # more than the buffers of the sockets
    server.faults.stall_at = CUT
    upload = partial(
        upload_file,
        source,
        server.url("log.zip"),
        roots_pem="",
        attempts=1,
        interval_s=0,
        limits=LIMITS,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload)
        pid = await wait_stalled(server)
        nursery.cancel_scope.cancel()
    assert has_ended(pid)


async def test_a_process_that_is_killed_is_a_failed_attempt_l01_fr_30(
    start_server: ServerStarter, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server("http")
    (server.root / "image.bin").write_bytes(content)
    server.faults.stall_at = CUT
    into = tmp_path / "image.bin"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(
                download_file,
                server.url("image.bin"),
                into,
                roots_pem="",
                attempts=2,
                interval_s=0.01,
                limits=LIMITS,
            )
        )
        pid = await wait_stalled(server)
        release(server)
        os.kill(pid, signal.SIGKILL)
    assert into.read_bytes() == content
    assert "the process of the transfer failed: exit code -9" in caplog.text
    assert "attempts left: 1" in caplog.text


async def test_the_stop_of_a_service_does_not_fail_an_attempt(
    start_server: ServerStarter, tmp_path: Path, content: bytes
) -> None:
    """A service manager sends SIGTERM to every process of the service."""
    server = start_server("http")
    (server.root / "image.bin").write_bytes(content)
    server.faults.stall_at = CUT
    into, part = tmp_path / "image.bin", tmp_path / "image.bin.part"
    download = partial(
        download_file,
        server.url("image.bin"),
        into,
        roots_pem="",
        attempts=1,
        interval_s=0,
        limits=LIMITS,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(download)
        pid = await wait_stalled(server, part)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        await trio.sleep(0.1)
        assert not has_ended(pid)
        nursery.cancel_scope.cancel()
    assert (tmp_path / "image.bin.part.json").exists()


async def test_other_users_cannot_read_credentials_from_the_process(
    start_server: ServerStarter, tmp_path: Path, content: bytes
) -> None:
    server = start_server("ftp")
    (server.root / "image.bin").write_bytes(content)
    server.faults.stall_at = 0
    download = partial(
        download_file,
        server.url("image.bin"),
        tmp_path / "image.bin",
        roots_pem="",
        attempts=1,
        interval_s=0,
        limits=LIMITS,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(download)
        pid = await wait_stalled(server)
        for name in ("cmdline", "environ"):
            text = Path(f"/proc/{pid}/{name}").read_bytes()
            assert b"p@ss" not in text
            assert b"p%40ss" not in text
            assert USER.encode() + b":" not in text
        nursery.cancel_scope.cancel()


def test_when_the_station_is_killed_its_attempt_ends_and_keeps_its_bytes(
    start_server: ServerStarter, tmp_path: Path, content: bytes
) -> None:
    server = start_server("http")
    (server.root / "image.bin").write_bytes(content)
    server.faults.stall_at = CUT
    into, part = tmp_path / "image.bin", tmp_path / "image.bin.part"
    station = subprocess.Popen(
        [sys.executable, "-c", STATION, server.url("image.bin"), str(into), str(STALL_S)],
        stdin=subprocess.DEVNULL,
    )
    try:
        assert server.faults.stalled.wait(TIMEOUT_S)
        wait_until(lambda: part.stat().st_size > CHUNK_BYTES)
        [pid] = attempt_pids(station.pid)
    finally:
        station.kill()
        station.wait()
    wait_until(lambda: has_ended(pid))
    assert (tmp_path / "image.bin.part.json").exists()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (("/no/such/program",), "/no/such/program: No such file or directory"),
        (("sh", "-c", "exit 3"), "exit code 3: "),
        (("sh", "-c", "echo '{}'"), "exit code 0: {}"),
        (("sh", "-c", "echo no memory; kill -9 $$"), "exit code -9: no memory"),
        (("sh", "-c", "echo s3cret >&2; exit 1"), "exit code 1: ***"),
    ],
)
async def test_a_process_without_a_result_is_a_failed_attempt(
    program: tuple[str, ...], reason: str
) -> None:
    url = parse_url("ftp://user:s3cret@host/log")
    order = AttemptOrder("upload", url, "log", "", LIMITS, sent_bytes=7)
    result = await attempt_process.run_attempt(order, program=program)
    assert result.failure == f"ftp://host/log: the process of the transfer failed: {reason}".strip()
    assert not result.permanent
    assert result.sent_bytes == 7


def test_the_station_itself_imports_no_client(tmp_path: Path) -> None:
    source = tmp_path / "log"
    source.write_text("log")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = str(closed.getsockname()[1])
    completed = subprocess.run(
        [sys.executable, "-c", FAILING_TRANSFERS, port, str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.count("no connection: ") == 1  # by SFTP
    assert completed.stdout.count("Connection refused") == 2
