"""How do the devices of the station become one body?

`Evses` is what the rest of the station sees of them: observations come out, what is wanted
goes in. Each `run` is a fresh `ControlLoop` on fresh drivers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

from drivers.ports import TokenPresented
from drivers.wire.serial_port import OpenPort, SerialPort
from journal.events import IdToken, Observation
from journal.observations import CableReported, IdTokenPresented, MeterRead
from station.config import hardware as hardware_settings
from station.config.hardware import HardwareSettings
from station.config.station_toml import DeviceConfig
from station.core.desired import DesiredState
from station.profiles import Profile
from station.runtime.hardware.assembly import StationDrivers
from station.runtime.hardware.control_loop import ControlLoop
from station.runtime.watched_value import WatchedValue


class Hardware:
    """The devices of the station.

    Attributes:
        intended: UID in upper-case hex to the EVSE that the next showing of that card is meant
            for.
    """

    def __init__(
        self,
        settings: HardwareSettings | Mapping[str, DeviceConfig],
        profile: Profile,
        *,
        observe: Callable[[Observation], None],
        reference_for: Callable[[str, str], IdToken],
        reading_interval_s: float,
        desired_state: WatchedValue[DesiredState],
        open_port: OpenPort = SerialPort.open,
    ) -> None:
        """Say what there is; `run` brings it to life.

        Args:
            settings: `[hardware.*]` of station.toml, or what `emulated` gives.
            profile: EVSEs, connectors and their power.
            observe: takes each observation, at once and without waiting, until `run` has ended.
            refer: the reference of an idToken, by type and value.
            reading_interval_s: how often a reading is told while energy flows.
            wanted: what shall be.
            open_port: how drivers open their ports; tests give lines in memory.

        Raises:
            TableError: the settings cannot be used.
        """
        if not isinstance(settings, HardwareSettings):
            settings = hardware_settings.parse_hardware(settings)
        self.evse_id_by_uid: dict[str, int] = {}
        self._settings = settings
        self._profile = profile
        self._observe = observe
        self._reference_for = reference_for
        self._reading_interval_s = reading_interval_s
        self._desired_state = desired_state
        self._open_port = open_port
        StationDrivers(
            settings, profile.evse_ids, open_port
        )  # raises what is wrong with the settings
        self._control_loop: ControlLoop | None = None
        self._last_energy_wh: dict[int, Decimal] = {}
        self._cable_report_counts: Counter[int] = (
            Counter()
        )  # reports of each EVSE's; the journal counts too

    @staticmethod
    def emulated_settings(directory: Path) -> HardwareSettings:
        """Settings for the emulated devices of a directory."""
        return hardware_settings.emulated_settings(directory)

    async def run(self) -> None:
        """Run the devices until cancelled; every output is off before and after.

        A device that fails is started again. Anything else that fails stops all power and is
        raised.
        """
        devices = StationDrivers(self._settings, self._profile.evse_ids, self._open_port)
        self._control_loop = ControlLoop(
            self._settings,
            devices,
            self._profile.evse,
            observe=self._on_observation,
            cable_report_counts=self._cable_report_counts,
            on_token_presented=self._on_token_presented,
            reading_interval_s=self._reading_interval_s,
            desired_state=self._desired_state,
        )
        for evse_id, meter in devices.meters.items():
            meter.energy_last_wh = self._last_energy_wh.get(evse_id)  # never backwards, J02.FR.17
        try:
            await self._control_loop.run()
        finally:
            for evse_id, meter in devices.meters.items():
                if meter.energy_last_wh is not None:
                    self._last_energy_wh[evse_id] = meter.energy_last_wh
            devices.close()

    def latest_reading(self, evse_id: int) -> MeterRead | None:
        """The newest reading of an EVSE's meter, with the EV's state of charge; None without."""
        return self._control_loop.latest_reading(evse_id) if self._control_loop else None

    def release_faults(self, device: str | None = None, evse_id: int | None = None) -> None:
        """A person has seen to a fault: if it is latched, it goes as soon as it is good.

        Args:
            device: as `faults.FAULT_RULES` names it; None: all.
            evse_id: None: all.
        """
        if self._control_loop:
            self._control_loop.fault_registry.release_faults(device, evse_id)

    def _on_observation(self, observation: Observation) -> None:
        if isinstance(observation, CableReported):
            self._cable_report_counts[observation.evse_id] += 1
        self._observe(observation)

    def _on_token_presented(self, token: TokenPresented) -> None:
        """Someone shows a card."""
        uid = token.uid.hex().upper()
        self._observe(
            IdTokenPresented(
                id_token=self._reference_for("ISO14443", uid),
                evse_id=self.evse_id_by_uid.pop(uid, None),
                cacheable=not token.uid_is_random,
            )
        )
