"""Is what `station why` answers true of worlds in which everything goes wrong at once?

Here nobody knows the answers beforehand. But whatever is answered, the world outside must have
been so: somebody pressed the button that is told of, the device was broken at that time, the frame
went over the wire as often as is said, and for no other reason than one that the wire knows.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from station.simulation.faulty_csms import ID_TOKENS
from tests.ground_truth.asking import Analyst, TranscriptLine, run_station
from tests.ground_truth.film import ExternalEvent, RecordedRun, SentEvent

TOLERANCE_S: Final = 450.0  # a slow line and a program that is away put things off; so do stalls
LONG_ABSENCE_S: Final = 1_200.0  # a link that was silent is looked for with longer and longer waits
TIMEOUT_S: Final = 29.99  # uptime is whole milliseconds; OCPPCommCtrlr.MessageTimeout[Default]
ANY_TIME_S: Final = float("inf")

DISTURBANCES: Final = ("cut_connection", "switch_network", "slow_network", "restart_csms", "set_fault_rates", "set_registration", "stall_disk",
                   "kill_process", "kill_at_commit", "fail_disk", "send_sigterm", "send_csms_request")  # fmt: skip

_SENT_TIMES: Final = re.compile(r"It was sent (?:once|(\d+) times)\.$")
_TRIED_TIMES: Final = re.compile(
    r"It was tried (?:once|(\d+) times), and (not )?known to have been sent"
)


class StormCheck:
    """One world, and an analyst who has its journal."""

    def __init__(self, recorded_run: RecordedRun, analyst: Analyst) -> None:
        self.recorded_run = recorded_run
        self.analyst = analyst
        self.question_count = 0
        self._slack_s = TOLERANCE_S + sum(
            one.arguments["seconds"] for one in recorded_run.plan.events if one.kind == "stall_disk"
        )

    def find_wrong_answers(self) -> Iterator[str]:
        """A line for every answer that is missing or not true."""
        for line in self.analyst.transcript:
            for pattern, answers in QUESTIONS:
                if found := re.match(pattern, line.sentence):
                    yield from self._check_answer(line, self._evse_of(found.groupdict()), answers)
        yield from self._check_messages()
        yield from self.check_totals()

    def _evse_of(self, groups: dict[str, Any]) -> int:
        """Where an entry took place; 0: nowhere in particular."""
        if name := groups.get("name"):
            accounts = self.recorded_run.csms_accounts.items()
            return next((one.evse_id or 0 for full, one in accounts if full.startswith(name)), 0)
        return int(groups.get("evse") or 0)

    def _check_answer(
        self, line: TranscriptLine, evse_id: int, answers: AnswerChecks
    ) -> Iterator[str]:
        self.question_count += 1
        lines = self.analyst.explain(line.seq).lines
        because = next((one for one in lines if one.startswith("Because ")), "no reason is told")
        for says, is_true in answers.items():
            if found := re.match(f"Because {says}", because):
                if not is_true(self, line.seq, evse_id, found):
                    yield f"entry {line.seq}, {line.sentence}: not true that: {because}"
                return
        yield f"entry {line.seq}, {line.sentence}: {because}"

    # --- What was true ---------------------------------------------------------------------------

    def events_before(self, seq: int, *whats: str, within_s: float = 0) -> Iterator[ExternalEvent]:
        """What of that kind happened not long before an entry; 0: as long as things may take."""
        until_s = self.recorded_run.observer.written_s[seq]
        within_s = within_s or self._slack_s
        for one in self.recorded_run.external_events:
            if one.kind in whats and until_s - within_s <= one.at_s <= until_s:
                yield one

    def happened_at(self, seq: int, evse_id: int, *whats: str) -> bool:
        return any(0 in (one.evse_id, evse_id) or one.evse_id == evse_id
                   for one in self.events_before(seq, *whats))  # fmt: skip

    def is_unplugged(self, seq: int, evse_id: int) -> bool:
        """Whether no EV was plugged in; at any EVSE, where nobody was told which it is."""
        last = {one.evse_id: one.kind for one in
                self.events_before(seq, "connect_ev", "disconnect_ev", "start_session", within_s=ANY_TIME_S)}  # fmt: skip
        where = [evse_id] if evse_id else [1, 2]
        return any(last.get(one, "disconnect_ev") == "disconnect_ev" for one in where)

    def had_ev(self, seq: int, evse_id: int) -> bool:
        """Whether an EV had ever been plugged in there."""
        found = self.events_before(seq, "connect_ev", "start_session", within_s=ANY_TIME_S)
        return any(one.evse_id == evse_id for one in found)

    def was_requested(self, seq: int, *actions: str) -> bool:
        found = self.events_before(seq, "send_request", within_s=ANY_TIME_S)
        return any(one.detail == f"{action}Request" for one in found for action in actions)

    def was_faulted(self, seq: int, evse_id: int, fault: str) -> bool:
        """Whether it broke before, and had not been mended long before."""
        began = [one.at_s for one in self.events_before(seq, "add_fault", within_s=ANY_TIME_S)
                 if (one.evse_id, one.detail) == (evse_id, fault)]  # fmt: skip
        ended = [one.at_s for one in self.events_before(seq, "clear_fault", within_s=ANY_TIME_S)
                 if (one.evse_id, one.detail) == (evse_id, fault)]  # fmt: skip
        late_s = self.recorded_run.observer.written_s[seq] - self._slack_s
        mended_s = max(ended, default=0)
        return bool(began) and (mended_s <= max(began) or mended_s >= late_s)

    def was_ev_full(self, seq: int, evse_id: int) -> bool:
        """Whether the EV that left next had all it needed."""
        since_s = self.recorded_run.observer.written_s[seq] - self._slack_s
        return any(one.kind == "disconnect_ev" and one.detail == "full" and one.at_s >= since_s
                   and one.evse_id == evse_id for one in self.recorded_run.external_events)  # fmt: skip

    def has_csms_status(self, seq: int, *statuses: str) -> bool:
        """Whether somebody who was there has one of these statuses with the CSMS."""
        there = {
            one.detail for one in self.events_before(seq, "present_id_token", within_s=ANY_TIME_S)
        }
        if self.was_requested(seq, "RequestStartTransaction"):
            there |= set(ID_TOKENS)
        if self.was_requested(seq, "SetVariables"):
            there |= {""}  # whoever comes while nobody needs to be asked
        return any((ID_TOKENS[one].status if one in ID_TOKENS else "Unknown") in statuses
                   for one in there)  # fmt: skip

    def was_disturbed(self, seq: int) -> bool:
        """Whether anything at all could keep the CSMS from being asked."""
        starting = self.recorded_run.observer.written_s[seq] < 2
        return starting or any(self.events_before(seq, *DISTURBANCES, within_s=LONG_ABSENCE_S))

    def has_start_point(self, *points: str) -> bool:
        """Whether one of these is what the station was told to begin at."""
        return (
            self.recorded_run.plan.variables.get("TxCtrlr.TxStartPoint", "PowerPathClosed")
            in points
        )

    def was_disk_short(self, seq: int) -> bool:
        """Whether the disk was short of room: two that fill it may leave it so until the end."""
        return any(self.events_before(seq, "fill_disk", within_s=ANY_TIME_S))

    def had_csms_fault(self, seq: int, fault: str) -> bool:
        """Whether the CSMS was in that mood."""
        until_s = self.recorded_run.observer.written_s[seq]
        return any(one.kind == "set_fault_rates" and fault in one.arguments and one.at_s <= until_s
                   for one in self.recorded_run.plan.events)  # fmt: skip

    def had_restarted(self, seq: int) -> bool:
        """Whether the program had begun anew not long before."""
        until_s = self.recorded_run.observer.written_s[seq]
        return any(
            until_s - self._slack_s <= one <= until_s
            for one in self.recorded_run.observer.started_at_s[1:]
        )

    # --- Why was this message sent twice? --------------------------------------------------------

    def _check_messages(self) -> Iterator[str]:
        sendings: dict[tuple[str, int], list[SentEvent]] = defaultdict(list)
        for one in self.recorded_run.observer.sent_events:
            sendings[one.transaction_id, one.seq_no].append(one)
        for (name, seq_no), (call, tried) in self._exported_attempts().items():
            sent = sendings[name, seq_no]
            if len(tried) > 1 or len(sent) != 1:
                self.question_count += 1
                lines = self.analyst.explain(call).lines
                for fault in (*self._check_send_count(lines, len(tried), len(sent)),
                              *self._check_resend_reasons(lines, tried, sent)):  # fmt: skip
                    yield f"seqNo {seq_no} of {name}, call {call}: {fault}"

    def _exported_attempts(self) -> dict[tuple[str, int], tuple[int, list[tuple[int, str]]]]:
        """(transactionId, seqNo) -> (call, its attempts as (entry, messageId)), as exported."""
        found: dict[tuple[str, int], tuple[int, list[tuple[int, str]]]] = {}
        for row in self._export_rows("messages"):
            if row["direction"] == "out" and row["action"] == "TransactionEvent":
                of = row["transaction_id"], row["seq_no"]
                found.setdefault(of, (row["call_seq"], []))[1].append(
                    (row["seq"], row["message_id"])
                )
        return found

    def _check_send_count(self, lines: list[str], tried: int, sent: int) -> Iterator[str]:
        """What is told for certain was so, and the wire knows of no attempt that is not told."""
        for line in lines:
            if found := _SENT_TIMES.match(line):
                if not int(found[1] or 1) == sent == tried:
                    yield f"{line} It was tried {tried} times, and sent {sent} times."
                return
            if found := _TRIED_TIMES.match(line):
                if int(found[1] or 1) != tried or not sent <= tried:
                    yield f"{line} It was tried {tried} times, and sent {sent} times."
                return
        yield f"nothing tells how often it was sent: {lines[:3]}"

    def _check_resend_reasons(
        self, lines: list[str], tried: list[tuple[int, str]], sent: list[SentEvent]
    ) -> Iterator[str]:
        by_name = {one.message_id: one for one in sent}
        for (_, before), (entry, name) in pairwise(tried):
            why = next((line for line in lines if line.startswith(f"Entry {entry}: ")), "nothing")
            if before in by_name and name in by_name:
                possible = set(self._possible_reasons(by_name[before], by_name[name]))
                if not any(one in why for one in possible):
                    yield f"attempt {entry} is explained by {why!r}, not one of {possible}"

    def _possible_reasons(self, before: SentEvent, resent: SentEvent) -> Iterator[str]:
        """Why the same went once more, as the wire has it."""
        if resent.run_number != before.run_number:
            yield "the program ended"
        if resent.wire is not before.wire:
            yield "the link was lost"
        waited_s = resent.at_s - before.at_s
        if waited_s >= TIMEOUT_S or before.message_id in self.recorded_run.spoiled_message_ids:
            yield "the previous attempt failed"
        if any(one.detail == "CallRetryRequested" and before.at_s <= one.at_s <= resent.at_s
               for one in self.recorded_run.external_events):  # fmt: skip
            yield "an operator requested it"

    # --- What does it add up to? -----------------------------------------------------------------

    def _export_rows(self, table: str) -> list[dict[str, Any]]:
        told = run_station("export", self.analyst.journal, table, "--format", "jsonl")
        assert told.exit_code == 0, told.stderr
        return [json.loads(line, parse_float=Decimal) for line in told.lines]

    def check_totals(self) -> Iterator[str]:
        """The exported transactions are those of the CSMS's ledger, to the last digit."""
        rows = {row["transaction_id"]: row for row in self._export_rows("transactions")}
        if rows.keys() != self.recorded_run.csms_accounts.keys():
            yield f"exported are {sorted(rows)}, the CSMS knows {sorted(self.recorded_run.csms_accounts)}"
            return
        for name, account in self.recorded_run.csms_accounts.items():
            assert account.ended_event is not None
            known = {
                "energy_wh": account.energy_wh,
                "stopped_reason": account.ended_event.transaction_info.stopped_reason,
                "seq_no_last": max(account.events),
            }
            if account.evse_id is not None:  # else the EV never came, and nobody was told where
                known["evse_id"] = account.evse_id
            for field, value in known.items():
                if rows[name][field] != value:
                    yield f"{name}: {field} is exported as {rows[name][field]}, and was {value}"


