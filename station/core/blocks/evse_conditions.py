"""What is true of an EVSE right now? Facts that several blocks judge by."""

from __future__ import annotations

from typing import Final

from journal.projections.firmware import FirmwareUpdate
from station.core.blocks.transfer_fields import has_passed
from station.core.context import Context

ALLOW_NEW_SESSIONS: Final = "ChargingStation.AllowNewSessionsPendingFirmwareUpdate"
INSTALLS_WHILE_CHARGING: Final = "C-43"
OUT_OF_ORDER_MS: Final = 600_000  # without a failed rule, until the judgement is trusted again


def charging_state(ctx: Context, evse_id: int) -> str:
    """ChargingStateEnumType of an EVSE right now. E02.FR.13."""
    evse = ctx.state.evses.by_id(evse_id)
    held = ctx.state.authorizations.on_evse(evse_id)
    if not evse.is_cable_known:
        return _last_reported_state(ctx, evse_id)
    if not evse.is_plugged_in:
        return "Idle"
    if evse.flow == "charging":
        return "Charging"
    if (held and held.suspended) or evse.flow == "suspended_evse" or not may_resume(ctx, evse_id):
        return "SuspendedEVSE"
    return "SuspendedEV" if evse.flow == "suspended_ev" else "EVConnected"


def _last_reported_state(ctx: Context, evse_id: int) -> str:
    """After a start, until the EVSE has spoken: nobody knows that the EV is gone."""
    transaction = ctx.state.transactions.on_evse(evse_id)
    return (transaction.charging_state if transaction else None) or "Idle"


def may_resume(ctx: Context, evse_id: int) -> bool:
    """Whether energy may flow again after an interruption. OCPP 2.1 E17.FR.11, E17.FR.12."""
    transaction = ctx.state.transactions.on_evse(evse_id)
    if transaction is None or transaction.interrupted_seq == 0:
        return True
    return ctx.variable_boolean("TxCtrlr.AllowEnergyTransferResumption")


def is_out_of_order(ctx: Context) -> bool:
    """Whether a rule failed so lately that nobody new is let in."""
    due_ms = out_of_order_until_ms(ctx)
    return due_ms is not None and ctx.uptime_ms < due_ms


def out_of_order_until_ms(ctx: Context) -> int | None:
    """Uptime until which the station lets nobody in because its judgement failed."""
    failed_ms = ctx.state.health.rule_failed_ms
    return None if failed_ms is None else failed_ms + OUT_OF_ORDER_MS


def is_storage_full(ctx: Context) -> bool:
    """Whether there is room left only to end what runs."""
    return ctx.state.health.storage_level == "full"


def may_charge(ctx: Context, evse_id: int) -> bool:
    """Whether energy may flow at this EVSE: everything but the protections has been asked."""
    held = ctx.state.authorizations.on_evse(evse_id)
    transaction = ctx.state.transactions.on_evse(evse_id)
    return (
        held is not None
        and not held.suspended
        and not (transaction and transaction.stop_order)
        and may_resume(ctx, evse_id)
        and ctx.state.faults.blocking_fault(evse_id) is None
        and ctx.state.lifecycle.restart is None
    )


def is_connector_usable(ctx: Context, evse_id: int, connector_id: int) -> bool:
    """Whether the CSMS left a connector in service.

    Where the station as a whole shall go out of service, one that is not in use goes at once and
    does not wait for transactions of others. G04.FR.06, TC_G_14.
    """
    availability = ctx.state.availability
    return availability.is_operative(evse_id, connector_id) and not availability.is_leaving_service(
        evse_id, connector_id
    )


def is_in_service(ctx: Context, evse_id: int) -> bool:
    """Whether somebody new may begin here."""
    connectors = dict(ctx.state.lifecycle.evses).get(evse_id, ())
    return (
        any(is_connector_usable(ctx, evse_id, connector_id) for connector_id in connectors)
        and ctx.state.faults.blocking_fault(evse_id) is None
        and not is_out_of_order(ctx)
        and not is_storage_full(ctx)
        and ctx.state.lifecycle.reset is None
        and ctx.state.lifecycle.restart is None
        and not is_closed_for_firmware(ctx, evse_id)
    )


def is_in_use(ctx: Context) -> bool:
    """Whether somebody charges, or is about to."""
    return bool(ctx.state.transactions.open or ctx.state.authorizations.active)


# --- Firmware ------------------------------------------------------------------------------------


def may_install(ctx: Context, update: FirmwareUpdate) -> bool:
    """Whether neither the clock nor somebody who charges forbids it. L01.FR.05, L01.FR.06, C-43."""
    if not has_passed(update.order.install_at, ctx.now):
        return False
    return ctx.product.profile.supports(INSTALLS_WHILE_CHARGING) or not is_in_use(ctx)


def is_ready_to_install(ctx: Context, update: FirmwareUpdate) -> bool:
    """Whether the firmware is there and good, and nothing stands in the way any more."""
    return update.status in ("SignatureVerified", "InstallScheduled") and may_install(ctx, update)


def is_closed_for_firmware(ctx: Context, evse_id: int) -> bool:
    """Whether an update keeps new people from an EVSE that is not in use. L01.FR.07."""
    update = ctx.state.firmware.running_update
    if update is None or _is_evse_taken(ctx, evse_id):
        return False
    needed = update.status in ("Installing", "InstallRebooting") or is_ready_to_install(ctx, update)
    if needed and not ctx.product.profile.supports(INSTALLS_WHILE_CHARGING):
        return True
    return update.waited_for_transactions and not ctx.variable_boolean(ALLOW_NEW_SESSIONS)


def _is_evse_taken(ctx: Context, evse_id: int) -> bool:
    """Whether somebody charges here, or was let in and may yet plug in here."""
    held = any(one.evse_id in (None, evse_id) for one in ctx.state.authorizations.active)
    return held or ctx.state.transactions.on_evse(evse_id) is not None
