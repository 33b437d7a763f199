"""Messages of block I: cost."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from station.ocpp.messages.primitives import Datatype, Number


class CostUpdatedRequest(Datatype, frozen=True):
    """Cost of a transaction so far. I02."""

    total_cost: Number  # in the station's currency, taxes included
    transaction_id: Annotated[str, Meta(max_length=36)]


class CostUpdatedResponse(Datatype, frozen=True):
    """Confirms receipt; has no fields."""
