"""What limited the power, for `station why`: who set a limit, and the entries that prove it.

The journal has each change of the decided limits as PowerLimitsDecided, and what lasts of the
limits of devices and EV as PowerLimiterReported. What did not last is not recorded: where nothing
is named, it was that, or the rated power.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from journal.events import Entry, Event
from journal.observations import EnergyFlowReported, MeterRead
from journal.projections.power_limiters import LimitingCause
from journal.projections.power_limits import PowerLimit, PowerLimitsDecided
from station.history.limiting_causes import LimitEntries, LimitingCauses
from station.transcript.phrases import LIMITER_NAMES, format_power, format_power_limit

LISTED_LIMITS_MAX: Final = 12  # changes listed in an explanation
FindEntry = Callable[[int], Entry | None]


def describe_limit_at(
    entries: LimitEntries, find_entry: FindEntry, seq: int, event: Event
) -> Iterator[str]:
    """What limited the EVSE when a reading or a suspension by the station was reported.

    First what limited most, if it was reported; then the decided limits of EVSE and station.

    Args:
        entries: those of the journal.
        find_entry: as `History.find_entry`.
        seq, event: the entry that is explained.
    """
    if not (
        isinstance(event, MeterRead)
        or (isinstance(event, EnergyFlowReported) and event.flow == "suspended_evse")
    ):
        return
    causes, found = LimitingCauses(), _read(entries.find_at(event.evse_id, seq), find_entry)
    for entry in found:
        causes.apply(entry)
    cause = causes.on_evse(event.evse_id)
    if cause is not None and _is_reported(cause):
        limited = f"EVSE {event.evse_id} was limited to {_describe_reported(cause)}"
        yield f"{limited} (entry {cause.seq})."
    for entry in found:
        if isinstance(entry.event, PowerLimitsDecided):
            yield from _describe_decided(entry.event, event.evse_id, entry.seq)


def _describe_decided(event: PowerLimitsDecided, evse_id: int, seq: int) -> Iterator[str]:
    for limited_id in (evse_id, 0):
        limit = next((limit for limit in event.limits if limit.evse_id == limited_id), None)
        if limit is not None:
            place = f"EVSE {limited_id}" if limited_id else "The station"
            yield f"{place} was limited to {_describe(limit)}, by entry {seq}."


def describe_limit_changes(
    entries: LimitEntries, find_entry: FindEntry, evse_id: int, first_seq: int, last_seq: int
) -> Iterator[str]:
    """What limited an EVSE from an entry to another, with its time; also what did at the start.

    Values that an EV requests one after the other are one change.
    """
    seqs = [
        *entries.find_at(evse_id, first_seq),
        *entries.find_between(evse_id, first_seq, last_seq),
    ]
    changes = list(_find_changes(_read(seqs, find_entry), evse_id, first_seq))
    for entry, text in changes[:LISTED_LIMITS_MAX]:
        since = f"From {entry.at:%H:%M:%S}" if entry.seq > first_seq else "When it started"
        yield f"{since} it was limited {text}: entry {entry.seq}."
    if len(changes) > LISTED_LIMITS_MAX:
        yield f"The limit changed {len(changes) - LISTED_LIMITS_MAX} more times."


def _find_changes(
    found: Iterable[Entry], evse_id: int, first_seq: int
) -> Iterator[tuple[Entry, str]]:
    causes = LimitingCauses()
    previous: LimitingCause | None = None
    at_start: tuple[Entry, str] | None = None
    for entry in found:
        causes.apply(entry)
        cause = causes.on_evse(evse_id)
        is_change = cause != previous and not (_is_by_ev(cause) and _is_by_ev(previous))
        change = (entry, _describe_change(cause, previous)) if is_change else None
        previous = cause
        if entry.seq <= first_seq:
            at_start = change if change and cause else at_start
            continue
        if at_start is not None:
            yield at_start
            at_start = None
        if change is not None:
            yield change
    if at_start is not None:
        yield at_start


def _describe_change(cause: LimitingCause | None, previous: LimitingCause | None) -> str:
    if cause is not None:
        if _is_reported(cause) or cause.limit is None:
            return f"to {_describe_reported(cause)}"
        return f"to {_describe(cause.limit)}"
    if previous is not None and _is_reported(previous):
        return "neither by devices nor by the EV any more"
    return "by no profile and no external limit any more"


def _read(seqs: Iterable[int], find_entry: FindEntry) -> list[Entry]:
    """The entries with these numbers that can be read."""
    return [entry for seq in seqs if (entry := find_entry(seq)) is not None]


def _is_reported(cause: LimitingCause) -> bool:
    """Whether the power path reported it: a decided limit has the entry that set it."""
    return cause.limit is None or cause.seq != cause.limit.source_seq


def _is_by_ev(cause: LimitingCause | None) -> bool:
    return cause is not None and cause.limiter == "ev"


def _describe_reported(cause: LimitingCause) -> str:
    return f"{format_power(cause.limit_w)}: {LIMITER_NAMES[cause.limiter]}"


def _describe(limit: PowerLimit) -> str:
    by = "the CSMS" if limit.profile_id >= 0 else f"another source, {limit.limit_source}"
    return f"{format_power_limit(limit)}, set by {by}"
