"""Job for bus traces: after a fault, write what passed over the device buses before and after it.

The traffic is in memory (`BusTraffic`). It is copied some seconds after the fault and written by a
process of its own at the lowest priority: neither the import of python-can nor a slow disk is felt
here. Faults that follow in those seconds are in the same trace. A device that fails again and again
gets a trace every half hour, after the first few, so that it does not wear the disk out.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import trio

from drivers.wire.bus_traffic import BusTraffic
from journal.events import Observation
from journal.observations import BusTraceWritten
from journal.projections.bus_traces import TracedFault
from journal.state import State
from station.config.file_tables import TracesConfig
from station.core.desired import DesiredState
from station.runtime.jobs.trace_files import (
    FaultLine,
    TraceOrder,
    TraceResult,
    encode_order,
)
from station.runtime.reconcile import run_while_desired
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station.traces")

WRITER_COMMAND: Final = (sys.executable, "-m", "station.runtime.jobs.trace_files")
WRITER_TIMEOUT_S: Final = 120.0  # on a busy machine it takes two seconds
REASON_MAX: Final = 200  # characters of what a failed writer printed
TRACES_AT_ONCE: Final = 5  # without a pause
TRACE_PAUSE_S: Final = 1_800.0  # until one more may be written: 48 a day


class TraceAllowance:
    """How many traces may be written now: `TRACES_AT_ONCE`, and one more each `TRACE_PAUSE_S`."""

    def __init__(self) -> None:
        self._full_at = -float("inf")  # when the allowance is complete again

    async def take(self) -> None:
        """Wait for the allowance of one trace."""
        now = trio.current_time()
        full_at = max(self._full_at, now) + TRACE_PAUSE_S
        await trio.sleep_until(full_at - TRACES_AT_ONCE * TRACE_PAUSE_S)
        self._full_at = full_at


class BusTraceJob:
    """Executes `untraced_fault_seq` of the desired state."""

    def __init__(
        self,
        settings: TracesConfig,
        directory: Path,
        traffic: BusTraffic,
        *,
        observe: Callable[[Observation], None],
        current_state: Callable[[], State],
        station_time: Callable[[], datetime],
        writer_command: tuple[str, ...] = WRITER_COMMAND,
    ) -> None:
        """Prepare.

        Args:
            settings: how many traces are kept, and their time.
            directory: of the traces; used by this job only.
            traffic: what is recorded.
            observe: records the result.
            current_state: the state of the last commit.
            station_time: the time of the files, as that of the journal.
            writer_command: gets a `TraceOrder` on stdin and answers with a `TraceResult`.
        """
        self._settings = settings
        self._directory = directory
        self._traffic = traffic
        self._observe = observe
        self._current_state = current_state
        self._station_time = station_time
        self._writer_command = writer_command
        self._allowance = TraceAllowance()

    async def run(self, desired_state: WatchedValue[DesiredState]) -> None:
        await run_while_desired(
            desired_state, lambda desired: desired.untraced_fault_seq, self._trace_faults
        )

    async def _trace_faults(self, first_seq: int | None) -> None:
        """Write one trace for all faults that wait."""
        if first_seq is None:
            return
        await trio.sleep(self._settings.seconds_after)
        await self._allowance.take()
        state = self._current_state()
        faults = state.bus_traces.waiting
        result = TraceResult()
        if state.health.storage_level != "enough":
            result = TraceResult(reason="little space is left on the disk")
        elif faults:
            result = await self._write_trace(faults, state)
        if result.reason:
            log.warning("no bus trace for entry %d: %s", first_seq, result.reason)
        seqs = tuple(fault.seq for fault in faults)
        self._observe(BusTraceWritten(seqs, result.directory, result.files, result.reason))

    async def _write_trace(self, faults: tuple[TracedFault, ...], state: State) -> TraceResult:
        order = encode_order(self._build_order(faults, state))
        nice = shutil.which("nice")
        try:
            with trio.fail_after(WRITER_TIMEOUT_S):
                process = await trio.run_process(
                    [*((nice, "-n", "19") if nice else ()), *self._writer_command],
                    stdin=order,
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                )
        except trio.TooSlowError:
            return TraceResult(reason=f"not written after {WRITER_TIMEOUT_S:g} s")
        except OSError as error:
            return TraceResult(reason=f"{self._writer_command[0]}: {error.strerror}")
        try:
            return msgspec.json.decode(process.stdout, type=TraceResult)
        except msgspec.DecodeError:
            lines = process.stderr.decode("utf-8", "replace").strip().split("\n")
            last_line = lines[-1][:REASON_MAX]
            return TraceResult(reason=f"exit code {process.returncode}: {last_line}")

    def _build_order(self, faults: tuple[TracedFault, ...], state: State) -> TraceOrder:
        now = self._station_time()
        return TraceOrder(
            directory=str(self._directory),
            files_max=self._settings.files,
            identity=state.lifecycle.identity,
            faults=tuple(
                FaultLine(fault.seq, fault.at, fault.evse_id, fault.device, fault.fault)
                for fault in faults
            ),
            since=self._traffic.now() - self._settings.seconds - self._settings.seconds_after,
            copied_at=self._traffic.now(),
            copied_at_utc=now,
            buses=self._traffic.copy_records(),
        )
