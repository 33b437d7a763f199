"""TransactionEvents as a station sends them, for tests of a CSMS's side."""

from __future__ import annotations

import json
from typing import Any

from station.ocpp.messages import decode_request
from station.ocpp.messages.e_transactions import TransactionEventRequest

CONTEXTS = {"Started": "Transaction.Begin", "Ended": "Transaction.End"}


def event_payload(seq_no: int, event_type: str, energy_wh: str | None = None, **more: Any) -> Any:
    """A TransactionEventRequest as JSON object; the seconds of its timestamp are its seqNo."""
    at = f"2026-11-22T12:00:{seq_no:02}.000Z"
    payload: dict[str, Any] = {
        "eventType": event_type,
        "timestamp": at,
        "triggerReason": "CablePluggedIn",
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": "tx-1"},
    }
    if energy_wh is not None:
        sample = {
            "value": float(energy_wh),
            "context": CONTEXTS.get(event_type, "Sample.Periodic"),
            "measurand": "Energy.Active.Import.Register",
            "unitOfMeasure": {"unit": "Wh"},
        }
        payload["meterValue"] = [{"timestamp": at, "sampledValue": [sample]}]
    return payload | more


def make_event(
    seq_no: int, event_type: str, energy_wh: str | None = None, **more: Any
) -> TransactionEventRequest:
    """The same as a decoded message."""
    payload = json.dumps(event_payload(seq_no, event_type, energy_wh, **more))
    request = decode_request("TransactionEvent", payload.encode())
    assert isinstance(request, TransactionEventRequest)
    return request


SESSION_EVENTS = (
    make_event(0, "Started", "1000", evse={"id": 1, "connectorId": 1}),
    make_event(1, "Updated"),
    make_event(2, "Updated", "1200"),
    make_event(3, "Ended", "1500.5"),
)
