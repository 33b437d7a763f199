"""Who may charge where, and whom does the CSMS still have to judge?"""

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

AuthorizedBy = Literal["CSMS", "Cache", "OfflineUnknownId", "Remote", "NotNeeded"]


class AuthorizationRequested(Decision, frozen=True, kw_only=True):
    """The AuthorizeRequest queued by the next entry is about this. C01.FR.02."""

    id_token: IdToken
    evse_id: int | None = None
    stop_only: bool = False  # may it only end what another token began? C09.FR.05
    remote_start_id: int | None = None
    cacheable: bool = True


class AuthorizationGranted(Decision, frozen=True, kw_only=True):
    """The person may charge: here, or at the next EVSE that is plugged in."""

    id_token: IdToken
    authorized_by: AuthorizedBy
    evse_id: int | None = None
    group_id_token: IdToken | None = None
    remote_start_id: int | None = None
    allowed_evse_ids: tuple[int, ...] = ()  # where the CSMS allows it; empty: anywhere. C01.FR.21


class AuthorizationRefused(Decision, frozen=True, kw_only=True):
    """The person may not. Nothing follows but a word on the display."""

    id_token: IdToken
    status: str  # AuthorizationStatusEnumType, or what else stands in the way
    evse_id: int | None = None


class AuthorizationBoundToEvse(Decision, frozen=True):
    """A person who came first plugged in here."""

    authorization_seq: int
    evse_id: int


class AuthorizationSuspended(Decision, frozen=True):
    """The CSMS does not accept the token, but the transaction goes on without energy. E05.FR.02."""

    authorization_seq: int
    status: str


class AuthorizationLimited(Decision, frozen=True):
    """The same, but energy may flow until the meter's register says so. E05.FR.03."""

    authorization_seq: int
    status: str
    until_register_wh: Decimal


class AuthorizationEnded(Decision, frozen=True, kw_only=True):
    """The right to charge is over. What that ends, TxStopPoint says."""

    authorization_seq: int
    evse_id: int | None
    trigger_reason: str
    stopped_reason: str
    ended_by_id_token: IdToken | None = None  # who ended it. E07.FR.02


class PendingAuthorization(msgspec.Struct, frozen=True):
    """A question on its way to the CSMS; its CALL is the entry behind it."""

    call_seq: int
    request: AuthorizationRequested


class Authorization(msgspec.Struct, frozen=True):
    """A right to charge, known by the entry that granted it."""

    seq: int
    granted: AuthorizationGranted
    evse_id: int | None
    since_ms: int  # uptime of the grant, or of the start of the program if that came later
    bound_seq: int = 0  # entry since which it counts at this EVSE
    suspended: bool = False
    until_register_wh: Decimal | None = None  # register at which it is suspended

    @property
    def id_token(self) -> IdToken:
        return self.granted.id_token


class Authorizations(Projection, frozen=True):
    HANDLES = (
        AuthorizationRequested, AuthorizationGranted, AuthorizationBoundToEvse, AuthorizationSuspended,
        AuthorizationLimited, AuthorizationEnded, CallQueued, CallDelivered, CallsDropped,
        CallAttemptFailed, StationStarted,
    )  # fmt: skip

    pending: tuple[PendingAuthorization, ...] = ()
    active: tuple[Authorization, ...] = ()

    def apply(self, entry: Entry) -> Authorizations:
        match entry.event:
            case CallQueued(transaction_event=mark):
                return self._on_transaction_event(mark)
            case CallDelivered(call_seq=call) | CallAttemptFailed(call_seq=call):
                return self._without_pending((call,))
            case AuthorizationRequested() as question:
                return replace(
                    self, pending=(*self.pending, PendingAuthorization(entry.seq + 1, question))
                )
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
                return replace(self, active=tuple(one for one in self.active if one.seq != seq))
            case CallsDropped(call_seqs=calls):
                return self._without_pending(calls)
            case StationStarted():
                held = tuple(replace(one, since_ms=entry.uptime_ms) for one in self.active)
                return Authorizations(active=held)
            case _:
                return self

    def on_evse(self, evse_id: int) -> Authorization | None:
        """The right to charge that counts at this EVSE."""
        for one in self.active:
            if one.evse_id == evse_id:
                return one
        return None

    @property
    def unbound(self) -> tuple[Authorization, ...]:
        """People who came before their cable, longest waiting first."""
        return tuple(one for one in self.active if one.evse_id is None)

    def _update_by_seq(self, seq: int, **changes: object) -> Authorizations:
        return replace(
            self,
            active=tuple(replace(one, **changes) if one.seq == seq else one for one in self.active),
        )

    def _on_transaction_event(self, summary: TransactionEventSummary | None) -> Authorizations:
        """With the transaction ends the right to charge, here and wherever else it was held."""
        if summary is None or summary.event_type != "Ended":
            return self
        return replace(
            self,
            active=tuple(
                one
                for one in self.active
                if summary.evse_id != one.evse_id and summary.authorization_seq != one.seq
            ),
        )

    def _without_pending(self, call_seqs: tuple[int, ...]) -> Authorizations:
        asked = tuple(one for one in self.pending if one.call_seq not in call_seqs)
        return self if len(asked) == len(self.pending) else replace(self, pending=asked)
