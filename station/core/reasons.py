"""Reasons of decisions: the rows that blocks declare, and the row of a decision.

A decision that several conditions can lead to records which one it was: a code in its field
`because`. The block that decides has a row for each code in its table `REASONS`, beside the rule,
with the text and the requirement. A decision with one reason has a row without a code; one whose
other fields already distinguish the reasons (a status, a source) selects the row by them.

`station why` prints the text and links the entries of `facts`. It evaluates no rule again: a
release that decides differently changes its rows, and what was recorded keeps its code. Codes are
therefore never renamed and never used for another condition. Entries from before the codes were
recorded have an empty one: no row is found for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Event
from journal.projections.outbox import CallQueued


class Reason(msgspec.Struct, frozen=True):
    """A row: completes "because ...".

    The text may contain `{event.FIELD}` of the decision, `{cause.FIELD}` and `{location}` (EVSE and
    connector) of the first entry of `facts`, and `{after}`: the reason of the decision it follows
    from. Without `{after}` that reason is appended.
    """

    text: str
    requirement: str = ""
    # What held: names of the facts of `station.history.explain.current_entries`
    facts: tuple[str, ...] = ()
    after: type[Decision] | None = None  # a decision among its causes, with a reason of its own
    # Of the end of an authorization: requirement for a transaction that stops, or that continues
    when_stopped: str = ""
    when_continued: str = ""
    # Requirement that depends on the first entry of `facts`
    requirement_of_cause: Callable[[Any], str] | None = None


class ReasonTable(NamedTuple):
    """Rows of a decision by its code, or by what else distinguishes them."""

    rows: Mapping[str, Reason]
    code_of: Callable[[Any], str] = attrgetter("because")

    def find(self, event: object) -> Reason | None:
        return self.rows.get(self.code_of(event))


# Kind of decision, or part of CallQueued -> its reason
Reasons = Mapping[type[msgspec.Struct], Reason | ReasonTable]
# (action, reasonCode in statusInfo of the answer) -> requirement for the refusal
Refusals = Mapping[tuple[str, str], str]
# (action, status of an answer without statusInfo) -> why it has that status
AnswerReasons = Mapping[tuple[str, str], Reason]


def select_reason(reasons: Reasons, event: msgspec.Struct) -> Reason | None:
    """The row of a decision; None: it has none, or its release did not record the code."""
    row = reasons.get(type(event))
    return row.find(event) if isinstance(row, ReasonTable) else row


def is_code_missing(event: Event) -> bool:
    """Whether a decision has a field for its code, and its release recorded none."""
    return getattr(event, "because", None) == ""


def without_new_code(decided: Event | None, recorded: Event | None) -> Event | None:
    """A decision of today, without its code if the one that was recorded has none.

    So a decision of a release that recorded no codes can be compared with that of this release.
    """
    if type(decided) is not type(recorded) or decided is None or recorded is None:
        return decided
    if isinstance(decided, CallQueued) and isinstance(recorded, CallQueued):
        status, old_status = decided.connector_status, recorded.connector_status
        if status is None or old_status is None or old_status.because:
            return decided
        return replace(decided, connector_status=replace(status, because=""))
    return replace(decided, because="") if is_code_missing(recorded) else decided


# The CSMS requested a message with TriggerMessage.
TRIGGERED: Final = Reason("the CSMS requested it", "F06.FR.10")
