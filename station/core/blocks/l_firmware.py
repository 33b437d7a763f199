"""UpdateFirmware: download, verify, install, restart. Block L.

The FirmwareStatusEnumType of an update is its state (L01.FR.01); every change is reported to the
CSMS, and the desired state gets the next step from it. The way through:

    ""                  DownloadScheduled, or Downloading at once
    DownloadScheduled   Downloading when retrieveDateTime has come
    Downloading         Downloaded or DownloadFailed (reported); DownloadPaused for transactions
    Downloaded          SignatureVerified or InvalidSignature (reported)
    SignatureVerified   InstallScheduled if it may not install yet, else Installing
    InstallScheduled    Installing when installDateTime has come and the use of the station allows
    Installing          InstallRebooting, InstallationFailed or InstallVerificationFailed (reported)
    InstallRebooting    the station restarts; Installed or InstallationFailed (reported)

Installing is entered by a rule of its own, `start_installation`, after the connector status: the
CSMS receives Unavailable before Installing (L01.FR.05, L01.FR.07).

Only signed firmware is accepted (L01); unsigned firmware (L02) is rejected. The product profile has
whether the station downloads (AQ-7) or installs (C-43) while transactions run, and whether a newer
request cancels an update (C-60).
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
from station.core.reasons import Reason, Reasons, ReasonTable, Refusals
from station.core.signing_certificate import (
    SigningCertificateRefused,
    check_signing_certificate,
)
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

# status -> security event. L01.FR.03, L01.FR.31
SECURITY_EVENT_BY_STATUS: Final = {
    "InvalidSignature": "InvalidFirmwareSignature",
    "Installed": "FirmwareUpdated",
}


# --- The request ---------------------------------------------------------------------------------


def update_firmware(ctx: Context, call: Call, request: UpdateFirmwareRequest) -> Iterator[Decision]:
    """Accept an update if its signing certificate is valid. L01.FR.21 to 27."""
    firmware, running = request.firmware, ctx.state.firmware.running_update
    if firmware.signing_certificate is None or firmware.signature is None:
        yield _reject_update(call, "Rejected", "MissingParam", "only signed firmware is accepted")
        return
    refusal = _check_signer(ctx, firmware.signing_certificate)
    if refusal:
        yield _reject_update(call, "InvalidCertificate", "InvalidCertificate", refusal)
        # L01.FR.02
        yield from log_security_event(ctx, "InvalidFirmwareSigningCertificate", refusal)
        return
    if running and not _is_cancellable(ctx, running):
        text = f"update {running.order.request_id} cannot be cancelled"
        yield _reject_update(call, "Rejected", "FwUpdateInProgress", text)
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
    """Why a signing certificate is refused; empty: it is valid. L01.FR.12, L01.FR.21."""
    certificates = ctx.state.certificates.for_uses("ManufacturerRootCertificate")
    roots = [certificate.pem for certificate in certificates]
    try:
        check_signing_certificate(pem, roots, ctx.now)
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
    """Whether a newer request may cancel the update. L01.FR.24, L01.FR.27."""
    return (
        ctx.product.profile.supports(CANCELS_UPDATE) and update.status not in UNCANCELLABLE_STATUSES
    )


# --- The states ----------------------------------------------------------------------------------


def advance_update(ctx: Context) -> Iterator[Decision]:
    """Enter every state that the observation, the clock and the transactions lead to.

    Except Installing, which `start_installation` enters.
    """
    update = ctx.state.firmware.running_update
    if update is None:
        return
    reported = _reported_status(ctx.entry.event, update)
    status, reason = reported or (_next_status(ctx, update), "")
    while status is not None:
        yield from _enter_status(ctx, update, status, reason)
        update = msgspec.structs.replace(update, status=status)
        status, reason = _next_status(ctx, update), ""
    if (
        not update.waited_for_transactions
        and not update.has_ended
        and _waits_for_transactions(ctx, update)
    ):
        yield FirmwareWaitingForTransactions(update.seq)


def _reported_status(event: Event, update: FirmwareUpdate) -> tuple[str, str] | None:
    """The state that the report of a job leads to, with its reason; None: it is no such report."""
    if getattr(event, "update_seq", None) != update.seq:
        return None
    match event:
        case FirmwareDownloadEnded(succeeded=True) if update.status in (
            "Downloading",
            "DownloadPaused",
        ):
            return "Downloaded", ""
        case FirmwareDownloadEnded(succeeded=False, reason=reason) if update.status in (
            "Downloading",
            "Downloaded",
        ):
            return "DownloadFailed", reason  # L01.FR.30
        case FirmwareSignatureChecked(valid=valid, reason=reason) if update.status == "Downloaded":
            return ("SignatureVerified" if valid else "InvalidSignature"), reason
        case FirmwareInstallEnded(outcome=outcome, reason=reason) if update.status == "Installing":
            return STATUS_BY_OUTCOME[outcome], reason
        case FirmwareActivationChecked(succeeded=succeeded, reason=reason) if (
            update.status == "InstallRebooting"
        ):
            return ("Installed" if succeeded else "InstallationFailed"), reason
        case _:
            return None


STATUS_BY_OUTCOME: Final = {
    "restart_required": "InstallRebooting",  # L01.FR.32 (a)
    "failed": "InstallationFailed",
    "invalid_firmware": "InstallVerificationFailed",  # L01.FR.29
}


def _next_status(ctx: Context, update: FirmwareUpdate) -> str | None:
    """The state that the clock and the transactions lead to; None: it stays as it is."""
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
    """Whether the download may begin; a later step of the clock does not undo it. L01.FR.13."""
    return has_passed(update.order.retrieve_at, ctx.now) and _may_transfer(ctx)


def _may_transfer(ctx: Context) -> bool:
    """Whether data may be downloaded now. AQ-7."""
    return ctx.product.profile.supports(DOWNLOADS_WHILE_CHARGING) or not ctx.state.transactions.open


def _waits_for_transactions(ctx: Context, update: FirmwareUpdate) -> bool:
    """Whether only the use of the station delays the update. L01.FR.06, L01.FR.33."""
    order = update.order
    match update.status:
        case "DownloadScheduled":
            return has_passed(order.retrieve_at, ctx.now)
        case "DownloadPaused":
            return True
        case "InstallScheduled":
            return has_passed(order.install_at, ctx.now) and not may_install(ctx, update)
        case "InstallRebooting":
            return is_in_use(ctx) and not update.restarted
        case _:
            return False


def start_installation(ctx: Context) -> Iterator[Decision]:
    """Enter Installing, after the EVSEs were reported Unavailable. L01.FR.05."""
    update = ctx.state.firmware.running_update
    if update and is_ready_to_install(ctx, update):
        yield from _enter_status(ctx, update, "Installing", "")


def _enter_status(
    ctx: Context, update: FirmwareUpdate, status: str, reason: str
) -> Iterator[Decision]:
    """Change the state and report it, with its security event. L01.FR.01, L01.FR.10."""
    yield FirmwareStatusChanged(update.seq, status, reason)
    yield from queue_status_notification(ctx, status, update.order.request_id)
    if status in SECURITY_EVENT_BY_STATUS:
        update_name = f"update {update.order.request_id}"
        tech_info = f"{update_name}: {reason}" if reason else update_name
        yield from log_security_event(ctx, SECURITY_EVENT_BY_STATUS[status], tech_info)


def queue_status_notification(
    ctx: Context, status: str, request_id: int | None, *, solicited: bool = False
) -> Iterator[CallQueued]:
    """Queue a FirmwareStatusNotification; it is kept until delivered. L01.FR.20.

    Args:
        request_id: None only if no update has one.
    """
    request = FirmwareStatusNotificationRequest(
        status=status,  # type: ignore[arg-type]
        request_id=request_id,
    )
    yield from queue_call(ctx, request, keep=not solicited, solicited=solicited)


# --- The restart ---------------------------------------------------------------------------------


def order_update_restart(ctx: Context) -> Iterator[Decision]:
    """Restart into the new firmware when the station is not in use. L01.FR.15, L01.FR.33.

    Waiting calls are delivered first, for MessageTimeout at the longest.
    """
    update = ctx.state.firmware.running_update
    due_ms = _restart_due_ms(ctx)
    if update is None or due_ms is None:
        return
    outbox = ctx.state.outbox
    has_calls = len(outbox.general) or outbox.in_flight
    if has_calls and ctx.may_send_calls and ctx.uptime_ms < due_ms:
        return
    yield RestartOrdered("FirmwareUpdate")


def _restart_due_ms(ctx: Context) -> int | None:
    """Uptime at which the restart waits no longer; None: no restart is due."""
    update = ctx.state.firmware.running_update
    if update is None or update.status != "InstallRebooting" or update.restarted:
        return None
    if ctx.state.lifecycle.restart or is_in_use(ctx):
        return None
    return update.status_since_ms + message_timeout_ms(ctx)


# --- For other blocks ----------------------------------------------------------------------------


def update_due_ms(ctx: Context) -> int | None:
    """Uptime at which the next step of the update is due."""
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
    """Uptime of a moment on the wall clock; None if it has passed."""
    if moment is None or has_passed(moment, ctx.now):
        return None
    remaining = datetime.fromisoformat(moment) - ctx.now
    return ctx.uptime_ms + remaining // timedelta(milliseconds=1) + 1


def trigger_firmware_status(ctx: Context) -> Iterator[Decision]:
    """TriggerMessage: queue the last status, or Idle. L01.FR.25, L01.FR.26, F06.FR.16."""
    latest = ctx.state.firmware.latest_update
    if latest is None or latest.status in ("", "Installed"):
        yield from queue_status_notification(ctx, "Idle", None, solicited=True)
    else:
        yield from queue_status_notification(
            ctx, latest.status, latest.order.request_id, solicited=True
        )


def is_update_active(ctx: Context) -> bool:
    """Whether an update is downloading or installing. B11, erratum 2.14 (2025-06)."""
    update = ctx.state.firmware.running_update
    return update is not None and update.status in ACTIVE_STATUSES


CALLS: Final[dict[str, CallHandler]] = {"UpdateFirmware": update_firmware}
DEADLINES: Final[tuple[Deadline, ...]] = (update_due_ms,)
RULES: Final[tuple[Rule, ...]] = (advance_update, start_installation, order_update_restart)
_WAITING_TEXT: Final = "it waits for its scheduled time or for a transaction to end"
REASONS: Final[Reasons] = {
    FirmwareUpdateOrdered: Reason(
        "the CSMS requested it, and its signing certificate is valid", "L01.FR.21"
    ),
    FirmwareWaitingForTransactions: Reason(
        "a transaction is open, and the update waits for its end", "L01.FR.06"
    ),
    FirmwareStatusChanged: ReasonTable(
        {
            "DownloadScheduled": Reason(_WAITING_TEXT, "L01.FR.13"),
            "DownloadPaused": Reason("downloads pause while a transaction is open", "L01.FR.14"),
            "Downloading": Reason("the download was due", "L01.FR.01"),
            "Downloaded": Reason("it was downloaded; its signature is checked next", "L01.FR.04"),
            "DownloadFailed": Reason("every download attempt failed{reason}", "L01.FR.30"),
            "SignatureVerified": Reason(
                "the manufacturer's signature is valid{reason}", "L01.FR.04"
            ),
            "InvalidSignature": Reason("the signature is invalid{reason}", "L01.FR.04, L01.FR.12"),
            "InstallScheduled": Reason(_WAITING_TEXT, "L01.FR.06, L01.FR.16"),
            "Installing": Reason("nothing blocked it any more", "L01.FR.05"),
            "InstallRebooting": Reason("it needs a restart to take effect{reason}", "L01.FR.32"),
            "InstallationFailed": Reason("the installation failed{reason}"),
            "InstallVerificationFailed": Reason(
                "the installer rejected it as invalid{reason}", "L01.FR.29"
            ),
            "Installed": Reason("it is running after the restart{reason}", "L01.FR.28, L01.FR.32"),
        },
        lambda change: change.status,
    ),
}
CALL_REASONS: Final = {
    "FirmwareStatusNotification": Reason("the firmware status changed", "L01.FR.01")
}
REFUSALS: Final[Refusals] = {
    ("UpdateFirmware", "FwUpdateInProgress"): "L01.FR.27",
    ("UpdateFirmware", "InvalidCertificate"): "L01.FR.22",
}
