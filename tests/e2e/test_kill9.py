"""Does one transaction survive kill -9 at any moment, again and again, without losing a fact?

The emulated devices run in a process of their own, so the car stays plugged in. Each round the
station is killed at a random moment of its life: while it starts, while it connects, while it
charges, while the link is down. `SEED` repeats a run, `KILLS` sets how many.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.csms import Csms
from tests.e2e.harness import (
    EmulatedDevices,
    StationProcess,
    Variable,
    rows,
    run_command,
    until,
)
from tests.e2e.steps import (
    DRAWN_WH,
    EAGER,
    PATIENCE_S,
    authorize_and_plug_in,
    draw,
    wait_booted,
    wait_charging,
    wait_closed,
    wait_delivered,
)

KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(2**32))))
SECONDS_PER_KILL = 7  # the budget: 50 kills in less than six minutes
CALM_TIMEOUT_S = 120  # from the last kill until everything is delivered

pytestmark = pytest.mark.timeout(KILLS * SECONDS_PER_KILL + 2 * CALM_TIMEOUT_S)

PATIENT = (
    Variable("TxCtrlr", "ResumptionTimeout", "3600"),  # the rounds may add up to minutes
    Variable("TxCtrlr", "AllowEnergyTransferResumption", "true"),
)


@pytest.fixture
def variables() -> tuple[Variable, ...]:
    return EAGER + PATIENT


@pytest.fixture
def devices(place: Path) -> Iterator[EmulatedDevices]:
    """The emulated hardware and the EV, which outlive the station."""
    devices = EmulatedDevices(place / "data")
    try:
        devices.start()
        yield devices
    finally:
        devices.close()


@pytest.fixture
def survivor(
    devices: EmulatedDevices, csms: Csms, place: Path, variables: tuple[Variable, ...]
) -> Iterator[StationProcess]:
    """A booted station on emulated hardware of another process."""
    station = StationProcess(place, csms.url, variables=variables)
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


class Weather:
    """What happens to the link between two kills."""

    def __init__(self, dice: random.Random, csms: Csms) -> None:
        self.dice = dice
        self.csms = csms
        self.listening = True

    def change(self) -> str:
        """Let the CSMS go, come back, hang up or lose an answer."""
        if not self.listening:
            return self.clear() if self.dice.random() < 0.5 else "still refusing"
        match self.dice.randrange(6):
            case 0:
                self.csms.down()
                self.listening = False
                return "refuses connections"
            case 1:
                self.csms.disturb("TransactionEvent", copies=0, times=1)
                return "swallows an answer"
            case 2:
                self.csms.disturb("TransactionEvent", copies=2, times=1)
                return "answers twice"
            case 3 if self.csms.connected:
                self.csms.abort()
                return "tears the connection"
            case _:
                return "fine"

    def clear(self) -> str:
        if not self.listening:
            self.csms.up()
        self.listening = True
        return "listens again"


def kill_once(station: StationProcess, weather: Weather, dice: random.Random) -> str:
    """One life of the station, ended at a random moment; says what happened."""
    station.spawn()
    happened = weather.change()
    if dice.random() < 0.5:  # half the kills hit the start, at any point of it
        life_s = dice.uniform(0.0, 1.5)
    else:
        until(lambda: charges(station), PATIENCE_S, "energy flowing again")
        life_s = dice.uniform(0.0, 0.8)
    time.sleep(life_s)
    station.kill()
    return f"killed after {life_s:.3f} s more; the CSMS {happened}"


def charges(station: StationProcess) -> bool:
    """Whether the station answers and power flows at EVSE 1."""
    try:
        evse = station.evse(1)
    except OSError:
        assert station.alive, f"the station ended on its own:\n{station.log_tail()}"
        return False
    return bool(evse["contactor"] == "closed" and evse["power_w"] > 0)


def test_one_transaction_survives_every_kill(survivor: StationProcess, csms: Csms) -> None:
    print(f"SEED={SEED} KILLS={KILLS}")
    dice = random.Random(SEED)
    meter_before_wh = survivor.meter_wh(1)
    authorize_and_plug_in(survivor)
    transaction_id = wait_charging(csms)
    survivor.kill()
    weather = Weather(dice, csms)
    for number in range(1, KILLS + 1):
        print(f"{number}: {kill_once(survivor, weather, dice)}")
    weather.clear()
    survivor.start()
    until(lambda: charges(survivor), CALM_TIMEOUT_S, "energy flowing after the last kill")
    assert survivor.evse(1)["transaction_id"] == transaction_id
    draw(survivor)
    until(lambda: survivor.state()["outbox"] == 0, CALM_TIMEOUT_S, "empty outbox")
    survivor.op("unplug", evse_id=1)
    wait_closed(csms, transaction_id)
    wait_delivered(survivor)

    assert csms.ledger.transactions() == [transaction_id]
    assert csms.ledger.problems(transaction_id) == []
    drawn_wh = survivor.meter_wh(1) - meter_before_wh
    assert csms.ledger.energy_wh(transaction_id) == drawn_wh
    assert drawn_wh >= DRAWN_WH
    assert csms.ledger.duplicates(transaction_id) <= KILLS + len(csms.disturbances) + 20
    check_memory(survivor)


def check_memory(station: StationProcess) -> None:
    """Replay gives what the station told of itself, and verify finds nothing."""
    said = station.state()["journal"]
    replayed = run_command("replay", str(station.journal), "--to", str(said["seq"]), "--state")
    assert replayed.returncode == 0, replayed.stderr
    assert said["digest"] in replayed.stdout
    verified = run_command("verify", str(station.journal))
    assert verified.returncode == 0, verified.stderr
    head = run_command("verify", str(station.journal), "--head", f"{said['seq']}:{said['digest']}")
    assert head.returncode == 0, head.stderr


def test_a_kill_in_the_middle_resumes_with_the_same_transaction_e17(
    survivor: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(survivor)
    transaction_id = wait_charging(csms)
    draw(survivor)
    survivor.kill()
    until(lambda: survivor_contactor_open(survivor), PATIENCE_S, "contactor opened by the hardware")
    survivor.start()
    until(lambda: charges(survivor), PATIENCE_S, "energy flowing again")
    assert survivor.evse(1)["transaction_id"] == transaction_id
    draw(survivor)
    survivor.op("unplug", evse_id=1)
    wait_closed(csms, transaction_id)
    assert csms.ledger.transactions() == [transaction_id]
    assert csms.ledger.problems(transaction_id) == []


def test_a_car_gone_while_the_station_was_dead_ends_the_transaction_e17(
    survivor: StationProcess, devices: EmulatedDevices, csms: Csms
) -> None:
    meter_before_wh = survivor.meter_wh(1)
    authorize_and_plug_in(survivor)
    transaction_id = wait_charging(csms)
    draw(survivor)
    survivor.kill()
    devices.op("unplug", evse_id=1)
    survivor.start()
    wait_closed(csms, transaction_id)
    wait_delivered(survivor)
    assert csms.ledger.problems(transaction_id) == []
    assert csms.ledger.energy_wh(transaction_id) == survivor.meter_wh(1) - meter_before_wh
    assert survivor.evse(1)["transaction_id"] is None


def survivor_contactor_open(station: StationProcess) -> bool:
    return bool(station.world(1)["contactor"] == "open")


def test_one_flipped_byte_is_found_and_named(
    survivor: StationProcess, csms: Csms, place: Path
) -> None:
    authorize_and_plug_in(survivor)
    transaction_id = wait_charging(csms)
    survivor.op("unplug", evse_id=1)
    wait_closed(csms, transaction_id)
    survivor.terminate()
    whole = place / "whole.db"
    with closing(sqlite3.connect(survivor.journal)) as db:
        db.execute("VACUUM INTO ?", (str(whole),))
    assert run_command("verify", str(whole)).returncode == 0
    print(f"SEED={SEED}")
    for row in random.Random(SEED).sample(list(rows(whole)), 5):
        flipped = place / f"flipped-{row.seq}.db"
        shutil.copyfile(whole, flipped)
        flip_a_byte_of(flipped, row.digest)
        verified = run_command("verify", str(flipped))
        assert verified.returncode == 1
        named = [int(number) for number in re.findall(r"entry (\d+)", verified.stderr)]
        assert named, verified.stderr
        assert named[0] in (row.seq, row.seq + 1), verified.stderr
        assert "Traceback" not in verified.stderr


def flip_a_byte_of(path: Path, digest: bytes) -> None:
    """Damage the one place in the file where this digest lies."""
    content = bytearray(path.read_bytes())
    assert content.count(digest) == 1
    content[content.index(digest) + 7] ^= 0x10
    path.write_bytes(content)
