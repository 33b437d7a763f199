"""Which security events were there, and which fault of a slot is already told? (A04)

The entries of `SecurityEventLogged` are the security log.
"""

from __future__ import annotations

from journal.events import Decision, Entry
from journal.observations import LinkFailed, LinkOpened
from journal.projections.base import Projection


class SecurityEventLogged(Decision, frozen=True):
    """A line of the security log. A04.FR.04. It never holds a secret. A01.FR.12."""

    type: str  # Part 2 appendix 1
    critical: bool  # the CSMS hears of it. A04.FR.01
    tech_info: str = ""


class Security(Projection, frozen=True):
    """A fault that repeats with every attempt is one event, until a link stands. A00.FR.316."""

    HANDLES = (LinkFailed, LinkOpened)

    reported_failures: tuple[
        tuple[int, str], ...
    ] = ()  # (slot, security event), since the last connection
    newest_seq: int = 0  # the entry that brought the newest of them

    def apply(self, entry: Entry) -> Security:
        match entry.event:
            case LinkFailed(slot=slot, security_event=fault) if (
                fault and (slot, fault) not in self.reported_failures
            ):
                return Security((*self.reported_failures, (slot, fault)), entry.seq)
            case LinkOpened() if self.reported_failures:
                return Security((), self.newest_seq)
            case _:
                return self
