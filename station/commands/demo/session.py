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

from journal.events import Entry
from journal.maintenance.verify import verify
from journal.observations import CableReported, ContactorReported, IdTokenPresented
from journal.projections.authorizations import AuthorizationEnded, AuthorizationGranted
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStarted, TransactionStopOrdered
from journal.storage.reader import Reader
from station.commands.demo.console import DemoConsole, format_bar
from station.commands.demo.reconciliation import JournaledTransaction, find_differences
from station.commands.demo.station_process import IDENTITY, DemoStation
from station.commands.replay import ACTOR_STYLES
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import open_journal
from station.ocpp.messages import Datatype
from station.ocpp.messages.a_security import SecurityEventNotificationRequest
from station.ocpp.messages.b_provisioning import BootNotificationRequest
from station.ocpp.messages.c_authorization import AuthorizeRequest
from station.ocpp.messages.datatypes import IdTokenInfoType
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.ocpp.messages.g_availability import StatusNotificationRequest
from station.simulation.csms_double import CsmsDouble, serve_csms
from station.simulation.csms_ledger import TransactionRecord
from station.transcript.lines import describe_event, format_entry

ALICE: Final = "04A224B2"
EVSE_ID: Final = 1
EV_PARAMETERS: Final = {  # a small battery, so that one sees it fill
    "capacity_wh": 3_000,
    "soc": 20,
    "max_voltage_v": 800,
    "max_current_a": 300,
    "max_power_w": 200_000,
}
CHARGING_S: Final = 18.0
TARGET_SOC_PERCENT: Final = 80  # %; from here an EV takes less and less
STEP_TIMEOUT_S: Final = 30.0  # for one thing to happen on a loaded machine
POLL_INTERVAL_S: Final = 0.04  # between two looks at what passes quickly
METER_POLL_INTERVAL_S: Final = 0.2  # between two looks at the cable
WH_PER_KWH: Final = Decimal(1000)

# What the charge controller is doing, in the order it comes.
STAGE_TEXTS: Final = {
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
SESSION_EVENTS: Final = (
    IdTokenPresented,
    AuthorizationGranted,
    CableReported,
    ContactorReported,
    TransactionStarted,
    AuthorizationEnded,
    TransactionStopOrdered,
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
    default=CHARGING_S,
    show_default=True,
    help="How long energy flows.",
)
def demo_command(once: bool, data: Path, seconds: float) -> None:
    """Watch one whole charging session: a CSMS, a station and its devices, all on this machine.

    Afterwards the station stays up to be played with, until Ctrl-C. A journal that is there
    already is continued.
    """
    found = trio.run(_run_until_signal, data, once, seconds)
    for difference in found:
        click.echo(f"demo: {difference}", err=True)
    if found:
        raise click.exceptions.Exit(1)


async def _run_until_signal(data: Path, once: bool, seconds: float) -> list[str]:
    """Run the demo; Ctrl-C, SIGTERM or a closed terminal ends it and everything it started."""
    demo = Demo(data)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope)
            await demo.run(once, seconds)
            nursery.cancel_scope.cancel()
    if demo.differences is None:
        raise click.Abort
    return demo.differences


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


