"""How does a world leave a journal behind, and what do those outside remember of it?"""

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
NEW_VERSION: Final = "1.1"  # of all new firmware


class SentEvent(NamedTuple):
    """A frame with a TransactionEvent that left the station."""

    at_s: float
    message_id: str
    transaction_id: str
    seq_no: int
    wire: SimulatedConnection
    run_number: int  # how many runs of the program there had been


class ExternalEvent(NamedTuple):
    """Something that somebody did, or that broke or was mended. EVSE 0: the station."""

    at_s: float
    kind: str
    evse_id: int = 0
    detail: str = ""


class RecordingObserver(FaultyDiskChecker):
    """Keeps in mind what went over the wire."""

    world: Callable[[], SimulatedWorld]

    def __init__(self, plan: Plan) -> None:
        super().__init__(load_product(plan.profile))
        self.sent_events: list[SentEvent] = []
        self.written_s: dict[int, float] = {}  # entry -> when it came to be on the disk
        self.started_at_s: list[float] = []  # when a run of the program began
        self.firmware_double = FirmwareDouble()

    def on_process_started(self, process: StationProcess) -> None:
        super().on_process_started(process)
        self.started_at_s.append(trio.current_time())

    def after_write(self, entries: list[Entry]) -> None:
        now_s = trio.current_time()
        self.written_s.update((one.seq, now_s) for one in entries)
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
    """Fetches, checks and installs firmware, in place of the real one and as well as is wished.

    Attributes:
        seconds: that each step takes.
        troubles: step -> what goes wrong; `sound`: at `install`, with what was downloaded.
    """

    def __init__(self) -> None:
        self.step_s = 5.0
        self.failure_by_step: dict[str, str] = {}
        self._started_steps: set[tuple[int, int, str]] = set()

    def run_step(self, world: SimulatedWorld) -> None:
        """Take up the step that is wanted now; each run of the program begins it anew."""
        life = world.process
        level = life.recorder.desired_state.value.firmware if life else None
        if level is None or level.step == "wait":
            return
        taken = world.process_starts, level.update_seq, level.step
        if taken not in self._started_steps:
            self._started_steps.add(taken)
            world.event_queue.run_after(
                self.step_s, lambda: world.observe(self._step_result(level))
            )

    def _step_result(self, firmware: DesiredFirmware) -> Observation:
        why = self.failure_by_step.get(firmware.step, "")
        match firmware.step:
            case "download":
                return FirmwareDownloadEnded(firmware.update_seq, not why, why)
            case "verify":
                return FirmwareSignatureChecked(firmware.update_seq, not why, why)
            case "confirm":
                return FirmwareActivationChecked(firmware.update_seq, not why, why)
        if unsound := self.failure_by_step.get("sound"):
            return FirmwareInstallEnded(firmware.update_seq, "invalid_firmware", unsound)
        if why:
            return FirmwareInstallEnded(firmware.update_seq, "failed", why)
        return FirmwareInstallEnded(firmware.update_seq, "restart_required", version=NEW_VERSION)


