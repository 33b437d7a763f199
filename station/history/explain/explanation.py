"""Explanation of an entry or a transaction, for `station why`.

An explanation has a heading, answers (one line each), and sections with the entries that prove
them, in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from journal.events import Entry, Event, Observation
from journal.observations import FrameReceived, FrameSent, LinkClosed, LinkOpened, StationStarted
from journal.projections.authorizations import (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
)
from journal.projections.outbox import (
    CallAttempted,
    CallAttemptFailed,
    CallDelivered,
    CallParked,
    CallQueued,
    CallsDropped,
    TransactionEventSummary,
)
from journal.projections.transactions import TransactionStarted, TransactionStopOrdered
from station.core.block_tables import find_reason
from station.core.reasons import is_code_missing
from station.history.explain.causes import CausalGraph
from station.history.explain.power_limits import describe_limit_at, describe_limit_changes
from station.history.explain.reason import LinkedEntries, ReasonText, describe_reason
from station.transcript.lines import describe_event
from station.transcript.phrases import shorten_id

FetchEntry = Callable[[int], Entry | None]  # None: the entry is archived, missing or unreadable

REASON_NOT_RECORDED: Final = "The release that decided it did not record the reason."
EARLIER_RELEASE: Final = "of the entries below; the release that decided it recorded no reason"

KEY_DECISIONS: Final = (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    TransactionStopOrdered,
)
CLOCK_STEP_MIN_MS: Final = 1_000  # smaller steps are not mentioned
ROUTINE_TRIGGERS: Final = frozenset({"MeterValuePeriodic", "MeterValueClock", "Trigger"})


class ChainEntry(NamedTuple):
    """An entry of a chain of causes, with its direct causes and its reason."""

    seq: int
    entry: Entry | None
    direct_causes: tuple[int, ...]
    reason: ReasonText | None
    is_subject: bool = False


class Section(NamedTuple):
    title: str
    entries: tuple[ChainEntry, ...] = ()
    lines: tuple[str, ...] = ()


class Explanation(NamedTuple):
    heading: str
    answers: tuple[str, ...]
    sections: tuple[Section, ...]


class History:
    """The links of a journal, and access to its entries."""

    def __init__(self, graph: CausalGraph, fetch_entry: FetchEntry) -> None:
        self.graph = graph
        self._fetch_entry = fetch_entry

    def find_entry(self, seq: int) -> Entry | None:
        return self._fetch_entry(seq)

    def find_reason(self, seq: int) -> ReasonText | None:
        """Why an entry was decided, as far as it and its causes can be read."""
        entry = self._fetch_entry(seq)
        return None if entry is None else describe_reason(entry.event, self._find_linked(entry))

    def _find_linked(self, entry: Entry) -> LinkedEntries:
        """The entries that an entry directly follows from, and those of the one it names."""
        causes = [
            cause
            for seq in self.graph.direct_causes(entry.seq)
            if (cause := self._fetch_entry(seq)) is not None
        ]
        row = find_reason(entry.event)
        earlier = _last_of_kind(causes, row.after) if row is not None and row.after else None
        return LinkedEntries(
            causes,
            self._fetch_entry(self.graph.first_fact(entry.seq)),
            earlier,
            self._find_linked(earlier) if earlier else None,
        )

    def chain_entries(self, seqs: list[int], subject_seq: int = 0) -> tuple[ChainEntry, ...]:
        return tuple(
            ChainEntry(
                seq,
                self._fetch_entry(seq),
                self.graph.direct_causes(seq),
                self.find_reason(seq),
                seq == subject_seq,
            )
            for seq in seqs
        )


def _last_of_kind(entries: list[Entry], kind: type[Event]) -> Entry | None:
    return next((entry for entry in reversed(entries) if isinstance(entry.event, kind)), None)


# --- An entry ------------------------------------------------------------------------------------


def explain_entry(history: History, seq: int) -> Explanation:
    """The causes of an entry, back to observations, and its consequences."""
    chain = history.graph.trace_causes(seq)
    consequences = [other for other in _find_consequences(history, seq) if other not in chain]
    entry = history.find_entry(seq)
    description = " ".join(describe_event(entry.event)) if entry else "cannot be read"
    sections = [Section("Causes", history.chain_entries(chain, subject_seq=seq))]
    if consequences:
        sections.append(Section("Consequences", history.chain_entries(consequences)))
    answers = (
        *_answer_for_entry(history, seq, entry),
        *_answer_for_limit(history, seq, entry),
        *_answer_for_decisions(history, chain, consequences),
    )
    return Explanation(f"Entry {seq}: {description}", answers, tuple(sections))


def _find_consequences(history: History, seq: int) -> list[int]:
    """Decisions made for an entry, their messages, and the decisions made for the answers."""
    graph = history.graph
    effects = graph.trace_messages(seq, *graph.find_effects([seq]))
    answers = [effect for effect in effects if _is_kind(history, effect, FrameReceived)]
    return sorted({*effects, *graph.find_effects(answers)})


def _is_kind(history: History, seq: int, *kinds: type[Event]) -> bool:
    entry = history.find_entry(seq)
    return entry is not None and isinstance(entry.event, kinds)


def _answer_for_entry(history: History, seq: int, entry: Entry | None) -> Iterator[str]:
    if entry is None:
        return
    if isinstance(entry.event, FrameReceived) and (links := history.graph.direct_causes(seq)):
        yield f"It answers entry {links[0]}."
    elif isinstance(entry.event, Observation):
        yield "Reported to the station; the station did not decide it."
    elif reason := history.find_reason(seq):
        yield f"Because {reason}."
    elif entry.cause is not None:
        yield f"Because of entry {entry.cause}.{_describe_missing_reason(entry.event)}"
    if isinstance(entry.event, CallQueued):
        yield from _describe_sending(history, seq)


def _answer_for_limit(history: History, seq: int, entry: Entry | None) -> Iterator[str]:
    """Which limit was in force at a reading, or when the station suspended the energy."""
    if entry is not None:
        entries = history.graph.limit_entries
        yield from describe_limit_at(entries, history.find_entry, seq, entry.event)


def _describe_missing_reason(event: Event) -> str:
    return f" {REASON_NOT_RECORDED}" if is_code_missing(event) else ""


def _answer_for_decisions(
    history: History, chain: list[int], consequences: list[int]
) -> Iterator[str]:
    """Reasons of the key decisions among the causes and consequences of an entry."""
    subject_seq = max(chain)
    for seq in (*chain, *consequences):
        entry = history.find_entry(seq)
        if entry is None or seq == subject_seq or not isinstance(entry.event, KEY_DECISIONS):
            continue
        if reason := history.find_reason(seq):
            yield f"Entry {seq} {describe_event(entry.event)[1]}, because {reason}."


def _describe_sending(history: History, call: int) -> Iterator[str]:
    """How often a call was sent, and why again."""
    attempts = find_attempts(history, call)
    yield (
        f"It was {_describe_attempts(history, attempts)}." if attempts else "It has not been sent."
    )
    for attempt in attempts[1:]:
        yield f"Entry {attempt.seq}: {history.find_reason(attempt.seq)}."
    yield from _describe_nondelivery(history, call)


def _describe_nondelivery(history: History, call: int) -> Iterator[str]:
    """Why a call was parked or dropped; nothing if it was delivered after all."""
    outcomes = [entry for seq in history.graph.outcomes(call) if (entry := history.find_entry(seq))]
    for entry in outcomes[-1:]:
        if isinstance(entry.event, CallsDropped | CallParked):
            verb = "parked" if isinstance(entry.event, CallParked) else "dropped"
            yield f"It was {verb}, by entry {entry.seq}: {history.find_reason(entry.seq)}."


def _describe_attempts(history: History, attempts: list[Entry]) -> str:
    """How often a call was sent. An attempt without FrameSent may not have left the program."""
    sent_count = sum(_was_sent(history, attempt.seq) for attempt in attempts)
    if sent_count == len(attempts):
        return f"sent {_format_times(sent_count)}"
    known = (
        f"the journal shows that it was sent {_format_times(sent_count)}"
        if sent_count
        else "the journal does not show whether it was sent"
    )
    return f"tried {_format_times(len(attempts))}; {known}"


def _was_sent(history: History, attempt_seq: int) -> bool:
    """Whether the journal shows that an attempt was sent."""
    return any(
        _is_kind(history, seq, FrameSent, FrameReceived)
        for seq in history.graph.outcomes(attempt_seq)
    )


def _format_times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def find_attempts(history: History, call: int) -> list[Entry]:
    """The attempts at a call, in order."""
    outcomes = (history.find_entry(seq) for seq in history.graph.outcomes(call))
    return [entry for entry in outcomes if entry and isinstance(entry.event, CallAttempted)]


# --- A transaction -------------------------------------------------------------------------------


class _TransactionMessage(NamedTuple):
    call_seq: int
    summary: TransactionEventSummary


def is_disruption(event: Event) -> bool:
    """Whether an event affects transactions without causing decisions: a start, a clock step."""
    return (
        isinstance(event, StationStarted) or abs(getattr(event, "step_ms", 0)) >= CLOCK_STEP_MIN_MS
    )


def explain_transaction(
    history: History, transaction_id: str, disruptions: Iterable[int] = ()
) -> Explanation:
    """Why a transaction started, changed and ended, and its messages to the CSMS.

    Args:
        history: of the whole journal.
        transaction_id: the complete id.
        disruptions: starts and clock steps of the journal, in order; those during the transaction
            are shown.

    Raises:
        LookupError: none of its entries can be read.
    """
    own_entries = [
        history.find_entry(seq) for seq in history.graph.entries_by_transaction[transaction_id]
    ]
    entries = [entry for entry in own_entries if entry is not None]
    if not entries:
        raise LookupError(transaction_id)
    messages = [
        _TransactionMessage(entry.seq, entry.event.transaction_event)
        for entry in entries
        if isinstance(entry.event, CallQueued) and entry.event.transaction_event
    ]
    started = _seqs_of_kind(entries, TransactionStarted)
    stopped = _seqs_of_kind(entries, TransactionStopOrdered)
    ended = [message.call_seq for message in messages if message.summary.event_type == "Ended"]
    last = ended[-1] if ended else history.graph.last_seq
    during = [seq for seq in disruptions if entries[0].seq < seq < last]
    shown: set[int] = set()
    sections = [
        _build_section(
            history, "Start", [*started, *(message.call_seq for message in messages[:1])], shown
        ),
        _build_section(history, "Changes", [*_find_changes(entries, messages), *during], shown),
        _build_section(history, "End", [*stopped, *ended], shown),
        Section("Messages to the CSMS", lines=tuple(_message_lines(history, messages))),
    ]
    return Explanation(
        _transaction_heading(transaction_id, entries, bool(ended)),
        (
            *_answer_for_transaction(history, started, stopped, ended, messages),
            *describe_limit_changes(
                history.graph.limit_entries,
                history.find_entry,
                next((each.summary.evse_id for each in messages if each.summary.evse_id), 0),
                entries[0].seq,
                last,
            ),
            *_describe_disruptions(history, during),
        ),
        tuple(section for section in sections if section.entries or section.lines),
    )


def _seqs_of_kind(entries: list[Entry], kind: type[Event]) -> list[int]:
    return [entry.seq for entry in entries if isinstance(entry.event, kind)]


def _build_section(history: History, title: str, seqs: list[int], shown: set[int]) -> Section:
    """The causes of these entries, without entries of an earlier section."""
    new = [seq for seq in history.graph.trace_causes(*seqs) if seq not in shown]
    shown.update(new)
    return Section(title, history.chain_entries(new))


def _find_changes(entries: list[Entry], messages: list[_TransactionMessage]) -> Iterator[int]:
    """Changes between start and end; samples only if the charging state changed."""
    charging_state = None
    for message in messages:
        summary = message.summary
        is_change = (
            summary.trigger_reason not in ROUTINE_TRIGGERS
            or summary.charging_state != charging_state
        )
        charging_state = summary.charging_state
        if summary.event_type == "Updated" and is_change:
            yield message.call_seq
    for entry in entries:
        if not isinstance(entry.event, CallQueued | TransactionStarted | TransactionStopOrdered):
            yield entry.seq


def _describe_disruptions(history: History, seqs: list[int]) -> Iterator[str]:
    """Starts and clock steps during the transaction."""
    restarts = [seq for seq in seqs if _is_kind(history, seq, StationStarted)]
    clock_steps = [seq for seq in seqs if seq not in restarts]
    if restarts:
        yield f"The program restarted while it was open: {_format_entry_list(restarts)}."
    if clock_steps:
        yield f"The clock was corrected while it was open: {_format_entry_list(clock_steps)}."


def _format_entry_list(seqs: list[int]) -> str:
    return f"{'entry' if len(seqs) == 1 else 'entries'} {', '.join(map(str, seqs))}"


def _transaction_heading(transaction_id: str, entries: list[Entry], has_ended: bool) -> str:
    evse_ids = (
        getattr(entry.event, "evse_id", 0) or _evse_of_call(entry.event) for entry in entries
    )
    location = next((f"EVSE {evse_id}" for evse_id in evse_ids if evse_id), "no EVSE")
    first, last = (f"{entry.at:%Y-%m-%d %H:%M:%S}" for entry in (entries[0], entries[-1]))
    return (
        f"Transaction {transaction_id} at {location}, {first} to {last if has_ended else 'now'} UTC"
    )


def _evse_of_call(event: Event) -> int:
    return (
        event.transaction_event.evse_id
        if isinstance(event, CallQueued) and event.transaction_event
        else 0
    )


def _answer_for_transaction(
    history: History,
    started: list[int],
    stopped: list[int],
    ended: list[int],
    messages: list[_TransactionMessage],
) -> Iterator[str]:
    for seq in started:
        yield f"It started because {history.find_reason(seq) or EARLIER_RELEASE}."
    for seq in stopped:
        yield f"It ended because {history.find_reason(seq) or EARLIER_RELEASE}."
    if not ended:
        yield "It has not ended." if not stopped else "TransactionEvent Ended is not queued yet."
    outcomes = Counter(_call_outcome(history, message.call_seq) for message in messages)
    answered = outcomes.pop(DELIVERED, 0)
    others = "".join(f"; {_count_with_verb(count)} {text}" for text, count in outcomes.items())
    yield f"The CSMS has answered {answered} of its {len(messages)} messages{others}."
    for message in messages:
        attempts = find_attempts(history, message.call_seq)
        if len(attempts) > 1:
            attempts_text = _describe_attempts(history, attempts)
            seq_no = message.summary.seq_no
            yield f"seqNo {seq_no} was {attempts_text}: see entry {message.call_seq}."


def _count_with_verb(count: int) -> str:
    return "1 is" if count == 1 else f"{count} are"


# --- Messages ------------------------------------------------------------------------------------

DELIVERED: Final = "delivered"


def _call_outcome(history: History, call: int) -> str:
    """The final outcome of a call."""
    outcome = "not sent yet"
    for seq in history.graph.trace_messages(call):
        match history.find_entry(seq):
            case Entry(event=CallDelivered()):
                return DELIVERED
            case Entry(event=CallParked(reason=reason)):
                outcome = f"parked, {reason}"
            case Entry(event=CallsDropped(reason=reason)):
                outcome = f"dropped, {reason}"
            case Entry(event=CallAttempted()):
                outcome = "not answered yet"
    return outcome


def _message_lines(history: History, messages: list[_TransactionMessage]) -> Iterator[str]:
    for call_seq, summary in messages:
        state = f", {summary.charging_state}" if summary.charging_state else ""
        yield (
            f"seqNo {summary.seq_no} {summary.event_type} ({summary.trigger_reason}{state}), "
            f"call {call_seq}: {_call_outcome(history, call_seq)}"
        )
        for number, attempt in enumerate(find_attempts(history, call_seq), 1):
            yield f"  attempt {number}, {_attempt_line(history, attempt)}"


def _attempt_line(history: History, attempt: Entry) -> str:
    event = attempt.event
    assert isinstance(event, CallAttempted)
    offline = ", marked offline" if event.offline else ""
    return (
        f"entry {attempt.seq}, {attempt.at:%H:%M:%S}, as {shorten_id(event.message_id)}{offline}: "
        f"{_attempt_outcome(history, attempt.seq)}"
    )


def _attempt_outcome(history: History, attempt_seq: int) -> str:
    """The outcome of an attempt. An answer of the CSMS takes precedence over a lost link."""
    outcome = "no answer yet"
    for seq in history.graph.outcomes(attempt_seq):
        match history.find_entry(seq):
            case Entry(event=CallDelivered()):
                return outcome
            case Entry(event=FrameReceived() as frame):
                outcome = f"entry {seq}, {describe_event(frame)[1]}"
            case Entry(event=CallAttemptFailed(reason=reason)):
                outcome = f"entry {seq}, failed: {reason}"
            case Entry(event=LinkClosed() | LinkOpened()):
                outcome = f"entry {seq}, the link was lost before the answer"
            case Entry(event=StationStarted()):
                outcome = f"entry {seq}, the program ended before the answer"
    return outcome
