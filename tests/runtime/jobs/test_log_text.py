"""Text of diagnostics and security logs, without secrets and personal values. N01."""

from __future__ import annotations

from journal.events import Entry
from journal.projections.logs import LogUploadOrdered
from journal.projections.security import SecurityEventLogged
from station.runtime.jobs.log_text import (
    format_diagnostics_entry,
    format_header,
    format_security_event,
    format_station_state,
)
from tests.support.story import (
    ALICE,
    IDLE,
    LINK_LOST,
    NOON,
    ONLINE,
    device_faulted,
    given,
    in_transaction,
    variable_preset,
)

ORDERED = LogUploadOrdered(
    request_id=1,
    log_type="DiagnosticsLog",
    location="<secret 0> ftp://host/",
    filename="x.log",
    oldest_timestamp=None,
    latest_timestamp="2026-03-01T12:00:00.000Z",
    attempts_max=1,
    retry_interval_s=1,
)


def test_the_header_has_station_and_period() -> None:
    station = given(ONLINE)
    text = "\n".join(format_header(ORDERED, station.state, station.product, NOON))
    assert "DiagnosticsLog of CS001, written 2026-03-01T12:00:00.000Z" in text
    assert "from the beginning to 2026-03-01T12:00:00.000Z" in text
    assert "ftp" not in text


def test_the_station_state_has_link_transactions_and_faults() -> None:
    station = given(ONLINE, in_transaction(1), device_faulted(2), LINK_LOST)
    text = "\n".join(format_station_state(station.state, station.product))
    assert "link down" in text
    assert f"transaction {station.open_transaction.transaction_id} open at EVSE 1" in text
    assert "EVSE 1: plugged in, contactor closed, flow charging" in text
    assert "fault at EVSE 2: contactor welded" in text
    assert ALICE.ref not in text


def test_the_station_state_of_a_new_station() -> None:
    text = "\n".join(format_station_state(given(ONLINE, IDLE).state, given(ONLINE).product))
    assert "registration Accepted" in text
    assert "firmware update" not in text


def test_a_secret_variable_is_shown_as_set() -> None:
    reference = f"<secret {'0' * 32}>"
    station = given(variable_preset("SecurityCtrlr.BasicAuthPassword", reference), ONLINE)
    lines = list(format_station_state(station.state, station.product))
    assert "SecurityCtrlr.BasicAuthPassword = (set)" in lines


def test_an_entry_has_its_date() -> None:
    station = given(ONLINE)
    assert format_diagnostics_entry(station.entries[0]).startswith(
        "2026-03-01 12:00:00.000       1 > "
    )


def test_a_security_event_is_one_line() -> None:
    event = SecurityEventLogged("InvalidMessages", False, "no JSON")
    assert format_security_event(Entry(7, NOON, 1, event)) == (
        "2026-03-01T12:00:00.000Z       7 -        InvalidMessages no JSON"
    )
    critical = Entry(8, NOON, 1, SecurityEventLogged("FirmwareUpdated", True))
    assert (
        format_security_event(critical)
        == "2026-03-01T12:00:00.000Z       8 critical FirmwareUpdated"
    )
