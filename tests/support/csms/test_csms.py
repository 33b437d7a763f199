"""The test CSMS receives, answers, disturbs and checks frames as the tests of the station rely on.

The station here is a minimal WebSocket client, so that every frame is written by the test.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest
import trustme
from jsonschema import ValidationError
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.e2e.harness import wait_until
from tests.support.csms import (
    CALLERROR,
    CallErrorReceived,
    Csms,
    FrameRecord,
    ResponseTimeout,
    StationNotConnected,
)
from tests.support.csms.answers import ACTIONS, CsmsResponses
from tests.support.csms.conversation import make_response

BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
NOW = "2026-11-22T12:00:00.000Z"
TOKEN = {"idToken": "04A224B2", "type": "ISO14443"}


def transaction_event(seq_no: int = 0, event_type: str = "Started") -> dict[str, Any]:
    return {
        "eventType": event_type,
        "timestamp": NOW,
        "triggerReason": "Authorized",
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": "t"},
        "idToken": TOKEN,
    }


class FakeStation:
    """A WebSocket client that sends exactly the frames of the test."""

    def __init__(self, csms: Csms, identity: str = "CS001", **options: Any) -> None:
        self.calls = 0
        options.setdefault("subprotocols", [Subprotocol("ocpp2.0.1")])
        self.open = ExitStack()
        self.socket: ClientConnection = self.open.enter_context(
            connect(f"{csms.url}/{identity}", compression=None, proxy=None, **options)
        )

    def __enter__(self) -> FakeStation:
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def send_message(self, *message: Any) -> None:
        self.socket.send(json.dumps(message))

    def receive_message(self, timeout_s: float = 10) -> list[Any]:
        return list(json.loads(self.socket.recv(timeout_s)))

    def send_call(self, action: str, payload: dict[str, Any]) -> str:
        """Send a CALL and return its messageId."""
        self.calls += 1
        message_id = f"{id(self)}-{self.calls}"
        self.send_message(2, message_id, action, payload)
        return message_id

    def call_and_receive(self, action: str, payload: dict[str, Any]) -> list[Any]:
        self.send_call(action, payload)
        return self.receive_message()


@pytest.fixture
def csms() -> Iterator[Csms]:
    with Csms() as csms:
        yield csms


@pytest.fixture
def station(csms: Csms) -> Iterator[FakeStation]:
    with FakeStation(csms) as station:
        csms.wait_connected(10)
        yield station


def call_with_reply(
    csms: Csms, station: FakeStation, action: str, payload: dict[str, Any], reply: list[Any]
) -> Any:
    """The fake station answers one CALL that the CSMS makes on another thread."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(csms.call, action, payload)
        _, message_id, action_received, payload_received = station.receive_message()
        assert (action_received, payload_received) == (action, payload)
        station.send_message(reply[0], message_id, *reply[1:])
        return call.result(10)


def test_a_boot_gets_the_response_that_was_set(csms: Csms, station: FakeStation) -> None:
    csms.responses.boot_status = "Pending"
    csms.responses.boot_interval_s = 7
    csms.responses.clock_offset = timedelta(days=400)
    kind, _, payload = station.call_and_receive("BootNotification", BOOT)
    assert (kind, payload["status"], payload["interval"]) == (3, "Pending", 7)
    ahead = datetime.fromisoformat(payload["currentTime"]) - datetime.now(UTC)
    assert timedelta(days=399) < ahead < timedelta(days=401)
    assert csms.problems == []


def test_an_id_token_gets_the_info_set_for_it(csms: Csms, station: FakeStation) -> None:
    csms.responses.add_id_token(
        "04a224b2", group_id_token="G1", cache_expiry=datetime(2030, 1, 1, tzinfo=UTC)
    )
    info = {
        "status": "Accepted",
        "groupIdToken": {"idToken": "G1", "type": "Central"},
        "cacheExpiryDateTime": "2030-01-01T00:00:00.000Z",
    }
    assert station.call_and_receive("Authorize", {"idToken": TOKEN})[2] == {"idTokenInfo": info}
    assert station.call_and_receive("TransactionEvent", transaction_event())[2] == {
        "idTokenInfo": info
    }
    unknown = {"idToken": {"idToken": "00000000", "type": "ISO14443"}}
    assert station.call_and_receive("Authorize", unknown)[2] == {
        "idTokenInfo": {"status": "Unknown"}
    }
    assert [frame.payload for frame in csms.calls_for("Authorize")][1] == unknown


