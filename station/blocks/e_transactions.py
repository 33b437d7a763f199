"""When does a transaction start, change and end, and what is the CSMS told of it? (Block E)

Rules compare what is true of an EVSE with what the CSMS was told, and close the gap. They run
after every entry, so nothing has to be remembered between two of them, and a restart needs no
special case: what is still open goes on from what is then true.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.observations import (
    CableReported,
    DeviceFaulted,
    EvStopped,
    StopPressed,
)
from journal.projections.authorizations import (
    Authorization,
    AuthorizationEnded,
    AuthorizationLimited,
    AuthorizationSuspended,
)
from journal.projections.hardware import Evse
from journal.projections.outbox import CallQueued, TransactionMark
from journal.projections.transactions import (
    GroupLearned,
    Sample,
    SampleKept,
    Transaction,
    TransactionAuthorized,
    TransactionStarted,
    TransactionStopping,
    charged_ms,
)
from journal.terms import Decision, Event
from station.blocks.c_authorization import remembered
from station.blocks.standing import charging_state, full, in_service
from station.case import Call, Case, Handler, Rule, answer, raw, token_of, token_type
from station.messages import timestamp
from station.messages.datatypes import EVSEType, MeterValueType
from station.messages.e_transactions import (
    GetTransactionStatusRequest,
    GetTransactionStatusResponse,
    TransactionEventRequest,
    TransactionEventResponse,
    TransactionType,
)
from station.messages.primitives import CustomDataType
from station.metering import meter_value, sample_of

START_POINT: Final = "TxCtrlr.TxStartPoint"
STOP_POINT: Final = "TxCtrlr.TxStopPoint"
STOP_INVALID: Final = "TxCtrlr.StopTxOnInvalidId"
ENERGY_INVALID: Final = "TxCtrlr.MaxEnergyOnInvalidId"
RESUMPTION: Final = "TxCtrlr.ResumptionTimeout"
VENDOR_ID: Final = "ocpp-station.journal"  # of our customData, and so the instance of the variable
WITNESS: Final = f"CustomizationCtrlr.CustomImplementationEnabled[{VENDOR_ID}]"
SAMPLES_STARTED: Final = "SampledDataCtrlr.TxStartedMeasurands"
SAMPLES_UPDATED: Final = "SampledDataCtrlr.TxUpdatedMeasurands"
SAMPLES_ENDED: Final = "SampledDataCtrlr.TxEndedMeasurands"
SAMPLES_ENABLED: Final = "SampledDataCtrlr.Enabled"
ALIGNED_ENDED: Final = "AlignedDataCtrlr.TxEndedMeasurands"
CLOCK: Final = "Sample.Clock"
INTERVAL_UPDATED: Final = "SampledDataCtrlr.TxUpdatedInterval"
INTERVAL_ENDED: Final = "SampledDataCtrlr.TxEndedInterval"

POWER_DOWN_MS: Final = 6_000  # a normal stop takes at most 5 s; after that the end is told anyway
METER_WAIT_MS: Final = 30_000  # after a restart, for the meter's word on an interrupted transaction
FINAL_POINTS: Final = frozenset({"Authorized", "PowerPathClosed", "EnergyTransfer"})


def start_condition(case: Case, evse_id: int) -> bool:
    """Whether one of the conditions of TxStartPoint holds. E01.FR.01 to 06."""
    evse = case.state.hardware.at(evse_id)
    held = case.state.authorizations.at(evse_id)
    if held is None and not evse.plugged and evse.flow != "charging":
        return False  # nobody is here, whatever the points are
    points = case.members(START_POINT)
    return (
        ("EVConnected" in points and evse.plugged and _newly_plugged(case, evse))
        or ("Authorized" in points and held is not None)
        or ("PowerPathClosed" in points and held is not None and evse.plugged)
        or ("EnergyTransfer" in points and evse.flow == "charging")
    )


def _newly_plugged(case: Case, evse: Evse) -> bool:
    """Whether this connection has not had its transaction yet."""
    return evse.plugged_seq > case.state.transactions.last_end(evse.evse_id)


# --- Starting ------------------------------------------------------------------------------------


def starts(case: Case) -> Iterator[Decision]:
    """Begin a transaction where a start point is reached and none is open. E01.FR.14."""
    for evse in case.state.hardware.evses:
        if case.state.transactions.at(evse.evse_id) or not start_condition(case, evse.evse_id):
            continue
        if not in_service(case, evse.evse_id):
            continue
        held = case.state.authorizations.at(evse.evse_id)
        yield TransactionStarted(
            transaction_id=case.name("transaction", evse.evse_id, case.entry.seq),
            evse_id=evse.evse_id,
            trigger_reason=_start_trigger(case, held),
            granted_seq=held.seq if held else 0,
            id_token=held.id_token if held else None,
            group=held.granted.group if held else None,
            remote_start_id=held.granted.remote_start_id if held else None,
        )


def starts_unbound(case: Case) -> Iterator[Decision]:
    """With TxStartPoint Authorized a person's transaction begins before their cable. E01.FR.03."""
    unbound = case.state.authorizations.unbound
    if not unbound or "Authorized" not in case.members(START_POINT):
        return
    begun = {transaction.granted_seq for transaction in case.state.transactions.open}
    for held in unbound:
        if held.seq not in begun:
            yield TransactionStarted(
                transaction_id=case.name("transaction", "unbound", held.seq),
                evse_id=0,
                trigger_reason="Authorized",
                granted_seq=held.seq,
                id_token=held.id_token,
                group=held.granted.group,
            )


