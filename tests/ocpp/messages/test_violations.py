"""A CALLERROR has the right code and the path of the violation, and never the value."""

from __future__ import annotations

import msgspec
import pytest

from station.ocpp.messages import MalformedPayload, decode_request
from station.ocpp.messages.violations import DESCRIPTION_MAX, Violation, describe_violation
from tests.ocpp.messages.schemas import MESSAGES, invalid_payloads, schema_of
from tests.ocpp.messages.test_round_trip import _WRITER, decode_message

FORMAT, TYPE = "FormatViolation", "TypeConstraintViolation"
OCCURRENCE, PROPERTY = "OccurrenceConstraintViolation", "PropertyConstraintViolation"
PROTOCOL = "ProtocolError"


def violation_of(action: str, raw: bytes) -> Violation:
    with pytest.raises(msgspec.ValidationError) as caught:
        decode_request(action, raw)
    return describe_violation(caught.value)


@pytest.mark.parametrize(
    ("action", "raw", "code", "description"),
    [
        ("Reset", b"{", FORMAT, "cannot be read: Input data was truncated"),
        ("Reset", b"[]", PROTOCOL, "expected object, got array"),
        ("Reset", b'{"type":"OnIdle","evse":1}', PROTOCOL, "$: has no field evse"),
        ("Reset", b"{}", OCCURRENCE, "$.type: missing"),
        (
            "GetVariables",
            b'{"getVariableData":[]}',
            OCCURRENCE,
            "$.getVariableData: expected length >= 1",
        ),
        ("Reset", b'{"type":1}', TYPE, "$.type: expected string, got integer"),
        ("Reset", b'{"type":null}', TYPE, "$.type: expected string, got null"),
        (
            "Reset",
            b'{"type":"OnIdle","evseId":"1"}',
            TYPE,
            "$.evseId: expected integer, got string",
        ),
        (
            "Reset",
            b'{"type":"OnIdle","evseId":1.5}',
            TYPE,
            "$.evseId: expected integer, got number",
        ),
        (
            "ClearVariableMonitoring",
            b'{"id":[1,true]}',
            TYPE,
            "$.id[1]: expected integer, got boolean",
        ),
        (
            "CostUpdated",
            b'{"totalCost":"1","transactionId":"t"}',
            TYPE,
            "$.totalCost: expected number, got string",
        ),
        (
            "CostUpdated",
            b'{"totalCost":true,"transactionId":"t"}',
            TYPE,
            "$.totalCost: expected number, got boolean",
        ),
        ("Heartbeat", b'{"customData":7}', TYPE, "$.customData: expected object, got integer"),
        (
            "Heartbeat",
            b'{"customData":{"vendorId":7}}',
            TYPE,
            "$.customData.vendorId: expected string, got integer",
        ),
        (
            "Heartbeat",
            b'{"customData":{"vendorID":"x"}}',
            OCCURRENCE,
            "$.customData.vendorId: missing",
        ),
        ("Reset", b'{"type":"Never"}', PROPERTY, "$.type: not one of the values listed for it"),
        (
            "GetTransactionStatus",
            b'{"transactionId":"%b"}' % (b"x" * 37),
            PROPERTY,
            "$.transactionId: expected length <= 36",
        ),
        (
            "Heartbeat",
            b'{"customData":{"vendorId":"%b"}}' % (b"x" * 256),
            PROPERTY,
            "$.customData.vendorId: expected length <= 255",
        ),
        (
            "ClearDisplayMessage",
            b'{"id":%b}' % (b"9" * 30),
            PROPERTY,
            "$.id: expected <= 9223372036854775807",
        ),
        (
            "ClearDisplayMessage",
            b'{"id":%b}' % (b"9" * 6000),
            PROPERTY,
            "$.id: number out of range",
        ),
        (
            "CostUpdated",
            b'{"totalCost":1e999,"transactionId":"t"}',
            PROPERTY,
            "$: number out of range",
        ),
        (
            "GetLog",
            b'{"logType":"SecurityLog","requestId":1,"log":{"remoteLocation":"x","oldestTimestamp":"now"}}',
            PROPERTY,
            "$.log.oldestTimestamp: expected an RFC 3339 date-time",
        ),
    ],
)
def test_each_violation_has_its_code_and_path(
    action: str, raw: bytes, code: str, description: str
) -> None:
    assert violation_of(action, raw) == (code, description)


def test_an_endlessly_nested_payload_is_a_format_violation() -> None:
    raw = b'{"vendorId":"x","data":' + b"[" * 100_000
    assert violation_of("DataTransfer", raw) == (FORMAT, "cannot be read: nested too deeply")


def test_a_description_fits_into_a_callerror() -> None:
    code, description = violation_of("Reset", b'{"%b":1}' % (b"x" * 9000))
    assert code == PROTOCOL
    assert len(description) == DESCRIPTION_MAX
    assert description.endswith("xxx…")


@pytest.mark.parametrize("name", ["x` - at `$.y", "{0}", "a\nb", "`", ""])
def test_an_unknown_field_of_any_name_is_a_protocol_error(name: str) -> None:
    assert violation_of("Reset", msgspec.json.encode({name: 1})).code == PROTOCOL


SECRET = "hunter2-hunter2-hunter2"


@pytest.mark.parametrize(
    ("action", "raw"),
    [
        ("Reset", {"type": SECRET}),
        ("GetLog", {"log": {"remoteLocation": f"ftp://u:{SECRET}@h/" * 99}}),
        ("ReserveNow", {"expiryDateTime": SECRET}),
        ("SetNetworkProfile", {"configurationSlot": SECRET}),
        ("Heartbeat", {"customData": SECRET}),
        ("Heartbeat", {"customData": {"vendorId": SECRET * 99}}),
        ("CostUpdated", {"totalCost": SECRET}),
    ],
)
def test_no_description_has_a_value_of_the_payload(action: str, raw: object) -> None:
    assert "hunter2" not in violation_of(action, msgspec.json.encode(raw)).description


def test_every_violation_of_a_schema_has_a_known_kind() -> None:
    seen: set[str] = set()
    codes = set()
    for message in MESSAGES:
        schema = schema_of(message)
        for description, payload in invalid_payloads(schema, schema, seen):
            with pytest.raises(msgspec.ValidationError) as caught:
                decode_message(message, _WRITER.encode(payload))
            code, description = describe_violation(caught.value)
            assert not description.endswith("invalid value"), f"{message}: {description}"
            codes.add(code)
    assert codes == {TYPE, OCCURRENCE, PROPERTY, PROTOCOL}


def test_an_unknown_violation_still_gets_an_answer() -> None:
    error = msgspec.ValidationError("Something of a later msgspec: hunter2 - at `$.key`")
    assert describe_violation(error) == (PROPERTY, "$.key: invalid value")
    assert describe_violation(MalformedPayload("whatever")).code == FORMAT
