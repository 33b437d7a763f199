"""What is true of an EVSE right now? Facts that several blocks judge by."""

from __future__ import annotations

from typing import Final

from journal.projections.firmware import Update
from station.blocks.transfers import passed
from station.case import Case

ALLOW_SESSIONS: Final = "ChargingStation.AllowNewSessionsPendingFirmwareUpdate"
INSTALLS_WHILE_CHARGING: Final = "C-43"
REST_MS: Final = 600_000  # without a failed rule, until the judgement is trusted again


def charging_state(case: Case, evse_id: int) -> str:
    """ChargingStateEnumType of an EVSE right now. E02.FR.13."""
    evse = case.state.hardware.at(evse_id)
    held = case.state.authorizations.at(evse_id)
    if not evse.known:
        return _as_last_told(case, evse_id)
    if not evse.plugged:
        return "Idle"
    if evse.flow == "charging":
        return "Charging"
    if (held and held.suspended) or evse.flow == "suspended_evse" or not resumable(case, evse_id):
        return "SuspendedEVSE"
    return "SuspendedEV" if evse.flow == "suspended_ev" else "EVConnected"


def _as_last_told(case: Case, evse_id: int) -> str:
    """After a start, until the EVSE has spoken: nobody knows that the EV is gone."""
    transaction = case.state.transactions.at(evse_id)
    return (transaction.charging_state if transaction else None) or "Idle"


def resumable(case: Case, evse_id: int) -> bool:
    """Whether energy may flow again after an interruption. OCPP 2.1 E17.FR.11, E17.FR.12."""
    transaction = case.state.transactions.at(evse_id)
    if transaction is None or transaction.interrupted_seq == 0:
        return True
    return case.flag("TxCtrlr.AllowEnergyTransferResumption")


def out_of_order(case: Case) -> bool:
    """Whether a rule failed so lately that nobody new is let in."""
    due_ms = rests_until_ms(case)
    return due_ms is not None and case.uptime_ms < due_ms


def rests_until_ms(case: Case) -> int | None:
    """Uptime until which the station lets nobody in because its judgement failed."""
    failed_ms = case.state.condition.failed_ms
    return None if failed_ms is None else failed_ms + REST_MS


def full(case: Case) -> bool:
    """Whether there is room left only to end what runs."""
    return case.state.condition.storage == "full"


def may_charge(case: Case, evse_id: int) -> bool:
    """Whether energy may flow at this EVSE: everything but the protections has been asked."""
    held = case.state.authorizations.at(evse_id)
    transaction = case.state.transactions.at(evse_id)
    return (
        held is not None
        and not held.suspended
        and not (transaction and transaction.stopping)
        and resumable(case, evse_id)
        and case.state.faults.blocking(evse_id) is None
        and case.state.lifecycle.restart is None
    )


def usable(case: Case, evse_id: int, connector_id: int) -> bool:
    """Whether the CSMS left a connector in service.

    Where the station as a whole shall go out of service, one that is not in use goes at once and
    does not wait for transactions of others. G04.FR.06, TC_G_14.
    """
    availability = case.state.availability
    return availability.operative(evse_id, connector_id) and not availability.leaving(
        evse_id, connector_id
    )


def in_service(case: Case, evse_id: int) -> bool:
    """Whether somebody new may begin here."""
    connectors = dict(case.state.lifecycle.evses).get(evse_id, ())
    return (
        any(usable(case, evse_id, connector_id) for connector_id in connectors)
        and case.state.faults.blocking(evse_id) is None
        and not out_of_order(case)
        and not full(case)
        and case.state.lifecycle.reset is None
        and case.state.lifecycle.restart is None
        and not closed_for_firmware(case, evse_id)
    )


def in_use(case: Case) -> bool:
    """Whether somebody charges, or is about to."""
    return bool(case.state.transactions.open or case.state.authorizations.held)


# --- Firmware ------------------------------------------------------------------------------------


def may_install(case: Case, update: Update) -> bool:
    """Whether neither the clock nor somebody who charges forbids it. L01.FR.05, L01.FR.06, C-43."""
    if not passed(update.ordered.install_at, case.now):
        return False
    return case.product.profile.has(INSTALLS_WHILE_CHARGING) or not in_use(case)


def installs_now(case: Case, update: Update) -> bool:
    """Whether the firmware is there and good, and nothing stands in the way any more."""
    return update.status in ("SignatureVerified", "InstallScheduled") and may_install(case, update)


def closed_for_firmware(case: Case, evse_id: int) -> bool:
    """Whether an update keeps new people from an EVSE that is not in use. L01.FR.07."""
    update = case.state.firmware.running
    if update is None or _taken(case, evse_id):
        return False
    needed = update.status in ("Installing", "InstallRebooting") or installs_now(case, update)
    if needed and not case.product.profile.has(INSTALLS_WHILE_CHARGING):
        return True
    return update.waited and not case.flag(ALLOW_SESSIONS)


def _taken(case: Case, evse_id: int) -> bool:
    """Whether somebody charges here, or was let in and may yet plug in here."""
    held = any(one.evse_id in (None, evse_id) for one in case.state.authorizations.held)
    return held or case.state.transactions.at(evse_id) is not None
