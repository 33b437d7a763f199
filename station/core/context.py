"""What lies on the table when something is judged?

A case is the product, the memory that already holds the observation, and the observation itself.
Handlers and rules are generators over a case: they yield decisions and do nothing else. They see
the memory as it was when they were called; what they decide is visible to whoever is asked next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from journal.events import Decision, Entry, IdToken, derived_uuid
from journal.projections.outbox import CallQueued, ConnectorStatusSummary
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from journal.state import State
from station.core.device_model.model import DeviceModel, split_list
from station.ocpp.messages import Datatype, encode
from station.ocpp.messages.datatypes import IdTokenType, StatusInfoType
from station.profiles import Profile


class Product(msgspec.Struct, frozen=True):
    """What never changes while the program runs: the profile and the device model it gives."""

    profile: Profile
    device_model: DeviceModel


class Context(msgspec.Struct, frozen=True):
    product: Product
    state: State
    entry: Entry

    @property
    def now(self) -> datetime:
        """The station's wall clock at this entry, UTC."""
        return self.entry.at

    @property
    def uptime_ms(self) -> int:
        return self.entry.uptime_ms

    @property
    def may_send_calls(self) -> bool:
        """Whether calls of our own may go out at all. B01.FR.08, B02.FR.02."""
        return self.state.link.online and self.state.registration.is_accepted

    def variable_text(self, variable: str) -> str | None:
        """What a variable is set to, by its path: `OCPPCommCtrlr.MessageTimeout[Default]`.

        None where the product does not have it. Not for what the station measures.
        """
        definition = self.product.device_model.by_path.get(variable)
        if definition is None:
            return None
        return self.state.variables.values.get(variable, definition.attributes[0].value or "")

    def variable_integer(self, variable: str, default: int = 0) -> int:
        """An integer variable; `absent` where the product does not have it or it is empty."""
        value = self.variable_text(variable)
        return int(value) if value else default

    def variable_boolean(self, variable: str, default: bool = False) -> bool:
        """A boolean variable; `absent` where the product does not have it or it is empty."""
        value = self.variable_text(variable)
        return value == "true" if value else default

    def variable_list(self, variable: str) -> tuple[str, ...]:
        """A list variable; empty where the product does not have it."""
        return split_list(self.variable_text(variable) or "")

    def make_uuid(self, *parts: object) -> str:
        """A UUID of this journal, the same after every replay.

        Where entries were lost, their numbers come again: then the era keeps the names apart.
        """
        era = self.state.health.id_namespace
        return derived_uuid(self.state.journal_id, *((era, *parts) if era else parts))


class Call(msgspec.Struct, frozen=True):
    """A CALL of the CSMS: its messageId, action and payload as text."""

    message_id: str
    action: str
    payload: msgspec.Raw


Rule = Callable[[Context], Iterator[Decision]]
Deadline = Callable[[Context], int | None]  # uptime at which a rule is due
CallHandler = Callable[[Context, Call, Any], Iterator[Decision]]  # of the action's own request

ResultHandler = Callable[[Context, int, Any], Iterator[Decision]]  # the call, its response or None


def encode_raw(message: Datatype) -> msgspec.Raw:
    return msgspec.Raw(encode(message))


def call_result(call: Call, response: Datatype) -> CallResultQueued:
    """A CALLRESULT."""
    return CallResultQueued(call.message_id, call.action, encode_raw(response))


def call_error(call: Call, code: str, description: str) -> CallErrorQueued:
    """A CALLERROR. Part 4 §4.3."""
    return CallErrorQueued(call.message_id, code, description[:255])


def status_info(code: str, text: str | None = None) -> StatusInfoType:
    """Why a request is refused: a code of Part 2 appendix 5 and, where it helps, a sentence."""
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
    """Queue a call beside the transaction lane, unless nobody could hear it and it need not last.

    `keep` is for what must arrive; `OCPPCommCtrlr.QueueAllMessages` asks it for everything.
    `solicited` calls may go before the CSMS accepted us. B02.FR.02.
    """
    keep = keep or ctx.variable_boolean("OCPPCommCtrlr.QueueAllMessages")
    audible = ctx.may_send_calls or (solicited and ctx.state.link.online)
    if audible or keep:
        yield CallQueued(
            lane="general",
            action=action_name(request),
            payload=encode_raw(request),
            keep_when_offline=keep,
            requested_by_csms=solicited,
            connector_status=status,
        )


def action_name(request: Datatype) -> str:
    """The action a request is sent under. Part 4 §4.1.6."""
    return type(request).__name__.removesuffix("Request")


def id_token_from_message(message_id_token: IdTokenType) -> IdToken:
    """An IdToken of a message as the memory keeps it: what came in is already a reference."""
    return IdToken(ref=message_id_token.id_token, type=message_id_token.type)


def id_token_for_message(id_token: IdToken) -> IdTokenType:
    """An IdToken of the memory as a message carries it: the value is put in when it is sent."""
    return IdTokenType(id_token=id_token.ref, type=id_token.type)  # type: ignore[arg-type]
