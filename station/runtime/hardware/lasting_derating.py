"""Derating of the hardware that lasts: what is reported as an external limit. K11 to K13.

The power path follows each limit of the hardware at once (`power_limits`). A derating that lasts is
reported too, so that the CSMS is informed and the journal has what limited the power.

* It is reported after `LASTS_S`, as the highest power of that time: a module that restarts, or a
  cable that is warm for a moment, is no limit of the station.
* A lower power is reported in the same way, a higher one and the end at once, but no report follows
  another within `INTERVAL_S`. So the report, which limits the EVSE too, holds back power of the
  recovered hardware for a minute at most.
* Changes of less than `CHANGE` are not reported: power follows the voltage of the battery.
* An EVSE without any power is not judged: that is a fault, or modules that have not reported yet.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Final

import msgspec

from station.runtime.hardware.power_limits import Derating, HardwareLimit

LASTS_S: Final = 60.0  # longer than a module restarts, shorter than people wait for an answer
INTERVAL_S: Final = 60.0  # between two reports of an EVSE
CHANGE: Final = Decimal("0.05")  # of the power; a battery's voltage varies less within minutes
END: Final = Decimal("0.02")  # of the power without derating: what is less is none any more

ReportDerating = Callable[[int, Derating | None], None]


class _Reported(msgspec.Struct):
    """What is known of one EVSE."""

    reported: Derating | None = None
    reported_at: float | None = None  # None: not in this run of the devices
    pending: Derating | None = None
    pending_since: float = 0.0


class LastingDerating:
    """Deratings of all EVSEs; `report` is called with an EVSE and its derating; None: it ended."""

    def __init__(self, report: ReportDerating) -> None:
        self._report = report
        self._by_evse: dict[int, _Reported] = {}

    def reporting_by(self, post: Callable[[Callable[[], None]], None]) -> LastingDerating:
        """The same, but with reports through `post`."""
        return LastingDerating(lambda evse_id, found: post(partial(self._report, evse_id, found)))

    def restart(self) -> None:
        """Begin a run of the devices, with another clock; what was reported holds until updated."""
        for known in self._by_evse.values():
            known.reported_at = known.pending = None

    def update(self, evse_id: int, limit: HardwareLimit, now: float) -> None:
        """Take the limit of a round; `now` in seconds."""
        known = self._by_evse.setdefault(evse_id, _Reported())
        if not limit.power_w:
            known.pending = None
            return
        derating = limit.find_derating(CHANGE if known.reported is None else END)
        if _is_lower(derating, known.reported):
            self._update_pending(evse_id, known, derating, now)
            return
        known.pending = None
        if _is_higher(derating, known.reported) and (
            known.reported_at is None or now - known.reported_at >= INTERVAL_S
        ):
            self._send(evse_id, known, derating, now)

    def _update_pending(
        self, evse_id: int, known: _Reported, derating: Derating | None, now: float
    ) -> None:
        assert derating is not None
        if known.pending is None:
            known.pending, known.pending_since = derating, now
        elif derating.limit_w > known.pending.limit_w:
            known.pending = derating
        if now - known.pending_since >= LASTS_S:
            self._send(evse_id, known, known.pending, now)

    def _send(self, evse_id: int, known: _Reported, derating: Derating | None, now: float) -> None:
        known.reported, known.reported_at, known.pending = derating, now, None
        self._report(evse_id, derating)


def _is_higher(derating: Derating | None, reported: Derating | None) -> bool:
    if reported is None:
        return False
    return derating is None or derating.limit_w > reported.limit_w * (1 + CHANGE)


def _is_lower(derating: Derating | None, reported: Derating | None) -> bool:
    """Whether it limits more than what was reported, or as much by another cause."""
    if derating is None:
        return False
    if reported is None or derating.limit_w < reported.limit_w * (1 - CHANGE):
        return True
    return derating.cause != reported.cause and not _is_higher(derating, reported)
