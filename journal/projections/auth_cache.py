"""What did the CSMS last say of each IdToken?"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec.structs import replace

from journal.observations import ForgettingOrdered
from journal.persistent import Table
from journal.projections.base import Projection
from journal.projections.customers import CustomerCleared
from journal.terms import Decision, Entry, IdToken


class CacheUpdated(Decision, frozen=True, kw_only=True):
    """The CSMS gave its view of a token, whatever it is. C10.FR.01, C10.FR.04, C10.FR.05."""

    id_token: IdToken
    status: str  # AuthorizationStatusEnumType
    group: IdToken | None = None
    until: str | None = None  # UTC; cacheExpiryDateTime, else by AuthCacheLifeTime. C10.FR.08/13
    evse_ids: tuple[int, ...] = ()
    evicted: tuple[str, ...] = ()  # references that made room. C10.FR.07


class CacheUsed(Decision, frozen=True):
    """A cached token was used; AuthCacheLifeTime counts from here. C10.FR.08."""

    ref: str
    until: str


class CacheExpired(Decision, frozen=True):
    """The time of an entry is over: it goes. C10.FR.10."""

    ref: str


class CacheCleared(Decision, frozen=True):
    """C11.FR.01."""


class Cached(msgspec.Struct, frozen=True):
    type: str
    status: str
    group: IdToken | None
    until: str | None
    evse_ids: tuple[int, ...]
    seq: int  # entry that wrote it last


class AuthCache(Projection, frozen=True):
    HEARS = (
        CacheUpdated, CacheUsed, CacheExpired, CacheCleared, CustomerCleared, ForgettingOrdered,
    )  # fmt: skip

    entries: Table[str, Cached] = Table()

    def after(self, entry: Entry) -> AuthCache:
        match entry.event:
            case CacheUpdated() as update:
                entries = self.entries
                for ref in update.evicted:
                    entries = entries.without(ref)
                new = Cached(
                    update.id_token.type,
                    update.status,
                    update.group,
                    update.until,
                    update.evse_ids,
                    entry.seq,
                )
                return AuthCache(entries.having(update.id_token.ref, new))
            case CacheUsed(ref=ref, until=until):
                old = self.entries.get(ref)
                if old is None:
                    return self
                return AuthCache(self.entries.having(ref, replace(old, until=until)))
            case CacheExpired(ref=ref):
                return AuthCache(self.entries.without(ref))
            case CacheCleared():
                return AuthCache()
            case CustomerCleared(refs=refs) | ForgettingOrdered(refs=refs):
                entries = self.entries
                for ref in refs:
                    entries = entries.without(ref)
                return AuthCache(entries)
            case _:
                return self

    def of(self, id_token: IdToken, now: datetime) -> Cached | None:
        """What is cached of the token and still counts at `now`."""
        found = self.entries.get(id_token.ref)
        if found is None or found.type != id_token.type or expired(found, now):
            return None
        return found


def expired(cached: Cached, now: datetime) -> bool:
    return cached.until is not None and datetime.fromisoformat(cached.until) <= now
