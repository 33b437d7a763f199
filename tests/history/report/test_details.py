"""Details: the entries of a report that open what `station why` answers."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

import pytest

from journal.events import Entry
from journal.observations import DeviceFaulted, DeviceRecovered
from journal.projections.authorizations import AuthorizationRefused
from journal.projections.transactions import TransactionStarted
from station.history.explain.causes import build_causal_graph
from station.history.explain.explanation import Explanation, History, explain_entry
from station.history.explain.lines import format_section
from station.history.report import details, tables
from station.history.report.details import PER_KIND_MAX, NewestLinks
from station.history.report.page import render_page
from tests.history.report.fixtures_report import PageChecker, report_facts_of
from tests.support.story import (
    ALICE,
    BOB,
    ONLINE,
    Station,
    accept_everything,
    cable_plugged,
    charging_started,
    given,
    presented,
    time_passed,
)

CONNECTOR_FAULT = ("connector", "hot")


@pytest.fixture(scope="module")
def faulty_station() -> Station:
    """A session, refused idTokens, and a fault that blocks charging."""
    station = given(ONLINE)
    station.with_csms(
        accept_everything, cable_plugged(1), presented(ALICE, evse_id=1), charging_started(1)
    )
    station.with_csms(refuse_everybody, *[presented(BOB, evse_id=2), time_passed(seconds=60)] * 3)
    station.when(DeviceFaulted(2, *CONNECTOR_FAULT, blocks_charging=True), time_passed(seconds=60))
    station.when(DeviceRecovered(2, *CONNECTOR_FAULT))
    return station


def refuse_everybody(action: str, payload: dict[str, object]) -> dict[str, object] | None:
    if action == "Authorize":
        return {"idTokenInfo": {"status": "Blocked"}}
    return accept_everything(action, payload)


def seqs_of(entries: Iterable[Entry], kind: type) -> list[int]:
    return [entry.seq for entry in entries if isinstance(entry.event, kind)]


def explain(station: Station, seq: int) -> Explanation:
    """What `station why` prints."""
    entries = {entry.seq: entry for entry in station.entries}
    return explain_entry(History(build_causal_graph(station.entries), entries.get), seq)


def test_the_entries_of_faults_refusals_and_sessions_open_what_why_answers(
    faulty_station: Station, tmp_path: Path
) -> None:
    page = render_page(report_facts_of(faulty_station.entries, tmp_path))
    entries = faulty_station.entries
    [fault] = seqs_of(entries, DeviceFaulted)
    refused, started = (
        seqs_of(entries, each) for each in (AuthorizationRefused, TransactionStarted)
    )
    assert len(refused) == 3
    assert started
    for seq in (fault, *refused, *started):
        assert f'<details class="why"><summary class="seq">{seq}</summary>' in page
        explanation = explain(faulty_station, seq)
        assert escape(explanation.heading) in page
        assert all(escape(answer) in page for answer in explanation.answers)
        for section in explanation.sections:
            for _, line in format_section(section):
                assert escape(line) in page
    assert PageChecker(page).complaints == []


def test_a_page_has_a_bounded_number_of_details(
    faulty_station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(details, "PER_KIND_MAX", 1)
    monkeypatch.setattr(tables, "EXPLANATION_LINES_MAX", 2)
    monkeypatch.setattr(tables, "LINE_CHARACTERS_MAX", 40)
    page = render_page(report_facts_of(faulty_station.entries, tmp_path))
    newest = seqs_of(faulty_station.entries, AuthorizationRefused)[-1]
    assert page.count('<details class="why">') <= 4  # fault, refusal, start and end of a session
    assert f'<summary class="seq">{newest}</summary>' in page
    begin = page.index('<details class="why">')
    text = page[begin : page.index("</details>", begin)]
    assert "has all" in text
    assert len(PageChecker(f"{text}</details>").text) < 15 * 40


def test_links_of_old_entries_are_forgotten_and_the_newest_explained_all_the_same(
    faulty_station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = faulty_station.entries
    monkeypatch.setattr(details, "LINKED_ENTRIES", len(entries) // 3)
    by_seq = {entry.seq: entry for entry in entries}
    links = NewestLinks()
    for entry in entries:
        links.apply(entry)
    refused = seqs_of(entries, AuthorizationRefused)
    explanations = links.explain_newest(by_seq.get, refused, seqs_of(entries, TransactionStarted))
    assert set(explanations) <= set(refused), "the session began before the linked entries"
    assert explanations[refused[-1]].answers == explain(faulty_station, refused[-1]).answers
    assert len(explanations) <= PER_KIND_MAX
