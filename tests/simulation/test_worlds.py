"""The station keeps its promises in worlds with faults; stations broken on purpose are found.

A sample of seeds; `make simulate SEEDS=10000 SEED0=0` runs more. Another sample:
SIMULATION_SEED0=5000 pytest tests/simulation/test_worlds.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.projections.energy_ledger import MeterAccount
from journal.projections.outbox import CallQueued, Outbox
from journal.state import State, apply_entry
from station.core import outbox_rules
from station.core.blocks import d_local_list, e_transaction_events, e_transactions
from station.core.blocks.h_kept_evses import KeptEvses
from station.core.blocks.n_monitoring import evaluation
from station.core.context import Context
from station.core.desired import compute_desired_state
from station.ocpp.messages.d_local_list import SendLocalListRequest
from station.simulation import station_process
from station.simulation.__main__ import format_failure, main
from station.simulation.event_queue import INITIAL_UPTIME_MS, START_TIME
from station.simulation.fault_plan import EVENT_ACTIONS
from station.simulation.invariants import own_certificates
from station.simulation.run_plan import run_plan
from station.simulation.seeds import (
    ARGUMENT_MAKERS,
    LIST_EVERY,
    MONITORS_EVERY,
    RELATED_EVENTS,
    RENEWALS_EVERY,
    RESERVATIONS_EVERY,
    make_plan,
)
from station.simulation.station_process import ObservedRecorder

SEED0 = int(os.environ.get("SIMULATION_SEED0", "0"))
SAMPLE = 40


@pytest.mark.parametrize("seed", range(SEED0, SEED0 + SAMPLE))
def test_a_world_with_faults_breaks_no_promise(seed: int) -> None:
    result = run_plan(make_plan(seed))
    assert not result.violation, format_failure(seed, result)


def test_the_same_seed_gives_the_same_journal_byte_for_byte_p4() -> None:
    first, second = run_plan(make_plan(7)), run_plan(make_plan(7))
    assert first.head == second.head
    assert first.head


def test_another_process_with_other_hashes_gives_the_same_journal_p4() -> None:
    program = (
        "import logging; logging.disable()\nfrom station.simulation.run_plan import run_plan\n"
    )
    program += "from station.simulation.seeds import make_plan\nprint(run_plan(make_plan(7)).head)"
    environment = os.environ | {"PYTHONHASHSEED": "1234"}
    process = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == run_plan(make_plan(7)).head


def test_a_world_lasts_until_energy_of_no_transaction_is_listed_p11() -> None:
    """While energy flows on it is listed every 15 minutes only; this world had ended before."""
    result = run_plan(make_plan(30_004))
    assert not result.violation, format_failure(30_004, result)


def test_certificates_are_renewed_in_one_of_seven_worlds_a02() -> None:
    plan = make_plan(6)
    assert plan.security_profile == 3
    results = [run_plan(plan) for _ in range(2)]
    assert results[0].head == results[1].head
    assert results[0].renewals, "no certificate was installed"


def test_monitors_are_triggered_in_one_of_six_worlds_n07() -> None:
    results = [run_plan(make_plan(seed)) for seed in range(3, 30, MONITORS_EVERY)]
    assert [result.violation for result in results] == [""] * len(results)
    assert sum(result.monitor_events for result in results) > 20


def test_the_first_200_seeds_have_every_kind_of_event() -> None:
    drawn_apart = {
        "start_session",
        "fill_disk",
        "silence_meter",
        "replace_meter",
        "limit_externally",
        "renew_certificate",
        "refuse_certificate",
    }
    assert set(EVENT_ACTIONS) == {*ARGUMENT_MAKERS, *drawn_apart}
    assert {kind for row in RELATED_EVENTS for kind in row} <= set(ARGUMENT_MAKERS)
    kinds = {event.kind for seed in range(200) for event in make_plan(seed).events}
    assert kinds == set(EVENT_ACTIONS)


# --- Broken on purpose ---------------------------------------------------------------------------

SimulationFault = Callable[[pytest.MonkeyPatch], None]


def publish_before_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The desired state is published before its entries are on disk."""
    store_entries = ObservedRecorder._store_entries

    async def publish_and_store(self: ObservedRecorder, entries: list[Entry]) -> None:
        state: State = self.state
        for entry in entries:
            state = apply_entry(state, entry)
        self._cache_payloads(entries)
        self.desired_state.set(compute_desired_state(self.product, state, entries[-1]))
        await store_entries(self, entries)

    monkeypatch.setattr(ObservedRecorder, "_store_entries", publish_and_store)


