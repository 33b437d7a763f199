"""Block H: reservations; and TC_B_24, that they persist over a reset.

Steps that a case leaves out on a station with several EVSEs ("if it has only one") are made
possible by taking the others out of service first.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.bench import GROUP, OTHER, VALID, VALID_2
from tests.conformance.octt.cases.g_availability import change_availability
from tests.conformance.octt.tester import TOKEN_TYPE, TRANSACTION_EVENT, Tester
from tests.conformance.octt.verify import require
from tests.support.csms import Payload

GROUP_TYPE = "Central"
EXPIRY_S = 600
SHORT_EXPIRY_S = 6  # of a reservation that is to expire


def reserve_now(
    tester: Tester,
    step: str,
    id_token: str = VALID,
    evse_id: int | None = None,
    *,
    reservation_id: int | None = None,
    expiry_s: float = EXPIRY_S,
    group: str | None = None,
    connector_type: str | None = None,
    status: str = "Accepted",
) -> int:
    """Send ReserveNow and check the response; returns the id of the reservation."""
    number = reservation_id or tester.next_id()
    tester.bench.reservation_ids.add(number)
    expires_at = datetime.now(UTC) + timedelta(seconds=expiry_s)
    request: Payload = {
        "id": number,
        "expiryDateTime": expires_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "idToken": {"idToken": id_token, "type": TOKEN_TYPE},
    }
    if evse_id is not None:
        request["evseId"] = evse_id
    if group is not None:
        request["groupIdToken"] = {"idToken": group, "type": GROUP_TYPE}
    if connector_type is not None:
        request["connectorType"] = connector_type
    tester.send_call(step, "ReserveNow", request, {"status": status})
    return number


def reserve_evse(tester: Tester, evse_id: int | None = None, **options: Any) -> int:
    """The reusable state Reserved: an EVSE is reserved, and its connectors are reported."""
    evse_id = evse_id or tester.evse_id
    number = reserve_now(tester, "Reserved step 1", evse_id=evse_id, **options)
    tester.expect_status("Reserved step 3", "Reserved", evse_id)
    return number


def reserve_all_evses(tester: Tester) -> None:
    for evse, id_token in zip(tester.profile.evse, (VALID, OTHER), strict=True):
        reserve_evse(tester, evse.id, id_token=id_token)


def close_other_evses(tester: Tester) -> None:
    """Only one EVSE is left."""
    for evse in tester.profile.evse:
        if evse.id != tester.evse_id:
            states.make_unavailable(tester, evse.id)


def use_reservation(tester: Tester, step: str, id_token: str) -> None:
    """The EV driver of the reservation is authorized, and its connector is Available again."""
    states.authorize_driver(tester, id_token)
    tester.expect_status(step, "Available")


def start_with_reservation(tester: Tester, number: int | None, *, id_token: str = VALID) -> None:
    """Energy flows; exactly one event of the transaction has the reservationId. H01.FR.15"""
    transaction_id = states.start_energy_transfer(tester, id_token=id_token)
    events = [
        frame.payload
        for frame in tester.csms.record.frames[tester.first_relevant_frame :]
        if frame.incoming and frame.type == 2 and frame.action == TRANSACTION_EVENT
    ]
    carried = [
        event["reservationId"]
        for event in events
        if event["transactionInfo"]["transactionId"] == transaction_id and "reservationId" in event
    ]
    expected = [] if number is None else [number]
    require("after authorization", carried == expected, f"reservationId must be sent: {carried}")


# A specific EVSE.


def tc_h_01_cs(tester: Tester) -> None:
    number = reserve_evse(tester)
    use_reservation(tester, "step 2", VALID)
    start_with_reservation(tester, number)


def tc_h_02_cs(tester: Tester) -> None:
    """Main A and Main B."""
    reserve_evse(tester)
    tester.plug_in()
    if "EVConnected" in tester.start_points:
        tester.expect_event("EVConnectedPreSession step 3", {"eventType": "Started"})
    tester.expect_no_status("EVConnectedPreSession step 1", 1.0, tester.evse_id)
    tester.present_id_token(OTHER)
    tester.expect_no_event("Main A", {"transactionInfo.chargingState": "Charging"})
    tester.send_call(
        "Main B step 1",
        "RequestStartTransaction",
        {
            "idToken": {"idToken": OTHER, "type": TOKEN_TYPE},
            "remoteStartId": tester.next_id(),
            "evseId": tester.evse_id,
        },
        {"status": "Rejected"},
    )


def tc_h_03_cs(tester: Tester) -> None:
    reserve_evse(tester)
    reserve_now(tester, "step 1", OTHER, tester.evse_id, status="Occupied")


def tc_h_04_cs(tester: Tester) -> None:
    states.start_energy_transfer(tester)
    reserve_now(tester, "step 1", OTHER, tester.evse_id, status="Occupied")


def tc_h_06_cs(tester: Tester) -> None:
    states.make_unavailable(tester, tester.evse_id)
    reserve_now(tester, "step 1", OTHER, tester.evse_id, status="Unavailable")


def tc_h_07_cs(tester: Tester) -> None:
    number = reserve_evse(tester, expiry_s=SHORT_EXPIRY_S)
    tester.expect_status("step 1", "Available")
    update = {"reservationId": number, "reservationUpdateStatus": "Expired"}
    tester.expect_call("step 3", "ReservationStatusUpdate", update)
    states.authorize_driver(tester, OTHER)
    start_with_reservation(tester, None, id_token=OTHER)


def tc_h_19_cs(tester: Tester) -> None:
    number = reserve_evse(tester, group=GROUP)
    use_reservation(tester, "after step 3", VALID_2)
    start_with_reservation(tester, number, id_token=VALID_2)


def tc_h_21_cs(tester: Tester) -> None:
    number = reserve_evse(tester)
    change_availability(tester, "step 1", "Inoperative", tester.evse_id)
    tester.expect_status("step 3", "Unavailable")
    update = {"reservationId": number, "reservationUpdateStatus": "Removed"}
    tester.expect_call("step 5", "ReservationStatusUpdate", update)
    change_availability(tester, "step 7", "Operative", tester.evse_id)
    tester.expect_status("step 9", "Available")
    states.authorize_driver(tester, OTHER)
    start_with_reservation(tester, None, id_token=OTHER)


def tc_h_22_cs(tester: Tester) -> None:
    tester.configure_variable("ReservationCtrlr", "Enabled", "false")
    reserve_now(tester, "step 1", evse_id=tester.evse_id, status="Rejected")


def tc_h_23_cs(tester: Tester) -> None:
    number = reserve_evse(tester)
    reserve_now(tester, "step 1", OTHER, tester.evse_id, reservation_id=number)
    tester.expect_no_status("after step 2", 1.0, tester.evse_id)  # it stays Reserved
    use_reservation(tester, "step 3", OTHER)
    start_with_reservation(tester, number, id_token=OTHER)


# Any EVSE.


def tc_h_08_cs(tester: Tester) -> None:
    number = reserve_now(tester, "step 1")
    tester.expect_no_status("step 3", 1.0)  # another EVSE is free
    states.authorize_driver(tester, VALID)
    start_with_reservation(tester, number)


def tc_h_09_cs(tester: Tester) -> None:
    reserve_all_evses(tester)
    reserve_now(tester, "step 1", VALID_2, status="Occupied")


def tc_h_10_cs(tester: Tester) -> None:
    for evse, id_token in zip(tester.profile.evse, (VALID, OTHER), strict=True):
        states.start_energy_transfer(tester, evse.id, id_token=id_token)
    reserve_now(tester, "step 1", VALID_2, status="Occupied")


def tc_h_12_cs(tester: Tester) -> None:
    states.make_unavailable(tester)
    reserve_now(tester, "step 1", status="Unavailable")


def tc_h_14_cs(tester: Tester) -> None:
    for _, id_token in zip(tester.profile.evse, (VALID, OTHER), strict=True):
        reserve_now(tester, "step 1", id_token)
    tester.expect_statuses("step 3", "Reserved")


def tc_h_24_cs(tester: Tester) -> None:
    close_other_evses(tester)
    number = reserve_now(tester, "step 1", group=GROUP)
    tester.expect_status("step 3", "Reserved")
    use_reservation(tester, "after step 5", VALID_2)
    start_with_reservation(tester, number, id_token=VALID_2)


# A connector type.


def _connector_type(tester: Tester) -> str:
    return tester.profile.evse[0].connectors[0].type


def tc_h_15_cs(tester: Tester) -> None:
    close_other_evses(tester)
    number = reserve_now(tester, "step 1", connector_type=_connector_type(tester))
    tester.expect_status("step 3", "Reserved")
    use_reservation(tester, "after step 5", VALID)
    start_with_reservation(tester, number)


def tc_h_16_cs(tester: Tester) -> None:
    reserve_all_evses(tester)
    connector_type = _connector_type(tester)
    reserve_now(tester, "step 1", VALID_2, connector_type=connector_type, status="Occupied")


# Cancel, and persist.


def tc_h_17_cs(tester: Tester) -> None:
    number = reserve_evse(tester)
    request = {"reservationId": number}
    tester.send_call("step 1", "CancelReservation", request, {"status": "Accepted"})
    tester.expect_status("step 3", "Available")


def tc_h_18_cs(tester: Tester) -> None:
    tester.send_call("step 1", "CancelReservation", {"reservationId": 1}, {"status": "Rejected"})


def tc_b_24_cs(tester: Tester) -> None:
    reserve_evse(tester)
    tester.reset_station("step 1", "Immediate")  # errata 6.2.16
    tester.expect_boot_notification("step 3", {"reason": "RemoteReset"})
    tester.expect_statuses("step 5", exceptions={tester.evse_id: "Reserved"})
