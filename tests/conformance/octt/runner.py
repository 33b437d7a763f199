"""Runs the chosen cases, several at a time, and collects their outcomes.

Each worker has a bench of its own and runs one case after another on it. After a case that failed
or is marked `needs_fresh_station`, or if the preconditions cannot be restored, the bench is
discarded and the next case gets a new one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from station.profiles import load_profile
from tests.conformance.octt.bench import PROGRAM, StationBench
from tests.conformance.octt.cases import (
    PLAYS,
    CaseFunction,
    security_profile_of,
    wants_fresh_station,
    wants_root_check,
)
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import CheckFailed
from tests.support.csms import Frame

REASON_CHARACTERS_MAX = 1500
LOG_LINES = 25
START_FAILED = "the station did not start"
FRAMES = 12


@dataclass(frozen=True)
class MeasuredTimes:
    """Seconds of one case, for the response-time table."""

    responses: tuple[float, ...] = ()
    triggered: tuple[float, ...] = ()
    remote_start: tuple[float, ...] = ()
    remote_stop: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The result of one case. `reason` is empty if it passed."""

    case_id: str
    passed: bool
    reason: str = ""
    took_s: float = 0.0
    trace: str = ""  # if it failed: the last frames and the end of the station's log
    measured: MeasuredTimes = field(default_factory=MeasuredTimes)
    reusable: bool = True  # the bench may run another case after `restore_preconditions`


OutcomeCallback = Callable[[Outcome], None]


class Runner:
    """Runs cases of one product on `jobs` benches.

    Args:
        program: the command that starts the station.
        on_outcome: called with every outcome, from the workers' threads, one at a time.
    """

    def __init__(
        self,
        profile: str,
        *,
        jobs: int = 2,
        program: Sequence[str] = PROGRAM,
        on_outcome: OutcomeCallback = lambda outcome: None,
    ) -> None:
        self.profile = profile
        self.jobs = jobs
        self.program = program
        self._on_outcome = on_outcome
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []

    def run_cases(self, case_ids: Iterable[str]) -> list[Outcome]:
        """Run these cases; the outcomes are in the order of the ids."""
        requested = list(case_ids)
        # Cases that need a fresh station first, so that they do not interrupt shared benches.
        ordered = sorted(requested, key=lambda case_id: not _needs_fresh_station(case_id))
        waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        for case_id in ordered:
            waiting.put(case_id)
        # msgspec prepares a class when it is first decoded: in two threads at once that crashes.
        load_profile(self.profile)
        workers = [
            threading.Thread(target=self._run_worker, args=(waiting,), name=f"worker {number}")
            for number in range(min(self.jobs, len(requested)))
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        outcomes = {outcome.case_id: outcome for outcome in self._outcomes}
        return [outcomes[case_id] for case_id in requested]

    def _run_worker(self, waiting: queue.SimpleQueue[str]) -> None:
        with ExitStack() as stack:
            bench: StationBench | None = None
            while True:
                try:
                    case_id = waiting.get_nowait()
                except queue.Empty:
                    return
                if bench is None or _needs_fresh_station(case_id):
                    stack.close()
                    bench = None
                outcome, bench = self._run_case(case_id, bench, stack)
                with self._lock:
                    self._outcomes.append(outcome)
                    self._on_outcome(outcome)

    def _run_case(
        self, case_id: str, bench: StationBench | None, stack: ExitStack
    ) -> tuple[Outcome, StationBench | None]:
        """Run one case; also returns the bench if the next case may use it."""
        play = PLAYS.get(case_id)
        if play is None:
            return Outcome(case_id, False, "this case is not implemented"), bench
        began_s = time.monotonic()
        try:
            bench = bench or stack.enter_context(self._make_bench(play))
        except Exception as error:
            reason = f"{START_FAILED}: {_error_text(error)}"
            return Outcome(case_id, False, reason, time.monotonic() - began_s), None
        outcome = play_on(bench, case_id, play)
        if outcome.reusable and _restore_bench(bench):
            return outcome, bench
        stack.close()
        return outcome, None

    def _make_bench(self, play: CaseFunction) -> StationBench:
        return StationBench(
            self.profile,
            program=self.program,
            security_profile=security_profile_of(play),
            root_check=wants_root_check(play),
        )


def play_on(bench: StationBench, case_id: str, play: CaseFunction) -> Outcome:
    """Run one case on a bench that meets the general preconditions."""
    began_s = time.monotonic()
    csms = bench.csms
    first_frame, known_problems = csms.next_frame_number(), len(csms.problems)
    tester = Tester(bench)
    reason = ""
    try:
        play(tester)
        tester.check_counting()
    except CheckFailed as failure:
        reason = str(failure)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    violations = [
        *csms.problems[known_problems:],
        *(tester.csms.problems if tester.csms is not csms else []),
    ]
    if violations and not reason:
        reason = f"protocol violation: {violations[0]}"
    frames = csms.record.frames[first_frame:]
    return Outcome(
        case_id,
        not reason,
        _limit_length(reason),
        time.monotonic() - began_s,
        _failure_trace(bench, frames) if reason else "",
        MeasuredTimes(
            tuple(_response_times(frames)),
            tuple(tester.timings.triggered),
            tuple(tester.timings.remote_start),
            tuple(tester.timings.remote_stop),
        ),
        not (reason or wants_fresh_station(play) or tester.has_open_authorization),
    )


def _needs_fresh_station(case_id: str) -> bool:
    play = PLAYS.get(case_id)
    return play is not None and wants_fresh_station(play)


def _restore_bench(bench: StationBench) -> bool:
    """Restore the preconditions of the next case; False: the bench must be discarded."""
    problems = len(bench.csms.problems)
    try:
        bench.restore_preconditions()
    except Exception:
        return False  # whatever the reason, a new bench takes only seconds
    return len(bench.csms.problems) == problems


def _response_times(frames: Sequence[Frame]) -> Iterable[float]:
    """How long the station took to answer each CALL of the CSMS."""
    sent_s: dict[str | None, float] = {}
    for frame in frames:
        if not frame.incoming and frame.type == 2:
            sent_s[frame.message_id] = frame.monotonic_s
        elif frame.incoming and frame.type in (3, 4) and frame.message_id in sent_s:
            yield frame.monotonic_s - sent_s.pop(frame.message_id)


def _failure_trace(bench: StationBench, frames: Sequence[Frame]) -> str:
    lines = [f"{'>' if frame.incoming else '<'} {frame.text[:700]}" for frame in frames[-FRAMES:]]
    log = bench.station.read_log().splitlines()[-LOG_LINES:]
    return "\n".join([*lines, "--- log of the station", *log])


def _limit_length(text: str) -> str:
    return text if len(text) <= REASON_CHARACTERS_MAX else text[:REASON_CHARACTERS_MAX] + "…"


def _error_text(error: Exception) -> str:
    return _limit_length(f"{type(error).__name__}: {error}")
