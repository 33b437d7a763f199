"""A05, B09, B10: network connection profiles, their priority and security profiles."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from journal.observations import CertificatePreset, CsmsConfigured, LinkOpened
from journal.projections.network_profiles import (
    NetworkProfileSet,
    SecurityProfileLowered,
    SecurityProfileRaised,
)
from journal.projections.security import SecurityEventLogged
from tests.support.authorities import make_authority
from tests.support.renewal import station_with_profile_3
from tests.support.story import (
    BOOTED,
    CONFIGURED,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    Step,
    accept_everything,
    called,
    csms_answers,
    given,
    in_sequence,
    of_kind,
    queued_payloads,
    response_payload_in,
    station_restarted,
    time_passed,
    variable_preset,
)

ROOT = make_authority()
ONLINE_WITH_TLS = in_sequence(
    CsmsConfigured("wss://csms/ocpp", 2, (ROOT.pem,)),
    BOOTED,
    IDLE,
    LinkOpened(1, "wss://csms/ocpp", 2),
)
CONNECTION_DATA: dict[str, Any] = {
    "ocppVersion": "OCPP20",
    "ocppTransport": "JSON",
    "ocppCsmsUrl": "ws://other/ocpp",
    "messageTimeout": 45,
    "securityProfile": 1,
    "ocppInterface": "Wired0",
}


def set_network_profile(slot: int = 2, **changes: Any) -> Step:
    """SetNetworkProfile."""
    data = {name: value for name, value in (CONNECTION_DATA | changes).items() if value is not None}
    return called("SetNetworkProfile", configurationSlot=slot, connectionData=data)


def set_secure_profile(slot: int = 2, security_profile: int = 2) -> Step:
    return set_network_profile(
        slot, ocppCsmsUrl="wss://other/ocpp", securityProfile=security_profile
    )


def variable_json(name: str, component: str = "OCPPCommCtrlr", **others: Any) -> dict[str, Any]:
    return {"component": {"name": component}, "variable": {"name": name}, **others}


def set_priority(text: str) -> Step:
    return called(
        "SetVariables",
        setVariableData=[variable_json("NetworkConfigurationPriority", attributeValue=text)],
    )


def response_status(station: Station, step: Step) -> str:
    return str(response_payload_in(station.when(step))["status"])


def set_status(station: Station, step: Step) -> str:
    return str(response_payload_in(station.when(step))["setVariableResult"][0]["attributeStatus"])


def variable_value(
    station: Station, name: str, component: str = "OCPPCommCtrlr", instance: str | None = None
) -> str:
    requested = variable_json(name, component)
    if instance:
        requested["variable"]["instance"] = instance
    reply = response_payload_in(station.when(called("GetVariables", getVariableData=[requested])))
    return str(reply["getVariableResult"][0].get("attributeValue", ""))


def candidate_slots(station: Station) -> list[int]:
    """Slots in the order they are tried."""
    return [profile.slot for profile in station.desired.link.candidates]


# --- B09 -----------------------------------------------------------------------------------------


def test_station_toml_is_slot_1() -> None:
    station = given(ONLINE)
    assert [(profile.slot, profile.url) for profile in station.desired.link.candidates] == [
        (1, "ws://csms/ocpp")
    ]
    assert variable_value(station, "ActiveNetworkProfile") == "1"


def test_a_profile_is_stored_b09_fr_01() -> None:
    station = given(ONLINE)
    decisions = station.when(set_network_profile())
    assert response_payload_in(decisions) == {"status": "Accepted"}
    [stored] = of_kind(decisions, NetworkProfileSet)
    assert (stored.profile.slot, stored.profile.url) == (2, "ws://other/ocpp")
    [logged] = of_kind(decisions, SecurityEventLogged)
    assert logged.type == "ReconfigurationOfSecurityParameters"


def test_a_profile_counts_only_after_a_start_b10_fr_04() -> None:
    station = given(ONLINE, set_network_profile(1))
    assert station.desired.link.candidates[0].url == "ws://csms/ocpp"
    station.when(station_restarted())
    assert station.desired.link.candidates[0].url == "ws://other/ocpp"


@pytest.mark.parametrize("seconds", [1, 3600])
def test_a_message_timeout_within_reason_is_taken_b09_fr_01(seconds: int) -> None:
    assert response_status(given(ONLINE), set_network_profile(messageTimeout=seconds)) == "Accepted"


def test_a_slash_at_the_end_of_the_url_is_not_doubled_b09_fr_01() -> None:
    station = given(ONLINE, set_network_profile(ocppCsmsUrl="ws://other/ocpp/"))
    assert station.state.network_profiles.stored_profiles[1].url == "ws://other/ocpp"


@pytest.mark.parametrize("slot", [0, 4, 999, -1])
def test_there_are_three_slots_b09_fr_05(slot: int) -> None:
    assert response_status(given(ONLINE), set_network_profile(slot)) == "Rejected"


@pytest.mark.parametrize(
    "changes",
    [
        {"ocppVersion": "OCPP16"},
        {"ocppTransport": "SOAP"},
        {"messageTimeout": 0},
        {"messageTimeout": 3601},
        {"messageTimeout": -5},
        {"securityProfile": 0},
        {"securityProfile": 4},
        {"securityProfile": 2},  # with ws://
        {"ocppCsmsUrl": "wss://other/ocpp"},  # with security profile 1
        {"ocppCsmsUrl": "http://other/ocpp"},
        {"ocppCsmsUrl": "ws://"},
        {"ocppCsmsUrl": "ws://other:99999/ocpp"},
        {"ocppCsmsUrl": "ws://[other/ocpp"},
        {"ocppCsmsUrl": "ws://user:password@other/ocpp"},
        {"ocppCsmsUrl": "ws://user@other/ocpp"},
        {"ocppCsmsUrl": "ws://other/ocpp?station=1"},
        {"ocppCsmsUrl": "ws://other/ocpp#1"},
        {"ocppCsmsUrl": "ws://other/with blank"},
        {"ocppCsmsUrl": "ws://other:0/ocpp"},
        {"ocppCsmsUrl": "ws://other\x00/ocpp"},
        {"ocppCsmsUrl": "ws://csms..example.com/"},
        {"ocppCsmsUrl": f"ws://{'a' * 64}.example/ocpp"},
        {"ocppCsmsUrl": "ws://other/caf\u00e9"},
        {"ocppCsmsUrl": "ws://caf\u00e9.example/ocpp"},
        {"apn": {"apn": "internet", "apnAuthentication": "NONE"}},
        {
            "vpn": {
                "server": "vpn", "user": "u", "password": "***", "key": "***", "type": "IPSec",
            }
        },
    ],
    ids=str,
)  # fmt: skip
def test_a_profile_that_cannot_work_is_refused_b09_fr_02(changes: dict[str, Any]) -> None:
    station = given(ONLINE)
    decisions = station.when(set_network_profile(**changes))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert not of_kind(decisions, NetworkProfileSet)


def test_a_lower_security_profile_is_refused_b09_fr_04() -> None:
    station = given(ONLINE_WITH_TLS)
    assert response_status(station, set_network_profile()) == "Rejected"
    assert response_status(station, set_secure_profile()) == "Accepted"


def test_the_certified_product_has_no_profile_1_c_61() -> None:
    station = given(CONFIGURED, BOOTED, LINK_OPENED, profile_name="evs-flash-300")
    assert response_status(station, set_network_profile()) == "Rejected"


def test_a_slot_of_the_priority_does_not_get_what_cannot_work_a05_fr_02_a05_fr_03() -> None:
    station = given(ONLINE)
    assert response_status(station, set_secure_profile(1)) == "Rejected"  # no CSMSRootCertificate
    station = given(ONLINE_WITH_TLS)
    assert (
        response_status(station, set_secure_profile(1, security_profile=3)) == "Rejected"
    )  # unknown root
    assert (
        response_status(station, set_secure_profile(2, security_profile=3)) == "Accepted"
    )  # not in the priority yet
    station.when(station_restarted())
    assert [profile.security_profile for profile in station.desired.link.candidates] == [2]


# --- B10: the order ------------------------------------------------------------------------------


def test_a_priority_of_filled_slots_wants_a_reboot_b10_fr_01() -> None:
    station = given(ONLINE, set_network_profile())
    assert set_status(station, set_priority("2,1")) == "RebootRequired"
    assert candidate_slots(station) == [1]
    station.when(station_restarted())
    assert candidate_slots(station) == [2, 1]


def test_an_empty_slot_in_the_priority_is_refused_b10_fr_02() -> None:
    station = given(ONLINE, set_network_profile())
    assert set_status(station, set_priority("2,3,1")) == "Rejected"
    assert variable_value(station, "NetworkConfigurationPriority") == "1"


def test_the_desired_state_has_the_attempts_per_slot_b10_fr_03() -> None:
    station = given(
        ONLINE,
        called(
            "SetVariables",
            setVariableData=[variable_json("NetworkProfileConnectionAttempts", attributeValue="7")],
        ),
    )
    assert station.desired.link.attempts_per_candidate == 7


def test_after_a_change_of_the_slot_the_station_boots_again_b10_fr_10() -> None:
    station = given(
        ONLINE,
        set_network_profile(),
        set_priority("1,2"),
        station_restarted(),
        LINK_OPENED,
        LINK_LOST,
    )
    decisions = station.when(LinkOpened(2, "ws://other/ocpp", 1))
    [boot] = queued_payloads(decisions, "BootNotification")
    assert boot["reason"] == "Unknown"
    assert variable_value(station, "ActiveNetworkProfile") == "2"


def test_the_same_slot_needs_no_other_boot() -> None:
    station = given(ONLINE, LINK_LOST)
    assert queued_payloads(station.when(LINK_OPENED), "BootNotification") == []


def test_the_first_slot_of_a_run_gets_the_boot_reason_b01_fr_09() -> None:
    station = given(ONLINE, set_network_profile(), set_priority("2,1"), station_restarted())
    [boot] = queued_payloads(station.when(LinkOpened(2, "ws://other/ocpp", 1)), "BootNotification")
    assert boot["reason"] == "ApplicationReset"


def test_the_message_timeout_is_that_of_the_slot_in_use_b09() -> None:
    station = given(ONLINE, set_network_profile(), set_priority("2,1"), station_restarted())
    assert variable_value(station, "MessageTimeout", instance="Default") == "30"
    station.when(LinkOpened(2, "ws://other/ocpp", 1))
    assert station.in_flight
    first = station.in_flight.message_id
    station.when(time_passed(seconds=44.9))
    assert station.in_flight.message_id == first
    station.when(time_passed(seconds=0.2))
    assert station.in_flight is None or station.in_flight.message_id != first
    station.when(csms_answers(accept_everything))
    assert variable_value(station, "MessageTimeout", instance="Default") == "45"


def test_the_last_good_slot_is_known_after_a_restart_b10_fr_07() -> None:
    station = given(ONLINE, set_network_profile(), set_priority("2,1"), station_restarted())
    last = station.desired.link.last_successful
    assert last is not None
    assert (last.slot, last.url) == (1, "ws://csms/ocpp")


# --- A05 -----------------------------------------------------------------------------------------


def test_profile_2_wants_a_root_first_a05_fr_02() -> None:
    station = given(ONLINE, set_secure_profile())
    assert set_status(station, set_priority("2,1")) == "Rejected"
    assert variable_value(station, "SecurityProfile", "SecurityCtrlr") == "1"


def test_an_expired_root_is_none_a05_fr_02() -> None:
    past = make_authority(valid_until=datetime(2021, 1, 1, tzinfo=UTC))
    station = given(
        CertificatePreset("CSMSRootCertificate", past.pem), ONLINE, set_secure_profile()
    )
    assert len(station.state.certificates.installed) == 1
    assert set_status(station, set_priority("2,1")) == "Rejected"


def test_profile_3_wants_a_certificate_of_ours_a05_fr_03() -> None:
    station = given(ONLINE_WITH_TLS, set_secure_profile(security_profile=3))
    assert set_status(station, set_priority("2,1")) == "Rejected"
    own = make_authority("CS001", issuer=ROOT, is_ca=False)
    station.when(CertificatePreset("ChargingStationCertificate", own.pem, "<secret 00>"))
    assert set_status(station, set_priority("2,1")) == "RebootRequired"


def station_on_profile_2() -> Station:
    """Slot 2 has security profile 2, and its link is open."""
    station = given(
        CertificatePreset("CSMSRootCertificate", ROOT.pem),
        ONLINE,
        set_secure_profile(),
        set_priority("2,1"),
    )
    station.when(station_restarted())
    return station


def test_until_it_stands_the_old_profile_is_kept_a05_fr_06() -> None:
    station = station_on_profile_2()
    assert candidate_slots(station) == [2, 1]
    assert variable_value(station, "SecurityProfile", "SecurityCtrlr") == "1"


def test_once_it_stands_there_is_no_way_back_a05_fr_06() -> None:
    station = station_on_profile_2()
    decisions = station.when(LinkOpened(2, "wss://other/ocpp", 2))
    assert of_kind(decisions, SecurityProfileRaised) == [SecurityProfileRaised(2, (1,))]
    assert "ReconfigurationOfSecurityParameters" in [
        decision.type for decision in of_kind(decisions, SecurityEventLogged)
    ]
    station.when(csms_answers())
    assert variable_value(station, "SecurityProfile", "SecurityCtrlr") == "2"
    assert variable_value(station, "NetworkConfigurationPriority") == "2"
    assert candidate_slots(station) == [2]
    assert set_status(station, set_priority("2,1")) == "Rejected"  # A05.FR.10
    station.when(station_restarted())
    assert candidate_slots(station) == [2]


def test_without_an_upgrade_nothing_is_dropped_a05_fr_06() -> None:
    station = given(ONLINE, set_network_profile(), set_priority("1,2"), station_restarted())
    assert not of_kind(station.when(LINK_OPENED), SecurityProfileRaised)
    assert candidate_slots(station) == [1, 2]


def test_a_person_on_site_may_lower_it_a00_fr_005() -> None:
    station = station_on_profile_2()
    station.when(LinkOpened(2, "wss://other/ocpp", 2), csms_answers())
    station.when(CONFIGURED, CsmsConfigured("ws://back/ocpp", 1), station_restarted())
    assert [profile.url for profile in station.desired.link.candidates] == [
        "ws://back/ocpp",
        "wss://other/ocpp",
    ]


DOWNGRADE_ALLOWED = variable_preset("SecurityCtrlr.AllowSecurityProfileDowngrade", "true")


@pytest.mark.parametrize("allowed", [True, False])
def test_a_setting_allows_profile_2_after_3_a05_fr_08_b09_fr_31(*, allowed: bool) -> None:
    """A00.FR.005, A05.FR.08, A05.FR.10, B09.FR.04, B09.FR.31. Erratum 2.5."""
    station = station_with_profile_3(presets=(DOWNGRADE_ALLOWED,) if allowed else ())
    expected = "Accepted" if allowed else "Rejected"
    assert response_status(station, set_secure_profile(2, security_profile=2)) == expected
    assert set_status(station, set_priority("2,1")) == ("RebootRequired" if allowed else "Rejected")
    station.when(station_restarted())
    assert candidate_slots(station) == ([2, 1] if allowed else [1])


@pytest.mark.parametrize("profile_in_use", [2, 3])
def test_profile_1_never_follows_a_higher_one_a05_fr_09_b09_fr_32(profile_in_use: int) -> None:
    """A05.FR.09, B09.FR.32: also where the setting allows profile 2 after 3."""
    station = (
        station_with_profile_3(presets=(DOWNGRADE_ALLOWED,))
        if profile_in_use == 3
        else given(DOWNGRADE_ALLOWED, ONLINE_WITH_TLS)
    )
    assert response_status(station, set_network_profile()) == "Rejected"


def test_after_a_downgrade_the_profile_in_use_is_2_a05_fr_08() -> None:
    station = station_with_profile_3(presets=(DOWNGRADE_ALLOWED,))
    station.when(set_secure_profile(2, security_profile=2), set_priority("2,1"))
    station.when(station_restarted())
    decisions = station.when(LinkOpened(2, "wss://other/ocpp", 2))
    assert of_kind(decisions, SecurityProfileLowered) == [SecurityProfileLowered(2)]
    assert station.state.network_profiles.security_profile == 2
    assert response_status(station, set_network_profile()) == "Rejected"  # profile 1


def test_a_link_of_a_lower_profile_lowers_nothing_without_the_setting_a05_fr_10() -> None:
    station = station_with_profile_3()
    assert not of_kind(station.when(LinkOpened(2, "wss://x", 2)), SecurityProfileLowered)
    assert station.state.network_profiles.security_profile == 3


def test_an_edited_station_toml_comes_first_again() -> None:
    station = given(ONLINE, set_network_profile(), set_priority("2"), station_restarted())
    assert candidate_slots(station) == [2]
    station.when(CsmsConfigured("ws://edited/ocpp", 1), station_restarted())
    assert [profile.url for profile in station.desired.link.candidates] == [
        "ws://edited/ocpp",
        "ws://other/ocpp",
    ]


def test_a_priority_without_a_usable_slot_tries_every_usable_one_b10_fr_09() -> None:
    station = given(
        variable_preset("OCPPCommCtrlr.NetworkConfigurationPriority", "3"), CONFIGURED, BOOTED
    )
    assert candidate_slots(station) == [1]
