"""What do both ends say to each other that OCPP has no message for? (Block P)

`HANDLERS_BY_VENDOR` names whom the station understands, and which of their messages. A vendor extension adds a
row; the product as certified has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision, Event
from journal.observations import DataTransferRequested
from station.core.context import Call, CallHandler, Context, Rule, call_result, queue_call
from station.ocpp.messages.p_data_transfer import DataTransferRequest, DataTransferResponse

HANDLERS_BY_VENDOR: Final[
    dict[str, dict[str | None, CallHandler]]
] = {}  # vendorId -> messageId -> handler


def data_transfer(ctx: Context, call: Call, request: DataTransferRequest) -> Iterator[Decision]:
    """Pass on to whoever understands it. P01.FR.05, P01.FR.06."""
    vendor = HANDLERS_BY_VENDOR.get(request.vendor_id)
    handler = vendor.get(request.message_id) if vendor is not None else None
    if vendor is None:
        yield call_result(call, DataTransferResponse(status="UnknownVendorId"))
    elif handler is None:
        yield call_result(call, DataTransferResponse(status="UnknownMessageId"))
    else:
        yield from handler(ctx, call, request)


def on_data_transfer_ordered(ctx: Context) -> Iterator[Decision]:
    """Say what an operator wants said; not worth keeping for a CSMS that is not there. P02."""
    order = ctx.entry.event
    assert isinstance(order, DataTransferRequested)
    request = DataTransferRequest(
        vendor_id=order.vendor_id,
        message_id=order.message_id,
        data=None if bytes(order.data) == b"null" else order.data,
    )
    yield from queue_call(ctx, request)


CALLS: dict[str, CallHandler] = {"DataTransfer": data_transfer}
OBSERVED: Final[dict[type[Event], Rule]] = {DataTransferRequested: on_data_transfer_ordered}
