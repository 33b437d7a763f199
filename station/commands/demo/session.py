"""`station demo`: a CSMS, a station and one whole charging session.

The station is the real program in a separate process; its devices and the CSMS are doubles.
After the session, the transaction in the CSMS, in the journal and at the meter are compared.
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
from station.commands.demo.page_process import DemoPage
from station.commands.demo.reconciliation import JournaledTransaction, find_differences
from station.commands.demo.station_process import IDENTITY, DemoStation
from station.commands.replay import ACTOR_STYLES
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import open_journal
from station.config.data_directory import restrict_new_files
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
EV_PARAMETERS: Final = {  # a small battery, so that its state of charge moves visibly
    "capacity_wh": 3_000,
    "soc": 20,
    "max_voltage_v": 800,
    "max_current_a": 300,
    "max_power_w": 200_000,
}
CHARGING_S: Final = 18.0
TARGET_SOC_PERCENT: Final = 80  # %; an EV takes less power above this
STEP_TIMEOUT_S: Final = 30.0  # for one step on a loaded machine
POLL_INTERVAL_S: Final = 0.04  # of the stages, some of which are short
METER_POLL_INTERVAL_S: Final = 0.2
WH_PER_KWH: Final = Decimal(1000)

# The stages of the charge controller, in their order.
STAGE_TEXTS: Final = {
    "CCS_AUTHORISATION_PROCESS": "communicates with the EV; charging is authorized",
    "CONNECTED_WITH_FULL_INFO": "received the limits of the EV",
    "INSULATION_TEST": "tests the insulation of the cable",
    "PRECHARGE": "precharges the cable to the battery voltage",
    "WAITING_FOR_CHARGE": "closed the contactors",
    "CHARGING": "charges",
    "ENDING_CHARGE": "reduces the current",
    "WELDING_DETECTION": "opens the contactors and checks that they are open",
    "CLOSING_COMMUNICATION": "ends the communication with the EV",
}

# The events that show the course of a session.
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
@click.option(
    "--once/--stay",
    default=None,
    help="End after the session, with exit code 1 on any difference; or keep the station running."
    " Default: keep it running on a terminal only.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="The station's data directory; an existing journal is continued.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    default=CHARGING_S,
    show_default=True,
    help="Duration of charging.",
)
def demo_command(once: bool | None, data: Path, seconds: float) -> None:
    """Show one whole charging session: a CSMS, a station and its devices on this machine.

    On a terminal the station keeps running afterwards, for other commands to try, until Ctrl-C.
    """
    if once is None:
        once = not sys.stdout.isatty()  # in a pipe or a CI job, a demo that stays never ends
    restrict_new_files()
    differences = trio.run(_run_until_signal, data, once, seconds)
    for difference in differences:
        click.echo(f"demo: {difference}", err=True)
    if differences:
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
    """One run of the demo."""

    def __init__(self, data: Path) -> None:
        self.station = DemoStation(data)
        self.page = DemoPage(data)
        self.console = DemoConsole()
        self.csms = CsmsDouble(
            {ALICE: IdTokenInfoType(status="Accepted")}, on_request=self._on_request
        )
        self.differences: list[str] | None = None  # None until the session is compared
        self._seq_before = 0  # entries of earlier runs
        self._session_first_seq = 1  # the first entry of the session
        self._power_max_w = Decimal(0)
        self._status_by_evse: dict[int, str] = {}  # of each EVSE, as last reported to the CSMS

    async def run(self, once: bool, seconds: float) -> None:
        """Run the session with `seconds` of charging; the station is stopped in any case."""
        try:
            async with trio.open_nursery() as nursery:
                listening = await nursery.start(
                    partial(serve_csms, self.csms, passwords={IDENTITY: self.station.password})
                )
                self._print_introduction(listening.url)
                await self.station.start(listening.url)
                if not once:
                    await self.page.start()
                    self._print_page()
                await self._wait_until_ready()
                record, meter_wh = await self._run_session(seconds)
                self.differences = self._find_differences(record, meter_wh)
                self._print_summary(record)
                if not once:
                    await self._wait_for_interrupt(listening.url)
                nursery.cancel_scope.cancel()
        finally:
            await self.page.stop()
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
            f"; its journal already has {self._seq_before} entries" if self._seq_before else ""
        )
        self.console.print_line(f"A CSMS double listens on {url}. It accepts one card: {ALICE}.")
        self.console.print_line(
            f"A station with emulated devices starts in {self.station.directory}{history}."
        )
        self.console.print_line()

    def _print_page(self) -> None:
        """Print the address of the page, which is the first thing to look at."""
        if self.page.address:
            self.console.print_line(f"Open {self.page.address} in a browser.", "bold")
        else:
            self.console.print_line(f"There is no page: {self.page.failure}.")
        self.console.print_line()

    # --- Requests to the CSMS --------------------------------------------------------------------

    def _on_request(self, action: str, request: Datatype) -> None:
        match request:
            case BootNotificationRequest(charging_station=station, reason=reason):
                text = f"accepts {station.model} by {station.vendor_name}, boot reason {reason}"
            case StatusNotificationRequest() as status:
                self._status_by_evse[status.evse_id] = status.connector_status
                text = f"receives EVSE {status.evse_id}: {status.connector_status}"
            case AuthorizeRequest(id_token=id_token):
                is_known = id_token.id_token.casefold() in self.csms.id_tokens
                text = f"answers {id_token.id_token}: {'Accepted' if is_known else 'Unknown'}"
            case SecurityEventNotificationRequest(type=type):
                text = f"receives a security event: {type}"
            case TransactionEventRequest(trigger_reason="MeterValuePeriodic"):
                return  # every two seconds; the live line shows it
            case TransactionEventRequest() as event:
                text = f"receives {_describe_event(event)}"
            case _:
                text = f"receives {action}"
        self.console.print_event("CSMS", text)

    # --- The session -----------------------------------------------------------------------------

    async def _wait_until_ready(self) -> None:
        await self.station.wait_until(self._is_idle, STEP_TIMEOUT_S, "reported EVSE 1 as Available")
        state = await self.station.send_operation("state")
        self.console.print_event(
            "station", f"is ready; the journal is at entry {state['journal']['seq']}"
        )

    async def _is_idle(self) -> bool:
        """Whether everything is delivered and no transaction is open."""
        state = await self.station.send_operation("state")
        busy = any(evse["transaction_id"] for evse in state["evses"])
        free = self._status_by_evse.get(EVSE_ID) == "Available"
        return bool(free and not busy and not state["outbox"])

    async def _run_session(self, seconds: float) -> tuple[TransactionRecord, Decimal]:
        """Run one session.

        Returns:
            Its record in the CSMS, and the energy counted by the meter.
        """
        before_wh = await self._read_meter_wh()
        known_ids = set(self.csms.ledger.transactions)
        self._session_first_seq = (await self.station.send_operation("state"))["journal"]["seq"] + 1
        self.console.print_event("EV driver", f"presents card {ALICE}")
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
        self.console.print_event("EV driver", "presents the card again to stop")
        await self.station.send_operation(
            "present_token", id_token=ALICE, type="ISO14443", evse_id=EVSE_ID
        )
        await self._wait_until_open()
        [record] = [
            record
            for transaction_id, record in self.csms.ledger.transactions.items()
            if transaction_id not in known_ids
        ]
        await self.station.wait_until(
            closed_condition(record), STEP_TIMEOUT_S, "reported the end of the transaction"
        )
        self.console.print_event("EV driver", "unplugs and leaves")
        await self.station.send_operation("unplug", evse_id=EVSE_ID)
        await self.station.wait_until(self._is_idle, STEP_TIMEOUT_S, "delivered everything")
        return record, await self._read_meter_wh() - before_wh

    async def _read_meter_wh(self) -> Decimal:
        return Decimal((await self.station.read_emulated_evse(EVSE_ID))["energy_wh"])

    async def _wait_until_charging(self) -> None:
        """Wait from plug-in until energy flows."""
        await self._show_stages_until(
            lambda now: now["secc_state"] == "CHARGING" and now["current_a"] > 1
        )

    async def _wait_until_open(self) -> None:
        await self._show_stages_until(lambda now: now["contactor"] == "open")

    async def _show_stages_until(self, reached: Callable[[dict[str, Any]], bool]) -> None:
        """Print each new stage of the charge controller until the condition is true."""
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
        raise CommandFailed(f"demo: EVSE {EVSE_ID} remains in {stage}. See {self.station.log}.")

    def _show_stage(self, stage: str, voltage_v: Decimal) -> None:
        text = STAGE_TEXTS.get(stage)
        if text:
            self.console.print_event(
                "station", text + (f" (output: {voltage_v:.0f} V)" if voltage_v > 1 else "")
            )

    async def _show_charging(self, seconds: float) -> None:
        """Show the power and energy on the live line."""
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

    # --- Comparison ------------------------------------------------------------------------------

    def _find_differences(self, record: TransactionRecord, meter_wh: Decimal) -> list[str]:
        """Where CSMS, journal and meter differ, and complaints about the journal."""
        with closing(open_journal(self.station.journal)) as reader:
            entries = list(reader.iter_entries(self._seq_before + 1))
        return [
            *self.csms.complaints,
            *find_differences(
                record, JournaledTransaction(record.transaction_id, entries), meter_wh
            ),
            *map(str, verify(self.station.journal)),
        ]

    def _print_summary(self, record: TransactionRecord) -> None:
        """Print energy, messages, differences and the entries of the session."""
        assert self.differences is not None, "the session is compared first"
        print_line = self.console.print_line
        with closing(open_journal(self.station.journal)) as reader:
            entries = list(_session_entries(reader, self._session_first_seq, record.transaction_id))
            head = reader.read_head()
        print_line()
        energy_kwh = (record.energy_wh or Decimal(0)) / WH_PER_KWH
        print_line(
            f"Delivered: {energy_kwh} kWh, at most {self._power_max_w / WH_PER_KWH:.1f} kW.", "bold"
        )
        print_line(
            f"The CSMS has {len(record.events)} TransactionEvents, "
            f"{len(record.missing_seq_nos)} missing, {record.duplicates} sent twice."
        )
        for difference in self.differences:
            print_line(f"Difference: {difference}", "bold red")
        if not self.differences:
            print_line("CSMS, journal and meter agree; the journal is intact.")
        print_line()
        print_line("From the journal (`station replay` prints all of it):")
        for entry in entries:
            print_line(f"  {format_entry(entry)}", ACTOR_STYLES[describe_event(entry.event)[0]])
        print_line(f"  Head of the journal: {head.seq}:{head.digest.hex()}")
        print_line()

    async def _wait_for_interrupt(self, url: str) -> None:
        """Print commands to try; wait until Ctrl-C, or until the station ends by itself."""
        program, data = station_command(), shlex.quote(str(self.station.directory))
        self.console.print_line(
            "The station keeps running. Commands to try in another terminal:", "bold"
        )
        commands = (
            (f"{program} replay {data} --follow", "follow the journal"),
            (f"{program} sim present-token {ALICE} --data {data}", "present the card"),
            (f"{program} sim plug-in -e 2 --data {data}", "plug an EV in at EVSE 2"),
            (f"{program} sim link closed --data {data}", "cut the network; `up` restores it"),
            (f"{program} outbox {data} list", "list what waits for the CSMS"),
            (f"{program} sim emergency-stop --data {data}", "press the emergency stop button"),
            (f"{program} verify {data}", "check the journal for tampering"),
        )
        width = max(len(command) for command, _ in commands)
        for command, purpose in commands:
            self.console.print_line(f"  {command:<{width}}  {purpose}")
        if self.page.address:
            self.console.print_line(f"Page: {self.page.address}")
        self.console.print_line(f"CSMS: {url}. Log of the station: {self.station.log}.")
        self.console.print_line("Press Ctrl-C to end.")
        code = await self.station.wait_for_exit()
        raise CommandFailed(
            f"demo: the station ended with exit code {code}. See {self.station.log}."
        )


def closed_condition(record: TransactionRecord) -> Callable[[], Awaitable[bool]]:
    """A condition: the CSMS received the whole transaction, up to Ended."""

    async def closed() -> bool:
        return record.is_complete

    return closed


# --- Texts ---------------------------------------------------------------------------------------


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
    """The entries that show the course of a session, from entry `first` on."""
    for entry in reader.iter_entries(first):
        match entry.event:
            case CallQueued(transaction_event=summary) if (
                summary and summary.transaction_id == transaction_id
            ):
                if summary.event_type != "Updated":
                    yield entry
            case event if isinstance(event, SESSION_EVENTS):
                if getattr(event, "evse_id", EVSE_ID) == EVSE_ID:
                    yield entry


def station_command() -> str:
    """The command line with which this program can be called in a shell."""
    typed = Path(sys.argv[0])
    if typed.name != "station":
        return f"{shlex.quote(sys.executable)} -m station"
    on_path = shutil.which("station")
    return "station" if on_path and Path(on_path).samefile(typed) else shlex.quote(str(typed))
