"""Transfers over FTP, FTPS and SFTP: resuming, encryption, and servers that misbehave."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio

from station.runtime.transfers import attempt
from station.runtime.transfers.attempt import create_tls_context
from station.runtime.transfers.results import TransferFailed, TransferLimits
from station.runtime.transfers.retry import download_file, upload_file
from tests.runtime.transfers.conftest import ServerStarter, serve_fixed_reply, single_attempt
from tests.runtime.transfers.ftp_server import FtpServer
from tests.runtime.transfers.sftp_server import SftpServer

CUT = 150_001


@pytest.fixture(params=["ftps", "ftps_implicit"])
def ftps_server(request: pytest.FixtureRequest, start_server: ServerStarter) -> FtpServer:
    server = start_server(request.param)
    assert isinstance(server, FtpServer)
    return server


@pytest.fixture
def ftp_server(start_server: ServerStarter) -> FtpServer:
    server = start_server("ftp")
    assert isinstance(server, FtpServer)
    return server


async def test_ftps_data_is_encrypted_in_one_tls_session(
    ftps_server: FtpServer,
    roots_pem: str,
    tmp_path: Path,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reused: list[bool | None] = []

    class Noted(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            reused.append(self.session_reused)

    def create_noting_context(roots_pem: str) -> ssl.SSLContext:
        context = create_tls_context(roots_pem)
        context.sslsocket_class = Noted
        return context

    monkeypatch.setattr(attempt, "create_tls_context", create_noting_context)
    (ftps_server.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await download_file(ftps_server.url("image.bin"), into, **single_attempt(roots_pem))
    await upload_file(into, ftps_server.url("back.bin"), **single_attempt(roots_pem))
    assert ftps_server.protected == [True, True]
    assert reused == [False, True, False, True]  # control, data, control, data
    assert (ftps_server.root / "back.bin").read_bytes() == content


async def test_a_server_without_tls_never_receives_the_password(
    ftp_server: FtpServer, roots_pem: str, tmp_path: Path
) -> None:
    (ftp_server.root / "image.bin").write_bytes(b"image")
    url = ftp_server.url("image.bin").replace("ftp:", "ftps:")
    with pytest.raises(TransferFailed) as failed:
        await download_file(url, tmp_path / "image.bin", **single_attempt(roots_pem))
    assert failed.value.status == "NotSupportedOperation"
    assert ftp_server.commands == ["AUTH"]


@pytest.mark.parametrize("missing", ["REST", "MDTM", "SIZE"])
async def test_without_rest_the_whole_file_is_sent_again(
    ftp_server: FtpServer, roots_pem: str, tmp_path: Path, content: bytes, missing: str
) -> None:
    ftp_server.handler.proto_cmds = {
        name: about for name, about in ftp_server.handler.proto_cmds.items() if name != missing
    }
    (ftp_server.root / "image.bin").write_bytes(content)
    ftp_server.faults.cut_at = [CUT]
    into = tmp_path / "image.bin"
    with pytest.raises(TransferFailed):
        await download_file(ftp_server.url("image.bin"), into, **single_attempt(roots_pem))
    await download_file(ftp_server.url("image.bin"), into, **single_attempt(roots_pem))
    assert into.read_bytes() == content
    assert ftp_server.offsets == [0, 0]


async def test_an_upload_without_rest_starts_again(
    ftp_server: FtpServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    ftp_server.handler.proto_cmds = {
        name: about for name, about in ftp_server.handler.proto_cmds.items() if name != "REST"
    }
    ftp_server.faults.cut_at = [CUT]
    source = tmp_path / "log.zip"
    source.write_bytes(content)
    arguments = single_attempt(roots_pem)
    arguments["attempts"] = 2
    await upload_file(source, ftp_server.url("log.zip"), **arguments)
    assert (ftp_server.root / "log.zip").read_bytes() == content
    assert ftp_server.offsets == [0, 0]


async def test_an_encoded_slash_makes_a_path_absolute(
    ftp_server: FtpServer, roots_pem: str, tmp_path: Path
) -> None:
    (ftp_server.root / "image.bin").write_bytes(b"image")
    await download_file(
        ftp_server.url("%2Fimage.bin"), tmp_path / "image.bin", **single_attempt(roots_pem)
    )
    assert (tmp_path / "image.bin").read_bytes() == b"image"


async def test_a_missing_directory_is_not_created(
    ftp_server: FtpServer, roots_pem: str, tmp_path: Path
) -> None:
    source = tmp_path / "log.zip"
    source.write_bytes(b"log")
    with pytest.raises(TransferFailed, match="550"):
        await upload_file(source, ftp_server.url("logs/"), **single_attempt(roots_pem))
    assert list(ftp_server.root.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (b"220-hello\r\n" + b"welcome\r\n" * 100_000, "UploadFailure", "262144 bytes of replies"),
        (b"220 " + b"x" * 100_000 + b"\r\n", "UploadFailure", "more than 8192 bytes"),
        (b"220 \xff\xfe\r\n", "BadMessage", "malformed reply"),
        (b"elephant\r\n", "UploadFailure", "elephant"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "UploadFailure", "HTTP"),
        (b"", "UploadFailure", "closed"),
    ],
)
async def test_a_malformed_ftp_reply_fails_the_attempt(
    roots_pem: str,
    tmp_path: Path,
    nursery: trio.Nursery,
    words: bytes,
    status: str,
    why: str,
) -> None:
    port = await serve_fixed_reply(nursery, words)
    with pytest.raises(TransferFailed, match=why) as failed:
        await download_file(
            f"ftp://127.0.0.1:{port}/x", tmp_path / "image.bin", **single_attempt(roots_pem)
        )
    assert failed.value.status == status
    assert len(str(failed.value)) <= 300
    assert list(tmp_path.glob("image*")) == []


@pytest.mark.parametrize("words", [b"", b"\xff" * 100_000, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_malformed_ssh_banner_fails_the_attempt_in_one_line(
    roots_pem: str,
    tmp_path: Path,
    nursery: trio.Nursery,
    caplog: pytest.LogCaptureFixture,
    words: bytes,
) -> None:
    port = await serve_fixed_reply(nursery, words)
    arguments = single_attempt(roots_pem)
    arguments["limits"] = TransferLimits(connect_timeout_s=1, stall_timeout_s=1, free_bytes_min=0)
    with pytest.raises(TransferFailed) as failed:
        await download_file(f"sftp://127.0.0.1:{port}/x", tmp_path / "image.bin", **arguments)
    assert not failed.value.permanent
    assert [line.name for line in caplog.records if line.name.startswith("paramiko")] == []


async def test_the_accepted_host_key_is_logged(
    start_server: ServerStarter,
    roots_pem: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "station.transfers")
    server = start_server("sftp")
    assert isinstance(server, SftpServer)
    (server.root / "image.bin").write_bytes(b"image")
    await download_file(
        server.url("image.bin"), tmp_path / "image.bin", **single_attempt(roots_pem)
    )
    assert server.key.fingerprint in caplog.text
    assert "p@ss" not in caplog.text
