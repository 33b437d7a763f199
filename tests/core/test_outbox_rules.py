"""The outbox: order of calls, attempts, parking, thinning. E13, Part 4 §4.1."""

from __future__ import annotations

import json

import pytest

from journal.projections.outbox import (
    CallAttempted,
    CallAttemptFailed,
    CallDelivered,
    CallParked,
    CallQueued,
    CallRetryRequested,
)
from station.core.outbox_rules import BACKLOG_MIN
from tests.support.story import (
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    Step,
    accept_everything,
    answer_boot_only,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    csms_answers,
    error_received,
    flow_reported,
    frame_received,
    given,
    id_token_named,
    in_transaction,
    of_kind,
    presented,
    response_payload_in,
    result_received_for,
    station_restarted,
    time_passed,
    variable_preset,
)

ATTEMPTS = variable_preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "3")
NO_SAMPLES = variable_preset("SampledDataCtrlr.TxUpdatedInterval", "0")
INTERVAL = variable_preset("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]", "10")


def station_with_event_in_flight() -> Station:
    """A TransactionEvent is in flight for the first time."""
    station = given(ATTEMPTS, INTERVAL, NO_SAMPLES, ONLINE, in_transaction(1))
    station.when(flow_reported(1, "suspended_ev"))
    assert station.in_flight
    assert station.in_flight.action == "TransactionEvent"
    return station


def attempts_of(decisions: object) -> list[tuple[str, int]]:
    """(action, attempt) of each attempt."""
    return [(decision.action, decision.attempt) for decision in of_kind(decisions, CallAttempted)]  # type: ignore[arg-type]


# --- Failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [error_received("InternalError"), time_passed(seconds=30)])
def test_a_failed_message_is_sent_again_e13_fr_02(failure: Step) -> None:
    station = station_with_event_in_flight()
    first = station.in_flight
    assert of_kind(station.when(failure), CallAttemptFailed)
    decisions = station.when(time_passed(seconds=10))
    assert attempts_of(decisions) == [("TransactionEvent", 2)]
    assert station.in_flight
    assert first
    assert station.in_flight.call_seq == first.call_seq
    assert station.in_flight.message_id != first.message_id


def test_the_wait_grows_with_each_attempt_e13_fr_03() -> None:
    station = station_with_event_in_flight()
    station.when(error_received())
    assert attempts_of(station.when(time_passed(seconds=9.9))) == []
    assert attempts_of(station.when(time_passed(seconds=0.1))) == [("TransactionEvent", 2)]
    station.when(error_received())
    assert attempts_of(station.when(time_passed(seconds=19.9))) == []
    assert attempts_of(station.when(time_passed(seconds=0.1))) == [("TransactionEvent", 3)]


def test_the_wait_counts_from_the_failure_not_from_the_sending_e13_fr_03() -> None:
    station = station_with_event_in_flight()
    station.when(time_passed(seconds=25), error_received())
    assert attempts_of(station.when(time_passed(seconds=9.9))) == []
    assert attempts_of(station.when(time_passed(seconds=0.1))) == [("TransactionEvent", 2)]


def test_a_message_that_failed_for_good_steps_aside_e13_fr_04() -> None:
    station = station_with_event_in_flight()
    call = station.in_flight.call_seq if station.in_flight else 0
    station.when(flow_reported(1, "charging"))  # the next message waits after it
    station.when(
        error_received(), time_passed(seconds=10), error_received(), time_passed(seconds=20)
    )
    decisions = station.when(error_received("FormatViolation", "no"))
    [parked] = of_kind(decisions, CallParked)
    assert parked.call_seq == call
    assert "FormatViolation: no" in parked.reason
    assert attempts_of(decisions) == [("TransactionEvent", 1)]
    assert [call.call_seq for call in station.state.outbox.parked] == [call]


def test_the_number_of_attempts_can_be_one_e13_fr_02() -> None:
    station = given(
        variable_preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1"),
        ONLINE,
        in_transaction(1),
    )
    station.when(flow_reported(1, "suspended_ev"))
    assert of_kind(station.when(error_received()), CallParked)


def test_while_a_message_waits_for_its_next_attempt_general_calls_are_sent_e13_fr_03() -> None:
    station = station_with_event_in_flight()
    station.when(error_received())
    assert attempts_of(station.when(cable_plugged(2))) == [("StatusNotification", 1)]


