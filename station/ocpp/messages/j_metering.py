"""Messages of block J: meter values outside of transactions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import MeterValueType
from station.ocpp.messages.primitives import Datatype, Integer


class MeterValuesRequest(Datatype, frozen=True):
    """Readings outside of any transaction. J01."""

    evse_id: Integer  # 0: the main meter
    meter_value: Annotated[tuple[MeterValueType, ...], Meta(min_length=1)]


class MeterValuesResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""
