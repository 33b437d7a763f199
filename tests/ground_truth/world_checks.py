"""Check the answers of `station why` about worlds with random faults.

No answer is known beforehand. But a reason that is given must be true of the world outside the
station: the button was pressed, the device was faulted at that time, the frame was sent as often as
stated, and for a reason that was possible on the network. `QUESTIONS` has the sentences of the
transcript that are checked, and for each possible reason a function that decides whether it was
true.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

from station.simulation.faulty_csms import ID_TOKENS
from tests.ground_truth.analyst import (
    Analyst,
    TranscriptLine,
    export_rows,
    find_unbalanced_meters,
)
from tests.ground_truth.recorded_run import ExternalEvent, RecordedRun, SentEvent

TOLERANCE_S: Final = 450.0  # delay by a slow network or an absent program; stalls are added
LONG_ABSENCE_S: Final = 1_200.0  # after a silent link, the back-off becomes longer and longer
TIMEOUT_S: Final = 29.99  # uptime is whole milliseconds; OCPPCommCtrlr.MessageTimeout[Default]
ANY_TIME_S: Final = float("inf")
RENEWAL_STEP_S: Final = 86_400 * 30  # of the clock, towards the end of a certificate: the station
# renews it and connects again with the new one

DISTURBANCES: Final = (
    "cut_connection", "switch_network", "slow_network", "restart_csms", "set_fault_rates",
    "set_registration", "stall_disk", "kill_process", "kill_at_commit", "fail_disk", "send_sigterm",
    "send_csms_request", "renew_certificate", "refuse_certificate",
)  # fmt: skip

_SENT_TIMES: Final = re.compile(r"It was sent (?:once|(\d+) times)\.$")
_TRIED_TIMES: Final = re.compile(
    r"It was tried (?:once|(\d+) times); the journal (?:does (not) show|shows)"
)


class WorldCheck:
    """The run of one world, and an analyst with its journal."""

    def __init__(self, run: RecordedRun, analyst: Analyst) -> None:
        self.run = run
        self.analyst = analyst
        self.question_count = 0
        self._slack_s = TOLERANCE_S + sum(
            event.arguments["seconds"] for event in run.plan.events if event.kind == "stall_disk"
        )

    def find_wrong_answers(self) -> Iterator[str]:
        """A line for every answer that is missing or not true."""
        for line in self.analyst.transcript:
            for pattern, answers in QUESTIONS:
                if match := re.match(pattern, line.sentence):
                    yield from self._check_answer(line, self._evse_of(match.groupdict()), answers)
        yield from self._check_messages()
        yield from self.check_totals()

    def _evse_of(self, groups: dict[str, Any]) -> int:
        """The EVSE of an entry, directly or through its transaction; 0: none."""
        if prefix := groups.get("name"):
            return next(
                (
                    record.evse_id or 0
                    for transaction_id, record in self.run.csms_records.items()
                    if transaction_id.startswith(prefix)
                ),
                0,
            )
        return int(groups.get("evse") or 0)

    def _check_answer(
        self, line: TranscriptLine, evse_id: int, answers: AnswerChecks
    ) -> Iterator[str]:
        self.question_count += 1
        lines = self.analyst.explain(line.seq).lines
        reason = next((line for line in lines if line.startswith("Because ")), "no reason is given")
        for pattern, is_true in answers.items():
            if match := re.match(f"Because {pattern}", reason):
                if not is_true(self, line.seq, evse_id, match):
                    yield f"entry {line.seq}, {line.sentence}: not true: {reason}"
                return
        yield f"entry {line.seq}, {line.sentence}: {reason}"

    # --- What was true ---------------------------------------------------------------------------

    def events_before(self, seq: int, *kinds: str, within_s: float = 0) -> Iterator[ExternalEvent]:
        """Events of these kinds within so many seconds before an entry; 0: within the tolerance."""
        until_s = self.run.observer.written_s[seq]
        within_s = within_s or self._slack_s
        for event in self.run.external_events:
            if event.kind in kinds and until_s - within_s <= event.at_s <= until_s:
                yield event

    def happened_at(self, seq: int, evse_id: int, *kinds: str) -> bool:
        return any(
            0 in (event.evse_id, evse_id) or event.evse_id == evse_id
            for event in self.events_before(seq, *kinds)
        )

    def is_unplugged(self, seq: int, evse_id: int) -> bool:
        """Whether no EV was plugged in; with EVSE 0: at one of the EVSEs."""
        kinds = ("connect_ev", "disconnect_ev", "start_session")
        events = self.events_before(seq, *kinds, within_s=ANY_TIME_S)
        last_kinds = {event.evse_id: event.kind for event in events}
        evse_ids = [evse_id] if evse_id else [1, 2]
        return any(last_kinds.get(evse, "disconnect_ev") == "disconnect_ev" for evse in evse_ids)

    def had_ev(self, seq: int, evse_id: int) -> bool:
        """Whether an EV had ever been plugged in at the EVSE."""
        events = self.events_before(seq, "connect_ev", "start_session", within_s=ANY_TIME_S)
        return any(event.evse_id == evse_id for event in events)

    def was_requested(self, seq: int, *actions: str) -> bool:
        events = self.events_before(seq, "send_request", within_s=ANY_TIME_S)
        return any(event.detail == f"{action}Request" for event in events for action in actions)

    def was_faulted(self, seq: int, evse_id: int, fault: str) -> bool:
        """Whether the fault had begun, and had not ended earlier than the tolerance."""

        def times_s(kind: str) -> list[float]:
            events = self.events_before(seq, kind, within_s=ANY_TIME_S)
            return [e.at_s for e in events if (e.evse_id, e.detail) == (evse_id, fault)]

        began_s, ended_s = times_s("add_fault"), max(times_s("clear_fault"), default=0)
        earliest_end_s = self.run.observer.written_s[seq] - self._slack_s
        return bool(began_s) and (ended_s <= max(began_s) or ended_s >= earliest_end_s)

    def was_ev_full(self, seq: int, evse_id: int) -> bool:
        """Whether an EV that is unplugged after the entry, or shortly before it, is full."""
        since_s = self.run.observer.written_s[seq] - self._slack_s
        return any(
            (event.kind, event.detail, event.evse_id) == ("disconnect_ev", "full", evse_id)
            and event.at_s >= since_s
            for event in self.run.external_events
        )

    def has_csms_status(self, seq: int, *statuses: str) -> bool:
        """Whether an id token used so far has one of these statuses in the CSMS."""
        presented = self.events_before(seq, "present_id_token", within_s=ANY_TIME_S)
        id_tokens = {event.detail for event in presented}
        if self.was_requested(seq, "RequestStartTransaction"):
            id_tokens |= set(ID_TOKENS)
        if self.was_requested(seq, "SetVariables"):
            id_tokens |= {""}  # AuthCtrlr.Enabled false: no authorization needed
        return any(
            (ID_TOKENS[id_token].status if id_token in ID_TOKENS else "Unknown") in statuses
            for id_token in id_tokens
        )

    def was_disturbed(self, seq: int) -> bool:
        """Whether any event could prevent an exchange with the CSMS."""
        is_starting = self.run.observer.written_s[seq] < 2
        return (
            is_starting
            or any(self.events_before(seq, *DISTURBANCES, within_s=LONG_ABSENCE_S))
            or self._was_renewal_due(seq)
        )

    def _was_renewal_due(self, seq: int) -> bool:
        """Whether a step of the clock could make the station renew its certificate."""
        until_s = self.run.observer.written_s[seq]
        return any(
            event.kind == "step_clock"
            and event.arguments["step_s"] > RENEWAL_STEP_S
            and until_s - LONG_ABSENCE_S <= event.at_s <= until_s
            for event in self.run.plan.events
        )

    def has_start_point(self, *points: str) -> bool:
        """Whether TxStartPoint is one of these."""
        return self.run.plan.variables.get("TxCtrlr.TxStartPoint", "PowerPathClosed") in points

    def was_disk_short(self, seq: int) -> bool:
        """Whether the disk was ever filled; two overlapping events may leave it full to the end."""
        return any(self.events_before(seq, "fill_disk", within_s=ANY_TIME_S))

    def had_csms_fault(self, seq: int, fault: str) -> bool:
        """Whether the CSMS had this fault at any time before."""
        until_s = self.run.observer.written_s[seq]
        return any(
            event.kind == "set_fault_rates" and fault in event.arguments and event.at_s <= until_s
            for event in self.run.plan.events
        )

    def had_restarted(self, seq: int) -> bool:
        """Whether the program had restarted within the tolerance."""
        until_s = self.run.observer.written_s[seq]
        return any(
            until_s - self._slack_s <= started_s <= until_s
            for started_s in self.run.observer.started_at_s[1:]
        )

    # --- Messages sent more than once ------------------------------------------------------------

    def _check_messages(self) -> Iterator[str]:
        sent_by_seq_no: dict[tuple[str, int], list[SentEvent]] = defaultdict(list)
        for event in self.run.observer.sent_events:
            sent_by_seq_no[event.transaction_id, event.seq_no].append(event)
        for (transaction_id, seq_no), (call, attempts) in self._exported_attempts().items():
            sent = sent_by_seq_no[transaction_id, seq_no]
            if len(attempts) > 1 or len(sent) != 1:
                self.question_count += 1
                lines = self.analyst.explain(call).lines
                problems = (
                    *self._check_send_count(lines, len(attempts), len(sent)),
                    *self._check_resend_reasons(lines, attempts, sent),
                )
                for problem in problems:
                    yield f"seqNo {seq_no} of {transaction_id}, call {call}: {problem}"

    def _exported_attempts(self) -> dict[tuple[str, int], tuple[int, list[tuple[int, str]]]]:
        """(transactionId, seqNo) -> (call, its attempts as (entry, messageId)), as exported."""
        attempts: dict[tuple[str, int], tuple[int, list[tuple[int, str]]]] = {}
        for row in export_rows(self.analyst.journal, "messages"):
            if row["direction"] == "out" and row["action"] == "TransactionEvent":
                key = row["transaction_id"], row["seq_no"]
                _, call_attempts = attempts.setdefault(key, (row["call_seq"], []))
                call_attempts.append((row["seq"], row["message_id"]))
        return attempts

    def _check_send_count(self, lines: list[str], tried: int, sent: int) -> Iterator[str]:
        """The stated number of attempts is right, and none was sent that is not stated."""
        for line in lines:
            if match := _SENT_TIMES.match(line):
                if not int(match[1] or 1) == sent == tried:
                    yield f"{line} It was tried {tried} times, and sent {sent} times."
                return
            if match := _TRIED_TIMES.match(line):
                if int(match[1] or 1) != tried or not sent <= tried:
                    yield f"{line} It was tried {tried} times, and sent {sent} times."
                return
        yield f"the answer does not state how often it was sent: {lines[:3]}"

    def _check_resend_reasons(
        self, lines: list[str], attempts: list[tuple[int, str]], sent: list[SentEvent]
    ) -> Iterator[str]:
        sent_by_id = {event.message_id: event for event in sent}
        for (_, earlier_id), (entry, later_id) in pairwise(attempts):
            reason = next((line for line in lines if line.startswith(f"Entry {entry}: ")), "")
            if earlier_id in sent_by_id and later_id in sent_by_id:
                possible = set(self._possible_reasons(sent_by_id[earlier_id], sent_by_id[later_id]))
                if not any(text in reason for text in possible):
                    yield f"attempt {entry} is explained by {reason!r}, not one of {possible}"

    def _possible_reasons(self, earlier: SentEvent, later: SentEvent) -> Iterator[str]:
        """Reasons to send the message again that were true on the network."""
        if later.run_number != earlier.run_number:
            yield "the program ended"
        if later.connection is not earlier.connection:
            yield "the link was lost"
        waited_s = later.at_s - earlier.at_s
        if waited_s >= TIMEOUT_S or earlier.message_id in self.run.spoiled_message_ids:
            yield "the previous attempt failed"
        if any(
            event.detail == "CallRetryRequested" and earlier.at_s <= event.at_s <= later.at_s
            for event in self.run.external_events
        ):
            yield "an operator requested it"

    # --- Totals ----------------------------------------------------------------------------------

    def check_totals(self) -> Iterator[str]:
        """The exported transactions are exactly those of the CSMS's ledger."""
        rows = {
            row["transaction_id"]: row for row in export_rows(self.analyst.journal, "transactions")
        }
        if rows.keys() != self.run.csms_records.keys():
            yield f"exported {sorted(rows)}, received by the CSMS {sorted(self.run.csms_records)}"
            return
        for transaction_id, record in self.run.csms_records.items():
            assert record.ended_event is not None
            excluded_wh = rows[transaction_id]["excluded_wh"]  # another meter was installed
            energy_wh = record.energy_wh
            expected = {
                "energy_wh": None if energy_wh is None else energy_wh - excluded_wh,
                "stopped_reason": record.ended_event.transaction_info.stopped_reason,
                "seq_no_last": max(record.events),
            }
            if record.evse_id is not None:  # None: no EV was plugged in, so no EVSE was reported
                expected["evse_id"] = record.evse_id
            for field, value in expected.items():
                exported = rows[transaction_id][field]
                if exported != value:
                    yield f"{transaction_id}: {field} is exported as {exported}, and was {value}"
        yield from find_unbalanced_meters(self.analyst.journal)


