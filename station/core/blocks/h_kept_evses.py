"""Which EVSEs are kept for reservations, and for whom. H01, H03.

Helper module of `h_reservation`, which has the rules, and of the blocks that admit EV drivers
(C, F) or report statuses (G). All functions are pure reads of the context; nothing is noted: what
is kept follows from the reservations and the EVSEs at each entry.

1. A reservation that names an EVSE keeps it.
2. One that names none needs any EVSE that is free, or one with its connector type. EVSEs and
   reservations are matched: an EVSE is kept if without it fewer reservations could be served. So
   with two free EVSEs and one reservation both stay Available, and with one free EVSE it is
   Reserved (H01.FR.07, H01.FR.09, H01.FR.20, H01.FR.24).
3. An EVSE is free while it is usable and no EV driver is authorized there. An EV that was plugged
   in without the idToken of a reservation takes its EVSE if that was not kept then; at one that is
   kept it changes nothing (G01.FR.09). EVs count in the order in which they were plugged in.

A *claimant* is an idToken with its group. Where an EVSE is kept, a claimant may use it if it
matches a reservation that can be served there, and if all other reservations can still be served
(H03.FR.01 to 06). A group that is not known yet counts as a match until the CSMS has answered
(H03.FR.08).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from journal.events import IdToken
from journal.projections.evses import Evse
from journal.projections.reservations import Reservation
from station.core.blocks.evse_conditions import closing_cause, pending_reservations
from station.core.context import Context
from station.profiles import Profile

Choices = frozenset[int]  # the EVSEs of which one serves a reservation


class Claimant(NamedTuple):
    """An idToken that is presented, and its group."""

    id_token: IdToken
    group_id_token: IdToken | None = None
    is_group_known: bool = True  # False: the CSMS is asked for it first. H03.FR.08

    def matches(self, reservation: Reservation) -> bool:
        """Whether the reservation is for it. H03.FR.01 to 06, C01.FR.25."""
        if self.id_token == reservation.id_token:
            return True
        if reservation.group_id_token is None:
            return False
        return not self.is_group_known or self.group_id_token == reservation.group_id_token


class KeptEvses:
    """The EVSEs, and what reservations need of them."""

    def __init__(self, ctx: Context, reservations: Sequence[Reservation]) -> None:
        self._ctx = ctx
        self._floating = [each for each in reservations if not each.evse_id]
        self._reservation_by_evse = {
            each.evse_id: each
            for each in reservations
            if each.evse_id and _is_unauthorized(ctx, each.evse_id)
        }
        self._free = self._find_free_evses()

    def _find_free_evses(self) -> Choices:
        evses = [
            evse
            for evse in self._ctx.state.evses.all_evses
            if evse.evse_id not in self._reservation_by_evse
            and _is_unauthorized(self._ctx, evse.evse_id)
        ]
        free = frozenset(evse.evse_id for evse in evses)
        plugged = (evse for evse in evses if evse.is_plugged_in)
        for evse in sorted(plugged, key=lambda evse: evse.cable_reported_seq):
            earlier = [each for each in self._floating if each.seq < evse.cable_reported_seq]
            if not self._is_needed(evse.evse_id, free, earlier):
                free -= {evse.evse_id}
        return free

    def _is_needed(self, evse_id: int, free: Choices, reservations: Iterable[Reservation]) -> bool:
        choices = [self._choices(each, free) for each in reservations]
        without = [each - {evse_id} for each in choices]
        return evse_id in free and count_served(without) < count_served(choices)

    def _choices(self, reservation: Reservation, evse_ids: Choices) -> Choices:
        """The EVSEs that can serve a reservation which names none."""
        fitting = evses_with_connector(self._ctx.product.profile, reservation.connector_type)
        return evse_ids & fitting

    # --- For the status --------------------------------------------------------------------------

    def reservation_naming(self, evse_id: int) -> Reservation | None:
        """The reservation that names the EVSE and keeps it."""
        return self._reservation_by_evse.get(evse_id)

    def is_kept_free(self, evse_id: int) -> bool:
        """Whether reservations that name no EVSE need this one."""
        return self._is_needed(evse_id, self._free, self._floating)

    @property
    def unserved(self) -> tuple[Reservation, ...]:
        """The reservations that name no EVSE and have none left, the last that were made."""
        served: list[Choices] = []
        unserved = []
        for reservation in self._floating:
            choices = self._choices(reservation, self._free)
            if count_served([*served, choices]) > count_served(served):
                served.append(choices)
            else:
                unserved.append(reservation)
        return tuple(unserved)

    # --- For an idToken --------------------------------------------------------------------------

    def keeps_away(self, claimant: Claimant, evse_id: int) -> str | None:
        """Why the claimant may not use the EVSE: a fact of `evse_status`; None: it may."""
        naming = self.reservation_naming(evse_id)
        if naming is not None:
            return None if claimant.matches(naming) else "is_reserved"
        if not self.is_kept_free(evse_id):
            return None
        served = count_served(self._choices(each, self._free) for each in self._floating)
        for reservation in self._floating:
            if claimant.matches(reservation) and evse_id in self._choices(reservation, self._free):
                rest = (each for each in self._floating if each is not reservation)
                free = self._free - {evse_id}
                if count_served(self._choices(each, free) for each in rest) >= served - 1:
                    return None
        return "is_kept_free"

    def evse_reserved_for(self, claimant: Claimant) -> int | None:
        """The EVSE that a reservation for the claimant names."""
        for evse_id, reservation in self._reservation_by_evse.items():
            if claimant.matches(reservation):
                return evse_id
        return None

    def has_place(self, claimant: Claimant) -> bool:
        """Whether an EVSE without an EV is left for one more claimant who plugs in later."""
        floating = list(self._floating)
        matching = next((each for each in floating if claimant.matches(each)), None)
        unplugged = self._free & _unplugged_evses(self._ctx)
        own = unplugged
        if matching is not None:
            floating.remove(matching)
            own = self._choices(matching, unplugged)
        return self._has_room(own, floating)

    def has_room_for(self, evse_ids: Choices) -> bool:
        """Whether one of the EVSEs can be reserved in addition. H01.FR.03 to 06, H01.FR.23."""
        return self._has_room(evse_ids & self._free & _unplugged_evses(self._ctx), self._floating)

    def _has_room(self, own: Choices, floating: Iterable[Reservation]) -> bool:
        """Whether an EVSE of `own` is left by reservations and EV drivers who have no EVSE yet."""
        others = [self._choices(each, self._free) for each in floating]
        for authorization in self._ctx.state.authorizations.unbound:
            allowed = frozenset(authorization.granted.allowed_evse_ids)
            evse_ids = self._free & _unplugged_evses(self._ctx)
            others.append(evse_ids & allowed if allowed else evse_ids)
        return count_served([*others, own]) > count_served(others)


def find_kept_evses(ctx: Context) -> KeptEvses | None:
    """What the pending reservations keep; None: there are none."""
    reservations = pending_reservations(ctx)
    return KeptEvses(ctx, reservations) if reservations else None


def find_reserved_facts(ctx: Context, evse_id: int) -> tuple[bool, bool]:
    """Whether a reservation names the EVSE, and whether others need it: facts of its status."""
    kept = find_kept_evses(ctx)
    if kept is None:  # the usual case
        return False, False
    return kept.reservation_naming(evse_id) is not None, kept.is_kept_free(evse_id)


def find_obstacle(ctx: Context, claimant: Claimant, evse_id: int) -> str | None:
    """Why a reservation keeps the claimant away from an EVSE: a fact; None: it does not."""
    kept = find_kept_evses(ctx)
    return None if kept is None else kept.keeps_away(claimant, evse_id)


def has_reservation(ctx: Context, id_token: IdToken, evse_id: int | None) -> bool:
    """Whether a pending reservation is for this idToken, at this EVSE or before it has one."""
    return any(
        reservation.id_token == id_token and serves(ctx, reservation, evse_id)
        for reservation in pending_reservations(ctx)
    )


def serves(ctx: Context, reservation: Reservation, evse_id: int | None) -> bool:
    """Whether the reservation is for this EVSE; an EV driver who has none yet may use any."""
    if reservation.evse_id or evse_id is None:
        return reservation.evse_id == (evse_id or 0)
    return evse_id in evses_with_connector(ctx.product.profile, reservation.connector_type)


def evses_with_connector(profile: Profile, connector_type: str) -> Choices:
    """The EVSEs that have a connector of the type; an empty one: all."""
    return frozenset(
        evse.id
        for evse in profile.evse
        if not connector_type or any(each.type == connector_type for each in evse.connectors)
    )


def count_served(choices: Iterable[Choices]) -> int:
    """How many reservations can have an EVSE of their own: a maximum matching."""
    demands = list(choices)
    demand_by_evse: dict[int, int] = {}

    def assign(demand: int, tried: set[int]) -> bool:
        for evse_id in sorted(demands[demand] - tried):
            tried.add(evse_id)
            if evse_id not in demand_by_evse or assign(demand_by_evse[evse_id], tried):
                demand_by_evse[evse_id] = demand
                return True
        return False

    return sum(assign(demand, set()) for demand in range(len(demands)))


def _is_unauthorized(ctx: Context, evse_id: int) -> bool:
    """Whether the EVSE is usable, and no EV driver is or was authorized in its session."""
    transaction = ctx.state.transactions.on_evse(evse_id)
    return (
        closing_cause(ctx, evse_id) is None
        and ctx.state.authorizations.on_evse(evse_id) is None
        and (transaction is None or not transaction.authorization_seq)
    )


def _unplugged_evses(ctx: Context) -> Choices:
    return frozenset(evse.evse_id for evse in ctx.state.evses.all_evses if not _has_ev(evse))


def _has_ev(evse: Evse) -> bool:
    """Whether an EV is plugged in, or nothing is known about the cable yet."""
    return evse.is_plugged_in or not evse.is_cable_known
