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

from journal.observations import (
    ActivationChecked,
    DownloadEnded,
    InstallEnded,
    SignatureChecked,
)
from journal.projections.firmware import (
    FirmwareAdvanced,
    FirmwareOrdered,
    TransactionsAwaited,
    Update,
)
from journal.projections.lifecycle import RestartOrdered
from journal.projections.outbox import CallQueued
from journal.terms import Decision, Event
from station.blocks.a_security import logged
from station.blocks.standing import in_use, installs_now, may_install
from station.blocks.transfers import attempts, interval_s, passed, utc
from station.case import Call, Case, Handler, answer, reason, say
from station.delivery import timeout_ms
from station.messages.l_firmware import (
    FirmwareStatusNotificationRequest,
    UpdateFirmwareRequest,
    UpdateFirmwareResponse,
)

DOWNLOADS_WHILE_CHARGING: Final = "AQ-7"
CANCELS: Final = "C-60"
BEYOND_RECALL: Final = frozenset({"Installing", "InstallRebooting"})  # L01.FR.27
AT_WORK: Final = frozenset(
    {"Downloading", "Downloaded", "SignatureVerified", "Installing", "InstallRebooting"}
)

# status -> the security event it is. L01.FR.03, L01.FR.31
SECURITY: Final = {"InvalidSignature": "InvalidFirmwareSignature", "Installed": "FirmwareUpdated"}


# --- The order -----------------------------------------------------------------------------------


def update_firmware(case: Case, call: Call, request: UpdateFirmwareRequest) -> Iterator[Decision]:
    """Take an update on, if its signer is good and no other is in the way. L01.FR.21 to 27."""
    firmware, running = request.firmware, case.state.firmware.running
    if firmware.signing_certificate is None or firmware.signature is None:
        yield _refused(call, "Rejected", "MissingParam", "only signed firmware is taken")
        return
    complaint = _complaint(case, firmware.signing_certificate)
    if complaint:
        yield _refused(call, "InvalidCertificate", "InvalidCertificate", complaint)
        yield from logged(case, "InvalidFirmwareSigningCertificate", complaint)  # L01.FR.02
        return
    if running and not _cancellable(case, running):
        told = f"update {running.ordered.request_id} cannot be cancelled"
        yield _refused(call, "Rejected", "FwUpdateInProgress", told)
        return
    status = "AcceptedCanceled" if running else "Accepted"
    yield answer(call, UpdateFirmwareResponse(status=status))  # type: ignore[arg-type]
    yield FirmwareOrdered(
        request_id=request.request_id,
        location=firmware.location,
        retrieve_at=utc(firmware.retrieve_date_time) or "",
        install_at=utc(firmware.install_date_time),
        attempts=attempts(request.retries),
        interval_s=interval_s(request.retry_interval),
        signing_certificate=firmware.signing_certificate,
        signature=firmware.signature,
    )


def _complaint(case: Case, pem: str) -> str:
    """What is wrong with whoever signed it; empty: nothing. L01.FR.12, L01.FR.21."""
    from station.firmware.signature import CertificateRefused, signing_certificate  # a slow import

    roots = [one.pem for one in case.state.certificates.of("ManufacturerRootCertificate")]
    try:
        signing_certificate(pem, roots, case.now)
    except CertificateRefused as refusal:
        return str(refusal)
    return ""


def _refused(call: Call, status: str, code: str, text: str) -> Decision:
    return answer(
        call,
        UpdateFirmwareResponse(
            status=status,  # type: ignore[arg-type]
            status_info=reason(code, text),
        ),
    )


def _cancellable(case: Case, update: Update) -> bool:
    """L01.FR.24, L01.FR.27."""
    return case.product.profile.has(CANCELS) and update.status not in BEYOND_RECALL


# --- Going on ------------------------------------------------------------------------------------


def advances(case: Case) -> Iterator[Decision]:
    """Enter every state that what happened, the clock and the transactions lead to.

    All but Installing: before that the CSMS hears that the EVSEs are Unavailable.
    """
    update = case.state.firmware.running
    if update is None:
        return
    entered = _reported(case.entry.event, update)
    status, why = entered or (_next(case, update), "")
    while status is not None:
        yield from _enters(case, update, status, why)
        update = msgspec.structs.replace(update, status=status)
        status, why = _next(case, update), ""
    if not update.waited and not update.ended and _waits(case, update):
        yield TransactionsAwaited(update.seq)


def _reported(event: Event, update: Update) -> tuple[str, str] | None:
    """The state that a report on this update leads to, and why; None: it is no such report."""
    if getattr(event, "update", None) != update.seq:
        return None
    match event:
        case DownloadEnded(ok=True) if update.status in ("Downloading", "DownloadPaused"):
            return "Downloaded", ""
        case DownloadEnded(ok=False, why=why) if update.status in ("Downloading", "Downloaded"):
            return "DownloadFailed", why  # L01.FR.30
        case SignatureChecked(ok=ok, why=why) if update.status == "Downloaded":
            return ("SignatureVerified" if ok else "InvalidSignature"), why
        case InstallEnded(outcome=outcome, why=why) if update.status == "Installing":
            return OUTCOMES[outcome], why
        case ActivationChecked(ok=ok, why=why) if update.status == "InstallRebooting":
            return ("Installed" if ok else "InstallationFailed"), why
        case _:
            return None


