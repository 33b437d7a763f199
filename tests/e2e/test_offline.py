"""Does a station without its CSMS still sell energy, and tell everything when it is back?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.csms import Csms
from tests.e2e.harness import StationProcess, until
from tests.e2e.steps import (
    ALICE,
    PATIENCE_S,
    authorize_and_plug_in,
    check_account,
    check_journal,
    draw,
    wait_charging,
    wait_closed,
    wait_delivered,
)

LinkStep = Callable[[StationProcess, Csms], None]


def link_closed(station: StationProcess, csms: Csms) -> None:
    station.op("link", mode="closed")


def link_up(station: StationProcess, csms: Csms) -> None:
    station.op("link", mode="up")


def csms_down(station: StationProcess, csms: Csms) -> None:
    csms.down()


def csms_up(station: StationProcess, csms: Csms) -> None:
    csms.up()


LINKS: dict[str, tuple[LinkStep, LinkStep]] = {
    "its_own_link_closed": (link_closed, link_up),
    "csms_refusing": (csms_down, csms_up),
}


def wait_offline(station: StationProcess) -> None:
    until(lambda: station.state()["link"] == "down", PATIENCE_S, "lost link")


def fill_the_cache(station: StationProcess, csms: Csms) -> None:
    """One short session online, so that the station has seen this person."""
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    station.op("unplug", evse_id=1)
    wait_closed(csms, transaction_id)
    wait_delivered(station)


def a_new_transaction(station: StationProcess, known: str | None = None) -> str:
    """The transactionId the station itself tells for EVSE 1."""
    return str(
        until(
            lambda: (found := station.evse(1)["transaction_id"]) != known and found,
            PATIENCE_S,
            "transaction at EVSE 1",
        )
    )


@pytest.mark.parametrize("how", LINKS)
def test_a_session_from_the_cache_offline_is_told_in_full_later_e04_e12(
    how: str, station: StationProcess, csms: Csms
) -> None:
    break_link, mend_link = LINKS[how]
    fill_the_cache(station, csms)
    meter_before_wh = station.meter_wh(1)
    break_link(station, csms)
    wait_offline(station)
    authorize_and_plug_in(station)
    transaction_id = a_new_transaction(station)
    draw(station)
    station.op("unplug", evse_id=1)
    until(lambda: station.evse(1)["transaction_id"] is None, PATIENCE_S, "end of the transaction")
    assert station.state()["outbox"] >= 2
    assert transaction_id not in csms.ledger.transactions()
    mend_link(station, csms)
    wait_closed(csms, transaction_id)
    wait_delivered(station)
    assert all(event.offline for event in csms.ledger.receipts(transaction_id))
    assert len(csms.calls("Authorize")) == 1
    check_account(station, csms, transaction_id, meter_before_wh)


def test_a_stranger_offline_gets_no_energy_c15(station: StationProcess, csms: Csms) -> None:
    station.op("link", mode="closed")
    wait_offline(station)
    authorize_and_plug_in(station, id_token="DEADBEEF")
    until(lambda: station.evse(1)["plugged"], PATIENCE_S, "plugged EV")
    until(lambda: station.entries("IdTokenPresented"), PATIENCE_S, "token in the journal")
    assert station.evse(1)["transaction_id"] is None
    assert station.world(1)["contactor"] == "open"


@pytest.mark.parametrize("how", LINKS)
def test_a_link_lost_in_the_middle_loses_nothing_e11(
    how: str, station: StationProcess, csms: Csms
) -> None:
    break_link, mend_link = LINKS[how]
    meter_before_wh = station.meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    break_link(station, csms)
    wait_offline(station)
    draw(station)
    mend_link(station, csms)
    wait_delivered(station)
    draw(station)
    station.op("present_token", id_token=ALICE, type="ISO14443", evse_id=1)
    wait_closed(csms, transaction_id)
    wait_delivered(station)
    check_account(station, csms, transaction_id, meter_before_wh)


@pytest.mark.timeout(240)
def test_answers_lost_refused_late_and_double_lose_nothing_e13(
    station: StationProcess, csms: Csms
) -> None:
    meter_before_wh = station.meter_wh(1)
    csms.disturb("TransactionEvent", times=1, copies=0)
    csms.disturb("TransactionEvent", times=1, error="InternalError")
    csms.disturb("TransactionEvent", times=1, copies=2)
    csms.disturb("TransactionEvent", times=1, delay_s=7)  # MessageTimeout is 5
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    draw(station)
    station.op("unplug", evse_id=1)
    wait_closed(csms, transaction_id)
    wait_delivered(station)
    assert all(disturbance.times == 0 for disturbance in csms.disturbances)
    assert csms.ledger.duplicates(transaction_id) >= 2
    check_account(station, csms, transaction_id, meter_before_wh)


@pytest.mark.timeout(240)
def test_a_csms_that_never_takes_an_event_parks_it_and_the_rest_goes_on_e13(
    station: StationProcess, csms: Csms
) -> None:
    csms.disturb("TransactionEvent", error="InternalError", where=lambda event: event["seqNo"] == 1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    csms.wait_for("TransactionEvent", lambda event: event["seqNo"] >= 2, PATIENCE_S * 2)
    station.op("unplug", evse_id=1)
    wait_closed(csms, transaction_id)
    attempts = [call for call in csms.calls("TransactionEvent") if call.payload["seqNo"] == 1]
    assert len(attempts) >= 2
    parked = station.command("outbox", str(station.journal), "list")
    assert parked.returncode == 0, parked.stderr
    assert transaction_id in parked.stdout
    assert csms.ledger.problems(transaction_id) == []
    check_journal(station)


@pytest.mark.timeout(240)
def test_a_silent_csms_is_noticed_and_nothing_is_lost_e11(
    station: StationProcess, csms: Csms
) -> None:
    meter_before_wh = station.meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    csms.go_silent()
    until(lambda: station.state()["link"] == "down", 90, "silence noticed")  # ping each 10 s
    draw(station)
    csms.speak_again()
    wait_delivered(station)
    station.op("unplug", evse_id=1)
    wait_closed(csms, transaction_id)
    wait_delivered(station)
    check_account(station, csms, transaction_id, meter_before_wh)
