"""What the journal grows by in a day if a CSMS sets every interval to its least value.

The floors of the intervals bound it (minLimit of the device model). The other bound is the quota of
what a CSMS sends: tests/runtime/csms/test_receive_quota.py.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Final

from journal.observations import MeterRead
from journal.projections.outbox import CallAttemptFailed
from journal.storage.connection import StoreSettings
from journal.storage.store import Store
from tests.durability.golden import station_kinds
from tests.support.story import (
    JOURNAL_ID,
    ONLINE,
    Json,
    Station,
    Step,
    accept_everything,
    error_received,
    given,
    in_transaction,
    load_product,
    time_passed,
    variable_preset,
)

DAY_S: Final = 86_400
RUN_S: Final = 60
BYTES_PER_DAY_MAX: Final = 300_000_000  # with the quota of 256 MiB below a gigabyte

INTERVALS: Final = (
    "SampledDataCtrlr.TxUpdatedInterval",
    "SampledDataCtrlr.TxEndedInterval",
    "AlignedDataCtrlr.Interval",
    "AlignedDataCtrlr.TxEndedInterval",
    "OCPPCommCtrlr.HeartbeatInterval",
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]",
)


def least_values() -> list[Step]:
    definitions = load_product().device_model.by_path
    return [
        variable_preset(path, str(definitions[path].floor or definitions[path].min_limit or 0))
        for path in INTERVALS
    ]


def read_meters(second: int) -> list[Step]:
    """A reading of each EVSE, as often as `[journal] reading_interval_s` allows."""
    register = Decimal(1000 + 30 * second).quantize(Decimal("0.001"))
    return [
        MeterRead(evse_id, register, None, Decimal("512.3"), Decimal("150.2"), Decimal(76_000), 55)
        for evse_id in (1, 2)
    ]


def both_evses_charging() -> Station:
    station = given(*least_values(), ONLINE, *read_meters(0), in_transaction(1), in_transaction(2))
    station.checks = lambda *_: None  # type: ignore[assignment]
    return station


def journal_bytes(station: Station, path: Path) -> int:
    with Store.open(
        path,
        station_kinds(),
        journal_id_if_new=JOURNAL_ID,
        settings=StoreSettings(grow_bytes=0),
    ) as store:
        store.append(station.entries)
    return path.stat().st_size


def test_with_every_interval_at_its_least_value_a_day_is_bounded(tmp_path: Path) -> None:
    station = both_evses_charging()
    before = journal_bytes(station, tmp_path / "before.db")
    for second in range(RUN_S):
        station.with_csms(accept_everything, time_passed(seconds=1), *read_meters(second))
    grown = journal_bytes(station, tmp_path / "after.db") - before
    assert 0 < grown * DAY_S / RUN_S < BYTES_PER_DAY_MAX


def refuse_transaction_events(action: str, payload: Json) -> Json | None:
    return None if action == "TransactionEvent" else accept_everything(action, payload)


def test_a_csms_that_refuses_every_transaction_event_makes_no_day_longer(tmp_path: Path) -> None:
    station = both_evses_charging()
    before = journal_bytes(station, tmp_path / "before.db")
    for second in range(RUN_S):
        station.with_csms(refuse_transaction_events, time_passed(seconds=1), *read_meters(second))
        if station.in_flight is not None and station.in_flight.lane == "transaction":
            station.when(error_received("InternalError", "no"))
    grown = journal_bytes(station, tmp_path / "after.db") - before
    assert 0 < grown * DAY_S / RUN_S < BYTES_PER_DAY_MAX
    failed = [entry for entry in station.entries if isinstance(entry.event, CallAttemptFailed)]
    assert len(failed) > RUN_S / 10
