"""Decides requests to charge without an answer of the CSMS.

The list, the cache, a reservation or OfflineTxForUnknownIdEnabled grants them, or they are refused.
The rows of `c_local_authorization.DECISION_TABLE` for a CSMS that cannot be asked decide.

**The first connection.** After a start of the program the first connection and its BootNotification
take 0.2 to 2 s. An idToken presented meanwhile that would be refused waits for them: its
AuthorizeRequest is queued, and sent as soon as the CSMS has accepted the station. It is decided
without the CSMS when an attempt to connect fails, the CSMS does not accept the station, or
`FIRST_CONNECTION_MS` after the start. What would be granted is granted at once (C15.FR.08). No
requirement says how soon an idToken must be refused.

Helper module of `c_authorization`, which has the order of all decisions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from journal.events import Decision, IdToken
from journal.observations import LinkClosed
from journal.projections.authorizations import (
    AuthorizationGranted,
    AuthorizationRefused,
    AuthorizationRequested,
    AuthorizedBy,
    PendingAuthorization,
)
from journal.projections.outbox import CallsDropped
from station.core.blocks.c_authorization_cache import renew_cache_entry
from station.core.blocks.c_id_token import (
    Refusal,
    find_evse_for,
    has_free_evse,
    local_refusal,
    make_claimant,
    may_start_before_accepted,
)
from station.core.blocks.c_local_authorization import (
    DecisionRow,
    LocalInfo,
    Source,
    find_local_info,
    select_row,
)
from station.core.blocks.h_kept_evses import Claimant, has_reservation
from station.core.context import Context

FIRST_CONNECTION_MS: Final = 3_000  # from the start; over a mobile network it takes 1 to 2 s
CONNECTING: Final = "connecting"  # reason of a request that waits for it


class ChargingRequest(NamedTuple):
    """An idToken that is to be authorized, and where."""

    id_token: IdToken
    evse_id: int | None
    remote_start_id: int | None = None
    group: IdToken | None = None

    def grant(
        self, authorized_by: AuthorizedBy, info: LocalInfo | None = None
    ) -> AuthorizationGranted:
        """Grant it, with the group and the EVSEs of the list or cache if one of them decided."""
        return grant_authorization(
            self.id_token,
            authorized_by,
            evse_id=self.evse_id,
            group=info.group_id_token if info else self.group,
            allowed_evse_ids=info.allowed_evse_ids if info else (),
            remote_start_id=self.remote_start_id,
        )

    def refuse(self, refusal: Refusal) -> AuthorizationRefused:
        return AuthorizationRefused(
            id_token=self.id_token,
            status=refusal.status,
            evse_id=self.evse_id,
            because=refusal.because,
        )


def decide_without_csms(
    ctx: Context, request: ChargingRequest, info: LocalInfo | None, because: str
) -> Iterator[Decision]:
    """Decide a request that the CSMS does not answer. C12, C13, C15.FR.08, H03.

    Args:
        info: what the list or the cache has of the idToken.
        because: why there is no answer, a code of NO_ANSWER_TEXTS.
    """
    if not may_start_before_accepted(ctx):
        yield request.refuse(Refusal("CSNotAccepted", "not_registered"))
        return
    if info is None and has_reservation(ctx, request.id_token, request.evse_id):
        yield request.grant("Reservation")  # the CSMS made it; asking again is optional: H03 S1
        return
    row = select_row(ctx, info, request.evse_id, can_ask=False)
    if row.decision == "grant":
        yield from grant_locally(ctx, request, info)
    else:
        yield request.refuse(refusal_of_row(row, info, request.evse_id, because))


def grant_locally(
    ctx: Context, request: ChargingRequest, info: LocalInfo | None
) -> Iterator[Decision]:
    """Grant by the list, by the cache, or as unknown while offline. C12.FR.02, C13, C14, C15."""
    if info is None:
        yield request.grant("OfflineUnknownId")
        return
    yield request.grant(info.source, info)
    if info.source == "Cache":
        yield from renew_cache_entry(ctx, request.id_token)


def refusal_of_row(
    row: DecisionRow, info: LocalInfo | None, evse_id: int | None, because: str = ""
) -> Refusal:
    """The refusal of a row; an idToken that is accepted may charge at another EVSE. C01.FR.21.

    Args:
        because: why there is no answer, a code of NO_ANSWER_TEXTS; empty: it was not to be asked.
    """
    if info is None:
        if row.decision == "refuse as Unknown":
            return Refusal("Unknown", "not_cached_online")
        return Refusal("Offline", f"{because}/not_cached")
    code = CODES[info.source]
    if row.decision == "refuse as Offline":
        return Refusal("Offline", f"{because}/{_NOT_USED_CODES[info.source]}")
    if info.is_accepted and not info.allows_evse(evse_id):
        return Refusal("NotAllowedTypeEVSE", "other_evses_only")
    return Refusal(info.status, f"{because}/{code}" if because else f"{code}_online")


CODES: Final[dict[Source, str]] = {"LocalList": "listed", "Cache": "cached"}
_NOT_USED_CODES: Final[dict[Source, str]] = {
    "LocalList": "list_not_used",
    "Cache": "cache_not_used",
}


def grant_authorization(
    id_token: IdToken,
    authorized_by: AuthorizedBy,
    *,
    evse_id: int | None,
    group: IdToken | None = None,
    allowed_evse_ids: tuple[int, ...] = (),
    remote_start_id: int | None = None,
) -> AuthorizationGranted:
    """The decision that makes an authorization active."""
    return AuthorizationGranted(
        id_token=id_token,
        authorized_by=authorized_by,
        evse_id=evse_id,
        group_id_token=group,
        allowed_evse_ids=allowed_evse_ids,
        remote_start_id=remote_start_id,
    )


def may_ask_soon(ctx: Context, request: ChargingRequest, info: LocalInfo | None) -> bool:
    """Whether a request waits for the first connection: without the CSMS it would be refused."""
    return (
        is_first_connection_expected(ctx)
        and may_start_before_accepted(ctx)
        and not (info is None and has_reservation(ctx, request.id_token, request.evse_id))
        and select_row(ctx, info, request.evse_id, can_ask=False).decision != "grant"
    )


def is_first_connection_expected(ctx: Context) -> bool:
    """Whether the CSMS may still answer the first BootNotification of this program in time."""
    link = ctx.state.link
    is_first = link.open_count == 0 or (link.open_count == 1 and link.online)
    return (
        is_first
        and link.failed_attempts == 0
        and ctx.state.registration.answered_seq == 0
        and not ctx.has_reached(_first_connection_due_ms(ctx))
    )


def _first_connection_due_ms(ctx: Context) -> int:
    return ctx.state.lifecycle.started_ms + FIRST_CONNECTION_MS


def end_wait_for_connection(ctx: Context) -> Iterator[Decision]:
    """Decide the requests that wait for the first connection, once it cannot come about in time."""
    if ctx.may_send_calls or is_first_connection_expected(ctx):
        return
    for pending in _waiting_for_connection(ctx):
        yield from resolve_offline(ctx, pending, "not_asked")
        yield CallsDropped((pending.call_seq,), "no connection in time", because="not_connected")


def next_wait_due_ms(ctx: Context) -> int | None:
    """Uptime at which requests stop waiting for the first connection; None: none waits."""
    if ctx.may_send_calls or not _waiting_for_connection(ctx):
        return None
    return _first_connection_due_ms(ctx)


def _waiting_for_connection(ctx: Context) -> list[PendingAuthorization]:
    return [
        pending
        for pending in ctx.state.authorizations.pending
        if pending.request.because == CONNECTING
    ]


def target_evse(ctx: Context, request: AuthorizationRequested, claimant: Claimant) -> int | None:
    """The EVSE of the request; if it has none, the reserved one, or one plugged in since."""
    return request.evse_id if request.evse_id is not None else find_evse_for(ctx, claimant)


def refusal_at_target(ctx: Context, claimant: Claimant, evse_id: int | None) -> Refusal | None:
    """Why a request that was pending can no longer be granted; None: it can."""
    refusal = local_refusal(ctx, claimant, evse_id)
    if refusal is None and evse_id is None and not has_free_evse(ctx, claimant):
        return Refusal("NoEvseFree", "no_evse_free")
    return refusal


def resolve_pending_offline(ctx: Context) -> Iterator[Decision]:
    """When the link closes, decide every pending request as when offline. C12, C15.

    Of several requests for the same EVSE the first is granted; the others can be made again.
    """
    if not isinstance(ctx.entry.event, LinkClosed):
        return
    granted_evse_ids: set[int | None] = set()
    for pending in ctx.state.authorizations.pending:
        evse_id = target_evse(ctx, pending.request, _claimant_of(ctx, pending))
        if evse_id in granted_evse_ids:
            yield AuthorizationRefused(
                id_token=pending.request.id_token,
                status="Offline",
                because="link_lost/other_request",
            )
            continue
        for decision in resolve_offline(ctx, pending, "link_lost"):
            if isinstance(decision, AuthorizationGranted):
                granted_evse_ids.add(evse_id)
            yield decision


def resolve_offline(
    ctx: Context, pending: PendingAuthorization, because: str
) -> Iterator[Decision]:
    """Decide a pending request that the CSMS did not answer, if its EVSE is still free.

    Args:
        because: why there is no answer, a code of NO_ANSWER_TEXTS.
    """
    request, claimant = pending.request, _claimant_of(ctx, pending)
    evse_id = target_evse(ctx, request, claimant)
    charging_request = ChargingRequest(request.id_token, evse_id, request.remote_start_id)
    refusal = (
        Refusal("Offline", f"{because}/stop_only")
        if request.stop_only
        else refusal_at_target(ctx, claimant, evse_id)
    )
    if refusal:
        yield charging_request.refuse(refusal)
        return
    yield from decide_without_csms(
        ctx, charging_request, find_local_info(ctx, request.id_token), because
    )


def _claimant_of(ctx: Context, pending: PendingAuthorization) -> Claimant:
    """The idToken of a request that the CSMS did not answer."""
    return make_claimant(ctx, pending.request.id_token)
