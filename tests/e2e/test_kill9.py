"""One transaction survives `kill -9` at random moments without losing an event or energy. P1.

The emulated devices run in a process of their own, so the EV stays plugged in. In each round the
station is killed at a random moment: during start, connecting, charging, or while the link is
down. The environment variable `SEED` repeats a run, `KILLS` sets the number of kills: a sample
here, `make kills` for more.
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

from tests.e2e.harness import (
    EmulatedDevices,
    StationProcess,
    Variable,
    read_rows,
    run_command,
    wait_until,
)
from tests.e2e.steps import (
    DRAWN_WH,
    FAST_RETRIES,
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    wait_booted,
    wait_charging,
    wait_delivered,
    wait_energy_drawn,
    wait_transaction_ended,
)
from tests.support.csms import Csms

KILLS = int(os.environ.get("KILLS", "20"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(2**32))))
SECONDS_PER_KILL = 7  # 20 kills in less than three minutes
CALM_TIMEOUT_S = 120  # from the last kill until everything is delivered

pytestmark = pytest.mark.timeout(KILLS * SECONDS_PER_KILL + 2 * CALM_TIMEOUT_S)

LONG_RESUMPTION = (
    Variable("TxCtrlr", "ResumptionTimeout", "3600"),  # all rounds may take minutes
    Variable("TxCtrlr", "AllowEnergyTransferResumption", "true"),
)


@pytest.fixture
def variables() -> tuple[Variable, ...]:
    return FAST_RETRIES + LONG_RESUMPTION


@pytest.fixture
def restartable_station(
    devices: EmulatedDevices, csms: Csms, short_directory: Path, variables: tuple[Variable, ...]
) -> Iterator[StationProcess]:
    """A booted station with emulated hardware in another process."""
    station = StationProcess(short_directory, csms.url, variables=variables)
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


class LinkDisturber:
    """Random disturbances of the link between two kills."""

    def __init__(self, dice: random.Random, csms: Csms) -> None:
        self.dice = dice
        self.csms = csms
        self.listening = True

    def disturb_link(self) -> str:
        """Stop or restart the CSMS, abort the connection, drop or duplicate an answer."""
        if not self.listening:
            return self.restore_link() if self.dice.random() < 0.5 else "still refuses connections"
        match self.dice.randrange(6):
            case 0:
                self.csms.stop_listening()
                self.listening = False
                return "refuses connections"
            case 1:
                self.csms.disturb_calls("TransactionEvent", copies=0, times=1)
                return "drops an answer"
            case 2:
                self.csms.disturb_calls("TransactionEvent", copies=2, times=1)
                return "answers twice"
            case 3 if self.csms.is_connected:
                self.csms.abort_connection()
                return "aborts the connection"
            case _:
                return "does nothing special"

    def restore_link(self) -> str:
        if not self.listening:
            self.csms.start_listening()
        self.listening = True
        return "listens again"


def kill_once(station: StationProcess, link: LinkDisturber, dice: random.Random) -> str:
    """Start the station and kill it at a random moment; returns a description."""
    station.spawn()
    disturbance = link.disturb_link()
    if dice.random() < 0.5:  # half the kills hit the start, at any point of it
        life_s = dice.uniform(0.0, 1.5)
    else:
        wait_until(lambda: is_charging(station), STEP_TIMEOUT_S, "energy flowing again")
        life_s = dice.uniform(0.0, 0.8)
    time.sleep(life_s)
    station.kill()
    return f"killed after {life_s:.3f} s more; the CSMS {disturbance}"


def is_charging(station: StationProcess) -> bool:
    """Whether the station answers and power flows at EVSE 1."""
    try:
        evse = station.read_evse(1)
    except OSError:
        assert station.is_alive, f"the station ended on its own:\n{station.log_tail()}"
        return False
    return bool(evse["contactor"] == "closed" and evse["power_w"] > 0)


def test_one_transaction_survives_every_kill_p1(
    restartable_station: StationProcess, csms: Csms
) -> None:
    print(f"SEED={SEED} KILLS={KILLS}")
    dice = random.Random(SEED)
    meter_before_wh = restartable_station.emulated_meter_wh(1)
    authorize_and_plug_in(restartable_station)
    transaction_id = wait_charging(csms)
    restartable_station.kill()
    link = LinkDisturber(dice, csms)
    for number in range(1, KILLS + 1):
        print(f"{number}: {kill_once(restartable_station, link, dice)}")
    link.restore_link()
    restartable_station.start()
    wait_until(
        lambda: is_charging(restartable_station),
        CALM_TIMEOUT_S,
        "energy flowing after the last kill",
    )
    assert restartable_station.read_evse(1)["transaction_id"] == transaction_id
    wait_energy_drawn(restartable_station)
    wait_until(
        lambda: restartable_station.read_state()["outbox"] == 0, CALM_TIMEOUT_S, "empty outbox"
    )
    restartable_station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(restartable_station)

    assert csms.ledger.transaction_ids() == [transaction_id]
    assert csms.ledger.find_problems(transaction_id) == []
    drawn_wh = restartable_station.emulated_meter_wh(1) - meter_before_wh
    assert csms.ledger.energy_wh(transaction_id) == drawn_wh
    assert drawn_wh >= DRAWN_WH
    assert csms.ledger.count_duplicates(transaction_id) <= KILLS + len(csms.disturbances) + 20
    check_replay(restartable_station)


def check_replay(station: StationProcess) -> None:
    """Assert that replay gives the digest the station reports, and verify reports nothing."""
    reported_head = station.read_state()["journal"]
    replayed = run_command(
        "replay", str(station.journal), "--to", str(reported_head["seq"]), "--state"
    )
    assert replayed.returncode == 0, replayed.stderr
    assert reported_head["digest"] in replayed.stdout
    verified = run_command("verify", str(station.journal))
    assert verified.returncode == 0, verified.stderr
    head = run_command(
        "verify",
        str(station.journal),
        "--head",
        f"{reported_head['seq']}:{reported_head['digest']}",
    )
    assert head.returncode == 0, head.stderr


def test_after_a_kill_the_same_transaction_resumes_e17(
    restartable_station: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(restartable_station)
    transaction_id = wait_charging(csms)
    wait_energy_drawn(restartable_station)
    restartable_station.kill()
    wait_until(
        lambda: is_contactor_open(restartable_station),
        STEP_TIMEOUT_S,
        "contactor opened by the hardware",
    )
    restartable_station.start()
    wait_until(lambda: is_charging(restartable_station), STEP_TIMEOUT_S, "energy flowing again")
    assert restartable_station.read_evse(1)["transaction_id"] == transaction_id
    wait_energy_drawn(restartable_station)
    restartable_station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    assert csms.ledger.transaction_ids() == [transaction_id]
    assert csms.ledger.find_problems(transaction_id) == []


def test_an_ev_unplugged_while_the_station_was_down_ends_the_transaction_e17(
    restartable_station: StationProcess, devices: EmulatedDevices, csms: Csms
) -> None:
    meter_before_wh = restartable_station.emulated_meter_wh(1)
    authorize_and_plug_in(restartable_station)
    transaction_id = wait_charging(csms)
    wait_energy_drawn(restartable_station)
    restartable_station.kill()
    devices.request_operation("unplug", evse_id=1)
    restartable_station.start()
    wait_transaction_ended(csms, transaction_id)
    wait_delivered(restartable_station)
    assert csms.ledger.find_problems(transaction_id) == []
    assert (
        csms.ledger.energy_wh(transaction_id)
        == restartable_station.emulated_meter_wh(1) - meter_before_wh
    )
    assert restartable_station.read_evse(1)["transaction_id"] is None


def is_contactor_open(station: StationProcess) -> bool:
    return bool(station.read_emulated_evse(1)["contactor"] == "open")


def test_a_flipped_bit_is_detected_and_its_entry_named(
    restartable_station: StationProcess, csms: Csms, short_directory: Path
) -> None:
    authorize_and_plug_in(restartable_station)
    transaction_id = wait_charging(csms)
    restartable_station.request_operation("unplug", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    restartable_station.terminate()
    intact = short_directory / "whole.db"
    with closing(sqlite3.connect(restartable_station.journal)) as db:
        db.execute("VACUUM INTO ?", (str(intact),))
    assert run_command("verify", str(intact)).returncode == 0
    print(f"SEED={SEED}")
    for row in random.Random(SEED).sample(list(read_rows(intact)), 5):
        flipped = short_directory / f"flipped-{row.seq}.db"
        shutil.copyfile(intact, flipped)
        flip_a_byte_of(flipped, row.digest)
        verified = run_command("verify", str(flipped))
        assert verified.returncode == 1
        seqs = [int(number) for number in re.findall(r"entry (\d+)", verified.stderr)]
        assert seqs, verified.stderr
        assert seqs[0] in (row.seq, row.seq + 1), verified.stderr
        assert "Traceback" not in verified.stderr


def flip_a_byte_of(path: Path, digest: bytes) -> None:
    """Flip a bit of this digest in the file."""
    content = bytearray(path.read_bytes())
    assert content.count(digest) == 1
    content[content.index(digest) + 7] ^= 0x10
    path.write_bytes(content)
