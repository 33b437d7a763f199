"""Answers to actions that the product does not support.

If the response has a status for a refusal, that status with a reason code of Part 2 appendix 5;
otherwise, or if the specification requires it, a CALLERROR NotSupported (Part 4 §4.3). An action
that is supported is in CALLS of its block and not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision
from station.core.context import Call, CallHandler, Context, call_result, status_info
from station.ocpp.messages import Datatype
from station.ocpp.messages.l_firmware import PublishFirmwareResponse, UnpublishFirmwareResponse

UNSUPPORTED_REQUEST: Final = status_info("UnsupportedRequest")
NOT_ENABLED: Final = status_info("NotEnabled")
NOT_FOUND: Final = status_info("NotFound")


def _fixed_response(response: Datatype) -> CallHandler:
    """A handler that gives the same response to every request."""

    def handler(ctx: Context, call: Call, request: Datatype) -> Iterator[Decision]:
        yield call_result(call, response)

    return handler


_RESPONSES: Final[dict[str, Datatype]] = {
    # L03: only for Local Controllers
    "PublishFirmware": PublishFirmwareResponse(status="Rejected", status_info=UNSUPPORTED_REQUEST),
    # L04: no firmware was published
    "UnpublishFirmware": UnpublishFirmwareResponse(status="NoFirmware"),
}

CALLS: Final[dict[str, CallHandler]] = {
    **{action: _fixed_response(response) for action, response in _RESPONSES.items()},
}
