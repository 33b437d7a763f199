"""What is told to whoever asks why: about an entry, and about a whole transaction?

An account is a heading, its answers in a line each, and the entries that prove them, in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from journal.observations import FrameReceived, FrameSent, LinkClosed, LinkOpened, StationStarted
from journal.projections.authorizations import (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
)
from journal.projections.outbox import (
    AttemptFailed,
    CallAttempted,
    CallDelivered,
    CallParked,
    CallQueued,
    CallsDropped,
    TransactionMark,
)
from journal.projections.transactions import TransactionStarted, TransactionStopping
from journal.terms import Entry, Event, Observation
from station.history.causes import Causes
from station.history.reason import Reason
from station.history.reasons import reason
from station.sentences.words import short
from station.transcript import meaning

Fetch = Callable[[int], Entry | None]  # None: the entry is archived, missing or unreadable

DECISIVE: Final = (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    TransactionStopping,
)
STEP_MS: Final = 1_000  # by which a clock moves before anybody wonders
ROUTINE: Final = frozenset({"MeterValuePeriodic", "MeterValueClock", "Trigger"})


class Told(NamedTuple):
    """An entry of a chain: what it follows from at once, and why it was decided."""

    seq: int
    entry: Entry | None
    behind: tuple[int, ...]
    reason: Reason | None
    asked: bool = False


class Section(NamedTuple):
    title: str
    entries: tuple[Told, ...] = ()
    lines: tuple[str, ...] = ()


class Account(NamedTuple):
    heading: str
    answers: tuple[str, ...]
    sections: tuple[Section, ...]


class History:
    """The links of a journal and the entries themselves."""

    def __init__(self, causes: Causes, fetch: Fetch) -> None:
        self.causes = causes
        self._fetch = fetch

    def entry(self, seq: int) -> Entry | None:
        return self._fetch(seq)

    def reason(self, seq: int) -> Reason | None:
        """Why an entry was decided, as far as it and what it follows from can be read."""
        entry = self._fetch(seq)
        if entry is None:
            return None
        behind = [found for one in self.causes.behind(seq) if (found := self._fetch(one))]
        return reason(entry, behind)

    def told(self, seqs: list[int], asked: int = 0) -> tuple[Told, ...]:
        return tuple(
            Told(seq, self._fetch(seq), self.causes.behind(seq), self.reason(seq), seq == asked)
            for seq in seqs
        )


# --- An entry ------------------------------------------------------------------------------------


def account_of_entry(history: History, seq: int) -> Account:
    """Why an entry is there, back to what was observed, and what came of it."""
    chain = history.causes.chain(seq)
    came = [one for one in _consequences(history, seq) if one not in chain]
    entry = history.entry(seq)
    said = " ".join(meaning(entry.event)) if entry else "it cannot be read"
    sections = [Section("What led to it", history.told(chain, asked=seq))]
    if came:
        sections.append(Section("What came of it", history.told(came)))
    answers = (*_answers(history, seq, entry), *_settled(history, chain, came))
    return Account(f"Entry {seq}: {said}", answers, tuple(sections))


def _consequences(history: History, seq: int) -> list[int]:
    """What was decided for it at once, what became of that on the wire, and of the answers."""
    causes = history.causes
    came = causes.conversation(seq, *causes.effects([seq]))
    heard = [one for one in came if _is(history, one, FrameReceived)]
    return sorted({*came, *causes.effects(heard)})


def _is(history: History, seq: int, *kinds: type[Event]) -> bool:
    entry = history.entry(seq)
    return entry is not None and isinstance(entry.event, kinds)


def _answers(history: History, seq: int, entry: Entry | None) -> Iterator[str]:
    if entry is None:
        return
    if isinstance(entry.event, FrameReceived) and (links := history.causes.behind(seq)):
        yield f"It answers entry {links[0]}."
    elif isinstance(entry.event, Observation):
        yield "This was observed, not decided."
    elif why := history.reason(seq):
        yield f"Because {why}."
    elif entry.cause is not None:
        yield f"Because of entry {entry.cause}."
    if isinstance(entry.event, CallQueued):
        yield from _sendings(history, seq)


def _settled(history: History, chain: list[int], came: list[int]) -> Iterator[str]:
    """The decisions that people ask about, where they stand around the entry that was asked for."""
    asked = max(chain)
    for seq in (*chain, *came):
        entry = history.entry(seq)
        if entry is None or seq == asked or not isinstance(entry.event, DECISIVE):
            continue
        if why := history.reason(seq):
            yield f"Entry {seq} {meaning(entry.event)[1]}, because {why}."


def _sendings(history: History, call: int) -> Iterator[str]:
    """How often a call was sent, and why more than once."""
    attempts = attempts_of(history, call)
    yield f"It was {_how_often(history, attempts)}." if attempts else "It has not been sent."
    for attempt in attempts[1:]:
        yield f"Entry {attempt.seq}: {history.reason(attempt.seq)}."
    yield from _set_aside(history, call)


def _set_aside(history: History, call: int) -> Iterator[str]:
    """Why a call is not, or was not, delivered; nothing where it was after all."""
    found = [entry for seq in history.causes.onward(call) if (entry := history.entry(seq))]
    for entry in found[-1:]:
        if isinstance(entry.event, CallsDropped | CallParked):
            what = "parked" if isinstance(entry.event, CallParked) else "dropped"
            yield f"It was {what}, by entry {entry.seq}: {history.reason(entry.seq)}."


def _how_often(history: History, attempts: list[Entry]) -> str:
    """An attempt that nothing is heard of may have died with the program before it left."""
    left = sum(_left(history, one.seq) for one in attempts)
    if left == len(attempts):
        return f"sent {_times(left)}"
    known = f"known to have left {_times(left)}" if left else "not known to have left"
    return f"tried {_times(len(attempts))}, and {known}"


def _left(history: History, attempt: int) -> bool:
    """Whether the journal knows that an attempt went over the wire."""
    return any(
        _is(history, seq, FrameSent, FrameReceived) for seq in history.causes.onward(attempt)
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def attempts_of(history: History, call: int) -> list[Entry]:
    """The attempts at a call, in order."""
    found = (history.entry(seq) for seq in history.causes.onward(call))
    return [one for one in found if one and isinstance(one.event, CallAttempted)]


# --- A transaction -------------------------------------------------------------------------------


class _Message(NamedTuple):
    call: int
    mark: TransactionMark


def is_upheaval(event: Event) -> bool:
    """Whether this explains what it does not cause: the program began anew, or the clock moved."""
    return isinstance(event, StationStarted) or abs(getattr(event, "step_ms", 0)) >= STEP_MS


def account_of_transaction(
    history: History, transaction_id: str, upheavals: Iterable[int] = ()
) -> Account:
    """Why it began, why it changed and why it ended, and what the CSMS was told of it.

    Args:
        history: of the whole journal.
        transaction_id: the whole of it.
        upheavals: entries of the journal, in order, that may have fallen into it.

    Raises:
        LookupError: nothing of it can be read.
    """
    own = [history.entry(seq) for seq in history.causes.transactions[transaction_id]]
    entries = [one for one in own if one is not None]
    if not entries:
        raise LookupError(transaction_id)
    messages = [_Message(one.seq, one.event.transaction) for one in entries
                if isinstance(one.event, CallQueued) and one.event.transaction]  # fmt: skip
    started = _seqs(entries, TransactionStarted)
    stopped = _seqs(entries, TransactionStopping)
    ended = [one.call for one in messages if one.mark.event_type == "Ended"]
    last = ended[-1] if ended else history.causes.heard
    befell = [seq for seq in upheavals if entries[0].seq < seq < last]
    shown: set[int] = set()
    sections = [
        _part(history, "How it began", [*started, *(one.call for one in messages[:1])], shown),
        _part(history, "What changed", [*_changes(entries, messages), *befell], shown),
        _part(history, "How it ended", [*stopped, *ended], shown),
        Section("What the CSMS was told", lines=tuple(_conversations(history, messages))),
    ]
    return Account(
        _heading(transaction_id, entries, bool(ended)),
        (*_verdicts(history, started, stopped, ended, messages), *_befallen(history, befell)),
        tuple(one for one in sections if one.entries or one.lines),
    )


def _seqs(entries: list[Entry], kind: type[Event]) -> list[int]:
    return [one.seq for one in entries if isinstance(one.event, kind)]


def _part(history: History, title: str, seqs: list[int], shown: set[int]) -> Section:
    """The chains of these entries, without what an earlier part has told."""
    new = [seq for seq in history.causes.chain(*seqs) if seq not in shown]
    shown.update(new)
    return Section(title, history.told(new))


def _changes(entries: list[Entry], messages: list[_Message]) -> Iterator[int]:
    """What happened between start and end, samples left out unless the charging state changed."""
    state = None
    for message in messages:
        mark = message.mark
        news = mark.trigger_reason not in ROUTINE or mark.charging_state != state
        state = mark.charging_state
        if mark.event_type == "Updated" and news:
            yield message.call
    for one in entries:
        if not isinstance(one.event, CallQueued | TransactionStarted | TransactionStopping):
            yield one.seq


def _befallen(history: History, seqs: list[int]) -> Iterator[str]:
    """What fell into it: why energy stopped, or why times run backwards."""
    restarts = [seq for seq in seqs if _is(history, seq, StationStarted)]
    moves = [seq for seq in seqs if seq not in restarts]
    if restarts:
        yield f"The program began anew while it was open: {_entries(restarts)}."
    if moves:
        yield f"The clock was moved while it was open: {_entries(moves)}."


def _entries(seqs: list[int]) -> str:
    return f"{'entry' if len(seqs) == 1 else 'entries'} {', '.join(map(str, seqs))}"


def _heading(transaction_id: str, entries: list[Entry], over: bool) -> str:
    evses = (getattr(one.event, "evse_id", 0) or _evse_told(one.event) for one in entries)
    where = next((f"EVSE {evse}" for evse in evses if evse), "no EVSE")
    first, last = (f"{one.at:%Y-%m-%d %H:%M:%S}" for one in (entries[0], entries[-1]))
    return f"Transaction {transaction_id} at {where}, {first} to {last if over else 'now'} UTC"


def _evse_told(event: Event) -> int:
    return event.transaction.evse_id if isinstance(event, CallQueued) and event.transaction else 0


def _verdicts(
    history: History,
    started: list[int],
    stopped: list[int],
    ended: list[int],
    messages: list[_Message],
) -> Iterator[str]:
    for seq in started:
        yield f"It began because {history.reason(seq) or 'of what the chain tells'}."
    for seq in stopped:
        yield f"It ended because {history.reason(seq) or 'of what the chain tells'}."
    if not ended:
        yield "It has not ended." if not stopped else "Its end has not been told yet."
    outcomes = Counter(_outcome(history, one.call) for one in messages)
    answered = outcomes.pop(DELIVERED, 0)
    others = "".join(f"; {_are(count)} {what}" for what, count in outcomes.items())
    yield f"Of its {len(messages)} messages the CSMS has answered {answered}{others}."
    for one in messages:
        attempts = attempts_of(history, one.call)
        if len(attempts) > 1:
            often = _how_often(history, attempts)
            yield f"seqNo {one.mark.seq_no} was {often}: see entry {one.call}."


def _are(count: int) -> str:
    return "1 is" if count == 1 else f"{count} are"


# --- Messages ------------------------------------------------------------------------------------

DELIVERED: Final = "delivered"


def _outcome(history: History, call: int) -> str:
    """What became of a call in the end."""
    outcome = "not sent yet"
    for seq in history.causes.conversation(call):
        match history.entry(seq):
            case Entry(event=CallDelivered()):
                return DELIVERED
            case Entry(event=CallParked(reason=why)):
                outcome = f"parked, {why}"
            case Entry(event=CallsDropped(reason=why)):
                outcome = f"dropped, {why}"
            case Entry(event=CallAttempted()):
                outcome = "not answered yet"
    return outcome


def _conversations(history: History, messages: list[_Message]) -> Iterator[str]:
    for call, mark in messages:
        state = f", {mark.charging_state}" if mark.charging_state else ""
        yield (
            f"seqNo {mark.seq_no} {mark.event_type} ({mark.trigger_reason}{state}), "
            f"call {call}: {_outcome(history, call)}"
        )
        for number, attempt in enumerate(attempts_of(history, call), 1):
            yield f"  attempt {number}, {_attempt(history, attempt)}"


def _attempt(history: History, attempt: Entry) -> str:
    event = attempt.event
    assert isinstance(event, CallAttempted)
    offline = ", from offline times" if event.offline else ""
    return (
        f"entry {attempt.seq}, {attempt.at:%H:%M:%S}, as {short(event.message_id)}{offline}: "
        f"{_end(history, attempt.seq)}"
    )


def _end(history: History, attempt: int) -> str:
    """How an attempt ended; the word of the CSMS, if it came, counts more than a lost link."""
    end = "no answer yet"
    for seq in history.causes.onward(attempt):
        match history.entry(seq):
            case Entry(event=CallDelivered()):
                return end
            case Entry(event=FrameReceived() as frame):
                end = f"entry {seq}, {meaning(frame)[1]}"
            case Entry(event=AttemptFailed(why=why)):
                end = f"entry {seq}, failed: {why}"
            case Entry(event=LinkClosed() | LinkOpened()):
                end = f"entry {seq}, the link went with the answer"
            case Entry(event=StationStarted()):
                end = f"entry {seq}, the program had ended"
    return end
