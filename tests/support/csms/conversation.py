"""Routing of the station's CALLs by the `ocpp` package."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import ocpp.messages
from ocpp.charge_point import camel_to_snake_case
from ocpp.routing import on
from ocpp.v201 import ChargePoint, call_result

from tests.support.csms.answers import ACTIONS

Payload = dict[str, Any]

# ocpp's validation in worker threads would answer CALLs out of order.
ocpp.messages.ASYNC_VALIDATION = False


class CallRouter(ChargePoint):  # type: ignore[misc]  # ocpp carries no types
    """ocpp's ChargePoint with a handler for every action; `answer` supplies the responses."""

    def __init__(
        self,
        identity: str,
        send: Callable[[str], Awaitable[None]],
        answer: Callable[[str, str], Payload],
    ) -> None:
        """
        Args:
            send: sends the text of each CALLRESULT or CALLERROR that ocpp made.
            answer: returns the response payload, by action and messageId of the CALL.
        """
        super().__init__(identity, _SendOnlyConnection(send))
        self.answer = answer


class _SendOnlyConnection:
    """The one method of a connection that ocpp's routing uses."""

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self.send = send


def make_response(action: str, payload: Payload) -> object:
    """ocpp's dataclass of a response payload that has OCPP's field names."""
    return getattr(call_result, action)(**camel_to_snake_case(payload))


def _make_handler(action: str) -> Callable[..., object]:
    def handle(self: CallRouter, call_unique_id: str, **_: object) -> object:
        return make_response(action, self.answer(action, call_unique_id))

    handle.__name__ = f"on_{action}"  # ocpp finds routes by the name of the method
    routed: Callable[..., object] = on(action)(handle)
    return routed


for _action in ACTIONS:
    setattr(CallRouter, f"on_{_action}", _make_handler(_action))
