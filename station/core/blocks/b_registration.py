"""BootNotification, Heartbeat, and the clock they correct. B01 to B04, G02.

The registration is Unknown, Pending, Accepted or Rejected. A BootNotification is queued when the
link is open, the station is not Accepted and none waits; the CSMS names the interval until the
next one. Once Accepted, the station sends a Heartbeat after HeartbeatInterval without a CALL, and
at least one a day, because its answer is also the time source (`ClockCtrlr.TimeSource`). A clock
that is not synchronized is a reason to ask at once (`is_time_lost`), and again after
CLOCK_RETRY_MS.

A currentTime without offset is UTC. One that no true clock can show is not taken: it is before the
release was made (CLOCK_MIN), or CLOCK_YEARS_MAX after that. What is decided in the commit that
corrects the clock carries the corrected time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec.structs import replace

from journal.events import Decision
from journal.observations import ClockStepped, LinkOpened
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallQueued
from journal.projections.registration import RegistrationAnswered, RegistrationFailed
from journal.projections.reported_statuses import StatusResendRequired
from journal.projections.variables import VariableChanged
from station.core.blocks import a_security
from station.core.context import Context, Deadline, ResultHandler, Rule, encode_raw, queue_call
from station.core.outbox_rules import BOOT_RETRY_S
from station.core.reasons import Reason, Reasons, ReasonTable
from station.ocpp.messages import parse_timestamp
from station.ocpp.messages.b_provisioning import (
    BootNotificationRequest,
    BootNotificationResponse,
    ChargingStationType,
    ModemType,
)
from station.ocpp.messages.g_availability import HeartbeatRequest, HeartbeatResponse

HEARTBEAT_INTERVAL: Final = "OCPPCommCtrlr.HeartbeatInterval"
OFFLINE_THRESHOLD: Final = "OCPPCommCtrlr.OfflineThreshold"
TIME_SOURCE: Final = "ClockCtrlr.TimeSource"
DAY_MS: Final = 24 * 3600 * 1000
SERIAL_NUMBER: Final = "ChargingStation.SerialNumber"  # empty: unknown
BOOT_RETRY_MAX_S: Final = 86_400  # a longer interval would need a person at the station
CLOCK_STEP_MIN_MS: Final = 1_000  # a CSMS may send whole seconds; less is no correction
CLOCK_RETRY_MS: Final = 5 * 60 * 1000  # a CSMS whose answers have no usable time is not flooded
CLOCK_YEARS_MAX: Final = 50  # longer than any station is in service
CLOCK_MIN: Final = datetime(2026, 1, 1, tzinfo=UTC)  # every release was made later
CLOCK_MAX: Final = CLOCK_MIN.replace(year=CLOCK_MIN.year + CLOCK_YEARS_MAX)


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
            modem=_describe_modem(ctx),
        ),
        reason=boot_reason,  # type: ignore[arg-type]
    )
    return CallQueued(lane="boot", action="BootNotification", payload=encode_raw(request))


def _describe_modem(ctx: Context) -> ModemType | None:
    """The SIM card of the host's modem, if it is known. B01.FR.01."""
    modem = ctx.state.modem
    if modem.iccid is None and modem.imsi is None:
        return None
    return ModemType(iccid=modem.iccid, imsi=modem.imsi)


def on_boot_notification_response(
    ctx: Context, call_seq: int, response: BootNotificationResponse | None
) -> Iterator[Decision]:
    """Apply status, time and interval. B01.FR.04 to 06, B02.FR.07/08, B03.FR.05/06."""
    if response is None:
        yield RegistrationFailed(BOOT_RETRY_S)
        return
    yield from correct_clock(ctx, response.current_time, "BootNotification")
    if response.status != "Accepted":
        retry_s = min(max(response.interval, 0), BOOT_RETRY_MAX_S) or BOOT_RETRY_S
        yield RegistrationAnswered(response.status, retry_s)
        return
    yield RegistrationAnswered("Accepted", 0)
    yield StatusResendRequired("accepted by the CSMS", "accepted")  # B01.FR.05
    if response.interval <= 0:
        return
    interval_s = ctx.product.device_model.by_path[HEARTBEAT_INTERVAL].nearest_in_limits(
        response.interval
    )
    if interval_s != ctx.variable_integer(HEARTBEAT_INTERVAL):
        yield VariableChanged(HEARTBEAT_INTERVAL, str(interval_s))  # B01.FR.04, G02.FR.01


