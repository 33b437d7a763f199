"""The tables of drivers/emulators/README.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from drivers.emulators.ev import Ev
from drivers.emulators.faults import FAULTS, Fault
from drivers.emulators.json_lines_socket import LINE_MAX
from drivers.emulators.orders import EV_PARSERS, ORDERS, Order
from drivers.emulators.station import LINE_NAMES

README = Path(__file__).parents[3] / "drivers" / "emulators" / "README.md"
TEXT = README.read_text(encoding="utf-8")


def table_rows(header: str) -> list[list[str]]:
    """The cells of each row of the table with this header."""
    _, _, table = TEXT.partition(f"| {header} |\n")
    assert table, f"no table | {header} |"
    rows = table.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def scope_of(fault: Fault) -> str:
    if fault.requires_ev:
        return "EV"
    return "EVSE" if fault.per_evse else "station"


def test_the_table_of_faults_is_that_of_the_code() -> None:
    assert table_rows("device | kind | of | meaning") == [
        [f"`{device}`", f"`{kind}`", scope_of(fault), fault.meaning]
        for (device, kind), fault in FAULTS.items()
    ]


def arguments_cell(order: Order) -> str:
    required = [f"`{name}`" for name in order.required]
    optional = [f"`{name}`?" for name in order.optional]
    return ", ".join([*required, *optional])


def test_the_table_of_orders_has_every_operation_and_argument() -> None:
    rows = table_rows("op | arguments | meaning")
    assert [row[:2] for row in rows] == [
        [f"`{op}`", arguments_cell(order)] for op, order in ORDERS.items()
    ]


def test_the_defaults_of_an_ev_are_those_of_the_code() -> None:
    [meaning] = [row[2] for row in table_rows("op | arguments | meaning") if row[0] == "`plug_in`"]
    documented = dict(re.findall(r"`(\w+)` \(([0-9A-F]+)\)", meaning))
    ev = Ev()
    assert documented == {
        name: ev.evcc_id.hex().upper() if name == "evcc_id" else f"{getattr(ev, name):.0f}"
        for name in EV_PARSERS
    }


def test_the_table_of_lines_has_every_line() -> None:
    rows = table_rows("link in `DIR/emulated/` | line | devices")
    assert {row[0] for row in rows} == {f"`{name}.tty`" for name in LINE_NAMES}
    assert f"at most {LINE_MAX} bytes" in TEXT


def test_links_lead_to_a_file_or_a_heading() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        assert (README.parent / path).exists() if path else anchor in anchors, target
