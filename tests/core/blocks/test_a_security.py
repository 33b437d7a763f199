"""Block A: security events, and which of them the CSMS receives."""

from __future__ import annotations

import pytest

from journal.events import Decision
from journal.observations import ClockStepped, DeviceFaulted, FrameMalformed, LinkFailed
from journal.projections.security import SecurityEventLogged
from journal.projections.variables import VariableChanged
from station.core.blocks.a_security import CRITICAL_BY_TYPE
from tests.support.story import (
    BOOTED,
    CONFIGURED,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    accept_everything,
    answer_boot_only,
    called,
    csms_answers,
    frame_received,
    given,
    of_kind,
    queued_payloads,
    response_payload_in,
    station_restarted,
    time_passed,
    variable_preset,
)


def security_event_types(decisions: list[Decision]) -> list[str]:
    return [decision.type for decision in of_kind(decisions, SecurityEventLogged)]


def reported_security_events(decisions: list[Decision]) -> list[str]:
    """Types of the events reported to the CSMS."""
    return [payload["type"] for payload in queued_payloads(decisions, "SecurityEventNotification")]


def link_failed(fault: str = "InvalidCsmsCertificate", slot: int = 1) -> LinkFailed:
    return LinkFailed(slot, "certificate has expired", fault)


def test_a_start_is_reported_a04_fr_01() -> None:
    station = given(CONFIGURED)
    decisions = station.when(BOOTED)
    assert reported_security_events(decisions) == ["StartupOfTheDevice"]
    assert security_event_types(decisions) == ["StartupOfTheDevice"]


def test_a_start_after_a_lost_supply_is_no_reboot_of_ours_a04_fr_01() -> None:
    station = given(ONLINE)
    assert reported_security_events(station.when(station_restarted(boot_id="boot-2"))) == [
        "StartupOfTheDevice"
    ]


def test_a_start_after_a_crash_is_a_reboot_a04_fr_01() -> None:
    station = given(ONLINE)
    assert reported_security_events(station.when(station_restarted())) == [
        "StartupOfTheDevice",
        "ResetOrReboot",
    ]


def test_what_is_critical_waits_until_the_csms_has_it_a04_fr_02() -> None:
    station = given(ONLINE, LINK_LOST)
    station.when(link_failed(), station_restarted(boot_id="boot-2"), LINK_OPENED)
    delivered: list[str] = []

    def csms(action: str, payload: dict[str, object]) -> dict[str, object] | None:
        if action == "SecurityEventNotification":
            delivered.append(str(payload["type"]))
        return accept_everything(action, payload)

    station.when(csms_answers(csms))
    assert delivered == ["InvalidCsmsCertificate", "StartupOfTheDevice"]


def test_a_csms_that_does_not_answer_is_asked_again_a04_fr_02() -> None:
    station = given(CONFIGURED, BOOTED, IDLE, LINK_OPENED, csms=answer_boot_only)
    station.when(time_passed(seconds=600))
    [kept] = [
        call for call, other in station.state.outbox.general_info.items() if other.keep_when_offline
    ]
    assert station.payload_of_call(kept)["type"] == "StartupOfTheDevice"


def test_a_fault_of_the_csms_is_reported_once_however_often_it_is_met_a00_fr_316() -> None:
    station = given(ONLINE, LINK_LOST)
    assert reported_security_events(station.when(link_failed(), link_failed(), link_failed())) == [
        "InvalidCsmsCertificate"
    ]


def test_another_fault_is_reported_as_well_a00_fr_316() -> None:
    station = given(ONLINE, LINK_LOST)
    decisions = station.when(link_failed(), link_failed("InvalidTLSVersion"), link_failed())
    assert reported_security_events(decisions) == ["InvalidCsmsCertificate", "InvalidTLSVersion"]


def test_the_same_fault_after_a_good_connection_is_reported_again_a00_fr_310() -> None:
    station = given(ONLINE, LINK_LOST, link_failed(), LINK_OPENED, LINK_LOST)
    assert reported_security_events(station.when(link_failed())) == ["InvalidCsmsCertificate"]


def test_a_dead_network_is_no_security_event_a04_fr_01() -> None:
    station = given(ONLINE, LINK_LOST)
    assert security_event_types(station.when(LinkFailed(1, "no route to host"))) == []


