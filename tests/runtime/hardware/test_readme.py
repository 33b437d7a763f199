"""The fault table of station/runtime/hardware/README.md is the one of the code.

`python -m tests.runtime.hardware.test_readme` writes it again.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from station.runtime.hardware import contactors, power_output, power_path
from station.runtime.hardware.driver_supervisor import RESTART_PAUSE_MAX_S, RESTART_PAUSE_S
from station.runtime.hardware.fault_registry import FAULT_RULES, BlockMode, FaultRule, StopMode

README = Path(__file__).parents[3] / "station" / "runtime" / "hardware" / "README.md"
COLUMNS = (
    "device, fault",
    "stop",
    "blocks charging",
    "stoppedReason",
    "ends when good for",
    "techCode",
    "note",
)
HEADER = f"| {' | '.join(COLUMNS)} |"
STOPS = {StopMode.NONE: "-", StopMode.NORMAL: "normal", StopMode.EMERGENCY: "emergency"}
BLOCKS = {BlockMode.NEVER: "no", BlockMode.WHEN_IDLE: "when idle", BlockMode.ALWAYS: "yes"}


def fault_table() -> str:
    """The table as Markdown."""
    lines = [HEADER, "|---|---|---|---|---|---|---|", *map(fault_row, FAULT_RULES.values())]
    return "\n".join(lines) + "\n"


def fault_row(rule: FaultRule) -> str:
    cells = (
        f"`{rule.device}` `{rule.fault}`",
        STOPS[rule.stop_mode],
        BLOCKS[rule.block_mode],
        rule.stopped_reason if rule.stop_mode is not StopMode.NONE else "-",
        ends_when(rule),
        rule.tech_code or "-",
        rule.note,
    )
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def ends_when(rule: FaultRule) -> str:
    if rule.latched:
        return f"released, then {rule.dwell_s:g} s"
    field = "" if rule.field_dwell_s is None else f" (field {rule.field_dwell_s:g} s)"
    return f"{rule.dwell_s:g} s{field}"


def table_in(text: str) -> str:
    start = text.index(HEADER)
    return text[start : text.index("\n\n", start) + 1]


def test_the_fault_table_is_that_of_the_code() -> None:
    assert table_in(README.read_text("utf-8")) == fault_table(), (
        "run python -m tests.runtime.hardware.test_readme"
    )


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        ("contactors open after an emergency stop", contactors.OPEN_TIMEOUT_S),
        ("an emergency stop ends", power_path.EMERGENCY_TIMEOUT_S),
        ("from the end of a session to the next", power_path.RESTART_GAP_S),
        ("other devices report the cause of an abort", power_path.ABORT_CAUSE_WAIT_S),
        ("over-voltage until power is cut", power_output.OVER_VOLTAGE_S),
        ("over-current until power is cut", power_output.OVER_CURRENT_S),
        ("a lost driver is started again", RESTART_PAUSE_S),
        ("a lost driver is started again", RESTART_PAUSE_MAX_S),
    ],
)
def test_the_times_are_those_of_the_code(row: str, seconds: float) -> None:
    [line] = re.findall(rf"^\| {row} \|.*$", README.read_text("utf-8"), re.MULTILINE)
    assert f"{seconds:g} s" in line


if __name__ == "__main__":
    readme = README.read_text("utf-8")
    README.write_text(readme.replace(table_in(readme), fault_table()), "utf-8")
