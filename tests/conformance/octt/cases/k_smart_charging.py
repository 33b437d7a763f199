"""Block K: a product without smart charging."""

from __future__ import annotations

from tests.conformance.octt import states
from tests.conformance.octt.bench import VALID
from tests.conformance.octt.tester import Tester


def tc_k_38_cs(tester: Tester) -> None:
    states.ev_connected_pre_session(tester)
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
    remote_start_id = states.request_start(tester, "step 1", more={"chargingProfile": profile})
    session = tester.session_on()
    if tester.read_value("AuthCtrlr", "AuthorizeRemoteStart") == "true":
        states.expect_authorize(tester, "step 3")
    session.id_token, session.remote_start_id = VALID, remote_start_id
    if states.starts_by_authorization(tester, session):
        states.first_event_after_authorization(tester, "step 5", None, "RemoteStart")
    states.start_energy_transfer(tester)
