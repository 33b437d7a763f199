"""Block M: root certificates."""

from __future__ import annotations

from tests.conformance.octt import states
from tests.conformance.octt.certificates import (
    CertifiedKey,
    make_expired_root,
    make_root,
    make_server_certificate,
)
from tests.conformance.octt.fresh import (
    needs_fresh_station,
    with_client_certificate,
    with_root_check,
)
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import OMITTED, check_fields, one_of, require

CSMS = "CSMSRootCertificate"
MANUFACTURER = "ManufacturerRootCertificate"
MOBILITY_OPERATOR = "MORootCertificate"


def _install_root(tester: Tester, use: str) -> CertifiedKey:
    certificate = make_root(f"New {use}")
    states.install_certificate(tester, use, certificate)
    return certificate


@needs_fresh_station
def tc_m_12_cs(tester: Tester) -> None:
    states.check_installed_certificates(tester, (CSMS, _install_root(tester, CSMS)))


@needs_fresh_station
def tc_m_13_cs(tester: Tester) -> None:
    states.check_installed_certificates(tester, (MANUFACTURER, _install_root(tester, MANUFACTURER)))


@needs_fresh_station
def tc_m_17_cs(tester: Tester) -> None:
    installed = [(use, _install_root(tester, use)) for use in (CSMS, MANUFACTURER)]
    states.check_installed_certificates(tester, *installed)


@needs_fresh_station
def tc_m_18_cs(tester: Tester) -> None:
    installed = [(use, _install_root(tester, use)) for use in (CSMS, MANUFACTURER)]
    response = tester.send_call("step 1", "GetInstalledCertificateIds", {}, {"status": "Accepted"})
    for use, certificate in installed:
        is_listed = states.is_listed(response["certificateHashDataChain"], use, certificate)
        require("step 2", is_listed, f"the new {use} must be listed")


@needs_fresh_station
def tc_m_19_cs(tester: Tester) -> None:
    for entry in states.installed_certificates(tester, "preparation", MOBILITY_OPERATOR):
        request = {"certificateHashData": entry["certificateHashData"]}
        tester.send_call("preparation", "DeleteCertificate", request, {"status": "Accepted"})
    request = {"certificateType": [MOBILITY_OPERATOR]}
    tester.send_call(
        "step 1",
        "GetInstalledCertificateIds",
        request,
        {"status": "NotFound", "certificateHashDataChain": OMITTED},
    )


@needs_fresh_station
def tc_m_20_cs(tester: Tester) -> None:
    certificate = _install_root(tester, CSMS)  # the one in use cannot be deleted: AQ-1
    listed = states.installed_certificates(tester, "step 1", CSMS)
    require(
        "step 1", states.is_listed(listed, CSMS, certificate), "the certificate must be present"
    )
    request = {"certificateHashData": certificate.hash_data()}
    tester.send_call("step 2", "DeleteCertificate", request, {"status": "Accepted"})
    listed = states.installed_certificates(tester, "step 4", CSMS)
    require(
        "step 4", not states.is_listed(listed, CSMS, certificate), "the certificate must be deleted"
    )


def tc_m_22_cs(tester: Tester) -> None:
    states.installed_certificates(tester, "step 1", CSMS)
    request = {"certificateHashData": make_root("Not installed").hash_data()}
    tester.send_call("step 2", "DeleteCertificate", request, {"status": "NotFound"})


@with_client_certificate
def tc_m_23_cs(tester: Tester) -> None:
    """The certificate of the station cannot be deleted. Advanced Security."""
    new = states.renew_station_certificate(tester)
    tester.send_call("step 1", "GetInstalledCertificateIds", {}, {"status": "Accepted"})
    request = {"certificateHashData": new.hash_data()}
    allowed = {"status": one_of("NotFound", "Failed")}
    tester.send_call("step 2", "DeleteCertificate", request, allowed)
    states.reset_station(tester)
    tester.expect_boot_notification("after step 3")


@needs_fresh_station
def tc_m_01_cs(tester: Tester) -> None:
    states.check_installed_certificates(tester, (CSMS, _install_root(tester, CSMS)))


@needs_fresh_station
def tc_m_02_cs(tester: Tester) -> None:
    states.check_installed_certificates(tester, (MANUFACTURER, _install_root(tester, MANUFACTURER)))


def tc_m_07_cs(tester: Tester) -> None:
    expired = make_expired_root("Expired root")
    request = {"certificateType": CSMS, "certificate": expired.pem}
    tester.send_call("step 1", "InstallCertificate", request, {"status": "Rejected"})
    response = tester.send_call("step 3", "GetInstalledCertificateIds", {"certificateType": [CSMS]})
    check_fields("step 4", response, {"status": "Accepted"})
    is_listed = states.is_listed(response["certificateHashDataChain"], CSMS, expired)
    require("step 4", not is_listed, "the expired certificate may not be listed")


# AdditionalRootCertificateCheck: a new CSMS root is signed by the one it replaces.


@with_root_check
def tc_m_09_cs(tester: Tester) -> None:
    request = {"certificateType": CSMS, "certificate": make_root("CSMS Root 2").pem}
    tester.send_call("step 1", "InstallCertificate", request, {"status": "Rejected"})
    listed = states.installed_certificates(tester, "step 4", CSMS)
    require("step 4", len(listed) == 1, f"there must be one CSMS root, got {len(listed)}")
    old_root = tester.bench.authorities.csms_root
    require("step 4", states.is_listed(listed, CSMS, old_root), "it must be the old one")


@with_root_check
def tc_m_30_cs(tester: Tester) -> None:
    old_root = tester.bench.authorities.csms_root
    new_root = make_root("CSMS Root 2", signed_by=old_root)
    states.replace_csms_root(tester, new_root)
    tester.reset_station("step 1", kind="OnIdle")
    tester.bench.csms.show_certificate(tester.bench.csms_context(make_server_certificate(new_root)))
    states.reset_and_boot(tester, reset=False)
    listed = states.installed_certificates(tester, "step 7", CSMS)
    require("step 7", states.is_listed(listed, CSMS, new_root), "the new root must be listed")
    require("step 7", not states.is_listed(listed, CSMS, old_root), "the old root must be removed")


@with_root_check
def tc_m_31_cs(tester: Tester) -> None:
    old_root = tester.bench.authorities.csms_root
    states.replace_csms_root(tester, make_root("CSMS Root 2", signed_by=old_root))
    tester.reset_station("step 1", kind="OnIdle")
    states.reset_and_boot(tester, reset=False)
    states.check_installed_certificates(tester, (CSMS, old_root))
