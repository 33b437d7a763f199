"""CAN messages between an ADVANTICS charge controller and the station.

ADVANTICS generic EVSE interface v3.6, the messages the station uses. The tables here are the codec
(importing cantools would slow down the start); `secc.dbc` has the same tables for bus analyzers,
and a test compares the two. Values remain as on the wire: whole numbers in the unit stated at the
signal. Little endian throughout.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from drivers.wire.slcan import CanFrame

BIT_RATE = 500_000
BASE_MASK = 0xFF_FFFF  # the message; the bits above are the controller's index, 1 to 16
TEMPERATURE_OFFSET = 40  # raw = degC + 40
INSULATION_MAX_OHM = 510_000  # the signal saturates: 255 counts of 2 kohm


class Signal(msgspec.Struct, frozen=True):
    """A field of a message."""

    name: str
    start: int  # lowest bit, bit 0 of byte 0 is 0
    length: int
    signed: bool = False


class Message(msgspec.Struct, frozen=True):
    """A message: name and identifier of the vendor's document."""

    name: str
    base: int
    length: int
    signals: tuple[Signal, ...]

    def encode(self, index: int, **values: int) -> CanFrame:
        """The frame of controller `index`; signals not named are 0.

        Raises:
            KeyError: no such signal.
            ValueError: a value that does not fit.
        """
        known = {signal.name: signal for signal in self.signals}
        bits = 0
        for name, value in values.items():
            signal = known[name]
            low = -(1 << signal.length - 1) if signal.signed else 0
            if not low <= value < low + (1 << signal.length):
                raise ValueError(f"{self.name}.{name}: {value} does not fit {signal.length} bits")
            bits |= (value & (1 << signal.length) - 1) << signal.start
        return CanFrame(self.base | index << 24, bits.to_bytes(self.length, "little"))

    def decode(self, data: bytes) -> dict[str, int]:
        """All signals of a frame; bytes that are missing read as 0, further ones are ignored."""
        bits = int.from_bytes(data[: self.length], "little")
        return {signal.name: _extract_signal(signal, bits) for signal in self.signals}


def _extract_signal(signal: Signal, bits: int) -> int:
    raw = bits >> signal.start & (1 << signal.length) - 1
    return raw - (1 << signal.length) if signal.signed and raw >> signal.length - 1 else raw


def controller_index(frame: CanFrame) -> int:
    """Which controller a frame belongs to; 0 for a frame of another protocol."""
    return frame.id >> 24 if frame.extended else 0


def find_message(frame: CanFrame) -> Message | None:
    """The message of a frame; None for one the station does not use."""
    return MESSAGE_BY_BASE.get(frame.id & BASE_MASK) if frame.extended else None


class Function(IntEnum):
    """DC_Power_Control.Power_Function."""

    OFF = 0
    STANDBY = 1
    INSULATION_TEST = 2
    PRECHARGE = 4
    POWER_TRANSFER = 8


PILOT_LETTERS = {0: "E", 3: "D", 6: "C", 9: "B", 12: "A"}
"""CCS_Extra_Information.CP_State: the pilot's letter by its voltage; 0 is E or F."""

EMERGENCY_BY_EVSE, EMERGENCY_BY_EV = 1, 3


def _byte_signals(*names: str) -> tuple[Signal, ...]:
    """One byte each, from byte 0."""
    return tuple(Signal(name, 8 * place, 8) for place, name in enumerate(names))


def _word_signals(*names: str, signed: bool = False) -> tuple[Signal, ...]:
    """Two bytes each, from byte 0."""
    return tuple(Signal(name, 16 * place, 16, signed) for place, name in enumerate(names))


# --- From the controller -------------------------------------------------------------------------

