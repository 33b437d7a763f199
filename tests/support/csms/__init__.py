"""A CSMS of independent make, for tests to meet the station with.

Routing and schema checks are those of the `ocpp` package, the WebSocket is that of `websockets`;
nothing here imports the station. It runs in a thread of its own and is driven by plain calls.
"""

from tests.support.csms.answers import CsmsResponses
from tests.support.csms.faults import Disturbance
from tests.support.csms.frames import CALL, CALLERROR, CALLRESULT, Frame, Payload
from tests.support.csms.ledger import Ledger, Receipt, RegisterReading
from tests.support.csms.record import FrameRecord, ResponseTimes
from tests.support.csms.server import CallErrorReceived, Csms, ResponseTimeout, StationNotConnected

__all__ = [
    "CALL",
    "CALLERROR",
    "CALLRESULT",
    "CallErrorReceived",
    "Csms",
    "CsmsResponses",
    "Disturbance",
    "Frame",
    "FrameRecord",
    "Ledger",
    "Payload",
    "Receipt",
    "RegisterReading",
    "ResponseTimeout",
    "ResponseTimes",
    "StationNotConnected",
]
