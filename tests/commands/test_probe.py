"""`station probe` of emulated devices: wired right and wrong, and its tests on request.

Mistakes at a cabinet, each with what the probe must print:

    wrong unit address, pistol index, module address    one device of a line is silent
    port absent, in use, forbidden                      the port with its reason and remedy
    ports swapped                                       two silent lines name each other
    A and B swapped, wrong parity or baud rate          a silent line, or bytes that are no answer
    two devices with one address                        bytes that are no answer
    no supply                                           a silent line; all lines
    wrong driver                                        an answer that is an error
    CAN: wrong bit rate, no adapter, bus not open       the bus, and no reasons for its devices
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
import tty
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
import serial

from drivers.wire import can_interface
from drivers.wire.can_bus import SocketCanBus
from station.commands.shared.control_client import find_listener_pid, send_request
from tests.commands.fixtures_journals import StationCommand, start_command

CONFIG = """
[station]
identity = "CS001"
profile = "development"
data = "data"
[csms]
url = "ws://localhost:1"
password = "0123456789abcdef"
"""
LINES = {  # kind: driver, line of the emulated station, keys
    "reader": ("pn532", "reader", ""),
    "display": ("vt100", "display", ""),
    "meter": ("acrel_djsf1352", "meter", "retries = 0"),
    "io": ("icpdas_m7055", "io", "timeout_ms = 250"),
    "insulation": ("bender_isocha425hv", "insulation", "retries = 0"),
    "secc": ("advantics", "secc", ""),
    "modules": ("infypower", "modules", ""),
}


@dataclass
class Bench:
    """Emulated devices in a process of their own, and `station probe` with any wiring."""

    directory: Path
    run: StationCommand

    def line(self, name: str) -> str:
        return str(self.directory / "data" / "emulated" / f"{name}.tty")

    def order(self, operation: str, **arguments: object) -> None:
        send_request(self.directory / "data" / "emulator.sock", operation, **arguments)

    def probe(
        self, *options: str, mistakes: dict[str, tuple[str, str]] | None = None
    ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr; `mistakes`: another port or keys for a kind of device.

        Keys that begin with a driver replace the right ones.
        """
        text = CONFIG
        for kind, (driver, line, keys) in LINES.items():
            port, wrong_keys = (mistakes or {}).get(kind, ("", ""))
            if not wrong_keys.startswith("driver"):
                wrong_keys = f'driver = "{driver}"\n{keys}\n{wrong_keys}'
            text += f'[hardware.{kind}]\nport = "{port or self.line(line)}"\n{wrong_keys}\n'
        path = self.directory / "station.toml"
        path.write_text(text)
        result = self.run("probe", "--config", path, *options)
        return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def bench(tmp_path: Path, run_station: StationCommand) -> Iterator[Bench]:
    data = tmp_path / "data"
    data.mkdir()
    with start_command("emulate", "--data", data) as process:
        deadline = time.monotonic() + 20
        while find_listener_pid(data / "emulator.sock") is None:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Bench(tmp_path, run_station)


def section(output: str, name: str) -> str:
    """The lines of one device, up to the next."""
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"  {name} "))
    after = [line for line in lines[start + 1 :] if line[:4].strip()]
    end = lines.index(after[0], start + 1) if after else len(lines)
    return "\n".join(lines[start:end])


def test_every_device_answers_with_its_identity_and_values(bench: Bench) -> None:
    code, output, errors = bench.probe()
    assert (code, errors) == (0, "")
    assert "Acrel DJSF1352-RN software 1.03, 0 Wh, 0.0 V, 0.0 A, 0 W" in section(output, "meter 2")
    assert "Bender isoCHA425HV software 5.00, insulation" in section(output, "insulation 1")
    assert "not normal: none" in section(output, "io 1")
    assert "12 modules answer" in section(output, "modules")
    assert "control pilot A" in section(output, "secc 1")
    assert "NXP PN532 firmware" in section(output, "reader")
    assert output.count("frames received, load") == 2


def test_the_probe_acts_on_nothing(bench: Bench) -> None:
    """An EV that is plugged in stays in state B, the contactors open, the modules off."""
    bench.order("plug_in", evse_id=1)
    code, output, _ = bench.probe()
    assert code == 0
    assert "control pilot B" in section(output, "secc 1")
    assert "contactors_closed" not in output


