"""Does `station why` answer what is known to be true?"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from tests.ground_truth.asking import Analyst, run_station
from tests.ground_truth.film import RecordedRun, time_at
from tests.ground_truth.stage import Question, Scene

_TRANSACTION_STARTED: Final = r"starts transaction (\S+) at EVSE {evse_id}\b"
_SENT_TIMES: Final = re.compile(r"^seqNo (\d+) was sent (\d+) times: see entry (\d+)\.$")
_CALL_LINE: Final = re.compile(r"^  seqNo (\d+) .*, call (\d+): (.*)$")
_BECAUSE_PREFIX: Final = "Because "

# about -> how the transcript tells of the entries that are meant
SENTENCE_PATTERNS: Final = {
    "dropped": r"drops calls? ",
    "grant": r"authorizes \S+ at EVSE {evse_id}\b",
    "parked": r"parks call ",
    "refusal": r"refuses \S+( at EVSE {evse_id})?:",
    "reply": r"answers {status} ",
    "restart": r"restarts \(",
    "right": r"ends the authorization at EVSE {evse_id}\b",
    "status": r"queues StatusNotification: EVSE {evse_id} connector \d+ {status}$",
    "suspension": r"gives (no )?energy to the authorization of entry \d+",
    "told": r"queues TransactionEvent Updated, seqNo \d+ \({status}\b",
    "update": r"sets the update of entry \d+ to {status}\b",
}


class PlayedDay(NamedTuple):
    """What was played, what is known of it, and somebody who has the journal."""

    film: RecordedRun
    scenes: list[Scene]
    analyst: Analyst


def find_wrong_answers(day: PlayedDay) -> Iterator[str]:
    """A line for each answer that is missing or not what the scene knows."""
    for scene in day.scenes:
        for question in scene.questions:
            for fault in CHECKS[question.kind](day, scene, question):
                yield f"{scene.name} at EVSE {question.evse_id}, {question.since_s} s: {fault}"


def _find_sentences(day: PlayedDay, question: Question, pattern: str) -> list[tuple[int, str]]:
    filled = pattern.format(evse_id=question.evse_id, status=question.status)
    lines = day.analyst.matching_lines(filled, time_at(question.since_s), time_at(question.until_s))
    return [(one.seq, one.sentence) for one in lines]


# --- Entries -------------------------------------------------------------------------------------


def _check_entries(day: PlayedDay, scene: Scene, question: Question) -> Iterator[str]:
    """Some entry of the kind has the reason, and each has one of those that the scene knows."""
    known = [one.expected_text for one in scene.questions
             if (one.kind, one.status) == (question.kind, question.status)]  # fmt: skip
    found = _find_sentences(day, question, SENTENCE_PATTERNS[question.kind])
    told = [_reason_of(day, seq) for seq, _ in found]
    if not any(question.expected_text in one for one in told):
        yield f"it is told {told or 'of nothing'}, not: {question.expected_text}"
    if foreign := [one for one in told if not any(says in one for says in known)]:
        yield f"it is told of {foreign} too, where only {known} is true"


def _reason_of(day: PlayedDay, seq: int) -> str:
    lines = day.analyst.explain(seq).lines
    return next(
        (one for one in lines[:3] if one.startswith(_BECAUSE_PREFIX)), f"no reason: {lines[:3]}"
    )


# --- Transactions --------------------------------------------------------------------------------


def _transaction_id(day: PlayedDay, question: Question) -> str | None:
    """The transaction of a scene, if there was exactly one."""
    found = _find_sentences(day, question, _TRANSACTION_STARTED)
    return found[0][1].split()[2] if len(found) == 1 else None


def _for_transaction(
    check: Callable[[PlayedDay, Question, str], Iterator[str]],
) -> Callable[[PlayedDay, Scene, Question], Iterator[str]]:
    def asked(day: PlayedDay, scene: Scene, question: Question) -> Iterator[str]:
        name = _transaction_id(day, question)
        if name is None:
            yield "there is not one transaction"
        else:
            yield from check(day, question, name)

    return asked


def _check_verdict(
    prefix: str, day: PlayedDay, question: Question, transaction_id: str
) -> Iterator[str]:
    told = day.analyst.explain(transaction_id)
    verdicts = [one for one in told.lines if one.startswith(prefix)]
    if len(verdicts) != 1 or question.expected_text not in verdicts[0]:
        yield f"why {transaction_id} says {verdicts or told.lines[:6]}, not: {question.expected_text}"


def _check_start(day: PlayedDay, question: Question, transaction_id: str) -> Iterator[str]:
    yield from _check_verdict("It started because ", day, question, transaction_id)


def _check_stop(day: PlayedDay, question: Question, transaction_id: str) -> Iterator[str]:
    """The answer in words, and the stoppedReason that is exported and was told to the CSMS."""
    yield from _check_verdict("It ended because ", day, question, transaction_id)
    if question.status:
        ended = day.film.csms_accounts[transaction_id].ended_event
        assert ended is not None, transaction_id
        exported = next(
            one for one in _export_transactions(day) if one["transaction_id"] == transaction_id
        )
        told = {"exported": exported["stopped_reason"],
                "told to the CSMS": ended.transaction_info.stopped_reason}  # fmt: skip
        for where, reason in told.items():
            if reason != question.status:
                yield f"{transaction_id} is {where} as {reason}, not {question.status}"


def _export_transactions(day: PlayedDay) -> list[dict[str, Any]]:
    told = run_station("export", day.analyst.journal, "transactions", "--format", "jsonl")
    assert told.exit_code == 0, told.stderr
    return [json.loads(line) for line in told.lines]


# --- Messages ------------------------------------------------------------------------------------


def _check_resends(day: PlayedDay, question: Question, transaction_id: str) -> Iterator[str]:
    """As often as the wire saw it, and one of them for the reason of the scene."""
    told = [
        found
        for one in day.analyst.explain(transaction_id).lines
        if (found := _SENT_TIMES.match(one))
    ]
    sent = Counter(
        one.seq_no for one in day.film.observer.sent_events if one.transaction_id == transaction_id
    )
    often = {seq_no: times for seq_no, times in sent.items() if times > 1}
    if {int(one[1]): int(one[2]) for one in told} != often:
        yield f"it is told that {[one[0] for one in told]}, but the wire saw {often}"
    if bool(often) != bool(question.expected_text):
        yield f"the scene did not come about: {often}"
    lines = [line for one in told for line in day.analyst.explain(one[3]).lines]
    if often and not any(
        question.expected_text in one for one in lines if one.startswith("Entry ")
    ):
        yield f"{lines[:8]} does not say: {question.expected_text}"


def _check_thinned(day: PlayedDay, question: Question, transaction_id: str) -> Iterator[str]:
    """Given up are those, and only those, that the CSMS never had; each says so itself."""
    lines = day.analyst.explain(transaction_id).lines
    calls = [found for one in lines if (found := _CALL_LINE.match(one))]
    told = {int(one[1]): int(one[2]) for one in calls if one[3].startswith(question.expected_text)}
    missing = set(day.film.csms_accounts[transaction_id].missing_seq_nos)
    if told.keys() != missing or not missing:
        yield f"seqNos {sorted(told)} are told as given up, the CSMS does not have {missing}"
    number = len(missing)
    told_number = f"; {number} {'is' if number == 1 else 'are'} {question.expected_text}"
    if not any(one.startswith("The CSMS has answered ") and told_number in one for one in lines):
        yield f"why {transaction_id} says {lines[:6]}, not {told_number}"
    for call in told.values():
        lines = day.analyst.explain(call).lines
        if not any(one.startswith("It was dropped, by entry ") for one in lines):
            yield f"why {call} says {lines[:4]}, not that it was dropped"


CHECKS: Final[dict[str, Callable[[PlayedDay, Scene, Question], Iterator[str]]]] = {
    **dict.fromkeys(SENTENCE_PATTERNS, _check_entries),
    "again": _for_transaction(_check_resends),
    "start": _for_transaction(_check_start),
    "stop": _for_transaction(_check_stop),
    "thinned": _for_transaction(_check_thinned),
}
