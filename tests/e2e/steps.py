"""Steps shared by end-to-end tests."""

from __future__ import annotations

from decimal import Decimal

from tests.e2e.harness import StationProcess, Variable, wait_until
from tests.support.csms import Csms, Frame, Payload

ALICE = "04A224B2"
ALICE_SPOUSE = "04B7C1D9E35A80"
BOB = "04C0FFEE"

STEP_TIMEOUT_S = 45  # for one step on a loaded machine
DRAWN_WH = Decimal(20)  # enough energy to distinguish two readings

# Short retry intervals, so that no test waits for a back-off; all else is as delivered.
FAST_RETRIES = (
    Variable("OCPPCommCtrlr", "RetryBackOffWaitMinimum", "1"),
    Variable("OCPPCommCtrlr", "RetryBackOffRandomRange", "1"),
    Variable("OCPPCommCtrlr", "RetryBackOffRepeatTimes", "1"),
    Variable("OCPPCommCtrlr", "MessageTimeout", "5", variable_instance="Default"),
    Variable("OCPPCommCtrlr", "MessageAttemptInterval", "1", variable_instance="TransactionEvent"),
    Variable("SampledDataCtrlr", "TxUpdatedInterval", "5"),
)


def wait_booted(station: StationProcess, csms: Csms, after: int = 0) -> Frame:
    """Wait until the CSMS accepted a BootNotification and the outbox is empty."""
    boot = csms.wait_for_call("BootNotification", timeout_s=STEP_TIMEOUT_S, after=after)
    wait_delivered(station)
    return boot


def wait_delivered(station: StationProcess) -> None:
    """Wait until the link is up and the outbox is empty."""

    def delivered() -> bool:
        state = station.read_state()
        return bool(state["link"] == "up" and state["outbox"] == 0)

    wait_until(delivered, STEP_TIMEOUT_S, "empty outbox")


def authorize_and_plug_in(
    station: StationProcess, evse_id: int = 1, id_token: str = ALICE, *, ready: bool = True
) -> None:
    """The EV driver presents a card for an EVSE and plugs in there."""
    station.request_operation("present_token", id_token=id_token, type="ISO14443", evse_id=evse_id)
    station.request_operation("plug_in", evse_id=evse_id, ready=ready)


def wait_charging(csms: Csms, evse_id: int = 1, *, after: int = 0) -> str:
    """Wait until a transaction on this EVSE is Charging; returns its transactionId."""
    started = csms.wait_for_call(
        "TransactionEvent",
        lambda event: event["eventType"] == "Started" and event["evse"]["id"] == evse_id,
        STEP_TIMEOUT_S,
        after=after,
    )
    transaction_id = str(started.payload["transactionInfo"]["transactionId"])
    csms.wait_for_call(
        "TransactionEvent",
        lambda event: _is_charging(event, transaction_id),
        STEP_TIMEOUT_S,
        after=started.number,
    )
    return transaction_id


def _is_charging(event: Payload, transaction_id: str) -> bool:
    info = event["transactionInfo"]
    return (info["transactionId"], info.get("chargingState")) == (transaction_id, "Charging")


def wait_energy_drawn(
    station: StationProcess, evse_id: int = 1, energy_wh: Decimal = DRAWN_WH
) -> None:
    """Wait until the EV has drawn some energy, by the emulated meter."""
    goal = station.emulated_meter_wh(evse_id) + energy_wh
    wait_until(
        lambda: station.emulated_meter_wh(evse_id) >= goal, STEP_TIMEOUT_S, f"{energy_wh} Wh drawn"
    )


def wait_transaction_ended(csms: Csms, transaction_id: str) -> Payload:
    """Wait until Ended and all events before it arrived; returns the Ended event."""
    csms.record.wait_until(
        lambda: csms.ledger.is_closed(transaction_id), STEP_TIMEOUT_S, f"Ended of {transaction_id}"
    )
    ended = csms.ledger.ended_event(transaction_id)
    assert ended is not None
    return ended.payload


def check_transaction_complete(
    station: StationProcess, csms: Csms, transaction_id: str, meter_before_wh: Decimal
) -> None:
    """Assert that all events arrived, with the energy of the meter, and verify reports nothing."""
    evse_id = csms.ledger.receipts_of(transaction_id)[0].payload["evse"]["id"]
    assert csms.ledger.find_problems(transaction_id) == []
    drawn_wh = station.emulated_meter_wh(evse_id) - meter_before_wh
    assert csms.ledger.energy_wh(transaction_id) == drawn_wh
    assert drawn_wh >= DRAWN_WH
    check_journal(station)


def check_journal(station: StationProcess) -> None:
    """Assert that `station verify` reports nothing, while the station runs."""
    verified = station.run_verb("verify", str(station.journal))
    assert verified.returncode == 0, verified.stderr


def check_without_cryptography(station: StationProcess) -> None:
    """Assert that the work with certificates left nothing in the memory of the station."""
    files = station.mapped_files()
    assert any("libpython" in file or "python3" in file for file in files), files
    assert [file for file in files if "/cryptography/" in file] == []
