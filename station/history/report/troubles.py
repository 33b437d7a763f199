"""Which faults were there, how often, and how far apart?"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from station.history.report.condition import FaultKey, Span

KINDS_MAX: Final = 300  # a product has some fifty kinds of fault; a forged journal may have more
RECENT: Final = 3  # occurrences that are told with their entries


class Occurrence(NamedTuple):
    """One time that a fault lasted; moments. None: it still does."""

    began: int
    began_seq: int
    ended: int | None
    ended_seq: int | None


@dataclass
class Kind:
    """All times of one fault at one place; `evse_id` 0 is the station."""

    evse_id: int
    device: str
    fault: str
    blocks: bool = False
    count: int = 0
    total_ms: int = 0  # within the range
    longest_ms: int = 0
    recent: deque[Occurrence] = field(default_factory=lambda: deque(maxlen=RECENT))
    _last_ms: int = 0

    @property
    def lasts(self) -> bool:
        return bool(self.recent) and self.recent[-1].ended is None

    def between_ms(self, whole_ms: int) -> int | None:
        """Mean time between: without the fault, divided by how often it came."""
        return (whole_ms - self.total_ms) // self.count if self.count else None

    def add(self, span: Span, ms: int) -> None:
        """One more, or the last one again: a restart lay in between and it went on."""
        one = Occurrence(span.fault.began, span.fault.seq, span.ended, span.ended_seq)
        again = bool(self.recent) and self.recent[-1].began_seq == one.began_seq
        if again:
            self.recent[-1] = one
        else:
            self.recent.append(one)
        self.blocks = self.blocks or span.fault.event.blocks
        self.count += not again
        self.total_ms += ms - (self._last_ms if again else 0)
        self.longest_ms = max(self.longest_ms, ms)
        self._last_ms = ms


class Troubles:
    """The faults of a range, `since` to `until`."""

    def __init__(self, since: int, until: int) -> None:
        self._since = since
        self._until = until
        self._kinds: dict[FaultKey, Kind] = {}
        self.left_out = 0  # occurrences of kinds beyond KINDS_MAX

    def add(self, span: Span) -> None:
        """A fault that is over, or that lasts when the range ends."""
        began, ended = span.fault.began, self._until if span.ended is None else span.ended
        if ended < self._since or began >= self._until:
            return
        event = span.fault.event
        key = (event.evse_id, event.device, event.fault)
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= KINDS_MAX:
                self.left_out += 1
                return
            kind = self._kinds[key] = Kind(*key)
        kind.add(span, max(0, min(ended, self._until) - max(began, self._since)))

    def __iter__(self) -> Iterator[Kind]:
        """Those that stop a charge first, the longest first."""
        order = sorted(
            self._kinds.values(),
            key=lambda one: (not one.blocks, -one.total_ms, one.evse_id, one.device, one.fault),
        )
        return iter(order)

    def __len__(self) -> int:
        return sum(one.count for one in self._kinds.values()) + self.left_out