class Demo:
    """One performance."""

    def __init__(self, data: Path) -> None:
        self.station = DemoStation(data)
        self.console = DemoConsole()
        self.csms = CsmsDouble(
            {ALICE: IdTokenInfoType(status="Accepted")}, on_request=self._on_request
        )
        self.differences: list[str] | None = None  # what differs, once it is known
        self._seq_before = 0  # entries of earlier runs
        self._session_first_seq = 1  # the first entry of the session
        self._power_max_w = Decimal(0)
        self._status_by_evse: dict[int, str] = {}  # of each EVSE, as the CSMS knows it

    async def run(self, once: bool, seconds: float) -> None:
        """All of it, with `seconds` of energy; whatever happens, the station is ended."""
        try:
            async with trio.open_nursery() as nursery:
                listening = await nursery.start(
                    partial(serve_csms, self.csms, passwords={IDENTITY: self.station.password})
                )
                self._print_introduction(listening.url)
                await self.station.start(listening.url)
                await self._wait_until_ready()
                account, meter_wh = await self._run_session(seconds)
                self.differences = self._find_differences(account, meter_wh)
                self._print_summary(account)
                if not once:
                    await self._wait_for_interrupt(listening.url)
                nursery.cancel_scope.cancel()
        finally:
            code = await self.station.stop()
        if code and self.differences is not None:
            self.differences.append(
                f"the station ended with exit code {code}. See {self.station.log}"
            )

    def _print_introduction(self, url: str) -> None:
        if self.station.journal.exists():
            with closing(open_journal(self.station.journal)) as reader:
                self._seq_before = reader.read_head().seq
        history = (
            f", whose journal has {self._seq_before} entries already" if self._seq_before else ""
        )
        self.console.print_line(f"A CSMS double listens on {url}. It knows one card: {ALICE}.")
        self.console.print_line(
            f"A station with emulated devices starts in {self.station.directory}{history}."
        )
        self.console.print_line()

    # --- What the CSMS hears ---------------------------------------------------------------------

    def _on_request(self, action: str, request: Datatype) -> None:
        match request:
            case BootNotificationRequest(charging_station=found, reason=reason):
                said = f"accepts {found.model} by {found.vendor_name}, which started by {reason}"
            case StatusNotificationRequest() as status:
                self._status_by_evse[status.evse_id] = status.connector_status
                said = f"hears that EVSE {status.evse_id} is {status.connector_status}"
            case AuthorizeRequest(id_token=id_token):
                known = (
                    "Accepted" if id_token.id_token.casefold() in self.csms.id_tokens else "Unknown"
                )
                said = f"is asked for card {id_token.id_token}: {known}"
            case SecurityEventNotificationRequest(type=type):
                said = f"hears of a security event: {type}"
            case TransactionEventRequest(trigger_reason="MeterValuePeriodic"):
                return  # each two seconds; the moving line tells it better
            case TransactionEventRequest() as event:
                said = f"hears {_describe_event(event)}"
            case _:
                said = f"hears {action}"
        self.console.print_event("CSMS", said)

    # --- The session -----------------------------------------------------------------------------

    async def _wait_until_ready(self) -> None:
        await self.station.wait_until(self._is_idle, STEP_TIMEOUT_S, "told an Available EVSE")
        state = await self.station.send_operation("state")
        self.console.print_event(
            "station", f"is ready; its journal is at entry {state['journal']['seq']}"
        )

    async def _is_idle(self) -> bool:
        """Whether the CSMS knows everything, and nobody charges."""
        state = await self.station.send_operation("state")
        busy = any(evse["transaction_id"] for evse in state["evses"])
        free = self._status_by_evse.get(EVSE_ID) == "Available"
        return bool(free and not busy and not state["outbox"])

    async def _run_session(self, seconds: float) -> tuple[TransactionRecord, Decimal]:
        """One session; what the CSMS was told of it, and what the meter counted."""
        before_wh = await self._read_meter_wh()
        known = set(self.csms.ledger.transactions)
        self._session_first_seq = (await self.station.send_operation("state"))["journal"]["seq"] + 1
        self.console.print_event("EV driver", f"holds card {ALICE} to the reader")
        await self.station.send_operation(
            "present_token", id_token=ALICE, type="ISO14443", evse_id=EVSE_ID
        )
        await trio.sleep(1)
        self.console.print_event(
            "EV driver",
            f"plugs in an EV at {EV_PARAMETERS['soc']} % of {EV_PARAMETERS['capacity_wh']} Wh",
        )
        await self.station.send_operation("plug_in", evse_id=EVSE_ID, ev=EV_PARAMETERS)
        await self._wait_until_charging()
        await self._show_charging(seconds)
        self.console.print_event("EV driver", "has enough, and shows the card again")
        await self.station.send_operation(
            "present_token", id_token=ALICE, type="ISO14443", evse_id=EVSE_ID
        )
        await self._wait_until_open()
        [account] = [
            one for name, one in self.csms.ledger.transactions.items() if name not in known
        ]
        await self.station.wait_until(closed_condition(account), STEP_TIMEOUT_S, "told the end")
        self.console.print_event("EV driver", "unplugs and drives off")
        await self.station.send_operation("unplug", evse_id=EVSE_ID)
        await self.station.wait_until(self._is_idle, STEP_TIMEOUT_S, "delivered everything")
        return account, await self._read_meter_wh() - before_wh

    async def _read_meter_wh(self) -> Decimal:
        return Decimal((await self.station.read_emulated_evse(EVSE_ID))["energy_wh"])

    async def _wait_until_charging(self) -> None:
        """From the plug to flowing energy."""
        await self._show_stages_until(
            lambda now: now["secc_state"] == "CHARGING" and now["current_a"] > 1
        )

    async def _wait_until_open(self) -> None:
        await self._show_stages_until(lambda now: now["contactor"] == "open")

    async def _show_stages_until(self, reached: Callable[[dict[str, Any]], bool]) -> None:
        """Tell what the charge controller does until something is so."""
        stage = (await self.station.read_emulated_evse(EVSE_ID))["secc_state"]
        with trio.move_on_after(STEP_TIMEOUT_S):
            while True:
                now = await self.station.read_emulated_evse(EVSE_ID)
                if now["secc_state"] != stage:
                    stage = now["secc_state"]
                    self._show_stage(stage, now["voltage_v"])
                if reached(now):
                    return
                await trio.sleep(POLL_INTERVAL_S)
        raise CommandFailed(f"demo: EVSE {EVSE_ID} stays in {stage}. See {self.station.log}.")

    def _show_stage(self, stage: str, voltage_v: Decimal) -> None:
        words = STAGE_TEXTS.get(stage)
        if words:
            self.console.print_event(
                "station", words + (f": {voltage_v:.0f} V" if voltage_v > 1 else "")
            )

    async def _show_charging(self, seconds: float) -> None:
        """Energy flows; a line tells how much."""
        began_wh = Decimal((await self.station.read_emulated_evse(EVSE_ID))["energy_exact_wh"])
        with trio.move_on_after(seconds):
            while True:
                now = await self.station.read_emulated_evse(EVSE_ID)
                self._power_max_w = max(self._power_max_w, now["voltage_v"] * now["current_a"])
                self.console.update_line("station", _describe_flow(now, began_wh))
                if now["soc"] is None or now["soc"] >= TARGET_SOC_PERCENT:
                    break
                await trio.sleep(METER_POLL_INTERVAL_S)
        self.console.finish_line()

    # --- What came of it -------------------------------------------------------------------------

    def _find_differences(self, account: TransactionRecord, meter_wh: Decimal) -> list[str]:
        """Where CSMS, journal and meter disagree, or the journal is not whole."""
        with closing(open_journal(self.station.journal)) as reader:
            entries = list(reader.iter_entries(self._seq_before + 1))
        return [
            *self.csms.complaints,
            *find_differences(
                account, JournaledTransaction(account.transaction_id, entries), meter_wh
            ),
            *map(str, verify(self.station.journal)),
        ]

    def _print_summary(self, account: TransactionRecord) -> None:
        """What it came to, and where it is written."""
        assert self.differences is not None, "compared before it is shown"
        voice = self.console
        with closing(open_journal(self.station.journal)) as reader:
            telling = list(
                _session_entries(reader, self._session_first_seq, account.transaction_id)
            )
            head = reader.read_head()
        voice.print_line()
        energy_kwh = (account.energy_wh or Decimal(0)) / WH_PER_KWH
        voice.print_line(
            f"Delivered: {energy_kwh} kWh, at most {self._power_max_w / WH_PER_KWH:.1f} kW.", "bold"
        )
        voice.print_line(
            f"The CSMS has {len(account.events)} TransactionEvents, {len(account.missing_seq_nos)} missing, "
            f"{account.duplicates} sent twice."
        )
        for difference in self.differences:
            voice.print_line(f"They disagree: {difference}", "bold red")
        if not self.differences:
            voice.print_line(
                "The journal and the meter say the same, and no entry was tampered with."
            )
        voice.print_line()
        voice.print_line("The journal's own words (the rest of them: see below):")
        for entry in telling:
            voice.print_line(
                f"  {format_entry(entry)}", ACTOR_STYLES[describe_event(entry.event)[0]]
            )
        voice.print_line(f"  It ends at {head.seq}:{head.digest.hex()}")
        voice.print_line()

    async def _wait_for_interrupt(self, url: str) -> None:
        """Be there to be played with until Ctrl-C, or until the station ends by itself."""
        name, data = station_command(), shlex.quote(str(self.station.directory))
        self.console.print_line(
            "The station stays up. What to try next, in another terminal:", "bold"
        )
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
            self.console.print_line(f"  {command:<{width}}  {purpose}")
        self.console.print_line(f"The CSMS is at {url}, the station's log at {self.station.log}.")
        self.console.print_line("Ctrl-C ends it.")
        code = await self.station.wait_for_exit()
        raise CommandFailed(
            f"demo: the station ended with exit code {code}. See {self.station.log}."
        )


