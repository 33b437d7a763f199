"""Uptime of an EVSE over a range, with the evidence for every excluded outage.

US 23 CFR 680.116 (b)(3): uptime = ((M - (outage - excluded)) / M) x 100, where M is the 525,600
minutes of a year; here, the length of the range.

An outage is a period in which the EVSE is neither online and available nor in use: its state is in
`OUTAGE_STATES`. A period has causes (`evse_condition`), and its verdict is the first that applies:

1. excluded: each cause has a ground that the journal proves, or began while a proven ground that
   covers its consequences held. The rule wants a port that would otherwise have been operational,
   so one cause without a ground makes the whole period count. A cause that was there before the
   covering ground is not a consequence of it.
2. claimable: the same with grounds that an operator may be able to prove by other evidence.
   Claimable time is counted; the page shows the uptime with and without it.
3. counted: everything else.

Consecutive periods with the same verdict and grounds are one outage. Milliseconds are counted;
a percentage is truncated, so 97 % is reached or it is not.
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

CAUSES_MAX: Final = 20  # of an outage that are listed
LISTED_OUTAGES_MAX: Final = 400  # longest outages of a verdict that are listed
_HUNDRED = Decimal(100)
_PERCENT_STEP = Decimal("0.001")  # of a percentage, rounded down


class Outage(NamedTuple):
    """A period in which an EVSE could not be used, with one verdict."""

    duration_ms: int
    began_ms: int  # corrected time
    ended_ms: int
    ended_seq: int  # entry that ended it; 0: the end of the range
    causes: tuple[OutageCause, ...]
    verdict: Verdict

    @property
    def grounds(self) -> tuple[str, ...]:
        """Grounds for which it is excluded or claimable."""
        names = (cause.ground.name for cause in self.causes if cause.ground)
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
        """In percent, as the rule counts; None: the range is empty."""
        return floor_percent(self.whole_ms - (self.outage_ms - self.excluded_ms), self.whole_ms)

    @property
    def claimable_uptime_percent(self) -> Decimal | None:
        """Uptime if the operator can prove every claimable outage."""
        return floor_percent(
            self.whole_ms - (self.outage_ms - self.excluded_ms - self.claimable_ms), self.whole_ms
        )


def floor_percent(part: int, whole: int) -> Decimal | None:
    """A share in percent, rounded down, so that it does not seem to reach a bound it misses."""
    if not whole:
        return None
    return (Decimal(part) * _HUNDRED / Decimal(whole)).quantize(_PERCENT_STEP, ROUND_DOWN)


class LongestOutages:
    """The longest outages of a verdict; number and total length of the others."""

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
        """The listed outages, the longest first: every start has one of a few milliseconds."""
        outages = (outage for _, _, outage in self._longest)
        return iter(sorted(outages, key=lambda outage: (-outage.duration_ms, outage.began_ms)))

    def __len__(self) -> int:
        return len(self._longest) + self.others_count


@dataclass
class EvseUptime:
    """Tallies and outages of one EVSE."""

    evse_id: int
    total: UptimeTally = field(default_factory=UptimeTally)
    tally_by_month: dict[str, UptimeTally] = field(default_factory=dict)  # as 2026-11
    ms_by_state: Counter[EvseState] = field(default_factory=Counter)  # milliseconds
    outage_count: int = 0  # uninterrupted outages, whatever their causes and verdicts
    excluded_outages: LongestOutages = field(default_factory=LongestOutages)
    counted_outages: LongestOutages = field(default_factory=LongestOutages)
    _open_outage: Outage | None = None  # the next period may continue it
    _previous_end_ms: int = -1  # end of the previous outage

    def add_period(
        self,
        began_ms: int,
        ended_ms: int,
        ended_seq: int,
        state: EvseState,
        causes: tuple[OutageCause, ...],
    ) -> None:
        """Add a period of one state. Periods come in order."""
        duration_ms = ended_ms - began_ms
        if duration_ms <= 0 or state == "none":
            return
        self.ms_by_state[state] += duration_ms
        verdict = decide_verdict(causes) if state in OUTAGE_STATES else None
        self.total.add_period(duration_ms, verdict)
        for month, month_ms in _split_by_month(began_ms, ended_ms):
            self.tally_by_month.setdefault(month, UptimeTally()).add_period(month_ms, verdict)
        if verdict is None:
            return
        self.outage_count += began_ms != self._previous_end_ms
        self._previous_end_ms = ended_ms
        outage = Outage(duration_ms, began_ms, ended_ms, ended_seq, causes, verdict)
        if self._open_outage is not None and _is_continued(self._open_outage, outage):
            self._open_outage = _merge_outages(self._open_outage, outage)
        else:
            self.close()
            self._open_outage = outage

    def close(self) -> None:
        """Add the last outage to its list; no period continues it."""
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
    """One outage with the causes of both."""
    causes = tuple(dict.fromkeys((*outage.causes, *following.causes)))[:CAUSES_MAX]
    return following._replace(
        duration_ms=outage.duration_ms + following.duration_ms,
        began_ms=outage.began_ms,
        causes=causes,
    )


def decide_verdict(causes: Iterable[OutageCause]) -> Verdict:
    """The verdict on a period with these causes; see the rules above."""
    all_causes = tuple(causes)
    proven = [cause for cause in all_causes if cause.ground and cause.ground.is_proven]
    if _is_explained(all_causes, proven):
        return "excluded"
    with_ground = [cause for cause in all_causes if cause.ground]
    return "claimable" if _is_explained(all_causes, with_ground) else "counted"


def _is_explained(causes: tuple[OutageCause, ...], with_ground: list[OutageCause]) -> bool:
    """Whether each cause has one of these grounds, or is the consequence of one."""
    covering = [cause.seq for cause in with_ground if _require_ground(cause).covers_consequences]
    since_seq = min(covering, default=None)
    return bool(with_ground) and all(
        cause in with_ground or (since_seq is not None and cause.seq > since_seq)
        for cause in causes
    )


def _require_ground(cause: OutageCause) -> ExclusionGround:
    assert cause.ground is not None, cause
    return cause.ground


def _split_by_month(began_ms: int, ended_ms: int) -> Iterator[tuple[str, int]]:
    """The parts of a period by calendar month (UTC)."""
    while began_ms < ended_ms:
        at = ms_to_datetime(began_ms)
        month_start = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        if (month_start.year, month_start.month) == (9999, 12):
            end_ms = ended_ms  # end of the calendar
        else:
            end_ms = min(
                ended_ms, datetime_to_ms((month_start + timedelta(days=32)).replace(day=1))
            )
        yield f"{at:%Y-%m}", end_ms - began_ms
        began_ms = end_ms
