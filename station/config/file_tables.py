"""Tables and keys of station.toml, before their meaning is checked.

`read_tables` stops at the first key that is unknown, missing or of the wrong type, as a start does.
`read_usable_tables` goes on without it, so that `station check` finds every problem of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final, TypeVar, get_origin

import msgspec
from msgspec import Meta

from journal.storage.connection import CHECKPOINT_PAGES, GROW_BYTES
from station.profiles.toml_tables import (
    convert_table,
    convert_usable_keys,
    explain_value,
    nearest_key,
    toml_location,
    unknown_key_message,
)

Table = TypeVar("Table", bound=msgspec.Struct)


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: limits of the grid connection, in W, that hold without a CSMS."""

    station_w: int | None = None  # always
    offline_w: int | None = None  # while there is no CSMS
    offline_after_s: int = 60  # so long after the connection was lost
    contact_w: int | None = None  # while the contact at `contact_input` is open
    contact_input: str | None = None  # a channel that nothing else is read from


class JournalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[journal]`: how the journal uses the disk."""

    checkpoint_pages: int = CHECKPOINT_PAGES  # pages of 4 KiB in the WAL before a checkpoint
    grow_bytes: int = GROW_BYTES  # the WAL is extended ahead by this, so that appends overwrite
    powersafe_overwrite: bool = True  # a torn write damages only the bytes being written
    csms_bytes_per_day: int = 268_435_456  # of frames, and of what they make the station write
    reading_interval_s: int = 10  # a meter reading is journaled at least this often, P6
    reserve_bytes: int = 8_388_608  # kept free to end transactions on a full disk
    retention: int = 90  # days until an entry moves from the database to the archive


class TracesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[traces]`: traffic of the device buses, written to files around a fault."""

    files: Annotated[int, Meta(ge=0, le=100)] = 10  # traces that are kept; 0: none is written
    seconds: Annotated[int, Meta(ge=10, le=3_600)] = 120  # before the fault
    seconds_after: Annotated[int, Meta(ge=1, le=60)] = 5  # after the fault
    bytes_per_bus: Annotated[int, Meta(ge=16_384, le=16_777_216)] = 262_144  # of memory


class StationTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    identity: str
    profile: str | None = None
    data: str = "data"


class CsmsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    security_profile: int | None = None
    password: str | None = None
    password_file: str | None = None
    ca_file: str | None = None


class VariableRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    component: str
    variable: str
    value: str
    instance: str | None = None
    evse: int | None = None
    connector: int | None = None
    variable_instance: str | None = None


class CertificateRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    use: str
    file: str
    key_file: str | None = None
    key_password: str | None = None
    key_password_file: str | None = None


class FirmwareTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    installer: str | None = None
    directory: str | None = None


class StationToml(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    station: StationTable
    csms: CsmsTable
    variable: tuple[VariableRow, ...] = ()
    certificate: tuple[CertificateRow, ...] = ()
    hardware: dict[str, Any] = {}
    journal: JournalConfig = JournalConfig()
    firmware: FirmwareTable = FirmwareTable()
    limits: LimitsConfig = LimitsConfig()
    traces: TracesConfig = TracesConfig()


class FileTables(msgspec.Struct, frozen=True):
    """The tables of a file; rows by their numbers from 1."""

    station: StationTable
    csms: CsmsTable
    variables: dict[int, VariableRow]
    certificates: dict[int, CertificateRow]
    hardware: dict[str, Any]
    journal: JournalConfig
    firmware: FirmwareTable
    limits: LimitsConfig
    traces: TracesConfig


def read_tables(raw: Mapping[str, Any]) -> FileTables:
    """The tables of a file.

    Raises:
        TableError: an unknown key, a missing key or a value of the wrong type.
    """
    file = convert_table(raw, StationToml)
    return FileTables(
        station=file.station,
        csms=file.csms,
        variables=dict(enumerate(file.variable, start=1)),
        certificates=dict(enumerate(file.certificate, start=1)),
        hardware=file.hardware,
        journal=file.journal,
        firmware=file.firmware,
        limits=file.limits,
        traces=file.traces,
    )


PLACEHOLDERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "station": {"identity": "placeholder"},
    "csms": {"url": "wss://placeholder.invalid"},
}
"""Values of required keys that cannot be used."""

OnUnusable = Callable[[str, Collection[str]], None]
"""Gets a place in the file, such as `[csms] `, and its keys without a usable value; none: all."""


def read_usable_tables(
    raw: Mapping[str, Any], report: Callable[[str], None], on_unusable: OnUnusable
) -> FileTables:
    """The tables of a file with what can be used of them; each problem is reported.

    Required keys that cannot be used have `PLACEHOLDERS`, others their defaults; a row without a
    required key is left out.
    """
    reader = _UsableTables(raw, report, on_unusable)
    return FileTables(
        station=reader.table("station", StationTable),
        csms=reader.table("csms", CsmsTable),
        variables=reader.rows("variable", VariableRow),
        certificates=reader.rows("certificate", CertificateRow),
        hardware=reader.hardware(),
        journal=reader.table("journal", JournalConfig),
        firmware=reader.table("firmware", FirmwareTable),
        limits=reader.table("limits", LimitsConfig),
        traces=reader.table("traces", TracesConfig),
    )


class _UsableTables:
    """Reads the tables of one file."""

    def __init__(
        self, raw: Mapping[str, Any], report: Callable[[str], None], on_unusable: OnUnusable
    ) -> None:
        self._report, self._on_unusable = report, on_unusable
        self._tables: dict[str, Any] = {}
        fields = {field.name: field for field in msgspec.structs.fields(StationToml)}
        wrong = set[str]()
        for name, table in raw.items():
            field = fields.get(name)
            if field is None:
                report(unknown_key_message(name, fields))
                wrong.update(filter(None, (nearest_key(name, fields),)))
            elif isinstance(table, list if get_origin(field.type) is tuple else Mapping):
                self._tables[name] = table
            else:
                report(str(explain_value(table, field.type, f"$.{name}")))
                wrong.add(name)
        for name, field in fields.items():
            if field.required and name not in raw and name not in wrong:
                report(f"[{name}] is missing")
                wrong.add(name)
        for name in wrong - self._tables.keys():
            on_unusable(toml_location(f"$.{name}"), ())

    def table(self, name: str, struct_type: type[Table]) -> Table:
        values = PLACEHOLDERS.get(name, {})
        if name in self._tables:
            values = {**values, **self._read_keys(f"$.{name}", self._tables[name], struct_type)}
        return struct_type(**values)

    def rows(self, name: str, struct_type: type[Table]) -> dict[int, Table]:
        rows = {}
        required = {field.name for field in msgspec.structs.fields(struct_type) if field.required}
        for index, row in enumerate(self._tables.get(name, ())):
            place = f"$.{name}[{index}]"
            if not isinstance(row, Mapping):
                self._report(str(explain_value(row, struct_type, place)))
                continue
            values = self._read_keys(place, row, struct_type)
            if required <= values.keys():
                rows[index + 1] = struct_type(**values)
        return rows

    def hardware(self) -> dict[str, Any]:
        return dict(self._tables.get("hardware", {}))

    def _read_keys(
        self, place: str, raw: Mapping[str, Any], struct_type: type[Table]
    ) -> dict[str, Any]:
        usable = convert_usable_keys(raw, struct_type, place, root_type=StationToml)
        for problem in usable.problems:
            self._report(problem)
        if usable.unusable:
            self._on_unusable(toml_location(place), usable.unusable)
        return usable.values
