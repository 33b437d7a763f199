"""Reasons of answers to CALLs of the CSMS."""

from __future__ import annotations

from typing import Final

import msgspec

from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from station.history.explain.reason import DirectCauses, Reason
from station.transcript.phrases import reason_suffix

# (action, reasonCode of Part 2 appendix 5) -> requirement for the refusal
_REFUSAL_REQUIREMENTS: Final = {
    ("ClearCache", "NotEnabled"): "C11.FR.04",
    ("InstallCertificate", "OutOfStorage"): "M05.FR.06",
    ("RequestStartTransaction", "CSNotAccepted"): "B02.FR.05",
    ("RequestStartTransaction", "TxInProgress"): "F01.FR.24",
    ("RequestStartTransaction", "Unspecified"): "F01.FR.23",
    ("RequestStopTransaction", "CSNotAccepted"): "B02.FR.05",
    ("RequestStopTransaction", "TxNotFound"): "F03.FR.08",
    ("ReserveNow", "NotEnabled"): "H01.FR.01",
    ("Reset", "FwUpdateInProgress"): "B11.FR.06",
    ("Reset", "UnsupportedParam"): "B11.FR.09",
    ("UpdateFirmware", "FwUpdateInProgress"): "L01.FR.27",
    ("UpdateFirmware", "InvalidCertificate"): "L01.FR.22",
}


def explain_call_result(event: CallResultQueued, causes: DirectCauses) -> Reason | None:
    """The statusInfo of the answer; None: it has none."""
    match msgspec.json.decode(event.payload):
        case {"statusInfo": {"reasonCode": str(code), **more}}:
            details = str(more.get("additionalInfo", ""))
            return Reason(
                code + reason_suffix(details), _REFUSAL_REQUIREMENTS.get((event.action, code), "")
            )
        case _:
            return None


def explain_call_error(event: CallErrorQueued, causes: DirectCauses) -> Reason:
    """Error code and description of the CALLERROR. Part 4 §4.3."""
    return Reason(event.error_code + reason_suffix(event.error_description), "Part 4 §4.3")
