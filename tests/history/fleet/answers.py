"""Does `station why` answer what is known to be true?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tests.history.fleet.asking import Analyst
from tests.history.fleet.film import Film, moment
from tests.history.fleet.scenes import Question, Scene

_BEGINS: Final = r"begins transaction (\S+) at EVSE {evse_id}\b"
_REFUSES: Final = r"lets \S+ not charge( at EVSE {evse_id})?:"
_STATUS: Final = r"has for the CSMS: EVSE {evse_id} connector \d+ is {status}$"
_SENT: Final = re.compile(r"^seqNo (\d+) was sent (\d+) times: see entry (\d+)\.$")


class Day(NamedTuple):
    """What was played, what is known of it, and somebody who has the journal."""

    film: Film
    scenes: list[Scene]
    analyst: Analyst


def wrong(day: Day) -> Iterator[str]:
    """A line for each answer that is missing or not what the scene knows."""
    for scene in day.scenes:
        for question in scene.questions:
            for fault in ASKED[question.about](day, question):
                yield f"{scene.name} at EVSE {question.evse_id}, {question.since_s} s: {fault}"


def _found(day: Day, question: Question, pattern: str) -> list[tuple[int, str]]:
    filled = pattern.format(evse_id=question.evse_id, status=question.status)
    lines = day.analyst.lines(filled, moment(question.since_s), moment(question.until_s))
    return [(one.seq, one.sentence) for one in lines]


def _transaction(day: Day, question: Question) -> str | None:
    """The transaction of a scene, if there was exactly one."""
    found = _found(day, question, _BEGINS)
    return found[0][1].split()[2] if len(found) == 1 else None


def _stopped(day: Day, question: Question) -> Iterator[str]:
    name = _transaction(day, question)
    if name is None:
        yield "there is not one transaction"
        return
    told = day.analyst.why(name)
    ended = [one for one in told.lines if one.startswith("It ended because ")]
    if len(ended) != 1 or question.says not in ended[0]:
        yield f"why {name} says {ended or told.lines[:6]}, not: {question.says}"


def _entries(day: Day, question: Question, pattern: str) -> Iterator[str]:
    """Some entry of the kind is told to have that reason."""
    told = [day.analyst.why(seq).lines[:3] for seq, _ in _found(day, question, pattern)]
    because = [one for lines in told for one in lines if one.startswith("Because ")]
    if not any(question.says in one for one in because):
        yield f"it is told {because or told}, not: {question.says}"


def _again(day: Day, question: Question) -> Iterator[str]:
    """As often as the wire saw it, and one of them for the reason of the scene."""
    name = _transaction(day, question)
    if name is None:
        yield "there is not one transaction"
        return
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


ASKED: Final[dict[str, Callable[[Day, Question], Iterator[str]]]] = {
    "stop": _stopped,
    "refusal": lambda day, question: _entries(day, question, _REFUSES),
    "status": lambda day, question: _entries(day, question, _STATUS),
    "again": _again,
}
