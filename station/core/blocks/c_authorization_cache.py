"""The Authorization Cache: look up, update, renew, expire, clear. C10 to C12.

An entry is what the CSMS last answered for an idToken: status, group, allowed EVSEs and expiry. The
projection AuthCache holds the entries; this block decides what changes them. A full cache gives up
an entry that is not Accepted first, then the oldest one (C10.FR.07).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from journal.events import Decision, IdToken
from journal.observations import IdTokenPresented
from journal.projections.auth_cache import (
    AuthCacheCleared,
    AuthCacheEntryExpired,
    AuthCacheUpdated,
    AuthCacheUsed,
    CachedIdToken,
)
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Rule,
    call_result,
    id_token_from_message,
    status_info,
)
from station.core.reasons import Reason, Reasons, Refusals
from station.ocpp.messages import format_timestamp, parse_timestamp
from station.ocpp.messages.c_authorization import ClearCacheRequest, ClearCacheResponse
from station.ocpp.messages.datatypes import IdTokenInfoType

CACHE_ENTRIES_MAX: Final = 1_000  # idTokens; about 200 bytes each in RAM and in a snapshot
UNCACHED_TYPES: Final = frozenset({"Central", "NoAuthorization"})  # C03.FR.02, C05.FR.02
CACHE_ENABLED: Final = "AuthCacheCtrlr.Enabled"
CACHE_LIFE_TIME: Final = "AuthCacheCtrlr.LifeTime"


def find_cache_entry(ctx: Context, id_token: IdToken) -> CachedIdToken | None:
    """The entry of an idToken; None if it has none, it expired, or the cache is disabled."""
    if not ctx.variable_boolean(CACHE_ENABLED):
        return None
    return ctx.state.auth_cache.for_token(id_token, ctx.now)


def cache_id_token_info(
    ctx: Context, id_token: IdToken, info: IdTokenInfoType, *, cacheable: bool = True
) -> Iterator[Decision]:
    """Store the idTokenInfo of a response. C10.FR.01, C10.FR.04, C10.FR.05, C12.FR.06."""
    if not ctx.variable_boolean(CACHE_ENABLED) or id_token.type in UNCACHED_TYPES or not cacheable:
        return
    expires_at: str | None
    if info.cache_expiry_date_time:
        expires_at = format_timestamp(parse_timestamp(info.cache_expiry_date_time))  # C10.FR.13
    else:
        expires_at = _cache_expiry(ctx)  # C10.FR.08
    yield AuthCacheUpdated(
        id_token=id_token,
        status=info.status,
        group_id_token=id_token_from_message(info.group_id_token) if info.group_id_token else None,
        expires_at=expires_at,
        allowed_evse_ids=tuple(info.evse_id or ()),
        evicted_refs=_select_evicted(ctx, id_token),
    )


def _cache_expiry(ctx: Context) -> str | None:
    """Now plus AuthCacheCtrlr.LifeTime; None: entries do not expire."""
    life_time_s = ctx.variable_integer(CACHE_LIFE_TIME)
    if not life_time_s:
        return None
    try:
        return format_timestamp(ctx.now + timedelta(seconds=life_time_s))
    except OverflowError:  # a clock near the year 9999
        return None


def _select_evicted(ctx: Context, id_token: IdToken) -> tuple[str, ...]:
    """The entry that a full cache gives up: not Accepted first, then the oldest. C10.FR.07."""
    entries = ctx.state.auth_cache.entries
    if id_token.ref in entries or len(entries) < CACHE_ENTRIES_MAX:
        return ()
    ref, _ = min(entries.items(), key=lambda item: (item[1].status == "Accepted", item[1].seq))
    return (ref,)


def renew_cache_entry(ctx: Context, id_token: IdToken) -> Iterator[Decision]:
    """Start the life time of an entry again, because it was used."""
    expires_at = _cache_expiry(ctx)
    if expires_at is not None:
        yield AuthCacheUsed(id_token.ref, expires_at)


def drop_expired_cache_entry(ctx: Context) -> Iterator[Decision]:
    """Erase an expired entry when its idToken is presented. C10.FR.10."""
    if isinstance(ctx.entry.event, IdTokenPresented):
        id_token = ctx.entry.event.id_token
        is_cached = ctx.state.auth_cache.entries.get(id_token.ref) is not None
        if is_cached and ctx.state.auth_cache.for_token(id_token, ctx.now) is None:
            yield AuthCacheEntryExpired(id_token.ref)


def clear_cache(ctx: Context, call: Call, request: ClearCacheRequest) -> Iterator[Decision]:
    """Erase every entry. C11.FR.01 to 05."""
    if not ctx.variable_boolean(CACHE_ENABLED):
        yield call_result(
            call, ClearCacheResponse(status="Rejected", status_info=status_info("NotEnabled"))
        )
        return
    yield AuthCacheCleared()
    yield call_result(call, ClearCacheResponse(status="Accepted"))


CALLS: Final[dict[str, CallHandler]] = {"ClearCache": clear_cache}
RULES: Final[tuple[Rule, ...]] = (drop_expired_cache_entry,)
REASONS: Final[Reasons] = {
    AuthCacheCleared: Reason("the CSMS requested it", "C11.FR.01"),
    AuthCacheEntryExpired: Reason("its lifetime in the cache ended", "C10.FR.10"),
    AuthCacheUpdated: Reason("the CSMS sent the status of the IdToken", "C10.FR.04, C10.FR.05"),
    AuthCacheUsed: Reason("its lifetime in the cache starts at the last use", "C10.FR.08"),
}
REFUSALS: Final[Refusals] = {("ClearCache", "NotEnabled"): "C11.FR.04"}
