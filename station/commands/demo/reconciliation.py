"""Do the CSMS, the journal and the meter tell the same story of a transaction?"""

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
        """Read `entries`, which hold all of it."""
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
            case TransactionStarted(transaction_id=name) if name == self.transaction_id:
                self.starts_count += 1
            case CallQueued(transaction_event=mark) if (
                mark and mark.transaction_id == self.transaction_id
            ):
                self.calls[entry.seq] = mark
                if mark.evse_id in self._latest_wh:
                    self.registers_wh[mark.event_type] = self._latest_wh[mark.evse_id]
            case CallDelivered(call_seq=call) if call in self.calls:
                self.delivered.add(call)

    @property
    def energy_wh(self) -> Decimal | None:
        """The last register less the first, as the meter gave them; None without one of them."""
        begin_wh, end_wh = self.registers_wh.get("Started"), self.registers_wh.get("Ended")
        return None if begin_wh is None or end_wh is None else end_wh - begin_wh


def find_differences(
    record: TransactionRecord, journaled: JournaledTransaction, meter_wh: Decimal
) -> Iterator[str]:
    """Where they disagree, a line each; nothing if all is well.

    Args:
        account: what the CSMS was told.
        written: what the journal holds.
        meter_wh: what the meter counted meanwhile.
    """
    for complaint in record.find_complaints():
        yield f"CSMS: {complaint}"
    queued = sorted(mark.seq_no for mark in journaled.calls.values())
    if queued != list(range(len(queued))) or queued != sorted(record.events):
        yield f"the journal has seqNos {_format_ranges(queued)}, the CSMS {_format_ranges(record.events)}"
    if journaled.starts_count != 1:
        yield f"the journal begins the transaction {journaled.starts_count} times"
    for call, mark in journaled.calls.items():
        if call not in journaled.delivered:
            yield f"entry {call}, seqNo {mark.seq_no}: the journal knows it not delivered"
    energies = {"CSMS": record.energy_wh, "journal": journaled.energy_wh, "meter": meter_wh}
    if len(set(energies.values())) > 1:
        told = ", ".join(f"{who} {energy} Wh" for who, energy in energies.items())
        yield f"energies differ: {told}"


def _format_ranges(numbers: Iterable[int]) -> str:
    """As in 0-3, 5."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, each)) for each in found) or "none"
