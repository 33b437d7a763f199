"""Whether the product has variable monitoring. Block N."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final

from journal.events import Decision
from station.core.context import Call, CallHandler, Context, call_result
from station.ocpp.messages import Datatype

AVAILABLE: Final = "MonitoringCtrlr.Available"


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
