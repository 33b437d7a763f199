"""What FTP and SSH servers do, right and wrong."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
import trustme

from station.runtime.transfers import Limits, TransferFailed, download, upload
from tests.transfers.conftest import Opened, babbling, once
from tests.transfers.ftp_server import FtpFiles
from tests.transfers.sftp_server import SftpFiles

CUT = 150_001


@pytest.fixture(params=["ftps", "ftps_implicit"])
def secure(request: pytest.FixtureRequest, opened: Opened) -> FtpFiles:
    server = opened(request.param)
    assert isinstance(server, FtpFiles)
    return server


@pytest.fixture
def plain(opened: Opened) -> FtpFiles:
    server = opened("ftp")
    assert isinstance(server, FtpFiles)
    return server


async def test_what_ftps_carries_is_encrypted_in_one_tls_session(
    secure: FtpFiles, authority: trustme.CA, tmp_path: Path, content: bytes
) -> None:
    reused: list[bool | None] = []

    class Noted(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            reused.append(self.session_reused)

    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    trust.sslsocket_class = Noted
    (secure.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await download(secure.url("image.bin"), into, **once(trust))
    await upload(into, secure.url("back.bin"), **once(trust))
    assert secure.protected == [True, True]
    assert reused == [False, True, False, True]  # control, data, control, data
    assert (secure.root / "back.bin").read_bytes() == content


async def test_a_server_without_tls_never_hears_the_password(
    plain: FtpFiles, trust: ssl.SSLContext, tmp_path: Path
) -> None:
    (plain.root / "image.bin").write_bytes(b"image")
    url = plain.url("image.bin").replace("ftp:", "ftps:")
    with pytest.raises(TransferFailed) as failed:
        await download(url, tmp_path / "image.bin", **once(trust))
    assert failed.value.status == "NotSupportedOperation"
    assert plain.commands == ["AUTH"]


@pytest.mark.parametrize("missing", ["REST", "MDTM", "SIZE"])
async def test_a_server_that_cannot_resume_sends_it_all_again(
    plain: FtpFiles, trust: ssl.SSLContext, tmp_path: Path, content: bytes, missing: str
) -> None:
    plain.handler.proto_cmds = {
        name: about for name, about in plain.handler.proto_cmds.items() if name != missing
    }
    (plain.root / "image.bin").write_bytes(content)
    plain.faults.cut_at = [CUT]
    into = tmp_path / "image.bin"
    with pytest.raises(TransferFailed):
        await download(plain.url("image.bin"), into, **once(trust))
    await download(plain.url("image.bin"), into, **once(trust))
    assert into.read_bytes() == content
    assert plain.offsets == [0, 0]


async def test_an_upload_where_rest_is_unknown_starts_again(
    plain: FtpFiles, trust: ssl.SSLContext, tmp_path: Path, content: bytes
) -> None:
    plain.handler.proto_cmds = {
        name: about for name, about in plain.handler.proto_cmds.items() if name != "REST"
    }
    plain.faults.cut_at = [CUT]
    source = tmp_path / "log.zip"
    source.write_bytes(content)
    arguments = once(trust)
    arguments["attempts"] = 2
    await upload(source, plain.url("log.zip"), **arguments)
    assert (plain.root / "log.zip").read_bytes() == content
    assert plain.offsets == [0, 0]


async def test_an_encoded_slash_makes_a_path_absolute(
    plain: FtpFiles, trust: ssl.SSLContext, tmp_path: Path
) -> None:
    (plain.root / "image.bin").write_bytes(b"image")
    await download(plain.url("%2Fimage.bin"), tmp_path / "image.bin", **once(trust))
    assert (tmp_path / "image.bin").read_bytes() == b"image"


async def test_a_directory_that_is_none_is_not_made_up(
    plain: FtpFiles, trust: ssl.SSLContext, tmp_path: Path
) -> None:
    source = tmp_path / "log.zip"
    source.write_bytes(b"log")
    with pytest.raises(TransferFailed, match="550"):
        await upload(source, plain.url("logs/"), **once(trust))
    assert list(plain.root.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (b"220-hello\r\n" + b"welcome\r\n" * 100_000, "UploadFailure", "262144 bytes of replies"),
        (b"220 " + b"x" * 100_000 + b"\r\n", "UploadFailure", "more than 8192 bytes"),
        (b"220 \xff\xfe\r\n", "BadMessage", "makes no sense"),
        (b"elephant\r\n", "UploadFailure", "elephant"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "UploadFailure", "HTTP"),
        (b"", "UploadFailure", "closed"),
    ],
)
async def test_nonsense_from_an_ftp_server_fails_the_attempt(
    trust: ssl.SSLContext,
    tmp_path: Path,
    nursery: trio.Nursery,
    words: bytes,
    status: str,
    why: str,
) -> None:
    port = await babbling(nursery, words)
    with pytest.raises(TransferFailed, match=why) as failed:
        await download(f"ftp://127.0.0.1:{port}/x", tmp_path / "image.bin", **once(trust))
    assert failed.value.status == status
    assert len(str(failed.value)) <= 300
    assert list(tmp_path.glob("image*")) == []


@pytest.mark.parametrize("words", [b"", b"\xff" * 100_000, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_nonsense_from_an_ssh_server_fails_the_attempt_in_one_line(
    trust: ssl.SSLContext,
    tmp_path: Path,
    nursery: trio.Nursery,
    caplog: pytest.LogCaptureFixture,
    words: bytes,
) -> None:
    port = await babbling(nursery, words)
    arguments = once(trust)
    arguments["limits"] = Limits(connect_s=1, stall_s=1, spare_bytes=0)
    with pytest.raises(TransferFailed) as failed:
        await download(f"sftp://127.0.0.1:{port}/x", tmp_path / "image.bin", **arguments)
    assert not failed.value.permanent
    assert [line.name for line in caplog.records if line.name.startswith("paramiko")] == []


async def test_the_host_key_that_was_accepted_is_in_the_log(
    opened: Opened, trust: ssl.SSLContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "station.transfers")
    server = opened("sftp")
    assert isinstance(server, SftpFiles)
    (server.root / "image.bin").write_bytes(b"image")
    await download(server.url("image.bin"), tmp_path / "image.bin", **once(trust))
    assert server.key.fingerprint in caplog.text
    assert "p@ss" not in caplog.text
