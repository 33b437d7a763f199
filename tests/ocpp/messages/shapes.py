"""The shapes of the message structs, comparable with those of the schemas."""

from __future__ import annotations

from typing import Any

import msgspec.inspect as mi

from station.ocpp.messages.primitives import TIMESTAMP_PATTERN, CustomDataType, Number
from tests.ocpp.messages.schemas import Shape

_CUSTOM_DATA: Shape = {
    "object": "CustomDataType",
    "open": True,
    "fields": {"vendorId": {"required": True, "string": True, "max": CustomDataType.VENDOR_ID_MAX}},
}
_CUSTOM: dict[Any, Shape] = {Number: {"number": True}, CustomDataType: _CUSTOM_DATA}


def shape_of_struct(kind: type[Any]) -> Shape:
    return _shape_of_type(mi.type_info(kind))


def _shape_of_type(info: mi.Type) -> Shape:
    match info:
        case mi.StructType(cls=cls, fields=fields, forbid_unknown_fields=closed):
            return {
                "object": cls.__name__,
                "open": not closed,
                "fields": {field.encode_name: _shape_of_field(field) for field in fields},
            }
        case mi.VarTupleType(item_type=item, min_length=low, max_length=high):
            return {"array": _shape_of_type(item), "min": low, "max": high}
        case mi.LiteralType(values=values):
            return {"words": sorted(values)}
        case mi.StrType(pattern=pattern) if pattern == TIMESTAMP_PATTERN:
            return {"format": "date-time"}
        case mi.StrType(min_length=None, max_length=high, pattern=None):
            return {"string": True, "max": high}
        case mi.IntType(gt=None, lt=None, ge=low, le=high, multiple_of=None):
            return {"integer": True, "min": low, "max": high}
        case mi.BoolType():
            return {"boolean": True}
        case mi.AnyType():
            return {"anything": True}
        case mi.CustomType(cls=cls):
            return _CUSTOM[cls]
        case _:
            raise AssertionError(f"no message should hold {info}")


def _shape_of_field(field: mi.Field) -> Shape:
    assert field.required or field.default is None, f"{field.name} is not None when absent"
    return {"required": field.required} | _shape_of_type(field.type)
