"""What do both ends say to each other that OCPP has no message for? (Block P)

`VENDORS` names whom the station understands, and which of their messages. A vendor extension adds a
row; the product as certified has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.observations import DataTransferOrdered
from journal.terms import Decision, Event
from station.case import Call, Case, Handler, Rule, answer, say
from station.messages.p_data_transfer import DataTransferRequest, DataTransferResponse

VENDORS: Final[dict[str, dict[str | None, Handler]]] = {}  # vendorId -> messageId -> handler


def data_transfer(case: Case, call: Call, request: DataTransferRequest) -> Iterator[Decision]:
    """Pass on to whoever understands it. P01.FR.05, P01.FR.06."""
    vendor = VENDORS.get(request.vendor_id)
    handler = vendor.get(request.message_id) if vendor is not None else None
    if vendor is None:
        yield answer(call, DataTransferResponse(status="UnknownVendorId"))
    elif handler is None:
        yield answer(call, DataTransferResponse(status="UnknownMessageId"))
    else:
        yield from handler(case, call, request)


def ordered(case: Case) -> Iterator[Decision]:
    """Say what an operator wants said; not worth keeping for a CSMS that is not there. P02."""
    order = case.entry.event
    assert isinstance(order, DataTransferOrdered)
    request = DataTransferRequest(
        vendor_id=order.vendor_id,
        message_id=order.message_id,
        data=None if bytes(order.data) == b"null" else order.data,
    )
    yield from say(case, request)


CALLS: dict[str, Handler] = {"DataTransfer": data_transfer}
OBSERVED: Final[dict[type[Event], Rule]] = {DataTransferOrdered: ordered}
