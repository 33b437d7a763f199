"""Energy registers of the emulated meters: saved to a file, never running backwards.

The file always holds at least the value that was shown. While energy flows, it holds a value
`SAVE_AHEAD_S` ahead of the register; at rest and after an orderly end it holds the register itself.
After a kill, the emulator continues from the saved value, so a kill can only add energy.

The file is written by renaming, so that a kill leaves either the old or the new file. It is not
synced: registers must survive the process, not a loss of the host's power.

The emulated devices run on without a file: one that is damaged is set aside, and one that cannot be
written is reported once. The writing is repeated
here because drivers do not import the journal, and so not `journal.storage.atomic_file`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

SAVE_AHEAD_S = 2.0  # of the present flow: the most energy that a kill adds
QUANTUM_WH = Decimal("0.000001")


ENERGY_MAX_WH = Decimal(10**12)  # more is no register of a meter

log = logging.getLogger("station.devices")


class MeterRegisters:
    """Wh registers by number; energy towards the EV."""

    def __init__(self, path: Path, numbers: Iterable[int]) -> None:
        """Load the registers from `path`; those it does not have begin at 0."""
        self._path = path
        saved = _read_file(path)
        self._energy_wh = {number: saved.get(str(number), Decimal(0)) for number in numbers}
        self._write_failed = False
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
        text = json.dumps({str(key): f"{wh:f}" for key, wh in self._saved_energy_wh.items()})
        try:
            new_path.write_text(text)
            new_path.replace(self._path)
        except OSError as error:
            if not self._write_failed:
                log.warning(
                    "%s cannot be written: %s. After a restart the emulated meters run backwards.",
                    self._path,
                    error.strerror,
                )
            self._write_failed = True
        else:
            self._write_failed = False


def _read_file(path: Path) -> dict[str, Decimal]:
    """The registers in a file; a damaged one is set aside, and those it does hold are kept."""
    registers: dict[str, Decimal] = {}
    try:
        if path.exists() and not path.is_file():
            raise ValueError("not a regular file")
        for number, text in json.loads(path.read_text()).items():
            energy_wh = Decimal(text)
            if not 0 <= energy_wh <= ENERGY_MAX_WH:
                raise ValueError(f"register {number} is {text}")
            registers[number] = energy_wh
    except FileNotFoundError:
        return {}
    except (
        OSError,
        ValueError,
        ArithmeticError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        _set_aside(path, error)
    return registers


def _set_aside(path: Path, reason: Exception) -> None:
    aside = path.with_name(f"{path.name}.damaged")
    log.warning(
        "%s does not hold the registers of the emulated meters (%s). It is kept as %s;"
        " registers that cannot be read from it begin at 0.",
        path,
        reason,
        aside.name,
    )
    try:
        path.replace(aside)
    except OSError as error:
        log.warning("%s cannot be renamed: %s", path, error.strerror)
