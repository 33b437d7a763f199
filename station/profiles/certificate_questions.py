"""The questions that a certificate answers, by their ids, and the OCPP values of each.

The ids are those of the certification profiles (Part 5: hardware features, optional features,
additional questions, other relevant settings), so that the condition of a test case can be looked
up in a product profile unchanged.
"""

from __future__ import annotations

HARDWARE_FEATURES = {
    "HFS-1": "detachable cable",
    "HFS-2": "fixed cable",
    "HFS-3": "AC",
    "HFS-4": "DC",
    "HFS-5": "1 phase",
    "HFS-6": "2 phases",
    "HFS-7": "3 phases",
    "HFS-8": "number of EVSEs",
    "HFS-9": "ways to reach the CSMS",
    "HFS-10": "RFID readers",
    "HFS-11": "DC power in kW",
    "HFS-12": "number of displays",
}

OPTIONAL_FEATURES = {
    "C-01": "offline authorization",
    "C-02": "offline authorization of unknown ids",
    "C-03": "energy allowance after an id turned invalid",
    "C-04": "quiet time for StatusNotifications",
    "C-06.1": "authorization survives a disconnect at the EV",
    "C-06.2": "authorization ends with a disconnect at the EV",
    "C-07": "Master Pass, with a user interface",
    "C-08": "Master Pass, without a user interface",
    "C-09.1": "TxStartPoint EVConnected",
    "C-09.2": "TxStartPoint Authorized",
    "C-09.3": "TxStartPoint DataSigned",
    "C-09.4": "TxStartPoint PowerPathClosed",
    "C-09.5": "TxStartPoint EnergyTransfer",
    "C-09.6": "TxStartPoint ParkingBayOccupancy",
    "C-10.1": "TxStopPoint EVConnected",
    "C-10.2": "TxStopPoint Authorized",
    "C-10.3": "TxStopPoint PowerPathClosed",
    "C-10.4": "TxStopPoint EnergyTransfer",
    "C-10.5": "TxStopPoint ParkingBayOccupancy",
    "C-12.1": "connector unlocks on a disconnect at the EV",
    "C-12.2": "connector stays locked on a disconnect at the EV",
    "C-13": "reset of a single EVSE",
    "C-14": "customer information by CustomerIdentifier",
    "C-20": "new sessions while a firmware update waits",
    "C-21": "choice to queue every message",
    "C-23": "time sources",
    "C-25": "time offset",
    "C-26": "time zone",
    "C-28": "clock-aligned values only while idle",
    "C-29.1": "trigger MeterValues",
    "C-29.2": "trigger TransactionEvent",
    "C-29.3": "trigger LogStatusNotification",
    "C-29.4": "trigger FirmwareStatusNotification",
    "C-29.5": "trigger StatusNotification",
    "C-29.6": "trigger BootNotification",
    "C-30": "local start with ISO14443",
    "C-31": "local start with ISO15693",
    "C-32": "local start with KeyCode",
    "C-33": "local start with an id made here",
    "C-34": "local start with MacAddress",
    "C-35": "local start with NoAuthorization",
    "C-36": "remote start with ISO14443",
    "C-37": "remote start with ISO15693",
    "C-38": "remote start with an id made by the CSMS",
    "C-39": "remote start with NoAuthorization",
    "C-41": "TLS cipher suites",
    "C-42": "signed meter values",
    "C-43": "firmware installed during a transaction",
    "C-47": "fallback to the ordinary reconnection",
    "C-48.1": "remote start is authorized first",
    "C-48.2": "remote start is taken as authorized",
    "C-49": "authorization cache",
    "C-51": "TxStartPoint can be set",
    "C-52": "TxStopPoint can be set",
    "C-53": "life time of a cached token",
    "C-54": "policies for replacing cached tokens",
    "C-56": "SummaryInventory",
    "C-57": "cancel a log upload",
    "C-58": "choice to authorize without the CSMS",
    "C-59": "choice not to ask again for a cached refusal",
    "C-60": "cancel a firmware update",
    "C-61": "security profile 1",
}

# Features of certification profiles besides Core. A product that is not certified for the profile
# leaves them out of `[features]`; a feature without an answer is not supported.
OPTIONAL_PROFILE_FEATURES = {
    "UI-1.1": "display messages with priority AlwaysFront",
    "UI-1.2": "display messages with priority InFront",
    "UI-1.3": "display messages with priority NormalCycle",
    "UI-2.1": "display messages in ASCII",
    "UI-2.2": "display messages in HTML",
    "UI-2.3": "display messages by URI",
    "UI-2.4": "display messages in UTF-8",
    "AS-2": "a new CSMSRootCertificate is signed by the one it replaces",
    "AS-3": "renewal of the station's own certificates, with CertSigningWaitMinimum",
    "DM-3": "variable monitoring, with OfflineMonitoringEventQueuingSeverity",
    "LA-1": "Local Authorization List",
    "LA-3": "choice not to ask again for a refusal of the Local Authorization List",
    "R-1": "reservations by connector type",
    "R-2": "reservations without an EVSE",
    "R-3": "reservations can be disabled",
    "SC-2.1": "smart charging with limits in A",
    "SC-2.2": "smart charging with limits in W",
}

