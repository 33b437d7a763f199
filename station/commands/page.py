"""`station page`: the pages for EV driver and operators, metrics and health, as a process."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import trio

from station.config.data_directory import restrict_new_files

if TYPE_CHECKING:
    from station.page.app import PageApp

DEFAULT_LISTEN: Final = "127.0.0.1:8180"
BACKLOG: Final = 64
NICENESS: Final = 10  # below the station, whatever browsers do
OOM_SCORE_FILE: Final = Path("/proc/self/oom_score_adj")
OOM_SCORE: Final = "500"
STDIN: Final = 0  # its number
PORT_MAX: Final = 65_535
EXTRA_MODULES: Final = frozenset({"starlette", "hypercorn", "prometheus_client"})


class AddressType(click.ParamType[tuple[str, int]]):
    """ADDRESS:PORT, with an IPv6 address in brackets."""

    name = "address"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        address, _, port = value.rpartition(":")
        is_number = port.isascii() and port.isdigit() and int(port) <= PORT_MAX
        if not address or not is_number or (":" in address and not address.startswith("[")):
            self.fail(f"{value!r} is not ADDRESS:PORT, as 127.0.0.1:8180 or [::1]:8180.")
        return address.strip("[]"), int(port)


@click.command("page")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="The station's data directory.",
)
@click.option(
    "--listen",
    type=AddressType(),
    default=DEFAULT_LISTEN,
    metavar="ADDRESS:PORT",
    show_default=True,
    help="Where browsers connect. Any other than a loopback address asks them for the token.",
)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def page_command(data: Path, listen: tuple[str, int], until_stdin_closes: bool) -> None:
    """Serve the pages for EV drivers and operators, metrics and health of a station.

    Reads the journal and asks the control socket; it may start before the station. Orders need the
    token in DATA/page.token. Ends with SIGTERM or Ctrl-C.
    """
    try:
        from station.page.access import Access, load_token
        from station.page.app import PageApp
    except ModuleNotFoundError as error:
        if error.name not in EXTRA_MODULES:
            raise
        raise click.UsageError(
            f"{error.name} is not installed. Install the extra: pip install 'ocpp-station[page]'."
        ) from None
    restrict_new_files()
    listener = _open_listener(*listen)
    address, port = listener.getsockname()[:2]
    try:
        token = load_token(data)
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}.") from None
    os.nice(NICENESS)
    _prefer_on_memory_shortage()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    shown = f"[{address}]" if ":" in address else address
    click.echo(f"http://{shown}:{port}/   operators; orders need the token in {data}/page.token")
    click.echo(f"http://{shown}:{port}/display/1   EV driver at EVSE 1")
    page = PageApp(data, Access(token, address, port))
    trio.run(_serve, page, listener, until_stdin_closes)


def _open_listener(address: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        click.UsageError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(target)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise click.UsageError(
            f"{address}:{port}: {error.strerror or error}. Give another --listen."
        ) from None
    return listener


def _prefer_on_memory_shortage() -> None:
    """Let the kernel end this process, and what it starts, before the station."""
    try:
        OOM_SCORE_FILE.write_text(OOM_SCORE, encoding="ascii")
    except OSError:  # no such file in this container; its limits count then
        return


async def _serve(page: PageApp, listener: socket.socket, until_stdin_closes: bool) -> None:
    """Serve until a signal, or until stdin closes."""
    from station.page.connections import serve_page

    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope)
            if until_stdin_closes:
                nursery.start_soon(_cancel_on_stdin_close, nursery.cancel_scope)
            app = await nursery.start(page.run)
            nursery.start_soon(serve_page, app, listeners)


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


async def _cancel_on_stdin_close(scope: trio.CancelScope) -> None:
    """Cancel when the program that started this one has ended."""
    while True:
        await trio.lowlevel.wait_readable(STDIN)
        if not os.read(STDIN, 4096):
            scope.cancel()
            return
