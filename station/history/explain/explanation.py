"""What is told to whoever asks why: about an entry, and about a whole transaction?

An account is a heading, its answers in a line each, and the entries that prove them, in order.
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
from station.history.explain.causes import CausalGraph
from station.history.explain.decision_reasons import explain_decision
from station.history.explain.reason import Reason
from station.transcript.lines import describe_event
from station.transcript.phrases import shorten_id

FetchEntry = Callable[[int], Entry | None]  # None: the entry is archived, missing or unreadable

KEY_DECISIONS: Final = (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    TransactionStopOrdered,
)
CLOCK_STEP_MIN_MS: Final = 1_000  # by which a clock moves before anybody wonders
ROUTINE_TRIGGERS: Final = frozenset({"MeterValuePeriodic", "MeterValueClock", "Trigger"})


class ChainEntry(NamedTuple):
    """An entry of a chain: what it follows from at once, and why it was decided."""

    seq: int
    entry: Entry | None
    direct_causes: tuple[int, ...]
    reason: Reason | None
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
    """The links of a journal and the entries themselves."""

    def __init__(self, graph: CausalGraph, fetch_entry: FetchEntry) -> None:
        self.graph = graph
        self._fetch_entry = fetch_entry

    def find_entry(self, seq: int) -> Entry | None:
        return self._fetch_entry(seq)

    def find_reason(self, seq: int) -> Reason | None:
        """Why an entry was decided, as far as it and what it follows from can be read."""
        entry = self._fetch_entry(seq)
        if entry is None:
            return None
        behind = [
            found for one in self.graph.direct_causes(seq) if (found := self._fetch_entry(one))
        ]
        return explain_decision(entry, behind)

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


# --- An entry ------------------------------------------------------------------------------------


def explain_entry(history: History, seq: int) -> Explanation:
    """Why an entry is there, back to what was observed, and what came of it."""
    chain = history.graph.trace_causes(seq)
    came = [one for one in _find_consequences(history, seq) if one not in chain]
    entry = history.find_entry(seq)
    said = " ".join(describe_event(entry.event)) if entry else "it cannot be read"
    sections = [Section("Causes", history.chain_entries(chain, subject_seq=seq))]
    if came:
        sections.append(Section("Consequences", history.chain_entries(came)))
    answers = (
        *_answer_for_entry(history, seq, entry),
        *_answer_for_decisions(history, chain, came),
    )
    return Explanation(f"Entry {seq}: {said}", answers, tuple(sections))


def _find_consequences(history: History, seq: int) -> list[int]:
    """What was decided for it at once, what became of that on the wire, and of the answers."""
    causes = history.graph
    came = causes.trace_messages(seq, *causes.find_effects([seq]))
    heard = [one for one in came if _is_kind(history, one, FrameReceived)]
    return sorted({*came, *causes.find_effects(heard)})


def _is_kind(history: History, seq: int, *kinds: type[Event]) -> bool:
    entry = history.find_entry(seq)
    return entry is not None and isinstance(entry.event, kinds)


def _answer_for_entry(history: History, seq: int, entry: Entry | None) -> Iterator[str]:
    if entry is None:
        return
    if isinstance(entry.event, FrameReceived) and (links := history.graph.direct_causes(seq)):
        yield f"It answers entry {links[0]}."
    elif isinstance(entry.event, Observation):
        yield "This was observed, not decided."
    elif why := history.find_reason(seq):
        yield f"Because {why}."
    elif entry.cause is not None:
        yield f"Because of entry {entry.cause}."
    if isinstance(entry.event, CallQueued):
        yield from _describe_sending(history, seq)


def _answer_for_decisions(
    history: History, chain: list[int], consequences: list[int]
) -> Iterator[str]:
    """The decisions that people ask about, where they stand around the entry that was asked for."""
    asked = max(chain)
    for seq in (*chain, *consequences):
        entry = history.find_entry(seq)
        if entry is None or seq == asked or not isinstance(entry.event, KEY_DECISIONS):
            continue
        if why := history.find_reason(seq):
            yield f"Entry {seq} {describe_event(entry.event)[1]}, because {why}."


def _describe_sending(history: History, call: int) -> Iterator[str]:
    """How often a call was sent, and why more than once."""
    attempts = find_attempts(history, call)
    yield (
        f"It was {_describe_attempts(history, attempts)}." if attempts else "It has not been sent."
    )
    for attempt in attempts[1:]:
        yield f"Entry {attempt.seq}: {history.find_reason(attempt.seq)}."
    yield from _describe_nondelivery(history, call)


def _describe_nondelivery(history: History, call: int) -> Iterator[str]:
    """Why a call is not, or was not, delivered; nothing where it was after all."""
    found = [entry for seq in history.graph.outcomes(call) if (entry := history.find_entry(seq))]
    for entry in found[-1:]:
        if isinstance(entry.event, CallsDropped | CallParked):
            what = "parked" if isinstance(entry.event, CallParked) else "dropped"
            yield f"It was {what}, by entry {entry.seq}: {history.find_reason(entry.seq)}."


def _describe_attempts(history: History, attempts: list[Entry]) -> str:
    """An attempt that nothing is heard of may have died with the program before it left."""
    left = sum(_was_sent(history, one.seq) for one in attempts)
    if left == len(attempts):
        return f"sent {_format_times(left)}"
    known = (
        f"known to have been sent {_format_times(left)}" if left else "not known to have been sent"
    )
    return f"tried {_format_times(len(attempts))}, and {known}"


def _was_sent(history: History, attempt_seq: int) -> bool:
    """Whether the journal knows that an attempt went over the wire."""
    return any(
        _is_kind(history, seq, FrameSent, FrameReceived)
        for seq in history.graph.outcomes(attempt_seq)
    )


def _format_times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def find_attempts(history: History, call: int) -> list[Entry]:
    """The attempts at a call, in order."""
    found = (history.find_entry(seq) for seq in history.graph.outcomes(call))
    return [one for one in found if one and isinstance(one.event, CallAttempted)]


# --- A transaction -------------------------------------------------------------------------------


class _TransactionMessage(NamedTuple):
    call: int
    mark: TransactionEventSummary


def is_disruption(event: Event) -> bool:
    """Whether this explains what it does not cause: the program began anew, or the clock moved."""
    return (
        isinstance(event, StationStarted) or abs(getattr(event, "step_ms", 0)) >= CLOCK_STEP_MIN_MS
    )


def explain_transaction(
    history: History, transaction_id: str, disruptions: Iterable[int] = ()
) -> Explanation:
    """Why it began, why it changed and why it ended, and what the CSMS was told of it.

    Args:
        history: of the whole journal.
        transaction_id: the whole of it.
        upheavals: entries of the journal, in order, that may have fallen into it.

    Raises:
        LookupError: nothing of it can be read.
    """
    own = [history.find_entry(seq) for seq in history.graph.entries_by_transaction[transaction_id]]
    entries = [one for one in own if one is not None]
    if not entries:
        raise LookupError(transaction_id)
    messages = [_TransactionMessage(one.seq, one.event.transaction_event) for one in entries
                if isinstance(one.event, CallQueued) and one.event.transaction_event]  # fmt: skip
    started = _seqs_of_kind(entries, TransactionStarted)
    stopped = _seqs_of_kind(entries, TransactionStopOrdered)
    ended = [one.call for one in messages if one.mark.event_type == "Ended"]
    last = ended[-1] if ended else history.graph.last_seq
    befell = [seq for seq in disruptions if entries[0].seq < seq < last]
    shown: set[int] = set()
    sections = [
        _build_section(history, "Start", [*started, *(one.call for one in messages[:1])], shown),
        _build_section(history, "Changes", [*_find_changes(entries, messages), *befell], shown),
        _build_section(history, "End", [*stopped, *ended], shown),
        Section("Messages to the CSMS", lines=tuple(_message_lines(history, messages))),
    ]
    return Explanation(
        _transaction_heading(transaction_id, entries, bool(ended)),
        (
            *_answer_for_transaction(history, started, stopped, ended, messages),
            *_describe_disruptions(history, befell),
        ),
        tuple(one for one in sections if one.entries or one.lines),
    )


def _seqs_of_kind(entries: list[Entry], kind: type[Event]) -> list[int]:
    return [one.seq for one in entries if isinstance(one.event, kind)]


def _build_section(history: History, title: str, seqs: list[int], shown: set[int]) -> Section:
    """The chains of these entries, without what an earlier part has told."""
    new = [seq for seq in history.graph.trace_causes(*seqs) if seq not in shown]
    shown.update(new)
    return Section(title, history.chain_entries(new))


def _find_changes(entries: list[Entry], messages: list[_TransactionMessage]) -> Iterator[int]:
    """What happened between start and end, samples left out unless the charging state changed."""
    state = None
    for message in messages:
        mark = message.mark
        news = mark.trigger_reason not in ROUTINE_TRIGGERS or mark.charging_state != state
        state = mark.charging_state
        if mark.event_type == "Updated" and news:
            yield message.call
    for one in entries:
        if not isinstance(one.event, CallQueued | TransactionStarted | TransactionStopOrdered):
            yield one.seq


def _describe_disruptions(history: History, seqs: list[int]) -> Iterator[str]:
    """What fell into it: why energy stopped, or why times run backwards."""
    restarts = [seq for seq in seqs if _is_kind(history, seq, StationStarted)]
    moves = [seq for seq in seqs if seq not in restarts]
    if restarts:
        yield f"The program restarted while it was open: {_format_entry_list(restarts)}."
    if moves:
        yield f"The clock was corrected while it was open: {_format_entry_list(moves)}."


def _format_entry_list(seqs: list[int]) -> str:
    return f"{'entry' if len(seqs) == 1 else 'entries'} {', '.join(map(str, seqs))}"


def _transaction_heading(transaction_id: str, entries: list[Entry], has_ended: bool) -> str:
    evses = (getattr(one.event, "evse_id", 0) or _evse_of_call(one.event) for one in entries)
    where = next((f"EVSE {evse}" for evse in evses if evse), "no EVSE")
    first, last = (f"{one.at:%Y-%m-%d %H:%M:%S}" for one in (entries[0], entries[-1]))
    return f"Transaction {transaction_id} at {where}, {first} to {last if has_ended else 'now'} UTC"


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
        yield f"It started because {history.find_reason(seq) or 'of the entries below'}."
    for seq in stopped:
        yield f"It ended because {history.find_reason(seq) or 'of the entries below'}."
    if not ended:
        yield "It has not ended." if not stopped else "TransactionEvent Ended is not queued yet."
    outcomes = Counter(_call_outcome(history, one.call) for one in messages)
    answered = outcomes.pop(DELIVERED, 0)
    others = "".join(f"; {_count_with_verb(count)} {what}" for what, count in outcomes.items())
    yield f"Of its {len(messages)} messages the CSMS has answered {answered}{others}."
    for one in messages:
        attempts = find_attempts(history, one.call)
        if len(attempts) > 1:
            often = _describe_attempts(history, attempts)
            yield f"seqNo {one.mark.seq_no} was {often}: see entry {one.call}."


def _count_with_verb(count: int) -> str:
    return "1 is" if count == 1 else f"{count} are"


# --- Messages ------------------------------------------------------------------------------------

DELIVERED: Final = "delivered"


def _call_outcome(history: History, call: int) -> str:
    """What became of a call in the end."""
    outcome = "not sent yet"
    for seq in history.graph.trace_messages(call):
        match history.find_entry(seq):
            case Entry(event=CallDelivered()):
                return DELIVERED
            case Entry(event=CallParked(reason=why)):
                outcome = f"parked, {why}"
            case Entry(event=CallsDropped(reason=why)):
                outcome = f"dropped, {why}"
            case Entry(event=CallAttempted()):
                outcome = "not answered yet"
    return outcome


def _message_lines(history: History, messages: list[_TransactionMessage]) -> Iterator[str]:
    for call, mark in messages:
        state = f", {mark.charging_state}" if mark.charging_state else ""
        yield (
            f"seqNo {mark.seq_no} {mark.event_type} ({mark.trigger_reason}{state}), "
            f"call {call}: {_call_outcome(history, call)}"
        )
        for number, attempt in enumerate(find_attempts(history, call), 1):
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
    """How an attempt ended; the word of the CSMS, if it came, counts more than a lost link."""
    end = "no answer yet"
    for seq in history.graph.outcomes(attempt_seq):
        match history.find_entry(seq):
            case Entry(event=CallDelivered()):
                return end
            case Entry(event=FrameReceived() as frame):
                end = f"entry {seq}, {describe_event(frame)[1]}"
            case Entry(event=CallAttemptFailed(reason=why)):
                end = f"entry {seq}, failed: {why}"
            case Entry(event=LinkClosed() | LinkOpened()):
                end = f"entry {seq}, the link was lost before the answer"
            case Entry(event=StationStarted()):
                end = f"entry {seq}, the program ended before the answer"
    return end
