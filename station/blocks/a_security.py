"""What happened that concerns the security of the station, and who hears of it? (A04)

Every security event is a line of the security log; the critical ones the CSMS hears of, and they
wait for it as long as it takes (A04.FR.02).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.observations import (
    ClockStepped,
    DamageFound,
    DeviceFaulted,
    LinkFailed,
    SafeModeEntered,
    StationStarted,
    StorageReported,
)
from journal.projections.security import SecurityEventLogged
from journal.terms import Decision
from station.case import Case, say
from station.messages import timestamp
from station.messages.a_security import SecurityEventNotificationRequest

THRESHOLD: Final = "ClockCtrlr.TimeAdjustmentReportingThreshold"
TECH_INFO_MAX: Final = 255  # characters. SecurityEventNotificationRequest
DOORS: Final = frozenset({"door", "dispenser_door"})  # devices that tell of a tampering

# Part 2 appendix 1: whether an event is critical.
CRITICAL: Final[dict[str, bool]] = {
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


def logged(case: Case, type: str, tech_info: str = "") -> Iterator[Decision]:
    """Log a security event of Part 2 appendix 1, and tell the CSMS where it is critical.

    Args:
        tech_info: for a person; never a secret (A01.FR.12).
    """
    critical = CRITICAL[type]
    yield SecurityEventLogged(type, critical, tech_info[:TECH_INFO_MAX])
    if critical:
        request = SecurityEventNotificationRequest(
            type=type,
            timestamp=timestamp(case.now),
            tech_info=tech_info[:TECH_INFO_MAX] or None,
        )
        yield from say(case, request, keep=True)


def starts(case: Case) -> Iterator[Decision]:
    """The station has booted; where a run ended before without the supply's fault, it rebooted."""
    if not isinstance(case.entry.event, StationStarted):
        return
    life = case.state.lifecycle
    yield from logged(case, "StartupOfTheDevice", f"release {life.release}")
    if life.runs > 1 and life.boot_reason != "PowerUp":
        yield from logged(case, "ResetOrReboot", life.boot_reason)


def clock_moved(case: Case, step_ms: int, source: str) -> Iterator[Decision]:
    """The wall clock jumped by more than TimeAdjustmentReportingThreshold. Appendix 1."""
    if abs(step_ms) > case.integer(THRESHOLD, absent=20) * 1000:
        yield from logged(case, "SettingSystemTime", f"by {step_ms / 1000:+.3f} s, {source}")


def observes(case: Case) -> Iterator[Decision]:
    """Security events that the world tells of."""
    match case.entry.event:
        case LinkFailed(fault=fault, reason=why) if fault:
            if case.state.security.news_seq == case.entry.seq:
                yield from logged(case, fault, why)
        case ClockStepped(step_ms=step_ms):
            yield from clock_moved(case, step_ms, "the host's clock was set")
        case DamageFound(why=why):
            yield from logged(case, "TamperDetectionActivated", f"journal: {why}")
        case StorageReported(level=level, free_bytes=free) if level != "enough":
            yield from logged(case, "MemoryExhaustion", f"disk {level}: {free // 1024} KiB free")
        case SafeModeEntered(why=why):
            yield from logged(case, "StartupOfTheDevice", f"safe mode: {'; '.join(why)}")
        case DeviceFaulted(device=device) if device in DOORS:
            yield from logged(case, "TamperDetectionActivated", device.replace("_", " "))
        case _:
            return
