"""A disk that is full, fails or rots under the real program. P5, P6, P8.

Some of it needs a file system of its own, or strace to make calls fail: where neither is allowed
these scenarios are skipped, and the simulation's (`tests/damage`) have to do.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.csms import Csms
from tests.damage import bad_sectors
from tests.e2e.harness import EmulatedDevices, StationProcess, Variable, until
from tests.e2e.steps import (
    PATIENCE_S,
    authorize_and_plug_in,
    check_journal,
    draw,
    wait_booted,
    wait_charging,
    wait_closed,
    wait_delivered,
)

SMALL_DISK = "24m"
SMALL_JOURNAL = "\n[journal]\ngrow_bytes = 1048576\nreserve_bytes = 1048576\n"
PAGE_BYTES = 4096
HARDWARE = "".join(  # devices on ports that are not there
    f'\n[hardware.{name}]\ndriver = "{driver}"\nport = "/dev/none"\n'
    for name, driver in (
        ("meter", "acrel_djsf1352"),
        ("io", "icpdas_m7055"),
        ("insulation", "bender_isocha425hv"),
        ("secc", "advantics"),
        ("modules", "infypower"),
        ("reader", "pn532"),
    )
)


def some(first: Any, *others: Any) -> list[Any]:
    """The first of many alike; all of them with DISKS=all."""
    return [first, *others] if os.environ.get("DISKS") == "all" else [first]


def told_security(csms: Csms, type: str, after: int = 0) -> None:
    """Until the CSMS heard of a security event."""
    csms.wait_for(
        "SecurityEventNotification", lambda event: event["type"] == type, PATIENCE_S, after=after
    )


def words(station: StationProcess) -> set[str]:
    return {str(evse["words"]) for evse in station.state()["evses"]}


# --- One writer ----------------------------------------------------------------------------------


def test_a_second_process_is_refused_in_one_line(station: StationProcess) -> None:
    second = station.command("run", "--config", str(station.config), "--quiet")
    assert second.returncode == 2
    [line] = [one for one in second.stderr.splitlines() if " WARNING " not in one]
    assert f"another process (pid {station.pid}) writes this journal" in line
    assert station.alive
    assert station.state()["link"] == "up"


# --- Rot -----------------------------------------------------------------------------------------


Harm = Callable[[Path, int], None]


@pytest.fixture(params=some(*["unreadable"] * bad_sectors.can_be_had(), "zeroed"))
def harm(request: pytest.FixtureRequest, place: Path, monkeypatch: pytest.MonkeyPatch) -> Harm:
    """What may become of a page, for a station that is started afterwards."""
    if request.param == "zeroed":
        return _zeroed
    for name, value in bad_sectors.environment(place).items():
        monkeypatch.setenv(name, value)
    return bad_sectors.spoil


def _zeroed(file: Path, page: int) -> None:
    data = bytearray(file.read_bytes())
    data[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = bytes(PAGE_BYTES)
    file.write_bytes(data)


@pytest.mark.parametrize("table", some("entry", "sqlite_schema", "id_token"))
def test_a_station_lives_on_a_damaged_journal(
    station: StationProcess, csms: Csms, harm: Harm, table: str
) -> None:
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    csms.down()
    draw(station)
    station.kill()
    seq = len(list(_seqs(station.journal)))
    _destroy(station.journal, table, harm)
    csms.up()
    boots = csms.mark()
    station.start()
    wait_closed(csms, transaction_id)
    if table == "id_token":  # nobody looks there before somebody comes
        station.op("present_token", id_token="04C0FFEE", type="ISO14443", evse_id=2)
    told_security(csms, "TamperDetectionActivated", after=boots)
    wait_delivered(station)
    assert csms.ledger.problems(transaction_id) == []
    assert "rebuilt up to entry" in station.state()["damage"][0]
    check_journal(station)
    assert len(list(_seqs(station.journal))) > seq
    [aside] = station.data.glob("journal.damaged-*")
    assert (aside / "journal.db").exists()
    authorize_and_plug_in(station, 2, "04C0FFEE")
    wait_charging(csms, 2, after=boots)


def _seqs(journal: Path) -> Iterator[int]:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        yield from (seq for (seq,) in db.execute("SELECT seq FROM entry"))


def _destroy(journal: Path, table: str, harm: Harm) -> None:
    """Fold the log in, then harm the page that everything in a table is found by."""
    with closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        found = db.execute(query, (table,)).fetchone()
        page = found[0] if found else 1
    journal.with_suffix(".lock").unlink()  # whoever folds the log in takes it away
    harm(journal, page)


# --- Full ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """A data directory on a file system of a few megabytes."""
    data = place / "data"
    data.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", str(data)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    world = place / "world"  # the emulated devices have a disk of their own
    world.mkdir()
    (data / "emulated").symlink_to(world)
    try:
        yield data
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)


@pytest.fixture
def cramped(
    small_disk: Path, place: Path, csms: Csms, variables: tuple[Variable, ...]
) -> Iterator[StationProcess]:
    """A station on it."""
    station = StationProcess(place, csms.url, variables=variables, more=SMALL_JOURNAL)
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def test_on_a_full_disk_what_runs_ends_and_with_room_charging_comes_back(
    cramped: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(cramped)
    transaction_id = wait_charging(csms)
    reserve = cramped.data / "reserve"
    assert reserve.stat().st_size == 1048576
    filler = cramped.data / "filler"
    _fill(filler)
    ended = wait_closed(csms, transaction_id)
    assert ended["transactionInfo"]["stoppedReason"] == "Other"
    assert csms.ledger.problems(transaction_id) == []
    told_security(csms, "MemoryExhaustion")
    wait_delivered(cramped)
    assert cramped.state()["storage"] == "full"
    assert words(cramped) <= {"Out of service: memory full", "Thank you. Unplug the cable"}
    cramped.op("unplug", evse_id=1)
    csms.wait_for(
        "StatusNotification", lambda told: told["connectorStatus"] == "Unavailable", PATIENCE_S
    )
    filler.unlink()
    until(lambda: cramped.state()["storage"] == "enough", PATIENCE_S, "room")
    assert reserve.exists()
    authorize_and_plug_in(cramped, 2, "04C0FFEE")
    wait_charging(csms, 2)
    check_journal(cramped)


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE_BYTES))
        except OSError:
            return


def test_a_disk_that_became_read_only_refuses_the_start_in_one_line(
    small_disk: Path, place: Path, csms: Csms, variables: tuple[Variable, ...]
) -> None:
    station = StationProcess(place, csms.url, variables=variables, more=SMALL_JOURNAL + HARDWARE)
    try:
        station.start()
        wait_booted(station, csms)
        station.terminate()
    finally:
        station.close()
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    assert subprocess.run(remount, capture_output=True).returncode == 0
    refused = station.command("run", "--config", str(station.config), "--quiet")
    assert refused.returncode == 1
    assert "Read-only file system" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert station.command("verify", str(station.journal)).returncode == 0
    assert station.command("export", str(station.journal), "events").returncode == 0


# --- Failing -------------------------------------------------------------------------------------


@pytest.fixture
def devices(place: Path) -> Iterator[EmulatedDevices]:
    """Emulated hardware that outlives the station."""
    devices = EmulatedDevices(place / "data")
    try:
        devices.start()
        yield devices
    finally:
        devices.close()


@contextmanager
def failing_calls(station: StationProcess, calls: str, error: str) -> Iterator[None]:
    """From now on these system calls of the station fail."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    inject = f"inject={calls}:error={error}"
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(station.pid), "-e", inject],
        stderr=subprocess.DEVNULL,
    )
    try:
        traced = Path(f"/proc/{station.pid}/status")
        until(_traced(traced, tracer), PATIENCE_S, "tracer")
        yield
    finally:
        tracer.kill()
        tracer.wait()


