"""Reservations that the CSMS has made, and those that an EV driver is using. Block H.

A reservation is *open* from `ReservationMade` until it is used or ended; it stays open over
restarts (B01.FR.13). A used one is kept until a TransactionEvent has carried its id, so that it is
reported once (H01.FR.15). One that ended by itself is *unreported* until its
ReservationStatusUpdate is queued (H04.FR.01). Which EVSEs are kept for open reservations follows
from their state: `station/core/blocks/h_kept_evses.py`.

A reservation ends when the wall clock reaches `expires_at`. While the clock is not synchronized
`remaining_ms` of uptime count instead: the time that was left when the reservation was made,
without the time that the program has been running since.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry, IdToken
from journal.observations import StationStarted
from journal.projections.authorizations import AuthorizationEnded
from journal.projections.base import Projection
from journal.projections.outbox import CallQueued, TransactionEventSummary

STATUS_UPDATE_ACTION: Final = "ReservationStatusUpdate"
RESERVATION_REPORTED: Final = "reservation_id"  # in `TransactionEventSummary.includes`
# Ends that are not reported: the CSMS has ordered them.
UNREPORTED_ENDS: Final = frozenset({"cancelled"})


class ReservationMade(Decision, frozen=True, kw_only=True):
    """The CSMS made a reservation; it replaces one with the same id. H01.FR.02 to 06, H01.FR.23."""

    reservation_id: int
    id_token: IdToken
    group_id_token: IdToken | None = None
    evse_id: int = 0  # 0: the request named none
    connector_type: str = ""  # ConnectorEnumType; empty: any
    expires_at: str  # RFC 3339, UTC, milliseconds
    remaining_ms: int  # from this entry to `expires_at`


class ReservationUsed(Decision, frozen=True):
    """An authorized idToken matches the reservation, which is thereby used up. H03.FR.09."""

    reservation_id: int
    authorization_seq: int  # entry that granted the authorization
    because: str = ""  # code of the reason


class ReservationEnded(Decision, frozen=True):
    """The reservation ended without being used. H01.FR.16, H01.FR.17, H02.FR.02, H04."""

    reservation_id: int
    evse_id: int  # that can no longer be kept; 0: the reason concerns no particular EVSE
    because: str = ""  # code of the reason


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """An open reservation."""

    seq: int  # entry that made it
    reservation_id: int
    id_token: IdToken
    group_id_token: IdToken | None
    evse_id: int  # 0: none was named
    connector_type: str  # empty: any
    expires_at: str
    remaining_ms: int  # counts from `since_ms`
    since_ms: int  # uptime at which it was made, or at which the program started


class UsedReservation(msgspec.Struct, frozen=True):
    """A reservation whose id no TransactionEvent has carried yet."""

    reservation_id: int
    authorization_seq: int


class EndedReservation(msgspec.Struct, frozen=True):
    """A reservation whose end the CSMS has to receive."""

    reservation_id: int
    because: str


class Reservations(Projection, frozen=True):
    """The block bounds the open ones; each used one has an authorization of its own."""

    HANDLES = (
        ReservationMade, ReservationUsed, ReservationEnded, AuthorizationEnded, CallQueued,
        StationStarted,
    )  # fmt: skip

    open: tuple[Reservation, ...] = ()  # in the order they were made
    used: tuple[UsedReservation, ...] = ()
    unreported: tuple[EndedReservation, ...] = ()  # the oldest first

    def apply(self, entry: Entry) -> Reservations:
        match entry.event:
            case CallQueued(action=action, transaction_event=summary):
                if summary is not None:
                    return self._on_transaction_event(summary)
                if action == STATUS_UPDATE_ACTION and self.unreported:
                    return replace(self, unreported=self.unreported[1:])
                return self
            case ReservationMade() as made:
                new = _new_reservation(entry, made)
                return replace(self, open=(*self._without(made.reservation_id), new))
            case ReservationUsed(reservation_id=reservation_id, authorization_seq=seq):
                used = (*self.used, UsedReservation(reservation_id, seq))
                return replace(self, open=self._without(reservation_id), used=used)
            case ReservationEnded(reservation_id=reservation_id, because=because):
                ended = EndedReservation(reservation_id, because)
                return replace(
                    self,
                    open=self._without(reservation_id),
                    unreported=self.unreported
                    if because in UNREPORTED_ENDS
                    else (*self.unreported, ended),
                )
            case AuthorizationEnded(authorization_seq=seq):
                return self._without_used(seq) if self.used else self
            case StationStarted(last_entry_uptime_ms=last_ms) if self.open:
                restarted = tuple(_count_run(each, entry, last_ms) for each in self.open)
                return replace(self, open=restarted)
            case _:
                return self

    def by_id(self, reservation_id: int) -> Reservation | None:
        """The open reservation with this id."""
        return next((each for each in self.open if each.reservation_id == reservation_id), None)

    def used_by(self, authorization_seq: int) -> int | None:
        """The id that the next TransactionEvent of this authorization has to carry."""
        for each in self.used:
            if each.authorization_seq == authorization_seq:
                return each.reservation_id
        return None

    def _without(self, reservation_id: int) -> tuple[Reservation, ...]:
        return tuple(each for each in self.open if each.reservation_id != reservation_id)

    def _without_used(self, authorization_seq: int) -> Reservations:
        left = tuple(each for each in self.used if each.authorization_seq != authorization_seq)
        return self if len(left) == len(self.used) else replace(self, used=left)

    def _on_transaction_event(self, summary: TransactionEventSummary) -> Reservations:
        """The first event after the authorization carries the id; none can follow the last."""
        if self.used and (
            RESERVATION_REPORTED in summary.includes or summary.event_type == "Ended"
        ):
            return self._without_used(summary.authorization_seq)
        return self


def _new_reservation(entry: Entry, made: ReservationMade) -> Reservation:
    return Reservation(
        seq=entry.seq,
        reservation_id=made.reservation_id,
        id_token=made.id_token,
        group_id_token=made.group_id_token,
        evse_id=made.evse_id,
        connector_type=made.connector_type,
        expires_at=made.expires_at,
        remaining_ms=made.remaining_ms,
        since_ms=entry.uptime_ms,
    )


def _count_run(reservation: Reservation, entry: Entry, last_ms: int | None) -> Reservation:
    """The time until `last_ms`, the end of the previous run, has passed; how much since is open."""
    passed_ms = 0 if last_ms is None else max(0, last_ms - reservation.since_ms)
    remaining_ms = reservation.remaining_ms - passed_ms
    return replace(reservation, remaining_ms=remaining_ms, since_ms=entry.uptime_ms)
