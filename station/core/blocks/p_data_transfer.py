"""DataTransfer in both directions. Block P.

`HANDLERS_BY_VENDOR` has the vendor extensions of the station: a handler for each vendorId and
messageId. The certified product has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision, Event
from journal.observations import DataTransferRequested
from station.core.context import Call, CallHandler, Context, Rule, call_result, queue_call
from station.core.reasons import AnswerReasons, Reason
from station.ocpp.messages.p_data_transfer import DataTransferRequest, DataTransferResponse

# vendorId -> messageId -> handler
HANDLERS_BY_VENDOR: Final[dict[str, dict[str | None, CallHandler]]] = {}


def data_transfer(ctx: Context, call: Call, request: DataTransferRequest) -> Iterator[Decision]:
    """Run the handler of a vendor extension, or reject. P01.FR.05, P01.FR.06."""
    vendor = HANDLERS_BY_VENDOR.get(request.vendor_id)
    handler = vendor.get(request.message_id) if vendor is not None else None
    if vendor is None:
        yield call_result(call, DataTransferResponse(status="UnknownVendorId"))
    elif handler is None:
        yield call_result(call, DataTransferResponse(status="UnknownMessageId"))
    else:
        yield from handler(ctx, call, request)


def on_data_transfer_ordered(ctx: Context) -> Iterator[Decision]:
    """Queue the DataTransfer that an operator ordered; it is not kept when offline. P02."""
    order = ctx.entry.event
    assert isinstance(order, DataTransferRequested)
    request = DataTransferRequest(
        vendor_id=order.vendor_id,
        message_id=order.message_id,
        data=None if bytes(order.data) == b"null" else order.data,
    )
    yield from queue_call(ctx, request)


CALLS: Final[dict[str, CallHandler]] = {"DataTransfer": data_transfer}
OBSERVED: Final[dict[type[Event], Rule]] = {DataTransferRequested: on_data_transfer_ordered}
ANSWER_REASONS: Final[AnswerReasons] = {
    ("DataTransfer", "UnknownMessageId"): Reason(
        "that vendor has no such messageId here", "P01.FR.06"
    ),
    ("DataTransfer", "UnknownVendorId"): Reason(
        "the station has no extension of that vendor", "P01.FR.05"
    ),
}
CALL_REASONS: Final = {"DataTransfer": Reason("an operator requested it")}
