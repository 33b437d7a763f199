"""Record of all frames between station and CSMS: violations and response times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean

from tests.support.csms.frames import (
    CALL,
    CALLERROR,
    CALLRESULT,
    Frame,
    frame_violations,
    parse_frame,
)
from tests.support.csms.ledger import Ledger


@dataclass(frozen=True)
class ResponseTimes:
    """How long the station took to answer CALLs of one action, in seconds."""

    count: int
    minimum_s: float
    mean_s: float
    maximum_s: float


class FrameRecord:
    """Every frame in order, written by the CSMS's thread, read by the test's thread.

    `problems` has one line for each violation of the protocol by the *station*. The record never
    removes one: a test that provokes a violation removes it.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.problems: list[str] = []
        self.ledger = Ledger()
        self.condition = threading.Condition()
        # By (incoming, messageId) of a CALL.
        self._action_by_call: dict[tuple[bool, str], str] = {}
        # By incoming, then messageId: the connection's number.
        self._unanswered: dict[bool, dict[str, int]] = {True: {}, False: {}}
        # Texts sent by the CSMS that are not OCPP-J: any answer is allowed to them.
        self._malformed_texts: list[str] = []
        # Connections the CSMS stopped reading: the order of frames proves nothing there.
        self._stalled_connections: set[int] = set()

    def add_frame(self, text: str, *, connection: int, incoming: bool) -> Frame:
        """Append a frame, check it if the station sent it, and notify all waiting threads."""
        with self.condition:
            frame = self._parse_text(text, connection, incoming)
            self.frames.append(frame)
            if incoming:
                self._check_frame(frame)
            self._track_call(frame)
            self.condition.notify_all()
        return frame

    def add_problem(self, problem: str) -> None:
        """Record a violation of the protocol by the station."""
        with self.condition:
            self.problems.append(problem)
            self.condition.notify_all()

    def waive_response(self, message_id: str) -> None:
        """Allow another CALL before this one is answered: the CSMS will not answer it in time."""
        with self.condition:
            self._unanswered[True].pop(message_id, None)

    def tolerate_overlap(self, connection: int) -> None:
        """Allow overlapping CALLs: a stopped CSMS may later read both a CALL and its retry."""
        with self.condition:
            self._stalled_connections.add(connection)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float, description: str) -> None:
        """Wait until a condition over the record holds.

        Raises:
            TimeoutError: not within `timeout_s`; names `description` and the last frames.
        """
        with self.condition:
            if not self.condition.wait_for(condition, timeout_s):
                last = "\n  ".join(frame.text[:200] for frame in self.frames[-8:])
                raise TimeoutError(
                    f"no {description} within {timeout_s} s; the last frames:\n  {last}"
                )

    def wait_for_frame(
        self, predicate: Callable[[Frame], bool], timeout_s: float, description: str, after: int = 0
    ) -> Frame:
        """The first frame from number `after` on that meets `predicate`; waits for it."""
        matches: list[Frame] = []
        checked = after

        def has_match() -> bool:
            nonlocal checked
            for frame in self.frames[checked:]:
                checked += 1
                if predicate(frame):
                    matches.append(frame)
                    return True
            return False

        self.wait_until(has_match, timeout_s, description)
        return matches[0]

    def response_times(self) -> dict[str, ResponseTimes]:
        """Per action, how long the station took to answer the CALLs of the CSMS."""
        pending = {frame.message_id: frame for frame in self.frames if _is_call(frame, False)}
        seconds_by_action: dict[str, list[float]] = {}
        for frame in self.frames:
            call = pending.pop(frame.message_id, None) if _is_response(frame, True) else None
            if call is not None and call.action is not None:
                seconds_by_action.setdefault(call.action, []).append(
                    frame.monotonic_s - call.monotonic_s
                )
        return {
            action: ResponseTimes(len(seconds), min(seconds), fmean(seconds), max(seconds))
            for action, seconds in seconds_by_action.items()
        }

    def _parse_text(self, text: str, connection: int, incoming: bool) -> Frame:
        parts = parse_frame(text)
        action = parts.action
        if parts.type in (CALLRESULT, CALLERROR) and parts.message_id is not None:
            action = self._action_by_call.get((not incoming, parts.message_id))
        return Frame(
            number=len(self.frames),
            connection=connection,
            incoming=incoming,
            at=datetime.now(UTC),
            monotonic_s=time.monotonic(),
            text=text,
            type=parts.type,
            message_id=parts.message_id,
            action=action,
            payload=parts.payload,
            error_code=parts.error_code,
            error_description=parts.error_description,
        )

    def _check_frame(self, frame: Frame) -> None:
        if frame.type is not None and frame.action is None and self._answers_malformed_frame(frame):
            return
        problems = list(frame_violations(frame))
        if _is_call(frame, True):
            if frame.action == "TransactionEvent" and not problems:
                self.ledger.receive(frame.payload, frame.at)
            problems += self._call_problems(frame)
        elif _is_response(frame, True) and frame.message_id != "-1":
            if frame.action is None:
                problems.append("answers a CALL the CSMS never made")
            elif frame.message_id not in self._unanswered[False]:
                problems.append("answers a CALL a second time")
        self.problems += [f"{frame.text[:300]}: {problem}" for problem in dict.fromkeys(problems)]

    def _answers_malformed_frame(self, frame: Frame) -> bool:
        return any(f'"{frame.message_id}"' in text for text in self._malformed_texts)

    def _call_problems(self, frame: Frame) -> list[str]:
        """Part 4 §4.1.1: one CALL at a time; §4.1.4: no messageId twice."""
        problems = []
        if (True, str(frame.message_id)) in self._action_by_call:
            problems.append("uses a messageId again")
        unanswered = [
            message_id
            for message_id, connection in self._unanswered[True].items()
            if connection == frame.connection and connection not in self._stalled_connections
        ]
        if unanswered:
            problems.append(f"is sent while {unanswered} is unanswered")
        return problems

    def _track_call(self, frame: Frame) -> None:
        if frame.type is None and not frame.incoming:
            self._malformed_texts.append(frame.text)
        if frame.message_id is None:
            return
        if frame.type == CALL and frame.action is not None:
            self._action_by_call[frame.incoming, frame.message_id] = frame.action
            self._unanswered[frame.incoming][frame.message_id] = frame.connection
        elif frame.type in (CALLRESULT, CALLERROR):
            self._unanswered[not frame.incoming].pop(frame.message_id, None)


def _is_call(frame: Frame, incoming: bool) -> bool:
    return frame.type == CALL and frame.incoming is incoming


def _is_response(frame: Frame, incoming: bool) -> bool:
    return frame.type in (CALLRESULT, CALLERROR) and frame.incoming is incoming
