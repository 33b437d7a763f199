"""GetLog: accept, order the upload, report its status. N01.

A request is answered at once; a job writes and uploads the file and reports LogUploadEnded. The
product profile has whether a newer request cancels a running upload (C-57).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from journal.events import Decision, Event
from journal.observations import LogUploadEnded
from journal.projections.logs import (
    ARCHIVE_SUFFIX,
    LogUpload,
    LogUploadClosed,
    LogUploadOrdered,
)
from journal.projections.outbox import CallQueued
from station.core.blocks.transfer_fields import resolve_attempts, resolve_interval_s, to_utc_text
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Rule,
    call_result,
    queue_call,
    status_info,
)
from station.core.reasons import Reason, Reasons, ReasonTable
from station.ocpp.messages import parse_timestamp
from station.ocpp.messages.n_diagnostics import (
    GetLogRequest,
    GetLogResponse,
    LogStatusNotificationRequest,
)

CANCELS_UPLOAD: Final = "C-57"
LOG_NAMES: Final = {"DiagnosticsLog": "diagnostics", "SecurityLog": "security"}
UNSAFE_FILENAME_CHARACTERS: Final = re.compile(r"[^A-Za-z0-9._-]")


def get_log(ctx: Context, call: Call, request: GetLogRequest) -> Iterator[Decision]:
    """Order an upload, if none runs that cannot be cancelled. N01.FR.01/02/05/12."""
    running = ctx.state.logs.upload
    if running and not ctx.product.profile.supports(CANCELS_UPLOAD):
        text = f"upload {running.order.request_id} is running and cannot be cancelled"
        yield _reject_request(call, "Unspecified", text)
        return
    if _is_period_empty(ctx, request):
        yield _reject_request(call, "NotFound", "the requested period has no log")
        return
    filename = _log_filename(ctx, request)
    status = "AcceptedCanceled" if running else "Accepted"
    yield call_result(call, GetLogResponse(status=status, filename=filename))  # type: ignore[arg-type]
    if running:
        yield from _close_upload(ctx, running, "AcceptedCanceled")  # N01.FR.20
    yield LogUploadOrdered(
        request_id=request.request_id,
        log_type=request.log_type,
        location=request.log.remote_location,
        filename=filename,
        oldest_timestamp=to_utc_text(request.log.oldest_timestamp),
        latest_timestamp=to_utc_text(request.log.latest_timestamp),
        attempts_max=resolve_attempts(request.retries),
        retry_interval_s=resolve_interval_s(request.retry_interval),
    )
    yield from queue_status_notification(ctx, "Uploading", request.request_id)  # N01.FR.08


def _reject_request(call: Call, code: str, text: str) -> Decision:
    return call_result(call, GetLogResponse(status="Rejected", status_info=status_info(code, text)))


def _is_period_empty(ctx: Context, request: GetLogRequest) -> bool:
    """Whether the requested period ends before it begins, or begins later than now."""
    if request.log.oldest_timestamp is None:
        return False
    oldest, latest = parse_timestamp(request.log.oldest_timestamp), request.log.latest_timestamp
    return oldest > ctx.now or (latest is not None and parse_timestamp(latest) < oldest)


def _log_filename(ctx: Context, request: GetLogRequest) -> str:
    """Identity, log type, time and entry number: unique for this station.

    A diagnostics log with bus traces is an archive.
    """
    identity = UNSAFE_FILENAME_CHARACTERS.sub("-", ctx.state.lifecycle.identity)
    moment = ctx.now.strftime("%Y%m%dT%H%M%SZ")
    with_traces = request.log_type == "DiagnosticsLog" and ctx.state.bus_traces.written
    suffix = ARCHIVE_SUFFIX if with_traces else ".log"
    return f"{identity}_{LOG_NAMES[request.log_type]}_{moment}_{ctx.entry.seq}{suffix}"


def on_upload_ended(ctx: Context) -> Iterator[Decision]:
    """Report how the upload ended, unless it was cancelled. N01.FR.09, N01.FR.10."""
    ended, upload = ctx.entry.event, ctx.state.logs.upload
    assert isinstance(ended, LogUploadEnded)
    if upload and upload.seq == ended.upload_seq:
        yield from _close_upload(ctx, upload, ended.status)


def _close_upload(ctx: Context, upload: LogUpload, status: str) -> Iterator[Decision]:
    yield LogUploadClosed(upload.seq, status)
    yield from queue_status_notification(ctx, status, upload.order.request_id)


def queue_status_notification(
    ctx: Context, status: str, request_id: int | None, *, solicited: bool = False
) -> Iterator[CallQueued]:
    """Queue a LogStatusNotification; it is kept until delivered. N01.FR.07, N01.FR.13."""
    request = LogStatusNotificationRequest(
        status=status,  # type: ignore[arg-type]
        request_id=request_id,
    )
    yield from queue_call(ctx, request, keep=not solicited, solicited=solicited)


def trigger_log_status(ctx: Context) -> Iterator[Decision]:
    """TriggerMessage: queue Uploading, or Idle. F06.FR.14, F06.FR.15."""
    upload = ctx.state.logs.upload
    if upload is None:
        yield from queue_status_notification(ctx, "Idle", None, solicited=True)
    else:
        yield from queue_status_notification(
            ctx, "Uploading", upload.order.request_id, solicited=True
        )


CALLS: Final[dict[str, CallHandler]] = {"GetLog": get_log}
OBSERVED: Final[dict[type[Event], Rule]] = {LogUploadEnded: on_upload_ended}
REASONS: Final[Reasons] = {
    LogUploadOrdered: Reason("the CSMS requested it with GetLog", "N01.FR.01"),
    LogUploadClosed: ReasonTable(
        {
            "ended": Reason("the upload ended", "N01.FR.09, N01.FR.10"),
            "replaced": Reason("the CSMS requested another upload", "N01.FR.20"),
        },
        lambda closed: "replaced" if closed.status == "AcceptedCanceled" else "ended",
    ),
}
CALL_REASONS: Final = {
    "LogStatusNotification": Reason("the status of the upload changed", "N01.FR.12")
}
