"""Is a person's data told and forgotten, and nothing that is still needed? (N09, N10)"""

from __future__ import annotations

from typing import Any

import pytest

from journal.observations import CustomerDataFound, ValuesErased
from journal.terms import Decision, IdToken
from station.blocks.n_customers import INQUIRIES_MAX
from tests.story import (
    ALICE,
    BOB,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    Step,
    accepting,
    after,
    answered,
    called,
    discharged,
    given,
    id_token,
    in_transaction,
    presented,
    queued,
    reply_in,
    restarted,
    unplugged,
)

HASH: Json = {
    "hashAlgorithm": "SHA256",
    "issuerNameHash": "00",
    "issuerKeyHash": "00",
    "serialNumber": "1",
}


def asks(
    who: IdToken | None = ALICE, *, report: bool = False, clear: bool = False, **more: Any
) -> Step:
    person = {} if who is None else {"idToken": id_token(who)}
    return called("CustomerInformation", requestId=9, report=report, clear=clear, **person, **more)


def found(*pages: str) -> Step:
    def step(station: Station) -> list[Decision]:
        assert station.level.inquiry is not None
        return station.when(CustomerDataFound(station.level.inquiry.seq, pages))

    return step


def told(decisions: list[Decision]) -> list[tuple[int, str, bool]]:
    """(seqNo, data, tbc) of each NotifyCustomerInformation."""
    return [
        (one["seqNo"], one["data"], one.get("tbc", False))
        for one in queued(decisions, "NotifyCustomerInformation")
    ]


def erasing(station: Station) -> list[str]:
    """Whose values shall go now."""
    return list(station.level.erase)


def cached(station: Station, who: IdToken = ALICE) -> bool:
    return who.ref in station.state.auth_cache.entries


KNOWN = presented(ALICE, evse_id=1)  # by habit accepted, and so cached


# --- The request ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        asks(None, report=True),
        asks(report=True, customerIdentifier="#mallory"),
        asks(report=True, customerCertificate=HASH),
    ],
)
def test_exactly_one_person_is_meant_n09_fr_09(asked: Step) -> None:
    assert reply_in(given(ONLINE).when(asked)) == {"status": "Invalid"}


def test_neither_report_nor_clear_is_refused_n09_fr_07() -> None:
    assert reply_in(given(ONLINE).when(asks()))["status"] == "Rejected"


def test_a_customer_identifier_is_refused_and_not_kept_c_14() -> None:
    station = given(ONLINE)
    said = station.when(asks(None, report=True, customerIdentifier="#mallory"))
    assert reply_in(said)["status"] == "Rejected"
    assert erasing(station) == ["#mallory"]


def test_of_a_certificate_nothing_is_held_n09_fr_06() -> None:
    said = given(ONLINE).when(asks(None, report=True, customerCertificate=HASH))
    assert reply_in(said) == {"status": "Accepted"}
    assert told(said) == [(0, "No data found.", False)]


# --- Reports -------------------------------------------------------------------------------------


def test_a_report_is_looked_for_and_told_in_parts_n09_fr_05() -> None:
    station = given(ONLINE, KNOWN)
    said = station.when(asks(report=True))
    assert reply_in(said) == {"status": "Accepted"}
    assert told(said) == []
    said = station.when(found("#page1", "#page2"))
    assert told(said) == [(0, "#page1", True), (1, "#page2", False)]
    assert station.level.inquiry is None
    assert cached(station)


def test_where_nothing_is_found_that_is_told_n09_fr_06() -> None:
    station = given(ONLINE, asks(report=True))
    assert told(station.when(found())) == [(0, "No data found.", False)]


def test_parts_are_erased_once_the_csms_has_them() -> None:
    station = given(ONLINE, asks(report=True))
    station.when(found("#page1", "#page2"))
    assert erasing(station) == []
    station.served(accepting)
    assert erasing(station) == ["#page1", "#page2"]
    station.when(ValuesErased(("#page1", "#page2")))
    assert erasing(station) == []


def test_a_report_survives_a_lost_link_and_a_restart() -> None:
    station = given(ONLINE, asks(report=True))
    station.when(found("#page1"), LINK_LOST, restarted(boot_id="boot-2"))
    heard: list[str] = []

    def csms(action: str, payload: Json) -> Json | None:
        if action == "NotifyCustomerInformation":
            heard.append(payload["data"])
        return accepting(action, payload)

    station.with_csms(csms, LINK_OPENED)
    assert heard == ["#page1"]


