"""Text of the logs that the CSMS requests with GetLog. N01.

The diagnostics log has a header, the state of the station, and the journal as a transcript. The
security log has a header and the security events. EV drivers appear as references and secrets not
at all, because the journal holds neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from journal.events import Entry
from journal.projections.logs import LogUploadOrdered
from journal.projections.security import SecurityEventLogged
from journal.state import State
from station import RELEASE
from station.core.context import Product
from station.ocpp.messages import format_timestamp
from station.transcript.lines import format_entry


def format_header(
    ordered: LogUploadOrdered, state: State, product: Product, at: datetime
) -> Iterator[str]:
    """Kind of log, station, release, and the requested period."""
    lifecycle = state.lifecycle
    oldest = ordered.oldest_timestamp or "the beginning"
    latest = ordered.latest_timestamp or "now"
    yield f"{ordered.log_type} of {lifecycle.identity}, written {format_timestamp(at)}"
    yield f"release {RELEASE}, profile {product.profile.name}, journal {state.journal_id}"
    yield f"from {oldest} to {latest}"
    yield ""


def format_station_state(state: State, product: Product) -> Iterator[str]:
    """The state of the station, for a reader who cannot see it."""
    lifecycle, clock, outbox = state.lifecycle, state.clock, state.outbox
    yield (
        f"run {lifecycle.run_count} since entry {lifecycle.started_seq}, "
        f"boot {lifecycle.boot_id}: {lifecycle.boot_reason}"
    )
    yield f"registration {state.registration.status}"
    yield f"link {'up' if state.link.online else 'down'}, slot {state.link.slot}"
    yield (
        f"clock {clock.offset_ms} ms from the host's, {'' if clock.synchronized else 'not '}"
        f"synchronized, corrected {clock.correction_count} times"
    )
    yield f"outbox {len(outbox)} calls waiting, {len(outbox.parked)} parked"
    for call in outbox.parked:
        yield f"parked call {call.call_seq}: {call.reason}"
    for evse in state.evses.all_evses:
        yield (
            f"EVSE {evse.evse_id}: {'plugged in' if evse.is_plugged_in else 'no cable'}, "
            f"contactor {'closed' if evse.contactor_closed else 'open'}, flow {evse.flow}"
        )
    for fault in state.faults.active:
        yield f"fault at EVSE {fault.evse_id}: {fault.device} {fault.fault} {fault.tech_info}"
    for transaction in state.transactions.open:
        yield f"transaction {transaction.transaction_id} open at EVSE {transaction.evse_id}"
    if state.firmware.latest_update is not None:
        update = state.firmware.latest_update
        yield f"firmware update {update.order.request_id}: {update.status or 'not started'}"
    for certificate in state.certificates.installed:
        yield f"{certificate.use} until {certificate.not_after}: {certificate.subject}"
    for path, value in sorted(state.variables.values.items()):
        definition = product.device_model.by_path.get(path)
        yield f"{path} = {'(set)' if definition is None or definition.secret else value}"
    yield ""


def format_diagnostics_entry(entry: Entry) -> str:
    """An entry of the diagnostics log: its date, then its line of `station replay`."""
    return f"{entry.at:%Y-%m-%d} {format_entry(entry)}"


def format_security_event(entry: Entry) -> str:
    """An entry of the security log. A04.FR.04."""
    event = entry.event
    assert isinstance(event, SecurityEventLogged), event
    critical = "critical" if event.critical else "-"
    time = format_timestamp(entry.at.astimezone(UTC))
    return f"{time} {entry.seq:>7} {critical:<8} {event.type} {event.tech_info}".rstrip()
