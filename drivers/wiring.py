"""Wiring of the I/O modules: which wire is on which channel.

A channel is a text: the letter of the I/O module and the number of its input or output. "B3" is
input 3, or output 3, of the second module; "none" is a wire that this hardware does not have.
`IoWiring` is the table of station.toml, with the wiring of the reference product as default;
`StationWiring` is the same for the EVSEs of one station, checked.

* An input is 1 in its good state, so that a broken wire reads as the bad state; feedback, locks and
  buttons are 0 in their normal state.
* A wire that every EVSE has is a list, in the order of the EVSEs.
* The feedback of contactors is on the module that switches them: it is compared with the output in
  one report of that module.
* There is no lock for the plug: a fixed CCS1 cable is locked by the vehicle's inlet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final, NamedTuple

import msgspec

CHANNELS_PER_MODULE: Final = 8
MODULE_LETTERS: Final = "ABCD"
NOT_WIRED: Final = "none"


class WiringError(ValueError):
    """Channels that cannot work. The message begins with the key."""


class Channel(NamedTuple):
    """An input or an output of an I/O module."""

    module: int  # 1 is A
    number: int  # 0 to 7

    def __str__(self) -> str:
        return f"{MODULE_LETTERS[self.module - 1]}{self.number}"


def parse_channel(text: str) -> Channel:
    """The channel of a text such as "A2".

    Raises:
        ValueError: it names none.
    """
    letter, number = text[:1], text[1:]
    if len(text) != 2 or letter not in MODULE_LETTERS or number not in "01234567":
        raise ValueError(
            f'"{text}" is not a channel; channels are A0 to A7 of the first I/O module, '
            f"to {MODULE_LETTERS[-1]}7 of the last possible one"
        )
    return Channel(MODULE_LETTERS.index(letter) + 1, int(number))


class IoWiring(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.io.wiring]`: a channel per wire; lists have a channel per EVSE."""

    # outputs
    contactors: tuple[str, ...] = ("A0", "B0", "C0", "D0")
    bleeder: tuple[str, ...] = ("A1", "B1", "C1", "D1")
    ac_enable: str = "A7"
    cabinet_fan: str = "A6"
    # inputs
    contactors_closed: tuple[str, ...] = ("A1", "B0", "C0", "D0")
    plug_in_holster: tuple[str, ...] = ("A2", "B1", "C1", "D1")
    holster_locked: tuple[str, ...] = ("A3", "B2", "C2", "D2")
    stop_button: tuple[str, ...] = ("B6", "B7", "C6", "D6")
    emergency_stop_loop_closed: str = "A0"
    door_closed: str = "A4"
    surge_arrester_good: str = "A5"
    mains_breaker_on: str = "A6"
    power_cabinet_ready: str = "A7"
    cable_and_tilt_good: str = "B3"
    dispenser_door_closed: str = "B4"
    cooling_flow_good: str = "B5"

    def for_evses(self, evse_ids: tuple[int, ...]) -> StationWiring:
        """The wiring of a station with these EVSEs.

        Raises:
            WiringError: a wire without a channel, one that is not possible, or a channel that two
                wires have.
        """
        station = StationWiring(
            outputs={key: self._find_channels(key, evse_ids) for key in OUTPUTS},
            inputs={key: self._find_channels(key, evse_ids) for key in INPUTS},
        )
        _check_required(station, evse_ids)
        for wires in (station.outputs, station.inputs):
            _check_different(wires)
        _check_feedback(station, evse_ids)
        _check_modules(station)
        return station

    def _find_channels(self, key: str, evse_ids: tuple[int, ...]) -> dict[int, Channel]:
        """Channels of a wire, by EVSE; 0: of the station. Without those that are not wired."""
        value: str | tuple[str, ...] = getattr(self, key)
        if isinstance(value, str):
            by_evse = {0: value}
        else:
            default = getattr(REFERENCE_WIRING, key)
            if len(value) < len(evse_ids) or (len(value) > len(evse_ids) and value != default):
                evses = f"{len(evse_ids)} EVSE{'s' if len(evse_ids) > 1 else ''}"
                raise WiringError(f"{key}: {len(value)} for {evses}")
            by_evse = dict(zip(evse_ids, value, strict=False))
        try:
            return {
                evse_id: parse_channel(text)
                for evse_id, text in by_evse.items()
                if text != NOT_WIRED
            }
        except ValueError as error:
            raise WiringError(f"{key}: {error}, or {NOT_WIRED}") from None


REFERENCE_WIRING: Final = IoWiring()

