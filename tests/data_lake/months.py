"""Simulation of one station of the fleet for some days, and the truth about it.

The real core (`decide`, `apply_entry`) runs entry by entry, with ids, messages, retries and
deadlines as in service. There are no tasks, sockets, wires or drivers: the observations are
generated from a seed, and a CSMS that accepts everything answers at once. To limit a month to ten
thousand entries, the CSMS sets a heartbeat interval of four hours and a sample interval of a
quarter of an hour. The frequency of sessions, faults, outages, crashes, lost links and maintenance
is set by the constants.

The truth is recorded independently of any export: registers as the meter showed them, faults as
they were raised, and the duration of each EVSE status as computed from the state.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Final
from uuid import NAMESPACE_OID, uuid5

import msgspec

from journal.events import Decision, Entry, Observation
from journal.observations import (
    CableReported,
    DeadlineReached,
    DeviceFaulted,
    DeviceRecovered,
    LinkClosed,
    MeterRead,
    StationStarted,
)
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStarted
from journal.state import State
from station.core.blocks.g_availability import current_evse_status
from station.core.context import Context
from tests.support.story import (
    BOOTED,
    CONFIGURED,
    LINK_OPENED,
    Json,
    Station,
    Step,
    StoryChecks,
    accept_everything,
    called,
    charging_started,
    charging_stopped,
    contactor_reported,
    id_token_named,
    load_product,
    presented,
    variable_preset,
)

EVSES: Final = (1, 2)
ID_TOKENS: Final = tuple(id_token_named(f"driver-{number}") for number in range(40))
HOUR_S: Final = 3_600
HEARTBEAT_S: Final = 4 * HOUR_S
SAMPLE_INTERVAL_S: Final = 900

# Mean hours between two events, and the range of their durations in minutes.
EV_ARRIVAL_H: Final = 9.0  # at one EVSE
SESSION_MIN: Final = (12, 75)
LINK_LOSS_H: Final = 60.0
LINK_OUTAGE_MIN: Final = (1, 150)
OUT_OF_SERVICE_H: Final = 300.0  # of one EVSE, by ChangeAvailability
OUT_OF_SERVICE_MIN: Final = (30, 300)
POWER_OUTAGE_H: Final = 250.0  # of the supply
POWER_OUTAGE_MIN: Final = (1, 400)
CRASH_H: Final = 400.0
POWERS_KW: Final = (22, 60, 120, 180)


class FaultKind(msgspec.Struct, frozen=True):
    """A fault with its frequency and duration."""

    device: str
    fault: str
    blocks: bool
    mean_interval_h: float  # mean hours between two, at one EVSE or at the station
    duration_min: tuple[int, int]
    stopped_reason: str = "Other"  # ReasonEnumType of the transaction it ends


EVSE_FAULTS: Final = (
    FaultKind("cable", "over_temperature", True, 150, (5, 60), "Other"),
    FaultKind("meter", "silent", True, 400, (1, 20), "Other"),
    FaultKind("insulation", "fault", True, 700, (10, 600), "GroundFault"),
    FaultKind("module", "dead", False, 300, (60, 2_000)),
)
STATION_FAULTS: Final = (
    FaultKind("reader", "gone", False, 350, (2, 300)),
    FaultKind("emergency_stop", "pressed", True, 500, (3, 90), "EmergencyStop"),
)


@dataclass
class GroundTruth:
    """The truth about the simulated time."""

    energy_wh_by_day: dict[str, list[Decimal]] = field(default_factory=dict)  # by day of the end
    status_ms: Counter[tuple[int, str]] = field(default_factory=Counter)  # (EVSE, state)
    fault_counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (device, fault)
    fault_ms: Counter[tuple[str, str]] = field(default_factory=Counter)
    entry_count: int = 0

    @property
    def transaction_count(self) -> int:
        return sum(map(len, self.energy_wh_by_day.values()))


def accept_with_long_intervals(action: str, payload: Json) -> Json | None:
    """A CSMS that accepts everything and sets a heartbeat interval of four hours."""
    answer = accept_everything(action, payload)
    if action == "BootNotification" and answer is not None:
        return answer | {"interval": HEARTBEAT_S}
    return answer


class NoChecks(StoryChecks):
    """No checks: they would take longer than the simulation itself."""

    def __call__(self, *_: object) -> None:
        pass


class SimulatedStation(Station):
    """A station with random events from a seed."""

    def __init__(self, number: int, seed: int) -> None:
        super().__init__(load_product())
        self.checks = NoChecks()
        self.identity = f"{number:06}"  # text, though it looks like a number
        self.ground_truth = GroundTruth()
        self._random_source = random.Random(f"{seed}/{number}")
        self.state = State(str(uuid5(NAMESPACE_OID, f"{seed}/{self.identity}")))
        self._scheduled: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._register_wh = {
            evse_id: Decimal(self._random_source.randrange(10**8)) / 10 for evse_id in EVSES
        }
        self._start_register_wh: dict[str, Decimal] = {}  # transaction -> register
        self._power_kw_by_evse: dict[int, int] = {}  # EVSE -> power in kW
        self._faults: dict[tuple[int, str, str], tuple[DeviceFaulted, int]] = {}
        self._statuses: dict[int, str] = {}
        self._boots = 1

    def simulate_days(self, days: int) -> list[Entry]:
        """Simulate that many days from noon on; returns the journal."""
        self._run_steps(
            CONFIGURED,
            variable_preset("SampledDataCtrlr.TxUpdatedInterval", str(SAMPLE_INTERVAL_S)),
        )
        self._boot_program(None)
        for evse_id in EVSES:
            self._schedule_mean(EV_ARRIVAL_H, self._on_ev_arrival, evse_id)
            self._schedule_mean(OUT_OF_SERVICE_H, self._take_out_of_service, evse_id)
            for kind in EVSE_FAULTS:
                self._schedule_mean(kind.mean_interval_h, self._raise_fault, evse_id, kind)
        for kind in STATION_FAULTS:
            self._schedule_mean(kind.mean_interval_h, self._raise_fault, 0, kind)
        self._schedule_mean(LINK_LOSS_H, self._lose_link)
        self._schedule_mean(POWER_OUTAGE_H, self._on_power_outage)
        self._schedule_mean(CRASH_H, self._on_crash)
        end_ms = self._now_ms + days * 24 * HOUR_S * 1000
        while self._scheduled[0][0] < end_ms:
            due_ms, _, action = heapq.heappop(self._scheduled)
            self._advance_to(due_ms)
            action()
        self._advance_to(end_ms)
        self.ground_truth.fault_counts.update((device, fault) for _, device, fault in self._faults)
        self.ground_truth.entry_count = len(self.entries)
        return self.entries

    # --- Time ------------------------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        return round(self.host_at.timestamp() * 1000)

    def _schedule_mean(
        self, mean_h: float, action: Callable[..., None], *arguments: object
    ) -> None:
        self._schedule_in(self._random_source.expovariate(1 / mean_h) * HOUR_S, action, *arguments)

    def _schedule_within(
        self, minutes: tuple[int, int], action: Callable[..., None], *arguments: object
    ) -> None:
        self._schedule_in(self._random_source.uniform(*minutes) * 60, action, *arguments)

    def _schedule_in(self, seconds: float, action: Callable[..., None], *arguments: object) -> None:
        due_ms = self._now_ms + round(seconds * 1000)
        heapq.heappush(self._scheduled, (due_ms, next(self._order), lambda: action(*arguments)))

    def _advance_to(self, due_ms: int) -> None:
        """Advance the clock and observe each deadline when it is due."""
        end_ms = self.uptime_ms + max(0, due_ms - self._now_ms)  # an outage may have lasted longer
        while (wake_ms := self.desired.next_due_ms) is not None and wake_ms <= end_ms:
            self.advance_clock(max(0, wake_ms - self.uptime_ms))
            self._run_steps(DeadlineReached(wake_ms))
        self.advance_clock(end_ms - self.uptime_ms)

    def _run_steps(self, *steps: Step) -> None:
        self.with_csms(accept_with_long_intervals, *steps)

    # --- Events ----------------------------------------------------------------------------------

    def _on_ev_arrival(self, evse_id: int) -> None:
        """An EV driver plugs in and presents a card."""
        self._power_kw_by_evse[evse_id] = self._random_source.choice(POWERS_KW)
        self._run_steps(self._read_meter(evse_id), CableReported(evse_id, 1, True))
        self._present_id_token(evse_id)
        self._start_energy_flow(evse_id)
        self._schedule_within((1, 15), self._advance_meter, evse_id)
        self._schedule_within(SESSION_MIN, self._on_ev_departure, evse_id)

    def _present_id_token(self, evse_id: int) -> None:
        self._run_steps(presented(self._random_source.choice(ID_TOKENS), evse_id=evse_id))

    def _start_energy_flow(self, evse_id: int) -> None:
        allowed = any(
            evse.evse_id == evse_id and evse.energy_allowed for evse in self.desired.evses
        )
        if evse_id in self._power_kw_by_evse and allowed:
            self._run_steps(charging_started(evse_id))

    def _advance_meter(self, evse_id: int) -> None:
        """Advance the register while energy flows."""
        if evse_id not in self._power_kw_by_evse:
            return
        if self.state.evses.by_id(evse_id).flow == "charging":
            tenths = self._random_source.randrange(1, 10 * 250 * self._power_kw_by_evse[evse_id])
            self._register_wh[evse_id] += Decimal(tenths).scaleb(-1)
            self._run_steps(self._read_meter(evse_id))
        self._schedule_within((5, 15), self._advance_meter, evse_id)

    def _on_ev_departure(self, evse_id: int) -> None:
        self._run_steps(self._read_meter(evse_id))
        if self.state.authorizations.on_evse(evse_id):
            self._present_id_token(evse_id)
        self._run_steps(charging_stopped(evse_id), CableReported(evse_id, 1, False))
        del self._power_kw_by_evse[evse_id]
        self._schedule_mean(EV_ARRIVAL_H, self._on_ev_arrival, evse_id)

    def _raise_fault(self, evse_id: int, fault_kind: FaultKind) -> None:
        fault = DeviceFaulted(
            evse_id,
            fault_kind.device,
            fault_kind.fault,
            fault_kind.blocks,
            fault_kind.stopped_reason,
        )
        self._faults[evse_id, fault_kind.device, fault_kind.fault] = fault, self.uptime_ms
        self._run_steps(fault)
        for affected_id in EVSES if evse_id == 0 else (evse_id,):
            if fault_kind.blocks:
                self._run_steps(charging_stopped(affected_id))
        self._schedule_within(fault_kind.duration_min, self._clear_fault, evse_id, fault_kind)

    def _clear_fault(self, evse_id: int, fault_kind: FaultKind) -> None:
        fault, since_ms = self._faults.pop((evse_id, fault_kind.device, fault_kind.fault))
        self._record_fault(fault, since_ms, self.uptime_ms)
        self._run_steps(DeviceRecovered(evse_id, fault_kind.device, fault_kind.fault))
        self._schedule_mean(fault_kind.mean_interval_h, self._raise_fault, evse_id, fault_kind)

    def _record_fault(self, fault: DeviceFaulted, since_ms: int, until_ms: int) -> None:
        self.ground_truth.fault_counts[fault.device, fault.fault] += 1
        self.ground_truth.fault_ms[fault.device, fault.fault] += until_ms - since_ms

    def _take_out_of_service(self, evse_id: int) -> None:
        self._change_availability(evse_id, "Inoperative")
        self._schedule_within(OUT_OF_SERVICE_MIN, self._return_to_service, evse_id)

    def _return_to_service(self, evse_id: int) -> None:
        self._change_availability(evse_id, "Operative")
        self._schedule_mean(OUT_OF_SERVICE_H, self._take_out_of_service, evse_id)

    def _change_availability(self, evse_id: int, status: str) -> None:
        if self.state.link.online:
            self._run_steps(
                called("ChangeAvailability", evse={"id": evse_id}, operationalStatus=status)
            )

    def _lose_link(self) -> None:
        if self.state.link.online:
            self._run_steps(LinkClosed(reason="lost"))
        self._schedule_within(LINK_OUTAGE_MIN, self._restore_link)

    def _restore_link(self) -> None:
        if not self.state.link.online:
            self._run_steps(LINK_OPENED)
        self._schedule_mean(LINK_LOSS_H, self._lose_link)

    def _on_power_outage(self) -> None:
        """The supply fails for a while; the host's uptime starts again."""
        self._boots += 1
        self._restart_after(self._random_source.uniform(*POWER_OUTAGE_MIN) * 60)
        self._schedule_mean(POWER_OUTAGE_H, self._on_power_outage)

    def _on_crash(self) -> None:
        self._restart_after(2)
        self._schedule_mean(CRASH_H, self._on_crash)

    def _restart_after(self, seconds: float) -> None:
        last_entry = self.entries[-1]
        for fault, since_ms in self._faults.values():
            self._record_fault(fault, since_ms, last_entry.uptime_ms)
        self.advance_clock(round(seconds * 1000))
        if self.state.lifecycle.boot_id != f"boot-{self._boots}":
            self.uptime_ms = 5_000
        self._boot_program(last_entry)

    def _boot_program(self, last_entry: Entry | None) -> None:
        """Start the program; the devices report their state."""
        start = msgspec.structs.replace(
            BOOTED,
            boot_id=f"boot-{self._boots}",
            identity=self.identity,
            last_entry_at=last_entry.at.isoformat() if last_entry else None,
            last_entry_uptime_ms=last_entry.uptime_ms if last_entry else None,
        )
        self._run_steps(start)
        for evse_id in EVSES:
            self._run_steps(contactor_reported(evse_id, closed=False), self._read_meter(evse_id))
            self._run_steps(CableReported(evse_id, 1, evse_id in self._power_kw_by_evse))
        for name, (fault, _) in list(self._faults.items()):
            self._faults[name] = fault, self.uptime_ms
            self._run_steps(fault)
        self._run_steps(LINK_OPENED)
        for evse_id in EVSES:
            self._start_energy_flow(evse_id)

    def _read_meter(self, evse_id: int) -> MeterRead:
        return MeterRead(evse_id, self._register_wh[evse_id])

    # --- Truth -----------------------------------------------------------------------------------

    def decide_observation(self, observation: Observation) -> list[Decision]:
        previous = self.entries[-1] if self.entries else None
        entry_count = len(self.entries)
        decisions = super().decide_observation(observation)
        new_entries = self.entries[entry_count:]
        if previous is not None:
            self._record_status_time(previous, new_entries[0])
        ctx = Context(self.product, self.state, new_entries[0])
        self._statuses = {evse_id: current_evse_status(ctx, evse_id) for evse_id in EVSES}
        self._record_sold_energy(new_entries)
        return decisions

    def _record_status_time(self, previous: Entry, now: Entry) -> None:
        """The time between two entries has the statuses as of the first of them."""
        passed_ms = (now.at - previous.at) // timedelta(milliseconds=1)
        assert passed_ms >= 0, f"time runs backwards: entry {now.seq} at {now.at}"
        for evse_id, status in self._statuses.items():
            off = isinstance(now.event, StationStarted)
            self.ground_truth.status_ms[evse_id, "Off" if off else status] += passed_ms

    def _record_sold_energy(self, new_entries: Sequence[Entry]) -> None:
        for entry in new_entries:
            match entry.event:
                case TransactionStarted(transaction_id=transaction_id, evse_id=evse_id):
                    self._start_register_wh[transaction_id] = self._register_wh[evse_id]
                case CallQueued(transaction_event=event) if event and event.event_type == "Ended":
                    sold_wh = self._register_wh[event.evse_id] - self._start_register_wh.pop(
                        event.transaction_id
                    )
                    self.ground_truth.energy_wh_by_day.setdefault(
                        f"{entry.at:%Y-%m-%d}", []
                    ).append(sold_wh)
