"""Which variables differ from what the product profile gives them?"""

from __future__ import annotations

from msgspec.structs import replace

from journal.observations import VariablePreset
from journal.persistent import Table
from journal.projections.base import Projection
from journal.terms import Decision, Entry


class VariableChanged(Decision, frozen=True):
    """The CSMS set an attribute. B05.FR.10. A secret's value is the reference to it."""

    key: str
    value: str


class RebootNeeded(Decision, frozen=True):
    """A value was taken that counts only after the next restart."""

    key: str


class Variables(Projection, frozen=True):
    HEARS = (VariablePreset, VariableChanged)

    values: Table[str, str] = Table()

    def after(self, entry: Entry) -> Variables:
        match entry.event:
            case VariablePreset(key=key, value=value) | VariableChanged(key=key, value=value):
                return replace(self, values=self.values.having(key, value))
            case _:
                return self
