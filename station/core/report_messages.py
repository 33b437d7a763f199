"""Reports to the CSMS: limits of their requests, and the messages they are divided into. B, K, N.

`DeviceDataCtrlr` and `MonitoringCtrlr` limit the items and bytes of a message by its action. A
request over its limits is refused with a CALLERROR. A report is divided by the limits of its
request, so that each part fits a message, and every part is a CALL of the general lane.

While parts of a report wait, another report of the same action is refused (`is_report_queued`), so
that the lane, and what a CSMS can make the station compute, stay bounded (P6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from journal.events import Decision
from journal.projections.outbox import CallQueued
from station.core.context import Call, Context, call_error, component_from_message, status_info
from station.core.device_model.reports import ReportFilter
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.datatypes import ComponentVariableType

REPORT_QUEUED: Final = status_info("InvalidMessageSeq", "an earlier report is still being sent")
REPORT_BYTES: Final = 60_000  # of one message, if the device model has no limit
# Bytes of a message around its items: action, messageId, requestId, generatedAt, seqNo and tbc at
# their longest.
MESSAGE_OVERHEAD: Final = 192


class MessageLimits(NamedTuple):
    """The variables that limit a message; 0, or no such variable: no limit."""

    items: str
    bytes: str


def limits_of_message(controller: str, action: str) -> MessageLimits:
    """The limits of an action in a controller: `DeviceDataCtrlr` or `MonitoringCtrlr`."""
    return MessageLimits(
        f"{controller}.ItemsPerMessage[{action}]", f"{controller}.BytesPerMessage[{action}]"
    )


def check_message_size(
    ctx: Context, call: Call, items: int, limits: MessageLimits
) -> Decision | None:
    """A CALLERROR for a request over its limits; None: it is within.

    B06.FR.16, B06.FR.17, B08.FR.17, B08.FR.18, N02.FR.07, N04.FR.09, N06.FR.06, N06.FR.07.
    """
    items_max = ctx.variable_integer(limits.items)
    if items_max and items > items_max:
        return call_error(call, "OccurrenceConstraintViolation", f"at most {items_max} items")
    bytes_max = ctx.variable_integer(limits.bytes)
    if bytes_max and len(call.payload) > bytes_max:
        return call_error(call, "FormatViolation", f"at most {bytes_max} bytes")
    return None


def filter_of_request(item: ComponentVariableType) -> ReportFilter:
    """What a componentVariable leaves out matches all. B08.FR.20 to 25, N02.FR.16 to 21."""
    return ReportFilter(
        component_from_message(item.component),
        item.variable.name if item.variable else None,
        item.variable.instance if item.variable else None,
    )


def is_report_queued(ctx: Context, action: str) -> bool:
    """Whether parts of an earlier report wait."""
    return ctx.state.outbox.general_count(action) > 0


def queue_numbered_report(
    ctx: Context,
    action: str,
    request_id: int,
    field: str,
    items: Sequence[bytes],
    limits: MessageLimits,
) -> Iterator[Decision]:
    """Queue a report in parts that each fit a message, numbered from 0.

    B07.FR.03, B07.FR.04, B07.FR.10, B08.FR.03, B08.FR.04, B08.FR.14, N02.FR.03, N02.FR.04,
    N02.FR.09.

    Args:
        action: NotifyReport or NotifyMonitoringReport.
        field: of the message, for the items.
        items: as they are encoded.
        limits: of the request.
    """
    parts = split_into_messages(
        [len(item) for item in items],
        ctx.variable_integer(limits.items, default=len(items)),
        ctx.variable_integer(limits.bytes, default=REPORT_BYTES),
    )
    payloads = (
        {
            "requestId": request_id,
            "generatedAt": format_timestamp(ctx.now),
            "seqNo": seq_no,
            "tbc": seq_no < len(parts) - 1,
            field: [msgspec.Raw(items[index]) for index in part],
        }
        for seq_no, part in enumerate(parts)
    )
    yield from queue_report_messages(ctx, action, payloads)


def queue_report_messages(
    ctx: Context, action: str, payloads: Iterable[Mapping[str, Any]]
) -> Iterator[Decision]:
    """Queue the messages of a report that the CSMS requested."""
    for payload in payloads:
        yield CallQueued(
            lane="general",
            action=action,
            payload=msgspec.Raw(msgspec.json.encode(payload)),
            keep_when_offline=ctx.variable_boolean("OCPPCommCtrlr.QueueAllMessages"),
            requested_by_csms=True,  # B02.FR.02
        )


def split_into_messages(
    sizes: Sequence[int], items_max: int, bytes_max: int, overhead: int = MESSAGE_OVERHEAD
) -> list[range]:
    """Divide items among messages, keeping their order.

    Args:
        sizes: bytes of each item as it will be encoded.
        items_max: items per message.
        bytes_max: bytes per message. An item that is larger than that is sent alone, because a
            report without it would be worse.
        overhead: bytes of a message without items.

    Returns:
        The indices of each message's items; no items: no message.
    """
    parts: list[range] = []
    start, used = 0, overhead
    for index, size in enumerate(sizes):
        comma = 1 if index > start else 0
        full = index - start >= items_max or used + comma + size > bytes_max
        if index > start and full:
            parts.append(range(start, index))
            start, used, comma = index, overhead, 0
        used += comma + size
    if sizes:
        parts.append(range(start, len(sizes)))
    return parts
