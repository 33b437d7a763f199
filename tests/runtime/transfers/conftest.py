"""One server of each protocol on loopback, with one interface for all."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypedDict

import msgspec
import pytest
import trio
import trustme

from station.runtime.transfers import ftp
from station.runtime.transfers.attempt import AttemptOrder, AttemptResult, make_attempt
from station.runtime.transfers.results import TransferLimits
from station.runtime.transfers.retry import AttemptRunner
from tests.runtime.transfers.faults import TransferFaults
from tests.runtime.transfers.ftp_server import FtpServer
from tests.runtime.transfers.http_server import HttpServer
from tests.runtime.transfers.sftp_server import SftpServer

FILE_BYTES = 300_001  # several chunks, and not a multiple of them

FAST_LIMITS = TransferLimits(connect_timeout_s=5, stall_timeout_s=5, free_bytes_min=0)


class SingleAttempt(TypedDict):
    roots_pem: str
    attempts: int
    interval_s: float
    limits: TransferLimits
    run: AttemptRunner


def single_attempt(roots_pem: str) -> SingleAttempt:
    return SingleAttempt(
        roots_pem=roots_pem, attempts=1, interval_s=0, limits=FAST_LIMITS, run=run_in_thread
    )


async def run_in_thread(order: AttemptOrder) -> AttemptResult:
    """Make an attempt in this process: the start of another one takes half a second."""
    decoded = msgspec.json.decode(msgspec.json.encode(order), type=AttemptOrder)
    return await trio.to_thread.run_sync(make_attempt, decoded)


async def serve_fixed_reply(
    nursery: trio.Nursery, reply: bytes, *, after_request: bool = False
) -> int:
    """The port of a server that sends fixed bytes to every client and closes."""

    async def talk(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            if after_request:
                await stream.receive_some()
            await stream.send_all(reply)

    async def serve(
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await trio.serve_tcp(talk, 0, host="127.0.0.1", task_status=task_status)

    listeners: list[trio.SocketListener] = await nursery.start(serve)
    return int(listeners[0].socket.getsockname()[1])


class FileServer(Protocol):
    root: Path
    faults: TransferFaults
    offsets: list[int]

    @property
    def port(self) -> int: ...
    def url(self, path: str, userinfo: str = ...) -> str: ...
    def close(self) -> None: ...


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def roots_pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> Path:
    """Key and certificate for 127.0.0.1."""
    file = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(file))
    return file


@pytest.fixture
def content() -> bytes:
    return random.Random(7).randbytes(FILE_BYTES)


ServerStarter = Callable[[str], FileServer]


@pytest.fixture
def start_server(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServerStarter]:
    """Starts a server of one protocol on an empty directory."""
    servers: list[FileServer] = []

    def start(kind: str) -> FileServer:
        root = tmp_path / f"{kind}-{len(servers)}"
        root.mkdir()
        server: FileServer
        match kind:
            case "http":
                server = HttpServer(root)
            case "https":
                tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                tls.load_cert_chain(certificate)
                server = HttpServer(root, tls)
            case "ftp":
                server = FtpServer(root)
            case "ftps":
                server = FtpServer(root, certificate)
            case "ftps_implicit":
                server = FtpServer(root, certificate, implicit=True)
                monkeypatch.setattr(ftp, "IMPLICIT_FTPS", server.port)
            case _:
                server = SftpServer(root)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture(params=["http", "https", "ftp", "ftps", "ftps_implicit", "sftp"])
def server(request: pytest.FixtureRequest, start_server: ServerStarter) -> FileServer:
    return start_server(request.param)
