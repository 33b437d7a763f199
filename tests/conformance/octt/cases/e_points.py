"""Block E: cases for one TxStartPoint or TxStopPoint, for products that can set them."""

from __future__ import annotations

from tests.conformance.octt import states
from tests.conformance.octt.bench import VALID
from tests.conformance.octt.tester import TOKEN_TYPE, Tester
from tests.conformance.octt.verify import check_fields, one_of, require


def tc_e_09_cs(t: Tester) -> None:
    t.use_points(start="EVConnected")
    t.plug_in()
    t.expect_status("step 1", "Occupied")
    t.expect_event(
        "step 3",
        {
            "eventType": "Started",
            "triggerReason": one_of("CablePluggedIn", "ChargingStateChanged"),
            "evse.id": t.evse_id,
            "evse.connectorId": t.connector_id,
            "transactionInfo.chargingState": "EVConnected",
        },
    )
    states.authorize_driver(t)
    states.start_energy_transfer(t)


def _check_start_by_authorization(t: Tester, *, remote: bool) -> None:
    t.use_points(start="Authorized")
    t.configure_variable("AuthCtrlr", "Enabled", value=True)
    t.configure_variable("AuthCtrlr", "DisableRemoteAuthorization", value=False)
    states.authorize_driver(t, remote=remote)
    require("step 3", t.session_on().is_open, "the transaction must have started")
    states.ev_connected_pre_session(t)
    states.start_energy_transfer(t)


def tc_e_10_cs(t: Tester) -> None:
    _check_start_by_authorization(t, remote=False)


def tc_e_13_cs(t: Tester) -> None:
    _check_start_by_authorization(t, remote=True)


def tc_e_02_cs(t: Tester) -> None:
    t.use_points(start="EnergyTransfer")
    states.authorize_driver(t)
    t.plug_in()
    t.expect_status("step 1", "Occupied")
    t.expect_event(
        "step 3",
        {
            "eventType": "Started",
            "triggerReason": one_of("ChargingStateChanged", "Authorized"),
            "idToken.idToken": VALID,
            "idToken.type": TOKEN_TYPE,
            "evse.id": t.evse_id,
            "evse.connectorId": t.connector_id,
            "transactionInfo.chargingState": "Charging",
        },
    )


def tc_e_54_cs(t: Tester) -> None:
    t.use_points(stop="EVConnected")
    t.configure_variable("TxCtrlr", "StopTxOnEVSideDisconnect", value=False)
    states.start_energy_transfer(t)
    states.suspend_energy_transfer(t)
    t.unplug()
    t.expect_event(
        "step 1",
        {
            "triggerReason": "EVCommunicationLost",
            "transactionInfo.chargingState": "Idle",
            "transactionInfo.stoppedReason": one_of("StoppedByEV", "EVDisconnected"),
            "eventType": "Ended",
        },
    )


def tc_e_07_cs(t: Tester) -> None:
    t.use_points(stop="PowerPathClosed")
    states.start_energy_transfer(t)
    states.authorize_stop(t)


def tc_e_35_cs(t: Tester) -> None:
    t.use_points(stop="PowerPathClosed")
    states.start_energy_transfer(t)
    states.request_stop(t, "step 1")
    states.expect_stop(t, "step 3", None, "RemoteStop", "Remote")


def tc_e_08_cs(t: Tester) -> None:
    t.use_points(stop="EnergyTransfer")
    states.start_energy_transfer(t)
    states.authorize_stop(t)


def tc_e_22_cs(t: Tester) -> None:
    t.use_points(stop="EnergyTransfer")
    states.start_energy_transfer(t)
    t.pause_ev()
    event = t.expect_event(
        "step 1",
        {
            "triggerReason": "ChargingStateChanged",
            "transactionInfo.chargingState": one_of("EVConnected", "SuspendedEV"),
        },
    )
    if event["eventType"] == "Ended":
        check_fields("step 1", event, {"transactionInfo.stoppedReason": "StoppedByEV"})
    else:
        check_fields("step 1", event, {"transactionInfo.chargingState": "SuspendedEV"})
