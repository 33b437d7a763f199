"""What can happen at a station of which it is known beforehand what somebody will ask later?

A day is some scenes one after the other, chosen by dice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Final

from station.simulation.storm import Happening, Plan
from tests.history.fleet import deliveries, outages, refusals, stops
from tests.history.fleet.stage import VARIABLES, Director, Scene, Stage

SCENES: Final = 8  # of a day
DIRECTORS: Final[dict[str, Director]] = {
    one.__name__: one
    for one in (*stops.SCENES, *refusals.SCENES, *outages.SCENES, *deliveries.SCENES)
}


def day(seed: int, names: list[str]) -> tuple[Plan, list[Scene]]:
    """These scenes, one after the other, each at an EVSE that the dice choose."""
    dice = random.Random(seed)
    strangers = count(0x04E00000000000 + (seed << 16))
    scenes: list[Scene] = []
    begin_s = 10.0
    for name in names:
        stage = Stage(dice, begin_s, dice.choice([1, 2]), strangers)
        DIRECTORS[name](stage)
        scenes.append(stage.scene(name))
        begin_s = scenes[-1].ends_s
    return Plan(seed, VARIABLES, tuple(_acts(scenes, begin_s))), scenes


def _acts(scenes: list[Scene], ends_s: float) -> Iterator[Happening]:
    for scene in scenes:
        yield from scene.happenings
    yield Happening(ends_s, "rest", {})


def days(seed: int, journals: int) -> Iterator[tuple[Plan, list[Scene]]]:
    """So many days, in which every scene has its turn again and again."""
    dice = random.Random(seed)
    rest: list[str] = []
    for number in range(journals):
        names = []
        for _ in range(SCENES):
            rest = rest or dice.sample(list(DIRECTORS), len(DIRECTORS))
            names.append(rest.pop())
        yield day(seed * 1_000 + number, names)
