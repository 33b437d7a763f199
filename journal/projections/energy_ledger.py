"""The energy of each meter: billed to a transaction, or listed as belonging to none. P11.

An account follows the register of one meter. It begins with the first reading of the journal; what
the meter counted before is not the station's. From then on, at any moment:

    last register - first register = billed + listed + not settled yet

* *Billed* to a transaction is what the meter counted from its start register to its stop register.
  The start register is the newest one when the transaction sends its first event on the EVSE. If
  the meter was not read in this run of the program, or was silent when the transaction before
  ended, it is the next one: no EV driver is billed for energy of the time before. The stop
  register is the newest one when the Ended event is queued.
* *Listed* is what an `EnergyUnaccounted` entry names. A register that falls (another meter) is
  listed with a negative difference, and is not part of what its transaction is billed.
* *Not settled yet* is the energy of an open transaction, and a gap (`find_gap`) that no entry has
  listed so far; the rule is `station.core.blocks.j_metering.list_unaccounted_energy`.

Exports, reports and `station verify` apply the same projection to the entries they read, so that
the sums are computed in one place.
"""

from __future__ import annotations

from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import MeterFellSilent, MeterRead, StationStarted
from journal.projections.base import Projection
from journal.projections.outbox import CallQueued, TransactionEventSummary

# Arithmetic with registers keeps every digit or raises.
EXACT_CONTEXT: Final = Context(prec=200, traps=[Inexact, InvalidOperation])

# In `TransactionEventSummary.includes`: the meter was silent when the transaction ended.
OLD_STOP_REGISTER: Final = "old_stop_register"

UnaccountedReason = Literal[
    "meter_silent",  # the meter did not respond when the transaction before ended
    "program_not_running",  # counted before the first reading of this run
    "register_fell",  # another meter, or a register that was set
    "no_transaction",  # counted while no transaction was open
]


class EnergyUnaccounted(Decision, frozen=True, kw_only=True):
    """The meter of an EVSE counted energy that belongs to no transaction. P11, J02.FR.17."""

    evse_id: int
    from_wh: Decimal  # register up to which all energy belonged to transactions or was listed
    to_wh: Decimal
    from_seq: int  # entry of the reading at from_wh
    to_seq: int  # entry of the reading at to_wh
    reason: UnaccountedReason
    transaction_id: str | None = None  # the last transaction that was billed on this EVSE


class Gap(NamedTuple):
    """Energy of no transaction that no entry lists yet."""

    from_wh: Decimal
    to_wh: Decimal
    from_seq: int
    to_seq: int


class MeterAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The register of one meter, and what is settled of it."""

    evse_id: int
    register_wh: Decimal  # newest
    register_seq: int  # its entry
    register_at_unix_ms: int  # when it was read; wall clock, milliseconds since 1970
    # The meter was read since the program started, and since a transaction that ended without it.
    is_read: bool = True
    settled_wh: Decimal  # all energy up to this register is billed or listed
    settled_seq: int  # entry of the newest reading at this register
    transaction_id: str | None = None  # the open transaction
    start_wh: Decimal | None = None  # its start register; None: not read yet
    start_seq: int = 0
    start_at_unix_ms: int = 0
    excluded_wh: Decimal = Decimal(0)  # listed within the open transaction: falls of the register
    fall: Gap | None = None  # a fall within the open transaction that is not listed yet
    last_transaction_id: str | None = None  # the one that ended last
    ended_with_old_register: bool = False  # the meter was silent when it ended
    listed_ms: int | None = None  # uptime of the last listing in this run

    def find_gap(self) -> Gap | None:
        """Energy of no transaction that no entry lists yet."""
        if self.fall is not None:
            return self.fall
        if self.transaction_id is None:
            to_wh, to_seq = self.register_wh, self.register_seq
        elif self.start_wh is None:
            return None
        else:
            to_wh, to_seq = self.start_wh, self.start_seq
        if to_wh == self.settled_wh:
            return None
        return Gap(self.settled_wh, to_wh, self.settled_seq, to_seq)

    def billed_wh(self) -> Decimal | None:
        """What the open transaction is billed so far; None: no register, or an impossible one."""
        if self.start_wh is None:
            return None
        return subtract_registers(self.start_wh, self.register_wh, excluded_wh=self.excluded_wh)


class EnergyLedger(Projection, frozen=True):
    HANDLES = (MeterRead, MeterFellSilent, StationStarted, CallQueued, EnergyUnaccounted)

    accounts: tuple[MeterAccount, ...] = ()

    def apply(self, entry: Entry) -> EnergyLedger:
        match entry.event:
            case MeterRead(evse_id=evse_id, energy_wh=energy_wh):
                return self._with_register(entry, evse_id, energy_wh, age_ms=0)
            case MeterFellSilent(evse_id=evse_id, energy_wh=energy_wh, age_ms=age_ms):
                return self._with_register(entry, evse_id, energy_wh, age_ms=age_ms)
            case CallQueued(transaction_event=summary) if summary is not None:
                return self._on_transaction_event(summary)
            case EnergyUnaccounted() as listed:
                return self._on_listed(entry, listed)
            case StationStarted():
                return EnergyLedger(
                    tuple(
                        replace(account, is_read=False, listed_ms=None) for account in self.accounts
                    )
                )
            case _:
                return self

    def on_evse(self, evse_id: int) -> MeterAccount | None:
        for account in self.accounts:  # at every reading; a generator takes twice as long
            if account.evse_id == evse_id:
                return account
        return None

    def _with_register(
        self, entry: Entry, evse_id: int, energy_wh: Decimal, *, age_ms: int
    ) -> EnergyLedger:
        account = self.on_evse(evse_id)
        at_unix_ms = round(entry.at.timestamp() * 1000) - age_ms
        if account is None:
            return self._with_account(
                MeterAccount(
                    evse_id=evse_id,
                    register_wh=energy_wh,
                    register_seq=entry.seq,
                    register_at_unix_ms=at_unix_ms,
                    settled_wh=energy_wh,
                    settled_seq=entry.seq,
                )
            )
        read = replace(
            account,
            register_wh=energy_wh,
            register_seq=entry.seq,
            register_at_unix_ms=at_unix_ms,
            is_read=True,
        )
        if account.transaction_id is None:
            if energy_wh == account.settled_wh:
                read = replace(read, settled_seq=entry.seq)
        elif account.start_wh is None:
            read = _start_at_register(read)
        elif energy_wh < account.register_wh:
            fall = Gap(account.register_wh, energy_wh, account.register_seq, entry.seq)
            read = replace(read, fall=fall)
        return self._with_account(read)

    def _on_transaction_event(self, summary: TransactionEventSummary) -> EnergyLedger:
        account = self.on_evse(summary.evse_id)
        if account is None:
            return self
        if summary.event_type == "Ended":
            return self._on_ended(account, summary)
        if account.transaction_id == summary.transaction_id:
            return self
        opened = replace(account, transaction_id=summary.transaction_id)
        return self._with_account(_start_at_register(opened) if account.is_read else opened)

    def _on_ended(self, account: MeterAccount, summary: TransactionEventSummary) -> EnergyLedger:
        if account.transaction_id != summary.transaction_id:
            return self
        is_silent = OLD_STOP_REGISTER in summary.includes
        ended = replace(
            account,
            transaction_id=None,
            start_wh=None,
            start_seq=0,
            start_at_unix_ms=0,
            excluded_wh=Decimal(0),
            fall=None,
            last_transaction_id=summary.transaction_id,
            ended_with_old_register=is_silent,
            is_read=account.is_read and not is_silent,
        )
        if account.start_wh is not None:
            ended = replace(ended, settled_wh=account.register_wh, settled_seq=account.register_seq)
        return self._with_account(ended)

    def _on_listed(self, entry: Entry, listed: EnergyUnaccounted) -> EnergyLedger:
        account = self.on_evse(listed.evse_id)
        if account is None:
            return self
        account = replace(account, listed_ms=entry.uptime_ms)
        if account.fall is not None:
            excluded_wh = subtract_registers(listed.from_wh, listed.to_wh)
            total_wh = add_energies(account.excluded_wh, excluded_wh)
            return self._with_account(replace(account, fall=None, excluded_wh=total_wh))
        return self._with_account(
            replace(
                account,
                settled_wh=listed.to_wh,
                settled_seq=listed.to_seq,
                ended_with_old_register=False,
            )
        )

    def _with_account(self, changed: MeterAccount) -> EnergyLedger:
        others = [each for each in self.accounts if each.evse_id != changed.evse_id]
        return EnergyLedger((*others, changed))


def _start_at_register(account: MeterAccount) -> MeterAccount:
    """The transaction is billed from the newest register on."""
    return replace(
        account,
        start_wh=account.register_wh,
        start_seq=account.register_seq,
        start_at_unix_ms=account.register_at_unix_ms,
    )


def subtract_registers(
    start_wh: Decimal | None, stop_wh: Decimal | None, *, excluded_wh: Decimal = Decimal(0)
) -> Decimal | None:
    """The exact difference of two registers; None: one is missing or impossible."""
    if start_wh is None or stop_wh is None:
        return None
    try:
        return EXACT_CONTEXT.subtract(EXACT_CONTEXT.subtract(stop_wh, start_wh), excluded_wh)
    except DecimalException:
        return None


def add_energies(total_wh: Decimal, energy_wh: Decimal | None) -> Decimal:
    """The exact sum; an energy that is missing or impossible is not added."""
    try:
        return total_wh if energy_wh is None else EXACT_CONTEXT.add(total_wh, energy_wh)
    except DecimalException:
        return total_wh
