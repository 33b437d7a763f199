"""The mobile network modem of the host, as ModemManager knows it. B01.

`mmcli -J` is read as a short process of its own: three calls every `INTERVAL_S`, each for at most
`TIMEOUT_S` and `OUTPUT_LENGTH_MAX`. A host without `mmcli` or without a modem is no error. What the
program prints is judged like any message from outside: a value that is no ICCID, IMSI or level is
left out.

A report is journaled when the SIM card changes, or the level by `LEVEL_STEP_DB`.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import trio

from journal.observations import ModemReported
from journal.projections.modem import Modem
from station.core.device_model.model import Component, DeviceModel, Refusal

log = logging.getLogger("station")

INTERVAL_S: Final = 300.0
TIMEOUT_S: Final = 5.0
FIRST_TIMEOUT_S: Final = 3.0  # of the first start, whose BootNotification has the SIM card
OUTPUT_LENGTH_MAX: Final = 65_536
LEVEL_STEP_DB: Final = 6
LEVEL_RANGE_DBM: Final = (-150, 0)
RECEIVE_LENGTH: Final = 8_192

SIM_PATH: Final = re.compile(r"/org/freedesktop/ModemManager1/SIM/[0-9]{1,6}", re.ASCII)
ICCID: Final = re.compile(r"[0-9]{10,19}[0-9Ff]?", re.ASCII)  # ITU-T E.118
IMSI: Final = re.compile(r"[0-9]{6,15}", re.ASCII)  # ITU-T E.212
LEVEL: Final = re.compile(r"-?[0-9]{1,3}(\.[0-9]{1,6})?", re.ASCII)
QUALITY: Final = re.compile(r"[0-9]{1,3}", re.ASCII)

# Technology -> its level, in the order in which they are used.
LEVELS: Final = (("5g", "rsrp"), ("lte", "rssi"), ("umts", "rssi"), ("gsm", "rssi"))
# ModemManager makes a percentage of the range of an RSSI, in dBm.
QUALITY_0_DBM, QUALITY_100_DBM = -113, -51


class ModemUnreadable(Exception):
    """The program gave no answer that can be used. The message is one line."""


def find_modem_program(device_model: DeviceModel) -> str | None:
    """The path of `mmcli`; None: the product has no modem, or this host has no such program."""
    variable = device_model.find_variable(Component("DataLink"), "ICCID")
    return None if isinstance(variable, Refusal) else shutil.which("mmcli")


async def watch_modem(
    program: str,
    observe: Callable[[ModemReported], None],
    known_modem: Callable[[], Modem],
    *,
    interval_s: float = INTERVAL_S,
) -> None:
    """Report the modem until cancelled, whenever it has changed.

    Args:
        program: the path of `mmcli`.
        observe: takes each report.
        known_modem: what was reported last.
        interval_s: between two readings.
    """
    while True:
        try:
            report = await read_modem(program)
        except ModemUnreadable as error:
            log.warning("modem: %s", error)
        else:
            if report is not None and has_changed(report, known_modem()):
                observe(report)
        await trio.sleep(interval_s)


def has_changed(report: ModemReported, known: Modem) -> bool:
    """Whether a report is worth an entry."""
    if (report.iccid, report.imsi) != (known.iccid, known.imsi):
        return True
    if report.signal_dbm is None or known.signal_dbm is None:
        return report.signal_dbm != known.signal_dbm
    return abs(report.signal_dbm - known.signal_dbm) >= LEVEL_STEP_DB


async def read_modem(program: str) -> ModemReported | None:
    """The first modem of the host; None: it has none.

    Raises:
        ModemUnreadable: the program does not end in time, or its output is no JSON of a modem.
    """
    modem = await _run_program(program, "-m", "any")
    if modem is None:
        return None
    sim_path = _find(modem, "modem", "generic", "sim")
    sim: Any = None
    if _matches(SIM_PATH, sim_path):
        sim = await _run_program(program, "-i", sim_path)
    signal = await _run_program(program, "-m", "any", "--signal-get")
    return ModemReported(
        iccid=_text(ICCID, _find(sim, "sim", "properties", "iccid")),
        imsi=_text(IMSI, _find(sim, "sim", "properties", "imsi")),
        signal_dbm=_find_level(signal, modem),
    )


def _find_level(signal: Any, modem: Any) -> int | None:
    """The level that the modem measures, else that of its signal quality; None: unknown."""
    for technology, name in LEVELS:
        text = _text(LEVEL, _find(signal, "modem", "signal", technology, name))
        if text is not None:
            return _level_in_range(round(float(text)))
    quality = _text(QUALITY, _find(modem, "modem", "generic", "signal-quality", "value"))
    if quality is None or not 0 < int(quality) <= 100:
        return None
    return QUALITY_0_DBM + round(int(quality) * (QUALITY_100_DBM - QUALITY_0_DBM) / 100)


def _level_in_range(level_dbm: int) -> int | None:
    low, high = LEVEL_RANGE_DBM
    return level_dbm if low <= level_dbm < high else None


def _find(node: Any, *keys: str) -> Any:
    """A value at a path of objects; None: it is not there."""
    for key in keys:
        if not isinstance(node, Mapping):
            return None
        node = node.get(key)
    return node


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _text(pattern: re.Pattern[str], value: Any) -> str | None:
    """The value if it has the form of what it should be. mmcli prints `--` for none."""
    return value if _matches(pattern, value) else None


async def _run_program(program: str, *arguments: str) -> Any:
    """The JSON that the program prints; None: it ends with an error, as without a modem.

    Raises:
        ModemUnreadable: as `read_modem`.
    """
    output = bytearray()
    try:
        with trio.fail_after(TIMEOUT_S):
            process = await trio.lowlevel.open_process(
                [program, "-J", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            try:
                await _read_output(process, output)
                exit_code = await process.wait()
            finally:
                await _end_process(process)
    except trio.TooSlowError:
        raise ModemUnreadable(f"mmcli has not ended after {TIMEOUT_S:g} s") from None
    except OSError as error:
        raise ModemUnreadable(f"{program} cannot be run: {error.strerror}") from None
    if exit_code != 0:
        return None
    try:
        return msgspec.json.decode(output)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ModemUnreadable("mmcli printed something that is not JSON") from None


async def _read_output(process: trio.Process, output: bytearray) -> None:
    assert process.stdout is not None
    while received := await process.stdout.receive_some(RECEIVE_LENGTH):
        output += received
        if len(output) > OUTPUT_LENGTH_MAX:
            raise ModemUnreadable(f"mmcli printed more than {OUTPUT_LENGTH_MAX} bytes")


async def _end_process(process: trio.Process) -> None:
    """Leave no process behind, however the reading ended."""
    if process.returncode is None:
        process.kill()
    with trio.CancelScope(shield=True):
        await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()
