"""Personal data: reported, and erased when no longer needed. N09, N10."""

from __future__ import annotations

from typing import Any

import pytest

from journal.events import Decision, IdToken
from journal.observations import CustomerDataFound, PersonalValuesErased
from station.core.blocks.n_customers import INQUIRIES_MAX
from tests.support.story import (
    ALICE,
    BOB,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    Step,
    accept_everything,
    cable_unplugged,
    called,
    charging_stopped,
    given,
    id_token_payload,
    in_transaction,
    presented,
    queued_payloads,
    response_payload_in,
    result_received,
    station_restarted,
    time_passed,
)

HASH: Json = {
    "hashAlgorithm": "SHA256",
    "issuerNameHash": "00",
    "issuerKeyHash": "00",
    "serialNumber": "1",
}


def request_customer_information(
    id_token: IdToken | None = ALICE, *, report: bool = False, clear: bool = False, **more: Any
) -> Step:
    person = {} if id_token is None else {"idToken": id_token_payload(id_token)}
    return called("CustomerInformation", requestId=9, report=report, clear=clear, **person, **more)


def customer_data_found(*pages: str) -> Step:
    def step(station: Station) -> list[Decision]:
        assert station.desired.customer_request is not None
        return station.when(CustomerDataFound(station.desired.customer_request.seq, pages))

    return step


def report_parts(decisions: list[Decision]) -> list[tuple[int, str, bool]]:
    """(seqNo, data, tbc) of each NotifyCustomerInformation."""
    return [
        (payload["seqNo"], payload["data"], payload.get("tbc", False))
        for payload in queued_payloads(decisions, "NotifyCustomerInformation")
    ]


def erased_references(station: Station) -> list[str]:
    """References of the values to erase now."""
    return list(station.desired.references_to_erase)


def is_cached(station: Station, id_token: IdToken = ALICE) -> bool:
    return id_token.ref in station.state.auth_cache.entries


CACHED_ALICE = presented(ALICE, evse_id=1)  # accepted, so she is cached


# --- The request ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        request_customer_information(None, report=True),
        request_customer_information(report=True, customerIdentifier="#mallory"),
        request_customer_information(report=True, customerCertificate=HASH),
    ],
)
def test_exactly_one_person_is_meant_n09_fr_09(asked: Step) -> None:
    assert response_payload_in(given(ONLINE).when(asked)) == {"status": "Invalid"}


def test_neither_report_nor_clear_is_refused_n09_fr_07() -> None:
    assert (
        response_payload_in(given(ONLINE).when(request_customer_information()))["status"]
        == "Rejected"
    )


def test_a_customer_identifier_is_refused_and_not_kept_c_14() -> None:
    station = given(ONLINE)
    decisions = station.when(
        request_customer_information(None, report=True, customerIdentifier="#mallory")
    )
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert erased_references(station) == ["#mallory"]


def test_of_a_certificate_nothing_is_held_n09_fr_06() -> None:
    decisions = given(ONLINE).when(
        request_customer_information(None, report=True, customerCertificate=HASH)
    )
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert report_parts(decisions) == [(0, "No data found.", False)]


# --- Reports -------------------------------------------------------------------------------------


def test_a_report_is_searched_and_sent_in_parts_n09_fr_05() -> None:
    station = given(ONLINE, CACHED_ALICE)
    decisions = station.when(request_customer_information(report=True))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert report_parts(decisions) == []
    decisions = station.when(customer_data_found("#page1", "#page2"))
    assert report_parts(decisions) == [(0, "#page1", True), (1, "#page2", False)]
    assert station.desired.customer_request is None
    assert is_cached(station)


def test_a_search_without_a_result_is_reported_n09_fr_06() -> None:
    station = given(ONLINE, request_customer_information(report=True))
    assert report_parts(station.when(customer_data_found())) == [(0, "No data found.", False)]


def test_parts_are_erased_once_the_csms_has_them() -> None:
    station = given(ONLINE, request_customer_information(report=True))
    station.when(customer_data_found("#page1", "#page2"))
    assert erased_references(station) == []
    station.answer_calls(accept_everything)
    assert erased_references(station) == ["#page1", "#page2"]
    station.when(PersonalValuesErased(("#page1", "#page2")))
    assert erased_references(station) == []


def test_a_report_survives_a_lost_link_and_a_restart() -> None:
    station = given(ONLINE, request_customer_information(report=True))
    station.when(customer_data_found("#page1"), LINK_LOST, station_restarted(boot_id="boot-2"))
    heard: list[str] = []

    def csms(action: str, payload: Json) -> Json | None:
        if action == "NotifyCustomerInformation":
            heard.append(payload["data"])
        return accept_everything(action, payload)

    station.with_csms(csms, LINK_OPENED)
    assert heard == ["#page1"]


def test_inquiries_are_answered_one_after_the_other() -> None:
    station = given(
        ONLINE,
        request_customer_information(ALICE, report=True),
        request_customer_information(BOB, report=True),
    )
    assert station.desired.customer_request is not None
    assert station.desired.customer_request.request.id_token == ALICE
    station.when(customer_data_found("#page1"))
    assert station.desired.customer_request is not None
    assert station.desired.customer_request.request.id_token == BOB


