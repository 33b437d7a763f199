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

from journal.projections.outbox import CallQueued, StatusMark
from journal.projections.replies import CallAnswered, CallRefused
from journal.state import State
from journal.terms import Decision, Entry, IdToken, named
from station.devicemodel import DeviceModel, members
from station.messages import Datatype, encode
from station.messages.datatypes import IdTokenType, StatusInfoType
from station.profiles import Profile


class Product(msgspec.Struct, frozen=True):
    """What never changes while the program runs: the profile and the device model it gives."""

    profile: Profile
    model: DeviceModel


class Case(msgspec.Struct, frozen=True):
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
    def may_speak(self) -> bool:
        """Whether calls of our own may go out at all. B01.FR.08, B02.FR.02."""
        return self.state.links.online and self.state.registration.accepted

    def text(self, variable: str) -> str | None:
        """What a variable is set to, by its path: `OCPPCommCtrlr.MessageTimeout[Default]`.

        None where the product does not have it. Not for what the station measures.
        """
        definition = self.product.model.by_path.get(variable)
        if definition is None:
            return None
        return self.state.variables.values.get(variable, definition.attributes[0].value or "")

    def integer(self, variable: str, absent: int = 0) -> int:
        """An integer variable; `absent` where the product does not have it or it is empty."""
        value = self.text(variable)
        return int(value) if value else absent

    def flag(self, variable: str, absent: bool = False) -> bool:
        """A boolean variable; `absent` where the product does not have it or it is empty."""
        value = self.text(variable)
        return value == "true" if value else absent

    def members(self, variable: str) -> tuple[str, ...]:
        """A list variable; empty where the product does not have it."""
        return members(self.text(variable) or "")

    def name(self, *parts: object) -> str:
        """A UUID of this journal, the same after every replay.

        Where entries were lost, their numbers come again: then the era keeps the names apart.
        """
        era = self.state.condition.era
        return named(self.state.journal_id, *((era, *parts) if era else parts))


class Call(msgspec.Struct, frozen=True):
    """A CALL of the CSMS: its messageId, action and payload as text."""

    message_id: str
    action: str
    payload: msgspec.Raw


Rule = Callable[[Case], Iterator[Decision]]
Handler = Callable[[Case, Call, Any], Iterator[Decision]]  # of the action's own request

Result = Callable[[Case, int, Any], Iterator[Decision]]  # the call, its response or None


def raw(message: Datatype) -> msgspec.Raw:
    return msgspec.Raw(encode(message))


def answer(call: Call, response: Datatype) -> CallAnswered:
    """A CALLRESULT."""
    return CallAnswered(call.message_id, call.action, raw(response))


def refuse(call: Call, code: str, description: str) -> CallRefused:
    """A CALLERROR. Part 4 §4.3."""
    return CallRefused(call.message_id, code, description[:255])


def reason(code: str, text: str | None = None) -> StatusInfoType:
    """Why a request is refused: a code of Part 2 appendix 5 and, where it helps, a sentence."""
    if text is None:
        return StatusInfoType(reason_code=code)
    return StatusInfoType(reason_code=code, additional_info=text[:512])


def say(
    case: Case,
    request: Datatype,
    *,
    keep: bool = False,
    solicited: bool = False,
    status: StatusMark | None = None,
) -> Iterator[CallQueued]:
    """Queue a call beside the transaction lane, unless nobody could hear it and it need not last.

    `keep` is for what must arrive; `OCPPCommCtrlr.QueueAllMessages` asks it for everything.
    `solicited` calls may go before the CSMS accepted us. B02.FR.02.
    """
    keep = keep or case.flag("OCPPCommCtrlr.QueueAllMessages")
    audible = case.may_speak or (solicited and case.state.links.online)
    if audible or keep:
        yield CallQueued(
            lane="rest",
            action=action_of(request),
            payload=raw(request),
            keep=keep,
            solicited=solicited,
            status=status,
        )


def action_of(request: Datatype) -> str:
    """The action a request is sent under. Part 4 §4.1.6."""
    return type(request).__name__.removesuffix("Request")


def token_of(id_token: IdTokenType) -> IdToken:
    """An IdToken of a message as the memory keeps it: what came in is already a reference."""
    return IdToken(ref=id_token.id_token, type=id_token.type)


def token_type(id_token: IdToken) -> IdTokenType:
    """An IdToken of the memory as a message carries it: the value is put in when it is sent."""
    return IdTokenType(id_token=id_token.ref, type=id_token.type)  # type: ignore[arg-type]
