"""What a journal says about reservations, for the invariants of a simulation. Block H.

The record is kept from the entries alone and uses nothing of `station/core/blocks/h_*`: it counts
instead of matching. Every sentence that `broken_by_entry` and `broken_by_state` give is a promise
that was broken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from journal.events import Entry
from journal.observations import StationStarted
from journal.projections.authorizations import AuthorizationBoundToEvse, AuthorizationGranted
from journal.projections.outbox import CallQueued
from journal.projections.reservations import ReservationEnded, ReservationMade, ReservationUsed
from journal.state import State


class ReservationRecord:
    """The open reservations, and what the CSMS still has to receive about others."""

    def __init__(self) -> None:
        self.open: dict[int, ReservationMade] = {}
        self.made_count = self.used_count = self.ended_count = 0
        self._grants: dict[int, AuthorizationGranted] = {}
        self._bound: dict[int, int] = {}  # by EVSE, the authorization assigned to it last
        self._uncarried: set[int] = set()  # used; no TransactionEvent has carried the id
        self._unreported: list[int] = []  # ended by themselves, in order
        self._without_effect: set[int] = set()  # open while reservations were disabled

    def broken_by_entry(self, entry: Entry) -> Iterator[str]:
        """Record an entry; what it breaks."""
        match entry.event:
            case ReservationMade() as made:
                self.open[made.reservation_id] = made
                self._without_effect.discard(made.reservation_id)
                self.made_count += 1
            case AuthorizationGranted() as granted:
                self._grants[entry.seq] = granted
            case AuthorizationBoundToEvse(authorization_seq=granted_seq, evse_id=evse_id):
                self._bound[evse_id] = granted_seq
            case ReservationUsed() as used:
                yield from self._use(used)
            case ReservationEnded(reservation_id=number, because=because):
                ended = self.open.pop(number, None)
                if ended is None:
                    yield f"reservation {number} ended, but was not open"
                elif (
                    because == "taken"
                    and number not in self._without_effect
                    and not self._is_taken_by_entitled(ended)
                ):
                    yield f"the EVSE of reservation {number} was taken by another EV driver"
                self.ended_count += 1
                if because != "cancelled":
                    self._unreported.append(number)
            case CallQueued() as queued:
                yield from self._on_queued(queued)
            case StationStarted():
                self._grants.clear()
            case _:
                pass

    def _use(self, used: ReservationUsed) -> Iterator[str]:
        made = self.open.pop(used.reservation_id, None)
        granted = self._grants.get(used.authorization_seq)
        if made is None or granted is None:
            yield f"{used}: no open reservation, or no authorization of this run"
            return
        if not _is_entitled(made, granted):
            yield f"{made} was used by {granted}"
        if made.evse_id and granted.evse_id != made.evse_id:
            yield f"{made} was used at another EVSE: {granted}"
        self.used_count += 1
        self._uncarried.add(used.reservation_id)

    def _is_taken_by_entitled(self, made: ReservationMade) -> bool:
        """Whether its EVSE was assigned to one of its own, who had used another reservation."""
        granted = self._grants.get(self._bound.get(made.evse_id or 0, 0))
        return granted is not None and _is_entitled(made, granted)

    def _on_queued(self, queued: CallQueued) -> Iterator[str]:
        payload = json.loads(bytes(queued.payload))
        if queued.action == "ReservationStatusUpdate":
            expected = self._unreported.pop(0) if self._unreported else None
            if payload["reservationId"] != expected:
                yield f"{payload} was reported, expected reservation {expected}"
        elif queued.transaction_event and "reservationId" in payload:
            number = payload["reservationId"]
            if number not in self._uncarried:
                yield f"reservation {number} is carried again, or was not used: {payload}"
            self._uncarried.discard(number)

    def broken_by_state(self, state: State) -> Iterator[str]:
        """What the state after a commit breaks: each open reservation has an EVSE. H01.FR.07."""
        if {each.reservation_id for each in state.reservations.open} != self.open.keys():
            yield f"open are {state.reservations.open}, made were {list(self.open)}"
        if self._unreported:
            yield f"reservations {self._unreported} ended, and the CSMS does not receive it"
        if state.variables.values.get("ReservationCtrlr.Enabled") == "false":
            self._without_effect |= self.open.keys()
            return
        untaken = {
            evse_id
            for evse_id in state.lifecycle.evse_ids
            if state.authorizations.on_evse(evse_id) is None
        }
        if len(self.open) > len(untaken):
            yield f"{len(self.open)} reservations are open, EVSEs {untaken} are not taken"
        for made in self.open.values():
            if made.evse_id and made.evse_id not in untaken:
                yield f"EVSE {made.evse_id} is taken in spite of {made}"


def _is_entitled(made: ReservationMade, granted: AuthorizationGranted) -> bool:
    """Whether an authorization is of the idToken or the group of a reservation. H03.FR.01."""
    is_group = made.group_id_token is not None
    is_member = is_group and granted.group_id_token == made.group_id_token
    return granted.id_token == made.id_token or is_member
