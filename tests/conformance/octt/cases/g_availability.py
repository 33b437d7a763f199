"""Block G: connector status and ChangeAvailability."""

from __future__ import annotations

from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.tester import Tester
from tests.support.csms import Payload


def change_availability(
    t: Tester,
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
    t.send_call(step, "ChangeAvailability", request, {"status": status})


def tc_g_01_cs(t: Tester) -> None:
    states.ev_connected_pre_session(t)


def tc_g_02_cs(t: Tester) -> None:
    states.ev_connected_pre_session(t)
    t.unplug()
    t.expect_status("step 3", "Available")


# One EVSE (G03).


def tc_g_03_cs(t: Tester) -> None:
    states.make_unavailable(t, t.evse_id)


def tc_g_09_cs(t: Tester) -> None:
    change_availability(t, "step 1", "Operative", t.evse_id)


def tc_g_04_cs(t: Tester) -> None:
    states.make_unavailable(t, t.evse_id)
    change_availability(t, "step 1", "Operative", t.evse_id)
    t.expect_status("step 3", "Available")


def tc_g_10_cs(t: Tester) -> None:
    states.make_unavailable(t, t.evse_id)
    change_availability(t, "step 1", "Inoperative", t.evse_id)


def tc_g_11_cs(t: Tester) -> None:
    states.start_energy_transfer(t)
    change_availability(t, "step 1", "Inoperative", t.evse_id, status="Scheduled")
    states.authorize_stop(t)
    t.expect_status("step 4", "Unavailable")
    _unplug_unavailable(t)


def tc_g_18_cs(t: Tester) -> None:
    states.make_unavailable(t, t.evse_id)
    change_availability(t, "step 1", "Inoperative", t.evse_id)
    states.reset_and_boot(t, connectors={t.evse_id: "Unavailable"})


# The whole station (G04).


def tc_g_05_cs(t: Tester) -> None:
    states.make_unavailable(t)


def tc_g_12_cs(t: Tester) -> None:
    change_availability(t, "step 1", "Operative")


def tc_g_06_cs(t: Tester) -> None:
    states.make_unavailable(t)
    change_availability(t, "step 1", "Operative")
    t.expect_statuses("step 3")


def tc_g_13_cs(t: Tester) -> None:
    states.make_unavailable(t)
    change_availability(t, "step 1", "Inoperative")


def tc_g_21_cs(t: Tester) -> None:
    states.make_unavailable(t)
    states.reset_station(t)
    t.expect_boot_notification("step 2")
    t.expect_statuses("step 4", "Unavailable")
    t.expect_security_event("step 6", *states.STARTUP)


def tc_g_14_cs(t: Tester) -> None:
    states.start_energy_transfer(t)
    change_availability(t, "step 1", "Inoperative", status="Scheduled")
    t.expect_status("step 3", "Unavailable", t.settings.second_evse_id)
    states.authorize_stop(t)
    t.expect_status("step 6", "Unavailable")
    _unplug_unavailable(t)


# One connector (G03).


def tc_g_07_cs(t: Tester) -> None:
    states.make_unavailable(t, t.evse_id, t.connector_id)


def tc_g_15_cs(t: Tester) -> None:
    change_availability(t, "step 1", "Operative", t.evse_id, t.connector_id)


def tc_g_08_cs(t: Tester) -> None:
    states.make_unavailable(t, t.evse_id, t.connector_id)
    change_availability(t, "step 1", "Operative", t.evse_id, t.connector_id)
    t.expect_status("step 3", "Available")


def tc_g_16_cs(t: Tester) -> None:
    states.make_unavailable(t, t.evse_id, t.connector_id)
    change_availability(t, "step 1", "Inoperative", t.evse_id, t.connector_id)


def tc_g_17_cs(t: Tester) -> None:
    states.start_energy_transfer(t)
    change_availability(t, "step 1", "Inoperative", t.evse_id, t.connector_id, status="Scheduled")
    states.authorize_stop(t)
    t.expect_status("step 4", "Unavailable")
    _unplug_unavailable(t)


def tc_g_19_cs(t: Tester) -> None:
    states.make_unavailable(t, t.evse_id, t.connector_id)
    states.reset_station(t)
    t.expect_boot_notification("step 2")
    t.expect_statuses("step 4", exceptions={t.evse_id: "Unavailable"})
    t.expect_security_event("step 6", *states.STARTUP)


def _unplug_unavailable(t: Tester) -> None:
    """Unplug from an Unavailable connector: its status does not change."""
    states.ev_connected_post_session(t)
    t.unplug()
    t.expect_no_status("afterwards", 2.0, t.evse_id)
