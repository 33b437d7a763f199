"""Run a plan, keep its journal, and record what happens outside the station."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from journal.events import Entry, Observation
from journal.observations import (
    DeviceFaulted,
    FirmwareActivationChecked,
    FirmwareDownloadEnded,
    FirmwareInstallEnded,
    FirmwareSignatureChecked,
)
from journal.state import State
from station.core.desired import DesiredFirmware
from station.ocpp import rpc
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.datatypes import IdTokenInfoType
from station.simulation.csms_ledger import TransactionRecord
from station.simulation.event_queue import START_TIME
from station.simulation.evse_double import SimulatedEv
from station.simulation.fault_plan import (
    EVENT_ACTIONS,
    EventTarget,
    Plan,
    add_device_fault,
    send_csms_request,
)
from station.simulation.faulty_csms import GROUP_ID_TOKEN
from station.simulation.network import SimulatedConnection
from station.simulation.run_plan import FaultyDiskChecker, PlanRun
from station.simulation.station_process import StationProcess
from station.simulation.world import SimulatedWorld, load_product, run_simulation
from tests.support.authorities import make_authority, make_server_certificate

MANUFACTURER: Final = make_authority("Maker root")
SIGNER: Final = make_server_certificate(
    MANUFACTURER,
    valid_from=START_TIME - timedelta(days=1),
    valid_until=START_TIME + timedelta(days=900),
)
UNTRUSTED_SIGNER: Final = make_server_certificate(
    make_authority("Else root"), valid_from=START_TIME, valid_until=START_TIME + timedelta(days=900)
)
NEW_VERSION: Final = "1.1"


class SentEvent(NamedTuple):
    """A frame with a TransactionEvent that the station sent."""

    at_s: float
    message_id: str
    transaction_id: str
    seq_no: int
    connection: SimulatedConnection
    run_number: int  # of the program's run, from 1


class ExternalEvent(NamedTuple):
    """An action of a person or the CSMS, or a fault that began or ended. EVSE 0: the station.

    `kind` is the kind of a planned event, or the name of the method that was called.
    """

    at_s: float
    kind: str
    evse_id: int = 0
    detail: str = ""


class RecordingObserver(FaultyDiskChecker):
    """Records the sent TransactionEvents, commit times and starts of the program."""

    world: Callable[[], SimulatedWorld]

    def __init__(self, plan: Plan) -> None:
        super().__init__(load_product(plan.profile))
        self.sent_events: list[SentEvent] = []
        self.written_s: dict[int, float] = {}  # entry number -> when it was on disk
        self.started_at_s: list[float] = []  # starts of the program
        self.firmware_double = FirmwareDouble()

    def on_process_started(self, process: StationProcess) -> None:
        super().on_process_started(process)
        self.started_at_s.append(trio.current_time())

    def after_write(self, entries: list[Entry]) -> None:
        now_s = trio.current_time()
        self.written_s.update((entry.seq, now_s) for entry in entries)
        super().after_write(entries)

    def after_commit(self, state: State) -> None:
        super().after_commit(state)
        self.firmware_double.run_step(self.world())

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        super().on_frame_sent(connection, text)
        frame = rpc.parse_frame(text.encode())
        if isinstance(frame, rpc.CallFrame) and frame.action == "TransactionEvent":
            body = json.loads(bytes(frame.payload))
            self.sent_events.append(
                SentEvent(
                    trio.current_time(),
                    frame.message_id,
                    body["transactionInfo"]["transactionId"],
                    body["seqNo"],
                    connection,
                    self.world().process_starts,
                )
            )


class FirmwareDouble:
    """Downloads, verifies and installs firmware, with failures on demand.

    Attributes:
        step_s: duration of each step.
        failure_by_step: step -> reason of its failure; `sound`: the installer rejects the image.
    """

    def __init__(self) -> None:
        self.step_s = 5.0
        self.failure_by_step: dict[str, str] = {}
        self._started_steps: set[tuple[int, int, str]] = set()

    def run_step(self, world: SimulatedWorld) -> None:
        """Start the desired step; each run of the program starts it again."""
        process = world.process
        firmware = process.recorder.desired_state.value.firmware if process else None
        if firmware is None or firmware.step == "wait":
            return
        step = world.process_starts, firmware.update_seq, firmware.step
        if step not in self._started_steps:
            self._started_steps.add(step)
            world.event_queue.run_after(
                self.step_s, lambda: world.observe(self._step_result(firmware))
            )

    def _step_result(self, firmware: DesiredFirmware) -> Observation:
        failure = self.failure_by_step.get(firmware.step, "")
        match firmware.step:
            case "download":
                return FirmwareDownloadEnded(firmware.update_seq, not failure, failure)
            case "verify":
                return FirmwareSignatureChecked(firmware.update_seq, not failure, failure)
            case "confirm":
                return FirmwareActivationChecked(firmware.update_seq, not failure, failure)
        if rejection := self.failure_by_step.get("sound"):
            return FirmwareInstallEnded(firmware.update_seq, "invalid_firmware", rejection)
        if failure:
            return FirmwareInstallEnded(firmware.update_seq, "failed", failure)
        return FirmwareInstallEnded(firmware.update_seq, "restart_required", version=NEW_VERSION)


class RecordedRun(PlanRun):
    """A run of a plan, its journal, and what happened outside the station.

    Attributes:
        journal: copy of the journal at the end of the planned events, before the recovery.
        final_journal: copy at the end, when everything is delivered.
        delivered_seq_nos: transactionId -> seqNos the CSMS had received, at `journal`.
        external_events: in order.
        spoiled_message_ids: messageIds answered with an error or a malformed response.
    """

    def __init__(self, plan: Plan, directory: Path) -> None:
        worlds = directory / "world"
        worlds.mkdir(parents=True)
        super().__init__(plan, worlds)
        self.observer = RecordingObserver(plan)
        self.observer.disk = self.disk
        self.observer.world = lambda: self.world
        self.checker = self.observer
        self.journal = directory / "open" / "journal.db"
        self.final_journal = directory / "closed" / "journal.db"
        self.delivered_seq_nos: dict[str, frozenset[int]] = {}
        self.external_events: list[ExternalEvent] = []
        self.spoiled_message_ids: set[str] = set()

    async def _run_script(self) -> None:
        self._record_external_events()
        for event in self.plan.events:
            await trio.sleep(max(0, event.at_s - trio.current_time()))
            evse_id = event.arguments.get("evse_id") or 0
            self.external_events.append(ExternalEvent(trio.current_time(), event.kind, evse_id))
            ALL_EVENTS[event.kind](self, **event.arguments)
        await self._wait_until_idle()
        self._copy_journal(self.journal)
        self.delivered_seq_nos = {
            transaction_id: frozenset(record.events)
            for transaction_id, record in self.csms_records.items()
        }
        await self._recover_world()
        self._check_final_state()
        self._copy_journal(self.final_journal)

    # --- External events -------------------------------------------------------------------------

    def _record_external_events(self) -> None:
        """Wrap the methods through which the world acts on the station, and record their calls."""
        world = self.world
        self._record_calls_of(
            world, "present_id_token", lambda uid, evse_id=None: (evse_id or 0, uid)
        )
        self._record_calls_of(world, "press_stop_button", lambda evse_id: (evse_id, ""))
        self._record_calls_of(
            world.csms, "send_request", lambda request: (0, type(request).__name__)
        )
        for name in ("add_fault", "clear_fault"):
            self._record_calls_of(
                world.device_faults,
                name,
                lambda fault: (fault.evse_id, f"{fault.device} {fault.fault}"),
            )
        self._record_calls_of(world, "observe", lambda event: (0, type(event).__name__))
        self._record_calls_of(world.network, "switch_mode", lambda mode: (0, mode))
        for evse in world.evses.values():
            self._record_calls_of(
                evse, "disconnect_ev", lambda evse=evse: (evse.evse_id, "full" * evse.is_full)
            )
            self._record_calls_of(evse, "connect_ev", lambda ev, evse=evse: (evse.evse_id, ""))

        actions: dict[str, Any] = world.csms._fault_actions
        for name in ("call_error", "malformed_response"):
            actions[name] = self._record_spoiled(actions[name])

    def _record_spoiled(
        self, action: Callable[[SimulatedConnection, str], Any]
    ) -> Callable[[SimulatedConnection, str], None]:
        def record_and_act(connection: SimulatedConnection, text: str) -> None:
            self.spoiled_message_ids.add(json.loads(text)[1])
            action(connection, text)

        return record_and_act

    def _record_calls_of(
        self, owner: Any, name: str, describe: Callable[..., tuple[int, str]]
    ) -> None:
        method = getattr(owner, name)

        def record_and_call(*args: Any, **kwargs: Any) -> None:
            self.external_events.append(
                ExternalEvent(trio.current_time(), name, *describe(*args, **kwargs))
            )
            method(*args, **kwargs)

        setattr(owner, name, record_and_call)

    async def _wait_until_idle(self) -> None:
        """Wait until no observation waits for its commit."""
        while self.world.process is None or self.world.process.recorder.is_busy:
            await trio.sleep(1)

    def _copy_journal(self, target: Path) -> None:
        target.parent.mkdir()
        for name in ("journal.db", "journal.db-wal"):
            file = self.world._data_directory / name
            if file.exists():
                shutil.copyfile(file, target.parent / name)

    @property
    def csms_records(self) -> dict[str, TransactionRecord]:
        """The transactions in the ledger of the CSMS."""
        return self.world.csms.double.ledger.transactions


def record_run(plan: Plan, directory: Path) -> RecordedRun:
    """Run a plan.

    Raises:
        InvariantError: the station broke a promise; `tests/simulation` is for that.
    """
    run = RecordedRun(plan, directory)
    run_simulation(run.run_world, plan.seed)
    return run


def time_at(at_s: float) -> datetime:
    """The true UTC at so many seconds from the beginning of a world."""
    return START_TIME + timedelta(seconds=at_s)


# --- Events of scenes only -----------------------------------------------------------------------


def set_id_token_info(
    target: EventTarget,
    *,
    id_token: str,
    status: str,
    family: bool = False,
    evse_ids: Sequence[int] = (),
) -> None:
    """The CSMS changes or adds the information of an id token."""
    target.world.csms.double.id_tokens[id_token.casefold()] = IdTokenInfoType(
        status=status,  # type: ignore[arg-type]
        group_id_token=GROUP_ID_TOKEN if family else None,
        evse_id=tuple(evse_ids) or None,
    )


def raise_blocking_fault(
    target: EventTarget,
    *,
    evse_id: int,
    device: str,
    kind: str,
    stopped_reason: str,
    seconds: float,
) -> None:
    """Raise a fault that blocks charging and ends transactions with this stoppedReason."""
    add_device_fault(target, DeviceFaulted(evse_id, device, kind, True, stopped_reason), seconds)


def set_firmware_failures(target: RecordedRun, *, seconds: float, failures: dict[str, str]) -> None:
    """Set the duration of each step of the next firmware update, and the steps that fail."""
    target.observer.firmware_double.step_s = seconds
    target.observer.firmware_double.failure_by_step = failures


def request_firmware_update(
    target: EventTarget, *, request_id: int, stranger: bool = False
) -> None:
    """The CSMS installs the manufacturer's root certificate and requests an update."""
    root = {"certificateType": "ManufacturerRootCertificate", "certificate": MANUFACTURER.pem}
    send_csms_request(target, action="InstallCertificate", payload=root)
    firmware = {
        "location": "https://files.invalid/firmware.bin",
        "retrieveDateTime": format_timestamp(START_TIME),
        "signingCertificate": (UNTRUSTED_SIGNER if stranger else SIGNER).pem,
        "signature": "c2lnbmF0dXJl",
    }
    send_csms_request(
        target, action="UpdateFirmware", payload={"requestId": request_id, "firmware": firmware}
    )


def kill_now(target: EventTarget, *, gap_s: float, host: bool) -> None:
    """Kill the program at once."""
    target.world.restart_gap_s, target.world.host_reboot_pending = gap_s, host
    if target.world.process is not None:
        target.world.process.kill()


def connect_ev_needing(target: EventTarget, *, evse_id: int, needs_wh: int) -> None:
    """Plug in an EV that needs only so much energy."""
    target.world.evses[evse_id].connect_ev(SimulatedEv(energy_needed_wh=Decimal(needs_wh)))


def wait(target: EventTarget) -> None:
    """No event; the plan lasts until this time."""


ALL_EVENTS: Final[dict[str, Callable[..., None]]] = EVENT_ACTIONS | {
    event.__name__: event
    for event in (
        set_id_token_info,
        raise_blocking_fault,
        set_firmware_failures,
        request_firmware_update,
        kill_now,
        connect_ev_needing,
        wait,
    )
}
