"""Block G: what a connector is, and what the CSMS makes of it."""

from __future__ import annotations

from typing import Any

from tests.csms import Payload
from tests.octt import states
from tests.octt.tester import Tester


def change(
    t: Tester,
    step: str,
    operational: str,
    evse_id: int | None = None,
    connector_id: int | None = None,
    status: Any = "Accepted",
) -> None:
    """ChangeAvailability of a connector, an EVSE or the whole station, and its answer."""
    request: Payload = {"operationalStatus": operational}
    if evse_id is not None:
        request["evse"] = {"id": evse_id} | ({"connectorId": connector_id} if connector_id else {})
    t.call(step, "ChangeAvailability", request, {"status": status})


def tc_g_01_cs(t: Tester) -> None:
    states.ev_connected_pre_session(t)


def tc_g_02_cs(t: Tester) -> None:
    states.ev_connected_pre_session(t)
    t.unplug()
    t.status("step 3", "Available")


# One EVSE (G03).


def tc_g_03_cs(t: Tester) -> None:
    states.unavailable(t, t.evse)


def tc_g_09_cs(t: Tester) -> None:
    change(t, "step 1", "Operative", t.evse)


def tc_g_04_cs(t: Tester) -> None:
    states.unavailable(t, t.evse)
    change(t, "step 1", "Operative", t.evse)
    t.status("step 3", "Available")


def tc_g_10_cs(t: Tester) -> None:
    states.unavailable(t, t.evse)
    change(t, "step 1", "Inoperative", t.evse)


def tc_g_11_cs(t: Tester) -> None:
    states.energy_transfer_started(t)
    change(t, "step 1", "Inoperative", t.evse, status="Scheduled")
    states.stop_authorized(t)
    t.status("step 4", "Unavailable")
    _leave_unavailable(t)


def tc_g_18_cs(t: Tester) -> None:
    states.unavailable(t, t.evse)
    change(t, "step 1", "Inoperative", t.evse)
    states.booted(t, connectors={t.evse: "Unavailable"})


# The whole station (G04).


def tc_g_05_cs(t: Tester) -> None:
    states.unavailable(t)


def tc_g_12_cs(t: Tester) -> None:
    change(t, "step 1", "Operative")


def tc_g_06_cs(t: Tester) -> None:
    states.unavailable(t)
    change(t, "step 1", "Operative")
    t.statuses("step 3")


def tc_g_13_cs(t: Tester) -> None:
    states.unavailable(t)
    change(t, "step 1", "Inoperative")


def tc_g_21_cs(t: Tester) -> None:
    states.unavailable(t)
    states.booting(t)
    t.boot_notification("step 2")
    t.statuses("step 4", "Unavailable")
    t.security_event("step 6", *states.STARTUP)


def tc_g_14_cs(t: Tester) -> None:
    states.energy_transfer_started(t)
    change(t, "step 1", "Inoperative", status="Scheduled")
    t.status("step 3", "Unavailable", t.settings.second_evse_id)
    states.stop_authorized(t)
    t.status("step 6", "Unavailable")
    _leave_unavailable(t)


# One connector (G03).


def tc_g_07_cs(t: Tester) -> None:
    states.unavailable(t, t.evse, t.connector)


def tc_g_15_cs(t: Tester) -> None:
    change(t, "step 1", "Operative", t.evse, t.connector)


def tc_g_08_cs(t: Tester) -> None:
    states.unavailable(t, t.evse, t.connector)
    change(t, "step 1", "Operative", t.evse, t.connector)
    t.status("step 3", "Available")


def tc_g_16_cs(t: Tester) -> None:
    states.unavailable(t, t.evse, t.connector)
    change(t, "step 1", "Inoperative", t.evse, t.connector)


def tc_g_17_cs(t: Tester) -> None:
    states.energy_transfer_started(t)
    change(t, "step 1", "Inoperative", t.evse, t.connector, status="Scheduled")
    states.stop_authorized(t)
    t.status("step 4", "Unavailable")
    _leave_unavailable(t)


def tc_g_19_cs(t: Tester) -> None:
    states.unavailable(t, t.evse, t.connector)
    states.booting(t)
    t.boot_notification("step 2")
    t.statuses("step 4", but={t.evse: "Unavailable"})
    t.security_event("step 6", *states.STARTUP)


def _leave_unavailable(t: Tester) -> None:
    """The EV drives away from a connector that is out of service: no state changes any more."""
    states.ev_connected_post_session(t)
    t.unplug()
    t.no_status("afterwards", 2.0, t.evse)
