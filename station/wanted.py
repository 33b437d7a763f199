"""How should things be? A level, not a list of commands.

Computed after every commit from the memory alone. Hands, link and alarm act on the difference
between this and what they have done, so a restart needs no list of half-done orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from journal.projections.certificates import CertificateInstalled
from journal.projections.customers import Inquiry
from journal.projections.firmware import FirmwareOrdered, Update
from journal.projections.logs import Upload
from journal.projections.networks import NetworkSlot
from journal.projections.replies import Reply
from journal.state import State
from journal.terms import FAULTS, Entry
from station import delivery
from station.blocks import (
    b_registration,
    b_reset,
    c_authorization,
    e_transactions,
    j_metering,
    l_firmware,
    n_customers,
)
from station.blocks.standing import (
    charging_state,
    full,
    in_service,
    may_charge,
    out_of_order,
    rests_until_ms,
)
from station.case import Case, Product


class WantedCall(msgspec.Struct, frozen=True):
    """The attempt that is under way; its payload lies in entry `call`."""

    call: int
    message_id: str
    action: str
    offline: bool


class WantedEvse(msgspec.Struct, frozen=True):
    """What the power path of one EVSE shall do."""

    evse_id: int
    energy: bool  # whoever is plugged in may charge
    suspended: bool  # somebody may charge, but not now: stay connected without energy
    transaction_id: str | None
    words: str  # for the display
    cables: int | None = None  # reports of the cable this was judged with; None: whichever


Step = Literal["wait", "download", "verify", "install", "confirm"]

OUT_OF_ORDER: Final = "Out of order"
FAILED_WAKE_MS: Final = 10_000  # the least between two deadlines after a rule failed

STEPS: Final[dict[str, Step]] = {
    "Downloading": "download",
    "Downloaded": "verify",
    "Installing": "install",
}


class WantedFirmware(msgspec.Struct, frozen=True):
    """What to do next for a firmware update. L01."""

    update: int  # entry that ordered it
    step: Step
    ordered: FirmwareOrdered
    version: str = ""  # of what the installer has put in place


class WantedLink(msgspec.Struct, frozen=True):
    """How to reach the CSMS, and how patiently. Part 4 §5.3, §8; B10."""

    candidates: tuple[NetworkSlot, ...] = ()  # in the order they are tried. B10.FR.04
    attempts: int = 1  # for each of them. B10.FR.03
    last: NetworkSlot | None = None  # of the last successful connection
    falls_back: bool = False  # to that one, once all have failed. B10.FR.07, C-47
    opens: int = 0  # of this run of the program; the last one is the present connection
    online: bool = False
    password: str = ""  # reference of BasicAuthPassword; empty: the one in station.toml
    ping_s: int = 0  # 0: no pings. WebSocketPingInterval
    wait_min_s: int = 10
    wait_random_s: int = 0
    repeat_times: int = 0


class Wanted(msgspec.Struct, frozen=True):
    link: WantedLink = WantedLink()
    replies: tuple[Reply, ...] = ()
    call: WantedCall | None = None
    evses: tuple[WantedEvse, ...] = ()
    reader: bool = True
    wake_ms: int | None = None  # uptime at which something is due
    restart: str | None = None  # BootReasonEnumType of the next run
    firmware: WantedFirmware | None = None
    upload: Upload | None = None  # the log that shall be on its way
    inquiry: Inquiry | None = None  # whose data shall be looked for
    erase: tuple[str, ...] = ()  # references of personal values that shall go now
    certificates: tuple[CertificateInstalled, ...] = ()
    failed: str = ""  # why this is only the level that harms nobody


def wanted(product: Product, state: State, entry: Entry) -> Wanted:
    """The level that follows from the memory as it is after `entry`.

    Where that has a fault of ours, the level that harms nobody, which says so. P8.
    """
    case = Case(product, state, entry)
    try:
        return _wanted(case)
    except FAULTS as fault:
        return _harmless(case, fault)


def _harmless(case: Case, fault: Exception) -> Wanted:
    """No energy anywhere; the CSMS still gets its answers."""
    return Wanted(
        link=_link(case),
        replies=case.state.replies.owed,
        evses=tuple(
            WantedEvse(evse.evse_id, False, False, None, OUT_OF_ORDER)
            for evse in case.state.hardware.evses
        ),
        reader=False,
        wake_ms=case.uptime_ms + FAILED_WAKE_MS,
        failed=f"{type(fault).__name__}: {fault}",
    )


def _wanted(case: Case) -> Wanted:
    state = case.state
    flight = state.outbox.in_flight
    restart = state.lifecycle.restart
    return Wanted(
        link=_link(case),
        replies=state.replies.owed,
        call=WantedCall(flight.call, flight.message_id, flight.action, flight.offline)
        if flight and state.links.online
        else None,
        evses=tuple(_evse(case, evse.evse_id) for evse in state.hardware.evses),
        reader=any(in_service(case, evse.evse_id) for evse in state.hardware.evses)
        or bool(state.transactions.open),
        wake_ms=_wake_ms(case),
        restart=restart.boot_reason if restart else None,
        firmware=_firmware(state.firmware.running),
        upload=state.logs.upload,
        inquiry=next(iter(state.customers.inquiries), None),
        erase=n_customers.erasable(case),
        certificates=state.certificates.installed,
    )


def _link(case: Case) -> WantedLink:
    networks = case.state.networks
    return WantedLink(
        candidates=networks.candidates,
        attempts=case.integer("OCPPCommCtrlr.NetworkProfileConnectionAttempts", absent=1),
        last=networks.candidate(networks.last_slot) or networks.stored(networks.last_slot),
        falls_back=case.product.profile.has("C-47"),
        opens=case.state.links.opens,
        online=case.state.links.online,
        password=case.text("SecurityCtrlr.BasicAuthPassword") or "",
        ping_s=case.integer("OCPPCommCtrlr.WebSocketPingInterval"),
        wait_min_s=case.integer("OCPPCommCtrlr.RetryBackOffWaitMinimum", absent=10),
        wait_random_s=case.integer("OCPPCommCtrlr.RetryBackOffRandomRange"),
        repeat_times=case.integer("OCPPCommCtrlr.RetryBackOffRepeatTimes"),
    )


def _firmware(update: Update | None) -> WantedFirmware | None:
    if update is None:
        return None
    step = STEPS.get(update.status, "wait")
    if update.status == "InstallRebooting" and update.restarted:
        step = "confirm"
    return WantedFirmware(update.seq, step, update.ordered, update.version)


def _evse(case: Case, evse_id: int) -> WantedEvse:
    held = case.state.authorizations.at(evse_id)
    transaction = case.state.transactions.at(evse_id)
    return WantedEvse(
        evse_id=evse_id,
        energy=may_charge(case, evse_id),
        suspended=held is not None and held.suspended,
        transaction_id=transaction.transaction_id if transaction else None,
        words=_words(case, evse_id),
        cables=case.state.hardware.at(evse_id).cables,
    )


def _words(case: Case, evse_id: int) -> str:
    """What the person in front of the station reads."""
    if case.state.faults.blocking(evse_id):
        return OUT_OF_ORDER
    transaction = case.state.transactions.at(evse_id)
    if transaction and transaction.stopping:
        return "Thank you. Unplug the cable"
    state = charging_state(case, evse_id)
    if case.state.authorizations.at(evse_id):
        return {"Idle": "Plug in the cable", "Charging": "Charging"}.get(state, "Please wait")
    if out_of_order(case):
        return OUT_OF_ORDER
    if full(case):
        return "Out of service: memory full"
    if not in_service(case, evse_id):
        return "Out of service"
    if state != "Idle":
        return "Present your card"
    return "Welcome. Service needed" if case.state.condition.safe_mode else "Welcome"


def _wake_ms(case: Case) -> int | None:
    """The earliest deadline; after a failed rule not at once: it may leave one in the past."""
    due_ms = min(_deadlines(case), default=None)
    failed_ms = case.state.condition.failed_ms
    if due_ms is None or failed_ms is None:
        return due_ms
    return max(due_ms, min(failed_ms, case.uptime_ms) + FAILED_WAKE_MS)


def _deadlines(case: Case) -> Iterator[int]:
    """Every uptime at which a rule may decide without anything else happening."""
    outbox = case.state.outbox
    if outbox.in_flight:
        if outbox.in_flight.sent_ms is not None:
            yield outbox.in_flight.sent_ms + delivery.timeout_ms(case)
    elif case.may_speak and outbox.retry_ms is not None and len(outbox.transaction):
        yield outbox.retry_ms
    for due_ms in (
        b_registration.boot_ms(case),
        b_registration.heartbeat_ms(case),
        b_reset.restart_ms(case),
        j_metering.aligned_ms(case),
        j_metering.kept_ms(case),
        l_firmware.deadline_ms(case),
        rests_until_ms(case) if out_of_order(case) else None,
    ):
        if due_ms is not None:
            yield due_ms
    for held in case.state.authorizations.held:
        due_ms = c_authorization.due_ms(case, held)
        if due_ms is not None:
            yield due_ms
    yield from e_transactions.next_sample_ms(case)