def _start_trigger(case: Case, held: Authorization | None) -> str:
    """TriggerReasonEnumType of the first event. F02.FR.21: a remote start always says so."""
    if held and held.granted.remote_start_id is not None:
        return "RemoteStart"
    if isinstance(case.entry.event, CableReported):
        return "CablePluggedIn"
    return "Authorized" if held else "CablePluggedIn"


def first_events(case: Case) -> Iterator[Decision]:
    """Tell of a transaction that has not been told of. E01.FR.07: seqNo 0."""
    for transaction in case.state.transactions.open:
        if transaction.next_seq_no == 0:
            trigger = _started_trigger(case, transaction)
            yield event(case, transaction, "Started", trigger)


def _started_trigger(case: Case, transaction: Transaction) -> str:
    if transaction.remote_start_id is not None:
        return "RemoteStart"
    if not transaction.evse_id:
        return "Authorized"  # nothing else begins one before its cable: E01.FR.03
    return _start_trigger(case, case.state.authorizations.at(transaction.evse_id))


def authorizes(case: Case) -> Iterator[Decision]:
    """Someone may charge in a transaction that began without. E02.FR.20."""
    for transaction in case.state.transactions.open:
        held = case.state.authorizations.at(transaction.evse_id)
        if held is None or transaction.stopping:
            continue
        if transaction.id_token is None or transaction.authorization_end is not None:
            yield TransactionAuthorized(
                transaction_id=transaction.transaction_id,
                granted_seq=held.seq,
                id_token=held.id_token,
                group=held.granted.group,
                remote_start_id=held.granted.remote_start_id,
            )


# --- Ending --------------------------------------------------------------------------------------


def pressed(case: Case) -> Iterator[Decision]:
    """The stop button ends the right to charge, as the person's own token would. E07.FR.05."""
    assert isinstance(case.entry.event, StopPressed)
    held = case.state.authorizations.at(case.entry.event.evse_id)
    if held:
        yield end_of(held, "StopAuthorized", "Local")


def stopped_by_ev(case: Case) -> Iterator[Decision]:
    """The EV ended its session. E15.FR.04, E15.FR.05."""
    assert isinstance(case.entry.event, EvStopped)
    held = case.state.authorizations.at(case.entry.event.evse_id)
    if held:
        yield end_of(held, "StopAuthorized", "StoppedByEV")


def end_of(held: Authorization, trigger_reason: str, stopped_reason: str) -> AuthorizationEnded:
    return AuthorizationEnded(
        granted_seq=held.seq,
        evse_id=held.evse_id,
        trigger_reason=trigger_reason,
        stopped_reason=stopped_reason,
    )


def unplugged(case: Case) -> Iterator[Decision]:
    """With StopTxOnEVSideDisconnect the right to charge ends with the connection. E09.FR.01."""
    match case.entry.event:
        case CableReported(evse_id=evse_id, plugged=False):
            held = case.state.authorizations.at(evse_id)
            used = case.state.transactions.at(evse_id)
            if held and used and case.flag("TxCtrlr.StopTxOnEVSideDisconnect", absent=True):
                yield end_of(held, "EVCommunicationLost", "EVDisconnected")
        case _:
            return