def test_an_override_takes_precedence(csms: Csms, station: FakeStation) -> None:
    csms.responses.overrides["DataTransfer"] = lambda request: {
        "status": "Accepted",
        "data": request["vendorId"],
    }
    answer = station.call_and_receive("DataTransfer", {"vendorId": "org.example"})[2]
    assert answer == {"status": "Accepted", "data": "org.example"}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_answer_survives_the_spelling_of_ocpp(action: str) -> None:
    from ocpp.charge_point import remove_nones, serialize_as_dict, snake_to_camel_case

    request = {"idToken": TOKEN} if action == "Authorize" else {}
    answer = CsmsResponses().response_to(action, request)
    spelled = snake_to_camel_case(remove_nones(serialize_as_dict(make_response(action, answer))))
    assert {**spelled, "currentTime": None} == {**answer, "currentTime": None}


def test_a_call_gives_the_answer(csms: Csms, station: FakeStation) -> None:
    answer = call_with_reply(csms, station, "ClearCache", {}, [3, {"status": "Accepted"}])
    assert answer == {"status": "Accepted"}
    assert csms.response_times()["ClearCache"].count == 1
    assert 0 < csms.response_times()["ClearCache"].maximum_s < 10
    assert csms.problems == []


def test_a_callerror_is_raised(csms: Csms, station: FakeStation) -> None:
    with pytest.raises(CallErrorReceived, match="ClearCache: NotSupported: no cache"):
        call_with_reply(csms, station, "ClearCache", {}, [4, "NotSupported", "no cache", {}])
    assert csms.problems == []


def test_a_request_against_the_schema_is_not_sent(csms: Csms, station: FakeStation) -> None:
    with pytest.raises(ValidationError):
        csms.call("Reset", {"type": "Sometime"})
    assert csms.next_frame_number() == 0


def test_no_answer_and_no_connection_raise(csms: Csms, station: FakeStation) -> None:
    with pytest.raises(ResponseTimeout, match="within"):
        csms.call("ClearCache", timeout_s=0.05)
    csms.abort_connection()
    csms.wait_disconnected(10)
    with pytest.raises(StationNotConnected):
        csms.call("ClearCache")


def test_raw_text_goes_out_as_it_is(csms: Csms, station: FakeStation) -> None:
    csms.send_raw("{not json")
    assert station.socket.recv(10) == "{not json"
    station.send_message(4, "-1", "RpcFrameworkError", "", {})
    assert csms.wait_for_error(10).error_code == "RpcFrameworkError"
    csms.send_raw('[9,"odd"]')
    station.send_message(4, "odd", "MessageTypeNotSupported", "", {})
    csms.wait_for_error(10, after=3)
    assert csms.problems == []


def test_waiting_finds_past_and_future_calls(csms: Csms, station: FakeStation) -> None:
    station.call_and_receive("Heartbeat", {})
    assert csms.wait_for_call("Heartbeat", timeout_s=10).number == 0
    with pytest.raises(TimeoutError, match="no matching Heartbeat within"):
        csms.wait_for_call("Heartbeat", timeout_s=0.05, after=csms.next_frame_number())
    station.send_call("TransactionEvent", transaction_event(0))
    frame = csms.wait_for_call("TransactionEvent", lambda payload: payload["seqNo"] == 0, 10)
    assert frame.payload == transaction_event(0)


def test_transaction_events_reach_the_ledger(csms: Csms, station: FakeStation) -> None:
    for seq_no, event_type in enumerate(("Started", "Updated", "Ended")):
        station.call_and_receive("TransactionEvent", transaction_event(seq_no, event_type))
    assert csms.ledger.find_problems("t") == []


