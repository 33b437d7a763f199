"""A real station reports and erases customer information; its journal stays intact. N09, N10."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.e2e.harness import StationProcess, wait_until
from tests.e2e.steps import (
    ALICE,
    BOB,
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    check_journal,
    wait_charging,
    wait_delivered,
    wait_transaction_ended,
)
from tests.support.csms import Csms

UNKNOWN = "04FFFFFF"


def request_customer_information(
    csms: Csms, request_id: int, id_token: str, *, report: bool, clear: bool
) -> str:
    """Request customer information; returns the text of all parts of the report."""
    after = csms.next_frame_number()
    status = csms.call(
        "CustomerInformation",
        {
            "requestId": request_id,
            "report": report,
            "clear": clear,
            "idToken": {"idToken": id_token, "type": "ISO14443"},
        },
    )["status"]
    assert status == "Accepted"
    csms.wait_for_call(
        "NotifyCustomerInformation", lambda part: not part.get("tbc"), STEP_TIMEOUT_S, after=after
    )
    parts = [frame.payload for frame in csms.calls_for("NotifyCustomerInformation", after)]
    assert {part["requestId"] for part in parts} == {request_id}
    assert [part["seqNo"] for part in parts] == list(range(len(parts)))
    return "\n".join(part["data"] for part in parts)


def complete_session(station: StationProcess, csms: Csms, id_token: str = ALICE) -> str:
    after = csms.next_frame_number()
    authorize_and_plug_in(station, id_token=id_token)
    transaction_id = wait_charging(csms, after=after)
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(station)
    return transaction_id


def stored_id_tokens(station: StationProcess) -> set[str]:
    """The idTokens in the side table."""
    with closing(sqlite3.connect(f"file:{station.journal}?mode=ro", uri=True)) as db:
        return {str(value).upper() for (value,) in db.execute("SELECT value FROM id_token")}


def test_customer_information_is_reported_then_cleared_n10_fr_03(
    station: StationProcess, csms: Csms
) -> None:
    transaction_id = complete_session(station, csms)
    text = request_customer_information(csms, 1, ALICE, report=True, clear=False)
    assert "Authorization Cache: ISO14443, Accepted" in text
    assert transaction_id in text
    assert request_customer_information(csms, 2, ALICE, report=True, clear=True) == text
    wait_until(lambda: ALICE not in stored_id_tokens(station), STEP_TIMEOUT_S, "erasure")
    assert (
        request_customer_information(csms, 3, ALICE, report=True, clear=False) == "No data found."
    )
    check_journal(station)


def test_the_text_of_a_report_is_erased_n09_fr_05(station: StationProcess, csms: Csms) -> None:
    transaction_id = complete_session(station, csms)
    request_customer_information(csms, 1, ALICE, report=True, clear=False)
    wait_until(
        lambda: not any(transaction_id.upper() in value for value in stored_id_tokens(station)),
        STEP_TIMEOUT_S,
        "erasure of the report",
    )
    assert ALICE in stored_id_tokens(station)


def test_clearing_without_a_report_is_confirmed_n10_fr_06(
    station: StationProcess, csms: Csms
) -> None:
    complete_session(station, csms)
    complete_session(station, csms, BOB)
    assert "cleared" in request_customer_information(csms, 1, ALICE, report=False, clear=True)
    wait_until(lambda: ALICE not in stored_id_tokens(station), STEP_TIMEOUT_S, "erasure")
    assert BOB in stored_id_tokens(station)
    assert ALICE.encode() not in station.journal.read_bytes()


def test_an_unknown_id_token_has_no_data_n09_fr_06(station: StationProcess, csms: Csms) -> None:
    assert (
        request_customer_information(csms, 1, UNKNOWN, report=True, clear=False) == "No data found."
    )


def test_an_id_token_in_a_transaction_is_reported_to_its_end_and_then_erased(
    station: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    request_customer_information(csms, 1, ALICE, report=False, clear=True)
    station.request_operation("present_token", id_token=ALICE, type="ISO14443", evse_id=1)
    station.request_operation("unplug", evse_id=1)
    ended = wait_transaction_ended(csms, transaction_id)
    assert ended.get("idToken", {"idToken": ALICE})["idToken"] == ALICE
    assert not [
        frame
        for frame in csms.calls_for("TransactionEvent")
        if frame.payload.get("idToken", {}).get("idToken", "").startswith("#")
    ]
    wait_until(lambda: ALICE not in stored_id_tokens(station), STEP_TIMEOUT_S, "erasure")
    check_journal(station)
