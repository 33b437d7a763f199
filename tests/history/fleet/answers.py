"""Does `station why` answer what is known to be true?"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from tests.history.fleet.asking import Analyst, ask
from tests.history.fleet.film import Film, moment
from tests.history.fleet.stage import Question, Scene

_BEGINS: Final = r"begins transaction (\S+) at EVSE {evse_id}\b"
_SENT: Final = re.compile(r"^seqNo (\d+) was sent (\d+) times: see entry (\d+)\.$")
_CALL: Final = re.compile(r"^  seqNo (\d+) .*, call (\d+): (.*)$")
_BECAUSE: Final = "Because "

# about -> how the transcript tells of the entries that are meant
KINDS: Final = {
    "dropped": r"drops calls? ",
    "grant": r"lets \S+ charge at EVSE {evse_id}\b",
    "parked": r"parks call ",
    "refusal": r"lets \S+ not charge( at EVSE {evse_id})?:",
    "reply": r"answers {status} ",
    "restart": r"restarts now",
    "right": r"ends the right to charge at EVSE {evse_id}\b",
    "status": r"has for the CSMS: EVSE {evse_id} connector \d+ is {status}$",
    "suspension": r"gives the person of entry \d+ (no )?energy",
    "told": r"has for the CSMS: TransactionEvent \d+ Updated \({status}\b",
    "update": r"is with update \d+ at {status}\b",
}


class Day(NamedTuple):
    """What was played, what is known of it, and somebody who has the journal."""

    film: Film
    scenes: list[Scene]
    analyst: Analyst


def wrong(day: Day) -> Iterator[str]:
    """A line for each answer that is missing or not what the scene knows."""
    for scene in day.scenes:
        for question in scene.questions:
            for fault in ASKED[question.about](day, scene, question):
                yield f"{scene.name} at EVSE {question.evse_id}, {question.since_s} s: {fault}"


def _found(day: Day, question: Question, pattern: str) -> list[tuple[int, str]]:
    filled = pattern.format(evse_id=question.evse_id, status=question.status)
    lines = day.analyst.lines(filled, moment(question.since_s), moment(question.until_s))
    return [(one.seq, one.sentence) for one in lines]


# --- Entries -------------------------------------------------------------------------------------


def _entries(day: Day, scene: Scene, question: Question) -> Iterator[str]:
    """Some entry of the kind has the reason, and each has one of those that the scene knows."""
    known = [one.says for one in scene.questions
             if (one.about, one.status) == (question.about, question.status)]  # fmt: skip
    found = _found(day, question, KINDS[question.about])
    told = [_because(day, seq) for seq, _ in found]
    if not any(question.says in one for one in told):
        yield f"it is told {told or 'of nothing'}, not: {question.says}"
    if foreign := [one for one in told if not any(says in one for says in known)]:
        yield f"it is told of {foreign} too, where only {known} is true"


def _because(day: Day, seq: int) -> str:
    lines = day.analyst.why(seq).lines
    return next((one for one in lines[:3] if one.startswith(_BECAUSE)), f"no reason: {lines[:3]}")


# --- Transactions --------------------------------------------------------------------------------


def _transaction(day: Day, question: Question) -> str | None:
    """The transaction of a scene, if there was exactly one."""
    found = _found(day, question, _BEGINS)
    return found[0][1].split()[2] if len(found) == 1 else None


def _of_transaction(
    answered: Callable[[Day, Question, str], Iterator[str]],
) -> Callable[[Day, Scene, Question], Iterator[str]]:
    def asked(day: Day, scene: Scene, question: Question) -> Iterator[str]:
        name = _transaction(day, question)
        if name is None:
            yield "there is not one transaction"
        else:
            yield from answered(day, question, name)

    return asked


def _verdict(begins: str, day: Day, question: Question, name: str) -> Iterator[str]:
    told = day.analyst.why(name)
    verdicts = [one for one in told.lines if one.startswith(begins)]
    if len(verdicts) != 1 or question.says not in verdicts[0]:
        yield f"why {name} says {verdicts or told.lines[:6]}, not: {question.says}"


def _started(day: Day, question: Question, name: str) -> Iterator[str]:
    yield from _verdict("It began because ", day, question, name)


def _stopped(day: Day, question: Question, name: str) -> Iterator[str]:
    """The answer in words, and the stoppedReason that is exported and was told to the CSMS."""
    yield from _verdict("It ended because ", day, question, name)
    if question.status:
        ended = day.film.ledger[name].ended
        assert ended is not None, name
        exported = next(one for one in _exported(day) if one["transaction_id"] == name)
        told = {"exported": exported["stopped_reason"],
                "told to the CSMS": ended.transaction_info.stopped_reason}  # fmt: skip
        for where, reason in told.items():
            if reason != question.status:
                yield f"{name} is {where} as {reason}, not {question.status}"


def _exported(day: Day) -> list[dict[str, Any]]:
    told = ask("export", day.analyst.journal, "transactions", "--format", "jsonl")
    assert told.code == 0, told.err
    return [json.loads(line) for line in told.lines]


# --- Messages ------------------------------------------------------------------------------------


def _again(day: Day, question: Question, name: str) -> Iterator[str]:
    """As often as the wire saw it, and one of them for the reason of the scene."""
    told = [found for one in day.analyst.why(name).lines if (found := _SENT.match(one))]
    sent = Counter(one.seq_no for one in day.film.bystander.sendings if one.transaction_id == name)
    often = {seq_no: times for seq_no, times in sent.items() if times > 1}
    if {int(one[1]): int(one[2]) for one in told} != often:
        yield f"it is told that {[one[0] for one in told]}, but the wire saw {often}"
    if bool(often) != bool(question.says):
        yield f"the scene did not come about: {often}"
    lines = [line for one in told for line in day.analyst.why(one[3]).lines]
    if often and not any(question.says in one for one in lines if one.startswith("Entry ")):
        yield f"{lines[:8]} does not say: {question.says}"


def _thinned(day: Day, question: Question, name: str) -> Iterator[str]:
    """Given up are those, and only those, that the CSMS never had; each says so itself."""
    lines = day.analyst.why(name).lines
    calls = [found for one in lines if (found := _CALL.match(one))]
    told = {int(one[1]): int(one[2]) for one in calls if one[3].startswith(question.says)}
    missing = set(day.film.ledger[name].gaps)
    if told.keys() != missing or not missing:
        yield f"seqNos {sorted(told)} are told as given up, the CSMS does not have {missing}"
    number = len(missing)
    told_number = f"; {number} {'is' if number == 1 else 'are'} {question.says}"
    if not any(one.startswith("Of its ") and told_number in one for one in lines):
        yield f"why {name} says {lines[:6]}, not {told_number}"
    for call in told.values():
        lines = day.analyst.why(call).lines
        if not any(one.startswith("It was dropped, by entry ") for one in lines):
            yield f"why {call} says {lines[:4]}, not that it was dropped"


ASKED: Final[dict[str, Callable[[Day, Scene, Question], Iterator[str]]]] = {
    **dict.fromkeys(KINDS, _entries),
    "again": _of_transaction(_again),
    "start": _of_transaction(_started),
    "stop": _of_transaction(_stopped),
    "thinned": _of_transaction(_thinned),
}
