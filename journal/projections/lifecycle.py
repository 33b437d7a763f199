"""Which run of the program is this, what ended the one before, and is a restart due?"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec.structs import replace

from journal.observations import StationStarted, StationStopping
from journal.projections.base import Projection
from journal.terms import Decision, Entry


class ResetOrdered(Decision, frozen=True):
    """The station shall restart once nothing stands in the way. B11.FR.01, B12.FR.01/02."""

    kind: Literal["Immediate", "OnIdle"]
    answering: str  # messageId of the ResetRequest: its answer goes out first
    scheduled: bool = False  # the answer was that it has to wait for a transaction


class RestartOrdered(Decision, frozen=True):
    """Nothing stands in the way any more: the program ends and begins again. B11.FR.03."""

    boot_reason: str  # BootReasonEnumType of the run to come


class Lifecycle(Projection, frozen=True):
    HEARS = (StationStarted, StationStopping, ResetOrdered, RestartOrdered)

    runs: int = 0
    identity: str = ""
    profile: str = ""
    release: str = ""
    boot_id: str = ""
    evses: tuple[tuple[int, tuple[int, ...]], ...] = ()
    started_seq: int = 0
    started_ms: int = 0
    boot_reason: str = "PowerUp"
    supply_lost: bool = False  # the host itself was down before this run
    gap_ms: int | None = None  # how long nobody was there; None: cannot be known
    stopped_well: bool = False
    reset: ResetOrdered | None = None
    reset_ms: int = 0
    restart: RestartOrdered | None = None

    def after(self, entry: Entry) -> Lifecycle:
        match entry.event:
            case StationStarted() as start:
                return self._started(entry, start)
            case StationStopping():
                return replace(self, stopped_well=True)
            case ResetOrdered() as order:
                return replace(self, reset=order, reset_ms=entry.uptime_ms)
            case RestartOrdered() as order:
                return replace(self, restart=order)
            case _:
                return self

    def _started(self, entry: Entry, start: StationStarted) -> Lifecycle:
        other_boot = start.boot_id != self.boot_id
        return Lifecycle(
            runs=self.runs + 1,
            identity=start.identity,
            profile=start.profile,
            release=start.release,
            boot_id=start.boot_id,
            evses=start.evses,
            started_seq=entry.seq,
            started_ms=entry.uptime_ms,
            boot_reason=self._boot_reason(other_boot),
            supply_lost=other_boot,
            gap_ms=_gap_ms(entry, start, other_boot),
        )

    def _boot_reason(self, other_boot: bool) -> str:
        """BootReasonEnumType. B01.FR.09: an order of ours, then the supply, then our own fault."""
        if self.restart is not None:
            return self.restart.boot_reason
        if self.runs == 0 or other_boot:
            return "PowerUp"
        return "LocalReset" if self.stopped_well else "ApplicationReset"

    @property
    def connectors(self) -> tuple[tuple[int, int], ...]:
        """Every (evse_id, connector_id) of the station."""
        return tuple((evse, one) for evse, connectors in self.evses for one in connectors)

    @property
    def evse_ids(self) -> tuple[int, ...]:
        return tuple(evse for evse, _ in self.evses)


def _gap_ms(entry: Entry, start: StationStarted, other_boot: bool) -> int | None:
    """Length of the interruption; within one boot of the host its uptime knows it exactly."""
    if start.last_at is None or start.last_uptime_ms is None:
        return None
    if not other_boot:
        return entry.uptime_ms - start.last_uptime_ms
    gap = (entry.at - datetime.fromisoformat(start.last_at)).total_seconds()
    return round(gap * 1000) if gap >= 0 else None  # a clock that ran backwards knows nothing