def test_no_later_message_of_the_lane_overtakes_e13_fr_03() -> None:
    station = station_with_event_in_flight()
    station.when(error_received())
    assert attempts_of(station.when(flow_reported(1, "charging"))) == []


def test_a_lost_link_is_no_failed_attempt() -> None:
    station = station_with_event_in_flight()
    for _ in range(5):
        decisions = station.when(LINK_LOST, LINK_OPENED)
        assert not of_kind(decisions, CallAttemptFailed)
        assert attempts_of(decisions) == [("TransactionEvent", 1)]
    assert station.state.outbox.failed_attempts == 0


def test_failures_before_the_link_broke_still_count_e13_fr_02() -> None:
    station = station_with_event_in_flight()
    station.when(error_received(), time_passed(seconds=10), error_received(), LINK_LOST)
    decisions = station.when(LINK_OPENED, time_passed(seconds=20))
    assert attempts_of(decisions)[-1] == ("TransactionEvent", 3)
    assert of_kind(station.when(error_received()), CallParked)


def test_failures_before_a_restart_still_count_e13_fr_02() -> None:
    station = station_with_event_in_flight()
    station.when(
        error_received(),
        time_passed(seconds=10),
        error_received(),
        station_restarted(boot_id="boot-2"),
    )
    station.when(
        cable_unplugged(1), LINK_OPENED, result_received_for("BootNotification", **boot_response())
    )
    while station.in_flight and station.in_flight.action != "TransactionEvent":
        station.when(result_received_for(station.in_flight.action))
    assert station.in_flight
    assert station.in_flight.attempt == 3


def boot_response() -> Json:
    return accept_everything("BootNotification", {}) or {}


# --- Late answers --------------------------------------------------------------------------------


def late_result(station: Station) -> Step:
    """The answer to the attempt in flight, to be sent later."""
    assert station.in_flight
    return frame_received(json.dumps([3, station.in_flight.message_id, {}]))


def test_a_late_answer_still_counts() -> None:
    station = station_with_event_in_flight()
    call = station.in_flight.call_seq if station.in_flight else 0
    answer = late_result(station)
    station.when(time_passed(seconds=30))
    [delivered] = of_kind(station.when(answer), CallDelivered)
    assert delivered.call_seq == call
    again = of_kind(station.when(time_passed(seconds=100)), CallAttempted)
    assert call not in [decision.call_seq for decision in again]


def test_a_late_answer_during_the_next_attempt_settles_the_call_once() -> None:
    station = station_with_event_in_flight()
    call = station.in_flight.call_seq if station.in_flight else 0
    answer = late_result(station)
    station.when(time_passed(seconds=40))
    assert station.in_flight
    assert station.in_flight.attempt == 2
    second = late_result(station)
    station.when(flow_reported(1, "charging"), answer)
    assert call not in station.state.outbox.transaction
    assert station.state.outbox.in_flight  # Part 4 §4.1.1: the second attempt is still open
    decisions = station.when(second)
    assert attempts_of(decisions) == [("TransactionEvent", 1)]


def test_an_attempt_that_was_settled_late_may_still_time_out() -> None:
    station = station_with_event_in_flight()
    answer = late_result(station)
    station.when(time_passed(seconds=40), flow_reported(1, "charging"), answer)
    decisions = station.when(time_passed(seconds=30))
    assert attempts_of(decisions) == [("TransactionEvent", 1)]
    assert station.state.outbox.failed_attempts == 0


def test_a_late_answer_to_a_parked_message_counts() -> None:
    station = station_with_event_in_flight()
    answer = late_result(station)
    station.when(time_passed(seconds=30 + 10 + 30 + 20 + 30))
    assert station.state.outbox.parked
    assert of_kind(station.when(answer), CallDelivered)
    assert not station.state.outbox.parked


def test_an_answer_to_nothing_is_nothing() -> None:
    station = station_with_event_in_flight()
    before = station.state
    assert (
        station.when(
            frame_received('[3,"who",{}]'), frame_received('[4,"who","InternalError","",{}]')
        )
        == []
    )
    assert station.state.outbox == before.outbox


