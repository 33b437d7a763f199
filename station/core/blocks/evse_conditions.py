"""Conditions of an EVSE that several blocks use.

Helper module: it handles no message and has no rules. All functions are pure reads of the context.

* `is_in_service`: a new EV driver may start here. It is false for every cause of `evse_status` that
  keeps all new EV drivers away, and also while a reset waits. A reservation keeps only others
  away: `h_kept_evses`.
* `closing_cause`: what makes the EVSE unusable until it is over; a reservation ends with it.
* `may_charge`: energy may flow here. The protections in the power path can only forbid more.
* `is_closed_for_firmware`: an update keeps new EV drivers away from an EVSE that is not in use.
"""

from __future__ import annotations

from typing import Final

from journal.projections.firmware import FirmwareUpdate
from journal.projections.reservations import Reservation
from station.core import evse_status
from station.core.blocks.transfer_fields import has_passed
from station.core.context import Context
from station.core.reasons import Reason

ALLOW_NEW_SESSIONS: Final = "ChargingStation.AllowNewSessionsPendingFirmwareUpdate"
INSTALLS_WHILE_CHARGING: Final = "C-43"
RESERVATIONS_ENABLED: Final = "ReservationCtrlr.Enabled"

# Why an EVSE accepts no new EV driver: codes of `out_of_service_cause`. A pending reset is no cause
# of a status.
OUT_OF_SERVICE_REASONS: Final = {
    **evse_status.STATUS_REASONS,
    "reset_OnIdle": Reason(
        "the CSMS requested a reset, which waits for open transactions",
        "B12.FR.03",
        facts=("reset_ordered",),
    ),
    "reset_Immediate": Reason(
        "the CSMS requested an immediate reset", "B11.FR.03", facts=("reset_ordered",)
    ),
}


def charging_state(ctx: Context, evse_id: int) -> str:
    """ChargingStateEnumType of an EVSE at this entry. E02.FR.13."""
    evse = ctx.state.evses.by_id(evse_id)
    authorization = ctx.state.authorizations.on_evse(evse_id)
    if not evse.is_cable_known:
        return _last_reported_state(ctx, evse_id)
    if not evse.is_plugged_in:
        return "Idle"
    if evse.flow == "charging":
        return "Charging"
    suspended = authorization is not None and authorization.suspended
    if suspended or evse.flow == "suspended_evse" or not may_resume(ctx, evse_id):
        return "SuspendedEVSE"
    return "SuspendedEV" if evse.flow == "suspended_ev" else "EVConnected"


def _last_reported_state(ctx: Context, evse_id: int) -> str:
    """After a start, until the cable is reported, the EV may still be there: no change."""
    transaction = ctx.state.transactions.on_evse(evse_id)
    return (transaction.charging_state if transaction else None) or "Idle"


def may_resume(ctx: Context, evse_id: int) -> bool:
    """Whether energy may flow again after an interruption. OCPP 2.1 E17.FR.11, E17.FR.12."""
    transaction = ctx.state.transactions.on_evse(evse_id)
    if transaction is None or transaction.interrupted_seq == 0:
        return True
    return ctx.variable_boolean("TxCtrlr.AllowEnergyTransferResumption")


def is_out_of_order(ctx: Context) -> bool:
    """Whether a rule failed so recently that no new EV driver is admitted. P8."""
    until_ms = evse_status.out_of_order_until_ms(ctx.state.health)
    return until_ms is not None and not ctx.has_reached(until_ms)


def is_storage_full(ctx: Context) -> bool:
    """Whether the free space that is left is reserved for ending open transactions."""
    return evse_status.is_storage_full(ctx.state.health)


def may_charge(ctx: Context, evse_id: int) -> bool:
    """Whether energy may flow at this EVSE, as far as the protections allow it too."""
    authorization = ctx.state.authorizations.on_evse(evse_id)
    transaction = ctx.state.transactions.on_evse(evse_id)
    return (
        authorization is not None
        and not authorization.suspended
        and not (transaction and transaction.stop_order)
        and may_resume(ctx, evse_id)
        and ctx.state.faults.blocking_fault(evse_id) is None
        and ctx.state.lifecycle.restart is None
    )


def is_in_service(ctx: Context, evse_id: int) -> bool:
    """Whether a new EV driver may start at this EVSE."""
    return out_of_service_cause(ctx, evse_id) is None


