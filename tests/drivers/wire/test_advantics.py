"""Worked frames of the charge controller; the tables compared with cantools and the .dbc."""

import random
from importlib.resources import files

import cantools
import pytest
from cantools.database.can import Database
from hypothesis import given
from hypothesis import strategies as st

from drivers.wire import advantics as wire
from drivers.wire.advantics import Message
from drivers.wire.slcan import CanFrame, parse_frame

LOADED = cantools.database.load_string((files("drivers.wire") / "secc.dbc").read_text(), "dbc")
assert isinstance(LOADED, Database)
DBC = LOADED

WORKED = [
    ("0106B000#01", wire.CONTROLLER_STATUS, 1, {"State": 1}),
    ("0206B000#07", wire.CONTROLLER_STATUS, 2, {"State": 7}),
    (
        "0106B203#09E8030000000000",
        wire.EXTRA_INFORMATION,
        1,
        {"CP_State": 9, "CP_Duty_Cycle": 1000},
    ),
    ("0106B203#0632000000000000", wire.EXTRA_INFORMATION, 1, {"CP_State": 6, "CP_Duty_Cycle": 50}),
    (
        "0106B203#0CE8030000000000",
        wire.EXTRA_INFORMATION,
        1,
        {"CP_State": 12, "CP_Duty_Cycle": 1000},
    ),
    ("01063002#010000", wire.SEQUENCE_CONTROL, 1, {"Start_Charge_Authorisation": 1}),
    (
        "01063002#010300",
        wire.SEQUENCE_CONTROL,
        1,
        {
            "Start_Charge_Authorisation": 1,
            "CCS_Authorisation_Done": 1,
            "CCS_Authorisation_Valid": 1,
        },
    ),
    (
        "01063002#010701",
        wire.SEQUENCE_CONTROL,
        1,
        {
            "Start_Charge_Authorisation": 1,
            "CCS_Authorisation_Done": 1,
            "CCS_Authorisation_Valid": 1,
            "Charge_Parameters_Done": 1,
            "User_Stop_Button": 1,
        },
    ),
    (
        "0106B001#0201",
        wire.NEW_CHARGE_SESSION,
        1,
        {"Communication_Protocol": 2, "Plug_and_pins": 1},
    ),
    (
        "0106B100#4D0022005064",
        wire.EV_BATTERY,
        1,
        {
            "Battery_Capacity": 77,
            "Present_State_of_Charge": 34,
            "Target_State_of_Charge": 80,
            "Maximum_State_of_Charge": 100,
        },
    ),
    ("0106B101#000058200000", wire.EV_VOLTAGES, 1, {"EV_Maximum_Voltage": 8280}),
    (
        "0106B102#0000A00F0000FA00",
        wire.EV_CHARGE_LIMITS,
        1,
        {"EV_Maximum_Charge_Current": 4000, "EV_Maximum_Charge_Power": 250},
    ),
    (
        "01063001#1027881300000000",
        wire.DC_POWER_PARAMETERS,
        1,
        {"Maximum_Voltage": 10_000, "Maximum_Charge_Current": 5_000},
    ),
    (
        "01063000#00000000414601FF",
        wire.POWER_MODULES_STATUS,
        1,
        {
            "Power_Modules_Temperature": 65,
            "Enclosure_Temperature": 70,
            "System_Enable": 1,
            "Insulation_Resistance": 255,
        },
    ),
    ("0106B003#00000000000001", wire.DC_POWER_CONTROL, 1, {"Power_Function": 1}),
    (
        "0106B003#10270000000042",
        wire.DC_POWER_CONTROL,
        1,
        {"Target_Voltage": 10_000, "Power_Function": 2, "Output_Contactors": 1},
    ),
    (
        "0106B003#000000000000C1",
        wire.DC_POWER_CONTROL,
        1,
        {"Power_Function": 1, "Output_Contactors": 1, "Lower_Output_Voltage": 1},
    ),
    (
        "0106B003#251C1400000064",
        wire.DC_POWER_CONTROL,
        1,
        {
            "Target_Voltage": 7205,
            "Current_Range_Max": 20,
            "Power_Function": 4,
            "Setpoints_Mode": 1,
            "Output_Contactors": 1,
        },
    ),
    ("0106B002#01", wire.CHARGE_STATUS_CHANGE, 1, {"Vehicle_Ready_for_Charging": 1}),
    (
        "0106B003#5820C409C40948",
        wire.DC_POWER_CONTROL,
        1,
        {
            "Target_Voltage": 8280,
            "Current_Range_Max": 2500,
            "Current_Range_Min": 2500,
            "Power_Function": 8,
            "Output_Contactors": 1,
        },
    ),
    (
        "01063000#251CC209584C00FF",
        wire.POWER_MODULES_STATUS,
        1,
        {
            "Present_Voltage": 7205,
            "Present_Current": 2498,
            "Power_Modules_Temperature": 88,
            "Enclosure_Temperature": 76,
            "Insulation_Resistance": 255,
        },
    ),
    ("0106B004#01", wire.CHARGE_SESSION_FINISHED, 1, {"State": 1}),
    ("0106B005#03", wire.EMERGENCY_STOP, 1, {"Origin": 3}),
    (
        "0106B201#00000000005B4E4D",
        wire.INPUTS,
        1,
        {"CPU_Temperature": 91, "Pistol_PTC1": 78, "Pistol_PTC2": 77},
    ),
]


