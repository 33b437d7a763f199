"""Whether the product has smart charging; the answers of one that has not; refusals.

Smart charging exists if the product accepts limits in A or W (SC-2.1, SC-2.2 of Part 5). Without it
every request is refused with the response of `requires_smart_charging`, and there is no
SmartChargingCtrlr.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final, NamedTuple

from journal.events import Decision
from station.core.context import Call, CallHandler, Context, call_error, call_result, status_info
from station.ocpp.messages import Datatype
from station.ocpp.messages.datatypes import StatusInfoType

ENABLED: Final = "SmartChargingCtrlr.Enabled"
UNSUPPORTED_REQUEST: Final = status_info("UnsupportedRequest")


class Refusal(NamedTuple):
    """Why a request is refused: a reason code of Part 2 appendix 5, and a text for people."""

    reason_code: str
    text: str

    def as_status_info(self) -> StatusInfoType:
        return status_info(self.reason_code, self.text)


def is_supported(ctx: Context) -> bool:
    """Whether the product has smart charging."""
    return bool(ctx.product.profile.charging_rate_units)


def is_enabled(ctx: Context) -> bool:
    """Whether it has smart charging, and the CSMS has not disabled it."""
    return ctx.variable_boolean(ENABLED)


def requires_smart_charging(refusal: Datatype | None) -> Callable[[CallHandler], CallHandler]:
    """A decorator of handlers: without smart charging the request is answered with `refusal`.

    Args:
        refusal: the response; None: CALLERROR NotSupported.
    """

    def decorate(handler: CallHandler) -> CallHandler:
        @wraps(handler)
        def checked_handler(ctx: Context, call: Call, request: Any) -> Iterator[Decision]:
            if is_supported(ctx):
                yield from handler(ctx, call, request)
            elif refusal is None:
                yield call_error(
                    call, "NotSupported", f"{call.action} is not supported by this station"
                )
            else:
                yield call_result(call, refusal)

        return checked_handler

    return decorate
