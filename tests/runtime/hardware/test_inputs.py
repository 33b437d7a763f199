"""Reports of an EVSE's devices, and which of them are judged at once."""

from __future__ import annotations

import pytest

from drivers.ports import GroupOutput
from station.runtime.hardware.inputs import EvseInputs

ALARM_OHM = 100_000
VOLTS, AMPERES = 400, 200


def output(volts: float, amperes: float) -> GroupOutput:
    return GroupOutput(1, round(volts * 1000), round(amperes * 1000))


@pytest.mark.parametrize(
    ("volts", "amperes", "is_judged_at_once"),
    [
        (VOLTS, AMPERES, False),
        (VOLTS + 0.9, AMPERES - 0.9, False),
        (VOLTS + 1, AMPERES, True),
        (VOLTS - 1, AMPERES, True),
        (VOLTS, AMPERES + 1, True),
        (VOLTS, 0, True),
    ],
)
def test_a_large_change_of_the_output_is_judged_at_once(
    volts: float, amperes: float, is_judged_at_once: bool
) -> None:
    inputs = EvseInputs(1)
    assert inputs.apply_report(output(VOLTS, AMPERES), 1.0, ALARM_OHM)
    assert inputs.apply_report(output(volts, amperes), 1.1, ALARM_OHM) is is_judged_at_once
    assert (float(inputs.output_v), float(inputs.output_a)) == (volts, amperes)
    assert inputs.output_at == 1.1
