"""The newest recorded values of variables that devices measure, besides those of the meters."""

from __future__ import annotations

from journal.events import Entry
from journal.immutable import ImmutableMap
from journal.observations import StationStarted, ValuesMeasured
from journal.projections.base import Projection


class MeasuredValues(Projection, frozen=True):
    """Of the present run of the program; the device model bounds their number."""

    HANDLES = (ValuesMeasured, StationStarted)

    by_variable: ImmutableMap[str, str] = ImmutableMap()  # as `AcDcConverter@1.Temperature`

    def apply(self, entry: Entry) -> MeasuredValues:
        match entry.event:
            case ValuesMeasured(values=values):
                measured = self.by_variable
                for each in values:
                    measured = measured.with_item(each.variable, each.value)
                return MeasuredValues(measured)
            case StationStarted() if self.by_variable:
                return MeasuredValues()
            case _:
                return self
