"""Rules of block F that no other test names: the idToken of a transaction, triggers."""

from __future__ import annotations

import pytest

from tests.support.story import (
    ALICE,
    ONLINE,
    accept_everything,
    cable_plugged,
    called,
    charging_started,
    given,
    id_token_payload,
    meter_read,
    queued_payloads,
    response_payload_in,
    variable_preset,
)

NOT_ASKED = variable_preset("AuthCtrlr.AuthorizeRemoteStart", "false")
START = called(
    "RequestStartTransaction", remoteStartId=9, evseId=1, idToken=id_token_payload(ALICE)
)


@pytest.mark.parametrize("asked", [(), (NOT_ASKED,)], ids=["asked", "not asked"])
def test_the_id_token_of_a_remote_start_is_reported_f02_fr_05_f02_fr_11_f02_fr_12(
    asked: tuple[()],
) -> None:
    station = given(*asked, ONLINE)
    decisions = station.with_csms(accept_everything, START, cable_plugged(1), charging_started(1))
    [named] = [
        event for event in queued_payloads(decisions, "TransactionEvent") if "idToken" in event
    ]
    assert named["idToken"] == id_token_payload(ALICE)


def test_a_trigger_sends_how_it_is_now_f06_fr_09() -> None:
    station = given(ONLINE, meter_read(1, "1000"))
    station.with_csms(accept_everything, cable_plugged(1), meter_read(1, "1500"))
    requested = called("TriggerMessage", requestedMessage="MeterValues", evse={"id": 1})
    decisions = station.with_csms(accept_everything, requested)
    assert response_payload_in(decisions) == {"status": "Accepted"}
    [values] = queued_payloads(decisions, "MeterValues")
    [value] = values["meterValue"]
    assert value["sampledValue"][0]["value"] == 1500
    where = {"id": 1, "connectorId": 1}
    requested = called("TriggerMessage", requestedMessage="StatusNotification", evse=where)
    [status] = queued_payloads(
        station.with_csms(accept_everything, requested), "StatusNotification"
    )
    assert status["connectorStatus"] == "Occupied"
