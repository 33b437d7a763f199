"""Acrel DJSF1352-RN DC energy meter on Modbus RTU (manual V1.8).

One poll reads registers 0 to 19: voltage, current and power, each a mantissa with an exponent, and
both energy registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

from drivers.meters._polled_meter import PolledMeter
from drivers.ports import InvalidResponse, Meter, MeterReading, OpenDevices
from drivers.settings import (
    Baud,
    MeterSettings,
    Milliseconds,
    ModbusAddress,
    Pause,
    Retries,
    SettingsError,
    require_count,
    require_different,
)
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.modbus_rtu import read_registers
from drivers.wire.serial_port import OpenPort

REGISTER_COUNT = 20  # from 0: all of one poll
SOFTWARE_VERSION_REGISTER = 35
EXPONENT_MAX = 9  # 10^6 V, A or W per count; a higher exponent is not of this meter


NO_ANSWER_REASONS: Final = (
    "its Modbus address differs from the key addresses; the meter shows it in its menu",
    "the two wires of the line are swapped (A and B), or the meter has no auxiliary supply",
    "its baud rate or parity differs from the keys baud and parity",
)
"""Why it may not answer, likeliest first; for `station probe`."""

SILENT_LINE_REASONS: Final = (
    "the two wires of the line are swapped (A and B), or the meters have no auxiliary supply",
    "their baud rate or parity differs from the keys baud and parity",
    "the port is that of another line",
)
"""The same when no device on the line answers."""


class Settings(MeterSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.meter]`: all meters on one line."""

    driver: str = "acrel_djsf1352"
    baud: Baud = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    timeout_ms: Milliseconds = 300
    retries: Retries = 2
    pause_ms: Pause = 5
    addresses: tuple[ModbusAddress, ...] = (1, 2, 3, 4)  # of EVSE 1, 2, …
    energy_unit_wh: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_different("addresses", self.addresses)
        if not self.energy_unit_wh.is_finite() or self.energy_unit_wh <= 0:
            raise SettingsError(f"energy_unit_wh {self.energy_unit_wh} must be above 0")


def open(settings: Settings, evse_ids: tuple[int, ...], open_port: OpenPort) -> OpenDevices[Meter]:
    """The meters of all EVSEs on one line; see `drivers.catalog.Driver.open`."""
    require_count(settings, "addresses", evse_ids)
    bus = ModbusMaster.from_settings(settings, open_port, retries=settings.retries)
    return OpenDevices(
        {
            evse_id: AcrelDjsf1352(
                bus,
                address=settings.addresses[evse_id - 1],
                energy_unit_wh=settings.energy_unit_wh,
                interval_s=settings.idle_interval_s,
            )
            for evse_id in evse_ids
        },
        close=bus.close,
    )


class AcrelDjsf1352(PolledMeter):
    """One meter, or one channel of a two-channel meter, which responds as two units.

    Args:
        bus: the line; other units may share it.
        address: Modbus address.
        energy_unit_wh: Wh per count of the energy registers. The sources differ between 1 and
            0.1: compare with the meter's display at commissioning.
        interval_s: time between two polls; 1 s idle, 0.5 s in a session.
    """

    def __init__(
        self,
        bus: ModbusMaster,
        *,
        address: int = 1,
        energy_unit_wh: Decimal = Decimal(1),
        interval_s: float = 1.0,
    ) -> None:
        super().__init__(f"meter {address} on {bus.path}", interval_s)
        self.bus = bus
        self.address = address
        self.energy_unit_wh = energy_unit_wh

    async def read_identity(self) -> str:
        [version] = await self.bus.execute_request(
            read_registers(self.address, SOFTWARE_VERSION_REGISTER, 1)
        )
        return f"Acrel DJSF1352-RN software {version >> 8}.{version & 0xFF:02}"

    async def read_values(self) -> MeterReading:
        registers = await self.bus.execute_request(read_registers(self.address, 0, REGISTER_COUNT))
        try:
            return parse_registers(registers, self.energy_unit_wh)
        except ValueError as error:
            raise InvalidResponse(f"{self.name}: {error}") from error


def parse_registers(registers: Sequence[int], energy_unit_wh: Decimal) -> MeterReading:
    """Read registers 0 to 19.

    Raises:
        ValueError: an exponent that this meter does not have.
    """
    return MeterReading(
        energy_wh=(registers[12] << 16 | registers[13]) * energy_unit_wh,
        energy_reverse_wh=(registers[14] << 16 | registers[15]) * energy_unit_wh,
        voltage_v=scale_value(registers[0], registers[1]),
        current_a=scale_value(to_signed(registers[2]), registers[3]),
        power_w=scale_value(to_signed(registers[8]), registers[9]),
        temperature_c=Decimal(to_signed(registers[5])).scaleb(-1),
        broken_wire=registers[4] != 0,
    )


def scale_value(mantissa: int, exponent: int) -> Decimal:
    """`mantissa` times 10^(exponent - 3), in V, A or W, with the resolution of the meter.

    Raises:
        ValueError: an exponent that this meter does not have.
    """
    if exponent > EXPONENT_MAX:
        raise ValueError(f"exponent {exponent} is over {EXPONENT_MAX}")
    if exponent >= 3:
        return Decimal(mantissa * 10 ** (exponent - 3))
    return Decimal(mantissa).scaleb(exponent - 3)


def to_signed(register: int) -> int:
    """A 16-bit register as a two's complement number."""
    return register - 0x10000 if register & 0x8000 else register
