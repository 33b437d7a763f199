"""Transactions: start, change, stop, samples, and what is reported. Block E, J02."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from msgspec.structs import replace

from journal.observations import EvStoppedCharging, StopButtonPressed
from journal.projections.authorizations import Authorizations
from journal.projections.security import SecurityEventLogged
from journal.projections.transactions import KEPT_SAMPLES_MAX, TransactionStopOrdered
from tests.support.story import (
    ALICE,
    BOB,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    accept_everything,
    answer_boot_only,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    contactor_reported,
    csms_answers,
    device_faulted,
    device_recovered,
    event_triggers,
    flow_reported,
    given,
    id_token_payload,
    in_transaction,
    meter_read,
    of_kind,
    presented,
    queued_payloads,
    response_payload_in,
    result_received_for,
    station_restarted,
    time_passed,
    variable_preset,
)

PRODUCTS = ("development", "evs-flash-300")
NO_SAMPLES = variable_preset("SampledDataCtrlr.TxUpdatedInterval", "0")
ONLY_EV_CONNECTED = variable_preset("TxCtrlr.TxStopPoint", "EVConnected")


def station_with_start_point(point: str) -> Station:
    return given(NO_SAMPLES, variable_preset("TxCtrlr.TxStartPoint", point), ONLINE)


def charging_with_stop_points(points: str, *more: object) -> Station:
    """Alice charges at EVSE 1."""
    return given(
        NO_SAMPLES,
        variable_preset("TxCtrlr.TxStopPoint", points),
        *more,  # type: ignore[arg-type]
        ONLINE,
        in_transaction(),
    )


def transaction_events(decisions: object) -> list[Json]:
    return queued_payloads(decisions, "TransactionEvent")  # type: ignore[arg-type]


def all_transaction_events(station: Station) -> list[Json]:
    """Every TransactionEvent the station has queued."""
    return [
        station.payload_of_call(entry.seq)
        for entry in station.entries
        if type(entry.event).__name__ == "CallQueued"
        and getattr(entry.event, "action", "") == "TransactionEvent"
    ]


# --- E01, E02, E03: start ------------------------------------------------------------------------


@pytest.mark.parametrize("of", PRODUCTS)
def test_cable_first_then_card_e01_fr_05_e02(of: str) -> None:
    station = given(ONLINE, cable_plugged(1), profile_name=of)
    assert not station.state.transactions.open
    decisions = station.with_csms(accept_everything, presented(ALICE))
    [started] = transaction_events(decisions)
    assert started["eventType"] == "Started"
    assert started["seqNo"] == 0
    assert started["triggerReason"] == "Authorized"
    assert started["evse"] == {"id": 1, "connectorId": 1}
    assert started["idToken"] == id_token_payload(ALICE)
    assert started["transactionInfo"]["chargingState"] == "EVConnected"
    assert "offline" not in started


@pytest.mark.parametrize("of", PRODUCTS)
def test_card_first_then_cable_e01_fr_05_e03(of: str) -> None:
    station = given(ONLINE, presented(ALICE), profile_name=of)
    assert not station.state.transactions.open
    [started] = transaction_events(station.when(cable_plugged(2)))
    assert started["triggerReason"] == "CablePluggedIn"
    assert started["evse"] == {"id": 2, "connectorId": 1}
    assert started["idToken"] == id_token_payload(ALICE)


def test_ev_connected_starts_with_the_cable_e01_fr_02_e02_fr_06() -> None:
    station = station_with_start_point("EVConnected")
    [started] = transaction_events(station.when(cable_plugged(1)))
    assert started["triggerReason"] == "CablePluggedIn"
    assert "idToken" not in started
    station.when(csms_answers())
    [updated] = transaction_events(station.with_csms(accept_everything, presented(ALICE)))
    assert updated["triggerReason"] == "Authorized"  # E02.FR.01, E02.FR.20
    assert updated["idToken"] == id_token_payload(ALICE)
    assert "evse" not in updated


def test_authorized_starts_with_the_person_e01_fr_03() -> None:
    station = station_with_start_point("Authorized")
    decisions = station.with_csms(accept_everything, presented(ALICE, evse_id=1))
    [started] = transaction_events(decisions)
    assert started["triggerReason"] == "Authorized"
    assert started["transactionInfo"]["chargingState"] == "Idle"
    assert "evse" not in started
    [updated] = transaction_events(station.when(cable_plugged(1)))
    assert updated["triggerReason"] == "CablePluggedIn"
    assert updated["evse"] == {"id": 1, "connectorId": 1}  # E01.FR.16


def test_energy_transfer_starts_with_the_energy_e01_fr_06() -> None:
    station = station_with_start_point("EnergyTransfer")
    assert not transaction_events(
        station.with_csms(accept_everything, cable_plugged(1), presented(ALICE))
    )
    [started] = transaction_events(
        station.when(contactor_reported(1, closed=True), flow_reported(1, "charging"))
    )
    assert started["eventType"] == "Started"
    assert started["transactionInfo"]["chargingState"] == "Charging"
    assert started["idToken"] == id_token_payload(ALICE)


def test_energy_transfer_starts_and_stops_a_transaction_e01_fr_06_e06_fr_07() -> None:
    station = station_with_start_point("EnergyTransfer")
    station.when(variable_preset("TxCtrlr.TxStopPoint", "EnergyTransfer"))
    station.with_csms(
        accept_everything,
        cable_plugged(1),
        presented(ALICE),
        charging_started(1),
        time_passed(seconds=20),
    )
    stopped = (
        flow_reported(1, "suspended_ev"),
        contactor_reported(1, closed=False),
        flow_reported(1, "none"),
    )
    *_, ended = transaction_events(station.when(*stopped))
    assert ended["eventType"] == "Ended"
    assert ended["transactionInfo"]["stoppedReason"] == "StoppedByEV"
    assert ended["transactionInfo"]["timeSpentCharging"] >= 20


def test_energy_that_an_ev_took_along_is_not_the_next_ones_e01_fr_06() -> None:
    station = given(ONLINE, in_transaction(1))
    station.with_csms(accept_everything, cable_unplugged(1), contactor_reported(1, closed=False))
    station.with_csms(accept_everything, cable_plugged(1), presented(ALICE, evse_id=1))
    assert station.open_transaction.charging_since_ms is None


def test_a_person_who_waits_has_a_transaction_of_their_own_e01_fr_03_e01_fr_17() -> None:
    station = station_with_start_point("Authorized")
    [started] = transaction_events(station.with_csms(accept_everything, presented(ALICE)))
    assert started["triggerReason"] == "Authorized"
    assert "evse" not in started
    assert "meterValue" not in started
    [updated] = transaction_events(station.with_csms(accept_everything, cable_plugged(2)))
    assert updated["evse"] == {"id": 2, "connectorId": 1}
    [charges] = transaction_events(station.when(charging_started(2)))
    [value] = charges["meterValue"]
    assert {sample["context"] for sample in value["sampledValue"]} == {"Transaction.Begin"}


def test_two_people_may_wait_at_once_e01_fr_03() -> None:
    station = station_with_start_point("Authorized")
    station.with_csms(accept_everything, presented(ALICE), presented(BOB))
    assert len({transaction.transaction_id for transaction in station.state.transactions.open}) == 2
    station.with_csms(accept_everything, cable_plugged(2), cable_plugged(1))
    assert {
        transaction.evse_id: transaction.id_token for transaction in station.state.transactions.open
    } == {
        2: ALICE,
        1: BOB,
    }


def test_without_a_cable_an_authorization_times_out_e03_fr_05() -> None:
    station = station_with_start_point("Authorized")
    station.with_csms(accept_everything, presented(ALICE))
    [ended] = transaction_events(station.when(time_passed(seconds=60)))
    assert ended["eventType"] == "Ended"
    assert ended["triggerReason"] == "EVConnectTimeout"
    assert ended["transactionInfo"]["stoppedReason"] == "Timeout"


def test_an_authorization_without_a_transaction_ends_with_a_power_cut() -> None:
    station = station_with_start_point("Authorized")
    station.with_csms(accept_everything, presented(ALICE))
    [first] = station.state.transactions.open
    station.when(station_restarted(boot_id="boot-2", gap_s=1000))
    assert not station.state.transactions.open
    station.when(IDLE, time_passed(seconds=100))
    assert not station.state.authorizations.active
    assert (
        all_transaction_events(station)[-1]["transactionInfo"]["transactionId"]
        == first.transaction_id
    )


def test_numbers_count_through_the_whole_transaction_e01_fr_07() -> None:
    station = given(ONLINE, in_transaction(1), flow_reported(1, "suspended_ev"))
    station.with_csms(accept_everything, time_passed(seconds=3), presented(ALICE))
    station.when(charging_stopped(1))
    told_all = all_transaction_events(station)
    assert [event["seqNo"] for event in told_all] == list(range(len(told_all)))
    assert told_all[-1]["eventType"] == "Ended"


def test_every_transaction_has_its_own_id_e01_fr_08() -> None:
    station = given(ONLINE)
    for boot in range(4):
        station.with_csms(
            accept_everything,
            in_transaction(1),
            presented(ALICE),
            charging_stopped(1),
            cable_unplugged(1),
        )
        station.with_csms(
            accept_everything,
            station_restarted(boot_id=f"boot-{boot}"),
            IDLE,
            time_passed(seconds=9),
            LINK_OPENED,
        )
    ids = {event["transactionInfo"]["transactionId"] for event in all_transaction_events(station)}
    assert len(ids) == 4


def test_the_register_at_the_start_is_reported_e01_fr_09() -> None:
    [started] = transaction_events(
        given(
            ONLINE, meter_read(1, "2935.600"), cable_plugged(1), csms=accept_everything
        ).with_csms(accept_everything, presented(ALICE))
    )
    [value] = started["meterValue"]
    [sampled] = value["sampledValue"]
    assert sampled["context"] == "Transaction.Begin"
    assert sampled["measurand"] == "Energy.Active.Import.Register"
    assert Decimal(str(sampled["value"])) == Decimal("2935.600")


def test_an_evse_has_one_transaction_at_a_time_e01_fr_14() -> None:
    station = given(ONLINE, in_transaction(1))
    station.with_csms(accept_everything, presented(BOB, evse_id=1), cable_plugged(1))
    assert len(station.state.transactions.open) == 1


@pytest.mark.parametrize(
    ("what", "state"),
    [("suspended_ev", "SuspendedEV"), ("suspended_evse", "SuspendedEVSE"), ("none", "EVConnected")],
)
def test_each_change_of_the_charging_state_is_reported_e01_fr_18_e02_fr_13(
    what: str, state: str
) -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1))
    [updated] = transaction_events(station.when(flow_reported(1, what)))  # type: ignore[arg-type]
    assert updated["triggerReason"] == "ChargingStateChanged"
    assert updated["transactionInfo"]["chargingState"] == state
    assert not transaction_events(station.when(flow_reported(1, what)))  # type: ignore[arg-type]


def test_the_time_spent_charging_counts_only_charging() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1))
    station.with_csms(
        accept_everything,
        time_passed(seconds=100),
        flow_reported(1, "suspended_ev"),
        time_passed(seconds=50),
    )
    [updated] = transaction_events(
        station.with_csms(accept_everything, flow_reported(1, "charging"), time_passed(seconds=10))
    )
    assert updated["transactionInfo"]["timeSpentCharging"] == 100
    station.when(presented(ALICE))
    [ended] = transaction_events(station.when(charging_stopped(1)))
    assert ended["transactionInfo"]["timeSpentCharging"] == 110


def test_the_time_before_a_power_cut_counts() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1), time_passed(seconds=100))
    station.when(
        station_restarted(boot_id="boot-2", gap_s=50),
        contactor_reported(1, closed=False),
        cable_plugged(1),
    )
    station.when(
        meter_read(1, "1500"), charging_started(1), time_passed(seconds=10), presented(ALICE)
    )
    [ended] = transaction_events(station.when(charging_stopped(1)))
    assert ended["transactionInfo"]["timeSpentCharging"] == 110


# --- E05: the CSMS thinks again ------------------------------------------------------------------


def charging_before_refusal(*more: object) -> Station:
    """Alice plugged in and was accepted; then the CSMS refuses her transaction."""
    station = given(NO_SAMPLES, *more, ONLINE, cable_plugged(1))  # type: ignore[arg-type]
    station.when(
        presented(ALICE), result_received_for("Authorize", idTokenInfo={"status": "Accepted"})
    )
    station.when(charging_started(1))
    return station


REFUSED = {"idTokenInfo": {"status": "Invalid"}}


def test_a_refused_token_ends_the_transaction_e05_fr_10_e06_fr_04() -> None:
    station = charging_before_refusal()
    station.when(result_received_for("TransactionEvent", **REFUSED))
    assert not station.desired.evses[0].energy_allowed
    [ended] = transaction_events(station.when(charging_stopped(1)))
    assert (ended["eventType"], ended["triggerReason"]) == ("Ended", "Deauthorized")
    assert ended["transactionInfo"]["stoppedReason"] == "DeAuthorized"


def test_or_only_the_energy_where_txstoppoint_has_it_so_e05_fr_09() -> None:
    station = charging_before_refusal(ONLY_EV_CONNECTED)
    decisions = station.when(result_received_for("TransactionEvent", **REFUSED))
    assert event_triggers(decisions) == [("Updated", "Deauthorized")]
    assert not station.desired.evses[0].energy_allowed
    [updated] = transaction_events(station.with_csms(accept_everything, charging_stopped(1)))
    assert updated["transactionInfo"]["chargingState"] in ("EVConnected", "SuspendedEVSE")
    [ended] = transaction_events(station.when(cable_unplugged(1)))
    assert ended["eventType"] == "Ended"


def test_or_it_goes_on_without_energy_e05_fr_02() -> None:
    station = charging_before_refusal(variable_preset("TxCtrlr.StopTxOnInvalidId", "false"))
    station.when(result_received_for("TransactionEvent", **REFUSED))
    assert not station.desired.evses[0].energy_allowed
    assert station.desired.evses[0].suspended
    [updated] = transaction_events(
        station.with_csms(accept_everything, flow_reported(1, "suspended_evse"))
    )[-1:]
    assert updated["eventType"] == "Updated"
    assert updated["triggerReason"] == "ChargingStateChanged"
    assert updated["transactionInfo"]["chargingState"] == "SuspendedEVSE"


@pytest.mark.parametrize(
    "answer",
    [
        {"idTokenInfo": {"status": "Invalid", "cacheExpiryDateTime": None}},
        {"idTokenInfo": {"status": "Invalid", "cacheExpiryDateTime": ""}},
        {"idTokenInfo": {"status": "Invalid", "isNew": True}},
        {"idTokenInfo": {"status": "Invalid"}, "totalCost": "1.50"},
        {"idTokenInfo": {"status": "Refused"}},
        {"idTokenInfo": {}},
        {"idTokenInfo": "Invalid"},
    ],
)
def test_a_refusal_counts_whatever_else_is_wrong_with_the_answer_e05_fr_10(answer: Json) -> None:
    station = charging_before_refusal()
    decisions = station.when(result_received_for("TransactionEvent", **answer))
    assert not station.desired.evses[0].energy_allowed
    [logged] = of_kind(decisions, SecurityEventLogged)
    assert logged.tech_info.startswith("answer to TransactionEvent: $.")


@pytest.mark.parametrize("answer", [{"totalCost": "1.50"}, {"idTokenInfo": None}])
def test_an_answer_that_says_nothing_about_the_token_takes_nothing_away(answer: Json) -> None:
    station = charging_before_refusal()
    station.when(result_received_for("TransactionEvent", **answer))
    assert station.desired.evses[0].energy_allowed


def test_or_with_some_energy_more_e05_fr_03() -> None:
    station = charging_before_refusal(
        variable_preset("TxCtrlr.StopTxOnInvalidId", "false"),
        variable_preset("TxCtrlr.MaxEnergyOnInvalidId", "500"),
    )
    station.when(meter_read(1, "2000.0"), result_received_for("TransactionEvent", **REFUSED))
    assert station.desired.evses[0].energy_allowed
    station.with_csms(accept_everything, meter_read(1, "2499.9"))
    assert station.desired.evses[0].energy_allowed
    station.with_csms(accept_everything, meter_read(1, "2500.0"))
    assert not station.desired.evses[0].energy_allowed
    assert station.desired.evses[0].suspended


def test_an_answer_about_the_token_that_stopped_it_takes_nothing_away() -> None:
    station = charging_before_refusal(ONLY_EV_CONNECTED)
    station.when(csms_answers())
    authorization = station.state.authorizations.active
    station.when(flow_reported(1, "suspended_ev"))
    station.when(result_received_for("TransactionEvent", **REFUSED))  # the request had no idToken
    assert station.state.authorizations.active == authorization


# --- E06, E07, E08, E09, E10, E15: end -----------------------------------------------------------


@pytest.mark.parametrize("of", PRODUCTS)
def test_the_same_card_ends_it_e06_fr_03_e07_fr_01_e07_fr_02(of: str) -> None:
    station = given(ONLINE, in_transaction(1), profile_name=of)
    assert event_triggers(station.when(presented(ALICE))) == []
    assert not station.desired.evses[0].energy_allowed
    [ended] = transaction_events(station.when(meter_read(1, "1234.5"), charging_stopped(1)))
    assert ended["eventType"] == "Ended"
    assert ended["triggerReason"] == "StopAuthorized"
    assert ended["idToken"] == id_token_payload(ALICE)
    assert ended["transactionInfo"]["stoppedReason"] == "Local"  # E07.FR.05
    [value] = ended["meterValue"]  # E06.FR.11
    assert value["sampledValue"][0]["context"] == "Transaction.End"
    assert Decimal(str(value["sampledValue"][0]["value"])) == Decimal("1234.5")


def test_the_end_waits_for_the_last_register() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1), presented(ALICE))
    assert not transaction_events(station.when(flow_reported(1, "none")))
    assert transaction_events(station.when(contactor_reported(1, closed=False)))


def test_the_end_does_not_wait_for_ever() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1), presented(ALICE))
    assert transaction_events(station.when(time_passed(seconds=6)))


def test_the_stop_button_ends_it_e07_fr_05() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(StopButtonPressed(1))
    [ended] = transaction_events(station.when(charging_stopped(1)))
    assert ended["triggerReason"] == "StopAuthorized"
    assert ended["transactionInfo"]["stoppedReason"] == "Local"
    assert "idToken" not in ended


def test_the_stop_button_of_an_idle_evse_does_nothing() -> None:
    station = given(ONLINE, in_transaction(1))
    assert station.when(StopButtonPressed(2)) == []


def test_the_ev_ends_it_e15_fr_04() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(EvStoppedCharging(1))
    [ended] = transaction_events(station.when(charging_stopped(1)))
    assert ended["triggerReason"] == "StopAuthorized"
    assert ended["transactionInfo"]["stoppedReason"] == "StoppedByEV"


def test_only_the_energy_stops_where_txstoppoint_is_evconnected_e07_fr_02() -> None:
    station = charging_with_stop_points("EVConnected")
    [updated] = transaction_events(station.when(presented(ALICE)))
    assert (updated["eventType"], updated["triggerReason"]) == ("Updated", "StopAuthorized")
    assert updated["idToken"] == id_token_payload(ALICE)
    assert not station.desired.evses[0].energy_allowed
    station.with_csms(accept_everything, charging_stopped(1))
    decisions = station.when(cable_unplugged(1))
    [ended] = transaction_events(decisions)
    assert (ended["eventType"], ended["triggerReason"]) == ("Ended", "EVCommunicationLost")


def test_pulling_the_cable_ends_it_e06_fr_02_e09_fr_01() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(cable_unplugged(1))
    [ended] = transaction_events(station.when(contactor_reported(1, closed=False)))
    assert ended["triggerReason"] == "EVCommunicationLost"
    assert ended["transactionInfo"]["stoppedReason"] == "EVDisconnected"


def test_the_power_path_is_over_with_the_right_to_charge_e06_fr_06() -> None:
    station = charging_with_stop_points("PowerPathClosed")
    station.when(presented(ALICE))
    [ended] = transaction_events(station.when(charging_stopped(1)))
    assert (ended["eventType"], ended["triggerReason"]) == ("Ended", "StopAuthorized")


def test_the_power_path_is_over_with_the_cable_e06_fr_06() -> None:
    station = charging_with_stop_points(
        "PowerPathClosed", variable_preset("TxCtrlr.StopTxOnEVSideDisconnect", "false")
    )
    decisions = station.when(cable_unplugged(1), contactor_reported(1, closed=False))
    assert event_triggers(decisions) == [("Ended", "EVCommunicationLost")]


def test_energy_transfer_ends_when_no_energy_flows_e06_fr_07() -> None:
    station = charging_with_stop_points("EnergyTransfer")
    decisions = station.when(flow_reported(1, "none"), contactor_reported(1, closed=False))
    assert event_triggers(decisions) == [("Ended", "ChargingStateChanged")]


def test_energy_transfer_ends_when_the_ev_pauses_e06_fr_07() -> None:
    station = charging_with_stop_points("EnergyTransfer")
    decisions = station.when(
        flow_reported(1, "suspended_ev"),
        contactor_reported(1, closed=False),
        flow_reported(1, "none"),
    )
    [ended] = transaction_events(decisions)
    assert ended["eventType"] == "Ended"
    assert ended["transactionInfo"]["stoppedReason"] == "StoppedByEV"


def test_energy_transfer_outlives_a_power_cut_e17_fr_10() -> None:
    station = charging_with_stop_points("EnergyTransfer")
    decisions = station.when(
        station_restarted(boot_id="boot-2"), contactor_reported(1, closed=False), cable_plugged(1)
    )
    decisions += station.when(meter_read(1, "1500"), time_passed(seconds=60))
    assert "Ended" not in [kind for kind, _ in event_triggers(decisions)]
    station.when(charging_started(1), flow_reported(1, "none"))
    assert event_triggers(station.when(contactor_reported(1, closed=False))) == [
        ("Ended", "ChargingStateChanged")
    ]


@pytest.mark.parametrize("where", [0, 1])
def test_a_fault_ends_it_e06_fr_16(where: int) -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(device_faulted(where))
    assert not station.desired.evses[0].energy_allowed
    [ended] = transaction_events(station.when(charging_stopped(1)))
    assert ended["triggerReason"] == "AbnormalCondition"
    assert ended["transactionInfo"]["stoppedReason"] == "GroundFault"


def test_a_fault_of_the_other_evse_does_not() -> None:
    station = given(ONLINE, in_transaction(1))
    assert event_triggers(station.when(device_faulted(2))) == []
    assert station.desired.evses[0].energy_allowed


def test_after_a_fault_a_card_must_be_shown_again() -> None:
    station = given(
        ONLINE, in_transaction(1), device_faulted(1), charging_stopped(1), device_recovered(1)
    )
    assert not station.desired.evses[0].energy_allowed
    station.with_csms(accept_everything, presented(ALICE, evse_id=1))
    assert station.desired.evses[0].energy_allowed


def test_offline_it_ends_as_well_and_is_reported_later_e08_fr_04_e08_fr_05() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1), LINK_LOST)
    decisions = station.when(presented(ALICE), charging_stopped(1))
    assert event_triggers(decisions)[-1] == ("Ended", "StopAuthorized")
    decisions = station.with_csms(accept_everything, LINK_OPENED)
    assert not station.state.outbox.transaction


def test_a_cable_may_come_back_where_the_right_stays_e10_fr_02() -> None:
    station = given(
        NO_SAMPLES,
        variable_preset("TxCtrlr.StopTxOnEVSideDisconnect", "false"),
        variable_preset("TxCtrlr.TxStopPoint", "Authorized"),
        variable_preset("TxCtrlr.EVConnectionTimeOut", "50"),
        ONLINE,
        in_transaction(1),
        time_passed(seconds=1000),
    )
    decisions = station.with_csms(
        accept_everything, cable_unplugged(1), contactor_reported(1, closed=False)
    )
    assert event_triggers(decisions) == [("Updated", "EVCommunicationLost")]
    station.with_csms(accept_everything, time_passed(seconds=49))
    decisions = station.with_csms(accept_everything, cable_plugged(1))
    assert event_triggers(decisions) == [("Updated", "CablePluggedIn")]
    assert station.desired.evses[0].energy_allowed


def test_the_ev_may_come_back_only_within_the_timeout_e10_fr_02() -> None:
    station = given(
        NO_SAMPLES,
        variable_preset("TxCtrlr.StopTxOnEVSideDisconnect", "false"),
        variable_preset("TxCtrlr.TxStopPoint", "Authorized"),
        variable_preset("TxCtrlr.EVConnectionTimeOut", "50"),
        ONLINE,
        in_transaction(1),
        time_passed(seconds=1000),
        cable_unplugged(1),
        contactor_reported(1, closed=False),
    )
    decisions = station.with_csms(accept_everything, time_passed(seconds=50))
    assert event_triggers(decisions) == [("Ended", "EVConnectTimeout")]


# --- E11, E12: offline ---------------------------------------------------------------------------


def test_a_transaction_that_ran_while_offline_is_reported_whole_e11_fr_01_e12_fr_01() -> None:
    station = given(ONLINE, in_transaction(1), LINK_LOST, time_passed(seconds=600))
    station.when(presented(ALICE), charging_stopped(1), cable_unplugged(1), time_passed(seconds=60))
    decisions = station.with_csms(accept_everything, LINK_OPENED)
    assert decisions
    story = all_transaction_events(station)
    assert story[0]["eventType"] == "Started"
    assert story[-1]["eventType"] == "Ended"
    periodic = [event for event in story if event["triggerReason"] == "MeterValuePeriodic"]
    assert len(periodic) == 10
    assert not station.state.outbox.transaction


# --- E14 -----------------------------------------------------------------------------------------


def status_of(station: Station, transaction_id: str | None) -> Json:
    named = {} if transaction_id is None else {"transactionId": transaction_id}
    return response_payload_in(station.when(called("GetTransactionStatus", **named)))


def test_an_unknown_transaction_neither_runs_nor_waits_e14_fr_01() -> None:
    assert status_of(given(ONLINE), "unknown") == {
        "ongoingIndicator": False,
        "messagesInQueue": False,
    }


def test_a_running_transaction_e14_fr_02_e14_fr_05() -> None:
    station = given(ONLINE, in_transaction(1))
    found = status_of(station, station.open_transaction.transaction_id)
    assert found == {"ongoingIndicator": True, "messagesInQueue": False}


def test_a_transaction_that_ended_but_was_not_reported_e14_fr_03_e14_fr_04() -> None:
    station = given(ONLINE, in_transaction(1))
    transaction_id = station.open_transaction.transaction_id
    station.when(presented(ALICE), charging_stopped(1))
    found = status_of(station, transaction_id)
    assert found == {"ongoingIndicator": False, "messagesInQueue": True}


def test_without_a_transaction_only_the_queue_is_reported_e14_fr_06_e14_fr_07_e14_fr_08() -> None:
    station = given(ONLINE, in_transaction(1))
    assert status_of(station, None) == {"messagesInQueue": False}
    station.when(presented(ALICE), charging_stopped(1))
    assert status_of(station, None) == {"messagesInQueue": True}


# --- J02: samples --------------------------------------------------------------------------------


def test_periodic_samples_j02_fr_11() -> None:
    station = given(
        variable_preset("SampledDataCtrlr.TxUpdatedInterval", "20"), ONLINE, in_transaction(1)
    )
    station.with_csms(accept_everything, time_passed(seconds=19))
    decisions = station.with_csms(
        accept_everything, meter_read(1, "1500", power_w="50000"), time_passed(seconds=1)
    )
    [event] = transaction_events(decisions)
    assert (event["eventType"], event["triggerReason"]) == ("Updated", "MeterValuePeriodic")
    [value] = event["meterValue"]
    found = {sample["measurand"]: sample for sample in value["sampledValue"]}
    assert found.keys() == {"Energy.Active.Import.Register", "Power.Active.Import"}
    register = found["Energy.Active.Import.Register"]
    assert register["context"] == "Sample.Periodic"
    assert register["unitOfMeasure"] == {"unit": "Wh"}
    assert register["value"] == 1500
    assert (
        len(transaction_events(station.with_csms(accept_everything, time_passed(seconds=200))))
        == 10
    )


def test_only_the_chosen_measurands_are_reported_j02_fr_11() -> None:
    station = given(
        variable_preset("SampledDataCtrlr.TxUpdatedInterval", "20"),
        variable_preset("SampledDataCtrlr.TxUpdatedMeasurands", "Voltage"),
        ONLINE,
        in_transaction(1),
    )
    [event] = transaction_events(
        station.with_csms(
            accept_everything, meter_read(1, "1500", voltage_v="801.5"), time_passed(seconds=20)
        )
    )
    [value] = event["meterValue"]
    [sampled] = value["sampledValue"]
    assert (sampled["measurand"], sampled["value"]) == ("Voltage", 801.5)


def test_sampled_data_can_be_off() -> None:
    station = given(variable_preset("SampledDataCtrlr.Enabled", "false"), ONLINE, in_transaction(1))
    station.with_csms(
        accept_everything, time_passed(seconds=600), presented(ALICE), charging_stopped(1)
    )
    assert not [event for event in all_transaction_events(station) if "meterValue" in event]
    assert all_transaction_events(station)[-1]["eventType"] == "Ended"


def test_samples_kept_for_the_end_j02_fr_20() -> None:
    station = given(
        NO_SAMPLES,
        variable_preset("SampledDataCtrlr.TxEndedInterval", "10"),
        ONLINE,
        in_transaction(1),
    )
    for at in range(5):
        station.with_csms(accept_everything, time_passed(seconds=10), meter_read(1, f"{2000 + at}"))
    station.when(presented(ALICE))
    [ended] = transaction_events(station.when(charging_stopped(1)))
    contexts = [value["sampledValue"][0]["context"] for value in ended["meterValue"]]
    assert contexts == ["Sample.Periodic"] * 5 + ["Transaction.End"]


def test_too_many_samples_lose_every_other_one_between_the_ends_e06_fr_13() -> None:
    station = given(
        NO_SAMPLES,
        variable_preset("SampledDataCtrlr.TxEndedInterval", "1"),
        ONLINE,
        in_transaction(1),
        LINK_LOST,
    )
    for at in range(KEPT_SAMPLES_MAX + 1):
        station.when(meter_read(1, f"{2000 + at}"), time_passed(seconds=1))
    kept = [int(sample.meter_read.energy_wh) for sample in station.open_transaction.kept_samples]
    assert len(kept) <= KEPT_SAMPLES_MAX // 2 + 2
    assert kept[0] == 2000
    assert kept[-1] == 2000 + KEPT_SAMPLES_MAX
    gaps = {late - early for early, late in pairwise(kept[1:-1])}
    assert gaps == {2}


# --- Power cut -----------------------------------------------------------------------------------

BOOT_ID_AFTER_RESTART = {"same": "boot-1", "other": "boot-2"}


@pytest.mark.parametrize(
    "boot_id", BOOT_ID_AFTER_RESTART.values(), ids=BOOT_ID_AFTER_RESTART.keys()
)
def test_a_short_interruption_is_survived_e17_fr_10_e17_fr_11(boot_id: str) -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1))
    before = station.open_transaction.transaction_id
    decisions = station.when(station_restarted(boot_id=boot_id, gap_s=299))
    assert event_triggers(decisions) == []
    decisions = station.when(contactor_reported(1, closed=False), cable_plugged(1))
    assert station.open_transaction.transaction_id == before
    assert station.desired.evses[0].energy_allowed
    station.with_csms(accept_everything, meter_read(1, "1200"), charging_started(1), LINK_OPENED)
    assert station.open_transaction.charging_state == "Charging"
    station.when(presented(ALICE))
    assert event_triggers(station.when(charging_stopped(1))) == [("Ended", "StopAuthorized")]


@pytest.mark.parametrize(("boot_id", "reason"), [("boot-1", "Reboot"), ("boot-2", "PowerLoss")])
def test_a_long_interruption_ends_it_e17_fr_21_e17_fr_22(boot_id: str, reason: str) -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1))
    station.when(station_restarted(boot_id=boot_id, gap_s=301))
    assert not station.desired.evses[0].energy_allowed
    decisions = station.when(contactor_reported(1, closed=False), cable_plugged(1))
    assert event_triggers(decisions) == []  # the meter has not reported yet
    [ended] = transaction_events(station.when(meter_read(1, "4711")))
    assert ended["triggerReason"] == "AbnormalCondition"
    assert ended["transactionInfo"]["stoppedReason"] == reason
    assert ended["meterValue"][0]["sampledValue"][0]["value"] == 4711


def test_a_silent_meter_does_not_keep_it_open_for_ever() -> None:
    station = given(NO_SAMPLES, ONLINE, meter_read(1, "1111"), in_transaction(1))
    station.when(
        station_restarted(boot_id="boot-2", gap_s=301),
        contactor_reported(1, closed=False),
        cable_plugged(1),
    )
    [ended] = transaction_events(station.when(time_passed(seconds=30)))
    assert ended["meterValue"][0]["sampledValue"][0]["value"] == 1111  # the last one in the journal


def test_a_clock_that_ran_backwards_proves_no_short_interruption() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1))
    station.when(
        station_restarted(boot_id="boot-2", gap_s=-3600),
        contactor_reported(1, closed=False),
        cable_plugged(1),
    )
    [ended] = transaction_events(station.when(meter_read(1, "4711")))
    assert ended["transactionInfo"]["stoppedReason"] == "PowerLoss"


def test_an_ev_that_left_meanwhile_ended_it_e17_fr_17() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1))
    station.when(
        station_restarted(boot_id="boot-2", gap_s=5),
        contactor_reported(1, closed=False),
        cable_unplugged(1),
    )
    [ended] = transaction_events(station.when(meter_read(1, "4711")))
    assert ended["triggerReason"] == "EVCommunicationLost"
    assert ended["transactionInfo"]["stoppedReason"] == "EVDisconnected"


def test_without_resumption_no_energy_flows_again_e17_fr_12() -> None:
    station = given(
        NO_SAMPLES,
        variable_preset("TxCtrlr.AllowEnergyTransferResumption", "false"),
        ONLINE,
        in_transaction(1),
    )
    station.when(
        station_restarted(boot_id="boot-2", gap_s=5),
        contactor_reported(1, closed=False),
        cable_plugged(1),
    )
    assert station.state.transactions.open
    assert not station.desired.evses[0].energy_allowed
    assert station.open_transaction.charging_state == "SuspendedEVSE"


def test_an_evse_that_never_comes_back_ends_it() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1))
    decisions = station.when(station_restarted(boot_id="boot-2", gap_s=5), time_passed(seconds=400))
    assert event_triggers(decisions) == [("Ended", "AbnormalCondition")]


def test_a_stop_that_was_under_way_is_finished() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1), presented(ALICE))
    station.when(
        station_restarted(boot_id="boot-2", gap_s=5),
        contactor_reported(1, closed=False),
        cable_plugged(1),
    )
    [ended] = transaction_events(station.when(meter_read(1, "4711")))
    assert ended["triggerReason"] == "StopAuthorized"
    assert ended["transactionInfo"]["stoppedReason"] == "Local"


def test_cuts_in_a_row_count_each_by_itself() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1))
    for boot in range(3):
        station.when(station_restarted(boot_id=f"again-{boot}", gap_s=200))
        station.when(contactor_reported(1, closed=False), cable_plugged(1), charging_started(1))
    assert station.desired.evses[0].energy_allowed


def test_an_ended_transaction_is_not_begun_again_by_its_own_cable() -> None:
    station = given(
        NO_SAMPLES, variable_preset("TxCtrlr.TxStartPoint", "EVConnected"), ONLINE, cable_plugged(1)
    )
    station.with_csms(
        accept_everything,
        presented(ALICE),
        charging_started(1),
        presented(ALICE),
        charging_stopped(1),
    )
    assert not station.state.transactions.open
    assert event_triggers(station.with_csms(answer_boot_only, time_passed(seconds=100))) == []
    assert event_triggers(station.when(cable_unplugged(1), cable_plugged(1))) == [
        ("Started", "CablePluggedIn")
    ]


# --- A damaged journal ---------------------------------------------------------------------------


def lose_authorizations(station: Station) -> None:
    """The entries of all authorizations are missing from the journal."""
    station.state = replace(station.state, authorizations=Authorizations())


def test_a_transaction_that_lost_its_authorization_does_not_block_the_evse_p5() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1), charging_stopped(1))
    lose_authorizations(station)
    decisions = station.with_csms(accept_everything, time_passed(seconds=1))
    assert event_triggers(decisions)[-1] == ("Ended", "AbnormalCondition")
    [stop] = of_kind(decisions, TransactionStopOrdered)
    assert stop.because == "authorization_lost"


def test_a_transaction_without_an_ev_or_an_authorization_ends_p5() -> None:
    station = given(NO_SAMPLES, ONLINE, in_transaction(1), charging_stopped(1))
    lose_authorizations(station)
    [transaction] = station.state.transactions.open
    orphan = replace(transaction, authorization_seq=0, charging_state=None)
    station.state = replace(
        station.state, transactions=replace(station.state.transactions, open=(orphan,))
    )
    decisions = station.with_csms(accept_everything, cable_unplugged(1))
    assert event_triggers(decisions)[-1] == ("Ended", "AbnormalCondition")
