"""What does the station's body do, ten times a second and whenever something happens?

A round: what is wrong, what shall each power path do, what is worth writing down. A round never
waits; it looks at what the devices said and at what is wanted, and sets levels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import trio

from drivers.io.wiring import InputA, InputB, OutputA
from drivers.ports import (
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
from journal.observations import EvStopped, MeterRead, StopPressed
from journal.terms import Observation
from station.profiles.profile import Evse
from station.runtime.device_settings import Devices, HardwareSettings
from station.runtime.faults import Ledger
from station.runtime.keeper import Keeper
from station.runtime.latest import Latest
from station.runtime.limits import current_limit_a, voltage_range_v
from station.runtime.power_path import Hands, Phase, PowerPath, nothing
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

LEAVE_S: Final = 3.0  # for contactors open and the last register told, on the way out
UNKNOWN_C: Final = 25  # what the controller is told before a module spoke
STOP_BUTTONS: Final = {1: InputB.EVSE_1_STOP_BUTTON, 2: InputB.EVSE_2_STOP_BUTTON}


class Body:
    """One run of the devices, from all off to all off."""

    def __init__(
        self,
        settings: HardwareSettings,
        devices: Devices,
        evses: Sequence[Evse],
        *,
        observe: Callable[[Observation], None],
        cables: Mapping[int, int],
        present: Callable[[TokenPresented], None],
        reading_interval_s: float,
        wanted: Latest[Wanted],
    ) -> None:
        """As `Hardware`; `present` takes a card that is shown, `cables` are reports so far."""
        self._settings = settings
        self._devices = devices
        self._observe = observe
        self._cables = cables
        self._present = present
        self._wanted = wanted
        self._power_max_w = {evse.id: evse.power_max_w for evse in evses}
        self._clock = AwakeClock()
        now = self._clock.now()
        self._station = StationSenses()
        self._paths = {evse: self._path(evse, now) for evse in self._power_max_w}
        self._tellers = {
            evse.id: Teller(
                self._paths[evse.id].senses,
                self._paths[evse.id],
                evse.connectors[0].id,
                self._observe,
                reading_interval_s,
            )
            for evse in evses
        }
        self.ledger = Ledger(self._observe, self._in_session, in_field=settings.in_field)
        self._protections = Protections(
            self._station, self._paths, self._settings, self.ledger, now
        )
        self._pressed: set[int] = set()
        self._leaving = False
        self._keeper = Keeper(devices.named(), self._station.lost, self._hear)

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
        """Run until cancelled. Drivers outlive the power paths: whatever ends this, power goes
        off in good order. What is no DeviceFault is raised then."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keeper.run)
            try:
                await self._go_on()
            finally:
                try:
                    await self._leave()
                finally:
                    self._keeper.stop()
        if self._keeper.crash is not None:
            raise self._keeper.crash

    async def _go_on(self) -> None:
        due = trio.current_time()
        while not self._keeper.crashed.is_set():
            self._clock.tick()
            self._round(repeat=True)
            due = max(due + TICK_S, trio.current_time())
            seen = self._wanted.value
            with trio.move_on_at(due):
                await self._wanted.wait_changed(seen)
                self._round()
                await self._keeper.crashed.wait()

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

    # --- hearing ---------------------------------------------------------------------------------

    def _hear(self, name: str, report: Report) -> None:
        """Take a report of a driver; go a round at once if it calls for one."""
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
                    self._paths[number].self_test.forget()
                return False
            case TokenPresented():
                self._present(report)
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
        if not self._settings.in_field:
            self.ledger.release(shown_only=True)
        self.ledger.settle(self._protections.findings(now), now)
        wanted = self._wanted.value
        for evse_id, path in self._paths.items():
            self._set_limits(evse_id, path)
            path.act(
                _wish(wanted, evse_id, self._leaving, self._cables[evse_id]),
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

    def _set_limits(self, evse_id: int, path: PowerPath) -> None:
        usable = self._protections.usable(evse_id)
        modules = [self._station.limits[one] for one in usable if one in self._station.limits]
        states = self._station.modules
        group = [states[one] for one in self._settings.modules.groups[evse_id - 1] if one in states]
        path.modules_c = max((state.temperature_c for state in group), default=UNKNOWN_C)
        path.range_v = voltage_range_v(modules)
        path.limit_a = current_limit_a(
            path.senses,
            modules,
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


def _wish(wanted: Wanted, evse_id: int, leaving: bool, cables: int = 0) -> WantedEvse | None:
    """What the judgement wants of an EVSE; nothing before it has spoken and on the way out.

    Behind a slow commit it may still speak of the EV that was there before this one: `cables`
    are the reports of the cable so far, and it has to know them all to give energy: None until it
    does. To take energy away it need not.
    """
    for evse in () if leaving else wanted.evses:
        if evse.evse_id == evse_id:
            knows = evse.cables in (None, cables)
            return evse if knows or not evse.energy else None
    return nothing(evse_id)
