"""Transfers over every protocol: complete, resumed, limited, cancelled, refused."""

from __future__ import annotations

import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from station.runtime.transfers.results import TransferFailed, TransferLimits
from station.runtime.transfers.retry import download_file, upload_file
from tests.runtime.transfers.conftest import (
    FAST_LIMITS,
    FILE_BYTES,
    FileServer,
    ServerStarter,
    run_in_thread,
    single_attempt,
)
from tests.runtime.transfers.http_server import HttpServer

CUT = 150_001


async def test_a_download_is_the_file_l01_fr_04(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (server.root / "new image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await download_file(
        server.url("new%20image.bin"),
        into,
        roots_pem=roots_pem,
        run=run_in_thread,
        attempts=1,
        interval_s=0,
        limits=FAST_LIMITS,
    )
    assert into.read_bytes() == content
    assert [file.name for file in tmp_path.glob("image*")] == ["image.bin"]


async def test_an_upload_is_the_file_n01_fr_02(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    source = tmp_path / "station log.zip"
    source.write_bytes(content)
    await upload_file(
        source,
        server.url("renamed.zip"),
        roots_pem=roots_pem,
        run=run_in_thread,
        attempts=1,
        interval_s=0,
        limits=FAST_LIMITS,
    )
    assert (server.root / "renamed.zip").read_bytes() == content


@pytest.mark.parametrize("size", [0, 1, FILE_BYTES])
async def test_a_file_of_any_size_keeps_its_name_in_a_directory_n01_fr_01_n01_fr_14(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes, size: int
) -> None:
    source = tmp_path / "station log.zip"
    source.write_bytes(content[:size])
    (server.root / "logs").mkdir()
    url = server.url("logs/")
    await upload_file(source, url, **single_attempt(roots_pem))
    assert (server.root / "logs" / "station log.zip").read_bytes() == content[:size]
    into = tmp_path / "back.zip"
    url = server.url("logs/station%20log.zip")
    await download_file(url, into, **single_attempt(roots_pem))
    assert into.read_bytes() == content[:size]


async def test_an_interrupted_download_resumes(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    image = server.root / "image.bin"
    image.write_bytes(content)
    server.faults.cut_at = [100_001, 120_000]
    into = tmp_path / "image.bin"
    url = server.url("image.bin")
    await download_file(
        url,
        into,
        roots_pem=roots_pem,
        run=run_in_thread,
        attempts=3,
        interval_s=0.01,
        limits=FAST_LIMITS,
    )
    assert into.read_bytes() == content
    first, second, third = server.offsets
    assert first == 0
    assert 0 < second <= 100_001  # bytes under way at the cut may be lost
    assert second <= third <= second + 120_000


async def test_a_file_that_changed_meanwhile_starts_again(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    image = server.root / "image.bin"
    image.write_bytes(content)
    os.utime(image, (1_000_000_000, 1_000_000_000))
    if isinstance(server, HttpServer):
        server.etag = None  # only the date is left
    server.faults.cut_at = [CUT]
    into = tmp_path / "image.bin"
    url = server.url("image.bin")
    with pytest.raises(TransferFailed):
        await download_file(url, into, **single_attempt(roots_pem))
    assert into.with_name("image.bin.part").exists()
    image.write_bytes(content[::-1])  # the same size
    await download_file(url, into, **single_attempt(roots_pem))
    assert into.read_bytes() == content[::-1]
    assert server.offsets == [0, 0]


async def test_a_later_download_resumes_a_failed_one(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (server.root / "image.bin").write_bytes(content)
    os.utime(server.root / "image.bin", (1_000_000_000, 1_000_000_000))
    server.faults.cut_at = [CUT]
    into = tmp_path / "image.bin"
    url = server.url("image.bin")
    with pytest.raises(TransferFailed) as failed:
        await download_file(url, into, **single_attempt(roots_pem))
    assert not failed.value.permanent
    assert not into.exists()
    await download_file(url, into, **single_attempt(roots_pem))
    assert into.read_bytes() == content
    assert 0 < server.offsets[1] <= CUT
    assert [file.name for file in tmp_path.glob("image*")] == ["image.bin"]


async def test_an_interrupted_upload_is_completed_n01(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    source = tmp_path / "log.zip"
    source.write_bytes(content)
    server.faults.cut_at = [CUT]
    url = server.url("log.zip")
    await upload_file(
        source,
        url,
        roots_pem=roots_pem,
        run=run_in_thread,
        attempts=2,
        interval_s=0.05,
        limits=FAST_LIMITS,
    )
    assert (server.root / "log.zip").read_bytes() == content
    if not isinstance(server, HttpServer):  # HTTP cannot resume an upload
        first, second = server.offsets
        assert first == 0
        assert 0 < second <= CUT


async def test_a_new_upload_replaces_a_longer_file_of_the_same_name(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (server.root / "log.zip").write_bytes(content + content)
    source = tmp_path / "log.zip"
    source.write_bytes(content)
    url = server.url("log.zip")
    await upload_file(source, url, **single_attempt(roots_pem))
    assert (server.root / "log.zip").read_bytes() == content


async def test_a_missing_file_fails_after_all_attempts_l01_fr_30(
    server: FileServer, roots_pem: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    into = tmp_path / "image.bin"
    url = server.url("image.bin_does_not_exist")
    with pytest.raises(TransferFailed) as failed:
        await download_file(
            url,
            into,
            roots_pem=roots_pem,
            run=run_in_thread,
            attempts=3,
            interval_s=0.01,
            limits=FAST_LIMITS,
        )
    assert not failed.value.permanent
    assert "does_not_exist" in str(failed.value)
    lines = [line.getMessage() for line in caplog.records if line.name == "station.transfers"]
    assert len([line for line in lines if "attempts left" in line]) == 2
    assert list(tmp_path.glob("image*")) == []


async def test_a_wrong_password_is_permission_denied_and_not_logged_n01_fr_10(
    server: FileServer, roots_pem: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    if isinstance(server, HttpServer):
        server.credentials = ("station", "right")
    source = tmp_path / "log.zip"
    source.write_bytes(b"log")
    url = server.url("log.zip", userinfo="station:s3cr%2Ft@")
    with pytest.raises(TransferFailed) as failed:
        await upload_file(
            source,
            url,
            roots_pem=roots_pem,
            run=run_in_thread,
            attempts=2,
            interval_s=0.01,
            limits=FAST_LIMITS,
        )
    assert failed.value.status == "PermissionDenied"
    ours = [line for line in caplog.text.splitlines() if "pyftpdlib" not in line]
    for text in (str(failed.value), *ours):
        assert "s3cr" not in text
    assert not (server.root / "log.zip").exists()


async def test_a_refused_connection_is_a_failed_attempt(
    server: FileServer, roots_pem: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = server.url("image.bin").replace(str(server.port), str(closed.getsockname()[1]))
    into = tmp_path / "image.bin"
    with pytest.raises(TransferFailed) as failed:
        await download_file(url, into, **single_attempt(roots_pem))
    assert not failed.value.permanent


@pytest.mark.parametrize("scheme", ["http", "https", "ftp", "ftps", "sftp"])
async def test_a_silent_server_ends_the_attempt(
    roots_pem: str, tmp_path: Path, scheme: str
) -> None:
    arguments = single_attempt(roots_pem)
    arguments["limits"] = TransferLimits(
        connect_timeout_s=0.3, stall_timeout_s=0.3, free_bytes_min=0
    )
    with socket.create_server(("127.0.0.1", 0)) as silent, trio.fail_after(3):
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(TransferFailed) as failed:
            await download_file(url, tmp_path / "x", **arguments)
    assert not failed.value.permanent


async def test_a_stall_ends_the_attempt(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (server.root / "image.bin").write_bytes(content)
    server.faults.stall_at = CUT
    limits = TransferLimits(connect_timeout_s=5, stall_timeout_s=1, free_bytes_min=0)
    started_at = trio.current_time()
    with pytest.raises(TransferFailed, match=r"no data for 1 s"):
        await download_file(
            server.url("image.bin"),
            tmp_path / "image.bin",
            roots_pem=roots_pem,
            run=run_in_thread,
            attempts=1,
            interval_s=0,
            limits=limits,
        )
    assert trio.current_time() - started_at < 10


async def test_a_stalled_upload_ends_the_attempt(
    server: FileServer, roots_pem: str, tmp_path: Path
) -> None:
    source = tmp_path / "log.zip"
    source.write_bytes(bytes(16 * 1024 * 1024))  # more than the buffers of the sockets
    server.faults.stall_at = CUT
    limits = TransferLimits(connect_timeout_s=5, stall_timeout_s=0.3, free_bytes_min=0)
    with trio.fail_after(5), pytest.raises(TransferFailed, match=r"no data for 0\.3 s"):
        await upload_file(
            source,
            server.url("log.zip"),
            roots_pem=roots_pem,
            run=run_in_thread,
            attempts=1,
            interval_s=0,
            limits=limits,
        )


async def test_a_full_disk_fails_before_the_first_byte(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (server.root / "image.bin").write_bytes(content)
    limits = TransferLimits(free_bytes_min=1 << 60)
    with pytest.raises(TransferFailed, match=r"not enough disk space for 300001 bytes") as failed:
        await download_file(
            server.url("image.bin"),
            tmp_path / "image.bin",
            roots_pem=roots_pem,
            run=run_in_thread,
            attempts=3,
            interval_s=60,
            limits=limits,
        )
    assert failed.value.permanent
    assert len(server.offsets) <= 1
    assert list(tmp_path.glob("image*")) == []


async def test_a_disk_that_fills_up_gets_its_space_back(
    server: FileServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (server.root / "image.bin").write_bytes(content)
    with file_size_limit(100_000), pytest.raises(TransferFailed, match="too large") as failed:
        await download_file(
            server.url("image.bin"),
            tmp_path / "image.bin",
            roots_pem=roots_pem,
            run=run_in_thread,
            attempts=3,
            interval_s=60,
            limits=FAST_LIMITS,
        )
    assert failed.value.permanent
    assert list(tmp_path.glob("image*")) == []


async def test_a_missing_source_is_a_permanent_failure(
    server: FileServer, roots_pem: str, tmp_path: Path
) -> None:
    with pytest.raises(TransferFailed, match="No such file") as failed:
        await upload_file(
            tmp_path / "gone.zip",
            server.url(""),
            roots_pem=roots_pem,
            run=run_in_thread,
            attempts=3,
            interval_s=60,
        )
    assert failed.value.permanent


@pytest.mark.parametrize("kind", ["https", "ftps", "ftps_implicit"])
async def test_a_certificate_of_another_authority_is_refused_n01_fr_15(
    start_server: ServerStarter, tmp_path: Path, kind: str
) -> None:
    server = start_server(kind)
    source = tmp_path / "log.zip"
    source.write_bytes(b"log")
    with pytest.raises(TransferFailed, match="CERTIFICATE_VERIFY_FAILED") as failed:
        await upload_file(
            source,
            server.url("log.zip"),
            roots_pem="",
            run=run_in_thread,
            attempts=1,
            interval_s=0,
            limits=FAST_LIMITS,
        )
    assert not failed.value.permanent
    assert list(server.root.iterdir()) == []


@pytest.mark.parametrize("kind", ["https", "ftps", "ftps_implicit"])
async def test_a_certificate_for_another_host_is_refused(
    start_server: ServerStarter, roots_pem: str, tmp_path: Path, kind: str
) -> None:
    server = start_server(kind)
    (server.root / "image.bin").write_bytes(b"image")
    url = server.url("image.bin").replace("127.0.0.1", "localhost")
    with pytest.raises(TransferFailed, match="mismatch"):
        await download_file(
            url,
            tmp_path / "image.bin",
            roots_pem=roots_pem,
            run=run_in_thread,
            attempts=1,
            interval_s=0,
            limits=FAST_LIMITS,
        )


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A disk with space for `size` bytes per file; Python turns SIGXFSZ into an OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
