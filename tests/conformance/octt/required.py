"""Variables every station must report. Part 2, "Referenced Components and Variables".

Those of the functional blocks of the Core profile are required always; the others where their
block is implemented, that is, where the report has their component.
"""

from __future__ import annotations

from collections.abc import Iterable

from station.profiles import Profile
from tests.support.csms import Payload

Name = tuple[str, str, str]  # component, variable, variable instance

SETTABLE_VARIABLES = (
    ("AlignedDataCtrlr", "Interval", ""),
    ("AlignedDataCtrlr", "Measurands", ""),
    ("AlignedDataCtrlr", "TxEndedInterval", ""),
    ("AlignedDataCtrlr", "TxEndedMeasurands", ""),
    ("AuthCtrlr", "LocalAuthorizeOffline", ""),
    ("AuthCtrlr", "LocalPreAuthorize", ""),
    ("ClockCtrlr", "TimeSource", ""),
    ("OCPPCommCtrlr", "MessageAttemptInterval", "TransactionEvent"),
    ("OCPPCommCtrlr", "MessageAttempts", "TransactionEvent"),
    ("OCPPCommCtrlr", "NetworkConfigurationPriority", ""),
    ("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", ""),
    ("OCPPCommCtrlr", "OfflineThreshold", ""),
    ("OCPPCommCtrlr", "ResetRetries", ""),
    ("SampledDataCtrlr", "TxEndedInterval", ""),
    ("SampledDataCtrlr", "TxEndedMeasurands", ""),
    ("SampledDataCtrlr", "TxStartedMeasurands", ""),
    ("SampledDataCtrlr", "TxUpdatedInterval", ""),
    ("SampledDataCtrlr", "TxUpdatedMeasurands", ""),
    ("SecurityCtrlr", "OrganizationName", ""),
    ("TxCtrlr", "EVConnectionTimeOut", ""),
    ("TxCtrlr", "StopTxOnInvalidId", ""),
)

READ_ONLY_VARIABLES = (
    ("AuthCtrlr", "AuthorizeRemoteStart", ""),
    ("ClockCtrlr", "DateTime", ""),
    ("DeviceDataCtrlr", "BytesPerMessage", "GetReport"),
    ("DeviceDataCtrlr", "BytesPerMessage", "GetVariables"),
    ("DeviceDataCtrlr", "BytesPerMessage", "SetVariables"),
    ("DeviceDataCtrlr", "ItemsPerMessage", "GetReport"),
    ("DeviceDataCtrlr", "ItemsPerMessage", "GetVariables"),
    ("DeviceDataCtrlr", "ItemsPerMessage", "SetVariables"),
    ("OCPPCommCtrlr", "FileTransferProtocols", ""),
    ("OCPPCommCtrlr", "MessageTimeout", "Default"),
    ("OCPPCommCtrlr", "UnlockOnEVSideDisconnect", ""),
    ("SecurityCtrlr", "CertificateEntries", ""),
    ("SecurityCtrlr", "SecurityProfile", ""),
    ("TxCtrlr", "StopTxOnEVSideDisconnect", ""),
    ("TxCtrlr", "TxStartPoint", ""),
    ("TxCtrlr", "TxStopPoint", ""),
)

INFRASTRUCTURE = {  # component: its variables, once per station, EVSE or connector
    "ChargingStation": ("Available", "AvailabilityState", "SupplyPhases"),
    "EVSE": ("Available", "AvailabilityState", "Power", "SupplyPhases"),
    "Connector": ("Available", "ConnectorType", "SupplyPhases"),
}

OPTIONAL = {  # only with their component
    "DisplayMessageCtrlr": ("DisplayMessages", "SupportedFormats", "SupportedPriorities"),
    "ISO15118Ctrlr": ("ContractValidationOffline",),
    "LocalAuthListCtrlr": ("BytesPerMessage", "Entries", "ItemsPerMessage"),
    "MonitoringCtrlr": ("BytesPerMessage", "ItemsPerMessage"),
    "SmartChargingCtrlr": (
        "Entries",
        "LimitChangeSignificance",
        "PeriodsPerSchedule",
        "ProfileStackLevel",
        "RateUnit",
    ),
    "TariffCostCtrlr": ("Currency", "TariffFallbackMessage", "TotalCostFallbackMessage"),
}


def missing_of(product: Profile, rows: Iterable[Payload], *, writable: bool) -> list[str]:
    """Names of required variables that are missing in a report.

    Args:
        rows: reportData of the whole report.
        writable: only those that the CSMS can set on every product.
    """
    reported = {_reported_place(row) for row in rows}
    components = {component for component, *_ in reported}
    required = {(*name, 0, 0) for name in SETTABLE_VARIABLES}
    if not writable:
        required |= {(*name, 0, 0) for name in READ_ONLY_VARIABLES}
        required |= set(_infrastructure_variables(product))
    missing = [".".join(filter(None, map(str, key))) for key in sorted(required - reported)]
    if not writable:
        names = {(component, variable) for component, variable, *_ in reported}
        missing += [
            f"{component}.{variable}"
            for component, variables in OPTIONAL.items()
            if component in components
            for variable in variables
            if (component, variable) not in names
        ]
    return missing


Place = tuple[str, str, str, int, int]  # component, variable, instance, EVSE, connector


def _infrastructure_variables(product: Profile) -> Iterable[Place]:
    for variable in INFRASTRUCTURE["ChargingStation"]:
        yield "ChargingStation", variable, "", 0, 0
    for evse in product.evse:
        for variable in INFRASTRUCTURE["EVSE"]:
            yield "EVSE", variable, "", evse.id, 0
        for connector in evse.connectors:
            for variable in INFRASTRUCTURE["Connector"]:
                yield "Connector", variable, "", evse.id, connector.id


def _reported_place(row: Payload) -> Place:
    evse = row["component"].get("evse", {})
    return (
        row["component"]["name"],
        row["variable"]["name"],
        row["variable"].get("instance", ""),
        evse.get("id", 0),
        evse.get("connectorId", 0),
    )
