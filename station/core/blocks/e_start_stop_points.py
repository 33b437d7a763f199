"""When a transaction starts and stops: TxStartPoint, TxStopPoint and the causes beside them.

Helper module of `e_transactions`, which has the rules. It decides two questions from facts and
yields no decisions:

* `reached_start_point`: may a transaction start on this EVSE now? One row of `START_POINTS` that
  TxStartPoint contains is enough (E01.FR.02 to 06). The product does not offer ParkingBayOccupancy
  and DataSigned: it has no bay detector and no meter that signs.
* `find_stop`: must this transaction stop, and with which triggerReason and stoppedReason? The
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
4. The end of the energy transfer comes after them, because every row above also ends the transfer.
5. A transaction that damage to the journal left without an authorization, and without its end, is
   ended too: it would block the EVSE for every other EV driver.

A transaction that is stopped is not ended yet: `e_transactions.report_ended` waits until no energy
flows and the meter was read, so that the register in the Ended event is the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from msgspec.structs import replace

from journal.projections.authorizations import AuthorizationEnded, AuthorizationGranted
from journal.projections.evses import Evse
from journal.projections.transactions import Transaction
from station.core.blocks.evse_conditions import is_storage_full
from station.core.context import Context
from station.core.reasons import Reason

TX_START_POINT: Final = "TxCtrlr.TxStartPoint"
TX_STOP_POINT: Final = "TxCtrlr.TxStopPoint"
RESUMPTION_TIMEOUT: Final = "TxCtrlr.ResumptionTimeout"

# A stopped transaction waits this long for the register of a silent meter; and after a restart a
# meter and a cable may take this long to report. It is as long as a silent meter is accepted while
# energy flows (`lost_s` of `[hardware.meter]`).
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
    reason: Reason  # its code is the name of the point


START_POINTS: Final[dict[str, StartPoint]] = {
    "EVConnected": StartPoint(
        lambda facts: facts.is_plugged_in and facts.is_newly_plugged,
        Reason(
            "an EV was plugged in: TxStartPoint EVConnected was reached", "E01.FR.02", ("cable",)
        ),
    ),
    "Authorized": StartPoint(
        lambda facts: facts.is_authorized,
        Reason(
            "{after}: TxStartPoint Authorized was reached",
            "E01.FR.03",
            ("authorization",),
            after=AuthorizationGranted,
        ),
    ),
    "PowerPathClosed": StartPoint(
        lambda facts: facts.is_authorized and facts.is_plugged_in,
        Reason(
            "{after}: TxStartPoint PowerPathClosed was reached",
            "E01.FR.05",
            ("authorization", "cable"),
            after=AuthorizationGranted,
        ),
    ),
    "EnergyTransfer": StartPoint(
        lambda facts: facts.is_charging,
        Reason(
            "energy began to flow: TxStartPoint EnergyTransfer was reached",
            "E01.FR.06",
            ("charging", "authorization"),
        ),
    ),
}


def reached_start_point(ctx: Context, evse_id: int) -> str | None:
    """The first point of TxStartPoint that is reached on an EVSE; None: none. E01.FR.02 to 06."""
    evse = ctx.state.evses.by_id(evse_id)
    is_authorized = ctx.state.authorizations.on_evse(evse_id) is not None
    if not (is_authorized or evse.is_plugged_in or evse.flow == "charging"):
        return None  # no row can hold: the usual case, found without reading the variable
    last_end_seq = ctx.state.transactions.last_end_seq(evse_id)
    facts = StartFacts(
        is_plugged_in=evse.is_plugged_in,
        is_newly_plugged=evse.cable_reported_seq > last_end_seq,
        is_authorized=is_authorized,
        is_charging=evse.flow == "charging",
    )
    for point in ctx.variable_list(TX_START_POINT):
        if point in START_POINTS and START_POINTS[point].is_reached(facts):
            return point
    return None


# --- Stop ----------------------------------------------------------------------------------------

StopReasons = tuple[str, str]  # TriggerReasonEnumType, ReasonEnumType

# Points at which the end of an authorization stops a transaction. For EnergyTransfer the transfer
# ends with the authorization. E06.FR.04: also if the CSMS ends the authorization.
AUTHORIZATION_STOP_POINTS: Final = {
    "Authorized": "E06.FR.03",
    "PowerPathClosed": "E06.FR.06",
    "EnergyTransfer": "E06.FR.07",
}
REMOTE_STOP: Final = "remote_stop"
RESUMPTION_REQUIREMENT: Final = "OCPP 2.1 E17.FR.20 to 22"


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
    """A row of the table of causes. Its code is recorded in `TransactionStopOrdered.because`."""

    code: str
    # TxStopPoint must contain one of them -> the requirement of that point; None: always counts
    stop_points: Mapping[str, str] | None
    holds: Callable[[StopFacts], bool]
    reasons: Callable[[StopFacts], StopReasons]
    reason: Reason  # with stop points: `{point}` in its text is replaced by the point


def _is_interrupted(facts: StopFacts) -> bool:
    """The start of this run of the program interrupted the transaction."""
    return facts.transaction.interrupted_seq == facts.ctx.state.lifecycle.started_seq


def _is_interruption_too_long(facts: StopFacts) -> bool:
    """The program was away longer than ResumptionTimeout."""
    downtime_ms = facts.ctx.state.lifecycle.downtime_ms
    return (
        _is_interrupted(facts)
        and downtime_ms is not None
        and downtime_ms > _resumption_limit_ms(facts.ctx)
    )


def _is_interruption_unknown(facts: StopFacts) -> bool:
    """Nothing shows how long the program was away: the clock ran backwards, for example."""
    return _is_interrupted(facts) and facts.ctx.state.lifecycle.downtime_ms is None


def _is_evse_lost(facts: StopFacts) -> bool:
    """After an interruption the cable of the EVSE has not been reported in time."""
    if not _is_interrupted(facts) or facts.evse.is_cable_known:
        return False
    lifecycle = facts.ctx.state.lifecycle
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


def _is_authorization_lost(facts: StopFacts) -> bool:
    """Nothing else would ever end it. Only damage to the journal leaves such a transaction. P5"""
    transaction = facts.transaction
    if facts.end is not None or facts.is_authorized:
        return False
    if not transaction.authorization_seq:
        return facts.is_unplugged and transaction.evse_id != 0
    active = facts.ctx.state.authorizations.active
    return all(each.seq != transaction.authorization_seq for each in active)


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
        "fault",
        None,
        lambda facts: facts.ctx.state.faults.blocking_fault(facts.transaction.evse_id) is not None,
        _fault_reasons,
        Reason(
            "{location} had a fault, {cause.device} {cause.fault}: charging was not allowed",
            "E06.FR.16",
            ("has_blocking_fault",),
        ),
    ),
    StopCause(
        "interrupted",
        None,
        _is_interruption_too_long,
        _interruption_reasons,
        Reason(
            "{outage} for {outage_s} s, more than TxCtrlr.ResumptionTimeout",
            RESUMPTION_REQUIREMENT,
            ("program_started",),
        ),
    ),
    StopCause(
        "interrupted_for_unknown_time",
        None,
        _is_interruption_unknown,
        _interruption_reasons,
        Reason("{outage} for an unknown time{clock}", RESUMPTION_REQUIREMENT, ("program_started",)),
    ),
    StopCause(
        "evse_lost",
        None,
        _is_evse_lost,
        _interruption_reasons,
        Reason(
            "{outage}, and then the EVSE reported nothing",
            RESUMPTION_REQUIREMENT,
            ("program_started",),
        ),
    ),
    StopCause(
        "reset",
        None,
        _is_reset_immediate,
        lambda facts: ("ResetCommand", "ImmediateReset"),
        Reason("an immediate reset was requested", "B12.FR.04", ("reset_ordered",)),
    ),
    StopCause(  # what is left of the disk is reserved for ends. P6
        "storage_full",
        None,
        lambda facts: is_storage_full(facts.ctx),
        lambda facts: ("AbnormalCondition", "Other"),
        Reason(
            "the disk had space left only to end open transactions",
            "E06.FR.16",
            ("is_storage_full",),
        ),
    ),
    StopCause(
        "authorization_ended",
        AUTHORIZATION_STOP_POINTS,
        lambda facts: facts.end is not None,
        _end_reasons,
        Reason(
            "{after}: TxStopPoint {point} was reached",
            facts=("authorization_ended",),
            after=AuthorizationEnded,
        ),
    ),
    StopCause(
        "not_connected",
        None,
        lambda facts: facts.end is not None and facts.end.trigger_reason == "EVConnectTimeout",
        _end_reasons,
        Reason("{after}", facts=("authorization_ended",), after=AuthorizationEnded),
    ),
    StopCause(
        "unplugged",
        {"EVConnected": "E06.FR.02", "PowerPathClosed": "E06.FR.06"},
        lambda facts: facts.is_ev_gone,
        _unplug_reasons,
        Reason(
            "the EV was disconnected: TxStopPoint {point} was reached",
            facts=("cable", "authorization_ended"),
            after=AuthorizationEnded,
        ),
    ),
    StopCause(
        "unplugged_without_authorization",
        None,
        lambda facts: facts.is_ev_gone and not facts.is_authorized,
        _unplug_reasons,
        Reason(
            "the EV was disconnected, and without an authorization no TxStopPoint can be reached",
            "E06.FR.02",
            ("cable", "authorization_ended"),
            after=AuthorizationEnded,
        ),
    ),
    StopCause(
        "ended_before_connection",
        None,
        lambda facts: facts.end is not None and facts.is_unplugged,
        _end_reasons,
        Reason(
            "{after}, before an EV was connected",
            "E06.FR.03",
            ("authorization_ended",),
            after=AuthorizationEnded,
        ),
    ),
    StopCause(
        "transfer_stopped",
        {"EnergyTransfer": "E06.FR.07"},
        _has_transfer_stopped,
        _transfer_reasons,
        Reason("energy stopped flowing: TxStopPoint {point} was reached", facts=("flow",)),
    ),
    StopCause(
        "authorization_lost",
        None,
        _is_authorization_lost,
        lambda facts: ("AbnormalCondition", "Other"),
        Reason("entries of its authorization are missing from the journal", "E06.FR.16"),
    ),
)


class Stop(NamedTuple):
    """A cause that holds, the code to record, and the reasons that the CSMS receives."""

    cause: StopCause
    because: str  # the code of the cause; with stop points CODE/POINT
    reasons: StopReasons


def find_stop(ctx: Context, transaction: Transaction) -> Stop | None:
    """The first cause that holds; None: the transaction goes on."""
    facts = _gather_stop_facts(ctx, transaction)
    for cause in STOP_CAUSES:
        if not cause.holds(facts):
            continue
        if cause.stop_points is None:
            return Stop(cause, cause.code, cause.reasons(facts))
        for point in ctx.variable_list(TX_STOP_POINT):
            if point in cause.stop_points:
                return Stop(cause, f"{cause.code}/{point}", cause.reasons(facts))
    return None


def _stop_reasons() -> Iterator[tuple[str, Reason]]:
    """Code and row of each cause; with stop points one for each point."""
    for cause in STOP_CAUSES:
        if cause.stop_points is None:
            yield cause.code, cause.reason
            continue
        for point, requirement in cause.stop_points.items():
            text = cause.reason.text.replace("{point}", point)
            yield f"{cause.code}/{point}", replace(cause.reason, text=text, requirement=requirement)


START_REASONS: Final = {point: row.reason for point, row in START_POINTS.items()}
STOP_REASONS: Final = {
    **dict(_stop_reasons()),
    # RequestStopTransaction for a transaction without an active authorization
    REMOTE_STOP: Reason("the CSMS requested it", "F03.FR.03"),
}


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


def stops_with_authorization(ctx: Context) -> bool:
    """Whether TxStopPoint makes the end of an authorization stop the transaction."""
    return not AUTHORIZATION_STOP_POINTS.keys().isdisjoint(ctx.variable_list(TX_STOP_POINT))
