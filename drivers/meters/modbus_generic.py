"""Any DC energy meter on Modbus RTU, with its registers set in station.toml.

For meters with fixed registers (Eastron, Carlo Gavazzi, …), and for SunSpec devices, which have the
scale factor of a value in another register:

    [hardware.meter]
    driver = "modbus_generic"
    port = "/dev/ttyUSB1"
    function = 4
    energy = { register = 0x0160, type = "float32", unit = "kWh" }
    voltage = { register = 0x0000, type = "float32", unit = "V" }
    current = { register = 0x0006, type = "float32", unit = "A" }

The number in the registers, times `scale`, times 10 to the power of the number in
`scale_register` (if there is one), is the quantity in `unit`. Power is voltage times current where
it has no registers. Quantities in adjacent registers are read in one request; others in one
request each, because a meter may refuse to read a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec

from drivers.meters._polled_meter import PolledMeter
from drivers.ports import InvalidResponse, Meter, MeterReading, OpenDevices
from drivers.settings import (
    Baud,
    MeterSettings,
    Milliseconds,
    ModbusAddress,
    Pause,
    Retries,
    require_count,
    require_different,
)
from drivers.wire.modbus_master import ModbusMaster
from drivers.wire.modbus_rtu import Request
from drivers.wire.modbus_values import Order, ValueType, decode_value, register_count
from drivers.wire.serial_port import OpenPort

REGISTERS_MAX: Final = 100  # in one request; Modbus allows 125, some meters fewer
REGISTER_MAX: Final = 0xFFFF
RegisterAddress = Annotated[int, msgspec.Meta(ge=0, le=REGISTER_MAX)]
SCALE_EXPONENT_MAX: Final = 10  # SunSpec's range; its "not implemented" is -32768
UNITS: Final[Mapping[str, Decimal]] = {
    "Wh": Decimal(1),
    "kWh": Decimal(1_000),
    "MWh": Decimal(1_000_000),
    "mV": Decimal("0.001"),
    "V": Decimal(1),
    "kV": Decimal(1_000),
    "mA": Decimal("0.001"),
    "A": Decimal(1),
    "W": Decimal(1),
    "kW": Decimal(1_000),
    "degC": Decimal(1),
}


class Quantity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the meter has a quantity, and how.

    Attributes:
        register: wire address of its first register, from 0.
        type: of the number.
        scale: the number is multiplied by it.
        scale_register: address of an int16 exponent of ten, as SunSpec has; None: none.
    """

    register: RegisterAddress
    type: ValueType
    scale: Decimal = Decimal(1)
    scale_register: RegisterAddress | None = None

    def __post_init__(self) -> None:
        if self.scale == 0:
            raise ValueError("scale is 0; every value would be 0")
        if self.register + register_count(self.type) > REGISTER_MAX + 1:
            raise ValueError(f"register {self.register} is too high for {self.type}")


class EnergyQuantity(Quantity, frozen=True, forbid_unknown_fields=True, kw_only=True):
    unit: Literal["Wh", "kWh", "MWh"] = "Wh"


class VoltageQuantity(Quantity, frozen=True, forbid_unknown_fields=True, kw_only=True):
    unit: Literal["mV", "V", "kV"] = "V"


class CurrentQuantity(Quantity, frozen=True, forbid_unknown_fields=True, kw_only=True):
    unit: Literal["mA", "A"] = "A"


class PowerQuantity(Quantity, frozen=True, forbid_unknown_fields=True, kw_only=True):
    unit: Literal["W", "kW"] = "W"


class TemperatureQuantity(Quantity, frozen=True, forbid_unknown_fields=True, kw_only=True):
    unit: Literal["degC"] = "degC"


AnyQuantity = (
    EnergyQuantity | VoltageQuantity | CurrentQuantity | PowerQuantity | TemperatureQuantity
)


NO_ANSWER_REASONS: Final = (
    "its Modbus address differs from the key addresses",
    "the registers or the key function are those of another meter",
    "the two wires of the line are swapped (A and B), or baud or parity differ",
)
"""Why it may not answer, likeliest first; for `station probe`."""

SILENT_LINE_REASONS: Final = (
    "the two wires of the line are swapped (A and B), or the meters have no supply",
    "their baud rate or parity differs from the keys baud and parity",
    "the port is that of another line",
)
"""The same when no device on the line answers."""


