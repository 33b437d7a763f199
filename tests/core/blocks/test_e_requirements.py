"""Rules of block E that no other test names: the queue while offline, why a transaction ended."""

from __future__ import annotations

import pytest

from journal.events import Decision
from tests.support.story import (
    ALICE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    device_faulted,
    given,
    in_transaction,
    presented,
    queued_payloads,
)


def test_what_happens_offline_waits_and_is_sent_then_e04_fr_01_e04_fr_02() -> None:
    station = given(ONLINE)
    station.with_csms(
        accept_everything,
        cable_plugged(1),
        presented(ALICE),
        charging_started(1),
        charging_stopped(1),
    )
    station.with_csms(accept_everything, cable_unplugged(1))  # Alice is cached now
    station.with_csms(accept_everything, LINK_LOST)
    decisions = station.when(cable_plugged(1), presented(ALICE), charging_started(1))
    happened = queued_payloads(decisions, "TransactionEvent")
    assert happened
    assert len(station.state.outbox.transaction) == len(happened)
    station.with_csms(accept_everything, LINK_OPENED)
    assert not station.state.outbox.transaction


def stop_remotely(station: Station) -> list[Decision]:
    transaction_id = station.open_transaction.transaction_id
    return station.when(called("RequestStopTransaction", transactionId=transaction_id))


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (stop_remotely, "Remote"),
        (cable_unplugged(1), "EVDisconnected"),
        (device_faulted(1), "GroundFault"),
    ],
    ids=["from afar", "pulled", "fault"],
)
def test_the_stopped_reason_is_reported_e06_fr_08_e07_fr_06(cause: Step, reason: str) -> None:
    station = given(ONLINE, in_transaction(1))
    decisions = station.with_csms(accept_everything, cause, charging_stopped(1))
    last = queued_payloads(decisions, "TransactionEvent")[-1]
    assert last["eventType"] == "Ended"
    assert last["transactionInfo"]["stoppedReason"] == reason
