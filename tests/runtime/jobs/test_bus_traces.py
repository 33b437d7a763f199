"""Bus traces: when one is written, its files, and what happens when it cannot be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import can
import msgspec
import pytest
import trio

from drivers.wire.bus_traffic import BusTraffic
from drivers.wire.slcan import parse_frame
from drivers.wire.traffic import TrafficRing
from journal.observations import BusTraceWritten, StorageReported
from journal.projections.station_health import StationHealth
from station.config.file_tables import TracesConfig
from station.core.desired import DesiredState
from station.runtime.jobs import bus_traces
from station.runtime.jobs.bus_traces import BusTraceJob
from station.runtime.jobs.trace_directories import find_traces
from station.runtime.jobs.trace_files import (
    PARTIAL,
    FaultLine,
    TraceOrder,
    TraceResult,
    write_trace,
)
from station.runtime.watched_value import WatchedValue
from tests.support.story import NOON, ONLINE, Station, device_faulted, given

FRAME = parse_frame("02A4003F#0001")
FAULT = FaultLine(seq=7, at=NOON, evse_id=1, device="modules", fault="lost")


def recorded_traffic() -> BusTraffic:
    """A CAN bus and two serial lines, one of them with personal data."""
    traffic = BusTraffic(16_384, 60, clock=lambda: 100.0)
    modules = traffic._rings["modules"] = TrafficRing(16_384, 60, clock=lambda: 98.0)
    traffic._can_kinds.add("modules")
    modules.add_frame(FRAME, sent=True)
    modules.add_frame(parse_frame("123#FF"), sent=False)
    meter = traffic._rings["meter"] = TrafficRing(16_384, 60, clock=lambda: 99.5)
    meter.add_bytes(b"\x01\x03", sent=True)
    meter.add_bytes(b"\x01\x83", sent=False)
    reader = traffic._rings["reader"] = TrafficRing(16_384, 60, hides_data=True, clock=lambda: 99.0)
    reader.add_bytes(b"uid", sent=False)
    traffic._rings["io"] = TrafficRing(16_384, 60)
    return traffic


def order(directory: Path, seq: int = 7, **changes: Any) -> TraceOrder:
    trace = TraceOrder(
        directory=str(directory),
        files_max=3,
        identity="CS001",
        faults=(msgspec.structs.replace(FAULT, seq=seq),),
        since=0.0,
        copied_at=100.0,
        copied_at_utc=NOON,
        buses=recorded_traffic().copy_records(),
    )
    return msgspec.structs.replace(trace, **changes)


# --- Files ---------------------------------------------------------------------------------------


def test_a_trace_has_a_file_per_bus(tmp_path: Path) -> None:
    result = write_trace(order(tmp_path / "traces"))
    assert result.files == ("about.txt", "meter.txt", "modules.asc", "reader.txt")
    directory = tmp_path / "traces" / result.directory
    assert (directory / "meter.txt").read_text().splitlines() == [
        "2026-03-01T11:59:59.500000+00:00 > 01 03",
        "2026-03-01T11:59:59.500000+00:00 < 01 83",
    ]
    assert (directory / "reader.txt").read_text().endswith(" < (3 bytes, personal data)\n")
    about = (directory / "about.txt").read_text()
    assert "entry 7, 2026-03-01T12:00:00+00:00: EVSE 1: modules lost" in about
    assert "modules.asc: 2 CAN frames" in about
    assert "io: no traffic" in about


def test_python_can_reads_the_frames_back(tmp_path: Path) -> None:
    result = write_trace(order(tmp_path))
    with can.ASCReader(
        tmp_path / result.directory / "modules.asc", relative_timestamp=False
    ) as log:
        sent, received = list(log)
    assert (sent.arbitration_id, bytes(sent.data), sent.is_rx) == (FRAME.id, FRAME.data, False)
    assert (received.arbitration_id, received.is_extended_id, received.is_rx) == (
        0x123,
        False,
        True,
    )


def test_the_oldest_traces_are_deleted(tmp_path: Path) -> None:
    for seq in (7, 8, 90, 100, 101):
        write_trace(order(tmp_path, seq))
    assert [trace.seq for trace in find_traces(tmp_path)] == [90, 100, 101]
    write_trace(order(tmp_path, 102, files_max=1))
    assert [trace.seq for trace in find_traces(tmp_path)] == [102]


def test_a_directory_that_is_no_trace_is_left_alone(tmp_path: Path) -> None:
    for name in ("20261399T000000Z_1", "20260301T120000Z_1.old", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "20260301T120000Z_1").write_text("a file")
    assert find_traces(tmp_path) == []
    write_trace(order(tmp_path, files_max=1))
    assert len(list(tmp_path.iterdir())) == 5


def test_what_a_power_cut_left_is_deleted(tmp_path: Path) -> None:
    (tmp_path / PARTIAL).mkdir()
    (tmp_path / PARTIAL / "meter.txt").write_text("half a li")
    write_trace(order(tmp_path))
    assert not (tmp_path / PARTIAL).exists()
    assert len(find_traces(tmp_path)) == 1


def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_trace(order(tmp_path))
    assert list(tmp_path.iterdir()) == []


# --- The job -------------------------------------------------------------------------------------


class JobBench:
    """The job with a state set by the test, and what it observed."""

    def __init__(self, directory: Path, *steps: Any, **settings: Any) -> None:
        self.station = given(ONLINE, *steps)
        self.observed: list[BusTraceWritten] = []
        self.desired_state = WatchedValue(DesiredState())
        self.publish()
        self.job = BusTraceJob(
            TracesConfig(**settings),
            directory,
            recorded_traffic(),
            observe=self._observe,
            current_state=lambda: self.station.state,
            station_time=lambda: NOON + timedelta(seconds=5),
        )
        self.job._write_trace = self._write_trace  # type: ignore[method-assign]
        self.written_at: list[float] = []

    async def _write_trace(self, faults: tuple[Any, ...], state: Any) -> TraceResult:
        self.written_at.append(trio.current_time())
        return TraceResult(f"20260301T120005Z_{faults[0].seq}", ("about.txt",))

    def _observe(self, observation: Any) -> None:
        self.observed.append(observation)
        self.happen(observation)

    def happen(self, *steps: Any) -> None:
        self.station.when(*steps)
        self.publish()

    def publish(self) -> None:
        self.desired_state.set(self.station.desired)

    async def run(self, seconds: float, *later: tuple[float, Callable[[], None]]) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.job.run, self.desired_state)
                for delay_s, act in later:
                    await trio.sleep(delay_s)
                    act()


async def test_a_trace_is_written_some_seconds_after_the_fault(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    bench = JobBench(tmp_path, device_faulted(1), seconds_after=5)
    await bench.run(60)
    assert bench.written_at == [pytest.approx(5, abs=0.1)]
    [observed] = bench.observed
    [fault] = [
        entry for entry in bench.station.entries if type(entry.event).__name__ == "DeviceFaulted"
    ]
    assert observed.fault_seqs == (fault.seq,)
    assert observed.directory == f"20260301T120005Z_{fault.seq}"
    assert bench.station.state.bus_traces.waiting == ()
    assert bench.station.desired.untraced_fault_seq is None


async def test_faults_that_follow_are_in_the_same_trace(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    bench = JobBench(tmp_path, device_faulted(1), seconds_after=5)
    await bench.run(60, (2, lambda: bench.happen(device_faulted(2, "io", "lost"))))
    [observed] = bench.observed
    assert len(observed.fault_seqs) == 2


async def test_a_device_that_fails_again_and_again_gets_a_trace_each_half_hour(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    bench = JobBench(tmp_path, seconds_after=5)
    fault = lambda: bench.happen(device_faulted(1, "meter", "silent"))  # noqa: E731
    await bench.run(3 * 3600, *[(10.0, fault)] * (3 * 360 - 6))
    assert len(bench.observed) == bus_traces.TRACES_AT_ONCE + 5
    pauses = [
        later - earlier
        for earlier, later in zip(bench.written_at[4:], bench.written_at[5:], strict=False)
    ]
    assert min(pauses[1:]) >= bus_traces.TRACE_PAUSE_S - 1


async def test_nothing_is_written_while_little_space_is_left(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    bench = JobBench(tmp_path, device_faulted(1), StorageReported("low", 1_000))
    await bench.run(60)
    [observed] = bench.observed
    assert (observed.directory, observed.reason) == ("", "little space is left on the disk")
    assert bench.written_at == []


async def test_the_program_writes_the_trace(tmp_path: Path) -> None:
    """The process itself, without a double."""
    station = given(ONLINE, device_faulted(1))
    result = await write_with(station, tmp_path / "traces")
    assert result.reason == ""
    [trace] = find_traces(tmp_path / "traces")
    assert trace.path.name == result.directory
    assert sorted(path.name for path in trace.path.iterdir()) == list(result.files)
    assert trace.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ((sys.executable, "-c", "raise SystemExit('no module')"), "exit code 1: no module"),
        (("/nonexistent/program",), "exit code 127"),
    ],
)
async def test_a_program_that_fails_is_a_reason(
    tmp_path: Path, command: tuple[str, ...], reason: str
) -> None:
    result = await write_with(given(ONLINE, device_faulted(1)), tmp_path, command)
    assert result.directory == ""
    assert result.reason.startswith(reason)


async def test_a_directory_that_cannot_be_made_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "traces").write_text("a file")
    result = await write_with(given(ONLINE, device_faulted(1)), tmp_path / "traces")
    assert result == TraceResult(reason=f"{tmp_path / 'traces'}: File exists")


async def write_with(
    station: Station, directory: Path, command: tuple[str, ...] = bus_traces.WRITER_COMMAND
) -> TraceResult:
    job = BusTraceJob(
        TracesConfig(),
        directory,
        recorded_traffic(),
        observe=lambda observation: None,
        current_state=lambda: station.state,
        station_time=lambda: NOON,
        writer_command=command,
    )
    return await job._write_trace(station.state.bus_traces.waiting, station.state)


def test_storage_is_enough_before_it_was_measured() -> None:
    assert StationHealth().storage_level == "enough"
