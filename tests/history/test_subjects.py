"""Is it known of every entry which EVSE, transaction and block it concerns?"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from journal.events import Entry
from journal.observations import (
    DeadlineReached,
    DeviceFaulted,
    FrameReceived,
    FrameSent,
    IdTokenPresented,
)
from journal.projections.authorizations import AuthorizationBoundToEvse
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


def filtered_entries(entries: Iterable[Entry], wish: FilterCriteria, first: int = 1) -> list[Entry]:
    sieve = EntryFilter(wish, first)
    found = [told for entry in entries for told in sieve.filter_entry(entry)]
    return [*found, *sieve.flush_group()]


def time_with_csms(*, seconds: int) -> list[Step]:
    """Time passes, and the CSMS answers meanwhile: sooner than a message is given up."""
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
    found = [one for one in events if isinstance(one, TransactionStarted)]
    assert [one.evse_id for one in found] == [1, 2]
    return {one.evse_id: one.transaction_id for one in found}


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
def test_the_block_is_that_of_the_specification(action: str, block: str | None) -> None:
    assert find_block(action) == block


def test_a_message_is_followed_from_the_queue_to_its_delivery(two_sessions: Station) -> None:
    """Each event of a transaction: queued, attempted, sent, answered, delivered, all of it."""
    for evse_id, name in transaction_ids(two_sessions).items():
        told = concerns_of(two_sessions.entries)
        calls = {
            entry.seq
            for entry, _ in told
            if isinstance(entry.event, CallQueued)
            and entry.event.transaction_event is not None
            and entry.event.transaction_event.transaction_id == name
        }
        attempts = {
            entry.event.message_id
            for entry, _ in told
            if isinstance(entry.event, CallAttempted) and entry.event.call_seq in calls
        }
        assert len(calls) > 5
        assert len(attempts) >= len(calls)
        for entry, concern in told:
            if is_about_calls(entry, calls, attempts):
                assert concern.transaction_ids == {name}, entry
                assert concern.evse_ids == {evse_id}, entry
                assert concern.blocks == {"E"}, entry
            elif isinstance(entry.event, CallAttempted | CallDelivered | CallQueued | FrameSent):
                assert name not in concern.transaction_ids, entry


def is_about_calls(entry: Entry, calls: set[int], attempts: set[str]) -> bool:
    """Whether an entry is a step of one of these messages."""
    event = entry.event
    if isinstance(event, FrameReceived):
        return any(f'[3, "{one}"'.encode() in bytes(event.frame) for one in attempts)
    if isinstance(event, FrameSent):
        return event.message_id in attempts
    if isinstance(event, CallAttempted | CallDelivered):
        return event.call_seq in calls
    return entry.seq in calls


def test_an_answer_concerns_what_was_asked(two_sessions: Station) -> None:
    [(asked, concern), *_] = [
        (entry, concern)
        for entry, concern in concerns_of(two_sessions.entries)
        if isinstance(entry.event, FrameReceived) and b"SetVariables" in bytes(entry.event.frame)
    ]
    assert concern.blocks == {"B"}
    told = filtered_entries(
        two_sessions.entries[asked.seq - 1 :], FilterCriteria(blocks=frozenset("B"))
    )
    kinds = [type(entry.event) for entry in told]
    assert kinds == [FrameReceived, VariableChanged, CallResultQueued, FrameSent]


def test_the_other_evse_stays_out(two_sessions: Station) -> None:
    names = transaction_ids(two_sessions)
    for evse_id, other in ((1, 2), (2, 1)):
        told = filtered_entries(
            two_sessions.entries, FilterCriteria(evse_ids=frozenset((evse_id,)))
        )
        started = [e.event.transaction_id for e in told if isinstance(e.event, TransactionStarted)]
        assert started == [names[evse_id]]
        assert not [e for e in told if getattr(e.event, "evse_id", evse_id) == other]


def test_what_concerns_the_whole_station_concerns_each_evse() -> None:
    """Also the second fault, of which nothing comes: the EVSEs are out of service already."""
    devices = ["emergency_stop", "cabinet"]
    station = given(ONLINE, *(device_faulted(0, device, "any") for device in devices))
    for evse_id in (1, 2):
        told = filtered_entries(station.entries, FilterCriteria(evse_ids=frozenset((evse_id,))))
        assert [one.event.device for one in told if isinstance(one.event, DeviceFaulted)] == devices


def test_an_answer_or_a_refusal_concerns_what_the_question_concerned() -> None:
    station = given(ONLINE)
    said = station.when(called("UnlockConnector", evseId=2, connectorId=1))
    refused = station.when(called("UnlockConnector", evseId=2, connectorId="1"))
    answers = [
        one for one in (*said, *refused) if isinstance(one, CallResultQueued | CallErrorQueued)
    ]
    assert len(answers) == 2
    for entry, concern in concerns_of(station.entries):
        if entry.event in answers:
            assert concern.evse_ids == {2}
            assert concern.blocks == {"F"}


def test_a_transaction_without_an_evse_is_not_everywhere() -> None:
    """E01.FR.17: whoever was authorised has not plugged in yet."""
    station = given(ONLINE)
    start = TransactionStarted(transaction_id="t-1", evse_id=0, trigger_reason="Authorized")
    concern = SubjectTracker().find_subject(
        Entry(len(station.entries) + 1, station.at, 1, start, 1)
    )
    assert concern == Subject(transaction_ids=frozenset(("t-1",)))


def test_an_observation_that_names_nothing_comes_with_what_it_led_to(
    two_sessions: Station,
) -> None:
    for evse_id in (1, 2):
        told = filtered_entries(
            two_sessions.entries, FilterCriteria(evse_ids=frozenset((evse_id,)))
        )
        deadlines = [one.seq for one in told if isinstance(one.event, DeadlineReached)]
        causes = {one.cause for one in told}
        assert deadlines
        assert causes.issuperset(deadlines)


def test_whoever_came_before_the_cable_is_where_they_plugged_in() -> None:
    station = given(ONLINE, presented(ALICE), cable_plugged(2))
    told = filtered_entries(station.entries, FilterCriteria(evse_ids=frozenset((2,))))
    assert any(isinstance(one.event, AuthorizationBoundToEvse) for one in told)
    assert not [one for one in told if isinstance(one.event, IdTokenPresented)]  # nobody knew yet


def test_parts_of_a_wish_must_all_hold(two_sessions: Station) -> None:
    name = transaction_ids(two_sessions)[1]
    both = FilterCriteria(evse_ids=frozenset((2,)), transaction_prefixes=(name,))
    assert filtered_entries(two_sessions.entries, both) == []
    either = FilterCriteria(evse_ids=frozenset((1, 2)), transaction_prefixes=(name,))
    assert filtered_entries(two_sessions.entries, either) == filtered_entries(
        two_sessions.entries, FilterCriteria(transaction_prefixes=(name[:8],))
    )


def test_what_came_before_the_first_entry_still_tells_what_it_is_about(
    two_sessions: Station,
) -> None:
    wish = FilterCriteria(transaction_prefixes=(transaction_ids(two_sessions)[2],))
    whole = filtered_entries(two_sessions.entries, wish)
    first = whole[len(whole) // 2].seq
    assert filtered_entries(two_sessions.entries, wish, first) == [
        one for one in whole if one.seq >= first
    ]


def test_a_walk_remembers_only_what_may_still_be_spoken_of(two_sessions: Station) -> None:
    subjects = SubjectTracker()
    for entry in two_sessions.entries:
        subjects.find_subject(entry)
    remembered = {
        name: len(kept) for name, kept in vars(subjects).items() if name != "_observation_subject"
    }
    assert not len(two_sessions.state.outbox)
    assert remembered == dict.fromkeys(remembered, 0)
