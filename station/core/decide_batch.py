"""TODO."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from journal.events import Entry
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionSampleKept


def transaction_ended(entries: Iterable[Entry]) -> bool:
    """Whether these tell of the end of a transaction."""
    return any(
        isinstance(entry.event, CallQueued)
        and entry.event.transaction_event is not None
        and entry.event.transaction_event.event_type == "Ended"
        for entry in entries
    )


def metered_evse_ids(entries: Iterable[Entry]) -> set[int]:
    """The EVSEs whose meter these decisions speak of."""
    found: set[int] = set()
    for entry in entries:
        match entry.event:
            case CallQueued(transaction_event=mark) if mark is not None:
                found.add(mark.evse_id)
            case CallQueued(action="MeterValues", payload=payload):
                found.add(msgspec.json.decode(payload)["evseId"])
            case TransactionSampleKept():
                found.add(entry.event.sample.meter_read.evse_id)
    return found - {0}  # a transaction that began before its cable has no EVSE yet: E01.FR.03