def test_inquiries_are_answered_one_after_the_other() -> None:
    station = given(ONLINE, asks(ALICE, report=True), asks(BOB, report=True))
    assert station.level.inquiry is not None
    assert station.level.inquiry.asked.id_token == ALICE
    station.when(found("#page1"))
    assert station.level.inquiry is not None
    assert station.level.inquiry.asked.id_token == BOB


def test_too_many_inquiries_at_once_are_refused_n09_fr_03() -> None:
    station = given(ONLINE, *(asks(report=True) for _ in range(INQUIRIES_MAX)))
    assert reply_in(station.when(asks(report=True)))["status"] == "Rejected"
    station.when(found())
    assert reply_in(station.when(asks(report=True)))["status"] == "Accepted"


def test_an_answer_to_no_inquiry_changes_nothing() -> None:
    assert told(given(ONLINE).when(CustomerDataFound(1, ("#page1",)))) == []


# --- Clearing ------------------------------------------------------------------------------------


def test_clearing_is_told_and_empties_the_cache_n10_fr_06() -> None:
    station = given(ONLINE, in_transaction(1), discharged(1), unplugged(1))
    assert cached(station)
    said = station.when(asks(clear=True))
    assert reply_in(said) == {"status": "Accepted"}
    assert told(said) == [(0, "The data has been cleared.", False)]
    assert not cached(station)
    assert erasing(station) == [ALICE.ref]


def test_what_is_reported_is_cleared_then_n10_fr_03() -> None:
    station = given(ONLINE, KNOWN, asks(report=True, clear=True))
    assert cached(station)
    assert told(station.when(found("#page1"))) == [(0, "#page1", False)]
    assert not cached(station)


def test_nothing_found_is_told_once_also_when_clearing_n10_fr_04() -> None:
    station = given(ONLINE, asks(report=True, clear=True))
    assert told(station.when(found())) == [(0, "No data found.", False)]
    assert erasing(station) == [ALICE.ref]


def test_somebody_elses_data_stays() -> None:
    station = given(ONLINE, KNOWN, presented(BOB, evse_id=2), asks(clear=True))
    assert cached(station, BOB)


def test_who_charges_is_erased_only_after_everything_is_told_n10_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    said = station.when(asks(clear=True))
    assert "transaction" in told(said)[0][1]
    assert not cached(station)
    assert erasing(station) == []
    station.served(accepting)
    station.when(LINK_LOST, discharged(1), unplugged(1))
    assert not station.state.transactions.open
    station.with_csms(accepting, LINK_OPENED)
    assert erasing(station) == [ALICE.ref]


def test_who_was_let_in_is_not_erased_while_they_may_charge() -> None:
    station = given(ONLINE, KNOWN, asks(clear=True))
    assert station.state.authorizations.held
    assert erasing(station) == []
    station.with_csms(accepting, after(seconds=3_600))  # nobody plugged in
    assert erasing(station) == [ALICE.ref]


def test_whom_the_csms_is_asked_about_is_not_erased() -> None:
    station = given(ONLINE)
    station.when(KNOWN)  # the CSMS falls silent
    assert station.state.authorizations.asked
    station.when(asks(clear=True))
    assert erasing(station) == []


def test_whose_transaction_is_being_stopped_is_not_erased() -> None:
    station = given(ONLINE, in_transaction(1))
    stop = called("RequestStopTransaction", transactionId=station.transaction.transaction_id)
    station.with_csms(accepting, stop, asks(clear=True))
    assert not station.state.authorizations.held
    assert erasing(station) == []
    station.with_csms(accepting, discharged(1), unplugged(1))
    assert erasing(station) == [ALICE.ref]


def test_the_same_part_in_two_reports_goes_with_the_second() -> None:
    station = given(ONLINE, asks(report=True), asks(report=True))
    station.when(found("#page"), found("#page"))
    station.when(answered())
    assert erasing(station) == []
    station.served(accepting)
    assert erasing(station) == ["#page"]


def test_who_is_cleared_twice_is_erased_once() -> None:
    assert erasing(given(ONLINE, asks(clear=True), asks(clear=True))) == [ALICE.ref]


def test_an_undelivered_idtoken_is_not_erased() -> None:
    station = given(ONLINE, KNOWN, LINK_LOST)
    station.when(in_transaction(1), discharged(1), unplugged(1))
    assert ALICE.ref in {one.ref for one in station.state.outbox.judges.values()}
    station.when(called_later(asks(clear=True)))
    station.served(accepting)
    assert erasing(station) == [ALICE.ref]


def called_later(asked: Step) -> Step:
    """The CSMS is back and asks before it has heard anything."""

    def step(station: Station) -> list[Decision]:
        said = station.when(LINK_OPENED, asked)
        assert erasing(station) == []
        return said

    return step
