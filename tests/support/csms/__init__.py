"""An independent CSMS for tests of a station process.

Routing and schema checks are those of the `ocpp` package, the WebSocket is that of `websockets`;
nothing here imports the station, so an error of the station's own code cannot hide itself. The
CSMS runs in a thread of its own and is driven by blocking calls:

* `server.py`: the CSMS itself: handshake, CALLs to the station, manipulation of the link;
* `answers.py`, `conversation.py`: the responses to the station's CALLs, and their routing;
* `faults.py`: disturbed responses: delayed, dropped, duplicated, replaced by a CALLERROR;
* `frames.py`, `record.py`: every frame of both directions, checked against OCPP 2.0.1;
* `ledger.py`: the TransactionEvents received, checked for completeness.
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