class RecordedRun(PlanRun):
    """A plan, played to its end, and the journal that is left.

    Attributes:
        journal: a copy of it as it was when the happenings were over, nothing yet made good.
        final: and as it was at the end, everything delivered.
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
        self.delivered_seq_nos: dict[
            str, frozenset[int]
        ] = {}  # transactionId -> seqNos, at `journal`
        self.external_events: list[ExternalEvent] = []  # in order
        self.spoiled_message_ids: set[str] = (
            set()
        )  # messageIds that were answered with an error, or nonsense

    async def _run_script(self) -> None:
        self._record_external_events()
        for happening in self.plan.events:
            await trio.sleep(max(0, happening.at_s - trio.current_time()))
            evse_id = happening.arguments.get("evse_id") or 0
            self.external_events.append(ExternalEvent(trio.current_time(), happening.kind, evse_id))
            ALL_EVENTS[happening.kind](self, **happening.arguments)
        await self._wait_until_idle()
        self._copy_journal(self.journal)
        self.delivered_seq_nos = {
            name: frozenset(one.events) for name, one in self.csms_accounts.items()
        }
        await self._recover_world()
        self._check_final_state()
        self._copy_journal(self.final_journal)

    # --- What people and things do ---------------------------------------------------------------

    def _record_external_events(self) -> None:
        """From now on note what is done to the station from outside."""
        world = self.world
        self._record_calls_of(
            world, "present_id_token", lambda uid, evse_id=None: (evse_id or 0, uid)
        )
        self._record_calls_of(world, "press_stop_button", lambda evse_id: (evse_id, ""))
        self._record_calls_of(
            world.csms, "send_request", lambda request: (0, type(request).__name__)
        )
        self._record_calls_of(
            world.device_faults, "add_fault", lambda one: (one.evse_id, f"{one.device} {one.fault}")
        )
        self._record_calls_of(
            world.device_faults,
            "clear_fault",
            lambda one: (one.evse_id, f"{one.device} {one.fault}"),
        )
        self._record_calls_of(world, "observe", lambda one: (0, type(one).__name__))
        self._record_calls_of(world.network, "switch_mode", lambda mode: (0, mode))
        for evse_id, bay in world.evses.items():
            self._record_calls_of(
                bay, "disconnect_ev", lambda at=evse_id, bay=bay: (at, "full" * bay.is_full)
            )
            self._record_calls_of(bay, "connect_ev", lambda ev, at=evse_id: (at, ""))

        mischief: dict[str, Any] = world.csms._fault_actions  # to be told of it
        for name in ("call_error", "malformed_response"):
            mischief[name] = self._record_spoiled(mischief[name])

    def _record_spoiled(
        self, does: Callable[[SimulatedConnection, str], Any]
    ) -> Callable[[SimulatedConnection, str], None]:
        def spoils(wire: SimulatedConnection, text: str) -> None:
            self.spoiled_message_ids.add(json.loads(text)[1])
            does(wire, text)

        return spoils

    def _record_calls_of(
        self, owner: Any, name: str, describe: Callable[..., tuple[int, str]]
    ) -> None:
        does = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> None:
            self.external_events.append(
                ExternalEvent(trio.current_time(), name, *describe(*args, **kwargs))
            )
            does(*args, **kwargs)

        setattr(owner, name, noted)

    async def _wait_until_idle(self) -> None:
        """Until a moment at which nothing is being written."""
        while self.world.process is None or self.world.process.recorder.is_busy:
            await trio.sleep(1)

    def _copy_journal(self, target: Path) -> None:
        target.parent.mkdir()
        for name in ("journal.db", "journal.db-wal"):
            file = self.world._data_directory / name
            if file.exists():
                shutil.copyfile(file, target.parent / name)

    @property
    def csms_accounts(self) -> dict[str, TransactionRecord]:
        """What the CSMS has taken in."""
        return self.world.csms.double.ledger.transactions


def record_run(run_plan: Plan, directory: Path) -> RecordedRun:
    """Play a plan.

    Raises:
        InvariantError: the station broke a promise, which is for others to test.
    """
    film = RecordedRun(run_plan, directory)
    run_simulation(film.run_world, run_plan.seed)
    return film


def time_at(at_s: float) -> datetime:
    """Seconds from the beginning of a world, as its true UTC."""
    return START_TIME + timedelta(seconds=at_s)


# --- What can happen only here -------------------------------------------------------------------


def judges(
    stage: EventTarget, *, who: str, status: str, family: bool = False, evse_ids: Sequence[int] = ()
) -> None:
    """The CSMS changes its mind about somebody, or hears of them for the first time."""
    stage.world.csms.double.id_tokens[who.casefold()] = IdTokenInfoType(
        status=status,  # type: ignore[arg-type]
        group_id_token=GROUP_ID_TOKEN if family else None,
        evse_id=tuple(evse_ids) or None,
    )


def trips(
    stage: EventTarget, *, evse_id: int, device: str, kind: str, stopped_reason: str, seconds: float
) -> None:
    """Something breaks that forbids to charge, and what ends of it has this stoppedReason."""
    add_device_fault(stage, DeviceFaulted(evse_id, device, kind, True, stopped_reason), seconds)


def workshop(stage: RecordedRun, *, seconds: float, troubles: dict[str, str]) -> None:
    """How the next update shall fare."""
    stage.observer.firmware_double.step_s = seconds
    stage.observer.firmware_double.failure_by_step = troubles


def update(stage: EventTarget, *, request_id: int, stranger: bool = False) -> None:
    """The CSMS wants new firmware on the station, which knows who makes it."""
    root = {"certificateType": "ManufacturerRootCertificate", "certificate": MANUFACTURER.pem}
    send_csms_request(stage, action="InstallCertificate", payload=root)
    firmware = {
        "location": "https://files.invalid/firmware.bin",
        "retrieveDateTime": format_timestamp(START_TIME),
        "signingCertificate": (UNTRUSTED_SIGNER if stranger else SIGNER).pem,
        "signature": "c2lnbmF0dXJl",
    }
    send_csms_request(
        stage, action="UpdateFirmware", payload={"requestId": request_id, "firmware": firmware}
    )


def crash(stage: EventTarget, *, gap_s: float, host: bool) -> None:
    """The program is killed right now."""
    stage.world.restart_gap_s, stage.world.host_reboot_pending = gap_s, host
    if stage.world.process is not None:
        stage.world.process.kill()


def comes(stage: EventTarget, *, evse_id: int, needs_wh: int) -> None:
    """An EV that does not want much is plugged in."""
    stage.world.evses[evse_id].connect_ev(SimulatedEv(energy_needed_wh=Decimal(needs_wh)))


def rest(stage: EventTarget) -> None:
    """Nothing happens, until then."""


ALL_EVENTS: Final[dict[str, Callable[..., None]]] = EVENT_ACTIONS | {
    one.__name__: one for one in (judges, trips, workshop, update, crash, comes, rest)
}
