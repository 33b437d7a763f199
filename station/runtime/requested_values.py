"""Measured values that the CSMS asks for: observed before its request. B06, B07, B08.

Meters and other devices are read many times a second, and the journal has few of these readings.
A request is answered from the journal, so that replay gives the same answer. Values that a request
can ask for, and that are no longer those of the journal, are therefore observed first; both are
decided in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from journal.events import Observation
from journal.observations import FrameReceived, MeterRead
from journal.state import State
from station.core.blocks.n_monitoring.active_monitors import value_group
from station.core.device_model.model import DeviceModel, VariableDefinition
from station.runtime.monitored_values import LatestReading, observe_variables

HEAD_BYTES: Final = 128  # of a frame; they hold the action: `[2,"<36 characters>","GetVariables",`
REPORT_ACTIONS: Final = (b'"GetBaseReport"', b'"GetReport"')
READ_ACTION: Final = b'"GetVariables"'


class RequestedValues:
    """Finds the measured values that a frame asks for.

    Args:
        device_model: of the product.
        current_state: of the last commit.
        latest_reading: of the meter of an EVSE.
        device_values: newest values of other devices, by variable.
    """

    def __init__(
        self,
        device_model: DeviceModel,
        current_state: Callable[[], State],
        latest_reading: LatestReading,
        device_values: Callable[[], Mapping[str, str]],
    ) -> None:
        self._definitions = tuple(
            definition
            for definition in device_model.definitions
            if value_group(definition) in ("meter", "device")
        )
        self._current_state = current_state
        self._latest_reading = latest_reading
        self._device_values = device_values

    def find_observations(self, received: FrameReceived) -> tuple[Observation, ...]:
        """What must be in the journal before this frame; usually nothing."""
        definitions = tuple(self._find_requested(bytes(received.frame)))
        if not definitions:
            return ()
        state = self._current_state()
        recorded = state.measured_values.by_variable
        values = {
            variable: value
            for variable, value in self._device_values().items()
            if recorded.get(variable) != value
        }
        readings = {evse_id: read for evse_id, read in self._readings() if _is_new(state, read)}
        return tuple(observe_variables(definitions, readings, values))

    def _find_requested(self, frame: bytes) -> Iterator[VariableDefinition]:
        """Those named in the frame, at any EVSE: to search costs less than to decode it again.

        A name with an escape of JSON is not found, so with one all variables count.
        """
        head = frame[:HEAD_BYTES]
        has_escape = READ_ACTION in head and b"\\" in frame
        if has_escape or any(action in head for action in REPORT_ACTIONS):
            yield from self._definitions
        elif READ_ACTION in head:
            text = frame.lower()  # case is ignored, as in `DeviceModel.find_variable`
            for definition in self._definitions:
                names = (definition.key.component.name, definition.key.name)
                if all(f'"{name.lower()}"'.encode() in text for name in names):
                    yield definition

    def _readings(self) -> Iterator[tuple[int, MeterRead]]:
        evse_ids = {
            evse_id
            for definition in self._definitions
            if (evse_id := definition.key.component.evse_id) is not None
        }
        for evse_id in sorted(evse_ids):
            reading = self._latest_reading(evse_id)
            if reading is not None:
                yield evse_id, reading


def _is_new(state: State, read: MeterRead) -> bool:
    return all(reading.meter_read != read for reading in state.readings.latest)
