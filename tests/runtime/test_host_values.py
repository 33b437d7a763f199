"""Disk and memory of the computer as values that monitors compare."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio
import trio.testing

from station.runtime.host_values import (
    DISK,
    INTERVAL_S,
    MEMORY,
    HostValues,
    measure_host,
    measure_in_thread,
)
from tests.support.story import load_product


def test_disk_and_memory_are_measured_in_bytes(tmp_path: Path) -> None:
    definitions = load_product().device_model.by_path
    values = measure_host(tmp_path)
    assert set(values) == {DISK, MEMORY}
    for variable, value in values.items():
        assert definitions[variable].unit == "B"
        assert definitions[variable].supports_monitoring
        assert int(value) > 1_000_000


async def test_they_are_measured_beside_the_event_loop(tmp_path: Path) -> None:
    assert set(await measure_in_thread(tmp_path)) == {DISK, MEMORY}


def test_the_certified_product_does_not_have_them() -> None:
    assert not {DISK, MEMORY} & load_product("evs-flash-300").device_model.by_path.keys()


async def test_a_measurement_that_fails_leaves_no_old_value(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    results = iter(({DISK: "1"}, None, None, {DISK: "2"}))
    seen = []

    async def measure(directory: Path) -> Mapping[str, str]:
        values = next(results, {DISK: "3"})
        if values is None:
            raise OSError(5, "Input/output error")
        return values

    host = HostValues(Path("unused"), measure=measure)
    with caplog.at_level(logging.WARNING):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.run)
            for _ in range(4):
                await trio.sleep(INTERVAL_S / 2)
                seen.append(dict(host.values))
                await trio.sleep(INTERVAL_S / 2)
            nursery.cancel_scope.cancel()
    assert seen == [{DISK: "1"}, {}, {}, {DISK: "2"}]
    assert len(caplog.records) == 1
