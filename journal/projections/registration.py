"""Registration at the CSMS: BootNotification status, retry, and heartbeat times. B01 to B03."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import LinkOpened, StationStarted
from journal.projections.base import Projection
from journal.projections.outbox import CallAttempted, CallQueued


class RegistrationAnswered(Decision, frozen=True):
    """The CSMS answered the BootNotification. B01.FR.02, B02, B03."""

    status: Literal["Accepted", "Pending", "Rejected"]
    retry_after_s: int  # until the next BootNotification; 0 when accepted


class RegistrationFailed(Decision, frozen=True):
    """The BootNotification got no usable answer; it is repeated after `retry_after_s`."""

    retry_after_s: int


class Registration(Projection, frozen=True):
    HANDLES = (
        StationStarted, LinkOpened, RegistrationAnswered, RegistrationFailed, CallQueued,
        CallAttempted,
    )  # fmt: skip

    status: Literal["Unknown", "Accepted", "Pending", "Rejected"] = "Unknown"
    ever_accepted: bool = False  # in this or an earlier run
    retry_ms: int | None = None  # uptime from which the next BootNotification may be sent
    answered_seq: int = 0
    last_call_ms: int = (
        0  # uptime of the last CALL; the heartbeat interval counts from it. G02.FR.05
    )
    last_heartbeat_ms: int = 0  # uptime of the last Heartbeat. G02.FR.07
    slot: int = 0  # of the registration; 0: not connected in this run
    slot_changed: bool = False  # since the start: a boot without a reboot. B10.FR.10

    def apply(self, entry: Entry) -> Registration:
        match entry.event:
            case CallAttempted():
                return replace(self, last_call_ms=entry.uptime_ms)
            case CallQueued(action=action):
                if action != "Heartbeat":
                    return self
                return replace(self, last_heartbeat_ms=entry.uptime_ms)
            case StationStarted():
                return Registration(
                    ever_accepted=self.ever_accepted,
                    last_call_ms=entry.uptime_ms,
                    last_heartbeat_ms=entry.uptime_ms,
                )
            case LinkOpened(slot=slot) if slot != self.slot:
                return self._use_slot(slot)
            case RegistrationAnswered(status=status, retry_after_s=retry_s):
                accepted = status == "Accepted"
                return replace(
                    self,
                    status=status,
                    ever_accepted=self.ever_accepted or accepted,
                    retry_ms=None if accepted else entry.uptime_ms + retry_s * 1000,
                    answered_seq=entry.seq,
                )
            case RegistrationFailed(retry_after_s=retry_s):
                return replace(self, retry_ms=entry.uptime_ms + retry_s * 1000)
            case _:
                return self

    def _use_slot(self, slot: int) -> Registration:
        """Another slot may lead to another CSMS, where the station must register. B10.FR.10."""
        if self.slot == 0:
            return replace(self, slot=slot)
        return replace(self, slot=slot, status="Unknown", retry_ms=None, slot_changed=True)

    @property
    def is_accepted(self) -> bool:
        return self.status == "Accepted"
