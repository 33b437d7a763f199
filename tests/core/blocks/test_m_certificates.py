"""Block M: installing, listing and deleting certificates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from journal.events import Decision
from journal.observations import CertificatePreset, CsmsConfigured, LinkClosed, LinkOpened
from journal.projections.certificates import CertificateDeleted, CertificateInstalled
from journal.projections.security import SecurityEventLogged
from tests.support.authorities import CertifiedKey, make_authority, make_server_certificate
from tests.support.story import (
    BOOTED,
    ONLINE,
    Station,
    Step,
    called,
    given,
    of_kind,
    response_payload_in,
    station_restarted,
    variable_preset,
)

ROOT, OTHER = make_authority("Root 1"), make_authority("Root 2")
CSMS_ROOT = "CSMSRootCertificate"


def install_certificate(holder: CertifiedKey | str, use: str = CSMS_ROOT) -> Step:
    pem = holder if isinstance(holder, str) else holder.pem
    return called("InstallCertificate", certificateType=use, certificate=pem)


def list_certificates(station: Station, *uses: str) -> dict[str, Any]:
    requested = {"certificateType": list(uses)} if uses else {}
    return response_payload_in(station.when(called("GetInstalledCertificateIds", **requested)))


def hashes_of(reply: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        certificate["certificateHashData"]
        for certificate in reply.get("certificateHashDataChain", [])
    ]


def delete_certificate(hash_data: dict[str, Any]) -> Step:
    return called("DeleteCertificate", certificateHashData=hash_data)


def response_status(decisions: list[Decision]) -> str:
    return str(response_payload_in(decisions)["status"])


def station_with_roots(*roots: CertifiedKey) -> Station:
    return given(ONLINE, *(install_certificate(root) for root in roots))


# --- M05 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        "CSMSRootCertificate",
        "ManufacturerRootCertificate",
        "V2GRootCertificate",
        "MORootCertificate",
    ],
)
def test_a_root_is_installed_m05_fr_02(use: str) -> None:
    station = given(ONLINE)
    decisions = station.when(install_certificate(ROOT, use))
    assert response_status(decisions) == "Accepted"
    [installed] = of_kind(decisions, CertificateInstalled)
    assert (installed.use, installed.pem) == (use, ROOT.pem)
    assert (installed.not_before, installed.not_after) == (
        "2020-01-01T00:00:00Z",
        "2090-01-01T00:00:00Z",
    )
    [logged] = of_kind(decisions, SecurityEventLogged)
    assert logged == SecurityEventLogged(
        "ReconfigurationOfSecurityParameters", False, f"{use} installed"
    )
    assert [certificate.pem for certificate in station.desired.certificates] == [ROOT.pem]


# `openssl x509 -req -signkey` without extensions, self-signed
VERSION_1_ROOT = """\
-----BEGIN CERTIFICATE-----
MIIBITCBxwIUZvjkXzbzd4Y7+vGKWCHjEnfhrqwwCgYIKoZIzj0EAwIwEjEQMA4G
A1UEAwwHUm9vdCBWMTAgFw0yNjExMzAwNzIyMzFaGA8yMDg3MDIyMzA3MjIzMVow
EjEQMA4GA1UEAwwHUm9vdCBWMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCfx
rjUOOxdZWkyVzmZTDLQqrx/TfSaQ2PFPRNeMpPnvpHf6FGI8oP0SuppcwTtT3utJ
C8WGwQLQrj+atPRG3NAwCgYIKoZIzj0EAwIDSQAwRgIhAIVvxjdfR6viZPgQ6Rk/
7xJHnxnjPv9JKniMYVCg1XB6AiEAn2TVDrw2OusAT9LeEFtXFLFMaLVrNaH+Q7VI
LuxJzRA=
-----END CERTIFICATE-----
"""
SHA1_ROOT = """\
-----BEGIN CERTIFICATE-----
MIIBijCCATGgAwIBAgIBBzAJBgcqhkjOPQQBMCQxDTALBgNVBAoMBFRlc3QxEzAR
BgNVBAMMClNIQS0xIHJvb3QwIBcNMjYxMTIyMTkwMjM2WhgPMjA4MTA4MjUxOTAy
MzZaMCQxDTALBgNVBAoMBFRlc3QxEzARBgNVBAMMClNIQS0xIHJvb3QwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAARrg1UkvvjoKTQYi+EExdYrCcp4ZbevcLzLk+AT
eriKGJFI83G+k3as3f2JZfgocHB9Dtrh9VXAhqCiUdvzCiMNo1MwUTAdBgNVHQ4E
FgQUcKWF8MJbhv1PJlgsvG3cHctOK+IwHwYDVR0jBBgwFoAUcKWF8MJbhv1PJlgs
vG3cHctOK+IwDwYDVR0TAQH/BAUwAwEB/zAJBgcqhkjOPQQBA0gAMEUCIB8/z/ka
79IATAlqgm281P7wQrhJHnoY9pkpO6YVhSrTAiEAzA/HchDGykrni8H5tidzl1Ad
GaaTEHmtAFQDmQEOQhU=
-----END CERTIFICATE-----
"""  # `cryptography` reads such certificates but cannot make them
PAST, FUTURE = datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
UNFIT_CERTIFICATES = {
    "expired": make_authority(valid_until=PAST).pem,
    "not valid yet": make_authority(valid_from=FUTURE).pem,
    "no CA": make_authority(is_ca=False).pem,
    "a server": make_server_certificate(ROOT, "csms").pem,
    "RSA of 1024 bits": make_authority(key=rsa.generate_private_key(65537, 1024)).pem,
    "DSA of 1024 bits": make_authority(key=dsa.generate_private_key(1024)).pem,  # type: ignore[arg-type]
    "EC of 192 bits": make_authority(key=ec.generate_private_key(ec.SECP192R1())).pem,
    "SHA-1": SHA1_ROOT,
    "X.509 version 1": VERSION_1_ROOT,
    "two at once": ROOT.pem + OTHER.pem,
    "signed by a stranger": make_authority("Sub", issuer=OTHER).pem,
    "no certificate": "hello",
    "a broken one": "".join(ROOT.pem.splitlines(True)[:2] + ROOT.pem.splitlines(True)[3:]),
    "empty": "",
}


REFUSAL_TEXT = {
    "expired": "was valid until 2025",
    "not valid yet": "is valid from 2027",
    "no CA": "is not of a CA",
    "a server": "is not of a CA: it has no basicConstraints",
    "RSA of 1024 bits": "RSA key of 1024 bits",
    "DSA of 1024 bits": "DSA key of 1024 bits",
    "EC of 192 bits": "EC key of 192 bits",
    "SHA-1": "is signed with sha1",
    "X.509 version 1": "X.509 version 1 has no basicConstraints",
    "two at once": "holds 2 certificates",
    "signed by a stranger": "neither signs itself",
    "no certificate": "holds 0 certificates",
    "a broken one": "cannot be read",
    "empty": "holds 0 certificates",
}


@pytest.mark.parametrize("fault", UNFIT_CERTIFICATES)
def test_an_unfit_certificate_is_refused_m05_fr_07(fault: str) -> None:
    station = station_with_roots(ROOT)
    decisions = station.when(install_certificate(UNFIT_CERTIFICATES[fault]))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert response_payload_in(decisions)["statusInfo"]["reasonCode"] == "InvalidCertificate"
    assert REFUSAL_TEXT[fault] in response_payload_in(decisions)["statusInfo"]["additionalInfo"]
    assert not of_kind(decisions, CertificateInstalled)
    assert len(hashes_of(list_certificates(station))) == 1


def test_a_key_of_another_ca_does_not_pass_for_its_own_m05_fr_07() -> None:
    impostor = make_authority("Root 1")  # the name of ROOT, another key
    signed = make_authority("Root 1", issuer=impostor)
    decisions = station_with_roots(ROOT).when(install_certificate(signed))
    assert response_status(decisions) == "Rejected"


def test_a_sub_ca_of_an_installed_root_is_taken_m05_fr_02() -> None:
    station = station_with_roots(ROOT)
    assert (
        response_status(station.when(install_certificate(make_authority("Sub", issuer=ROOT))))
        == "Accepted"
    )


def test_the_same_certificate_again_replaces_itself_m05_fr_17() -> None:
    station = station_with_roots(ROOT)
    assert response_status(station.when(install_certificate(ROOT))) == "Accepted"
    assert len(station.state.certificates.installed) == 1


def test_more_than_the_limit_is_refused_m05_fr_06() -> None:
    roots = [make_authority(f"Root {number}") for number in range(10)]
    station = station_with_roots(*roots)
    decisions = station.when(install_certificate(OTHER))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert len(station.state.certificates.installed) == 10
    assert response_status(station.when(install_certificate(roots[3]))) == "Accepted"  # M05.FR.17
    requested = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "CertificateEntries"}}
    reply = response_payload_in(station.when(called("GetVariables", getVariableData=[requested])))
    assert reply["getVariableResult"][0]["attributeValue"] == "10"


def test_what_is_installed_outlives_a_restart() -> None:
    station = station_with_roots(ROOT)
    station.when(station_restarted(boot_id="boot-2"))
    assert [certificate.pem for certificate in station.desired.certificates] == [ROOT.pem]


# --- M03 -----------------------------------------------------------------------------------------


def test_hash_data_is_that_of_ocsp_m03_fr_04() -> None:
    """Compared with values computed from the DER by the test itself."""
    import hashlib

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    name = ROOT.certificate.issuer.public_bytes()
    key = ROOT.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert hashes_of(list_certificates(station_with_roots(ROOT))) == [
        {
            "hashAlgorithm": "SHA256",
            "issuerNameHash": hashlib.sha256(name).hexdigest(),
            "issuerKeyHash": hashlib.sha256(key).hexdigest(),
            "serialNumber": f"{ROOT.certificate.serial_number:x}",
        }
    ]


def test_a_serial_number_has_no_leading_zeros_m03_fr_04() -> None:
    station = station_with_roots(make_authority(serial_number=0x0ABC))
    assert hashes_of(list_certificates(station))[0]["serialNumber"] == "abc"


def test_only_the_uses_asked_for_are_listed_m03_fr_03() -> None:
    station = given(
        ONLINE, install_certificate(ROOT), install_certificate(OTHER, "ManufacturerRootCertificate")
    )
    reply = list_certificates(station, "ManufacturerRootCertificate")
    assert reply["status"] == "Accepted"
    assert [
        certificate["certificateType"] for certificate in reply["certificateHashDataChain"]
    ] == ["ManufacturerRootCertificate"]
    assert len(hashes_of(list_certificates(station))) == 2
    assert len(hashes_of(list_certificates(station, CSMS_ROOT, "ManufacturerRootCertificate"))) == 2


def test_nothing_of_that_use_is_not_found_m03_fr_02() -> None:
    assert list_certificates(station_with_roots(ROOT), "MORootCertificate") == {
        "status": "NotFound"
    }
    assert list_certificates(given(ONLINE)) == {"status": "NotFound"}


def test_a_chain_lists_its_sub_cas_below_the_leaf_m03_fr_05() -> None:
    v2g = make_authority("V2G root")
    sub = make_authority("Sub CA", issuer=v2g)
    leaf = make_authority("SECC", issuer=sub, is_ca=False)
    station = given(
        CertificatePreset("V2GRootCertificate", v2g.pem),
        CertificatePreset("V2GCertificate", leaf.pem + sub.pem, "<secret 00>"),
        ONLINE,
    )
    [chain] = list_certificates(station, "V2GCertificateChain")["certificateHashDataChain"]
    assert chain["certificateHashData"]["serialNumber"] == f"{leaf.certificate.serial_number:x}"
    [child] = chain["childCertificateHashData"]
    assert child["serialNumber"] == f"{sub.certificate.serial_number:x}"
    assert "<secret" not in str(chain)


# --- M04 -----------------------------------------------------------------------------------------


def test_a_certificate_is_deleted_m04_fr_02() -> None:
    station = station_with_roots(ROOT, OTHER)
    first, _ = hashes_of(list_certificates(station))
    decisions = station.when(delete_certificate(first))
    assert response_status(decisions) == "Accepted"
    assert len(of_kind(decisions, CertificateDeleted)) == 1
    assert of_kind(decisions, SecurityEventLogged) == [
        SecurityEventLogged(
            "ReconfigurationOfSecurityParameters", False, "CSMSRootCertificate deleted"
        )
    ]
    assert first not in hashes_of(list_certificates(station))
    assert [certificate.pem for certificate in station.desired.certificates] == [OTHER.pem]
    assert response_status(station.when(delete_certificate(first))) == "NotFound"


def test_hash_data_is_compared_without_case_m04_fr_07() -> None:
    station = station_with_roots(ROOT, OTHER)
    first, _ = hashes_of(list_certificates(station))
    shouted = {name: value.upper() for name, value in first.items()}
    assert response_status(station.when(delete_certificate(shouted))) == "Accepted"


@pytest.mark.parametrize(
    "changes",
    [{"hashAlgorithm": "SHA512"}, {"serialNumber": "1"}, {"issuerKeyHash": "00"}],
    ids=str,
)
def test_an_unknown_certificate_is_not_found_m04_fr_04(changes: dict[str, str]) -> None:
    station = station_with_roots(ROOT, OTHER)
    first, _ = hashes_of(list_certificates(station))
    assert response_status(station.when(delete_certificate(first | changes))) == "NotFound"


def test_the_last_csms_root_stays_m04_fr_03_aq_1() -> None:
    station = station_with_roots(ROOT)
    [only] = hashes_of(list_certificates(station))
    assert response_status(station.when(delete_certificate(only))) == "Failed"
    assert len(station.state.certificates.installed) == 1


def test_an_expired_root_does_not_count_as_another_m04_fr_03() -> None:
    station = given(
        CertificatePreset(CSMS_ROOT, UNFIT_CERTIFICATES["expired"]),
        ONLINE,
        install_certificate(ROOT),
    )
    expired, valid = hashes_of(list_certificates(station))
    assert response_status(station.when(delete_certificate(valid))) == "Failed"
    assert response_status(station.when(delete_certificate(expired))) == "Accepted"


def test_the_last_root_of_the_manufacturer_may_go_m04_fr_02() -> None:
    station = given(ONLINE, install_certificate(ROOT, "ManufacturerRootCertificate"))
    [only] = hashes_of(list_certificates(station))
    assert response_status(station.when(delete_certificate(only))) == "Accepted"


def test_the_certificate_of_the_station_stays_m04_fr_06() -> None:
    own = make_authority("CS001", issuer=ROOT, is_ca=False)
    station = given(
        CertificatePreset(CSMS_ROOT, ROOT.pem),
        CertificatePreset("ChargingStationCertificate", own.pem, "<secret 00>"),
        ONLINE,
    )
    [root] = hashes_of(list_certificates(station))  # the certificate of the station is not listed
    name = {**root, "serialNumber": f"{own.certificate.serial_number:x}"}
    assert response_status(station.when(delete_certificate(name))) == "Failed"


def station_with_v2g_chain() -> Station:
    sub_ca = make_authority("Sub", issuer=ROOT)
    leaf = make_authority("SECC", issuer=sub_ca, is_ca=False)
    return given(
        CertificatePreset(CSMS_ROOT, ROOT.pem),
        CertificatePreset("V2GCertificate", leaf.pem + sub_ca.pem, "<secret 00>"),
        ONLINE,
    )


@pytest.mark.parametrize("of_sub_ca", [False, True], ids=["leaf", "sub-CA"])
def test_a_v2g_chain_is_deleted_by_each_of_its_certificates_m04_fr_02_m04_fr_08(
    of_sub_ca: bool,
) -> None:
    station = station_with_v2g_chain()
    [chain] = list_certificates(station, "V2GCertificateChain")["certificateHashDataChain"]
    [child] = chain["childCertificateHashData"]
    deleted = child if of_sub_ca else chain["certificateHashData"]
    assert response_status(station.when(delete_certificate(deleted))) == "Accepted"
    assert list_certificates(station, "V2GCertificateChain")["status"] == "NotFound"
    assert len(hashes_of(list_certificates(station))) == 1  # the root stays


def test_a_sub_ca_of_the_certificate_of_the_station_stays_m04_fr_06() -> None:
    sub_ca = make_authority("Sub", issuer=ROOT)
    own = make_authority("CS001", issuer=sub_ca, is_ca=False)
    station = given(
        CertificatePreset(CSMS_ROOT, ROOT.pem),
        CertificatePreset("ChargingStationCertificate", own.pem + sub_ca.pem, "<secret 00>"),
        ONLINE,
    )
    [root] = hashes_of(list_certificates(station))
    name = {**root, "serialNumber": f"{sub_ca.certificate.serial_number:x}"}
    assert response_status(station.when(delete_certificate(name))) == "Failed"


# --- station.toml --------------------------------------------------------------------------------


def test_the_roots_of_ca_file_are_installed_once() -> None:
    reported = CsmsConfigured("wss://csms/ocpp", 2, (ROOT.pem, OTHER.pem))
    station = given(reported, BOOTED)
    assert [certificate.pem for certificate in station.desired.certificates] == [
        ROOT.pem,
        OTHER.pem,
    ]
    assert not of_kind(station.when(reported), CertificateInstalled)


def test_a_preset_does_not_ask_a_clock_that_may_be_wrong() -> None:
    station = given(CertificatePreset(CSMS_ROOT, UNFIT_CERTIFICATES["not valid yet"]), BOOTED)
    assert len(station.state.certificates.installed) == 1


def test_presets_beyond_the_limit_are_left_out_m05_fr_06() -> None:
    roots = [make_authority(f"Root {number}") for number in range(12)]
    station = given(*(CertificatePreset(CSMS_ROOT, root.pem) for root in roots), BOOTED)
    assert len(station.state.certificates.installed) == 10


def test_a_ca_file_beyond_the_limit_is_cut_off_m05_fr_06() -> None:
    roots = tuple(make_authority(f"Root {number}").pem for number in range(12))
    station = given(CsmsConfigured("wss://csms/ocpp", 2, roots), BOOTED)
    assert [certificate.pem for certificate in station.state.certificates.installed] == list(
        roots[:10]
    )


# --- AdditionalRootCertificateCheck: M05.FR.09 to 16 ---------------------------------------------

CHECKED = variable_preset("SecurityCtrlr.AdditionalRootCertificateCheck", "true")
SUCCESSOR = make_authority("Root 1, 2nd key", issuer=ROOT)
SAME_NAME = make_authority("Root 1", issuer=ROOT)  # the same subject with a new key
THIRD = make_authority("Root 1, 3rd key", issuer=SUCCESSOR)
LINK_LOST = LinkClosed("lost")


def checked_station(*steps: Step, profile_name: str = "development") -> Station:
    """A station with the check and ROOT, which verified the connection that is open."""
    configured = CsmsConfigured("wss://csms/ocpp", 2, (ROOT.pem,))
    station = given(CHECKED, configured, BOOTED, profile_name=profile_name)
    station.when(linked_by(station, ROOT))
    for step in steps:
        station.when(step)
    return station


def linked_by(station: Station, root: CertifiedKey) -> LinkOpened:
    """A connection that this root verified."""
    return LinkOpened(1, "wss://csms/ocpp", 2, root_sha256=sha256_of(station, root))


def sha256_of(station: Station, root: CertifiedKey) -> str:
    [digest] = {each.sha256 for each in station.desired.certificates if each.pem == root.pem}
    return digest


def csms_roots_of(station: Station) -> list[str]:
    """PEM of the roots that the connection tries, in this order."""
    return [root.pem for root in station.desired.link.csms_roots]


@pytest.mark.parametrize("successor", [SUCCESSOR, SAME_NAME])
def test_a_signed_successor_is_installed_beside_the_old_root_m05_fr_12(
    successor: CertifiedKey,
) -> None:
    station = checked_station()
    assert response_status(station.when(install_certificate(successor))) == "Accepted"
    assert csms_roots_of(station) == [successor.pem, ROOT.pem]


def test_a_root_the_old_one_did_not_sign_is_rejected_m05_fr_11() -> None:
    station = checked_station()
    reply = response_payload_in(station.when(install_certificate(OTHER)))
    assert reply["status"] == "Rejected"
    assert reply["statusInfo"]["reasonCode"] == "InvalidCertificate"
    assert csms_roots_of(station) == [ROOT.pem]


def test_roots_of_other_uses_need_no_signature_m05_fr_10() -> None:
    station = checked_station()
    decisions = station.when(install_certificate(OTHER, "V2GRootCertificate"))
    assert response_status(decisions) == "Accepted"


def test_the_fallback_is_deleted_when_a_link_opens_with_the_new_root_m05_fr_13() -> None:
    station = checked_station(install_certificate(SUCCESSOR), LINK_LOST)
    decisions = station.when(linked_by(station, SUCCESSOR))
    assert [each.use for each in of_kind(decisions, CertificateDeleted)] == [CSMS_ROOT]
    assert csms_roots_of(station) == [SUCCESSOR.pem]
    assert response_status(station.when(install_certificate(OTHER))) == "Rejected"
    assert response_status(station.when(install_certificate(THIRD))) == "Accepted"
    assert csms_roots_of(station) == [THIRD.pem, SUCCESSOR.pem]


def test_both_stay_when_a_link_opens_with_the_fallback_m05_fr_14() -> None:
    station = checked_station(install_certificate(SUCCESSOR), LINK_LOST)
    decisions = station.when(linked_by(station, ROOT))
    assert csms_roots_of(station) == [SUCCESSOR.pem, ROOT.pem]
    [logged] = of_kind(decisions, SecurityEventLogged)
    assert logged.type == "InvalidCsmsCertificate"


def test_another_successor_replaces_the_one_without_a_connection_m05_fr_09() -> None:
    station = checked_station(install_certificate(SUCCESSOR))
    assert response_status(station.when(install_certificate(THIRD))) == "Rejected"
    assert response_status(station.when(install_certificate(SAME_NAME))) == "Accepted"
    assert csms_roots_of(station) == [SAME_NAME.pem, ROOT.pem]


def test_the_fallback_cannot_be_deleted_and_the_new_root_can_m05_fr_12() -> None:
    station = checked_station(install_certificate(SUCCESSOR))
    fallback, new = hashes_of(list_certificates(station, CSMS_ROOT))
    assert response_status(station.when(delete_certificate(fallback))) == "Failed"
    assert response_status(station.when(delete_certificate(new))) == "Accepted"
    assert csms_roots_of(station) == [ROOT.pem]


def test_the_integrator_replaces_the_root_without_its_signature_m05_fr_09() -> None:
    station = checked_station()
    station.when(CsmsConfigured("wss://other/ocpp", 2, (OTHER.pem, SUCCESSOR.pem)))
    assert csms_roots_of(station) == [OTHER.pem, ROOT.pem]
    assert not of_kind(
        station.when(CsmsConfigured("wss://csms/ocpp", 2, (ROOT.pem,))), CertificateInstalled
    )


def test_one_root_of_station_toml_is_installed_at_the_first_start_m05_fr_09() -> None:
    station = given(
        CHECKED,
        CertificatePreset(CSMS_ROOT, ROOT.pem),
        CertificatePreset(CSMS_ROOT, OTHER.pem),
        CsmsConfigured("wss://csms/ocpp", 2, (ROOT.pem, OTHER.pem)),
        BOOTED,
    )
    assert csms_roots_of(station) == [ROOT.pem]


def test_a_full_store_has_room_for_a_successor_of_a_successor_m05_fr_06() -> None:
    others = [
        install_certificate(make_authority(f"V2G {n}"), "V2GRootCertificate") for n in range(8)
    ]
    station = checked_station(install_certificate(SUCCESSOR), *others)
    assert response_status(station.when(install_certificate(SAME_NAME))) == "Accepted"
    station.when(linked_by(station, SAME_NAME))
    station.when(install_certificate(make_authority("V2G 8"), "V2GRootCertificate"))
    next_one = make_authority("Root 1, 4th key", issuer=SAME_NAME)
    assert response_status(station.when(install_certificate(next_one))) == "Rejected"


def test_without_the_check_every_installed_root_is_trusted_as_2() -> None:
    """The certified product does not have the check, whatever station.toml says."""
    station = checked_station(install_certificate(OTHER), profile_name="evs-flash-300")
    assert csms_roots_of(station) == []
    assert len(station.state.certificates.installed) == 2
