"""Messages of block L: firmware."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.datatypes import StatusInfoType
from station.ocpp.messages.enums import (
    FirmwareStatusEnumType,
    GenericStatusEnumType,
    PublishFirmwareStatusEnumType,
    UnpublishFirmwareStatusEnumType,
    UpdateFirmwareStatusEnumType,
)
from station.ocpp.messages.primitives import Datatype, Integer, Maybe, Timestamp


class FirmwareType(Datatype, frozen=True):
    """Location of firmware, and when to download and install it. L01, L02."""

    location: Annotated[str, Meta(max_length=512)]
    retrieve_date_time: Timestamp
    install_date_time: Maybe[Timestamp] = None
    signing_certificate: Maybe[Annotated[str, Meta(max_length=5500)]] = None  # PEM
    signature: Maybe[Annotated[str, Meta(max_length=800)]] = None  # base64


class UpdateFirmwareRequest(Datatype, frozen=True):
    """Download and install firmware. L01, L02."""

    request_id: Integer
    firmware: FirmwareType
    retries: Maybe[Integer] = None
    retry_interval: Maybe[Integer] = None  # s


class UpdateFirmwareResponse(Datatype, frozen=True):
    """Whether it will be tried, and whether it replaces another update."""

    status: UpdateFirmwareStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class FirmwareStatusNotificationRequest(Datatype, frozen=True):
    """Status of an update. L01, L02."""

    status: FirmwareStatusEnumType
    request_id: Maybe[Integer] = None  # of the update; absent only when Idle. L01.FR.20


class FirmwareStatusNotificationResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class PublishFirmwareRequest(Datatype, frozen=True):
    """Publish firmware for other stations. L03; Local Controllers only."""

    location: Annotated[str, Meta(max_length=512)]
    checksum: Annotated[str, Meta(max_length=32)]  # MD5 in hex
    request_id: Integer
    retries: Maybe[Integer] = None
    retry_interval: Maybe[Integer] = None  # s


class PublishFirmwareResponse(Datatype, frozen=True):
    """Whether it will be tried."""

    status: GenericStatusEnumType
    status_info: Maybe[StatusInfoType] = None


class PublishFirmwareStatusNotificationRequest(Datatype, frozen=True):
    """Status of publishing. L03."""

    status: PublishFirmwareStatusEnumType
    # where it is published
    location: Maybe[
        Annotated[tuple[Annotated[str, Meta(max_length=512)], ...], Meta(min_length=1)]
    ] = None
    request_id: Maybe[Integer] = None


class PublishFirmwareStatusNotificationResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""


class UnpublishFirmwareRequest(Datatype, frozen=True):
    """Stop publishing firmware. L04; Local Controllers only."""

    checksum: Annotated[str, Meta(max_length=32)]  # MD5 in hex


class UnpublishFirmwareResponse(Datatype, frozen=True):
    """Whether it was published, and still is."""

    status: UnpublishFirmwareStatusEnumType
