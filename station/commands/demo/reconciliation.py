"""Comparison of one transaction in the CSMS, in the journal and at the meter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from journal.events import Entry
from journal.observations import MeterRead
from journal.projections.outbox import CallDelivered, CallQueued, TransactionEventSummary
from journal.projections.transactions import TransactionStarted
from station.simulation.csms_ledger import TransactionRecord


class JournaledTransaction:
    """What a journal holds of one transaction."""

    def __init__(self, transaction_id: str, entries: Sequence[Entry]) -> None:
        """Collect the transaction from `entries`, which must contain all of it."""
        self.transaction_id = transaction_id
        self.calls: dict[int, TransactionEventSummary] = {}  # by the entry that queued it
        self.delivered: set[int] = set()
        self.starts_count = 0
        self.registers_wh: dict[str, Decimal] = {}  # at its Started and Ended
        self._latest_wh: dict[int, Decimal] = {}
        for entry in entries:
            self._add_entry(entry)

    def _add_entry(self, entry: Entry) -> None:
        match entry.event:
            case MeterRead(evse_id=evse_id, energy_wh=energy_wh):
                self._latest_wh[evse_id] = energy_wh
            case TransactionStarted(transaction_id=id) if id == self.transaction_id:
                self.starts_count += 1
            case CallQueued(transaction_event=event) if (
                event and event.transaction_id == self.transaction_id
            ):
                self.calls[entry.seq] = event
                if event.evse_id in self._latest_wh:
                    self.registers_wh[event.event_type] = self._latest_wh[event.evse_id]
            case CallDelivered(call_seq=call) if call in self.calls:
                self.delivered.add(call)

    @property
    def energy_wh(self) -> Decimal | None:
        """The last register minus the first, from the meter; None if one is absent."""
        begin_wh, end_wh = self.registers_wh.get("Started"), self.registers_wh.get("Ended")
        return None if begin_wh is None or end_wh is None else end_wh - begin_wh


def find_differences(
    record: TransactionRecord, journaled: JournaledTransaction, meter_wh: Decimal
) -> Iterator[str]:
    """Where they differ, one line each; empty if they agree.

    Args:
        record: the transaction in the ledger of the CSMS.
        journaled: the transaction in the journal.
        meter_wh: energy counted by the meter during the session.
    """
    for complaint in record.find_complaints():
        yield f"CSMS: {complaint}"
    queued = sorted(event.seq_no for event in journaled.calls.values())
    if queued != list(range(len(queued))) or queued != sorted(record.events):
        yield (
            f"the journal has seqNos {_format_ranges(queued)}, "
            f"the CSMS {_format_ranges(record.events)}"
        )
    if journaled.starts_count != 1:
        yield f"the journal has {journaled.starts_count} starts of the transaction"
    for call, event in journaled.calls.items():
        if call not in journaled.delivered:
            yield f"entry {call}, seqNo {event.seq_no}: not delivered, by the journal"
    energies = {"CSMS": record.energy_wh, "journal": journaled.energy_wh, "meter": meter_wh}
    if len(set(energies.values())) > 1:
        values = ", ".join(f"{source} {energy} Wh" for source, energy in energies.items())
        yield f"energies differ: {values}"


def _format_ranges(numbers: Iterable[int]) -> str:
    """For example 0-3, 5."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    return ", ".join("-".join(map(str, bounds)) for bounds in ranges) or "none"
