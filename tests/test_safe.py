"""A station that has run starts with any station.toml, and says what it left out. P8."""

from __future__ import annotations

from pathlib import Path

import pytest

from station.config import Config, ConfigError
from station.safe import KEPT, load_safely

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
DRIVERS = {"pn532": ("poll_ms",)}


def start(directory: Path, text: str) -> Config:
    (directory / "station.toml").write_text(text)
    return load_safely(directory / "station.toml", DRIVERS, lambda config: None)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A station that has run with the good file."""
    (tmp_path / "password").write_text(PASSWORD)
    config = start(tmp_path, GOOD)
    assert config.complaints == ()
    (config.data / "journal.db").touch()
    return tmp_path


def test_before_the_first_start_a_bad_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ulr is not a key; did you mean url"):
        start(tmp_path, GOOD.replace("url", "ulr"))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (
            '[[variable]]\ncomponent = "OCPPCommCtrlr"\nvariable = "HeartbeatInterval"\n'
            'value = "5m"\n',
            'OCPPCommCtrlr.HeartbeatInterval wants an integer of s, got "5m"',
        ),
        ('[[certificate]]\nuse = "CSMSRootCertificate"\nfile = "gone.pem"\n', "gone.pem"),
        ('[firmware]\ninstaller = "gone"\n', "gone"),
        ("[jornal]\ngrow_bytes = 1\n", "jornal is not a key"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_and_named(
    place: Path, more: str, named: str
) -> None:
    config = start(place, GOOD + more)
    [complaint] = config.complaints
    assert named in complaint
    assert complaint.endswith("; it is left out")
    assert config.journal.grow_bytes == 65536


def test_only_the_bad_rows_go(place: Path) -> None:
    row = (
        '[[variable]]\ncomponent = "OCPPCommCtrlr"\nvariable = "HeartbeatInterval"\nvalue = "{}"\n'
    )
    other = row.replace("HeartbeatInterval", "OfflineThreshold")
    config = start(place, GOOD + row.format("5m") + other.format("77"))
    assert list(config.variables.values()) == ["77"]
    assert len(config.complaints) == 1


def test_roots_that_are_gone_are_left_out(place: Path) -> None:
    config = start(place, GOOD.replace("[journal]", 'ca_file = "gone.pem"\n[journal]'))
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
        GOOD.replace("[journal]", '[hardware.reader]\ndriver = "none"\nport = "x"\n[journal]'),
        GOOD.replace("[csms]", 'profile = "gone.toml"\n[csms]'),
        GOOD.replace("password_file", "pasword_file"),
    ],
)
def test_where_the_core_is_bad_the_last_good_file_counts(place: Path, bad: str) -> None:
    config = start(place, bad)
    assert config.identity == "CS001"
    assert config.csms.password is not None
    assert config.csms.password.reveal() == PASSWORD
    [complaint] = config.complaints
    assert complaint.startswith("station.toml: ") or "station.toml" in complaint
    assert complaint.endswith("; the last one that worked is used")


def test_a_file_that_is_gone_does_not_stop_it(place: Path) -> None:
    (place / "station.toml").unlink()
    (place / "password").unlink()
    config = load_safely(place / "station.toml", DRIVERS, lambda config: None)
    assert config.csms.password is not None
    assert "cannot be read" in config.complaints[0]


def test_a_rescue_does_not_count_as_good(place: Path) -> None:
    before = (place / "data" / KEPT).read_bytes()
    start(place, "[station")
    start(place, GOOD + "[jornal]\n")
    assert (place / "data" / KEPT).read_bytes() == before


def test_the_kept_file_is_for_our_eyes_only(place: Path) -> None:
    assert (place / "data" / KEPT).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kept", [b"", b"{}", b"nonsense", b'{"base": 5, "raw": {}}'])
def test_without_a_good_file_the_fault_is_told(place: Path, kept: bytes) -> None:
    (place / "data" / KEPT).write_bytes(kept)
    with pytest.raises(ConfigError, match="end of document"):
        start(place, "[station")
