"""What can happen at a station of which it is known beforehand what somebody will ask later?

A day is some scenes one after the other, chosen by dice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Final

from station.simulation.fault_plan import Plan, ScheduledEvent
from tests.ground_truth import deliveries, outages, refusals, stops
from tests.ground_truth.stage import VARIABLES, Scene, SceneBuilder, SceneScript

SCENES_PER_DAY: Final = 8  # of a day
SCENE_BUILDERS: Final[dict[str, SceneBuilder]] = {
    one.__name__: one
    for one in (*stops.SCENES, *refusals.SCENES, *outages.SCENES, *deliveries.SCENES)
}


def plan_day(seed: int, names: list[str]) -> tuple[Plan, list[Scene]]:
    """These scenes, one after the other, each at an EVSE that the dice choose."""
    dice = random.Random(seed)
    strangers = count(0x04E00000000000 + (seed << 16))
    scenes: list[Scene] = []
    begin_s = 10.0
    for name in names:
        stage = SceneScript(dice, begin_s, dice.choice([1, 2]), strangers)
        SCENE_BUILDERS[name](stage)
        scenes.append(stage.build_scene(name))
        begin_s = scenes[-1].ends_s
    return Plan(seed, VARIABLES, tuple(_scheduled_events(scenes, begin_s))), scenes


def _scheduled_events(scenes: list[Scene], ends_s: float) -> Iterator[ScheduledEvent]:
    for scene in scenes:
        yield from scene.events
    yield ScheduledEvent(ends_s, "rest", {})


def plan_days(seed: int, journals: int) -> Iterator[tuple[Plan, list[Scene]]]:
    """So many days, in which every scene has its turn again and again."""
    dice = random.Random(seed)
    rest: list[str] = []
    for number in range(journals):
        names = []
        for _ in range(SCENES_PER_DAY):
            rest = rest or dice.sample(list(SCENE_BUILDERS), len(SCENE_BUILDERS))
            names.append(rest.pop())
        yield plan_day(seed * 1_000 + number, names)
