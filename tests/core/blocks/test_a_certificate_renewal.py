"""Renewal of the station's certificates: order, CSR, back-off, answer, proof. A02, A03."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

from journal.events import Decision
from journal.observations import (
    CertificatePreset,
    CertificateRenewalRequested,
    DeadlineReached,
    KeyPairFailed,
    LinkOpened,
)
from journal.projections.certificate_signing import (
    CertificateSigningEnded,
    CertificateSigningOrdered,
    SignCertificateAnswered,
)
from journal.projections.certificates import CertificateDeleted, CertificateInstalled
from journal.projections.security import SecurityEventLogged
from tests.support.authorities import make_authority
from tests.support.renewal import (
    CSMS_ROOT,
    KEY_PAIR,
    ROOT_INSTALLED,
    SERIAL_NUMBER,
    SERIAL_NUMBER_SET,
    USE,
    certificate_signed,
    create_ordered_key_pair,
    key_pair_created,
    open_link_with_newest,
    open_link_with_oldest,
    own_certificates,
    sign_csr,
    station_with_profile_3,
    trigger_signing,
)
from tests.support.story import (
    HOST_TIME,
    LINK_LOST,
    LINK_OPENED,
    NOON,
    ONLINE,
    Json,
    Station,
    Step,
    accept_everything,
    called,
    error_received,
    given,
    of_kind,
    queued_payloads,
    response_payload_in,
    result_received_for,
    station_restarted,
    time_passed,
    variable_preset,
)

ACCEPTED = result_received_for("SignCertificate", status="Accepted")
REJECTED = result_received_for("SignCertificate", status="Rejected")
DAY_S = 86_400
FAST = (
    variable_preset("SecurityCtrlr.CertSigningWaitMinimum", "10"),
    variable_preset("SecurityCtrlr.CertSigningRepeatTimes", "1"),
)


def days_passed(days: float) -> Step:
    """Advance the clock in one step; every deadline in between is due at its end."""

    def step(station: Station) -> list[Decision]:
        station.advance_clock(round(days * DAY_S * 1000))
        return station.when(DeadlineReached(station.uptime_ms))

    return step


def station_with_csr(**options: Any) -> Station:
    """The CSMS has accepted the CSR of a new key pair and sent no certificate yet."""
    station = station_with_profile_3(**options)
    station.when(trigger_signing(), create_ordered_key_pair, ACCEPTED)
    return station


def csr_of(station: Station) -> str:
    [request] = station.state.certificate_signing.requests
    return request.csr


def requests_sent(decisions: list[Decision]) -> list[Json]:
    return queued_payloads(decisions, "SignCertificate")


def reported_events(decisions: list[Decision]) -> list[str]:
    return [payload["type"] for payload in queued_payloads(decisions, "SecurityEventNotification")]


# --- Order: by the CSMS ------------------------------------------------------------------------


def test_the_csms_requests_a_new_certificate_a02_fr_02_a02_fr_03() -> None:
    """A02.FR.02, A02.FR.03, A02.FR.13, F06.FR.04, F06.FR.05, F06.FR.10."""
    station = station_with_profile_3()
    decisions = station.when(trigger_signing())
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert requests_sent(decisions) == []  # the key pair does not exist yet
    [sent] = requests_sent(station.when(create_ordered_key_pair))
    assert sent["certificateType"] == USE
    csr = x509.load_pem_x509_csr(sent["csr"].encode())
    assert csr.is_signature_valid
    assert isinstance(csr.public_key(), ec.EllipticCurvePublicKey)
    [name] = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    [organization] = csr.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert (name.value, organization.value) == (SERIAL_NUMBER, "Loop Global")


def test_the_type_of_the_key_pair_is_a_setting_a02_fr_02() -> None:
    station = station_with_profile_3(
        presets=(variable_preset("SecurityCtrlr.CertificateKeyType", "RSA-2048"),)
    )
    station.when(trigger_signing())
    [sent] = requests_sent(station.when(create_ordered_key_pair))
    key = x509.load_pem_x509_csr(sent["csr"].encode()).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048


def test_each_csr_has_a_new_key_pair_a02_fr_02() -> None:
    station = station_with_csr()
    first = csr_of(station)
    station.when(trigger_signing(), create_ordered_key_pair)
    assert csr_of(station) != first


@pytest.mark.parametrize("variable", ["ChargingStation.SerialNumber"])
def test_without_a_name_no_csr_can_be_made_a00_fr_511(variable: str) -> None:
    decisions = given(ONLINE).when(trigger_signing())
    response = response_payload_in(decisions)
    assert response["status"] == "Rejected"
    assert variable in response["statusInfo"]["additionalInfo"]
    assert not of_kind(decisions, CertificateSigningOrdered)


def test_a_product_without_renewal_refuses_as_before_f06_fr_08() -> None:
    station = station_with_profile_3(profile_name="evs-flash-300")
    assert response_payload_in(station.when(trigger_signing())) == {"status": "NotImplemented"}
    response = response_payload_in(station.when(certificate_signed(CSMS_ROOT.pem)))
    assert response == {"status": "Rejected", "statusInfo": {"reasonCode": "UnsupportedRequest"}}


def test_without_a_secc_id_there_is_no_v2g_certificate_f06_fr_08() -> None:
    station = station_with_profile_3()
    decisions = station.when(trigger_signing("SignV2GCertificate"))
    assert response_payload_in(decisions) == {"status": "NotImplemented"}


def test_the_csr_is_sent_while_the_registration_is_pending_b02_fr_02() -> None:
    def pending(action: str, payload: Json) -> Json | None:
        answer = accept_everything(action, payload)
        return {**(answer or {}), "status": "Pending"} if action == "BootNotification" else answer

    station = station_with_profile_3(csms=pending)
    station.when(trigger_signing(), create_ordered_key_pair, ACCEPTED)
    decisions = station.when(certificate_signed(sign_csr(csr_of(station))))
    assert response_payload_in(decisions) == {"status": "Accepted"}


# --- Order: by age -----------------------------------------------------------------------------


def test_a_certificate_is_renewed_a_month_before_its_end_a03_fr_02() -> None:
    """A03.FR.02, A03.FR.03, A03.FR.13."""
    station = station_with_profile_3(valid_from=NOON, days=365)
    decisions = station.when(days_passed(334))
    assert not of_kind(decisions, CertificateSigningOrdered)
    decisions = station.when(days_passed(2))
    [order] = of_kind(decisions, CertificateSigningOrdered)
    assert (order.use, order.trigger) == (USE, "expiry")
    assert order.renews_sha256 == own_certificates(station)[0].sha256
    [sent] = requests_sent(station.when(create_ordered_key_pair))
    assert sent["certificateType"] == USE


def test_the_number_of_days_is_a_setting_a03_fr_02() -> None:
    station = station_with_profile_3(
        valid_from=NOON,
        days=365,
        presets=(variable_preset("SecurityCtrlr.CertificateRenewalDays", "7"),),
    )
    assert not of_kind(
        station.when(days_passed(357)),
        CertificateSigningOrdered,
    )
    assert of_kind(station.when(days_passed(1)), CertificateSigningOrdered)


def test_a_short_certificate_is_renewed_in_its_last_third() -> None:
    """Otherwise a certificate of three weeks would be renewed again at once."""
    station = station_with_profile_3(valid_from=NOON, days=21)
    assert not of_kind(station.when(days_passed(13)), CertificateSigningOrdered)
    assert of_kind(station.when(days_passed(2)), CertificateSigningOrdered)


def test_a_certificate_that_is_not_in_use_is_not_renewed_by_age_a03_fr_02() -> None:
    station = given(SERIAL_NUMBER_SET, ROOT_INSTALLED, ONLINE)
    station.when(trigger_signing(), create_ordered_key_pair, ACCEPTED)
    station.when(certificate_signed(sign_csr(csr_of(station), days=30)))
    decisions = station.when(days_passed(40))
    assert not of_kind(decisions, CertificateSigningOrdered)


def test_an_expired_certificate_is_renewed_too_a00_fr_430() -> None:
    station = station_with_profile_3(valid_from=NOON - timedelta(days=100), days=90)
    assert station.desired.key_pair_orders
    assert station.desired.link.client_certificates  # and still tried


def test_an_offline_station_orders_and_sends_later_a03_fr_03() -> None:
    station = station_with_profile_3(LINK_LOST, valid_from=NOON, days=365)
    station.when(days_passed(340))
    assert requests_sent(station.when(create_ordered_key_pair)) == []
    assert len(requests_sent(station.when(open_link_with_newest))) == 1


# --- Order: by an operator ---------------------------------------------------------------------


def test_an_operator_requests_a_new_certificate() -> None:
    station = station_with_profile_3()
    [order] = of_kind(station.when(CertificateRenewalRequested(USE)), CertificateSigningOrdered)
    assert order.trigger == "operator"
    assert len(requests_sent(station.when(create_ordered_key_pair))) == 1


def test_no_key_pair_can_be_created() -> None:
    station = station_with_profile_3()
    station.when(trigger_signing())
    [request] = station.desired.key_pair_orders
    decisions = station.when(KeyPairFailed(request.order_seq, "disk full"))
    [end] = of_kind(decisions, CertificateSigningEnded)
    assert (end.end, end.reason) == ("key_pair_failed", "disk full")
    assert station.desired.key_pair_orders == ()


def test_a_key_pair_of_a_replaced_order_is_ignored() -> None:
    station = station_with_profile_3()
    station.when(trigger_signing())
    [first] = station.desired.key_pair_orders
    station.when(trigger_signing(), key_pair_created(first.order_seq))
    [second] = station.desired.key_pair_orders
    assert second.order_seq != first.order_seq
    assert station.desired.private_key_references == (own_certificates(station)[0].private_key_ref,)


# --- Back-off ----------------------------------------------------------------------------------


def accept_signing(action: str, payload: Json) -> Json | None:
    if action == "SignCertificate":
        return {"status": "Accepted"}
    return accept_everything(action, payload)


def test_a_csr_without_a_certificate_is_sent_again_a02_fr_17_to_19() -> None:
    """A02.FR.17, A02.FR.18, A02.FR.19, A03.FR.17, A03.FR.18, A03.FR.19."""
    station = station_with_csr(presets=FAST)
    first = csr_of(station)
    times = []
    for seconds in range(5, 105, 5):
        if sent := requests_sent(station.with_csms(accept_signing, time_passed(seconds=5))):
            times.append(seconds)
            assert [request["csr"] for request in sent] == [first]
    assert times == [10, 30]  # after 10 s, and after 20 s more


def test_after_the_last_resend_only_the_csms_orders_a02_fr_19() -> None:
    station = station_with_csr(presets=FAST, valid_from=NOON - timedelta(days=340))
    decisions = [
        decision
        for _ in range(10)
        for decision in station.with_csms(accept_signing, days_passed(2))
    ]
    assert len(requests_sent(decisions)) == 2
    assert not of_kind(decisions, CertificateSigningOrdered)  # the certificate expires soon
    late = sign_csr(csr_of(station), days=90)
    assert response_payload_in(station.when(certificate_signed(late))) == {"status": "Accepted"}
    assert of_kind(station.when(trigger_signing()), CertificateSigningOrdered)


def test_a_wait_has_a_limit_a02_fr_18() -> None:
    station = station_with_csr(
        presets=(
            variable_preset("SecurityCtrlr.CertSigningWaitMinimum", "86400"),
            variable_preset("SecurityCtrlr.CertSigningRepeatTimes", "10"),
        )
    )
    days = [
        day
        for day in range(1, 29)
        if requests_sent(station.with_csms(accept_signing, days_passed(1)))
    ]
    assert days == [1, 3, 7, 14, 21, 28]


def test_a_rejected_csr_is_not_sent_again_a02_fr_12() -> None:
    station = station_with_profile_3(presets=FAST)
    station.when(trigger_signing(), create_ordered_key_pair)
    decisions = station.when(REJECTED)
    [end] = of_kind(decisions, CertificateSigningEnded)
    assert end.end == "rejected_by_csms"
    assert len(station.desired.private_key_references or ()) == 1  # the new key pair is discarded
    decisions = station.with_csms(accept_everything, time_passed(seconds=3600))
    assert not requests_sent(decisions)


def test_a_call_error_counts_as_a_rejection_a02_fr_12() -> None:
    station = station_with_profile_3()
    station.when(trigger_signing(), create_ordered_key_pair)
    [end] = of_kind(station.when(error_received("NotSupported")), CertificateSigningEnded)
    assert (end.end, end.reason) == ("rejected_by_csms", "CALLERROR")


def test_a_renewal_by_age_that_was_rejected_is_tried_again_a_day_later() -> None:
    station = station_with_profile_3(valid_from=NOON - timedelta(days=340))
    station.when(create_ordered_key_pair, REJECTED)
    assert not of_kind(station.when(days_passed(0.9)), CertificateSigningOrdered)
    assert of_kind(station.when(days_passed(0.2)), CertificateSigningOrdered)


def test_a_csr_that_is_not_answered_is_sent_again_after_the_same_waits() -> None:
    station = station_with_profile_3(presets=FAST)
    station.when(trigger_signing(), create_ordered_key_pair)
    decisions = station.when(time_passed(seconds=400))
    answers = of_kind(decisions, SignCertificateAnswered)
    assert [(answer.accepted, answer.responded) for answer in answers] == [(False, False)] * 3
    assert len(requests_sent(decisions)) == 2
    assert station.state.certificate_signing.requests[0].end is None  # it may still be signed


def test_a_lost_link_is_no_attempt_a02_fr_17() -> None:
    station = station_with_profile_3(presets=FAST)
    station.when(trigger_signing(), create_ordered_key_pair, LINK_LOST)
    assert requests_sent(station.when(time_passed(seconds=60))) == []
    assert len(requests_sent(station.when(open_link_with_newest))) == 1


def test_a_csr_survives_a_restart_a02_fr_17() -> None:
    station = station_with_csr(presets=FAST)
    first = csr_of(station)
    station.with_csms(accept_signing, station_restarted(boot_id="boot-2"), open_link_with_newest)
    [sent] = requests_sent(station.with_csms(accept_signing, time_passed(seconds=12)))
    assert sent["csr"] == first


# --- CertificateSigned -------------------------------------------------------------------------


def test_a_valid_certificate_is_installed_and_used_at_once_a02_fr_06_a02_fr_08() -> None:
    """A02.FR.06, A02.FR.08, A03.FR.06, A03.FR.08, A00.FR.509, A00.FR.511."""
    station = station_with_csr()
    [old] = own_certificates(station)
    decisions = station.when(certificate_signed(sign_csr(csr_of(station))))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    [new] = of_kind(decisions, CertificateInstalled)
    assert [each.sha256 for each in station.desired.link.client_certificates] == [
        new.sha256,
        old.sha256,
    ]
    assert set(station.desired.private_key_references or ()) == {
        new.private_key_ref,
        old.private_key_ref,
    }
    assert new.private_key_ref != old.private_key_ref
    assert requests_sent(station.when(time_passed(seconds=3600))) == []


def test_a_chain_with_sub_cas_is_installed_a02_fr_06() -> None:
    sub_ca = make_authority("Sub CA 1", issuer=CSMS_ROOT)
    second = make_authority("Sub CA 2", issuer=sub_ca)
    station = station_with_csr()
    leaf = sign_csr(csr_of(station), second)
    chain = leaf + second.pem + sub_ca.pem + CSMS_ROOT.pem
    decisions = station.when(certificate_signed(chain))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    [new] = of_kind(decisions, CertificateInstalled)
    assert new.pem == leaf + second.pem + sub_ca.pem  # the root is not sent in the handshake


def test_the_same_certificate_again_is_accepted_again() -> None:
    """The CSMS sends it again if it did not receive the response."""
    station = station_with_csr()
    chain = sign_csr(csr_of(station))
    station.when(certificate_signed(chain))
    decisions = station.when(certificate_signed(chain))
    assert response_payload_in(decisions) == {"status": "Accepted"}
    assert not of_kind(decisions, CertificateInstalled)


def _renamed(common_name: str, organization: str | None = "Test") -> x509.Name:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        names.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(names)


UNKNOWN_EXTENSION = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
WRONG_CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "not valid yet": ({"valid_from": NOON + timedelta(hours=1)}, "is valid from"),
    "expired": ({"valid_from": NOON - timedelta(days=20), "days": 10}, "was valid until"),
    "another station": ({"name": _renamed("EVS-2026-0043")}, "has no commonName"),
    "no organization": ({"name": _renamed(SERIAL_NUMBER, None)}, "has no organizationName"),
    "a CA": ({"is_ca": True}, "is of a CA"),
    "not for TLS": ({"digital_signature": False}, "digitalSignature"),
    "unknown extension": ({"extension": UNKNOWN_EXTENSION}, "unknown critical extension"),
    "another root": ({"issuer": make_authority("Unknown root")}, "is not signed by an installed"),
    "an expired root": (
        {"issuer": make_authority("Old root", valid_until=NOON - timedelta(days=1))},
        "is not signed by an installed",
    ),
}


@pytest.mark.parametrize("kind", WRONG_CHANGES)
def test_an_invalid_certificate_is_rejected_a02_fr_07(kind: str) -> None:
    """A02.FR.06, A02.FR.07, A03.FR.06, A03.FR.07; notBefore in the future: erratum 2.9."""
    changes, reason = WRONG_CHANGES[kind]
    station = station_with_csr()
    decisions = station.when(certificate_signed(sign_csr(csr_of(station), **changes)))
    response = response_payload_in(decisions)
    assert response["status"] == "Rejected"
    assert reason in response["statusInfo"]["additionalInfo"]
    assert reported_events(decisions) == ["InvalidChargingStationCertificate"]
    assert len(own_certificates(station)) == 1


def broken_chains(csr: str) -> dict[str, str]:
    leaf = sign_csr(csr)
    leaf_as_ca = make_authority("Leaf", issuer=CSMS_ROOT, is_ca=False)
    unrelated = make_authority("Another CA", issuer=CSMS_ROOT)
    return {
        "no PEM": "nonsense",
        "not DER": "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n",
        "another key pair": sign_csr(KEY_PAIR.csr),
        "signed by a leaf": sign_csr(csr, leaf_as_ca) + leaf_as_ca.pem,
        "an unrelated CA": leaf + unrelated.pem,
        "a root that is not installed": sign_csr(csr, make_authority("X"))
        + make_authority("X").pem,
    }


@pytest.mark.parametrize("kind", list(broken_chains(KEY_PAIR.csr)))
def test_a_broken_chain_is_rejected_a02_fr_07(kind: str) -> None:
    station = station_with_csr()
    decisions = station.when(certificate_signed(broken_chains(csr_of(station))[kind]))
    assert response_payload_in(decisions)["status"] == "Rejected"
    assert reported_events(decisions) == ["InvalidChargingStationCertificate"]


def test_without_a_csr_a_certificate_is_rejected_a02_fr_07() -> None:
    decisions = station_with_profile_3().when(certificate_signed(sign_csr(KEY_PAIR.csr)))
    response = response_payload_in(decisions)
    assert response["status"] == "Rejected"
    assert "answers no CSR" in response["statusInfo"]["additionalInfo"]
    assert reported_events(decisions) == ["InvalidChargingStationCertificate"]


def test_an_invalid_certificate_starts_no_back_off_a02_fr_20() -> None:
    """But the right certificate is still accepted."""
    station = station_with_csr(presets=FAST, valid_from=NOON - timedelta(days=340))
    station.with_csms(accept_everything, certificate_signed("nonsense"))
    decisions = station.when(days_passed(5))
    assert not requests_sent(decisions)
    assert not of_kind(decisions, CertificateSigningOrdered)  # also not by age
    decisions = station.when(certificate_signed(sign_csr(csr_of(station))))
    assert response_payload_in(decisions) == {"status": "Accepted"}


def test_a_long_chain_is_rejected_a02_fr_16() -> None:
    """A02.FR.16, A03.FR.16."""
    station = station_with_csr(
        presets=(variable_preset("SecurityCtrlr.MaxCertificateChainSize", "500"),)
    )
    response = response_payload_in(station.when(certificate_signed(sign_csr(csr_of(station)))))
    assert response["status"] == "Rejected"
    assert response["statusInfo"]["reasonCode"] == "TooLargeElement"


def test_a_certificate_of_a_replaced_csr_is_rejected_a02_fr_07() -> None:
    station = station_with_csr()
    first = csr_of(station)
    station.when(trigger_signing(), create_ordered_key_pair, ACCEPTED)
    assert response_payload_in(station.when(certificate_signed(sign_csr(first))))["status"] == (
        "Rejected"
    )
    decisions = station.when(certificate_signed(sign_csr(csr_of(station))))
    assert response_payload_in(decisions) == {"status": "Accepted"}


def test_below_profile_3_the_new_certificate_replaces_the_old_one() -> None:
    station = given(SERIAL_NUMBER_SET, ROOT_INSTALLED, ONLINE)
    for _ in range(2):
        station.when(trigger_signing(), create_ordered_key_pair, ACCEPTED)
        station.when(certificate_signed(sign_csr(csr_of(station))))
        assert len(own_certificates(station)) == 1


# --- Proof by a connection ---------------------------------------------------------------------


def station_with_two_certificates() -> Station:
    station = station_with_csr()
    station.when(certificate_signed(sign_csr(csr_of(station))), LINK_LOST)
    assert len(own_certificates(station)) == 2
    return station


def test_a_link_with_the_new_certificate_discards_the_old_one_a02_fr_10() -> None:
    """A02.FR.10, A03.FR.10."""
    station = station_with_two_certificates()
    old, new = own_certificates(station)
    decisions = station.when(open_link_with_newest)
    assert len(own_certificates(station)) == 2  # the CSMS may close the connection at once
    decisions = station.when(result_received_for("Heartbeat", currentTime=HOST_TIME))
    assert of_kind(decisions, CertificateDeleted) == [CertificateDeleted(USE, old.sha256)]
    assert own_certificates(station) == (new,)
    assert station.desired.private_key_references == (new.private_key_ref,)
    assert reported_events(decisions) == []


def test_a_link_with_the_old_certificate_discards_the_new_one_a02_fr_29() -> None:
    """A02.FR.10, A02.FR.28, A02.FR.29, A03.FR.24, A03.FR.25."""
    station = station_with_two_certificates()
    old, _ = own_certificates(station)
    decisions = station.with_csms(accept_everything, open_link_with_oldest)
    assert own_certificates(station) == (old,)
    [event] = of_kind(decisions, SecurityEventLogged)
    assert event.type == "DiscardedRenewedClientCertificate"
    assert reported_events(decisions) == ["DiscardedRenewedClientCertificate"]


def test_after_a_discarded_renewal_the_next_follows_a_day_later() -> None:
    station = station_with_profile_3(valid_from=NOON - timedelta(days=340))
    station.when(create_ordered_key_pair, ACCEPTED)
    station.when(certificate_signed(sign_csr(csr_of(station))), LINK_LOST)
    station.with_csms(accept_everything, open_link_with_oldest)
    assert len(own_certificates(station)) == 1
    assert not of_kind(station.when(days_passed(0.9)), CertificateSigningOrdered)
    assert of_kind(station.when(days_passed(0.2)), CertificateSigningOrdered)


def test_two_renewals_without_a_link_leave_two_certificates_a02_fr_10() -> None:
    """The one of the last link, and the newest."""
    station = station_with_csr()
    [factory] = own_certificates(station)
    station.when(certificate_signed(sign_csr(csr_of(station))))
    station.when(trigger_signing(), create_ordered_key_pair, ACCEPTED)
    decisions = station.when(certificate_signed(sign_csr(csr_of(station))))
    [newest] = of_kind(decisions, CertificateInstalled)
    assert [each.sha256 for each in own_certificates(station)] == [factory.sha256, newest.sha256]


def test_a_frame_on_the_link_before_the_renewal_proves_nothing_a02_fr_10() -> None:
    station = station_with_csr()
    station.when(certificate_signed(sign_csr(csr_of(station))))
    station.with_csms(accept_everything, called("GetLocalListVersion"))
    assert len(own_certificates(station)) == 2


def test_a_link_with_an_unknown_certificate_discards_nothing() -> None:
    station = station_with_two_certificates()
    assert not of_kind(station.when(LinkOpened(1, "wss://x", 3, "ff")), CertificateDeleted)


def test_a_restart_before_the_reconnection_continues_with_the_new_one_a02_fr_08() -> None:
    station = station_with_two_certificates()
    _, new = own_certificates(station)
    station.when(station_restarted(boot_id="boot-2"))
    assert station.desired.link.client_certificates[0] == new


# --- A year ------------------------------------------------------------------------------------


def test_three_renewals_in_a_row_with_link_losses_and_restarts_a03_fr_02_a03_fr_10() -> None:
    """A year of certificates of 120 days: each is renewed by age, whatever interrupts it."""
    station = station_with_profile_3(valid_from=NOON, days=120)
    installed = [own_certificates(station)[0].sha256]
    interruptions: list[tuple[Step, ...]] = [
        (LINK_LOST, time_passed(seconds=600), open_link_with_newest),
        (station_restarted(boot_id="boot-2", gap_s=60), open_link_with_newest),
        (LINK_LOST, station_restarted(boot_id="boot-3", gap_s=60), open_link_with_newest),
    ]
    for interruption in interruptions:
        decisions = station.with_csms(accept_signing, days_passed(89))
        assert not of_kind(decisions, CertificateSigningOrdered)
        station.with_csms(accept_signing, days_passed(2))
        station.with_csms(accept_signing, *interruption)
        station.with_csms(accept_signing, create_ordered_key_pair, *interruption)
        chain = sign_csr(csr_of(station), valid_from=station.at - timedelta(hours=1), days=120)
        station.with_csms(accept_signing, certificate_signed(chain), *interruption)
        [newest] = own_certificates(station)
        assert station.desired.private_key_references == (newest.private_key_ref,)
        installed.append(newest.sha256)
    assert len(set(installed)) == 4


# --- V2G certificates --------------------------------------------------------------------------

V2G_PROFILE = """
name = "with-v2g"
inherits = "development"

