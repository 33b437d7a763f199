"""Reasons of decisions: every row can be printed, and old decisions can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter
from typing import Any, Final, get_args, get_type_hints

import msgspec
import pytest

from journal.events import Decision, Event
from journal.projections.authorizations import AuthorizationRefused
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallQueued, ConnectorStatusSummary
from station.core.block_tables import ANSWER_REASONS, CALL_REASONS, REASONS, REFUSALS, find_reason
from station.core.outbox_rules import ATTEMPT_REASONS
from station.core.reasons import Reason, ReasonTable, is_code_missing, without_new_code
from station.history.explain.current_entries import FACTS
from station.ocpp.messages import ACTIONS
from tests.durability.golden import station_kinds
from tests.support.story import ALICE

PLACEHOLDERS: Final = {
    "after",
    "cause",
    "clock",
    "event",
    "location",
    "outage",
    "outage_s",
    "reason",
}


def rows() -> Iterator[tuple[type[msgspec.Struct], str, Reason]]:
    for kind, row in REASONS.items():
        if isinstance(row, ReasonTable):
            yield from ((kind, code, reason) for code, reason in row.rows.items())
        else:
            yield kind, "", row


ROWS: Final = list(rows())


@pytest.mark.parametrize(("kind", "code", "row"), ROWS, ids=lambda value: str(value)[:30])
def test_a_row_names_facts_and_values_that_exist(kind: Any, code: str, row: Reason) -> None:
    assert set(row.facts) <= set(FACTS)
    for _, name, _, _ in Formatter().parse(row.text):
        head, _, field = (name or "after").partition(".")
        assert head in PLACEHOLDERS
        assert head != "event" or field in kind.__struct_fields__
        assert head not in ("cause", "location", "outage", "outage_s") or row.facts
    assert "{after}" not in row.text or row.after is not None


WITHOUT_ROW: Final = {
    # the reason is in other tables: of CALLs, answers and attempts
    "CallAttempted", "CallErrorQueued", "CallQueued", "CallResultQueued",
    # the entry it follows from is the reason: a CALL, a setting, an error
    "CertificateDeleted", "CertificateInstalled", "RebootRequired", "RuleFailed",
    "SecurityEventLogged", "VariableChanged",
}  # fmt: skip


def test_every_kind_of_decision_has_a_row_or_its_reason_elsewhere() -> None:
    without = {
        name
        for name, kind in station_kinds().kinds.items()
        if issubclass(kind, Decision) and kind not in REASONS
    }
    assert without == WITHOUT_ROW


def test_every_kind_of_decision_with_a_code_has_rows() -> None:
    with_code = {
        kind for kind in station_kinds().kinds.values() if "because" in kind.__struct_fields__
    }
    assert with_code
    for kind in with_code:
        assert issubclass(kind, Decision)
        assert isinstance(REASONS[kind], ReasonTable)


def test_tables_of_calls_name_actions_that_exist() -> None:
    assert set(CALL_REASONS) <= set(ACTIONS)
    assert {action for action, _ in REFUSALS} <= set(ACTIONS)
    assert all(row.text for row in ATTEMPT_REASONS.values())


@pytest.mark.parametrize(("action", "status"), ANSWER_REASONS)
def test_a_reason_of_an_answer_names_a_status_of_its_response(action: str, status: str) -> None:
    assert status in get_args(get_type_hints(ACTIONS[action].response)["status"])


def status_call(status: str, because: str) -> CallQueued:
    return CallQueued(
        lane="general",
        action="StatusNotification",
        payload=msgspec.Raw(b"{}"),
        connector_status=ConnectorStatusSummary(1, 1, status, because),
    )


def refusal(because: str) -> AuthorizationRefused:
    return AuthorizationRefused(id_token=ALICE, status="Offline", because=because)


def test_a_decision_of_a_release_without_codes_has_no_row() -> None:
    assert is_code_missing(refusal(""))
    assert find_reason(refusal("")) is None
    assert find_reason(status_call("Unavailable", "")) is None
    assert find_reason(status_call("Available", "")) is not None


@pytest.mark.parametrize(
    ("recorded", "is_equal"),
    [(refusal(""), True), (refusal("csms"), True), (refusal("master_pass"), False)],
    ids=["not recorded", "same", "another"],
)
def test_a_code_is_compared_where_one_was_recorded(recorded: Event, is_equal: bool) -> None:
    assert (without_new_code(refusal("csms"), recorded) == recorded) is is_equal


def test_the_code_of_a_status_is_compared_where_one_was_recorded() -> None:
    decided = status_call("Unavailable", "is_storage_full")
    for because in ("", "is_storage_full"):
        recorded = status_call("Unavailable", because)
        assert without_new_code(decided, recorded) == recorded
    assert without_new_code(decided, status_call("Unavailable", "has_transaction")) == decided


def test_decisions_without_a_code_are_compared_as_they_are() -> None:
    correction = ClockCorrected(1000, 1000, "Heartbeat")
    assert without_new_code(correction, correction) is correction
    assert without_new_code(None, correction) is None
    assert without_new_code(refusal("csms"), correction) == refusal("csms")
