"""Decides an idToken by what the station knows of it: list, then cache, then the CSMS. C10 to C15.

The Local Authorization List is looked up first, then the Authorization Cache (C13.FR.01,
C14.FR.01). `DECISION_TABLE` has what follows: its first row that applies decides. The columns:

    CSMS       it can be asked, or it cannot: offline, not registered, no answer, too many waiting
    known as   in the list (listed) or in the cache (cached): accepted; accepted at other EVSEs
               only; outdated, that is, accepted with a cacheExpiryDateTime that has passed;
               refused, that is, with any other status; or unknown, in neither of them
    variable   has to be true for the row to apply; none: the row applies always
    decision   grant; ask, with an AuthorizeRequest; or refuse, with the status it is known with,
               or with the one that is named

An outdated entry of the list counts as Expired while LocalAuthListCtrlr.SupportsExpiryDateTime is
true; otherwise the date is ignored (C13.FR.02, C14.FR.02). The cache removes such an entry.

Helper module of `c_authorization` and `c_id_token`.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from journal.events import IdToken
from station.core.blocks.c_authorization_cache import CACHE_ENABLED, find_cache_entry
from station.core.blocks.d_local_list import find_listed, is_enabled
from station.core.context import Context

LOCAL_AUTHORIZE_OFFLINE: Final = "AuthCtrlr.LocalAuthorizeOffline"
OFFLINE_TX_FOR_UNKNOWN_ID: Final = "AuthCtrlr.OfflineTxForUnknownIdEnabled"
SUPPORTS_EXPIRY: Final = "LocalAuthListCtrlr.SupportsExpiryDateTime"

Source = Literal["LocalList", "Cache"]
KnownAs = Literal[
    "listed: accepted",
    "listed: accepted at other EVSEs",
    "listed: outdated",
    "listed: refused",
    "cached: accepted",
    "cached: accepted at other EVSEs",
    "cached: refused",
    "unknown",
]
DecisionOfRow = Literal["grant", "ask", "refuse as known", "refuse as Unknown", "refuse as Offline"]

ACCEPTED: Final[tuple[KnownAs, ...]] = ("listed: accepted", "cached: accepted")
UNKNOWN: Final[tuple[KnownAs, ...]] = ("unknown",)
KNOWN: Final[tuple[KnownAs, ...]] = (
    "listed: accepted",
    "listed: accepted at other EVSEs",
    "listed: outdated",
    "listed: refused",
    "cached: accepted",
    "cached: accepted at other EVSEs",
    "cached: refused",
)


class LocalInfo(NamedTuple):
    """What the list or the cache has of an idToken."""

    source: Source
    status: str  # AuthorizationStatusEnumType
    group_id_token: IdToken | None
    allowed_evse_ids: tuple[int, ...]  # empty: any EVSE
    is_outdated: bool = False  # accepted, until a time that has passed; `status` is Expired

    @property
    def is_accepted(self) -> bool:
        return self.status == "Accepted"

    def allows_evse(self, evse_id: int | None) -> bool:
        """Whether it allows the EVSE; None: not known yet. C01.FR.21."""
        return not self.allowed_evse_ids or evse_id is None or evse_id in self.allowed_evse_ids


class DecisionRow(NamedTuple):
    """A row of the table: conditions, decision, and the requirements it follows from."""

    can_ask: bool
    known_as: tuple[KnownAs, ...]
    variable: str
    decision: DecisionOfRow
    requirements: str


DECISION_TABLE: Final = (
    # The CSMS can be asked
    DecisionRow(
        True, ACCEPTED, "AuthCtrlr.LocalPreAuthorize", "grant", "C12.FR.02, C14.FR.02, C14.FR.04"
    ),
    DecisionRow(
        True, ACCEPTED, "AuthCtrlr.DisableRemoteAuthorization", "grant", "C12.FR.02, C14.FR.02"
    ),
    DecisionRow(
        True,
        ("listed: refused",),
        "LocalAuthListCtrlr.DisablePostAuthorize",
        "refuse as known",
        "C14.FR.03",
    ),
    DecisionRow(
        True,
        ("cached: refused",),
        "AuthCacheCtrlr.DisablePostAuthorize",
        "refuse as known",
        "C10.FR.03, C12.FR.05",
    ),
    DecisionRow(True, KNOWN, "AuthCtrlr.DisableRemoteAuthorization", "refuse as known", ""),
    DecisionRow(True, UNKNOWN, "AuthCtrlr.DisableRemoteAuthorization", "refuse as Unknown", ""),
    DecisionRow(
        True,
        KNOWN + UNKNOWN,
        "",
        "ask",
        "C01.FR.02, C10.FR.03, C12.FR.05, C14.FR.03, C14.FR.05",
    ),
    # The CSMS cannot be asked
    DecisionRow(
        False,
        ACCEPTED,
        LOCAL_AUTHORIZE_OFFLINE,
        "grant",
        "C13.FR.02, C13.FR.04, C13.FR.05, C13.FR.06",
    ),
    DecisionRow(
        False,
        KNOWN,
        LOCAL_AUTHORIZE_OFFLINE,
        "refuse as known",
        "C13.FR.01, C13.FR.05, C13.FR.06",
    ),
    DecisionRow(False, KNOWN, "", "refuse as Offline", ""),
    DecisionRow(
        False,
        UNKNOWN,
        OFFLINE_TX_FOR_UNKNOWN_ID,
        "grant",
        "C13.FR.04, C13.FR.06, C15.FR.08",
    ),
    DecisionRow(False, UNKNOWN, "", "refuse as Offline", "C13.FR.02, C13.FR.05"),
)


def find_local_info(ctx: Context, id_token: IdToken) -> LocalInfo | None:
    """What the list has of an idToken, else the cache. C13.FR.01, C14.FR.01. None: neither."""
    listed = find_listed(ctx, id_token)
    if listed:
        is_outdated = (
            listed.status == "Accepted"
            and listed.is_outdated(ctx.now)
            and ctx.variable_boolean(SUPPORTS_EXPIRY)
        )
        return LocalInfo(
            "LocalList",
            "Expired" if is_outdated else listed.status,
            listed.group_id_token,
            listed.allowed_evse_ids,
            is_outdated,
        )
    cached = find_cache_entry(ctx, id_token)
    if cached:
        return LocalInfo("Cache", cached.status, cached.group_id_token, cached.allowed_evse_ids)
    return None


def select_row(
    ctx: Context, info: LocalInfo | None, evse_id: int | None, *, can_ask: bool
) -> DecisionRow:
    """The first row of the table that applies."""
    known_as = describe_known(info, evse_id)
    return next(
        row
        for row in DECISION_TABLE
        if row.can_ask is can_ask
        and known_as in row.known_as
        and (not row.variable or ctx.variable_boolean(row.variable))
    )


def describe_known(info: LocalInfo | None, evse_id: int | None) -> KnownAs:
    """The column `known as` for an idToken that is to charge at this EVSE; None: at any."""
    if info is None:
        return "unknown"
    is_listed = info.source == "LocalList"
    if info.is_outdated:
        return "listed: outdated"
    if not info.is_accepted:
        return "listed: refused" if is_listed else "cached: refused"
    if not info.allows_evse(evse_id):
        return "listed: accepted at other EVSEs" if is_listed else "cached: accepted at other EVSEs"
    return "listed: accepted" if is_listed else "cached: accepted"


def accepts_known_offline(ctx: Context) -> bool:
    """Whether idTokens of the list or the cache are accepted while the CSMS cannot be asked."""
    has_list = is_enabled(ctx) and ctx.state.local_list.count > 0
    return ctx.variable_boolean(LOCAL_AUTHORIZE_OFFLINE) and (
        has_list or ctx.variable_boolean(CACHE_ENABLED)
    )
