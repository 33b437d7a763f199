"""Is each why answered from the chain of causes, and does the chain hold?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from journal.observations import (
    DeviceFaulted,
    EvStopped,
    PayloadLost,
    StopPressed,
    StorageReported,
)
from journal.projections.authorizations import (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
)
from journal.projections.outbox import (
    AttemptFailed,
    CallAttempted,
    CallParked,
    CallQueued,
    RetryRequested,
)
from journal.projections.transactions import TransactionStarted, TransactionStopping
from journal.terms import Decision, Entry, Event, IdToken, Observation
from station import decide
from station.case import Case
from station.history.accounts import History, account_of_entry, account_of_transaction
from station.history.causes import causes_of
from tests.story import (
    ALICE,
    BOB,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    Step,
    accepting,
    after,
    answered,
    called,
    charging,
    contactor,
    discharged,
    errs,
    faulted,
    flow,
    given,
    in_transaction,
    plugged,
    presented,
    preset,
    read,
    restarted,
    serves,
    several,
    silent,
    token,
    unplugged,
)

CAROL = token("carol")


def blocking_bob(action: str, payload: Json) -> Json | None:
    """A CSMS that likes everybody but Bob."""
    if payload.get("idToken", {}).get("idToken") == BOB.ref:
        return {"idTokenInfo": {"status": "Blocked"}}
    return accepting(action, payload)


def history(station: Station) -> History:
    entries = {entry.seq: entry for entry in station.entries}
    return History(causes_of(station.entries), entries.get)


def last(station: Station, kind: type[Event]) -> Entry:
    return [one for one in station.entries if isinstance(one.event, kind)][-1]


def answers(station: Station, kind: type[Event]) -> str:
    """What is said of the last entry of that kind."""
    return "\n".join(account_of_entry(history(station), last(station, kind).seq).answers)


def chain(station: Station, kind: type[Event]) -> list[str]:
    """The kinds of the entries that led to the last of that kind."""
    found = history(station).causes.chain(last(station, kind).seq)
    return [type(station.entries[seq - 1].event).__name__ for seq in found]


FULL = StorageReported("full", 0)
CONNECTOR = {"id": 1, "connectorId": 1}


# --- Why was the card refused? -------------------------------------------------------------------


def refused(*steps: Step, who: IdToken = BOB) -> Station:
    station = given(ONLINE, csms=blocking_bob)
    station.with_csms(blocking_bob, *steps, presented(who, evse_id=1))
    return station


def test_the_csms_refused_it_c01_fr_07() -> None:
    station = refused(plugged(1))
    assert answers(station, AuthorizationRefused) == "Because the CSMS says Blocked (C01.FR.07)."
    assert chain(station, AuthorizationRefused) == [
        "IdTokenPresented",
        "AuthorizationAsked",
        "CallQueued",
        "CallAttempted",
        "FrameReceived",
        "AuthorizationRefused",
    ]


def test_whoever_asks_for_the_card_hears_of_its_refusal() -> None:
    station = refused(plugged(1))
    presented_at = next(
        one.seq for one in station.entries if "Presented" in type(one.event).__name__
    )
    told = account_of_entry(history(station), presented_at)
    assert any(
        "not charge at EVSE 1: Blocked, because the CSMS says" in one for one in told.answers
    )


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (
            (LINK_LOST,),
            "Because nobody could be asked, and nothing is known of it here: only "
            "OfflineTxForUnknownIdEnabled would let it in (C15.FR.08).",
        ),
        ((faulted(1),), "Because EVSE 1 had a fault, contactor welded (ConnectorStatusEnumType)."),
        ((FULL,), "Because the disk had room left only to end what ran."),
        (
            (called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}),),
            "Because the CSMS took EVSE 1 out of service (G03.FR.06).",
        ),
        (
            (called("ChangeAvailability", operationalStatus="Inoperative", evse=CONNECTOR),),
            "Because the CSMS took EVSE 1 connector 1 out of service (G03.FR.04).",
        ),
        (
            (in_transaction(1),),
            "Because no EVSE was free, and the token may end nothing that runs (C09.FR.03).",
        ),
    ],
    ids=["offline", "faulted", "full", "out of service", "connector", "taken"],
)  # fmt: skip
def test_the_station_refused_it(steps: tuple[Step, ...], why: str) -> None:
    assert answers(refused(*steps, who=CAROL), AuthorizationRefused).splitlines()[0] == why


def test_what_nobody_could_be_asked_leads_back_to_the_lost_link() -> None:
    station = refused(plugged(1), LINK_LOST, who=CAROL)
    assert chain(station, AuthorizationRefused) == [
        "LinkClosed",
        "IdTokenPresented",
        "AuthorizationRefused",
    ]


def test_who_is_let_in_unheard_leads_back_to_the_lost_link_c15_fr_08() -> None:
    lenient = preset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
    station = given(lenient, ONLINE, plugged(1), LINK_LOST, presented(CAROL, evse_id=1))
    assert "C15.FR.08" in answers(station, AuthorizationGranted)
    assert chain(station, AuthorizationGranted)[0] == "LinkClosed"


def test_where_no_answer_came_the_question_is_told() -> None:
    station = given(ONLINE, plugged(1))
    station.with_csms(silent, presented(CAROL, evse_id=1), after(seconds=60))
    assert "the CSMS gave no answer of use" in answers(station, AuthorizationRefused)
    assert chain(station, AuthorizationRefused)[:4] == [
        "IdTokenPresented",
        "AuthorizationAsked",
        "CallQueued",
        "CallAttempted",
    ]


def test_a_cached_refusal_leads_back_to_what_put_it_there_and_no_further() -> None:
    """However often the card was shown before."""
    station = given(ONLINE, plugged(1))
    for _ in range(3):
        station.with_csms(blocking_bob, presented(BOB, evse_id=1))
    station.when(LINK_LOST, presented(BOB, evse_id=1))
    assert chain(station, AuthorizationRefused) == [
        "FrameReceived",
        "CacheUpdated",
        "LinkClosed",
        "IdTokenPresented",
        "AuthorizationRefused",
    ]


# --- Why did it begin? ---------------------------------------------------------------------------

START: Final = "TxCtrlr.TxStartPoint"


@pytest.mark.parametrize(
    ("point", "steps", "why"),
    [
        ("EVConnected", (plugged(1),),
         "an EV was plugged in, which TxStartPoint makes a start (E01.FR.02)"),
        ("Authorized", (presented(ALICE, evse_id=1),), "a person was authorised"),
        ("Authorized", (presented(ALICE),), "TxStartPoint was reached (E01.FR.03)."),
        ("PowerPathClosed", (plugged(1), presented(ALICE)), "(E01.FR.03 or E01.FR.05)"),
        ("PowerPathClosed", (presented(ALICE), plugged(1)), "(E01.FR.02 or E01.FR.05)"),
        ("EnergyTransfer", (plugged(1), presented(ALICE), charging(1)),
         "energy began to flow, which TxStartPoint makes a start (E01.FR.06)"),
    ],
    ids=["cable", "card", "card before the cable", "cable, card", "card, cable", "energy"],
)  # fmt: skip
def test_a_transaction_says_which_start_point_was_reached_e01_fr_06(
    point: str, steps: tuple[Step, ...], why: str
) -> None:
    station = given(preset(START, point), ONLINE, *steps)
    assert why in answers(station, TransactionStarted)


# --- Why did it stop? ----------------------------------------------------------------------------


def stopped(*steps: Step) -> Station:
    station = given(ONLINE, read(1, "1000"), in_transaction(1))
    station.when(*steps)
    return station


@pytest.mark.parametrize(
    ("step", "why", "first"),
    [
        (presented(ALICE, evse_id=1), "that began it was shown (E07.FR.01", "IdTokenPresented"),
        (StopPressed(1), "the stop button was pressed (E07.FR.05", "StopPressed"),
        (EvStopped(1), "the EV ended its session (E15.FR.04", "EvStopped"),
        (unplugged(1), "the EV was disconnected (E09.FR.01", "CableReported"),
        (faulted(1), "EVSE 1 had a fault, contactor welded: charging was forbidden (E06.FR.16)",
         "DeviceFaulted"),
        (faulted(0), "the station had a fault, contactor welded", "DeviceFaulted"),
        (called("Reset", type="Immediate"), "immediate reset was ordered (B12.FR.04)",
         "FrameReceived"),
        (FULL, "the disk had room left only to end what ran", "StorageReported"),
    ],
    ids=["card", "button", "EV", "cable", "fault", "fault of all", "reset", "full"],
)  # fmt: skip
def test_a_transaction_says_why_it_stopped(step: Step, why: str, first: str) -> None:
    station = stopped(step)
    assert why in answers(station, TransactionStopping)
    assert chain(station, TransactionStopping)[0] == first


def test_a_remote_stop_leads_back_to_the_frame_f03_fr_03() -> None:
    station = given(ONLINE, in_transaction(1))
    station.when(called("RequestStopTransaction", transactionId=station.transaction.transaction_id))
    assert "the CSMS asked for it (F03.FR.02" in answers(station, TransactionStopping)
    assert chain(station, TransactionStopping)[0] == "FrameReceived"


def test_a_token_the_csms_takes_back_c15_fr_04() -> None:
    station = given(
        preset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true"), ONLINE, plugged(1), LINK_LOST
    )
    station.when(presented(BOB, evse_id=1), charging(1), LINK_OPENED, serves(blocking_bob))
    assert "the CSMS does not accept the token" in answers(station, TransactionStopping)
    assert "C15.FR.04" in answers(station, TransactionStopping)
    led = chain(station, TransactionStopping)
    assert led[:2] == ["LinkClosed", "IdTokenPresented"]
    assert led[-3:] == ["FrameReceived", "AuthorizationEnded", "TransactionStopping"]


def test_a_lost_supply_is_told_from_a_fault() -> None:
    station = given(ONLINE, read(1, "1000"), in_transaction(1))
    station.when(restarted(boot_id="boot-2", gap_s=4_000), ONLINE)
    assert "the supply was lost" in answers(station, TransactionStopping)
    assert "StationStarted" in chain(station, TransactionStopping)


def test_nobody_plugged_in_e03_fr_05() -> None:
    station = given(ONLINE, presented(ALICE, evse_id=1))
    station.with_csms(accepting, after(seconds=600))
    assert "no EV was plugged in in time (E03.FR.05)" in answers(station, AuthorizationEnded)
    assert "AuthorizationGranted" in chain(station, AuthorizationEnded)


def test_the_end_that_was_told_says_why_it_came() -> None:
    station = stopped(StopPressed(1), discharged(1))
    ended = [one for one in station.entries if isinstance(one.event, CallQueued)][-1]
    told = account_of_entry(history(station), ended.seq)
    assert any("because the stop button was pressed" in one for one in told.answers)


# --- Why is it Unavailable? ----------------------------------------------------------------------


def status(station: Station) -> Entry:
    """The last StatusNotification."""
    found = [one for one in station.entries if isinstance(one.event, CallQueued)
             and one.event.status is not None]  # fmt: skip
    return found[-1]


@pytest.mark.parametrize(
    ("step", "why", "first"),
    [
        (
            called("ChangeAvailability", operationalStatus="Inoperative"),
            "the CSMS took the station out of service (G04.FR.07)",
            "FrameReceived",
        ),
        (
            several(called("Reset", type="Immediate"), after(seconds=5)),
            "the station was about to restart (B11.FR.03)",
            "FrameReceived",
        ),
        (faulted(2), "EVSE 2 had a fault, contactor welded", "DeviceFaulted"),
        (FULL, "the disk had room left only to end what ran", "StorageReported"),
    ],
    ids=["ordered", "restart", "fault", "full"],
)
def test_a_connector_says_what_closed_it(step: Step, why: str, first: str) -> None:
    station = given(ONLINE)
    station.when(step)
    told = account_of_entry(history(station), status(station).seq)
    assert why in told.answers[0]
    led = told.sections[0].entries
    assert led[0].entry is not None
    assert type(led[0].entry.event).__name__ == first


def test_told_again_after_a_restart_it_still_says_what_closed_it() -> None:
    station = given(ONLINE, called("ChangeAvailability", operationalStatus="Inoperative"))
    order = station.entries[-1].seq
    station.with_csms(accepting, restarted(), ONLINE)
    assert status(station).seq > order
    told = account_of_entry(history(station), status(station).seq)
    assert "the CSMS took the station out of service" in told.answers[0]


def test_a_change_that_waited_leads_back_to_its_order_g03_fr_05() -> None:
    station = given(ONLINE, in_transaction(1))
    change = called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1})
    station.with_csms(accepting, change, presented(ALICE, evse_id=1), discharged(1), unplugged(1))
    told = account_of_entry(history(station), status(station).seq)
    kinds = [type(one.entry.event).__name__ for one in told.sections[0].entries if one.entry]
    assert "AvailabilityScheduled" in kinds


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Station:
    """A station with a rule that fails for whoever presses the stop button of EVSE 2."""

    def fails(case: Case) -> Iterator[Decision]:
        if isinstance(case.entry.event, StopPressed) and case.entry.event.evse_id == 2:
            raise KeyError("poison")
        yield from ()

    monkeypatch.setattr(decide, "RULES", (fails, *decide.RULES))
    station = given(ONLINE, plugged(1))
    station.checks.faultless = False
    station.when(StopPressed(2))
    return station


def test_a_fault_of_the_program_closes_the_station_and_says_so(failing: Station) -> None:
    told = account_of_entry(history(failing), status(failing).seq)
    assert told.answers[0].startswith("Because the program has a fault, in ")
    failing.when(presented(CAROL, evse_id=1))
    assert "Because the program has a fault, in " in answers(failing, AuthorizationRefused)


def test_a_message_that_cannot_be_read_any_more_says_so() -> None:
    station = given(ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1))
    station.when(charging(1))
    assert station.in_flight is not None
    call = station.in_flight.call
    station.judged(PayloadLost(call, "its bytes are not what was written"))
    told = account_of_entry(history(station), call).answers
    seq = last(station, CallParked).seq
    why = "what it says cannot be read any more: its bytes are not what was written"
    assert f"It was parked, by entry {seq}: {why}." in told


# --- Why was this message sent twice? ------------------------------------------------------------


def twice(*steps: Step) -> tuple[str, ...]:
    """What is said of the TransactionEvent under way when these steps come."""
    station = given(ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1))
    station.when(charging(1))
    call = station.in_flight
    assert call is not None
    station.when(*steps)
    return account_of_entry(history(station), call.call).answers


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (
            (errs("InternalError", "no"), after(seconds=60)),
            "failed, InternalError: no (E13.FR.02, E13.FR.03).",
        ),
        ((after(seconds=120),), "failed, no answer within 30 s (E13.FR.02, E13.FR.03)."),
        (
            (LINK_LOST, LINK_OPENED),
            "the link went before the answer came, which counts as no failure (E11.FR.02).",
        ),
        (
            (restarted(), LINK_OPENED, serves()),
            "the program ended before it knew of an answer (E11.FR.02).",
        ),
    ],
    ids=["CALLERROR", "timeout", "link", "restart"],
)  # fmt: skip
def test_a_message_says_why_it_was_sent_again(steps: tuple[Step, ...], why: str) -> None:
    said = twice(*steps)
    assert "It was sent 2 times." in said
    assert any(one.endswith(why) for one in said), said


def test_what_was_sent_once_says_so() -> None:
    assert "It was sent once." in twice(serves())


def test_what_may_have_died_before_it_left_says_so() -> None:
    station = given(ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1))
    station.judged(contactor(1, closed=True))
    station.judged(flow(1, "charging"))  # a message is due, and the program ends before it goes
    call = station.in_flight
    assert call is not None
    tried = account_of_entry(history(station), call.call).answers
    assert "It was tried once, and not known to have left." in tried
    station.when(restarted(), LINK_OPENED, serves())
    again = account_of_entry(history(station), call.call).answers
    assert "It was tried 2 times, and known to have left once." in again


def test_a_parked_message_leads_back_to_every_attempt_e13_fr_04() -> None:
    station = given(ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1))
    station.when(charging(1))
    while not any(isinstance(one.event, CallParked) for one in station.entries):
        under_way = station.in_flight
        if under_way is None:
            station.when(after(seconds=1))
        else:
            station.when(errs() if under_way.lane == "transaction" else answered())
    failed = [one for one in station.entries if isinstance(one.event, AttemptFailed)]
    assert len(failed) > 1
    assert chain(station, CallParked).count("CallAttempted") == len(failed)
    assert "E13.FR.04" in answers(station, CallParked)


def test_an_operator_had_it_sent_again() -> None:
    once = preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1")
    station = given(once, ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1))
    station.when(charging(1), errs(), RetryRequested())
    assert "an operator wanted it" in answers(station, CallAttempted)


# --- A transaction -------------------------------------------------------------------------------


@pytest.fixture
def session() -> Station:
    """A whole transaction; the link broke under its second message."""
    station = given(ONLINE, read(1, "1000"), plugged(1), presented(ALICE, evse_id=1))
    station.when(charging(1), LINK_LOST, after(seconds=10), StopPressed(1), discharged(1))
    station.with_csms(accepting, LINK_OPENED)
    return station


def test_a_transaction_tells_its_beginning_changes_end_and_messages(session: Station) -> None:
    [name] = history(session).causes.transactions
    told = account_of_transaction(history(session), name)
    assert [one.title for one in told.sections] == [
        "How it began",
        "What changed",
        "How it ended",
        "What the CSMS was told",
    ]
    assert told.answers[:2] == (
        "It began because a person was authorised: TxStartPoint was reached "
        "(E01.FR.03 or E01.FR.05).",
        "It ended because the stop button was pressed (E07.FR.05, then E06.FR.03 or E06.FR.06).",
    )
    assert "Of its 3 messages the CSMS has answered 3." in told.answers
    lines = told.sections[-1].lines
    assert [one.split(",")[0] for one in lines if one.startswith("seqNo")] == [
        "seqNo 0 Started (Authorized",
        "seqNo 1 Updated (ChargingStateChanged",
        "seqNo 2 Ended (StopAuthorized",
    ]
    second = [one for one in lines if one.startswith("  attempt")][1:3]
    assert "the link went with the answer" in second[0]
    assert "from offline times: entry" in second[1]


def test_an_open_transaction_says_so() -> None:
    station = given(ONLINE, in_transaction(1), csms=silent)
    [name] = history(station).causes.transactions
    told = account_of_transaction(history(station), name)
    assert "It has not ended." in told.answers
    assert told.heading.endswith("to now UTC")


# --- What always holds ---------------------------------------------------------------------------


def test_every_decision_leads_back_to_something_observed(session: Station) -> None:
    links = history(session).causes
    for entry in session.entries:
        assert all(seq < entry.seq for seq in links.behind(entry.seq))
        first = session.entries[links.chain(entry.seq)[0] - 1]
        assert isinstance(first.event, Observation), entry
        if isinstance(entry.event, Decision):
            assert links.behind(entry.seq), entry


def test_an_entry_that_cannot_be_read_leaves_a_gap_and_no_error(session: Station) -> None:
    entries = {entry.seq: entry for entry in session.entries}
    [name] = history(session).causes.transactions
    for missing in entries:
        rest = {seq: entry for seq, entry in entries.items() if seq != missing}
        causes = causes_of(rest.values())
        torn = History(causes, rest.get)
        for seq in entries:
            unread = account_of_entry(torn, seq).heading == f"Entry {seq}: it cannot be read"
            assert unread is (seq == missing)
        if name in causes.transactions:
            assert name in account_of_transaction(torn, name).heading


def test_a_fault_that_is_over_closes_nothing() -> None:
    station = given(ONLINE)
    station.when(faulted(1), called("ChangeAvailability", operationalStatus="Inoperative"))
    fault = last(station, DeviceFaulted).seq
    assert fault in history(station).causes.chain(
        next(one.seq for one in station.entries if isinstance(one.event, CallQueued)
             and one.event.status and one.event.status.status == "Faulted")
    )  # fmt: skip
    assert fault not in history(station).causes.chain(status(station).seq)
