"""A CSMS of independent make, for tests to meet the station with.

Routing and schema checks are those of the `ocpp` package, the WebSocket is that of `websockets`;
nothing here imports the station. It runs in a thread of its own and is driven by plain calls.
"""

from tests.csms.answers import Answers
from tests.csms.faults import Disturbance
from tests.csms.frames import CALL, CALLERROR, CALLRESULT, Frame, Payload
from tests.csms.ledger import Ledger, Receipt, Register
from tests.csms.record import Record, Times
from tests.csms.server import CallRefused, Csms, NoAnswer, NotConnected

__all__ = [
    "CALL",
    "CALLERROR",
    "CALLRESULT",
    "Answers",
    "CallRefused",
    "Csms",
    "Disturbance",
    "Frame",
    "Ledger",
    "NoAnswer",
    "NotConnected",
    "Payload",
    "Receipt",
    "Record",
    "Register",
    "Times",
]
