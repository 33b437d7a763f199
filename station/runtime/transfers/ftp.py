"""How does a file travel over FTP and FTPS?

Always passive (L01, N01: remarks), always binary. A broken transfer goes on by REST, both ways
(RFC 3659 §5). FTPS is AUTH TLS, or TLS from the first byte on port 990; data travels encrypted too,
never in the clear because a server would have it so. Everything here blocks, in a thread.
"""

from __future__ import annotations

import contextlib
import ftplib
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from station.runtime.transfers.outgoing import Outgoing
from station.runtime.transfers.partial import Partial
from station.runtime.transfers.target import IMPLICIT_FTPS, Target
from station.runtime.transfers.terms import CHUNK, FailureStatus, Limits, Means
from station.runtime.transfers.thread import Cord, in_thread, told

REPLIES_MAX: Final = 256 * 1024  # bytes a server may say on one control connection
STATUSES: Final[dict[str, FailureStatus]] = {
    "500": "NotSupportedOperation",
    "501": "BadMessage",
    "502": "NotSupportedOperation",
    "504": "NotSupportedOperation",
    "530": "PermissionDenied",
    "532": "PermissionDenied",
    "534": "NotSupportedOperation",
    "553": "PermissionDenied",
}


async def fetch(target: Target, partial: Partial, means: Means) -> None:
    """Receive what is missing of the file.

    Raises:
        TransferFailed: see its text.
    """

    def work(connection: socket.socket, cord: Cord) -> None:
        with _session(target, connection, cord, means) as client:
            _receive(client, target.file, partial, means)
        if partial.total is not None and partial.size != partial.total:
            raise target.failed(f"{partial.size} of {partial.total} bytes came")

    await in_thread(target, means.limits, work)


async def send(target: Target, outgoing: Outgoing, means: Means) -> None:
    """Send what is missing of the file at the other end.

    Raises:
        TransferFailed: see its text.
    """

    def work(connection: socket.socket, cord: Cord) -> None:
        with _session(target, connection, cord, means) as client:
            _store(client, client.place(target.file, outgoing.name), outgoing, means)

    await in_thread(target, means.limits, work)


def _receive(client: _Client, path: str, partial: Partial, means: Means) -> None:
    total = client.size_of(path)
    changed = client.time_of(path)
    validator = f"{total} {changed}" if total is not None and changed else ""
    rest = partial.size if partial.resumable and partial.validator == validator else 0
    data, rest = client.opened(f"RETR {path}", rest)
    with data:
        if not rest:
            partial.begin(total, validator)
        tell = told(means.progress)
        while chunk := data.recv(CHUNK):
            partial.append(chunk)
            tell(partial.size, partial.total)
    if partial.size != total:  # if it is, the count tells more than the server's word
        client.voidresp()


def _store(client: _Client, path: str, outgoing: Outgoing, means: Means) -> None:
    rest = min(client.size_of(path) or 0, outgoing.sent) if outgoing.sent else 0
    with outgoing.open() as file:
        data, rest = client.opened(f"STOR {path}", rest)
        with data:
            outgoing.sent = file.seek(rest)
            tell = told(means.progress)
            while chunk := file.read(CHUNK):
                data.sendall(chunk)
                outgoing.sent += len(chunk)
                tell(outgoing.sent, outgoing.size)
            with contextlib.suppress(OSError):  # whether all came, the reply tells
                if isinstance(data, ssl.SSLSocket):
                    data.unwrap()
                data.shutdown(socket.SHUT_WR)  # closing is not enough: the cord holds it open
    client.voidresp()


class _Client(ftplib.FTP_TLS):
    """A control connection whose every socket the cord reaches. Without AUTH it is plain FTP."""

    def __init__(self, target: Target, connection: socket.socket, cord: Cord, means: Means) -> None:
        super().__init__(context=means.trust, timeout=means.limits.stall_s)
        self.host = target.host
        self.sock = connection
        self.af = connection.family
        self._cord = cord
        self._limits = means.limits
        self._heard = 0

    def enter(self, target: Target) -> None:
        """Greeting, TLS if it is FTPS, login."""
        assert self.sock is not None
        if target.scheme == "ftps" and target.port == IMPLICIT_FTPS:
            self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        secure = target.scheme == "ftps"
        self.login(target.user, target.password, secure=secure)  # anonymous if both are empty
        if secure:
            self.prot_p()
        self.voidcmd("TYPE I")

    def getline(self) -> str:
        """Bounded: ftplib would collect the lines of an endless reply for ever."""
        line = super().getline()
        self._heard += len(line)
        if self._heard > REPLIES_MAX:
            raise ftplib.error_proto(f"more than {REPLIES_MAX} bytes of replies")
        return line

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        """As ftplib's, passive only, with two differences.

        The cord reaches the data connection from its beginning, and its TLS session is the control
        connection's: servers demand it, as proof that both come from the same client.
        """
        assert self.sock is not None
        host, port = self.makepasv()
        connection = self._cord.connect((host, port), self._limits)
        try:
            if rest is not None:
                self.sendcmd(f"REST {rest}")
            reply = self.sendcmd(cmd)
            if not reply.startswith("1"):
                raise ftplib.error_reply(reply)
            if isinstance(self.sock, ssl.SSLSocket):
                connection = self.context.wrap_socket(
                    connection, server_hostname=self.host, session=self.sock.session
                )
        except BaseException:
            connection.close()
            raise
        return connection, None

    def opened(self, command: str, rest: int) -> tuple[socket.socket, int]:
        """The data connection, and the byte it starts at: 0 if the server cannot REST."""
        if rest:
            with contextlib.suppress(ftplib.error_perm):
                return self.transfercmd(command, rest), rest
        return self.transfercmd(command), 0

    def size_of(self, path: str) -> int | None:
        """None if there is no such file, or the server does not tell."""
        try:
            return self.size(path)
        except ftplib.error_perm:
            return None

    def time_of(self, path: str) -> str:
        """When the file was changed, "" if the server does not tell."""
        try:
            return self.sendcmd(f"MDTM {path}").removeprefix("213 ")
        except ftplib.error_perm:
            return ""

    def place(self, path: str, name: str) -> str:
        """Where to store a file called `name`: in `path`, if that is a directory, or as `path`."""
        if not path:
            return name
        try:
            self.cwd(path)
        except ftplib.error_perm:
            if path.endswith("/"):
                raise
            return path
        return name


@contextlib.contextmanager
def _session(
    target: Target, connection: socket.socket, cord: Cord, means: Means
) -> Iterator[_Client]:
    """A client that is logged in; what goes wrong is put in words."""
    with _in_words(target, means.limits):
        client = _Client(target, connection, cord, means)
        try:
            client.enter(target)
            yield client
        finally:
            client.close()


@contextlib.contextmanager
def _in_words(target: Target, limits: Limits) -> Iterator[None]:
    try:
        yield
    except ftplib.Error as error:
        status = STATUSES.get(str(error)[:3], "UploadFailure")
        raise target.failed(str(error), status) from error
    except TimeoutError as error:
        raise target.failed(f"not a byte for {limits.stall_s:g} s") from error
    except EOFError as error:
        raise target.failed("connection closed") from error
    except ValueError as error:
        raise target.failed(f"a reply that makes no sense: {error}", "BadMessage") from error
    except OSError as error:
        raise target.failed(str(error)) from error
