"""How long was each EVSE up, and what is the evidence for every minute that is not counted?

US 23 CFR 680.116 (b)(3): uptime = ((M - (outage - excluded)) / M) x 100, where M is the 525,600
minutes of a year; here those of the range. An outage is a span in which a port is neither online
and available nor in use. A span of it is excluded only if each of its causes is a ground the
journal proves, or began while such a ground covered it: the port would otherwise have been
operational. What an operator may be able to show by other means is told apart, but counted.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Final, Literal, NamedTuple

from station.history.report.condition import OUTAGES, Cause, Ground, State
from station.history.report.times import at_ms, ms_of

Verdict = Literal["excluded", "claimable", "counted"]

CAUSES_MAX: Final = 20  # of an outage that are told
LISTED_MAX: Final = 400  # spans of a kind that are told one by one; the longest of them
_HUNDRED = Decimal(100)
_PLACES = Decimal("0.001")  # of a percentage, rounded down: 97 % is reached or it is not


class Outage(NamedTuple):
    """A span for which an EVSE could not be used and that counts one way."""

    ms: int
    began: int  # moment
    ended: int
    ended_seq: int  # entry that ended it; 0: the range did
    causes: tuple[Cause, ...]
    verdict: Verdict

    @property
    def grounds(self) -> tuple[str, ...]:
        """What it is excluded for, or may be."""
        names = (one.ground.name for one in self.causes if one.ground)
        return tuple(dict.fromkeys(names)) if self.verdict != "counted" else ()


@dataclass
class Tally:
    """Milliseconds of a range, or of a month of it."""

    whole: int = 0
    outage: int = 0
    excluded: int = 0
    claimable: int = 0

    def add(self, ms: int, verdict: Verdict | None) -> None:
        self.whole += ms
        self.outage += ms * (verdict is not None)
        self.excluded += ms * (verdict == "excluded")
        self.claimable += ms * (verdict == "claimable")

    @property
    def uptime(self) -> Decimal | None:
        """In percent, as the rule counts; None: there is nothing to count."""
        return percent(self.whole - (self.outage - self.excluded), self.whole)

    @property
    def uptime_if_shown(self) -> Decimal | None:
        """The same if the operator can show whatever the journal cannot prove."""
        return percent(self.whole - (self.outage - self.excluded - self.claimable), self.whole)


def percent(part: int, whole: int) -> Decimal | None:
    """Rounded down: what falls short of a bound must not look as if it reached it."""
    if not whole:
        return None
    return (Decimal(part) * _HUNDRED / Decimal(whole)).quantize(_PLACES, ROUND_DOWN)


class Listed:
    """The longest outages of a kind; of the others, how many and how long."""

    def __init__(self) -> None:
        self._longest: list[tuple[int, int, Outage]] = []
        self.others = 0
        self.others_ms = 0

    def add(self, outage: Outage) -> None:
        item = (outage.ms, -outage.began, outage)
        if len(self._longest) < LISTED_MAX:
            heapq.heappush(self._longest, item)
            return
        shortest = heapq.heappushpop(self._longest, item)
        self.others += 1
        self.others_ms += shortest[0]

    def __iter__(self) -> Iterator[Outage]:
        """In order of time."""
        return iter(sorted((one for _, _, one in self._longest), key=lambda one: one.began))

    def __len__(self) -> int:
        return len(self._longest) + self.others


@dataclass
class Uptime:
    """The account of an EVSE."""

    evse_id: int
    total: Tally = field(default_factory=Tally)
    months: dict[str, Tally] = field(default_factory=dict)  # as 2026-11
    states: Counter[State] = field(default_factory=Counter)  # milliseconds
    outages: int = 0  # whole ones, whatever their causes
    excluded: Listed = field(default_factory=Listed)
    counted: Listed = field(default_factory=Listed)
    _last: Outage | None = None  # it may go on
    _until: int = -1  # where the outage before ended

    def add(
        self, began: int, ended: int, ended_seq: int, state: State, causes: tuple[Cause, ...]
    ) -> None:
        """Enter a span of one state. Spans come in order."""
        ms = ended - began
        if ms <= 0 or state == "none":
            return
        self.states[state] += ms
        verdict = judged(causes) if state in OUTAGES else None
        self.total.add(ms, verdict)
        for month, its_ms in _by_month(began, ended):
            self.months.setdefault(month, Tally()).add(its_ms, verdict)
        if verdict is None:
            return
        self.outages += began != self._until
        self._until = ended
        outage = Outage(ms, began, ended, ended_seq, causes, verdict)
        if self._last is not None and _goes_on(self._last, outage):
            self._last = _joined(self._last, outage)
        else:
            self.close()
            self._last = outage

    def close(self) -> None:
        """List the outage that was entered last: nothing can prolong it any more."""
        if self._last is not None:
            (self.excluded if self._last.verdict == "excluded" else self.counted).add(self._last)
            self._last = None


def _goes_on(last: Outage, more: Outage) -> bool:
    same = last.verdict == more.verdict and last.grounds == more.grounds
    return same and last.ended == more.began


def _joined(last: Outage, more: Outage) -> Outage:
    """Both as one, with the causes of both."""
    causes = tuple(dict.fromkeys((*last.causes, *more.causes)))[:CAUSES_MAX]
    return more._replace(ms=last.ms + more.ms, began=last.began, causes=causes)


def judged(causes: Iterable[Cause]) -> Verdict:
    """Whether an outage with these causes counts."""
    known = tuple(causes)
    proven = [one for one in known if one.ground and one.ground.proven]
    if _explained(known, proven):
        return "excluded"
    grounds = [one for one in known if one.ground]
    return "claimable" if _explained(known, grounds) else "counted"


def _explained(causes: tuple[Cause, ...], grounds: list[Cause]) -> bool:
    """Whether each cause is a ground, or the consequence of one."""
    covering = [one.seq for one in grounds if _ground(one).covers]
    since = min(covering, default=None)
    return bool(grounds) and all(
        one in grounds or (since is not None and one.seq > since) for one in causes
    )


def _ground(cause: Cause) -> Ground:
    assert cause.ground is not None, "asked of grounds only"
    return cause.ground


def _by_month(began: int, ended: int) -> Iterator[tuple[str, int]]:
    """The span, cut where calendar months (UTC) meet."""
    while began < ended:
        at = at_ms(began)
        first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        if (first.year, first.month) == (9999, 12):
            end = ended  # the calendar goes no further
        else:
            end = min(ended, ms_of((first + timedelta(days=32)).replace(day=1)))
        yield f"{at:%Y-%m}", end - began
        began = end
