"""How does the station introduce itself, and stay heard? (B01 to B04, G02)"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from journal.observations import LinkOpened
from journal.projections.clocks import ClockCorrected
from journal.projections.outbox import CallQueued
from journal.projections.registration import RegistrationAnswered, RegistrationFailed
from journal.projections.statuses import StatusesDoubted
from journal.projections.variables import VariableChanged
from journal.terms import Decision
from station.blocks import a_security
from station.case import Case, Result, raw, say
from station.delivery import BOOT_RETRY_S
from station.messages import parse_timestamp
from station.messages.b_provisioning import (
    BootNotificationRequest,
    BootNotificationResponse,
    ChargingStationType,
)
from station.messages.g_availability import HeartbeatRequest, HeartbeatResponse

HEARTBEAT: Final = "OCPPCommCtrlr.HeartbeatInterval"
OFFLINE_THRESHOLD: Final = "OCPPCommCtrlr.OfflineThreshold"
TIME_SOURCE: Final = "ClockCtrlr.TimeSource"
DAY_MS: Final = 24 * 3600 * 1000
SERIAL_NUMBER: Final = "ChargingStation.SerialNumber"  # empty: nobody told
STEP_MIN_MS: Final = 1_000  # a CSMS may tell whole seconds; less is no correction
INTERVAL_MAX_S: Final = 2**31 - 1


def boots(case: Case) -> Iterator[Decision]:
    """Introduce ourselves after a start, and again when the CSMS said so. B01.FR.01, B02.FR.04."""
    due_ms = boot_ms(case)
    if due_ms is not None and case.uptime_ms >= due_ms:
        moved = case.state.registration.moved  # no BootReasonEnumType says so. B10.FR.10
        yield boot_notification(case, "Unknown" if moved else case.state.lifecycle.boot_reason)


def boot_ms(case: Case) -> int | None:
    """Uptime of the next BootNotification; None while none may be sent, or one waits."""
    registration = case.state.registration
    if not case.state.links.online or registration.accepted or case.state.outbox.boot is not None:
        return None
    return registration.retry_ms or 0


def boot_notification(case: Case, why: str) -> CallQueued:
    """B01.FR.09 names the reason."""
    product = case.product.profile.product
    request = BootNotificationRequest(
        charging_station=ChargingStationType(
            model=product.model,
            vendor_name=product.vendor_name,
            serial_number=case.text(SERIAL_NUMBER) or None,
            firmware_version=product.firmware_version,
        ),
        reason=why,  # type: ignore[arg-type]
    )
    return CallQueued(lane="boot", action="BootNotification", payload=raw(request))


def boot_answered(
    case: Case, call: int, response: BootNotificationResponse | None
) -> Iterator[Decision]:
    """Accepted, Pending or Rejected. B01.FR.04 to 06, B02.FR.07/08, B03.FR.05/06."""
    if response is None:
        yield RegistrationFailed(BOOT_RETRY_S)
        return
    yield from clock_told(case, response.current_time, "BootNotification")
    interval_s = max(0, min(response.interval, INTERVAL_MAX_S))
    if response.status != "Accepted":
        yield RegistrationAnswered(response.status, interval_s or BOOT_RETRY_S)
        return
    yield RegistrationAnswered("Accepted", 0)
    yield StatusesDoubted("accepted by the CSMS")  # B01.FR.05
    if interval_s and interval_s != case.integer(HEARTBEAT):
        yield VariableChanged(HEARTBEAT, str(interval_s))  # B01.FR.04, G02.FR.01


def clock_told(case: Case, current_time: str, source: str) -> Iterator[Decision]:
    """The CSMS told the time. Less than a second apart is the network's. B01.FR.06, G02.FR.06."""
    if "Heartbeat" not in case.members(TIME_SOURCE):
        return
    try:
        step_ms = round((parse_timestamp(current_time) - case.now) / timedelta(milliseconds=1))
    except ValueError:
        return  # not a time; the journal has the frame
    clock = case.state.clock
    if abs(step_ms) >= STEP_MIN_MS or not clock.synchronised:
        moved = step_ms if abs(step_ms) >= STEP_MIN_MS else 0
        yield ClockCorrected(clock.offset_ms + moved, moved, source)
        yield from a_security.clock_moved(case, moved, f"told by {source}")


def heartbeat_answered(
    case: Case, call: int, response: HeartbeatResponse | None
) -> Iterator[Decision]:
    if response is not None:
        yield from clock_told(case, response.current_time, "Heartbeat")


def heartbeats(case: Case) -> Iterator[Decision]:
    """Speak when there was silence for HeartbeatInterval. G02.FR.02, G02.FR.05, G02.FR.07."""
    due_ms = heartbeat_ms(case)
    if due_ms is None or case.uptime_ms < due_ms:
        return
    yield from say(case, HeartbeatRequest())


def heartbeat_ms(case: Case) -> int | None:
    """Uptime of the next Heartbeat; None while none may be sent, or one waits."""
    interval_ms = case.integer(HEARTBEAT) * 1000
    if not interval_ms or not case.may_speak:
        return None
    waiting = case.state.outbox.other
    if waiting and any(other.action == "Heartbeat" for other in waiting.values()):
        return None
    registration = case.state.registration
    return min(registration.spoke_ms + interval_ms, registration.heartbeat_ms + DAY_MS)


def reconnected(case: Case) -> Iterator[Decision]:
    """Long absent: every connector is told anew; shortly: only what changed. B04.FR.01/02."""
    if isinstance(case.entry.event, LinkOpened):
        threshold_ms = case.integer(OFFLINE_THRESHOLD) * 1000
        if case.state.links.offline_ms > threshold_ms:
            yield StatusesDoubted(f"offline for {case.state.links.offline_ms // 1000} s")


RESULTS: Final[dict[str, Result]] = {
    "BootNotification": boot_answered,
    "Heartbeat": heartbeat_answered,
}