def stops(case: Case) -> Iterator[Decision]:
    """Decide which open transactions shall end, and why. E06."""
    for transaction in case.state.transactions.open:
        if transaction.stopping is None:
            yield from _stop(case, transaction)


def _stop(case: Case, transaction: Transaction) -> Iterator[Decision]:
    cause = (
        _fault_cause(case, transaction)
        or _interruption_cause(case, transaction)
        or _reset_cause(case)
        or _storage_cause(case)
        or _stop_point_cause(case, transaction)
    )
    if cause is None:
        return
    trigger_reason, stopped_reason = cause
    end = transaction.authorization_end
    yield TransactionStopping(
        transaction_id=transaction.transaction_id,
        trigger_reason=trigger_reason,
        stopped_reason=stopped_reason,
        id_token=end.id_token if end else None,
    )


Cause = tuple[str, str]  # TriggerReasonEnumType, ReasonEnumType


def _fault_cause(case: Case, transaction: Transaction) -> Cause | None:
    """E06.FR.16: a fault that forbids charging ends what runs."""
    fault: DeviceFaulted | None = case.state.faults.blocking(transaction.evse_id)
    return ("AbnormalCondition", fault.stopped_reason) if fault else None


def _interruption_cause(case: Case, transaction: Transaction) -> Cause | None:
    """The program was away too long, or cannot know for how long, or never finds its EVSE again.

    The pattern of OCPP 2.1 E17.FR.20 to 22.
    """
    life = case.state.lifecycle
    if transaction.interrupted_seq != life.started_seq:
        return None
    limit_ms = case.integer(RESUMPTION) * 1000
    away = life.gap_ms is None or life.gap_ms > limit_ms
    unseen = not case.state.hardware.at(transaction.evse_id).known
    lost = unseen and case.uptime_ms - life.started_ms > max(limit_ms, METER_WAIT_MS)
    if away or lost:
        return "AbnormalCondition", "PowerLoss" if life.supply_lost else "Reboot"
    return None


def _reset_cause(case: Case) -> Cause | None:
    """B12.FR.04: an immediate reset ends what runs."""
    reset = case.state.lifecycle.reset
    if reset and reset.kind == "Immediate":
        return "ResetCommand", "ImmediateReset"
    return None


def _storage_cause(case: Case) -> Cause | None:
    """What is left of the disk is kept for the ends of what runs."""
    return ("AbnormalCondition", "Other") if full(case) else None


def _stop_point_cause(case: Case, transaction: Transaction) -> Cause | None:
    """E06.FR.02, E06.FR.03, E06.FR.06, E06.FR.07."""
    points = frozenset(case.members(STOP_POINT))
    evse = case.state.hardware.at(transaction.evse_id)
    end = transaction.authorization_end
    if end and points & FINAL_POINTS:
        return end.trigger_reason, end.stopped_reason
    if end and end.trigger_reason == "EVConnectTimeout":
        return end.trigger_reason, end.stopped_reason  # E03.FR.05
    gone = evse.known and not evse.plugged and transaction.charging_state not in (None, "Idle")
    held = case.state.authorizations.at(transaction.evse_id)
    # Without a cable and an authorization no stop point can be reached any more.
    if gone and (held is None or points & {"EVConnected", "PowerPathClosed"}):
        return "EVCommunicationLost", (end.stopped_reason if end else "EVDisconnected")
    if end and evse.known and not evse.plugged:
        return end.trigger_reason, end.stopped_reason  # it never began
    paused = transaction.energy_flowed and transaction.charging_since_ms is None
    if "EnergyTransfer" in points and paused:  # even for a moment: Part 2 §2.6.5
        reason = "StoppedByEV" if evse.flow == "suspended_ev" else "Other"
        return "ChargingStateChanged", "EVDisconnected" if gone else reason
    return None


def ends(case: Case) -> Iterator[Decision]:
    """Tell of the end as soon as no energy flows, so that the last register is the last."""
    for transaction in case.state.transactions.open:
        stop = transaction.stopping
        if stop and _settled(case, transaction):
            yield event(case, transaction, "Ended", stop.trigger_reason, stop=stop)