def correct_clock(ctx: Context, current_time: str, source: str) -> Iterator[Decision]:
    """Correct the clock by currentTime. B01.FR.06, G02.FR.06.

    A difference under a second is delay of the network and is not corrected. A time that no true
    clock can show is not taken.
    """
    if "Heartbeat" not in ctx.variable_list(TIME_SOURCE):
        return
    try:
        csms_time = parse_timestamp(current_time)
    except ValueError:
        return  # unusable; logged with the answer
    if not CLOCK_MIN <= csms_time < CLOCK_MAX:
        yield from a_security.log_security_event(
            ctx, "InvalidMessages", f"currentTime {current_time[:40]} of {source} is not taken"
        )
        return
    step_ms = round((csms_time - ctx.now) / timedelta(milliseconds=1))
    clock = ctx.state.clock
    if abs(step_ms) >= CLOCK_STEP_MIN_MS or not clock.synchronized:
        correction_ms = step_ms if abs(step_ms) >= CLOCK_STEP_MIN_MS else 0
        yield ClockCorrected(clock.applied_offset_ms + correction_ms, correction_ms, source)
        corrected = replace(ctx, clock_step_ms=correction_ms)
        yield from a_security.log_clock_step(
            corrected, correction_ms, f"set by the answer to {source}"
        )


def on_heartbeat_response(
    ctx: Context, call_seq: int, response: HeartbeatResponse | None
) -> Iterator[Decision]:
    """Correct the clock. G02.FR.06."""
    if response is not None:
        yield from correct_clock(ctx, response.current_time, "Heartbeat")


def queue_heartbeat(ctx: Context) -> Iterator[Decision]:
    """Queue a Heartbeat after HeartbeatInterval without a CALL. G02.FR.02, G02.FR.05, G02.FR.07.

    At once when the time was lost.
    """
    if not may_send_heartbeat(ctx):
        return
    due_ms = heartbeat_due_ms(ctx)
    if is_time_lost(ctx) or (due_ms is not None and ctx.uptime_ms >= due_ms):
        yield from queue_call(ctx, HeartbeatRequest())


def heartbeat_due_ms(ctx: Context) -> int | None:
    """Uptime of the next Heartbeat; None while none may be sent, or one waits."""
    if not may_send_heartbeat(ctx):
        return None
    registration, due_times = ctx.state.registration, []
    interval_ms = ctx.variable_integer(HEARTBEAT_INTERVAL) * 1000
    if interval_ms:
        due_times = [
            registration.last_call_ms + interval_ms,
            registration.last_heartbeat_ms + DAY_MS,
        ]
    if needs_time(ctx):
        due_times.append(registration.last_heartbeat_ms + CLOCK_RETRY_MS)
    return min(due_times, default=None)


def may_send_heartbeat(ctx: Context) -> bool:
    """Whether a Heartbeat can be sent now and none waits."""
    return ctx.may_send_calls and not ctx.state.outbox.general_count("Heartbeat")


def needs_time(ctx: Context) -> bool:
    """Whether the clock is not synchronized and the CSMS can correct it."""
    return not ctx.state.clock.synchronized and "Heartbeat" in ctx.variable_list(TIME_SOURCE)


def is_time_lost(ctx: Context) -> bool:
    """Whether this entry is the moment to ask for the time: nothing else gives it.

    The host's clock was set, the link opened without a new registration, or the CSMS accepted the
    station with an unusable time.
    """
    has_registered = ctx.state.registration.answered_seq > ctx.entry.seq
    is_occasion = has_registered or isinstance(ctx.entry.event, ClockStepped | LinkOpened)
    return is_occasion and needs_time(ctx)


def require_status_resend(ctx: Context) -> Iterator[Decision]:
    """After a long offline period, report every connector again. B04.FR.01, B04.FR.02."""
    if isinstance(ctx.entry.event, LinkOpened):
        threshold_ms = ctx.variable_integer(OFFLINE_THRESHOLD) * 1000
        if ctx.state.link.last_offline_ms > threshold_ms:
            offline_s = ctx.state.link.last_offline_ms // 1000
            yield StatusResendRequired(f"offline for {offline_s} s", "offline")


RESULTS: Final[dict[str, ResultHandler]] = {
    "BootNotification": on_boot_notification_response,
    "Heartbeat": on_heartbeat_response,
}
DEADLINES: Final[tuple[Deadline, ...]] = (boot_due_ms, heartbeat_due_ms)
RULES: Final[tuple[Rule, ...]] = (require_status_resend, queue_boot_notification, queue_heartbeat)
CALL_REASONS: Final = {
    "BootNotification": Reason("the CSMS has to accept the station first", "B01.FR.01"),
    "Heartbeat": Reason("no other message was sent for HeartbeatInterval", "G02.FR.02"),
}
_RESEND_TEXT: Final = "the CSMS may not have the current statuses"
REASONS: Final[Reasons] = {
    ClockCorrected: ReasonTable(
        {
            "BootNotification": Reason("the CSMS sent the time", "B01.FR.06"),
            "Heartbeat": Reason("the CSMS sent the time", "G02.FR.06"),
        },
        lambda correction: correction.source,
    ),
    RegistrationAnswered: Reason("the CSMS sent this status"),
    RegistrationFailed: Reason("no valid answer to BootNotification arrived", "B02.FR.07"),
    StatusResendRequired: ReasonTable(
        {
            "accepted": Reason(_RESEND_TEXT, "B01.FR.05"),
            "offline": Reason(_RESEND_TEXT, "B04.FR.01"),
        }
    ),
}
