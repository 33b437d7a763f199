"""Who may charge, and which EVSE does a card mean? (Block C)

One reader serves both EVSEs and nobody has to choose one first (AQ-8). A card means, in this order:

1. the EVSE it is said to mean (an operator, a remote start, a tester);
2. the EVSE where this very token may charge: it ends that;
3. the EVSE that was plugged in last and still waits for somebody;
4. the EVSE where a token of the same group may charge: it ends that;
5. the next EVSE that is plugged in, within EVConnectionTimeOut.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final, Protocol

from journal.observations import IdTokenPresented, LinkClosed, StationStarted
from journal.projections.auth_cache import (
    CacheCleared,
    Cached,
    CacheExpired,
    CacheUpdated,
    CacheUsed,
)
from journal.projections.authorizations import (
    Asked,
    Authorization,
    AuthorizationAsked,
    AuthorizationBound,
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    How,
)
from journal.projections.outbox import CallQueued
from journal.terms import Decision, Event, IdToken
from station.blocks.standing import in_service
from station.case import Call, Case, Handler, Rule, answer, raw, reason, token_of, token_type
from station.messages import parse_timestamp, timestamp
from station.messages.c_authorization import (
    AuthorizeRequest,
    AuthorizeResponse,
    ClearCacheRequest,
    ClearCacheResponse,
)
from station.messages.datatypes import IdTokenInfoType

CACHE_MAX: Final = 1_000  # tokens; about 200 bytes each in memory and in a snapshot
UNCACHED: Final = frozenset({"Central", "NoAuthorization"})  # C03.FR.02, C05.FR.02
NOBODY: Final = IdToken(ref="", type="NoAuthorization")

ENABLED: Final = "AuthCtrlr.Enabled"
CACHE_ENABLED: Final = "AuthCacheCtrlr.Enabled"
LIFE_TIME: Final = "AuthCacheCtrlr.LifeTime"
OFFLINE: Final = "AuthCtrlr.LocalAuthorizeOffline"
PRE_AUTHORIZE: Final = "AuthCtrlr.LocalPreAuthorize"
UNKNOWN_OFFLINE: Final = "AuthCtrlr.OfflineTxForUnknownIdEnabled"
NOT_REMOTE: Final = "AuthCtrlr.DisableRemoteAuthorization"
NOT_AGAIN: Final = "AuthCacheCtrlr.DisablePostAuthorize"
BEFORE_ACCEPTED: Final = "TxCtrlr.TxBeforeAcceptedEnabled"
CONNECTION_TIMEOUT: Final = "TxCtrlr.EVConnectionTimeOut"
MASTER_PASS: Final = "AuthCtrlr.MasterPassGroupId"


# --- A token is presented ------------------------------------------------------------------------


def presented(case: Case) -> Iterator[Decision]:
    """Someone held a card to the reader. C01, C09, C10, C12, C15, E07."""
    seen = case.entry.event
    assert isinstance(seen, IdTokenPresented)
    held = _own(case, seen)
    if held:
        yield ended_by(held, seen.id_token)  # C01.FR.03 (a), E07.FR.01
        return
    evse_id = seen.evse_id or waiting_evse(case)
    if evse_id is None or case.state.authorizations.at(evse_id):
        group = _group_of(case, seen.id_token)
        for other in _others(case, seen):
            if group is not None and _group_at(case, other) == group:
                yield ended_by(other, seen.id_token)  # C01.FR.03 (b), C09.FR.07
                return
    taken = evse_id is not None and case.state.authorizations.at(evse_id) is not None
    if taken or (evse_id is None and not _room(case)):
        yield from _asked_to_stop(case, seen)
        return
    yield from wish(case, seen.id_token, evse_id=evse_id, lasting=seen.lasting)


def ended_by(held: Authorization, id_token: IdToken) -> AuthorizationEnded:
    """A token ended what it, or one of its group, began. E07.FR.02."""
    return AuthorizationEnded(
        granted_seq=held.seq,
        evse_id=held.evse_id,
        trigger_reason="StopAuthorized",
        stopped_reason="Local",
        id_token=id_token,
    )


def _own(case: Case, seen: IdTokenPresented) -> Authorization | None:
    """What this very token began; an EVSE that is meant narrows it down."""
    for held in case.state.authorizations.held:
        if held.id_token == seen.id_token and seen.evse_id in (None, held.evse_id):
            return held
    return None


def _others(case: Case, seen: IdTokenPresented) -> Iterator[Authorization]:
    for held in case.state.authorizations.held:
        if held.evse_id is not None and seen.evse_id in (None, held.evse_id):
            yield held


def _group_of(case: Case, id_token: IdToken) -> IdToken | None:
    """The group of a token that is cached as valid. C09.FR.11: another status stops nothing."""
    known = cached(case, id_token)
    return known.group if known and known.status == "Accepted" else None


def _group_at(case: Case, held: Authorization) -> IdToken | None:
    """The group of who may charge; some are told only with the transaction. C09.FR.12."""
    told = (one.group for one in case.state.transactions.open if one.granted_seq == held.seq)
    return held.granted.group or next(told, None)


def waiting_evse(case: Case) -> int | None:
    """The EVSE plugged in last that nobody has claimed."""
    waiting = [
        (evse.plugged_seq, evse.evse_id)
        for evse in case.state.hardware.evses
        if evse.plugged
        and case.state.authorizations.at(evse.evse_id) is None
        and in_service(case, evse.evse_id)
        and not _claimed(case, evse.evse_id)
    ]
    return max(waiting)[1] if waiting else None


def _claimed(case: Case, evse_id: int) -> bool:
    """Whether an open transaction belongs to somebody whose right ended. C01.FR.23."""
    transaction = case.state.transactions.at(evse_id)
    return transaction is not None and transaction.stopping is not None


def _room(case: Case) -> bool:
    """Whether an EVSE is left for one more person who comes before the cable."""
    free = [
        evse.evse_id
        for evse in case.state.hardware.evses
        if not evse.plugged
        and case.state.authorizations.at(evse.evse_id) is None
        and in_service(case, evse.evse_id)
    ]
    return len(free) > len(case.state.authorizations.unbound)


def _asked_to_stop(case: Case, seen: IdTokenPresented) -> Iterator[Decision]:
    """Where it could start, somebody charges: the token can only mean to stop. C09.FR.05."""
    running = [held for held in _others(case, seen) if _group_at(case, held) is not None]
    if not running or not case.may_speak:
        yield AuthorizationRefused(id_token=seen.id_token, status="NoEvseFree")
        return
    yield from _ask(case, seen.id_token, evse_id=seen.evse_id, stopping=True, lasting=seen.lasting)


class Granting(Protocol):
    """A grant to whoever is being judged, by that means."""

    def __call__(self, how: How, known: Cached | None = None) -> AuthorizationGranted: ...


# --- Judging a wish ------------------------------------------------------------------------------


def wish(
    case: Case,
    id_token: IdToken,
    *,
    evse_id: int | None,
    remote_start_id: int | None = None,
    group: IdToken | None = None,
    lasting: bool = True,
) -> Iterator[Decision]:
    """Somebody wants to charge: grant it, refuse it, or ask the CSMS."""
    refusal = _unfit(case, id_token, evse_id)
    if refusal:
        yield AuthorizationRefused(id_token=id_token, status=refusal, evse_id=evse_id)
        return

    def granted(how: How, known: Cached | None = None) -> AuthorizationGranted:
        return grant(
            case,
            id_token,
            how,
            evse_id=evse_id,
            group=known.group if known else group,
            evse_ids=known.evse_ids if known else (),
            remote_start_id=remote_start_id,
        )

    if not case.flag(ENABLED, absent=True):
        yield granted("NotNeeded")
        return
    known = cached(case, id_token)
    if not case.may_speak:
        yield from _judged_offline(case, id_token, evse_id, known, granted)
        return
    accepted = known and known.status == "Accepted"
    locally = case.flag(PRE_AUTHORIZE) or case.flag(NOT_REMOTE)
    if known and accepted and locally and _allowed(known, evse_id):
        yield granted("Cache", known)  # C12.FR.02, C12.FR.04
        yield from _used(case, id_token)
        return
    if case.flag(NOT_REMOTE) or (known and not accepted and case.flag(NOT_AGAIN)):
        status = _against(known) if known else "Unknown"
        yield AuthorizationRefused(id_token=id_token, status=status, evse_id=evse_id)
        return
    yield from _ask(
        case, id_token, evse_id=evse_id, remote_start_id=remote_start_id, lasting=lasting
    )  # C01.FR.02, C10.FR.03, C12.FR.05


def _judged_offline(
    case: Case,
    id_token: IdToken,
    evse_id: int | None,
    known: Cached | None,
    granted: Granting,
) -> Iterator[Decision]:
    """Nobody to ask: the cache, or OfflineTxForUnknownIdEnabled, decides. C12, C15.FR.08."""
    if not _may_begin_unheard(case):
        yield AuthorizationRefused(id_token=id_token, status="CSNotAccepted", evse_id=evse_id)
    elif known and case.flag(OFFLINE):
        if known.status == "Accepted" and _allowed(known, evse_id):
            yield granted("Cache", known)
            yield from _used(case, id_token)
        else:
            yield AuthorizationRefused(id_token=id_token, status=_against(known), evse_id=evse_id)
    elif known is None and case.flag(UNKNOWN_OFFLINE):
        yield granted("Offline")
    else:
        yield AuthorizationRefused(id_token=id_token, status="Offline", evse_id=evse_id)


def _may_begin_unheard(case: Case) -> bool:
    """Before the CSMS accepted us, only TxBeforeAcceptedEnabled lets anybody begin. B03.FR.01.

    Accepted in the past counts where there is no link: an offline station is not an unknown one.
    """
    if case.state.registration.accepted or case.flag(BEFORE_ACCEPTED):
        return True
    unanswered = case.state.registration.status == "Unknown"
    return unanswered and case.state.registration.ever_accepted


def _unfit(case: Case, id_token: IdToken, evse_id: int | None) -> str | None:
    """Why nobody, or not this token, may begin here, whatever the CSMS would say."""
    if evse_id is not None:
        if evse_id not in case.state.lifecycle.evse_ids:
            return "UnknownEvse"
        if not in_service(case, evse_id):
            return "NotAtThisTime"
        if case.state.authorizations.at(evse_id):
            return "ConcurrentTx"
        open_one = case.state.transactions.at(evse_id)
        if open_one and open_one.id_token not in (None, id_token):
            return "NotAtThisTime"  # C01.FR.23
    known = cached(case, id_token)
    master = case.text(MASTER_PASS)
    if master and known and known.group and known.group.ref == master:
        return "Invalid"  # C12.FR.09: a master pass starts nothing
    return None


def _allowed(known: Cached, evse_id: int | None) -> bool:
    """C01.FR.21: only on the EVSEs the CSMS named, if it named any."""
    return not known.evse_ids or evse_id is None or evse_id in known.evse_ids


def _against(known: Cached) -> str:
    """What the cache holds against a token: an accepted one may charge elsewhere. C01.FR.21."""
    return "NotAllowedTypeEVSE" if known.status == "Accepted" else known.status


def grant(
    case: Case,
    id_token: IdToken,
    how: How,
    *,
    evse_id: int | None,
    group: IdToken | None = None,
    evse_ids: tuple[int, ...] = (),
    remote_start_id: int | None = None,
) -> AuthorizationGranted:
    """The right to charge."""
    return AuthorizationGranted(
        id_token=id_token,
        how=how,
        evse_id=evse_id,
        group=group,
        evse_ids=evse_ids,
        remote_start_id=remote_start_id,
    )


# --- Asking the CSMS -----------------------------------------------------------------------------


def _ask(
    case: Case,
    id_token: IdToken,
    *,
    evse_id: int | None,
    remote_start_id: int | None = None,
    stopping: bool = False,
    lasting: bool = True,
) -> Iterator[Decision]:
    """Queue an AuthorizeRequest, unless the same question is on its way. C01.FR.02."""
    for asked in case.state.authorizations.asked:
        if asked.question.id_token == id_token and asked.question.evse_id == evse_id:
            return
    yield AuthorizationAsked(
        id_token=id_token,
        evse_id=evse_id,
        stopping=stopping,
        remote_start_id=remote_start_id,
        lasting=lasting,
    )
    request = AuthorizeRequest(id_token=token_type(id_token))
    yield CallQueued(lane="rest", action="Authorize", payload=raw(request))


def authorize_answered(
    case: Case, call: int, response: AuthorizeResponse | None
) -> Iterator[Decision]:
    """The CSMS judged a token. C01.FR.07, C09.FR.03, C10.FR.04."""
    asked = next((one for one in case.state.authorizations.asked if one.call == call), None)
    if asked is None:
        return
    if response is None:
        yield from _unanswered(case, asked)
        return
    question, info = asked.question, response.id_token_info
    yield from remembered(case, question.id_token, info, lasting=question.lasting)
    group = token_of(info.group_id_token) if info.group_id_token else None
    accepted = info.status == "Accepted"
    for held in case.state.authorizations.held:
        same = group is not None and _group_at(case, held) == group and held.evse_id is not None
        if accepted and same and question.evse_id in (None, held.evse_id):
            yield ended_by(held, question.id_token)  # C09.FR.03, C09.FR.11
            return
    if question.stopping or not accepted:
        status = "NoEvseFree" if accepted else info.status
        yield AuthorizationRefused(
            id_token=question.id_token, status=status, evse_id=question.evse_id
        )
        return
    yield from _granted_by_csms(case, question, info, group)


def _granted_by_csms(
    case: Case, question: AuthorizationAsked, info: IdTokenInfoType, group: IdToken | None
) -> Iterator[Decision]:
    """Accepted; but meanwhile the EVSE may be taken, or the CSMS allows only others. C01.FR.21."""
    evse_ids = info.evse_id or ()
    evse_id = _place(case, question)
    refusal = _no_place(case, question, evse_id)
    if refusal is None and evse_ids and evse_id is not None and evse_id not in evse_ids:
        refusal = "NotAllowedTypeEVSE"
    if refusal:
        yield AuthorizationRefused(id_token=question.id_token, status=refusal, evse_id=evse_id)
        return
    yield grant(
        case,
        question.id_token,
        "CSMS",
        evse_id=evse_id,
        group=group,
        evse_ids=evse_ids,
        remote_start_id=question.remote_start_id,
    )


def _place(case: Case, question: AuthorizationAsked) -> int | None:
    """The EVSE that was meant; who meant none may have plugged in meanwhile."""
    return question.evse_id if question.evse_id is not None else waiting_evse(case)


def _no_place(case: Case, question: AuthorizationAsked, evse_id: int | None) -> str | None:
    """Why the person may not begin there any more."""
    refusal = _unfit(case, question.id_token, evse_id)
    if refusal is None and evse_id is None and not _room(case):
        return "NoEvseFree"
    return refusal


def unanswered(case: Case) -> Iterator[Decision]:
    """The link broke with questions open: judge as one does offline. C12, C15.

    Of several who asked for the same place the first gets it; the others may show their card again.
    """
    if not isinstance(case.entry.event, LinkClosed):
        return
    given: set[int | None] = set()
    for asked in case.state.authorizations.asked:
        place = _place(case, asked.question)
        if place in given:
            yield AuthorizationRefused(id_token=asked.question.id_token, status="Offline")
            continue
        for decision in _unanswered(case, asked):
            if isinstance(decision, AuthorizationGranted):
                given.add(place)
            yield decision


def _unanswered(case: Case, asked: Asked) -> Iterator[Decision]:
    """Nobody judged: the cache and the settings do, if there still is a place."""
    question, evse_id = asked.question, _place(case, asked.question)
    known = cached(case, question.id_token)

    def granted(how: How, known: Cached | None = None) -> AuthorizationGranted:
        return grant(
            case,
            question.id_token,
            how,
            evse_id=evse_id,
            group=known.group if known else None,
            evse_ids=known.evse_ids if known else (),
            remote_start_id=question.remote_start_id,
        )

    refusal = "Offline" if question.stopping else _no_place(case, question, evse_id)
    if refusal:
        yield AuthorizationRefused(id_token=question.id_token, status=refusal, evse_id=evse_id)
        return
    yield from _judged_offline(case, question.id_token, evse_id, known, granted)


# --- The right to charge and the cable -----------------------------------------------------------


def binds(case: Case) -> Iterator[Decision]:
    """Whoever waits longest gets the EVSE that is plugged in. AQ-8."""
    free = [
        evse
        for evse in case.state.hardware.evses
        if evse.plugged
        and case.state.authorizations.at(evse.evse_id) is None
        and case.state.transactions.at(evse.evse_id) is None
        and in_service(case, evse.evse_id)
        and evse.plugged_seq > case.state.transactions.last_end(evse.evse_id)
    ]
    for held in case.state.authorizations.unbound:
        for evse in free:
            if evse.plugged_seq > held.seq and _at(held, evse.evse_id):
                yield AuthorizationBound(held.seq, evse.evse_id)
                free.remove(evse)
                break


def _at(held: Authorization, evse_id: int) -> bool:
    return not held.granted.evse_ids or evse_id in held.granted.evse_ids


def welcomes(case: Case) -> Iterator[Decision]:
    """Where no authorization is needed, a cable is enough. C01.FR.01, C06."""
    if case.flag(ENABLED, absent=True) or not _may_begin_unheard(case):
        return
    for evse in case.state.hardware.evses:
        if (
            evse.plugged
            and in_service(case, evse.evse_id)
            and case.state.authorizations.at(evse.evse_id) is None
            and case.state.transactions.at(evse.evse_id) is None
            and evse.plugged_seq > case.state.transactions.last_end(evse.evse_id)
        ):
            yield grant(case, NOBODY, "NotNeeded", evse_id=evse.evse_id)


def expires(case: Case) -> Iterator[Decision]:
    """Nobody plugged in within EVConnectionTimeOut: the right is gone. E03.FR.05, F02.FR.07.

    Nor does a right that no transaction carries outlive the program: who knows who comes next.
    """
    started = isinstance(case.entry.event, StationStarted)
    carried = {transaction.granted_seq for transaction in case.state.transactions.open}
    for held in case.state.authorizations.held:
        due = due_ms(case, held)
        if (started and held.seq not in carried) or (due is not None and case.uptime_ms >= due):
            yield AuthorizationEnded(
                granted_seq=held.seq,
                evse_id=held.evse_id,
                trigger_reason="EVConnectTimeout",
                stopped_reason="Timeout",
            )


def due_ms(case: Case, held: Authorization) -> int | None:
    """Uptime by which a cable must come, or come back. E03.FR.05, E10.FR.02.

    None while there is one, or nobody has said yet since the start of the program.
    """
    timeout_ms = case.integer(CONNECTION_TIMEOUT) * 1000
    if not timeout_ms:
        return None
    if held.evse_id is None:
        return held.since_ms + timeout_ms
    evse = case.state.hardware.at(held.evse_id)
    if evse.plugged or not evse.known:
        return None
    return max(held.since_ms, evse.plugged_ms) + timeout_ms


# --- The cache -----------------------------------------------------------------------------------


def cached(case: Case, id_token: IdToken) -> Cached | None:
    """What the cache holds of a token, if there is a cache and the entry still counts."""
    if not case.flag(CACHE_ENABLED):
        return None
    return case.state.auth_cache.of(id_token, case.now)


def remembered(
    case: Case, id_token: IdToken, info: IdTokenInfoType, *, lasting: bool = True
) -> Iterator[Decision]:
    """Keep what the CSMS said of a token. C10.FR.01, C10.FR.04, C10.FR.05, C12.FR.06."""
    if not case.flag(CACHE_ENABLED) or id_token.type in UNCACHED or not lasting:
        return
    until: str | None
    if info.cache_expiry_date_time:
        until = timestamp(parse_timestamp(info.cache_expiry_date_time))  # C10.FR.13
    else:
        until = _life_end(case)  # C10.FR.08
    yield CacheUpdated(
        id_token=id_token,
        status=info.status,
        group=token_of(info.group_id_token) if info.group_id_token else None,
        until=until,
        evse_ids=tuple(info.evse_id or ()),
        evicted=_evicted(case, id_token),
    )


def _life_end(case: Case) -> str | None:
    life_s = case.integer(LIFE_TIME)
    if not life_s:
        return None
    try:
        return timestamp(case.now + timedelta(seconds=life_s))
    except OverflowError:  # a clock near the year 9999
        return None


def _evicted(case: Case, id_token: IdToken) -> tuple[str, ...]:
    """Who makes room in a full cache: what is not Accepted first, then the oldest. C10.FR.07."""
    entries = case.state.auth_cache.entries
    if id_token.ref in entries or len(entries) < CACHE_MAX:
        return ()
    ref, _ = min(entries.items(), key=lambda item: (item[1].status == "Accepted", item[1].seq))
    return (ref,)


def _used(case: Case, id_token: IdToken) -> Iterator[Decision]:
    until = _life_end(case)
    if until is not None:
        yield CacheUsed(id_token.ref, until)


def cache_expires(case: Case) -> Iterator[Decision]:
    """Forget an entry whose time is over when its token is next seen. C10.FR.10."""
    if isinstance(case.entry.event, IdTokenPresented):
        ref = case.entry.event.id_token.ref
        known = case.state.auth_cache.entries.get(ref)
        if known and case.state.auth_cache.of(case.entry.event.id_token, case.now) is None:
            yield CacheExpired(ref)


def clear_cache(case: Case, call: Call, request: ClearCacheRequest) -> Iterator[Decision]:
    """Forget everybody. C11.FR.01 to 05."""
    if not case.flag(CACHE_ENABLED):
        yield answer(call, ClearCacheResponse(status="Rejected", status_info=reason("NotEnabled")))
        return
    yield CacheCleared()
    yield answer(call, ClearCacheResponse(status="Accepted"))


CALLS: dict[str, Handler] = {"ClearCache": clear_cache}
OBSERVED: Final[dict[type[Event], Rule]] = {IdTokenPresented: presented}