def _settled(case: Case, transaction: Transaction) -> bool:
    if transaction.evse_id == 0:
        return True  # it never had a place where energy could flow
    waited_ms = case.uptime_ms - transaction.stopping_ms
    evse = case.state.hardware.at(transaction.evse_id)
    if transaction.interrupted_seq == case.state.lifecycle.started_seq:
        reading = case.state.readings.of(transaction.evse_id)
        fresh = reading is not None and reading.seq > transaction.interrupted_seq
        return (fresh and evse.powerless) or waited_ms >= METER_WAIT_MS
    return evse.powerless or waited_ms >= POWER_DOWN_MS


# --- Changing ------------------------------------------------------------------------------------


def changes(case: Case) -> Iterator[Decision]:
    """Tell what changed in a transaction that goes on. E02.FR.13, E02.FR.17."""
    for transaction in case.state.transactions.open:
        if transaction.stopping or transaction.next_seq_no == 0:
            continue
        if not case.state.hardware.at(transaction.evse_id).known:
            continue  # after a start, until the EVSE has spoken
        trigger = _change(case, transaction)
        if trigger:
            yield event(case, transaction, "Updated", trigger)


def _change(case: Case, transaction: Transaction) -> str | None:
    if transaction.remote_start_id is not None and not transaction.remote_start_told:
        return "RemoteStart"  # F01.FR.19
    if transaction.id_token is not None and not transaction.id_token_told:
        return "Authorized"  # E02.FR.01
    end = transaction.authorization_end
    if end and not transaction.authorization_end_told:
        return end.trigger_reason  # E05.FR.09, F03.FR.02
    now = charging_state(case, transaction.evse_id)
    if now == transaction.charging_state:
        return None
    if transaction.charging_state == "Idle" and now == "EVConnected":
        return "CablePluggedIn"
    return "EVCommunicationLost" if now == "Idle" else "ChargingStateChanged"


def samples(case: Case) -> Iterator[Decision]:
    """Take the periodic samples that are due. J02.FR.11, and SampledDataCtrlr.TxEndedInterval."""
    if not case.state.transactions.open:
        return
    interval_ms, ended_ms = _intervals_ms(case)
    for transaction in case.state.transactions.open:
        if transaction.stopping or transaction.next_seq_no == 0:
            continue
        if not case.state.hardware.at(transaction.evse_id).known:
            continue
        if interval_ms and case.uptime_ms >= transaction.sampled_ms + interval_ms:
            yield event(case, transaction, "Updated", "MeterValuePeriodic")
        reading = case.state.readings.of(transaction.evse_id)
        if ended_ms and reading and case.uptime_ms >= transaction.kept_ms + ended_ms:
            sample = sample_of(reading, "Sample.Periodic")
            yield SampleKept(transaction.transaction_id, sample)


def _intervals_ms(case: Case) -> tuple[int, int]:
    """Between two samples that are told, and two that are kept for the end; 0: none are taken."""
    if not case.flag(SAMPLES_ENABLED, absent=True):
        return 0, 0
    return case.integer(INTERVAL_UPDATED) * 1000, case.integer(INTERVAL_ENDED) * 1000


def next_sample_ms(case: Case) -> Iterator[int]:
    """Uptimes at which `samples` and `ends` have something to do."""
    if not case.state.transactions.open:
        return
    interval_ms, ended_ms = _intervals_ms(case)
    for transaction in case.state.transactions.open:
        if transaction.evse_id == 0:
            continue  # it waits for a cable, and c_authorization says for how long
        if transaction.stopping:
            interrupted = transaction.interrupted_seq == case.state.lifecycle.started_seq
            yield transaction.stopping_ms + (METER_WAIT_MS if interrupted else POWER_DOWN_MS)
            continue
        if not case.state.hardware.at(transaction.evse_id).known:
            wait_ms = max(case.integer(RESUMPTION) * 1000, METER_WAIT_MS)
            yield case.state.lifecycle.started_ms + wait_ms + 1
            continue
        if interval_ms:
            yield transaction.sampled_ms + interval_ms
        if ended_ms:
            yield transaction.kept_ms + ended_ms


# --- The message ---------------------------------------------------------------------------------


