"""Block I: tariff, running cost and final cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from journal.observations import LinkClosed
from journal.projections.driver_information import CostReceived, DriverInformationReceived
from journal.projections.security import SecurityEventLogged
from station.core.blocks.i_tariff_and_cost import plain_text
from station.core.display import format_money
from tests.support.story import (
    ALICE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    accept_everything,
    cable_plugged,
    called,
    charging_stopped,
    error_code_in,
    given,
    in_transaction,
    of_kind,
    presented,
    response_payload_in,
    result_received_for,
    shown_at,
    time_passed,
    variable_preset,
)

TARIFF = {"format": "UTF8", "content": "0.39 EUR/kWh, 0.10 EUR/min after 60 min"}
FALLBACK = variable_preset("TariffCostCtrlr.TariffFallbackMessage", "0.59 EUR/kWh")
TOTAL_FALLBACK = variable_preset("TariffCostCtrlr.TotalCostFallbackMessage", "See your invoice")


def answers_with(**fields: Any) -> Any:
    """A CSMS that answers TransactionEvents with these fields."""

    def csms(action: str, payload: Json) -> Json | None:
        if action == "TransactionEvent":
            return dict(fields)
        return accept_everything(action, payload)

    return csms


def stop_and_finish(station: Station, csms: Any) -> None:
    station.with_csms(csms, time_passed(seconds=3), presented(ALICE), charging_stopped(1))


# --- Tariff --------------------------------------------------------------------------------------


def test_the_tariff_of_the_ev_driver_is_shown_before_plugging_in_i01_fr_03() -> None:
    station = given(FALLBACK, ONLINE)
    assert shown_at(station, 1).tariff == "0.59 EUR/kWh"
    info = {"status": "Accepted", "personalMessage": TARIFF}
    station.when(presented(ALICE), result_received_for("Authorize", idTokenInfo=info))
    assert shown_at(station, 1).tariff == shown_at(station, 2).tariff == TARIFF["content"]
    station.with_csms(accept_everything, cable_plugged(1))
    assert shown_at(station, 1).tariff == TARIFF["content"]
    assert shown_at(station, 2).tariff == "0.59 EUR/kWh"


def test_an_ev_driver_without_a_tariff_reads_the_fallback_i04_fr_01() -> None:
    station = given(FALLBACK, ONLINE, cable_plugged(1), presented(ALICE))
    assert shown_at(station, 1).tariff == "0.59 EUR/kWh"


def test_a_tariff_of_another_day_is_not_shown_offline_i04_fr_01() -> None:
    station = given(FALLBACK, ONLINE)
    info = {"status": "Accepted", "personalMessage": TARIFF}
    station.when(
        presented(ALICE),
        result_received_for("Authorize", idTokenInfo=info),
        time_passed(seconds=120),
        LINK_LOST,
        presented(ALICE),
    )
    assert shown_at(station, 1).situation == "evse.taken_by_card"
    assert shown_at(station, 1).tariff == "0.59 EUR/kWh"


def test_the_cache_does_not_store_the_tariff_c10_fr_09() -> None:
    station = given(ONLINE)
    info = {"status": "Accepted", "personalMessage": TARIFF}
    station.when(presented(ALICE), result_received_for("Authorize", idTokenInfo=info))
    assert ALICE.ref in station.state.auth_cache.entries
    assert TARIFF["content"] not in repr(station.state.auth_cache)


def test_a_tariff_is_updated_during_the_transaction_i06_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    new = {"format": "UTF8", "content": "now 0.32 EUR/kWh"}
    station.with_csms(answers_with(updatedPersonalMessage=new), time_passed(seconds=61))
    assert shown_at(station, 1).tariff == "now 0.32 EUR/kWh"
    newer = {"status": "Accepted", "personalMessage": {**new, "content": "now 0.35 EUR/kWh"}}
    station.when(time_passed(seconds=61))
    station.when(result_received_for("TransactionEvent", idTokenInfo=newer))
    assert shown_at(station, 1).tariff == "now 0.35 EUR/kWh"


def test_a_repeated_tariff_is_one_entry() -> None:
    station = given(ONLINE, in_transaction(1))
    decisions = station.with_csms(
        answers_with(updatedPersonalMessage=TARIFF), time_passed(seconds=300)
    )
    assert len(of_kind(decisions, DriverInformationReceived)) == 1


def test_a_disabled_tariff_is_not_shown() -> None:
    station = given(FALLBACK, variable_preset("TariffCostCtrlr.Enabled[Tariff]", "false"), ONLINE)
    assert shown_at(station, 1).tariff == ""


@pytest.mark.parametrize(
    ("content", "message_format", "text"),
    [
        ("<b>0.39&nbsp;EUR</b><br>per kWh", "HTML", "0.39 EUR per kWh"),
        ("5 < 6 > 4", "UTF8", "5 < 6 > 4"),
        ("https://example/tariff", "URI", "https://example/tariff"),
    ],
)
def test_markup_is_left_out(content: str, message_format: str, text: str) -> None:
    assert plain_text(content, message_format) == text


# --- Cost ----------------------------------------------------------------------------------------


def test_the_running_cost_by_cost_updated_i02_fr_02_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    transaction_id = station.open_transaction.transaction_id
    decisions = station.when(
        called("CostUpdated", totalCost=Decimal("3.10"), transactionId=transaction_id)
    )
    assert response_payload_in(decisions) == {}
    assert shown_at(station, 1).amounts.total_cost == Decimal("3.10")
    assert shown_at(station, 1).cost == "So far: 3.10 EUR"


def test_the_running_cost_in_an_answer_i02_fr_04() -> None:
    station = given(ONLINE, in_transaction(1))
    station.with_csms(answers_with(totalCost=Decimal("4.125")), time_passed(seconds=61))
    assert shown_at(station, 1).cost == "So far: 4.125 EUR"


def test_an_unknown_transaction_has_no_cost_but_an_answer_i02_fr_02() -> None:
    station = given(ONLINE)
    decisions = station.when(called("CostUpdated", totalCost=1, transactionId="other"))
    assert response_payload_in(decisions) == {}
    assert of_kind(decisions, CostReceived) == []


def test_the_final_cost_is_shown_i03_fr_01_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    stop_and_finish(station, answers_with(totalCost=Decimal("8.20")))
    shown = shown_at(station, 1)
    assert (shown.situation, shown.cost) == ("evse.finished", "Total: 8.20 EUR")
    [cost] = station.state.driver_information.costs
    assert cost.is_final


def test_until_the_answer_the_total_is_pending() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(time_passed(seconds=3), presented(ALICE), charging_stopped(1))
    assert shown_at(station, 1).cost == "The total is being computed."


def test_a_free_transaction_is_called_free_i03_fr_04() -> None:
    station = given(ONLINE, in_transaction(1))
    stop_and_finish(station, answers_with(totalCost=Decimal("0.00")))
    assert shown_at(station, 1).cost == "Free of charge"


def test_an_answer_without_a_cost_is_not_free_i03_fr_04() -> None:
    station = given(ONLINE, in_transaction(1))
    stop_and_finish(station, answers_with())
    assert shown_at(station, 1).cost == ""


def test_an_offline_station_shows_the_fallback_i05_fr_02() -> None:
    station = given(TOTAL_FALLBACK, ONLINE, in_transaction(1))
    station.when(LinkClosed("lost"), time_passed(seconds=3), presented(ALICE), charging_stopped(1))
    assert shown_at(station, 1).cost == "See your invoice"
    station.with_csms(answers_with(totalCost=Decimal("8.20")), LINK_OPENED)
    assert shown_at(station, 1).cost == "Total: 8.20 EUR"


def test_a_running_cost_after_the_total_changes_nothing() -> None:
    station = given(ONLINE, in_transaction(1))
    transaction_id = station.open_transaction.transaction_id
    stop_and_finish(station, answers_with(totalCost=Decimal("8.20")))
    station.when(called("CostUpdated", totalCost=1, transactionId=transaction_id))
    assert shown_at(station, 1).cost == "Total: 8.20 EUR"


def test_a_product_without_the_block_refuses_as_certified() -> None:
    station = given(ONLINE, profile_name="evs-flash-300")
    decisions = station.when(called("CostUpdated", totalCost=1, transactionId="x"))
    assert error_code_in(decisions) == "NotSupported"
    info = {"status": "Accepted", "personalMessage": TARIFF, "language1": "de"}
    station.when(presented(ALICE))
    decisions = station.when(result_received_for("Authorize", idTokenInfo=info))
    assert of_kind(decisions, DriverInformationReceived) == []


@pytest.mark.parametrize("amount", ["1E+300", "1000000000000", "0.0123456789"])
def test_an_amount_that_is_no_price_is_not_used(amount: str) -> None:
    station = given(ONLINE, in_transaction(1))
    transaction_id = station.open_transaction.transaction_id
    decisions = station.when(
        called("CostUpdated", totalCost=Decimal(amount), transactionId=transaction_id)
    )
    assert error_code_in(decisions) == "PropertyConstraintViolation"
    decisions = station.with_csms(answers_with(totalCost=Decimal(amount)), time_passed(seconds=61))
    assert {event.type for event in of_kind(decisions, SecurityEventLogged)} == {"InvalidMessages"}
    assert shown_at(station, 1).cost == ""


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("8.2", "8.20 EUR"),
        ("8", "8.00 EUR"),
        ("0.1234567", "0.1234567 EUR"),
        ("1E+2", "100.00 EUR"),
        ("-3.5", "-3.50 EUR"),
        ("2935.600", "2935.600 EUR"),
    ],
)
def test_money_is_never_rounded(amount: str, text: str) -> None:
    assert format_money(Decimal(amount), "EUR", "en") == text
