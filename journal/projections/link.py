"""The link to the CSMS: online or offline, since when, and through which slot."""

from __future__ import annotations

from msgspec.structs import replace

from journal.events import Entry
from journal.observations import LinkClosed, LinkFailed, LinkOpened, StationStarted
from journal.projections.base import Projection


class Link(Projection, frozen=True):
    HANDLES = (StationStarted, LinkOpened, LinkClosed, LinkFailed)

    online: bool = False
    opened_seq: int = 0  # calls queued before this entry are sent as offline. E11.FR.07
    open_count: int = 0  # connections since the program started
    slot: int = 0
    security_profile: int = 0
    # Of the station's certificate in use; of the last connection that had one, also after its end.
    certificate_sha256: str = ""
    # Of the CSMSRootCertificate of the last connection that was verified with one alone.
    root_sha256: str = ""
    since_ms: int = 0  # uptime of the last change between online and offline
    last_offline_ms: int = 0  # length of the last offline period; counts from the program's start
    failed_attempts: int = 0  # since the link was last open

    def apply(self, entry: Entry) -> Link:
        match entry.event:
            case LinkOpened(slot=slot, security_profile=profile) as opened:
                return Link(
                    online=True,
                    opened_seq=entry.seq,
                    open_count=self.open_count + 1,
                    slot=slot,
                    security_profile=profile,
                    certificate_sha256=opened.certificate_sha256 or self.certificate_sha256,
                    root_sha256=opened.root_sha256 or self.root_sha256,
                    since_ms=entry.uptime_ms,
                    last_offline_ms=entry.uptime_ms - self.since_ms,
                )
            case LinkClosed() if self.online:
                return replace(self, online=False, since_ms=entry.uptime_ms)
            case LinkFailed():
                return replace(self, failed_attempts=self.failed_attempts + 1)
            case StationStarted():
                return replace(
                    self, online=False, open_count=0, since_ms=entry.uptime_ms, failed_attempts=0
                )
            case _:
                return self
