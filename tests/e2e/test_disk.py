"""The real program on a full, failing or damaged disk. P5, P6, P8.

Some tests mount a file system or use strace to make calls fail. Where that is not allowed they
are skipped; `tests/durability/damage` has the same cases in simulation.
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

from tests.durability.damage import bad_sectors
from tests.e2e.harness import EmulatedDevices, StationProcess, Variable, wait_until
from tests.e2e.steps import (
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    check_journal,
    wait_booted,
    wait_charging,
    wait_delivered,
    wait_energy_drawn,
    wait_transaction_ended,
)
from tests.support.csms import Csms

SMALL_DISK = "24m"
SMALL_JOURNAL = "\n[journal]\ngrow_bytes = 1048576\nreserve_bytes = 1048576\n"
PAGE_BYTES = 4096
HARDWARE = "".join(  # devices on ports that are not there
    f'\n[hardware.{name}]\ndriver = "{driver}"\nport = "/dev/none-{name}"\n'
    for name, driver in (
        ("meter", "acrel_djsf1352"),
        ("io", "icpdas_m7055"),
        ("insulation", "bender_isocha425hv"),
        ("secc", "advantics"),
        ("modules", "infypower"),
        ("reader", "pn532"),
    )
)


def disk_params(first: Any, *others: Any) -> list[Any]:
    """The first of several similar parameters; all of them with DISKS=all."""
    return [first, *others] if os.environ.get("DISKS") == "all" else [first]


def wait_security_event(csms: Csms, type: str, after: int = 0) -> None:
    """Wait until the CSMS received this security event."""
    csms.wait_for_call(
        "SecurityEventNotification",
        lambda event: event["type"] == type,
        STEP_TIMEOUT_S,
        after=after,
    )


def display_words(station: StationProcess) -> set[str]:
    return {str(evse["words"]) for evse in station.read_state()["evses"]}


# --- One writer ----------------------------------------------------------------------------------


def test_a_second_process_is_refused(station: StationProcess) -> None:
    second = station.run_verb("run", "--config", str(station.config), "--quiet")
    assert second.returncode == 2
    [line] = [line for line in second.stderr.splitlines() if " WARNING " not in line]
    assert f"another process (pid {station.pid}) writes this journal" in line
    assert station.is_alive
    assert station.read_state()["link"] == "up"


# --- Damage --------------------------------------------------------------------------------------


PageDamage = Callable[[Path, int], None]


@pytest.fixture(params=disk_params(*["unreadable"] * bad_sectors.is_available(), "zeroed"))
def damage_page(
    request: pytest.FixtureRequest, short_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> PageDamage:
    """Ways to damage a page, for a station started afterwards."""
    if request.param == "zeroed":
        return _zero_page
    for name, value in bad_sectors.prepare_environment(short_directory).items():
        monkeypatch.setenv(name, value)
    return bad_sectors.mark_unreadable


def _zero_page(file: Path, page: int) -> None:
    data = bytearray(file.read_bytes())
    data[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = bytes(PAGE_BYTES)
    file.write_bytes(data)


@pytest.mark.parametrize("table", disk_params("entry", "sqlite_schema", "id_token"))
def test_a_station_continues_on_a_damaged_journal_p5(
    station: StationProcess, csms: Csms, damage_page: PageDamage, table: str
) -> None:
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    csms.stop_listening()
    wait_energy_drawn(station)
    station.kill()
    seq = len(list(_stored_seqs(station.journal)))
    _damage_table(station.journal, table, damage_page)
    csms.start_listening()
    boots = csms.next_frame_number()
    station.start()
    wait_transaction_ended(csms, transaction_id)
    if table == "id_token":  # the table is first read when a card is presented
        station.request_operation("present_token", id_token="04C0FFEE", type="ISO14443", evse_id=2)
    wait_security_event(csms, "TamperDetectionActivated", after=boots)
    wait_delivered(station)
    assert csms.ledger.find_problems(transaction_id) == []
    assert "rebuilt up to entry" in station.read_state()["damage"][0]
    check_journal(station)
    assert len(list(_stored_seqs(station.journal))) > seq
    [quarantine] = station.data.glob("journal.damaged-*")
    assert (quarantine / "journal.db").exists()
    authorize_and_plug_in(station, 2, "04C0FFEE")
    wait_charging(csms, 2, after=boots)


def _stored_seqs(journal: Path) -> Iterator[int]:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        yield from (seq for (seq,) in db.execute("SELECT seq FROM entry"))


def _damage_table(journal: Path, table: str, damage_page: PageDamage) -> None:
    """Checkpoint, then damage the root page of a table."""
    with closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        row = db.execute(query, (table,)).fetchone()
        page = row[0] if row else 1
    journal.with_suffix(".lock").unlink()  # its record of the log's length is obsolete
    damage_page(journal, page)


# --- Full ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(short_directory: Path) -> Iterator[Path]:
    """A data directory on a file system of a few megabytes."""
    data = short_directory / "data"
    data.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", str(data)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    world = short_directory / "world"  # the emulated devices use another disk
    world.mkdir()
    (data / "emulated").symlink_to(world)
    try:
        yield data
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)


@pytest.fixture
def small_disk_station(
    small_disk: Path, short_directory: Path, csms: Csms, variables: tuple[Variable, ...]
) -> Iterator[StationProcess]:
    """A station on the small disk."""
    station = StationProcess(
        short_directory, csms.url, variables=variables, extra_toml=SMALL_JOURNAL
    )
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def test_on_a_full_disk_transactions_end_and_charging_resumes_with_space_p6(
    small_disk_station: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(small_disk_station)
    transaction_id = wait_charging(csms)
    reserve = small_disk_station.data / "reserve"
    assert reserve.stat().st_size == 1048576
    filler = small_disk_station.data / "filler"
    _fill_disk(filler)
    ended = wait_transaction_ended(csms, transaction_id)
    assert ended["transactionInfo"]["stoppedReason"] == "Other"
    assert csms.ledger.find_problems(transaction_id) == []
    wait_security_event(csms, "MemoryExhaustion")
    wait_delivered(small_disk_station)
    assert small_disk_station.read_state()["storage"] == "full"
    ended_words = {"Out of service", "Finishing", "Finished"}
    wait_until(lambda: display_words(small_disk_station) <= ended_words, 10, "its words")
    small_disk_station.request_operation("unplug", evse_id=1)
    csms.wait_for_call(
        "StatusNotification",
        lambda status: status["connectorStatus"] == "Unavailable",
        STEP_TIMEOUT_S,
    )
    filler.unlink()
    wait_until(
        lambda: small_disk_station.read_state()["storage"] == "enough", STEP_TIMEOUT_S, "space"
    )
    assert reserve.exists()
    authorize_and_plug_in(small_disk_station, 2, "04C0FFEE")
    wait_charging(csms, 2)
    check_journal(small_disk_station)


def _fill_disk(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE_BYTES))
        except OSError:
            return


def test_a_read_only_disk_refuses_the_start(
    small_disk: Path, short_directory: Path, csms: Csms, variables: tuple[Variable, ...]
) -> None:
    station = StationProcess(
        short_directory, csms.url, variables=variables, extra_toml=SMALL_JOURNAL + HARDWARE
    )
    try:
        station.start()
        wait_booted(station, csms)
        station.terminate()
    finally:
        station.close()
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    assert subprocess.run(remount, capture_output=True).returncode == 0
    refused = station.run_verb("run", "--config", str(station.config), "--quiet")
    assert refused.returncode == 2
    assert "read-only" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert station.run_verb("verify", str(station.journal)).returncode == 0
    assert station.run_verb("export", str(station.journal), "events").returncode == 0


# --- Failing -------------------------------------------------------------------------------------


@contextmanager
def failing_calls(station: StationProcess, calls: str, error: str) -> Iterator[None]:
    """Make these system calls of the station fail."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    inject = f"inject={calls}:error={error}"
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(station.pid), "-e", inject],
        stderr=subprocess.DEVNULL,
    )
    try:
        status = Path(f"/proc/{station.pid}/status")
        wait_until(_is_traced(status, tracer), STEP_TIMEOUT_S, "tracer")
        yield
    finally:
        tracer.kill()
        tracer.wait()


