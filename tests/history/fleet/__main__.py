"""Ask about many journals; `python -m tests.history.fleet --journals 200 --seed 0`."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from station.simulation.plans import planned
from station.simulation.world import shared_memory
from tests.history.fleet.answers import Day, wrong
from tests.history.fleet.asking import Analyst
from tests.history.fleet.film import filmed
from tests.history.fleet.scenes import days
from tests.history.fleet.storms import Storm


def main(arguments: list[str]) -> int:
    """The command line; 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(prog="tests.history.fleet", description=__doc__)
    parser.add_argument("--journals", type=int, default=20, help="days, and as many storms")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    asked = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    began = time.perf_counter()
    questions = entries = faults = 0
    for count, size, found in (*_days(asked.seed, asked.journals),
                               *_storms(asked.seed, asked.journals)):  # fmt: skip
        questions, entries, faults = questions + count, entries + size, faults + len(found)
        for fault in found:
            print(fault, flush=True)
    print(
        f"{2 * asked.journals} journals, {entries} entries: {questions} questions, "
        f"{faults} wrong answers, {time.perf_counter() - began:.0f} s"
    )
    return 1 if faults else 0


Asked = tuple[int, int, list[str]]  # questions, entries, and what was wrong


def _days(seed: int, journals: int) -> Iterator[Asked]:
    for plan, scenes in days(seed, journals):
        with tempfile.TemporaryDirectory(dir=shared_memory()) as place:
            film = filmed(plan, Path(place))
            day = Day(film, scenes, Analyst(film.final))
            count = sum(len(scene.questions) for scene in scenes)
            yield count, film.witness.seq, [f"day {plan.seed}: {one}" for one in wrong(day)]


def _storms(seed: int, journals: int) -> Iterator[Asked]:
    for number in range(seed, seed + journals):
        with tempfile.TemporaryDirectory(dir=shared_memory()) as place:
            film = filmed(planned(number), Path(place))
            storm = Storm(film, Analyst(film.final))
            found = [f"storm {number}: {one}" for one in storm.wrong()]
            yield storm.asked, film.witness.seq, found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
