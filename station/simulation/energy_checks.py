"""Invariants of meters: registers never decrease; what was counted is billed or listed. P2, P11.

Part of `invariants`, whose docstring has the promises.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from journal.events import Entry
from journal.observations import MeterFellSilent, MeterRead
from journal.projections.energy_ledger import EnergyUnaccounted
from station.simulation.evse_double import EvseDouble
from station.simulation.invariant_error import check
from station.simulation.message_checks import MessageChecks
from station.simulation.station_process import StationProcess

_payload_decoder = msgspec.json.Decoder(float_hook=Decimal)


class EnergyChecks:
    """Checks the registers of the meters; `process`: the running program."""

    def __init__(self) -> None:
        self.process: StationProcess | None = None
        self._first_registers_wh: dict[int, Decimal] = {}
        self._registers_wh: dict[int, Decimal] = {}  # the newest
        self._unaccounted: list[EnergyUnaccounted] = []

    def record_entry(self, entry: Entry) -> None:
        """Check the next entry of the file."""
        match entry.event:
            case (
                MeterRead(evse_id=evse_id, energy_wh=energy_wh)
                | MeterFellSilent(evse_id=evse_id, energy_wh=energy_wh)
            ):
                self._record_register(evse_id, energy_wh)
            case EnergyUnaccounted() as unaccounted:
                self._unaccounted.append(unaccounted)

    def _record_register(self, evse_id: int, energy_wh: Decimal) -> None:
        """Registers never fall, except where a meter was replaced. J02.FR.16"""
        assert self.process is not None
        previous_wh = self._registers_wh.get(evse_id, Decimal(0))
        change = f"register of EVSE {evse_id} fell from {previous_wh} to {energy_wh} Wh"
        is_replaced = self.process.environment.evses[evse_id].was_replaced
        check(is_replaced or energy_wh >= previous_wh, "P2", change)
        self._first_registers_wh.setdefault(evse_id, energy_wh)
        self._registers_wh[evse_id] = energy_wh

    def has_read_meters(self, evses: dict[int, EvseDouble]) -> bool:
        """Whether the last register of every meter is in the journal."""
        return all(
            self._registers_wh.get(evse_id) == evse.energy_wh for evse_id, evse in evses.items()
        )

    def check_energy(self, messages: MessageChecks) -> None:
        """What each meter counted is billed to transactions or listed. P11."""
        billed_wh = self._sum_billed(messages)
        for evse_id, first_wh in self._first_registers_wh.items():
            listed = [each for each in self._unaccounted if each.evse_id == evse_id]
            listed_wh = sum((each.to_wh - each.from_wh for each in listed), Decimal(0))
            counted_wh = self._registers_wh[evse_id] - first_wh
            settled_wh = billed_wh.get(evse_id, Decimal(0)) + listed_wh
            check(
                counted_wh == settled_wh,
                "P11",
                f"EVSE {evse_id} counted {counted_wh} Wh, {settled_wh} Wh are billed or listed",
            )

    def _sum_billed(self, messages: MessageChecks) -> dict[int, Decimal]:
        """What the TransactionEvents bill, by EVSE. A fall of the register is not billed."""
        billed_wh: dict[int, Decimal] = {}
        for transaction_id, calls in messages.calls_by_transaction.items():
            ended = messages.queued_calls[calls[-1]].transaction_event
            assert ended is not None
            begin_wh, end_wh = _find_billed_registers(messages, calls)
            if begin_wh is None or end_wh is None:
                continue
            falls_wh = sum(
                (
                    listed.to_wh - listed.from_wh
                    for listed in self._unaccounted
                    if listed.transaction_id == transaction_id
                    and calls[0] < listed.to_seq <= calls[-1]
                    and listed.reason == "register_fell"
                ),
                Decimal(0),
            )
            billed_wh.setdefault(ended.evse_id, Decimal(0))
            billed_wh[ended.evse_id] += end_wh - begin_wh - falls_wh
        return billed_wh


def _find_billed_registers(
    messages: MessageChecks, calls: list[int]
) -> tuple[Decimal | None, Decimal | None]:
    """Registers with context Transaction.Begin and Transaction.End; None: there is none."""
    registers_wh: dict[str, Decimal] = {}
    for call in calls:
        body = _payload_decoder.decode(messages.queued_calls[call].payload)
        for value in body.get("meterValue", ()):
            for sampled in value["sampledValue"]:
                if sampled["measurand"] == "Energy.Active.Import.Register":
                    registers_wh.setdefault(sampled["context"], Decimal(sampled["value"]))
    return registers_wh.get("Transaction.Begin"), registers_wh.get("Transaction.End")