def _is_traced(status: Path, tracer: subprocess.Popen[bytes]) -> Callable[[], bool]:
    def traced() -> bool:
        if tracer.poll() is not None:
            pytest.skip("ptrace is not allowed here")
        return not status.exists() or "TracerPid:\t0\n" not in status.read_text()

    return traced


@pytest.mark.parametrize(
    ("calls", "error"),
    disk_params(("fdatasync,fsync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "EROFS")),
)
def test_a_station_that_cannot_write_stops_and_continues_after_a_restart_p8(
    devices: EmulatedDevices, station: StationProcess, csms: Csms, calls: str, error: str
) -> None:
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    with failing_calls(station, calls, error):
        assert station.wait(STEP_TIMEOUT_S) == 1
    last = station.read_log().splitlines()[-1]
    assert "journal.db" in last
    assert "Traceback" not in last
    wait_until(
        lambda: (
            not any(
                evse["contactor"] == "closed"
                for evse in devices.request_operation("world")["evses"]
            )
        ),
        STEP_TIMEOUT_S,
        "open contactors",
    )
    boots = csms.next_frame_number()
    station.start()
    wait_booted(station, csms, after=boots)
    station.request_operation("present_token", id_token="04A224B2", type="ISO14443", evse_id=1)
    wait_transaction_ended(csms, transaction_id)
    assert csms.ledger.find_problems(transaction_id) == []
    check_journal(station)


# --- Safe mode -----------------------------------------------------------------------------------


def test_an_invalid_station_toml_causes_safe_mode_which_is_reported(
    station: StationProcess, csms: Csms
) -> None:
    assert station.terminate() == 0
    station.config.write_text("[station\n")
    boots = csms.next_frame_number()
    station.start()
    wait_booted(station, csms, after=boots)
    csms.wait_for_call(
        "SecurityEventNotification",
        lambda event: "safe mode: station.toml" in event.get("techInfo", ""),
        STEP_TIMEOUT_S,
        after=boots,
    )
    assert "safe mode: station.toml" in station.read_log()
    assert "the last one that worked" in station.read_state()["safe_mode"][0]
    wait_until(lambda: display_words(station) == {"Welcome. Service needed"}, 10, "its words")
    authorize_and_plug_in(station)
    wait_charging(csms, after=boots)
    assert station.run_verb("export", str(station.journal), "events").returncode == 0


def test_a_missing_device_port_is_a_fault_and_does_not_stop_the_station(
    short_directory: Path, csms: Csms, variables: tuple[Variable, ...]
) -> None:
    station = StationProcess(short_directory, csms.url, variables=variables, extra_toml=HARDWARE)
    try:
        station.start()
        wait_booted(station, csms)
        for evse_id in (1, 2):
            csms.wait_for_call("StatusNotification", partial(is_faulted, evse_id), STEP_TIMEOUT_S)
        assert station.is_alive
        wait_until(lambda: display_words(station) == {"Out of order"}, 10, "its words")
    finally:
        station.close()


def is_faulted(evse_id: int, payload: dict[str, Any]) -> bool:
    return (payload["evseId"], payload["connectorStatus"]) == (evse_id, "Faulted")
