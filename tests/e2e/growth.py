"""`python -m tests.e2e.growth MINUTES`: bytes that the real process writes, idle and charging.

The same figures as `station.simulation.experiments.growth`, of one station in real time, with
emulated devices in another process and the settings of the product; the kernel counts the writes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.e2e.harness import IDENTITY, PASSWORD, EmulatedDevices, StationProcess
from tests.e2e.steps import ALICE, authorize_and_plug_in, wait_booted, wait_charging
from tests.support.csms import Csms

SETTLES_S = 20.0


class GrowthSample(NamedTuple):
    """Counts since the start of the process."""

    at_s: float
    entries: int
    written_bytes: int


def take_sample(station: StationProcess) -> GrowthSample:
    io = Path(f"/proc/{station.pid}/io").read_text(encoding="ascii")
    fields = dict(line.split(": ") for line in io.splitlines())
    seq = int(station.read_state()["journal"]["seq"])
    return GrowthSample(time.monotonic(), seq, int(fields["write_bytes"]))


def hourly_rates(station: StationProcess, minutes: float) -> str:
    """Measure for that many minutes; returns the rates per hour."""
    time.sleep(SETTLES_S)
    before = take_sample(station)
    time.sleep(60 * minutes)
    after = take_sample(station)
    hours = (after.at_s - before.at_s) / 3600
    entries = (after.entries - before.entries) / hours
    written = (after.written_bytes - before.written_bytes) / hours / 1e6
    return f"{entries:,.0f} entries and {written:.1f} MB written in an hour"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.e2e.growth", description=__doc__)
    parser.add_argument("minutes", type=float, help="duration of each of the two measurements")
    parser.add_argument("--directory", type=Path, help="on a real disk, with a short path")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="gr-", dir=options.directory) as directory,
        Csms(passwords={IDENTITY: PASSWORD}) as csms,
    ):
        csms.responses.add_id_token(ALICE)
        devices = EmulatedDevices(Path(directory) / "data")
        station = StationProcess(Path(directory), csms.url)
        try:
            devices.start()
            station.start()
            wait_booted(station, csms)
            print(f"idle: {hourly_rates(station, options.minutes)}", flush=True)
            authorize_and_plug_in(station)
            wait_charging(csms)
            print(f"charging: {hourly_rates(station, options.minutes)}", flush=True)
        finally:
            station.close()
            devices.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
