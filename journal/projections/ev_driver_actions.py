"""The last action of an EV driver at the reader and at each stop button, and what followed.

The display answers every action. An idToken that is presented has the outcome *read* until a
decision of the same commit, or later the answer of the CSMS, gives another one. *Read* stays where
nothing followed: the idToken was accepted a moment ago, or waits for the CSMS already.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from journal.events import Entry, IdToken
from journal.observations import IdTokenPresented, StationStarted, StopButtonPressed
from journal.projections.authorizations import (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    AuthorizationRequested,
)
from journal.projections.base import Projection

CardOutcome = Literal["read", "checking", "accepted", "refused", "stopping"]


class PresentedCard(msgspec.Struct, frozen=True):
    """The idToken that was presented last."""

    seq: int  # entry of the presentation
    id_token: IdToken
    outcome: CardOutcome = "read"
    since_ms: int = 0  # uptime of the outcome
    evse_id: int | None = None  # the EVSE it was for, once that is known
    refusal: str = ""  # status of AuthorizationRefused


class PressedStopButton(msgspec.Struct, frozen=True):
    """The last press of the stop button of an EVSE."""

    evse_id: int
    seq: int  # entry of the press
    since_ms: int  # uptime


class EvDriverActions(Projection, frozen=True):
    """One card, because there is one reader; one press for each EVSE."""

    HANDLES = (
        IdTokenPresented, StopButtonPressed, AuthorizationRequested, AuthorizationGranted,
        AuthorizationRefused, AuthorizationEnded, StationStarted,
    )  # fmt: skip

    card: PresentedCard | None = None
    stop_buttons: tuple[PressedStopButton, ...] = ()

    def apply(self, entry: Entry) -> EvDriverActions:
        match entry.event:
            case IdTokenPresented(id_token=id_token, evse_id=evse_id):
                card = PresentedCard(entry.seq, id_token, "read", entry.uptime_ms, evse_id)
                return replace(self, card=card)
            case AuthorizationRequested(id_token=id_token, evse_id=evse_id):
                return self._with_outcome(entry, id_token, "checking", evse_id)
            case AuthorizationGranted(id_token=id_token, evse_id=evse_id):
                return self._with_outcome(entry, id_token, "accepted", evse_id)
            case AuthorizationRefused(id_token=id_token, evse_id=evse_id, status=status):
                return self._with_outcome(entry, id_token, "refused", evse_id, status)
            case AuthorizationEnded(ended_by_id_token=IdToken() as id_token, evse_id=evse_id):
                return self._with_outcome(entry, id_token, "stopping", evse_id)
            case StopButtonPressed(evse_id=evse_id):
                others = tuple(each for each in self.stop_buttons if each.evse_id != evse_id)
                pressed = PressedStopButton(evse_id, entry.seq, entry.uptime_ms)
                return replace(self, stop_buttons=(*others, pressed))
            case StationStarted() if self != EvDriverActions():
                return EvDriverActions()  # uptimes of another boot have no meaning here
            case _:
                return self

    def stop_button(self, evse_id: int) -> PressedStopButton | None:
        """The last press of the stop button of an EVSE."""
        return next((each for each in self.stop_buttons if each.evse_id == evse_id), None)

    def _with_outcome(
        self,
        entry: Entry,
        id_token: IdToken,
        outcome: CardOutcome,
        evse_id: int | None,
        refusal: str = "",
    ) -> EvDriverActions:
        """Record the outcome for the presented card; that of another idToken is not shown."""
        card = self.card
        if card is None or card.id_token != id_token:
            return self
        return replace(
            self,
            card=replace(
                card,
                outcome=outcome,
                since_ms=entry.uptime_ms,
                evse_id=evse_id if evse_id is not None else card.evse_id,
                refusal=refusal,
            ),
        )
