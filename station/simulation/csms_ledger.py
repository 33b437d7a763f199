"""Ledger of the TransactionEvents a CSMS received, and the checks of each transaction.

The checks are those a CSMS can make on its own: E01.FR.07, E02, E06 and a register that never
decreases. They are independent of the station's code, so that a fault there is found.
"""

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
    """The events received for one transaction."""

    def __init__(self, transaction_id: str) -> None:
        self.transaction_id = transaction_id
        self.events: dict[int, TransactionEventRequest] = {}  # by seqNo, in order of arrival
        self.duplicates = 0  # events with a seqNo that was received before
        self._changed_seq_nos: list[int] = []  # seqNos received again with different content

    def add_event(self, event: TransactionEventRequest) -> None:
        """Record one event. The first event of a seqNo is kept."""
        first = self.events.get(event.seq_no)
        if first is None:
            self.events[event.seq_no] = event
            return
        self.duplicates += 1
        if _without_offline(event) != _without_offline(first):
            self._changed_seq_nos.append(event.seq_no)

    @property
    def missing_seq_nos(self) -> list[int]:
        """The seqNos from 0 to the highest received that were not received."""
        return sorted(set(range(max(self.events, default=-1) + 1)) - set(self.events))

    @property
    def ended_event(self) -> TransactionEventRequest | None:
        """The event with eventType Ended."""
        return next((event for event in self.events.values() if event.event_type == "Ended"), None)

    @property
    def is_complete(self) -> bool:
        """Whether the Ended event and all events before it were received."""
        return self.ended_event is not None and not self.missing_seq_nos

    @property
    def evse_id(self) -> int | None:
        """The EVSE of the transaction, once reported. E01.FR.16."""
        return next((event.evse.id for event in self.events.values() if event.evse), None)

    @property
    def begin_wh(self) -> Decimal | None:
        """The register at the beginning of the transaction."""
        return next(self._register_values("Transaction.Begin"), None)

    @property
    def end_wh(self) -> Decimal | None:
        """The register at the end of the transaction."""
        return next(self._register_values("Transaction.End"), None)

    @property
    def energy_wh(self) -> Decimal | None:
        """The exact delivered energy; None while one of the two registers is missing."""
        begin_wh, end_wh = self.begin_wh, self.end_wh
        return None if begin_wh is None or end_wh is None else end_wh - begin_wh

    def _register_values(self, context: str) -> Iterator[Decimal]:
        for event in self.events.values():
            for value in event.meter_value or ():
                for sample in value.sampled_value:
                    if sample.context == context and is_register(sample):
                        yield energy_in_wh(sample)

    def find_complaints(self) -> list[str]:
        """Every violation found in the events; empty for a complete transaction."""
        return [
            *(f"seqNo {seq_no} is missing" for seq_no in self.missing_seq_nos),
            *(
                f"seqNo {seq_no} was received again with different content"
                for seq_no in self._changed_seq_nos
            ),
            *self._find_misplaced(),
            *self._find_register_decreases(),
        ]

    def _find_misplaced(self) -> Iterator[str]:
        """E01.FR.07, E02, E06: one Started first, one Ended last, events received in order."""
        if not self.events:
            return
        for event_type, expected in (("Started", 0), ("Ended", max(self.events))):
            seq_nos = [
                seq_no for seq_no, event in self.events.items() if event.event_type == event_type
            ]
            if seq_nos != [expected]:
                yield f"{event_type} at seqNo {seq_nos or 'none'}, expected at {expected}"
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
    """The records of all transactions by transactionId, in order of their first event."""

    def __init__(self) -> None:
        self.transactions: dict[str, TransactionRecord] = {}

    def add_event(self, event: TransactionEventRequest) -> TransactionRecord:
        """Record one event; returns the record of its transaction."""
        transaction_id = event.transaction_info.transaction_id
        record = self.transactions.setdefault(transaction_id, TransactionRecord(transaction_id))
        record.add_event(event)
        return record


def is_register(sample: SampledValueType) -> bool:
    """Whether a sampled value is the import register of the whole EVSE."""
    return sample.measurand in (None, REGISTER) and sample.phase is None


def energy_in_wh(sample: SampledValueType) -> Decimal:
    """The exact energy of a sample, in Wh.

    Raises:
        KeyError: the unit is not Wh or kWh.
    """
    unit = sample.unit_of_measure
    if unit is None:
        return sample.value
    return sample.value.scaleb(unit.multiplier or 0) * WH_PER_UNIT[unit.unit or "Wh"]


def _without_offline(event: TransactionEventRequest) -> TransactionEventRequest:
    """The event without the one field that may differ between two attempts. E04, E12."""
    return replace(event, offline=None)
