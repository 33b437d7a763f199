"""Compare the answers of `station why` with the expected answers of scenes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from tests.ground_truth.analyst import Analyst, find_unbalanced_meters, run_station
from tests.ground_truth.recorded_run import RecordedRun, time_at
from tests.ground_truth.scene import Question, Scene

_TRANSACTION_STARTED: Final = r"starts transaction (\S+) at EVSE {evse_id}\b"
_SENT_TIMES: Final = re.compile(r"^seqNo (\d+) was sent (\d+) times: see entry (\d+)\.$")
_CALL_LINE: Final = re.compile(r"^  seqNo (\d+) .*, call (\d+): (.*)$")
_BECAUSE_PREFIX: Final = "Because "

# Kind of question -> pattern of the transcript's sentences about the entries in question.
SENTENCE_PATTERNS: Final = {
    "dropped": r"drops calls? ",
    "authorization": r"authorizes \S+ at EVSE {evse_id}\b",
    "parked": r"parks call ",
    "refusal": r"refuses \S+( at EVSE {evse_id})?:",
    "reply": r"answers {status} ",
    "restart": r"restarts \(",
    "authorization_end": r"ends the authorization at EVSE {evse_id}\b",
    "status": r"queues StatusNotification: EVSE {evse_id} connector \d+ {status}$",
    "unaccounted": r"lists \S+ Wh at EVSE {evse_id} that belong to no transaction",
    "suspension": r"(suspends|limits) charging for the authorization of entry \d+",
    "event_update": r"queues TransactionEvent Updated, seqNo \d+ \({status}\b",
    "firmware_status": r"sets the update of entry \d+ to {status}\b",
}


class RecordedDay(NamedTuple):
    """A day: its run, its scenes, and an analyst with its journal."""

    run: RecordedRun
    scenes: list[Scene]
    analyst: Analyst


def find_wrong_answers(day: RecordedDay) -> Iterator[str]:
    """A line for each answer that is missing or differs from the scene's expectation."""
    for scene in day.scenes:
        for question in scene.questions:
            for problem in CHECKS[question.kind](day, scene, question):
                yield f"{scene.name} at EVSE {question.evse_id}, {question.since_s} s: {problem}"
    yield from find_unbalanced_meters(day.analyst.journal)


def _find_sentences(day: RecordedDay, question: Question, pattern: str) -> list[tuple[int, str]]:
    pattern = pattern.format(evse_id=question.evse_id, status=question.status)
    since, until = time_at(question.since_s), time_at(question.until_s)
    lines = day.analyst.matching_lines(pattern, since, until)
    return [(line.seq, line.sentence) for line in lines]


# --- Entries -------------------------------------------------------------------------------------


def _check_entries(day: RecordedDay, scene: Scene, question: Question) -> Iterator[str]:
    """An entry of the kind has the expected reason; all of them have one that the scene expects."""
    expected = [
        other.expected_text
        for other in scene.questions
        if (other.kind, other.status) == (question.kind, question.status)
    ]
    entries = _find_sentences(day, question, SENTENCE_PATTERNS[question.kind])
    reasons = [_reason_of(day, seq) for seq, _ in entries]
    if not any(question.expected_text in reason for reason in reasons):
        yield f"reasons are {reasons or 'missing'}, expected: {question.expected_text}"
    unexpected = [reason for reason in reasons if not any(text in reason for text in expected)]
    if unexpected:
        yield f"reasons include {unexpected}, where only {expected} is true"


def _check_unaccounted(day: RecordedDay, scene: Scene, question: Question) -> Iterator[str]:
    if question.expected_text:
        yield from _check_entries(day, scene, question)
    elif entries := _find_sentences(day, question, SENTENCE_PATTERNS["unaccounted"]):
        yield f"energy is listed, and all was billed: {entries}"


def _reason_of(day: RecordedDay, seq: int) -> str:
    lines = day.analyst.explain(seq).lines
    return next(
        (line for line in lines[:3] if line.startswith(_BECAUSE_PREFIX)), f"no reason: {lines[:3]}"
    )


# --- Transactions --------------------------------------------------------------------------------


def _transaction_id(day: RecordedDay, question: Question) -> str | None:
    """The transaction of a scene, if there is exactly one."""
    starts = _find_sentences(day, question, _TRANSACTION_STARTED)
    return starts[0][1].split()[2] if len(starts) == 1 else None


def _for_transaction(
    check: Callable[[RecordedDay, Question, str], Iterator[str]],
) -> Callable[[RecordedDay, Scene, Question], Iterator[str]]:
    def check_transaction(day: RecordedDay, scene: Scene, question: Question) -> Iterator[str]:
        transaction_id = _transaction_id(day, question)
        if transaction_id is None:
            yield "there is not exactly one transaction"
        else:
            yield from check(day, question, transaction_id)

    return check_transaction