CONTROLLER_STATUS = Message("Advantics_Controller_Status", 0x6B000, 1, _byte_signals("State"))
NEW_CHARGE_SESSION = Message(
    "New_Charge_Session", 0x6B001, 2, _byte_signals("Communication_Protocol", "Plug_and_pins")
)
CHARGE_STATUS_CHANGE = Message(
    "Charge_Status_Change", 0x6B002, 1, _byte_signals("Vehicle_Ready_for_Charging")
)
DC_POWER_CONTROL = Message(
    "DC_Power_Control",
    0x6B003,
    7,
    (
        Signal("Target_Voltage", 0, 16),  # 0.1 V
        Signal("Current_Range_Max", 16, 16, signed=True),  # 0.1 A
        Signal("Current_Range_Min", 32, 16, signed=True),  # 0.1 A
        Signal("Power_Function", 48, 4),
        Signal("Setpoints_Mode", 53, 1),  # 0 target, 1 range
        Signal("Output_Contactors", 54, 1),  # 1 closed
        Signal("Lower_Output_Voltage", 55, 1),
    ),
)
CHARGE_SESSION_FINISHED = Message("Charge_Session_Finished", 0x6B004, 1, _byte_signals("State"))
EMERGENCY_STOP = Message("Emergency_Stop", 0x6B005, 1, _byte_signals("Origin"))
EV_BATTERY = Message(
    "EV_Information_Battery",
    0x6B100,
    6,
    (
        Signal("Battery_Capacity", 0, 16),  # kWh
        Signal("Present_State_of_Charge", 16, 8),  # %
        Signal("Minimum_State_of_Charge", 24, 8),
        Signal("Target_State_of_Charge", 32, 8),
        Signal("Maximum_State_of_Charge", 40, 8),
    ),
)
EV_VOLTAGES = Message(
    "EV_Information_Voltages",
    0x6B101,
    6,
    _word_signals("EV_Minimum_Voltage", "EV_Maximum_Voltage", "EV_Present_Voltage"),  # 0.1 V
)
EV_CHARGE_LIMITS = Message(
    "EV_Information_Charge_Limits",
    0x6B102,
    8,
    _word_signals(
        "EV_Minimum_Charge_Current",  # 0.1 A
        "EV_Maximum_Charge_Current",
        "EV_Minimum_Charge_Power",  # kW
        "EV_Maximum_Charge_Power",
    ),
)
EV_DISCHARGE_LIMITS = Message(
    "EV_Information_Discharge_Limits",
    0x6B103,
    8,
    _word_signals(
        "EV_Minimum_Discharge_Current",  # 0.1 A
        "EV_Maximum_Discharge_Current",
        "EV_Minimum_Discharge_Power",  # kW
        "EV_Maximum_Discharge_Power",
    ),
)
EV_ENERGY = Message(
    "EV_Information_Energy",
    0x6B104,
    6,
    _word_signals(  # kWh
        "EV_Minimum_Energy_Request",
        "EV_Target_Energy_Request",
        "EV_Maximum_Energy_Request",
        signed=True,
    ),
)
EV_ID = Message(
    "EV_ID_CCS_Part2_DIN",
    0x6B105,
    6,
    _byte_signals("Byte0", "Byte1", "Byte2", "Byte3", "Byte4", "Byte5"),
)
INPUTS = Message(
    "ADM_CS_SECC_Inputs",
    0x6B201,
    8,
    (
        Signal("Digital_Input1", 0, 1),
        Signal("Digital_Input2", 1, 1),
        Signal("Digital_Input3", 2, 1),
        Signal("Digital_Input4", 3, 1),
        Signal("CPU_Temperature", 40, 8),  # degC + 40
        Signal("Pistol_PTC1", 48, 8),
        Signal("Pistol_PTC2", 56, 8),
    ),
)
EXTRA_INFORMATION = Message(
    "CCS_Extra_Information",
    0x6B203,
    8,
    (Signal("CP_State", 0, 8), Signal("CP_Duty_Cycle", 8, 16)),  # 0.1 %
)

# --- From the station ----------------------------------------------------------------------------

POWER_MODULES_STATUS = Message(
    "Power_Modules_Status",
    0x63000,
    8,
    (
        Signal("Present_Voltage", 0, 16),  # 0.1 V
        Signal("Present_Current", 16, 16, signed=True),  # 0.1 A
        Signal("Power_Modules_Temperature", 32, 8),  # degC + 40
        Signal("Enclosure_Temperature", 40, 8),
        Signal("System_Enable", 48, 8),
        Signal("Insulation_Resistance", 56, 8),  # 2 kohm
    ),
)
DC_POWER_PARAMETERS = Message(
    "DC_Power_Parameters",
    0x63001,
    8,
    (
        Signal("Maximum_Voltage", 0, 16),  # 0.1 V
        Signal("Maximum_Charge_Current", 16, 16),  # 0.1 A
        Signal("Maximum_Discharge_Current", 32, 16),
        Signal("Range_Target_Current", 48, 16, signed=True),
    ),
)
SEQUENCE_CONTROL = Message(
    "Sequence_Control",
    0x63002,
    3,
    (
        Signal("Start_Charge_Authorisation", 0, 1),
        Signal("CHAdeMO_Start_Button", 1, 1),
        Signal("CCS_Authorisation_Done", 8, 1),
        Signal("CCS_Authorisation_Valid", 9, 1),
        Signal("Charge_Parameters_Done", 10, 1),
        Signal("User_Stop_Button", 16, 1),
    ),
)
OUTPUTS = Message(
    "ADM_CS_SECC_Outputs",
    0x63201,
    8,
    (
        Signal("Digital_Output1", 0, 1),
        Signal("Digital_Output2", 1, 1),
        Signal("Digital_Output3", 2, 1),
        Signal("Digital_Output4", 3, 1),
        Signal("Led1", 4, 8),
        Signal("Led2", 12, 8),
        Signal("Led3", 20, 8),
    ),
)

FROM_CONTROLLER = (
    CONTROLLER_STATUS,
    NEW_CHARGE_SESSION,
    CHARGE_STATUS_CHANGE,
    DC_POWER_CONTROL,
    CHARGE_SESSION_FINISHED,
    EMERGENCY_STOP,
    EV_BATTERY,
    EV_VOLTAGES,
    EV_CHARGE_LIMITS,
    EV_DISCHARGE_LIMITS,
    EV_ENERGY,
    EV_ID,
    INPUTS,
    EXTRA_INFORMATION,
)
FROM_STATION = (POWER_MODULES_STATUS, DC_POWER_PARAMETERS, SEQUENCE_CONTROL, OUTPUTS)
MESSAGE_BY_BASE = {message.base: message for message in (*FROM_CONTROLLER, *FROM_STATION)}
