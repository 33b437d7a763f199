"""Block E: cases for one TxStartPoint or TxStopPoint, for products that can set them."""

from __future__ import annotations

from tests.conformance.octt import states
from tests.conformance.octt.bench import VALID
from tests.conformance.octt.tester import TOKEN_TYPE, Tester
from tests.conformance.octt.verify import check_fields, one_of, require


def tc_e_09_cs(tester: Tester) -> None:
    tester.use_points(start="EVConnected")
    tester.plug_in()
    tester.expect_status("step 1", "Occupied")
    tester.expect_event(
        "step 3",
        {
            "eventType": "Started",
            "triggerReason": one_of("CablePluggedIn", "ChargingStateChanged"),
            "evse.id": tester.evse_id,
            "evse.connectorId": tester.connector_id,
            "transactionInfo.chargingState": "EVConnected",
        },
    )
    states.authorize_driver(tester)
    states.start_energy_transfer(tester)


def _check_start_by_authorization(tester: Tester, *, remote: bool) -> None:
    tester.use_points(start="Authorized")
    tester.configure_variable("AuthCtrlr", "Enabled", value=True)
    tester.configure_variable("AuthCtrlr", "DisableRemoteAuthorization", value=False)
    states.authorize_driver(tester, remote=remote)
    require("step 3", tester.session_on().is_open, "the transaction must have started")
    states.ev_connected_pre_session(tester)
    states.start_energy_transfer(tester)


def tc_e_10_cs(tester: Tester) -> None:
    _check_start_by_authorization(tester, remote=False)


def tc_e_13_cs(tester: Tester) -> None:
    _check_start_by_authorization(tester, remote=True)


def tc_e_02_cs(tester: Tester) -> None:
    tester.use_points(start="EnergyTransfer")
    states.authorize_driver(tester)
    tester.plug_in()
    tester.expect_status("step 1", "Occupied")
    tester.expect_event(
        "step 3",
        {
            "eventType": "Started",
            "triggerReason": one_of("ChargingStateChanged", "Authorized"),
            "idToken.idToken": VALID,
            "idToken.type": TOKEN_TYPE,
            "evse.id": tester.evse_id,
            "evse.connectorId": tester.connector_id,
            "transactionInfo.chargingState": "Charging",
        },
    )


def tc_e_54_cs(tester: Tester) -> None:
    tester.use_points(stop="EVConnected")
    tester.configure_variable("TxCtrlr", "StopTxOnEVSideDisconnect", value=False)
    states.start_energy_transfer(tester)
    states.suspend_energy_transfer(tester)
    tester.unplug()
    tester.expect_event(
        "step 1",
        {
            "triggerReason": "EVCommunicationLost",
            "transactionInfo.chargingState": "Idle",
            "transactionInfo.stoppedReason": one_of("StoppedByEV", "EVDisconnected"),
            "eventType": "Ended",
        },
    )


def tc_e_07_cs(tester: Tester) -> None:
    tester.use_points(stop="PowerPathClosed")
    states.start_energy_transfer(tester)
    states.authorize_stop(tester)


def tc_e_35_cs(tester: Tester) -> None:
    tester.use_points(stop="PowerPathClosed")
    states.start_energy_transfer(tester)
    states.request_stop(tester, "step 1")
    states.expect_stop(tester, "step 3", None, "RemoteStop", "Remote")


def tc_e_08_cs(tester: Tester) -> None:
    tester.use_points(stop="EnergyTransfer")
    states.start_energy_transfer(tester)
    states.authorize_stop(tester)


def tc_e_22_cs(tester: Tester) -> None:
    tester.use_points(stop="EnergyTransfer")
    states.start_energy_transfer(tester)
    tester.pause_ev()
    event = tester.expect_event(
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
