"""Charging sessions of a real station, from the first frame to the last register.

Every test ends with the same check: all events arrived, and their energy equals the meter's.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.e2e.harness import StationProcess, wait_until
from tests.e2e.steps import (
    ALICE,
    ALICE_SPOUSE,
    BOB,
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    check_transaction_complete,
    wait_charging,
    wait_delivered,
    wait_energy_drawn,
    wait_transaction_ended,
)
from tests.support.csms import Csms, Payload

# How a session is ended.
Stop = Callable[[StationProcess, Csms, str], None]


def present_same_token(station: StationProcess, csms: Csms, transaction_id: str) -> None:
    station.request_operation("present_token", id_token=ALICE, type="ISO14443", evse_id=1)


def present_lower_case_token(station: StationProcess, csms: Csms, transaction_id: str) -> None:
    station.request_operation("present_token", id_token=ALICE.lower(), type="ISO14443", evse_id=1)


def present_group_token(station: StationProcess, csms: Csms, transaction_id: str) -> None:
    station.request_operation("present_token", id_token=ALICE_SPOUSE, type="ISO14443", evse_id=1)


def unplug_ev(station: StationProcess, csms: Csms, transaction_id: str) -> None:
    station.request_operation("unplug", evse_id=1)


def remote_stop(station: StationProcess, csms: Csms, transaction_id: str) -> None:
    answer = csms.call("RequestStopTransaction", {"transactionId": transaction_id})
    assert answer["status"] == "Accepted"


STOPS: dict[str, tuple[Stop, set[str], set[str]]] = {
    # name: action, triggerReasons of the stop, stoppedReasons (Local may be omitted)
    "same_token_e07": (present_same_token, {"StopAuthorized"}, {"Local"}),
    "letter_case_e07": (present_lower_case_token, {"StopAuthorized"}, {"Local"}),
    "group_token_c09": (present_group_token, {"StopAuthorized"}, {"Local"}),
    "unplugging_e09": (unplug_ev, {"EVCommunicationLost", "EVDeparted"}, {"EVDisconnected"}),
    "remote_stop_f03": (remote_stop, {"RemoteStop"}, {"Remote"}),
}


@pytest.mark.parametrize("name", STOPS)
def test_a_session_is_complete_when_ended_by(
    name: str, station: StationProcess, csms: Csms
) -> None:
    stop, triggers, reasons = STOPS[name]
    meter_before_wh = station.emulated_meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    wait_energy_drawn(station)
    stop(station, csms, transaction_id)
    ended = wait_transaction_ended(csms, transaction_id)
    trigger_reasons = {event.trigger_reason for event in csms.ledger.receipts_of(transaction_id)}
    assert trigger_reasons & triggers
    assert ended["transactionInfo"].get("stoppedReason", "Local") in reasons
    wait_until(
        lambda: station.read_emulated_evse(1)["contactor"] == "open",
        STEP_TIMEOUT_S,
        "open contactor",
    )
    wait_delivered(station)
    check_transaction_complete(station, csms, transaction_id, meter_before_wh)


def test_a_local_start_reports_id_token_evse_and_register_e01_fr_05(
    station: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(station, evse_id=2, id_token=BOB)
    transaction_id = wait_charging(csms, evse_id=2)
    [authorize] = csms.calls_for("Authorize")
    assert authorize.payload["idToken"] == {"idToken": BOB, "type": "ISO14443"}
    started, *later = csms.ledger.receipts_of(transaction_id)
    assert started.event_type == "Started"
    assert started.payload["evse"] == {"id": 2, "connectorId": 1}
    assert any(
        event.payload.get("idToken", {}).get("idToken") == BOB for event in [started, *later]
    )
    assert not started.is_offline
    assert csms.ledger.registers_of(transaction_id)[0].context == "Transaction.Begin"
    assert station.read_evse(2)["transaction_id"] == transaction_id
    assert station.read_evse(1)["transaction_id"] is None


def test_with_power_path_closed_nothing_starts_before_plugging_in_e01_fr_05(
    station: StationProcess, csms: Csms
) -> None:
    station.request_operation("present_token", id_token=ALICE, type="ISO14443", evse_id=1)
    csms.wait_for_call("Authorize", timeout_s=STEP_TIMEOUT_S)
    wait_delivered(station)
    assert csms.ledger.transaction_ids() == []
    station.request_operation("plug_in", evse_id=1)
    assert wait_charging(csms)


def test_an_unknown_id_token_gets_no_energy_c01(station: StationProcess, csms: Csms) -> None:
    meter_before_wh = station.emulated_meter_wh(1)
    authorize_and_plug_in(station, id_token="DEADBEEF")
    csms.wait_for_call("Authorize", timeout_s=STEP_TIMEOUT_S)
    wait_until(lambda: station.read_evse(1)["plugged"], STEP_TIMEOUT_S, "plugged EV")
    wait_delivered(station)
    assert csms.ledger.transaction_ids() == []
    assert station.read_emulated_evse(1)["contactor"] == "open"
    assert station.emulated_meter_wh(1) == meter_before_wh


@pytest.mark.parametrize("plug_first", [True, False], ids=["plug_first_f01", "plug_later_f02"])
def test_a_remote_start_leads_to_a_session(
    station: StationProcess, csms: Csms, plug_first: bool
) -> None:
    meter_before_wh = station.emulated_meter_wh(1)
    if plug_first:
        station.request_operation("plug_in", evse_id=1)
        wait_until(lambda: station.read_evse(1)["plugged"], STEP_TIMEOUT_S, "plugged EV")
    answer = csms.call(
        "RequestStartTransaction",
        {
            "idToken": {"idToken": ALICE, "type": "ISO14443"},
            "remoteStartId": 4711,
            "evseId": 1,
        },
    )
    assert answer["status"] == "Accepted"
    if not plug_first:
        station.request_operation("plug_in", evse_id=1)
    transaction_id = wait_charging(csms)
    first = csms.ledger.receipts_of(transaction_id)[0]
    assert first.trigger_reason == "RemoteStart"
    assert first.transaction_info["remoteStartId"] == 4711
    wait_energy_drawn(station)
    remote_stop(station, csms, transaction_id)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(station)
    check_transaction_complete(station, csms, transaction_id, meter_before_wh)


def test_two_evses_charge_at_once(station: StationProcess, csms: Csms) -> None:
    before_wh = {evse_id: station.emulated_meter_wh(evse_id) for evse_id in (1, 2)}
    authorize_and_plug_in(station, 1, ALICE)
    authorize_and_plug_in(station, 2, BOB)
    transactions = {evse_id: wait_charging(csms, evse_id) for evse_id in (1, 2)}
    assert len(set(transactions.values())) == 2
    for evse_id in (1, 2):
        wait_energy_drawn(station, evse_id)
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transactions[1])
    wait_energy_drawn(station, 2)  # the other one continues
    station.request_operation("present_token", id_token=BOB, type="ISO14443", evse_id=2)
    wait_transaction_ended(csms, transactions[2])
    wait_delivered(station)
    for evse_id in (1, 2):
        check_transaction_complete(station, csms, transactions[evse_id], before_wh[evse_id])


def test_a_pausing_ev_is_reported_and_resumes_e01_fr_19(
    station: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    for op, charging_state in (("ev_pause", "SuspendedEV"), ("ev_ready", "Charging")):
        after = csms.next_frame_number()
        station.request_operation(op, evse_id=1)
        csms.wait_for_call(
            "TransactionEvent", has_charging_state(charging_state), STEP_TIMEOUT_S, after=after
        )
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    assert csms.ledger.find_problems(transaction_id) == []


def test_samples_are_sent_at_the_interval_and_never_decrease_j02(
    station: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    for _ in range(3):
        csms.wait_for_call(
            "TransactionEvent",
            lambda event: event["triggerReason"] == "MeterValuePeriodic",
            STEP_TIMEOUT_S,
            after=csms.next_frame_number(),
        )
    station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    periodic = [
        register
        for register in csms.ledger.registers_of(transaction_id)
        if register.context == "Sample.Periodic"
    ]
    assert len(periodic) >= 3
    assert periodic[-1].energy_wh > periodic[0].energy_wh
    assert csms.ledger.find_problems(transaction_id) == []


def test_two_sessions_are_independent(station: StationProcess, csms: Csms) -> None:
    transactions = []
    for id_token in (ALICE, BOB):
        meter_before_wh = station.emulated_meter_wh(1)
        after = csms.next_frame_number()
        authorize_and_plug_in(station, id_token=id_token)
        transaction_id = wait_charging(csms, after=after)
        wait_energy_drawn(station)
        station.request_operation("unplug", evse_id=1)
        wait_transaction_ended(csms, transaction_id)
        wait_delivered(station)
        check_transaction_complete(station, csms, transaction_id, meter_before_wh)
        transactions.append(transaction_id)
    assert len(set(transactions)) == 2
    first, second = (csms.ledger.registers_of(transaction_id) for transaction_id in transactions)
    assert second[0].energy_wh >= first[-1].energy_wh > Decimal(0)


def has_charging_state(charging_state: str) -> Callable[[Payload], bool]:
    """A predicate: the TransactionEvent has this chargingState."""
    return lambda event: bool(event["transactionInfo"].get("chargingState") == charging_state)
