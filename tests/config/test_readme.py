"""station/README.md has every key of station.toml once, with its default; its examples load."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from station.config import file_tables
from station.config.hardware import check_hardware
from station.config.station_toml import JOURNAL_LIMITS, load_config
from station.profiles.toml_tables import TableError
from tests.support.authorities import make_authority

ROOT = Path(__file__).parents[2]
README = ROOT / "station" / "README.md"
DRIVERS_README = ROOT / "drivers" / "README.md"
TEXT = README.read_text(encoding="utf-8")
SECTIONS = dict(
    zip(*[iter(re.split(r"^#{2,3} (.*)$", TEXT, flags=re.MULTILINE)[1:])] * 2, strict=True)
)
KEY_TABLE = "| key | type | default | meaning |\n|---|---|---|---|\n"
STRUCTS: dict[str, type[msgspec.Struct]] = {
    "[station]": file_tables.StationTable,
    "[csms]": file_tables.CsmsTable,
    "[[variable]]": file_tables.VariableRow,
    "[[certificate]]": file_tables.CertificateRow,
    "[journal]": file_tables.JournalConfig,
    "[firmware]": file_tables.FirmwareTable,
    "[limits]": file_tables.LimitsConfig,
    "[traces]": file_tables.TracesConfig,
}


def documented_keys(section: str) -> dict[str, list[str]]:
    """Type, default and meaning of each key in the table of a section."""
    _, header, rest = SECTIONS[section].partition(KEY_TABLE)
    assert header, f"{section} has no table of keys"
    lines = rest.partition("\n\n")[0].splitlines()
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in lines]
    keys = [row[0].strip("`") for row in rows]
    assert len(keys) == len(set(keys)), f"{section} documents a key twice"
    return {key: row[1:] for key, row in zip(keys, rows, strict=True)}


@pytest.mark.parametrize("table", STRUCTS)
def test_the_table_has_the_keys_of_the_code(table: str) -> None:
    assert set(documented_keys(table)) == set(STRUCTS[table].__struct_fields__)


@pytest.mark.parametrize("table", STRUCTS)
def test_required_keys_are_marked(table: str) -> None:
    required = {
        key for key, (_, default, *_) in documented_keys(table).items() if default == "required"
    }
    fields = msgspec.structs.fields(STRUCTS[table])
    assert required == {field.name for field in fields if field.required}


def test_every_table_of_station_toml_has_a_section() -> None:
    tables = {name.strip("[]").partition(".")[0] for name in SECTIONS if name.startswith("[")}
    assert tables == set(file_tables.StationToml.__struct_fields__)


def test_the_tables_of_keys_are_on_this_page_only() -> None:
    assert TEXT.count(KEY_TABLE) == len(STRUCTS)


def test_journal_has_the_defaults_and_limits_of_the_code() -> None:
    for field in msgspec.structs.fields(file_tables.JournalConfig):
        kind, default, *_ = documented_keys("[journal]")[field.name]
        assert default == str(field.default).lower()
        if field.name in JOURNAL_LIMITS:
            assert kind == "{} to {}".format(*JOURNAL_LIMITS[field.name])


def test_traces_has_the_defaults_and_limits_of_the_code() -> None:
    for field in msgspec.structs.fields(file_tables.TracesConfig):
        kind, default, *_ = documented_keys("[traces]")[field.name]
        assert default == str(field.default)
        _, limits = get_args(
            get_type_hints(file_tables.TracesConfig, include_extras=True)[field.name]
        )
        assert kind == f"{limits.ge} to {limits.le}"


def test_hardware_links_to_the_tables_of_the_drivers() -> None:
    assert "../drivers/README.md#tables-of-stationtoml" in SECTIONS["[hardware.NAME]"]
    assert "## Tables of station.toml" in DRIVERS_README.read_text(encoding="utf-8")


EXAMPLES = re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_load(tmp_path: Path, example: str) -> None:
    path = tmp_path / "station.toml"
    path.write_text(example)
    assert load_config(path).identity == "CS001"


def test_the_example_of_the_first_page_passes_the_check_of_a_start(tmp_path: Path) -> None:
    """`station run` makes this check before it opens a port; a missing device is refused by it."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "password").write_text("correct-horse-battery-staple")
    (tmp_path / "csms-root.pem").write_text(make_authority("CSMS root").pem)
    path = tmp_path / "station.toml"
    path.write_text(example)
    config = load_config(path)
    check_hardware(config.hardware, config.profile.evse_ids)
    incomplete = {kind: table for kind, table in config.hardware.items() if kind != "insulation"}
    with pytest.raises(TableError, match="insulation"):
        check_hardware(incomplete, config.profile.evse_ids)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [README, ROOT / "station" / "runtime" / "README.md"])
def test_the_links_lead_somewhere(page: Path) -> None:
    links: list[tuple[str, Any]] = re.findall(
        r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")
    )
    assert links
    for target, anchor in links:
        if re.match(r"[a-z]+:", target):  # another site
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"
