"""The devices of the station as one object: observations out, desired state in.

`Hardware.run` builds fresh drivers and a fresh `ControlLoop` each time; what must survive a run
(the last meter registers, the count of cable reports, what was reported of limits) is kept in
`Hardware`. A run has a clock of its own: times of the run before mean nothing in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from drivers.ports import TokenPresented
from drivers.wire.bus_traffic import BusTraffic
from drivers.wire.serial_port import OpenPort, SerialPort
from journal.events import IdToken, Observation
from journal.observations import CableReported, EvTokenReported, IdTokenPresented, MeterRead
from station.config import hardware as hardware_settings
from station.config.hardware import HardwareSettings
from station.config.station_toml import DeviceConfig
from station.core.desired import DesiredState
from station.core.display import LiveReading
from station.profiles import Profile
from station.runtime.clock import HostClock
from station.runtime.hardware.assembly import StationDrivers
from station.runtime.hardware.control_loop import ControlLoop, ControlStatus
from station.runtime.hardware.device_thread import DeviceThread
from station.runtime.hardware.fault_registry import FaultStatus
from station.runtime.hardware.lasting_derating import LastingDerating
from station.runtime.hardware.lasting_limiters import LastingLimiters
from station.runtime.hardware.limit_contact import LimitContact
from station.runtime.hardware.power_budget import EvseBudget
from station.runtime.hardware.reporter import READING_FRESH_S
from station.runtime.watched_value import WatchedValue

HOST_CLOCK: Final = HostClock()


def evse_unknown(uid: str) -> int | None:
    """The EVSE a card is meant for: one reader serves all EVSEs, so any."""
    return None


class Hardware:
    """The devices of the station."""

    def __init__(
        self,
        settings: HardwareSettings | Mapping[str, DeviceConfig],
        profile: Profile,
        *,
        observe: Callable[[Observation], None],
        reference_for: Callable[[str, str], IdToken],
        reading_interval_s: float,
        desired_state: WatchedValue[DesiredState],
        evse_for_card: Callable[[str], int | None] = evse_unknown,
        open_port: OpenPort = SerialPort.open,
        uptime_ms: Callable[[], int] = HOST_CLOCK.uptime_ms,
        limit_contact: LimitContact | None = None,
        lasting_derating: LastingDerating | None = None,
        bus_traffic: BusTraffic | None = None,
        in_thread: bool = False,
    ) -> None:
        """Check the settings; `run` starts the devices.

        Args:
            settings: `[hardware.*]` of station.toml, or the result of `emulated_settings`.
            profile: EVSEs, connectors and their power.
            observe: takes each observation, at once and without waiting, until `run` has ended.
            reference_for: the reference of an idToken, by type and value.
            reading_interval_s: interval of recorded readings while energy flows.
            desired_state: the newest desired state.
            evse_for_card: the EVSE a presented card is meant for, by UID in upper-case hex; None:
                any EVSE.
            open_port: how drivers open their ports; tests pass lines in memory.
            uptime_ms: the uptime that the desired state is computed with.
            limit_contact: of the grid operator; None: there is none.
            lasting_derating: takes the limits of the hardware; None: nobody asks for them.
            bus_traffic: records what passes over the buses; None: it is not recorded.
            in_thread: run the devices in a thread of their own; the callables above, except
                `open_port` and `uptime_ms`, are called in the loop of `run` in any case.

        Raises:
            TableError: the settings cannot be used.
        """
        if not isinstance(settings, HardwareSettings):
            settings = hardware_settings.parse_hardware(settings)
        self._settings = settings
        self._profile = profile
        self._observe = observe
        self._reference_for = reference_for
        self._reading_interval_s = reading_interval_s
        self._desired_state = desired_state
        self._evse_for_card = evse_for_card
        self._open_port = open_port
        self._uptime_ms = uptime_ms
        self._limit_contact = limit_contact and limit_contact.reporting_by(self._post_to_station)
        self._lasting_derating = lasting_derating and lasting_derating.reporting_by(
            self._post_to_station
        )
        self._lasting_limiters = LastingLimiters(self._on_observation)
        self._bus_traffic = bus_traffic
        self._in_thread = in_thread
        self._thread: DeviceThread | None = None
        StationDrivers(settings, profile.evse_ids, open_port)  # only for the errors it raises
        self._control_loop: ControlLoop | None = None
        self._last_energy_wh: dict[int, Decimal] = {}
        self._cable_report_counts: Counter[int] = Counter()  # by EVSE; the journal counts too

    @staticmethod
    def emulated_settings(directory: Path) -> HardwareSettings:
        """Settings for the emulated devices of a directory."""
        return hardware_settings.emulated_settings(directory)

    async def run(self) -> None:
        """Run the devices until cancelled; every output is off before and after.

        A driver that fails is started again. An error of the control loop stops all power and is
        raised.
        """
        if not self._in_thread:
            await self._run_devices(self._desired_state)
            return
        self._thread = thread = DeviceThread(self._desired_state)
        try:
            await thread.run(partial(self._run_devices, thread.desired_state))
        finally:
            self._thread = None

    async def _run_devices(self, desired_state: WatchedValue[DesiredState]) -> None:
        drivers = StationDrivers(
            self._settings, self._profile.evse_ids, self._open_port, self._bus_traffic
        )
        self._control_loop = ControlLoop(
            self._settings,
            drivers,
            self._profile.evse,
            station_power_max_w=self._profile.supply.power_max_w,
            observe=self._on_observation,
            cable_report_counts=self._cable_report_counts,
            on_token_presented=self._on_token_presented,
            on_ev_token=self._on_ev_token,
            reading_interval_s=self._reading_interval_s,
            desired_state=desired_state,
            limit_contact=self._limit_contact,
            lasting_derating=self._lasting_derating,
            lasting_limiters=self._lasting_limiters,
            uptime_ms=self._uptime_ms,
        )
        for kept in (self._limit_contact, self._lasting_derating, self._lasting_limiters):
            if kept is not None:
                kept.restart()
        for evse_id, meter in drivers.meters.items():
            meter.energy_last_wh = self._last_energy_wh.get(evse_id)  # never backwards, J02.FR.17
        try:
            await self._control_loop.run()
        finally:
            for evse_id, meter in drivers.meters.items():
                if meter.energy_last_wh is not None:
                    self._last_energy_wh[evse_id] = meter.energy_last_wh
            drivers.close()

    def latest_reading(self, evse_id: int) -> MeterRead | None:
        """The newest reading of an EVSE's meter, with the EV's state of charge; None without.

        Ages are in real time: none that is older than `silent_s`, and the registers only, when it
        is older than `READING_FRESH_S`.
        """
        newest = self._control_loop.latest_readings.get(evse_id) if self._control_loop else None
        if newest is None or newest.reading is None:
            return None
        age_s = (self._uptime_ms() - newest.uptime_ms) / 1000
        if age_s > self._settings.meter.silent_s:
            return None
        if age_s > READING_FRESH_S:
            return replace(newest.reading, voltage_v=None, current_a=None, power_w=None)
        return newest.reading

    def live_readings(self) -> dict[int, LiveReading]:
        """What is measured at each EVSE now; empty before the devices run."""
        return self._status.live_readings

    def active_faults(self) -> tuple[FaultStatus, ...]:
        """Every active fault of the devices; empty before they run."""
        return self._status.active_faults

    def power_budget(self, evse_id: int) -> EvseBudget | None:
        """What an EVSE may give now, and what limits it; None before the devices run."""
        return self._status.power_budgets.get(evse_id)

    def device_values(self) -> dict[str, str]:
        """Values of variables that devices other than meters measure; empty before they run."""
        return self._status.device_values

    def round_lag_s(self) -> float:
        """How late a round of the control loop ended at most in the last minute."""
        return self._status.round_lag_s

    @property
    def _status(self) -> ControlStatus:
        return self._control_loop.status if self._control_loop else ControlStatus()

    def release_faults(self, device: str | None = None, evse_id: int | None = None) -> None:
        """Release latched faults after a person has checked the device; each ends once it is good.

        Args:
            device: as in `fault_registry.FAULT_RULES`; None: all.
            evse_id: None: all.
        """
        if self._control_loop:
            release = self._control_loop.fault_registry.release_faults
            self._post_to_devices(partial(release, device, evse_id))

    def _post_to_devices(self, act: Callable[[], None]) -> None:
        if self._thread is None:
            act()
        else:
            self._thread.post_to_devices(act)

    # --- Called where the devices run ------------------------------------------------------------

    def _post_to_station(self, act: Callable[[], None]) -> None:
        if self._thread is None:
            act()
        else:
            self._thread.post_to_station(act)

    def _on_observation(self, observation: Observation) -> None:
        if isinstance(observation, CableReported):
            self._cable_report_counts[observation.evse_id] += 1
        self._post_to_station(partial(self._observe, observation))

    def _on_token_presented(self, token: TokenPresented) -> None:
        self._post_to_station(partial(self._report_token, token))

    def _on_ev_token(self, evse_id: int, evcc_id: str) -> None:
        self._post_to_station(partial(self._report_ev_token, evse_id, evcc_id))

    # --- Called in the station's loop ------------------------------------------------------------

    def _report_ev_token(self, evse_id: int, evcc_id: str) -> None:
        """C-34: the type of the EVCCID is MacAddress."""
        id_token = self._reference_for("MacAddress", evcc_id)
        self._observe(EvTokenReported(evse_id, id_token))

    def _report_token(self, token: TokenPresented) -> None:
        uid = token.uid.hex().upper()
        self._observe(
            IdTokenPresented(
                id_token=self._reference_for("ISO14443", uid),
                evse_id=self._evse_for_card(uid),
                cacheable=not token.uid_is_random,
            )
        )