def test_disturbed_answers(csms: Csms, station: FakeStation) -> None:
    csms.disturb_calls("Heartbeat", copies=0, times=1)
    csms.disturb_calls("Heartbeat", copies=2, times=1)
    csms.disturb_calls("Heartbeat", error="InternalError", times=1)
    csms.disturb_calls("Heartbeat", delay_s=0.2, times=1)
    lost, twice = station.send_call("Heartbeat", {}), station.send_call("Heartbeat", {})
    assert [station.receive_message()[1], station.receive_message()[1]] == [twice, twice]
    assert station.call_and_receive("Heartbeat", {})[2] == "InternalError"
    late, prompt = station.send_call("Heartbeat", {}), station.send_call("Heartbeat", {})
    assert [station.receive_message()[1], station.receive_message()[1]] == [prompt, late]
    assert all(lost != frame.message_id for frame in csms.record.frames if not frame.incoming)
    assert not any("refused" in problem for problem in csms.problems)


def test_a_call_after_one_that_got_no_answer_is_in_order(csms: Csms, station: FakeStation) -> None:
    swallowed = csms.disturb_calls("Heartbeat", copies=0, times=1)
    station.send_call("Heartbeat", {})
    wait_until(lambda: swallowed.times == 0, 10, "swallowed answer")
    assert station.call_and_receive("Heartbeat", {})[0] == 3
    assert csms.problems == []


def test_a_disturbance_applies_to_matching_calls_only(csms: Csms, station: FakeStation) -> None:
    csms.disturb_calls(
        "TransactionEvent", error="InternalError", where=lambda call: call["seqNo"] == 1
    )
    kinds = [
        station.call_and_receive("TransactionEvent", transaction_event(n))[0] for n in range(3)
    ]
    assert kinds == [3, 4, 3]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ([2, "1", "Heartbeat", {"extra": 1}], "Additional properties are not allowed"),
        ([2, "1", "TransactionEvent", {**transaction_event(), "seqNo": "0"}], "seqNo: '0' is not"),
        (
            [2, "1", "TransactionEvent", {**transaction_event(), "timestamp": NOW[:-5] + "Z"}],
            "is not a 'date-time'",
        ),
        ([2, "1", "Nonsense", {}], "unknown action 'Nonsense'"),
        ([2, "1" * 37, "Heartbeat", {}], "messageId of 37 characters"),
        ([2, 1, "Heartbeat", {}], "is no OCPP-J message"),
        ([3, "never-asked", {}], "answers no CALL"),
        ([4, "never-asked", "GenericError", "", {}], "answers a CALL the CSMS never made"),
        ([4, "-1", "SomeError", "", {}], "unknown error code 'SomeError'"),
        ([4, "-1", "GenericError", "x" * 256, {}], "errorDescription over 255"),
    ],
)
def test_a_violation_by_the_station_is_recorded(
    csms: Csms, station: FakeStation, message: list[Any], problem: str
) -> None:
    station.send_message(*message)
    csms.record.wait_until(lambda: bool(csms.problems), 10, "complaint")
    assert problem in csms.problems[0]


def test_a_messageid_used_again_is_noted(csms: Csms, station: FakeStation) -> None:
    for _ in range(2):
        station.send_message(2, "same", "Heartbeat", {})
        station.receive_message()
    assert "uses a messageId again" in csms.problems[0]


def test_a_second_call_before_the_answer_is_noted() -> None:
    record = FrameRecord()
    for message_id in ("1", "2"):
        record.add_frame(f'[2,"{message_id}","Heartbeat",{{}}]', connection=1, incoming=True)
    record.add_frame(
        '[2,"3","Heartbeat",{}]', connection=2, incoming=True
    )  # the link broke between
    assert record.problems == ['[2,"2","Heartbeat",{}]: is sent while [\'1\'] is unanswered']


def test_an_answer_given_twice_is_noted(csms: Csms, station: FakeStation) -> None:
    call_with_reply(csms, station, "ClearCache", {}, [3, {"status": "Accepted"}])
    station.send_message(3, "csms-1", {"status": "Accepted"})
    csms.record.wait_until(lambda: bool(csms.problems), 10, "complaint")
    assert "a second time" in csms.problems[0]


