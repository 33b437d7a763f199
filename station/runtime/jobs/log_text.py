"""What stands in a log that the CSMS asks for? (N01)

Text, a line for each thing. The diagnostics log begins with the station as it is and goes on with
the journal in words; the security log has the security events. People appear as references, and
secrets not at all: the journal holds neither.
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
    """Which log this is, of whom, and what of it was asked for."""
    life = state.lifecycle
    yield f"{ordered.log_type} of {life.identity}, written {format_timestamp(at)}"
    yield f"release {RELEASE}, profile {product.profile.name}, journal {state.journal_id}"
    yield f"from {ordered.oldest_timestamp or 'the beginning'} to {ordered.latest_timestamp or 'now'}"
    yield ""


def format_station_state(state: State, product: Product) -> Iterator[str]:
    """The station as it is: what somebody who cannot see it asks first."""
    life, clock, outbox = state.lifecycle, state.clock, state.outbox
    yield f"run {life.run_count} since entry {life.started_seq}, boot {life.boot_id}: {life.boot_reason}"
    yield f"registration {state.registration.status}"
    yield f"link {'up' if state.link.online else 'down'}, slot {state.link.slot}"
    yield (
        f"clock {clock.offset_ms} ms from the host's, "
        f"{'' if clock.synchronized else 'not '}synchronised, corrected {clock.correction_count} times"
    )
    yield f"outbox {len(outbox)} calls waiting, {len(outbox.parked)} parked"
    for one in outbox.parked:
        yield f"parked call {one.call_seq}: {one.reason}"
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
        yield f"firmware update {update.order.request_id}: {update.status or 'not begun'}"
    for certificate in state.certificates.installed:
        yield f"{certificate.use} until {certificate.not_after}: {certificate.subject}"
    for path, value in sorted(state.variables.values.items()):
        definition = product.device_model.by_path.get(path)
        yield f"{path} = {'(set)' if definition is None or definition.secret else value}"
    yield ""


def format_diagnostics_entry(entry: Entry) -> str:
    """An entry of the diagnostics log: its day, then as `station replay` tells it."""
    return f"{entry.at:%Y-%m-%d} {format_entry(entry)}"


def format_security_event(entry: Entry) -> str:
    """An entry of the security log. A04.FR.04."""
    event = entry.event
    assert isinstance(event, SecurityEventLogged), event
    critical = "critical" if event.critical else "-"
    when = format_timestamp(entry.at.astimezone(UTC))
    return f"{when} {entry.seq:>7} {critical:<8} {event.type} {event.tech_info}".rstrip()
