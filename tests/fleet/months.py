"""How does a station of the fleet live, and what is true of its month?

What is simulated: the real judgement (`station.decide`) and the real memory, entry by entry, with
ids, messages, retries and deadlines as in service. What is not: tasks, sockets, wires and drivers;
observations are made up from a seed. A CSMS that likes everything answers at once. To keep a month
at ten thousand entries the CSMS asks for a heartbeat every four hours and for a sample every
quarter of an hour; people, faults, outages, crashes, lost links and maintenance are as frequent as
the constants say.

The truth is kept beside the journal and not taken from any export: registers as the meter showed
them, faults as they were made, and for how long the memory itself said an EVSE was in which state.
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
from journal.terms import Decision, Entry, Observation
from station.blocks.g_availability import evse_status
from station.case import Case
from tests.story import (
    BOOTED,
    CONFIGURED,
    LINK_OPENED,
    Checks,
    Json,
    Station,
    Step,
    accepting,
    called,
    charging,
    contactor,
    discharged,
    presented,
    preset,
    product,
    token,
)

EVSES: Final = (1, 2)
PEOPLE: Final = tuple(token(f"driver-{number}") for number in range(40))
HOUR_S: Final = 3_600
HEARTBEAT_S: Final = 4 * HOUR_S
QUARTER_S: Final = 900

# Mean hours between two of them, and how many minutes each lasts.
COMES_H: Final = 9.0  # to one EVSE
STAYS_MIN: Final = (12, 75)
LINK_GOES_H: Final = 60.0
LINK_AWAY_MIN: Final = (1, 150)
SERVICE_H: Final = 300.0  # of one EVSE, by order of the CSMS
SERVICE_MIN: Final = (30, 300)
OUTAGE_H: Final = 250.0  # of the supply
OUTAGE_MIN: Final = (1, 400)
CRASH_H: Final = 400.0
POWERS_KW: Final = (22, 60, 120, 180)


class Kind(msgspec.Struct, frozen=True):
    """A fault that happens now and then."""

    device: str
    fault: str
    blocks: bool
    each_h: float  # mean hours between two, at one EVSE or at the station
    lasts_min: tuple[int, int]
    reason: str = "Other"  # ReasonEnumType of what it ends


AT_AN_EVSE: Final = (
    Kind("cable", "over_temperature", True, 150, (5, 60), "Other"),
    Kind("meter", "silent", True, 400, (1, 20), "Other"),
    Kind("insulation", "fault", True, 700, (10, 600), "GroundFault"),
    Kind("module", "dead", False, 300, (60, 2_000)),
)
AT_THE_STATION: Final = (
    Kind("reader", "gone", False, 350, (2, 300)),
    Kind("emergency_stop", "pressed", True, 500, (3, 90), "EmergencyStop"),
)


@dataclass
class Truth:
    """What is true of a stretch of life."""

    sold: dict[str, list[Decimal]] = field(default_factory=dict)  # day of the end -> Wh of each
    stood_ms: Counter[tuple[int, str]] = field(default_factory=Counter)  # (EVSE, state)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)  # (device, fault)
    faulty_ms: Counter[tuple[str, str]] = field(default_factory=Counter)
    entries: int = 0

    @property
    def transactions(self) -> int:
        return sum(map(len, self.sold.values()))


def patient(action: str, payload: Json) -> Json | None:
    """A CSMS that likes everything and wants to hear from the station six times a day."""
    answer = accepting(action, payload)
    if action == "BootNotification" and answer is not None:
        return answer | {"interval": HEARTBEAT_S}
    return answer


class Unchecked(Checks):
    """What every story checks at each step takes longer than the step."""

    def __call__(self, *_: object) -> None:
        pass


class Lived(Station):
    """One station, lived by the dice."""

    def __init__(self, number: int, seed: int) -> None:
        super().__init__(product())
        self.checks = Unchecked()
        self.identity = f"{number:06}"  # text, though it looks like a number
        self.truth = Truth()
        self._dice = random.Random(f"{seed}/{number}")
        self.state = State(str(uuid5(NAMESPACE_OID, f"{seed}/{self.identity}")))
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._meters = {evse_id: Decimal(self._dice.randrange(10**8)) / 10 for evse_id in EVSES}
        self._begun: dict[str, Decimal] = {}  # transaction -> register
        self._plugged: dict[int, int] = {}  # EVSE -> power in kW
        self._faults: dict[tuple[int, str, str], tuple[DeviceFaulted, int]] = {}
        self._statuses: dict[int, str] = {}
        self._boots = 1

    def lives(self, days: int) -> list[Entry]:
        """So many days from noon on; the journal of them."""
        self._lets(CONFIGURED, preset("SampledDataCtrlr.TxUpdatedInterval", str(QUARTER_S)))
        self._starts(None)
        for evse_id in EVSES:
            self._later(COMES_H, self._comes, evse_id)
            self._later(SERVICE_H, self._service, evse_id)
            for kind in AT_AN_EVSE:
                self._later(kind.each_h, self._breaks, evse_id, kind)
        for kind in AT_THE_STATION:
            self._later(kind.each_h, self._breaks, 0, kind)
        self._later(LINK_GOES_H, self._link_goes)
        self._later(OUTAGE_H, self._outage)
        self._later(CRASH_H, self._crash)
        end_ms = self._now_ms + days * 24 * HOUR_S * 1000
        while self._agenda[0][0] < end_ms:
            due_ms, _, happens = heapq.heappop(self._agenda)
            self._until(due_ms)
            happens()
        self._until(end_ms)
        self.truth.faults.update((device, fault) for _, device, fault in self._faults)
        self.truth.entries = len(self.entries)
        return self.entries

    # --- Time ------------------------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        return round(self.host_at.timestamp() * 1000)

    def _later(self, mean_h: float, what: Callable[..., None], *about: object) -> None:
        self._in(self._dice.expovariate(1 / mean_h) * HOUR_S, what, *about)

    def _within(self, minutes: tuple[int, int], what: Callable[..., None], *about: object) -> None:
        self._in(self._dice.uniform(*minutes) * 60, what, *about)

    def _in(self, seconds: float, what: Callable[..., None], *about: object) -> None:
        due_ms = self._now_ms + round(seconds * 1000)
        heapq.heappush(self._agenda, (due_ms, next(self._order), lambda: what(*about)))

    def _until(self, due_ms: int) -> None:
        """Time passes, and what is due meanwhile is answered."""
        end_ms = self.uptime_ms + max(0, due_ms - self._now_ms)  # an outage may have outlasted it
        while (wake_ms := self.level.wake_ms) is not None and wake_ms <= end_ms:
            self.passes(max(0, wake_ms - self.uptime_ms))
            self._lets(DeadlineReached(wake_ms))
        self.passes(end_ms - self.uptime_ms)

    def _lets(self, *steps: Step) -> None:
        self.with_csms(patient, *steps)

    # --- What happens ----------------------------------------------------------------------------

    def _comes(self, evse_id: int) -> None:
        """Somebody plugs in and shows a card."""
        self._plugged[evse_id] = self._dice.choice(POWERS_KW)
        self._lets(self._meter(evse_id), CableReported(evse_id, 1, True))
        self._shows_card(evse_id)
        self._flows(evse_id)
        self._within((1, 15), self._counts, evse_id)
        self._within(STAYS_MIN, self._leaves, evse_id)

    def _shows_card(self, evse_id: int) -> None:
        self._lets(presented(self._dice.choice(PEOPLE), evse_id=evse_id))

    def _flows(self, evse_id: int) -> None:
        allowed = any(one.evse_id == evse_id and one.energy for one in self.level.evses)
        if evse_id in self._plugged and allowed:
            self._lets(charging(evse_id))

    def _counts(self, evse_id: int) -> None:
        """The meter goes on while energy flows."""
        if evse_id not in self._plugged:
            return
        if self.state.hardware.at(evse_id).flow == "charging":
            tenths = self._dice.randrange(1, 10 * 250 * self._plugged[evse_id])
            self._meters[evse_id] += Decimal(tenths).scaleb(-1)
            self._lets(self._meter(evse_id))
        self._within((5, 15), self._counts, evse_id)

    def _leaves(self, evse_id: int) -> None:
        self._lets(self._meter(evse_id))
        if self.state.authorizations.at(evse_id):
            self._shows_card(evse_id)
        self._lets(discharged(evse_id), CableReported(evse_id, 1, False))
        del self._plugged[evse_id]
        self._later(COMES_H, self._comes, evse_id)

    def _breaks(self, evse_id: int, kind: Kind) -> None:
        fault = DeviceFaulted(evse_id, kind.device, kind.fault, kind.blocks, kind.reason)
        self._faults[evse_id, kind.device, kind.fault] = fault, self.uptime_ms
        self._lets(fault)
        for concerned in EVSES if evse_id == 0 else (evse_id,):
            if kind.blocks:
                self._lets(discharged(concerned))
        self._within(kind.lasts_min, self._mends, evse_id, kind)

    def _mends(self, evse_id: int, kind: Kind) -> None:
        fault, since_ms = self._faults.pop((evse_id, kind.device, kind.fault))
        self._over(fault, since_ms, self.uptime_ms)
        self._lets(DeviceRecovered(evse_id, kind.device, kind.fault))
        self._later(kind.each_h, self._breaks, evse_id, kind)

    def _over(self, fault: DeviceFaulted, since_ms: int, until_ms: int) -> None:
        self.truth.faults[fault.device, fault.fault] += 1
        self.truth.faulty_ms[fault.device, fault.fault] += until_ms - since_ms

    def _service(self, evse_id: int) -> None:
        self._orders(evse_id, "Inoperative")
        self._within(SERVICE_MIN, self._back, evse_id)

    def _back(self, evse_id: int) -> None:
        self._orders(evse_id, "Operative")
        self._later(SERVICE_H, self._service, evse_id)

    def _orders(self, evse_id: int, status: str) -> None:
        if self.state.links.online:
            self._lets(called("ChangeAvailability", evse={"id": evse_id}, operationalStatus=status))

    def _link_goes(self) -> None:
        if self.state.links.online:
            self._lets(LinkClosed(reason="lost"))
        self._within(LINK_AWAY_MIN, self._link_comes)

    def _link_comes(self) -> None:
        if not self.state.links.online:
            self._lets(LINK_OPENED)
        self._later(LINK_GOES_H, self._link_goes)

    def _outage(self) -> None:
        """The supply is gone for a while, and the host's uptime begins anew."""
        self._boots += 1
        self._gone(self._dice.uniform(*OUTAGE_MIN) * 60)
        self._later(OUTAGE_H, self._outage)

    def _crash(self) -> None:
        self._gone(2)
        self._later(CRASH_H, self._crash)

    def _gone(self, seconds: float) -> None:
        last = self.entries[-1]
        for fault, since_ms in self._faults.values():
            self._over(fault, since_ms, last.uptime_ms)
        self.passes(round(seconds * 1000))
        if self.state.lifecycle.boot_id != f"boot-{self._boots}":
            self.uptime_ms = 5_000
        self._starts(last)

    def _starts(self, last: Entry | None) -> None:
        """The program begins, and the devices say how they are."""
        start = msgspec.structs.replace(
            BOOTED,
            boot_id=f"boot-{self._boots}",
            identity=self.identity,
            last_at=last.at.isoformat() if last else None,
            last_uptime_ms=last.uptime_ms if last else None,
        )
        self._lets(start)
        for evse_id in EVSES:
            self._lets(contactor(evse_id, closed=False), self._meter(evse_id))
            self._lets(CableReported(evse_id, 1, evse_id in self._plugged))
        for name, (fault, _) in list(self._faults.items()):
            self._faults[name] = fault, self.uptime_ms
            self._lets(fault)
        self._lets(LINK_OPENED)
        for evse_id in EVSES:
            self._flows(evse_id)

    def _meter(self, evse_id: int) -> MeterRead:
        return MeterRead(evse_id, self._meters[evse_id])

    # --- What is true ----------------------------------------------------------------------------

    def judged(self, observation: Observation) -> list[Decision]:
        before = self.entries[-1] if self.entries else None
        known = len(self.entries)
        decisions = super().judged(observation)
        new = self.entries[known:]
        if before is not None:
            self._stood(before, new[0])
        case = Case(self.product, self.state, new[0])
        self._statuses = {evse_id: evse_status(case, evse_id) for evse_id in EVSES}
        self._sold(new)
        return decisions

    def _stood(self, before: Entry, now: Entry) -> None:
        """The time between two entries counts as the memory said at the first of them."""
        passed_ms = (now.at - before.at) // timedelta(milliseconds=1)
        assert passed_ms >= 0, f"time runs backwards: entry {now.seq} at {now.at}"
        for evse_id, status in self._statuses.items():
            off = isinstance(now.event, StationStarted)
            self.truth.stood_ms[evse_id, "Off" if off else status] += passed_ms

    def _sold(self, new: Sequence[Entry]) -> None:
        for entry in new:
            match entry.event:
                case TransactionStarted(transaction_id=name, evse_id=evse_id):
                    self._begun[name] = self._meters[evse_id]
                case CallQueued(transaction=mark) if mark and mark.event_type == "Ended":
                    sold_wh = self._meters[mark.evse_id] - self._begun.pop(mark.transaction_id)
                    self.truth.sold.setdefault(f"{entry.at:%Y-%m-%d}", []).append(sold_wh)