ADDITIONAL_QUESTIONS = {
    "AQ-1": "the last CSMSRootCertificate can be removed",
    "AQ-2": "a cable lock keeps the EV away before authorization",
    "AQ-3": "the last ChargingStationCertificate can be removed",
    "AQ-4": "some NumberOfPhases is not supported",
    "AQ-5": "has a hard-wired monitor",
    "AQ-6": "has a monitor set at the factory",
    "AQ-7": "downloads firmware during a transaction",
    "AQ-8": "asks for the EVSE before authorization",
    "AQ-9": "charges by IEC 61851-1",
    "AQ-10": "Delta monitor on BasicAuthPassword",
    "AQ-11": "one certificate for both the CSMS and the EV",
}

# Each setting of the certificate and the key of [limits] that holds it.
LIMIT_BY_SETTING = {
    "ORS-1": "items_per_message_get_report",
    "ORS-2": "items_per_message_get_variables",
    "ORS-3": "items_per_message_set_variables",
    "ORS-4": "bytes_per_message_get_report",
    "ORS-5": "bytes_per_message_get_variables",
    "ORS-6": "bytes_per_message_set_variables",
    "ORS-16": "web_socket_ping_interval_s",
    "ORS-17": "certificate_entries",
    "ORS-24": "file_transfer_protocols",
}

# ChargingRateUnitEnumType
CHARGING_RATE_UNITS = {"SC-2.1": "A", "SC-2.2": "W"}

TX_START_POINTS = {
    "C-09.1": "EVConnected",
    "C-09.2": "Authorized",
    "C-09.3": "DataSigned",
    "C-09.4": "PowerPathClosed",
    "C-09.5": "EnergyTransfer",
    "C-09.6": "ParkingBayOccupancy",
}

TX_STOP_POINTS = {
    "C-10.1": "EVConnected",
    "C-10.2": "Authorized",
    "C-10.3": "PowerPathClosed",
    "C-10.4": "EnergyTransfer",
    "C-10.5": "ParkingBayOccupancy",
}

TRIGGERS = {
    "C-29.1": "MeterValues",
    "C-29.2": "TransactionEvent",
    "C-29.3": "LogStatusNotification",
    "C-29.4": "FirmwareStatusNotification",
    "C-29.5": "StatusNotification",
    "C-29.6": "BootNotification",
}

MESSAGE_PRIORITIES = {
    "UI-1.1": "AlwaysFront",
    "UI-1.2": "InFront",
    "UI-1.3": "NormalCycle",
}

MESSAGE_FORMATS = {
    "UI-2.1": "ASCII",
    "UI-2.2": "HTML",
    "UI-2.3": "URI",
    "UI-2.4": "UTF8",
}

LOCAL_ID_TOKEN_TYPES = {
    "C-30": "ISO14443",
    "C-31": "ISO15693",
    "C-32": "KeyCode",
    "C-33": "Local",
    "C-34": "MacAddress",
    "C-35": "NoAuthorization",
}

REMOTE_ID_TOKEN_TYPES = {
    "C-36": "ISO14443",
    "C-37": "ISO15693",
    "C-38": "Central",
    "C-39": "NoAuthorization",
}

# MeasurandEnumType
MEASURANDS = frozenset(
    {
        "Current.Export",
        "Current.Import",
        "Current.Offered",
        "Energy.Active.Export.Interval",
        "Energy.Active.Export.Register",
        "Energy.Active.Import.Interval",
        "Energy.Active.Import.Register",
        "Energy.Active.Net",
        "Energy.Apparent.Export",
        "Energy.Apparent.Import",
        "Energy.Apparent.Net",
        "Energy.Reactive.Export.Interval",
        "Energy.Reactive.Export.Register",
        "Energy.Reactive.Import.Interval",
        "Energy.Reactive.Import.Register",
        "Energy.Reactive.Net",
        "Frequency",
        "Power.Active.Export",
        "Power.Active.Import",
        "Power.Factor",
        "Power.Offered",
        "Power.Reactive.Export",
        "Power.Reactive.Import",
        "SoC",
        "Voltage",
    }
)
