"""The operation `live` of the control socket: what is true and measured now, for people.

`station status`, `station page` and its metrics show it. Unlike `state` it has values that are not
journaled: readings, limits and their reasons, what the display shows, faults with their age,
durations of commits.

A report is built at most once per `MIN_INTERVAL_S`; requests in between get the same one. So
whatever asks, and however often, it costs the loop a bounded share of its time. Lists are cut at
the limits below; the counts beside them are not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Final

import msgspec
import trio

from journal.events import Entry
from journal.observations import DeadlineReached, MeterRead
from journal.projections.evses import Evse
from journal.projections.outbox import Outbox
from journal.projections.reservations import Reservation
from journal.projections.transactions import Transaction
from station.core import evse_status
from station.core.blocks import a_certificate_renewal
from station.core.blocks.evse_conditions import charging_state
from station.core.blocks.g_availability import connector_facts
from station.core.context import Context
from station.core.display import EvseDisplay, StationDisplay, render_display
from station.core.display_situation import limiting_cause
from station.runtime.clock import Clock
from station.runtime.disk.auditor import AuditResult
from station.runtime.hardware.fault_registry import FaultStatus
from station.runtime.hardware.hardware import Hardware
from station.runtime.hardware.power_budget import EvseBudget
from station.runtime.loop.recorder import Recorder
from station.transcript.phrases import LIMITER_NAMES, name_limit_source

JsonObject = dict[str, Any]

MIN_INTERVAL_S: Final = 0.2  # between two reports that are built
LISTED_CALLS_MAX: Final = 20  # of the general lane and of the parked calls, each
LISTED_FAULTS_MAX: Final = 50
LISTED_CERTIFICATES_MAX: Final = 50
INFO_CHARS_MAX: Final = 200
NOT_RUNNING: Final = "the devices are not running"


class LiveStatus:
    """Builds the report."""

    def __init__(
        self,
        recorder: Recorder,
        hardware: Hardware,
        clock: Clock,
        *,
        emulated: bool,
        last_audit: Callable[[], AuditResult | None] = lambda: None,
    ) -> None:
        """Prepare.

        Args:
            recorder: has the state.
            hardware: has what is measured.
            clock: of the host.
            emulated: the devices are emulated, so that people can act on them.
            last_audit: the newest result of the daily audit of this run.
        """
        self._recorder = recorder
        self._hardware = hardware
        self._clock = clock
        self._emulated = emulated
        self._last_audit = last_audit
        self._report: JsonObject = {}
        self._built_at: float | None = None

    def report(self) -> JsonObject:
        """The report; the same object for `MIN_INTERVAL_S`, so it must not be changed."""
        now = trio.current_time()
        if self._built_at is None or now - self._built_at >= MIN_INTERVAL_S:
            self._built_at = now
            self._report = self._build(now)
        return self._report

    def _build(self, now: float) -> JsonObject:
        state, head = self._recorder.state, self._recorder.head
        uptime_ms = self._clock.uptime_ms()
        at = self._recorder.station_time(state)
        # A context of this moment: as if a deadline were reached now.
        ctx = Context(
            self._recorder.product,
            state,
            Entry(head.seq, at, uptime_ms, DeadlineReached(uptime_ms)),
        )
        lifecycle = state.lifecycle
        display = render_display(
            self._recorder.desired_state.value.display, self._hardware.live_readings(), uptime_ms
        )
        display_by_evse = {each.evse_id: each for each in display.evses}
        return {
            "at": _format_time(at),
            "identity": lifecycle.identity,
            "release": lifecycle.release,
            "profile": lifecycle.product_profile,
            "emulated": self._emulated,
            "running_s": _seconds(uptime_ms - lifecycle.started_ms),
            "evses": [
                self._report_evse(ctx, evse, display_by_evse.get(evse.evse_id))
                for evse in state.evses.all_evses
            ],
            "display": _report_station_display(display),
            "reservations": [_report_reservation(each) for each in state.reservations.open],
            "faults": [
                _report_fault(fault) for fault in self._hardware.active_faults()[:LISTED_FAULTS_MAX]
            ],
            "link": self._report_link(ctx),
            "outbox": _report_outbox(state.outbox),
            "clock": {
                "synchronized": state.clock.synchronized,
                "offset_ms": state.clock.applied_offset_ms,
                "corrections": state.clock.correction_count,
            },
            "certificates": [
                {
                    "use": certificate.use,
                    "subject": certificate.subject[:INFO_CHARS_MAX],
                    "issuer": certificate.issuer[:INFO_CHARS_MAX],
                    "not_before": certificate.not_before,
                    "not_after": certificate.not_after,
                    "sha256": certificate.sha256,
                    "next_renewal": _format_optional(
                        a_certificate_renewal.next_renewal_at(ctx, certificate)
                    ),
                    "renewal": a_certificate_renewal.renewal_progress(ctx, certificate),
                }
                for certificate in state.certificates.installed[:LISTED_CERTIFICATES_MAX]
            ],
            "safe_mode": list(state.health.safe_mode_reasons),
            "damage": [damage.reason for damage in state.health.journal_damages],
            "failed_rule": state.health.failed_rule,
            "storage": state.health.storage_level,
            "restart": lifecycle.restart.boot_reason if lifecycle.restart else None,
            "journal": {
                "id": state.journal_id,
                "seq": head.seq,
                "digest": head.digest.hex(),
                "verified": _report_audit(self._last_audit()),
            },
            "loop": self._report_loop(now),
        }

    # --- EVSEs -----------------------------------------------------------------------------------

    def _report_evse(self, ctx: Context, evse: Evse, display: EvseDisplay | None) -> JsonObject:
        transaction = ctx.state.transactions.on_evse(evse.evse_id)
        reading = self._latest_reading(evse.evse_id)
        budget = self._hardware.power_budget(evse.evse_id)
        status, cause = _status_of(ctx, evse.evse_id)
        return {
            "evse_id": evse.evse_id,
            "status": status,
            "status_cause": cause,
            "charging_state": charging_state(ctx, evse.evse_id),
            "plugged": evse.is_plugged_in,
            "contactor": "closed" if evse.contactor_closed else "open",
            "transaction": _report_transaction(transaction) if transaction else None,
            "power_w": _number(reading.power_w) if reading else None,
            "voltage_v": _number(reading.voltage_v) if reading else None,
            "current_a": _number(reading.current_a) if reading else None,
            "energy_wh": _number(reading.energy_wh) if reading else None,
            "soc": reading.soc_percent if reading else None,
            "limit_a": _number(budget.current_a) if budget else None,
            **report_limit(ctx, evse.evse_id, budget),
            "display": msgspec.to_builtins(display),
        }

    def _latest_reading(self, evse_id: int) -> MeterRead | None:
        """What is measured now; of a silent meter only the last register. P11"""
        recorded = self._recorder.state.readings.on_evse(evse_id)
        return self._hardware.latest_reading(evse_id) or (
            MeterRead(evse_id, recorded.meter_read.energy_wh) if recorded else None
        )

    # --- Link and loop ---------------------------------------------------------------------------

    def _report_link(self, ctx: Context) -> JsonObject:
        state = ctx.state
        link, networks = state.link, state.network_profiles
        candidate = networks.candidate_profile(link.slot) if link.slot else None
        return {
            "online": link.online,
            "since_s": _seconds(ctx.uptime_ms - link.since_ms),
            "url": candidate.url if candidate else None,
            "slot": link.slot or None,
            "security_profile": link.security_profile if link.slot else None,
            "failed_attempts": link.failed_attempts,
            "registration": state.registration.status,
        }

    def _report_loop(self, now: float) -> JsonObject:
        commits = self._recorder.commit_times
        return {
            "commits": commits.count,
            "commit_total_s": round(commits.total_s, 6),
            "commit_last_s": round(commits.last_s, 6),
            "commit_max_s": round(commits.recent.read(now), 6),
            "round_lag_max_s": round(self._hardware.round_lag_s(), 6),
        }


def report_limit(ctx: Context, evse_id: int, budget: EvseBudget | None) -> JsonObject:
    """What limits an EVSE, and to how much; the profile or the external source of a limit.

    As the journal has it; what does not last, or limits without an EV, is not in the journal.
    """
    if budget is None:
        return {"limit_w": None, "limit_reason": NOT_RUNNING, "limit_source": None}
    cause = limiting_cause(ctx, evse_id)
    if cause is None:
        reason = LIMITER_NAMES[budget.limiter]
        return {"limit_w": budget.limit_w, "limit_reason": reason, "limit_source": None}
    return {
        "limit_w": _number(cause.limit_w),
        "limit_reason": LIMITER_NAMES[cause.limiter],
        "limit_source": name_limit_source(cause.limit) if cause.limit else None,
    }


def _status_of(ctx: Context, evse_id: int) -> tuple[str, str | None]:
    """The status of an EVSE as the CSMS receives it, and its cause; None: there is none."""
    connector_ids = dict(ctx.state.lifecycle.evses).get(evse_id, ())
    facts = [connector_facts(ctx, evse_id, connector_id) for connector_id in connector_ids]
    statuses = [evse_status.connector_status(each) for each in facts]
    status = evse_status.evse_status(statuses)
    for each in facts:
        cause = evse_status.status_cause(each)
        if cause is not None and cause.status == status:
            return status, cause.description
    return status, None


def _report_station_display(display: StationDisplay) -> JsonObject:
    """The texts of the station as a whole; those of the EVSEs are with the EVSEs."""
    report: JsonObject = msgspec.to_builtins(msgspec.structs.replace(display, evses=()))
    del report["evses"]
    return report


def _report_transaction(transaction: Transaction) -> JsonObject:
    token = transaction.id_token
    return {
        "id": transaction.transaction_id,
        "started_seq": transaction.started_seq,
        "started_at_ms": transaction.started_at_unix_ms,
        "id_token": str(token) if token else None,
        "stopping": transaction.stop_order.stopped_reason if transaction.stop_order else None,
    }


def _report_reservation(reservation: Reservation) -> JsonObject:
    """A reservation, without for whom."""
    return {
        "id": reservation.reservation_id,
        "evse_id": reservation.evse_id or None,
        "connector_type": reservation.connector_type or None,
        "expires_at": reservation.expires_at,
        "seq": reservation.seq,
    }


def _report_fault(fault: FaultStatus) -> JsonObject:
    return {
        "evse_id": fault.evse_id,
        "device": fault.device,
        "fault": fault.fault,
        "blocks_charging": fault.blocks_charging,
        "latched": fault.latched,
        "found": fault.found,
        "age_s": round(fault.age_s, 1),
        "tech_code": fault.tech_code,
        "info": fault.info[:INFO_CHARS_MAX],
    }


def _report_outbox(outbox: Outbox) -> JsonObject:
    flight = outbox.in_flight
    return {
        "waiting": len(outbox),
        "transaction_events": len(outbox.transaction),
        "next_seq": outbox.next_transaction_call,
        "general_seqs": list(islice(outbox.general, LISTED_CALLS_MAX)),
        "failed_attempts": outbox.failed_attempts,
        "in_flight": {
            "seq": flight.call_seq,
            "action": flight.action,
            "attempt": flight.attempt,
        }
        if flight
        else None,
        "parked_count": len(outbox.parked),
        "parked": [
            {
                "seq": call.call_seq,
                "reason": call.reason[:INFO_CHARS_MAX],
                "transaction_id": call.transaction_id,
            }
            for call in outbox.parked[:LISTED_CALLS_MAX]
        ],
    }


def _report_audit(audit: AuditResult | None) -> JsonObject | None:
    if audit is None:
        return None
    return {"at": _format_time(audit.at), "ok": audit.ok, "complaints": list(audit.complaints)}


def _format_optional(at: datetime | None) -> str | None:
    return None if at is None else _format_time(at)


def _format_time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(ms: int) -> float:
    return round(ms / 1000, 1)


def _number(value: Decimal | None) -> float | int | None:
    """A decimal as a JSON number, without a fraction where it has none."""
    if value is None:
        return None
    return int(value) if value == int(value) else float(value)