def test_a_wrong_answer_is_noted(csms: Csms, station: FakeStation) -> None:
    call_with_reply(csms, station, "ClearCache", {}, [3, {"status": "Perhaps"}])
    assert "'Perhaps' is not one of" in csms.problems[0]


def test_a_binary_frame_is_noted(csms: Csms, station: FakeStation) -> None:
    station.socket.send(b"[2]")
    csms.record.wait_until(lambda: bool(csms.problems), 10, "complaint")
    assert csms.problems == ["a binary frame of 3 bytes"]


def test_the_right_password_opens(csms: Csms) -> None:
    csms.passwords = {"CS 1": "correct horse battery"}

    def header(password: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"CS 1:{password}".encode()).decode()}

    with pytest.raises(InvalidStatus, match="401"):
        FakeStation(csms, "CS%201")
    with pytest.raises(InvalidStatus, match="401"):
        FakeStation(csms, "CS%201", additional_headers=header("wrong horse"))
    with FakeStation(csms, "CS%201", additional_headers=header("correct horse battery")) as station:
        assert station.call_and_receive("Heartbeat", {})[0] == 3
    assert [(handshake.user, handshake.accepted) for handshake in csms.handshakes] == [
        (None, False),
        ("CS 1", False),
        ("CS 1", True),
    ]


def test_a_missing_subprotocol_is_noted(csms: Csms) -> None:
    with FakeStation(csms, subprotocols=None):
        csms.wait_connected(10)
    assert csms.problems == ["connection 1 without subprotocol ocpp2.0.1"]


def test_refusing_down_and_up(csms: Csms, station: FakeStation) -> None:
    port = csms.port
    csms.stop_listening()
    csms.wait_disconnected(10)
    with pytest.raises(ConnectionClosed):
        station.receive_message()
    with pytest.raises(ConnectionRefusedError):
        FakeStation(csms)
    csms.start_listening()
    assert csms.port == port
    csms.refuse_with = HTTPStatus.SERVICE_UNAVAILABLE
    with pytest.raises(InvalidStatus, match="503"):
        FakeStation(csms)
    csms.refuse_with = None
    with FakeStation(csms) as reconnected:
        assert reconnected.call_and_receive("Heartbeat", {})[0] == 3


def test_closing_politely(csms: Csms, station: FakeStation) -> None:
    csms.close_connection(1001)
    with pytest.raises(ConnectionClosed, match="1001"):
        station.receive_message()


def test_a_paused_csms_reads_nothing_until_it_resumes(csms: Csms, station: FakeStation) -> None:
    csms.pause_io()
    station.send_call("Heartbeat", {})
    with pytest.raises(TimeoutError):
        station.receive_message(0.3)
    assert csms.calls_for("Heartbeat") == []
    csms.resume_io()
    assert station.receive_message()[0] == 3


def test_the_ledger_outlives_the_connection(csms: Csms, station: FakeStation) -> None:
    station.call_and_receive("TransactionEvent", transaction_event(0))
    csms.stop_listening()
    csms.start_listening()
    with FakeStation(csms) as reconnected:
        reconnected.call_and_receive("TransactionEvent", transaction_event(0))
        reconnected.call_and_receive("TransactionEvent", transaction_event(1, "Ended"))
    assert csms.ledger.find_problems("t") == []
    assert csms.ledger.count_duplicates("t") == 1


def test_an_error_frame_is_no_answer_to_the_next_call(csms: Csms, station: FakeStation) -> None:
    station.send_message(4, "-1", "GenericError", "", {})
    csms.wait_for_error(10)
    assert csms.record.frames[0].type == CALLERROR
    assert call_with_reply(csms, station, "ClearCache", {}, [3, {"status": "Accepted"}])


def test_tls_as_the_test_configures_it() -> None:
    authority = trustme.CA()
    server, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    with Csms(tls=server) as csms, FakeStation(csms, ssl=client) as station:
        assert csms.url.startswith("wss://")
        assert station.call_and_receive("Heartbeat", {})[0] == 3
