"""The desired state: how the hardware, the link and the jobs should be after a commit.

`compute_desired_state` is pure and computes it after every commit from the state alone. It is how
things should be, not what to do next: power path, link, timer and jobs act on the difference
between it and what they have done, so a restart needs no list of half-done orders. An action counts
as done when an observation reports it.

Most of it is the same after most commits. The recorder therefore has a `DesiredStateMemo`, which
computes a part again only when something that the part reads has changed (`reuse`).

If it cannot be computed because of a programming error, `_safe_state` takes its place: no energy on
any EVSE, no card reader, "Out of order" on the display; the link stays and answers are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from journal.events import PROGRAMMING_ERRORS, Entry
from journal.projections.certificate_signing import SigningRequest
from journal.projections.certificates import CertificateInstalled
from journal.projections.customer_requests import CustomerRequest
from journal.projections.faults import FaultRelease
from journal.projections.firmware import FirmwareUpdate, FirmwareUpdateOrdered
from journal.projections.logs import LogUpload
from journal.projections.network_profiles import NetworkProfile
from journal.projections.pending_replies import PendingReply
from journal.projections.power_limits import PowerLimit
from journal.state import State
from station.core.block_tables import DEADLINES
from station.core.blocks import a_certificate_renewal, m_certificates, n_customers
from station.core.blocks.c_authorization import is_autocharge_enabled, may_identify_ev
from station.core.blocks.evse_conditions import is_in_service, may_charge
from station.core.context import Context, Deadline, Product
from station.core.display_situation import DisplaySituation, describe_display, describe_out_of_order
from station.core.reuse import Reused


class DesiredCall(msgspec.Struct, frozen=True):
    """The attempt in flight. Its payload is in the entry `call`."""

    call: int
    message_id: str
    action: str
    offline: bool


class DesiredEvse(msgspec.Struct, frozen=True):
    """What the power path of one EVSE should do."""

    evse_id: int
    energy_allowed: bool  # the EV may charge
    suspended: bool  # authorized, but without energy now: stay connected
    transaction_id: str | None
    # Reports of the cable that this was decided with; None: it applies to any.
    cable_report_count: int | None = None
    limit: PowerLimit | None = None  # the most this EVSE may give; None: no limit. SC.01
    identify_ev: bool = False  # communicate with the EV before it is authorized: Autocharge. C-34


FirmwareStep = Literal["wait", "download", "verify", "install", "confirm"]

FAILED_RETRY_MS: Final = 10_000  # least time between two deadlines after a rule failed

STEP_BY_STATUS: Final[dict[str, FirmwareStep]] = {
    "Downloading": "download",
    "Downloaded": "verify",
    "Installing": "install",
}


class DesiredFirmware(msgspec.Struct, frozen=True):
    """The next step of a firmware update. L01."""

    update_seq: int  # entry that ordered it
    step: FirmwareStep
    order: FirmwareUpdateOrdered
    version: str = ""  # of the firmware that was installed


class DesiredLink(msgspec.Struct, frozen=True):
    """How to connect to the CSMS: candidates, attempts, pings, back-off. Part 4 §5.3, §8; B10."""

    candidates: tuple[NetworkProfile, ...] = ()  # in the order they are tried. B10.FR.04
    attempts_per_candidate: int = 1  # B10.FR.03
    last_successful: NetworkProfile | None = None  # profile of the last successful connection
    fallback_enabled: bool = False  # to it, after all candidates failed. B10.FR.07, C-47
    open_count: int = 0  # connections of this run; the last one is the present connection
    online: bool = False
    # Certificates of the station for security profile 3, in the order they are tried. A02.FR.28
    client_certificates: tuple[CertificateInstalled, ...] = ()
    # With AdditionalRootCertificateCheck: the roots to verify the CSMS with, one at a time, newest
    # first. Empty: every installed CSMSRootCertificate is trusted. M05.FR.14
    csms_roots: tuple[CertificateInstalled, ...] = ()
    wildcards_allowed: bool = False  # in the certificate of the CSMS. AllowCSMSTLSWildcards
    password_reference: str = ""  # of BasicAuthPassword; empty: the password in station.toml
    ping_interval_s: int = 0  # 0: no pings. WebSocketPingInterval
    back_off_minimum_s: int = 10
    back_off_random_s: int = 0
    back_off_repeat_times: int = 0


class DesiredState(msgspec.Struct, frozen=True):
    """How everything outside the core should be."""

    link: DesiredLink = DesiredLink()
    replies: tuple[PendingReply, ...] = ()
    call: DesiredCall | None = None
    evses: tuple[DesiredEvse, ...] = ()
    display: DisplaySituation = DisplaySituation()
    reader_enabled: bool = True
    autocharge: bool = False  # the EVCCID of an EV is an idToken. C-34
    fault_releases: tuple[FaultRelease, ...] = ()  # of this run; each acts once
    station_power_w: int | None = None  # the most all EVSEs may give together; None: no limit
    next_due_ms: int | None = None  # uptime at which a rule is due
    restart_reason: str | None = None  # BootReasonEnumType of the next run
    firmware: DesiredFirmware | None = None
    log_upload: LogUpload | None = None  # the log to upload
    untraced_fault_seq: int | None = None  # the first fault whose bus trace is not written
    customer_request: CustomerRequest | None = None  # the person to search the journal for
    references_to_erase: tuple[str, ...] = ()  # of personal values to erase now
    certificates: tuple[CertificateInstalled, ...] = ()
    key_pair_orders: tuple[SigningRequest, ...] = ()  # the key pairs to create. A02.FR.02
    private_key_references: tuple[str, ...] | None = None  # those that are needed; None: unknown
    failure: str = ""  # why this is the safe state


def compute_desired_state(product: Product, state: State, entry: Entry) -> DesiredState:
    """The desired state after `entry`; after a programming error the safe one. P8."""
    return _compute_safely(Context(product, state, entry), _PARTS)


class DesiredStateMemo:
    """`compute_desired_state` for one station, commit after commit; unchanged parts are reused."""

    def __init__(self) -> None:
        self._parts = _Parts(
            link=Reused(_PARTS.link),
            evses=Reused(_PARTS.evses),
            display=Reused(_PARTS.display),
            reader_enabled=Reused(_PARTS.reader_enabled),
            references_to_erase=Reused(_PARTS.references_to_erase),
            key_pair_orders=Reused(_PARTS.key_pair_orders),
            private_key_references=Reused(_PARTS.private_key_references),
            deadlines=tuple(Reused(deadline) for deadline in _PARTS.deadlines),
        )

    def compute(self, product: Product, state: State, entry: Entry) -> DesiredState:
        """As `compute_desired_state`."""
        return _compute_safely(Context(product, state, entry), self._parts)


def _compute_safely(ctx: Context, parts: _Parts) -> DesiredState:
    try:
        return _desired_state(ctx, parts)
    except PROGRAMMING_ERRORS as error:
        return _safe_state(ctx, error)


def _safe_state(ctx: Context, error: Exception) -> DesiredState:
    """No energy on any EVSE; the CSMS still gets its answers."""
    return DesiredState(
        link=_desired_link(ctx),
        replies=ctx.state.pending_replies.pending,
        evses=tuple(
            DesiredEvse(evse.evse_id, False, False, None) for evse in ctx.state.evses.all_evses
        ),
        display=describe_out_of_order(evse.evse_id for evse in ctx.state.evses.all_evses),
        reader_enabled=False,
        next_due_ms=ctx.uptime_ms + FAILED_RETRY_MS,
        failure=f"{type(error).__name__}: {error}",
    )


def _desired_state(ctx: Context, parts: _Parts) -> DesiredState:
    state = ctx.state
    flight = state.outbox.in_flight
    restart = state.lifecycle.restart
    return DesiredState(
        link=parts.link(ctx),
        replies=state.pending_replies.pending,
        call=DesiredCall(flight.call_seq, flight.message_id, flight.action, flight.offline)
        if flight and state.link.online
        else None,
        evses=parts.evses(ctx),
        display=parts.display(ctx),
        reader_enabled=parts.reader_enabled(ctx),
        autocharge=is_autocharge_enabled(ctx),
        fault_releases=state.faults.releases,
        station_power_w=_station_power_w(ctx),
        next_due_ms=_next_due_ms(ctx, parts.deadlines),
        restart_reason=restart.boot_reason if restart else None,
        firmware=_desired_firmware(state.firmware.running_update),
        log_upload=state.logs.upload,
        untraced_fault_seq=next((fault.seq for fault in state.bus_traces.waiting), None),
        customer_request=next(iter(state.customer_requests.pending), None),
        references_to_erase=parts.references_to_erase(ctx),
        certificates=state.certificates.installed,
        key_pair_orders=parts.key_pair_orders(ctx),
        private_key_references=parts.private_key_references(ctx),
    )


def _desired_link(ctx: Context) -> DesiredLink:
    networks = ctx.state.network_profiles
    return DesiredLink(
        candidates=networks.candidates,
        attempts_per_candidate=ctx.variable_integer(
            "OCPPCommCtrlr.NetworkProfileConnectionAttempts", default=1
        ),
        last_successful=networks.candidate_profile(networks.last_connected_slot)
        or networks.stored_profile(networks.last_connected_slot),
        fallback_enabled=ctx.product.profile.supports("C-47"),
        open_count=ctx.state.link.open_count,
        online=ctx.state.link.online,
        client_certificates=a_certificate_renewal.client_certificates(ctx),
        csms_roots=m_certificates.csms_roots(ctx),
        wildcards_allowed=ctx.variable_boolean("SecurityCtrlr.AllowCSMSTLSWildcards"),
        password_reference=ctx.variable_text("SecurityCtrlr.BasicAuthPassword") or "",
        ping_interval_s=ctx.variable_integer("OCPPCommCtrlr.WebSocketPingInterval"),
        back_off_minimum_s=ctx.variable_integer(
            "OCPPCommCtrlr.RetryBackOffWaitMinimum", default=10
        ),
        back_off_random_s=ctx.variable_integer("OCPPCommCtrlr.RetryBackOffRandomRange"),
        back_off_repeat_times=ctx.variable_integer("OCPPCommCtrlr.RetryBackOffRepeatTimes"),
    )


def _desired_firmware(update: FirmwareUpdate | None) -> DesiredFirmware | None:
    if update is None:
        return None
    step = STEP_BY_STATUS.get(update.status, "wait")
    if update.status == "InstallRebooting" and update.restarted:
        step = "confirm"
    return DesiredFirmware(update.seq, step, update.order, update.version)


def _desired_evses(ctx: Context) -> tuple[DesiredEvse, ...]:
    return tuple(_desired_evse(ctx, evse.evse_id) for evse in ctx.state.evses.all_evses)


def _is_reader_enabled(ctx: Context) -> bool:
    evses = ctx.state.evses.all_evses
    return any(is_in_service(ctx, evse.evse_id) for evse in evses) or bool(
        ctx.state.transactions.open
    )


def _desired_evse(ctx: Context, evse_id: int) -> DesiredEvse:
    authorization = ctx.state.authorizations.on_evse(evse_id)
    transaction = ctx.state.transactions.on_evse(evse_id)
    return DesiredEvse(
        evse_id=evse_id,
        energy_allowed=may_charge(ctx, evse_id),
        suspended=authorization is not None and authorization.suspended,
        transaction_id=transaction.transaction_id if transaction else None,
        cable_report_count=ctx.state.evses.by_id(evse_id).cable_report_count,
        limit=ctx.state.power_limits.on_evse(evse_id),
        identify_ev=may_identify_ev(ctx, evse_id),
    )


def _station_power_w(ctx: Context) -> int | None:
    """What all EVSEs together may give, so that the grid connection stays within its limit.

    The limit of the station is on the grid's side; conversion takes a part of it. K08.FR.03
    """
    limit = ctx.state.power_limits.on_evse(0)
    if limit is None:
        return None
    return int(limit.limit_w * ctx.product.profile.supply.efficiency_percent / 100)


def _next_due_ms(ctx: Context, deadlines: tuple[Deadline, ...]) -> int | None:
    """The earliest deadline; after a failed rule not at once, because it may stay in the past."""
    due_ms = min(_due_times_ms(ctx, deadlines), default=None)
    failed_ms = ctx.state.health.rule_failed_ms
    if due_ms is None or failed_ms is None:
        return due_ms
    return max(due_ms, min(failed_ms, ctx.uptime_ms) + FAILED_RETRY_MS)


def _due_times_ms(ctx: Context, deadlines: tuple[Deadline, ...]) -> Iterator[int]:
    """Every uptime at which a rule may decide without another observation."""
    for deadline in deadlines:
        due_ms = deadline(ctx)
        if due_ms is not None:
            yield due_ms


class _Parts(NamedTuple):
    """The functions that parts of the desired state are computed with."""

    link: Callable[[Context], DesiredLink]
    evses: Callable[[Context], tuple[DesiredEvse, ...]]
    display: Callable[[Context], DisplaySituation]
    reader_enabled: Callable[[Context], bool]
    references_to_erase: Callable[[Context], tuple[str, ...]]
    key_pair_orders: Callable[[Context], tuple[SigningRequest, ...]]
    private_key_references: Callable[[Context], tuple[str, ...] | None]
    deadlines: tuple[Deadline, ...]


_PARTS: Final = _Parts(
    link=_desired_link,
    evses=_desired_evses,
    display=describe_display,
    reader_enabled=_is_reader_enabled,
    references_to_erase=n_customers.erasable_references,
    key_pair_orders=a_certificate_renewal.key_pair_orders,
    private_key_references=a_certificate_renewal.private_key_references,
    deadlines=DEADLINES,
)
