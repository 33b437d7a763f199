"""Decide what follows from an observation: the rules in their order, and frames from the CSMS.

`decide` is pure and total: an observation in any state gives entries and never an exception. It
applies the observation to the state, runs every rule of `RULES` once in order, and turns what a
rule yields into entries with the observation as their cause.

What a rule may see
    `ctx.entry` is the observation, also for the rules after the first. `ctx.state` holds the
    observation and everything decided by the rules before it in this commit. What a rule yields is
    applied after it has finished, so it does not see its own decisions. A rule reads nothing else:
    no clock, no disk, no random numbers; time is `ctx.now` and `ctx.uptime_ms`. After the rule that
    corrects the clock `ctx.now` is the corrected time, so what that commit queues carries it.

What a rule does
    It yields decisions or nothing. Rules run after every entry and compare what is true with what
    was reported or ordered; they keep no notes between two entries. That is why a restart needs no
    special case, and why most rules begin with a condition that is false for most entries. A rule
    that has to act at a time without an observation has a function in DEADLINES of its block: the
    timer then makes an observation at that uptime.

What happens when a rule fails
    A programming error in a rule is a RuleFailed entry; what the rule yielded is dropped, the other
    rules go on, and no new EV driver is admitted for OUT_OF_ORDER_MS (`evse_status`). An error in
    the handler of a CALL is answered with InternalError and nothing of it is kept.

The order
    `RULE_SECTIONS` gives the order with a reason for each row. In short: the link and the start
    first, because they drop calls that must not go out any more; then the observation itself;
    then authorizations end or begin; then transactions stop, then start, then report; then
    the states that follow from transactions (firmware, connector status, restart); and the outbox
    last, so that a call queued in this commit can be attempted in this commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from journal.events import PROGRAMMING_ERRORS, Decision, Entry, Event
from journal.observations import FrameMalformed, FrameReceived
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallInFlight
from journal.projections.station_health import RuleFailed
from journal.state import State, apply_entry
from station.core import block_tables, outbox_rules
from station.core.blocks import (
    a_certificate_renewal,
    a_security,
    b_networks,
    b_registration,
    b_reset,
    c_authorization_cache,
    c_connection,
    c_without_csms,
    e_transactions,
    g_availability,
    h_reservation,
    j_metering,
    k_power_limits,
    l_firmware,
    m_certificates,
    o_display_messages,
)
from station.core.blocks.k_smart_charging import charging_profiles, external_limits
from station.core.blocks.n_monitoring import events as monitoring_events
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
from station.ocpp.messages import ACTIONS, Datatype, decode_request
from station.ocpp.messages.usable_fields import decode_usable_response
from station.ocpp.messages.violations import describe_violation


def decide(
    product: Product, state: State, entry: Entry, *, expects_readings: bool = False
) -> tuple[list[Entry], State]:
    """The observation with the decisions made because of it, and the state after all of them.

    Args:
        expects_readings: assume that every meter was read just now. Such decisions are never kept;
            they show which meters have to be read. See `decide_batch`.
    """
    entries = [entry]
    state = apply_entry(state, entry)
    ctx = Context(product, state, entry, expects_readings=expects_readings)
    clock_step_ms = 0
    for rule in RULES:
        try:
            decisions = tuple(rule(ctx))
        except PROGRAMMING_ERRORS as error:
            decisions = (_record_rule_failure(rule, error),)
        if not decisions:  # the usual case
            continue
        for decision in decisions:
            decided = Entry(
                entry.seq + len(entries), entry.at, entry.uptime_ms, decision, cause=entry.seq
            )
            entries.append(decided)
            state = apply_entry(state, decided)
            if isinstance(decision, ClockCorrected):
                clock_step_ms += decision.step_ms
        ctx = Context(product, state, entry, clock_step_ms, expects_readings)
    return entries, state


def _record_rule_failure(rule: Rule, error: Exception) -> Decision:
    """A rule with a programming error decides only that it failed. P8."""
    name = f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}"
    return RuleFailed(name, type(error).__name__)


# --- Observations --------------------------------------------------------------------------------


def decide_observation(ctx: Context) -> Iterator[Decision]:
    """Run the rule that a block declares for this observation, if any."""
    rule = OBSERVED.get(type(ctx.entry.event))
    if rule is not None:
        yield from rule(ctx)


def on_frame_malformed(ctx: Context) -> Iterator[Decision]:
    """Answer a frame that is no OCPP-J message at all. Part 4 §4.2.3."""
    frame = ctx.entry.event
    assert isinstance(frame, FrameMalformed)
    call = Call(rpc.UNKNOWN_MESSAGE_ID, "", msgspec.Raw(b"{}"))
    yield call_error(call, "RpcFrameworkError", frame.reason)
    yield from a_security.log_security_event(ctx, "InvalidMessages", frame.reason)


def on_frame_received(ctx: Context) -> Iterator[Decision]:
    """Decide a frame from the CSMS by its kind: CALL, CALLRESULT, CALLERROR or malformed."""
    assert isinstance(ctx.entry.event, FrameReceived)
    match rpc.parse_frame(ctx.entry.event.frame):
        case rpc.CallFrame() as frame:
            yield from _on_call(ctx, Call(frame.message_id, frame.action, frame.payload))
        case rpc.CallResultFrame(message_id=message_id, payload=payload):
            yield from _on_call_result(ctx, message_id, payload)
        case rpc.CallErrorFrame() as error:
            yield from _on_call_error(ctx, error)
        case rpc.MalformedFrame() as malformed:
            if malformed.needs_call_error:
                call = Call(malformed.message_id, "", msgspec.Raw(b"{}"))
                yield call_error(call, malformed.code, malformed.reason)
            yield from a_security.log_security_event(ctx, "InvalidMessages", malformed.reason)


# --- CALLs from the CSMS -------------------------------------------------------------------------


def _on_call(ctx: Context, call: Call) -> Iterator[Decision]:
    """Check that a CALL is known, allowed and well-formed, then run the handler of its block."""
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
    """Run a handler; a programming error in it is answered with InternalError.

    The decisions of a handler that failed are all dropped, so nothing is half done.
    """
    try:
        decisions = tuple(handler(ctx, call, request))
    except PROGRAMMING_ERRORS as error:
        description = f"{type(error).__name__} in the handler of {call.action}"
        yield call_error(call, "InternalError", description)
        return
    yield from decisions


# --- Answers from the CSMS -----------------------------------------------------------------------


def _on_call_result(ctx: Context, message_id: str, payload: msgspec.Raw) -> Iterator[Decision]:
    """Pass a CALLRESULT to the block of its CALL: the one in flight, or an earlier attempt.

    A result that answers no attempt is ignored; the journal holds the frame. Of one that breaks
    its schema every usable field counts, and a line of the security log names the others; if
    nothing is usable, the CSMS has received the CALL all the same.
    """
    attempted = ctx.state.outbox.find_by_message_id(message_id)
    if attempted is None:
        return
    call_seq, is_current = attempted
    flight = ctx.state.outbox.in_flight
    action = flight.action if is_current and flight else "TransactionEvent"
    response, violations = decode_usable_response(action, payload)
    if violations:
        yield from a_security.log_security_event(
            ctx, "InvalidMessages", f"answer to {action}: {'; '.join(violations)}"
        )
    if response is None and action == "BootNotification" and flight:
        reason = f"unusable answer: {'; '.join(violations)}"[:300]
        yield from outbox_rules.fail_attempt(ctx, flight, reason)
        return
    if action in RESULTS:
        yield from RESULTS[action](ctx, call_seq, response)
    yield from outbox_rules.complete_call(ctx, call_seq, message_id)


def _on_call_error(ctx: Context, error: rpc.CallErrorFrame) -> Iterator[Decision]:
    """Count a CALLERROR against the attempt it answers. E13.FR.02."""
    flight = ctx.state.outbox.in_flight
    if flight is None or flight.message_id != error.message_id:
        return
    yield from _report_no_response(ctx, flight)
    yield from outbox_rules.fail_by_call_error(
        ctx, flight, f"{error.code}: {error.description}"[:300]
    )


def fail_overdue_call(ctx: Context) -> Iterator[Decision]:
    """On timeout, notify the block that waits for the response, then fail the attempt."""
    flight = ctx.state.outbox.in_flight
    if flight is None or not outbox_rules.is_overdue(ctx, flight):
        return
    yield from _report_no_response(ctx, flight)
    yield from outbox_rules.fail_attempt(ctx, flight, outbox_rules.timeout_reason(ctx))


def _report_no_response(ctx: Context, flight: CallInFlight) -> Iterator[Decision]:
    """Pass None to the block of the CALL; `fail_attempt` itself covers BootNotification."""
    if flight.action in RESULTS and flight.action != "BootNotification":
        yield from RESULTS[flight.action](ctx, flight.call_seq, None)


# --- Tables --------------------------------------------------------------------------------------

CALLS: Final[dict[str, CallHandler]] = block_tables.CALLS
RESULTS: Final[dict[str, ResultHandler]] = block_tables.RESULTS
OBSERVED: Final[dict[type[Event], Rule]] = {
    **block_tables.OBSERVED,
    FrameReceived: on_frame_received,
    FrameMalformed: on_frame_malformed,
}


class RuleRow(NamedTuple):
    """A rule, and why it has this place in the order."""

    rule: Rule
    reason: str


class RuleSection(NamedTuple):
    title: str
    rows: tuple[RuleRow, ...]


RULE_SECTIONS: Final = (
    RuleSection(
        "Link and start",
        (
            RuleRow(
                c_without_csms.resolve_pending_offline,
                "when the link closes: before the next row drops the Authorize calls it resolves",
            ),
            RuleRow(
                outbox_rules.drop_calls_of_link,
                "before any rule queues a call because of the same start or link event: "
                "only calls from before it are dropped",
            ),
            RuleRow(
                b_networks.select_network_slots,
                "at a start: stored slots take effect before anything reads the candidates",
            ),
            RuleRow(
                b_networks.change_security_profile,
                "when a link opens: before any rule uses the security profile in use",
            ),
            RuleRow(
                a_certificate_renewal.prove_certificate,
                "when the CSMS answers on a link: before the frame can install another certificate",
            ),
            RuleRow(
                a_security.log_startup,
                "StartupOfTheDevice is the first message queued in a run",
            ),
            RuleRow(a_security.log_observed_events, "after the start, in the order of events"),
            RuleRow(
                m_certificates.prove_csms_root,
                "when a link opens: after StartupOfTheDevice, which is the first message of a run",
            ),
            RuleRow(
                b_registration.require_status_resend,
                "when a link opens after a long offline period: before `report_statuses`",
            ),
            RuleRow(
                monitoring_events.remove_unknown_monitors,
                "at a start: before any rule evaluates the monitors",
            ),
            RuleRow(
                c_authorization_cache.drop_expired_cache_entry,
                "when an idToken is presented: before it is decided with the cache. C10.FR.10",
            ),
        ),
    ),
    RuleSection(
        "The observation",
        (
            RuleRow(decide_observation, "the rules below see what the observation itself means"),
            RuleRow(
                fail_overdue_call,
                "after the observation: an answer in the moment of its timeout still counts",
            ),
            RuleRow(
                c_without_csms.end_wait_for_connection,
                "after the observation: it may be the answer that lets the station ask the CSMS",
            ),
        ),
    ),
    RuleSection(
        "Authorizations",
        (
            RuleRow(
                e_transactions.end_authorization_on_unplug,
                "all ends of authorizations come before the transactions are looked at. E09.FR.01",
            ),
            RuleRow(e_transactions.suspend_at_energy_limit, "as the row above. E05.FR.02"),
            RuleRow(
                c_connection.expire_authorizations,
                "before the next row: an expired authorization must not be bound to an EVSE",
            ),
            RuleRow(
                c_connection.bind_authorization_to_evse,
                "before a transaction starts: it starts on the EVSE that was plugged in",
            ),
            RuleRow(
                c_connection.authorize_without_token,
                "after the row above: an EV driver who was authorized first has precedence",
            ),
        ),
    ),
    RuleSection(
        "Reservations",
        (
            RuleRow(
                h_reservation.use_reservations,
                "after authorizations have begun, before an event of a transaction is built that "
                "carries the id. H01.FR.15",
            ),
            RuleRow(
                h_reservation.end_reservations,
                "after the row above: a reservation that is used in the moment of its end is used",
            ),
        ),
    ),
    RuleSection(
        "Transactions stop",
        (
            RuleRow(e_transactions.decide_stop, "after all authorizations have ended or begun"),
            RuleRow(
                e_transactions.report_ended,
                "after the row above: without energy flow the transaction ends in this commit",
            ),
            RuleRow(
                g_availability.apply_scheduled_changes,
                "after the end it waited for, and before a transaction could start there. "
                "G03.FR.05",
            ),
        ),
    ),
    RuleSection(
        "Transactions start and report",
        (
            RuleRow(
                e_transactions.authorize_transactions,
                "an open transaction has its authorization before its next event is built",
            ),
            RuleRow(
                e_transactions.start_transactions,
                "after the ends: an EVSE may end a transaction and start the next. E01.FR.14",
            ),
            RuleRow(
                e_transactions.start_unbound_transactions,
                "after authorizations were bound: only those without an EVSE are left. E01.FR.03",
            ),
            RuleRow(
                e_transactions.report_started,
                "the Started event comes before any Updated event. E01.FR.07",
            ),
            RuleRow(
                e_transactions.report_changes,
                "before samples: a sample would report the change with its own triggerReason",
            ),
            RuleRow(e_transactions.take_samples, "after changes; only for transactions reported"),
            RuleRow(
                j_metering.keep_aligned_samples,
                "clock-aligned samples come after the sampled ones of the same moment",
            ),
            RuleRow(j_metering.report_aligned_values, "as the row above. J01.FR.14"),
            RuleRow(
                o_display_messages.remove_ended_messages,
                "after the ends: a message of a transaction goes with it. O02.FR.02",
            ),
            RuleRow(
                j_metering.list_unaccounted_energy,
                "after ends and starts: what a transaction is billed is not listed. P11",
            ),
        ),
    ),
    RuleSection(
        "Smart charging",
        (
            RuleRow(
                charging_profiles.end_transaction_profiles,
                "after ends and starts: a TxProfile whose transaction has ended counts no more, "
                "one of a RequestStartTransaction has its transaction. K02.FR.05",
            ),
            RuleRow(
                k_power_limits.decide_power_limits,
                "after the row above: what is installed now is in force with this commit",
            ),
            RuleRow(
                external_limits.notify_external_limits,
                "after the TransactionEvents of the same change. K11.FR.02",
            ),
        ),
    ),
    RuleSection(
        "Firmware, status, restart",
        (
            RuleRow(
                l_firmware.advance_update,
                "after the transactions it may wait for, before the status that it changes",
            ),
            RuleRow(
                monitoring_events.report_monitored_changes,
                "after what changes a value, before the status that follows from the same fault",
            ),
            RuleRow(
                g_availability.report_statuses,
                "after every rule that can change a status: at most one report per connector",
            ),
            RuleRow(
                h_reservation.report_ended_reservations,
                "after the status that follows from the end. H04 steps 4 and 6",
            ),
            RuleRow(
                l_firmware.start_installation,
                "after the CSMS has received that the EVSEs are Unavailable. L01.FR.07",
            ),
            RuleRow(
                l_firmware.order_update_restart,
                "before a reset: a restart into new firmware has its own BootReason. L01.FR.15",
            ),
            RuleRow(b_reset.order_restart, "after everything that may still delay it. B12.FR.03"),
        ),
    ),
    RuleSection(
        "Certificates",
        (
            RuleRow(
                a_certificate_renewal.order_by_age,
                "after the observation: an order or a certificate of this entry counts",
            ),
            RuleRow(
                a_certificate_renewal.send_signing_requests,
                "before the outbox: a CSR queued in this commit can be sent in this commit",
            ),
        ),
    ),
    RuleSection(
        "Outbox",
        (
            RuleRow(
                b_registration.queue_boot_notification,
                "before a Heartbeat: nothing else goes out until the CSMS has accepted. B01.FR.08",
            ),
            RuleRow(
                b_registration.queue_heartbeat,
                "after all calls of this entry: a Heartbeat is sent after them. G02.FR.05",
            ),
            RuleRow(
                outbox_rules.thin_waiting_samples,
                "before the next attempt, so that no dropped call is attempted. E12.FR.05",
            ),
            RuleRow(
                outbox_rules.attempt_next_call,
                "last: a call queued in this commit can be attempted in this commit",
            ),
        ),
    ),
)
RULES: Final[tuple[Rule, ...]] = tuple(
    row.rule for section in RULE_SECTIONS for row in section.rows
)
