"""What does an EVSE say first?"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from drivers.ports import MeterReading, PilotState
from journal.observations import CableReported, MeterRead
from journal.terms import Observation
from station.runtime.device_settings import Devices, emulated
from station.runtime.power_path import Hands, PowerPath
from station.runtime.senses import EvseSenses
from station.runtime.telling import FRESH_S, Teller

NOTHING = Decimal(0)
READING = MeterReading(Decimal(1000), NOTHING, NOTHING, NOTHING, NOTHING, Decimal(25), False)


def silent_meter() -> tuple[EvseSenses, Teller, list[Observation]]:
    """An EVSE whose pilot has spoken and whose meter has not."""
    devices = Devices(emulated(Path("nowhere")), (1, 2))
    senses = EvseSenses(1)
    hands = Hands(
        devices.seccs[1], devices.modules, devices.io[1], devices.monitors[1], devices.meters[1]
    )
    path = PowerPath(senses, hands, emulated(Path("nowhere")), lambda: None, 0.0)
    told: list[Observation] = []
    teller = Teller(senses, path, 1, told.append, reading_interval_s=10)
    senses.hear(PilotState("A", 0), 0.0, 100_000)
    return senses, teller, told


def test_an_evse_that_is_available_can_be_asked_for_its_register_f06_fr_06() -> None:
    senses, teller, told = silent_meter()
    teller.tell(0.0)
    assert told == []
    senses.hear(READING, 0.5, 100_000)
    teller.tell(0.5)
    assert CableReported(1, 1, plugged=False) in told
    reading = teller.reading(0.5)
    assert isinstance(reading, MeterRead)
    assert reading.energy_wh == 1000


def test_a_cable_is_told_of_without_a_meter_too() -> None:
    _, teller, told = silent_meter()
    teller.tell(0.0)
    teller.tell(FRESH_S)
    assert CableReported(1, 1, plugged=False) in told
