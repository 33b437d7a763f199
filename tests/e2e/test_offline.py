"""Charging while the CSMS is unreachable, and complete delivery afterwards. E04, E11 to E13."""

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
    """A short session online, so that the cache has this idToken."""
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(station)


def wait_new_transaction(station: StationProcess, previous_id: str | None = None) -> str:
    """Wait for a new transaction on EVSE 1, by the station's own state."""
    return str(
        wait_until(
            lambda: (
                (transaction_id := station.read_evse(1)["transaction_id"]) != previous_id
                and transaction_id
            ),
            STEP_TIMEOUT_S,
            "transaction at EVSE 1",
        )
    )


@pytest.mark.parametrize("outage", LINK_OUTAGES)
def test_a_session_from_the_cache_offline_is_delivered_completely_e04_e12(
    outage: str, station: StationProcess, csms: Csms
) -> None:
    break_link, mend_link = LINK_OUTAGES[outage]
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


def test_an_unknown_id_token_offline_gets_no_energy_c15(
    station: StationProcess, csms: Csms
) -> None:
    station.request_operation("link", mode="closed")
    wait_offline(station)
    authorize_and_plug_in(station, id_token="DEADBEEF")
    wait_until(lambda: station.read_evse(1)["plugged"], STEP_TIMEOUT_S, "plugged EV")
    wait_until(
        lambda: station.read_entries("IdTokenPresented"), STEP_TIMEOUT_S, "token in the journal"
    )
    assert station.read_evse(1)["transaction_id"] is None
    assert station.read_emulated_evse(1)["contactor"] == "open"


@pytest.mark.parametrize("outage", LINK_OUTAGES)
def test_a_link_loss_during_a_transaction_loses_nothing_e11(
    outage: str, station: StationProcess, csms: Csms
) -> None:
    break_link, mend_link = LINK_OUTAGES[outage]
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
def test_lost_refused_late_and_duplicate_responses_lose_nothing_e13(
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
def test_an_event_that_is_always_refused_is_parked_and_the_rest_delivered_e13(
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
def test_a_silent_csms_is_detected_and_nothing_is_lost_e11(
    station: StationProcess, csms: Csms
) -> None:
    meter_before_wh = station.emulated_meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    csms.pause_io()
    wait_until(
        lambda: station.read_state()["link"] == "down", 90, "detection of the silence"
    )  # ping each 10 s
    wait_energy_drawn(station)
    csms.resume_io()
    wait_delivered(station)
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(station)
    check_transaction_complete(station, csms, transaction_id, meter_before_wh)
