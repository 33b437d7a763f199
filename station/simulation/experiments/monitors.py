"""Cost of monitors: processor time, entries and bytes of a day, with and without them.

`python -m station.simulation.experiments.monitors --monitors 500` simulates two EVSEs that charge,
first without monitors and then with as many as `--monitors`: a Delta of 0 and both thresholds on
everything that is measured, of all severities, periodic ones as far as they are accepted, and a
Delta on other variables. The power changes with every reading. Processor time is that of the whole
process, so the difference between the two runs is the cost.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import trio

from station.core.device_model.definitions import Component
from station.core.device_model.monitors import supports_type
from station.core.device_model.reports import component_data
from station.ocpp.messages import decode_request
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import ALICE, BOB
from station.simulation.world import SimulatedWorld, run_simulation

DAY_S: Final = 86_400
SETTLE_S: Final = 120  # until the EVs charge, and until the monitors are set
MEASURED: Final = ("Power", "DCCurrent", "DCVoltage", "StateOfCharge", "EnergyImportRegister")
ITEMS_PER_REQUEST: Final = 50


class MonitorSample(NamedTuple):
    """What some simulated minutes cost."""

    monitors: int
    seconds: float
    cpu_s: float
    entries: int
    journal_bytes: int
    events: int

    def format_row(self) -> str:
        """A row of the table, per day."""
        days = self.seconds / DAY_S
        cells = (
            f"{self.monitors}",
            f"{self.cpu_s / self.seconds:.2%}",
            f"{self.entries / days:,.0f}",
            f"{self.journal_bytes / days / 1e6:,.1f} MB",
            f"{self.events / days:,.0f}",
        )
        return f"| {' | '.join(cells)} |"


TABLE_HEAD: Final = (
    "| monitors | processor time | entries a day | journal a day | events a day |\n"
    "|---|---|---|---|---|"
)


def measure_monitors(directory: Path, count: int, minutes: float) -> MonitorSample:
    """Two EVSEs charging for so many minutes, with `count` monitors of the CSMS."""
    samples: list[MonitorSample] = []

    async def main() -> None:
        world = SimulatedWorld(directory, seed=0)

        async def run_script() -> None:
            await trio.sleep(SETTLE_S)
            for evse_id, id_token in zip(world.evses, (ALICE, BOB), strict=True):
                ev = SimulatedEv(power_w=120_000, energy_needed_wh=Decimal(10**9), varies=True)
                world.schedule_session(evse_id, id_token, ev, stay_s=DAY_S)
            _set_monitors(world, count)
            await trio.sleep(SETTLE_S)
            before = _read_counters(world)
            await trio.sleep(minutes * 60)
            after = _read_counters(world)
            samples.append(
                MonitorSample(
                    monitors=count,
                    seconds=minutes * 60,
                    cpu_s=after[0] - before[0],
                    entries=after[1] - before[1],
                    journal_bytes=after[2] - before[2],
                    events=after[3] - before[3],
                )
            )

        await world.run(run_script)

    run_simulation(main, seed=0)
    return samples[0]


def _set_monitors(world: SimulatedWorld, count: int) -> None:
    assert world.process is not None, "the station does not run"
    items = islice(_monitor_items(world), count)
    while chunk := list(islice(items, ITEMS_PER_REQUEST)):
        payload = msgspec.json.encode({"setMonitoringData": chunk})
        world.csms.send_request(decode_request("SetVariableMonitoring", payload))


def _monitor_items(world: SimulatedWorld) -> Iterator[dict[str, Any]]:
    """SetMonitoringDataType, the most expensive first."""
    assert world.process is not None
    definitions = world.process.product.device_model.definitions
    measured = [each for each in definitions if each.key.name in MEASURED]
    others = [
        each
        for each in definitions
        if each not in measured and supports_type(each, "Delta") and not each.key.instance
    ]
    for severity in range(10):
        for definition in measured:
            for kind, value in (("Delta", 0), ("UpperThreshold", 100), ("LowerThreshold", 100)):
                yield _item(definition.key.component, definition.key.name, kind, value, severity)
    for definition in measured:
        yield _item(definition.key.component, definition.key.name, "Periodic", 60, 9)
    for severity in (7, 8, 9):
        for definition in others:
            yield _item(definition.key.component, definition.key.name, "Delta", 1, severity)


def _item(
    component: Component, variable: str, kind: str, value: int, severity: int
) -> dict[str, Any]:
    return {
        "component": component_data(component),
        "variable": {"name": variable},
        "type": kind,
        "value": value,
        "severity": severity,
    }


def _read_counters(world: SimulatedWorld) -> tuple[float, int, int, int]:
    """Processor time, entries, bytes of the file, and eventIds so far."""
    assert world.process is not None
    store, recorder = world.process.store, world.process.recorder
    store.checkpoint()
    [path] = [Path(row[2]) for row in store.reader.connection.execute("PRAGMA database_list")]
    events = recorder.state.monitors.next_event_id
    return time.process_time(), recorder.head.seq, path.stat().st_size, events


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="station.simulation.experiments.monitors", description=__doc__
    )
    parser.add_argument("--monitors", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=30, help="simulated, of each run")
    options = parser.parse_args(arguments)
    print(TABLE_HEAD)
    for count in (0, options.monitors):
        with tempfile.TemporaryDirectory(prefix="monitors-") as directory:
            print(
                measure_monitors(Path(directory), count, options.minutes).format_row(), flush=True
            )
    return 0


if __name__ == "__main__":
    logging.disable()  # only here: it affects the whole process
    sys.exit(main(sys.argv[1:]))