def event(
    case: Case,
    transaction: Transaction,
    event_type: str,
    trigger_reason: str,
    *,
    stop: TransactionStopping | None = None,
    values: tuple[MeterValueType, ...] | None = None,
) -> CallQueued:
    """One TransactionEvent: counted, marked, ready to be sent at any time. E01.FR.07, E01.FR.15.

    What OCPP wants told once (evse, idToken, remoteStartId) goes into the first event that can
    tell it. E01.FR.16, E03.FR.01, F02.FR.21.
    """
    state = charging_state(case, transaction.evse_id)
    evse = case.state.hardware.at(transaction.evse_id)
    values = values or _values(case, transaction, event_type, trigger_reason)
    tells = tuple(_telling(transaction, evse.plugged))
    if values and (event_type == "Started" or _begins(transaction, state)):
        tells = (*tells, "begin")
    id_token = transaction.id_token if "id_token" in tells else None
    if stop and stop.id_token:
        id_token = stop.id_token  # E07.FR.02
    elif trigger_reason == "StopAuthorized" and transaction.authorization_end:
        id_token = transaction.authorization_end.id_token or id_token
    request = TransactionEventRequest(
        event_type=event_type,  # type: ignore[arg-type]
        timestamp=timestamp(case.now),
        trigger_reason=trigger_reason,  # type: ignore[arg-type]
        seq_no=transaction.next_seq_no,
        transaction_info=TransactionType(
            transaction_id=transaction.transaction_id,
            charging_state=state,  # type: ignore[arg-type]
            time_spent_charging=charged_ms(transaction, case.uptime_ms) // 1000,
            stopped_reason=stop.stopped_reason if stop else None,  # type: ignore[arg-type]
            remote_start_id=transaction.remote_start_id if "remote_start" in tells else None,
        ),
        meter_value=values or None,
        evse=EVSEType(id=transaction.evse_id, connector_id=evse.plugged_at or None)
        if "evse" in tells or (trigger_reason == "Trigger" and transaction.evse_id)  # TC_F_14
        else None,
        id_token=token_type(id_token) if id_token else None,
        custom_data=_head(case) if event_type == "Ended" else None,
    )
    mark = TransactionMark(
        transaction_id=transaction.transaction_id,
        evse_id=transaction.evse_id,
        seq_no=transaction.next_seq_no,
        event_type=event_type,  # type: ignore[arg-type]
        trigger_reason=trigger_reason,
        charging_state=state,
        tells=tells,
        id_token=id_token,
        granted_seq=transaction.granted_seq,
    )
    return CallQueued(
        lane="transaction", action="TransactionEvent", payload=raw(request), transaction=mark
    )


def names_head(case: Case) -> bool:
    """Whether the last event of a transaction names the head of the journal. Part 2 §2.1.33."""
    return case.flag(WITNESS)


def _head(case: Case) -> CustomDataType | None:
    """The head before the commit, so that the CSMS can tell later if the tail was cut off."""
    noted = case.state.heads.noted
    if noted is None or not names_head(case):
        return None
    return CustomDataType(vendorId=VENDOR_ID, seq=noted.head_seq, digest=noted.head_digest)


def _telling(transaction: Transaction, plugged: bool) -> Iterator[str]:
    if not transaction.evse_told and plugged:
        yield "evse"
    if transaction.id_token is not None and not transaction.id_token_told:
        yield "id_token"
    if transaction.remote_start_id is not None and not transaction.remote_start_told:
        yield "remote_start"
    if transaction.authorization_end is not None:
        yield "end"


# (eventType, triggerReason or "") -> (variable that lists the measurands, reading context)
CONTEXTS: Final = {
    ("Started", ""): (SAMPLES_STARTED, "Transaction.Begin"),  # E01.FR.09
    ("Updated", "MeterValuePeriodic"): (SAMPLES_UPDATED, "Sample.Periodic"),  # J02.FR.11
    ("Updated", "Trigger"): (SAMPLES_UPDATED, "Trigger"),  # F06.FR.07
    ("Ended", ""): (SAMPLES_ENDED, "Transaction.End"),  # E06.FR.11
}


def _begins(transaction: Transaction, state: str) -> bool:
    """Charging starts, and the first event could not tell the meter's state. E01.FR.17."""
    return not transaction.begin_told and state == "Charging"


