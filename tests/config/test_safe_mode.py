"""After its first start, a station starts with any station.toml and reports what it ignored. P8."""

from __future__ import annotations

from pathlib import Path

import pytest

from station.config.safe_mode import LAST_GOOD_FILE, load_safely
from station.config.station_toml import Config, ConfigError

GOOD = """
[station]
identity = "CS001"

[csms]
url = "ws://csms.example/ocpp"
password_file = "password"

[journal]
grow_bytes = 65536
"""
PASSWORD = "0123456789abcdef"


def load_config_safely(directory: Path, text: str) -> Config:
    (directory / "station.toml").write_text(text)
    return load_safely(directory / "station.toml", lambda config: None)


@pytest.fixture
def started_station_directory(tmp_path: Path) -> Path:
    """A station that has started with the valid file."""
    (tmp_path / "password").write_text(PASSWORD)
    config = load_config_safely(tmp_path, GOOD)
    assert config.complaints == ()
    (config.data_directory / "journal.db").touch()
    return tmp_path


def test_before_the_first_start_a_bad_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ulr is not a key; did you mean url"):
        load_config_safely(tmp_path, GOOD.replace("url", "ulr"))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (
            '[[variable]]\ncomponent = "OCPPCommCtrlr"\nvariable = "HeartbeatInterval"\n'
            'value = "5m"\n',
            'OCPPCommCtrlr.HeartbeatInterval needs an integer of s, got "5m"',
        ),
        ('[[certificate]]\nuse = "CSMSRootCertificate"\nfile = "gone.pem"\n', "gone.pem"),
        ('[firmware]\ninstaller = "gone"\n', "gone"),
        ("[jornal]\ngrow_bytes = 1\n", "jornal is not a key"),
    ],
)
def test_an_unusable_row_is_ignored_and_named(
    started_station_directory: Path, more: str, named: str
) -> None:
    config = load_config_safely(started_station_directory, GOOD + more)
    [complaint] = config.complaints
    assert named in complaint
    assert complaint.endswith("; it is left out")
    assert config.journal.grow_bytes == 65536


def test_only_invalid_rows_are_ignored(started_station_directory: Path) -> None:
    row = (
        '[[variable]]\ncomponent = "OCPPCommCtrlr"\nvariable = "HeartbeatInterval"\nvalue = "{}"\n'
    )
    other = row.replace("HeartbeatInterval", "OfflineThreshold")
    config = load_config_safely(
        started_station_directory, GOOD + row.format("5m") + other.format("77")
    )
    assert list(config.variables.values()) == ["77"]
    assert len(config.complaints) == 1


def test_missing_root_files_are_ignored(started_station_directory: Path) -> None:
    config = load_config_safely(
        started_station_directory, GOOD.replace("[journal]", 'ca_file = "gone.pem"\n[journal]')
    )
    assert config.csms.ca_file is None
    assert "gone.pem" in config.complaints[0]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "[station",
        "\x00" * 500,
        GOOD.replace('identity = "CS001"', 'identity = "a:b"'),
        GOOD.replace("ws://", "http://"),
        GOOD.replace("[journal]", '[hardware.reader]\ndriver = "none"\n[journal]'),
        GOOD.replace("[csms]", 'profile = "gone.toml"\n[csms]'),
        GOOD.replace("password_file", "pasword_file"),
        f"{GOOD}\n[limits]\nstation_w = -1\n",  # a limit that protects a site is not left out
    ],
)
def test_without_usable_main_tables_the_last_valid_file_is_used(
    started_station_directory: Path, bad: str
) -> None:
    config = load_config_safely(started_station_directory, bad)
    assert config.identity == "CS001"
    assert config.csms.password is not None
    assert config.csms.password.reveal() == PASSWORD
    [complaint] = config.complaints
    assert complaint.startswith("station.toml: ") or "station.toml" in complaint
    assert complaint.endswith("; the last one that worked is used")


def test_a_missing_file_does_not_stop_the_start(started_station_directory: Path) -> None:
    (started_station_directory / "station.toml").unlink()
    (started_station_directory / "password").unlink()
    config = load_safely(started_station_directory / "station.toml", lambda config: None)
    assert config.csms.password is not None
    assert "cannot be read" in config.complaints[0]


def test_a_file_with_ignored_rows_is_not_kept_as_valid(started_station_directory: Path) -> None:
    before = (started_station_directory / "data" / LAST_GOOD_FILE).read_bytes()
    load_config_safely(started_station_directory, "[station")
    load_config_safely(started_station_directory, GOOD + "[jornal]\n")
    assert (started_station_directory / "data" / LAST_GOOD_FILE).read_bytes() == before


def test_the_kept_file_is_readable_by_its_owner_only(started_station_directory: Path) -> None:
    assert (started_station_directory / "data" / LAST_GOOD_FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kept", [b"", b"{}", b"nonsense", b'{"base": 5, "raw": {}}'])
def test_without_a_kept_file_the_error_is_reported(
    started_station_directory: Path, kept: bytes
) -> None:
    (started_station_directory / "data" / LAST_GOOD_FILE).write_bytes(kept)
    with pytest.raises(ConfigError, match="end of document"):
        load_config_safely(started_station_directory, "[station")
