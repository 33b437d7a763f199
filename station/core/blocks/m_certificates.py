"""Certificates: install, list, delete; those of station.toml. M03 to M05.

The CSMS installs root certificates; the certificates of the station itself come from station.toml.
`station.core.x509` checks a certificate and describes it; this block decides whether it is kept.

With AdditionalRootCertificateCheck (AS-2) one CSMSRootCertificate is installed, and from a
replacement to the first connection with the new one a fallback besides it:

* `InstallCertificate` of a CSMSRootCertificate must be signed by the root in use, that is, the one
  the last connection was verified with. It replaces every other root but that one.
* The connection tries the newest root first (`DesiredLink.csms_roots`). When it opens with the
  newest, the other one is deleted; when it opens with the fallback, both stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from journal.events import Decision, Event
from journal.observations import CertificatePreset, CsmsConfigured, LinkOpened
from journal.projections.certificates import (
    CertificateDeleted,
    CertificateHash,
    CertificateInstalled,
)
from station.core import x509
from station.core.blocks import a_security
from station.core.context import Call, CallHandler, Context, Rule, call_result, status_info
from station.core.reasons import AnswerReasons, Reason, Refusals
from station.core.x509 import CertificateUnusable
from station.ocpp.messages.datatypes import CertificateHashDataType
from station.ocpp.messages.enums import InstallCertificateUseEnumType
from station.ocpp.messages.m_certificates import (
    CertificateHashDataChainType,
    DeleteCertificateRequest,
    DeleteCertificateResponse,
    GetInstalledCertificateIdsRequest,
    GetInstalledCertificateIdsResponse,
    InstallCertificateRequest,
    InstallCertificateResponse,
)

ADDITIONAL_ROOT_CHECK: Final = "SecurityCtrlr.AdditionalRootCertificateCheck"
CERTIFICATE_ENTRIES: Final = "SecurityCtrlr.CertificateEntries"
CSMS_ROOT: Final = "CSMSRootCertificate"
STATION_CERTIFICATE: Final = "ChargingStationCertificate"
V2G_CHAIN: Final = "V2GCertificateChain"
ROOT_USES: Final[frozenset[str]] = frozenset(get_args(InstallCertificateUseEnumType))
# ChargingStationCertificate is no GetCertificateIdUseEnumType.
LISTED_USES: Final[frozenset[str]] = ROOT_USES | {V2G_CHAIN}
HASH_ALGORITHM: Final = "SHA256"  # A00.FR.506


# --- Install -------------------------------------------------------------------------------------


def install_certificate(
    ctx: Context, call: Call, request: InstallCertificateRequest
) -> Iterator[Decision]:
    """Install a root certificate. M05.FR.01 to 07, M05.FR.09 to 12, M05.FR.17."""
    use = request.certificate_type
    in_use = csms_root_in_use(ctx) if use == CSMS_ROOT else None
    try:
        if in_use is not None:  # M05.FR.10, M05.FR.11
            new = x509.parse_successor(use, request.certificate, in_use, ctx.now)
        else:
            installed = ctx.state.certificates.for_uses(use)
            new = x509.parse_root(use, request.certificate, installed, ctx.now)
    except CertificateUnusable as error:
        yield call_result(call, _reject_install("InvalidCertificate", f"the certificate {error}"))
        return
    superseded = _superseded_roots(ctx, new, in_use) if in_use else ()
    if not has_free_entry(ctx, new, freed=len(superseded)):
        limit = f"{_entries_max(ctx)} certificates are installed, which is the limit"
        yield call_result(call, _reject_install("OutOfStorage", limit))  # M05.FR.06
        return
    yield from _delete_all(superseded)
    yield new
    yield call_result(call, InstallCertificateResponse(status="Accepted"))
    yield from a_security.log_security_event(
        ctx, "ReconfigurationOfSecurityParameters", f"{use} installed"
    )


def _reject_install(code: str, text: str) -> InstallCertificateResponse:
    return InstallCertificateResponse(status="Rejected", status_info=status_info(code, text))


def has_free_entry(ctx: Context, certificate: CertificateInstalled, *, freed: int = 0) -> bool:
    """Whether a certificate has room; one that is installed needs none. M05.FR.06, M05.FR.17.

    Args:
        freed: entries of certificates that it replaces.
    """
    installed = ctx.state.certificates.installed
    key = (certificate.use, certificate.sha256)
    if any((other.use, other.sha256) == key for other in installed):
        return True
    return len(installed) - freed < _entries_max(ctx)


def _entries_max(ctx: Context) -> int:
    return ctx.product.profile.limits.certificate_entries


def on_certificate_preset(ctx: Context) -> Iterator[Decision]:
    """Install a certificate of station.toml.

    Its validity period is not checked, because the clock may be wrong at a first start. An unusable
    certificate is ignored here; the check of station.toml has reported it.
    """
    preset = ctx.entry.event
    assert isinstance(preset, CertificatePreset)
    trusted = ctx.state.certificates.installed
    if preset.use == CSMS_ROOT and csms_root_in_use(ctx) is not None:
        return  # M05.FR.09
    try:
        if preset.use in ROOT_USES:
            new = x509.parse_root(preset.use, preset.pem, trusted, None)
        else:
            use = V2G_CHAIN if preset.use == "V2GCertificate" else preset.use
            new = x509.parse_own_chain(use, preset.pem, trusted, preset.private_key_ref)
    except CertificateUnusable:
        return
    if has_free_entry(ctx, new):
        yield new


def install_csms_roots(ctx: Context) -> Iterator[Decision]:
    """Install the roots of `[csms] ca_file`. Called by `b_networks` when `[csms]` changed."""
    configured = ctx.entry.event
    assert isinstance(configured, CsmsConfigured)
    trusted = ctx.state.certificates.for_uses(CSMS_ROOT)
    free = _entries_max(ctx) - len(ctx.state.certificates.installed)
    installed = {certificate.sha256 for certificate in trusted}
    usable = _usable_roots(configured.ca_certificates, trusted)
    if checks_root_signature(ctx):
        yield from _replace_csms_root(ctx, usable)
        return
    for new in usable:
        if new.sha256 not in installed and free > 0:
            installed.add(new.sha256)
            free -= 1
            yield new


def _usable_roots(
    pems: tuple[str, ...], trusted: tuple[CertificateInstalled, ...]
) -> Iterator[CertificateInstalled]:
    for pem in pems:
        try:
            yield x509.parse_root(CSMS_ROOT, pem, trusted, None)
        except CertificateUnusable:
            continue


# --- One CSMS root and its successor: AdditionalRootCertificateCheck -----------------------------


def checks_root_signature(ctx: Context) -> bool:
    """Whether AdditionalRootCertificateCheck is in force. M05.FR.09, AS-2."""
    return ctx.product.profile.supports("AS-2") and ctx.variable_boolean(ADDITIONAL_ROOT_CHECK)


def csms_roots(ctx: Context) -> tuple[CertificateInstalled, ...]:
    """The roots to verify the CSMS with, one at a time, newest first; empty: all together."""
    if not checks_root_signature(ctx):
        return ()
    return ctx.state.certificates.for_uses(CSMS_ROOT)[::-1]


def csms_root_in_use(ctx: Context) -> CertificateInstalled | None:
    """The root that verified the last connection, else the newest. M05.FR.10.

    None: none is installed, or AdditionalRootCertificateCheck is not in force.
    """
    roots = csms_roots(ctx)
    proven = [root for root in roots if root.sha256 == ctx.state.link.root_sha256]
    return next(iter(proven or roots), None)


def _superseded_roots(
    ctx: Context, new: CertificateInstalled, in_use: CertificateInstalled
) -> tuple[CertificateInstalled, ...]:
    """The roots that a new one replaces at once: those without a connection. M05.FR.09."""
    kept = {new.sha256, in_use.sha256}
    return tuple(root for root in csms_roots(ctx) if root.sha256 not in kept)


def _delete_all(certificates: tuple[CertificateInstalled, ...]) -> Iterator[Decision]:
    for certificate in certificates:
        yield CertificateDeleted(certificate.use, certificate.sha256)


def _replace_csms_root(ctx: Context, usable: Iterator[CertificateInstalled]) -> Iterator[Decision]:
    """Install the first root of `[csms] ca_file`, unless one of the file is installed.

    The integrator, who has the file system of the station, need not sign it with the old one, which
    stays as the fallback until a connection with the new one is open. M05.FR.09.
    """
    roots = tuple(usable)
    installed = {root.sha256 for root in csms_roots(ctx)}
    if not roots or any(root.sha256 in installed for root in roots):
        return
    in_use = csms_root_in_use(ctx)
    superseded = _superseded_roots(ctx, roots[0], in_use) if in_use else ()
    if has_free_entry(ctx, roots[0], freed=len(superseded)):
        yield from _delete_all(superseded)
        yield roots[0]


def prove_csms_root(ctx: Context) -> Iterator[Decision]:
    """When a connection opens with the newest root, delete the fallback. M05.FR.13, M05.FR.14."""
    event = ctx.entry.event
    if not isinstance(event, LinkOpened) or not event.root_sha256:
        return
    roots = csms_roots(ctx)
    if len(roots) < 2 or event.root_sha256 not in {root.sha256 for root in roots}:
        return
    kept = {roots[0].sha256, event.root_sha256}
    for root in roots:
        if root.sha256 not in kept:
            yield CertificateDeleted(root.use, root.sha256)
            yield from a_security.log_security_event(
                ctx, "ReconfigurationOfSecurityParameters", f"{root.use} replaced"
            )
    if event.root_sha256 != roots[0].sha256:
        yield from a_security.log_security_event(
            ctx,
            "InvalidCsmsCertificate",
            f"not signed under the newest CSMSRootCertificate, {roots[0].subject[:100]}; the one"
            " before it was used",
        )


# --- List ----------------------------------------------------------------------------------------


def get_installed_certificate_ids(
    ctx: Context, call: Call, request: GetInstalledCertificateIdsRequest
) -> Iterator[Decision]:
    """List the hash data of installed certificates. M03.FR.01 to 05."""
    uses = set(request.certificate_type or LISTED_USES) & LISTED_USES
    certificates = ctx.state.certificates.for_uses(*uses)
    if not certificates:
        yield call_result(call, GetInstalledCertificateIdsResponse(status="NotFound"))
        return
    chains = tuple(
        CertificateHashDataChainType(
            certificate_hash_data=_hash_data_for_message(certificate.hash_data),
            certificate_type=certificate.use,  # type: ignore[arg-type]
            child_certificate_hash_data=tuple(
                map(_hash_data_for_message, certificate.child_hash_data[:4])
            )
            or None,
        )
        for certificate in certificates
    )
    yield call_result(
        call,
        GetInstalledCertificateIdsResponse(status="Accepted", certificate_hash_data_chain=chains),
    )


def _hash_data_for_message(certificate_hash: CertificateHash) -> CertificateHashDataType:
    return CertificateHashDataType(
        hash_algorithm=HASH_ALGORITHM,
        issuer_name_hash=certificate_hash.issuer_name_hash,
        issuer_key_hash=certificate_hash.issuer_key_hash,
        serial_number=certificate_hash.serial_number,
    )


# --- Delete --------------------------------------------------------------------------------------


def delete_certificate(
    ctx: Context, call: Call, request: DeleteCertificateRequest
) -> Iterator[Decision]:
    """Delete a certificate, with the chains it is a sub-CA of. M04.FR.01 to 08.

    A chain without one of its sub-CAs is of no use and could not be deleted any more (M04.FR.08).
    """
    matching = [
        certificate
        for certificate in ctx.state.certificates.installed
        if any(
            _matches_hash(request.certificate_hash_data, certificate_hash)
            for certificate_hash in (certificate.hash_data, *certificate.child_hash_data)
        )
    ]
    if not matching:
        yield call_result(call, DeleteCertificateResponse(status="NotFound"))  # M04.FR.04
        return
    refusals = (_deletion_refusal(ctx, certificate) for certificate in matching)
    if refusal := next(filter(None, refusals), None):
        info = status_info("Unspecified", refusal)
        yield call_result(call, DeleteCertificateResponse(status="Failed", status_info=info))
        return
    for certificate in matching:
        yield CertificateDeleted(certificate.use, certificate.sha256)
    yield call_result(call, DeleteCertificateResponse(status="Accepted"))  # M04.FR.02
    for certificate in matching:
        yield from a_security.log_security_event(
            ctx, "ReconfigurationOfSecurityParameters", f"{certificate.use} deleted"
        )


def _matches_hash(hash_data: CertificateHashDataType, certificate_hash: CertificateHash) -> bool:
    """Whether the hash data is that of a certificate. M04.FR.07; identifierStrings ignore case."""
    return hash_data.hash_algorithm == HASH_ALGORITHM and (
        hash_data.issuer_name_hash.casefold(),
        hash_data.issuer_key_hash.casefold(),
        hash_data.serial_number.lstrip("0").casefold() or "0",
    ) == (
        certificate_hash.issuer_name_hash,
        certificate_hash.issuer_key_hash,
        certificate_hash.serial_number,
    )


def _deletion_refusal(ctx: Context, certificate: CertificateInstalled) -> str | None:
    """Why a certificate cannot be deleted; None: it can. M04.FR.03, M04.FR.06, M05.FR.12, AQ-1.

    The certificate of the station and its sub-CAs stay; a V2G chain, which the CSMS can list, goes.
    """
    if certificate.use == STATION_CERTIFICATE:
        return f"the {certificate.use} of the station cannot be deleted"
    if len(csms_roots(ctx)) > 1 and certificate == csms_root_in_use(ctx):
        return "it is the fallback until a connection with the new CSMSRootCertificate is open"
    if certificate.use != CSMS_ROOT or ctx.product.profile.supports("AQ-1"):
        return None
    if any(
        other.sha256 != certificate.sha256 and x509.is_valid(other, ctx.now)
        for other in ctx.state.certificates.for_uses(CSMS_ROOT)
    ):
        return None
    return "it is the last valid CSMSRootCertificate; without one no CSMS could be trusted"


# --- For other blocks ----------------------------------------------------------------------------


def has_valid_certificate(ctx: Context, use: str) -> bool:
    """Whether a certificate of that use is installed and valid now. A05.FR.02, A05.FR.03."""
    certificates = ctx.state.certificates.for_uses(use)
    return any(x509.is_valid(certificate, ctx.now) for certificate in certificates)


CALLS: Final[dict[str, CallHandler]] = {
    "InstallCertificate": install_certificate,
    "GetInstalledCertificateIds": get_installed_certificate_ids,
    "DeleteCertificate": delete_certificate,
}

OBSERVED: Final[dict[type[Event], Rule]] = {CertificatePreset: on_certificate_preset}
RULES: Final[tuple[Rule, ...]] = (prove_csms_root,)
ANSWER_REASONS: Final[AnswerReasons] = {
    ("DeleteCertificate", "NotFound"): Reason(
        "no installed certificate has that hash", "M04.FR.04"
    ),
    ("GetInstalledCertificateIds", "NotFound"): Reason(
        "no certificate of these types is installed", "M03.FR.02"
    ),
}
REFUSALS: Final[Refusals] = {("InstallCertificate", "OutOfStorage"): "M05.FR.06"}
