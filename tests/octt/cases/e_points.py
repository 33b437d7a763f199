"""Block E: other TxStartPoints and TxStopPoints, for products that can set them."""

from __future__ import annotations

from tests.octt import states
from tests.octt.bench import VALID
from tests.octt.tester import TOKEN_TYPE, Tester
from tests.octt.verify import must, one_of, verify


def tc_e_09_cs(t: Tester) -> None:
    t.use_points(start="EVConnected")
    t.plug_in()
    t.status("step 1", "Occupied")
    t.event(
        "step 3",
        {
            "eventType": "Started",
            "triggerReason": one_of("CablePluggedIn", "ChargingStateChanged"),
            "evse.id": t.evse,
            "evse.connectorId": t.connector,
            "transactionInfo.chargingState": "EVConnected",
        },
    )
    states.authorized(t)
    states.energy_transfer_started(t)


def _begun_by_authorization(t: Tester, *, remote: bool) -> None:
    t.use_points(start="Authorized")
    t.configure("AuthCtrlr", "Enabled", value=True)
    t.configure("AuthCtrlr", "DisableRemoteAuthorization", value=False)
    states.authorized(t, remote=remote)
    must("step 3", t.session().open, "the transaction must have started")
    states.ev_connected_pre_session(t)
    states.energy_transfer_started(t)


def tc_e_10_cs(t: Tester) -> None:
    _begun_by_authorization(t, remote=False)


def tc_e_13_cs(t: Tester) -> None:
    _begun_by_authorization(t, remote=True)


def tc_e_02_cs(t: Tester) -> None:
    t.use_points(start="EnergyTransfer")
    states.authorized(t)
    t.plug_in()
    t.status("step 1", "Occupied")
    t.event(
        "step 3",
        {
            "eventType": "Started",
            "triggerReason": one_of("ChargingStateChanged", "Authorized"),
            "idToken.idToken": VALID,
            "idToken.type": TOKEN_TYPE,
            "evse.id": t.evse,
            "evse.connectorId": t.connector,
            "transactionInfo.chargingState": "Charging",
        },
    )


def tc_e_54_cs(t: Tester) -> None:
    t.use_points(stop="EVConnected")
    t.configure("TxCtrlr", "StopTxOnEVSideDisconnect", value=False)
    states.energy_transfer_started(t)
    states.energy_transfer_suspended(t)
    t.unplug()
    t.event(
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
    states.energy_transfer_started(t)
    states.stop_authorized(t)


def tc_e_35_cs(t: Tester) -> None:
    t.use_points(stop="PowerPathClosed")
    states.energy_transfer_started(t)
    states.request_stop(t, "step 1")
    states.stopped(t, "step 3", None, "RemoteStop", "Remote")


def tc_e_08_cs(t: Tester) -> None:
    t.use_points(stop="EnergyTransfer")
    states.energy_transfer_started(t)
    states.stop_authorized(t)


def tc_e_22_cs(t: Tester) -> None:
    t.use_points(stop="EnergyTransfer")
    states.energy_transfer_started(t)
    t.ev_pause()
    event = t.event(
        "step 1",
        {
            "triggerReason": "ChargingStateChanged",
            "transactionInfo.chargingState": one_of("EVConnected", "SuspendedEV"),
        },
    )
    if event["eventType"] == "Ended":
        verify("step 1", event, {"transactionInfo.stoppedReason": "StoppedByEV"})
    else:
        verify("step 1", event, {"transactionInfo.chargingState": "SuspendedEV"})
