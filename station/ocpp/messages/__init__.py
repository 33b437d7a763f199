"""The messages of OCPP 2.0.1, and their JSON.

One module per functional block has its messages and the datatypes that only they use; `datatypes`
and `enums` have what several blocks share. `encode`, `decode_request` and `decode_response` are the
only way between a message and its JSON. `usable_fields` decodes an answer that breaks its schema as
far as it can be used.

Errors: `msgspec.ValidationError` if a payload violates its schema, its subclass `MalformedPayload`
if it is no JSON. `station.ocpp.messages.violations` has the CALLERROR of either.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Literal

import msgspec

from station.ocpp.messages import (
    a_security,
    b_provisioning,
    c_authorization,
    d_local_list,
    e_transactions,
    f_remote_control,
    g_availability,
    h_reservation,
    i_tariff,
    j_metering,
    k_smart_charging,
    l_firmware,
    m_certificates,
    n_diagnostics,
    o_display,
    p_data_transfer,
)
from station.ocpp.messages.primitives import (
    CustomDataType,
    Datatype,
    Number,
    Timestamp,
    convert_value,
    format_timestamp,
    parse_decimal,
    parse_timestamp,
)

__all__ = [
    "ACTIONS",
    "Action",
    "CustomDataType",
    "Datatype",
    "Direction",
    "MalformedPayload",
    "Number",
    "Timestamp",
    "decode_request",
    "decode_response",
    "encode",
    "format_timestamp",
    "parse_timestamp",
]

Direction = Literal["station", "csms", "both"]


class Action(msgspec.Struct, frozen=True):
    """A request with its response, and who may send the request."""

    request: type[Datatype]
    response: type[Datatype]
    sender: Direction


class MalformedPayload(msgspec.ValidationError):
    """The payload is no JSON, or nested deeper than any message."""


def encode(message: Datatype) -> bytes:
    """A message as JSON: fields in the order of its struct, without absent ones.

    The same message gives the same bytes on every Python and every run.
    """
    return _ENCODER.encode(message)


def decode_request(action: str, payload: bytes | msgspec.Raw) -> Datatype:
    """Decode the payload of a CALL.

    Args:
        action: a key of `ACTIONS`.
        payload: the JSON object.

    Raises:
        msgspec.ValidationError: it violates the schema, or is no JSON (`MalformedPayload`).
    """
    return _decode_payload(ACTIONS[action].request, payload)


def decode_response(action: str, payload: bytes | msgspec.Raw) -> Datatype:
    """Decode the payload of a CALLRESULT; the action is that of its CALL.

    Raises:
        msgspec.ValidationError: it violates the schema, or is no JSON (`MalformedPayload`).
    """
    return _decode_payload(ACTIONS[action].response, payload)


def _decode_payload(message_type: type[Datatype], payload: bytes | msgspec.Raw) -> Datatype:
    try:
        try:
            return _decoder_for(message_type).decode(payload)
        except msgspec.ValidationError as error:
            if "got `float`" not in str(error):
                raise
            return _decode_whole_numbers(message_type, payload)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedPayload(str(error)) from error
    except RecursionError as error:
        raise MalformedPayload("nested too deeply") from error


def _decode_whole_numbers(message_type: type[Datatype], payload: bytes | msgspec.Raw) -> Datatype:
    """Decode a payload that may have 1.0 or 1e3 as an integer.

    JSON Schema accepts these as integers (draft 6, validation §6.25); msgspec refuses them. This
    is slow, and used only for a CSMS that writes integers so.
    """
    plain = msgspec.json.Decoder(float_hook=_parse_whole_or_decimal).decode(payload)
    return msgspec.convert(plain, message_type, dec_hook=convert_value)


def _parse_whole_or_decimal(text: str) -> int | Decimal:
    number = parse_decimal(text)
    return int(number) if number == number.to_integral_value() else number


@cache
def _decoder_for(message_type: type[Datatype]) -> msgspec.json.Decoder[Datatype]:
    return msgspec.json.Decoder(message_type, dec_hook=convert_value, float_hook=parse_decimal)


_ENCODER = msgspec.json.Encoder(decimal_format="number")

ACTIONS: dict[str, Action] = {
    "CertificateSigned": Action(
        a_security.CertificateSignedRequest, a_security.CertificateSignedResponse, "csms"
    ),
    "SecurityEventNotification": Action(
        a_security.SecurityEventNotificationRequest,
        a_security.SecurityEventNotificationResponse,
        "station",
    ),
    "SignCertificate": Action(
        a_security.SignCertificateRequest, a_security.SignCertificateResponse, "station"
    ),
    "BootNotification": Action(
        b_provisioning.BootNotificationRequest, b_provisioning.BootNotificationResponse, "station"
    ),
    "GetBaseReport": Action(
        b_provisioning.GetBaseReportRequest, b_provisioning.GetBaseReportResponse, "csms"
    ),
    "GetReport": Action(b_provisioning.GetReportRequest, b_provisioning.GetReportResponse, "csms"),
    "GetVariables": Action(
        b_provisioning.GetVariablesRequest, b_provisioning.GetVariablesResponse, "csms"
    ),
    "NotifyReport": Action(
        b_provisioning.NotifyReportRequest, b_provisioning.NotifyReportResponse, "station"
    ),
    "Reset": Action(b_provisioning.ResetRequest, b_provisioning.ResetResponse, "csms"),
    "SetNetworkProfile": Action(
        b_provisioning.SetNetworkProfileRequest, b_provisioning.SetNetworkProfileResponse, "csms"
    ),
    "SetVariables": Action(
        b_provisioning.SetVariablesRequest, b_provisioning.SetVariablesResponse, "csms"
    ),
    "Authorize": Action(
        c_authorization.AuthorizeRequest, c_authorization.AuthorizeResponse, "station"
    ),
    "ClearCache": Action(
        c_authorization.ClearCacheRequest, c_authorization.ClearCacheResponse, "csms"
    ),
    "SendLocalList": Action(
        d_local_list.SendLocalListRequest, d_local_list.SendLocalListResponse, "csms"
    ),
    "GetLocalListVersion": Action(
        d_local_list.GetLocalListVersionRequest, d_local_list.GetLocalListVersionResponse, "csms"
    ),
    "TransactionEvent": Action(
        e_transactions.TransactionEventRequest, e_transactions.TransactionEventResponse, "station"
    ),
    "GetTransactionStatus": Action(
        e_transactions.GetTransactionStatusRequest,
        e_transactions.GetTransactionStatusResponse,
        "csms",
    ),
    "RequestStartTransaction": Action(
        f_remote_control.RequestStartTransactionRequest,
        f_remote_control.RequestStartTransactionResponse,
        "csms",
    ),
    "RequestStopTransaction": Action(
        f_remote_control.RequestStopTransactionRequest,
        f_remote_control.RequestStopTransactionResponse,
        "csms",
    ),
    "TriggerMessage": Action(
        f_remote_control.TriggerMessageRequest, f_remote_control.TriggerMessageResponse, "csms"
    ),
    "UnlockConnector": Action(
        f_remote_control.UnlockConnectorRequest, f_remote_control.UnlockConnectorResponse, "csms"
    ),
    "StatusNotification": Action(
        g_availability.StatusNotificationRequest,
        g_availability.StatusNotificationResponse,
        "station",
    ),
    "Heartbeat": Action(
        g_availability.HeartbeatRequest, g_availability.HeartbeatResponse, "station"
    ),
    "ChangeAvailability": Action(
        g_availability.ChangeAvailabilityRequest, g_availability.ChangeAvailabilityResponse, "csms"
    ),
    "ReserveNow": Action(h_reservation.ReserveNowRequest, h_reservation.ReserveNowResponse, "csms"),
    "CancelReservation": Action(
        h_reservation.CancelReservationRequest, h_reservation.CancelReservationResponse, "csms"
    ),
    "ReservationStatusUpdate": Action(
        h_reservation.ReservationStatusUpdateRequest,
        h_reservation.ReservationStatusUpdateResponse,
        "station",
    ),
    "CostUpdated": Action(i_tariff.CostUpdatedRequest, i_tariff.CostUpdatedResponse, "csms"),
    "MeterValues": Action(j_metering.MeterValuesRequest, j_metering.MeterValuesResponse, "station"),
    "SetChargingProfile": Action(
        k_smart_charging.SetChargingProfileRequest,
        k_smart_charging.SetChargingProfileResponse,
        "csms",
    ),
    "GetChargingProfiles": Action(
        k_smart_charging.GetChargingProfilesRequest,
        k_smart_charging.GetChargingProfilesResponse,
        "csms",
    ),
    "ReportChargingProfiles": Action(
        k_smart_charging.ReportChargingProfilesRequest,
        k_smart_charging.ReportChargingProfilesResponse,
        "station",
    ),
    "ClearChargingProfile": Action(
        k_smart_charging.ClearChargingProfileRequest,
        k_smart_charging.ClearChargingProfileResponse,
        "csms",
    ),
    "GetCompositeSchedule": Action(
        k_smart_charging.GetCompositeScheduleRequest,
        k_smart_charging.GetCompositeScheduleResponse,
        "csms",
    ),
    "NotifyChargingLimit": Action(
        k_smart_charging.NotifyChargingLimitRequest,
        k_smart_charging.NotifyChargingLimitResponse,
        "station",
    ),
    "ClearedChargingLimit": Action(
        k_smart_charging.ClearedChargingLimitRequest,
        k_smart_charging.ClearedChargingLimitResponse,
        "station",
    ),
    "NotifyEVChargingNeeds": Action(
        k_smart_charging.NotifyEVChargingNeedsRequest,
        k_smart_charging.NotifyEVChargingNeedsResponse,
        "station",
    ),
    "NotifyEVChargingSchedule": Action(
        k_smart_charging.NotifyEVChargingScheduleRequest,
        k_smart_charging.NotifyEVChargingScheduleResponse,
        "station",
    ),
    "UpdateFirmware": Action(
        l_firmware.UpdateFirmwareRequest, l_firmware.UpdateFirmwareResponse, "csms"
    ),
    "FirmwareStatusNotification": Action(
        l_firmware.FirmwareStatusNotificationRequest,
        l_firmware.FirmwareStatusNotificationResponse,
        "station",
    ),
    "PublishFirmware": Action(
        l_firmware.PublishFirmwareRequest, l_firmware.PublishFirmwareResponse, "csms"
    ),
    "PublishFirmwareStatusNotification": Action(
        l_firmware.PublishFirmwareStatusNotificationRequest,
        l_firmware.PublishFirmwareStatusNotificationResponse,
        "station",
    ),
    "UnpublishFirmware": Action(
        l_firmware.UnpublishFirmwareRequest, l_firmware.UnpublishFirmwareResponse, "csms"
    ),
    "InstallCertificate": Action(
        m_certificates.InstallCertificateRequest, m_certificates.InstallCertificateResponse, "csms"
    ),
    "DeleteCertificate": Action(
        m_certificates.DeleteCertificateRequest, m_certificates.DeleteCertificateResponse, "csms"
    ),
    "GetInstalledCertificateIds": Action(
        m_certificates.GetInstalledCertificateIdsRequest,
        m_certificates.GetInstalledCertificateIdsResponse,
        "csms",
    ),
    "GetCertificateStatus": Action(
        m_certificates.GetCertificateStatusRequest,
        m_certificates.GetCertificateStatusResponse,
        "station",
    ),
    "Get15118EVCertificate": Action(
        m_certificates.Get15118EVCertificateRequest,
        m_certificates.Get15118EVCertificateResponse,
        "station",
    ),
    "GetLog": Action(n_diagnostics.GetLogRequest, n_diagnostics.GetLogResponse, "csms"),
    "LogStatusNotification": Action(
        n_diagnostics.LogStatusNotificationRequest,
        n_diagnostics.LogStatusNotificationResponse,
        "station",
    ),
    "GetMonitoringReport": Action(
        n_diagnostics.GetMonitoringReportRequest, n_diagnostics.GetMonitoringReportResponse, "csms"
    ),
    "NotifyMonitoringReport": Action(
        n_diagnostics.NotifyMonitoringReportRequest,
        n_diagnostics.NotifyMonitoringReportResponse,
        "station",
    ),
    "SetMonitoringBase": Action(
        n_diagnostics.SetMonitoringBaseRequest, n_diagnostics.SetMonitoringBaseResponse, "csms"
    ),
    "SetMonitoringLevel": Action(
        n_diagnostics.SetMonitoringLevelRequest, n_diagnostics.SetMonitoringLevelResponse, "csms"
    ),
    "SetVariableMonitoring": Action(
        n_diagnostics.SetVariableMonitoringRequest,
        n_diagnostics.SetVariableMonitoringResponse,
        "csms",
    ),
    "ClearVariableMonitoring": Action(
        n_diagnostics.ClearVariableMonitoringRequest,
        n_diagnostics.ClearVariableMonitoringResponse,
        "csms",
    ),
    "NotifyEvent": Action(
        n_diagnostics.NotifyEventRequest, n_diagnostics.NotifyEventResponse, "station"
    ),
    "CustomerInformation": Action(
        n_diagnostics.CustomerInformationRequest, n_diagnostics.CustomerInformationResponse, "csms"
    ),
    "NotifyCustomerInformation": Action(
        n_diagnostics.NotifyCustomerInformationRequest,
        n_diagnostics.NotifyCustomerInformationResponse,
        "station",
    ),
    "SetDisplayMessage": Action(
        o_display.SetDisplayMessageRequest, o_display.SetDisplayMessageResponse, "csms"
    ),
    "GetDisplayMessages": Action(
        o_display.GetDisplayMessagesRequest, o_display.GetDisplayMessagesResponse, "csms"
    ),
    "NotifyDisplayMessages": Action(
        o_display.NotifyDisplayMessagesRequest, o_display.NotifyDisplayMessagesResponse, "station"
    ),
    "ClearDisplayMessage": Action(
        o_display.ClearDisplayMessageRequest, o_display.ClearDisplayMessageResponse, "csms"
    ),
    "DataTransfer": Action(
        p_data_transfer.DataTransferRequest, p_data_transfer.DataTransferResponse, "both"
    ),
}
