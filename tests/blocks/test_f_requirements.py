"""Rules of block F that no other test names: whose transaction it is, what a trigger tells."""

from __future__ import annotations

import pytest

from tests.story import (
    ALICE,
    ONLINE,
    accepting,
    called,
    charging,
    given,
    id_token,
    plugged,
    preset,
    queued,
    read,
    reply_in,
)

NOT_ASKED = preset("AuthCtrlr.AuthorizeRemoteStart", "false")
START = called("RequestStartTransaction", remoteStartId=9, evseId=1, idToken=id_token(ALICE))


@pytest.mark.parametrize("asked", [(), (NOT_ASKED,)], ids=["asked", "not asked"])
def test_the_csms_hears_for_whom_it_is_f02_fr_05_f02_fr_11_f02_fr_12(asked: tuple[()]) -> None:
    station = given(*asked, ONLINE)
    said = station.with_csms(accepting, START, plugged(1), charging(1))
    [named] = [one for one in queued(said, "TransactionEvent") if "idToken" in one]
    assert named["idToken"] == id_token(ALICE)


def test_a_trigger_tells_how_it_is_now_f06_fr_09() -> None:
    station = given(ONLINE, read(1, "1000"))
    station.with_csms(accepting, plugged(1), read(1, "1500"))
    asked = called("TriggerMessage", requestedMessage="MeterValues", evse={"id": 1})
    said = station.with_csms(accepting, asked)
    assert reply_in(said) == {"status": "Accepted"}
    [values] = queued(said, "MeterValues")
    [value] = values["meterValue"]
    assert value["sampledValue"][0]["value"] == 1500
    where = {"id": 1, "connectorId": 1}
    asked = called("TriggerMessage", requestedMessage="StatusNotification", evse=where)
    [status] = queued(station.with_csms(accepting, asked), "StatusNotification")
    assert status["connectorStatus"] == "Occupied"
