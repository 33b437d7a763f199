"""Are our structs what the official JSON schemas say, to the last limit?"""

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


def test_every_message_of_ocpp_is_there_and_no_other() -> None:
    assert set(MESSAGES) == schema_names()
    assert len(ACTIONS) == 64


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_what_its_schema_says(message: str) -> None:
    assert shape_of_struct(struct_of(message)) == schema_shape(message)


def test_every_list_of_words_has_the_name_the_order_and_the_spelling_of_its_schema() -> None:
    ours = {name: get_args(alias) for name, alias in vars(enums).items() if name[-4:] == "Type"}
    theirs = {
        name: tuple(part["enum"])
        for message in MESSAGES
        for name, part in schema_of(message).get("definitions", {}).items()
        if "enum" in part
    }
    assert ours == theirs


@pytest.mark.parametrize("message", MESSAGES)
def test_a_schema_with_anything_changed_is_noticed(message: str) -> None:
    ours = shape_of_struct(struct_of(message))
    changed = list(schema_mutants(schema_of(message)))
    assert changed
    for what, schema in changed:
        assert shape_of(schema, schema, message) != ours, what


class Faithful(Datatype, frozen=True):
    type: ResetEnumType
    evse_id: Maybe[Integer] = None


class WithAnotherName(Datatype, frozen=True):
    type: ResetEnumType
    evse: Maybe[Integer] = None


class WithOneMore(Faithful, frozen=True):
    more: Maybe[Integer] = None


class WithOneLess(Datatype, frozen=True):
    type: ResetEnumType


class WithOtherWords(Datatype, frozen=True):
    type: enums.OperationalStatusEnumType
    evse_id: Maybe[Integer] = None


class WithAnyText(Datatype, frozen=True):
    type: str
    evse_id: Maybe[Integer] = None


class WithItRequired(Datatype, frozen=True):
    type: ResetEnumType
    evse_id: Integer


class WithABound(Datatype, frozen=True):
    type: ResetEnumType
    evse_id: Maybe[Annotated[int, Meta(ge=0, le=2**63 - 1)]] = None


class WithAMoment(Datatype, frozen=True):
    type: ResetEnumType
    evse_id: Maybe[Annotated[str, Meta(max_length=36)]] = None


class WithUnknownFields(Faithful, frozen=True, forbid_unknown_fields=False):
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


def test_a_struct_that_says_the_same_has_the_same_shape() -> None:
    assert shape_as_reset(Faithful) == schema_shape("ResetRequest") == shape_as_reset(ResetRequest)


@pytest.mark.parametrize(
    "kind",
    [
        WithAnotherName,
        WithOneMore,
        WithOneLess,
        WithOtherWords,
        WithAnyText,
        WithItRequired,
        WithABound,
        WithAMoment,
        WithUnknownFields,
        WithAnotherCase,
        WithoutCustomData,
        WithClosedCustomData,
    ],
)
def test_a_struct_that_drifted_is_noticed(kind: type[msgspec.Struct]) -> None:
    assert shape_as_reset(kind) != schema_shape("ResetRequest")


class Nullable(Datatype, frozen=True):
    type: ResetEnumType
    evse_id: int | None = None


class WithADefault(Datatype, frozen=True):
    type: ResetEnumType = "Immediate"


@pytest.mark.parametrize("kind", [Nullable, WithADefault])
def test_a_struct_of_a_kind_no_schema_asks_for_is_refused(kind: type[msgspec.Struct]) -> None:
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
