"""What does the CSMS answer to a CALL of the station?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Payload = dict[str, Any]
Answer = Callable[[Payload], Payload]

# Everything a Charging Station may ask; what no rule below answers gets an empty response.
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
class Answers:
    """The CSMS's knowledge and mood. Plain attributes: a test sets them, the next answer obeys.

    `overriding` holds an answer per action, which goes before everything else.
    """

    boot_status: str = "Accepted"
    boot_interval_s: int = 300
    clock_offset: timedelta = timedelta(0)
    unknown_token: Payload = field(default_factory=lambda: {"status": "Unknown"})
    tokens: dict[str, Payload] = field(default_factory=dict)  # folded idToken: idTokenInfo
    overriding: dict[str, Answer] = field(default_factory=dict)

    def know(
        self,
        id_token: str,
        status: str = "Accepted",
        *,
        group: str | None = None,
        cache_expiry: datetime | None = None,
    ) -> None:
        """Tell the CSMS about an idToken; letter case does not count."""
        info: Payload = {"status": status}
        if group is not None:
            info["groupIdToken"] = {"idToken": group, "type": "Central"}
        if cache_expiry is not None:
            info["cacheExpiryDateTime"] = _instant(cache_expiry)
        self.tokens[id_token.casefold()] = info

    def to(self, action: str, request: Payload) -> Payload:
        """The response payload, in OCPP's own spelling."""
        answer = self.overriding.get(action) or getattr(self, f"_{action}", None)
        return answer(request) if answer is not None else {}

    def now(self) -> str:
        """What the CSMS's clock shows."""
        return _instant(datetime.now(UTC) + self.clock_offset)

    def _info(self, id_token: Payload) -> Payload:
        return dict(self.tokens.get(id_token["idToken"].casefold(), self.unknown_token))

    def _BootNotification(self, request: Payload) -> Payload:
        return {
            "currentTime": self.now(),
            "interval": self.boot_interval_s,
            "status": self.boot_status,
        }

    def _Heartbeat(self, request: Payload) -> Payload:
        return {"currentTime": self.now()}

    def _Authorize(self, request: Payload) -> Payload:
        return {"idTokenInfo": self._info(request["idToken"])}

    def _TransactionEvent(self, request: Payload) -> Payload:
        id_token = request.get("idToken")
        return {} if id_token is None else {"idTokenInfo": self._info(id_token)}

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


def _instant(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
