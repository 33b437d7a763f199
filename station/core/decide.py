"""What do we settle because of an observation?

`judge` is pure and total: any observation in any state gives entries, never an exception. Rules
run in the order of `VALUE_RULES`; each sees the memory with everything decided before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from journal.events import PROGRAMMING_ERRORS, Decision, Entry, Event
from journal.observations import CallPayloadLost, FrameMalformed, FrameReceived
from journal.projections.outbox import CallInFlight
from journal.projections.station_health import RuleFailed
from journal.state import State, apply_entry
from station.core import outbox_rules
from station.core.blocks import (
    a_security,
    b_networks,
    b_registration,
    b_reset,
    b_variables,
    c_authorization,
    c_authorization_cache,
    e_transactions,
    f_remote_control,
    g_availability,
    j_metering,
    l_firmware,
    m_certificates,
    n_customers,
    n_logs,
    not_supported,
    p_data_transfer,
)
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Product,
    ResultHandler,
    Rule,
    call_error,
)
from station.ocpp import rpc
from station.ocpp.messages import ACTIONS, Datatype, decode_request, decode_response
from station.ocpp.messages.e_transactions import TransactionEventResponse
from station.ocpp.messages.violations import describe_violation


def decide(product: Product, state: State, entry: Entry) -> tuple[list[Entry], State]:
    """The observation, the decisions made because of it, and the memory that holds them all."""
    entries = [entry]
    state = apply_entry(state, entry)
    ctx = Context(product, state, entry)
    for rule in RULES:
        try:
            decisions = tuple(rule(ctx))
        except PROGRAMMING_ERRORS as fault:
            decisions = (_record_rule_failure(rule, fault),)
        if not decisions:  # as nearly all of them
            continue
        for decision in decisions:
            settled = Entry(
                entry.seq + len(entries), entry.at, entry.uptime_ms, decision, cause=entry.seq
            )
            entries.append(settled)
            state = apply_entry(state, settled)
        ctx = Context(product, state, entry)
    return entries, state


def _record_rule_failure(rule: Rule, fault: Exception) -> Decision:
    """A rule with a fault of ours decides nothing but that it failed. P8."""
    name = f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}"
    return RuleFailed(name, type(fault).__name__)


# --- Observations --------------------------------------------------------------------------------


def decide_observation(ctx: Context) -> Iterator[Decision]:
    """What an observation means by itself."""
    rule = OBSERVED.get(type(ctx.entry.event))
    if rule is not None:
        yield from rule(ctx)


def on_frame_malformed(ctx: Context) -> Iterator[Decision]:
    """Something came that is no message at all. Part 4 §4.2.3."""
    fault = ctx.entry.event
    assert isinstance(fault, FrameMalformed)
    call = Call(rpc.UNKNOWN_MESSAGE_ID, "", msgspec.Raw(b"{}"))
    yield call_error(call, "RpcFrameworkError", fault.reason)
    yield from a_security.log_security_event(ctx, "InvalidMessages", fault.reason)


def on_frame_received(ctx: Context) -> Iterator[Decision]:
    """A frame of the CSMS."""
    assert isinstance(ctx.entry.event, FrameReceived)
    match rpc.parse_frame(ctx.entry.event.frame):
        case rpc.CallFrame() as frame:
            yield from _on_call(ctx, Call(frame.message_id, frame.action, frame.payload))
        case rpc.CallResultFrame(message_id=message_id, payload=payload):
            yield from _on_call_result(ctx, message_id, payload)
        case rpc.CallErrorFrame() as error:
            yield from _on_call_error(ctx, error)
        case rpc.MalformedFrame() as broken:
            if broken.needs_call_error:
                call = Call(broken.message_id, "", msgspec.Raw(b"{}"))
                yield call_error(call, broken.code, broken.reason)
            yield from a_security.log_security_event(ctx, "InvalidMessages", broken.reason)


# --- The CSMS calls ------------------------------------------------------------------------------


def _on_call(ctx: Context, call: Call) -> Iterator[Decision]:
    """Judge a CALL: known, allowed now, well-formed, and then by its block."""
    action = ACTIONS.get(call.action)
    if action is None:
        yield call_error(call, "NotImplemented", f"no action {call.action[:50]}")
        return
    if ctx.state.registration.status == "Rejected":
        yield call_error(call, "SecurityError", "this station is not accepted")  # B03.FR.08
        return
    handler = CALLS.get(call.action)
    if handler is None:
        yield call_error(call, "NotSupported", f"{call.action} is not supported by this station")
        return
    try:
        request = decode_request(call.action, call.payload)
    except msgspec.ValidationError as error:
        code, description = describe_violation(error)
        yield call_error(call, code, description)
        return
    yield from _run_handler(ctx, call, handler, request)


def _run_handler(
    ctx: Context, call: Call, handler: CallHandler, request: Datatype
) -> Iterator[Decision]:
    """A fault of ours in one handler must not stop the station: the CSMS hears InternalError.

    What the handler decided before it failed is not taken, so nothing is half done.
    """
    try:
        decisions = tuple(handler(ctx, call, request))
    except PROGRAMMING_ERRORS as error:
        where = f"{type(error).__name__} in the judgement of {call.action}"
        yield call_error(call, "InternalError", where)
        return
    yield from decisions


# --- The CSMS answers ----------------------------------------------------------------------------


def _on_call_result(ctx: Context, message_id: str, payload: msgspec.Raw) -> Iterator[Decision]:
    """A CALLRESULT: to the call in flight, or late to an earlier attempt."""
    found = ctx.state.outbox.find_by_message_id(message_id)
    if found is None:
        return  # to nothing we asked: the journal has it, and that is all it deserves
    call, current = found
    flight = ctx.state.outbox.in_flight
    action = flight.action if current and flight else "TransactionEvent"
    try:
        response: Any = decode_response(action, payload)
    except msgspec.ValidationError as error:
        if action == "BootNotification" and flight:
            yield from outbox_rules.fail_attempt(
                ctx, flight, f"unusable answer: {describe_violation(error)[1]}"
            )
            return
        response = None  # it was received all the same
    yield from _dispatch_result(ctx, action, call, response)
    yield from outbox_rules.complete_call(ctx, call, message_id)


def _dispatch_result(ctx: Context, action: str, call: int, response: Any) -> Iterator[Decision]:
    if action == "TransactionEvent":
        if isinstance(response, TransactionEventResponse):
            yield from e_transactions.on_transaction_event_response(ctx, call, response)
    elif action in RESULTS:
        yield from RESULTS[action](ctx, call, response)


def _on_call_error(ctx: Context, error: rpc.CallErrorFrame) -> Iterator[Decision]:
    """A CALLERROR counts against the attempt it answers. E13.FR.02."""
    flight: CallInFlight | None = ctx.state.outbox.in_flight
    if flight is None or flight.message_id != error.message_id:
        return
    if flight.action in RESULTS and flight.action != "BootNotification":
        yield from RESULTS[flight.action](ctx, flight.call_seq, None)
    yield from outbox_rules.fail_by_call_error(
        ctx, flight, f"{error.code}: {error.description}"[:300]
    )


def fail_overdue_call(ctx: Context) -> Iterator[Decision]:
    """No answer came: whoever waits for one hears so before the call is given up."""
    flight = ctx.state.outbox.in_flight
    if flight is None or not outbox_rules.is_overdue(ctx, flight):
        return
    if flight.action in RESULTS and flight.action != "BootNotification":
        yield from RESULTS[flight.action](ctx, flight.call_seq, None)
    yield from outbox_rules.fail_attempt(ctx, flight, outbox_rules.timeout_reason(ctx))


# --- Tables --------------------------------------------------------------------------------------

CALLS: Final[dict[str, CallHandler]] = {
    **not_supported.CALLS,
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

RESULTS: Final[dict[str, ResultHandler]] = {
    "Authorize": c_authorization.on_authorize_response,
    **b_registration.RESULTS,
}

OBSERVED: Final[dict[type[Event], Rule]] = {
    FrameReceived: on_frame_received,
    FrameMalformed: on_frame_malformed,
    **b_networks.OBSERVED,
    **m_certificates.OBSERVED,
    **c_authorization.OBSERVED,
    **e_transactions.OBSERVED,
    **n_customers.OBSERVED,
    **n_logs.OBSERVED,
    **p_data_transfer.OBSERVED,
    CallPayloadLost: outbox_rules.on_payload_lost,
}

RULES: Final[tuple[Rule, ...]] = (
    c_authorization.resolve_pending_offline,
    outbox_rules.drop_calls_of_link,
    b_networks.select_network_slots,
    b_networks.raise_security_profile,
    a_security.log_startup,
    a_security.log_observed_events,
    b_registration.require_status_resend,
    c_authorization_cache.drop_expired_cache_entry,
    decide_observation,
    fail_overdue_call,
    e_transactions.end_authorization_on_unplug,
    e_transactions.suspend_at_energy_limit,
    c_authorization.expire_authorizations,
    c_authorization.bind_authorization_to_evse,
    c_authorization.authorize_without_token,
    e_transactions.decide_stop,
    e_transactions.report_ended,
    g_availability.apply_scheduled_changes,
    e_transactions.authorize_transactions,
    e_transactions.start_transactions,
    e_transactions.start_unbound_transactions,
    e_transactions.report_started,
    e_transactions.report_changes,
    e_transactions.take_samples,
    j_metering.keep_aligned_samples,
    j_metering.report_aligned_values,
    l_firmware.advance_update,
    g_availability.report_statuses,
    l_firmware.start_installation,
    l_firmware.order_update_restart,
    b_reset.order_restart,
    b_registration.queue_boot_notification,
    b_registration.queue_heartbeat,
    outbox_rules.thin_waiting_samples,
    outbox_rules.attempt_next_call,
)
