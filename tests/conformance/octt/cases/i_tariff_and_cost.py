"""Block I: tariff, running cost and final cost; what the display shows is checked too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.conformance.octt import states
from tests.conformance.octt.bench import VALID
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import require
from tests.support.csms import Payload

TARIFF: Final = {"format": "UTF8", "content": "0.39 per kWh"}
NEW_TARIFF: Final = {"format": "UTF8", "content": "now 0.32 per kWh"}
SHOWN_TIMEOUT_S: Final = 3.0
REPETITIONS: Final = 2  # "steps 6 to 9 are repeated n times"


@contextmanager
def answers(tester: Tester, action: str, make: Callable[[Payload], Payload]) -> Iterator[None]:
    """The CSMS adds fields to its answers to an action."""
    responses = tester.csms.responses
    usual = responses.response_to

    def respond(request: Payload) -> Payload:
        del responses.overrides[action]
        try:
            return {**usual(action, request), **make(request)}
        finally:
            responses.overrides[action] = respond

    responses.overrides[action] = respond
    try:
        yield
    finally:
        del responses.overrides[action]


def shown(tester: Tester) -> Payload:
    """What the display shows for the EVSE of the test."""
    live = tester.bench.station.request_operation("live")
    [evse] = (each for each in live["evses"] if each["evse_id"] == tester.evse_id)
    display: Payload = evse["display"]
    return display


def expect_shown(tester: Tester, step: str, field: str, text: str) -> None:
    """A field of the display contains a text, within `SHOWN_TIMEOUT_S`."""
    due = time.monotonic() + SHOWN_TIMEOUT_S
    while text not in shown(tester)[field] and time.monotonic() < due:
        time.sleep(0.1)
    found = shown(tester)[field]
    require(step, text in found, f"{field} on the display must contain {text!r}, is {found!r}")


def accepted_with_tariff(request: Payload) -> Payload:
    return {"idTokenInfo": {"status": "Accepted", "personalMessage": TARIFF}}


def start_with_tariff(tester: Tester) -> str:
    """Steps 1 to 5 of TC_I_01 and TC_I_07; returns the transactionId."""
    tester.configure_variable("SampledDataCtrlr", "TxUpdatedInterval", 5)
    with answers(tester, "Authorize", accepted_with_tariff):
        states.authorize_driver(tester, VALID)
    expect_shown(tester, "step 2", "tariff", TARIFF["content"])
    return states.start_energy_transfer(tester)


@contextmanager
def next_sample(tester: Tester, step: str, more: dict[str, Any]) -> Iterator[None]:
    """The next TransactionEvent is answered with these fields, and so are those in the block."""
    tester.discard_received()
    with answers(tester, "TransactionEvent", lambda request: more):
        tester.expect_call(step, "TransactionEvent", {"eventType": "Updated"}, timeout_s=30)
        yield


def tc_i_01_cs(tester: Tester) -> None:
    transaction_id = start_with_tariff(tester)
    for number in range(REPETITIONS):
        with next_sample(tester, "step 6", {"updatedPersonalMessage": NEW_TARIFF}):
            expect_shown(tester, "step 7", "tariff", NEW_TARIFF["content"])
        cost = {"totalCost": 3.25 + number, "transactionId": transaction_id}
        tester.send_call("step 8", "CostUpdated", cost)
        expect_shown(tester, "step 9", "cost", f"{3.25 + number:.2f}")


def tc_i_07_cs(tester: Tester) -> None:
    start_with_tariff(tester)
    for number in range(REPETITIONS):
        more = {"updatedPersonalMessage": NEW_TARIFF, "totalCost": 3.25 + number}
        with next_sample(tester, "step 6", more):
            expect_shown(tester, "step 7", "tariff", NEW_TARIFF["content"])
            expect_shown(tester, "step 9", "cost", f"{3.25 + number:.2f}")


def tc_i_02_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)

    def total(request: Payload) -> Payload:
        return {"totalCost": 8.25} if request["eventType"] == "Ended" else {}

    with answers(tester, "TransactionEvent", total):
        states.authorize_stop(tester)
        states.ev_connected_post_session(tester)
        expect_shown(tester, "step 2", "cost", "Total: 8.25")
        states.ev_disconnected(tester)
        states.parking_bay_unoccupied(tester)
