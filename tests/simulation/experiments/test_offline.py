"""Does everything arrive that was said while nobody could hear it?

A few hours here; `make offline` for a month.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from journal.projections.outbox import CallQueued, Outbox
from station.simulation.experiments.offline import RESTARTS, OfflineExperiment, measure_operations

EVENTS = 1_500
STATE_BYTES_PER_CALL_MAX = 16  # of a snapshot: a number, and what its transaction costs
SLOWER_MAX = 6.0  # an operation with a hundred times as many waiting; measured 2 to 3


@pytest.fixture(scope="module")
def offline_run(tmp_path_factory: pytest.TempPathFactory) -> OfflineExperiment:
    lived = OfflineExperiment(tmp_path_factory.mktemp("offline"), EVENTS)
    lived.run()
    return lived


def test_everything_arrives_once_and_in_order_whatever_interrupts_it_e04_e12(
    offline_run: OfflineExperiment,
) -> None:
    assert offline_run.complaints == []
    assert offline_run.ledger.arrived >= EVENTS
    assert offline_run.ledger.duplicates <= len(offline_run.startup_durations_s) == RESTARTS


def test_what_waits_costs_a_few_bytes_each_p6(offline_run: OfflineExperiment) -> None:
    first, *_, last = offline_run.costs
    grown = (last.state_bytes - first.state_bytes) / (last.waiting_calls - first.waiting_calls)
    assert 5 < grown < STATE_BYTES_PER_CALL_MAX, offline_run.costs


def full_outbox(waiting: int) -> Outbox:
    """An outbox with so many calls of two EVSEs waiting."""
    outbox = Outbox()
    names = [f"transaction {(number % 2, number // 240)}" for number in range(waiting)]
    for number, name in enumerate(names):
        outbox = Outbox(transaction=outbox.transaction.with_number(5 * number + 1, name))
    return outbox


def test_no_operation_becomes_slower_with_what_waits_p6() -> None:
    few, many = full_outbox(500), full_outbox(50_000)
    before = [measure_operations(few, 10**6) for _ in range(5)]
    after = [measure_operations(many, 10**6) for _ in range(5)]
    for name in ("queue_us", "next_us", "attempt_us", "deliver_us"):
        fastest, then = min(one[name] for one in before), min(one[name] for one in after)
        assert then < SLOWER_MAX * fastest + 1, f"{name}: {fastest:.2f}, then {then:.2f}"


def test_what_is_lost_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queued = Outbox._on_call_queued

    def lossy(self: Outbox, call: int, one: CallQueued) -> Outbox:
        return self if one.lane == "transaction" and call % 97 == 0 else queued(self, call, one)

    monkeypatch.setattr(Outbox, "_on_call_queued", lossy)
    lived = OfflineExperiment(tmp_path, 300, restarts=0)
    lived.drain_timeout_s = 3_600
    lived.run()
    assert any("out of order" in one for one in lived.complaints)
    assert any("not arrived" in one for one in lived.complaints)
