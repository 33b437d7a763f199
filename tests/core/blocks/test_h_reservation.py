"""ReserveNow, CancelReservation, kept EVSEs, and how reservations are used and end. Block H."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from journal.observations import ClockStepped, StorageReported
from journal.projections.authorizations import AuthorizationGranted, AuthorizationRefused
from journal.projections.outbox import CallQueued
from journal.projections.reservations import ReservationEnded, ReservationMade, ReservationUsed
from station.core.blocks.h_kept_evses import count_served
from station.core.blocks.h_reservation import START_GRACE_MS
from station.ocpp.messages import format_timestamp
from tests.support.story import (
    ALICE,
    BOB,
    FAMILY,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    NOON,
    ONLINE,
    CsmsBehavior,
    Json,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_stopped,
    connector_statuses,
    csms_answers,
    device_faulted,
    device_recovered,
    event_triggers,
    given,
    id_token_named,
    id_token_payload,
    in_sequence,
    in_transaction,
    of_kind,
    presented,
    queued_payloads,
    response_payload_in,
    result_received,
    shown_at,
    station_restarted,
    time_passed,
    variable_preset,
)

CAROL = id_token_named("carol")
CCS = "cCCS1"
HOUR_S = 3600


def reserve(
    evse_id: int | None = None,
    id_token: Any = ALICE,
    *,
    number: int = 1,
    group: Any = None,
    connector_type: str | None = None,
    seconds: float = HOUR_S,
) -> Step:
    """ReserveNow; it expires this long after noon, when every story begins."""
    request: Json = {
        "id": number,
        "expiryDateTime": format_timestamp(NOON + timedelta(seconds=seconds)),
        "idToken": id_token_payload(id_token),
    }
    if evse_id is not None:
        request["evseId"] = evse_id
    if group is not None:
        request["groupIdToken"] = id_token_payload(group)
    if connector_type is not None:
        request["connectorType"] = connector_type
    return called("ReserveNow", **request)


def cancel(number: int = 1) -> Step:
    return called("CancelReservation", reservationId=number)


def start_at(evse_id: int, id_token: Any = ALICE, *, group: Any = None) -> Step:
    request: Json = {
        "evseId": evse_id,
        "remoteStartId": 7,
        "idToken": id_token_payload(id_token),
    }
    if group is not None:
        request["groupIdToken"] = id_token_payload(group)
    return called("RequestStartTransaction", **request)


def change_availability(evse_id: int, status: str = "Inoperative") -> Step:
    return called("ChangeAvailability", operationalStatus=status, evse={"id": evse_id})


def enabled(value: str, component: str = "ReservationCtrlr") -> Step:
    data = {
        "component": {"name": component},
        "variable": {"name": "Enabled"},
        "attributeValue": value,
    }
    return called("SetVariables", setVariableData=[data])


def accepts_with_group(group: Any) -> CsmsBehavior:
    """A CSMS that reports every idToken as a member of a group."""

    def csms(action: str, payload: Json) -> Json | None:
        if action == "Authorize":
            return {"idTokenInfo": {"status": "Accepted", "groupIdToken": id_token_payload(group)}}
        return accept_everything(action, payload)

    return csms


def statuses(station: Station) -> list[str]:
    """The status of each connector as reported last."""
    reported = station.state.reported_statuses
    return [str(reported.on_connector(evse_id, 1)) for evse_id in (1, 2)]


def reservation_ids(station: Station) -> list[int]:
    return [each.reservation_id for each in station.state.reservations.open]


def response_to(station: Station, step: Step) -> str:
    return str(response_payload_in(station.with_csms(accept_everything, step))["status"])


def carried_reservations(decisions: Any) -> list[int | None]:
    """reservationId of each TransactionEvent."""
    return [event.get("reservationId") for event in queued_payloads(decisions, "TransactionEvent")]


def updates(decisions: Any) -> list[tuple[int, str]]:
    return [
        (update["reservationId"], update["reservationUpdateStatus"])
        for update in queued_payloads(decisions, "ReservationStatusUpdate")
    ]


# --- Reserve -------------------------------------------------------------------------------------


def test_a_named_evse_is_reserved_and_reported_h01_fr_03_h01_fr_23() -> None:
    station = given(ONLINE)
    decisions = station.when(reserve(1))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert connector_statuses(decisions) == [(1, "Reserved")]
    assert shown_at(station, 1).headline == "Reserved"
    assert "alice" not in str(shown_at(station, 1))  # not for whom


def test_of_two_free_evses_none_is_reserved_for_one_reservation_h01_fr_04_h01_fr_18() -> None:
    station = given(ONLINE)
    decisions = station.when(reserve())
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert connector_statuses(decisions) == []


def test_as_many_reservations_as_free_evses_reserve_all_of_them_h01_fr_20() -> None:
    station = given(ONLINE, reserve())
    decisions = station.when(reserve(id_token=BOB, number=2))
    assert connector_statuses(decisions) == [(1, "Reserved"), (2, "Reserved")]
    assert statuses(station) == ["Reserved", "Reserved"]


def test_the_last_free_evse_is_kept_h01_fr_07() -> None:
    station = given(ONLINE, reserve(id_token=BOB), in_transaction(1))
    assert statuses(station) == ["Occupied", "Reserved"]


def test_an_ev_at_another_evse_leaves_the_last_one_kept_h01_fr_07() -> None:
    station = given(ONLINE, reserve(), cable_plugged(1))
    assert statuses(station) == ["Occupied", "Reserved"]
    station.with_csms(accept_everything, cable_plugged(2))
    assert statuses(station) == ["Occupied", "Reserved"]
    station.with_csms(accept_everything, cable_unplugged(1))
    assert statuses(station) == ["Reserved", "Occupied"]


def test_a_connector_type_is_reserved_h01_fr_06_h01_fr_09_h01_fr_24() -> None:
    station = given(ONLINE, change_availability(2))
    decisions = station.when(reserve(connector_type=CCS))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert connector_statuses(decisions) == [(1, "Reserved")]


def test_the_same_id_replaces_a_reservation_h01_fr_02() -> None:
    station = given(ONLINE, reserve(1))
    decisions = station.when(reserve(2, BOB))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    station.when(csms_answers())
    assert statuses(station) == ["Available", "Reserved"]
    assert [each.id_token for each in station.state.reservations.open] == [BOB]
    assert updates(decisions) == []


def test_a_replacement_that_is_refused_leaves_the_reservation_h01_fr_02_h01_fr_11() -> None:
    station = given(ONLINE, in_transaction(2, BOB), reserve(1))
    assert response_to(station, reserve(2)) == "Occupied"
    assert [each.evse_id for each in station.state.reservations.open] == [1]


@pytest.mark.parametrize("evse_id", [1, None])
@pytest.mark.parametrize(
    ("step", "status"),
    [
        (in_sequence(reserve(1, number=8), reserve(2, number=9)), "Occupied"),
        (in_sequence(in_transaction(1), in_transaction(2, BOB)), "Occupied"),
        (in_sequence(cable_plugged(1), cable_plugged(2)), "Occupied"),
        (in_sequence(device_faulted(1), device_faulted(2)), "Faulted"),
        (in_sequence(change_availability(1), change_availability(2)), "Unavailable"),
    ],
    ids=["reserved", "transaction", "plugged", "faulted", "unavailable"],
)
def test_evses_that_are_not_available_h01_fr_11_h01_fr_12_h01_fr_14(
    step: Step, status: str, evse_id: int | None
) -> None:
    station = given(ONLINE, step)
    before = station.state.reservations
    assert response_to(station, reserve(evse_id, CAROL)) == status
    assert station.state.reservations == before


def test_the_most_usable_status_of_several_evses_is_answered_h01_fr_11() -> None:
    station = given(ONLINE, device_faulted(1), in_transaction(2))
    assert response_to(station, reserve(id_token=BOB)) == "Occupied"


def test_a_driver_without_an_evse_yet_counts_h01_fr_07() -> None:
    station = given(ONLINE, reserve(id_token=BOB), presented(ALICE))
    assert len(station.state.authorizations.unbound) == 1
    assert response_to(station, reserve(id_token=CAROL, number=2)) == "Occupied"


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (reserve(3), "UnknownEvse"),
        (reserve(0), "UnknownEvse"),
        (reserve(1, connector_type="cType2"), "UnknownConnectorType"),
        (reserve(connector_type="cType2"), "UnknownConnectorType"),
        (reserve(1, seconds=-1), "InvalidValue"),
    ],
)
def test_a_reservation_that_is_impossible_is_rejected_h01_fr_03(step: Step, code: str) -> None:
    response = response_payload_in(given(ONLINE).when(step))
    assert response["status"] == "Rejected"
    assert response["statusInfo"]["reasonCode"] == code


def test_disabled_reservations_are_rejected_h01_fr_01() -> None:
    station = given(ONLINE, enabled("false"))
    response = response_payload_in(station.when(reserve(1)))
    assert response == {"status": "Rejected", "statusInfo": {"reasonCode": "NotEnabled"}}


def test_a_product_that_reserves_no_unspecified_evse_rejects_it_h01_fr_19() -> None:
    station = given(ONLINE)
    definition = station.product.device_model.by_path.pop("ReservationCtrlr.NonEvseSpecific")
    try:
        response = response_payload_in(station.when(reserve()))
    finally:
        station.product.device_model.by_path[definition.path] = definition
    assert response["status"] == "Rejected"
    assert response["statusInfo"]["reasonCode"] == "MissingParam"


def test_the_certified_product_has_no_reservations_h01_fr_01_h02_fr_01() -> None:
    station = given(ONLINE, profile_name="evs-flash-300")
    reserved = response_payload_in(station.when(reserve(1)))
    assert reserved == {"status": "Rejected", "statusInfo": {"reasonCode": "NotEnabled"}}
    cancelled = response_payload_in(station.when(cancel()))
    assert cancelled == {"status": "Rejected", "statusInfo": {"reasonCode": "NotFound"}}


# --- Cancel --------------------------------------------------------------------------------------


def test_a_cancelled_reservation_frees_its_evse_h02_fr_02_h02_fr_03_h02_fr_04() -> None:
    station = given(ONLINE, reserve(1))
    decisions = station.when(cancel())
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert connector_statuses(decisions) == [(1, "Available")]
    assert updates(decisions) == []  # the CSMS has cancelled it itself
    station.with_csms(accept_everything, in_transaction(1, BOB))
    assert station.state.transactions.on_evse(1)


def test_cancelling_one_of_several_frees_all_evses_h02_fr_05_h02_fr_06() -> None:
    station = given(ONLINE, reserve(), reserve(number=2))
    station.with_csms(accept_everything, cancel(2))
    assert statuses(station) == ["Available", "Available"]


def test_an_unknown_reservation_cannot_be_cancelled_h02_fr_01() -> None:
    station = given(ONLINE, reserve(1))
    response = response_payload_in(station.when(cancel(2)))
    assert response == {"status": "Rejected", "statusInfo": {"reasonCode": "NotFound"}}
    assert reservation_ids(station) == [1]


# --- Use -----------------------------------------------------------------------------------------


def test_the_card_first_frees_the_connector_and_carries_the_id_h03_fr_01_h03_fr_09_h03_fr_10() -> (
    None
):
    station = given(ONLINE, reserve(1))
    decisions = station.with_csms(accept_everything, presented(ALICE))  # the reader has no EVSE
    [granted] = of_kind(decisions, AuthorizationGranted)
    assert granted.evse_id == 1
    assert [used.reservation_id for used in of_kind(decisions, ReservationUsed)] == [1]
    assert connector_statuses(decisions) == [(1, "Available")]
    decisions = station.with_csms(accept_everything, cable_plugged(1))
    assert connector_statuses(decisions) == [(1, "Occupied")]
    assert carried_reservations(decisions) == [1]  # E03.FR.03, H01.FR.15
    assert station.state.reservations.used == ()


@pytest.mark.parametrize("start", ["EVConnected", "PowerPathClosed", "EnergyTransfer"])
def test_the_cable_first_leaves_it_reserved_g01_fr_09_g03_fr_09_g01_fr_06_e02_fr_03(
    start: str,
) -> None:
    station = given(variable_preset("TxCtrlr.TxStartPoint", start), ONLINE, reserve(1))
    decisions = station.with_csms(accept_everything, cable_plugged(1))
    assert connector_statuses(decisions) == []
    assert bool(event_triggers(decisions)) is (start == "EVConnected")
    decisions = station.with_csms(accept_everything, presented(ALICE))
    assert connector_statuses(decisions) == [(1, "Occupied")]
    if start == "EnergyTransfer":
        return
    assert [each for each in carried_reservations(decisions) if each is not None] == [1]


def test_the_id_is_carried_once_e01_fr_13_h01_fr_15() -> None:
    station = given(ONLINE, reserve(1))
    decisions = station.with_csms(
        accept_everything, in_transaction(1), presented(ALICE), charging_stopped(1)
    )
    assert [each for each in carried_reservations(decisions) if each is not None] == [1]
    assert reservation_ids(station) == []


@pytest.mark.parametrize("first", [cable_plugged(1), None], ids=["cable", "card"])
def test_another_card_is_refused_at_a_reserved_evse_h03_remark(first: Step | None) -> None:
    station = given(ONLINE, reserve(1), *([first] if first else []))
    decisions = station.when(presented(BOB, evse_id=1))
    [refused] = of_kind(decisions, AuthorizationRefused)
    assert (refused.status, refused.because) == ("Reserved", "is_reserved")
    assert queued_payloads(decisions, "Authorize") == []
    assert connector_statuses(decisions) == []
    assert reservation_ids(station) == [1]


def test_the_last_kept_evse_refuses_other_cards_h01_fr_07() -> None:
    station = given(ONLINE, in_transaction(1, CAROL), reserve())
    decisions = station.when(cable_plugged(2), presented(BOB, evse_id=2))
    [refused] = of_kind(decisions, AuthorizationRefused)
    assert refused.because == "is_kept_free"
    [refused] = of_kind(station.when(cable_unplugged(2), presented(BOB)), AuthorizationRefused)
    assert refused.because == "no_evse_free"


def test_any_evse_serves_a_reservation_that_names_none_h03_fr_03() -> None:
    station = given(ONLINE, reserve(), cable_plugged(2))
    decisions = station.with_csms(accept_everything, presented(ALICE))
    assert [each for each in carried_reservations(decisions) if each is not None] == [1]
    assert statuses(station) == ["Available", "Occupied"]


def test_the_card_first_uses_a_reservation_that_names_no_evse_h03_fr_03_h03_fr_10() -> None:
    station = given(ONLINE, reserve(), reserve(id_token=BOB, number=2))
    station.with_csms(accept_everything, presented(ALICE))
    assert statuses(station) == ["Available", "Available"]
    decisions = station.with_csms(accept_everything, cable_plugged(1))
    assert carried_reservations(decisions) == [1]
    assert statuses(station) == ["Occupied", "Reserved"]


def test_an_evse_with_the_connector_serves_a_reserved_type_h03_fr_02() -> None:
    station = given(ONLINE, reserve(connector_type=CCS), cable_plugged(2))
    decisions = station.with_csms(accept_everything, presented(ALICE))
    assert [each for each in carried_reservations(decisions) if each is not None] == [1]


@pytest.mark.parametrize(("evse_id", "connector_type"), [(1, None), (None, CCS), (None, None)])
def test_a_member_of_the_group_uses_it_h03_fr_04_h03_fr_05_h03_fr_06_h03_fr_08(
    evse_id: int | None, connector_type: str | None
) -> None:
    station = given(
        ONLINE,
        change_availability(2),
        reserve(evse_id, group=FAMILY, connector_type=connector_type),
        cable_plugged(1),
    )
    assert len(queued_payloads(station.when(presented(BOB)), "Authorize")) == 1
    decisions = station.when(csms_answers(accepts_with_group(FAMILY)))
    [used] = of_kind(decisions, ReservationUsed)
    assert used.because == "group_id_token"
    assert statuses(station) == ["Occupied", "Unavailable"]


def test_a_member_of_another_group_is_refused_h03_remark() -> None:
    station = given(ONLINE, reserve(1, group=FAMILY), cable_plugged(1))
    csms = accepts_with_group(id_token_named("others", "Central"))
    decisions = station.with_csms(csms, presented(BOB))
    [refused] = of_kind(decisions, AuthorizationRefused)
    assert refused.because == "is_reserved"
    assert statuses(station) == ["Reserved", "Available"]
    # The answer is cached: next time the CSMS is not asked. H03.FR.07
    decisions = station.when(presented(BOB))
    assert queued_payloads(decisions, "Authorize") == []
    assert len(of_kind(decisions, AuthorizationRefused)) == 1


def test_without_the_csms_an_unknown_group_does_not_count_h03_fr_08() -> None:
    station = given(
        variable_preset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true"),
        ONLINE,
        reserve(1, group=FAMILY),
        cable_plugged(1),
        LINK_LOST,
    )
    [refused] = of_kind(station.when(presented(BOB)), AuthorizationRefused)
    assert refused.because == "is_reserved"
    assert len(of_kind(station.when(presented(ALICE)), AuthorizationGranted)) == 1


@pytest.mark.parametrize(("evse_id", "connector_type"), [(1, None), (None, CCS), (None, None)])
def test_offline_a_reservation_authorizes_its_idtoken_h03_fr_01_h03_fr_02_h03_fr_03(
    evse_id: int | None, connector_type: str | None
) -> None:
    station = given(ONLINE, reserve(evse_id, connector_type=connector_type), LINK_LOST)
    station.when(cable_plugged(1))
    assert of_kind(station.when(presented(BOB)), AuthorizationGranted) == []
    [granted] = of_kind(station.when(presented(ALICE)), AuthorizationGranted)
    assert (granted.evse_id, granted.authorized_by) == (1, "Reservation")
    uses = [each.event for each in station.entries if isinstance(each.event, ReservationUsed)]
    assert [used.reservation_id for used in uses] == [1]


def block_every_id_token(action: str, payload: Json) -> Json | None:
    if action == "Authorize":
        return {"idTokenInfo": {"status": "Blocked"}}
    return accept_everything(action, payload)


def test_an_idtoken_uses_its_reservation_when_it_is_authorized_h03_fr_09_tc_h_01() -> None:
    station = given(ONLINE, reserve(1))
    station.when(presented(ALICE))
    assert reservation_ids(station) == [1]  # presented; the CSMS has not answered
    refusal = {"status": "NotAtThisTime"}
    decisions = station.with_csms(accept_everything, result_received(idTokenInfo=refusal))
    assert of_kind(decisions, AuthorizationRefused)
    assert reservation_ids(station) == [1]
    assert statuses(station) == ["Reserved", "Available"]
    station.with_csms(accept_everything, presented(ALICE))
    assert reservation_ids(station) == []


def test_offline_a_cached_refusal_comes_before_a_reservation_c12_fr_02() -> None:
    station = given(ONLINE, reserve(1))
    station.with_csms(block_every_id_token, presented(ALICE))
    assert of_kind(station.when(LINK_LOST, presented(ALICE)), AuthorizationGranted) == []


def test_an_authorization_without_idtoken_leaves_a_reserved_evse_c01_fr_01() -> None:
    station = given(variable_preset("AuthCtrlr.Enabled", "false"), ONLINE, reserve(1))
    assert of_kind(station.when(cable_plugged(1)), AuthorizationGranted) == []
    [granted] = of_kind(station.when(presented(ALICE)), AuthorizationGranted)
    assert (granted.evse_id, granted.authorized_by) == (1, "NotNeeded")


def test_without_authorization_the_group_of_the_cache_uses_its_reservation_h03_fr_06() -> None:
    others = id_token_named("others", "Central")
    station = given(ONLINE, reserve(1, group=others))
    station.with_csms(accepts_with_group(FAMILY), presented(BOB, evse_id=1))  # now it is cached
    station.when(
        cancel(), reserve(2, CAROL, number=2), reserve(None, ALICE, number=3, group=FAMILY)
    )
    station.when(enabled("false", "AuthCtrlr"))
    [used] = of_kind(station.when(presented(BOB, evse_id=1)), ReservationUsed)
    assert (used.reservation_id, used.because) == (3, "group_id_token")


def test_a_driver_who_was_authorized_before_does_not_get_a_reserved_evse_h03_remark() -> None:
    station = given(ONLINE, presented(BOB), reserve(1))
    station.with_csms(accept_everything, cable_plugged(1))
    assert station.state.transactions.open == ()
    assert statuses(station) == ["Reserved", "Available"]
    station.with_csms(accept_everything, cable_unplugged(1), cable_plugged(2))
    assert station.state.transactions.on_evse(2)


def test_a_card_at_another_evse_leaves_the_reservation_h03_fr_01() -> None:
    station = given(ONLINE, reserve(1))
    decisions = station.with_csms(accept_everything, in_transaction(2))
    assert of_kind(decisions, ReservationUsed) == []
    assert statuses(station) == ["Reserved", "Occupied"]


def test_one_reader_prefers_the_ev_that_may_charge_h03_remark() -> None:
    station = given(ONLINE, reserve(2), cable_plugged(1), cable_plugged(2))
    decisions = station.with_csms(accept_everything, presented(BOB))
    assert [granted.evse_id for granted in of_kind(decisions, AuthorizationGranted)] == [1]


def test_a_reservation_that_was_made_later_is_not_used_by_an_old_authorization_h03_fr_09() -> None:
    station = given(ONLINE, in_transaction(1), reserve())
    assert reservation_ids(station) == [1]
    station.with_csms(accept_everything, time_passed(seconds=120))
    assert reservation_ids(station) == [1]


def test_one_authorization_uses_one_reservation_h03_fr_09() -> None:
    station = given(ONLINE, reserve(), reserve(number=2), in_transaction(1))
    assert reservation_ids(station) == [2]
    station.with_csms(accept_everything, time_passed(seconds=120))
    assert reservation_ids(station) == [2]


# --- Remote start --------------------------------------------------------------------------------


def test_a_remote_start_uses_the_reservation_of_its_idtoken_f02_fr_06_h03_fr_09() -> None:
    station = given(ONLINE, reserve(1), cable_plugged(1))
    decisions = station.with_csms(accept_everything, start_at(1))
    assert response_payload_in(decisions)["status"] == "Accepted"
    assert [each for each in carried_reservations(decisions) if each is not None] == [1]


@pytest.mark.parametrize("group", [None, id_token_named("others", "Central")])
@pytest.mark.parametrize("reserved_group", [None, FAMILY])
def test_a_remote_start_for_another_is_rejected_f01_fr_21_f01_fr_22_f02_fr_23_f02_fr_24(
    group: Any, reserved_group: Any
) -> None:
    station = given(ONLINE, reserve(1, group=reserved_group))
    decisions = station.when(start_at(1, BOB, group=group))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert of_kind(decisions, AuthorizationGranted) == []
    assert reservation_ids(station) == [1]


def test_a_remote_start_with_the_group_uses_it_h03_fr_04_f01_fr_22() -> None:
    station = given(ONLINE, reserve(1, group=FAMILY), cable_plugged(1))
    decisions = station.with_csms(accept_everything, start_at(1, BOB, group=FAMILY))
    assert response_payload_in(decisions)["status"] == "Accepted"
    assert [each for each in carried_reservations(decisions) if each is not None] == [1]


def test_a_remote_start_without_an_evse_gets_its_reserved_one_f01_fr_20() -> None:
    station = given(ONLINE, reserve(2))
    request: Json = {"remoteStartId": 7, "idToken": id_token_payload(ALICE)}
    decisions = station.with_csms(accept_everything, called("RequestStartTransaction", **request))
    assert [granted.evse_id for granted in of_kind(decisions, AuthorizationGranted)] == [2]


def test_a_remote_start_without_an_evse_avoids_a_kept_one_f01_fr_20() -> None:
    station = given(ONLINE, reserve(1))
    request: Json = {"remoteStartId": 7, "idToken": id_token_payload(BOB)}
    decisions = station.with_csms(accept_everything, called("RequestStartTransaction", **request))
    assert [granted.evse_id for granted in of_kind(decisions, AuthorizationGranted)] == [2]


# --- The end -------------------------------------------------------------------------------------


def test_it_expires_and_is_reported_h04_fr_01_h04_fr_02_h04_fr_03() -> None:
    station = given(ONLINE, reserve(1, seconds=60))
    assert updates(station.with_csms(accept_everything, time_passed(seconds=59))) == []
    decisions = station.with_csms(accept_everything, time_passed(seconds=2))
    assert connector_statuses(decisions) == [(1, "Available")]
    assert updates(decisions) == [(1, "Expired")]
    actions = [call.action for call in of_kind(decisions, CallQueued)]
    assert actions.index("StatusNotification") < actions.index("ReservationStatusUpdate")
    station.with_csms(accept_everything, in_transaction(1, BOB))
    assert station.state.transactions.on_evse(1)


def test_an_end_while_offline_is_reported_later_h04_fr_01() -> None:
    station = given(ONLINE, reserve(1, seconds=60), LINK_LOST)
    assert updates(station.when(time_passed(seconds=90))) == [(1, "Expired")]
    station.with_csms(accept_everything, LINK_OPENED)
    assert station.state.outbox.general_count("ReservationStatusUpdate") == 0


def test_several_expire_at_once_h04_fr_01() -> None:
    station = given(ONLINE, reserve(1, seconds=60), reserve(2, BOB, number=2, seconds=60))
    decisions = station.with_csms(accept_everything, time_passed(seconds=61))
    assert updates(decisions) == [(1, "Expired"), (2, "Expired")]


def test_a_fault_removes_it_h01_fr_16() -> None:
    station = given(ONLINE, reserve(1), time_passed(seconds=START_GRACE_MS / 1000))
    decisions = station.with_csms(accept_everything, device_faulted(1))
    assert connector_statuses(decisions) == [(1, "Faulted")]
    assert updates(decisions) == [(1, "Removed")]
    [ended] = of_kind(decisions, ReservationEnded)
    assert ended.because == "has_blocking_fault"
    assert connector_statuses(station.when(device_recovered(1))) == [(1, "Available")]


def test_an_evse_out_of_service_removes_it_h01_fr_17() -> None:
    station = given(ONLINE, reserve(1))
    decisions = station.with_csms(accept_everything, change_availability(1))
    assert connector_statuses(decisions) == [(1, "Unavailable")]
    assert updates(decisions) == [(1, "Removed")]


def test_a_full_disk_removes_it_h01_fr_17() -> None:
    station = given(ONLINE, reserve(1))
    decisions = station.with_csms(accept_everything, StorageReported("full", 0))
    assert (1, "Unavailable") in connector_statuses(decisions)
    assert updates(decisions) == [(1, "Removed")]


def test_one_that_names_no_evse_stays_while_another_is_free_h01_fr_17() -> None:
    station = given(ONLINE, reserve())
    station.with_csms(accept_everything, change_availability(1))
    assert statuses(station) == ["Unavailable", "Reserved"]
    decisions = station.with_csms(accept_everything, change_availability(2))
    assert updates(decisions) == [(1, "Removed")]


def test_of_several_the_last_one_made_is_removed_h01_fr_17() -> None:
    station = given(ONLINE, reserve(), reserve(id_token=BOB, number=2))
    decisions = station.with_csms(accept_everything, change_availability(1))
    assert updates(decisions) == [(2, "Removed")]
    assert statuses(station) == ["Unavailable", "Reserved"]


def test_disabled_reservations_have_no_effect_and_come_back() -> None:
    station = given(ONLINE, reserve(1), enabled("false"))
    assert statuses(station) == ["Available", "Available"]
    station.with_csms(accept_everything, enabled("true"))
    assert statuses(station) == ["Reserved", "Available"]


@pytest.mark.parametrize("evse_id", [1, None])
def test_a_transaction_while_disabled_makes_it_expire(evse_id: int | None) -> None:
    station = given(ONLINE, change_availability(2), reserve(evse_id), enabled("false"))
    station.with_csms(accept_everything, in_transaction(1, BOB))
    decisions = station.with_csms(accept_everything, enabled("true"))
    expected = "Expired" if evse_id else "Removed"  # without an EVSE: EVSE 2 is out of service
    assert updates(decisions) == [(1, expected)]


# --- Restart and clock ---------------------------------------------------------------------------


@pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"], ids=["program", "power cut"])
def test_it_persists_over_a_restart_b01_fr_13_b11_fr_05(boot_id: str) -> None:
    station = given(ONLINE, reserve(1))
    station.with_csms(
        accept_everything, station_restarted(boot_id=boot_id, gap_s=60), IDLE, LINK_OPENED
    )
    assert reservation_ids(station) == [1]
    assert statuses(station) == ["Reserved", "Available"]
    decisions = station.with_csms(accept_everything, in_transaction(1))
    assert [each for each in carried_reservations(decisions) if each is not None] == [1]


def test_devices_that_start_late_do_not_end_it_b01_fr_13() -> None:
    station = given(ONLINE, reserve(1))
    station.with_csms(accept_everything, station_restarted(boot_id="boot-2", gap_s=60), IDLE)
    decisions = station.with_csms(
        accept_everything, device_faulted(1), LINK_OPENED, time_passed(seconds=20)
    )
    assert updates(decisions) == []
    station.with_csms(accept_everything, device_recovered(1), time_passed(seconds=60))
    assert statuses(station) == ["Reserved", "Available"]


def test_a_fault_that_stays_after_a_start_ends_it_h01_fr_16() -> None:
    station = given(ONLINE, reserve(1))
    station.with_csms(accept_everything, station_restarted(boot_id="boot-2"), IDLE, LINK_OPENED)
    decisions = station.with_csms(
        accept_everything, device_faulted(1), time_passed(seconds=START_GRACE_MS / 1000)
    )
    assert updates(decisions) == [(1, "Removed")]


def test_it_expires_while_the_program_is_away_h04_fr_01() -> None:
    station = given(ONLINE, reserve(1, seconds=60))
    decisions = station.with_csms(
        accept_everything, station_restarted(gap_s=120), IDLE, LINK_OPENED
    )
    assert updates(decisions) == [(1, "Expired")]


def test_a_clock_that_may_be_wrong_does_not_end_it_h04_fr_01() -> None:
    station = given(ONLINE, reserve(1, seconds=600))
    station.host_at += timedelta(days=1)
    station.when(ClockStepped(86_400_000))
    assert reservation_ids(station) == [1]
    # Offline the time left counts, by uptime.
    station.when(LINK_LOST, time_passed(seconds=599))
    assert reservation_ids(station) == [1]
    station.when(time_passed(seconds=2))
    assert reservation_ids(station) == []


def test_a_corrected_clock_counts_h04_fr_01() -> None:
    station = given(ONLINE, reserve(1, seconds=600))
    station.host_at += timedelta(days=1)
    decisions = station.with_csms(accept_everything, ClockStepped(86_400_000))
    assert [ended.because for ended in of_kind(decisions, ReservationEnded)] == ["expired"]


def test_the_time_left_does_not_start_over_with_the_program_h04_fr_01() -> None:
    station = given(ONLINE, reserve(1, seconds=600), LINK_LOST, time_passed(seconds=400))
    station.when(station_restarted(gap_s=1), IDLE)
    station.when(time_passed(seconds=195))
    assert reservation_ids(station) == [1]
    station.when(time_passed(seconds=10))
    assert reservation_ids(station) == []


# --- Reset ---------------------------------------------------------------------------------------


def test_a_reset_on_idle_waits_for_a_reservation_and_its_driver_b11_erratum_2_14() -> None:
    station = given(ONLINE, reserve(1))
    assert response_to(station, called("Reset", type="OnIdle")) == "Scheduled"
    station.with_csms(accept_everything, time_passed(seconds=120))
    assert station.state.lifecycle.restart is None
    station.with_csms(accept_everything, presented(ALICE), cable_plugged(1))
    assert station.state.transactions.on_evse(1)
    assert station.state.lifecycle.restart is None


def test_a_reset_on_idle_follows_the_end_of_the_reservation_b12_fr_03() -> None:
    station = given(ONLINE, reserve(1, seconds=60), called("Reset", type="OnIdle"))
    station.with_csms(accept_everything, time_passed(seconds=90))
    assert station.state.lifecycle.restart is not None


def test_an_immediate_reset_keeps_it_reserved_b11_fr_05() -> None:
    station = given(ONLINE, reserve(1))
    assert response_to(station, called("Reset", type="Immediate")) == "Accepted"
    assert station.state.lifecycle.restart is not None
    assert reservation_ids(station) == [1]
    assert statuses(station)[0] == "Reserved"


# --- Matching ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "served"),
    [
        ([], 0),
        ([{1}], 1),
        ([{1}, {1}], 1),
        ([{1, 2}, {1}], 2),
        ([{1}, {1, 2}, {2, 3}], 3),
        ([{1, 2}, {1, 2}, {1, 2}], 2),
        ([set()], 0),
    ],
)
def test_reservations_are_matched_with_evses(choices: list[set[int]], served: int) -> None:
    assert count_served(map(frozenset, choices)) == served


def test_a_person_with_a_reservation_is_erased_after_it_n10_fr_03() -> None:
    station = given(ONLINE, reserve(1, group=FAMILY, seconds=60))
    request: Json = {"requestId": 1, "report": False, "clear": True}
    station.with_csms(
        accept_everything,
        called("CustomerInformation", **request, idToken=id_token_payload(ALICE)),
        time_passed(seconds=59),
    )
    assert not station.desired.references_to_erase
    station.with_csms(accept_everything, time_passed(seconds=2))
    assert station.desired.references_to_erase == ("#alice",)


def test_a_reservation_is_recorded_with_references_only() -> None:
    decisions = given(ONLINE).when(reserve(1, group=FAMILY))
    [made] = of_kind(decisions, ReservationMade)
    assert (made.id_token.ref, made.remaining_ms) == ("#alice", HOUR_S * 1000)
