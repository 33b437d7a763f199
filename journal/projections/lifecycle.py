"""The present run of the program: identity, end of the previous run, pending restart."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import StationStarted, StationStopping
from journal.projections.base import Projection


class ResetOrdered(Decision, frozen=True):
    """The CSMS ordered a reset; it follows when nothing prevents it. B11.FR.01, B12.FR.01/02."""

    reset_type: Literal["Immediate", "OnIdle"]
    request_message_id: str  # messageId of the ResetRequest; its response is sent first
    scheduled: bool = False  # the response was Scheduled: it waits for a transaction


class RestartOrdered(Decision, frozen=True):
    """Nothing prevents the restart any more: the program ends and starts again. B11.FR.03."""

    boot_reason: str  # BootReasonEnumType of the next run


class Lifecycle(Projection, frozen=True):
    HANDLES = (StationStarted, StationStopping, ResetOrdered, RestartOrdered)

    run_count: int = 0
    identity: str = ""
    product_profile: str = ""
    release: str = ""
    boot_id: str = ""
    evses: tuple[tuple[int, tuple[int, ...]], ...] = ()
    started_seq: int = 0
    started_ms: int = 0
    boot_reason: str = "PowerUp"
    host_rebooted: bool = False  # the host itself was off before this run
    downtime_ms: int | None = None  # between the previous run and this one; None: unknown
    stopped_cleanly: bool = False
    reset: ResetOrdered | None = None
    reset_ordered_ms: int = 0
    restart: RestartOrdered | None = None

    def apply(self, entry: Entry) -> Lifecycle:
        match entry.event:
            case StationStarted() as start:
                return self._on_station_started(entry, start)
            case StationStopping():
                return replace(self, stopped_cleanly=True)
            case ResetOrdered() as order:
                return replace(self, reset=order, reset_ordered_ms=entry.uptime_ms)
            case RestartOrdered() as order:
                return replace(self, restart=order)
            case _:
                return self

    def _on_station_started(self, entry: Entry, start: StationStarted) -> Lifecycle:
        other_boot = start.boot_id != self.boot_id
        return Lifecycle(
            run_count=self.run_count + 1,
            identity=start.identity,
            product_profile=start.product_profile,
            release=start.release,
            boot_id=start.boot_id,
            evses=start.evses,
            started_seq=entry.seq,
            started_ms=entry.uptime_ms,
            boot_reason=self._boot_reason(other_boot),
            host_rebooted=other_boot,
            downtime_ms=_downtime_ms(entry, start, other_boot),
        )

    def _boot_reason(self, host_rebooted: bool) -> str:
        """BootReasonEnumType. B01.FR.09: ordered restart, else power-up, else a fault of ours."""
        if self.restart is not None:
            return self.restart.boot_reason
        if self.run_count == 0 or host_rebooted:
            return "PowerUp"
        return "LocalReset" if self.stopped_cleanly else "ApplicationReset"

    @property
    def connectors(self) -> tuple[tuple[int, int], ...]:
        """Every (evse_id, connector_id) of the station."""
        return tuple((evse, each) for evse, connectors in self.evses for each in connectors)

    @property
    def evse_ids(self) -> tuple[int, ...]:
        return tuple(evse for evse, _ in self.evses)


def _downtime_ms(entry: Entry, start: StationStarted, host_rebooted: bool) -> int | None:
    """Length of the interruption: by uptime within one boot of the host, else by the clock."""
    if start.last_entry_at is None or start.last_entry_uptime_ms is None:
        return None
    if not host_rebooted:
        return entry.uptime_ms - start.last_entry_uptime_ms
    gap = (entry.at - datetime.fromisoformat(start.last_entry_at)).total_seconds()
    return round(gap * 1000) if gap >= 0 else None  # the clock was stepped backwards
