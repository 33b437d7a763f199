"""Ledger of the TransactionEvents received, and the check that each transaction is complete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

Payload = dict[str, Any]

IMPORT_REGISTER = "Energy.Active.Import.Register"
WH_PER_UNIT = {"Wh": Decimal(1), "kWh": Decimal(1000)}


@dataclass(frozen=True)
class Receipt:
    """One TransactionEventRequest, the first time its seqNo arrived."""

    at: datetime  # of arrival, the CSMS's clock
    payload: Payload
    copies: int = 1

    @property
    def seq_no(self) -> int:
        return int(self.payload["seqNo"])

    @property
    def event_type(self) -> str:
        return str(self.payload["eventType"])

    @property
    def trigger_reason(self) -> str:
        return str(self.payload["triggerReason"])

    @property
    def transaction_info(self) -> Payload:
        return dict(self.payload["transactionInfo"])

    @property
    def timestamp(self) -> datetime:
        return parse_instant(self.payload["timestamp"])

    @property
    def is_offline(self) -> bool:
        return bool(self.payload.get("offline", False))


@dataclass(frozen=True)
class RegisterReading:
    """The import register of the meter as reported in one sampled value."""

    seq_no: int
    at: datetime  # of the sample, the station's clock
    energy_wh: Decimal
    context: str


@dataclass
class _Account:
    receipts: dict[int, Receipt] = field(default_factory=dict)  # by seqNo, in order of arrival
    changed_seq_nos: list[int] = field(default_factory=list)  # repeated with another payload


class Ledger:
    """All TransactionEvents by transactionId, in order of arrival, each seqNo once."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def receive(self, payload: Payload, at: datetime) -> None:
        """Record one TransactionEventRequest. A seqNo received before only counts as a copy."""
        account = self._accounts.setdefault(payload["transactionInfo"]["transactionId"], _Account())
        seq_no = payload["seqNo"]
        first = account.receipts.get(seq_no)
        if first is None:
            account.receipts[seq_no] = Receipt(at, payload)
            return
        account.receipts[seq_no] = Receipt(first.at, first.payload, first.copies + 1)
        if _without_offline(payload) != _without_offline(first.payload):
            account.changed_seq_nos.append(seq_no)

    def transaction_ids(self) -> list[str]:
        """transactionIds in the order of their first event."""
        return list(self._accounts)

    def receipts_of(self, transaction_id: str) -> list[Receipt]:
        """The events of a transaction, each seqNo once, in order of arrival."""
        return list(self._accounts[transaction_id].receipts.values())

    def count_duplicates(self, transaction_id: str) -> int:
        """How many events repeated a seqNo."""
        return sum(receipt.copies - 1 for receipt in self.receipts_of(transaction_id))

    def ended_event(self, transaction_id: str) -> Receipt | None:
        """The Ended event, or None."""
        events = self._accounts.get(transaction_id, _Account()).receipts.values()
        return next((event for event in events if event.event_type == "Ended"), None)

    def is_closed(self, transaction_id: str) -> bool:
        """Whether Ended and every seqNo before it arrived."""
        ended = self.ended_event(transaction_id)
        return ended is not None and len(self.receipts_of(transaction_id)) > ended.seq_no

    def registers_of(self, transaction_id: str) -> list[RegisterReading]:
        """Every import register reported for a transaction, by time of sample."""
        events = sorted(self.receipts_of(transaction_id), key=lambda event: event.seq_no)
        registers = [register for event in events for register in _registers_in(event)]
        return sorted(registers, key=lambda register: register.at)

    def energy_wh(self, transaction_id: str) -> Decimal:
        """The register of Transaction.End less that of Transaction.Begin.

        Raises:
            LookupError: one of the two was never reported.
        """
        registers = self.registers_of(transaction_id)
        ends = [register for register in registers if register.context == "Transaction.End"]
        begins = [register for register in registers if register.context == "Transaction.Begin"]
        if not begins or not ends:
            raise LookupError(f"{transaction_id}: no register at begin or end in {registers}")
        return ends[-1].energy_wh - begins[0].energy_wh

    def find_problems(self, transaction_id: str, *, clock_stepped: bool = False) -> list[str]:
        """The problems of one transaction; empty for a complete one.

        Args:
            clock_stepped: the station's clock was moved, so timestamps may run backwards.
        """
        account = self._accounts.get(transaction_id)
        if account is None:
            return ["no TransactionEvent arrived"]
        return [
            *_sequence_problems(account),
            *_bracket_problems(account),
            *([] if clock_stepped else _time_problems(account)),
            *_register_problems(self.registers_of(transaction_id)),
        ]


def parse_instant(text: str) -> datetime:
    """The moment of a date-time in a message; ValueError without a UTC offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return moment


def _without_offline(payload: Payload) -> Payload:
    """The part of a TransactionEvent that may not change between two attempts. E04, E12."""
    return {key: payload[key] for key in payload if key != "offline"}


def _sequence_problems(account: _Account) -> Iterator[str]:
    arrived = list(account.receipts)
    missing = sorted(set(range(max(arrived) + 1)) - set(arrived))
    if missing:
        yield f"seqNo missing: {missing}"
    for earlier, later in pairwise(arrived):
        if later < earlier:
            yield f"seqNo {later} arrived after {earlier}"
    for seq_no in account.changed_seq_nos:
        yield f"seqNo {seq_no} repeated with another payload"


def _bracket_problems(account: _Account) -> Iterator[str]:
    events = account.receipts.values()
    for event_type, expected in (("Started", 0), ("Ended", max(account.receipts))):
        seq_nos = [event.seq_no for event in events if event.event_type == event_type]
        if seq_nos != [expected]:
            yield f"{event_type} at seqNo {seq_nos}, expected at [{expected}]"
    evse_ids = {event.payload["evse"]["id"] for event in events if "evse" in event.payload}
    if len(evse_ids) > 1:
        yield f"reported for several EVSEs: {sorted(evse_ids)}"


def _time_problems(account: _Account) -> Iterator[str]:
    events = sorted(account.receipts.values(), key=lambda event: event.seq_no)
    for earlier, later in pairwise(events):
        if later.timestamp < earlier.timestamp:
            yield f"timestamp of seqNo {later.seq_no} is before that of {earlier.seq_no}"


def _register_problems(registers: list[RegisterReading]) -> Iterator[str]:
    for earlier, later in pairwise(registers):
        if later.energy_wh < earlier.energy_wh:
            yield (
                f"register runs backwards: {earlier.energy_wh} Wh at {earlier.at} "
                f"(seqNo {earlier.seq_no}), {later.energy_wh} Wh at {later.at} "
                f"(seqNo {later.seq_no})"
            )


def _registers_in(event: Receipt) -> Iterator[RegisterReading]:
    for value in event.payload.get("meterValue", ()):
        for sample in value["sampledValue"]:
            if (
                sample.get("measurand", IMPORT_REGISTER) == IMPORT_REGISTER
                and "phase" not in sample
            ):
                unit = sample.get("unitOfMeasure", {})
                energy_wh = (
                    Decimal(sample["value"]).scaleb(unit.get("multiplier", 0))
                    * WH_PER_UNIT[unit.get("unit", "Wh")]
                )
                context = sample.get("context", "Sample.Periodic")
                yield RegisterReading(
                    event.seq_no, parse_instant(value["timestamp"]), energy_wh, context
                )
