"""Block M: root certificates."""

from __future__ import annotations

from tests.octt import states
from tests.octt.certificates import Identity, expired_root, root
from tests.octt.fresh import fresh
from tests.octt.tester import Tester
from tests.octt.verify import OMITTED, must, verify

CSMS = "CSMSRootCertificate"
MANUFACTURER = "ManufacturerRootCertificate"
MOBILITY_OPERATOR = "MORootCertificate"


def _install(t: Tester, use: str) -> Identity:
    certificate = root(f"New {use}")
    states.certificate_installed(t, use, certificate)
    return certificate


@fresh
def tc_m_12_cs(t: Tester) -> None:
    states.get_installed_certificates(t, (CSMS, _install(t, CSMS)))


@fresh
def tc_m_13_cs(t: Tester) -> None:
    states.get_installed_certificates(t, (MANUFACTURER, _install(t, MANUFACTURER)))


@fresh
def tc_m_17_cs(t: Tester) -> None:
    installed = [(use, _install(t, use)) for use in (CSMS, MANUFACTURER)]
    states.get_installed_certificates(t, *installed)


@fresh
def tc_m_18_cs(t: Tester) -> None:
    installed = [(use, _install(t, use)) for use in (CSMS, MANUFACTURER)]
    response = t.call("step 1", "GetInstalledCertificateIds", {}, {"status": "Accepted"})
    for use, certificate in installed:
        told = states.is_told(response["certificateHashDataChain"], use, certificate)
        must("step 2", told, f"the new {use} must be told")


@fresh
def tc_m_19_cs(t: Tester) -> None:
    for entry in states.installed_certificates(t, "preparation", MOBILITY_OPERATOR):
        request = {"certificateHashData": entry["certificateHashData"]}
        t.call("preparation", "DeleteCertificate", request, {"status": "Accepted"})
    request = {"certificateType": [MOBILITY_OPERATOR]}
    t.call(
        "step 1",
        "GetInstalledCertificateIds",
        request,
        {"status": "NotFound", "certificateHashDataChain": OMITTED},
    )


@fresh
def tc_m_20_cs(t: Tester) -> None:
    certificate = _install(t, CSMS)  # the one in use cannot be deleted: AQ-1
    told = states.installed_certificates(t, "step 1", CSMS)
    must("step 1", states.is_told(told, CSMS, certificate), "the certificate must be present")
    request = {"certificateHashData": certificate.hash_data()}
    t.call("step 2", "DeleteCertificate", request, {"status": "Accepted"})
    told = states.installed_certificates(t, "step 4", CSMS)
    must("step 4", not states.is_told(told, CSMS, certificate), "the certificate must be gone")


def tc_m_22_cs(t: Tester) -> None:
    states.installed_certificates(t, "step 1", CSMS)
    request = {"certificateHashData": root("Nobody knows this").hash_data()}
    t.call("step 2", "DeleteCertificate", request, {"status": "NotFound"})


@fresh
def tc_m_01_cs(t: Tester) -> None:
    states.get_installed_certificates(t, (CSMS, _install(t, CSMS)))


@fresh
def tc_m_02_cs(t: Tester) -> None:
    states.get_installed_certificates(t, (MANUFACTURER, _install(t, MANUFACTURER)))


def tc_m_07_cs(t: Tester) -> None:
    expired = expired_root("Expired root")
    request = {"certificateType": CSMS, "certificate": expired.pem}
    t.call("step 1", "InstallCertificate", request, {"status": "Rejected"})
    response = t.call("step 3", "GetInstalledCertificateIds", {"certificateType": [CSMS]})
    verify("step 4", response, {"status": "Accepted"})
    told = states.is_told(response["certificateHashDataChain"], CSMS, expired)
    must("step 4", not told, "the expired certificate may not be told")
