"""How do the devices of the station become one body?

`Hardware` runs every driver, starts one again that lost its device, and after each report that
matters, and ten times a second, goes one round: what is wrong, what shall each power path do,
what is worth writing down. A round never waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

import trio

from drivers.io.wiring import InputA, InputB, OutputA
from drivers.ports import (
    Device,
    DeviceFault,
    DeviceReady,
    DigitalInputs,
    GroupOutput,
    GroupSilent,
    MeterReading,
    ModuleLimits,
    ModuleSilent,
    ModuleState,
    OrderRefused,
    Report,
    TokenPresented,
)
from drivers.wire.serial_port import OpenPort, SerialPort
from journal.observations import EvStopped, IdTokenPresented, MeterRead, StopPressed
from journal.terms import IdToken, Observation
from station.config import DeviceConfig
from station.profiles import Profile
from station.runtime import device_settings
from station.runtime.device_settings import Devices, HardwareSettings
from station.runtime.faults import Ledger
from station.runtime.latest import Latest
from station.runtime.limits import current_limit_a
from station.runtime.power_path import Hands, Phase, PowerPath
from station.runtime.protections import Protections
from station.runtime.senses import (
    DISPENSER,
    STATION,
    TICK_S,
    AwakeClock,
    EvseSenses,
    StationSenses,
)
from station.runtime.telling import Teller
from station.wanted import Wanted, WantedEvse

log = logging.getLogger("station.hardware")

PAUSE_S: Final = 0.2  # before a driver that gave up is started again; doubles
PAUSE_MAX_S: Final = 1.0  # a device that is back is used again within the 5 s of its fault
LEAVE_S: Final = 3.0  # for contactors open and the last register told, on the way out
STOP_BUTTONS: Final = {1: InputB.EVSE_1_STOP_BUTTON, 2: InputB.EVSE_2_STOP_BUTTON}


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
        refer: Callable[[str, str], IdToken],
        reading_interval_s: float,
        wanted: Latest[Wanted],
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
            settings = device_settings.parsed(settings)
        self.intended: dict[str, int] = {}
        self._settings = settings
        self._profile = profile
        self._observe = observe
        self._refer = refer
        self._interval_s = reading_interval_s
        self._wanted = wanted
        self._open_port = open_port
        Devices(settings, profile.evse_ids, open_port)  # raises what is wrong with the settings
        self._body: Body | None = None

    @staticmethod
    def emulated(directory: Path) -> HardwareSettings:
        """Settings for the emulated devices of a directory."""
        return device_settings.emulated(directory)

    async def run(self) -> None:
        """Run the devices until cancelled; every output is off before and after.

        A device that fails is started again. Anything else that fails stops all power and is
        raised.
        """
        devices = Devices(self._settings, self._profile.evse_ids, self._open_port)
        self._body = Body(self, devices)
        try:
            await self._body.run()
        finally:
            devices.close()

    def latest_reading(self, evse_id: int) -> MeterRead | None:
        """The newest reading of an EVSE's meter, with the EV's state of charge; None without."""
        return self._body.reading(evse_id) if self._body else None

    def release(self) -> None:
        """A person has seen to the faults: what is latched goes as soon as it is good."""
        if self._body:
            self._body.ledger.release()

    def present(self, token: TokenPresented) -> None:
        """Someone shows a card."""
        uid = token.uid.hex().upper()
        self._observe(
            IdTokenPresented(
                id_token=self._refer("ISO14443", uid),
                evse_id=self.intended.pop(uid, None),
                lasting=not token.random,
            )
        )


class Body:
    """One run of the devices, from all off to all off."""

    def __init__(self, hardware: Hardware, devices: Devices) -> None:
        self._hardware = hardware
        self._settings = hardware._settings
        self._devices = devices
        self._observe = hardware._observe
        self._wanted = hardware._wanted
        self._power_max_w = {evse.id: evse.power_max_w for evse in hardware._profile.evse}
        self._clock = AwakeClock()
        now = self._clock.now()
        self._station = StationSenses()
        self._paths = {evse: self._path(evse, now) for evse in hardware._profile.evse_ids}
        self._tellers = {
            evse.id: Teller(
                self._paths[evse.id].senses,
                self._paths[evse.id],
                evse.connectors[0].id,
                self._observe,
                hardware._interval_s,
            )
            for evse in hardware._profile.evse
        }
        self.ledger = Ledger(self._observe, self._in_session)
        self._protections = Protections(
            self._station, self._paths, self._settings, self.ledger, now
        )
        self._pressed: set[int] = set()
        self._leaving = False
        self._broken = trio.Event()
        self._crash: Exception | None = None

    def _path(self, evse_id: int, now: float) -> PowerPath:
        devices = self._devices
        hands = Hands(
            secc=devices.seccs[evse_id],
            modules=devices.modules,
            io=devices.io[evse_id],
            monitor=devices.monitors[evse_id],
            meter=devices.meters[evse_id],
        )
        ev_stopped = partial(self._observe, EvStopped(evse_id))
        return PowerPath(EvseSenses(evse_id), hands, self._settings, ev_stopped, now)

    def _in_session(self, evse_id: int) -> bool:
        paths = self._paths.values() if evse_id == 0 else (self._paths[evse_id],)
        return any(path.in_session for path in paths)

    def reading(self, evse_id: int) -> MeterRead | None:
        return self._tellers[evse_id].reading(self._clock.now())

    # --- the tasks -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Drivers outlive the power paths: whatever ends this, power goes off in good order."""
        async with trio.open_nursery() as nursery:
            drivers = trio.CancelScope(shield=True)
            nursery.start_soon(self._drive, drivers)
            try:
                await self._go_on()
            finally:
                try:
                    await self._leave()
                finally:
                    drivers.cancel()  # each driver switches off once more
        if self._crash is not None:
            raise self._crash

    async def _go_on(self) -> None:
        due = trio.current_time()
        while not self._broken.is_set():
            self._clock.tick()
            self._round(repeat=True)
            due = max(due + TICK_S, trio.current_time())
            seen = self._wanted.value
            with trio.move_on_at(due):
                await self._wanted.wait_changed(seen)
                self._round()
                await self._broken.wait()

    async def _leave(self) -> None:
        """Stop what runs while the drivers still live, and tell the last registers."""
        self._leaving = True
        for path in self._paths.values():
            path.emergency(self._clock.now())
        with trio.move_on_after(LEAVE_S, shield=True):
            self._round()
            while any(path.powered for path in self._paths.values()) or any(
                teller.unfinished for teller in self._tellers.values()
            ):
                await trio.sleep(TICK_S / 2)
                self._clock.tick()
                self._round()

    async def _drive(self, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                for name, device in self._named():
                    nursery.start_soon(self._keep, name, device)

    def _named(self) -> Iterator[tuple[str, Device]]:
        devices = self._devices
        yield "secc_can", devices.secc_line
        yield "can", devices.modules_line
        yield "modules", devices.modules
        for number, module in devices.io.items():
            yield f"io {number}", module
        for evse_id in self._paths:
            yield f"secc {evse_id}", devices.seccs[evse_id]
            yield f"insulation {evse_id}", devices.monitors[evse_id]
            yield f"meter {evse_id}", devices.meters[evse_id]
        if devices.reader is not None:
            yield "reader", devices.reader
        if devices.display is not None:
            yield "display", devices.display

    async def _keep(self, name: str, device: Device) -> None:
        """Run a driver, again and again. What is no DeviceFault is a fault of ours."""
        hear = partial(self._hear, name)
        pause_s = PAUSE_S
        while True:
            began = trio.current_time()
            try:
                await device.run(hear)
            except DeviceFault as fault:
                if name not in self._station.lost:
                    log.warning("%s: %s; started again", name, fault)
                self._station.lost[name] = str(fault)
            except Exception as crash:
                self._crash = self._crash or crash
                self._broken.set()
                return
            if trio.current_time() - began > 10 * PAUSE_MAX_S:
                pause_s = PAUSE_S
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    # --- hearing ---------------------------------------------------------------------------------

    def _hear(self, name: str, report: Report) -> None:
        """Take a report of a driver; go a round at once if it calls for one."""
        if self._station.lost.pop(name, None) is not None:
            log.info("%s: back", name)
        kind, _, number = name.partition(" ")
        if self._sorted(kind, int(number or 0), report):
            self._round()

    def _sorted(self, kind: str, number: int, report: Report) -> bool:
        """Bring a report to whom it concerns; whether it calls for a round at once."""
        now = self._clock.now()
        match report:
            case DeviceReady(identity=identity):
                log.info("%s %s: %s", kind, number or "", identity)
                if kind == "insulation":
                    self._paths[number].forget_self_test()
                return False
            case TokenPresented():
                self._hardware.present(report)
                return False
            case DigitalInputs():
                return self._hear_inputs(number, report, now)
            case GroupOutput(group=group) if group in self._paths:
                self._paths[group].senses.hear(report, now, 0)
                return self._paths[group].powered
            case ModuleState() | ModuleLimits() | ModuleSilent():
                self._station.hear_module(report)
                self._station.counted = self._devices.modules.count
                return False
            case GroupOutput() | GroupSilent():
                return True  # the age of its output says the same
            case OrderRefused():
                log.warning("modules: %s", report)
                return False
        return self._hear_evse(number, report, now)

    def _hear_evse(self, evse_id: int, report: Report, now: float) -> bool:
        path = self._paths[evse_id]
        alarm_ohm = self._settings.insulation.alarm_kohm * 1000
        urgent = path.senses.hear(report, now, alarm_ohm)
        path.hear(report, now)
        return urgent and not isinstance(report, MeterReading)

    def _hear_inputs(self, number: int, report: DigitalInputs, now: float) -> bool:
        changed = self._station.hear_inputs(number, report, now)
        feedback = {STATION: InputA.CONTACTORS_CLOSED, DISPENSER: InputB.CONTACTORS_CLOSED}
        if number in self._paths:
            closed = bool(report.bits >> feedback[number] & 1)
            self._paths[number].senses.hear_contactors(closed)
        if number == DISPENSER:
            self._hear_buttons(report)
        return changed or any(path.coil for path in self._paths.values())

    def _hear_buttons(self, report: DigitalInputs) -> None:
        pressed = {
            evse_id
            for evse_id, wire in STOP_BUTTONS.items()
            if evse_id in self._paths and report.bits >> wire & 1
        }
        for evse_id in sorted(pressed - self._pressed):
            self._observe(StopPressed(evse_id))
        self._pressed = pressed

    # --- a round ---------------------------------------------------------------------------------

    def _round(self, *, repeat: bool = False) -> None:
        """Look at everything, set every level, tell what is new."""
        now = self._clock.now()
        if not self._settings.person_releases:
            self.ledger.release(shown_only=True)
        self.ledger.settle(self._protections.findings(now), now)
        wanted = self._wanted.value
        for evse_id, path in self._paths.items():
            path.limit_a = self._limit_a(evse_id)
            path.act(
                _wish(wanted, evse_id, self._leaving),
                self.ledger.stop(evse_id),
                self.ledger.blocking(evse_id),
                self._protections.ready(evse_id),
                now,
            )
            if repeat:
                path.repeat()
            self._tellers[evse_id].tell(now)
        self._set_station(wanted)
        if repeat:
            self._show(wanted)

    def _limit_a(self, evse_id: int) -> Decimal:
        return current_limit_a(
            self._paths[evse_id].senses,
            [
                self._station.limits[address]
                for address in self._protections.usable(evse_id)
                if address in self._station.limits
            ],
            power_max_w=self._power_max_w[evse_id],
            settings=self._settings.secc,
            cooled=not self.ledger.has("cooling/fault", 0),
        )

    def _show(self, wanted: Wanted) -> None:
        """One row per EVSE: the judgement's words and, while it charges, what the meter says."""
        if self._devices.display is not None:
            self._devices.display.lines = tuple(
                f"{evse.evse_id}  {evse.words}{self._tellers[evse.evse_id].figures}"
                for evse in wanted.evses
                if evse.evse_id in self._tellers
            )

    def _set_station(self, wanted: Wanted) -> None:
        """What no EVSE decides alone: mains contactor, fan, reader, watchdogs."""
        emergency = self.ledger.has("emergency_stop/pressed", 0)
        welded = any(self.ledger.has("contactor/welded", evse_id) for evse_id in self._paths)
        busy = any(path.phase is not Phase.IDLE for path in self._paths.values())
        cabinet = self._devices.io[STATION]
        cabinet.switch(OutputA.AC_ENABLE, not (emergency or welded or self._leaving))
        cabinet.switch(OutputA.CABINET_FAN, busy)
        if self._devices.reader is not None:
            self._devices.reader.enabled = wanted.reader
        idle = not any(path.powered or path.in_session for path in self._paths.values())
        for number, report in self._station.inputs.items():
            if report.watchdog_fired and idle:
                self._devices.io[number].clear_watchdog()


def _wish(wanted: Wanted, evse_id: int, leaving: bool) -> WantedEvse:
    """What the judgement wants of an EVSE; nothing before it has spoken and on the way out."""
    for evse in () if leaving else wanted.evses:
        if evse.evse_id == evse_id:
            return evse
    return WantedEvse(evse_id, energy=False, suspended=False, transaction_id=None, words="")
