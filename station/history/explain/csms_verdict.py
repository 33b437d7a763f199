"""Authorization status in an answer of the CSMS."""

from __future__ import annotations

import msgspec

from journal.observations import FrameReceived
from station.ocpp import rpc


def read_authorization_status(event: FrameReceived) -> str | None:
    """AuthorizationStatusEnumType of a CALLRESULT; None: not a CALLRESULT, or without a status."""
    frame = rpc.parse_frame(event.frame)
    if not isinstance(frame, rpc.CallResultFrame):
        return None
    match msgspec.json.decode(frame.payload):
        case {"idTokenInfo": {"status": str(status)}}:
            return status
        case _:
            return None