def test_wiring_mistakes_are_named_with_their_likeliest_reasons(bench: Bench) -> None:
    code, output, errors = bench.probe(
        mistakes={
            "meter": ("", "addresses = [1, 9]"),
            "io": ("", "addresses = [5, 7]"),
            "insulation": (str(bench.directory / "absent"), ""),
            "reader": (bench.line("display"), ""),
            "display": (bench.line("reader"), ""),
            "secc": ("", "indexes = [1, 7]"),
            "modules": ("", "groups = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 40]]"),
        }
    )
    assert code == 1
    assert "Wh" in section(output, "meter 1")
    for name, reason in (
        ("meter 2", "1. its Modbus address differs from the key addresses"),
        ("io 2", "1. its Modbus address differs from the key addresses"),
        ("reader", "1. its port is swapped with that of [hardware.display], which is silent too"),
        ("display", "2. transmit and receive are swapped"),
        ("secc 2", "1. its pistol index differs from the key indexes"),
    ):
        text = section(output, name)
        assert "NO ANSWER" in text, name
        assert reason in text, text
    assert "does not exist. Is the adapter plugged in?" in section(output, "insulation 1")
    assert "likely" not in section(output, "insulation 1")
    assert "11 modules answer, NO ANSWER: 40" in section(output, "modules")
    assert errors.startswith("No answer: ")
    assert "module 40" in errors
    assert "meter 1" not in errors


@pytest.fixture
def garbling_line() -> Iterator[str]:
    """A line with another bit rate, or with two devices that answer at once: bytes, no response."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)

    def answer() -> None:
        with suppress(OSError):  # closed at the end
            while os.read(ours, 256):
                os.write(ours, b"\xf8\x00\xe0")

    thread = Thread(target=answer, daemon=True)
    thread.start()
    yield os.ttyname(theirs)
    os.close(theirs)
    thread.join(5)
    os.close(ours)


def test_lines_on_the_wrong_ports_are_found(bench: Bench, garbling_line: str) -> None:
    """CAN buses swapped, two Modbus lines swapped, a port in use, a line with other settings."""
    busy = os.open(bench.line("display"), os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(busy, fcntl.LOCK_EX)
    try:
        code, output, _ = bench.probe(
            mistakes={
                "secc": (bench.line("modules"), ""),
                "modules": (bench.line("secc"), ""),
                "meter": (bench.line("insulation"), ""),
                "insulation": (bench.line("meter"), ""),
                "io": (garbling_line, ""),
            }
        )
    finally:
        os.close(busy)
    assert code == 1
    assert f"in use by process {os.getpid()}" in section(output, "display")
    for name, other in (("meter 1", "insulation"), ("insulation 2", "meter")):
        reason = f"1. its port is swapped with that of [hardware.{other}], which is silent too"
        assert reason in section(output, name)
    for name in ("secc 1", "secc 2", "modules", "meter 1", "insulation 1", "insulation 2"):
        assert "NO ANSWER" in section(output, name), output
    assert "the modules have no mains: probe with --mains" in section(output, "modules")
    io = section(output, "io 1")
    assert "no valid answer" in io
    assert "1. its baud rate or parity differs from the keys baud and parity" in io
    assert "2. two devices on the line have the same Modbus address" in io


OTHER_METER: Final = """driver = "modbus_generic"
timeout_ms = 1000
energy = { register = 72, type = "float32" }
voltage = { register = 0, type = "float32" }
current = { register = 6, type = "float32" }"""


@pytest.fixture
def silent_line() -> Iterator[str]:
    """A port with nothing behind it."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    yield os.ttyname(theirs)
    os.close(theirs)
    os.close(ours)


