"""How does an emulated meter's register outlive its emulator and never run backwards?

The file always holds at least what was shown: while energy flows it is a mark a moment ahead, at
rest and after a proper end it is the register itself. A killed emulator goes on from the mark.
Written by renaming, so that a kill leaves the old file or the new one. It is not synced: this is
to outlive the process, a lost supply takes emulated meters with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

SAVE_AHEAD_S = 2.0  # of the present flow: the most that a kill adds
QUANTUM_WH = Decimal("0.000001")


class RegistersDamagedError(Exception):
    """The file is there and is not ours."""


class MeterRegisters:
    """Wh registers by number, towards the EV."""

    def __init__(self, path: Path, numbers: Iterable[int]) -> None:
        """Take up the registers in `path`; those it does not have begin at 0.

        Raises:
            RegistersDamagedError: the file cannot be read as registers.
        """
        self._path = path
        kept = _read_file(path)
        self._energy_wh = {number: kept.get(str(number), Decimal(0)) for number in numbers}
        self._saved_energy_wh = dict(self._energy_wh)

    def __getitem__(self, number: int) -> Decimal:
        """What the register shows, Wh."""
        return self._energy_wh[number]

    def add_energy(self, number: int, energy_wh: float, seconds: float) -> None:
        """Count the energy of the last `seconds`; it is on disk before it shows."""
        gained = Decimal(energy_wh).quantize(QUANTUM_WH)
        if gained <= 0:
            return
        shown = self._energy_wh[number] + gained
        if shown > self._saved_energy_wh[number]:
            self._saved_energy_wh[number] = shown + (
                gained * Decimal(SAVE_AHEAD_S / seconds)
            ).quantize(QUANTUM_WH)
            self._write_file()
        self._energy_wh[number] = shown

    def set_register(self, number: int, energy_wh: Decimal) -> None:
        """Set a register forward.

        Raises:
            ValueError: backwards.
        """
        if energy_wh < self._energy_wh[number]:
            raise ValueError(
                f"energy_wh {energy_wh} is below the register {self._energy_wh[number]:f}; "
                "it never runs backwards (for that: fault meter/backwards)"
            )
        self._saved_energy_wh[number] = energy_wh
        self._write_file()
        self._energy_wh[number] = energy_wh

    def save_registers(self) -> None:
        """Nothing flows: let the file say what the registers show."""
        if self._saved_energy_wh != self._energy_wh:
            self._saved_energy_wh = dict(self._energy_wh)
            self._write_file()

    def _write_file(self) -> None:
        fresh = self._path.with_name(f".{self._path.name}.new")
        fresh.write_text(
            json.dumps({str(key): f"{wh:f}" for key, wh in self._saved_energy_wh.items()})
        )
        fresh.replace(self._path)


def _read_file(path: Path) -> dict[str, Decimal]:
    try:
        kept = json.loads(path.read_text())
        return {key: Decimal(value) for key, value in kept.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, ArithmeticError, AttributeError, TypeError) as error:
        raise RegistersDamagedError(
            f"{path}: not a file of meter registers ({error}); remove it to begin at 0"
        ) from error