OUTCOMES: Final = {
    "restart": "InstallRebooting",  # L01.FR.32 (a)
    "failed": "InstallationFailed",
    "invalid": "InstallVerificationFailed",  # L01.FR.29
}


def _next(case: Case, update: Update) -> str | None:
    """The state that the clock and the transactions lead to, from the one it is in."""
    match update.status:
        case "":
            return "Downloading" if _may_download(case, update) else "DownloadScheduled"
        case "DownloadScheduled" if _may_download(case, update):
            return "Downloading"
        case "DownloadPaused" if _may_transfer(case):
            return "Downloading"
        case "Downloading" if not _may_transfer(case):
            return "DownloadPaused"  # L01.FR.14
        case "SignatureVerified" if not may_install(case, update):
            return "InstallScheduled"  # L01.FR.16, L01.FR.34
        case _:
            return None


def _may_download(case: Case, update: Update) -> bool:
    """Whether a download may begin; a clock set back later does not undo it. L01.FR.13."""
    return passed(update.ordered.retrieve_at, case.now) and _may_transfer(case)


def _may_transfer(case: Case) -> bool:
    """AQ-7."""
    return case.product.profile.has(DOWNLOADS_WHILE_CHARGING) or not case.state.transactions.open


def _waits(case: Case, update: Update) -> bool:
    """Whether nothing but people who charge is in its way. L01.FR.06, L01.FR.33."""
    ordered = update.ordered
    match update.status:
        case "DownloadScheduled":
            return passed(ordered.retrieve_at, case.now)
        case "DownloadPaused":
            return True
        case "InstallScheduled":
            return passed(ordered.install_at, case.now) and not may_install(case, update)
        case "InstallRebooting":
            return in_use(case) and not update.restarted
        case _:
            return False


def installs(case: Case) -> Iterator[Decision]:
    """Begin to install, now that the CSMS has been told of the EVSEs. L01.FR.05."""
    update = case.state.firmware.running
    if update and installs_now(case, update):
        yield from _enters(case, update, "Installing", "")


def _enters(case: Case, update: Update, status: str, why: str) -> Iterator[Decision]:
    """L01.FR.01, L01.FR.10; told also after the link was lost, or the program ended."""
    yield FirmwareAdvanced(update.seq, status, why)
    yield from status_notification(case, status, update.ordered.request_id)
    if status in SECURITY:
        about = f"update {update.ordered.request_id}"
        yield from logged(case, SECURITY[status], f"{about}: {why}" if why else about)


def status_notification(
    case: Case, status: str, request_id: int | None, *, solicited: bool = False
) -> Iterator[CallQueued]:
    """L01.FR.20: the requestId is left out only where there is none."""
    request = FirmwareStatusNotificationRequest(
        status=status,  # type: ignore[arg-type]
        request_id=request_id,
    )
    yield from say(case, request, keep=not solicited, solicited=solicited)


# --- The restart ---------------------------------------------------------------------------------


def reboots(case: Case) -> Iterator[Decision]:
    """Restart into the new firmware once nobody charges and the CSMS has heard of it.

    It need not have heard longer than an answer may take. L01.FR.15, L01.FR.33.
    """
    update = case.state.firmware.running
    due_ms = _reboot_ms(case)
    if update is None or due_ms is None:
        return
    outbox = case.state.outbox
    unheard = len(outbox.rest) or outbox.in_flight
    if unheard and case.may_speak and case.uptime_ms < due_ms:
        return
    yield RestartOrdered("FirmwareUpdate")


def _reboot_ms(case: Case) -> int | None:
    """Uptime at which `reboots` waits for no answer any more; None: it is not its turn."""
    update = case.state.firmware.running
    if update is None or update.status != "InstallRebooting" or update.restarted:
        return None
    if case.state.lifecycle.restart or in_use(case):
        return None
    return update.entered_ms + timeout_ms(case)


# --- Seen from elsewhere -------------------------------------------------------------------------


def deadline_ms(case: Case) -> int | None:
    """Uptime at which the next step is due by the clock alone."""
    update = case.state.firmware.running
    if update is None:
        return None
    match update.status:
        case "DownloadScheduled":
            return _uptime_of(case, update.ordered.retrieve_at)
        case "InstallScheduled":
            return _uptime_of(case, update.ordered.install_at)
        case _:
            return _reboot_ms(case)


def _uptime_of(case: Case, moment: str | None) -> int | None:
    """Uptime of a moment on the wall clock; None if it has come."""
    if moment is None or passed(moment, case.now):
        return None
    ahead = datetime.fromisoformat(moment) - case.now
    return case.uptime_ms + ahead // timedelta(milliseconds=1) + 1


def triggered(case: Case) -> Iterator[Decision]:
    """TriggerMessage: what was told last, or Idle. L01.FR.25, L01.FR.26, F06.FR.16."""
    last = case.state.firmware.last
    if last is None or last.status in ("", "Installed"):
        yield from status_notification(case, "Idle", None, solicited=True)
    else:
        yield from status_notification(case, last.status, last.ordered.request_id, solicited=True)


def at_work(case: Case) -> bool:
    """Whether an update is being fetched or installed right now. B11, erratum 2.14 (2025-06)."""
    update = case.state.firmware.running
    return update is not None and update.status in AT_WORK


CALLS: dict[str, Handler] = {"UpdateFirmware": update_firmware}
