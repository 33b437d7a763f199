"""`station check` reports every problem that a start would refuse or log, and changes nothing."""

from __future__ import annotations

import ast
import fcntl
import grp
import os
import pwd
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Final

import pytest
import trio

from drivers.emulators.json_lines_socket import SocketPathError
from journal.state import State
from journal.storage.errors import JournalFailed
from station.commands import check
from station.commands.shared import start_problems
from station.config.station_toml import load_config
from station.runtime.hardware import emulator_process
from station.runtime.loop.state_snapshot import open_snapshots
from station.runtime.process import _run_once
from station.runtime.service.notify import ServiceManager
from tests.commands.fixtures_journals import (
    StationCommand,
    open_writable,
    write_journal,
)
from tests.support.authorities import make_authority
from tests.support.story import JOURNAL_ID, ONLINE, given

ROOT: Final = Path(__file__).parents[2]
PASSWORD: Final = "correct-horse-battery-staple"
GOOD: Final = """
[station]
identity = "CS001"
profile = "development"
data = "data"

[csms]
url = "ws://csms.example/ocpp"
security_profile = 1
password_file = "password"
"""
HARDWARE: Final = """
[hardware.meter]
driver = "acrel_djsf1352"
port = "{tty}"
[hardware.io]
driver = "icpdas_m7055"
port = "/dev/serial/by-id/absent"
[hardware.insulation]
driver = "bender_isocha425hv"
port = "{file}"
[hardware.secc]
driver = "advantics"
port = "can77"
interface = "socketcan"
[hardware.modules]
driver = "infypower"
port = "{closed}"
"""


KINDS: Final = {
    "meter": "acrel_djsf1352",
    "io": "icpdas_m7055",
    "insulation": "bender_isocha425hv",
    "secc": "advantics",
    "modules": "infypower",
}


class Checker:
    """A directory with a station.toml; ports that exist belong to each that names none."""

    def __init__(self, directory: Path, station_command: StationCommand, ports: list[str]) -> None:
        self.directory, self.run = directory, station_command
        self.ports = dict(zip(KINDS, ports, strict=True))
        self.write("password", PASSWORD).chmod(0o600)

    @property
    def data(self) -> Path:
        directory = self.directory / "data"
        directory.mkdir(mode=0o700, exist_ok=True)
        return directory

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def check(self, text: str) -> tuple[int, list[str]]:
        """Exit code and the problems of a station.toml; the last line counts them."""
        if "[hardware" not in text:
            for kind, driver in KINDS.items():
                port = self.ports[kind]
                text += f'\n[hardware.{kind}]\ndriver = "{driver}"\nport = "{port}"\n'
        result = self.run("check", "--config", self.write("station.toml", text))
        lines = result.stderr.splitlines()
        if result.exit_code:
            assert "error" in lines[-1] or "warning" in lines[-1]
        return result.exit_code, lines[:-1]


@pytest.fixture
def checker(tmp_path: Path, run_station: StationCommand) -> Iterator[Checker]:
    pairs = [os.openpty() for _ in KINDS]
    previous = os.umask(0o077)  # as the station's own
    yield Checker(tmp_path, run_station, [os.ttyname(theirs) for _, theirs in pairs])
    os.umask(previous)
    for descriptor in chain.from_iterable(pairs):
        os.close(descriptor)


def test_a_sound_file_is_summarized_and_nothing_is_made(
    checker: Checker, run_station: StationCommand
) -> None:
    assert checker.check(GOOD) == (0, [])
    result = run_station("check", "--config", checker.directory / "station.toml")
    assert "CSMS      ws://csms.example/ocpp/CS001, security profile 1" in result.stdout
    assert sorted(path.name for path in checker.directory.iterdir()) == ["password", "station.toml"]


def test_every_problem_is_an_error_line_not_only_the_first(checker: Checker) -> None:
    code, problems = checker.check(
        GOOD.replace("CS001", "CS:1").replace("password_file", "pasword_file")
        + """
[journal]
retention = 0
grow = 1

[[variable]]
component = "OCPPCommCtrlr"
variable = "HeartbeatInterval"
value = "soon"
[[variable]]
component = "OCPPCommCtrlr"
variable = "OfflineThreshold"
value = "77"
[[variable]]
component = "OCPPCommCtrlr"
variable = "MessageTimeout"
instance = "Default"
value = "x"

[hardware.meter]
driver = "acrel_djsf1352"
port = "/dev/ttyUSB9"
addresses = [1, 1]
[hardware.io]
driver = "icpdas"
port = "/dev/ttyUSB9"
"""
    )
    assert code == 2
    expected = (
        "[station] identity has ':'",
        "[csms] pasword_file is not a key; did you mean password_file?",
        "[journal] grow is not a key",
        "[journal] retention is 0",
        "[[variable]] 1: OCPPCommCtrlr.HeartbeatInterval needs an integer",
        "[[variable]] 3: ",
        "[hardware.meter] addresses: 1 is given twice",
        "[hardware.io] port /dev/ttyUSB9 is that of [hardware.meter] too",
        "[hardware.io] driver icpdas does not exist",
        "[hardware.insulation] is missing",
        "[hardware.modules] is missing",
        "[hardware.secc] is missing",
    )
    for problem, beginning in zip(problems, expected, strict=True):
        assert problem.startswith(f"error: station.toml: {beginning}"), problem