def out_of_service_cause(ctx: Context, evse_id: int) -> str | None:
    """Why no new EV driver may start: a code of OUT_OF_SERVICE_REASONS; None: one may."""
    lifecycle = ctx.state.lifecycle
    if ctx.state.faults.blocking_fault(evse_id) is not None:
        return "has_blocking_fault"
    if not _has_usable_connector(ctx, evse_id):
        return "is_out_of_service"
    if lifecycle.restart is not None:
        return "is_restart_ordered"
    if lifecycle.reset is not None and not _is_reset_waiting_for_reservations(ctx):
        return f"reset_{lifecycle.reset.reset_type}"
    return closing_cause(ctx, evse_id)


def closing_cause(ctx: Context, evse_id: int) -> str | None:
    """Why the EVSE is unusable, a code of OUT_OF_SERVICE_REASONS; None: it is usable.

    Without restarts and resets, after which a reservation goes on. B01.FR.13, B11.FR.05.
    """
    if ctx.state.faults.blocking_fault(evse_id) is not None:
        return "has_blocking_fault"
    if not _has_usable_connector(ctx, evse_id):
        return "is_out_of_service"
    if is_out_of_order(ctx):
        return "is_out_of_order"
    if is_storage_full(ctx):
        return "is_storage_full"
    return "is_closed_for_firmware" if is_closed_for_firmware(ctx, evse_id) else None


def _has_usable_connector(ctx: Context, evse_id: int) -> bool:
    availability = ctx.state.availability
    connector_ids = dict(ctx.state.lifecycle.evses).get(evse_id, ())
    return any(
        evse_status.is_connector_usable(availability, evse_id, connector_id)
        for connector_id in connector_ids
    )


def is_in_use(ctx: Context) -> bool:
    """Whether a transaction is open or an EV driver is authorized."""
    return bool(ctx.state.transactions.open or ctx.state.authorizations.active)


# --- Reservations --------------------------------------------------------------------------------


def pending_reservations(ctx: Context) -> tuple[Reservation, ...]:
    """The reservations in effect: none while ReservationCtrlr is disabled, which keeps them.

    Part 2 §2: they are in effect again when it is enabled.
    """
    reservations = ctx.state.reservations.open
    if not reservations or not ctx.variable_boolean(RESERVATIONS_ENABLED, default=True):
        return ()
    return reservations


def awaits_reservation(ctx: Context) -> bool:
    """Whether a reservation is pending, or its EV driver is about to start. Erratum 2.14."""
    return bool(ctx.state.reservations.used) or bool(pending_reservations(ctx))


def _is_reset_waiting_for_reservations(ctx: Context) -> bool:
    """Whether an OnIdle reset waits for a reservation: its EV driver must be able to use it."""
    reset = ctx.state.lifecycle.reset
    return reset is not None and reset.reset_type == "OnIdle" and awaits_reservation(ctx)


# --- Firmware ------------------------------------------------------------------------------------


def may_install(ctx: Context, update: FirmwareUpdate) -> bool:
    """Whether its install time has come and no use of the station forbids to install.

    L01.FR.05, L01.FR.06, C-43.
    """
    if not has_passed(update.order.install_at, ctx.now):
        return False
    return ctx.product.profile.supports(INSTALLS_WHILE_CHARGING) or not is_in_use(ctx)


def is_ready_to_install(ctx: Context, update: FirmwareUpdate) -> bool:
    """Whether the firmware is downloaded and verified and may be installed now."""
    return update.status in ("SignatureVerified", "InstallScheduled") and may_install(ctx, update)


def is_closed_for_firmware(ctx: Context, evse_id: int) -> bool:
    """Whether an update keeps new EV drivers away from an EVSE that is not in use. L01.FR.07."""
    update = ctx.state.firmware.running_update
    if update is None or _is_evse_taken(ctx, evse_id):
        return False
    installs = update.status in ("Installing", "InstallRebooting") or is_ready_to_install(
        ctx, update
    )
    if installs and not ctx.product.profile.supports(INSTALLS_WHILE_CHARGING):
        return True
    return update.waited_for_transactions and not ctx.variable_boolean(ALLOW_NEW_SESSIONS)


def _is_evse_taken(ctx: Context, evse_id: int) -> bool:
    """Whether the EVSE is in use, or an authorized EV driver may still plug in at it."""
    authorized = any(
        authorization.evse_id in (None, evse_id)
        for authorization in ctx.state.authorizations.active
    )
    return authorized or ctx.state.transactions.on_evse(evse_id) is not None
