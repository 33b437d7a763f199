"""Every payload that a schema allows survives decoding and encoding; all others are refused."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from functools import cache
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from station.ocpp.messages import (
    ACTIONS,
    Datatype,
    MalformedPayload,
    decode_request,
    decode_response,
    encode,
)
from station.ocpp.messages.j_metering import MeterValuesRequest
from station.ocpp.messages.l_firmware import UpdateFirmwareRequest
from tests.ocpp.messages.schemas import (
    MESSAGES,
    example_payload,
    invalid_payloads,
    schema_of,
    valid_payloads,
)

_WRITER = msgspec.json.Encoder(decimal_format="number")
_READER = msgspec.json.Decoder(float_hook=Decimal)


@cache
def schema_validator(message: str) -> jsonschema.Draft6Validator:
    return jsonschema.Draft6Validator(schema_of(message))


def decode_message(message: str, raw: bytes) -> Datatype:
    if message.endswith("Request"):
        return decode_request(message.removesuffix("Request"), raw)
    return decode_response(message.removesuffix("Response"), raw)


def assert_round_trip(message: str, raw: bytes) -> None:
    schema_validator(message).validate(json.loads(raw))
    encoded = encode(decode_message(message, raw))
    schema_validator(message).validate(json.loads(encoded))
    assert _READER.decode(encoded) == _READER.decode(raw)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_with_all_its_fields_survives_a_round_trip(message: str) -> None:
    schema = schema_of(message)
    assert_round_trip(message, _WRITER.encode(example_payload(schema, schema)))


@pytest.mark.parametrize("message", MESSAGES)
@settings(
    max_examples=10,
    derandomize=True,  # the same examples in every run
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_a_random_valid_message_survives_a_round_trip(message: str, data: st.DataObject) -> None:
    schema = schema_of(message)
    payload = data.draw(valid_payloads(schema, schema))
    assert_round_trip(message, _WRITER.encode(payload))


def test_an_invalid_message_is_refused_by_schema_and_decoder() -> None:
    seen: set[str] = set()  # the violations of a definition are the same wherever it is used
    count = 0
    for message in MESSAGES:
        schema = schema_of(message)
        for violation, payload in invalid_payloads(schema, schema, seen):
            raw = _WRITER.encode(payload)
            assert not schema_validator(message).is_valid(json.loads(raw)), (
                f"{message}: {violation}"
            )
            with pytest.raises(msgspec.ValidationError):
                raise AssertionError(f"{message}: {violation}: {decode_message(message, raw)}")
            count += 1
    assert count > 2500
    assert {"CustomDataType", "IdTokenType", "ChargingProfileType", "VPNType"} <= seen


def test_a_response_may_be_empty() -> None:
    assert encode(decode_response("StatusNotification", b"{}")) == b"{}"


def test_fields_are_encoded_in_the_order_of_the_struct() -> None:
    raw = b'{"customData":{"z":1,"vendorId":"x"},"connectorId":2,"evseId":1}'
    assert encode(decode_request("UnlockConnector", raw)) == (
        b'{"evseId":1,"connectorId":2,"customData":{"z":1,"vendorId":"x"}}'
    )


def test_a_decimal_keeps_its_zeroes_both_ways() -> None:
    raw = b'{"totalCost":2935.600,"transactionId":"t"}'
    assert encode(decode_request("CostUpdated", raw)) == raw


def test_a_number_may_be_an_integer() -> None:
    request = decode_request("CostUpdated", b'{"totalCost":12,"transactionId":"t"}')
    assert encode(request) == b'{"totalCost":12,"transactionId":"t"}'


@pytest.mark.parametrize("text", [b"1.0", b"1e0", b"10E-1", b"0.01e2", b"1.000"])
def test_an_integer_may_be_written_as_a_decimal_or_with_an_exponent(
    text: bytes,
) -> None:
    raw = b'{"evseId":%b,"connectorId":2}' % text
    schema_validator("UnlockConnectorRequest").validate(json.loads(raw))
    assert encode(decode_request("UnlockConnector", raw)) == b'{"evseId":1,"connectorId":2}'


def test_an_integer_written_as_a_decimal_does_not_change_decimals_beside_it() -> None:
    raw = (
        b'{"evseId":1.0,"meterValue":[{"sampledValue":[{"value":2935.601}],'
        b'"timestamp":"2026-11-22T17:25:08Z"}]}'
    )
    request = decode_request("MeterValues", raw)
    assert isinstance(request, MeterValuesRequest)
    assert request.meter_value[0].sampled_value[0].value == Decimal("2935.601")
    assert request.evse_id == 1


@pytest.mark.parametrize("text", [b"1.5", b'"1"', b"true", b"null", b"1e-1", b"9" * 19, b"1e19"])
def test_non_integers_and_integers_over_64_bits_are_refused(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_request("UnlockConnector", b'{"evseId":%b,"connectorId":2}' % text)


@pytest.mark.parametrize(
    "text",
    [b'"1.5"', b'"NaN"', b'"Infinity"', b"true", b"null", b"1e400", b"-1e9999999999999999999"],
)
def test_non_numbers_and_numbers_beyond_a_double_are_refused(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_request("CostUpdated", b'{"totalCost":%b,"transactionId":"t"}' % text)


@pytest.mark.parametrize(
    "moment",
    [
        "2026-02-29T00:00:00Z",
        "2026-11-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T17:60:00Z",
        "2026-11-22T17:25:61Z",
        "2026-11-22T17:25Z",
        "2026-11-22T17:25:08.Z",
        "2026-11-22T17:25:08+0100",
        "2026-11-22T17:25:08+24:00",
        "2026-11-22T17:25:08Z\n",
        " 2026-11-22T17:25:08Z",
        "٢٠٢٦-11-22T17:25:08Z",
        "2026-11-22",
        "now",
        "",
    ],
)
def test_an_impossible_timestamp_is_refused(moment: str) -> None:
    raw = json.dumps({"currentTime": moment}).encode()
    with pytest.raises(msgspec.ValidationError):
        decode_response("Heartbeat", raw)


def test_custom_data_keeps_unknown_content() -> None:
    raw = b'{"customData":{"vendorId":"x","deep":{"list":[1,2.50,null]},"vendor_id":0}}'
    request = decode_request("Heartbeat", raw)
    assert request.custom_data is not None
    assert request.custom_data.vendor_id == "x"
    assert request.custom_data["deep"] == {"list": [1, Decimal("2.50"), None]}
    assert encode(request) == raw


def test_data_of_null_is_decoded_as_absent() -> None:
    assert encode(decode_request("DataTransfer", b'{"vendorId":"x","data":null}')) == (
        b'{"vendorId":"x"}'
    )


def test_a_field_name_with_odd_capitals_keeps_them() -> None:
    raw = b'{"ocspRequestData":{"hashAlgorithm":"SHA256","issuerNameHash":"a",'
    raw += b'"issuerKeyHash":"b","serialNumber":"c","responderURL":"http://o"}}'
    assert encode(decode_request("GetCertificateStatus", raw)) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{}}",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'{"customData":{"vendorId":"\xff"}}',
        b'{"customData":{"vendorId":"\\ud800"}}',
        b"{'customData':1}",
        b'{"customData":{"vendorId":"x","y":NaN}}',
        b'{"customData":{"vendorId":"x","y":' + b"[" * 100_000,
        b'{"customData":{"vendorId":"x","y":' + b'{"a":' * 100_000,
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_invalid_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedPayload):
        decode_request("Heartbeat", raw)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(raw=st.binary(max_size=80))
def test_no_bytes_break_the_decoder(raw: bytes) -> None:
    with suppress(msgspec.ValidationError):
        encode(decode_request("Heartbeat", raw))


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(at=st.integers(min_value=0), byte=st.integers(0, 255))
def test_no_wrong_byte_breaks_the_decoder(at: int, byte: int) -> None:
    schema = schema_of("SetChargingProfileRequest")
    raw = bytearray(_WRITER.encode(example_payload(schema, schema)))
    raw[at % len(raw)] = byte
    with suppress(msgspec.ValidationError):
        encode(decode_request("SetChargingProfile", bytes(raw)))


def test_a_raw_payload_out_of_a_frame_decodes_like_its_bytes() -> None:
    frame = b'[2,"id","UnlockConnector",{"evseId":1,"connectorId":2}]'
    raw = msgspec.json.decode(frame, type=tuple[int, str, str, msgspec.Raw])[3]
    assert decode_request("UnlockConnector", raw) == decode_request(
        "UnlockConnector", b'{"evseId":1,"connectorId":2}'
    )


def test_messages_can_be_compared_and_hashed() -> None:
    schema = schema_of("UpdateFirmwareRequest")
    payload: dict[str, Any] = example_payload(schema, schema)
    del payload["customData"], payload["firmware"]["customData"]
    first, second = (decode_request("UpdateFirmware", _WRITER.encode(payload)) for _ in range(2))
    assert isinstance(first, UpdateFirmwareRequest)
    assert first == second
    assert len({first, second}) == 1


def test_every_action_has_its_sender() -> None:
    senders = {name: action.sender for name, action in ACTIONS.items()}
    assert {name for name, sender in senders.items() if sender == "both"} == {"DataTransfer"}
    assert [senders[name] for name in ("Heartbeat", "TransactionEvent", "SignCertificate")] == [
        "station"
    ] * 3
    assert [senders[name] for name in ("Reset", "GetLog", "CertificateSigned")] == ["csms"] * 3
    assert sum(sender == "station" for sender in senders.values()) == 24
