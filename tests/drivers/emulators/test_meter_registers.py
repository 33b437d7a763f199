"""Meter registers survive the emulator, however it ends, and never run backwards."""

import json
import random
from decimal import Decimal
from pathlib import Path

import pytest

from drivers.emulators.meter_registers import SAVE_AHEAD_S, MeterRegisters, RegistersDamagedError


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


@pytest.mark.parametrize("text", ["", "[]", "{", '{"1": "x"}', '{"1": null}', "\x00\xff"])
def test_a_file_without_registers_is_refused_and_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "meters.json"
    path.write_text(text)
    with pytest.raises(RegistersDamagedError, match=r"meters\.json"):
        MeterRegisters(path, (1,))
    assert path.read_text() == text


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    registers = MeterRegisters(tmp_path / "meters.json", (1, 2))
    registers.set_register(2, Decimal("0.000001"))
    assert json.loads((tmp_path / "meters.json").read_text()) == {"1": "0", "2": "0.000001"}
