"""The task that reports to systemd: the status line, and the watchdog while commits succeed.

The ping comes from the loop that commits, so a loop that is held sends none. A commit that is under
way for half the watchdog's time is a disk that hangs: no ping is sent until it is done. systemd
then restarts the service; meanwhile contactors are opened by the devices' own watchdogs.
"""

from __future__ import annotations

from typing import Final

import trio

from journal.state import State
from station.runtime.loop.recorder import Recorder
from station.runtime.service.notify import ServiceManager

STATUS_INTERVAL_S: Final = 5.0  # without a watchdog
PINGS_PER_LIMIT: Final = 3  # one may be late


class ServiceReporter:
    """Reports of one run of the station."""

    def __init__(self, manager: ServiceManager, recorder: Recorder) -> None:
        self._manager = manager
        self._recorder = recorder

    async def run(self) -> None:
        """Report that the station is ready, then status and pings until cancelled."""
        self._manager.report_ready()
        limit_s = self._manager.watchdog_s
        interval_s = STATUS_INTERVAL_S if limit_s is None else limit_s / PINGS_PER_LIMIT
        while True:
            if limit_s is not None and self._recorder.commit_age_s() < limit_s / 2:
                self._manager.feed_watchdog()
            self._manager.report_status(describe_state(self._recorder.state))
            await trio.sleep(interval_s)


def describe_state(state: State) -> str:
    """The station in one line: connection, transactions, faults, disk, unconfirmed messages."""
    parts = ["connected" if state.link.online else "offline"]
    evse_ids = [str(evse.evse_id) for evse in state.evses.all_evses]
    busy = [evse_id for evse_id in evse_ids if state.transactions.on_evse(int(evse_id))]
    if busy:
        parts.append(f"transaction on EVSE {', '.join(busy)}")
    faults = sorted({f"{fault.device} {fault.fault}" for fault in state.faults.active})
    if faults:
        parts.append(f"faults: {', '.join(faults)}")
    if state.health.storage_level != "enough":
        parts.append(f"disk space {state.health.storage_level}")
    if len(state.outbox):
        parts.append(f"{len(state.outbox)} messages unconfirmed")
    if state.health.safe_mode_reasons:
        parts.append("safe mode")
    return "; ".join(parts)
