"""How does new firmware get onto the station? (Block L)

The status is the state (L01.FR.01): each entry into one is told, and what has to be done next
follows from it. Only signed firmware is taken (L01); what L02 describes is refused.

Whether the station downloads (AQ-7) or installs (C-43) while somebody charges, and whether it lets
go of an update once it runs (C-60), the product profile says.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from journal.events import Decision, Event
from journal.observations import (
    FirmwareActivationChecked,
    FirmwareDownloadEnded,
    FirmwareInstallEnded,
    FirmwareSignatureChecked,
)
from journal.projections.firmware import (
    FirmwareStatusChanged,
    FirmwareUpdate,
    FirmwareUpdateOrdered,
    FirmwareWaitingForTransactions,
)
from journal.projections.lifecycle import RestartOrdered
from journal.projections.outbox import CallQueued
from station.core.blocks.a_security import log_security_event
from station.core.blocks.evse_conditions import is_in_use, is_ready_to_install, may_install
from station.core.blocks.transfer_fields import (
    has_passed,
    resolve_attempts,
    resolve_interval_s,
    to_utc_text,
)
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Deadline,
    Rule,
    call_result,
    queue_call,
    status_info,
)
from station.core.outbox_rules import message_timeout_ms
from station.ocpp.messages.l_firmware import (
    FirmwareStatusNotificationRequest,
    UpdateFirmwareRequest,
    UpdateFirmwareResponse,
)

DOWNLOADS_WHILE_CHARGING: Final = "AQ-7"
CANCELS_UPDATE: Final = "C-60"
UNCANCELLABLE_STATUSES: Final = frozenset({"Installing", "InstallRebooting"})  # L01.FR.27
ACTIVE_STATUSES: Final = frozenset(
    {"Downloading", "Downloaded", "SignatureVerified", "Installing", "InstallRebooting"}
)

# status -> the security event it is. L01.FR.03, L01.FR.31
SECURITY_EVENT_BY_STATUS: Final = {
    "InvalidSignature": "InvalidFirmwareSignature",
    "Installed": "FirmwareUpdated",
}


# --- The order -----------------------------------------------------------------------------------


def update_firmware(ctx: Context, call: Call, request: UpdateFirmwareRequest) -> Iterator[Decision]:
    """Take an update on, if its signer is good and no other is in the way. L01.FR.21 to 27."""
    firmware, running = request.firmware, ctx.state.firmware.running_update
    if firmware.signing_certificate is None or firmware.signature is None:
        yield _reject_update(call, "Rejected", "MissingParam", "only signed firmware is taken")
        return
    complaint = _check_signer(ctx, firmware.signing_certificate)
    if complaint:
        yield _reject_update(call, "InvalidCertificate", "InvalidCertificate", complaint)
        yield from log_security_event(
            ctx, "InvalidFirmwareSigningCertificate", complaint
        )  # L01.FR.02
        return
    if running and not _is_cancellable(ctx, running):
        told = f"update {running.order.request_id} cannot be cancelled"
        yield _reject_update(call, "Rejected", "FwUpdateInProgress", told)
        return
    status = "AcceptedCanceled" if running else "Accepted"
    yield call_result(call, UpdateFirmwareResponse(status=status))  # type: ignore[arg-type]
    yield FirmwareUpdateOrdered(
        request_id=request.request_id,
        location=firmware.location,
        retrieve_at=to_utc_text(firmware.retrieve_date_time) or "",
        install_at=to_utc_text(firmware.install_date_time),
        attempts_max=resolve_attempts(request.retries),
        retry_interval_s=resolve_interval_s(request.retry_interval),
        signing_certificate=firmware.signing_certificate,
        signature=firmware.signature,
    )


def _check_signer(ctx: Context, pem: str) -> str:
    """What is wrong with whoever signed it; empty: nothing. L01.FR.12, L01.FR.21."""
    from station.firmware.signature import (  # a slow import
        SigningCertificateRefused,
        load_signing_certificate,
    )

    roots = [one.pem for one in ctx.state.certificates.for_uses("ManufacturerRootCertificate")]
    try:
        load_signing_certificate(pem, roots, ctx.now)
    except SigningCertificateRefused as refusal:
        return str(refusal)
    return ""


def _reject_update(call: Call, status: str, code: str, text: str) -> Decision:
    return call_result(
        call,
        UpdateFirmwareResponse(
            status=status,  # type: ignore[arg-type]
            status_info=status_info(code, text),
        ),
    )


def _is_cancellable(ctx: Context, update: FirmwareUpdate) -> bool:
    """L01.FR.24, L01.FR.27."""
    return (
        ctx.product.profile.supports(CANCELS_UPDATE) and update.status not in UNCANCELLABLE_STATUSES
    )


# --- Going on ------------------------------------------------------------------------------------


def advance_update(ctx: Context) -> Iterator[Decision]:
    """Enter every state that what happened, the clock and the transactions lead to.

    All but Installing: before that the CSMS hears that the EVSEs are Unavailable.
    """
    update = ctx.state.firmware.running_update
    if update is None:
        return
    entered = _reported_status(ctx.entry.event, update)
    status, why = entered or (_next_status(ctx, update), "")
    while status is not None:
        yield from _enter_status(ctx, update, status, why)
        update = msgspec.structs.replace(update, status=status)
        status, why = _next_status(ctx, update), ""
    if (
        not update.waited_for_transactions
        and not update.has_ended
        and _waits_for_transactions(ctx, update)
    ):
        yield FirmwareWaitingForTransactions(update.seq)


def _reported_status(event: Event, update: FirmwareUpdate) -> tuple[str, str] | None:
    """The state that a report on this update leads to, and why; None: it is no such report."""
    if getattr(event, "update_seq", None) != update.seq:
        return None
    match event:
        case FirmwareDownloadEnded(succeeded=True) if update.status in (
            "Downloading",
            "DownloadPaused",
        ):
            return "Downloaded", ""
        case FirmwareDownloadEnded(succeeded=False, reason=why) if update.status in (
            "Downloading",
            "Downloaded",
        ):
            return "DownloadFailed", why  # L01.FR.30
        case FirmwareSignatureChecked(valid=ok, reason=why) if update.status == "Downloaded":
            return ("SignatureVerified" if ok else "InvalidSignature"), why
        case FirmwareInstallEnded(outcome=outcome, reason=why) if update.status == "Installing":
            return STATUS_BY_OUTCOME[outcome], why
        case FirmwareActivationChecked(succeeded=ok, reason=why) if (
            update.status == "InstallRebooting"
        ):
            return ("Installed" if ok else "InstallationFailed"), why
        case _:
            return None


STATUS_BY_OUTCOME: Final = {
    "restart_required": "InstallRebooting",  # L01.FR.32 (a)
    "failed": "InstallationFailed",
    "invalid_firmware": "InstallVerificationFailed",  # L01.FR.29
}


def _next_status(ctx: Context, update: FirmwareUpdate) -> str | None:
    """The state that the clock and the transactions lead to, from the one it is in."""
    match update.status:
        case "":
            return "Downloading" if _may_download(ctx, update) else "DownloadScheduled"
        case "DownloadScheduled" if _may_download(ctx, update):
            return "Downloading"
        case "DownloadPaused" if _may_transfer(ctx):
            return "Downloading"
        case "Downloading" if not _may_transfer(ctx):
            return "DownloadPaused"  # L01.FR.14
        case "SignatureVerified" if not may_install(ctx, update):
            return "InstallScheduled"  # L01.FR.16, L01.FR.34
        case _:
            return None


def _may_download(ctx: Context, update: FirmwareUpdate) -> bool:
    """Whether a download may begin; a clock set back later does not undo it. L01.FR.13."""
    return has_passed(update.order.retrieve_at, ctx.now) and _may_transfer(ctx)


def _may_transfer(ctx: Context) -> bool:
    """AQ-7."""
    return ctx.product.profile.supports(DOWNLOADS_WHILE_CHARGING) or not ctx.state.transactions.open


def _waits_for_transactions(ctx: Context, update: FirmwareUpdate) -> bool:
    """Whether nothing but people who charge is in its way. L01.FR.06, L01.FR.33."""
    ordered = update.order
    match update.status:
        case "DownloadScheduled":
            return has_passed(ordered.retrieve_at, ctx.now)
        case "DownloadPaused":
            return True
        case "InstallScheduled":
            return has_passed(ordered.install_at, ctx.now) and not may_install(ctx, update)
        case "InstallRebooting":
            return is_in_use(ctx) and not update.restarted
        case _:
            return False


def start_installation(ctx: Context) -> Iterator[Decision]:
    """Begin to install, now that the CSMS has been told of the EVSEs. L01.FR.05."""
    update = ctx.state.firmware.running_update
    if update and is_ready_to_install(ctx, update):
        yield from _enter_status(ctx, update, "Installing", "")


def _enter_status(
    ctx: Context, update: FirmwareUpdate, status: str, why: str
) -> Iterator[Decision]:
    """L01.FR.01, L01.FR.10; told also after the link was lost, or the program ended."""
    yield FirmwareStatusChanged(update.seq, status, why)
    yield from queue_status_notification(ctx, status, update.order.request_id)
    if status in SECURITY_EVENT_BY_STATUS:
        about = f"update {update.order.request_id}"
        yield from log_security_event(
            ctx, SECURITY_EVENT_BY_STATUS[status], f"{about}: {why}" if why else about
        )


def queue_status_notification(
    ctx: Context, status: str, request_id: int | None, *, solicited: bool = False
) -> Iterator[CallQueued]:
    """L01.FR.20: the requestId is left out only where there is none."""
    request = FirmwareStatusNotificationRequest(
        status=status,  # type: ignore[arg-type]
        request_id=request_id,
    )
    yield from queue_call(ctx, request, keep=not solicited, solicited=solicited)


# --- The restart ---------------------------------------------------------------------------------


def order_update_restart(ctx: Context) -> Iterator[Decision]:
    """Restart into the new firmware once nobody charges and the CSMS has heard of it.

    It need not have heard longer than an answer may take. L01.FR.15, L01.FR.33.
    """
    update = ctx.state.firmware.running_update
    due_ms = _restart_due_ms(ctx)
    if update is None or due_ms is None:
        return
    outbox = ctx.state.outbox
    unheard = len(outbox.general) or outbox.in_flight
    if unheard and ctx.may_send_calls and ctx.uptime_ms < due_ms:
        return
    yield RestartOrdered("FirmwareUpdate")


def _restart_due_ms(ctx: Context) -> int | None:
    """Uptime at which `reboots` waits for no answer any more; None: it is not its turn."""
    update = ctx.state.firmware.running_update
    if update is None or update.status != "InstallRebooting" or update.restarted:
        return None
    if ctx.state.lifecycle.restart or is_in_use(ctx):
        return None
    return update.status_since_ms + message_timeout_ms(ctx)


# --- Seen from elsewhere -------------------------------------------------------------------------


def update_due_ms(ctx: Context) -> int | None:
    """Uptime at which the next step is due by the clock alone."""
    update = ctx.state.firmware.running_update
    if update is None:
        return None
    match update.status:
        case "DownloadScheduled":
            return _uptime_at(ctx, update.order.retrieve_at)
        case "InstallScheduled":
            return _uptime_at(ctx, update.order.install_at)
        case _:
            return _restart_due_ms(ctx)


def _uptime_at(ctx: Context, moment: str | None) -> int | None:
    """Uptime of a moment on the wall clock; None if it has come."""
    if moment is None or has_passed(moment, ctx.now):
        return None
    ahead = datetime.fromisoformat(moment) - ctx.now
    return ctx.uptime_ms + ahead // timedelta(milliseconds=1) + 1


def trigger_firmware_status(ctx: Context) -> Iterator[Decision]:
    """TriggerMessage: what was told last, or Idle. L01.FR.25, L01.FR.26, F06.FR.16."""
    last = ctx.state.firmware.latest_update
    if last is None or last.status in ("", "Installed"):
        yield from queue_status_notification(ctx, "Idle", None, solicited=True)
    else:
        yield from queue_status_notification(
            ctx, last.status, last.order.request_id, solicited=True
        )


def is_update_active(ctx: Context) -> bool:
    """Whether an update is being fetched or installed right now. B11, erratum 2.14 (2025-06)."""
    update = ctx.state.firmware.running_update
    return update is not None and update.status in ACTIVE_STATUSES


CALLS: dict[str, CallHandler] = {"UpdateFirmware": update_firmware}
DEADLINES: Final[tuple[Deadline, ...]] = (update_due_ms,)
RULES: Final[tuple[Rule, ...]] = (advance_update, start_installation, order_update_restart)
