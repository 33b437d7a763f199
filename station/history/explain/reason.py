"""Text of a decision's reason, from the row that its block declares.

Nothing is decided or inferred here: the row belongs to the code that the decision carries
(`station.core.reasons`), and the values in its text come from the decision and the entries that it
is linked to. Two kinds of decisions have no row of their own. An answer to a CALL has its reason in
its statusInfo or error code, or its status has a row. Why a call is attempted again follows from
the entries of the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from journal.events import Entry, Event
from journal.observations import LinkClosed, LinkOpened, StationStarted
from journal.projections.outbox import CallAttempted, CallAttemptFailed, CallRetryRequested
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from journal.projections.transactions import TransactionStopOrdered
from station.core.block_tables import ANSWER_REASONS, REFUSALS, find_reason
from station.core.outbox_rules import ATTEMPT_REASONS
from station.core.reasons import Reason
from station.transcript.phrases import name_location, reason_suffix

UNREADABLE: Final = "of an entry that cannot be read"


class ReasonText(NamedTuple):
    """Why something was decided, the requirement, and the reason that came before."""

    text: str
    requirement: str = ""  # empty: the reason is no requirement of OCPP
    earlier: str = ""

    def __str__(self) -> str:
        text = f"{self.text} ({self.requirement})" if self.requirement else self.text
        return text + self.earlier


class LinkedEntries(NamedTuple):
    """The entries that a decision directly follows from, as far as they can be read."""

    causes: Sequence[Entry]
    fact: Entry | None  # the first entry of the facts of its reason
    earlier: Entry | None  # the decision that `Reason.after` names
    earlier_linked: LinkedEntries | None


def describe_reason(event: Event, linked: LinkedEntries) -> ReasonText | None:
    """Why an event was decided; None: an observation, or no reason is recorded."""
    match event:
        case CallResultQueued():
            return _describe_call_result(event)
        case CallErrorQueued(error_code=code, error_description=description):
            return ReasonText(code + reason_suffix(description), "Part 4 §4.3")
        case CallAttempted():
            return _describe_attempt(event, linked)
    row = find_reason(event)
    return None if row is None else _describe_row(row, event, linked)


def _describe_row(row: Reason, event: Event, linked: LinkedEntries) -> ReasonText:
    fact = linked.fact.event if linked.fact else None
    if fact is None and ("{cause" in row.text or "{location" in row.text):
        return ReasonText(UNREADABLE, row.requirement)
    requirement = row.requirement
    if row.requirement_of_cause is not None and fact is not None:
        requirement = row.requirement_of_cause(fact)
    is_stop = "{after}" in row.text and isinstance(event, TransactionStopOrdered)
    earlier = _describe_earlier(linked, is_stop=is_stop)
    text = row.text.format_map(
        {
            "event": event,
            "cause": fact,
            "location": name_location(
                getattr(fact, "evse_id", 0), getattr(fact, "connector_id", 0)
            ),
            "reason": reason_suffix(getattr(event, "reason", "")),
            "after": earlier or UNREADABLE,
            **_describe_outage(event, linked.fact),
        }
    )
    has_earlier = earlier and "{after}" not in row.text
    return ReasonText(text, requirement, f", after {earlier}" if has_earlier else "")


def _describe_earlier(linked: LinkedEntries, *, is_stop: bool) -> str:
    """The reason of the decision that this one follows from; empty: there is none.

    Args:
        is_stop: that decision stopped a transaction, and is not only followed by this one.
    """
    if linked.earlier is None or linked.earlier_linked is None:
        return ""
    event = linked.earlier.event
    reason, row = describe_reason(event, linked.earlier_linked), find_reason(event)
    if reason is None or row is None:
        return ""
    if is_stop:
        requirement = ", ".join(filter(None, (row.requirement, row.when_stopped)))
    else:
        requirement = row.when_continued or reason.requirement
    return str(reason._replace(requirement=requirement))


def _describe_outage(event: Event, fact: Entry | None) -> dict[str, str]:
    """How the program was interrupted, and for how long by the clock; empty: it was not."""
    if fact is None or not isinstance(fact.event, StationStarted):
        return {}
    is_power_loss = getattr(event, "stopped_reason", "") == "PowerLoss"
    texts = {
        "outage": "the power supply was lost" if is_power_loss else "the program was not running",
        "clock": "",
    }
    if fact.event.last_entry_at is not None:
        gap_s = (fact.at - datetime.fromisoformat(fact.event.last_entry_at)).total_seconds()
        texts["outage_s"] = f"{gap_s:.0f}"
        texts["clock"] = ": the clock ran backwards" if gap_s < 0 else ""
    return texts


# --- Answers and attempts ------------------------------------------------------------------------


def _describe_call_result(event: CallResultQueued) -> ReasonText | None:
    """The statusInfo of an answer, else what its status means; None: neither is there."""
    match msgspec.json.decode(event.payload):
        case {"statusInfo": {"reasonCode": str(code), **more}}:
            details = str(more.get("additionalInfo", ""))
            requirement = REFUSALS.get((event.action, code), "")
            return ReasonText(code + reason_suffix(details), requirement)
        case {"status": str(status)} if row := ANSWER_REASONS.get((event.action, status)):
            return ReasonText(row.text, row.requirement)
        case _:
            return None


def _describe_attempt(event: CallAttempted, linked: LinkedEntries) -> ReasonText:
    """Why a call is sent now: what ended its previous attempt, else that it was next."""
    code, cause = _attempt_code(event, linked.causes)
    row = ATTEMPT_REASONS[code]
    requirement = row.requirement
    if event.offline and code in ("program_ended", "link_lost"):
        requirement = ATTEMPT_REASONS["first_after_offline"].requirement
    return ReasonText(row.text.format_map({"cause": cause}), requirement)


def _attempt_code(event: CallAttempted, causes: Sequence[Entry]) -> tuple[str, Any]:
    """The code of ATTEMPT_REASONS, and the event that ended the previous attempt."""
    for kinds, code in _RETRY_CODES:
        for cause in causes:
            if isinstance(cause.event, kinds):
                of_transaction = code == "failed" and event.lane == "transaction"
                return ("failed_transaction" if of_transaction else code), cause.event
    return ("first_after_offline" if event.offline else "first"), None


_RETRY_CODES: Final[tuple[tuple[tuple[type[Event], ...], str], ...]] = (
    ((CallAttemptFailed,), "failed"),
    ((CallRetryRequested,), "operator"),
    ((StationStarted,), "program_ended"),
    ((LinkClosed, LinkOpened), "link_lost"),
)