AnswerCheck = Callable[
    [StormCheck, int, int, re.Match[str]], bool
]  # entry, EVSE, and what was answered
AnswerChecks = dict[str, AnswerCheck]  # the beginning of an answer -> whether it is true

_FAULT_ANSWERS: Final[AnswerChecks] = {
    r"EVSE (\d) had a fault, (\S+ \S+?)[ .:]": lambda storm, seq, evse, found: (
        int(found[1]) == evse and storm.was_faulted(seq, evse, found[2])
    ),
    r"the station had a fault, (\S+ \S+?)[ .:]": lambda storm, seq, evse, found: storm.was_faulted(
        seq, 0, found[1]
    ),
}
_DISK_FULL_ANSWERS: Final[AnswerChecks] = {
    r"the disk had space left only": lambda storm, seq, evse, found: storm.was_disk_short(seq),
}
_CLOSED_ANSWERS: Final[AnswerChecks] = {
    **_DISK_FULL_ANSWERS,
    r"the CSMS (set|requested Inoperative for) (EVSE|the station)": lambda storm, seq, evse, found: (
        storm.was_requested(seq, "ChangeAvailability")
    ),
    r"the station was about to restart": lambda storm, seq, evse, found: storm.was_requested(
        seq, "Reset"
    ),
    r"the CSMS requested (a|an immediate) reset": lambda storm, seq, evse, found: (
        storm.was_requested(seq, "Reset")
    ),
}
_STOP_ANSWERS: Final[AnswerChecks] = {
    **_FAULT_ANSWERS,
    **_DISK_FULL_ANSWERS,
    r"the IdToken that started it": lambda storm, seq, evse, found: storm.happened_at(
        seq, evse, "present_id_token"
    ),
    r"another IdToken of|another IdToken was presented": lambda storm, seq, evse, found: (
        storm.happened_at(seq, evse, "present_id_token")
    ),
    r"the stop button was": lambda storm, seq, evse, found: storm.happened_at(
        seq, evse, "press_stop_button"
    ),
    r"the EV ended its session": lambda storm, seq, evse, found: storm.was_ev_full(seq, evse),
    r"the EV was disconnected, and none": lambda storm, seq, evse, found: storm.is_unplugged(
        seq, evse
    ),
    r"the EV was disconnected": lambda storm, seq, evse, found: storm.happened_at(
        seq, evse, "disconnect_ev"
    ),
    r"the CSMS requested it": lambda storm, seq, evse, found: storm.was_requested(
        seq, "RequestStopTransaction"
    ),
    r"an immediate reset": lambda storm, seq, evse, found: storm.was_requested(seq, "Reset"),
    r"no EV was plugged in within EVConnectionTimeOut": lambda storm, seq, evse, found: (
        storm.is_unplugged(seq, evse)
    ),
    r"the power supply was lost": lambda storm, seq, evse, found: storm.had_restarted(seq),
    r"the program (was not running|restarted)": lambda storm, seq, evse, found: storm.had_restarted(
        seq
    ),
    r"the CSMS does not accept the IdToken": lambda storm, seq, evse, found: storm.has_csms_status(
        seq, "Blocked", "Unknown"
    ),
}
_CSMS_UNREACHABLE: Final = "(the CSMS could not be asked|the CSMS sent no valid answer)"
_REFUSAL_ANSWERS: Final[AnswerChecks] = {
    **_FAULT_ANSWERS,
    **_CLOSED_ANSWERS,
    r"the CSMS answered (\w+)": lambda storm, seq, evse, found: storm.has_csms_status(
        seq, found[1]
    ),
    rf"{_CSMS_UNREACHABLE}, and the IdToken is cached as (\w+)": lambda storm, seq, evse, found: (
        storm.was_disturbed(seq) and storm.has_csms_status(seq, found[2])
    ),
    _CSMS_UNREACHABLE: lambda storm, seq, evse, found: storm.was_disturbed(seq),
    r"the CSMS had not accepted": lambda storm, seq, evse, found: storm.was_disturbed(seq),
    r"(no EVSE was free|another IdToken|another transaction)": lambda storm, seq, evse, found: any(
        storm.events_before(seq, "present_id_token", "send_request", within_s=ANY_TIME_S)
    ),
}
_GRANT_ANSWERS: Final[AnswerChecks] = {
    r"the (CSMS accepted the IdToken|IdToken was cached as Accepted)": lambda storm, seq, evse, found: (
        storm.has_csms_status(seq, "Accepted")
    ),
    r"the CSMS requested the start": lambda storm, seq, evse, found: storm.was_requested(
        seq, "RequestStartTransaction"
    ),
    r"AuthCtrlr.Enabled is false": lambda storm, seq, evse, found: storm.was_requested(
        seq, "SetVariables"
    ),
}
_START_ANSWERS: Final[AnswerChecks] = {
    r"an IdToken was authorized": lambda storm, seq, evse, found: (
        storm.has_csms_status(seq, "Accepted")
        and storm.has_start_point("Authorized", "PowerPathClosed")
    ),
    r"an EV was plugged in and no authorization is needed": lambda storm, seq, evse, found: (
        storm.had_ev(seq, evse) and storm.was_requested(seq, "SetVariables")
    ),
    r"the EV was plugged in after authorization": lambda storm, seq, evse, found: (
        storm.had_ev(seq, evse) and storm.has_start_point("EVConnected", "PowerPathClosed")
    ),
    r"an EV was plugged in": lambda storm, seq, evse, found: (
        storm.had_ev(seq, evse) and storm.has_start_point("EVConnected")
    ),
    r"energy (began to flow|flowed)": lambda storm, seq, evse, found: (
        storm.had_ev(seq, evse) and storm.has_start_point("EnergyTransfer")
    ),
    r"the CSMS requested the start": lambda storm, seq, evse, found: storm.was_requested(
        seq, "RequestStartTransaction"
    ),
}
_PARKED_ANSWERS: Final[AnswerChecks] = {
    r"its last attempt failed, attempt (\d+) of \1: ": lambda storm, seq, evse, found: (
        storm.was_disturbed(seq)
    ),
}
_DROPPED_ANSWERS: Final[AnswerChecks] = {
    r"the link was lost": lambda storm, seq, evse, found: any(
        storm.events_before(
            seq, *DISTURBANCES, within_s=ANY_TIME_S
        )  # one that is silent may stay so for long
    ),
    r"the program ended": lambda storm, seq, evse, found: storm.had_restarted(seq),
    r"disk space was low": lambda storm, seq, evse, found: storm.was_disk_short(seq),
    r"the CSMS rejected it, InternalError: not today": lambda storm, seq, evse, found: (
        storm.had_csms_fault(seq, "call_error")
    ),
    r"InternalError: not today; BootNotification is sent again later": (
        lambda storm, seq, evse, found: storm.had_csms_fault(seq, "call_error")
    ),
    r"no answer within 30 s": lambda storm, seq, evse, found: storm.was_disturbed(seq),
    r"unusable answer": lambda storm, seq, evse, found: storm.had_csms_fault(
        seq, "malformed_response"
    ),
}

# A sentence of the transcript -> what may be answered to whoever asks why.
QUESTIONS: Final[tuple[tuple[str, AnswerChecks], ...]] = (
    (r"starts transaction \S+ at EVSE (?P<evse>\d)", _START_ANSWERS),
    (r"ends the authorization(?: at EVSE (?P<evse>\d))?", _STOP_ANSWERS),
    (r"authorizes \S+(?: at EVSE (?P<evse>\d)| for the next EV)", _GRANT_ANSWERS),
    (r"stops transaction (?P<name>[0-9a-f]+)", _STOP_ANSWERS),
    (r"refuses \S+(?: at EVSE (?P<evse>\d))?:", _REFUSAL_ANSWERS),
    (r"queues StatusNotification: EVSE (?P<evse>\d) connector \d Unavailable", _CLOSED_ANSWERS),
    (r"queues StatusNotification: EVSE (?P<evse>\d) connector \d Faulted", _FAULT_ANSWERS),
    (r"parks call ", _PARKED_ANSWERS),
    (r"drops calls? ", _DROPPED_ANSWERS),
)