def _values(
    case: Case, transaction: Transaction, event_type: str, trigger_reason: str
) -> tuple[MeterValueType, ...]:
    found = CONTEXTS.get((event_type, trigger_reason)) or CONTEXTS.get((event_type, ""))
    if event_type == "Updated" and _begins(transaction, charging_state(case, transaction.evse_id)):
        found = CONTEXTS["Started", ""]  # E02.FR.21, E03.FR.11
    reading = case.state.readings.of(transaction.evse_id)
    if found is None or reading is None:
        return ()
    variable, context = found
    samples: tuple[Sample, ...] = transaction.kept if event_type == "Ended" else ()
    if context == "Trigger" or case.flag(SAMPLES_ENABLED, absent=True):
        samples = (*samples, sample_of(reading, context))
    else:
        samples = tuple(one for one in samples if one.context == CLOCK)
    chosen = {CLOCK: ALIGNED_ENDED}  # J01.FR.07, TC_J_03: what the clock took has its own list
    values = (meter_value(one, case.members(chosen.get(one.context, variable))) for one in samples)
    return tuple(value for value in values if value is not None)


# --- What the CSMS says --------------------------------------------------------------------------


def transaction_event_answered(
    case: Case, call: int, response: TransactionEventResponse
) -> Iterator[Decision]:
    """The CSMS gave its view of the token. E05, C10.FR.05, C12.FR.06, C15."""
    info, id_token = response.id_token_info, case.state.outbox.judges.get(call)
    if info is None or id_token is None:
        return
    if id_token.ref in case.state.auth_cache.entries:  # a new one only by Authorize: C15.FR.01
        yield from remembered(case, id_token, info)
    transaction = case.state.transactions.of(case.state.outbox.owner_of(call) or "")
    if transaction is None or transaction.id_token != id_token:
        return  # it is over, or this token only ended it
    if info.group_id_token and transaction.group is None:
        yield GroupLearned(transaction.transaction_id, token_of(info.group_id_token))
    held = case.state.authorizations.at(transaction.evse_id)
    if info.status == "Accepted" or held is None or transaction.stopping:
        return
    if case.flag(STOP_INVALID, absent=True):
        yield end_of(held, "Deauthorized", "DeAuthorized")  # E05.FR.09, E05.FR.10
    elif held.until_wh is None and not held.suspended:
        yield from _suspended(case, held, info.status)


def _suspended(case: Case, held: Authorization, status: str) -> Iterator[Decision]:
    """No more energy, or MaxEnergyOnInvalidId at most. E05.FR.02, E05.FR.03, C15.FR.06/07."""
    reading = case.state.readings.of(held.evse_id or 0)
    allowance_wh = case.integer(ENERGY_INVALID)
    if allowance_wh and reading:
        until_wh = reading.read.energy_wh + allowance_wh
        yield AuthorizationLimited(held.seq, status, until_wh)
    else:
        yield AuthorizationSuspended(held.seq, status)


def exhausts(case: Case) -> Iterator[Decision]:
    """The energy that was still allowed has flowed. E05.FR.02, E05.FR.03."""
    for held in case.state.authorizations.held:
        reading = case.state.readings.of(held.evse_id or 0)
        if held.suspended or held.until_wh is None or reading is None:
            continue
        if reading.read.energy_wh >= held.until_wh:
            yield AuthorizationSuspended(held.seq, "MaxEnergyOnInvalidId")


def get_transaction_status(
    case: Case, call: Call, request: GetTransactionStatusRequest
) -> Iterator[Decision]:
    """Does it run, and do messages wait? E14.FR.01 to 08."""
    outbox, named = case.state.outbox, request.transaction_id
    if named is None:
        waits = len(outbox.transaction) > 0
        yield answer(call, GetTransactionStatusResponse(messages_in_queue=waits))
        return
    yield answer(
        call,
        GetTransactionStatusResponse(
            messages_in_queue=outbox.transaction.owns(named),
            ongoing_indicator=case.state.transactions.of(named) is not None,
        ),
    )


CALLS: dict[str, Handler] = {"GetTransactionStatus": get_transaction_status}
OBSERVED: Final[dict[type[Event], Rule]] = {StopPressed: pressed, EvStopped: stopped_by_ev}
