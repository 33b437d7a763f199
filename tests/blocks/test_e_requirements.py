"""Rules of block E that no other test names: the queue while offline, why a transaction ended."""

from __future__ import annotations

import pytest

from journal.terms import Decision
from tests.story import (
    ALICE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    Step,
    accepting,
    called,
    charging,
    discharged,
    faulted,
    given,
    in_transaction,
    plugged,
    presented,
    queued,
    unplugged,
)


def test_what_happens_offline_waits_and_is_sent_then_e04_fr_01_e04_fr_02() -> None:
    station = given(ONLINE)
    station.with_csms(accepting, plugged(1), presented(ALICE), charging(1), discharged(1))
    station.with_csms(accepting, unplugged(1))  # Alice is known now
    station.with_csms(accepting, LINK_LOST)
    said = station.when(plugged(1), presented(ALICE), charging(1))
    happened = queued(said, "TransactionEvent")
    assert happened
    assert len(station.state.outbox.transaction) == len(happened)
    station.with_csms(accepting, LINK_OPENED)
    assert not station.state.outbox.transaction


def remotely_stopped(station: Station) -> list[Decision]:
    transaction_id = station.transaction.transaction_id
    return station.when(called("RequestStopTransaction", transactionId=transaction_id))


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (remotely_stopped, "Remote"),
        (unplugged(1), "EVDisconnected"),
        (faulted(1), "GroundFault"),
    ],
    ids=["from afar", "pulled", "fault"],
)
def test_what_ended_it_is_told_e06_fr_08_e07_fr_06(cause: Step, reason: str) -> None:
    station = given(ONLINE, in_transaction(1))
    said = station.with_csms(accepting, cause, discharged(1))
    last = queued(said, "TransactionEvent")[-1]
    assert last["eventType"] == "Ended"
    assert last["transactionInfo"]["stoppedReason"] == reason
