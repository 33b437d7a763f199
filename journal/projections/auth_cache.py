"""The Authorization Cache: the last status the CSMS gave for each IdToken. C10 to C12."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry, IdToken
from journal.immutable import ImmutableMap
from journal.observations import ErasureRequested
from journal.projections.base import Projection
from journal.projections.customer_requests import CustomerDataCleared


class AuthCacheUpdated(Decision, frozen=True, kw_only=True):
    """The CSMS gave the status of a token, accepted or not. C10.FR.01, C10.FR.04, C10.FR.05."""

    id_token: IdToken
    status: str  # AuthorizationStatusEnumType
    group_id_token: IdToken | None = None
    # UTC; cacheExpiryDateTime, else by AuthCacheLifeTime. C10.FR.08, C10.FR.13
    expires_at: str | None = None
    allowed_evse_ids: tuple[int, ...] = ()  # empty: any EVSE
    evicted_refs: tuple[str, ...] = ()  # references removed because the cache was full. C10.FR.07


class AuthCacheUsed(Decision, frozen=True):
    """A cached token was used; AuthCacheLifeTime counts from here. C10.FR.08."""

    ref: str
    expires_at: str


class AuthCacheEntryExpired(Decision, frozen=True):
    """A cached token expired and was removed. C10.FR.10."""

    ref: str


class AuthCacheCleared(Decision, frozen=True):
    """The CSMS cleared the cache. C11.FR.01."""


class CachedIdToken(msgspec.Struct, frozen=True):
    """What the cache holds of one token."""

    type: str
    status: str
    group_id_token: IdToken | None
    expires_at: str | None
    allowed_evse_ids: tuple[int, ...]
    seq: int  # entry that updated it last


class AuthCache(Projection, frozen=True):
    HANDLES = (
        AuthCacheUpdated, AuthCacheUsed, AuthCacheEntryExpired, AuthCacheCleared,
        CustomerDataCleared, ErasureRequested,
    )  # fmt: skip

    entries: ImmutableMap[str, CachedIdToken] = ImmutableMap()  # by reference

    def apply(self, entry: Entry) -> AuthCache:
        match entry.event:
            case AuthCacheUpdated() as update:
                entries = self.entries
                for ref in update.evicted_refs:
                    entries = entries.without_key(ref)
                new = CachedIdToken(
                    update.id_token.type,
                    update.status,
                    update.group_id_token,
                    update.expires_at,
                    update.allowed_evse_ids,
                    entry.seq,
                )
                return AuthCache(entries.with_item(update.id_token.ref, new))
            case AuthCacheUsed(ref=ref, expires_at=expires_at):
                old = self.entries.get(ref)
                if old is None:
                    return self
                return AuthCache(self.entries.with_item(ref, replace(old, expires_at=expires_at)))
            case AuthCacheEntryExpired(ref=ref):
                return AuthCache(self.entries.without_key(ref))
            case AuthCacheCleared():
                return AuthCache()
            case CustomerDataCleared(refs=refs) | ErasureRequested(refs=refs):
                entries = self.entries
                for ref in refs:
                    entries = entries.without_key(ref)
                return AuthCache(entries)
            case _:
                return self

    def for_token(self, id_token: IdToken, now: datetime) -> CachedIdToken | None:
        """The cached status of the token, if it is still valid at `now`."""
        cached = self.entries.get(id_token.ref)
        if cached is None or cached.type != id_token.type or is_expired(cached, now):
            return None
        return cached


def is_expired(cached: CachedIdToken, now: datetime) -> bool:
    return cached.expires_at is not None and datetime.fromisoformat(cached.expires_at) <= now
