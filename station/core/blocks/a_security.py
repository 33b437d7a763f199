"""What happened that concerns the security of the station, and who hears of it? (A04)

Every security event is a line of the security log; the critical ones the CSMS hears of, and they
wait for it as long as it takes (A04.FR.02).
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
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.a_security import SecurityEventNotificationRequest

TIME_ADJUSTMENT_THRESHOLD: Final = "ClockCtrlr.TimeAdjustmentReportingThreshold"
TECH_INFO_MAX: Final = 255  # characters. SecurityEventNotificationRequest
DOOR_DEVICES: Final = frozenset({"door", "dispenser_door"})  # devices that tell of a tampering

# Part 2 appendix 1: whether an event is critical.
CRITICAL_BY_TYPE: Final[dict[str, bool]] = {
    "AttemptedReplayAttacks": False,
    "CsmsFailedToAuthenticate": False,
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
    """Log a security event of Part 2 appendix 1, and tell the CSMS where it is critical.

    Args:
        tech_info: for a person; never a secret (A01.FR.12).
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
    """The station has booted; where a run ended before without the supply's fault, it rebooted."""
    if not isinstance(ctx.entry.event, StationStarted):
        return
    life = ctx.state.lifecycle
    yield from log_security_event(ctx, "StartupOfTheDevice", f"release {life.release}")
    if life.run_count > 1 and life.boot_reason != "PowerUp":
        yield from log_security_event(ctx, "ResetOrReboot", life.boot_reason)


def log_clock_step(ctx: Context, step_ms: int, source: str) -> Iterator[Decision]:
    """The wall clock jumped by more than TimeAdjustmentReportingThreshold. Appendix 1."""
    if abs(step_ms) > ctx.variable_integer(TIME_ADJUSTMENT_THRESHOLD, default=20) * 1000:
        yield from log_security_event(
            ctx, "SettingSystemTime", f"by {step_ms / 1000:+.3f} s, {source}"
        )


def log_observed_events(ctx: Context) -> Iterator[Decision]:
    """Security events that the world tells of."""
    match ctx.entry.event:
        case LinkFailed(security_event=fault, reason=why) if fault:
            if ctx.state.security.newest_seq == ctx.entry.seq:
                yield from log_security_event(ctx, fault, why)
        case ClockStepped(step_ms=step_ms):
            yield from log_clock_step(ctx, step_ms, "the host's clock was set")
        case JournalDamageFound(reason=why):
            yield from log_security_event(ctx, "TamperDetectionActivated", f"journal: {why}")
        case StorageReported(level=level, free_bytes=free) if level != "enough":
            yield from log_security_event(
                ctx, "MemoryExhaustion", f"disk {level}: {free // 1024} KiB free"
            )
        case SafeModeEntered(reasons=why):
            yield from log_security_event(ctx, "StartupOfTheDevice", f"safe mode: {'; '.join(why)}")
        case DeviceFaulted(device=device) if device in DOOR_DEVICES:
            yield from log_security_event(ctx, "TamperDetectionActivated", device.replace("_", " "))
        case _:
            return


RULES: Final[tuple[Rule, ...]] = (log_startup, log_observed_events)
