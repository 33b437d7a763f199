"""Which security events were there, and which fault of a slot is already told? (A04)

The entries of `SecurityEventLogged` are the security log.
"""

from __future__ import annotations

from journal.observations import LinkFailed, LinkOpened
from journal.projections.base import Projection
from journal.terms import Decision, Entry


class SecurityEventLogged(Decision, frozen=True):
    """A line of the security log. A04.FR.04. It never holds a secret. A01.FR.12."""

    type: str  # Part 2 appendix 1
    critical: bool  # the CSMS hears of it. A04.FR.01
    tech_info: str = ""


class Security(Projection, frozen=True):
    """A fault that repeats with every attempt is one event, until a link stands. A00.FR.316."""

    HEARS = (LinkFailed, LinkOpened)

    faults: tuple[tuple[int, str], ...] = ()  # (slot, security event), since the last connection
    news_seq: int = 0  # the entry that brought the newest of them

    def after(self, entry: Entry) -> Security:
        match entry.event:
            case LinkFailed(slot=slot, fault=fault) if fault and (slot, fault) not in self.faults:
                return Security((*self.faults, (slot, fault)), entry.seq)
            case LinkOpened() if self.faults:
                return Security((), self.news_seq)
            case _:
                return self