@pytest.fixture
def forbidden_port(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> str:
    """A port that the user may not open. Root, who may run this test, could."""
    forbidden = bench.line("reader")
    open_serial = serial.Serial

    def open_other(path: str, *arguments: Any, **options: Any) -> Any:
        if path == forbidden:
            raise serial.SerialException(errno.EACCES, "Permission denied")
        return open_serial(path, *arguments, **options)

    monkeypatch.setattr(serial, "Serial", open_other)
    return forbidden


@pytest.fixture
def kernel_bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A CAN bus of the kernel with a controller at another bit rate: nothing is received."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    monkeypatch.setattr(SocketCanBus, "open", lambda interface: SocketCanBus(theirs))
    monkeypatch.setattr(
        can_interface, "_read_link", lambda name: {"flags": ["UP"], "linkinfo": LINK_AT_250_KBIT}
    )
    yield
    ours.close()
    theirs.close()


LINK_AT_250_KBIT: Final = {
    "info_data": {"state": "ERROR-PASSIVE", "bittiming": {"bitrate": 250000}}
}


@pytest.mark.usefixtures("kernel_bus")
def test_mistakes_of_one_line_have_the_reasons_of_that_line(
    bench: Bench, forbidden_port: str, silent_line: str
) -> None:
    """Wrong driver, no supply of a line, no permission, no CAN adapter, wrong CAN bit rate."""
    bench.order("fault", device="insulation", kind="lost")
    code, output, errors = bench.probe(
        "--seconds",
        "3",
        mistakes={
            "meter": ("", OTHER_METER),
            "secc": (silent_line, ""),
            "modules": ("can0", 'interface = "socketcan"'),
        },
    )
    assert code == 1
    meter = section(output, "meter 2")
    assert "WRONG ANSWER: " in meter
    assert "exception 2 (illegal address)" in meter
    assert "likely 1. the driver is for another device than the one that answers" in meter
    insulation = section(output, "insulation 1")
    assert "NO ANSWER" in insulation
    assert "1. the two wires of the line are swapped (A and B), or the devices have no supply" in (
        insulation
    )
    reader = section(output, "reader")
    assert f"{forbidden_port}: no permission. " in reader
    assert "likely" not in reader
    assert "no reply of the adapter: is it one for CAN (slcan)?" in output
    assert "can0: the interface has 250000 bit/s, its devices have 125000. Run `ip link" in output
    assert errors.splitlines() == [
        "No answer: secc 1, secc 2, modules, insulation 1, insulation 2, reader.",
        "Wrong answer: meter 1, meter 2.",
    ]


def test_without_supply_no_line_answers(bench: Bench) -> None:
    for device, kind in (("insulation", "lost"), ("reader", "silent"), ("display", "lost")):
        bench.order("fault", device=device, kind=kind)
    for device in ("meter", "io", "secc"):
        bench.order("fault", device=device, kind="silent")
    bench.order("fault", device="breaker", kind="tripped")
    code, output, _ = bench.probe("--seconds", "3")
    assert code == 1
    for name in ("meter 1", "io 2", "insulation 1", "reader", "display"):
        reason = "likely 1. the devices have no supply: no other line answers either"
        assert reason in section(output, name), output
    assert "likely 1. CAN high and low are swapped" in section(output, "secc 1")
    assert "likely 1. the modules have no mains" in section(output, "modules")


def test_devices_of_a_bus_that_is_not_open_have_no_reasons_of_their_own(bench: Bench) -> None:
    """An adapter whose library is not installed, and one that is not plugged in."""
    code, output, errors = bench.probe(
        "--seconds",
        "1",
        mistakes={
            "secc": ("PCAN_USBBUS1", 'interface = "pcan"'),
            "modules": (str(bench.directory / "absent"), ""),
        },
    )
    assert code == 1
    assert "NO ANSWER: its bus is not open" in section(output, "secc 1")
    assert "NOT OPEN: pcan PCAN_USBBUS1: cannot open the adapter: " in output
    assert "does not exist. Is the adapter plugged in?" in output
    assert "likely" not in section(output, "modules") + section(output, "secc 2")
    assert errors.startswith("No answer: secc bus, modules bus, secc 1, secc 2, modules")


def test_watchdogs_and_contactors_are_proven_on_request(bench: Bench) -> None:
    code, output, _ = bench.probe("--prove-watchdogs", "--prove-contactors", "--yes")
    assert code == 0
    assert [line for line in output.splitlines() if line.startswith("pass")] == [
        "pass  io 1: the watchdog switches the outputs off",
        "pass  io 2: the watchdog switches the outputs off",
        "pass  contactors 1: close and open as ordered",
        "pass  contactors 2: close and open as ordered",
    ]


def test_a_welded_contactor_and_an_ev_fail_the_proof(bench: Bench) -> None:
    bench.order("fault", device="contactor", kind="stuck_open", evse_id=1)
    bench.order("plug_in", evse_id=2)
    code, output, _ = bench.probe("--prove-contactors", "--yes")
    assert code == 1
    assert "FAIL  contactors 1: no feedback within 1.0 s of the order to close" in output
    assert "FAIL  contactors 2: not tested: the control pilot is B; unplug the EV" in output


def test_contactors_close_only_after_a_confirmation(bench: Bench) -> None:
    code, output, errors = bench.probe("--prove-contactors")
    assert (code, output) == (2, "")
    assert "--prove-contactors needs --yes without a terminal" in errors


def test_without_hardware_and_emulation_there_is_nothing_to_probe(
    tmp_path: Path, run_station: StationCommand
) -> None:
    (tmp_path / "station.toml").write_text(CONFIG)
    result = run_station("probe", "--config", tmp_path / "station.toml")
    assert result.exit_code == 2
    assert "has no [hardware], so there is no port to open" in result.stderr
