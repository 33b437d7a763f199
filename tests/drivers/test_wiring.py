"""Channels of the I/O modules; mistakes are in `tests/runtime/hardware/test_hardware.py` too."""

from __future__ import annotations

import pytest

from drivers.wiring import (
    REFERENCE_WIRING,
    Channel,
    IoWiring,
    WiringError,
    parse_channel,
)

ONE_MODULE = IoWiring(
    stop_button=("A3",),
    holster_locked=("none",),
    cable_and_tilt_good="none",
    dispenser_door_closed="none",
    cooling_flow_good="none",
)
"""One EVSE without a dispenser of its own."""


@pytest.mark.parametrize("text", ["A0", "B7", "D3"])
def test_a_channel_is_a_letter_and_a_number(text: str) -> None:
    assert str(parse_channel(text)) == text


@pytest.mark.parametrize("text", ["", "A", "A8", "E0", "a0", "A00", "0A", "A-", "A\u0661", "none"])
def test_anything_else_is_not(text: str) -> None:
    with pytest.raises(ValueError, match="is not a channel"):
        parse_channel(text)


@pytest.mark.parametrize(("evse_count", "modules"), [(1, 2), (2, 2), (3, 3), (4, 4)])
def test_the_reference_wiring_has_a_module_for_each_evse(evse_count: int, modules: int) -> None:
    """And one for the dispenser, which one EVSE has too."""
    wiring = REFERENCE_WIRING.for_evses(tuple(range(1, evse_count + 1)))
    assert wiring.module_count == modules


def test_a_module_stops_the_evses_whose_contactors_it_switches() -> None:
    wiring = REFERENCE_WIRING.for_evses((1, 2, 3, 4))
    served = {module: wiring.evses_of_module(module) for module in (1, 2, 3, 4)}
    assert served == {1: (0,), 2: (2,), 3: (3,), 4: (4,)}
    assert wiring.modules_of_evse(1) == {1}
    assert wiring.modules_of_evse(3) == {1, 3}


def test_a_module_without_contactors_stops_all() -> None:
    wiring = REFERENCE_WIRING.for_evses((1,))
    assert wiring.evses_of_module(2) == (0,)
    assert wiring.modules_of_evse(1) == {1, 2}


def test_two_evses_may_be_on_one_module() -> None:
    wiring = IoWiring(
        contactors=("A0", "A2"),
        bleeder=("A1", "A3"),
        contactors_closed=("B0", "B1"),
        holster_locked=("none", "none"),
        plug_in_holster=("none", "none"),
    )
    with pytest.raises(WiringError, match="B0 is not on the I/O module of the contactors"):
        wiring.for_evses((1, 2))
    moved = IoWiring(
        contactors=("B0", "B2"),
        bleeder=("B1", "B3"),
        contactors_closed=("B0", "B1"),
        holster_locked=("none", "none"),
        plug_in_holster=("none", "none"),
    ).for_evses((1, 2))
    assert moved.evses_of_module(2) == (1, 2)
    assert moved.power_outputs(2) == (0, 2, 1, 3)
    assert moved.power_outputs(1) == (7,)


def test_inputs_that_nothing_is_read_from_are_free_for_a_contact() -> None:
    def free(wiring: IoWiring, *evse_ids: int) -> list[str]:
        return list(map(str, wiring.for_evses(evse_ids).free_inputs()))

    assert free(REFERENCE_WIRING, 1, 2) == ["A2", "B1"]
    assert free(REFERENCE_WIRING, 1) == ["A2", "B0", "B1", "B2", "B7"]
    assert free(ONE_MODULE, 1) == ["A2"]


def test_a_station_with_one_module_has_all_of_its_wires_there() -> None:
    wiring = ONE_MODULE.for_evses((1,))
    assert wiring.module_count == 1
    assert wiring.power_outputs(1) == (0, 1, 7)
    assert dict(wiring.inputs["cooling_flow_good"]) == {}
    assert wiring.inputs["stop_button"] == {1: Channel(1, 3)}
