"""Reset of a real station: transactions end or are waited for, and the boot has its reason."""

from __future__ import annotations

from tests.e2e.harness import StationProcess, wait_until
from tests.e2e.steps import (
    STEP_TIMEOUT_S,
    authorize_and_plug_in,
    check_transaction_complete,
    wait_charging,
    wait_delivered,
    wait_energy_drawn,
    wait_transaction_ended,
)
from tests.support.csms import Csms, Frame

RESET_TIMEOUT_S = 90


def wait_rebooted(station: StationProcess, csms: Csms, after: int) -> Frame:
    """Wait for the BootNotification after a reset; starts the program again if it ended."""
    boots: list[Frame] = []

    def is_back() -> bool:
        if not station.is_alive:
            station.start()
        boots[:] = csms.calls_for("BootNotification", after)
        return bool(boots)

    wait_until(is_back, RESET_TIMEOUT_S, "BootNotification after the reset")
    wait_delivered(station)
    return boots[0]


def test_an_immediate_reset_ends_the_transaction_first_b12_fr_04(
    station: StationProcess, csms: Csms
) -> None:
    meter_before_wh = station.emulated_meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    wait_energy_drawn(station)
    after = csms.next_frame_number()
    assert csms.call("Reset", {"type": "Immediate"})["status"] == "Accepted"
    boot = wait_rebooted(station, csms, after)
    ended = wait_transaction_ended(csms, transaction_id)
    assert ended["triggerReason"] == "ResetCommand"
    assert ended["transactionInfo"]["stoppedReason"] == "ImmediateReset"
    assert boot.payload["reason"] == "RemoteReset"
    check_transaction_complete(station, csms, transaction_id, meter_before_wh)


def test_a_reset_on_idle_waits_for_the_transaction_b12_fr_01(
    station: StationProcess, csms: Csms
) -> None:
    meter_before_wh = station.emulated_meter_wh(1)
    authorize_and_plug_in(station)
    transaction_id = wait_charging(csms)
    after = csms.next_frame_number()
    assert csms.call("Reset", {"type": "OnIdle"})["status"] == "Scheduled"
    wait_energy_drawn(station)  # the transaction continues
    assert csms.calls_for("BootNotification", after) == []
    assert csms.ledger.ended_event(transaction_id) is None
    station.request_operation("unplug", evse_id=1)
    boot = wait_rebooted(station, csms, after)
    wait_transaction_ended(csms, transaction_id)
    assert boot.payload["reason"] == "ScheduledReset"
    check_transaction_complete(station, csms, transaction_id, meter_before_wh)


def connector_statuses(csms: Csms, after: int) -> set[tuple[int, int, str]]:
    """The reported connector statuses, by either message. G01.FR.03."""
    return {
        (call.payload["evseId"], call.payload["connectorId"], call.payload["connectorStatus"])
        for call in csms.calls_for("StatusNotification", after)
    } | {
        (
            event["component"]["evse"]["id"],
            event["component"]["evse"]["connectorId"],
            event["actualValue"],
        )
        for call in csms.calls_for("NotifyEvent", after)
        for event in call.payload["eventData"]
        if (event["component"]["name"], event["variable"]["name"])
        == ("Connector", "AvailabilityState")
    }


def test_a_reset_of_an_idle_station_reports_every_connector_b11_fr_03(
    station: StationProcess, csms: Csms
) -> None:
    after = csms.next_frame_number()
    assert csms.call("Reset", {"type": "OnIdle"})["status"] == "Accepted"
    boot = wait_rebooted(station, csms, after)
    wait_until(
        lambda: connector_statuses(csms, boot.number) == {(1, 1, "Available"), (2, 1, "Available")},
        STEP_TIMEOUT_S,
        "status of every connector",
    )
    wait_until(
        lambda: (
            {call.payload["type"] for call in csms.calls_for("SecurityEventNotification", after)}
            & {"StartupOfTheDevice", "ResetOrReboot"}
        ),
        STEP_TIMEOUT_S,
        "security event of the reset",
    )


def test_after_sigterm_the_next_start_ends_the_transaction(
    station: StationProcess, csms: Csms
) -> None:
    authorize_and_plug_in(station, 2)
    transaction_id = wait_charging(csms, 2)
    assert station.terminate() == 0
    wait_until(lambda: not csms.is_connected, STEP_TIMEOUT_S, "end of the connection")
    station.start()
    # the emulated devices ended with the program: the EV is unplugged, which ends the transaction
    ended = wait_transaction_ended(csms, transaction_id)
    assert ended["transactionInfo"]["transactionId"] == transaction_id
    assert csms.ledger.find_problems(transaction_id) == []
