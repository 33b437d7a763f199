"""What is true of an EVSE right now? Facts that several blocks judge by."""

from __future__ import annotations

from station.case import Case


def charging_state(case: Case, evse_id: int) -> str:
    """ChargingStateEnumType of an EVSE right now. E02.FR.13."""
    evse = case.state.hardware.at(evse_id)
    held = case.state.authorizations.at(evse_id)
    if not evse.plugged:
        return "Idle"
    if evse.flow == "charging":
        return "Charging"
    if (held and held.suspended) or evse.flow == "suspended_evse" or not resumable(case, evse_id):
        return "SuspendedEVSE"
    return "SuspendedEV" if evse.flow == "suspended_ev" else "EVConnected"


def resumable(case: Case, evse_id: int) -> bool:
    """Whether energy may flow again after an interruption. OCPP 2.1 E17.FR.11, E17.FR.12."""
    transaction = case.state.transactions.at(evse_id)
    if transaction is None or transaction.interrupted_seq == 0:
        return True
    return case.flag("TxCtrlr.AllowEnergyTransferResumption")


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


def in_service(case: Case, evse_id: int) -> bool:
    """Whether somebody new may begin here."""
    return (
        case.state.availability.operative(evse_id)
        and case.state.faults.blocking(evse_id) is None
        and case.state.lifecycle.reset is None
        and case.state.lifecycle.restart is None
    )
