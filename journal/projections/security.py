"""Security events, and the connection failures that were reported as one already. A04.

The entries of `SecurityEventLogged` are the security log. A failure that repeats at every attempt
to connect is one event until a connection succeeds. A00.FR.316.
"""

from __future__ import annotations

from journal.events import Decision, Entry
from journal.observations import LinkFailed, LinkOpened
from journal.projections.base import Projection


class SecurityEventLogged(Decision, frozen=True):
    """An event of the security log. A04.FR.04. It never contains a secret. A01.FR.12."""

    type: str  # Part 2 appendix 1
    critical: bool  # it is reported to the CSMS. A04.FR.01
    tech_info: str = ""


class Security(Projection, frozen=True):
    HANDLES = (LinkFailed, LinkOpened)

    # (slot, security event), since the last connection
    reported_failures: tuple[tuple[int, str], ...] = ()
    newest_seq: int = 0  # entry of the newest of them

    def apply(self, entry: Entry) -> Security:
        match entry.event:
            case LinkFailed(slot=slot, security_event=event) if (
                event and (slot, event) not in self.reported_failures
            ):
                return Security((*self.reported_failures, (slot, event)), entry.seq)
            case LinkOpened() if self.reported_failures:
                return Security((), self.newest_seq)
            case _:
                return self
