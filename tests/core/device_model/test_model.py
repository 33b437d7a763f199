"""The device model: its variables, and the refusals of values."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest

from station.core.device_model.definitions import Attribute
from station.core.device_model.model import (
    VALUE_SOURCES,
    Component,
    DeviceModel,
    Refusal,
    VariableDefinition,
    VariableKey,
    attribute_value,
    check_readable,
    check_settable,
    check_value,
    split_list,
)
from station.profiles import load_profile

CERTIFIED = DeviceModel(load_profile("evs-flash-300"))
EVERYTHING = DeviceModel(load_profile(Path(__file__).parents[2] / "profiles" / "everything.toml"))
MODELS = pytest.mark.parametrize("model", [CERTIFIED, EVERYTHING], ids=["certified", "everything"])

# Required by Part 2 ("Referenced Components and Variables"), Part 4 section 8 and errata 2.57 of
# a station in Core: path, type, and whether the CSMS may set it (None: the station's choice).
REQUIRED: dict[str, tuple[str, bool | None]] = {
    "OCPPCommCtrlr.ActiveNetworkProfile": ("integer", False),
    "OCPPCommCtrlr.MessageTimeout[Default]": ("integer", False),
    "OCPPCommCtrlr.FileTransferProtocols": ("MemberList", False),
    "OCPPCommCtrlr.NetworkConfigurationPriority": ("SequenceList", True),
    "OCPPCommCtrlr.NetworkProfileConnectionAttempts": ("integer", True),
    "OCPPCommCtrlr.OfflineThreshold": ("integer", True),
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": ("integer", True),
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": ("integer", True),
    "OCPPCommCtrlr.UnlockOnEVSideDisconnect": ("boolean", None),
    "OCPPCommCtrlr.ResetRetries": ("integer", True),
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": ("integer", True),
    "OCPPCommCtrlr.RetryBackOffRandomRange": ("integer", True),
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": ("integer", True),
    "OCPPCommCtrlr.WebSocketPingInterval": ("integer", True),
    "DeviceDataCtrlr.ItemsPerMessage[GetReport]": ("integer", False),
    "DeviceDataCtrlr.ItemsPerMessage[GetVariables]": ("integer", False),
    "DeviceDataCtrlr.ItemsPerMessage[SetVariables]": ("integer", False),
    "DeviceDataCtrlr.BytesPerMessage[GetReport]": ("integer", False),
    "DeviceDataCtrlr.BytesPerMessage[GetVariables]": ("integer", False),
    "DeviceDataCtrlr.BytesPerMessage[SetVariables]": ("integer", False),
    "ClockCtrlr.DateTime": ("dateTime", False),
    "ClockCtrlr.TimeSource": ("SequenceList", True),
    "SecurityCtrlr.BasicAuthPassword": ("string", True),
    "SecurityCtrlr.OrganizationName": ("string", True),
    "SecurityCtrlr.CertificateEntries": ("integer", False),
    "SecurityCtrlr.SecurityProfile": ("integer", False),
    "SecurityCtrlr.AdditionalRootCertificateCheck": ("boolean", False),
    "AuthCtrlr.AuthorizeRemoteStart": ("boolean", None),
    "AuthCtrlr.LocalAuthorizeOffline": ("boolean", True),
    "AuthCtrlr.LocalPreAuthorize": ("boolean", True),
    "TxCtrlr.EVConnectionTimeOut": ("integer", True),
    "TxCtrlr.StopTxOnEVSideDisconnect": ("boolean", None),
    "TxCtrlr.StopTxOnInvalidId": ("boolean", True),
    "TxCtrlr.TxStartPoint": ("MemberList", None),
    "TxCtrlr.TxStopPoint": ("MemberList", None),
    "SampledDataCtrlr.TxEndedMeasurands": ("MemberList", True),
    "SampledDataCtrlr.TxEndedInterval": ("integer", True),
    "SampledDataCtrlr.TxStartedMeasurands": ("MemberList", True),
    "SampledDataCtrlr.TxUpdatedMeasurands": ("MemberList", True),
    "SampledDataCtrlr.TxUpdatedInterval": ("integer", True),
    "AlignedDataCtrlr.Measurands": ("MemberList", True),
    "AlignedDataCtrlr.Interval": ("integer", True),
    "AlignedDataCtrlr.TxEndedMeasurands": ("MemberList", True),
    "AlignedDataCtrlr.TxEndedInterval": ("integer", True),
    "ChargingStation.Available": ("boolean", False),
    "ChargingStation.AvailabilityState": ("OptionList", False),
    "ChargingStation.SupplyPhases": ("integer", False),
    **{
        f"EVSE@{evse}.{name}": (kind, False)
        for evse in (1, 2)
        for name, kind in {
            "Available": "boolean",
            "AvailabilityState": "OptionList",
            "SupplyPhases": "integer",
            "Power": "decimal",
        }.items()
    },
    **{
        f"Connector@{evse}/1.{name}": (kind, False)
        for evse in (1, 2)
        for name, kind in {
            "Available": "boolean",
            "AvailabilityState": "OptionList",
            "ConnectorType": "string",
            "SupplyPhases": "integer",
        }.items()
    },
}


@MODELS
def test_every_required_variable_is_there_tc_b_53(model: DeviceModel) -> None:
    for path, (data_type, settable) in REQUIRED.items():
        definition = model.by_path[path]
        assert definition.data_type == data_type, path
        assert settable in (None, definition.is_settable), path


@MODELS
def test_every_list_has_its_allowed_values_and_fits_them_tc_b_53(model: DeviceModel) -> None:
    for definition in model.definitions:
        if definition.data_type in ("OptionList", "SequenceList", "MemberList"):
            assert definition.values, definition.path
            authorization = split_list(definition.attributes[0].value or "")
            assert set(authorization) <= set(definition.values), definition.path


@MODELS
def test_whatever_can_be_set_is_kept_over_a_reboot(model: DeviceModel) -> None:
    for definition in model.definitions:
        for attribute in definition.attributes:
            assert attribute.persistent is (attribute.mutability != "ReadOnly"), definition.path
            assert not (attribute.constant and definition.is_settable), definition.path


@MODELS
def test_names_fit_into_an_ocpp_message(model: DeviceModel) -> None:
    for definition in model.definitions:
        key = definition.key
        for name in (key.component.name, key.component.instance, key.name, key.instance):
            assert len(name or "") <= 50, definition.path
        assert len(definition.unit or "") <= 16
        assert len(",".join(definition.values)) <= 1000


# What a feature adds or opens: question, path, then what the certified model and everything have.
# None: the variable does not exist.
BY_FEATURE: list[tuple[str, str, str | None, str | None]] = [
    ("C-02", "AuthCtrlr.OfflineTxForUnknownIdEnabled", None, "ReadWrite"),
    ("C-03", "TxCtrlr.MaxEnergyOnInvalidId", None, "ReadWrite"),
    ("C-04", "ChargingStation.MinimumStatusDuration", None, "ReadWrite"),
    ("C-06", "TxCtrlr.StopTxOnEVSideDisconnect", "ReadOnly", "ReadWrite"),
    ("C-07", "AuthCtrlr.MasterPassGroupId", None, "ReadWrite"),
    ("C-12", "OCPPCommCtrlr.UnlockOnEVSideDisconnect", "ReadOnly", "ReadOnly"),
    ("C-13", "EVSE@1.AllowReset", "ReadOnly", "ReadOnly"),
    ("C-20", "ChargingStation.AllowNewSessionsPendingFirmwareUpdate", "ReadWrite", "ReadWrite"),
    ("C-21", "OCPPCommCtrlr.QueueAllMessages", "ReadWrite", "ReadWrite"),
    ("C-25", "ClockCtrlr.TimeOffset", None, "ReadWrite"),
    ("C-25", "ClockCtrlr.TimeOffset[NextTransition]", None, "ReadWrite"),
    ("C-25", "ClockCtrlr.NextTimeOffsetTransitionDateTime", None, "ReadWrite"),
    ("C-26", "ClockCtrlr.TimeZone", None, "ReadWrite"),
    ("C-28", "AlignedDataCtrlr.SendDuringIdle", "ReadWrite", "ReadWrite"),
    ("C-35", "AuthCtrlr.Enabled", None, "ReadWrite"),
    ("C-42", "SampledDataCtrlr.SignReadings", None, None),
    ("C-48", "AuthCtrlr.AuthorizeRemoteStart", "ReadOnly", "ReadWrite"),
    ("C-49", "AuthCacheCtrlr.Enabled", "ReadWrite", "ReadWrite"),
    ("C-51", "TxCtrlr.TxStartPoint", "ReadOnly", "ReadWrite"),
    ("C-52", "TxCtrlr.TxStopPoint", "ReadOnly", "ReadWrite"),
    ("C-53", "AuthCacheCtrlr.LifeTime", None, "ReadWrite"),
    ("C-54", "AuthCacheCtrlr.Policy", None, "ReadWrite"),
    ("C-58", "AuthCtrlr.DisableRemoteAuthorization", "ReadWrite", "ReadWrite"),
    ("C-59", "AuthCacheCtrlr.DisablePostAuthorize", None, "ReadWrite"),
    ("A00", "SecurityCtrlr.BasicAuthPassword", "WriteOnly", "WriteOnly"),
]


@pytest.mark.parametrize(
    ("question", "path", "certified", "everything"), BY_FEATURE, ids=lambda each: str(each)
)
def test_the_answers_decide_what_exists_and_what_can_be_set(
    question: str, path: str, certified: str | None, everything: str | None
) -> None:
    for model, mutability in ((CERTIFIED, certified), (EVERYTHING, everything)):
        definition = model.by_path.get(path)
        authorization = definition and definition.attributes[0].mutability
        assert authorization == mutability, question


DEFAULTS = {
    "OCPPCommCtrlr.WebSocketPingInterval": "10",
    "DeviceDataCtrlr.ItemsPerMessage[GetReport]": "100",
    "DeviceDataCtrlr.BytesPerMessage[SetVariables]": "2048",
    "TxCtrlr.ResumptionTimeout": "300",
    "TxCtrlr.AllowEnergyTransferResumption": "true",
    "TxCtrlr.TxStartPoint": "PowerPathClosed",
    "TxCtrlr.TxStopPoint": "EVConnected,Authorized",
    "TxCtrlr.StopTxOnEVSideDisconnect": "true",
    "AuthCtrlr.AuthorizeRemoteStart": "true",
    "OCPPCommCtrlr.UnlockOnEVSideDisconnect": "false",
    "OCPPCommCtrlr.FileTransferProtocols": "HTTP,HTTPS,SFTP,FTP,FTPS",
    "ClockCtrlr.TimeSource": "Heartbeat",
    "EVSE@2.SupplyPhases": "0",
    "Connector@2/1.ConnectorType": "cCCS1",
    "ChargingStation.Model": "EVS-FLASH-300-D01",
}


@MODELS
def test_values_at_the_factory(model: DeviceModel) -> None:
    authorization = {path: model.by_path[path].attributes[0].value for path in DEFAULTS}
    assert authorization == DEFAULTS


def test_limits_come_from_the_product() -> None:
    assert CERTIFIED.by_path["EVSE@1.Power"].max_limit == 300_000
    assert CERTIFIED.by_path["SecurityCtrlr.CertificateEntries"].max_limit == 10
    assert CERTIFIED.by_path["SecurityCtrlr.Identity"].max_limit == 48
    assert CERTIFIED.by_path["OCPPCommCtrlr.NetworkConfigurationPriority"].values == (
        "1",
        "2",
        "3",
    )


# Find.


def find_definition(
    component: Component, variable: str, instance: str | None = None
) -> VariableDefinition:
    definition = CERTIFIED.find_variable(component, variable, instance)
    assert isinstance(definition, VariableDefinition), definition
    return definition


def refusal_status(component: Component, variable: str, instance: str | None = None) -> str:
    refusal = CERTIFIED.find_variable(component, variable, instance)
    assert isinstance(refusal, Refusal)
    return refusal.status


def test_case_does_not_count_in_names_b06_fr_04() -> None:
    heartbeat = find_definition(Component("ocppcommCTRLR"), "HEARTBEATinterval")
    assert heartbeat.path == "OCPPCommCtrlr.HeartbeatInterval"
    assert find_definition(
        Component("DeviceDataCtrlr"), "itemspermessage", "GETREPORT"
    ).key.instance == ("GetReport")
    assert find_definition(Component("temperaturesensor", "CABLE", 1, 1), "temperature").key.name


def test_an_unknown_component_b06_fr_06() -> None:
    assert refusal_status(Component("UnknownComponent"), "OfflineThreshold") == "UnknownComponent"
    assert refusal_status(Component("EVSE", evse_id=3), "Power") == "UnknownComponent"
    assert refusal_status(Component("EVSE"), "Power") == "UnknownComponent"
    assert refusal_status(Component("EVSE", evse_id=0), "Power") == "UnknownComponent"
    assert (
        refusal_status(Component("OCPPCommCtrlr", evse_id=1), "OfflineThreshold")
        == "UnknownComponent"
    )
    assert refusal_status(Component("Connector", evse_id=1, connector_id=2), "Available") == (
        "UnknownComponent"
    )


def test_an_unknown_variable_b06_fr_07() -> None:
    assert refusal_status(Component("OCPPCommCtrlr"), "UnknownVariable") == "UnknownVariable"


def test_an_instance_must_be_named_where_there_are_some_b06_fr_15() -> None:
    assert refusal_status(Component("DeviceDataCtrlr"), "ItemsPerMessage") == "UnknownVariable"
    assert refusal_status(Component("DeviceDataCtrlr"), "ItemsPerMessage", "") == "UnknownVariable"
    assert refusal_status(Component("Controller"), "Problem") == "UnknownComponent"
    assert refusal_status(Component("Controller", ""), "Problem") == "UnknownComponent"


def test_an_empty_instance_is_none() -> None:
    assert (
        find_definition(Component("ClockCtrlr", ""), "DateTime", "").path == "ClockCtrlr.DateTime"
    )


def test_the_program_names_its_own_variables() -> None:
    assert CERTIFIED.require_variable("EVSE", "Power", evse_id=2).path == "EVSE@2.Power"
    with pytest.raises(KeyError):
        CERTIFIED.require_variable("TxCtrlr", "MaxEnergyOnInvalidId")


def test_keys_sort_and_hash() -> None:
    keys = [definition.key for definition in CERTIFIED.definitions]
    assert sorted(keys) == keys
    assert len(set(keys)) == len(keys)
    assert keys[0] < keys[1]
    assert VariableKey(Component("Connector", None, 1, 1), "Problem").path == (
        "Connector@1/1.Problem"
    )


# Read.


def test_a_write_only_variable_cannot_be_read_b06_fr_09() -> None:
    refusal = check_readable(
        CERTIFIED.require_variable("SecurityCtrlr", "BasicAuthPassword"), "Actual"
    )
    assert refusal is not None
    assert (refusal.status, refusal.reason_code) == ("Rejected", "WriteOnly")
    assert (
        check_readable(CERTIFIED.require_variable("OCPPCommCtrlr", "OfflineThreshold"), "Actual")
        is None
    )


def test_an_attribute_the_variable_does_not_have_b06_fr_08_b05_fr_06() -> None:
    threshold = CERTIFIED.require_variable("OCPPCommCtrlr", "OfflineThreshold")
    for refusal in (check_readable(threshold, "Target"), check_settable(threshold, "Target", "5")):
        assert refusal is not None
        assert refusal.status == "NotSupportedAttributeType"


def no_measured_value(source: str, component: Component) -> str | None:
    return None


def test_a_value_is_set_or_as_at_the_factory() -> None:
    threshold = CERTIFIED.require_variable("OCPPCommCtrlr", "OfflineThreshold")
    assert attribute_value(threshold, {}, no_measured_value) == "60"
    overrides = {"OCPPCommCtrlr.OfflineThreshold": "300"}
    assert attribute_value(threshold, overrides, no_measured_value) == "300"


def test_a_live_value_is_asked_for_its_component() -> None:
    requested: list[tuple[str, Component]] = []

    def live(source: str, component: Component) -> str | None:
        requested.append((source, component))
        return "42000.5"

    power = CERTIFIED.require_variable("EVSE", "Power", evse_id=2)
    assert attribute_value(power, {"EVSE@2.Power": "1"}, live) == "42000.5"
    assert requested == [("power_w", Component("EVSE", evse_id=2))]
    assert attribute_value(power, {}, no_measured_value) == "0"


def test_a_variable_without_a_value_is_empty_text_b06_fr_13() -> None:
    clock = CERTIFIED.require_variable("ClockCtrlr", "DateTime")
    assert attribute_value(clock, {}, no_measured_value) == ""


def test_attributes_have_values_of_their_own() -> None:
    definition = VariableDefinition(
        key=VariableKey(Component("Fan"), "FanSpeed"),
        data_type="integer",
        attributes=(Attribute(value="900"), Attribute("Target", "ReadWrite", None, True)),
        source="temperature_c",
    )
    overrides = {"Fan.FanSpeed#Target": "1200"}
    assert definition.attribute_path("Target") == "Fan.FanSpeed#Target"
    assert attribute_value(definition, overrides, lambda source, component: "5", "Target") == "1200"
    assert attribute_value(definition, overrides, lambda source, component: "5") == "5"
    assert attribute_value(definition, {}, no_measured_value, "Target") == ""
    assert check_settable(definition, "Target", "1200") is None
    assert definition.is_settable


@MODELS
def test_every_source_is_explained(model: DeviceModel) -> None:
    assert {item.source for item in model.definitions if item.source} <= VALUE_SOURCES.keys()


def test_every_source_is_used() -> None:
    used = {item.source for model in (CERTIFIED, EVERYTHING) for item in model.definitions}
    assert used >= VALUE_SOURCES.keys()


# Set.


def test_a_read_only_variable_cannot_be_set_b05_fr_09() -> None:
    timeout = CERTIFIED.require_variable("OCPPCommCtrlr", "MessageTimeout", "Default")
    refusal = check_settable(timeout, "Actual", "30")
    assert refusal is not None
    assert (refusal.status, refusal.reason_code) == ("Rejected", "ReadOnly")


def test_a_secret_can_be_set() -> None:
    password = CERTIFIED.require_variable("SecurityCtrlr", "BasicAuthPassword")
    assert check_settable(password, "Actual", "0123456789abcdef") is None
    assert (
        check_settable(password, "Actual", "pässwörter sind schwer €") is None
    )  # any UTF-8 since errata


def test_a_change_of_the_network_priority_waits_for_a_reboot() -> None:
    reboots = [item.path for item in CERTIFIED.definitions if item.reboot_required]
    assert reboots == ["OCPPCommCtrlr.NetworkConfigurationPriority"]


def refusal_of(path: str, text: str) -> str:
    """The reason code; empty: the value is accepted."""
    refusal = check_settable(EVERYTHING.by_path[path], "Actual", text)
    assert refusal is None or refusal.status == "Rejected"
    return refusal.reason_code if refusal else ""


CASES: dict[str, dict[str, list[str]]] = {
    "OCPPCommCtrlr.OfflineThreshold": {
        "": ["0", "300", "2147483647"],
        "InvalidValue": [
            "", " 5", "5 ", "+5", "05", "-0", "5.0", "300.1", "1e3", "true", "abc", "٣", "5\n",
            "2025-01-01T00:00:00Z",
        ],
        "ValueOutOfRange": ["-1", "2147483648", "99999999999999999999"],
    },
    "OCPPCommCtrlr.WebSocketPingInterval": {
        "": ["0", "5", "10", "3600"], "ValueOutOfRange": ["-1", "1", "4", "3601"],
    },
    "OCPPCommCtrlr.HeartbeatInterval": {
        "": ["5", "86400"], "ValueOutOfRange": ["0", "4", "86401", "2147483647"],
    },
    "AlignedDataCtrlr.Interval": {
        "": ["0", "10", "86400"], "ValueOutOfRange": ["-1", "1", "9", "86401"],
    },
    "AlignedDataCtrlr.TxEndedInterval": {"": ["0", "10"], "ValueOutOfRange": ["1", "9", "86401"]},
    "SampledDataCtrlr.TxEndedInterval": {"": ["0", "10"], "ValueOutOfRange": ["1", "9", "86401"]},
    "SampledDataCtrlr.TxUpdatedInterval": {"": ["0", "5"], "ValueOutOfRange": ["1", "4", "86401"]},
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": {
        "": ["1", "20"], "ValueOutOfRange": ["0", "21", "2147483647"],
    },
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": {
        "": ["1", "600"], "ValueOutOfRange": ["0", "601"],
    },
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": {
        "": ["1", "600"], "ValueOutOfRange": ["0", "601", "2147483647"],
    },
    "OCPPCommCtrlr.RetryBackOffRandomRange": {"": ["0", "600"], "ValueOutOfRange": ["601"]},
    "OCPPCommCtrlr.NetworkProfileConnectionAttempts": {
        "": ["1", "10"], "ValueOutOfRange": ["0", "11"],
    },
    "TxCtrlr.EVConnectionTimeOut": {"": ["1", "3600"], "ValueOutOfRange": ["0", "3601"]},
    "AuthCtrlr.LocalPreAuthorize": {
        "": ["true", "false"],
        "InvalidValue": ["True", "FALSE", "1", "", "yes", "true "],
    },
    "ClockCtrlr.NextTimeOffsetTransitionDateTime": {
        "": [
            "2019-04-12T23:20:50.52Z", "2019-12-19T16:39:57+01:00", "2019-12-19t16:39:57z",
            "2016-12-31T23:59:60Z", "2019-12-19T16:39:57.123-12:30",
        ],
        "InvalidValue": [
            "", "2019-04-12", "2019-04-12T23:20:50", "2019-04-12T23:20:50.1234Z",
            "2019-13-12T23:20:50Z", "2019-04-32T23:20:50Z", "2019-04-12T24:20:50Z",
            "2019-04-12 23:20:50Z", "\u0662019-04-12T23:20:50Z", "now",
        ],
    },
    "AuthCacheCtrlr.Policy": {
        "": ["LRU", "FIFO"],
        "InvalidValue": ["lru", "CUSTOM", "LRU,FIFO", ""],
    },
    "TxCtrlr.TxStartPoint": {
        "": ["PowerPathClosed", "EVConnected,Authorized", "Authorized, EVConnected"],
        "InvalidValue": ["", "DataSigned", "ParkingBayOccupancy", "EVConnected,,Authorized",
                         "EVConnected,EVConnected", "evconnected"],
    },
    "SampledDataCtrlr.TxEndedMeasurands": {
        "": ["", "SoC", "Voltage,SoC"],
        "InvalidValue": ["Frequency", "SoC,Nonsense"],
    },
    "OCPPCommCtrlr.NetworkConfigurationPriority": {
        "": ["1", "2,1", "3,2,1"],
        "InvalidValue": ["", "0", "4", "1,4", "1,1", "one"],
    },
    "ClockCtrlr.TimeSource": {"": ["Heartbeat"], "InvalidValue": ["NTP", "", "Heartbeat,NTP"]},
    "SecurityCtrlr.BasicAuthPassword": {
        "": ["x" * 16, "x" * 40],
        "InvalidValue": ["", "x" * 15, "x" * 20 + "\n", "x" * 20 + "\x7f"],
        "TooLargeElement": ["x" * 41],
    },
    "SecurityCtrlr.OrganizationName": {
        "": ["Acme"],
        "InvalidValue": ["", "  "],
        "TooLargeElement": ["x" * 65, "x" * 1001],
    },
    "AuthCtrlr.MasterPassGroupId": {
        "": ["", "GROUP-1"],
        "InvalidValue": ["with space"],
        "TooLargeElement": ["x" * 37],
    },
    "ClockCtrlr.TimeOffset": {
        "": ["+01:00", "-02:30"],
        "InvalidValue": ["1", "+1:00", "+25:00", "+0\u0661:00"],
    },
    "ClockCtrlr.TimeZone": {"": ["Europe/Oslo", "UTC", ""], "InvalidValue": ["Europe Oslo", "/"]},
}  # fmt: skip


@pytest.mark.parametrize("path", CASES)
def test_values_a_variable_accepts_and_refuses_b05_fr_07_fr_08(path: str) -> None:
    decisions = {text: refusal_of(path, text) for texts in CASES[path].values() for text in texts}
    assert decisions == {text: code for code, texts in CASES[path].items() for text in texts}


def test_decimals_have_at_most_six_places() -> None:
    power = CERTIFIED.by_path["EVSE@1.Power"]
    for text in ("0", "0.5", "300000", "300000.000000", "12.123456"):
        assert check_value(power, text) is None, text
    for text in ("", ".5", "5.", "1e3", "0.1234567", "NaN", "Infinity", "--1", "00.5"):
        assert check_value(power, text) is not None, text
    over = check_value(power, "300000.000001")
    assert over is not None
    assert over.info == 'EVSE@1.Power needs 0 to 300000, got "300000.000001"'


def test_a_refused_secret_is_not_repeated() -> None:
    password = CERTIFIED.require_variable("SecurityCtrlr", "BasicAuthPassword")
    for text in ("geheim", "geheim" * 10, "geheim" * 200):
        refusal = check_settable(password, "Actual", text)
        assert refusal is not None
        assert "geheim" not in refusal.info


def test_a_refusal_fits_into_status_info() -> None:
    for definition in EVERYTHING.definitions:
        for text in ("\x00" * 999, "x" * 999, "9" * 999):
            refusal = check_value(definition, text)
            if refusal is not None:
                assert len(refusal.reason_code) <= 20
                assert len(refusal.info) <= 512, definition.path
    far = EVERYTHING.find_variable(Component("x" * 50, "y" * 50, 1, 1), "z" * 50)
    assert isinstance(far, Refusal)
    assert len(far.info) <= 512


def test_no_text_breaks_a_check() -> None:
    seed = 20250829
    print(f"seed {seed}")
    dice = random.Random(seed)
    alphabet = string.printable + "äß€\u0660\u2028\U0001f50c\x00"
    for _ in range(200):
        text = "".join(dice.choices(alphabet, k=dice.randrange(0, 60)))
        for definition in EVERYTHING.definitions:
            refusal = check_value(definition, text)
            assert refusal is None or refusal.status == "Rejected"


# A greatest value of these costs nobody anything, or is the operator's to choose.
WITHOUT_MAXIMUM = {
    "AuthCacheCtrlr.LifeTime",
    "ClockCtrlr.TimeAdjustmentReportingThreshold",
    "OCPPCommCtrlr.OfflineThreshold",
    "TxCtrlr.MaxEnergyOnInvalidId",
}


def test_every_number_that_the_csms_can_set_has_limits() -> None:
    """No value may wear out the disk, or keep the station away until a person drives there."""
    numbers = [
        item
        for item in EVERYTHING.definitions
        if item.is_settable and item.data_type in ("integer", "decimal")
    ]
    assert numbers
    assert [item.path for item in numbers if item.min_limit is None] == []
    assert {item.path for item in numbers if item.max_limit is None} == WITHOUT_MAXIMUM


def test_an_interval_that_repeats_is_off_or_has_a_floor() -> None:
    unbounded = [
        item.path
        for item in EVERYTHING.definitions
        if item.is_settable and item.key.name.endswith("Interval")
        if not item.floor and not item.min_limit
    ]
    assert unbounded == []