def test_a_parked_message_can_be_sent_again() -> None:
    station = station_with_event_in_flight()
    station.when(time_passed(seconds=30 + 10 + 30 + 20 + 30))
    [parked] = station.state.outbox.parked
    decisions = station.when(CallRetryRequested((parked.call_seq,)))
    assert attempts_of(decisions) == [("TransactionEvent", 1)]
    station.when(csms_answers())
    assert not station.state.outbox.parked
    assert not station.state.outbox.transaction


def test_a_message_that_is_tried_again_goes_before_what_came_after_it() -> None:
    station = station_with_event_in_flight()
    station.when(time_passed(seconds=30 + 10 + 30 + 20 + 30))
    [parked] = station.state.outbox.parked
    waiting = list(station.state.outbox.transaction)
    station.when(LINK_LOST, charging_started(1), CallRetryRequested((parked.call_seq,)))
    lane = list(station.state.outbox.transaction)
    assert len(lane) > len(waiting)
    assert lane[1:] == sorted(lane[1:])


# --- Order ---------------------------------------------------------------------------------------


def test_the_lane_keeps_its_order_through_a_long_absence_e11_fr_01() -> None:
    station = given(ONLINE, LINK_LOST)
    for name in ("alice", "bob"):
        who = id_token_named(name)
        station.when(cable_plugged(1), presented(who, evse_id=1))
        station.when(*(flow_reported(1, what) for what in ("charging", "suspended_ev") * 3))
        station.when(flow_reported(1, "none"), cable_unplugged(1), time_passed(seconds=10))
    waiting = tuple(station.state.outbox.transaction)
    decisions = station.with_csms(accept_everything, LINK_OPENED)
    sent = [decision.call_seq for decision in of_kind(decisions, CallDelivered)]
    assert [call for call in sent if call in waiting] == list(waiting)


def test_a_call_that_came_before_goes_before() -> None:
    station = station_with_event_in_flight()
    station.when(cable_plugged(2), flow_reported(1, "charging"))
    decisions = station.when(csms_answers())
    assert [action for action, _ in attempts_of(decisions)] == [
        "StatusNotification",
        "TransactionEvent",
    ]


def test_a_backlog_silences_nothing() -> None:
    """A status is sent at once, and not after a month of transaction messages."""
    station = given(ONLINE, in_transaction(1), LINK_LOST)
    for _ in range(BACKLOG_MIN):
        station.when(flow_reported(1, "suspended_ev"), flow_reported(1, "charging"))
    decisions = station.when(LINK_OPENED, cable_plugged(2))
    assert attempts_of(decisions)[0] == ("TransactionEvent", 1)
    decisions = station.when(result_received_for("TransactionEvent"))
    assert attempts_of(decisions) == [("StatusNotification", 1)]


def test_a_retried_message_has_the_same_payload() -> None:
    station = station_with_event_in_flight()
    first = station.desired.call
    station.when(error_received(), time_passed(seconds=10))
    second = station.desired.call
    assert first
    assert second
    assert station.payload_of_call(first.call) == station.payload_of_call(second.call)
    assert first.call == second.call


# --- Offline -------------------------------------------------------------------------------------


def test_an_event_from_an_offline_period_is_marked_offline_e04_fr_03_e08_fr_07() -> None:
    station = given(ONLINE, in_transaction(1), LINK_LOST)
    station.when(flow_reported(1, "suspended_ev"), LINK_OPENED)
    assert station.desired.call
    assert station.desired.call.offline


def test_an_event_that_waited_when_the_link_closed_is_marked_offline_e11_fr_07() -> None:
    station = station_with_event_in_flight()
    assert station.desired.call
    assert not station.desired.call.offline
    station.when(LINK_LOST, LINK_OPENED)
    assert station.desired.call
    assert station.desired.call.action == "TransactionEvent"
    assert station.desired.call.offline


def test_an_event_after_the_link_opened_is_not_marked_offline_e12_fr_02() -> None:
    station = given(ONLINE, LINK_LOST, LINK_OPENED, in_transaction(1))
    station.when(flow_reported(1, "suspended_ev"))
    assert station.desired.call
    assert not station.desired.call.offline


def test_a_call_that_is_no_transaction_message_is_never_offline() -> None:
    station = given(variable_preset("OCPPCommCtrlr.QueueAllMessages", "true"), ONLINE, LINK_LOST)
    station.when(cable_plugged(2), LINK_OPENED)
    assert station.desired.call
    assert station.desired.call.action == "StatusNotification"
    assert not station.desired.call.offline


