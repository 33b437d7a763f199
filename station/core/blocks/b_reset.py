"""Reset: accept, schedule, and restart when nothing delays it. B11, B12.

An Immediate reset stops open transactions (`e_start_stop_points`); an OnIdle one waits until the
station is not busy. In both cases the restart is ordered when the ResetResponse has left and the
transaction messages are delivered, at the latest after MessageTimeout; what is not delivered by
then is sent after the restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from station.core.blocks import l_firmware
from station.core.blocks.evse_conditions import awaits_reservation, is_in_use
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Deadline,
    Rule,
    call_result,
    status_info,
)
from station.core.outbox_rules import message_timeout_ms
from station.core.reasons import AnswerReasons, Reason, Reasons, ReasonTable, Refusals
from station.ocpp.messages.b_provisioning import ResetRequest, ResetResponse

BOOT_REASON_BY_SCHEDULED: Final = {False: "RemoteReset", True: "ScheduledReset"}


def reset_station(ctx: Context, call: Call, request: ResetRequest) -> Iterator[Decision]:
    """Order a reset, now or when the station is idle. B11.FR.01 to 09, B12.FR.01, B12.FR.02."""
    if request.evse_id is not None:
        yield _reject_reset(call, "UnsupportedParam", "a single EVSE cannot be reset")  # B11.FR.09
        return
    if ctx.state.lifecycle.restart or _is_immediate_reset_pending(ctx):
        yield _reject_reset(call, "Unspecified", "the station restarts already")
        return
    if request.type == "Immediate" and _is_update_uncancellable(ctx):
        # B11.FR.06
        yield _reject_reset(call, "FwUpdateInProgress", "new firmware is being installed")
        return
    scheduled = request.type == "OnIdle" and is_busy(ctx)
    yield call_result(call, ResetResponse(status="Scheduled" if scheduled else "Accepted"))
    yield ResetOrdered(request.type, call.message_id, scheduled)


def _is_immediate_reset_pending(ctx: Context) -> bool:
    """Whether an immediate reset stops transactions already; another request must not delay it."""
    pending = ctx.state.lifecycle.reset
    return pending is not None and pending.reset_type == "Immediate"


def _reject_reset(call: Call, code: str, text: str) -> Decision:
    return call_result(call, ResetResponse(status="Rejected", status_info=status_info(code, text)))


def is_busy(ctx: Context) -> bool:
    """Whether it is in use or reserved, or a file transfer is active. Erratum 2.14 (2025-06)."""
    return (
        is_in_use(ctx)
        or awaits_reservation(ctx)
        or l_firmware.is_update_active(ctx)
        or ctx.state.logs.upload is not None
    )


def _is_update_uncancellable(ctx: Context) -> bool:
    """Whether an update can no longer be cancelled."""
    update = ctx.state.firmware.running_update
    return update is not None and update.status in l_firmware.UNCANCELLABLE_STATUSES


def order_restart(ctx: Context) -> Iterator[Decision]:
    """Order the restart when nothing delays it any more. B12.FR.03 to 05."""
    reset = ctx.state.lifecycle.reset
    due_ms = restart_due_ms(ctx)
    if reset is None or due_ms is None:
        return
    if ctx.uptime_ms < due_ms and (_is_reply_pending(ctx, reset) or _awaits_delivery(ctx, reset)):
        return
    yield RestartOrdered(BOOT_REASON_BY_SCHEDULED[reset.scheduled])


def _is_reply_pending(ctx: Context, reset: ResetOrdered) -> bool:
    """Whether the ResetResponse has not left yet."""
    return any(
        reply.message_id == reset.request_message_id for reply in ctx.state.pending_replies.pending
    )


def _awaits_delivery(ctx: Context, reset: ResetOrdered) -> bool:
    """Whether transaction messages can still be delivered before an immediate restart."""
    has_messages = len(ctx.state.outbox.transaction) > 0
    return has_messages and ctx.may_send_calls and reset.reset_type == "Immediate"


def restart_due_ms(ctx: Context) -> int | None:
    """Uptime at which the restart waits no longer; None while transactions are open."""
    lifecycle = ctx.state.lifecycle
    if lifecycle.reset is None or lifecycle.restart or ctx.state.transactions.open:
        return None
    if lifecycle.reset.reset_type == "OnIdle" and is_busy(ctx):
        return None
    return lifecycle.reset_ordered_ms + message_timeout_ms(ctx)


CALLS: Final[dict[str, CallHandler]] = {"Reset": reset_station}
DEADLINES: Final[tuple[Deadline, ...]] = (restart_due_ms,)
RULES: Final[tuple[Rule, ...]] = (order_restart,)
REASONS: Final[Reasons] = {
    ResetOrdered: ReasonTable(
        {
            "now": Reason("the CSMS requested it"),
            "scheduled": Reason(
                "the CSMS requested it for when no transaction is open", "B12.FR.01"
            ),
        },
        lambda reset: "scheduled" if reset.scheduled else "now",
    ),
    RestartOrdered: ReasonTable(
        {
            "FirmwareUpdate": Reason("it starts the new firmware", "L01.FR.32", ("firmware",)),
            **dict.fromkeys(
                BOOT_REASON_BY_SCHEDULED.values(),
                Reason(
                    "the CSMS requested it, and nothing blocks it", "B11.FR.03", ("reset_ordered",)
                ),
            ),
        },
        lambda restart: restart.boot_reason,
    ),
}
ANSWER_REASONS: Final[AnswerReasons] = {
    ("Reset", "Scheduled"): Reason("a transaction is open; the reset follows its end", "B12.FR.01"),
}
REFUSALS: Final[Refusals] = {
    ("Reset", "FwUpdateInProgress"): "B11.FR.06",
    ("Reset", "UnsupportedParam"): "B11.FR.09",
}
