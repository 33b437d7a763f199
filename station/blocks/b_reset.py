"""When does the station restart itself? (B11, B12)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.projections.lifecycle import ResetOrdered, RestartOrdered
from journal.terms import Decision
from station.blocks import l_firmware
from station.blocks.standing import in_use
from station.case import Call, Case, Handler, answer, reason
from station.delivery import timeout_ms
from station.messages.b_provisioning import ResetRequest, ResetResponse

BOOT_REASONS: Final = {False: "RemoteReset", True: "ScheduledReset"}  # by ResetOrdered.scheduled


def reset(case: Case, call: Call, request: ResetRequest) -> Iterator[Decision]:
    """Restart now, or once nobody charges. B11.FR.01 to 09, B12.FR.01, B12.FR.02."""
    if request.evse_id is not None:
        yield _refused(call, "UnsupportedParam", "a single EVSE cannot be reset")  # B11.FR.09
        return
    if case.state.lifecycle.restart or _at_once(case):
        yield _refused(call, "Unspecified", "the station restarts already")
        return
    if request.type == "Immediate" and _irresistible(case):
        yield _refused(call, "FwUpdateInProgress", "new firmware is being installed")  # B11.FR.06
        return
    kind = request.type
    scheduled = kind == "OnIdle" and busy(case)
    yield answer(call, ResetResponse(status="Scheduled" if scheduled else "Accepted"))
    yield ResetOrdered(kind, call.message_id, scheduled)


def _at_once(case: Case) -> bool:
    """Whether transactions are being ended for a reset already: no other may put it off."""
    pending = case.state.lifecycle.reset
    return pending is not None and pending.kind == "Immediate"


def _refused(call: Call, code: str, text: str) -> Decision:
    return answer(call, ResetResponse(status="Rejected", status_info=reason(code, text)))


def busy(case: Case) -> bool:
    """Whether somebody charges, or files are on their way. Erratum 2.14 (2025-06)."""
    return in_use(case) or l_firmware.at_work(case) or case.state.logs.upload is not None


def _irresistible(case: Case) -> bool:
    """Whether an update has come too far to be broken off."""
    update = case.state.firmware.running
    return update is not None and update.status in l_firmware.BEYOND_RECALL


def restarts(case: Case) -> Iterator[Decision]:
    """Order the restart once nothing stands in its way. B12.FR.03 to 05.

    The answer has left, transactions are over, and, for as long as an answer may take, their
    messages have been heard; what has not been heard is sent after the restart.
    """
    life = case.state.lifecycle
    due_ms = restart_ms(case)
    if life.reset is None or due_ms is None:
        return
    if case.uptime_ms < due_ms:
        if any(reply.message_id == life.reset.answering for reply in case.state.replies.owed):
            return
        if len(case.state.outbox.transaction) and case.may_speak and life.reset.kind == "Immediate":
            return
    yield RestartOrdered(BOOT_REASONS[life.reset.scheduled])


def restart_ms(case: Case) -> int | None:
    """Uptime at which `restarts` waits no longer; None while somebody charges."""
    life = case.state.lifecycle
    if life.reset is None or life.restart or case.state.transactions.open:
        return None
    if life.reset.kind == "OnIdle" and busy(case):
        return None
    return life.reset_ms + timeout_ms(case)


CALLS: dict[str, Handler] = {"Reset": reset}
