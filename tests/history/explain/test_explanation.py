"""Explanations of entries and transactions: reasons, causes, messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from msgspec.structs import replace

from journal.events import Decision, Entry, Event, IdToken, Observation
from journal.observations import (
    CallPayloadLost,
    DeviceFaulted,
    EvStoppedCharging,
    StopButtonPressed,
    StorageReported,
)
from journal.projections.authorizations import (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
)
from journal.projections.outbox import (
    CallAttempted,
    CallAttemptFailed,
    CallParked,
    CallQueued,
    CallRetryRequested,
)
from journal.projections.transactions import TransactionStarted, TransactionStopOrdered
from station.core import decide
from station.core.context import Context
from station.history.explain.causes import build_causal_graph
from station.history.explain.explanation import History, explain_entry, explain_transaction
from tests.support.story import (
    ALICE,
    BOB,
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
    charging_stopped,
    contactor_reported,
    csms_answers,
    device_faulted,
    error_received,
    flow_reported,
    given,
    id_token_named,
    in_sequence,
    in_transaction,
    meter_read,
    presented,
    result_received,
    station_restarted,
    time_passed,
    variable_preset,
)

CAROL = id_token_named("carol")


def csms_blocking_bob(action: str, payload: Json) -> Json | None:
    """A CSMS that accepts every idToken except BOB."""
    if payload.get("idToken", {}).get("idToken") == BOB.ref:
        return {"idTokenInfo": {"status": "Blocked"}}
    return accept_everything(action, payload)


def history_of(station: Station) -> History:
    entries = {entry.seq: entry for entry in station.entries}
    return History(build_causal_graph(station.entries), entries.get)


def last_entry(station: Station, kind: type[Event]) -> Entry:
    return [entry for entry in station.entries if isinstance(entry.event, kind)][-1]


def answers_about(station: Station, kind: type[Event]) -> str:
    """The answers about the last entry of a kind."""
    return "\n".join(explain_entry(history_of(station), last_entry(station, kind).seq).answers)


def causes_of_last(station: Station, kind: type[Event]) -> list[str]:
    """Kinds of the causes of the last entry of a kind."""
    cause_seqs = history_of(station).graph.trace_causes(last_entry(station, kind).seq)
    return [type(station.entries[seq - 1].event).__name__ for seq in cause_seqs]


FULL = StorageReported("full", 0)
CONNECTOR = {"id": 1, "connectorId": 1}


# --- Refusals -------------------------------------------------------------------


def station_after_refusal(*steps: Step, id_token: IdToken = BOB) -> Station:
    station = given(ONLINE, csms=csms_blocking_bob)
    station.with_csms(csms_blocking_bob, *steps, presented(id_token, evse_id=1))
    return station


def test_a_refusal_by_the_csms_is_explained_c01_fr_07() -> None:
    station = station_after_refusal(cable_plugged(1))
    assert (
        answers_about(station, AuthorizationRefused)
        == "Because the CSMS answered Blocked (C01.FR.07)."
    )
    assert causes_of_last(station, AuthorizationRefused) == [
        "IdTokenPresented",
        "AuthorizationRequested",
        "CallQueued",
        "CallAttempted",
        "FrameReceived",
        "AuthorizationRefused",
    ]


def test_a_presented_card_is_explained_with_its_refusal() -> None:
    station = station_after_refusal(cable_plugged(1))
    presented_at = next(
        entry.seq for entry in station.entries if "Presented" in type(entry.event).__name__
    )
    explanation = explain_entry(history_of(station), presented_at)
    assert any(": Blocked, because the CSMS answered" in answer for answer in explanation.answers)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (
            (LINK_LOST,),
            "Because the CSMS could not be asked, and the IdToken is not cached: only "
            "OfflineTxForUnknownIdEnabled would accept it (C15.FR.08).",
        ),
        (
            (device_faulted(1),),
            "Because EVSE 1 had a fault, contactor welded (ConnectorStatusEnumType).",
        ),
        ((FULL,), "Because the disk had space left only to end open transactions."),
        (
            (called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}),),
            "Because the CSMS requested Inoperative for EVSE 1 (G03.FR.06).",
        ),
        (
            (called("ChangeAvailability", operationalStatus="Inoperative", evse=CONNECTOR),),
            "Because the CSMS requested Inoperative for EVSE 1 connector 1 (G03.FR.04).",
        ),
        (
            (in_transaction(1),),
            "Because no EVSE was free, and the IdToken can stop no open transaction (C09.FR.03).",
        ),
    ],
    ids=["offline", "faulted", "full", "out of service", "connector", "taken"],
)
def test_a_refusal_by_the_station_is_explained(steps: tuple[Step, ...], why: str) -> None:
    assert (
        answers_about(
            station_after_refusal(*steps, id_token=CAROL), AuthorizationRefused
        ).splitlines()[0]
        == why
    )


def test_an_offline_refusal_has_the_lost_link_as_its_cause() -> None:
    station = station_after_refusal(cable_plugged(1), LINK_LOST, id_token=CAROL)
    assert causes_of_last(station, AuthorizationRefused) == [
        "LinkClosed",
        "IdTokenPresented",
        "AuthorizationRefused",
    ]


def test_an_offline_authorization_has_the_lost_link_as_its_cause_c15_fr_08() -> None:
    lenient = variable_preset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
    station = given(lenient, ONLINE, cable_plugged(1), LINK_LOST, presented(CAROL, evse_id=1))
    assert "C15.FR.08" in answers_about(station, AuthorizationGranted)
    assert causes_of_last(station, AuthorizationGranted)[0] == "LinkClosed"


def test_a_refusal_without_an_answer_has_the_request_as_its_cause() -> None:
    station = given(ONLINE, cable_plugged(1))
    station.with_csms(answer_boot_only, presented(CAROL, evse_id=1), time_passed(seconds=60))
    assert "the CSMS sent no valid answer" in answers_about(station, AuthorizationRefused)
    assert causes_of_last(station, AuthorizationRefused)[:4] == [
        "IdTokenPresented",
        "AuthorizationRequested",
        "CallQueued",
        "CallAttempted",
    ]


def test_a_cached_refusal_leads_to_the_answer_that_was_cached_and_no_further() -> None:
    """Independent of how often the card was presented before."""
    station = given(ONLINE, cable_plugged(1))
    for _ in range(3):
        station.with_csms(csms_blocking_bob, presented(BOB, evse_id=1))
    station.when(LINK_LOST, presented(BOB, evse_id=1))
    assert causes_of_last(station, AuthorizationRefused) == [
        "FrameReceived",
        "AuthCacheUpdated",
        "LinkClosed",
        "IdTokenPresented",
        "AuthorizationRefused",
    ]


# --- Starts ---------------------------------------------------------------------------

START: Final = "TxCtrlr.TxStartPoint"


@pytest.mark.parametrize(
    ("point", "steps", "why"),
    [
        ("EVConnected", (cable_plugged(1),),
         "an EV was plugged in: TxStartPoint EVConnected was reached (E01.FR.02)"),
        ("Authorized", (presented(ALICE, evse_id=1),),
         "the CSMS accepted the IdToken (C01.FR.02): TxStartPoint Authorized was reached"),
        ("Authorized", (presented(ALICE),), "TxStartPoint Authorized was reached (E01.FR.03)."),
        ("PowerPathClosed", (cable_plugged(1), presented(ALICE)),
         "TxStartPoint PowerPathClosed was reached (E01.FR.05)"),
        ("PowerPathClosed", (presented(ALICE), cable_plugged(1)),
         "TxStartPoint PowerPathClosed was reached (E01.FR.05)"),
        ("EVConnected,PowerPathClosed", (cable_plugged(1), presented(ALICE)), "(E01.FR.02)"),
        ("EnergyTransfer", (cable_plugged(1), presented(ALICE), charging_started(1)),
         "energy began to flow: TxStartPoint EnergyTransfer was reached (E01.FR.06)"),
    ],
    ids=["cable", "card", "card before the cable", "cable, card", "card, cable", "two", "energy"],
)  # fmt: skip
def test_a_start_is_explained_by_its_start_point_e01_fr_06(
    point: str, steps: tuple[Step, ...], why: str
) -> None:
    station = given(variable_preset(START, point), ONLINE, *steps)
    assert why in answers_about(station, TransactionStarted)


# --- Stops ----------------------------------------------------------------------------


def station_after_stop(*steps: Step) -> Station:
    station = given(ONLINE, meter_read(1, "1000"), in_transaction(1))
    station.when(*steps)
    return station


@pytest.mark.parametrize(
    ("step", "why", "first"),
    [
        (
            presented(ALICE, evse_id=1),
            "that started it was presented (E07.FR.01",
            "IdTokenPresented",
        ),
        (StopButtonPressed(1), "the stop button was pressed (E07.FR.05", "StopButtonPressed"),
        (EvStoppedCharging(1), "the EV ended its session (E15.FR.04", "EvStoppedCharging"),
        (cable_unplugged(1), "the EV was disconnected (E09.FR.01", "CableReported"),
        (
            device_faulted(1),
            "EVSE 1 had a fault, contactor welded: charging was not allowed (E06.FR.16)",
            "DeviceFaulted",
        ),
        (device_faulted(0), "the station had a fault, contactor welded", "DeviceFaulted"),
        (
            called("Reset", type="Immediate"),
            "immediate reset was requested (B12.FR.04)",
            "FrameReceived",
        ),
        (FULL, "the disk had space left only to end open transactions", "StorageReported"),
    ],
    ids=["card", "button", "EV", "cable", "fault", "fault of all", "reset", "full"],
)
def test_a_stop_is_explained_by_its_cause(step: Step, why: str, first: str) -> None:
    station = station_after_stop(step)
    assert why in answers_about(station, TransactionStopOrdered)
    assert causes_of_last(station, TransactionStopOrdered)[0] == first


def test_a_remote_stop_has_the_frame_as_its_cause_f03_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(
        called("RequestStopTransaction", transactionId=station.open_transaction.transaction_id)
    )
    assert "the CSMS requested it (F03.FR.03): TxStopPoint" in answers_about(
        station, TransactionStopOrdered
    )
    assert causes_of_last(station, TransactionStopOrdered)[0] == "FrameReceived"


def test_a_token_rejected_after_an_offline_start_is_explained_c15_fr_04() -> None:
    station = given(
        variable_preset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true"),
        ONLINE,
        cable_plugged(1),
        LINK_LOST,
    )
    station.when(
        presented(BOB, evse_id=1), charging_started(1), LINK_OPENED, csms_answers(csms_blocking_bob)
    )
    assert "the CSMS does not accept the IdToken" in answers_about(station, TransactionStopOrdered)
    assert "C15.FR.04" in answers_about(station, TransactionStopOrdered)
    led = causes_of_last(station, TransactionStopOrdered)
    assert led[:3] == ["CableReported", "LinkClosed", "IdTokenPresented"]
    assert led[-3:] == ["FrameReceived", "AuthorizationEnded", "TransactionStopOrdered"]


def test_a_power_loss_is_distinguished_from_a_fault() -> None:
    station = given(ONLINE, meter_read(1, "1000"), in_transaction(1))
    station.when(station_restarted(boot_id="boot-2", gap_s=4_000), ONLINE)
    assert "the power supply was lost" in answers_about(station, TransactionStopOrdered)
    assert "StationStarted" in causes_of_last(station, TransactionStopOrdered)


def test_a_connection_timeout_is_explained_e03_fr_05() -> None:
    station = given(ONLINE, presented(ALICE, evse_id=1))
    station.with_csms(accept_everything, time_passed(seconds=600))
    assert "no EV was plugged in within EVConnectionTimeOut (E03.FR.05)" in answers_about(
        station, AuthorizationEnded
    )
    assert "AuthorizationGranted" in causes_of_last(station, AuthorizationEnded)


def test_transaction_event_ended_is_explained_by_its_stop() -> None:
    station = station_after_stop(StopButtonPressed(1), charging_stopped(1))
    ended = [entry for entry in station.entries if isinstance(entry.event, CallQueued)][-1]
    explanation = explain_entry(history_of(station), ended.seq)
    assert any("because the stop button was pressed" in answer for answer in explanation.answers)


# --- Statuses ----------------------------------------------------------------------


def last_status_call(station: Station) -> Entry:
    """The last StatusNotification."""
    status_calls = [entry for entry in station.entries if isinstance(entry.event, CallQueued)
             and entry.event.connector_status is not None]  # fmt: skip
    return status_calls[-1]


@pytest.mark.parametrize(
    ("step", "why", "first"),
    [
        (
            called("ChangeAvailability", operationalStatus="Inoperative"),
            "the CSMS requested Inoperative for the station (G04.FR.07)",
            "FrameReceived",
        ),
        (
            in_sequence(called("Reset", type="Immediate"), time_passed(seconds=5)),
            "the station was about to restart (B11.FR.03)",
            "FrameReceived",
        ),
        (device_faulted(2), "EVSE 2 had a fault, contactor welded", "DeviceFaulted"),
        (FULL, "the disk had space left only to end open transactions", "StorageReported"),
    ],
    ids=["ordered", "restart", "fault", "full"],
)
def test_a_status_is_explained_by_its_cause(step: Step, why: str, first: str) -> None:
    station = given(ONLINE)
    station.when(step)
    explanation = explain_entry(history_of(station), last_status_call(station).seq)
    assert why in explanation.answers[0]
    led = explanation.sections[0].entries
    assert led[0].entry is not None
    assert type(led[0].entry.event).__name__ == first


def test_a_status_reported_after_a_restart_has_its_original_cause() -> None:
    station = given(ONLINE, called("ChangeAvailability", operationalStatus="Inoperative"))
    order = station.entries[-1].seq
    station.with_csms(accept_everything, station_restarted(), ONLINE)
    assert last_status_call(station).seq > order
    explanation = explain_entry(history_of(station), last_status_call(station).seq)
    assert "the CSMS requested Inoperative for the station" in explanation.answers[0]


def test_a_scheduled_change_has_its_order_as_its_cause_g03_fr_05() -> None:
    station = given(ONLINE, in_transaction(1))
    change = called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1})
    station.with_csms(
        accept_everything,
        change,
        presented(ALICE, evse_id=1),
        charging_stopped(1),
        cable_unplugged(1),
    )
    explanation = explain_entry(history_of(station), last_status_call(station).seq)
    kinds = [
        type(entry.entry.event).__name__ for entry in explanation.sections[0].entries if entry.entry
    ]
    assert "AvailabilityScheduled" in kinds


@pytest.fixture
def station_with_failing_rule(monkeypatch: pytest.MonkeyPatch) -> Station:
    """A station with a rule that fails at the stop button of EVSE 2."""

    def fails(ctx: Context) -> Iterator[Decision]:
        if isinstance(ctx.entry.event, StopButtonPressed) and ctx.entry.event.evse_id == 2:
            raise KeyError("poison")
        yield from ()

    monkeypatch.setattr(decide, "RULES", (fails, *decide.RULES))
    station = given(ONLINE, cable_plugged(1))
    station.checks.expect_no_failures = False
    station.when(StopButtonPressed(2))
    return station


def test_faulted_after_a_failed_rule_is_explained(
    station_with_failing_rule: Station,
) -> None:
    explanation = explain_entry(
        history_of(station_with_failing_rule), last_status_call(station_with_failing_rule).seq
    )
    assert explanation.answers[0].startswith("Because rule ")
    station_with_failing_rule.when(presented(CAROL, evse_id=1))
    assert "Because rule " in answers_about(station_with_failing_rule, AuthorizationRefused)


def test_a_message_with_an_unreadable_payload_is_explained() -> None:
    station = given(ONLINE, meter_read(1, "1000"), cable_plugged(1), presented(ALICE, evse_id=1))
    station.when(charging_started(1))
    assert station.in_flight is not None
    call = station.in_flight.call_seq
    station.decide_observation(CallPayloadLost(call, "its bytes are not what was written"))
    explanation = explain_entry(history_of(station), call).answers
    seq = last_entry(station, CallParked).seq
    why = "its payload cannot be read: its bytes are not what was written"
    assert f"It was parked, by entry {seq}: {why}." in explanation


# --- Messages ------------------------------------------------------------


def answers_about_resend(*steps: Step) -> tuple[str, ...]:
    """The answers about the TransactionEvent in flight before these steps."""
    station = given(ONLINE, meter_read(1, "1000"), cable_plugged(1), presented(ALICE, evse_id=1))
    station.when(charging_started(1))
    call = station.in_flight
    assert call is not None
    station.when(*steps)
    return explain_entry(history_of(station), call.call_seq).answers


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (
            (error_received("InternalError", "no"), time_passed(seconds=60)),
            "failed, InternalError: no (E13.FR.02, E13.FR.03).",
        ),
        ((time_passed(seconds=120),), "failed, no answer within 30 s (E13.FR.02, E13.FR.03)."),
        (
            (LINK_LOST, LINK_OPENED),
            "the link was lost before the answer, which does not count as a failed attempt "
            "(E11.FR.02).",
        ),
        (
            (station_restarted(), LINK_OPENED, csms_answers()),
            "the program ended before the answer was recorded (E11.FR.02).",
        ),
    ],
    ids=["CALLERROR", "timeout", "link", "restart"],
)
def test_a_resend_is_explained(steps: tuple[Step, ...], why: str) -> None:
    answers = answers_about_resend(*steps)
    assert "It was sent 2 times." in answers
    assert any(answer.endswith(why) for answer in answers), answers


def test_a_message_sent_once_is_described_so() -> None:
    assert "It was sent once." in answers_about_resend(csms_answers())


def test_an_attempt_that_may_not_have_been_sent_is_described_so() -> None:
    station = given(ONLINE, meter_read(1, "1000"), cable_plugged(1), presented(ALICE, evse_id=1))
    station.decide_observation(contactor_reported(1, closed=True))
    station.decide_observation(
        flow_reported(1, "charging")
    )  # a message is due, and the program ends before it goes
    call = station.in_flight
    assert call is not None
    tried = explain_entry(history_of(station), call.call_seq).answers
    assert "It was tried once; the journal does not show whether it was sent." in tried
    station.when(station_restarted(), LINK_OPENED, csms_answers())
    again = explain_entry(history_of(station), call.call_seq).answers
    assert "It was tried 2 times; the journal shows that it was sent once." in again


def test_a_parked_message_has_every_attempt_as_a_cause_e13_fr_04() -> None:
    station = given(ONLINE, meter_read(1, "1000"), cable_plugged(1), presented(ALICE, evse_id=1))
    station.when(charging_started(1))
    while not any(isinstance(entry.event, CallParked) for entry in station.entries):
        under_way = station.in_flight
        if under_way is None:
            station.when(time_passed(seconds=1))
        else:
            station.when(error_received() if under_way.lane == "transaction" else result_received())
    failed = [entry for entry in station.entries if isinstance(entry.event, CallAttemptFailed)]
    assert len(failed) > 1
    assert causes_of_last(station, CallParked).count("CallAttempted") == len(failed)
    assert "E13.FR.04" in answers_about(station, CallParked)


def test_a_resend_by_an_operator_is_explained() -> None:
    once = variable_preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1")
    station = given(
        once, ONLINE, meter_read(1, "1000"), cable_plugged(1), presented(ALICE, evse_id=1)
    )
    station.when(charging_started(1), error_received(), CallRetryRequested())
    assert "an operator requested it" in answers_about(station, CallAttempted)


# --- A transaction -------------------------------------------------------------------------------


@pytest.fixture
def session() -> Station:
    """A whole transaction; the link was lost during its second message."""
    station = given(ONLINE, meter_read(1, "1000"), cable_plugged(1), presented(ALICE, evse_id=1))
    station.when(
        charging_started(1),
        LINK_LOST,
        time_passed(seconds=10),
        StopButtonPressed(1),
        charging_stopped(1),
    )
    station.with_csms(accept_everything, LINK_OPENED)
    return station


def test_a_transaction_has_sections_for_start_changes_end_and_messages(session: Station) -> None:
    [name] = history_of(session).graph.entries_by_transaction
    explanation = explain_transaction(history_of(session), name)
    assert [section.title for section in explanation.sections] == [
        "Start",
        "Changes",
        "End",
        "Messages to the CSMS",
    ]
    assert explanation.answers[:2] == (
        "It started because the CSMS accepted the IdToken (C01.FR.02): "
        "TxStartPoint PowerPathClosed was reached (E01.FR.05).",
        "It ended because the stop button was pressed (E07.FR.05): TxStopPoint Authorized was "
        "reached (E06.FR.03).",
    )
    assert "The CSMS has answered 3 of its 3 messages." in explanation.answers
    lines = explanation.sections[-1].lines
    assert [line.split(",")[0] for line in lines if line.startswith("seqNo")] == [
        "seqNo 0 Started (Authorized",
        "seqNo 1 Updated (ChargingStateChanged",
        "seqNo 2 Ended (StopAuthorized",
    ]
    second = [line for line in lines if line.startswith("  attempt")][1:3]
    assert "the link was lost before the answer" in second[0]
    assert "marked offline: entry" in second[1]


def test_an_open_transaction_is_described_so() -> None:
    station = given(ONLINE, in_transaction(1), csms=answer_boot_only)
    [name] = history_of(station).graph.entries_by_transaction
    explanation = explain_transaction(history_of(station), name)
    assert "It has not ended." in explanation.answers
    assert explanation.heading.endswith("to now UTC")


def without_codes(entries: list[Entry]) -> list[Entry]:
    """The entries as a release wrote them that recorded no reasons."""

    def older(event: Event) -> Event:
        if isinstance(event, CallQueued) and event.connector_status:
            return replace(event, connector_status=replace(event.connector_status, because=""))
        return replace(event, because="") if hasattr(event, "because") else event

    return [replace(entry, event=older(entry.event)) for entry in entries]


def test_of_an_older_release_why_reports_that_no_reason_was_recorded(session: Station) -> None:
    entries = {entry.seq: entry for entry in without_codes(session.entries)}
    history = History(build_causal_graph(entries.values()), entries.get)
    stop = last_entry(session, TransactionStopOrdered)
    assert explain_entry(history, stop.seq).answers[0] == (
        f"Because of entry {stop.cause}. The release that decided it did not record the reason."
    )
    [name] = history.graph.entries_by_transaction
    assert explain_transaction(history, name).answers[:2] == (
        "It started because of the entries below; the release that decided it recorded no reason.",
        "It ended because of the entries below; the release that decided it recorded no reason.",
    )


# --- Invariants ---------------------------------------------------------------------------


def test_every_decision_leads_back_to_an_observation(session: Station) -> None:
    links = history_of(session).graph
    for entry in session.entries:
        assert all(seq < entry.seq for seq in links.direct_causes(entry.seq))
        first = session.entries[links.trace_causes(entry.seq)[0] - 1]
        assert isinstance(first.event, Observation), entry
        if isinstance(entry.event, Decision):
            assert links.direct_causes(entry.seq), entry


def test_an_unreadable_entry_leaves_a_gap_and_no_error(session: Station) -> None:
    entries = {entry.seq: entry for entry in session.entries}
    [name] = history_of(session).graph.entries_by_transaction
    for missing in entries:
        rest = {seq: entry for seq, entry in entries.items() if seq != missing}
        causes = build_causal_graph(rest.values())
        torn = History(causes, rest.get)
        for seq in entries:
            unread = explain_entry(torn, seq).heading == f"Entry {seq}: cannot be read"
            assert unread is (seq == missing)
        if name in causes.entries_by_transaction:
            assert name in explain_transaction(torn, name).heading


def test_a_fault_that_has_ended_is_no_cause() -> None:
    station = given(ONLINE)
    station.when(device_faulted(1), called("ChangeAvailability", operationalStatus="Inoperative"))
    fault = last_entry(station, DeviceFaulted).seq
    assert fault in history_of(station).graph.trace_causes(
        next(entry.seq for entry in station.entries if isinstance(entry.event, CallQueued)
             and entry.event.connector_status and entry.event.connector_status.status == "Faulted")
    )  # fmt: skip
    assert fault not in history_of(station).graph.trace_causes(last_status_call(station).seq)
