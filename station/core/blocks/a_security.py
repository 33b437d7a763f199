"""Security events: the security log and SecurityEventNotification. A04.

Every security event is an entry and a line of the security log. Critical ones are also reported to
the CSMS; these calls are kept until they are delivered (A04.FR.02).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision
from journal.observations import (
    ClockStepped,
    DeviceFaulted,
    JournalDamageFound,
    LinkFailed,
    SafeModeEntered,
    StationStarted,
    StorageReported,
)
from journal.projections.security import SecurityEventLogged
from station.core.context import Context, Rule, queue_call
from station.core.reasons import Reason
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.a_security import SecurityEventNotificationRequest

TIME_ADJUSTMENT_THRESHOLD: Final = "ClockCtrlr.TimeAdjustmentReportingThreshold"
TECH_INFO_MAX: Final = 255  # characters. SecurityEventNotificationRequest
DOOR_DEVICES: Final = frozenset({"door", "dispenser_door"})  # their faults are tampering

# Part 2 appendix 1: whether an event is critical, that is, sent to the CSMS.
CRITICAL_BY_TYPE: Final[dict[str, bool]] = {
    "AttemptedReplayAttacks": False,
    "CsmsFailedToAuthenticate": False,
    "DiscardedRenewedClientCertificate": True,  # erratum 2.9 (2025-01): the CSMS receives it
    "FailedToAuthenticateAtCsms": False,
    "FirmwareUpdated": True,
    "InvalidChargingStationCertificate": True,
    "InvalidCsmsCertificate": True,
    "InvalidFirmwareSignature": True,
    "InvalidFirmwareSigningCertificate": True,
    "InvalidMessages": False,
    "InvalidTLSCipherSuite": True,
    "InvalidTLSVersion": True,
    "MaintenanceLoginAccepted": True,
    "MaintenanceLoginFailed": True,
    "MemoryExhaustion": True,
    "ReconfigurationOfSecurityParameters": False,
    "ResetOrReboot": True,
    "SecurityLogWasCleared": True,
    "SettingSystemTime": True,
    "StartupOfTheDevice": True,
    "TamperDetectionActivated": True,
}


def log_security_event(ctx: Context, event_type: str, tech_info: str = "") -> Iterator[Decision]:
    """Log a security event of Part 2 appendix 1, and report it to the CSMS if it is critical.

    Args:
        tech_info: text for people; never a secret (A01.FR.12).
    """
    critical = CRITICAL_BY_TYPE[event_type]
    yield SecurityEventLogged(event_type, critical, tech_info[:TECH_INFO_MAX])
    if critical:
        request = SecurityEventNotificationRequest(
            type=event_type,
            timestamp=format_timestamp(ctx.now),
            tech_info=tech_info[:TECH_INFO_MAX] or None,
        )
        yield from queue_call(ctx, request, keep=True)


def log_startup(ctx: Context) -> Iterator[Decision]:
    """Log the start, and a reboot if an earlier run did not end with the supply."""
    if not isinstance(ctx.entry.event, StationStarted):
        return
    lifecycle = ctx.state.lifecycle
    yield from log_security_event(ctx, "StartupOfTheDevice", f"release {lifecycle.release}")
    if lifecycle.run_count > 1 and lifecycle.boot_reason != "PowerUp":
        yield from log_security_event(ctx, "ResetOrReboot", lifecycle.boot_reason)


def log_clock_step(ctx: Context, step_ms: int, source: str) -> Iterator[Decision]:
    """Log a step of the wall clock of more than TimeAdjustmentReportingThreshold. Appendix 1."""
    if abs(step_ms) > ctx.variable_integer(TIME_ADJUSTMENT_THRESHOLD, default=20) * 1000:
        yield from log_security_event(
            ctx, "SettingSystemTime", f"by {step_ms / 1000:+.3f} s, {source}"
        )


def log_observed_events(ctx: Context) -> Iterator[Decision]:
    """Log the security events that observations report."""
    match ctx.entry.event:
        case LinkFailed(security_event=event_type, reason=reason) if event_type:
            if ctx.state.security.newest_seq == ctx.entry.seq:
                yield from log_security_event(ctx, event_type, reason)
        case ClockStepped(step_ms=step_ms):
            yield from log_clock_step(ctx, step_ms, "the host's clock was set")
        case JournalDamageFound(reason=reason):
            yield from log_security_event(ctx, "TamperDetectionActivated", f"journal: {reason}")
        case StorageReported(level=level, free_bytes=free_bytes) if level != "enough":
            yield from log_security_event(
                ctx, "MemoryExhaustion", f"disk {level}: {free_bytes // 1024} KiB free"
            )
        case SafeModeEntered(reasons=reasons):
            tech_info = f"safe mode: {'; '.join(reasons)}"
            yield from log_security_event(ctx, "StartupOfTheDevice", tech_info)
        case DeviceFaulted(device=device) if device in DOOR_DEVICES:
            yield from log_security_event(ctx, "TamperDetectionActivated", device.replace("_", " "))
        case _:
            return


RULES: Final[tuple[Rule, ...]] = (log_startup, log_observed_events)
CALL_REASONS: Final = {
    "SecurityEventNotification": Reason("a critical security event happened", "A04.FR.01")
}
