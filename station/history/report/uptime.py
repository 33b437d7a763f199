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

from station.history.report.clock_corrections import datetime_to_ms, ms_to_datetime
from station.history.report.evse_condition import (
    OUTAGE_STATES,
    EvseState,
    ExclusionGround,
    OutageCause,
)

Verdict = Literal["excluded", "claimable", "counted"]

CAUSES_MAX: Final = 20  # of an outage that are told
LISTED_OUTAGES_MAX: Final = 400  # spans of a kind that are told one by one; the longest of them
_HUNDRED = Decimal(100)
_PERCENT_STEP = Decimal("0.001")  # of a percentage, rounded down: 97 % is reached or it is not


class Outage(NamedTuple):
    """A span for which an EVSE could not be used and that counts one way."""

    duration_ms: int
    began_ms: int  # moment
    ended_ms: int
    ended_seq: int  # entry that ended it; 0: the range did
    causes: tuple[OutageCause, ...]
    verdict: Verdict

    @property
    def grounds(self) -> tuple[str, ...]:
        """What it is excluded for, or may be."""
        names = (one.ground.name for one in self.causes if one.ground)
        return tuple(dict.fromkeys(names)) if self.verdict != "counted" else ()


@dataclass
class UptimeTally:
    """Milliseconds of a range, or of a month of it."""

    whole_ms: int = 0
    outage_ms: int = 0
    excluded_ms: int = 0
    claimable_ms: int = 0

    def add_period(self, duration_ms: int, verdict: Verdict | None) -> None:
        self.whole_ms += duration_ms
        self.outage_ms += duration_ms * (verdict is not None)
        self.excluded_ms += duration_ms * (verdict == "excluded")
        self.claimable_ms += duration_ms * (verdict == "claimable")

    @property
    def uptime_percent(self) -> Decimal | None:
        """In percent, as the rule counts; None: there is nothing to count."""
        return floor_percent(self.whole_ms - (self.outage_ms - self.excluded_ms), self.whole_ms)

    @property
    def claimable_uptime_percent(self) -> Decimal | None:
        """The same if the operator can show whatever the journal cannot prove."""
        return floor_percent(
            self.whole_ms - (self.outage_ms - self.excluded_ms - self.claimable_ms), self.whole_ms
        )


def floor_percent(part: int, whole: int) -> Decimal | None:
    """Rounded down: what falls short of a bound must not look as if it reached it."""
    if not whole:
        return None
    return (Decimal(part) * _HUNDRED / Decimal(whole)).quantize(_PERCENT_STEP, ROUND_DOWN)


class LongestOutages:
    """The longest outages of a kind; of the others, how many and how long."""

    def __init__(self) -> None:
        self._longest: list[tuple[int, int, Outage]] = []
        self.others_count = 0
        self.others_ms = 0

    def add_outage(self, outage: Outage) -> None:
        item = (outage.duration_ms, -outage.began_ms, outage)
        if len(self._longest) < LISTED_OUTAGES_MAX:
            heapq.heappush(self._longest, item)
            return
        shortest = heapq.heappushpop(self._longest, item)
        self.others_count += 1
        self.others_ms += shortest[0]

    def __iter__(self) -> Iterator[Outage]:
        """In order of time."""
        return iter(sorted((one for _, _, one in self._longest), key=lambda one: one.began_ms))

    def __len__(self) -> int:
        return len(self._longest) + self.others_count


@dataclass
class EvseUptime:
    """The account of an EVSE."""

    evse_id: int
    total: UptimeTally = field(default_factory=UptimeTally)
    tally_by_month: dict[str, UptimeTally] = field(default_factory=dict)  # as 2026-11
    ms_by_state: Counter[EvseState] = field(default_factory=Counter)  # milliseconds
    outage_count: int = 0  # whole ones, whatever their causes
    excluded_outages: LongestOutages = field(default_factory=LongestOutages)
    counted_outages: LongestOutages = field(default_factory=LongestOutages)
    _open_outage: Outage | None = None  # it may go on
    _previous_end_ms: int = -1  # where the outage before ended

    def add_period(
        self,
        began_ms: int,
        ended_ms: int,
        ended_seq: int,
        state: EvseState,
        causes: tuple[OutageCause, ...],
    ) -> None:
        """Enter a span of one state. Spans come in order."""
        ms = ended_ms - began_ms
        if ms <= 0 or state == "none":
            return
        self.ms_by_state[state] += ms
        verdict = decide_verdict(causes) if state in OUTAGE_STATES else None
        self.total.add_period(ms, verdict)
        for month, its_ms in _split_by_month(began_ms, ended_ms):
            self.tally_by_month.setdefault(month, UptimeTally()).add_period(its_ms, verdict)
        if verdict is None:
            return
        self.outage_count += began_ms != self._previous_end_ms
        self._previous_end_ms = ended_ms
        outage = Outage(ms, began_ms, ended_ms, ended_seq, causes, verdict)
        if self._open_outage is not None and _is_continued(self._open_outage, outage):
            self._open_outage = _merge_outages(self._open_outage, outage)
        else:
            self.close()
            self._open_outage = outage

    def close(self) -> None:
        """List the outage that was entered last: nothing can prolong it any more."""
        if self._open_outage is not None:
            (
                self.excluded_outages
                if self._open_outage.verdict == "excluded"
                else self.counted_outages
            ).add_outage(self._open_outage)
            self._open_outage = None


def _is_continued(outage: Outage, following: Outage) -> bool:
    same = outage.verdict == following.verdict and outage.grounds == following.grounds
    return same and outage.ended_ms == following.began_ms


def _merge_outages(outage: Outage, following: Outage) -> Outage:
    """Both as one, with the causes of both."""
    causes = tuple(dict.fromkeys((*outage.causes, *following.causes)))[:CAUSES_MAX]
    return following._replace(
        duration_ms=outage.duration_ms + following.duration_ms,
        began_ms=outage.began_ms,
        causes=causes,
    )


def decide_verdict(causes: Iterable[OutageCause]) -> Verdict:
    """Whether an outage with these causes counts."""
    known = tuple(causes)
    proven = [one for one in known if one.ground and one.ground.is_proven]
    if _is_explained(known, proven):
        return "excluded"
    grounds = [one for one in known if one.ground]
    return "claimable" if _is_explained(known, grounds) else "counted"


def _is_explained(causes: tuple[OutageCause, ...], grounds: list[OutageCause]) -> bool:
    """Whether each cause is a ground, or the consequence of one."""
    covering = [one.seq for one in grounds if _require_ground(one).covers_consequences]
    since = min(covering, default=None)
    return bool(grounds) and all(
        one in grounds or (since is not None and one.seq > since) for one in causes
    )


def _require_ground(cause: OutageCause) -> ExclusionGround:
    assert cause.ground is not None, "asked of grounds only"
    return cause.ground


def _split_by_month(began_ms: int, ended_ms: int) -> Iterator[tuple[str, int]]:
    """The span, cut where calendar months (UTC) meet."""
    while began_ms < ended_ms:
        at = ms_to_datetime(began_ms)
        first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        if (first.year, first.month) == (9999, 12):
            end = ended_ms  # the calendar goes no further
        else:
            end = min(ended_ms, datetime_to_ms((first + timedelta(days=32)).replace(day=1)))
        yield f"{at:%Y-%m}", end - began_ms
        began_ms = end
