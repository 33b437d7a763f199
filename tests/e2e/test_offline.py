"""Does a station without its CSMS still sell energy, and tell everything when it is back?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.harness import StationProcess, wait_until
from tests.e2e.steps import (
    ALICE,
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    check_journal,
    check_transaction_complete,
    wait_charging,
    wait_delivered,
    wait_energy_drawn,
    wait_transaction_ended,
)
from tests.support.csms import Csms

LinkStep = Callable[[StationProcess, Csms], None]


def link_closed(station: StationProcess, csms: Csms) -> None:
    station.request_operation("link", mode="closed")


def link_up(station: StationProcess, csms: Csms) -> None:
    station.request_operation("link", mode="up")


def csms_down(station: StationProcess, csms: Csms) -> None:
    csms.stop_listening()


def csms_up(station: StationProcess, csms: Csms) -> None:
    csms.start_listening()


LINK_OUTAGES: dict[str, tuple[LinkStep, LinkStep]] = {
    "its_own_link_closed": (link_closed, link_up),
    "csms_refusing": (csms_down, csms_up),
}


def wait_offline(station: StationProcess) -> None:
    wait_until(lambda: station.read_state()["link"] == "down", STEP_TIMEOUT_S, "lost link")


def cache_id_token(station: StationProcess, csms: Csms) -> None:
    """One short session online, so that the station has seen this person."""
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(station)


def wait_new_transaction(station: StationProcess, previous_id: str | None = None) -> str:
    """The transactionId the station itself tells for EVSE 1."""
    return str(
        wait_until(
            lambda: (found := station.read_evse(1)["transaction_id"]) != previous_id and found,
            STEP_TIMEOUT_S,
            "transaction at EVSE 1",
        )
    )


@pytest.mark.parametrize("how", LINK_OUTAGES)
def test_a_session_from_the_cache_offline_is_told_in_full_later_e04_e12(
    how: str, station: StationProcess, csms: Csms
) -> None:
    break_link, mend_link = LINK_OUTAGES[how]
    cache_id_token(station, csms)
    meter_before_wh = station.emulated_meter_wh(1)
    break_link(station, csms)
    wait_offline(station)
    authorize_and_plug_in(station)
    transaction_id = wait_new_transaction(station)
    wait_energy_drawn(station)
    station.request_operation("unplug", evse_id=1)
    wait_until(
        lambda: station.read_evse(1)["transaction_id"] is None,
        STEP_TIMEOUT_S,
        "end of the transaction",
    )
    assert station.read_state()["outbox"] >= 2
    assert transaction_id not in csms.ledger.transaction_ids()
    mend_link(station, csms)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(station)
    assert all(event.is_offline for event in csms.ledger.receipts_of(transaction_id))
    assert len(csms.calls_for("Authorize")) == 1
    check_transaction_complete(station, csms, transaction_id, meter_before_wh)


def test_a_stranger_offline_gets_no_energy_c15(station: StationProcess, csms: Csms) -> None:
    station.request_operation("link", mode="closed")
    wait_offline(station)
    authorize_and_plug_in(station, id_token="DEADBEEF")
    wait_until(lambda: station.read_evse(1)["plugged"], STEP_TIMEOUT_S, "plugged EV")
    wait_until(
        lambda: station.read_entries("IdTokenPresented"), STEP_TIMEOUT_S, "token in the journal"
    )
    assert station.read_evse(1)["transaction_id"] is None
    assert station.read_emulated_evse(1)["contactor"] == "open"


@pytest.mark.parametrize("how", LINK_OUTAGES)
def test_a_link_lost_in_the_middle_loses_nothing_e11(
    how: str, station: StationProcess, csms: Csms
) -> None:
    break_link, mend_link = LINK_OUTAGES[how]
    meter_before_wh = station.emulated_meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    break_link(station, csms)
    wait_offline(station)
    wait_energy_drawn(station)
    mend_link(station, csms)
    wait_delivered(station)
    wait_energy_drawn(station)
    station.request_operation("present_token", id_token=ALICE, type="ISO14443", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(station)
    check_transaction_complete(station, csms, transaction_id, meter_before_wh)


@pytest.mark.timeout(240)
def test_answers_lost_refused_late_and_double_lose_nothing_e13(
    station: StationProcess, csms: Csms
) -> None:
    meter_before_wh = station.emulated_meter_wh(1)
    csms.disturb_calls("TransactionEvent", times=1, copies=0)
    csms.disturb_calls("TransactionEvent", times=1, error="InternalError")
    csms.disturb_calls("TransactionEvent", times=1, copies=2)
    csms.disturb_calls("TransactionEvent", times=1, delay_s=7)  # MessageTimeout is 5
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    wait_energy_drawn(station)
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(station)
    assert all(disturbance.times == 0 for disturbance in csms.disturbances)
    assert csms.ledger.count_duplicates(transaction_id) >= 2
    check_transaction_complete(station, csms, transaction_id, meter_before_wh)


@pytest.mark.timeout(240)
def test_a_csms_that_never_takes_an_event_parks_it_and_the_rest_goes_on_e13(
    station: StationProcess, csms: Csms
) -> None:
    csms.disturb_calls(
        "TransactionEvent", error="InternalError", where=lambda event: event["seqNo"] == 1
    )
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    csms.wait_for_call("TransactionEvent", lambda event: event["seqNo"] >= 2, STEP_TIMEOUT_S * 2)
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    attempts = [call for call in csms.calls_for("TransactionEvent") if call.payload["seqNo"] == 1]
    assert len(attempts) >= 2
    parked = station.run_verb("outbox", str(station.journal), "list")
    assert parked.returncode == 0, parked.stderr
    assert transaction_id in parked.stdout
    assert csms.ledger.find_problems(transaction_id) == []
    check_journal(station)


@pytest.mark.timeout(240)
def test_a_silent_csms_is_noticed_and_nothing_is_lost_e11(
    station: StationProcess, csms: Csms
) -> None:
    meter_before_wh = station.emulated_meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    csms.pause_io()
    wait_until(
        lambda: station.read_state()["link"] == "down", 90, "silence noticed"
    )  # ping each 10 s
    wait_energy_drawn(station)
    csms.resume_io()
    wait_delivered(station)
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(station)
    check_transaction_complete(station, csms, transaction_id, meter_before_wh)
