"""Which certificates may the CSMS put in, list and take out? (M03, M04, M05)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from journal.events import Decision, Event
from journal.observations import CertificatePreset, CsmsConfigured
from journal.projections.certificates import (
    CertificateDeleted,
    CertificateHash,
    CertificateInstalled,
)
from station.core import x509
from station.core.blocks import a_security
from station.core.context import Call, CallHandler, Context, Rule, call_result, status_info
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

CERTIFICATE_ENTRIES: Final = "SecurityCtrlr.CertificateEntries"
CSMS_ROOT: Final = "CSMSRootCertificate"
STATION_CERTIFICATE: Final = "ChargingStationCertificate"
V2G_CHAIN: Final = "V2GCertificateChain"
ROOT_USES: Final[frozenset[str]] = frozenset(get_args(InstallCertificateUseEnumType))
LISTED_USES: Final[frozenset[str]] = ROOT_USES | {
    V2G_CHAIN
}  # our own is no GetCertificateIdUseEnumType
HASH_ALGORITHM: Final = "SHA256"  # A00.FR.506


# --- Installing ----------------------------------------------------------------------------------


def install_certificate(
    ctx: Context, call: Call, request: InstallCertificateRequest
) -> Iterator[Decision]:
    """Trust another root. M05.FR.01 to 07, M05.FR.17."""
    use = request.certificate_type
    try:
        new = x509.parse_root(
            use, request.certificate, ctx.state.certificates.for_uses(use), ctx.now
        )
    except CertificateUnusable as fault:
        yield call_result(call, _reject_install("InvalidCertificate", f"the certificate {fault}"))
        return
    if not has_free_entry(ctx, new):
        limit = f"{_entries_max(ctx)} certificates are installed, which is the limit"
        yield call_result(call, _reject_install("OutOfStorage", limit))  # M05.FR.06
        return
    yield new
    yield call_result(call, InstallCertificateResponse(status="Accepted"))
    yield from a_security.log_security_event(
        ctx, "ReconfigurationOfSecurityParameters", f"{use} installed"
    )


def _reject_install(code: str, why: str) -> InstallCertificateResponse:
    return InstallCertificateResponse(status="Rejected", status_info=status_info(code, why))


def has_free_entry(ctx: Context, certificate: CertificateInstalled) -> bool:
    """A certificate that is there already takes no other place. M05.FR.06, M05.FR.17."""
    installed = ctx.state.certificates.installed
    if any((one.use, one.sha256) == (certificate.use, certificate.sha256) for one in installed):
        return True
    return len(installed) < _entries_max(ctx)


def _entries_max(ctx: Context) -> int:
    return ctx.product.profile.limits.certificate_entries


def on_certificate_preset(ctx: Context) -> Iterator[Decision]:
    """A certificate of station.toml. Who wrote the file has read what it says, so a wrong clock
    at a first start does not count; what is unfit the start has already complained of."""
    told = ctx.entry.event
    assert isinstance(told, CertificatePreset)
    trusted = ctx.state.certificates.installed
    try:
        if told.use in ROOT_USES:
            new = x509.parse_root(told.use, told.pem, trusted, None)
        else:
            use = V2G_CHAIN if told.use == "V2GCertificate" else told.use
            new = x509.parse_own_chain(use, told.pem, trusted, told.private_key_ref)
    except CertificateUnusable:
        return
    if has_free_entry(ctx, new):
        yield new


def install_csms_roots(ctx: Context) -> Iterator[Decision]:
    """The roots of `[csms] ca_file`; `b_networks` asks when it is told of a changed `[csms]`."""
    told = ctx.entry.event
    assert isinstance(told, CsmsConfigured)
    trusted = ctx.state.certificates.for_uses(CSMS_ROOT)
    free = _entries_max(ctx) - len(ctx.state.certificates.installed)
    known = {one.sha256 for one in trusted}
    for pem in told.ca_certificates:
        try:
            new = x509.parse_root(CSMS_ROOT, pem, trusted, None)
        except CertificateUnusable:
            continue
        if new.sha256 not in known and free > 0:
            known.add(new.sha256)
            free -= 1
            yield new


# --- Listing -------------------------------------------------------------------------------------


def get_installed_certificate_ids(
    ctx: Context, call: Call, request: GetInstalledCertificateIdsRequest
) -> Iterator[Decision]:
    """The hash data of what is installed. M03.FR.01 to 05."""
    uses = set(request.certificate_type or LISTED_USES) & LISTED_USES
    found = ctx.state.certificates.for_uses(*uses)
    if not found:
        yield call_result(call, GetInstalledCertificateIdsResponse(status="NotFound"))
        return
    chains = tuple(
        CertificateHashDataChainType(
            certificate_hash_data=_hash_data_for_message(one.hash_data),
            certificate_type=one.use,  # type: ignore[arg-type]
            child_certificate_hash_data=tuple(map(_hash_data_for_message, one.child_hash_data[:4]))
            or None,
        )
        for one in found
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


# --- Deleting ------------------------------------------------------------------------------------


def delete_certificate(
    ctx: Context, call: Call, request: DeleteCertificateRequest
) -> Iterator[Decision]:
    """Trust a root no more. M04.FR.01 to 06."""
    found = [
        one
        for one in ctx.state.certificates.installed
        if _matches_hash(request.certificate_hash_data, one.hash_data)
    ]
    if not found:
        yield call_result(call, DeleteCertificateResponse(status="NotFound"))  # M04.FR.04
        return
    if why := next(filter(None, (_deletion_refusal(ctx, one) for one in found)), None):
        info = status_info("Unspecified", why)
        yield call_result(call, DeleteCertificateResponse(status="Failed", status_info=info))
        return
    for one in found:
        yield CertificateDeleted(one.use, one.sha256)
    yield call_result(call, DeleteCertificateResponse(status="Accepted"))  # M04.FR.02
    for one in found:
        told = f"{one.use} deleted"
        yield from a_security.log_security_event(ctx, "ReconfigurationOfSecurityParameters", told)


def _matches_hash(hash_data: CertificateHashDataType, certificate_hash: CertificateHash) -> bool:
    """The CSMS names it as we listed it (M04.FR.07); case does not count in an identifierString."""
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
    """Why a certificate must stay; None: it may go. M04.FR.03, M04.FR.06, AQ-1."""
    if certificate.use in (STATION_CERTIFICATE, V2G_CHAIN):
        return f"the {certificate.use} of the station cannot be deleted"
    if certificate.use != CSMS_ROOT or ctx.product.profile.supports("AQ-1"):
        return None
    if any(
        other.sha256 != certificate.sha256 and x509.is_valid(other, ctx.now)
        for other in ctx.state.certificates.for_uses(CSMS_ROOT)
    ):
        return None
    return "it is the last valid CSMSRootCertificate; without one no CSMS could be trusted"


# --- Asked by others -----------------------------------------------------------------------------


def has_valid_certificate(ctx: Context, use: str) -> bool:
    """Whether a certificate of that use is installed and in its time. A05.FR.02, A05.FR.03."""
    return any(x509.is_valid(one, ctx.now) for one in ctx.state.certificates.for_uses(use))


CALLS: Final[dict[str, CallHandler]] = {
    "InstallCertificate": install_certificate,
    "GetInstalledCertificateIds": get_installed_certificate_ids,
    "DeleteCertificate": delete_certificate,
}

OBSERVED: Final[dict[type[Event], Rule]] = {CertificatePreset: on_certificate_preset}
