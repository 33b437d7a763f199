"""EVSE status: the CSMS, `export states`, the report and the SQL of the README agree. G01.

For every cause of the status table (and for each with a transaction open) a story ends in that
cause; then four answers are compared:

* the last status that the station reported to the CSMS (StatusNotification);
* the last row of the table `states`;
* the state in the report;
* whether the README's SQL counts the time as down.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from journal.events import Decision, Entry
from journal.observations import StopButtonPressed, StorageReported
from journal.projections.outbox import CallQueued
from station.core import decide
from station.core.context import Context
from station.core.evse_status import STATUS_CAUSES
from station.history.evse_statuses import FALLBACK_PROFILE, EvseStatusTracker, find_product
from station.history.export.state_periods import STATE_COLUMNS
from station.history.report.evse_condition import OUTAGE_STATES, EvseState
from station.profiles import profile_names
from tests.commands.fixtures_journals import write_journal
from tests.core.blocks.test_h_reservation import reserve
from tests.core.blocks.test_l_firmware import (
    ONLINE_WITH_ROOT,
    download_ended,
    signature_checked,
    update_firmware,
)
from tests.data_lake.questions import load_questions
from tests.ground_truth.analyst import run_station
from tests.history.report.fixtures_report import report_facts_at
from tests.support.story import (
    Station,
    Step,
    accept_everything,
    cable_plugged,
    called,
    device_faulted,
    given,
    id_token_named,
    in_sequence,
    in_transaction,
    time_passed,
)

MINUTE: Step = time_passed(seconds=60)
FAILING_RULE: Step = StopButtonPressed(2)  # see `failing_rule`

STEPS_BY_FACT: dict[str, Step] = {
    "has_blocking_fault": device_faulted(1),
    "is_reserved": reserve(1, id_token_named("carol")),
    "is_kept_free": in_sequence(
        reserve(id_token=id_token_named("carol")),
        called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 2}),
    ),
    "has_transaction": in_transaction(1),
    "is_out_of_service": called(
        "ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}
    ),
    "is_restart_ordered": called("Reset", type="Immediate"),
    "is_out_of_order": FAILING_RULE,
    "is_storage_full": StorageReported("full", 0),
    "is_closed_for_firmware": in_sequence(update_firmware(), download_ended(), signature_checked()),
    "is_plugged_in": cable_plugged(1),
}
REPORT_STATES_BY_STATUS: dict[str, set[EvseState]] = {
    "Available": {"available"},
    "Reserved": {"reserved"},
    "Occupied": {"occupied", "charging", "suspended"},
    "Unavailable": {"out_of_service"},
    "Faulted": {"faulted"},
}


@pytest.fixture(autouse=True)
def failing_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop button of EVSE 2 makes a rule fail."""

    def fail(ctx: Context) -> Iterator[Decision]:
        if isinstance(ctx.entry.event, StopButtonPressed) and ctx.entry.event.evse_id == 2:
            raise KeyError("defect")
        yield from ()

    monkeypatch.setattr(decide, "RULES", (fail, *decide.RULES))


def play(*steps: Step) -> Station:
    station = given(ONLINE_WITH_ROOT)
    station.checks.expect_no_failures = False
    station.with_csms(accept_everything, *steps, time_passed(seconds=1), MINUTE)
    return station


def reported_status(station: Station) -> str:
    """The last status of EVSE 1 that was queued for the CSMS."""
    statuses = [entry.event.connector_status for entry in station.entries
                if isinstance(entry.event, CallQueued)]  # fmt: skip
    return [status.status for status in statuses if status and status.evse_id == 1][-1]


def last_exported_state(journal: Path) -> str:
    result = run_station("export", journal, "states")
    names = [name for name, _ in STATE_COLUMNS]
    rows = [dict(zip(names, line.split(","), strict=True)) for line in result.lines[1:]]
    return [row["state"] for row in rows if row["evse_id"] == "1"][-1]


def last_report_state(journal: Path, entries: list[Entry]) -> EvseState:
    """The state of EVSE 1 in the last 30 s before the last entry."""
    facts = report_facts_at(journal, entries[-1].at - timedelta(seconds=30))
    [state] = facts.uptimes[1].ms_by_state
    return state


def is_down_in_sql(state: str) -> bool:
    """Whether the README's question for the uptime counts a state as down."""
    with sqlite3.connect(":memory:") as db:
        db.execute("CREATE TABLE states (station, evse_id, state, duration_ms)")
        db.execute("INSERT INTO states VALUES ('CS001', 1, ?, 1000)", (state,))
        [(_, _, _, down_ms, uptime_percent)] = db.execute(
            load_questions(Path("lake"))["uptime of each EVSE"]
        ).fetchall()
    assert (down_ms, uptime_percent) in ((1000, 0.0), (0, 100.0)), "a state is up or down"
    return bool(down_ms)


@pytest.mark.parametrize("in_use", [False, True], ids=["idle", "in use"])
@pytest.mark.parametrize("fact", [cause.fact for cause in STATUS_CAUSES])
def test_the_csms_exports_report_and_sql_agree_about_the_status_g01_fr_03(
    fact: str, in_use: bool, tmp_path: Path
) -> None:
    steps = (in_transaction(1),) if in_use and fact != "has_transaction" else ()
    station = play(*steps, STEPS_BY_FACT[fact])
    journal = write_journal(tmp_path / "journal.db", station.entries)
    status = reported_status(station)
    state = last_report_state(journal, station.entries)
    assert last_exported_state(journal) == status
    assert state in REPORT_STATES_BY_STATUS[status]
    assert is_down_in_sql(status) == (state in OUTAGE_STATES)


@pytest.mark.parametrize("fact", [cause.fact for cause in STATUS_CAUSES])
def test_every_outage_in_the_report_has_a_cause_with_its_entry(fact: str, tmp_path: Path) -> None:
    station = play(STEPS_BY_FACT[fact])
    journal = write_journal(tmp_path / "journal.db", station.entries)
    outages = list(report_facts_at(journal).uptimes[1].counted_outages)
    for outage in outages:
        assert outage.causes
        assert all(0 < cause.seq <= len(station.entries) for cause in outage.causes)


def test_the_status_returns_when_a_failed_rule_is_forgiven(tmp_path: Path) -> None:
    station = play(FAILING_RULE)
    station.with_csms(accept_everything, time_passed(seconds=600), MINUTE)
    journal = write_journal(tmp_path / "journal.db", station.entries)
    assert reported_status(station) == last_exported_state(journal) == "Available"


@pytest.mark.parametrize("change", [lambda profile: profile, lambda _: "a profile of somewhere"])
def test_a_profile_that_does_not_come_with_the_program_is_replaced(
    change: Callable[[str], str],
) -> None:
    assert FALLBACK_PROFILE in profile_names()
    assert find_product(change("development")).profile.name in profile_names()


def test_before_the_first_start_there_is_no_evse() -> None:
    tracker = EvseStatusTracker()
    assert tracker.evse_ids == ()
