"""One server of each kind, on loopback, and one way to use them all."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypedDict

import pytest
import trio
import trustme

from station.runtime.transfers import Limits, ftp
from tests.transfers.faults import Faults
from tests.transfers.ftp_server import FtpFiles
from tests.transfers.http_server import HttpFiles
from tests.transfers.sftp_server import SftpFiles

SIZE = 300_001  # bytes: several chunks, and no whole number of them

FAST = Limits(connect_s=5, stall_s=5, spare_bytes=0)


class Once(TypedDict):
    trust: ssl.SSLContext
    attempts: int
    interval_s: float
    limits: Limits


def once(trust: ssl.SSLContext) -> Once:
    return Once(trust=trust, attempts=1, interval_s=0, limits=FAST)


async def babbling(nursery: trio.Nursery, words: bytes, *, after_hearing: bool = False) -> int:
    """The port of a server that says the same to everybody and hangs up."""

    async def talk(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            if after_hearing:
                await stream.receive_some()
            await stream.send_all(words)

    async def serve(
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await trio.serve_tcp(talk, 0, host="127.0.0.1", task_status=task_status)

    listeners: list[trio.SocketListener] = await nursery.start(serve)
    return int(listeners[0].socket.getsockname()[1])


class Server(Protocol):
    root: Path
    faults: Faults
    offsets: list[int]

    @property
    def port(self) -> int: ...
    def url(self, path: str, userinfo: str = ...) -> str: ...
    def close(self) -> None: ...


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> Path:
    """Key and certificate for 127.0.0.1."""
    file = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(file))
    return file


@pytest.fixture
def content() -> bytes:
    return random.Random(7).randbytes(SIZE)


Opened = Callable[[str], Server]


@pytest.fixture
def opened(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Starts a server of one kind on an empty directory."""
    servers: list[Server] = []

    def start(kind: str) -> Server:
        root = tmp_path / f"{kind}-{len(servers)}"
        root.mkdir()
        server: Server
        match kind:
            case "http":
                server = HttpFiles(root)
            case "https":
                tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                tls.load_cert_chain(certificate)
                server = HttpFiles(root, tls)
            case "ftp":
                server = FtpFiles(root)
            case "ftps":
                server = FtpFiles(root, certificate)
            case "ftps_implicit":
                server = FtpFiles(root, certificate, implicit=True)
                monkeypatch.setattr(ftp, "IMPLICIT_FTPS", server.port)
            case _:
                server = SftpFiles(root)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture(params=["http", "https", "ftp", "ftps", "ftps_implicit", "sftp"])
def server(request: pytest.FixtureRequest, opened: Opened) -> Server:
    return opened(request.param)