OUTPUTS: Final = ("contactors", "bleeder", "ac_enable", "cabinet_fan")
POWER_OUTPUTS: Final = ("contactors", "bleeder", "ac_enable")
"""Outputs that put power on something. Only the station switches these on; a driver may switch
them off on its own."""
INPUTS: Final = tuple(key for key in IoWiring.__struct_fields__ if key not in OUTPUTS)
NORMALLY_OFF: Final = frozenset({"contactors_closed", "holster_locked", "stop_button"})
"""Inputs that are 0 while every output is off and no button is pressed."""
REQUIRED: Final = ("contactors", "contactors_closed", "emergency_stop_loop_closed")

Wires = Mapping[str, Mapping[int, Channel]]


class StationWiring(msgspec.Struct, frozen=True):
    """The wires of one station: by key of `IoWiring`, then by EVSE; 0: of the station."""

    outputs: dict[str, dict[int, Channel]]
    inputs: dict[str, dict[int, Channel]]

    @property
    def module_count(self) -> int:
        """How many I/O modules there are; they are numbered from 1."""
        return max(channel.module for channel in self._all_channels())

    @property
    def station_modules(self) -> frozenset[int]:
        """The modules without which no EVSE may charge: that of the emergency stop loop, and
        those that serve no EVSE."""
        of_evses = {channel.module for channel in self.outputs["contactors"].values()}
        others = set(range(1, self.module_count + 1)) - of_evses
        return frozenset({self.inputs["emergency_stop_loop_closed"][0].module, *others})

    def evses_of_module(self, module: int) -> tuple[int, ...]:
        """The EVSEs that stop when an I/O module is lost; (0,): all of them."""
        if module in self.station_modules:
            return (0,)
        contactors = self.outputs["contactors"]
        return tuple(evse_id for evse_id, channel in contactors.items() if channel.module == module)

    def modules_of_evse(self, evse_id: int) -> frozenset[int]:
        """The modules that must have reported before an EVSE may charge."""
        return self.station_modules | {self.outputs["contactors"][evse_id].module}

    def power_outputs(self, module: int) -> tuple[int, ...]:
        """Numbers of a module's outputs that put power on something."""
        return tuple(
            channel.number
            for key in POWER_OUTPUTS
            for channel in self.outputs[key].values()
            if channel.module == module
        )

    def inputs_of_module(self, module: int) -> Iterator[tuple[str, int, int]]:
        """Key, EVSE (0: of the station) and number of each input of a module."""
        for key, channels in self.inputs.items():
            for evse_id, channel in channels.items():
                if channel.module == module:
                    yield key, evse_id, channel.number

    def free_inputs(self) -> tuple[Channel, ...]:
        """Inputs of the modules that the program reads nothing else from, for a contact."""
        used = {
            channel
            for key, channels in self.inputs.items()
            if key != "plug_in_holster"
            for channel in channels.values()
        }
        return tuple(
            Channel(module, number)
            for module in range(1, self.module_count + 1)
            for number in range(CHANNELS_PER_MODULE)
            if Channel(module, number) not in used
        )

    def _all_channels(self) -> Iterator[Channel]:
        for channels in chain(self.outputs.values(), self.inputs.values()):
            yield from channels.values()


def _check_required(station: StationWiring, evse_ids: tuple[int, ...]) -> None:
    """A station without these has no control of its contactors, or no emergency stop."""
    wires = {**station.outputs, **station.inputs}
    for key in REQUIRED:
        expected = 1 if isinstance(getattr(REFERENCE_WIRING, key), str) else len(evse_ids)
        if len(wires[key]) < expected:
            raise WiringError(f"{key}: {NOT_WIRED} is not allowed; no session is safe without it")


def _check_different(wires: Wires) -> None:
    names_by_channel: dict[Channel, str] = {}
    for key, channels in wires.items():
        for evse_id, channel in channels.items():
            name = wire_name(key, evse_id)
            other = names_by_channel.setdefault(channel, name)
            if other != name:
                raise WiringError(f"{key}: {channel} is given twice, for {other} and {name}")


def wire_name(key: str, evse_id: int) -> str:
    """A wire for a person: `door_closed`, `contactors of EVSE 2`."""
    return f"{key} of EVSE {evse_id}" if evse_id else key


def _check_feedback(station: StationWiring, evse_ids: Iterable[int]) -> None:
    for evse_id in evse_ids:
        output = station.outputs["contactors"][evse_id]
        feedback = station.inputs["contactors_closed"][evse_id]
        if output.module != feedback.module:
            raise WiringError(
                f"contactors_closed: {feedback} is not on the I/O module of the contactors of "
                f"EVSE {evse_id}, {output}; the module reports both at the same time"
            )


def _check_modules(station: StationWiring) -> None:
    used = {channel.module for channel in station._all_channels()}
    for module in range(1, station.module_count + 1):
        if module not in used:
            letter = MODULE_LETTERS[module - 1]
            raise WiringError(
                f"no wire is on I/O module {letter}; modules have the letters in the order of "
                "their addresses, without gaps"
            )
