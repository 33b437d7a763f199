"""What do we settle because of an observation?

`judge` is pure and total: any observation in any state gives entries, never an exception. Rules
run in the order of `RULES`; each sees the memory with everything decided before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from journal.observations import FrameGarbled, FrameReceived, PayloadLost
from journal.projections.condition import JudgementFailed
from journal.projections.outbox import InFlight
from journal.state import State, evolve
from journal.terms import FAULTS, Decision, Entry, Event
from station import delivery, ocppj
from station.blocks import (
    a_security,
    b_networks,
    b_registration,
    b_reset,
    b_variables,
    c_authorization,
    e_transactions,
    f_remote_control,
    g_availability,
    j_metering,
    l_firmware,
    m_certificates,
    n_customers,
    n_logs,
    p_data_transfer,
    unsupported,
)
from station.case import Call, Case, Handler, Product, Result, Rule, refuse
from station.messages import ACTIONS, Datatype, decode_request, decode_response
from station.messages.e_transactions import TransactionEventResponse
from station.messages.violations import violation


def judge(product: Product, state: State, entry: Entry) -> tuple[list[Entry], State]:
    """The observation, the decisions made because of it, and the memory that holds them all."""
    entries = [entry]
    state = evolve(state, entry)
    case = Case(product, state, entry)
    for rule in RULES:
        try:
            decisions = tuple(rule(case))
        except FAULTS as fault:
            decisions = (_failed(rule, fault),)
        if not decisions:  # as nearly all of them
            continue
        for decision in decisions:
            settled = Entry(
                entry.seq + len(entries), entry.at, entry.uptime_ms, decision, cause=entry.seq
            )
            entries.append(settled)
            state = evolve(state, settled)
        case = Case(product, state, entry)
    return entries, state


def _failed(rule: Rule, fault: Exception) -> Decision:
    """A rule with a fault of ours decides nothing but that it failed. P8."""
    name = f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}"
    return JudgementFailed(name, type(fault).__name__)


# --- Observations --------------------------------------------------------------------------------


def observed(case: Case) -> Iterator[Decision]:
    """What an observation means by itself."""
    rule = OBSERVED.get(type(case.entry.event))
    if rule is not None:
        yield from rule(case)


def garbled(case: Case) -> Iterator[Decision]:
    """Something came that is no message at all. Part 4 §4.2.3."""
    fault = case.entry.event
    assert isinstance(fault, FrameGarbled)
    call = Call(ocppj.UNREADABLE_ID, "", msgspec.Raw(b"{}"))
    yield refuse(call, "RpcFrameworkError", fault.why)
    yield from a_security.logged(case, "InvalidMessages", fault.why)


def received(case: Case) -> Iterator[Decision]:
    """A frame of the CSMS."""
    assert isinstance(case.entry.event, FrameReceived)
    match ocppj.read(case.entry.event.frame):
        case ocppj.CallFrame() as frame:
            yield from _called(case, Call(frame.message_id, frame.action, frame.payload))
        case ocppj.ResultFrame(message_id=message_id, payload=payload):
            yield from _answered(case, message_id, payload)
        case ocppj.ErrorFrame() as error:
            yield from _refused(case, error)
        case ocppj.BrokenFrame() as broken:
            if broken.answer:
                call = Call(broken.message_id, "", msgspec.Raw(b"{}"))
                yield refuse(call, broken.code, broken.why)
            yield from a_security.logged(case, "InvalidMessages", broken.why)


# --- The CSMS calls ------------------------------------------------------------------------------


def _called(case: Case, call: Call) -> Iterator[Decision]:
    """Judge a CALL: known, allowed now, well-formed, and then by its block."""
    action = ACTIONS.get(call.action)
    if action is None:
        yield refuse(call, "NotImplemented", f"no action {call.action[:50]}")
        return
    if case.state.registration.status == "Rejected":
        yield refuse(call, "SecurityError", "this station is not accepted")  # B03.FR.08
        return
    handler = CALLS.get(call.action)
    if handler is None:
        yield refuse(call, "NotSupported", f"{call.action} is not supported by this station")
        return
    try:
        request = decode_request(call.action, call.payload)
    except msgspec.ValidationError as error:
        code, description = violation(error)
        yield refuse(call, code, description)
        return
    yield from _handled(case, call, handler, request)


def _handled(case: Case, call: Call, handler: Handler, request: Datatype) -> Iterator[Decision]:
    """A fault of ours in one handler must not stop the station: the CSMS hears InternalError.

    What the handler decided before it failed is not taken, so nothing is half done.
    """
    try:
        decisions = tuple(handler(case, call, request))
    except FAULTS as error:
        where = f"{type(error).__name__} in the judgement of {call.action}"
        yield refuse(call, "InternalError", where)
        return
    yield from decisions


# --- The CSMS answers ----------------------------------------------------------------------------


def _answered(case: Case, message_id: str, payload: msgspec.Raw) -> Iterator[Decision]:
    """A CALLRESULT: to the call in flight, or late to an earlier attempt."""
    found = case.state.outbox.named(message_id)
    if found is None:
        return  # to nothing we asked: the journal has it, and that is all it deserves
    call, current = found
    flight = case.state.outbox.in_flight
    action = flight.action if current and flight else "TransactionEvent"
    try:
        response: Any = decode_response(action, payload)
    except msgspec.ValidationError as error:
        if action == "BootNotification" and flight:
            yield from delivery.failed(case, flight, f"unusable answer: {violation(error)[1]}")
            return
        response = None  # it was received all the same
    yield from _result(case, action, call, response)
    yield from delivery.delivered(case, call, message_id)


def _result(case: Case, action: str, call: int, response: Any) -> Iterator[Decision]:
    if action == "TransactionEvent":
        if isinstance(response, TransactionEventResponse):
            yield from e_transactions.transaction_event_answered(case, call, response)
    elif action in RESULTS:
        yield from RESULTS[action](case, call, response)


def _refused(case: Case, error: ocppj.ErrorFrame) -> Iterator[Decision]:
    """A CALLERROR counts against the attempt it answers. E13.FR.02."""
    flight: InFlight | None = case.state.outbox.in_flight
    if flight is None or flight.message_id != error.message_id:
        return
    if flight.action in RESULTS and flight.action != "BootNotification":
        yield from RESULTS[flight.action](case, flight.call, None)
    yield from delivery.refused(case, flight, f"{error.code}: {error.description}"[:300])


def overdue(case: Case) -> Iterator[Decision]:
    """No answer came: whoever waits for one hears so before the call is given up."""
    flight = case.state.outbox.in_flight
    if flight is None or not delivery.is_overdue(case, flight):
        return
    if flight.action in RESULTS and flight.action != "BootNotification":
        yield from RESULTS[flight.action](case, flight.call, None)
    yield from delivery.failed(case, flight, delivery.silence(case))


# --- Tables --------------------------------------------------------------------------------------

CALLS: Final[dict[str, Handler]] = {
    **unsupported.CALLS,
    **b_networks.CALLS,
    **b_reset.CALLS,
    **b_variables.CALLS,
    **c_authorization.CALLS,
    **e_transactions.CALLS,
    **f_remote_control.CALLS,
    **g_availability.CALLS,
    **l_firmware.CALLS,
    **n_customers.CALLS,
    **n_logs.CALLS,
    **p_data_transfer.CALLS,
    **m_certificates.CALLS,
}

RESULTS: Final[dict[str, Result]] = {
    "Authorize": c_authorization.authorize_answered,
    **b_registration.RESULTS,
}

OBSERVED: Final[dict[type[Event], Rule]] = {
    FrameReceived: received,
    FrameGarbled: garbled,
    **b_networks.OBSERVED,
    **m_certificates.OBSERVED,
    **c_authorization.OBSERVED,
    **e_transactions.OBSERVED,
    **n_customers.OBSERVED,
    **n_logs.OBSERVED,
    **p_data_transfer.OBSERVED,
    PayloadLost: delivery.lost,
}

RULES: Final[tuple[Rule, ...]] = (
    c_authorization.unanswered,
    delivery.link_lost,
    b_networks.taken,
    b_networks.opened,
    a_security.starts,
    a_security.observes,
    b_registration.reconnected,
    c_authorization.cache_expires,
    observed,
    overdue,
    e_transactions.unplugged,
    e_transactions.exhausts,
    c_authorization.expires,
    c_authorization.binds,
    c_authorization.welcomes,
    e_transactions.stops,
    e_transactions.ends,
    g_availability.takes_effect,
    e_transactions.authorizes,
    e_transactions.starts,
    e_transactions.starts_unbound,
    e_transactions.first_events,
    e_transactions.changes,
    e_transactions.samples,
    j_metering.kept_for_end,
    j_metering.aligned,
    l_firmware.advances,
    g_availability.tells_statuses,
    l_firmware.installs,
    l_firmware.reboots,
    b_reset.restarts,
    b_registration.boots,
    b_registration.heartbeats,
    delivery.thins,
    delivery.next_attempt,
)
