"""`station check` reports every problem that a start would refuse or log, and changes nothing."""

from __future__ import annotations

import grp
import os
import pwd
import sqlite3
from pathlib import Path
from typing import Final

import pytest

from tests.commands.fixtures_journals import StationCommand
from tests.support.authorities import make_authority

PASSWORD: Final = "correct-horse-battery-staple"
GOOD: Final = """
[station]
identity = "CS001"
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


class Checker:
    def __init__(self, directory: Path, station_command: StationCommand) -> None:
        self.directory, self._station = directory, station_command
        self.write("password", PASSWORD).chmod(0o600)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def check(self, text: str) -> tuple[int, list[str]]:
        """Exit code and the problems of a station.toml; the last line counts them."""
        result = self._station("check", "--config", self.write("station.toml", text))
        lines = result.stderr.splitlines()
        if result.exit_code:
            assert "error" in lines[-1] or "warning" in lines[-1]
        return result.exit_code, lines[:-1]


@pytest.fixture
def checker(tmp_path: Path, run_station: StationCommand) -> Checker:
    return Checker(tmp_path, run_station)


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
        "[journal] retention is 0",
        "[journal] grow is not a key",
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
    profile = '[station]\nprofile = "development"'
    code, problems = checker.check(GOOD.replace("[station]", profile) + text)
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
    assert (code, "the path of a socket has at most 107 bytes" in problem) == (2, True)


def test_changes_without_effect_are_named_after_the_first_start(
    checker: Checker, journal: Path, tmp_path: Path
) -> None:
    """The journal of a station is read, from its entries, and not changed."""
    data = checker.directory / "data"
    data.mkdir(mode=0o700)
    moved = journal.rename(data / "journal.db")
    with sqlite3.connect(moved) as database:
        before = database.execute("SELECT count(*) FROM entry").fetchone()
    row = '[[variable]]\ncomponent = "OCPPCommCtrlr"\nvariable = "OfflineThreshold"\nvalue = "7"\n'
    code, problems = checker.check(GOOD + row)
    assert code == 1
    assert any("OfflineThreshold" in problem and "is ignored" in problem for problem in problems)
    with sqlite3.connect(moved) as database:
        assert database.execute("SELECT count(*) FROM entry").fetchone() == before


def test_a_missing_file_is_one_line(run_station: StationCommand, tmp_path: Path) -> None:
    result = run_station("check", "--config", tmp_path / "absent.toml")
    assert result.exit_code == 2
    assert "cannot be read: No such file or directory" in result.stderr
