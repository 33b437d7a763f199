"""Whether the registers of a journal add up: what meters counted is billed or listed. P11.

For each meter, at every end of a transaction and every listing:

    last register - first register = billed to transactions + listed as EnergyUnaccounted + open

`EnergyCheck` applies the projection EnergyLedger and keeps both sums. Where they begin to differ,
energy belongs to no transaction and no entry lists it: an older release did not list it, or the
journal was changed. Each such place is one complaint.

Entries that are missing or archived elsewhere leave the sums of a meter unknown; they begin again
at the next entry that settles all energy before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from journal.codec import DECODE_ERRORS, Registry, parse_time
from journal.events import Entry
from journal.format.hash_chain import EntryRow
from journal.projections.energy_ledger import (
    EnergyLedger,
    EnergyUnaccounted,
    MeterAccount,
    add_energies,
    subtract_registers,
)
from journal.projections.outbox import CallQueued, TransactionEventSummary

_KINDS = frozenset(kind.__name__ for kind in EnergyLedger.HANDLES)


class _MeterSums(msgspec.Struct):
    """The sums of one meter since its first register.

    `unsettled_wh` is what the ledger had settled more than both sums together; 0 if all adds up.
    """

    first_wh: Decimal
    billed_wh: Decimal = Decimal(0)
    listed_wh: Decimal = Decimal(0)

    def find_difference(self, account: MeterAccount) -> Decimal | None:
        """Energy that is neither billed nor listed; None: a register is impossible."""
        settled_wh = add_energies(account.settled_wh, account.excluded_wh)
        accounted_wh = add_energies(self.billed_wh, self.listed_wh)
        return subtract_registers(self.first_wh, settled_wh, excluded_wh=accounted_wh)


class EnergyCheck:
    """Compares registers with what is billed and listed, entry by entry."""

    def __init__(self) -> None:
        self._ledger = EnergyLedger()
        self._sums: dict[int, _MeterSums] = {}
        self._is_whole = True  # no entry was left out so far

    def leave_out(self) -> None:
        """Entries are missing here: sums begin again where all energy is settled."""
        self._ledger, self._sums, self._is_whole = EnergyLedger(), {}, False

    def apply(self, entry: Entry) -> Iterator[str]:
        """The complaints about this entry."""
        before = self._ledger
        self._ledger = before.apply(entry)
        match entry.event:
            case CallQueued(transaction_event=summary) if summary is not None:
                if summary.event_type == "Ended":
                    yield from self._on_ended(entry, before, summary)
            case EnergyUnaccounted() as listed:
                yield from self._on_listed(entry, before, listed)
            case _:
                self._add_meters()

    def _add_meters(self) -> None:
        for account in self._ledger.accounts:
            if self._is_whole and account.evse_id not in self._sums:
                self._sums[account.evse_id] = _MeterSums(account.settled_wh)

    def _on_ended(
        self, entry: Entry, before: EnergyLedger, summary: TransactionEventSummary
    ) -> Iterator[str]:
        account = before.on_evse(summary.evse_id)
        if account is None:
            return
        if account.transaction_id != summary.transaction_id:
            self._begin_again(account.evse_id)
            return
        if sums := self._sums.get(account.evse_id):
            sums.billed_wh = add_energies(sums.billed_wh, account.billed_wh())
        yield from self._compare(entry, account.evse_id)

    def _on_listed(
        self, entry: Entry, before: EnergyLedger, listed: EnergyUnaccounted
    ) -> Iterator[str]:
        account, sums = before.on_evse(listed.evse_id), self._sums.get(listed.evse_id)
        if account is None:
            return
        if sums is not None:
            listed_wh = subtract_registers(listed.from_wh, listed.to_wh)
            sums.listed_wh = add_energies(sums.listed_wh, listed_wh)
        yield from self._compare(entry, listed.evse_id)

    def _compare(self, entry: Entry, evse_id: int) -> Iterator[str]:
        """Complain of a difference, and begin again after it."""
        account, sums = self._ledger.on_evse(evse_id), self._sums.get(evse_id)
        difference_wh = sums.find_difference(account) if account and sums else None
        if difference_wh:
            yield (
                f"entry {entry.seq}: EVSE {evse_id}: {difference_wh:f} Wh before this entry belong "
                "to no transaction, and no entry lists them"
            )
        if account and (difference_wh or sums is None):
            self._sums[evse_id] = _MeterSums(add_energies(account.settled_wh, account.excluded_wh))

    def _begin_again(self, evse_id: int) -> None:
        """A transaction ended whose begin is not known."""
        others = (each for each in self._ledger.accounts if each.evse_id != evse_id)
        self._ledger = EnergyLedger(tuple(others))
        self._sums.pop(evse_id, None)


def check_energy(rows: Iterable[EntryRow], registry: Registry) -> Iterator[str]:
    """One line for each place of a journal where energy is neither billed nor listed.

    Args:
        rows: of the journal, in order; unreadable ones are left out.
    """
    check, due_seq = EnergyCheck(), 1
    for row in rows:
        if row.seq != due_seq:
            check.leave_out()
        due_seq = row.seq + 1
        if row.kind not in _KINDS:
            continue
        try:
            event = registry.decoders[row.kind, row.version](row.body)
            entry = Entry(row.seq, parse_time(row.at), row.uptime_ms, event, row.cause)
        except DECODE_ERRORS:
            check.leave_out()
            continue
        yield from check.apply(entry)
