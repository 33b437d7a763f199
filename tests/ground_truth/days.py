"""Days: plans of several scenes one after the other, drawn from a random source."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Final

from station.simulation.fault_plan import Plan, ScheduledEvent
from tests.ground_truth import deliveries, energies, outages, refusals, stops
from tests.ground_truth.scene import VARIABLES, Scene, SceneBuilder, SceneScript

SCENES_PER_DAY: Final = 8
SCENE_BUILDERS: Final[dict[str, SceneBuilder]] = {
    builder.__name__: builder
    for builder in (
        *stops.SCENES,
        *refusals.SCENES,
        *outages.SCENES,
        *deliveries.SCENES,
        *energies.SCENES,
    )
}


def plan_day(seed: int, names: list[str]) -> tuple[Plan, list[Scene]]:
    """A plan with these scenes, one after the other, each at a random EVSE."""
    random_source = random.Random(seed)
    unused_uids = count(0x04E00000000000 + (seed << 16))
    scenes: list[Scene] = []
    begin_s = 10.0
    for name in names:
        script = SceneScript(random_source, begin_s, random_source.choice([1, 2]), unused_uids)
        SCENE_BUILDERS[name](script)
        scenes.append(script.build_scene(name))
        begin_s = scenes[-1].ends_s
    return Plan(seed, VARIABLES, tuple(_scheduled_events(scenes, begin_s))), scenes


def _scheduled_events(scenes: list[Scene], ends_s: float) -> Iterator[ScheduledEvent]:
    for scene in scenes:
        yield from scene.events
    yield ScheduledEvent(ends_s, "wait", {})


def plan_days(seed: int, journals: int) -> Iterator[tuple[Plan, list[Scene]]]:
    """So many days, through all scenes in a random order, again and again."""
    random_source = random.Random(seed)
    remaining: list[str] = []
    for number in range(journals):
        names = []
        for _ in range(SCENES_PER_DAY):
            remaining = remaining or random_source.sample(list(SCENE_BUILDERS), len(SCENE_BUILDERS))
            names.append(remaining.pop())
        yield plan_day(seed * 1_000 + number, names)
