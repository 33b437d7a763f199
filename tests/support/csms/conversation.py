"""How does the `ocpp` package route what the station asks?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import ocpp.messages
from ocpp.charge_point import camel_to_snake_case
from ocpp.routing import on
from ocpp.v201 import ChargePoint, call_result

from tests.support.csms.answers import ACTIONS

Payload = dict[str, Any]

# Its validation in worker threads would answer CALLs out of order.
ocpp.messages.ASYNC_VALIDATION = False


class CallRouter(ChargePoint):  # type: ignore[misc]  # ocpp carries no types
    """ocpp's charge point with a handler for every action; the answers come from outside."""

    def __init__(
        self,
        identity: str,
        send: Callable[[str], Awaitable[None]],
        answer: Callable[[str, str], Payload],
    ) -> None:
        """
        Args:
            send: takes each answer's text as ocpp made it.
            answer: gives the response payload, by action and messageId of the CALL.
        """
        super().__init__(identity, _SendOnlyConnection(send))
        self.answer = answer


class _SendOnlyConnection:
    """The one method of a connection that ocpp's routing uses."""

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self.send = send


def make_response(action: str, payload: Payload) -> object:
    """ocpp's dataclass for a response payload in OCPP's own spelling."""
    return getattr(call_result, action)(**camel_to_snake_case(payload))


def _make_handler(action: str) -> Callable[..., object]:
    def handle(self: CallRouter, call_unique_id: str, **_: object) -> object:
        return make_response(action, self.answer(action, call_unique_id))

    handle.__name__ = f"on_{action}"  # ocpp finds routes by the name of the method
    routed: Callable[..., object] = on(action)(handle)
    return routed


for _action in ACTIONS:
    setattr(CallRouter, f"on_{_action}", _make_handler(_action))
