"""How are the chosen cases played, several at a time, and what came of each?

Every worker has a bench of its own and plays one case after another on it. A case that fails, or
that marks itself `fresh`, costs the bench: the next one gets a new one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.csms import Frame
from tests.octt.bench import PROGRAM, Bench
from tests.octt.cases import PLAYS, Play, security_profile_of, wants_fresh_station
from tests.octt.tester import Tester
from tests.octt.verify import Failure

REASON_CHARACTERS_MAX = 1500
LOG_LINES = 25
NO_START = "the station did not start"
FRAMES = 12


@dataclass(frozen=True)
class Measured:
    """Seconds of one case, for the response-time table."""

    responses: tuple[float, ...] = ()
    triggered: tuple[float, ...] = ()
    remote_start: tuple[float, ...] = ()
    remote_stop: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of one case. `reason` is empty for one that passed."""

    case_id: str
    passed: bool
    reason: str = ""
    took_s: float = 0.0
    trace: str = ""  # of a case that failed: the last frames, the end of the station's log
    measured: Measured = field(default_factory=Measured)
    reusable: bool = True  # the station may serve another case once it is set back


Told = Callable[[Outcome], None]


class Runner:
    """Plays cases of one product on `jobs` benches.

    Args:
        program: what is run as the station.
        told: hears of every outcome, from the workers' threads, one at a time.
    """

    def __init__(
        self,
        profile: str,
        *,
        jobs: int = 2,
        program: Sequence[str] = PROGRAM,
        told: Told = lambda outcome: None,
    ) -> None:
        self.profile = profile
        self.jobs = jobs
        self.program = program
        self._told = told
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []

    def run(self, case_ids: Iterable[str]) -> list[Outcome]:
        """Play these cases; the outcomes come in the order of the ids."""
        wanted = list(case_ids)
        # Those with a station of their own first, so that shared ones are not torn apart by them.
        ordered = sorted(wanted, key=lambda case_id: not _is_fresh(case_id))
        waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        for case_id in ordered:
            waiting.put(case_id)
        workers = [
            threading.Thread(target=self._work, args=(waiting,), name=f"worker {number}")
            for number in range(min(self.jobs, len(wanted)))
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found = {outcome.case_id: outcome for outcome in self._outcomes}
        return [found[case_id] for case_id in wanted]

    def _work(self, waiting: queue.SimpleQueue[str]) -> None:
        with ExitStack() as stack:
            bench: Bench | None = None
            while True:
                try:
                    case_id = waiting.get_nowait()
                except queue.Empty:
                    return
                if bench is None or _is_fresh(case_id):
                    stack.close()
                    bench = None
                outcome, bench = self._one(case_id, bench, stack)
                with self._lock:
                    self._outcomes.append(outcome)
                    self._told(outcome)

    def _one(
        self, case_id: str, bench: Bench | None, stack: ExitStack
    ) -> tuple[Outcome, Bench | None]:
        """Play one case; gives the bench where the next one may use it."""
        play = PLAYS.get(case_id)
        if play is None:
            return Outcome(case_id, False, "the tool has no such case"), bench
        began_s = time.monotonic()
        try:
            bench = bench or stack.enter_context(self._bench(play))
        except Exception as error:
            reason = f"{NO_START}: {_short(error)}"
            return Outcome(case_id, False, reason, time.monotonic() - began_s), None
        outcome = play_on(bench, case_id, play)
        if outcome.reusable and _restored(bench):
            return outcome, bench
        stack.close()
        return outcome, None

    def _bench(self, play: Play) -> Bench:
        secured = security_profile_of(play)
        return Bench(self.profile, program=self.program, security_profile=secured)


def play_on(bench: Bench, case_id: str, play: Play) -> Outcome:
    """Play one case on a bench that meets the general preconditions."""
    began_s = time.monotonic()
    csms = bench.csms
    mark, problems = csms.mark(), len(csms.problems)
    tester = Tester(bench)
    reason = ""
    try:
        play(tester)
        tester.check_counting()
    except Failure as failure:
        reason = str(failure)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    broken = [*csms.problems[problems:], *(tester.csms.problems if tester.csms is not csms else [])]
    if broken and not reason:
        reason = f"against the protocol: {broken[0]}"
    frames = csms.record.frames[mark:]
    return Outcome(
        case_id,
        not reason,
        _cut(reason),
        time.monotonic() - began_s,
        _trace(bench, frames) if reason else "",
        Measured(
            tuple(_response_times(frames)),
            tuple(tester.timings.triggered),
            tuple(tester.timings.remote_start),
            tuple(tester.timings.remote_stop),
        ),
        not (reason or wants_fresh_station(play) or tester.leaves_a_right_behind),
    )


def _is_fresh(case_id: str) -> bool:
    play = PLAYS.get(case_id)
    return play is not None and wants_fresh_station(play)


def _restored(bench: Bench) -> bool:
    """Whether the bench is again what the next case may expect."""
    problems = len(bench.csms.problems)
    try:
        bench.restore()
    except Exception:
        return False  # whatever it was, a new bench costs seconds
    return len(bench.csms.problems) == problems


def _response_times(frames: Sequence[Frame]) -> Iterable[float]:
    """How long the station took to answer each CALL of the CSMS."""
    asked: dict[str | None, float] = {}
    for frame in frames:
        if not frame.incoming and frame.type == 2:
            asked[frame.message_id] = frame.monotonic_s
        elif frame.incoming and frame.type in (3, 4) and frame.message_id in asked:
            yield frame.monotonic_s - asked.pop(frame.message_id)


def _trace(bench: Bench, frames: Sequence[Frame]) -> str:
    said = [f"{'>' if frame.incoming else '<'} {frame.text[:700]}" for frame in frames[-FRAMES:]]
    log = bench.station.log().splitlines()[-LOG_LINES:]
    return "\n".join([*said, "--- log of the station", *log])


def _cut(text: str) -> str:
    return text if len(text) <= REASON_CHARACTERS_MAX else text[:REASON_CHARACTERS_MAX] + "…"


def _short(error: Exception) -> str:
    return _cut(f"{type(error).__name__}: {error}")