# --- The rest ------------------------------------------------------------------------------------


def test_calls_that_need_not_arrive_are_dropped_with_the_link() -> None:
    station = given(ONLINE)
    station.when(called("TriggerMessage", requestedMessage="Heartbeat"), LINK_LOST)
    assert "Heartbeat" not in [info.action for info in station.state.outbox.general_info.values()]


def test_with_queue_all_messages_everything_waits_for_the_link() -> None:
    station = given(variable_preset("OCPPCommCtrlr.QueueAllMessages", "true"), ONLINE, LINK_LOST)
    station.when(cable_plugged(1), cable_unplugged(1), cable_plugged(1))
    decisions = station.with_csms(accept_everything, LINK_OPENED)
    assert [action for action, _ in attempts_of(decisions)] == ["StatusNotification"] * 3


def test_a_kept_call_that_got_no_answer_goes_behind_the_others() -> None:
    station = given(variable_preset("OCPPCommCtrlr.QueueAllMessages", "true"), ONLINE)
    station.when(cable_plugged(1), cable_plugged(2))
    first = station.in_flight.call_seq if station.in_flight else 0
    station.when(time_passed(seconds=30))
    assert station.in_flight
    assert station.in_flight.call_seq != first
    assert first in station.state.outbox.general


def test_a_status_the_csms_refuses_is_not_sent_again_for_ever() -> None:
    decisions = given(ONLINE).when(
        cable_plugged(1), error_received("InternalError"), time_passed(seconds=60)
    )
    assert attempts_of(decisions) == [("StatusNotification", 1)]


def test_a_call_the_csms_refused_is_not_asked_twice() -> None:
    station = given(variable_preset("OCPPCommCtrlr.QueueAllMessages", "true"), ONLINE)
    decisions = station.when(
        cable_plugged(1), error_received("NotSupported"), time_passed(seconds=60)
    )
    assert attempts_of(decisions) == [("StatusNotification", 1)]
    assert not station.state.outbox.general


def test_at_most_one_call_is_in_flight() -> None:
    """The stories check it after each step; here many things happen at once."""
    station = given(ONLINE, csms=answer_boot_only)
    decisions = station.when(
        cable_plugged(1),
        cable_plugged(2),
        presented(id_token_named("alice"), evse_id=1),
        presented(id_token_named("bob"), evse_id=2),
        called("TriggerMessage", requestedMessage="Heartbeat"),
        called("GetBaseReport", requestId=1, reportBase="FullInventory"),
    )
    assert len(of_kind(decisions, CallQueued)) > 5
    assert attempts_of(decisions) == []  # the earlier StatusNotification is still unanswered


def test_messages_wait_while_some_of_a_transaction_do_e14_fr_04() -> None:
    station = given(ONLINE, in_transaction(1), LINK_LOST)
    transaction_id = station.open_transaction.transaction_id
    station.when(flow_reported(1, "suspended_ev"), LINK_OPENED)
    requested = called("GetTransactionStatus", transactionId=transaction_id)
    assert response_payload_in(station.when(requested)) == {
        "ongoingIndicator": True,
        "messagesInQueue": True,
    }
    station.when(csms_answers())
    assert response_payload_in(station.when(requested)) == {
        "ongoingIndicator": True,
        "messagesInQueue": False,
    }


def test_after_a_power_cut_the_unanswered_message_is_the_only_one_sent_twice() -> None:
    station = given(ONLINE, in_transaction(1), csms=accept_everything)
    station.when(
        flow_reported(1, "suspended_ev"),
        flow_reported(1, "charging"),
        flow_reported(1, "suspended_ev"),
    )
    unanswered = station.in_flight.call_seq if station.in_flight else 0
    waiting = tuple(station.state.outbox.transaction)
    assert waiting[0] == unanswered
    assert len(waiting) == 3
    decisions = station.with_csms(
        accept_everything,
        station_restarted(boot_id="boot-2", gap_s=5),
        cable_plugged(1),
        charging_started(1),
        LINK_OPENED,
    )
    again = [
        decision.call_seq
        for decision in of_kind(decisions, CallAttempted)
        if decision.call_seq in waiting
    ]
    assert again == list(waiting)
