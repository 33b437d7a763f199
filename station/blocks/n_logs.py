"""How does the CSMS get a log? (Block N, N01)

An order is taken on at once; the file is written and sent by somebody else, who tells how it ended.
Whether a running upload gives way to another one (C-57), the product profile says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from journal.observations import UploadEnded
from journal.projections.logs import Upload, UploadClosed, UploadOrdered
from journal.projections.outbox import CallQueued
from journal.terms import Decision, Event
from station.blocks.transfers import attempts, interval_s, utc
from station.case import Call, Case, Handler, Rule, answer, reason, say
from station.messages import parse_timestamp
from station.messages.n_diagnostics import (
    GetLogRequest,
    GetLogResponse,
    LogStatusNotificationRequest,
)

CANCELS: Final = "C-57"
LOGS: Final = {"DiagnosticsLog": "diagnostics", "SecurityLog": "security"}
NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")


def get_log(case: Case, call: Call, request: GetLogRequest) -> Iterator[Decision]:
    """Take an upload on. N01.FR.01, N01.FR.02, N01.FR.05, N01.FR.12."""
    running = case.state.logs.upload
    if running and not case.product.profile.has(CANCELS):
        told = f"upload {running.ordered.request_id} is under way and cannot be cancelled"
        yield _refused(call, "Unspecified", told)
        return
    if _is_empty(case, request):
        yield _refused(call, "NotFound", "nothing was logged in that span of time")
        return
    filename = _filename(case, request)
    status = "AcceptedCanceled" if running else "Accepted"
    yield answer(call, GetLogResponse(status=status, filename=filename))  # type: ignore[arg-type]
    if running:
        yield from _closes(case, running, "AcceptedCanceled")  # N01.FR.20
    yield UploadOrdered(
        request_id=request.request_id,
        log_type=request.log_type,
        location=request.log.remote_location,
        filename=filename,
        oldest=utc(request.log.oldest_timestamp),
        latest=utc(request.log.latest_timestamp),
        attempts=attempts(request.retries),
        interval_s=interval_s(request.retry_interval),
    )
    yield from status_notification(case, "Uploading", request.request_id)  # N01.FR.08


def _refused(call: Call, code: str, text: str) -> Decision:
    return answer(call, GetLogResponse(status="Rejected", status_info=reason(code, text)))


def _is_empty(case: Case, request: GetLogRequest) -> bool:
    """Whether the span of time asked for ends before it begins, or begins later than now."""
    if request.log.oldest_timestamp is None:
        return False
    oldest, latest = parse_timestamp(request.log.oldest_timestamp), request.log.latest_timestamp
    return oldest > case.now or (latest is not None and parse_timestamp(latest) < oldest)


def _filename(case: Case, request: GetLogRequest) -> str:
    """Tells whose log it is, which and from when; unlike any other of this station."""
    identity = NOT_IN_A_NAME.sub("-", case.state.lifecycle.identity)
    moment = case.now.strftime("%Y%m%dT%H%M%SZ")
    return f"{identity}_{LOGS[request.log_type]}_{moment}_{case.entry.seq}.log"


def upload_ended(case: Case) -> Iterator[Decision]:
    """Tell how it ended. Of one that gave way, that has been told. N01.FR.09, N01.FR.10."""
    ended, upload = case.entry.event, case.state.logs.upload
    assert isinstance(ended, UploadEnded)
    if upload and upload.seq == ended.upload:
        yield from _closes(case, upload, ended.status)


def _closes(case: Case, upload: Upload, status: str) -> Iterator[Decision]:
    yield UploadClosed(upload.seq, status)
    yield from status_notification(case, status, upload.ordered.request_id)


def status_notification(
    case: Case, status: str, request_id: int | None, *, solicited: bool = False
) -> Iterator[CallQueued]:
    """N01.FR.07, N01.FR.13; told also after the link was lost, or the program ended."""
    request = LogStatusNotificationRequest(
        status=status,  # type: ignore[arg-type]
        request_id=request_id,
    )
    yield from say(case, request, keep=not solicited, solicited=solicited)


def triggered(case: Case) -> Iterator[Decision]:
    """TriggerMessage. F06.FR.14, F06.FR.15."""
    upload = case.state.logs.upload
    if upload is None:
        yield from status_notification(case, "Idle", None, solicited=True)
    else:
        yield from status_notification(case, "Uploading", upload.ordered.request_id, solicited=True)


CALLS: dict[str, Handler] = {"GetLog": get_log}
OBSERVED: Final[dict[type[Event], Rule]] = {UploadEnded: upload_ended}
