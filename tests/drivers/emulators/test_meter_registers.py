"""Meter registers survive the emulator, however it ends, and never run backwards."""

import json
import os
import random
from decimal import Decimal
from pathlib import Path

import pytest

from drivers.emulators.meter_registers import SAVE_AHEAD_S, MeterRegisters


def test_they_begin_at_zero_and_add_exactly(tmp_path: Path) -> None:
    registers = MeterRegisters(tmp_path / "meters.json", (1, 2))
    assert registers[1] == 0
    for _ in range(1000):
        registers.add_energy(1, 0.1, 0.02)
    assert registers[1] == Decimal("100.000000")
    assert registers[2] == 0


def test_after_an_orderly_end_registers_continue_exactly(tmp_path: Path) -> None:
    registers = MeterRegisters(tmp_path / "meters.json", (1, 2))
    registers.add_energy(1, 12.345678, 1.0)
    registers.save_registers()
    assert MeterRegisters(tmp_path / "meters.json", (1, 2))[1] == Decimal("12.345678")


def test_after_a_kill_at_any_moment_no_register_is_below_what_it_showed(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    random_source = random.Random(seed)
    path, shown = tmp_path / "meters.json", Decimal(0)
    for _ in range(50):
        registers = MeterRegisters(path, (1,))
        assert registers[1] >= shown, f"seed {seed}"
        for _ in range(random_source.randrange(200)):
            registers.add_energy(1, random_source.random() * 2, 0.02)
            if random_source.random() < 0.05:
                registers.save_registers()
        shown = registers[1]


def test_a_kill_adds_at_most_the_energy_of_the_save_ahead_time(tmp_path: Path) -> None:
    registers = MeterRegisters(tmp_path / "meters.json", (1,))
    for _ in range(500):
        registers.add_energy(1, 1.0, 0.02)
    saved = MeterRegisters(tmp_path / "meters.json", (1,))[1]
    assert saved - registers[1] <= Decimal(SAVE_AHEAD_S / 0.02)


def test_the_disk_is_not_written_in_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registers, written = MeterRegisters(tmp_path / "meters.json", (1,)), list[str]()
    monkeypatch.setattr(registers, "_write_file", lambda: written.append("x"))
    for _ in range(3000):  # a minute
        registers.add_energy(1, 1.0, 0.02)
    assert 25 <= len(written) <= 35


def test_a_register_can_be_set_forward_only(tmp_path: Path) -> None:
    registers = MeterRegisters(tmp_path / "meters.json", (1,))
    registers.set_register(1, Decimal("1234.5"))
    assert registers[1] == Decimal("1234.5")
    with pytest.raises(ValueError, match=r"1234\.4 is below the register 1234\.5"):
        registers.set_register(1, Decimal("1234.4"))
    assert MeterRegisters(tmp_path / "meters.json", (1,))[1] == Decimal("1234.5")


def test_zero_and_negative_energy_are_not_counted(tmp_path: Path) -> None:
    registers = MeterRegisters(tmp_path / "meters.json", (1,))
    registers.add_energy(1, 0.0, 0.02)
    registers.add_energy(1, -5.0, 0.02)
    assert registers[1] == 0
    assert not (tmp_path / "meters.json").exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "[" * 100_000, '{"1": "x"}', '{"1": null}', '{"1": "NaN"}', '{"1": "-1"}',
     '{"1": "1e99"}', "\x00\xff"],
)  # fmt: skip
def test_a_file_without_registers_is_set_aside(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "meters.json"
    path.write_text(text)
    registers = MeterRegisters(path, (1,))
    assert registers[1] == 0
    assert (tmp_path / "meters.json.damaged").read_text() == text
    assert "begin at 0" in caplog.text
    registers.set_register(1, Decimal(5))
    assert MeterRegisters(path, (1,))[1] == 5


def test_a_damaged_file_keeps_the_registers_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "meters.json").write_text('{"1": "12.5", "2": "?"}')
    registers = MeterRegisters(tmp_path / "meters.json", (1, 2))
    assert registers[1] == Decimal("12.5")
    assert registers[2] == 0


def test_a_directory_or_fifo_in_place_of_the_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "meters.json").mkdir()
    assert MeterRegisters(tmp_path / "meters.json", (1,))[1] == 0
    (tmp_path / "meters.json.damaged").rmdir()
    os.mkfifo(tmp_path / "meters.json")
    assert MeterRegisters(tmp_path / "meters.json", (1,))[1] == 0


def test_the_meters_count_on_while_the_file_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registers = MeterRegisters(tmp_path / "gone" / "meters.json", (1,))
    for _ in range(3):
        registers.add_energy(1, 1.0, 0.02)
        registers.save_registers()
    assert registers[1] == 3
    assert caplog.text.count("cannot be written: No such file or directory") == 1


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    registers = MeterRegisters(tmp_path / "meters.json", (1, 2))
    registers.set_register(2, Decimal("0.000001"))
    assert json.loads((tmp_path / "meters.json").read_text()) == {"1": "0", "2": "0.000001"}
