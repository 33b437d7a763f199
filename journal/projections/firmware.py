"""Which firmware update runs, and how far is it? (L01)

The status is the whole story: it is what the CSMS was told last, and what has to be done next
follows from it. An update stays known after its end, for whoever asks how it went.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import FirmwareInstallEnded, StationStarted
from journal.projections.base import Projection

# FirmwareStatusEnumType: what an update ends in, by the enumeration's own description.
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
    """An update shall take place; whoever signed it has been found good. L01.FR.21."""

    request_id: int
    location: str  # URL; credentials in it are the reference of a secret
    retrieve_at: str  # RFC 3339, UTC
    install_at: str | None  # None: as soon as possible. L01.FR.05
    attempts_max: int  # at the download, in all
    retry_interval_s: int  # between two of them
    signing_certificate: str  # PEM
    signature: str  # base64


class FirmwareStatusChanged(Decision, frozen=True):
    """The update entered a state. L01.FR.01."""

    update_seq: int  # entry that ordered it
    status: str  # FirmwareStatusEnumType
    reason: str = ""


class FirmwareWaitingForTransactions(Decision, frozen=True):
    """The update has to wait for transactions to end; EVSEs that are free may close. L01.FR.07."""

    update_seq: int


class FirmwareUpdate(msgspec.Struct, frozen=True):
    """One update, known by the entry that ordered it."""

    seq: int
    order: FirmwareUpdateOrdered
    status: str = ""  # as the CSMS was told last; empty: accepted, nothing told yet
    status_since_ms: int = 0  # uptime of that, or of the start of the program if that came later
    waited_for_transactions: bool = False  # it had to wait for transactions
    restarted: bool = False  # the program began anew since the status was entered
    version: str = ""  # of what the installer put in place

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
            case FirmwareUpdateOrdered() as ordered:
                return Firmware(FirmwareUpdate(entry.seq, ordered, status_since_ms=entry.uptime_ms))
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
        """The update that has not come to an end."""
        return (
            None
            if self.latest_update is None or self.latest_update.has_ended
            else self.latest_update
        )

    def _change_update(self, update_seq: int, **changes: object) -> Firmware:
        if self.latest_update is None or self.latest_update.seq != update_seq:
            return self
        return Firmware(replace(self.latest_update, **changes))
