"""The process of `station run`, until SIGTERM or Ctrl-C.

A run of the station may end in three other ways, and this module starts it again:

* OCPP Reset, or a restart the station decided: a new run in the same process (B11.FR.03);
* a new firmware release was installed: the same command line replaces this process (L01.FR.32);
* the journal is damaged: one more run, which sets the file aside and makes the journal again. If
  that run finds damage within `REPAIR_INTERVAL_S`, the disk is at fault and the process ends.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Thread
from typing import Final

import station.runtime.lean_imports  # isort: skip  # noqa: F401  # before the libraries
import trio

from journal.storage.errors import JournalDamaged
from station.config.data_directory import restrict_new_files
from station.config.hardware import check_hardware
from station.config.safe_mode import load_safely
from station.config.station_toml import Config, ConfigError
from station.profiles.toml_tables import TableError
from station.runtime.app import run_station
from station.runtime.service.log import configure_log
from station.runtime.service.malloc import use_one_arena
from station.runtime.service.notify import ServiceManager

log = logging.getLogger("station")

REPAIR_INTERVAL_S: Final = 60.0  # minimum between two repairs of the journal
NEW_FIRMWARE: Final = "FirmwareUpdate"  # BootReasonEnumType


def run_process(path: Path, *, quiet: bool = False, until_stdin_closes: bool = False) -> None:
    """Run the station that a station.toml describes, until SIGTERM or Ctrl-C.

    Args:
        path: the station.toml.
        quiet: log warnings only.
        until_stdin_closes: end when the parent process ends.

    Raises:
        ConfigError: the file cannot be used.
        JournalFailed: the journal cannot be used.
    """
    use_one_arena()
    configure_log(logging.WARNING if quiet else logging.INFO)
    service_manager = ServiceManager.from_environment()
    restrict_new_files()
    if until_stdin_closes:
        Thread(target=_end_on_stdin_close, name="stdin", daemon=True).start()
    config = _load_config(path)
    with nullcontext() if config.hardware else _run_emulator(config):
        if not config.hardware:
            log.warning("no [hardware] in %s: the devices are emulated", path)
        boot_reason = _run_with_repair(config, service_manager)
        while boot_reason not in (None, NEW_FIRMWARE):
            log.info("restarting: %s", boot_reason)
            boot_reason = _run_with_repair(config, service_manager)
    if boot_reason == NEW_FIRMWARE:
        log.info("starting the new firmware")
        os.environ.update(service_manager.to_environment())
        _exec_new_firmware()


def _run_emulator(config: Config) -> AbstractContextManager[None]:
    from station.runtime.hardware.emulator_process import run_emulator

    return run_emulator(config.data_directory, len(config.profile.evse))


def _end_on_stdin_close() -> None:
    """End in good order when the parent process ends, which closes the other end of stdin."""
    while os.read(sys.stdin.fileno(), 4096):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


def _run_with_repair(config: Config, service_manager: ServiceManager) -> str | None:
    """Run once; if that finds the journal damaged, run again, which repairs it.

    Returns:
        The BootReasonEnumType of the next run; None to end.

    Raises:
        JournalDamaged: the second run found damage too soon: the disk is at fault.
    """
    damage, repaired_s = "", -REPAIR_INTERVAL_S
    while True:
        try:
            return trio.run(_run_once, config, damage, service_manager)
        except JournalDamaged as failure:
            if time.monotonic() - repaired_s < REPAIR_INTERVAL_S:
                raise
            damage, repaired_s = str(failure), time.monotonic()


def _exec_new_firmware() -> None:
    """Replace this process by the same command line. L01.FR.32.

    The command line goes through the link to the current release, which is the new one by now.
    """
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _load_config(path: Path) -> Config:
    """station.toml with its devices checked; in safe mode, the usable part of it.

    Raises:
        ConfigError: one line that names the file and the place.
    """
    config = load_safely(path, _check_devices)
    for complaint in config.complaints:
        log.error("safe mode: %s", complaint)
    return config


def _check_devices(config: Config) -> None:
    if config.hardware:
        try:
            check_hardware(config.hardware, config.profile.evse_ids)
        except TableError as error:
            raise ConfigError(f"station.toml: {error}") from None


async def _run_once(config: Config, damage: str, service_manager: ServiceManager) -> str | None:
    """One run; an exception in its nurseries is raised without their groups."""
    try:
        return await run_station(config, damage, service_manager)
    except BaseExceptionGroup as group:
        raise _innermost_error(group) from group


def _innermost_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
