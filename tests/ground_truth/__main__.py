"""Ask about many journals; `python -m tests.ground_truth --journals 200 --seed 0`."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from station.simulation.seeds import make_plan
from station.simulation.world import shared_memory_directory
from tests.ground_truth.answers import PlayedDay, find_wrong_answers
from tests.ground_truth.asking import Analyst
from tests.ground_truth.film import record_run
from tests.ground_truth.scenes import plan_days
from tests.ground_truth.storms import StormCheck


def main(arguments: list[str]) -> int:
    """The command line; 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(prog="tests.ground_truth", description=__doc__)
    parser.add_argument("--journals", type=int, default=20, help="days, and as many storms")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    asked = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    began = time.perf_counter()
    questions = entries = faults = 0
    for count, size, found in (*_check_days(asked.seed, asked.journals),
                               *_check_storms(asked.seed, asked.journals)):  # fmt: skip
        questions, entries, faults = questions + count, entries + size, faults + len(found)
        for fault in found:
            print(fault, flush=True)
    print(
        f"{2 * asked.journals} journals, {entries} entries: {questions} questions, "
        f"{faults} wrong answers, {time.perf_counter() - began:.0f} s"
    )
    return 1 if faults else 0


CheckResult = tuple[int, int, list[str]]  # questions, entries, and what was wrong


def _check_days(seed: int, journals: int) -> Iterator[CheckResult]:
    for plan, scenes in plan_days(seed, journals):
        with tempfile.TemporaryDirectory(dir=shared_memory_directory()) as place:
            film = record_run(plan, Path(place))
            day = PlayedDay(film, scenes, Analyst(film.final_journal))
            count = sum(len(scene.questions) for scene in scenes)
            yield (
                count,
                film.checker.seq,
                [f"day {plan.seed}: {one}" for one in find_wrong_answers(day)],
            )


def _check_storms(seed: int, journals: int) -> Iterator[CheckResult]:
    for number in range(seed, seed + journals):
        with tempfile.TemporaryDirectory(dir=shared_memory_directory()) as place:
            film = record_run(make_plan(number), Path(place))
            storm = StormCheck(film, Analyst(film.final_journal))
            found = [f"storm {number}: {one}" for one in storm.find_wrong_answers()]
            yield storm.question_count, film.checker.seq, found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
