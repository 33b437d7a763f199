"""Text of the display for each EVSE, from the state alone."""

from __future__ import annotations

from typing import Final

from station.core.blocks.evse_conditions import (
    charging_state,
    is_in_service,
    is_out_of_order,
    is_storage_full,
)
from station.core.context import Context

OUT_OF_ORDER_TEXT: Final = "Out of order"
AUTHORIZED_TEXTS: Final = {"Idle": "Plug in the cable", "Charging": "Charging"}  # by chargingState


def display_text(ctx: Context, evse_id: int) -> str:
    """What the EV driver reads; the first line that applies."""
    if ctx.state.faults.blocking_fault(evse_id):
        return OUT_OF_ORDER_TEXT
    transaction = ctx.state.transactions.on_evse(evse_id)
    if transaction and transaction.stop_order:
        return "Thank you. Unplug the cable"
    state = charging_state(ctx, evse_id)
    if ctx.state.authorizations.on_evse(evse_id):
        return AUTHORIZED_TEXTS.get(state, "Please wait")
    if is_out_of_order(ctx):
        return OUT_OF_ORDER_TEXT
    if is_storage_full(ctx):
        return "Out of service: memory full"
    if not is_in_service(ctx, evse_id):
        return "Out of service"
    if state != "Idle":
        return "Present your card"
    return "Welcome. Service needed" if ctx.state.health.safe_mode_reasons else "Welcome"
