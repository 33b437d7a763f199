"""`station demo`: a CSMS, a station and one whole charging session, to be watched.

The station is the real program in a process of its own; its devices and the CSMS are doubles.
At the end what the CSMS was told, what the journal holds and what the meter counted are compared.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import trio

from journal.observations import CableReported, ContactorReported, IdTokenPresented
from journal.projections.authorizations import AuthorizationEnded, AuthorizationGranted
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStarted, TransactionStopping
from journal.reader import Reader
from journal.terms import Entry
from journal.verify import verify
from station.commands.answers import No
from station.commands.demo_account import Written, differences
from station.commands.demo_station import IDENTITY, DemoStation
from station.commands.demo_voice import Voice, bar
from station.commands.journals import opened
from station.commands.replay import STYLES
from station.messages import Datatype
from station.messages.a_security import SecurityEventNotificationRequest
from station.messages.b_provisioning import BootNotificationRequest
from station.messages.c_authorization import AuthorizeRequest
from station.messages.datatypes import IdTokenInfoType
from station.messages.e_transactions import TransactionEventRequest
from station.messages.g_availability import StatusNotificationRequest
from station.simulation.csms import CsmsDouble, serve
from station.simulation.ledger import Account
from station.transcript import line, meaning

ALICE: Final = "04A224B2"
EVSE: Final = 1
EV: Final = {  # a small battery, so that one sees it fill
    "capacity_wh": 3_000,
    "soc": 20,
    "max_voltage_v": 800,
    "max_current_a": 300,
    "max_power_w": 200_000,
}
CHARGE_S: Final = 18.0
FULL_ENOUGH: Final = 80  # %; from here an EV takes less and less
PATIENCE_S: Final = 30.0  # for one thing to happen on a loaded machine
POLL_S: Final = 0.04  # between two looks at what passes quickly
LOOK_S: Final = 0.2  # between two looks at the cable
KWH: Final = Decimal(1000)

# What the charge controller is doing, in the order it comes.
STAGES: Final = {
    "CCS_AUTHORISATION_PROCESS": "talks with the EV; somebody may charge",
    "CONNECTED_WITH_FULL_INFO": "knows what the EV can take",
    "INSULATION_TEST": "tests the insulation of the cable",
    "PRECHARGE": "brings the cable to the voltage of the battery",
    "WAITING_FOR_CHARGE": "has closed the contactors",
    "CHARGING": "charges",
    "ENDING_CHARGE": "lets the current go down",
    "WELDING_DETECTION": "opens the contactors and makes sure they are open",
    "CLOSING_COMMUNICATION": "says goodbye to the EV",
}

# The entries a transaction can be followed by, of all that lie around it.
TELLING: Final = (
    IdTokenPresented,
    AuthorizationGranted,
    CableReported,
    ContactorReported,
    TransactionStarted,
    AuthorizationEnded,
    TransactionStopping,
)


@click.command("demo")
@click.option("--once", is_flag=True, help="End after the session; exit code 1 if anything is off.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where the station lives.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    default=CHARGE_S,
    show_default=True,
    help="How long energy flows.",
)
def demo_command(once: bool, data: Path, seconds: float) -> None:
    """Watch one whole charging session: a CSMS, a station and its devices, all on this machine.

    Afterwards the station stays up to be played with, until Ctrl-C. A journal that is there
    already is continued.
    """
    found = trio.run(_until_signalled, data, once, seconds)
    for difference in found:
        click.echo(f"demo: {difference}", err=True)
    if found:
        raise click.exceptions.Exit(1)


async def _until_signalled(data: Path, once: bool, seconds: float) -> list[str]:
    """Run the demo; Ctrl-C, SIGTERM or a closed terminal ends it and everything it started."""
    demo = Demo(data)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_at_signal, signals, nursery.cancel_scope)
            await demo.run(once, seconds)
            nursery.cancel_scope.cancel()
    if demo.found is None:
        raise click.Abort
    return demo.found


async def _end_at_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


class Demo:
    """One performance."""

    def __init__(self, data: Path) -> None:
        self.station = DemoStation(data)
        self.voice = Voice()
        self.csms = CsmsDouble({ALICE: IdTokenInfoType(status="Accepted")}, told=self._told)
        self.found: list[str] | None = None  # what differs, once it is known
        self._before = 0  # entries of earlier runs
        self._session = 1  # the first entry of the session
        self._most_w = Decimal(0)
        self._status: dict[int, str] = {}  # of each EVSE, as the CSMS knows it

    async def run(self, once: bool, seconds: float) -> None:
        """All of it, with `seconds` of energy; whatever happens, the station is ended."""
        try:
            async with trio.open_nursery() as nursery:
                listening = await nursery.start(
                    partial(serve, self.csms, passwords={IDENTITY: self.station.password})
                )
                self._announce(listening.url)
                await self.station.start(listening.url)
                await self._boots()
                account, meter_wh = await self._charges(seconds)
                self.found = self._compared(account, meter_wh)
                self._shows(account)
                if not once:
                    await self._stays(listening.url)
                nursery.cancel_scope.cancel()
        finally:
            code = await self.station.end()
        if code and self.found is not None:
            self.found.append(f"the station ended with exit code {code}. See {self.station.log}")

    def _announce(self, url: str) -> None:
        if self.station.journal.exists():
            with closing(opened(self.station.journal)) as reader:
                self._before = reader.head().seq
        history = f", whose journal has {self._before} entries already" if self._before else ""
        self.voice.plain(f"A CSMS double listens on {url}. It knows one card: {ALICE}.")
        self.voice.plain(
            f"A station with emulated devices starts in {self.station.directory}{history}."
        )
        self.voice.plain()

    # --- What the CSMS hears ---------------------------------------------------------------------

    def _told(self, action: str, request: Datatype) -> None:
        match request:
            case BootNotificationRequest(charging_station=found, reason=reason):
                said = f"accepts {found.model} by {found.vendor_name}, which started by {reason}"
            case StatusNotificationRequest() as status:
                self._status[status.evse_id] = status.connector_status
                said = f"hears that EVSE {status.evse_id} is {status.connector_status}"
            case AuthorizeRequest(id_token=id_token):
                known = (
                    "Accepted" if id_token.id_token.casefold() in self.csms.tokens else "Unknown"
                )
                said = f"is asked for card {id_token.id_token}: {known}"
            case SecurityEventNotificationRequest(type=type):
                said = f"hears of a security event: {type}"
            case TransactionEventRequest(trigger_reason="MeterValuePeriodic"):
                return  # each two seconds; the moving line tells it better
            case TransactionEventRequest() as event:
                said = f"hears {_event_in_words(event)}"
            case _:
                said = f"hears {action}"
        self.voice.says("CSMS", said)

    # --- The session -----------------------------------------------------------------------------

    async def _boots(self) -> None:
        await self.station.until(self._quiet, PATIENCE_S, "told an Available EVSE")
        state = await self.station.does("state")
        self.voice.says("station", f"is ready; its journal is at entry {state['journal']['seq']}")

    async def _quiet(self) -> bool:
        """Whether the CSMS knows everything, and nobody charges."""
        state = await self.station.does("state")
        busy = any(evse["transaction_id"] for evse in state["evses"])
        free = self._status.get(EVSE) == "Available"
        return bool(free and not busy and not state["outbox"])

    async def _charges(self, seconds: float) -> tuple[Account, Decimal]:
        """One session; what the CSMS was told of it, and what the meter counted."""
        before_wh = await self._meter_wh()
        known = set(self.csms.ledger.accounts)
        self._session = (await self.station.does("state"))["journal"]["seq"] + 1
        self.voice.says("EV driver", f"holds card {ALICE} to the reader")
        await self.station.does("present_token", id_token=ALICE, type="ISO14443", evse_id=EVSE)
        await trio.sleep(1)
        self.voice.says("EV driver", f"plugs in an EV at {EV['soc']} % of {EV['capacity_wh']} Wh")
        await self.station.does("plug_in", evse_id=EVSE, ev=EV)
        await self._sets_up()
        await self._fills(seconds)
        self.voice.says("EV driver", "has enough, and shows the card again")
        await self.station.does("present_token", id_token=ALICE, type="ISO14443", evse_id=EVSE)
        await self._winds_down()
        [account] = [one for name, one in self.csms.ledger.accounts.items() if name not in known]
        await self.station.until(closed_of(account), PATIENCE_S, "told the end")
        self.voice.says("EV driver", "unplugs and drives off")
        await self.station.does("unplug", evse_id=EVSE)
        await self.station.until(self._quiet, PATIENCE_S, "delivered everything")
        return account, await self._meter_wh() - before_wh

    async def _meter_wh(self) -> Decimal:
        return Decimal((await self.station.world(EVSE))["energy_wh"])

    async def _sets_up(self) -> None:
        """From the plug to flowing energy."""
        await self._watched(lambda now: now["secc_state"] == "CHARGING" and now["current_a"] > 1)

    async def _winds_down(self) -> None:
        await self._watched(lambda now: now["contactor"] == "open")

    async def _watched(self, reached: Callable[[dict[str, Any]], bool]) -> None:
        """Tell what the charge controller does until something is so."""
        stage = (await self.station.world(EVSE))["secc_state"]
        with trio.move_on_after(PATIENCE_S):
            while True:
                now = await self.station.world(EVSE)
                if now["secc_state"] != stage:
                    stage = now["secc_state"]
                    self._enters(stage, now["voltage_v"])
                if reached(now):
                    return
                await trio.sleep(POLL_S)
        raise No(f"demo: EVSE {EVSE} stays in {stage}. See {self.station.log}.")

    def _enters(self, stage: str, voltage_v: Decimal) -> None:
        words = STAGES.get(stage)
        if words:
            self.voice.says("station", words + (f": {voltage_v:.0f} V" if voltage_v > 1 else ""))

    async def _fills(self, seconds: float) -> None:
        """Energy flows; a line tells how much."""
        began_wh = Decimal((await self.station.world(EVSE))["energy_exact_wh"])
        with trio.move_on_after(seconds):
            while True:
                now = await self.station.world(EVSE)
                self._most_w = max(self._most_w, now["voltage_v"] * now["current_a"])
                self.voice.moving("station", _flow_in_words(now, began_wh))
                if now["soc"] is None or now["soc"] >= FULL_ENOUGH:
                    break
                await trio.sleep(LOOK_S)
        self.voice.settle()

    # --- What came of it -------------------------------------------------------------------------

    def _compared(self, account: Account, meter_wh: Decimal) -> list[str]:
        """Where CSMS, journal and meter disagree, or the journal is not whole."""
        with closing(opened(self.station.journal)) as reader:
            entries = list(reader.entries(self._before + 1))
        return [
            *self.csms.complaints,
            *differences(account, Written(account.transaction_id, entries), meter_wh),
            *map(str, verify(self.station.journal)),
        ]

    def _shows(self, account: Account) -> None:
        """What it came to, and where it is written."""
        assert self.found is not None, "compared before it is shown"
        voice = self.voice
        with closing(opened(self.station.journal)) as reader:
            telling = list(_telling(reader, self._session, account.transaction_id))
            head = reader.head()
        voice.plain()
        energy_kwh = (account.energy_wh or Decimal(0)) / KWH
        voice.plain(f"Delivered: {energy_kwh} kWh, at most {self._most_w / KWH:.1f} kW.", "bold")
        voice.plain(
            f"The CSMS has {len(account.events)} TransactionEvents, {len(account.gaps)} missing, "
            f"{account.duplicates} sent twice."
        )
        for difference in self.found:
            voice.plain(f"They disagree: {difference}", "bold red")
        if not self.found:
            voice.plain("The journal and the meter say the same, and no entry was tampered with.")
        voice.plain()
        voice.plain("The journal's own words (the rest of them: see below):")
        for entry in telling:
            voice.plain(f"  {line(entry)}", STYLES[meaning(entry.event)[0]])
        voice.plain(f"  It ends at {head.seq}:{head.digest.hex()}")
        voice.plain()

    async def _stays(self, url: str) -> None:
        """Be there to be played with until Ctrl-C, or until the station ends by itself."""
        name, data = program(), shlex.quote(str(self.station.directory))
        self.voice.plain("The station stays up. What to try next, in another terminal:", "bold")
        commands = (
            (f"{name} replay {data} --follow", "watch it think"),
            (f"{name} sim present-token {ALICE} --data {data}", "show the card"),
            (f"{name} sim plug-in -e 2 --data {data}", "plug an EV in at EVSE 2"),
            (f"{name} sim link closed --data {data}", "cut the network; `up` brings it back"),
            (f"{name} outbox {data} list", "see what waits for the CSMS"),
            (f"{name} sim emergency-stop --data {data}", "push the red button"),
            (f"{name} verify {data}", "prove that nothing was touched"),
        )
        width = max(len(command) for command, _ in commands)
        for command, purpose in commands:
            self.voice.plain(f"  {command:<{width}}  {purpose}")
        self.voice.plain(f"The CSMS is at {url}, the station's log at {self.station.log}.")
        self.voice.plain("Ctrl-C ends it.")
        code = await self.station.ended()
        raise No(f"demo: the station ended with exit code {code}. See {self.station.log}.")


def closed_of(account: Account) -> Callable[[], Awaitable[bool]]:
    """Whether the CSMS was told the end of a transaction and everything before."""

    async def closed() -> bool:
        return account.closed

    return closed


# --- Words ---------------------------------------------------------------------------------------


def _event_in_words(event: TransactionEventRequest) -> str:
    info = event.transaction_info
    state = f", {info.charging_state}" if info.charging_state else ""
    return f"TransactionEvent {event.seq_no} {event.event_type}: {event.trigger_reason}{state}" + (
        f", stopped: {info.stopped_reason}" if info.stopped_reason else ""
    )


def _flow_in_words(now: Mapping[str, Any], began_wh: Decimal) -> str:
    power_kw = now["voltage_v"] * now["current_a"] / 1000
    energy_kwh = (Decimal(now["energy_exact_wh"]) - began_wh) / KWH
    soc = now["soc"] or Decimal(0)
    return (
        f"{power_kw:5.1f} kW  {now['voltage_v']:3.0f} V  {now['current_a']:3.0f} A  "
        f"{energy_kwh:.3f} kWh  {bar(float(soc))} {soc:3.0f} %"
    )


def _telling(reader: Reader, first: int, transaction_id: str) -> Iterator[Entry]:
    """The entries a session can be followed by."""
    for entry in reader.entries(first):
        match entry.event:
            case CallQueued(transaction=mark) if mark and mark.transaction_id == transaction_id:
                if mark.event_type != "Updated":
                    yield entry
            case event if isinstance(event, TELLING):
                if getattr(event, "evse_id", EVSE) == EVSE:
                    yield entry


def program() -> str:
    """How the person who reads this may type `station`."""
    typed = Path(sys.argv[0])
    if typed.name != "station":
        return f"{shlex.quote(sys.executable)} -m station"
    on_path = shutil.which("station")
    return "station" if on_path and Path(on_path).samefile(typed) else shlex.quote(str(typed))
