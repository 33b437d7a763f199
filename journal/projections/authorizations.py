"""Who may charge where, and whom does the CSMS still have to judge?"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec
from msgspec.structs import replace

from journal.observations import StationStarted
from journal.projections.base import Projection
from journal.projections.outbox import (
    AttemptFailed,
    CallDelivered,
    CallQueued,
    CallsDropped,
    TransactionMark,
)
from journal.terms import Decision, Entry, IdToken

How = Literal["CSMS", "Cache", "Offline", "Remote", "NotNeeded"]


class AuthorizationAsked(Decision, frozen=True, kw_only=True):
    """The AuthorizeRequest queued by the next entry is about this. C01.FR.02."""

    id_token: IdToken
    evse_id: int | None = None
    stopping: bool = False  # may it only end what another token began? C09.FR.05
    remote_start_id: int | None = None
    lasting: bool = True


class AuthorizationGranted(Decision, frozen=True, kw_only=True):
    """The person may charge: here, or at the next EVSE that is plugged in."""

    id_token: IdToken
    how: How
    evse_id: int | None = None
    group: IdToken | None = None
    remote_start_id: int | None = None
    evse_ids: tuple[int, ...] = ()  # where the CSMS allows it; empty: anywhere. C01.FR.21


class AuthorizationRefused(Decision, frozen=True, kw_only=True):
    """The person may not. Nothing follows but a word on the display."""

    id_token: IdToken
    status: str  # AuthorizationStatusEnumType, or what else stands in the way
    evse_id: int | None = None


class AuthorizationBound(Decision, frozen=True):
    """A person who came first plugged in here."""

    granted_seq: int
    evse_id: int


class AuthorizationSuspended(Decision, frozen=True):
    """The CSMS does not accept the token, but the transaction goes on without energy. E05.FR.02."""

    granted_seq: int
    status: str


class AuthorizationLimited(Decision, frozen=True):
    """The same, but energy may flow until the meter's register says so. E05.FR.03."""

    granted_seq: int
    status: str
    until_wh: Decimal


class AuthorizationEnded(Decision, frozen=True, kw_only=True):
    """The right to charge is over. What that ends, TxStopPoint says."""

    granted_seq: int
    evse_id: int | None
    trigger_reason: str
    stopped_reason: str
    id_token: IdToken | None = None  # who ended it. E07.FR.02


class Asked(msgspec.Struct, frozen=True):
    """A question on its way to the CSMS; its CALL is the entry behind it."""

    call: int
    question: AuthorizationAsked


class Authorization(msgspec.Struct, frozen=True):
    """A right to charge, known by the entry that granted it."""

    seq: int
    granted: AuthorizationGranted
    evse_id: int | None
    since_ms: int  # uptime of the grant, or of the start of the program if that came later
    bound_seq: int = 0  # entry since which it counts at this EVSE
    suspended: bool = False
    until_wh: Decimal | None = None  # register at which it is suspended

    @property
    def id_token(self) -> IdToken:
        return self.granted.id_token


class Authorizations(Projection, frozen=True):
    HEARS = (
        AuthorizationAsked, AuthorizationGranted, AuthorizationBound, AuthorizationSuspended,
        AuthorizationLimited, AuthorizationEnded, CallQueued, CallDelivered, CallsDropped,
        AttemptFailed, StationStarted,
    )  # fmt: skip

    asked: tuple[Asked, ...] = ()
    held: tuple[Authorization, ...] = ()

    def after(self, entry: Entry) -> Authorizations:
        match entry.event:
            case CallQueued(transaction=mark):
                return self._told(mark)
            case CallDelivered(call=call) | AttemptFailed(call=call):
                return self._answered((call,))
            case AuthorizationAsked() as question:
                return replace(self, asked=(*self.asked, Asked(entry.seq + 1, question)))
            case AuthorizationGranted(evse_id=evse_id) as granted:
                bound = entry.seq if evse_id is not None else 0
                new = Authorization(entry.seq, granted, evse_id, entry.uptime_ms, bound)
                return replace(self, held=(*self.held, new))
            case AuthorizationBound(granted_seq=seq, evse_id=evse_id):
                return self._changed(seq, evse_id=evse_id, bound_seq=entry.seq)
            case AuthorizationLimited(granted_seq=seq, until_wh=until_wh):
                return self._changed(seq, until_wh=until_wh)
            case AuthorizationSuspended(granted_seq=seq):
                return self._changed(seq, suspended=True)
            case AuthorizationEnded(granted_seq=seq):
                return replace(self, held=tuple(one for one in self.held if one.seq != seq))
            case CallsDropped(calls=calls):
                return self._answered(calls)
            case StationStarted():
                held = tuple(replace(one, since_ms=entry.uptime_ms) for one in self.held)
                return Authorizations(held=held)
            case _:
                return self

    def at(self, evse_id: int) -> Authorization | None:
        """The right to charge that counts at this EVSE."""
        for one in self.held:
            if one.evse_id == evse_id:
                return one
        return None

    @property
    def unbound(self) -> tuple[Authorization, ...]:
        """People who came before their cable, longest waiting first."""
        return tuple(one for one in self.held if one.evse_id is None)

    def _changed(self, seq: int, **changes: object) -> Authorizations:
        return replace(
            self,
            held=tuple(replace(one, **changes) if one.seq == seq else one for one in self.held),
        )

    def _told(self, mark: TransactionMark | None) -> Authorizations:
        """With the transaction ends the right to charge, here and wherever else it was held."""
        if mark is None or mark.event_type != "Ended":
            return self
        return replace(
            self,
            held=tuple(
                one
                for one in self.held
                if mark.evse_id != one.evse_id and mark.granted_seq != one.seq
            ),
        )

    def _answered(self, calls: tuple[int, ...]) -> Authorizations:
        asked = tuple(one for one in self.asked if one.call not in calls)
        return self if len(asked) == len(self.asked) else replace(self, asked=asked)