def count_seq_no_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """seqNo comes from a counter in RAM instead of the journal."""
    counters: dict[str, int] = {}
    build_event = e_transaction_events.build_transaction_event

    def build_counted(
        ctx: Context, transaction: Any, event_type: str, *args: Any, **kwargs: Any
    ) -> Any:
        seq_no = counters.get(transaction.transaction_id, 0)
        counters[transaction.transaction_id] = seq_no + 1
        changed = replace(transaction, next_seq_no=seq_no)
        return build_event(ctx, changed, event_type, *args, **kwargs)

    monkeypatch.setattr(e_transactions, "build_transaction_event", build_counted)


def retry_by_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause between two attempts is measured by the wall clock."""
    monkeypatch.setattr(outbox_rules, "_due_transaction_call", _first_call_by_wall_clock)


def _first_call_by_wall_clock(ctx: Context) -> int | None:
    outbox = ctx.state.outbox
    if outbox.retry_ms is not None:
        due_ms = outbox.retry_ms + START_TIME.timestamp() * 1000 - INITIAL_UPTIME_MS
        if ctx.now.timestamp() * 1000 < due_ms:
            return None
    return outbox.next_transaction_call


def lose_queued_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some messages are lost from the queue, without an entry."""
    on_call_queued = Outbox._on_call_queued

    def lose_some(self: Outbox, seq: int, call: CallQueued) -> Outbox:
        if call.lane == "transaction" and seq % 7 == 0:
            return self
        return on_call_queued(self, seq, call)

    monkeypatch.setattr(Outbox, "_on_call_queued", lose_some)


def ignore_late_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a response to the attempt in flight counts."""
    find_by_message_id = Outbox.find_by_message_id

    def find_in_flight(self: Outbox, message_id: str) -> tuple[int, bool] | None:
        call = find_by_message_id(self, message_id)
        return call if call and call[1] else None

    monkeypatch.setattr(Outbox, "find_by_message_id", find_in_flight)


def end_without_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction ends with the register it has; what a silent meter counted is not listed."""
    monkeypatch.setattr(e_transactions, "has_stop_register", lambda ctx, transaction: True)
    monkeypatch.setattr(MeterAccount, "find_gap", lambda account: None)


def delete_keys_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start keeps the private keys of certificates only, not those of CSRs under way."""

    def keys_of_certificates(state: State) -> tuple[str, ...]:
        return tuple(each.private_key_ref for each in own_certificates(state))

    monkeypatch.setattr(station_process, "secrets_in_use", keys_of_certificates)


def never_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor is triggered as often as its value changes."""
    monkeypatch.setattr(evaluation, "is_resting", lambda memory, uptime_ms: False)


def ignore_reservations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reservation keeps no EV driver away."""
    monkeypatch.setattr(KeptEvses, "keeps_away", lambda kept, claimant, evse_id: None)


def add_to_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Full update of the Local Authorization List leaves the idTokens that it does not name."""

    def build_change(ctx: Context, request: SendLocalListRequest) -> Decision:
        return build_update(ctx, replace(request, update_type="Differential"))

    build_update = d_local_list._build_update
    monkeypatch.setattr(d_local_list, "_build_update", build_change)


# How the station is broken, the promise it breaks, and the seeds that are tried.
VARIANTS: tuple[tuple[SimulationFault, str, range], ...] = (
    (publish_before_commit, "P3", range(30)),
    (count_seq_no_in_memory, "P2", range(30)),
    (retry_by_wall_clock, "P7", range(60)),
    (lose_queued_calls, "P2", range(30)),
    (ignore_late_responses, "P2", range(100)),
    (end_without_register, "P11", range(60)),
    (never_rest, "N07", range(3, 120, MONITORS_EVERY)),
    (ignore_reservations, "H01", range(RESERVATIONS_EVERY - 1, 300, RESERVATIONS_EVERY)),
    (add_to_the_list, "D01", range(1, 120, LIST_EVERY)),
    (delete_keys_of_requests, "A02", range(6, 300, RENEWALS_EVERY)),
)


@pytest.mark.parametrize(
    ("inject", "promise", "seeds"), VARIANTS, ids=[inject.__name__ for inject, _, _ in VARIANTS]
)
def test_a_station_broken_on_purpose_is_found(
    inject: SimulationFault, promise: str, seeds: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch)
    for seed in seeds:
        violation = run_plan(make_plan(seed)).violation
        if violation:
            break
    assert violation.startswith(promise), f"seed {seed}: {violation or 'no violation'}"


def test_the_first_seed_that_fails_is_printed_with_its_transcript(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lose_queued_calls(monkeypatch)
    assert main(["--seeds", "20"]) == 1
    output = capsys.readouterr().out
    assert "TransactionEvent" in output, "no transcript"
    assert "broke a promise. P2" in output.splitlines()[-1]


def test_seeds_that_keep_their_promises_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2"]) == 0
    assert capsys.readouterr().out.startswith("2 seeds kept every promise")