class Settings(MeterSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[hardware.meter]`: all meters on one line, of one model."""

    driver: str = "modbus_generic"
    baud: Baud = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    timeout_ms: Milliseconds = 300
    retries: Retries = 2
    pause_ms: Pause = 5
    addresses: tuple[ModbusAddress, ...] = (1, 2, 3, 4)  # of EVSE 1, 2, …
    function: Literal[3, 4] = 3  # 3 reads holding registers, 4 input registers
    word_order: Order = "high_first"
    byte_order: Order = "high_first"
    energy: EnergyQuantity  # towards the EV
    energy_reverse: EnergyQuantity | None = None
    voltage: VoltageQuantity
    current: CurrentQuantity
    power: PowerQuantity | None = None
    temperature: TemperatureQuantity | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_different("addresses", self.addresses)

    def quantities(self) -> dict[str, AnyQuantity]:
        """Quantities the meter has, by key."""
        quantities: dict[str, AnyQuantity | None] = {
            "energy": self.energy,
            "energy_reverse": self.energy_reverse,
            "voltage": self.voltage,
            "current": self.current,
            "power": self.power,
            "temperature": self.temperature,
        }
        return {key: quantity for key, quantity in quantities.items() if quantity is not None}


def open(settings: Settings, evse_ids: tuple[int, ...], open_port: OpenPort) -> OpenDevices[Meter]:
    """The meters of all EVSEs on one line; see `drivers.catalog.Driver.open`."""
    require_count(settings, "addresses", evse_ids)
    bus = ModbusMaster.from_settings(settings, open_port, retries=settings.retries)
    return OpenDevices(
        {
            evse_id: GenericModbusMeter(bus, settings.addresses[evse_id - 1], settings)
            for evse_id in evse_ids
        },
        close=bus.close,
    )


class GenericModbusMeter(PolledMeter):
    """One meter.

    Args:
        bus: the line; other units may share it.
        address: Modbus address.
        settings: registers and their format.
    """

    def __init__(self, bus: ModbusMaster, address: int, settings: Settings) -> None:
        super().__init__(f"meter {address} on {bus.path}", settings.idle_interval_s)
        self.bus = bus
        self.address = address
        self._settings = settings
        self._quantities = settings.quantities()
        self._blocks = adjacent_blocks(_register_ranges(self._quantities.values()))

    async def read_identity(self) -> str:
        """A generic meter has no identity; its first poll shows that it responds."""
        await self._read_blocks()
        return f"generic Modbus meter {self.address}"

    async def read_values(self) -> MeterReading:
        registers = await self._read_blocks()
        values = {key: self._decode(key, registers) for key in self._quantities}
        return MeterReading(
            energy_wh=values["energy"],
            energy_reverse_wh=values.get("energy_reverse", Decimal(0)),
            voltage_v=values["voltage"],
            current_a=values["current"],
            power_w=values.get("power", values["voltage"] * values["current"]),
            temperature_c=values.get("temperature"),
            broken_wire=False,
        )

    async def _read_blocks(self) -> dict[int, int]:
        """Contents of all registers, by address."""
        registers: dict[int, int] = {}
        for block in self._blocks:
            request = Request(self.address, self._settings.function, block.start, len(block))
            registers |= zip(block, await self.bus.execute_request(request), strict=True)
        return registers

    def _decode(self, key: str, registers: Mapping[int, int]) -> Decimal:
        quantity, settings = self._quantities[key], self._settings
        words = [registers[address] for address in _value_range(quantity)]
        try:
            number = decode_value(words, quantity.type, settings.word_order, settings.byte_order)
            exponent = _scale_exponent(quantity, registers)
        except ValueError as error:
            raise InvalidResponse(f"{self.name}: {key}: {error}") from error
        return (number * quantity.scale * UNITS[quantity.unit]).scaleb(exponent)


def _scale_exponent(quantity: AnyQuantity, registers: Mapping[int, int]) -> int:
    """Raises ValueError for an exponent out of range."""
    if quantity.scale_register is None:
        return 0
    exponent = int(decode_value([registers[quantity.scale_register]], "int16"))
    if abs(exponent) > SCALE_EXPONENT_MAX:
        raise ValueError(f"scale factor {exponent} is not within ±{SCALE_EXPONENT_MAX}")
    return exponent


def _value_range(quantity: AnyQuantity) -> range:
    return range(quantity.register, quantity.register + register_count(quantity.type))


def _register_ranges(quantities: Iterable[AnyQuantity]) -> list[range]:
    ranges: list[range] = []
    for quantity in quantities:
        ranges.append(_value_range(quantity))
        if quantity.scale_register is not None:
            ranges.append(range(quantity.scale_register, quantity.scale_register + 1))
    return ranges


def adjacent_blocks(ranges: Iterable[range]) -> list[range]:
    """The fewest ranges that cover the same addresses without gaps, `REGISTERS_MAX` long each.

    A value is never divided between two blocks: the meter might change it between two requests.
    """
    blocks: list[range] = []
    for each in sorted(ranges, key=lambda each: (each.start, each.stop)):
        last = blocks[-1] if blocks else None
        if (
            last is not None
            and each.start <= last.stop
            and max(each.stop, last.stop) - last.start <= REGISTERS_MAX
        ):
            blocks[-1] = range(last.start, max(each.stop, last.stop))
        else:
            blocks.append(each)
    return blocks
