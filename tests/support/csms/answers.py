"""The responses of the test CSMS to the CALLs of the station."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Payload = dict[str, Any]
ResponseFactory = Callable[[Payload], Payload]

# Every request of a Charging Station. One without a method below gets an empty response.
ACTIONS = (
    "Authorize",
    "BootNotification",
    "ClearedChargingLimit",
    "DataTransfer",
    "FirmwareStatusNotification",
    "Get15118EVCertificate",
    "GetCertificateStatus",
    "Heartbeat",
    "LogStatusNotification",
    "MeterValues",
    "NotifyChargingLimit",
    "NotifyCustomerInformation",
    "NotifyDisplayMessages",
    "NotifyEVChargingNeeds",
    "NotifyEVChargingSchedule",
    "NotifyEvent",
    "NotifyMonitoringReport",
    "NotifyReport",
    "PublishFirmwareStatusNotification",
    "ReportChargingProfiles",
    "ReservationStatusUpdate",
    "SecurityEventNotification",
    "SignCertificate",
    "StatusNotification",
    "TransactionEvent",
)


@dataclass
class CsmsResponses:
    """The responses of the CSMS. A test sets the attributes; they apply from the next CALL on.

    `overrides` holds a response factory per action, which takes precedence over all else.
    """

    boot_status: str = "Accepted"
    boot_interval_s: int = 300
    clock_offset: timedelta = timedelta(0)
    unknown_id_token_info: Payload = field(default_factory=lambda: {"status": "Unknown"})
    id_token_infos: dict[str, Payload] = field(default_factory=dict)  # folded idToken: idTokenInfo
    overrides: dict[str, ResponseFactory] = field(default_factory=dict)

    def add_id_token(
        self,
        id_token: str,
        status: str = "Accepted",
        *,
        group_id_token: str | None = None,
        cache_expiry: datetime | None = None,
    ) -> None:
        """Set the idTokenInfo of an idToken; idTokens are compared without regard to case."""
        info: Payload = {"status": status}
        if group_id_token is not None:
            info["groupIdToken"] = {"idToken": group_id_token, "type": "Central"}
        if cache_expiry is not None:
            info["cacheExpiryDateTime"] = _format_instant(cache_expiry)
        self.id_token_infos[id_token.casefold()] = info

    def response_to(self, action: str, request: Payload) -> Payload:
        """The response payload, with OCPP's field names."""
        make_response = self.overrides.get(action) or getattr(self, f"_{action}", None)
        return make_response(request) if make_response is not None else {}

    def current_time(self) -> str:
        """The time of the CSMS's clock."""
        return _format_instant(datetime.now(UTC) + self.clock_offset)

    def _id_token_info(self, id_token: Payload) -> Payload:
        return dict(
            self.id_token_infos.get(id_token["idToken"].casefold(), self.unknown_id_token_info)
        )

    def _BootNotification(self, request: Payload) -> Payload:
        return {
            "currentTime": self.current_time(),
            "interval": self.boot_interval_s,
            "status": self.boot_status,
        }

    def _Heartbeat(self, request: Payload) -> Payload:
        return {"currentTime": self.current_time()}

    def _Authorize(self, request: Payload) -> Payload:
        return {"idTokenInfo": self._id_token_info(request["idToken"])}

    def _TransactionEvent(self, request: Payload) -> Payload:
        id_token = request.get("idToken")
        return {} if id_token is None else {"idTokenInfo": self._id_token_info(id_token)}

    def _DataTransfer(self, request: Payload) -> Payload:
        return {"status": "UnknownVendorId"}

    def _SignCertificate(self, request: Payload) -> Payload:
        return {"status": "Accepted"}

    def _Get15118EVCertificate(self, request: Payload) -> Payload:
        return {"status": "Failed", "exiResponse": ""}

    def _GetCertificateStatus(self, request: Payload) -> Payload:
        return {"status": "Failed"}

    def _NotifyEVChargingNeeds(self, request: Payload) -> Payload:
        return {"status": "Accepted"}

    def _NotifyEVChargingSchedule(self, request: Payload) -> Payload:
        return {"status": "Accepted"}


def _format_instant(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