def _traced(status: Path, tracer: subprocess.Popen[bytes]) -> Callable[[], bool]:
    def traced() -> bool:
        if tracer.poll() is not None:
            pytest.skip("ptrace is not allowed here")
        return not status.exists() or "TracerPid:\t0\n" not in status.read_text()

    return traced


@pytest.mark.parametrize(
    ("calls", "error"),
    some(("fdatasync,fsync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "EROFS")),
)
def test_a_station_that_cannot_remember_stops_and_goes_on_after_a_restart(
    devices: EmulatedDevices, station: StationProcess, csms: Csms, calls: str, error: str
) -> None:
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    with failing_calls(station, calls, error):
        assert station.wait(PATIENCE_S) == 1
    last = station.log().splitlines()[-1]
    assert "journal.db" in last
    assert "Traceback" not in last
    until(
        lambda: not any(evse["contactor"] == "closed" for evse in devices.op("world")["evses"]),
        PATIENCE_S,
        "open contactors",
    )
    boots = csms.mark()
    station.start()
    wait_booted(station, csms, after=boots)
    station.op("present_token", id_token="04A224B2", type="ISO14443", evse_id=1)
    wait_closed(csms, transaction_id)
    assert csms.ledger.problems(transaction_id) == []
    check_journal(station)


# --- Safe mode -----------------------------------------------------------------------------------


def test_a_broken_station_toml_is_a_safe_mode_that_says_so(
    station: StationProcess, csms: Csms
) -> None:
    assert station.terminate() == 0
    station.config.write_text("[station\n")
    boots = csms.mark()
    station.start()
    wait_booted(station, csms, after=boots)
    csms.wait_for(
        "SecurityEventNotification",
        lambda event: "safe mode: station.toml" in event.get("techInfo", ""),
        PATIENCE_S,
        after=boots,
    )
    assert "safe mode: station.toml" in station.log()
    assert "the last one that worked" in station.state()["safe_mode"][0]
    assert words(station) == {"Welcome. Service needed"}
    authorize_and_plug_in(station)
    wait_charging(csms, after=boots)
    assert station.command("export", str(station.journal), "events").returncode == 0


def test_a_device_without_its_port_is_a_fault_and_no_end(
    place: Path, csms: Csms, variables: tuple[Variable, ...]
) -> None:
    station = StationProcess(place, csms.url, variables=variables, more=HARDWARE)
    try:
        station.start()
        wait_booted(station, csms)
        for evse_id in (1, 2):
            csms.wait_for("StatusNotification", partial(is_faulted, evse_id), PATIENCE_S)
        assert station.alive
        assert words(station) == {"Out of order"}
    finally:
        station.close()


def is_faulted(evse_id: int, told: dict[str, Any]) -> bool:
    return (told["evseId"], told["connectorStatus"]) == (evse_id, "Faulted")
