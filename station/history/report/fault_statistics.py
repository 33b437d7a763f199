"""Which faults were there, how often, and how far apart?"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from station.history.report.evse_condition import FaultKey, FaultPeriod

KINDS_MAX: Final = 300  # a product has some fifty kinds of fault; a forged journal may have more
RECENT_MAX: Final = 3  # occurrences that are told with their entries


class Occurrence(NamedTuple):
    """One time that a fault lasted; moments. None: it still does."""

    began_ms: int
    began_seq: int
    ended_ms: int | None
    ended_seq: int | None


@dataclass
class FaultKind:
    """All times of one fault at one place; `evse_id` 0 is the station."""

    evse_id: int
    device: str
    fault: str
    blocks: bool = False
    count: int = 0
    total_ms: int = 0  # within the range
    longest_ms: int = 0
    recent: deque[Occurrence] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))
    _last_duration_ms: int = 0

    @property
    def is_active(self) -> bool:
        return bool(self.recent) and self.recent[-1].ended_ms is None

    def mean_between_ms(self, range_ms: int) -> int | None:
        """Mean time between: without the fault, divided by how often it came."""
        return (range_ms - self.total_ms) // self.count if self.count else None

    def add_occurrence(self, period: FaultPeriod, duration_ms: int) -> None:
        """One more, or the last one again: a restart lay in between and it went on."""
        one = Occurrence(period.fault.began_ms, period.fault.seq, period.ended_ms, period.ended_seq)
        again = bool(self.recent) and self.recent[-1].began_seq == one.began_seq
        if again:
            self.recent[-1] = one
        else:
            self.recent.append(one)
        self.blocks = self.blocks or period.fault.event.blocks_charging
        self.count += not again
        self.total_ms += duration_ms - (self._last_duration_ms if again else 0)
        self.longest_ms = max(self.longest_ms, duration_ms)
        self._last_duration_ms = duration_ms


class FaultStatistics:
    """The faults of a range, `since` to `until`."""

    def __init__(self, since_ms: int, until_ms: int) -> None:
        self._since_ms = since_ms
        self._until_ms = until_ms
        self._kind_by_key: dict[FaultKey, FaultKind] = {}
        self.left_out_count = 0  # occurrences of kinds beyond KINDS_MAX

    def add_period(self, period: FaultPeriod) -> None:
        """A fault that is over, or that lasts when the range ends."""
        began, ended = (
            period.fault.began_ms,
            self._until_ms if period.ended_ms is None else period.ended_ms,
        )
        if ended < self._since_ms or began >= self._until_ms:
            return
        event = period.fault.event
        key = (event.evse_id, event.device, event.fault)
        kind = self._kind_by_key.get(key)
        if kind is None:
            if len(self._kind_by_key) >= KINDS_MAX:
                self.left_out_count += 1
                return
            kind = self._kind_by_key[key] = FaultKind(*key)
        kind.add_occurrence(period, max(0, min(ended, self._until_ms) - max(began, self._since_ms)))

    def __iter__(self) -> Iterator[FaultKind]:
        """Those that stop a charge first, the longest first."""
        order = sorted(
            self._kind_by_key.values(),
            key=lambda one: (not one.blocks, -one.total_ms, one.evse_id, one.device, one.fault),
        )
        return iter(order)

    def __len__(self) -> int:
        return sum(one.count for one in self._kind_by_key.values()) + self.left_out_count
