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


def configure_offline_case(tester: Tester, *, sampled: bool = False) -> None:
    """Configuration state of the offline cases."""
    if sampled:
        tester.configure_variable("SampledDataCtrlr", "Enabled", value=True)
        tester.configure_variable(
            "SampledDataCtrlr", "TxUpdatedInterval", tester.settings.sampled_interval_s
        )
    tester.configure_variable(COMM, "OfflineThreshold", tester.settings.retry_wait_s + 60)
    tester.configure_variable(COMM, "RetryBackOffWaitMinimum", tester.settings.retry_wait_s)
    tester.configure_variable(COMM, "RetryBackOffRandomRange", 0)


def _check_all_offline(step: str, events: Iterable[Payload]) -> None:
    for event in events:
        check_fields(step, event, {"offline": True})


def _check_offline_samples(tester: Tester, step: str, online_at: datetime) -> None:
    """Every queued event is Updated, has meter values, and is marked as offline.

    Args:
        online_at: when the station reconnected; later events were not queued.
    """
    events = states.take_queued_events(tester, step)
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


def _go_online(tester: Tester) -> datetime:
    """Let the station reconnect; returns the time of it."""
    tester.go_online()
    return datetime.now(UTC)


def tc_e_40_cs(tester: Tester) -> None:
    configure_offline_case(tester, sampled=True)
    states.start_energy_transfer(tester)
    tester.go_offline()
    tester.wait(tester.settings.offline_s)
    online_at = _go_online(tester)
    _check_offline_samples(tester, "step 3", online_at)


def tc_e_43_cs(tester: Tester) -> None:
    states.transaction_events_in_queue_ended(tester)
    events = states.take_queued_events(tester, "step 2")
    _check_all_offline("step 2", events)
    event_types = [event["eventType"] for event in events]
    require("step 2", "Started" in event_types, "one event must be Started")
    require("step 2", "Ended" in event_types, "one event must be Ended")


def _stop_offline(tester: Tester, id_token: str | None = None) -> None:
    """The EV driver stops charging and unplugs while the station is offline."""
    token = id_token or tester.session_on().id_token
    assert token is not None  # the session is authorized
    tester.go_offline()
    tester.present_id_token(token)
    states.wait_for_world(tester, "contactor", "open")
    tester.unplug()
    tester.wait(1.0)


def _check_ended_offline(tester: Tester, step: str) -> None:
    events = states.take_queued_events(tester, step)
    _check_all_offline(step, events)
    require(step, any(event["eventType"] == "Ended" for event in events), "one event must be Ended")


def tc_e_44_cs(tester: Tester) -> None:
    configure_offline_case(tester)
    states.start_energy_transfer(tester)
    _stop_offline(tester)
    tester.go_online()
    _check_ended_offline(tester, "step 3")


def tc_e_45_cs(tester: Tester) -> None:
    configure_offline_case(tester)
    tester.configure_variable("AuthCtrlr", "LocalAuthorizeOffline", value=True)
    states.id_token_cached(tester, VALID_2)
    states.authorize_driver(tester)
    states.start_energy_transfer(tester)
    _stop_offline(tester, VALID_2)
    tester.go_online()
    _check_ended_offline(tester, "step 3")


# GetTransactionStatus (E14).


def _check_transaction_status(
    tester: Tester, step: str, transaction_id: str | None, expected: dict[str, Any]
) -> None:
    request = {} if transaction_id is None else {"transactionId": transaction_id}
    tester.send_call(step, "GetTransactionStatus", request, expected)


def _delay_first_response(tester: Tester) -> None:
    """Delay the first response, so that GetTransactionStatus is sent while events are queued."""
    tester.csms.disturb_calls("TransactionEvent", delay_s=2.0, times=1)


def tc_e_28_cs(tester: Tester) -> None:
    expected = {"ongoingIndicator": False, "messagesInQueue": False}
    _check_transaction_status(tester, "step 1", "5d0b41c5-0000-4000-8000-000000000000", expected)


def tc_e_29_cs(tester: Tester) -> None:
    configure_offline_case(tester, sampled=True)
    transaction_id = states.start_energy_transfer(tester)
    tester.go_offline()
    tester.wait(tester.settings.offline_s)
    _delay_first_response(tester)
    online_at = _go_online(tester)
    expected = {"ongoingIndicator": True, "messagesInQueue": True}
    _check_transaction_status(tester, "step 3", transaction_id, expected)
    _check_offline_samples(tester, "step 5", online_at)


def tc_e_30_cs(tester: Tester) -> None:
    transaction_id = states.start_energy_transfer(tester)
    tester.bench.wait_settled()
    expected = {"ongoingIndicator": True, "messagesInQueue": False}
    _check_transaction_status(tester, "step 1", transaction_id, expected)


def tc_e_31_cs(tester: Tester) -> None:
    configure_offline_case(tester, sampled=True)
    transaction_id = states.start_energy_transfer(tester)
    tester.wait(tester.settings.transaction_s)
    _stop_offline(tester)
    tester.wait(tester.settings.transaction_s)
    _delay_first_response(tester)
    tester.go_online()
    expected = {"ongoingIndicator": False, "messagesInQueue": True}
    _check_transaction_status(tester, "step 1", transaction_id, expected)
    states.expect_stop(tester, "step 3", None, "StopAuthorized", "Local")
    tester.expect_status("step 3", "Available")


def tc_e_32_cs(tester: Tester) -> None:
    transaction_id = states.start_energy_transfer(tester)
    states.parking_bay_unoccupied(tester)
    tester.bench.wait_settled()
    expected = {"ongoingIndicator": False, "messagesInQueue": False}
    _check_transaction_status(tester, "step 1", transaction_id, expected)


def tc_e_33_cs(tester: Tester) -> None:
    configure_offline_case(tester, sampled=True)
    states.start_energy_transfer(tester)
    tester.go_offline()
    tester.wait(tester.settings.offline_s)
    _delay_first_response(tester)
    online_at = _go_online(tester)
    _check_transaction_status(
        tester, "step 3", None, {"ongoingIndicator": OMITTED, "messagesInQueue": True}
    )
    _check_offline_samples(tester, "step 5", online_at)


def tc_e_34_cs(tester: Tester) -> None:
    _check_transaction_status(
        tester, "step 1", None, {"ongoingIndicator": OMITTED, "messagesInQueue": False}
    )
