"""How does a file travel over SFTP?

A broken transfer goes on at its byte, both ways. Nothing in OCPP tells a station the host keys of
file servers, so every key is accepted, and its fingerprint logged: SFTP keeps eavesdroppers out,
not impostors. A firmware image proves itself by its signature; a log for which that is not enough
goes by HTTPS or FTPS. Everything here blocks, in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from station.runtime.transfers.outgoing import Outgoing
from station.runtime.transfers.partial import Partial
from station.runtime.transfers.target import Target
from station.runtime.transfers.terms import Limits, Means
from station.runtime.transfers.thread import Cord, in_thread, told

if TYPE_CHECKING:
    import paramiko

PIECE: Final = 32 * 1024  # bytes; what one request of SFTP carries

log = logging.getLogger("station.transfers")
logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # tracebacks of what we report in a line


async def fetch(target: Target, partial: Partial, means: Means) -> None:
    """Receive what is missing of the file.

    Raises:
        TransferFailed: see its text.
    """

    def work(connection: socket.socket, cord: Cord) -> None:
        with _session(target, connection, means.limits) as client:
            _receive(client, _path(target), partial, means)
        if partial.size != partial.total:
            raise target.failed(f"{partial.size} of {partial.total} bytes came")

    await in_thread(target, means.limits, work)


async def send(target: Target, outgoing: Outgoing, means: Means) -> None:
    """Send what is missing of the file at the other end.

    Raises:
        TransferFailed: see its text.
    """

    def work(connection: socket.socket, cord: Cord) -> None:
        with _session(target, connection, means.limits) as client:
            path = _place(client, _path(target), outgoing.name)
            _store(client, path, outgoing, means)
            there = client.stat(path).st_size
        if there != outgoing.size:
            raise target.failed(f"{there} of {outgoing.size} bytes are there")

    await in_thread(target, means.limits, work)


def _receive(client: paramiko.SFTPClient, path: str, partial: Partial, means: Means) -> None:
    tell = told(means.progress)
    with client.open(path, "rb") as file:
        about = file.stat()
        validator = f"{about.st_size} {about.st_mtime}" if about.st_mtime else ""
        if partial.resumable and partial.validator == validator:
            file.seek(partial.size)
        else:
            partial.begin(about.st_size, validator)
        while chunk := file.read(PIECE):
            partial.append(chunk)
            tell(partial.size, partial.total)


def _store(client: paramiko.SFTPClient, path: str, outgoing: Outgoing, means: Means) -> None:
    """One write at a time: of several under way the first may fail, and leave a hole."""
    tell = told(means.progress)
    rest = min(_size_of(client, path), outgoing.sent) if outgoing.sent else 0
    with outgoing.open() as source, client.open(path, "r+b" if rest else "wb") as file:
        file.seek(rest)
        outgoing.sent = source.seek(rest)
        while chunk := source.read(PIECE):
            file.write(chunk)
            outgoing.sent += len(chunk)
            tell(outgoing.sent, outgoing.size)


def _path(target: Target) -> str:
    """Absolute, except behind /~/, which is the user's home."""
    return target.file[2:] if target.file.startswith("~/") else "/" + target.file


def _place(client: paramiko.SFTPClient, path: str, name: str) -> str:
    """Where to store a file called `name`: in `path`, if that is a directory, or as `path`."""
    try:
        mode = client.stat(path or ".").st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        return f"{path.rstrip('/')}/{name}" if path else name
    return path


def _size_of(client: paramiko.SFTPClient, path: str) -> int:
    """0 if there is no such file."""
    try:
        return client.stat(path).st_size or 0
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _session(
    target: Target, connection: socket.socket, limits: Limits
) -> Iterator[paramiko.SFTPClient]:
    """A client that is logged in; what goes wrong is put in words."""
    import paramiko  # costs a tenth of a second and 10 MB: only where it is used

    with _in_words(target, limits):
        transport = paramiko.Transport(connection)
        try:
            transport.banner_timeout = limits.connect_s
            transport.handshake_timeout = limits.connect_s
            transport.auth_timeout = limits.stall_s
            transport.channel_timeout = limits.stall_s
            transport.start_client(timeout=limits.connect_s)
            key = transport.get_remote_server_key()
            log.info("%s: host key %s %s accepted", target.shown, key.get_name(), key.fingerprint)
            transport.auth_password(target.user, target.password)
            client = paramiko.SFTPClient.from_transport(transport)
            assert client is not None  # a channel that does not open raises
            channel = client.get_channel()
            assert channel is not None
            channel.settimeout(limits.stall_s)
            yield client
        finally:
            transport.close()


@contextlib.contextmanager
def _in_words(target: Target, limits: Limits) -> Iterator[None]:
    import paramiko

    try:
        yield
    except paramiko.AuthenticationException as error:
        raise target.failed(f"login refused: {error}", "PermissionDenied") from error
    except paramiko.SSHException as error:
        raise target.failed(str(error) or "SSH failed", "BadMessage") from error
    except PermissionError as error:
        raise target.failed("permission denied", "PermissionDenied") from error
    except TimeoutError as error:
        raise target.failed(f"not a byte for {limits.stall_s:g} s") from error
    except EOFError as error:
        raise target.failed("connection closed") from error
    except OSError as error:
        raise target.failed(error.strerror or str(error) or type(error).__name__) from error