def test_too_many_inquiries_at_once_are_refused_n09_fr_03() -> None:
    station = given(
        ONLINE, *(request_customer_information(report=True) for _ in range(INQUIRIES_MAX))
    )
    assert (
        response_payload_in(station.when(request_customer_information(report=True)))["status"]
        == "Rejected"
    )
    station.when(customer_data_found())
    assert (
        response_payload_in(station.when(request_customer_information(report=True)))["status"]
        == "Accepted"
    )


def test_an_answer_to_no_inquiry_changes_nothing() -> None:
    assert report_parts(given(ONLINE).when(CustomerDataFound(1, ("#page1",)))) == []


# --- Clearing ------------------------------------------------------------------------------------


def test_clearing_is_reported_and_empties_the_cache_n10_fr_06() -> None:
    station = given(ONLINE, in_transaction(1), charging_stopped(1), cable_unplugged(1))
    assert is_cached(station)
    decisions = station.when(request_customer_information(clear=True))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert report_parts(decisions) == [(0, "The data has been cleared.", False)]
    assert not is_cached(station)
    assert erased_references(station) == [ALICE.ref]


def test_what_is_reported_is_cleared_then_n10_fr_03() -> None:
    station = given(ONLINE, CACHED_ALICE, request_customer_information(report=True, clear=True))
    assert is_cached(station)
    assert report_parts(station.when(customer_data_found("#page1"))) == [(0, "#page1", False)]
    assert not is_cached(station)


def test_nothing_found_is_reported_once_also_when_clearing_n10_fr_04() -> None:
    station = given(ONLINE, request_customer_information(report=True, clear=True))
    assert report_parts(station.when(customer_data_found())) == [(0, "No data found.", False)]
    assert erased_references(station) == [ALICE.ref]


def test_the_data_of_others_stays() -> None:
    station = given(
        ONLINE, CACHED_ALICE, presented(BOB, evse_id=2), request_customer_information(clear=True)
    )
    assert is_cached(station, BOB)


def test_a_person_who_charges_is_erased_after_everything_is_delivered_n10_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    decisions = station.when(request_customer_information(clear=True))
    assert "transaction" in report_parts(decisions)[0][1]
    assert not is_cached(station)
    assert erased_references(station) == []
    station.answer_calls(accept_everything)
    station.when(LINK_LOST, charging_stopped(1), cable_unplugged(1))
    assert not station.state.transactions.open
    station.with_csms(accept_everything, LINK_OPENED)
    assert erased_references(station) == [ALICE.ref]


def test_an_authorized_person_is_not_erased_while_they_may_charge() -> None:
    station = given(ONLINE, CACHED_ALICE, request_customer_information(clear=True))
    assert station.state.authorizations.active
    assert erased_references(station) == []
    station.with_csms(accept_everything, time_passed(seconds=3_600))  # no cable was plugged in
    assert erased_references(station) == [ALICE.ref]


def test_whom_the_csms_is_asked_about_is_not_erased() -> None:
    station = given(ONLINE)
    station.when(CACHED_ALICE)  # the CSMS stops answering
    assert station.state.authorizations.pending
    station.when(request_customer_information(clear=True))
    assert erased_references(station) == []


def test_whose_transaction_is_being_stopped_is_not_erased() -> None:
    station = given(ONLINE, in_transaction(1))
    stop = called("RequestStopTransaction", transactionId=station.open_transaction.transaction_id)
    station.with_csms(accept_everything, stop, request_customer_information(clear=True))
    assert not station.state.authorizations.active
    assert erased_references(station) == []
    station.with_csms(accept_everything, charging_stopped(1), cable_unplugged(1))
    assert erased_references(station) == [ALICE.ref]


def test_the_same_part_in_two_reports_goes_with_the_second() -> None:
    station = given(
        ONLINE, request_customer_information(report=True), request_customer_information(report=True)
    )
    station.when(customer_data_found("#page"), customer_data_found("#page"))
    station.when(result_received())
    assert erased_references(station) == []
    station.answer_calls(accept_everything)
    assert erased_references(station) == ["#page"]


def test_a_person_who_is_cleared_twice_is_erased_once() -> None:
    assert erased_references(
        given(
            ONLINE,
            request_customer_information(clear=True),
            request_customer_information(clear=True),
        )
    ) == [ALICE.ref]


def test_an_undelivered_idtoken_is_not_erased() -> None:
    station = given(ONLINE, CACHED_ALICE, LINK_LOST)
    station.when(in_transaction(1), charging_stopped(1), cable_unplugged(1))
    assert ALICE.ref in {
        id_token.ref for id_token in station.state.outbox.id_token_by_call.values()
    }
    station.when(called_after_reconnect(request_customer_information(clear=True)))
    station.answer_calls(accept_everything)
    assert erased_references(station) == [ALICE.ref]


def called_after_reconnect(request: Step) -> Step:
    """The CSMS is back and sends a request before anything is delivered."""

    def step(station: Station) -> list[Decision]:
        decisions = station.when(LINK_OPENED, request)
        assert erased_references(station) == []
        return decisions

    return step
