"""Power limits under load: profiles and external limits change, EVs come and go, the power is cut.

`python -m station.simulation.experiments.limits --hours 24`: two EVSEs with EVs that ramp up, taper
and pause, 50 changes of limits an hour, power cuts, link losses and clock steps at random. Every
invariant of the simulation is checked, above all SC.01: no set-point is above a limit in force.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from station.simulation.evse_double import EvseDouble, SimulatedEv
from station.simulation.fault_plan import EVENT_ACTIONS, FaultyDisk
from station.simulation.faulty_csms import ALICE, BOB
from station.simulation.run_plan import FaultyDiskChecker
from station.simulation.seeds import make_limit_event
from station.simulation.world import (
    SimulatedWorld,
    load_product,
    run_simulation,
    shared_memory_directory,
)

CHANGES_PER_HOUR: Final = 50
CUTS_PER_HOUR: Final = 2
LINK_LOSSES_PER_HOUR: Final = 2
CLOCK_STEPS_PER_HOUR: Final = 0.5
PAUSES_PER_HOUR: Final = 10
STAY_S: Final = (300, 2_400)
GAP_S: Final = (20, 600)  # between two EVs
LINK_DOWN_S: Final = (5, 600)
RESTART_GAP_S: Final = (1, 60)


class LimitsResult(msgspec.Struct):
    """What happened in the run."""

    limit_changes: int = 0
    power_cuts: int = 0
    link_losses: int = 0
    clock_steps: int = 0
    sessions: int = 0
    set_point_checks: int = 0
    decisions: int = 0  # entries of the journal
    delivered_wh: Decimal = Decimal(0)


class LimitsExperiment:
    """Some hours of operation under limits that change."""

    def __init__(self, directory: Path, hours: float, seed: int) -> None:
        self.result = LimitsResult()
        self.steps_until_kill = 0  # of EventTarget; the power is cut at a commit instead
        self.disk = FaultyDisk()
        self._directory = directory
        self._hours = hours
        self._seed = seed
        self._random_source = random.Random(f"limits {seed}")
        self._checker = FaultyDiskChecker(load_product())
        self._checker.disk = self.disk
        self.world: SimulatedWorld

    def run(self) -> LimitsResult:
        """Simulate all hours; an InvariantError is raised as it is."""
        run_simulation(self._run_world, self._seed)
        return self.result

    def undo_after(self, delay_s: float, action: Callable[[], None]) -> None:
        self.world.event_queue.run_after(delay_s, action)

    async def _run_world(self) -> None:
        self.world = SimulatedWorld(self._directory, seed=self._seed, observer=self._checker)
        await self.world.run(self._run_script)

    async def _run_script(self) -> None:
        for evse in self.world.evses.values():
            self._schedule_session(evse)
        for rate, action in (
            (CHANGES_PER_HOUR, self._change_limit),
            (CUTS_PER_HOUR, self._cut_power),
            (LINK_LOSSES_PER_HOUR, self._lose_link),
            (CLOCK_STEPS_PER_HOUR, self._step_clock),
            (PAUSES_PER_HOUR, self._pause_ev),
        ):
            self._repeat(3_600 / rate, action)
        before_wh = self._energy_wh()
        await trio.sleep(self._hours * 3_600)
        self.result.delivered_wh = self._energy_wh() - before_wh
        self.result.set_point_checks = self._checker.set_point_checks
        self.result.decisions = self._checker.seq

    def _repeat(self, mean_s: float, action: Callable[[], None]) -> None:
        def act() -> None:
            action()
            self._repeat(mean_s, action)

        self.world.event_queue.run_after(self._random_source.expovariate(1 / mean_s), act)

    def _energy_wh(self) -> Decimal:
        return sum((evse.energy_wh for evse in self.world.evses.values()), Decimal(0))

    # --- Events ----------------------------------------------------------------------------------

    def _schedule_session(self, evse: EvseDouble) -> None:
        def start_session() -> None:
            stay_s = self._random_source.uniform(*STAY_S)
            ev = SimulatedEv(
                energy_needed_wh=Decimal(self._random_source.randint(5_000, 60_000)),
                power_w=self._random_source.choice([50_000, 120_000, 180_000]),
                varies=True,
            )
            self.result.sessions += 1
            id_token = self._random_source.choice([ALICE, BOB])
            self.world.schedule_session(evse.evse_id, id_token, ev, stay_s)
            self.undo_after(stay_s + 20, partial(self._schedule_session, evse))

        self.undo_after(self._random_source.uniform(*GAP_S), start_session)

    def _change_limit(self) -> None:
        at_s = trio.current_time()
        kind, arguments = make_limit_event(self._random_source, at_s)
        EVENT_ACTIONS[kind](self, **arguments)
        self.result.limit_changes += 1

    def _cut_power(self) -> None:
        """The next commit is cut, before or after it is on the disk; the host starts again."""
        gap_s = self._random_source.uniform(*RESTART_GAP_S)
        when = self._random_source.choice(["before", "after"])
        EVENT_ACTIONS["kill_at_commit"](self, when=when, gap_s=gap_s, host=True)
        self.result.power_cuts += 1

    def _lose_link(self) -> None:
        mode = self._random_source.choice(["down", "silent"])
        seconds = self._random_source.uniform(*LINK_DOWN_S)
        EVENT_ACTIONS["switch_network"](self, mode=mode, seconds=seconds)
        self.result.link_losses += 1

    def _step_clock(self) -> None:
        step_s = self._random_source.choice([-3_600, -30, 30, 3_600])
        EVENT_ACTIONS["step_clock"](self, step_s=step_s)
        self.result.clock_steps += 1

    def _pause_ev(self) -> None:
        evse_id = self._random_source.choice(list(self.world.evses))
        EVENT_ACTIONS["pause_ev"](
            self, evse_id=evse_id, seconds=self._random_source.uniform(10, 300)
        )


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="station.simulation.experiments.limits", description=__doc__
    )
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    started_at = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=shared_memory_directory(), prefix="limits-") as directory:
        result = LimitsExperiment(Path(directory), options.hours, options.seed).run()
    figures = ", ".join(f"{name} {value}" for name, value in msgspec.structs.asdict(result).items())
    print(f"{options.hours:g} hours in {time.perf_counter() - started_at:.0f} s: {figures}")
    return 0


if __name__ == "__main__":
    logging.disable()  # only here: it affects the whole process
    sys.exit(main(sys.argv[1:]))