def closed_condition(record: TransactionRecord) -> Callable[[], Awaitable[bool]]:
    """Whether the CSMS was told the end of a transaction and everything before."""

    async def closed() -> bool:
        return record.is_complete

    return closed


# --- Words ---------------------------------------------------------------------------------------


def _describe_event(event: TransactionEventRequest) -> str:
    info = event.transaction_info
    state = f", {info.charging_state}" if info.charging_state else ""
    return f"TransactionEvent {event.seq_no} {event.event_type}: {event.trigger_reason}{state}" + (
        f", stopped: {info.stopped_reason}" if info.stopped_reason else ""
    )


def _describe_flow(snapshot: Mapping[str, Any], began_wh: Decimal) -> str:
    power_kw = snapshot["voltage_v"] * snapshot["current_a"] / 1000
    energy_kwh = (Decimal(snapshot["energy_exact_wh"]) - began_wh) / WH_PER_KWH
    soc = snapshot["soc"] or Decimal(0)
    return (
        f"{power_kw:5.1f} kW  {snapshot['voltage_v']:3.0f} V  {snapshot['current_a']:3.0f} A  "
        f"{energy_kwh:.3f} kWh  {format_bar(float(soc))} {soc:3.0f} %"
    )


def _session_entries(reader: Reader, first: int, transaction_id: str) -> Iterator[Entry]:
    """The entries a session can be followed by."""
    for entry in reader.iter_entries(first):
        match entry.event:
            case CallQueued(transaction_event=mark) if (
                mark and mark.transaction_id == transaction_id
            ):
                if mark.event_type != "Updated":
                    yield entry
            case event if isinstance(event, SESSION_EVENTS):
                if getattr(event, "evse_id", EVSE_ID) == EVSE_ID:
                    yield entry


def station_command() -> str:
    """How the person who reads this may type `station`."""
    typed = Path(sys.argv[0])
    if typed.name != "station":
        return f"{shlex.quote(sys.executable)} -m station"
    on_path = shutil.which("station")
    return "station" if on_path and Path(on_path).samefile(typed) else shlex.quote(str(typed))
