"""Whether the product has variable monitoring; limits and components of its messages. Block N."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final

from journal.events import Decision
from station.core.context import Call, CallHandler, Context, call_error, call_result
from station.core.device_model.model import Component
from station.ocpp.messages import Datatype
from station.ocpp.messages.datatypes import ComponentType, EVSEType

AVAILABLE: Final = "MonitoringCtrlr.Available"
ITEMS_PER_MESSAGE: Final = "MonitoringCtrlr.ItemsPerMessage[{}]"
BYTES_PER_MESSAGE: Final = "MonitoringCtrlr.BytesPerMessage[{}]"


def is_supported(ctx: Context) -> bool:
    """Whether the product has variable monitoring. DM-3."""
    return ctx.variable_boolean(AVAILABLE)


def requires_monitoring(
    refuse: Callable[[Any], Datatype],
) -> Callable[[CallHandler], CallHandler]:
    """A decorator of handlers: without monitoring the response is `refuse(request)`."""

    def decorate(handler: CallHandler) -> CallHandler:
        @wraps(handler)
        def checked_handler(ctx: Context, call: Call, request: Any) -> Iterator[Decision]:
            if is_supported(ctx):
                yield from handler(ctx, call, request)
            else:
                yield call_result(call, refuse(request))

        return checked_handler

    return decorate


def check_message_size(ctx: Context, call: Call, items: int) -> Decision | None:
    """A CALLERROR for a message over its limits; None: it is within. N04.FR.09, N06.FR.06/07."""
    items_max = ctx.variable_integer(ITEMS_PER_MESSAGE.format(call.action))
    if items_max and items > items_max:
        return call_error(call, "OccurrenceConstraintViolation", f"at most {items_max} items")
    bytes_max = ctx.variable_integer(BYTES_PER_MESSAGE.format(call.action))
    if bytes_max and len(call.payload) > bytes_max:
        return call_error(call, "FormatViolation", f"at most {bytes_max} bytes")
    return None


def component_of(component: ComponentType) -> Component:
    """A component of a message as the device model has it."""
    evse = component.evse
    return Component(
        component.name,
        component.instance or None,
        evse.id if evse else None,
        evse.connector_id if evse else None,
    )


def component_for_message(component: Component) -> ComponentType:
    """A component of the device model as a message has it."""
    evse = None
    if component.evse_id is not None:
        evse = EVSEType(id=component.evse_id, connector_id=component.connector_id)
    return ComponentType(name=component.name, instance=component.instance, evse=evse)
