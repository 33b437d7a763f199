"""Block G: connector status and ChangeAvailability."""

from __future__ import annotations

from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.tester import Tester
from tests.support.csms import Payload


def change_availability(
    tester: Tester,
    step: str,
    operational_status: str,
    evse_id: int | None = None,
    connector_id: int | None = None,
    status: Any = "Accepted",
) -> None:
    """Send ChangeAvailability for a connector, an EVSE or the station; check the response."""
    request: Payload = {"operationalStatus": operational_status}
    if evse_id is not None:
        request["evse"] = {"id": evse_id} | ({"connectorId": connector_id} if connector_id else {})
    tester.send_call(step, "ChangeAvailability", request, {"status": status})


def tc_g_01_cs(tester: Tester) -> None:
    states.ev_connected_pre_session(tester)


def tc_g_02_cs(tester: Tester) -> None:
    states.ev_connected_pre_session(tester)
    tester.unplug()
    tester.expect_status("step 3", "Available")


# One EVSE (G03).


def tc_g_03_cs(tester: Tester) -> None:
    states.make_unavailable(tester, tester.evse_id)


def tc_g_09_cs(tester: Tester) -> None:
    change_availability(tester, "step 1", "Operative", tester.evse_id)


def tc_g_04_cs(tester: Tester) -> None:
    states.make_unavailable(tester, tester.evse_id)
    change_availability(tester, "step 1", "Operative", tester.evse_id)
    tester.expect_status("step 3", "Available")


def tc_g_10_cs(tester: Tester) -> None:
    states.make_unavailable(tester, tester.evse_id)
    change_availability(tester, "step 1", "Inoperative", tester.evse_id)


def tc_g_11_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    change_availability(tester, "step 1", "Inoperative", tester.evse_id, status="Scheduled")
    states.authorize_stop(tester)
    tester.expect_status("step 4", "Unavailable")
    _unplug_unavailable(tester)


def tc_g_18_cs(tester: Tester) -> None:
    states.make_unavailable(tester, tester.evse_id)
    change_availability(tester, "step 1", "Inoperative", tester.evse_id)
    states.reset_and_boot(tester, connectors={tester.evse_id: "Unavailable"})


# The whole station (G04).


def tc_g_05_cs(tester: Tester) -> None:
    states.make_unavailable(tester)


def tc_g_12_cs(tester: Tester) -> None:
    change_availability(tester, "step 1", "Operative")


def tc_g_06_cs(tester: Tester) -> None:
    states.make_unavailable(tester)
    change_availability(tester, "step 1", "Operative")
    tester.expect_statuses("step 3")


def tc_g_13_cs(tester: Tester) -> None:
    states.make_unavailable(tester)
    change_availability(tester, "step 1", "Inoperative")


def tc_g_21_cs(tester: Tester) -> None:
    states.make_unavailable(tester)
    states.reset_station(tester)
    tester.expect_boot_notification("step 2")
    tester.expect_statuses("step 4", "Unavailable")
    tester.expect_security_event("step 6", *states.STARTUP)


def tc_g_14_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    change_availability(tester, "step 1", "Inoperative", status="Scheduled")
    tester.expect_status("step 3", "Unavailable", tester.settings.second_evse_id)
    states.authorize_stop(tester)
    tester.expect_status("step 6", "Unavailable")
    _unplug_unavailable(tester)


# One connector (G03).


def tc_g_07_cs(tester: Tester) -> None:
    states.make_unavailable(tester, tester.evse_id, tester.connector_id)


def tc_g_15_cs(tester: Tester) -> None:
    change_availability(tester, "step 1", "Operative", tester.evse_id, tester.connector_id)


def tc_g_08_cs(tester: Tester) -> None:
    states.make_unavailable(tester, tester.evse_id, tester.connector_id)
    change_availability(tester, "step 1", "Operative", tester.evse_id, tester.connector_id)
    tester.expect_status("step 3", "Available")


def tc_g_16_cs(tester: Tester) -> None:
    states.make_unavailable(tester, tester.evse_id, tester.connector_id)
    change_availability(tester, "step 1", "Inoperative", tester.evse_id, tester.connector_id)


def tc_g_17_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    change_availability(
        tester, "step 1", "Inoperative", tester.evse_id, tester.connector_id, status="Scheduled"
    )
    states.authorize_stop(tester)
    tester.expect_status("step 4", "Unavailable")
    _unplug_unavailable(tester)


def tc_g_19_cs(tester: Tester) -> None:
    states.make_unavailable(tester, tester.evse_id, tester.connector_id)
    states.reset_station(tester)
    tester.expect_boot_notification("step 2")
    tester.expect_statuses("step 4", exceptions={tester.evse_id: "Unavailable"})
    tester.expect_security_event("step 6", *states.STARTUP)


def _unplug_unavailable(tester: Tester) -> None:
    """Unplug from an Unavailable connector: its status does not change."""
    states.ev_connected_post_session(tester)
    tester.unplug()
    tester.expect_no_status("afterwards", 2.0, tester.evse_id)
