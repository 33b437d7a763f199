"""Which power limit was in force, for `station why`: who set it, and the entries that prove it.

The journal has each change as PowerLimitsDecided. A derating of the devices (modules, cable) is one
of these limits if it lasts. A shorter one, and what the EV itself requests, is not recorded: where
no limit is named, it was one of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from journal.events import Entry, Event
from journal.observations import EnergyFlowReported, MeterRead
from journal.projections.power_limits import PowerLimit, PowerLimitsDecided
from station.transcript.phrases import format_power_limit

LISTED_LIMITS_MAX: Final = 12  # changes listed in an explanation
FindEntry = Callable[[int], Entry | None]


def describe_limit_at(
    decisions: Sequence[int], find_entry: FindEntry, seq: int, event: Event
) -> Iterator[str]:
    """The limit that was in force when a reading or a suspension by the station was reported.

    Args:
        decisions: entries of PowerLimitsDecided, in order.
        find_entry: as `History.find_entry`.
        seq, event: the entry that is explained.
    """
    if not (
        isinstance(event, MeterRead)
        or (isinstance(event, EnergyFlowReported) and event.flow == "suspended_evse")
    ):
        return
    count = bisect_right(decisions, seq)
    if not count:
        return
    decision = decisions[count - 1]
    entry = find_entry(decision)
    if entry is None or not isinstance(entry.event, PowerLimitsDecided):
        return
    for evse_id in (event.evse_id, 0):
        limit = _limit_of(entry.event, evse_id)
        if limit is not None:
            place = f"EVSE {evse_id}" if evse_id else "The station"
            yield f"{place} was limited to {_describe(limit)}, by entry {decision}."


def describe_limit_changes(
    decisions: Sequence[int], find_entry: FindEntry, evse_id: int, first_seq: int, last_seq: int
) -> Iterator[str]:
    """Each limit of an EVSE from an entry to another, with its time; the one at the start too."""
    begin = max(bisect_right(decisions, first_seq) - 1, 0)
    changes = list(_find_changes(decisions[begin:], find_entry, evse_id, last_seq))
    for entry, limit in changes[:LISTED_LIMITS_MAX]:
        since = f"From {entry.at:%H:%M:%S}" if entry.seq > first_seq else "When it started"
        text = _describe(limit) if limit else "no profile and no external limit any more"
        verb = "was limited to" if limit else "was limited by"
        yield f"{since} it {verb} {text}: entry {entry.seq}."
    if len(changes) > LISTED_LIMITS_MAX:
        yield f"The limit changed {len(changes) - LISTED_LIMITS_MAX} more times."


def _find_changes(
    decisions: Sequence[int], find_entry: FindEntry, evse_id: int, last_seq: int
) -> Iterator[tuple[Entry, PowerLimit | None]]:
    previous: PowerLimit | None = None
    for seq in decisions:
        if seq > last_seq:
            return
        entry = find_entry(seq)
        if entry is None or not isinstance(entry.event, PowerLimitsDecided):
            continue
        limit = _limit_of(entry.event, evse_id)
        if limit != previous:
            yield entry, limit
        previous = limit


def _limit_of(event: PowerLimitsDecided, evse_id: int) -> PowerLimit | None:
    return next((limit for limit in event.limits if limit.evse_id == evse_id), None)


def _describe(limit: PowerLimit) -> str:
    by = "the CSMS" if limit.profile_id >= 0 else f"another source, {limit.limit_source}"
    return f"{format_power_limit(limit)}, set by {by}"
