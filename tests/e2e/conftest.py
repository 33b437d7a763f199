"""Fixtures of end-to-end tests: a CSMS, a station connected to it, a check of every frame."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import IDENTITY, PASSWORD, EmulatedDevices, Process, StationProcess, Variable
from tests.e2e.steps import ALICE, ALICE_SPOUSE, BOB, FAST_RETRIES, wait_booted
from tests.support.csms import Csms


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory with a short path, because socket paths are limited to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="cs-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def devices(short_directory: Path) -> Iterator[EmulatedDevices]:
    """The emulated hardware and EV, in a process that keeps running when the station is killed."""
    devices = EmulatedDevices(short_directory / "data")
    try:
        devices.start()
        yield devices
    finally:
        devices.close()


@pytest.fixture
def csms() -> Iterator[Csms]:
    """A CSMS with some idTokens. At the end, no frame of the station may violate OCPP."""
    with Csms(passwords={IDENTITY: PASSWORD}) as csms:
        csms.responses.add_id_token(ALICE, group_id_token="FAMILY")
        csms.responses.add_id_token(ALICE_SPOUSE, group_id_token="FAMILY")
        csms.responses.add_id_token(BOB)
        yield csms
    assert csms.problems == []


@pytest.fixture
def variables() -> tuple[Variable, ...]:
    """The device model before the first start; a module's own fixture may replace it."""
    return FAST_RETRIES


@pytest.fixture
def station(
    csms: Csms, short_directory: Path, variables: tuple[Variable, ...]
) -> Iterator[StationProcess]:
    """A station that booted, was accepted and has emptied its outbox."""
    station = StationProcess(short_directory, csms.url, variables=variables)
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Show the end of each process's log with a failed test."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Process):
                report.sections.append((f"log of {name}", value.log_tail()))
