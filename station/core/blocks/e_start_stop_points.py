"""When a transaction starts and stops: TxStartPoint, TxStopPoint and the causes beside them.

Helper module of `e_transactions`, which has the rules. It decides two questions from facts and
yields no decisions:

* `is_start_point_reached`: may a transaction start on this EVSE now? One row of `START_POINTS` that
  TxStartPoint contains is enough (E01.FR.02 to 06). The product does not offer ParkingBayOccupancy
  and DataSigned: it has no bay detector and no meter that signs.
* `stop_cause`: must this transaction stop, and with which triggerReason and stoppedReason? The
  first row of `STOP_CAUSES` that holds decides. A row with stop points counts only if TxStopPoint
  contains one of them; a row without always counts.

The order of `STOP_CAUSES` decides which reasons the CSMS receives if several rows hold at once:

1. What makes it impossible to go on comes first (fault, interruption, reset, full disk). It ends
   the transaction whatever TxStopPoint is, and it is the reason a person must see.
2. Then the end of the authorization, with the reasons that `AuthorizationEnded` carries: if an EV
   driver stops and then unplugs, the reason is the stop and not the cable.
3. Then the cable: an EV that was connected in this transaction and is gone. Without an
   authorization no other stop point could be reached any more, so this ends the transaction even
   if TxStopPoint does not contain EVConnected.
4. The end of the energy transfer comes last, because every row above also ends the transfer.

A transaction that is stopped is not ended yet: `e_transactions.report_ended` waits until no energy
flows, so that the register in the Ended event is the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from journal.projections.authorizations import AuthorizationEnded
from journal.projections.evses import Evse
from journal.projections.transactions import Transaction
from station.core.blocks.evse_conditions import is_storage_full
from station.core.context import Context

TX_START_POINT: Final = "TxCtrlr.TxStartPoint"
TX_STOP_POINT: Final = "TxCtrlr.TxStopPoint"
RESUMPTION_TIMEOUT: Final = "TxCtrlr.ResumptionTimeout"

# After a restart a meter and a cable may take this long to report on an interrupted transaction.
METER_TIMEOUT_MS: Final = 30_000

# --- Start ---------------------------------------------------------------------------------------


class StartFacts(NamedTuple):
    """What a start point is decided by, for one EVSE."""

    is_plugged_in: bool
    is_newly_plugged: bool  # this connection has not had its transaction yet
    is_authorized: bool
    is_charging: bool  # energy flows


class StartPoint(NamedTuple):
    is_reached: Callable[[StartFacts], bool]
    requirement: str


START_POINTS: Final[dict[str, StartPoint]] = {
    "EVConnected": StartPoint(
        lambda facts: facts.is_plugged_in and facts.is_newly_plugged, "E01.FR.02"
    ),
    "Authorized": StartPoint(lambda facts: facts.is_authorized, "E01.FR.03"),
    "PowerPathClosed": StartPoint(
        lambda facts: facts.is_authorized and facts.is_plugged_in, "E01.FR.05"
    ),
    "EnergyTransfer": StartPoint(lambda facts: facts.is_charging, "E01.FR.06"),
}


def is_start_point_reached(ctx: Context, evse_id: int) -> bool:
    """Whether one of the points of TxStartPoint is reached on an EVSE. E01.FR.02 to 06."""
    evse = ctx.state.evses.by_id(evse_id)
    is_authorized = ctx.state.authorizations.on_evse(evse_id) is not None
    if not (is_authorized or evse.is_plugged_in or evse.flow == "charging"):
        return False  # no row can hold: the usual case, found without reading the variable
    last_end_seq = ctx.state.transactions.last_end_seq(evse_id)
    facts = StartFacts(
        is_plugged_in=evse.is_plugged_in,
        is_newly_plugged=evse.cable_reported_seq > last_end_seq,
        is_authorized=is_authorized,
        is_charging=evse.flow == "charging",
    )
    return any(
        START_POINTS[point].is_reached(facts)
        for point in ctx.variable_list(TX_START_POINT)
        if point in START_POINTS
    )


# --- Stop ----------------------------------------------------------------------------------------

StopReasons = tuple[str, str]  # TriggerReasonEnumType, ReasonEnumType

# Points at which the end of an authorization stops a transaction. E06.FR.03, E06.FR.04, E06.FR.06;
# for EnergyTransfer the transfer ends with the authorization (E06.FR.07).
AUTHORIZATION_STOP_POINTS: Final = frozenset({"Authorized", "PowerPathClosed", "EnergyTransfer"})


class StopFacts(NamedTuple):
    """What a stop is decided by, for one open transaction."""

    ctx: Context
    transaction: Transaction
    evse: Evse
    is_authorized: bool  # an authorization is active on the EVSE
    end: AuthorizationEnded | None  # of the authorization that the transaction had
    is_unplugged: bool
    is_ev_gone: bool  # an EV was connected in this transaction, and the cable is unplugged


class StopCause(NamedTuple):
    """A row of the table of causes."""

    description: str
    stop_points: frozenset[str] | None  # TxStopPoint must contain one of them; None: always counts
    holds: Callable[[StopFacts], bool]
    reasons: Callable[[StopFacts], StopReasons]
    requirement: str


def _is_interruption_too_long(facts: StopFacts) -> bool:
    """The program was away longer than ResumptionTimeout, or for an unknown time."""
    lifecycle = facts.ctx.state.lifecycle
    if facts.transaction.interrupted_seq != lifecycle.started_seq:
        return False
    return lifecycle.downtime_ms is None or lifecycle.downtime_ms > _resumption_limit_ms(facts.ctx)


def _is_evse_lost(facts: StopFacts) -> bool:
    """After an interruption the cable of the EVSE has not been reported in time."""
    lifecycle = facts.ctx.state.lifecycle
    if facts.transaction.interrupted_seq != lifecycle.started_seq or facts.evse.is_cable_known:
        return False
    limit_ms = max(_resumption_limit_ms(facts.ctx), METER_TIMEOUT_MS)
    return facts.ctx.uptime_ms - lifecycle.started_ms > limit_ms


def _resumption_limit_ms(ctx: Context) -> int:
    return ctx.variable_integer(RESUMPTION_TIMEOUT) * 1000


def _is_reset_immediate(facts: StopFacts) -> bool:
    reset = facts.ctx.state.lifecycle.reset
    return reset is not None and reset.reset_type == "Immediate"


def _has_transfer_stopped(facts: StopFacts) -> bool:
    """Energy flowed and does not flow now, even for a moment. Part 2 §2.6.5."""
    return facts.transaction.energy_flowed and facts.transaction.charging_since_ms is None


def _fault_reasons(facts: StopFacts) -> StopReasons:
    fault = facts.ctx.state.faults.blocking_fault(facts.transaction.evse_id)
    assert fault is not None
    return "AbnormalCondition", fault.stopped_reason


def _interruption_reasons(facts: StopFacts) -> StopReasons:
    rebooted = facts.ctx.state.lifecycle.host_rebooted
    return "AbnormalCondition", "PowerLoss" if rebooted else "Reboot"


def _end_reasons(facts: StopFacts) -> StopReasons:
    assert facts.end is not None
    return facts.end.trigger_reason, facts.end.stopped_reason


def _unplug_reasons(facts: StopFacts) -> StopReasons:
    return "EVCommunicationLost", facts.end.stopped_reason if facts.end else "EVDisconnected"


def _transfer_reasons(facts: StopFacts) -> StopReasons:
    stopped_reason = "StoppedByEV" if facts.evse.flow == "suspended_ev" else "Other"
    return "ChargingStateChanged", "EVDisconnected" if facts.is_ev_gone else stopped_reason


STOP_CAUSES: Final = (
    StopCause(
        "a device fault blocks charging",
        None,
        lambda facts: facts.ctx.state.faults.blocking_fault(facts.transaction.evse_id) is not None,
        _fault_reasons,
        "E06.FR.16",
    ),
    StopCause(
        "the program was interrupted too long",
        None,
        _is_interruption_too_long,
        _interruption_reasons,
        "OCPP 2.1 E17.FR.20 to 22",
    ),
    StopCause(
        "the EVSE does not report after an interruption",
        None,
        _is_evse_lost,
        _interruption_reasons,
        "OCPP 2.1 E17.FR.20 to 22",
    ),
    StopCause(
        "an immediate reset was requested",
        None,
        _is_reset_immediate,
        lambda facts: ("ResetCommand", "ImmediateReset"),
        "B12.FR.04",
    ),
    StopCause(
        "the disk is full: what is left is reserved for ends",
        None,
        lambda facts: is_storage_full(facts.ctx),
        lambda facts: ("AbnormalCondition", "Other"),
        "P6",
    ),
    StopCause(
        "the authorization ended",
        AUTHORIZATION_STOP_POINTS,
        lambda facts: facts.end is not None,
        _end_reasons,
        "E06.FR.03, E06.FR.04, E06.FR.06, E06.FR.07",
    ),
    StopCause(
        "no EV was connected in time",
        None,
        lambda facts: facts.end is not None and facts.end.trigger_reason == "EVConnectTimeout",
        _end_reasons,
        "E03.FR.05",
    ),
    StopCause(
        "the EV was disconnected",
        frozenset({"EVConnected", "PowerPathClosed"}),
        lambda facts: facts.is_ev_gone,
        _unplug_reasons,
        "E06.FR.02, E06.FR.06",
    ),
    StopCause(
        "the EV was disconnected without an authorization: no stop point can be reached any more",
        None,
        lambda facts: facts.is_ev_gone and not facts.is_authorized,
        _unplug_reasons,
        "E06.FR.02",
    ),
    StopCause(
        "the authorization ended before an EV was connected",
        None,
        lambda facts: facts.end is not None and facts.is_unplugged,
        _end_reasons,
        "E06.FR.03",
    ),
    StopCause(
        "the energy transfer stopped",
        frozenset({"EnergyTransfer"}),
        _has_transfer_stopped,
        _transfer_reasons,
        "E06.FR.07",
    ),
)


def stop_cause(ctx: Context, transaction: Transaction) -> tuple[StopCause, StopReasons] | None:
    """The first cause that holds, with triggerReason and stoppedReason; None: it goes on."""
    facts = _gather_stop_facts(ctx, transaction)
    for cause in STOP_CAUSES:
        if cause.holds(facts) and _applies(ctx, cause):
            return cause, cause.reasons(facts)
    return None


def _gather_stop_facts(ctx: Context, transaction: Transaction) -> StopFacts:
    evse = ctx.state.evses.by_id(transaction.evse_id)
    is_unplugged = evse.plugged_connector_id == 0
    return StopFacts(
        ctx,
        transaction,
        evse,
        ctx.state.authorizations.on_evse(transaction.evse_id) is not None,
        transaction.authorization_end,
        is_unplugged,
        is_unplugged and transaction.charging_state not in (None, "Idle"),
    )


def _applies(ctx: Context, cause: StopCause) -> bool:
    """Whether TxStopPoint makes a cause count."""
    if cause.stop_points is None:
        return True
    return not cause.stop_points.isdisjoint(ctx.variable_list(TX_STOP_POINT))


def stops_with_authorization(ctx: Context) -> bool:
    """Whether TxStopPoint makes the end of an authorization stop the transaction."""
    return bool(AUTHORIZATION_STOP_POINTS & set(ctx.variable_list(TX_STOP_POINT)))
