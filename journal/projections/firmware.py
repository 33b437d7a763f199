"""Which firmware update runs, and how far is it? (L01)

The status is the whole story: it is what the CSMS was told last, and what has to be done next
follows from it. An update stays known after its end, for whoever asks how it went.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from journal.observations import InstallEnded, StationStarted
from journal.projections.base import Projection
from journal.terms import Decision, Entry

# FirmwareStatusEnumType: what an update ends in, by the enumeration's own description.
ENDS: Final = frozenset(
    {
        "DownloadFailed",
        "InstallationFailed",
        "InstallVerificationFailed",
        "Installed",
        "InvalidSignature",
    }
)


class FirmwareOrdered(Decision, frozen=True, kw_only=True):
    """An update shall take place; whoever signed it has been found good. L01.FR.21."""

    request_id: int
    location: str  # URL; credentials in it are the reference of a secret
    retrieve_at: str  # RFC 3339, UTC
    install_at: str | None  # None: as soon as possible. L01.FR.05
    attempts: int  # at the download, in all
    interval_s: int  # between two of them
    signing_certificate: str  # PEM
    signature: str  # base64


class FirmwareAdvanced(Decision, frozen=True):
    """The update entered a state. L01.FR.01."""

    update: int  # entry that ordered it
    status: str  # FirmwareStatusEnumType
    why: str = ""


class TransactionsAwaited(Decision, frozen=True):
    """The update has to wait for transactions to end; EVSEs that are free may close. L01.FR.07."""

    update: int


class Update(msgspec.Struct, frozen=True):
    """One update, known by the entry that ordered it."""

    seq: int
    ordered: FirmwareOrdered
    status: str = ""  # as the CSMS was told last; empty: accepted, nothing told yet
    entered_ms: int = 0  # uptime of that, or of the start of the program if that came later
    waited: bool = False  # it had to wait for transactions
    restarted: bool = False  # the program began anew since the status was entered
    version: str = ""  # of what the installer put in place

    @property
    def ended(self) -> bool:
        return self.status in ENDS


class Firmware(Projection, frozen=True):
    HEARS = (FirmwareOrdered, FirmwareAdvanced, TransactionsAwaited, InstallEnded, StationStarted)

    last: Update | None = None

    def after(self, entry: Entry) -> Firmware:
        match entry.event:
            case FirmwareOrdered() as ordered:
                return Firmware(Update(entry.seq, ordered, entered_ms=entry.uptime_ms))
            case FirmwareAdvanced(update=update, status=status):
                return self._changed(
                    update, status=status, entered_ms=entry.uptime_ms, restarted=False
                )
            case TransactionsAwaited(update=update):
                return self._changed(update, waited=True)
            case InstallEnded(update=update, version=version) if version:
                return self._changed(update, version=version)
            case StationStarted() if self.last is not None:
                return Firmware(replace(self.last, entered_ms=entry.uptime_ms, restarted=True))
            case _:
                return self

    @property
    def running(self) -> Update | None:
        """The update that has not come to an end."""
        return None if self.last is None or self.last.ended else self.last

    def _changed(self, update: int, **changes: object) -> Firmware:
        if self.last is None or self.last.seq != update:
            return self
        return Firmware(replace(self.last, **changes))
