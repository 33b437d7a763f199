"""Messages of block P: vendor-specific data."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from station.ocpp.messages.datatypes import StatusInfoType
from station.ocpp.messages.enums import DataTransferStatusEnumType
from station.ocpp.messages.primitives import Datatype, Maybe


class DataTransferRequest(Datatype, frozen=True):
    """Data outside of OCPP, as agreed between vendor and CSMS. P01, P02."""

    vendor_id: Annotated[str, Meta(max_length=255)]
    message_id: Maybe[Annotated[str, Meta(max_length=50)]] = None
    data: Maybe[Any] = None  # any JSON; null reads as absent


class DataTransferResponse(Datatype, frozen=True):
    """Status and data of the response."""

    status: DataTransferStatusEnumType
    status_info: Maybe[StatusInfoType] = None
    data: Maybe[Any] = None  # any JSON; null reads as absent