@pytest.mark.parametrize(("text", "message", "index", "values"), WORKED)
def test_worked_frames(text: str, message: Message, index: int, values: dict[str, int]) -> None:
    assert str(message.encode(index, **values)) == text
    frame = parse_frame(text)
    assert wire.find_message(frame) is message
    assert wire.controller_index(frame) == index
    decoded = {name: value for name, value in message.decode(frame.data).items() if value}
    assert decoded == values


@pytest.mark.parametrize("message", wire.MESSAGE_BY_BASE.values(), ids=lambda message: message.name)
def test_the_tables_equal_the_dbc(message: Message) -> None:
    judge = DBC.get_message_by_name(message.name)
    assert (judge.frame_id, judge.length, judge.is_extended_frame) == (
        message.base,
        message.length,
        True,
    )
    assert {
        (signal.name, signal.start, signal.length, signal.is_signed) for signal in judge.signals
    } == {(signal.name, signal.start, signal.length, signal.signed) for signal in message.signals}


@pytest.mark.parametrize("message", wire.MESSAGE_BY_BASE.values(), ids=lambda message: message.name)
def test_cantools_packs_the_same_bits(message: Message) -> None:
    seed = message.base
    dice = random.Random(seed)
    for _ in range(50):
        values = {
            signal.name: dice.getrandbits(signal.length) - (1 << signal.length - 1) * signal.signed
            for signal in message.signals
        }
        packed = message.encode(3, **values)
        judged = DBC.get_message_by_name(message.name).encode(values, scaling=False, strict=False)
        assert packed == CanFrame(message.base | 3 << 24, judged), f"seed {seed}"
        assert message.decode(packed.data) == values


def test_every_message_of_the_dbc_is_in_the_tables() -> None:
    assert {message.name for message in DBC.messages} == {
        message.name for message in wire.MESSAGE_BY_BASE.values()
    }


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="Present_Voltage"):
        wire.POWER_MODULES_STATUS.encode(1, Present_Voltage=65_536)
    with pytest.raises(ValueError, match="Current_Range_Max"):
        wire.DC_POWER_CONTROL.encode(1, Current_Range_Max=32_768)
    with pytest.raises(KeyError):
        wire.EMERGENCY_STOP.encode(1, Orgin=1)


@given(st.sampled_from(sorted(wire.MESSAGE_BY_BASE)), st.binary(max_size=8))
def test_any_bytes_are_decoded(base: int, data: bytes) -> None:
    message = wire.MESSAGE_BY_BASE[base]
    assert set(message.decode(data)) == {signal.name for signal in message.signals}
