"""Check the commands on many journals: `python -m tests.ground_truth --journals 200 --seed 0`."""

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
from tests.ground_truth.analyst import Analyst
from tests.ground_truth.days import plan_days
from tests.ground_truth.recorded_run import record_run
from tests.ground_truth.scene_checks import RecordedDay, find_wrong_answers
from tests.ground_truth.world_checks import WorldCheck


def main(arguments: list[str]) -> int:
    """The command line; 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(prog="tests.ground_truth", description=__doc__)
    parser.add_argument("--journals", type=int, default=20, help="number of days, and of worlds")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    started_at = time.perf_counter()
    questions = entries = wrong_count = 0
    for question_count, entry_count, wrong_answers in (
        *_check_days(options.seed, options.journals),
        *_check_worlds(options.seed, options.journals),
    ):
        questions += question_count
        entries += entry_count
        wrong_count += len(wrong_answers)
        for wrong_answer in wrong_answers:
            print(wrong_answer, flush=True)
    print(
        f"{2 * options.journals} journals, {entries} entries: {questions} questions, "
        f"{wrong_count} wrong answers, {time.perf_counter() - started_at:.0f} s"
    )
    return 1 if wrong_count else 0


CheckResult = tuple[int, int, list[str]]  # questions, entries, wrong answers


def _check_days(seed: int, journals: int) -> Iterator[CheckResult]:
    for plan, scenes in plan_days(seed, journals):
        with tempfile.TemporaryDirectory(dir=shared_memory_directory()) as directory:
            run = record_run(plan, Path(directory))
            day = RecordedDay(run, scenes, Analyst(run.final_journal))
            question_count = sum(len(scene.questions) for scene in scenes)
            wrong_answers = [f"day {plan.seed}: {text}" for text in find_wrong_answers(day)]
            yield question_count, run.checker.seq, wrong_answers


def _check_worlds(seed: int, journals: int) -> Iterator[CheckResult]:
    for number in range(seed, seed + journals):
        with tempfile.TemporaryDirectory(dir=shared_memory_directory()) as directory:
            run = record_run(make_plan(number), Path(directory))
            world = WorldCheck(run, Analyst(run.final_journal))
            wrong_answers = [f"world {number}: {text}" for text in world.find_wrong_answers()]
            yield world.question_count, run.checker.seq, wrong_answers


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