# Whether an answer is true; arguments: the world, entry number, EVSE, match of the answer.
AnswerCheck = Callable[[WorldCheck, int, int, re.Match[str]], bool]
AnswerChecks = dict[str, AnswerCheck]  # pattern of an answer -> whether it is true

_FAULT_ANSWERS: Final[AnswerChecks] = {
    r"EVSE (\d) had a fault, (\S+ \S+?)[ .:]": lambda world, seq, evse, match: (
        int(match[1]) == evse and world.was_faulted(seq, evse, match[2])
    ),
    r"the station had a fault, (\S+ \S+?)[ .:]": lambda world, seq, evse, match: world.was_faulted(
        seq, 0, match[1]
    ),
}
_DISK_FULL_ANSWERS: Final[AnswerChecks] = {
    r"the disk had space left only": lambda world, seq, evse, match: world.was_disk_short(seq),
}
_CLOSED_ANSWERS: Final[AnswerChecks] = {
    **_DISK_FULL_ANSWERS,
    r"the CSMS requested Inoperative for (EVSE|the station)": (
        lambda world, seq, evse, match: world.was_requested(seq, "ChangeAvailability")
    ),
    r"the station was about to restart": lambda world, seq, evse, match: world.was_requested(
        seq, "Reset"
    ),
    r"the CSMS requested (a|an immediate) reset": lambda world, seq, evse, match: (
        world.was_requested(seq, "Reset")
    ),
}
_STOP_ANSWERS: Final[AnswerChecks] = {
    **_FAULT_ANSWERS,
    **_DISK_FULL_ANSWERS,
    r"the IdToken that started it": lambda world, seq, evse, match: world.happened_at(
        seq, evse, "present_id_token"
    ),
    r"another IdToken (of the same group|was presented)": lambda world, seq, evse, match: (
        world.happened_at(seq, evse, "present_id_token")
    ),
    r"the stop button was": lambda world, seq, evse, match: world.happened_at(
        seq, evse, "press_stop_button"
    ),
    r"the EV ended its session": lambda world, seq, evse, match: world.was_ev_full(seq, evse),
    r"the EV was disconnected, and none": lambda world, seq, evse, match: world.is_unplugged(
        seq, evse
    ),
    r"the EV was disconnected": lambda world, seq, evse, match: world.happened_at(
        seq, evse, "disconnect_ev"
    ),
    r"the CSMS requested it": lambda world, seq, evse, match: world.was_requested(
        seq, "RequestStopTransaction"
    ),
    r"an immediate reset": lambda world, seq, evse, match: world.was_requested(seq, "Reset"),
    r"no EV was plugged in within EVConnectionTimeOut": lambda world, seq, evse, match: (
        world.is_unplugged(seq, evse)
    ),
    r"the power supply was lost": lambda world, seq, evse, match: world.had_restarted(seq),
    r"the program (was not running|restarted)": lambda world, seq, evse, match: world.had_restarted(
        seq
    ),
    r"the CSMS does not accept the IdToken": lambda world, seq, evse, match: world.has_csms_status(
        seq, "Blocked", "Unknown"
    ),
}
_CSMS_UNREACHABLE: Final = (
    "(the CSMS could not be asked|the CSMS sent no valid answer|"
    "the link was lost before the CSMS answered)"
)
_REFUSAL_ANSWERS: Final[AnswerChecks] = {
    **_FAULT_ANSWERS,
    **_CLOSED_ANSWERS,
    r"the CSMS answered (\w+)": lambda world, seq, evse, match: world.has_csms_status(
        seq, match[1]
    ),
    rf"{_CSMS_UNREACHABLE}, and the IdToken is cached as (\w+)": lambda world, seq, evse, match: (
        world.was_disturbed(seq) and world.has_csms_status(seq, match[2])
    ),
    rf"{_CSMS_UNREACHABLE}, and the IdToken is in the Local Authorization List": (
        lambda world, seq, evse, match: (
            world.was_disturbed(seq) and world.was_requested(seq, "SendLocalList")
        )
    ),
    r"(a reservation names the EVSE|every free EVSE is kept for a reservation)": (
        lambda world, seq, evse, match: world.was_requested(seq, "ReserveNow")
    ),
    r"the Local Authorization List has the IdToken": lambda world, seq, evse, match: (
        world.was_requested(seq, "SendLocalList")
    ),
    _CSMS_UNREACHABLE: lambda world, seq, evse, match: world.was_disturbed(seq),
    r"the CSMS had not accepted": lambda world, seq, evse, match: world.was_disturbed(seq),
    r"(no EVSE was free|another IdToken|another transaction)": lambda world, seq, evse, match: any(
        world.events_before(seq, "present_id_token", "send_request", within_s=ANY_TIME_S)
    ),
}
_AUTHORIZATION_ANSWERS: Final[AnswerChecks] = {
    r"the (CSMS accepted the IdToken|IdToken was cached as Accepted)": (
        lambda world, seq, evse, match: world.has_csms_status(seq, "Accepted")
    ),
    r"the IdToken is in the Local Authorization List as Accepted": (
        lambda world, seq, evse, match: world.was_requested(seq, "SendLocalList")
    ),
    r"the CSMS requested the start": lambda world, seq, evse, match: world.was_requested(
        seq, "RequestStartTransaction"
    ),
    r"AuthCtrlr.Enabled is false": lambda world, seq, evse, match: world.was_requested(
        seq, "SetVariables"
    ),
}
_START_ANSWERS: Final[AnswerChecks] = {
    r"the CSMS requested the start.* TxStartPoint (\w+) was reached": (
        lambda world, seq, evse, match: (
            world.was_requested(seq, "RequestStartTransaction") and world.has_start_point(match[1])
        )
    ),
    r"AuthCtrlr.Enabled is false.* TxStartPoint (\w+) was reached": (
        lambda world, seq, evse, match: (
            world.was_requested(seq, "SetVariables") and world.has_start_point(match[1])
        )
    ),
    r"the (?:CSMS accepted|IdToken was cached).* TxStartPoint (\w+) was reached": (
        lambda world, seq, evse, match: (
            world.has_csms_status(seq, "Accepted") and world.has_start_point(match[1])
        )
    ),
    r"the IdToken is in the Local Authorization List.* TxStartPoint (\w+) was reached": (
        lambda world, seq, evse, match: (
            world.was_requested(seq, "SendLocalList") and world.has_start_point(match[1])
        )
    ),
    r"an EV was plugged in: TxStartPoint (EVConnected) was reached": (
        lambda world, seq, evse, match: world.had_ev(seq, evse) and world.has_start_point(match[1])
    ),
    r"energy began to flow: TxStartPoint (EnergyTransfer) was reached": (
        lambda world, seq, evse, match: world.had_ev(seq, evse) and world.has_start_point(match[1])
    ),
}
_PARKED_ANSWERS: Final[AnswerChecks] = {
    r"its last attempt failed, attempt (\d+) of \1: ": lambda world, seq, evse, match: (
        world.was_disturbed(seq)
    ),
}
_DROPPED_ANSWERS: Final[AnswerChecks] = {
    # A silent network may have lost the link at any time before.
    r"the link was lost": lambda world, seq, evse, match: any(
        world.events_before(seq, *DISTURBANCES, within_s=ANY_TIME_S)
    ),
    r"the program ended": lambda world, seq, evse, match: world.had_restarted(seq),
    r"disk space was low": lambda world, seq, evse, match: world.was_disk_short(seq),
    r"the CSMS rejected it, InternalError: not today": lambda world, seq, evse, match: (
        world.had_csms_fault(seq, "call_error")
    ),
    r"InternalError: not today; BootNotification is sent again later": (
        lambda world, seq, evse, match: world.had_csms_fault(seq, "call_error")
    ),
    r"no answer within 30 s": lambda world, seq, evse, match: world.was_disturbed(seq),
    r"unusable answer": lambda world, seq, evse, match: world.had_csms_fault(
        seq, "malformed_response"
    ),
}

# A sentence of the transcript -> the possible answers of `station why` about its entry.
QUESTIONS: Final[tuple[tuple[str, AnswerChecks], ...]] = (
    (r"starts transaction \S+ at EVSE (?P<evse>\d)", _START_ANSWERS),
    (r"ends the authorization(?: at EVSE (?P<evse>\d))?", _STOP_ANSWERS),
    (r"authorizes \S+(?: at EVSE (?P<evse>\d)| for the next EV)", _AUTHORIZATION_ANSWERS),
    (r"stops transaction (?P<name>[0-9a-f]+)", _STOP_ANSWERS),
    (r"refuses \S+(?: at EVSE (?P<evse>\d))?:", _REFUSAL_ANSWERS),
    (r"queues StatusNotification: EVSE (?P<evse>\d) connector \d Unavailable", _CLOSED_ANSWERS),
    (r"queues StatusNotification: EVSE (?P<evse>\d) connector \d Faulted", _FAULT_ANSWERS),
    (r"parks call ", _PARKED_ANSWERS),
    (r"drops calls? ", _DROPPED_ANSWERS),
)
