"""Subjects of entries and filters by EVSE, transaction, block and kind."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from journal.events import Entry
from journal.observations import (
    CableReported,
    ClockStepped,
    DeviceFaulted,
    FrameReceived,
    FrameSent,
    IdTokenPresented,
    StationStarted,
    StorageReported,
)
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.clock import ClockCorrected
from journal.projections.outbox import CallAttempted, CallDelivered, CallQueued
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued
from journal.projections.transactions import TransactionStarted
from journal.projections.variables import VariableChanged
from station.history.filter import EntryFilter, FilterCriteria
from station.history.subjects import BLOCKS, Subject, SubjectTracker, find_block
from station.ocpp.messages import ACTIONS
from tests.support.story import (
    ALICE,
    BOB,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    Step,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    device_faulted,
    given,
    in_transaction,
    meter_read,
    presented,
    station_restarted,
    time_passed,
)


def concerns_of(entries: Iterable[Entry]) -> list[tuple[Entry, Subject]]:
    subjects = SubjectTracker()
    return [(entry, subjects.find_subject(entry)) for entry in entries]


def filtered_entries(
    entries: Iterable[Entry], criteria: FilterCriteria, first: int = 1
) -> list[Entry]:
    entry_filter = EntryFilter(criteria, first)
    passed = [entry for entry in entries for entry in entry_filter.filter_entry(entry)]
    return [*passed, *entry_filter.flush_group()]


def time_with_csms(*, seconds: int) -> list[Step]:
    """Time passes in steps below the message timeout, so that the CSMS answers."""
    return [time_passed(seconds=20)] * (seconds // 20)


@pytest.fixture(scope="module")
def two_sessions() -> Station:
    """A transaction at each EVSE at the same time, one of them across a lost link and a restart."""
    return given(
        ONLINE,
        in_transaction(1, ALICE),
        in_transaction(2, BOB),
        *time_with_csms(seconds=60),
        LINK_LOST,
        time_passed(seconds=65),
        station_restarted(),
        meter_read(1, "1500"),
        meter_read(2, "2500"),
        cable_plugged(1),
        charging_started(1),
        cable_plugged(2),
        charging_started(2),
        LINK_OPENED,
        *time_with_csms(seconds=100),
        presented(ALICE, evse_id=1),
        charging_stopped(1),
        cable_unplugged(1),
        device_faulted(2),
        charging_stopped(2),
        cable_unplugged(2),
        called("SetVariables", setVariableData=[
            {
                "attributeValue": "60",
                "component": {"name": "OCPPCommCtrlr"},
                "variable": {"name": "HeartbeatInterval"},
            }
        ]),
        *time_with_csms(seconds=20),
    )  # fmt: skip


def transaction_ids(station: Station) -> dict[int, str]:
    """The transactionId at each EVSE."""
    events = [entry.event for entry in station.entries]
    starts = [event for event in events if isinstance(event, TransactionStarted)]
    assert [start.evse_id for start in starts] == [1, 2]
    return {start.evse_id: start.transaction_id for start in starts}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_a_block(action: str) -> None:
    assert find_block(action) in list(BLOCKS)


@pytest.mark.parametrize(
    ("action", "block"),
    [
        ("BootNotification", "B"),
        ("TransactionEvent", "E"),
        ("MeterValues", "J"),
        ("Nonsense", None),
    ],
)
def test_the_block_of_an_action_is_that_of_ocpp(action: str, block: str | None) -> None:
    assert find_block(action) == block


def test_a_step_of_the_clock_concerns_every_evse() -> None:
    """A transcript of one EVSE that hides it shows times that contradict each other."""
    station = given(ONLINE, cable_plugged(1), ClockStepped(-50_000), StorageReported("full", 0))
    for evse_id in (1, 2):
        criteria = FilterCriteria(evse_ids=frozenset({evse_id}))
        events = [entry.event for entry in filtered_entries(station.entries, criteria)]
        assert {ClockStepped, ClockCorrected, StationStarted, StorageReported} <= set(
            map(type, events)
        )
        cables = [event for event in events if isinstance(event, CableReported)]
        assert {cable.evse_id for cable in cables} == {evse_id}


def test_a_message_is_followed_from_the_queue_to_its_delivery(two_sessions: Station) -> None:
    """Every message of a transaction: queued, attempted, sent, answered, delivered."""
    for evse_id, name in transaction_ids(two_sessions).items():
        concerns = concerns_of(two_sessions.entries)
        calls = {
            entry.seq
            for entry, _ in concerns
            if isinstance(entry.event, CallQueued)
            and entry.event.transaction_event is not None
            and entry.event.transaction_event.transaction_id == name
        }
        attempts = {
            entry.event.message_id
            for entry, _ in concerns
            if isinstance(entry.event, CallAttempted) and entry.event.call_seq in calls
        }
        assert len(calls) > 5
        assert len(attempts) >= len(calls)
        for entry, concern in concerns:
            if is_about_calls(entry, calls, attempts):
                assert concern.transaction_ids == {name}, entry
                assert concern.evse_ids == {evse_id}, entry
                assert concern.blocks == {"E"}, entry
            elif (
                isinstance(entry.event, CallAttempted | CallDelivered | CallQueued | FrameSent)
                and "N" not in concern.blocks  # an event of a monitor may be of the transaction
            ):
                assert name not in concern.transaction_ids, entry


def is_about_calls(entry: Entry, calls: set[int], attempts: set[str]) -> bool:
    """Whether an entry is a step of one of these messages."""
    event = entry.event
    if isinstance(event, FrameReceived):
        return any(f'[3, "{entry}"'.encode() in bytes(event.frame) for entry in attempts)
    if isinstance(event, FrameSent):
        return event.message_id in attempts
    if isinstance(event, CallAttempted | CallDelivered):
        return event.call_seq in calls
    return entry.seq in calls


def test_an_answer_has_the_subject_of_its_request(two_sessions: Station) -> None:
    [(asked, concern), *_] = [
        (entry, concern)
        for entry, concern in concerns_of(two_sessions.entries)
        if isinstance(entry.event, FrameReceived) and b"SetVariables" in bytes(entry.event.frame)
    ]
    assert concern.blocks == {"B"}
    shown = filtered_entries(
        two_sessions.entries[asked.seq - 1 :], FilterCriteria(blocks=frozenset("B"))
    )
    kinds = [type(entry.event) for entry in shown]
    assert kinds == [FrameReceived, VariableChanged, CallResultQueued, FrameSent]


def test_entries_of_the_other_evse_are_filtered_out(two_sessions: Station) -> None:
    names = transaction_ids(two_sessions)
    for evse_id, other in ((1, 2), (2, 1)):
        shown = filtered_entries(
            two_sessions.entries, FilterCriteria(evse_ids=frozenset((evse_id,)))
        )
        started = [
            entry.event.transaction_id
            for entry in shown
            if isinstance(entry.event, TransactionStarted)
        ]
        assert started == [names[evse_id]]
        causes = {entry.cause for entry in shown}  # one reading can be a cause of both samples
        assert not [
            entry
            for entry in shown
            if getattr(entry.event, "evse_id", evse_id) == other and entry.seq not in causes
        ]


def test_an_entry_of_the_whole_station_matches_every_evse() -> None:
    """Also the second fault, which causes no decision: the EVSEs are out of service already."""
    devices = ["emergency_stop", "cabinet"]
    station = given(ONLINE, *(device_faulted(0, device, "any") for device in devices))
    for evse_id in (1, 2):
        shown = filtered_entries(station.entries, FilterCriteria(evse_ids=frozenset((evse_id,))))
        assert [
            entry.event.device for entry in shown if isinstance(entry.event, DeviceFaulted)
        ] == devices


def test_results_and_errors_have_the_subject_of_the_request() -> None:
    station = given(ONLINE)
    answered = station.when(called("UnlockConnector", evseId=2, connectorId=1))
    refused = station.when(called("UnlockConnector", evseId=2, connectorId="1"))
    answers = [
        entry
        for entry in (*answered, *refused)
        if isinstance(entry, CallResultQueued | CallErrorQueued)
    ]
    assert len(answers) == 2
    for entry, concern in concerns_of(station.entries):
        if entry.event in answers:
            assert concern.evse_ids == {2}
            assert concern.blocks == {"F"}


def test_a_transaction_without_an_evse_does_not_match_every_evse() -> None:
    """E01.FR.17: authorized, and no EV is plugged in yet."""
    station = given(ONLINE)
    start = TransactionStarted(transaction_id="t-1", evse_id=0, trigger_reason="Authorized")
    concern = SubjectTracker().find_subject(
        Entry(len(station.entries) + 1, station.at, 1, start, 1)
    )
    assert concern == Subject(transaction_ids=frozenset(("t-1",)))


def test_an_observation_matches_if_one_of_its_decisions_does(
    two_sessions: Station,
) -> None:
    for evse_id in (1, 2):
        shown = filtered_entries(
            two_sessions.entries, FilterCriteria(evse_ids=frozenset((evse_id,)))
        )
        frames = [entry.seq for entry in shown if isinstance(entry.event, FrameReceived)]
        causes = {entry.cause for entry in shown}
        assert frames
        assert causes.issuperset(frames)


def test_an_authorization_before_the_cable_gets_the_evse_of_the_cable() -> None:
    station = given(ONLINE, presented(ALICE), cable_plugged(2))
    shown = filtered_entries(station.entries, FilterCriteria(evse_ids=frozenset((2,))))
    assert any(isinstance(entry.event, AuthorizationBoundToEvse) for entry in shown)
    assert not [
        entry for entry in shown if isinstance(entry.event, IdTokenPresented)
    ]  # the EVSE was not known yet


def test_an_entry_must_match_every_criterion(two_sessions: Station) -> None:
    name = transaction_ids(two_sessions)[1]
    both = FilterCriteria(evse_ids=frozenset((2,)), transaction_prefixes=(name,))
    assert filtered_entries(two_sessions.entries, both) == []
    either = FilterCriteria(evse_ids=frozenset((1, 2)), transaction_prefixes=(name,))
    assert filtered_entries(two_sessions.entries, either) == filtered_entries(
        two_sessions.entries, FilterCriteria(transaction_prefixes=(name[:8],))
    )


def test_references_to_entries_before_the_first_are_resolved(
    two_sessions: Station,
) -> None:
    criteria = FilterCriteria(transaction_prefixes=(transaction_ids(two_sessions)[2],))
    whole = filtered_entries(two_sessions.entries, criteria)
    first = whole[len(whole) // 2].seq
    assert filtered_entries(two_sessions.entries, criteria, first) == [
        entry for entry in whole if entry.seq >= first
    ]


def test_references_that_cannot_be_used_any_more_are_dropped(two_sessions: Station) -> None:
    subjects = SubjectTracker()
    for entry in two_sessions.entries:
        subjects.find_subject(entry)
    remembered = {
        name: len(kept) for name, kept in vars(subjects).items() if name != "_observation_subject"
    }
    assert not len(two_sessions.state.outbox)
    assert remembered == dict.fromkeys(remembered, 0)
