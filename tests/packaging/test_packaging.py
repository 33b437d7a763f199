"""Lock files, units and the files of the Debian package fit the program."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Final

import pytest

from station.cli import VERBS
from station.config.station_toml import parse_config
from station.packaging import build_deb
from station.packaging.lock import FULL_LOCK, RUN_LOCK, render_run_lock, run_requirements

PACKAGING: Final = Path(build_deb.__file__).parent
UNITS: Final = sorted(PACKAGING.glob("*.service"))
SCRIPTS: Final = [
    PACKAGING / "debian" / name
    for name in (*build_deb.MAINTAINER_SCRIPTS, *build_deb.PROGRAMS, build_deb.PACKAGE)
]


def test_the_lock_of_a_running_station_is_part_of_the_whole_lock() -> None:
    """If this fails, run `python -m station.packaging.lock`."""
    expected = render_run_lock(FULL_LOCK.read_text(encoding="utf-8"), run_requirements())
    assert RUN_LOCK.read_text(encoding="utf-8") == expected


def test_nothing_that_only_tests_need_is_installed_to_run() -> None:
    pins = set(re.findall(r"^([\w.-]+)==", RUN_LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    assert pins.isdisjoint({"pytest", "mypy", "ruff", "pyarrow", "duckdb", "hypothesis", "ocpp"})
    assert {"trio", "msgspec", "cryptography"} <= pins


def read_unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """Sections of a unit; a key may be given several times."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def test_the_service_is_watched_confined_and_restarted() -> None:
    service = read_unit(PACKAGING / "ocpp-station.service")["Service"]
    expected = {
        "Type": "notify",
        "Restart": "always",
        "StateDirectory": "ocpp-station",
        "ProtectSystem": "strict",
        "DevicePolicy": "closed",
        "SupplementaryGroups": "dialout",
    }
    assert {key: service[key] for key in expected} == {
        key: [value] for key, value in expected.items()
    }
    assert service["WatchdogSec"]
    assert service["MemoryMax"]
    command = service["ExecStart"][0].split()
    assert command[1] in VERBS


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_every_line(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    complaints = [
        line
        for line in done.stderr.splitlines()
        if unit.name in line and "is not executable" not in line  # the package is not installed
    ]
    assert complaints == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.name))
def test_the_scripts_are_valid_sh(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_the_example_configuration_is_valid(tmp_path: Path) -> None:
    raw = tomllib.loads((PACKAGING / "station.toml").read_text(encoding="utf-8"))
    (tmp_path / "password").write_text("correct-horse-battery-staple")
    (tmp_path / "root.pem").touch()
    raw["csms"] |= {"password_file": "password", "ca_file": "root.pem"}
    config = parse_config(raw, tmp_path)
    assert config.data_directory == Path("/var/lib/ocpp-station")


def test_a_purge_without_an_answer_keeps_the_journal(tmp_path: Path) -> None:
    """Also where debconf is already removed."""
    script = (PACKAGING / "debian" / "postrm").read_text(encoding="utf-8")
    data = tmp_path / "data"
    data.mkdir()
    script = script.replace("/var/lib/ocpp-station", str(data))
    script = script.replace("/usr/share/debconf/confmodule", str(tmp_path / "absent"))
    subprocess.run(["sh", "-c", script, "postrm", "purge"], check=True)
    assert data.exists()
    answered = "db_version() { :; }\ndb_fset() { :; }\ndb_input() { :; }\ndb_go() { :; }\n"
    answered += "db_get() { RET=true; }\ndb_purge() { :; }\ndb_stop() { :; }\n"
    (tmp_path / "absent").write_text(answered)
    subprocess.run(["sh", "-c", script, "postrm", "purge"], check=True)
    assert not data.exists()


def test_the_template_and_the_question_have_one_name() -> None:
    templates = configparser.ConfigParser(strict=False, delimiters=(":",), interpolation=None)
    text = (PACKAGING / "debian" / "templates").read_text(encoding="utf-8")
    templates.read_string("[one]\n" + text)
    name = templates["one"]["Template"]
    assert name in (PACKAGING / "debian" / "postrm").read_text(encoding="utf-8")
    assert templates["one"]["Default"] == "false"


def test_text_of_the_environment_names_the_place_of_installation(tmp_path: Path) -> None:
    binary = tmp_path / "python"
    binary.write_bytes(b"\x7fELF\0\0")
    script = tmp_path / "station"
    script.write_text("#!/build/root/opt/ocpp-station/bin/python\n")
    (tmp_path / "python3").symlink_to(binary)
    assert list(build_deb._text_files(tmp_path)) == [script]


def test_a_file_that_names_the_place_where_it_was_built_is_refused(tmp_path: Path) -> None:
    """Such a program would not start on a charger."""
    program = tmp_path / "station"
    program.write_text("#!/opt/ocpp-station/bin/python\n")
    build_deb.check_place(tmp_path)
    program.write_text(f"#!{tmp_path}/opt/ocpp-station/bin/python\n")
    with pytest.raises(build_deb.BuildPlaceFound, match=f"{program} names the place"):
        build_deb.check_place(tmp_path)


class Releases:
    """Releases of a station that failed, and the script that goes back."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "releases").mkdir()

    def make_current(self, version: str) -> None:
        """As the installer does: the release before becomes the previous one."""
        (self.directory / "releases" / version).mkdir()
        current, previous = self.directory / "current", self.directory / "previous"
        if current.is_symlink():
            previous.unlink(missing_ok=True)
            current.rename(previous)
        current.symlink_to(f"releases/{version}")

    def fail(self) -> str:
        """Run the script; returns the release that is current afterwards."""
        script = PACKAGING / "debian" / "rollback"
        subprocess.run(["sh", script, self.directory, sys.executable, "0"], check=True)
        return (self.directory / "current").readlink().name


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path)


def test_a_release_that_fails_after_its_update_is_left_once(releases: Releases) -> None:
    """The older one failed too: the cause is another one, and the releases stay."""
    releases.make_current("1.0")
    assert releases.fail() == "1.0"  # no other release
    releases.make_current("1.1")
    assert releases.fail() == "1.0"
    assert releases.fail() == "1.0"
    releases.make_current("1.2")
    assert releases.fail() == "1.0"


def test_a_failure_long_after_an_update_changes_no_release(releases: Releases) -> None:
    releases.make_current("1.0")
    releases.make_current("1.1")
    eight_days_ago = time.time() - 8 * 86_400
    os.utime(releases.directory / "current", (eight_days_ago,) * 2, follow_symlinks=False)
    assert releases.fail() == "1.1"


def test_a_station_that_failed_is_started_again_whatever_the_cause() -> None:
    """`OnFailure` is the only one who starts it after its limit of starts."""
    station = read_unit(PACKAGING / "ocpp-station.service")["Unit"]
    assert station["OnFailure"] == ["ocpp-station-rollback.service"]
    rollback = read_unit(PACKAGING / "ocpp-station-rollback.service")
    assert "ConditionPathExists" not in rollback["Unit"]
    commands = rollback["Service"]["ExecStart"]
    assert commands[0].startswith("-/")  # a failure of it prevents no start
    assert commands[-1].endswith("start ocpp-station.service")
