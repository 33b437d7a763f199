"""The CSMS double: valid responses, a ledger, one CALL at a time, handshakes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
import trio
from trio_websocket import open_websocket_url

from station.ocpp.messages import ACTIONS, Datatype, format_timestamp
from station.ocpp.messages.b_provisioning import ResetRequest
from station.ocpp.messages.datatypes import IdTokenInfoType, IdTokenType
from station.ocpp.messages.f_remote_control import TriggerMessageRequest
from station.simulation.csms_double import (
    CallFailedError,
    CsmsDouble,
    CsmsServer,
    parse_credentials,
    serve_csms,
)
from tests.ocpp.messages.schemas import schema_of
from tests.simulation.fixtures_events import event_payload

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ALICE = "04A224B2"
FAMILY = IdTokenType(id_token="FAMILY", type="Central")
RESET = ResetRequest(type="OnIdle")


def make_csms_double() -> CsmsDouble:
    id_tokens = {ALICE: IdTokenInfoType(status="Accepted", group_id_token=FAMILY)}
    return CsmsDouble(id_tokens, clock=lambda: NOW)


def response_of(double: CsmsDouble, action: str, request: Any) -> Any:
    """The response of the double, checked against the official schema."""
    [text] = double.receive_frame(json.dumps([2, "a1", action, request]))
    message_type, message_id, response = json.loads(text)
    assert (message_type, message_id) == (3, "a1"), text
    jsonschema.validate(response, schema_of(f"{action}Response"))
    return response


# --- Responses -----------------------------------------------------------------------------------

BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}


def test_a_boot_is_accepted_with_time_and_interval_b01() -> None:
    double = make_csms_double()
    expected = {"currentTime": format_timestamp(NOW), "interval": 300, "status": "Accepted"}
    assert response_of(double, "BootNotification", BOOT) == expected
    double.registration_status, double.heartbeat_interval_s = "Pending", 7
    response = response_of(double, "BootNotification", BOOT)
    assert (response["status"], response["interval"]) == ("Pending", 7)


@pytest.mark.parametrize(
    ("value", "status"), [(ALICE, "Accepted"), (ALICE.lower(), "Accepted"), ("DEADBEEF", "Unknown")]
)
def test_id_tokens_are_case_insensitive_and_others_unknown_c01(value: str, status: str) -> None:
    request = {"idToken": {"idToken": value, "type": "ISO14443"}}
    assert response_of(make_csms_double(), "Authorize", request)["idTokenInfo"]["status"] == status


def test_transaction_events_are_recorded_in_the_ledger_e01() -> None:
    double = make_csms_double()
    token = {"idToken": ALICE, "type": "ISO14443"}
    first = response_of(
        double, "TransactionEvent", event_payload(0, "Started", "1000", idToken=token)
    )
    assert first["idTokenInfo"]["groupIdToken"]["idToken"] == "FAMILY"
    assert response_of(double, "TransactionEvent", event_payload(1, "Ended", "1500")) == {}
    assert double.ledger.transactions["tx-1"].find_complaints() == []
    assert double.ledger.transactions["tx-1"].energy_wh == 500


def test_on_request_is_called_for_every_request() -> None:
    requests: list[tuple[str, Datatype]] = []
    double = CsmsDouble(on_request=lambda action, request: requests.append((action, request)))
    response_of(double, "Heartbeat", {})
    assert [action for action, _ in requests] == ["Heartbeat"]


# A minimal request of each action that has required fields.
REQUESTS: dict[str, Any] = {
    "Authorize": {"idToken": {"idToken": ALICE, "type": "ISO14443"}},
    "BootNotification": BOOT,
    "ClearedChargingLimit": {"chargingLimitSource": "EMS"},
    "DataTransfer": {"vendorId": "V"},
    "FirmwareStatusNotification": {"status": "Idle"},
    "Get15118EVCertificate": {
        "iso15118SchemaVersion": "urn:x",
        "action": "Install",
        "exiRequest": "AA==",
    },
    "GetCertificateStatus": {
        "ocspRequestData": {
            "hashAlgorithm": "SHA256",
            "issuerNameHash": "00",
            "issuerKeyHash": "00",
            "serialNumber": "1",
            "responderURL": "http://x",
        }
    },
    "LogStatusNotification": {"status": "Idle"},
    "MeterValues": {
        "evseId": 1,
        "meterValue": [{"timestamp": format_timestamp(NOW), "sampledValue": [{"value": 1}]}],
    },
    "NotifyChargingLimit": {"chargingLimit": {"chargingLimitSource": "EMS"}},
    "NotifyCustomerInformation": {
        "data": "x",
        "seqNo": 0,
        "generatedAt": format_timestamp(NOW),
        "requestId": 1,
    },
    "NotifyDisplayMessages": {"requestId": 1},
    "NotifyEVChargingNeeds": {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "DC"}},
    "NotifyEVChargingSchedule": {
        "timeBase": format_timestamp(NOW),
        "evseId": 1,
        "chargingSchedule": {
            "id": 1,
            "chargingRateUnit": "W",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1}],
        },
    },
    "NotifyEvent": {
        "generatedAt": format_timestamp(NOW),
        "seqNo": 0,
        "eventData": [
            {
                "eventId": 1,
                "timestamp": format_timestamp(NOW),
                "trigger": "Alerting",
                "actualValue": "1",
                "eventNotificationType": "HardWiredNotification",
                "component": {"name": "C"},
                "variable": {"name": "V"},
            }
        ],
    },
    "NotifyMonitoringReport": {"requestId": 1, "seqNo": 0, "generatedAt": format_timestamp(NOW)},
    "NotifyReport": {"requestId": 1, "generatedAt": format_timestamp(NOW), "seqNo": 0},
    "PublishFirmwareStatusNotification": {"status": "Idle"},
    "ReportChargingProfiles": {
        "requestId": 1,
        "chargingLimitSource": "CSO",
        "evseId": 1,
        "chargingProfile": [
            {
                "id": 1,
                "stackLevel": 0,
                "chargingProfilePurpose": "TxProfile",
                "chargingProfileKind": "Relative",
                "chargingSchedule": [
                    {
                        "id": 1,
                        "chargingRateUnit": "W",
                        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1}],
                    }
                ],
            }
        ],
    },
    "ReservationStatusUpdate": {"reservationId": 1, "reservationUpdateStatus": "Expired"},
    "SecurityEventNotification": {"type": "StartupOfTheDevice", "timestamp": format_timestamp(NOW)},
    "SignCertificate": {"csr": "x"},
    "StatusNotification": {
        "timestamp": format_timestamp(NOW),
        "connectorStatus": "Available",
        "evseId": 1,
        "connectorId": 1,
    },
    "TransactionEvent": event_payload(0, "Started"),
}


@pytest.mark.parametrize(
    "action", sorted(name for name, action in ACTIONS.items() if action.sender != "csms")
)
def test_every_request_of_a_station_has_a_response_that_fits_its_schema(action: str) -> None:
    double = make_csms_double()
    response_of(double, action, REQUESTS.get(action, {}))
    assert double.complaints == []


# --- Violations by the station -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ([2, "a1", "Heartbeat", {"x": 1}], "ProtocolError"),
        ([2, "a1", "BootNotification", {"reason": 7}], "TypeConstraintViolation"),
        ([2, "a1", "Reset", {"type": "OnIdle"}], "NotImplemented"),
        ([2, "a1", "Fly", {}], "NotImplemented"),
        ([2, "a1"], "RpcFrameworkError"),
    ],
)
def test_an_invalid_call_is_refused_and_recorded(frame: list[Any], code: str) -> None:
    double = make_csms_double()
    [text] = double.receive_frame(json.dumps(frame))
    assert json.loads(text)[0::2][:2] == [4, code] or json.loads(text)[2] == code
    assert len(double.complaints) == 1


def test_the_number_of_recorded_complaints_is_bounded() -> None:
    double = make_csms_double()
    for _ in range(200):
        double.receive_frame("}{")
    assert len(double.complaints) == 100


def test_a_response_without_a_call_is_recorded() -> None:
    double = make_csms_double()
    assert double.receive_frame('[3,"csms-1",{}]') == []
    assert double.complaints == ["response to csms-1, which is not in flight"]


# --- CALLs of the CSMS ---------------------------------------------------------------------------


def test_calls_are_sent_one_at_a_time_in_order_part_4_4_1_1() -> None:
    double = make_csms_double()
    first, first_frames = double.queue_call(RESET)
    second, second_frames = double.queue_call(TriggerMessageRequest(requested_message="Heartbeat"))
    assert first_frames == ['[2,"csms-1","Reset",{"type":"OnIdle"}]']
    assert second_frames == []
    next_frames = double.receive_frame('[3,"csms-1",{"status":"Accepted"}]')
    assert next_frames == ['[2,"csms-2","TriggerMessage",{"requestedMessage":"Heartbeat"}]']
    assert first.response is not None
    assert not second.is_finished
    assert double.receive_frame('[4,"csms-2","NotSupported","no",{}]') == []
    assert (second.response, second.failure) == (None, "NotSupported: no")


def test_an_invalid_response_fails_the_call_and_is_recorded() -> None:
    double = make_csms_double()
    call, _ = double.queue_call(RESET)
    double.receive_frame('[3,"csms-1",{"status":"Maybe"}]')
    assert call.response is None
    assert call.failure is not None
    assert len(double.complaints) == 1


def test_calls_fail_with_the_connection_or_when_abandoned() -> None:
    double = make_csms_double()
    first, _ = double.queue_call(RESET)
    second, _ = double.queue_call(RESET)
    assert double.abandon_call(first, "silent") == ['[2,"csms-2","Reset",{"type":"OnIdle"}]']
    assert first.failure == "silent"
    assert double.abandon_call(first, "again") == []
    double.on_disconnected()
    assert second.failure == "the connection ended first"
    assert double.queue_call(RESET)[1] != []


# --- On the network ------------------------------------------------------------------------------

PASSWORDS = {"CS001": "correct-horse-battery"}
BASIC = (b"Authorization", b"Basic Q1MwMDE6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5")


async def start_csms(nursery: trio.Nursery, double: CsmsDouble) -> CsmsServer:
    async def start(task_status: trio.TaskStatus[CsmsServer]) -> None:
        await serve_csms(double, passwords=PASSWORDS, task_status=task_status)

    server: CsmsServer = await nursery.start(start)
    return server


async def test_requests_of_both_ends_over_a_websocket(nursery: trio.Nursery) -> None:
    with trio.fail_after(20):
        double = make_csms_double()
        server = await start_csms(nursery, double)
        async with open_websocket_url(
            f"{server.url}/CS001", subprotocols=["ocpp2.0.1"], extra_headers=[BASIC]
        ) as socket:
            assert socket.subprotocol == "ocpp2.0.1"
            await socket.send_message(json.dumps([2, "a1", "Heartbeat", {}]))
            assert json.loads(await socket.get_message())[2] == {
                "currentTime": format_timestamp(NOW)
            }
            assert server.is_connected

            responses: list[Datatype] = []

            async def reset() -> None:
                responses.append(await server.send_request(RESET))

            async with trio.open_nursery() as calls:
                calls.start_soon(reset)
                assert json.loads(await socket.get_message())[2] == "Reset"
                await socket.send_message('[3,"csms-1",{"status":"Accepted"}]')
            assert [type(response).__name__ for response in responses] == ["ResetResponse"]

            with pytest.raises(CallFailedError, match=r"Reset: no response for 0\.1 s"):
                await server.send_request(RESET, timeout_s=0.1)
        while server.is_connected:
            await trio.sleep(0.01)
        with pytest.raises(CallFailedError, match="no station is connected"):
            await server.send_request(RESET)
        nursery.cancel_scope.cancel()


async def test_a_call_in_flight_fails_with_the_connection(nursery: trio.Nursery) -> None:
    with trio.fail_after(20):
        server = await start_csms(nursery, make_csms_double())

        async def reset() -> None:
            with pytest.raises(CallFailedError, match="connection ended"):
                await server.send_request(RESET)

        url = f"{server.url}/CS001"
        async with trio.open_nursery() as calls:
            async with open_websocket_url(
                url, subprotocols=["ocpp2.0.1"], extra_headers=[BASIC]
            ) as socket:
                calls.start_soon(reset)
                await socket.get_message()
            await trio.lowlevel.checkpoint()  # the connection ends before the call
        nursery.cancel_scope.cancel()


async def handshake_status(
    server: CsmsServer, path: str, subprotocol: str, authorization: str
) -> int:
    """The HTTP status of a handshake."""
    lines = (
        f"GET /ocpp/{path} HTTP/1.1",
        f"Host: {server.host}:{server.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Sec-WebSocket-Protocol: {subprotocol}",
        f"Authorization: {authorization}",
        "",
        "",
    )
    async with await trio.open_tcp_stream(server.host, server.port) as stream:
        await stream.send_all("\r\n".join(lines).encode())
        response = await stream.receive_some()
    return int(response.split()[1])


@pytest.mark.parametrize(
    ("path", "subprotocol", "authorization", "status"),
    [
        ("CS001", "ocpp2.0.1", BASIC[1].decode(), 101),
        ("CS001", "ocpp1.6, ocpp2.0.1", BASIC[1].decode(), 101),
        ("CS001", "ocpp2.0.1", "", 401),
        ("CS002", "ocpp2.0.1", BASIC[1].decode(), 401),
        ("CS001", "ocpp2.0.1", "Basic !!!", 401),
        ("CS001", "ocpp1.6", BASIC[1].decode(), 400),
    ],
    ids=["valid", "choice", "no_password", "another_identity", "malformed", "another_subprotocol"],
)
async def test_only_a_station_with_its_password_may_connect_a00_fr_204(
    nursery: trio.Nursery, path: str, subprotocol: str, authorization: str, status: int
) -> None:
    with trio.fail_after(20):
        server = await start_csms(nursery, make_csms_double())
        assert await handshake_status(server, path, subprotocol, authorization) == status
        assert server.refused_handshakes == (status != 101)
        nursery.cancel_scope.cancel()


async def test_a_port_in_use_is_an_error(nursery: trio.Nursery) -> None:
    server = await start_csms(nursery, make_csms_double())
    with pytest.raises((OSError, ExceptionGroup)):
        await serve_csms(make_csms_double(), port=server.port)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Basic YTpiOmM=", ("a", "b:c")),
        (b"basic YTpi", ("a", "b")),
        (b"Bearer YTpi", (None, None)),
        (b"Basic YTpi=x", (None, None)),
        (b"Basic /w==", (None, None)),
        (b"Basic YWI=", (None, None)),
        (b"", (None, None)),
    ],
)
def test_credentials_of_an_authorization_header(
    header: bytes, expected: tuple[str | None, str | None]
) -> None:
    assert parse_credentials(header) == expected
