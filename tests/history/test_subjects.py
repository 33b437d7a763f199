"""Is it known of every entry which EVSE, transaction and block it concerns?"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from journal.observations import (
    DeadlineReached,
    DeviceFaulted,
    FrameReceived,
    FrameSent,
    IdTokenPresented,
)
from journal.projections.authorizations import AuthorizationBound
from journal.projections.outbox import CallAttempted, CallDelivered, CallQueued
from journal.projections.replies import CallAnswered, CallRefused
from journal.projections.transactions import TransactionStarted
from journal.projections.variables import VariableChanged
from journal.terms import Entry
from station.history.sieve import Sieve, Wish
from station.history.subjects import BLOCKS, Concern, Subjects, block_of
from station.messages import ACTIONS
from tests.story import (
    ALICE,
    BOB,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    Step,
    after,
    called,
    charging,
    discharged,
    faulted,
    given,
    in_transaction,
    plugged,
    presented,
    read,
    restarted,
    unplugged,
)


def concerns(entries: Iterable[Entry]) -> list[tuple[Entry, Concern]]:
    subjects = Subjects()
    return [(entry, subjects.of(entry)) for entry in entries]


def sifted(entries: Iterable[Entry], wish: Wish, first: int = 1) -> list[Entry]:
    sieve = Sieve(wish, first)
    found = [told for entry in entries for told in sieve.taken(entry)]
    return [*found, *sieve.rest()]


def served(*, seconds: int) -> list[Step]:
    """Time passes, and the CSMS answers meanwhile: sooner than a message is given up."""
    return [after(seconds=20)] * (seconds // 20)


@pytest.fixture(scope="module")
def two_sessions() -> Station:
    """A transaction at each EVSE at the same time, one of them across a lost link and a restart."""
    return given(
        ONLINE,
        in_transaction(1, ALICE),
        in_transaction(2, BOB),
        *served(seconds=60),
        LINK_LOST,
        after(seconds=65),
        restarted(),
        read(1, "1500"),
        read(2, "2500"),
        plugged(1),
        charging(1),
        plugged(2),
        charging(2),
        LINK_OPENED,
        *served(seconds=100),
        presented(ALICE, evse_id=1),
        discharged(1),
        unplugged(1),
        faulted(2),
        discharged(2),
        unplugged(2),
        called("SetVariables", setVariableData=[
            {
                "attributeValue": "60",
                "component": {"name": "OCPPCommCtrlr"},
                "variable": {"name": "HeartbeatInterval"},
            }
        ]),
        *served(seconds=20),
    )  # fmt: skip


def names_of(station: Station) -> dict[int, str]:
    """The transactionId at each EVSE."""
    events = [entry.event for entry in station.entries]
    found = [one for one in events if isinstance(one, TransactionStarted)]
    assert [one.evse_id for one in found] == [1, 2]
    return {one.evse_id: one.transaction_id for one in found}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_a_block(action: str) -> None:
    assert block_of(action) in list(BLOCKS)


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
    assert block_of(action) == block


def test_a_message_is_followed_from_the_queue_to_its_delivery(two_sessions: Station) -> None:
    """Each event of a transaction: queued, attempted, sent, answered, delivered, all of it."""
    for evse_id, name in names_of(two_sessions).items():
        told = concerns(two_sessions.entries)
        calls = {
            entry.seq
            for entry, _ in told
            if isinstance(entry.event, CallQueued)
            and entry.event.transaction is not None
            and entry.event.transaction.transaction_id == name
        }
        attempts = {
            entry.event.message_id
            for entry, _ in told
            if isinstance(entry.event, CallAttempted) and entry.event.call in calls
        }
        assert len(calls) > 5
        assert len(attempts) >= len(calls)
        for entry, concern in told:
            if about(entry, calls, attempts):
                assert concern.transactions == {name}, entry
                assert concern.evses == {evse_id}, entry
                assert concern.blocks == {"E"}, entry
            elif isinstance(entry.event, CallAttempted | CallDelivered | CallQueued | FrameSent):
                assert name not in concern.transactions, entry


def about(entry: Entry, calls: set[int], attempts: set[str]) -> bool:
    """Whether an entry is a step of one of these messages."""
    event = entry.event
    if isinstance(event, FrameReceived):
        return any(f'[3, "{one}"'.encode() in bytes(event.frame) for one in attempts)
    if isinstance(event, FrameSent):
        return event.message_id in attempts
    if isinstance(event, CallAttempted | CallDelivered):
        return event.call in calls
    return entry.seq in calls


def test_an_answer_concerns_what_was_asked(two_sessions: Station) -> None:
    [(asked, concern), *_] = [
        (entry, concern)
        for entry, concern in concerns(two_sessions.entries)
        if isinstance(entry.event, FrameReceived) and b"SetVariables" in bytes(entry.event.frame)
    ]
    assert concern.blocks == {"B"}
    told = sifted(two_sessions.entries[asked.seq - 1 :], Wish(blocks=frozenset("B")))
    kinds = [type(entry.event) for entry in told]
    assert kinds == [FrameReceived, VariableChanged, CallAnswered, FrameSent]


def test_the_other_evse_stays_out(two_sessions: Station) -> None:
    names = names_of(two_sessions)
    for evse_id, other in ((1, 2), (2, 1)):
        told = sifted(two_sessions.entries, Wish(evses=frozenset((evse_id,))))
        started = [e.event.transaction_id for e in told if isinstance(e.event, TransactionStarted)]
        assert started == [names[evse_id]]
        assert not [e for e in told if getattr(e.event, "evse_id", evse_id) == other]


def test_what_concerns_the_whole_station_concerns_each_evse() -> None:
    """Also the second fault, of which nothing comes: the EVSEs are out of service already."""
    devices = ["emergency_stop", "cabinet"]
    station = given(ONLINE, *(faulted(0, device, "any") for device in devices))
    for evse_id in (1, 2):
        told = sifted(station.entries, Wish(evses=frozenset((evse_id,))))
        assert [one.event.device for one in told if isinstance(one.event, DeviceFaulted)] == devices


def test_an_answer_or_a_refusal_concerns_what_the_question_concerned() -> None:
    station = given(ONLINE)
    said = station.when(called("UnlockConnector", evseId=2, connectorId=1))
    refused = station.when(called("UnlockConnector", evseId=2, connectorId="1"))
    answers = [one for one in (*said, *refused) if isinstance(one, CallAnswered | CallRefused)]
    assert len(answers) == 2
    for entry, concern in concerns(station.entries):
        if entry.event in answers:
            assert concern.evses == {2}
            assert concern.blocks == {"F"}


def test_a_transaction_without_an_evse_is_not_everywhere() -> None:
    """E01.FR.17: whoever was authorised has not plugged in yet."""
    station = given(ONLINE)
    start = TransactionStarted(transaction_id="t-1", evse_id=0, trigger_reason="Authorized")
    concern = Subjects().of(Entry(len(station.entries) + 1, station.at, 1, start, 1))
    assert concern == Concern(transactions=frozenset(("t-1",)))


def test_an_observation_that_names_nothing_comes_with_what_it_led_to(
    two_sessions: Station,
) -> None:
    for evse_id in (1, 2):
        told = sifted(two_sessions.entries, Wish(evses=frozenset((evse_id,))))
        deadlines = [one.seq for one in told if isinstance(one.event, DeadlineReached)]
        causes = {one.cause for one in told}
        assert deadlines
        assert causes.issuperset(deadlines)


def test_whoever_came_before_the_cable_is_where_they_plugged_in() -> None:
    station = given(ONLINE, presented(ALICE), plugged(2))
    told = sifted(station.entries, Wish(evses=frozenset((2,))))
    assert any(isinstance(one.event, AuthorizationBound) for one in told)
    assert not [one for one in told if isinstance(one.event, IdTokenPresented)]  # nobody knew yet


def test_parts_of_a_wish_must_all_hold(two_sessions: Station) -> None:
    name = names_of(two_sessions)[1]
    both = Wish(evses=frozenset((2,)), transactions=(name,))
    assert sifted(two_sessions.entries, both) == []
    either = Wish(evses=frozenset((1, 2)), transactions=(name,))
    assert sifted(two_sessions.entries, either) == sifted(
        two_sessions.entries, Wish(transactions=(name[:8],))
    )


def test_what_came_before_the_first_entry_still_tells_what_it_is_about(
    two_sessions: Station,
) -> None:
    wish = Wish(transactions=(names_of(two_sessions)[2],))
    whole = sifted(two_sessions.entries, wish)
    first = whole[len(whole) // 2].seq
    assert sifted(two_sessions.entries, wish, first) == [one for one in whole if one.seq >= first]


def test_a_walk_remembers_only_what_may_still_be_spoken_of(two_sessions: Station) -> None:
    subjects = Subjects()
    for entry in two_sessions.entries:
        subjects.of(entry)
    remembered = {name: len(kept) for name, kept in vars(subjects).items() if name != "_heard"}
    assert not len(two_sessions.state.outbox)
    assert remembered == dict.fromkeys(remembered, 0)
