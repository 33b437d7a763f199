"""The messages that the CSMS has set for the display. Block O.

A message stays through restarts until it is cleared, replaced, over, or its transaction has ended;
each of that is a decision. Whether a stored message is shown now follows from its times, its state
and its priority: `station/core/blocks/o_display_messages.py`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from journal.events import Decision, Entry
from journal.projections.base import Projection


class DisplayMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the CSMS set it; times as RFC 3339, UTC, milliseconds."""

    id: int
    priority: str  # MessagePriorityEnumType
    format: str  # MessageFormatEnumType
    content: str
    language: str | None = None  # RFC 5646
    state: str | None = None  # MessageStateEnumType; None: shown in any
    start_at: str | None = None  # None: shown at once
    end_at: str | None = None  # None: it does not end by itself
    transaction_id: str | None = None  # removed when this transaction ends
    display: str | None = None  # the Display component it names; None: the main display


class DisplayMessageSet(Decision, frozen=True):
    """The CSMS set a message; it replaces one with the same id. O01, O02, O06.FR.01."""

    message: DisplayMessage


class DisplayMessageRemoved(Decision, frozen=True):
    """A message was removed. O01.FR.07, O01.FR.16, O02.FR.02, O05.FR.01."""

    message_id: int
    reason: Literal["Cleared", "ReplacedInFront", "Ended", "TransactionEnded"]


class DisplayMessages(Projection, frozen=True):
    """In the order they were set. The block bounds their number."""

    HANDLES = (DisplayMessageSet, DisplayMessageRemoved)

    messages: tuple[DisplayMessage, ...] = ()

    def apply(self, entry: Entry) -> DisplayMessages:
        match entry.event:
            case DisplayMessageSet(message=message):
                return DisplayMessages((*self._without(message.id), message))
            case DisplayMessageRemoved(message_id=message_id):
                return DisplayMessages(self._without(message_id))
            case _:
                return self

    def by_id(self, message_id: int) -> DisplayMessage | None:
        return next((message for message in self.messages if message.id == message_id), None)

    def _without(self, message_id: int) -> tuple[DisplayMessage, ...]:
        return tuple(message for message in self.messages if message.id != message_id)
