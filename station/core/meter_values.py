"""MeterValueType from a reading of the meter, and whether a reading is new. J01, J02, P11.

A sample has the time at which the meter was read, however late it is sent. While a meter is silent
there is no new reading: a periodic or clock-aligned sample is then left out, and not sent again
with a later time. The messages that must have a value (Transaction.End, Trigger) have the last one
that was read, with its own time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from journal.observations import MeterRead
from journal.projections.readings import Reading
from journal.projections.transactions import Sample
from station.core.context import Context
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.datatypes import MeterValueType, SampledValueType, UnitOfMeasureType

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _soc_percent(read: MeterRead) -> Decimal | None:
    return None if read.soc_percent is None else Decimal(read.soc_percent)


class Measurand(NamedTuple):
    """How a measurand is taken from a reading, its unit, and where it is measured."""

    get_value: Callable[[MeterRead], Decimal | None]
    unit: str
    location: str


# Measurands of the DC output; its location is Outlet. J02.FR.05
MEASURANDS: Final = {
    "Energy.Active.Import.Register": Measurand(lambda read: read.energy_wh, "Wh", "Outlet"),
    "Energy.Active.Export.Register": Measurand(lambda read: read.energy_export_wh, "Wh", "Outlet"),
    "Voltage": Measurand(lambda read: read.voltage_v, "V", "Outlet"),
    "Current.Import": Measurand(lambda read: read.current_a, "A", "Outlet"),
    "Power.Active.Import": Measurand(lambda read: read.power_w, "W", "Outlet"),
    "SoC": Measurand(_soc_percent, "Percent", "EV"),
}


# A clock-aligned sample is a reading of this age at most. 10 s are between two journaled readings.
READING_CURRENT_MS: Final = 5_000


def was_read_since(ctx: Context, reading: Reading, uptime_ms: int) -> bool:
    """Whether the meter was read in this run of the program, and not before `uptime_ms`."""
    is_of_this_run = reading.seq > ctx.state.lifecycle.started_seq
    return ctx.expects_readings or (is_of_this_run and reading.uptime_ms >= uptime_ms)


def make_sample(reading: Reading, context: str) -> Sample:
    """A reading as a sample. `context` is a ReadingContextEnumType."""
    return Sample(context, reading.at_unix_ms, reading.meter_read)


def build_meter_value(sample: Sample, measurands: Iterable[str]) -> MeterValueType | None:
    """The selected measurands of a sample; None if the reading has none of them.

    Registers are sent exactly as the meter gave them. J02.FR.16, J02.FR.17.
    """
    values = []
    for measurand in measurands:
        row = MEASURANDS.get(measurand)
        value = row.get_value(sample.meter_read) if row else None
        if row is None or value is None:
            continue
        values.append(
            SampledValueType(
                value=value,
                context=sample.context,  # type: ignore[arg-type]
                measurand=measurand,  # type: ignore[arg-type]
                location=row.location,  # type: ignore[arg-type]
                unit_of_measure=UnitOfMeasureType(unit=row.unit),
            )
        )
    if not values:
        return None
    moment = EPOCH + timedelta(milliseconds=sample.at_unix_ms)
    return MeterValueType(sampled_value=tuple(values), timestamp=format_timestamp(moment))