def test_ports_that_cannot_be_opened_are_warnings(checker: Checker) -> None:
    controller, device = os.openpty()
    text = HARDWARE.format(
        tty=os.ttyname(device),
        file=checker.write("no-port", ""),
        closed=checker.directory / "absent",
    )
    code, problems = checker.check(GOOD + text)
    os.close(controller)
    os.close(device)
    assert code == 1
    assert [problem.partition("] ")[0] for problem in problems] == [
        "warning: [hardware.io",
        "warning: [hardware.insulation",
        "warning: [hardware.secc",
        "warning: [hardware.modules",
    ]
    assert "does not exist. Is the adapter plugged in?" in problems[0]
    assert "is not a serial port" in problems[1]
    assert "there is no such CAN interface" in problems[2]


def test_a_secret_that_others_can_read_is_named(checker: Checker) -> None:
    (checker.directory / "password").chmod(0o644)
    code, [problem] = checker.check(GOOD)
    assert code == 1
    assert problem.startswith(f"warning: {checker.directory / 'password'}: contains a secret")


def test_the_group_of_the_station_alone_may_read_a_secret(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the package: station.toml is of root, mode 0640, with the group of the service."""
    (checker.directory / "password").chmod(0o640)
    own = pwd.getpwuid(os.geteuid()).pw_name
    for name, members, expected in ((own, [], 0), (own, ["guest"], 1), ("users", [], 1)):
        group = grp.struct_group((name, "x", 1, members))
        monkeypatch.setattr(grp, "getgrgid", lambda _, group=group: group)
        assert checker.check(GOOD)[0] == expected


def test_certificates_are_read_as_at_a_start(checker: Checker) -> None:
    checker.write("root.pem", make_authority("CSMS root").pem)
    assert checker.check(GOOD + 'ca_file = "root.pem"\n') == (0, [])
    checker.write("root.pem", "no certificate")
    code, [problem] = checker.check(GOOD + 'ca_file = "root.pem"\n')
    assert code == 1
    assert "contains no certificate in PEM; it is left out" in problem


def test_a_data_directory_that_cannot_be_used_is_an_error(checker: Checker) -> None:
    checker.write("data", "")
    code, [problem] = checker.check(GOOD)
    assert (code, "is a file. Move it" in problem) == (2, True)
    code, [problem] = checker.check(GOOD.replace('"data"', f'"{"d" * 120}"'))
    assert (code, "a socket's path has at most 107 bytes" in problem) == (2, True)


def test_changes_without_effect_are_named_after_the_first_start(
    checker: Checker, journal: Path, tmp_path: Path
) -> None:
    """The journal of a station is read, from its entries, and not changed."""
    moved = journal.rename(checker.data / "journal.db")
    with sqlite3.connect(moved) as database:
        before = database.execute("SELECT count(*) FROM entry").fetchone()
    row = '[[variable]]\ncomponent = "OCPPCommCtrlr"\nvariable = "OfflineThreshold"\nvalue = "7"\n'
    code, problems = checker.check(GOOD + row)
    assert code == 1
    assert any("OfflineThreshold" in problem and "is ignored" in problem for problem in problems)
    with sqlite3.connect(moved) as database:
        assert database.execute("SELECT count(*) FROM entry").fetchone() == before


# --- As a start ----------------------------------------------------------------------------------


def refusal_of_run(path: Path) -> str:
    """What `run` ends with."""

    async def run() -> None:
        with trio.fail_after(20):
            await _run_once(load_config(path), "", ServiceManager(None, None))

    try:
        trio.run(run)
    except (JournalFailed, SocketPathError) as error:
        return str(error)
    raise AssertionError("the station ended without an error")


def make_newer(data: Path) -> None:
    """A release with a migration that this one does not know wrote the journal."""
    open_writable(data / "journal.db").close()
    with sqlite3.connect(data / "journal.db") as database:
        database.execute(
            "INSERT INTO _sqlite_migrations SELECT max(id) + 1, migration_set, '9999_newer',"
            " max(applied_at) FROM _sqlite_migrations"
        )


def make_directory(name: str) -> Callable[[Path], None]:
    return lambda data: (data / name).mkdir()


@pytest.mark.parametrize(
    "prepare",
    [
        make_directory("journal.db"),
        make_directory("control.sock"),
        make_newer,
    ],
    ids=["journal", "socket", "newer"],
)
def test_what_ends_a_start_is_an_error_in_the_same_words(
    checker: Checker, prepare: Callable[[Path], None]
) -> None:
    prepare(checker.data)
    code, [problem] = checker.check(GOOD)
    assert code == 2
    assert problem == f"error: {refusal_of_run(checker.directory / 'station.toml')}"


def test_a_journal_that_another_process_writes_is_an_error(checker: Checker) -> None:
    with open_writable(checker.data / "journal.db"):
        code, [problem] = checker.check(GOOD)
        assert code == 2
        assert problem == f"error: {refusal_of_run(checker.directory / 'station.toml')}"
        assert f"another process (pid {os.getpid()}) writes this journal" in problem


def test_the_station_itself_may_have_its_journal_and_ports(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (check, start_problems):
        monkeypatch.setattr(module, "find_listener_pid", lambda path: os.getpid())
    port = os.open(checker.ports["meter"], os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(port, fcntl.LOCK_EX)
    with open_writable(checker.data / "journal.db"):
        assert checker.check(GOOD) == (0, [])
    os.close(port)


def test_a_port_that_another_program_has_is_a_warning(checker: Checker) -> None:
    port = os.open(checker.ports["meter"], os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(port, fcntl.LOCK_EX)
    code, [problem] = checker.check(GOOD)
    os.close(port)
    assert code == 1
    assert f"in use by process {os.getpid()}" in problem


def expose_journal(data: Path) -> None:
    open_writable(data / "journal.db").close()
    (data / "journal.db").chmod(0o644)


def lose_entry(data: Path) -> None:
    path = write_journal(data / "journal.db", given(ONLINE).entries)
    with sqlite3.connect(path) as database:
        database.execute("DROP TRIGGER entry_not_updated")
        database.execute("UPDATE entry SET body = 'x' WHERE seq = 3")


def lose_tail(data: Path) -> None:
    """A snapshot was made after the last entry."""
    entries = given(ONLINE).entries
    write_journal(data / "journal.db", entries[:-2])
    open_snapshots(data).save(entries[-1].seq, b"of an entry that is lost", State(JOURNAL_ID))


def garble(data: Path) -> None:
    (data / "journal.db").write_bytes(b"x" * 8192)
    (data / "journal.db").chmod(0o600)


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (expose_journal, "other users can read 1 files; the next start takes that away"),
        (lose_entry, "journal: entry 3: "),
        (lose_tail, "a snapshot was made at"),
        (garble, "file is not a database"),
    ],
)
def test_what_a_start_repairs_or_reports_is_a_warning(
    checker: Checker, prepare: Callable[[Path], None], expected: str
) -> None:
    prepare(checker.data)
    code, [problem] = checker.check(GOOD)
    assert code == 1
    assert problem.startswith("warning: ")
    assert expected in problem


def test_emulated_devices_are_named(checker: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checker.write("emulated.toml", GOOD)
    result = checker.run("check", "--config", path)
    assert result.exit_code == 1
    assert f"warning: no [hardware] in {path}: the devices are emulated" in result.stderr

    async def count_evses(path: Path) -> int:
        return 4

    async def is_listening(path: Path) -> bool:
        return True

    monkeypatch.setattr(emulator_process, "_is_listening", is_listening)
    monkeypatch.setattr(emulator_process, "_count_evses", count_evses)
    result = checker.run("check", "--config", path)
    assert result.exit_code == 2
    assert "error: the devices of 4 EVSEs are emulated by another process" in result.stderr


WSS: Final = GOOD.replace("ws://", "wss://").replace("security_profile = 1\n", "")


def test_certificates_that_a_connection_needs_are_named(checker: Checker) -> None:
    code, [problem] = checker.check(WSS)
    assert code == 1
    assert "no CSMSRootCertificate: no connection to wss://csms.example/ocpp is" in problem
    checker.write("root.pem", make_authority("CSMS root").pem)
    assert checker.check(WSS + 'ca_file = "root.pem"\n') == (0, [])
    code, [problem] = checker.check(WSS + 'ca_file = "root.pem"\nsecurity_profile = 3\n')
    assert code == 1
    assert "no ChargingStationCertificate: security profile 3 needs one" in problem


def test_a_wrong_clock_is_named_by_certificates_and_journal(
    checker: Checker, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board without a battery begins in 1970."""
    monkeypatch.setattr(start_problems, "_utc_now", lambda: datetime(1970, 1, 1, tzinfo=UTC))
    checker.write("root.pem", make_authority("CSMS root").pem)
    code, [problem] = checker.check(WSS + 'ca_file = "root.pem"\n')
    assert code == 1
    assert "CSMSRootCertificate" in problem
    assert problem.endswith("and this host has 1970-01-01")
    journal.rename(checker.data / "journal.db")
    _, problems = checker.check(GOOD)
    assert any("clock: this host has 1970-01-01 00:00 UTC, the" in each for each in problems)


def test_lost_secrets_are_named(checker: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = f"<secret {'0' * 32}>"
    monkeypatch.setattr(start_problems, "secrets_in_use", lambda state: iter((reference, "text")))
    code, [problem] = checker.check(GOOD)
    assert (code, "1 passwords or private keys are gone" in problem) == (1, True)
    (checker.data / "secrets" / ("0" * 32)).mkdir(parents=True)
    (checker.data / "secrets").chmod(0o700)
    (checker.data / "secrets" / ("0" * 32)).chmod(0o700)
    code, [problem] = checker.check(GOOD)
    assert (code, "secret 00000000… cannot be read" in problem) == (1, True)


def test_a_modem_that_cannot_be_read_is_a_warning(
    checker: Checker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = checker.write("mmcli", "#!/bin/sh\necho garbage\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    code, [problem] = checker.check(GOOD)
    assert code == 1
    assert problem.startswith("warning: modem: mmcli printed something")


def test_too_little_space_for_the_reserve_is_a_warning(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_problems, "free_bytes", lambda path: 100 << 20)
    assert checker.check(GOOD) == (0, [])
    code, [problem] = checker.check(f"{GOOD}\n[journal]\nreserve_bytes = {64 << 20}\n")
    assert code == 1
    assert "100 MiB are free; the journal needs at least 128 MiB" in problem


START_MODULES: Final = (
    "station/config/data_directory.py",
    "station/runtime/app.py",
    "station/runtime/disk/reserve.py",
    "station/runtime/loop/initial_observations.py",
    "station/runtime/loop/startup.py",
    "station/runtime/process.py",
    "station/runtime/secrets/store.py",
)
LEFT_TO_THE_RUN: Final = {
    "safe mode: %s": "the parts of the file that are left out are errors of `check`",
    "%s failed; it is started again in %.0f s or less": "an error in the program",
    "snapshot at entry %d not saved: %s. The next start takes longer.": "at the end of a run",
    "the disk of %s is full: the reserve of %d KiB is released to end transactions": "later",
    "%s: free space cannot be measured: %s. The storage level stays %s.": "later",
    "%s": "a full disk at a checkpoint, later",
    "journal: %s": "what a rebuild saved",
}
FOUND_BY_CHECK: Final = {
    "no [hardware] in %s: the devices are emulated",
    "data directory %s: other users could read %d files; now only this user can",
    "%s: other users can read it, and its owner alone can change that",
    "%s: cannot allocate %d bytes in reserve: %s. A full disk will stop the station.",
    "modem: %s",
    "journal: %s It is rebuilt from all entries that can be read.",
    "journal: %s. Run `station verify`.",
    "journal: %s: %s. Run `station verify`.",
    "secret %s… cannot be read: %s. It counts as lost; set it again.",
    "[csms] ca_file %s: %d roots, the product stores %d; the first %d are used",
    "[csms] ca_file %s: certificate %d %s; it is left out",
    "%s %s cannot be read: %s; it is left out",
    "%s %s contains no certificate in PEM; it is left out",
    "[[certificate]] file %s: it %s; it is left out",
    "[[certificate]] key_password is not needed: %s has none",
    "[[certificate]] %s %s is not in the store and is ignored: it is used at the first start only",
    '[[variable]] %s = "%s" is ignored: it is used at the first start only. The value is "%s";'
    " the CSMS can change it",
    "[station] identity changed from %s to %s: to the CSMS this is another station; open"
    " transactions and queued messages of %s are sent as %s",
}


def test_every_complaint_of_a_start_is_found_by_check_or_has_a_reason_not_to_be() -> None:
    """A new warning in a module of the start is either found by `check`, or listed here."""
    formats = set[str]()
    for module in START_MODULES:
        for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id="log"), attr="warning" | "error" | "exception"
                    ),
                    args=[ast.Constant(value=str(text)), *_],
                ):
                    formats.add(text)
    expected = FOUND_BY_CHECK | LEFT_TO_THE_RUN.keys()
    assert formats == expected


def test_a_missing_file_is_one_line(run_station: StationCommand, tmp_path: Path) -> None:
    result = run_station("check", "--config", tmp_path / "absent.toml")
    assert result.exit_code == 2
    assert "cannot be read: No such file or directory" in result.stderr
