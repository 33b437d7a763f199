"""Block E: transactions while offline, and GetTransactionStatus."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.bench import VALID_2
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import NOT_EMPTY, OMITTED, check_fields, one_of, require
from tests.support.csms import Payload
from tests.support.csms.ledger import parse_instant

COMM = "OCPPCommCtrlr"
CLOCK_TOLERANCE = timedelta(seconds=1)  # between two processes, a handshake included


def configure_offline_case(t: Tester, *, sampled: bool = False) -> None:
    """Configuration state of the offline cases."""
    if sampled:
        t.configure_variable("SampledDataCtrlr", "Enabled", value=True)
        t.configure_variable("SampledDataCtrlr", "TxUpdatedInterval", t.settings.sampled_interval_s)
    t.configure_variable(COMM, "OfflineThreshold", t.settings.retry_wait_s + 60)
    t.configure_variable(COMM, "RetryBackOffWaitMinimum", t.settings.retry_wait_s)
    t.configure_variable(COMM, "RetryBackOffRandomRange", 0)


def _check_all_offline(step: str, events: Iterable[Payload]) -> None:
    for event in events:
        check_fields(step, event, {"offline": True})


def _check_offline_samples(t: Tester, step: str, online_at: datetime) -> None:
    """Every queued event is Updated, has meter values, and is marked as offline.

    Args:
        online_at: when the station reconnected; later events were not queued.
    """
    events = states.take_queued_events(t, step)
    queued = [
        event for event in events if parse_instant(event["timestamp"]) < online_at - CLOCK_TOLERANCE
    ]
    require(step, queued, "there must be queued TransactionEvents")
    expected = {"eventType": "Updated", "meterValue": NOT_EMPTY, "offline": True}
    for event in queued:
        check_fields(step, event, expected)
    for event in events:
        if parse_instant(event["timestamp"]) > online_at + CLOCK_TOLERANCE:
            check_fields(step, event, {"offline": one_of(OMITTED, False)})


def _go_online(t: Tester) -> datetime:
    """Let the station reconnect; returns the time of it."""
    t.go_online()
    return datetime.now(UTC)


def tc_e_40_cs(t: Tester) -> None:
    configure_offline_case(t, sampled=True)
    states.start_energy_transfer(t)
    t.go_offline()
    t.wait(t.settings.offline_s)
    online_at = _go_online(t)
    _check_offline_samples(t, "step 3", online_at)


def tc_e_43_cs(t: Tester) -> None:
    states.transaction_events_in_queue_ended(t)
    events = states.take_queued_events(t, "step 2")
    _check_all_offline("step 2", events)
    event_types = [event["eventType"] for event in events]
    require("step 2", "Started" in event_types, "one event must be Started")
    require("step 2", "Ended" in event_types, "one event must be Ended")


def _stop_offline(t: Tester, id_token: str | None = None) -> None:
    """The EV driver stops charging and unplugs while the station is offline."""
    token = id_token or t.session_on().id_token
    assert token is not None  # the session is authorized
    t.go_offline()
    t.present_id_token(token)
    states.wait_for_world(t, "contactor", "open")
    t.unplug()
    t.wait(1.0)


def _check_ended_offline(t: Tester, step: str) -> None:
    events = states.take_queued_events(t, step)
    _check_all_offline(step, events)
    require(step, any(event["eventType"] == "Ended" for event in events), "one event must be Ended")


def tc_e_44_cs(t: Tester) -> None:
    configure_offline_case(t)
    states.start_energy_transfer(t)
    _stop_offline(t)
    t.go_online()
    _check_ended_offline(t, "step 3")


def tc_e_45_cs(t: Tester) -> None:
    configure_offline_case(t)
    t.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    states.id_token_cached(t, VALID_2)
    states.authorize_driver(t)
    states.start_energy_transfer(t)
    _stop_offline(t, VALID_2)
    t.go_online()
    _check_ended_offline(t, "step 3")


# GetTransactionStatus (E14).


def _check_transaction_status(
    t: Tester, step: str, transaction_id: str | None, expected: dict[str, Any]
) -> None:
    request = {} if transaction_id is None else {"transactionId": transaction_id}
    t.send_call(step, "GetTransactionStatus", request, expected)


def _delay_first_response(t: Tester) -> None:
    """Delay the first response, so that GetTransactionStatus is sent while events are queued."""
    t.csms.disturb_calls("TransactionEvent", delay_s=2.0, times=1)


def tc_e_28_cs(t: Tester) -> None:
    expected = {"ongoingIndicator": False, "messagesInQueue": False}
    _check_transaction_status(t, "step 1", "5d0b41c5-0000-4000-8000-000000000000", expected)


def tc_e_29_cs(t: Tester) -> None:
    configure_offline_case(t, sampled=True)
    transaction_id = states.start_energy_transfer(t)
    t.go_offline()
    t.wait(t.settings.offline_s)
    _delay_first_response(t)
    online_at = _go_online(t)
    expected = {"ongoingIndicator": True, "messagesInQueue": True}
    _check_transaction_status(t, "step 3", transaction_id, expected)
    _check_offline_samples(t, "step 5", online_at)


def tc_e_30_cs(t: Tester) -> None:
    transaction_id = states.start_energy_transfer(t)
    t.bench.wait_settled()
    expected = {"ongoingIndicator": True, "messagesInQueue": False}
    _check_transaction_status(t, "step 1", transaction_id, expected)


def tc_e_31_cs(t: Tester) -> None:
    configure_offline_case(t, sampled=True)
    transaction_id = states.start_energy_transfer(t)
    t.wait(t.settings.transaction_s)
    _stop_offline(t)
    t.wait(t.settings.transaction_s)
    _delay_first_response(t)
    t.go_online()
    expected = {"ongoingIndicator": False, "messagesInQueue": True}
    _check_transaction_status(t, "step 1", transaction_id, expected)
    states.expect_stop(t, "step 3", None, "StopAuthorized", "Local")
    t.expect_status("step 3", "Available")


def tc_e_32_cs(t: Tester) -> None:
    transaction_id = states.start_energy_transfer(t)
    states.parking_bay_unoccupied(t)
    t.bench.wait_settled()
    expected = {"ongoingIndicator": False, "messagesInQueue": False}
    _check_transaction_status(t, "step 1", transaction_id, expected)


def tc_e_33_cs(t: Tester) -> None:
    configure_offline_case(t, sampled=True)
    states.start_energy_transfer(t)
    t.go_offline()
    t.wait(t.settings.offline_s)
    _delay_first_response(t)
    online_at = _go_online(t)
    _check_transaction_status(
        t, "step 3", None, {"ongoingIndicator": OMITTED, "messagesInQueue": True}
    )
    _check_offline_samples(t, "step 5", online_at)


def tc_e_34_cs(t: Tester) -> None:
    _check_transaction_status(
        t, "step 1", None, {"ongoingIndicator": OMITTED, "messagesInQueue": False}
    )