def _check_verdict(
    prefix: str, day: RecordedDay, question: Question, transaction_id: str
) -> Iterator[str]:
    lines = day.analyst.explain(transaction_id).lines
    verdicts = [line for line in lines if line.startswith(prefix)]
    if len(verdicts) != 1 or question.expected_text not in verdicts[0]:
        answer = verdicts or lines[:6]
        yield f"why {transaction_id} answers {answer}, expected: {question.expected_text}"


def _check_start(day: RecordedDay, question: Question, transaction_id: str) -> Iterator[str]:
    yield from _check_verdict("It started because ", day, question, transaction_id)


def _check_stop(day: RecordedDay, question: Question, transaction_id: str) -> Iterator[str]:
    """The reason in the answer, and the stoppedReason in the export and at the CSMS."""
    yield from _check_verdict("It ended because ", day, question, transaction_id)
    if question.status:
        ended = day.run.csms_records[transaction_id].ended_event
        assert ended is not None, transaction_id
        row = next(
            row for row in _export_transactions(day) if row["transaction_id"] == transaction_id
        )
        stopped_reasons = {
            "exported": row["stopped_reason"],
            "received by the CSMS": ended.transaction_info.stopped_reason,
        }
        for source, stopped_reason in stopped_reasons.items():
            if stopped_reason != question.status:
                yield f"{transaction_id}: {source}: {stopped_reason}, expected {question.status}"


def _export_transactions(day: RecordedDay) -> list[dict[str, Any]]:
    result = run_station("export", day.analyst.journal, "transactions", "--format", "jsonl")
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.lines]


# --- Messages ------------------------------------------------------------------------------------


def _check_resends(day: RecordedDay, question: Question, transaction_id: str) -> Iterator[str]:
    """Messages sent more than once: as often as on the network, one of them for the scene's reason.

    With an empty `expected_text`, no message was sent more than once.
    """
    lines = day.analyst.explain(transaction_id).lines
    answers = [match for line in lines if (match := _SENT_TIMES.match(line))]
    sent_counts = Counter(
        event.seq_no
        for event in day.run.observer.sent_events
        if event.transaction_id == transaction_id
    )
    resent = {seq_no: count for seq_no, count in sent_counts.items() if count > 1}
    if {int(answer[1]): int(answer[2]) for answer in answers} != resent:
        yield f"the answer is {[answer[0] for answer in answers]}, but sent were {resent}"
    if bool(resent) != bool(question.expected_text):
        yield f"the scene did not take place as planned: {resent}"
    lines = [line for answer in answers for line in day.analyst.explain(answer[3]).lines]
    reasons = [line for line in lines if line.startswith("Entry ")]
    if resent and not any(question.expected_text in reason for reason in reasons):
        yield f"{lines[:8]} does not contain: {question.expected_text}"


def _check_dropped_samples(
    day: RecordedDay, question: Question, transaction_id: str
) -> Iterator[str]:
    """Exactly the events the CSMS did not receive are dropped, and each is explained so."""
    lines = day.analyst.explain(transaction_id).lines
    calls = [match for line in lines if (match := _CALL_LINE.match(line))]
    dropped = {
        int(call[1]): int(call[2]) for call in calls if call[3].startswith(question.expected_text)
    }
    missing = set(day.run.csms_records[transaction_id].missing_seq_nos)
    if dropped.keys() != missing or not missing:
        yield f"seqNos {sorted(dropped)} are explained as dropped, the CSMS misses {missing}"
    count = len(missing)
    expected = f"; {count} {'is' if count == 1 else 'are'} {question.expected_text}"
    if not any(line.startswith("The CSMS has answered ") and expected in line for line in lines):
        yield f"why {transaction_id} answers {lines[:6]}, expected {expected}"
    for call_seq in dropped.values():
        lines = day.analyst.explain(call_seq).lines
        if not any(line.startswith("It was dropped, by entry ") for line in lines):
            yield f"why {call_seq} answers {lines[:4]}, not that it was dropped"


CHECKS: Final[dict[str, Callable[[RecordedDay, Scene, Question], Iterator[str]]]] = {
    **dict.fromkeys(SENTENCE_PATTERNS, _check_entries),
    "unaccounted": _check_unaccounted,
    "resend": _for_transaction(_check_resends),
    "sample_drop": _for_transaction(_check_dropped_samples),
    "start": _for_transaction(_check_start),
    "stop": _for_transaction(_check_stop),
}
