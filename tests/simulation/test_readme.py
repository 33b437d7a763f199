"""The tables of station/simulation/README.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import station.simulation
from station.simulation import __main__, run_plan
from station.simulation.experiments import growth, offline, soak
from station.simulation.fault_plan import EVENT_ACTIONS
from station.simulation.faulty_csms import FaultRates
from station.simulation.invariants import TRANSCRIPT_LINES_MAX

FOLDER = Path(station.simulation.__file__).parent
README = FOLDER / "README.md"
TEXT = README.read_text(encoding="utf-8")


def table_rows(header: str) -> list[list[str]]:
    """The cells of each row of the table with this header."""
    _, _, table = TEXT.partition(f"| {header} |\n")
    assert table, f"no table | {header} |"
    rows = table.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_kind_of_event_is_in_the_table() -> None:
    documented = [name for _, events in table_rows("by | events") for name in names_in(events)]
    assert sorted(documented) == sorted(EVENT_ACTIONS)


def test_every_fault_of_the_csms_is_in_the_table() -> None:
    documented = [names_in(row[0])[0] for row in table_rows("fault | the CSMS")]
    assert documented == list(FaultRates.__struct_fields__)


@pytest.mark.parametrize("module", [soak, offline, growth])
def test_every_option_of_a_long_run_is_in_the_table(
    module: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        module.main(["--help"])  # type: ignore[attr-defined]
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    name = module.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
    rows = table_rows("module `station.simulation.experiments.…` | options | prints")
    [documented] = [names_in(row[1]) for row in rows if names_in(row[0]) == [name]]
    assert {option for option in documented if option.startswith("--")} == options


def test_the_options_and_numbers_of_a_simulation_are_those_of_the_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        __main__.main(["--help"])
    options = set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out)) - {"--help"}
    assert all(option in TEXT for option in options)
    assert f"within {run_plan.RECOVERY_TIMEOUT_S:,} simulated seconds" in TEXT
    assert f"last {TRANSCRIPT_LINES_MAX} lines" in TEXT


def test_every_module_is_in_the_table_of_files() -> None:
    documented = [name for row in table_rows("file | contents") for name in names_in(row[0])]
    modules = {path.name for path in FOLDER.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert set(documented) == modules | {"experiments/"}


def test_links_lead_to_a_file_or_a_heading() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        assert (README.parent / path).exists() if path else anchor in anchors, target
