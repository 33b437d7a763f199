"""Decision context: product, state and the entry being decided; and what handlers yield with it.

A rule or handler is a generator over a `Context`: it reads the product, the state and the entry,
and yields decisions. It does nothing else, so the same entry in the same state always gives the
same decisions. The state already holds the entry; what the rule itself yields is applied after it
ends.

The functions below the classes build the decisions that most handlers need: the answer to a CALL
(`call_result`, `call_error`, `status_info`) and a CALL of the station (`queue_call`), and convert
idTokens and components from and to messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from journal.events import Decision, Entry, IdToken, derived_uuid
from journal.projections.outbox import CallQueued, ConnectorStatusSummary
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from journal.state import State
from station.core.device_model.model import Component, DeviceModel, split_list
from station.ocpp.messages import Datatype, encode
from station.ocpp.messages.datatypes import ComponentType, EVSEType, IdTokenType, StatusInfoType
from station.profiles import Profile


class Product(msgspec.Struct, frozen=True):
    """What does not change while the program runs: the profile and its device model."""

    profile: Profile
    device_model: DeviceModel


class Context(msgspec.Struct, frozen=True):
    """What a decision may depend on."""

    product: Product
    state: State
    entry: Entry
    clock_step_ms: int = 0  # of the corrections decided because of this entry
    expects_readings: bool = False  # assume that every meter was read just now: `decide_batch`

    @property
    def now(self) -> datetime:
        """The station's wall clock at this entry, UTC; after a correction the corrected one."""
        if not self.clock_step_ms:
            return self.entry.at
        return self.entry.at + timedelta(milliseconds=self.clock_step_ms)

    @property
    def uptime_ms(self) -> int:
        """Uptime of the host at this entry; deadlines run on it."""
        return self.entry.uptime_ms

    def has_reached(self, moment_ms: int) -> bool:
        """Whether the uptime has reached a moment."""
        return self.uptime_ms >= moment_ms

    @property
    def may_send_calls(self) -> bool:
        """Whether the station may send CALLs of its own. B01.FR.08, B02.FR.02."""
        return self.state.link.online and self.state.registration.is_accepted

    def variable_text(self, variable: str) -> str | None:
        """The value of a variable, by its path: `OCPPCommCtrlr.MessageTimeout[Default]`.

        None if the product does not have the variable. Not for variables that are measured.
        """
        definition = self.product.device_model.by_path.get(variable)
        if definition is None:
            return None
        return self.state.variables.values.get(variable, definition.attributes[0].value or "")

    def variable_integer(self, variable: str, default: int = 0) -> int:
        """An integer variable; `default` if the product does not have it or it is empty."""
        value = self.variable_text(variable)
        return int(value) if value else default

    def variable_boolean(self, variable: str, default: bool = False) -> bool:
        """A boolean variable; `default` if the product does not have it or it is empty."""
        value = self.variable_text(variable)
        return value == "true" if value else default

    def variable_list(self, variable: str) -> tuple[str, ...]:
        """A list variable; empty if the product does not have it."""
        return split_list(self.variable_text(variable) or "")

    def make_uuid(self, *parts: object) -> str:
        """A UUID derived from the journal's id and the parts, so replay gives the same one.

        After entries were lost, entry numbers are used again; from then on a namespace in the state
        keeps the UUIDs apart.
        """
        namespace = self.state.health.id_namespace
        return derived_uuid(self.state.journal_id, *((namespace, *parts) if namespace else parts))


class Call(msgspec.Struct, frozen=True):
    """A CALL from the CSMS: its messageId, action and encoded payload."""

    message_id: str
    action: str
    payload: msgspec.Raw


Rule = Callable[[Context], Iterator[Decision]]
Deadline = Callable[[Context], int | None]  # uptime at which a rule is due; None: at no time
CallHandler = Callable[[Context, Call, Any], Iterator[Decision]]  # with the request of the action
ResultHandler = Callable[[Context, int, Any], Iterator[Decision]]  # entry of the CALL; or None


def encode_raw(message: Datatype) -> msgspec.Raw:
    """A message as the payload of a frame."""
    return msgspec.Raw(encode(message))


def call_result(call: Call, response: Datatype) -> CallResultQueued:
    """A CALLRESULT that answers the call."""
    return CallResultQueued(call.message_id, call.action, encode_raw(response))


def call_error(call: Call, code: str, description: str) -> CallErrorQueued:
    """A CALLERROR that answers the call. Part 4 §4.3."""
    return CallErrorQueued(call.message_id, code, description[:255])


def status_info(code: str, text: str | None = None) -> StatusInfoType:
    """The reason of a refusal: a code of Part 2 appendix 5 and, if it helps, a text for people."""
    if text is None:
        return StatusInfoType(reason_code=code)
    return StatusInfoType(reason_code=code, additional_info=text[:512])


def queue_call(
    ctx: Context,
    request: Datatype,
    *,
    keep: bool = False,
    solicited: bool = False,
    status: ConnectorStatusSummary | None = None,
) -> Iterator[CallQueued]:
    """Queue a CALL in the general lane; none if it cannot be sent now and need not be kept.

    Args:
        keep: it must arrive, also after an offline period. `OCPPCommCtrlr.QueueAllMessages` keeps
            every CALL.
        solicited: the CSMS requested it, so it may go before the CSMS has accepted the station.
            B02.FR.02.
        status: the status that the CALL reports, for StatusNotification.
    """
    keep = keep or ctx.variable_boolean("OCPPCommCtrlr.QueueAllMessages")
    can_be_sent = ctx.may_send_calls or (solicited and ctx.state.link.online)
    if can_be_sent or keep:
        yield CallQueued(
            lane="general",
            action=action_name(request),
            payload=encode_raw(request),
            keep_when_offline=keep,
            requested_by_csms=solicited,
            connector_status=status,
        )


def action_name(request: Datatype) -> str:
    """The action that a request is sent under. Part 4 §4.1.6."""
    return type(request).__name__.removesuffix("Request")


def id_token_from_message(message_id_token: IdTokenType) -> IdToken:
    """An IdToken of a received message; its value is a reference already."""
    return IdToken(ref=message_id_token.id_token, type=message_id_token.type)


def id_token_for_message(id_token: IdToken) -> IdTokenType:
    """An IdToken for a message; the reference is replaced by the value when it is sent."""
    return IdTokenType(id_token=id_token.ref, type=id_token.type)  # type: ignore[arg-type]


def component_from_message(component: ComponentType) -> Component:
    """A component of a received message as the device model has it."""
    evse = component.evse
    return Component(
        component.name,
        component.instance or None,
        evse.id if evse else None,
        evse.connector_id if evse else None,
    )


def component_for_message(component: Component) -> ComponentType:
    """A component of the device model for a message."""
    evse = None
    if component.evse_id is not None:
        evse = EVSEType(id=component.evse_id, connector_id=component.connector_id)
    return ComponentType(name=component.name, instance=component.instance, evse=evse)
