"""Every message struct has exactly the shape of its official JSON schema."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import msgspec
import pytest
from msgspec import Meta

from station.ocpp.messages import ACTIONS, enums
from station.ocpp.messages.b_provisioning import ResetRequest
from station.ocpp.messages.enums import ResetEnumType
from station.ocpp.messages.primitives import CustomDataType, Datatype, Integer, Maybe
from tests.ocpp.messages.schemas import MESSAGES, schema_mutants, schema_names, schema_of, shape_of
from tests.ocpp.messages.shapes import shape_of_struct


def struct_of(message: str) -> type[Datatype]:
    side = "Request" if message.endswith("Request") else "Response"
    action = ACTIONS[message.removesuffix(side)]
    return action.request if side == "Request" else action.response


def schema_shape(message: str) -> dict[str, Any]:
    schema = schema_of(message)
    return shape_of(schema, schema, message)


def test_the_messages_are_exactly_those_of_ocpp() -> None:
    assert set(MESSAGES) == schema_names()
    assert len(ACTIONS) == 64


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_has_the_shape_of_its_schema(message: str) -> None:
    assert shape_of_struct(struct_of(message)) == schema_shape(message)


def test_every_enumeration_has_the_name_order_and_spelling_of_its_schema() -> None:
    actual = {name: get_args(alias) for name, alias in vars(enums).items() if name[-4:] == "Type"}
    expected = {
        name: tuple(part["enum"])
        for message in MESSAGES
        for name, part in schema_of(message).get("definitions", {}).items()
        if "enum" in part
    }
    assert actual == expected


@pytest.mark.parametrize("message", MESSAGES)
def test_any_change_of_a_schema_is_detected(message: str) -> None:
    shape = shape_of_struct(struct_of(message))
    changed = list(schema_mutants(schema_of(message)))
    assert changed
    for change, schema in changed:
        assert shape_of(schema, schema, message) != shape, change


class Equal(Datatype, frozen=True):
    type: ResetEnumType
    evse_id: Maybe[Integer] = None


class WithAnotherName(Datatype, frozen=True):
    type: ResetEnumType
    evse: Maybe[Integer] = None


class WithExtraField(Equal, frozen=True):
    more: Maybe[Integer] = None


class WithMissingField(Datatype, frozen=True):
    type: ResetEnumType


class WithOtherEnumeration(Datatype, frozen=True):
    type: enums.OperationalStatusEnumType
    evse_id: Maybe[Integer] = None


class WithString(Datatype, frozen=True):
    type: str
    evse_id: Maybe[Integer] = None


class WithRequiredField(Datatype, frozen=True):
    type: ResetEnumType
    evse_id: Integer


class WithABound(Datatype, frozen=True):
    type: ResetEnumType
    evse_id: Maybe[Annotated[int, Meta(ge=0, le=2**63 - 1)]] = None


class WithTimestamp(Datatype, frozen=True):
    type: ResetEnumType
    evse_id: Maybe[Annotated[str, Meta(max_length=36)]] = None


class WithUnknownFields(Equal, frozen=True, forbid_unknown_fields=False):
    pass


class WithAnotherCase(Datatype, frozen=True, rename="pascal"):
    type: ResetEnumType
    evse_id: Maybe[Integer] = None


class WithoutCustomData(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    type: ResetEnumType
    evse_id: Maybe[Integer] = None


class WithClosedCustomData(WithoutCustomData, frozen=True):
    custom_data: Maybe[Annotated[str, Meta(max_length=255)]] = None


def shape_as_reset(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return shape_of_struct(kind) | {"object": "ResetRequest"}


def test_an_equal_struct_has_the_same_shape() -> None:
    assert shape_as_reset(Equal) == schema_shape("ResetRequest") == shape_as_reset(ResetRequest)


@pytest.mark.parametrize(
    "kind",
    [
        WithAnotherName,
        WithExtraField,
        WithMissingField,
        WithOtherEnumeration,
        WithString,
        WithRequiredField,
        WithABound,
        WithTimestamp,
        WithUnknownFields,
        WithAnotherCase,
        WithoutCustomData,
        WithClosedCustomData,
    ],
)
def test_any_change_of_a_struct_is_detected(kind: type[msgspec.Struct]) -> None:
    assert shape_as_reset(kind) != schema_shape("ResetRequest")


class Nullable(Datatype, frozen=True):
    type: ResetEnumType
    evse_id: int | None = None


class WithADefault(Datatype, frozen=True):
    type: ResetEnumType = "Immediate"


@pytest.mark.parametrize("kind", [Nullable, WithADefault])
def test_null_and_defaults_are_refused_in_structs(kind: type[msgspec.Struct]) -> None:
    with pytest.raises(AssertionError):
        shape_of_struct(kind)


def test_every_struct_is_frozen_and_writes_no_absent_field() -> None:
    kinds = {struct_of(message) for message in MESSAGES}
    for kind in kinds:
        config = kind.__struct_config__
        assert config.frozen, kind
        assert config.omit_defaults, kind


def test_custom_data_is_the_last_field_of_every_type() -> None:
    for message in MESSAGES:
        assert struct_of(message).__struct_encode_fields__[-1] == "customData"
    assert issubclass(CustomDataType, dict)
