"""Which certificates may the CSMS put in, list and take out? (M03, M04, M05)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from journal.observations import CertificatePreset, CsmsConfigured
from journal.projections.certificates import (
    CertificateDeleted,
    CertificateHash,
    CertificateInstalled,
)
from journal.terms import Decision, Event
from station import certificates
from station.blocks import a_security
from station.case import Call, Case, Handler, Rule, answer, reason
from station.certificates import Unfit
from station.messages.datatypes import CertificateHashDataType
from station.messages.enums import InstallCertificateUseEnumType
from station.messages.m_certificates import (
    CertificateHashDataChainType,
    DeleteCertificateRequest,
    DeleteCertificateResponse,
    GetInstalledCertificateIdsRequest,
    GetInstalledCertificateIdsResponse,
    InstallCertificateRequest,
    InstallCertificateResponse,
)

ENTRIES: Final = "SecurityCtrlr.CertificateEntries"
CSMS_ROOT: Final = "CSMSRootCertificate"
STATION: Final = "ChargingStationCertificate"
V2G_CHAIN: Final = "V2GCertificateChain"
ROOTS: Final[frozenset[str]] = frozenset(get_args(InstallCertificateUseEnumType))
LISTED: Final[frozenset[str]] = ROOTS | {V2G_CHAIN}  # our own is no GetCertificateIdUseEnumType
ALGORITHM: Final = "SHA256"  # A00.FR.506


# --- Installing ----------------------------------------------------------------------------------


def install(case: Case, call: Call, request: InstallCertificateRequest) -> Iterator[Decision]:
    """Trust another root. M05.FR.01 to 07, M05.FR.17."""
    use = request.certificate_type
    try:
        new = certificates.root(use, request.certificate, case.state.certificates.of(use), case.now)
    except Unfit as fault:
        yield answer(call, _install_refused("InvalidCertificate", f"the certificate {fault}"))
        return
    if not has_room(case, new):
        limit = f"{_entries_max(case)} certificates are installed, which is the limit"
        yield answer(call, _install_refused("OutOfStorage", limit))  # M05.FR.06
        return
    yield new
    yield answer(call, InstallCertificateResponse(status="Accepted"))
    yield from a_security.logged(case, "ReconfigurationOfSecurityParameters", f"{use} installed")


def _install_refused(code: str, why: str) -> InstallCertificateResponse:
    return InstallCertificateResponse(status="Rejected", status_info=reason(code, why))


def has_room(case: Case, new: CertificateInstalled) -> bool:
    """A certificate that is there already takes no other place. M05.FR.06, M05.FR.17."""
    installed = case.state.certificates.installed
    if any((one.use, one.sha256) == (new.use, new.sha256) for one in installed):
        return True
    return len(installed) < _entries_max(case)


def _entries_max(case: Case) -> int:
    return case.product.profile.limits.certificate_entries


def preset(case: Case) -> Iterator[Decision]:
    """A certificate of station.toml. Who wrote the file has read what it says, so a wrong clock
    at a first start does not count; what is unfit the start has already complained of."""
    told = case.entry.event
    assert isinstance(told, CertificatePreset)
    trusted = case.state.certificates.installed
    try:
        if told.use in ROOTS:
            new = certificates.root(told.use, told.pem, trusted, None)
        else:
            use = V2G_CHAIN if told.use == "V2GCertificate" else told.use
            new = certificates.own_chain(use, told.pem, trusted, told.key)
    except Unfit:
        return
    if has_room(case, new):
        yield new


def configured(case: Case) -> Iterator[Decision]:
    """The roots of `[csms] ca_file`; `b_networks` asks when it is told of a changed `[csms]`."""
    told = case.entry.event
    assert isinstance(told, CsmsConfigured)
    trusted = case.state.certificates.of(CSMS_ROOT)
    free = _entries_max(case) - len(case.state.certificates.installed)
    known = {one.sha256 for one in trusted}
    for pem in told.roots:
        try:
            new = certificates.root(CSMS_ROOT, pem, trusted, None)
        except Unfit:
            continue
        if new.sha256 not in known and free > 0:
            known.add(new.sha256)
            free -= 1
            yield new


# --- Listing -------------------------------------------------------------------------------------


def installed_ids(
    case: Case, call: Call, request: GetInstalledCertificateIdsRequest
) -> Iterator[Decision]:
    """The hash data of what is installed. M03.FR.01 to 05."""
    uses = set(request.certificate_type or LISTED) & LISTED
    found = case.state.certificates.of(*uses)
    if not found:
        yield answer(call, GetInstalledCertificateIdsResponse(status="NotFound"))
        return
    chains = tuple(
        CertificateHashDataChainType(
            certificate_hash_data=_hash_data(one.hash),
            certificate_type=one.use,  # type: ignore[arg-type]
            child_certificate_hash_data=tuple(map(_hash_data, one.children[:4])) or None,
        )
        for one in found
    )
    yield answer(
        call,
        GetInstalledCertificateIdsResponse(status="Accepted", certificate_hash_data_chain=chains),
    )


def _hash_data(known: CertificateHash) -> CertificateHashDataType:
    return CertificateHashDataType(
        hash_algorithm=ALGORITHM,
        issuer_name_hash=known.issuer_name_hash,
        issuer_key_hash=known.issuer_key_hash,
        serial_number=known.serial_number,
    )


# --- Deleting ------------------------------------------------------------------------------------


def delete(case: Case, call: Call, request: DeleteCertificateRequest) -> Iterator[Decision]:
    """Trust a root no more. M04.FR.01 to 06."""
    found = [
        one
        for one in case.state.certificates.installed
        if _means(request.certificate_hash_data, one.hash)
    ]
    if not found:
        yield answer(call, DeleteCertificateResponse(status="NotFound"))  # M04.FR.04
        return
    if why := next(filter(None, (_kept(case, one) for one in found)), None):
        info = reason("Unspecified", why)
        yield answer(call, DeleteCertificateResponse(status="Failed", status_info=info))
        return
    for one in found:
        yield CertificateDeleted(one.use, one.sha256)
    yield answer(call, DeleteCertificateResponse(status="Accepted"))  # M04.FR.02
    for one in found:
        told = f"{one.use} deleted"
        yield from a_security.logged(case, "ReconfigurationOfSecurityParameters", told)


def _means(asked: CertificateHashDataType, known: CertificateHash) -> bool:
    """The CSMS names it as we listed it (M04.FR.07); case does not count in an identifierString."""
    return asked.hash_algorithm == ALGORITHM and (
        asked.issuer_name_hash.casefold(),
        asked.issuer_key_hash.casefold(),
        asked.serial_number.lstrip("0").casefold() or "0",
    ) == (known.issuer_name_hash, known.issuer_key_hash, known.serial_number)


def _kept(case: Case, one: CertificateInstalled) -> str | None:
    """Why a certificate must stay; None: it may go. M04.FR.03, M04.FR.06, AQ-1."""
    if one.use in (STATION, V2G_CHAIN):
        return f"the {one.use} of the station cannot be deleted"
    if one.use != CSMS_ROOT or case.product.profile.has("AQ-1"):
        return None
    if any(
        other.sha256 != one.sha256 and certificates.is_valid(other, case.now)
        for other in case.state.certificates.of(CSMS_ROOT)
    ):
        return None
    return "it is the last valid CSMSRootCertificate; without one no CSMS could be trusted"


# --- Asked by others -----------------------------------------------------------------------------


def holds_valid(case: Case, use: str) -> bool:
    """Whether a certificate of that use is installed and in its time. A05.FR.02, A05.FR.03."""
    return any(certificates.is_valid(one, case.now) for one in case.state.certificates.of(use))


CALLS: Final[dict[str, Handler]] = {
    "InstallCertificate": install,
    "GetInstalledCertificateIds": installed_ids,
    "DeleteCertificate": delete,
}

OBSERVED: Final[dict[type[Event], Rule]] = {CertificatePreset: preset}
