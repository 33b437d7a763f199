"""Which TransactionEvents has a CSMS taken in, and do they make a complete account?"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Final

from msgspec.structs import replace

from station.ocpp.messages import parse_timestamp
from station.ocpp.messages.datatypes import SampledValueType
from station.ocpp.messages.e_transactions import TransactionEventRequest

REGISTER: Final = "Energy.Active.Import.Register"
WH_PER_UNIT: Final = {"Wh": Decimal(1), "kWh": Decimal(1000)}


class TransactionRecord:
    """What arrived for one transaction."""

    def __init__(self, transaction_id: str) -> None:
        self.transaction_id = transaction_id
        self.events: dict[int, TransactionEventRequest] = {}  # by seqNo, in order of arrival
        self.duplicates = 0  # arrivals of a seqNo that was there already
        self._changed_seq_nos: list[int] = []  # seqNos that came again and said something else

    def add_event(self, event: TransactionEventRequest) -> None:
        """Enter one event; what was there before stays as it was."""
        first = self.events.get(event.seq_no)
        if first is None:
            self.events[event.seq_no] = event
            return
        self.duplicates += 1
        if _without_offline(event) != _without_offline(first):
            self._changed_seq_nos.append(event.seq_no)

    @property
    def missing_seq_nos(self) -> list[int]:
        """seqNos that should be there: of the account so far, from 0 to the highest."""
        return sorted(set(range(max(self.events, default=-1) + 1)) - set(self.events))

    @property
    def ended_event(self) -> TransactionEventRequest | None:
        """The event that ended it."""
        return next((one for one in self.events.values() if one.event_type == "Ended"), None)

    @property
    def is_complete(self) -> bool:
        """Whether the end is known, and everything before it."""
        return self.ended_event is not None and not self.missing_seq_nos

    @property
    def evse_id(self) -> int | None:
        """Where it took place, once told. E01.FR.16."""
        return next((one.evse.id for one in self.events.values() if one.evse), None)

    @property
    def begin_wh(self) -> Decimal | None:
        """The register at the begin of the transaction."""
        return next(self._register_values("Transaction.Begin"), None)

    @property
    def end_wh(self) -> Decimal | None:
        """The register at its end."""
        return next(self._register_values("Transaction.End"), None)

    @property
    def energy_wh(self) -> Decimal | None:
        """What was delivered, exactly; None while one of the two registers is missing."""
        begin_wh, end_wh = self.begin_wh, self.end_wh
        return None if begin_wh is None or end_wh is None else end_wh - begin_wh

    def _register_values(self, context: str) -> Iterator[Decimal]:
        for event in self.events.values():
            for value in event.meter_value or ():
                for sample in value.sampled_value:
                    if sample.context == context and is_register(sample):
                        yield energy_in_wh(sample)

    def find_complaints(self) -> list[str]:
        """What is wrong with the account; empty for a complete one."""
        return [
            *(f"seqNo {seq_no} is missing" for seq_no in self.missing_seq_nos),
            *(
                f"seqNo {seq_no} came again and said something else"
                for seq_no in self._changed_seq_nos
            ),
            *self._find_misplaced(),
            *self._find_register_decreases(),
        ]

    def _find_misplaced(self) -> Iterator[str]:
        """E01.FR.07, E02, E06: one Started first, one Ended last, arrivals in order."""
        if not self.events:
            return
        for event_type, where in (("Started", 0), ("Ended", max(self.events))):
            found = [no for no, one in self.events.items() if one.event_type == event_type]
            if found != [where]:
                yield f"{event_type} at seqNo {found or 'none'}, expected at {where}"
        for earlier, later in pairwise(self.events):
            if later < earlier:
                yield f"seqNo {later} arrived after {earlier}"

    def _find_register_decreases(self) -> Iterator[str]:
        events = sorted(self.events.items())
        readings = [
            (parse_timestamp(value.timestamp), energy_in_wh(sample), seq_no)
            for seq_no, event in events
            for value in event.meter_value or ()
            for sample in value.sampled_value
            if is_register(sample)
        ]
        for (_, before_wh, _), (_, after_wh, seq_no) in pairwise(sorted(readings)):
            if after_wh < before_wh:
                yield f"the register runs backwards at seqNo {seq_no}: {before_wh}, {after_wh} Wh"


class CsmsLedger:
    """All accounts by transactionId, in the order they were first heard of."""

    def __init__(self) -> None:
        self.transactions: dict[str, TransactionRecord] = {}

    def add_event(self, event: TransactionEventRequest) -> TransactionRecord:
        """Enter one event; the account it belongs to."""
        name = event.transaction_info.transaction_id
        account = self.transactions.setdefault(name, TransactionRecord(name))
        account.add_event(event)
        return account


def is_register(sample: SampledValueType) -> bool:
    """Whether a sampled value is the import register of the whole EVSE."""
    return sample.measurand in (None, REGISTER) and sample.phase is None


def energy_in_wh(sample: SampledValueType) -> Decimal:
    """An energy, exactly.

    Raises:
        KeyError: its unit is none of an energy.
    """
    unit = sample.unit_of_measure
    if unit is None:
        return sample.value
    return sample.value.scaleb(unit.multiplier or 0) * WH_PER_UNIT[unit.unit or "Wh"]


def _without_offline(event: TransactionEventRequest) -> TransactionEventRequest:
    """The event as far as it may not change between two attempts. E04, E12."""
    return replace(event, offline=None)
