"""Energy registers of the emulated meters: saved to a file, never running backwards.

The file always holds at least the value that was shown. While energy flows, it holds a value
`SAVE_AHEAD_S` ahead of the register; at rest and after an orderly end it holds the register itself.
After a kill, the emulator continues from the saved value, so a kill can only add energy.

The file is written by renaming, so that a kill leaves either the old or the new file. It is not
synced: registers must survive the process, not a loss of the host's power. The writing is repeated
here because drivers do not import the journal, and so not `journal.storage.atomic_file`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

SAVE_AHEAD_S = 2.0  # of the present flow: the most energy that a kill adds
QUANTUM_WH = Decimal("0.000001")


class RegistersDamagedError(Exception):
    """The file exists but does not hold meter registers."""


class MeterRegisters:
    """Wh registers by number; energy towards the EV."""

    def __init__(self, path: Path, numbers: Iterable[int]) -> None:
        """Load the registers from `path`; those it does not have begin at 0.

        Raises:
            RegistersDamagedError: the file cannot be read as registers.
        """
        self._path = path
        saved = _read_file(path)
        self._energy_wh = {number: saved.get(str(number), Decimal(0)) for number in numbers}
        self._saved_energy_wh = dict(self._energy_wh)

    def __getitem__(self, number: int) -> Decimal:
        """The value the register shows, Wh."""
        return self._energy_wh[number]

    def add_energy(self, number: int, energy_wh: float, seconds: float) -> None:
        """Add the energy of the last `seconds`; the file is written before it is shown."""
        added_wh = Decimal(energy_wh).quantize(QUANTUM_WH)
        if added_wh <= 0:
            return
        shown_wh = self._energy_wh[number] + added_wh
        if shown_wh > self._saved_energy_wh[number]:
            self._saved_energy_wh[number] = shown_wh + (
                added_wh * Decimal(SAVE_AHEAD_S / seconds)
            ).quantize(QUANTUM_WH)
            self._write_file()
        self._energy_wh[number] = shown_wh

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
        """Save the registers exactly as shown. Called when no energy flows."""
        if self._saved_energy_wh != self._energy_wh:
            self._saved_energy_wh = dict(self._energy_wh)
            self._write_file()

    def _write_file(self) -> None:
        new_path = self._path.with_name(f".{self._path.name}.new")
        new_path.write_text(
            json.dumps({str(key): f"{wh:f}" for key, wh in self._saved_energy_wh.items()})
        )
        new_path.replace(self._path)


def _read_file(path: Path) -> dict[str, Decimal]:
    try:
        saved = json.loads(path.read_text())
        return {key: Decimal(value) for key, value in saved.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, ArithmeticError, AttributeError, TypeError) as error:
        raise RegistersDamagedError(
            f"{path}: not a file of meter registers ({error}); remove it to begin at 0"
        ) from error
