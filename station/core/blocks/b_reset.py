"""When does the station restart itself? (B11, B12)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision
from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from station.core.blocks import l_firmware
from station.core.blocks.evse_conditions import is_in_use
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
from station.ocpp.messages.b_provisioning import ResetRequest, ResetResponse

BOOT_REASON_BY_SCHEDULED: Final = {
    False: "RemoteReset",
    True: "ScheduledReset",
}  # by ResetOrdered.scheduled


def reset_station(ctx: Context, call: Call, request: ResetRequest) -> Iterator[Decision]:
    """Restart now, or once nobody charges. B11.FR.01 to 09, B12.FR.01, B12.FR.02."""
    if request.evse_id is not None:
        yield _reject_reset(call, "UnsupportedParam", "a single EVSE cannot be reset")  # B11.FR.09
        return
    if ctx.state.lifecycle.restart or _is_immediate_reset_pending(ctx):
        yield _reject_reset(call, "Unspecified", "the station restarts already")
        return
    if request.type == "Immediate" and _is_update_uncancellable(ctx):
        yield _reject_reset(
            call, "FwUpdateInProgress", "new firmware is being installed"
        )  # B11.FR.06
        return
    kind = request.type
    scheduled = kind == "OnIdle" and is_busy(ctx)
    yield call_result(call, ResetResponse(status="Scheduled" if scheduled else "Accepted"))
    yield ResetOrdered(kind, call.message_id, scheduled)


def _is_immediate_reset_pending(ctx: Context) -> bool:
    """Whether transactions are being ended for a reset already: no other may put it off."""
    pending = ctx.state.lifecycle.reset
    return pending is not None and pending.reset_type == "Immediate"


def _reject_reset(call: Call, code: str, text: str) -> Decision:
    return call_result(call, ResetResponse(status="Rejected", status_info=status_info(code, text)))


def is_busy(ctx: Context) -> bool:
    """Whether somebody charges, or files are on their way. Erratum 2.14 (2025-06)."""
    return is_in_use(ctx) or l_firmware.is_update_active(ctx) or ctx.state.logs.upload is not None


def _is_update_uncancellable(ctx: Context) -> bool:
    """Whether an update has come too far to be broken off."""
    update = ctx.state.firmware.running_update
    return update is not None and update.status in l_firmware.UNCANCELLABLE_STATUSES


def order_restart(ctx: Context) -> Iterator[Decision]:
    """Order the restart once nothing stands in its way. B12.FR.03 to 05.

    The answer has left, transactions are over, and, for as long as an answer may take, their
    messages have been heard; what has not been heard is sent after the restart.
    """
    life = ctx.state.lifecycle
    due_ms = restart_due_ms(ctx)
    if life.reset is None or due_ms is None:
        return
    if ctx.uptime_ms < due_ms:
        if any(
            reply.message_id == life.reset.request_message_id
            for reply in ctx.state.pending_replies.pending
        ):
            return
        if (
            len(ctx.state.outbox.transaction)
            and ctx.may_send_calls
            and life.reset.reset_type == "Immediate"
        ):
            return
    yield RestartOrdered(BOOT_REASON_BY_SCHEDULED[life.reset.scheduled])


def restart_due_ms(ctx: Context) -> int | None:
    """Uptime at which `restarts` waits no longer; None while somebody charges."""
    life = ctx.state.lifecycle
    if life.reset is None or life.restart or ctx.state.transactions.open:
        return None
    if life.reset.reset_type == "OnIdle" and is_busy(ctx):
        return None
    return life.reset_ordered_ms + message_timeout_ms(ctx)


CALLS: dict[str, CallHandler] = {"Reset": reset_station}
DEADLINES: Final[tuple[Deadline, ...]] = (restart_due_ms,)
RULES: Final[tuple[Rule, ...]] = (order_restart,)
