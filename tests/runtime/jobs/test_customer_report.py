"""Customer report: its sentences and its pages. N09."""

from __future__ import annotations

from journal.events import Entry, Event, IdToken
from journal.observations import StationStarted
from journal.projections.transactions import TransactionAuthorized, TransactionStarted
from journal.state import State
from station.runtime.jobs.customer_report import (
    CUSTOMER_EVENT_KINDS,
    PAGE_CHARACTERS_MAX,
    build_report_pages,
)
from tests.durability.golden import station_kinds
from tests.support.story import (
    ALICE,
    BOB,
    BOOTED,
    JOURNAL_ID,
    NOON,
    ONLINE,
    called,
    given,
    id_token_payload,
    presented,
)

EMPTY = State(JOURNAL_ID)


def make_entries(*events: Event) -> list[Entry]:
    return [Entry(seq, NOON, 1_000, event) for seq, event in enumerate(events, start=1)]


def transaction_started(
    number: int, id_token: IdToken | None = ALICE, evse_id: int = 1
) -> TransactionStarted:
    return TransactionStarted(
        transaction_id=f"7f0c5b0e-6b5e-4d53-9c3a-{number:012}",
        evse_id=evse_id,
        trigger_reason="Authorized",
        id_token=id_token,
    )


def test_without_data_the_report_is_empty() -> None:
    assert build_report_pages(ALICE, EMPTY, []) == ()


def test_the_cache_entry_is_reported() -> None:
    station = given(ONLINE, presented(ALICE, evse_id=1))
    assert build_report_pages(ALICE, station.state, []) == (
        "Authorization Cache: ISO14443, Accepted, until 2026-03-31T12:00:00.000Z.",
    )
    assert build_report_pages(BOB, station.state, []) == ()


def test_the_entry_of_the_local_list_is_reported_n09_fr_05() -> None:
    info = {"status": "Blocked", "cacheExpiryDateTime": "2026-12-24T18:00:00Z"}
    entry = {"idToken": id_token_payload(ALICE), "idTokenInfo": info}
    request = {"versionNumber": 1, "updateType": "Full", "localAuthorizationList": [entry]}
    station = given(ONLINE, called("SendLocalList", **request))
    assert build_report_pages(ALICE, station.state, []) == (
        "Local Authorization List: ISO14443, Blocked, until 2026-12-24T18:00:00.000Z.",
    )
    assert build_report_pages(BOB, station.state, []) == ()


def test_the_same_reference_of_another_type_is_another_customer() -> None:
    station = given(ONLINE, presented(ALICE, evse_id=1))
    assert build_report_pages(IdToken(ALICE.ref, "eMAID"), station.state, []) == ()


def test_transactions_started_or_authorized_are_reported() -> None:
    authorized = TransactionAuthorized(transaction_id="t-2", authorization_seq=1, id_token=ALICE)
    [page] = build_report_pages(
        ALICE,
        EMPTY,
        make_entries(
            transaction_started(1),
            transaction_started(2, BOB),
            transaction_started(3, None),
            authorized,
        ),
    )
    assert page.splitlines() == [
        "Transaction 7f0c5b0e-6b5e-4d53-9c3a-000000000001 at EVSE 1, since "
        "2026-03-01T12:00:00.000Z.",
        "Transaction t-2, since 2026-03-01T12:00:00.000Z.",
    ]


def test_pages_are_as_full_as_a_message_allows() -> None:
    pages = build_report_pages(ALICE, EMPTY, make_entries(*map(transaction_started, range(50))))
    lines = [line for page in pages for line in page.splitlines()]
    assert len(lines) == 50
    assert all(len(page) <= PAGE_CHARACTERS_MAX for page in pages)
    assert len(pages) == -(-50 // (PAGE_CHARACTERS_MAX // (len(lines[0]) + 1)))


def test_entries_of_other_kinds_are_ignored() -> None:
    assert isinstance(BOOTED, StationStarted)
    assert build_report_pages(ALICE, EMPTY, make_entries(BOOTED)) == ()


def test_the_kinds_that_are_searched_exist() -> None:
    assert set(CUSTOMER_EVENT_KINDS) <= set(station_kinds().kinds)