[[component]]
name = "ISO15118Ctrlr"
variables = [{ name = "SeccId", type = "string", max = 255, value = "SECC-42" }]
"""


def test_a_v2g_certificate_is_renewed_by_the_same_machinery_a02_fr_15(tmp_path: Path) -> None:
    """A02.FR.13, A02.FR.15, A03.FR.13, A03.FR.15: the newest of one root replaces the others."""
    (tmp_path / "with-v2g.toml").write_text(V2G_PROFILE)
    root = CertificatePreset("V2GRootCertificate", CSMS_ROOT.pem)
    station = given(root, ONLINE, profile_name=str(tmp_path / "with-v2g.toml"))
    for _ in range(2):
        station.when(trigger_signing("SignV2GCertificate"))
        [sent] = requests_sent(station.when(create_ordered_key_pair))
        assert sent["certificateType"] == "V2GCertificate"
        csr = x509.load_pem_x509_csr(sent["csr"].encode())
        [name] = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert name.value == "SECC-42"
        station.when(ACCEPTED)
        decisions = station.when(certificate_signed(sign_csr(sent["csr"]), "V2GCertificate"))
        assert response_payload_in(decisions) == {"status": "Accepted"}
        assert len(station.state.certificates.for_uses("V2GCertificateChain")) == 1
    assert own_certificates(station) == ()


def test_below_profile_3_nothing_is_discarded_when_a_link_opens() -> None:
    station = given(SERIAL_NUMBER_SET, ROOT_INSTALLED, ONLINE, LINK_LOST)
    assert not of_kind(station.when(LINK_OPENED), CertificateDeleted)
