"""Values of variables that differ from the product profile."""

from __future__ import annotations

from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.immutable import ImmutableMap
from journal.observations import VariablePreset
from journal.projections.base import Projection


class VariableChanged(Decision, frozen=True):
    """The CSMS set an attribute. B05.FR.10."""

    variable: str
    value: str  # of a secret, its reference


class RebootRequired(Decision, frozen=True):
    """A variable was set that takes effect at the next restart."""

    variable: str


class Variables(Projection, frozen=True):
    HANDLES = (VariablePreset, VariableChanged)

    values: ImmutableMap[str, str] = ImmutableMap()  # by variable

    def apply(self, entry: Entry) -> Variables:
        match entry.event:
            case (
                VariablePreset(variable=key, value=value)
                | VariableChanged(variable=key, value=value)
            ):
                return replace(self, values=self.values.with_item(key, value))
            case _:
                return self
