"""Authorizations: who may charge at which EVSE, and which requests wait for the CSMS.

An IdToken is *pending* from its AuthorizeRequest to the answer. Once granted, the authorization is
*active*: bound to an EVSE, or *unbound* while the EV driver has not plugged in. It may be
*suspended* (the transaction continues without energy), at once or at a register of the meter. It
ends with a decision (`AuthorizationEnded`) or with its transaction.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry, IdToken
from journal.observations import StationStarted
from journal.projections.base import Projection
from journal.projections.outbox import (
    CallAttemptFailed,
    CallDelivered,
    CallQueued,
    CallsDropped,
    TransactionEventSummary,
)

AuthorizedBy = Literal[
    "CSMS", "Cache", "LocalList", "OfflineUnknownId", "Remote", "NotNeeded", "Reservation"
]


class AuthorizationRequested(Decision, frozen=True, kw_only=True):
    """An AuthorizeRequest is needed; the next entry queues it. C01.FR.02."""

    VERSION = 2

    id_token: IdToken
    evse_id: int | None = None
    stop_only: bool = False  # only to end a transaction that another token started. C09.FR.05
    remote_start_id: int | None = None
    cacheable: bool = True  # whether the answer may go into the cache
    because: str = ""  # code of the reason; empty: its release recorded none


class AuthorizationGranted(Decision, frozen=True, kw_only=True):
    """The EV driver may charge: at `evse_id`, or at the next EVSE that is plugged in."""

    VERSION = 2

    id_token: IdToken
    authorized_by: AuthorizedBy
    evse_id: int | None = None
    group_id_token: IdToken | None = None
    remote_start_id: int | None = None
    allowed_evse_ids: tuple[int, ...] = ()  # by the CSMS; empty: any EVSE. C01.FR.21


class AuthorizationRefused(Decision, frozen=True, kw_only=True):
    """The EV driver may not charge. The display shows it; nothing else follows."""

    VERSION = 2

    id_token: IdToken
    status: str  # AuthorizationStatusEnumType, or another reason
    evse_id: int | None = None
    because: str = ""  # code of the reason; empty: its release recorded none


class AuthorizationBoundToEvse(Decision, frozen=True):
    """An EV driver who was authorized before plugging in has plugged in here."""

    authorization_seq: int  # entry that granted the authorization
    evse_id: int


class AuthorizationSuspended(Decision, frozen=True):
    """The CSMS refused the token; the transaction continues without energy. E05.FR.02."""

    authorization_seq: int
    status: str


class AuthorizationLimited(Decision, frozen=True):
    """The CSMS refused the token; energy may flow up to a register of the meter. E05.FR.03."""

    authorization_seq: int
    status: str
    until_register_wh: Decimal


class AuthorizationEnded(Decision, frozen=True, kw_only=True):
    """The authorization ended. TxStopPoint decides whether that ends the transaction."""

    VERSION = 2

    authorization_seq: int
    evse_id: int | None
    trigger_reason: str
    stopped_reason: str
    ended_by_id_token: IdToken | None = None  # the token that ended it, if any. E07.FR.02
    because: str = ""  # code of the reason; empty: its release recorded none


class PendingAuthorization(msgspec.Struct, frozen=True):
    """An AuthorizeRequest without an answer; its CALL is the next entry."""

    call_seq: int
    request: AuthorizationRequested


class Authorization(msgspec.Struct, frozen=True):
    """An active authorization, identified by the entry that granted it."""

    seq: int
    granted: AuthorizationGranted
    evse_id: int | None
    since_ms: int  # uptime of the grant, or of the program's start if that was later
    bound_seq: int = 0  # entry that bound it to its EVSE; 0: unbound
    suspended: bool = False
    until_register_wh: Decimal | None = None  # register at which it is suspended

    @property
    def id_token(self) -> IdToken:
        return self.granted.id_token


class Authorizations(Projection, frozen=True):
    HANDLES = (
        AuthorizationRequested, AuthorizationGranted, AuthorizationBoundToEvse,
        AuthorizationSuspended, AuthorizationLimited, AuthorizationEnded, CallQueued,
        CallDelivered, CallsDropped, CallAttemptFailed, StationStarted,
    )  # fmt: skip

    pending: tuple[PendingAuthorization, ...] = ()
    active: tuple[Authorization, ...] = ()

    def apply(self, entry: Entry) -> Authorizations:
        match entry.event:
            case CallQueued(transaction_event=summary):
                return self._on_transaction_event(summary)
            case CallDelivered(call_seq=call) | CallAttemptFailed(call_seq=call):
                return self._without_pending((call,))
            case AuthorizationRequested() as request:
                pending = PendingAuthorization(entry.seq + 1, request)
                return replace(self, pending=(*self.pending, pending))
            case AuthorizationGranted(evse_id=evse_id) as granted:
                bound = entry.seq if evse_id is not None else 0
                new = Authorization(entry.seq, granted, evse_id, entry.uptime_ms, bound)
                return replace(self, active=(*self.active, new))
            case AuthorizationBoundToEvse(authorization_seq=seq, evse_id=evse_id):
                return self._update_by_seq(seq, evse_id=evse_id, bound_seq=entry.seq)
            case AuthorizationLimited(authorization_seq=seq, until_register_wh=until_wh):
                return self._update_by_seq(seq, until_register_wh=until_wh)
            case AuthorizationSuspended(authorization_seq=seq):
                return self._update_by_seq(seq, suspended=True)
            case AuthorizationEnded(authorization_seq=seq):
                left = tuple(active for active in self.active if active.seq != seq)
                return replace(self, active=left)
            case CallsDropped(call_seqs=calls):
                return self._without_pending(calls)
            case StationStarted():
                since_ms = entry.uptime_ms
                active = tuple(replace(each, since_ms=since_ms) for each in self.active)
                return Authorizations(active=active)
            case _:
                return self

    def on_evse(self, evse_id: int) -> Authorization | None:
        """The active authorization bound to this EVSE."""
        for authorization in self.active:
            if authorization.evse_id == evse_id:
                return authorization
        return None

    @property
    def unbound(self) -> tuple[Authorization, ...]:
        """Authorizations of EV drivers who have not plugged in, the oldest first."""
        return tuple(each for each in self.active if each.evse_id is None)

    def _update_by_seq(self, seq: int, **changes: object) -> Authorizations:
        return replace(
            self,
            active=tuple(
                replace(each, **changes) if each.seq == seq else each for each in self.active
            ),
        )

    def _on_transaction_event(self, summary: TransactionEventSummary | None) -> Authorizations:
        """The end of a transaction ends its authorization, and any other on its EVSE."""
        if summary is None or summary.event_type != "Ended":
            return self
        return replace(
            self,
            active=tuple(
                each
                for each in self.active
                if summary.evse_id != each.evse_id and summary.authorization_seq != each.seq
            ),
        )

    def _without_pending(self, call_seqs: tuple[int, ...]) -> Authorizations:
        left = tuple(each for each in self.pending if each.call_seq not in call_seqs)
        return self if len(left) == len(self.pending) else replace(self, pending=left)
