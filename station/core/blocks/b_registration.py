"""BootNotification, Heartbeat, and the clock they correct. B01 to B04, G02.

The registration is Unknown, Pending, Accepted or Rejected. A BootNotification is queued when the
link is open, the station is not Accepted and none waits; the CSMS names the interval until the
next one. Once Accepted, the station sends a Heartbeat after HeartbeatInterval without a CALL, and
at least one a day, because its answer is also the time source (`ClockCtrlr.TimeSource`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from journal.events import Decision
from journal.observations import LinkOpened
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallQueued
from journal.projections.registration import RegistrationAnswered, RegistrationFailed
from journal.projections.reported_statuses import StatusResendRequired
from journal.projections.variables import VariableChanged
from station.core.blocks import a_security
from station.core.context import Context, Deadline, ResultHandler, Rule, encode_raw, queue_call
from station.core.outbox_rules import BOOT_RETRY_S
from station.ocpp.messages import parse_timestamp
from station.ocpp.messages.b_provisioning import (
    BootNotificationRequest,
    BootNotificationResponse,
    ChargingStationType,
)
from station.ocpp.messages.g_availability import HeartbeatRequest, HeartbeatResponse

HEARTBEAT_INTERVAL: Final = "OCPPCommCtrlr.HeartbeatInterval"
OFFLINE_THRESHOLD: Final = "OCPPCommCtrlr.OfflineThreshold"
TIME_SOURCE: Final = "ClockCtrlr.TimeSource"
DAY_MS: Final = 24 * 3600 * 1000
SERIAL_NUMBER: Final = "ChargingStation.SerialNumber"  # empty: unknown
CLOCK_STEP_MIN_MS: Final = 1_000  # a CSMS may send whole seconds; less is no correction
HEARTBEAT_INTERVAL_MAX_S: Final = 2**31 - 1


def queue_boot_notification(ctx: Context) -> Iterator[Decision]:
    """Queue a BootNotification after a start and at the retry interval. B01.FR.01, B02.FR.04."""
    due_ms = boot_due_ms(ctx)
    if due_ms is not None and ctx.uptime_ms >= due_ms:
        # After a change of the slot there is no fitting BootReasonEnumType. B10.FR.10
        slot_changed = ctx.state.registration.slot_changed
        boot_reason = "Unknown" if slot_changed else ctx.state.lifecycle.boot_reason
        yield build_boot_notification(ctx, boot_reason)


def boot_due_ms(ctx: Context) -> int | None:
    """Uptime of the next BootNotification; None while none may be sent, or one waits."""
    registration = ctx.state.registration
    if (
        not ctx.state.link.online
        or registration.is_accepted
        or ctx.state.outbox.boot_call_seq is not None
    ):
        return None
    return registration.retry_ms or 0


def build_boot_notification(ctx: Context, boot_reason: str) -> CallQueued:
    """A BootNotification with a reason. B01.FR.09."""
    product = ctx.product.profile.product
    request = BootNotificationRequest(
        charging_station=ChargingStationType(
            model=product.model,
            vendor_name=product.vendor_name,
            serial_number=ctx.variable_text(SERIAL_NUMBER) or None,
            firmware_version=product.firmware_version,
        ),
        reason=boot_reason,  # type: ignore[arg-type]
    )
    return CallQueued(lane="boot", action="BootNotification", payload=encode_raw(request))


def on_boot_notification_response(
    ctx: Context, call_seq: int, response: BootNotificationResponse | None
) -> Iterator[Decision]:
    """Apply status, time and interval. B01.FR.04 to 06, B02.FR.07/08, B03.FR.05/06."""
    if response is None:
        yield RegistrationFailed(BOOT_RETRY_S)
        return
    yield from correct_clock(ctx, response.current_time, "BootNotification")
    interval_s = max(0, min(response.interval, HEARTBEAT_INTERVAL_MAX_S))
    if response.status != "Accepted":
        yield RegistrationAnswered(response.status, interval_s or BOOT_RETRY_S)
        return
    yield RegistrationAnswered("Accepted", 0)
    yield StatusResendRequired("accepted by the CSMS")  # B01.FR.05
    if interval_s and interval_s != ctx.variable_integer(HEARTBEAT_INTERVAL):
        yield VariableChanged(HEARTBEAT_INTERVAL, str(interval_s))  # B01.FR.04, G02.FR.01


def correct_clock(ctx: Context, current_time: str, source: str) -> Iterator[Decision]:
    """Correct the clock by currentTime. B01.FR.06, G02.FR.06.

    A difference under a second is delay of the network and is not corrected.
    """
    if "Heartbeat" not in ctx.variable_list(TIME_SOURCE):
        return
    try:
        step_ms = round((parse_timestamp(current_time) - ctx.now) / timedelta(milliseconds=1))
    except ValueError:
        return  # not a time; the journal holds the frame
    clock = ctx.state.clock
    if abs(step_ms) >= CLOCK_STEP_MIN_MS or not clock.synchronized:
        correction_ms = step_ms if abs(step_ms) >= CLOCK_STEP_MIN_MS else 0
        yield ClockCorrected(clock.offset_ms + correction_ms, correction_ms, source)
        yield from a_security.log_clock_step(ctx, correction_ms, f"told by {source}")


def on_heartbeat_response(
    ctx: Context, call_seq: int, response: HeartbeatResponse | None
) -> Iterator[Decision]:
    """Correct the clock. G02.FR.06."""
    if response is not None:
        yield from correct_clock(ctx, response.current_time, "Heartbeat")


def queue_heartbeat(ctx: Context) -> Iterator[Decision]:
    """Queue a Heartbeat after HeartbeatInterval without a CALL. G02.FR.02, G02.FR.05, G02.FR.07."""
    due_ms = heartbeat_due_ms(ctx)
    if due_ms is None or ctx.uptime_ms < due_ms:
        return
    yield from queue_call(ctx, HeartbeatRequest())


def heartbeat_due_ms(ctx: Context) -> int | None:
    """Uptime of the next Heartbeat; None while none may be sent, or one waits."""
    interval_ms = ctx.variable_integer(HEARTBEAT_INTERVAL) * 1000
    if not interval_ms or not ctx.may_send_calls:
        return None
    if ctx.state.outbox.general_count("Heartbeat"):
        return None
    registration = ctx.state.registration
    return min(registration.last_call_ms + interval_ms, registration.last_heartbeat_ms + DAY_MS)


def require_status_resend(ctx: Context) -> Iterator[Decision]:
    """After a long offline period, report every connector again. B04.FR.01, B04.FR.02."""
    if isinstance(ctx.entry.event, LinkOpened):
        threshold_ms = ctx.variable_integer(OFFLINE_THRESHOLD) * 1000
        if ctx.state.link.last_offline_ms > threshold_ms:
            yield StatusResendRequired(f"offline for {ctx.state.link.last_offline_ms // 1000} s")


RESULTS: Final[dict[str, ResultHandler]] = {
    "BootNotification": on_boot_notification_response,
    "Heartbeat": on_heartbeat_response,
}
DEADLINES: Final[tuple[Deadline, ...]] = (boot_due_ms, heartbeat_due_ms)
RULES: Final[tuple[Rule, ...]] = (require_status_resend, queue_boot_notification, queue_heartbeat)
