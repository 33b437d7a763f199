"""Mutants of the certificates of the station, on the product that renews them."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.octt.mutants.fault import Mutant, Patch, remove_rule, replace_attribute
from tests.conformance.octt.mutants.runtime import offer_one_cipher_suite, patch_tls

DEVELOPMENT = "development"


def _keep_old_certificate() -> None:
    from station.runtime.csms.slot_rotation import SlotRotation

    replace_attribute(
        SlotRotation,
        "client_certificate",
        lambda _: lambda self, link: (link.client_certificates or (None,))[-1],
    )


def _accept_any_certificate() -> None:
    from station.core import x509

    for check in ("_check_leaf", "_check_validity"):
        replace_attribute(x509, check, lambda _: lambda *args: None)
    replace_attribute(x509, "_require_root", lambda _: lambda certificate, *args: certificate)


def _refuse_trigger() -> None:
    from station.core.blocks import a_certificate_renewal

    replace_attribute(
        a_certificate_renewal, "refuse_order", lambda _: lambda ctx, use: "not available"
    )


def _constant_wait() -> None:
    from station.core.blocks import a_certificate_renewal

    replace_attribute(
        a_certificate_renewal,
        "_wait_s",
        lambda _: lambda ctx, request: ctx.variable_integer(a_certificate_renewal.WAIT_MINIMUM),
    )


def _delete_own_certificate() -> None:
    from station.core.blocks import m_certificates

    replace_attribute(m_certificates, "_deletion_refusal", lambda _: lambda *args: None)


def _install_unsigned_root() -> None:
    from station.core.blocks import m_certificates

    replace_attribute(m_certificates, "csms_root_in_use", lambda _: lambda ctx: None)


def _never_use_fallback_root() -> None:
    from station.runtime.csms.slot_rotation import SlotRotation

    replace_attribute(
        SlotRotation, "csms_roots", lambda _: lambda self, link, slot: link.csms_roots[:1]
    )


def _use_fallback_root_everywhere() -> None:
    from station.runtime.csms.slot_rotation import SlotRotation

    replace_attribute(
        SlotRotation, "csms_roots", lambda _: lambda self, link, slot: link.csms_roots
    )


def _development(patch: Patch, description: str, *cases: str) -> Mutant:
    return Mutant(patch, cases, description, DEVELOPMENT)


MUTANTS: Mapping[str, Mutant] = {
    "cipher-profile-3": _development(
        patch_tls(offer_one_cipher_suite),
        "one of the cipher suites is not offered with security profile 3",
        "TC_A_07_CS",
    ),
    "old-certificate": _development(
        _keep_old_certificate,
        "a new certificate of the station is not used",
        "TC_A_11_CS",
        "TC_M_23_CS",
    ),
    "any-certificate": _development(
        _accept_any_certificate,
        "every certificate of CertificateSigned is installed",
        "TC_A_14_CS",
    ),
    "trigger-signing": _development(
        _refuse_trigger, "SignChargingStationCertificate is rejected", "TC_A_15_CS"
    ),
    "signing-wait": _development(
        _constant_wait, "the wait before the next SignCertificate is not doubled", "TC_A_23_CS"
    ),
    "unsigned-root": _development(
        _install_unsigned_root,
        "a CSMS root that the old one did not sign is installed",
        "TC_M_09_CS",
    ),
    "old-root-stays": _development(
        remove_rule("m_certificates.prove_csms_root"),
        "the old CSMS root stays after a connection with the new one",
        "TC_M_30_CS",
    ),
    "no-fallback-root": _development(
        _never_use_fallback_root,
        "only the newest CSMS root is tried",
        "TC_M_31_CS",
        "TC_B_47_CS",
    ),
    "fallback-root-in-migration": _development(
        _use_fallback_root_everywhere,
        "the old CSMS root verifies another CSMS",
        "TC_B_47_CS",
    ),
    "delete-own-certificate": _development(
        _delete_own_certificate, "the certificate of the station can be deleted", "TC_M_23_CS"
    ),
}
