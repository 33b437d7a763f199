"""Which variables differ from what the product profile gives them?"""

from __future__ import annotations

from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.immutable import ImmutableMap
from journal.observations import VariablePreset
from journal.projections.base import Projection


class VariableChanged(Decision, frozen=True):
    """The CSMS set an attribute. B05.FR.10. A secret's value is the reference to it."""

    variable: str
    value: str


class RebootRequired(Decision, frozen=True):
    """A value was taken that counts only after the next restart."""

    variable: str


class Variables(Projection, frozen=True):
    HANDLES = (VariablePreset, VariableChanged)

    values: ImmutableMap[str, str] = ImmutableMap()

    def apply(self, entry: Entry) -> Variables:
        match entry.event:
            case (
                VariablePreset(variable=key, value=value)
                | VariableChanged(variable=key, value=value)
            ):
                return replace(self, values=self.values.with_item(key, value))
            case _:
                return self