def test_a_refused_password_is_logged_and_not_reported_a04_fr_04() -> None:
    station = given(ONLINE, LINK_LOST)
    decisions = station.when(link_failed("FailedToAuthenticateAtCsms"))
    assert (security_event_types(decisions), reported_security_events(decisions)) == (
        ["FailedToAuthenticateAtCsms"],
        [],
    )


def test_a_new_password_is_logged_without_its_content_a01_fr_11_a01_fr_12() -> None:
    station = given(ONLINE)
    reference = "<secret 00112233445566778899aabbccddeeff>"
    decisions = station.when(
        called(
            "SetVariables",
            setVariableData=[
                {
                    "component": {"name": "SecurityCtrlr"},
                    "variable": {"name": "BasicAuthPassword"},
                    "attributeValue": reference,
                }
            ],
        )
    )
    assert response_payload_in(decisions)["setVariableResult"][0]["attributeStatus"] == "Accepted"
    assert security_event_types(decisions) == ["ReconfigurationOfSecurityParameters"]
    [logged] = of_kind(decisions, SecurityEventLogged)
    assert reference not in logged.tech_info
    assert of_kind(decisions, VariableChanged) == [
        VariableChanged("SecurityCtrlr.BasicAuthPassword", reference)
    ]
    assert station.desired.link.password_reference == reference
    assert reported_security_events(decisions) == []


@pytest.mark.parametrize(("step_s", "is_reported"), [(20, False), (21, True), (-21, True)])
def test_a_jump_of_the_clock_beyond_the_threshold_is_reported_a04_fr_01(
    step_s: int, is_reported: bool
) -> None:
    station = given(ONLINE)
    decisions = station.when(ClockStepped(step_s * 1000))
    assert reported_security_events(decisions) == (["SettingSystemTime"] if is_reported else [])


@pytest.mark.parametrize(("minute", "is_reported"), [("00", False), ("02", True)])
def test_a_time_of_the_csms_counts_against_the_threshold_a04_fr_01(
    minute: str, is_reported: bool
) -> None:
    station = given(
        variable_preset("ClockCtrlr.TimeAdjustmentReportingThreshold", "60"), CONFIGURED, BOOTED
    )
    station.when(LINK_OPENED)

    def csms(action: str, payload: dict[str, object]) -> dict[str, object] | None:
        if action == "BootNotification":
            time = f"2026-03-01T12:{minute}:10.000Z"
            return {"currentTime": time, "interval": 300, "status": "Accepted"}
        return accept_everything(action, payload)

    assert (
        "SettingSystemTime" in reported_security_events(station.when(csms_answers(csms)))
    ) is is_reported


def test_nonsense_from_the_csms_is_logged_a04_fr_04() -> None:
    station = given(ONLINE)
    for nonsense in (frame_received("[9]"), FrameMalformed(3, "00", "not a JSON array", "")):
        decisions = station.when(nonsense)
        assert (security_event_types(decisions), reported_security_events(decisions)) == (
            ["InvalidMessages"],
            [],
        )


def test_an_opened_door_is_tampering_a04_fr_01() -> None:
    station = given(ONLINE)
    door = DeviceFaulted(0, "door", "open", blocks_charging=True)
    assert reported_security_events(station.when(door)) == ["TamperDetectionActivated"]


def test_any_other_fault_is_none_a04_fr_01() -> None:
    assert not reported_security_events(
        given(ONLINE).when(DeviceFaulted(1, "contactor", "welded", blocks_charging=True))
    )


def test_tech_info_fits_its_field_a04_fr_01() -> None:
    station = given(ONLINE, LINK_LOST)
    decisions = station.when(LinkFailed(1, "x" * 300, "InvalidTLSVersion"))
    [reported] = queued_payloads(decisions, "SecurityEventNotification")
    assert len(reported["techInfo"]) == 255


def test_every_event_of_the_appendix_is_known() -> None:
    """The 20 of the appendix, and DiscardedRenewedClientCertificate of erratum 2.9."""
    assert len(CRITICAL_BY_TYPE) == 21
    assert sum(CRITICAL_BY_TYPE.values()) == 16


def test_nothing_but_the_boot_goes_before_acceptance_b02_fr_02() -> None:
    station = given(CONFIGURED, BOOTED, csms=answer_boot_only)
    station.when(LINK_OPENED)
    assert station.in_flight
    assert station.in_flight.action == "BootNotification"
    station.when(csms_answers(answer_boot_only))  # it answers only the BootNotification
    assert station.in_flight
    assert station.in_flight.action == "SecurityEventNotification"
