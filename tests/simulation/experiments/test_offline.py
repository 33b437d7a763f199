"""Every event queued without a CSMS arrives once and in order.

A few hours; `make offline` runs a month.
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
    experiment = OfflineExperiment(tmp_path_factory.mktemp("offline"), EVENTS)
    experiment.run()
    return experiment


def test_every_event_arrives_once_and_in_order_across_restarts_e04_e12(
    offline_run: OfflineExperiment,
) -> None:
    assert offline_run.complaints == []
    assert offline_run.ledger.arrived >= EVENTS
    assert offline_run.ledger.duplicates <= len(offline_run.startup_durations_s) == RESTARTS


def test_a_waiting_call_costs_a_few_bytes_of_state_p6(offline_run: OfflineExperiment) -> None:
    first, *_, last = offline_run.costs
    calls = last.waiting_calls - first.waiting_calls
    bytes_per_call = (last.state_bytes - first.state_bytes) / calls
    assert 5 < bytes_per_call < STATE_BYTES_PER_CALL_MAX, offline_run.costs


def full_outbox(waiting: int) -> Outbox:
    """An outbox with so many calls of two EVSEs waiting."""
    outbox = Outbox()
    names = [f"transaction {(number % 2, number // 240)}" for number in range(waiting)]
    for number, name in enumerate(names):
        outbox = Outbox(transaction=outbox.transaction.with_number(5 * number + 1, name))
    return outbox


def test_no_operation_becomes_slower_with_more_waiting_calls_p6() -> None:
    few, many = full_outbox(500), full_outbox(50_000)
    before = [measure_operations(few, 10**6) for _ in range(5)]
    after = [measure_operations(many, 10**6) for _ in range(5)]
    for name in ("queue_us", "next_us", "attempt_us", "deliver_us"):
        few_us = min(costs[name] for costs in before)
        many_us = min(costs[name] for costs in after)
        assert many_us < SLOWER_MAX * few_us + 1, f"{name}: {few_us:.2f}, then {many_us:.2f}"


def test_lost_calls_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_call_queued = Outbox._on_call_queued

    def lose_some(self: Outbox, seq: int, call: CallQueued) -> Outbox:
        is_lost = call.lane == "transaction" and seq % 97 == 0
        return self if is_lost else on_call_queued(self, seq, call)

    monkeypatch.setattr(Outbox, "_on_call_queued", lose_some)
    experiment = OfflineExperiment(tmp_path, 300, restarts=0)
    experiment.drain_timeout_s = 3_600
    experiment.run()
    assert any("out of order" in complaint for complaint in experiment.complaints)
    assert any("not arrived" in complaint for complaint in experiment.complaints)
