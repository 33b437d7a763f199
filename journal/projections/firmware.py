"""The latest firmware update and its status. L01.

The status is the whole progress: it is the one sent to the CSMS last, and the next step follows
from it. An update stays here after its end, for queries about its result.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import FirmwareInstallEnded, StationStarted
from journal.projections.base import Projection

# Values of FirmwareStatusEnumType that end an update, by the enumeration's own description.
FINAL_STATUSES: Final = frozenset(
    {
        "DownloadFailed",
        "InstallationFailed",
        "InstallVerificationFailed",
        "Installed",
        "InvalidSignature",
    }
)


class FirmwareUpdateOrdered(Decision, frozen=True, kw_only=True):
    """The CSMS ordered an update; its signing certificate is valid. L01.FR.21."""

    request_id: int
    location: str  # URL; credentials in it are the reference of a secret
    retrieve_at: str  # RFC 3339, UTC
    install_at: str | None  # None: as soon as possible. L01.FR.05
    attempts_max: int  # download attempts in total
    retry_interval_s: int  # between two attempts
    signing_certificate: str  # PEM
    signature: str  # base64


class FirmwareStatusChanged(Decision, frozen=True):
    """The update has a new status. L01.FR.01."""

    update_seq: int  # entry that ordered the update
    status: str  # FirmwareStatusEnumType
    reason: str = ""


class FirmwareWaitingForTransactions(Decision, frozen=True):
    """Installation waits for transactions to end; free EVSEs may become Unavailable. L01.FR.07."""

    update_seq: int


class FirmwareUpdate(msgspec.Struct, frozen=True):
    """An update, identified by the entry that ordered it."""

    seq: int
    order: FirmwareUpdateOrdered
    status: str = ""  # last one sent to the CSMS; empty: accepted, none sent yet
    status_since_ms: int = 0  # uptime of that, or of the program's start if that was later
    waited_for_transactions: bool = False
    restarted: bool = False  # the program restarted since the last status
    version: str = ""  # of what the installer installed

    @property
    def has_ended(self) -> bool:
        return self.status in FINAL_STATUSES


class Firmware(Projection, frozen=True):
    HANDLES = (
        FirmwareUpdateOrdered,
        FirmwareStatusChanged,
        FirmwareWaitingForTransactions,
        FirmwareInstallEnded,
        StationStarted,
    )

    latest_update: FirmwareUpdate | None = None

    def apply(self, entry: Entry) -> Firmware:
        match entry.event:
            case FirmwareUpdateOrdered() as order:
                return Firmware(FirmwareUpdate(entry.seq, order, status_since_ms=entry.uptime_ms))
            case FirmwareStatusChanged(update_seq=update, status=status):
                return self._change_update(
                    update, status=status, status_since_ms=entry.uptime_ms, restarted=False
                )
            case FirmwareWaitingForTransactions(update_seq=update):
                return self._change_update(update, waited_for_transactions=True)
            case FirmwareInstallEnded(update_seq=update, version=version) if version:
                return self._change_update(update, version=version)
            case StationStarted() if self.latest_update is not None:
                return Firmware(
                    replace(self.latest_update, status_since_ms=entry.uptime_ms, restarted=True)
                )
            case _:
                return self

    @property
    def running_update(self) -> FirmwareUpdate | None:
        """The update, while it has not ended."""
        return (
            None
            if self.latest_update is None or self.latest_update.has_ended
            else self.latest_update
        )

    def _change_update(self, update_seq: int, **changes: object) -> Firmware:
        if self.latest_update is None or self.latest_update.seq != update_seq:
            return self
        return Firmware(replace(self.latest_update, **changes))
