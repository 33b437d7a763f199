"""The set-up of a CAN interface, from the output of `ip` on PATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.wire.can_interface import find_interface_problem

# As iproute2 6.1 prints it for a USB adapter, without the fields that are not read.
LINK = (
    '[{"ifindex":4,"ifname":"can0","flags":["NOARP",%s"ECHO"],"mtu":16,"operstate":"UP",'
    '"linkinfo":{"info_kind":"can","info_data":{"state":"%s","restart_ms":0,'
    '"bittiming":{"bitrate":%d,"sample_point":"0.875"},"clock":48000000}}}]'
)


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program `ip`, to be written."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "ip"


def write_program(path: Path, output: str) -> None:
    path.write_text(
        f"#!/bin/sh\n[ \"$*\" = '-details -json link show dev can0' ] || exit 1\n{output}"
    )
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("flags", "state", "bit_rate", "problem"),
    [
        ('"UP","LOWER_UP",', "ERROR-ACTIVE", 500_000, None),
        ('"UP","LOWER_UP",', "ERROR-PASSIVE", 500_000, None),
        ("", "STOPPED", 500_000, "is down. Run `ip link set can0 up type can bitrate 500000`"),
        ('"UP",', "ERROR-ACTIVE", 250_000, "has 250000 bit/s, its devices have 500000. Run"),
        ('"UP",', "BUS-OFF", 500_000, "is off the bus after errors (BUS-OFF)"),
    ],
)
def test_a_problem_has_its_remedy(
    on_path: Path, flags: str, state: str, bit_rate: int, problem: str | None
) -> None:
    write_program(on_path, f"echo '{LINK % (flags, state, bit_rate)}'")
    found = find_interface_problem("can0", 500_000)
    assert found is None if problem is None else problem in str(found)


@pytest.mark.parametrize("output", ["exit 1", "echo nonsense", "echo '[]'", "echo '[7]'"])
def test_without_an_answer_of_ip_nothing_is_known(on_path: Path, output: str) -> None:
    write_program(on_path, output)
    assert find_interface_problem("can0", 500_000) is None


def test_a_host_without_ip_knows_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_interface_problem("can0", 500_000) is None


def test_a_virtual_interface_has_no_bit_rate(on_path: Path) -> None:
    """vcan, on a test bench."""
    write_program(on_path, 'echo \'[{"flags":["UP"],"linkinfo":{"info_kind":"vcan"}}]\'')
    assert find_interface_problem("can0", 500_000) is None
