"""Block K: a product without smart charging."""

from __future__ import annotations

from tests.conformance.octt import states
from tests.conformance.octt.bench import VALID
from tests.conformance.octt.tester import Tester


def tc_k_38_cs(t: Tester) -> None:
    states.ev_connected_pre_session(t)
    profile = {
        "id": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Relative",
        "chargingSchedule": [
            {
                "id": 1,
                "chargingRateUnit": "W",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6000}],
            }
        ],
    }
    remote_start_id = states.request_start(t, "step 1", more={"chargingProfile": profile})
    session = t.session_on()
    if t.read_value("AuthCtrlr", "AuthorizeRemoteStart") == "true":
        states.expect_authorize(t, "step 3")
    session.id_token, session.remote_start_id = VALID, remote_start_id
    if states.starts_by_authorization(t, session):
        states.first_event_after_authorization(t, "step 5", None, "RemoteStart")
    states.start_energy_transfer(t)
