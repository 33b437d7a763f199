"""SignCertificate, CertificateSigned: renewal of the station's own certificates. A02, A03.

A renewal goes through these steps; each is in the journal before it has an effect, and after a
restart the state gives the next one:

    ordered     by TriggerMessage, by age, or by an operator. A job creates a key pair and stores
                its private key, which never leaves the secret store (A02.FR.05).
    sent        SignCertificate with the CSR. Without a certificate it is sent again: after
                CertSigningWaitMinimum, then after twice the wait before, CertSigningRepeatTimes
                doublings in all. After that the station is silent until the next order; a late
                certificate is still accepted (A02.FR.17 to 19).
    installed   CertificateSigned had a valid chain for the key pair. The link reconnects with it
                at once (A02.FR.08). The certificate in use before stays as fallback.
    proven      the CSMS has sent a frame over a link with one of the two: some CSMSs open a
                WebSocket and close it again. A Heartbeat makes sure that there is one soon. The
                other certificate is discarded (A02.FR.10); if that is the new one, the CSMS
                receives DiscardedRenewedClientCertificate (A02.FR.29).

What the station decides where the specification leaves it open:

* By age: at `CertificateRenewalDays` before the end of the validity, but not in its first two
  thirds, so that certificates of a few weeks are not renewed all the time. Only for a certificate
  in use: the ChargingStationCertificate with security profile 3 (A03.FR.02).
* A renewal by age that the CSMS rejected or never answered, or of which the new certificate was
  discarded, is ordered again a day later. After a refused certificate (A02.FR.20), or if the CSMS
  accepted the CSR and never sent a certificate (A02.FR.19), only the CSMS or an operator orders it.
* A certificate that is installed already is accepted again: the CSMS may not have received the
  first response.
* With a security profile below 3 no link can prove a new certificate; it replaces the old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from journal.events import Decision, Event
from journal.observations import (
    CertificateRenewalRequested,
    FrameReceived,
    KeyPairFailed,
    LinkOpened,
)
from journal.projections.certificate_signing import (
    CertificateSigningEnded,
    CertificateSigningOrdered,
    SignCertificateAnswered,
    SignedCertificateRefused,
    SigningRequest,
    SigningTrigger,
)
from journal.projections.certificates import CertificateDeleted, CertificateInstalled
from journal.projections.outbox import CallQueued, CallsDropped
from station.core import certificate_validity, x509
from station.core.blocks import a_security
from station.core.blocks.m_certificates import CSMS_ROOT, STATION_CERTIFICATE, V2G_CHAIN
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Deadline,
    ResultHandler,
    Rule,
    call_result,
    encode_raw,
    queue_call,
    status_info,
)
from station.core.reasons import Reason, Reasons, ReasonTable
from station.core.x509 import CertificateUnusable, ExpectedLeaf
from station.ocpp.messages.a_security import (
    CertificateSignedRequest,
    CertificateSignedResponse,
    SignCertificateRequest,
    SignCertificateResponse,
)
from station.ocpp.messages.f_remote_control import TriggerMessageResponse
from station.ocpp.messages.g_availability import HeartbeatRequest

RENEWAL: Final = "AS-3"
WAIT_MINIMUM: Final = "SecurityCtrlr.CertSigningWaitMinimum"
REPEAT_TIMES: Final = "SecurityCtrlr.CertSigningRepeatTimes"
CHAIN_SIZE_MAX: Final = "SecurityCtrlr.MaxCertificateChainSize"
KEY_TYPE: Final = "SecurityCtrlr.CertificateKeyType"
ORGANIZATION: Final = "SecurityCtrlr.OrganizationName"
WAIT_MAX_S: Final = 7 * 86_400  # between two SignCertificate of one CSR, however often doubled
ORDER_AGAIN: Final = timedelta(days=1)  # least time between two orders by age for one certificate
V2G_KEY_TYPE: Final = "ECDSA-P256"  # ISO 15118-2 allows no other


class SigningUse(msgspec.Struct, frozen=True):
    """What differs between the certificates that the station renews."""

    installed_as: str  # use in the certificate store
    root_use: str  # roots of the hierarchy the certificate must belong to
    common_name: str  # variable with the commonName
    organization: str  # variable with the organizationName, if the product has it


SIGNING_USES: Final = {
    STATION_CERTIFICATE: SigningUse(
        STATION_CERTIFICATE, CSMS_ROOT, "ChargingStation.SerialNumber", ORGANIZATION
    ),
    "V2GCertificate": SigningUse(
        V2G_CHAIN,
        "V2GRootCertificate",
        "ISO15118Ctrlr.SeccId",
        "ISO15118Ctrlr.OrganizationName",
    ),
}
USE_BY_TRIGGER: Final = {
    "SignChargingStationCertificate": STATION_CERTIFICATE,
    "SignV2GCertificate": "V2GCertificate",
}


# --- Order ---------------------------------------------------------------------------------------


def renewable_uses(ctx: Context) -> tuple[str, ...]:
    """The CertificateSigningUseEnumType values of which the product renews the certificate."""
    if not ctx.product.profile.supports(RENEWAL):
        return ()
    return tuple(
        use
        for use, signing in SIGNING_USES.items()
        if ctx.variable_text(signing.common_name) is not None
    )


def trigger_signing(ctx: Context, call: Call, use: str) -> Iterator[Decision]:
    """TriggerMessage: order a certificate for a new key pair. A02.FR.02, F06.FR.04, F06.FR.08."""
    if use not in renewable_uses(ctx):
        yield call_result(call, TriggerMessageResponse(status="NotImplemented"))
    elif refusal := refuse_order(ctx, use):
        info = status_info("MissingDevModelInfo", refusal)
        yield call_result(call, TriggerMessageResponse(status="Rejected", status_info=info))
    else:
        yield call_result(call, TriggerMessageResponse(status="Accepted"))
        yield from _order_certificate(ctx, use, "csms")


def on_renewal_requested(ctx: Context) -> Iterator[Decision]:
    """Order what an operator requested."""
    requested = ctx.entry.event
    assert isinstance(requested, CertificateRenewalRequested)
    if requested.use in renewable_uses(ctx) and not refuse_order(ctx, requested.use):
        yield from _order_certificate(ctx, requested.use, "operator")


def refuse_order(ctx: Context, use: str) -> str:
    """Why no CSR can be made; empty: it can. A00.FR.509, A00.FR.511, A02 prerequisites."""
    signing = SIGNING_USES[use]
    if not ctx.variable_text(signing.common_name):
        return f"{signing.common_name} is empty; it is the commonName of the certificate"
    if not _organization(ctx, signing):
        return f"{ORGANIZATION} is empty; it is the organizationName of the certificate"
    return ""


def _organization(ctx: Context, signing: SigningUse) -> str:
    return ctx.variable_text(signing.organization) or ctx.variable_text(ORGANIZATION) or ""


def _order_certificate(ctx: Context, use: str, trigger: SigningTrigger) -> Iterator[Decision]:
    """Order a new key pair; an unfinished request for the same use is replaced."""
    earlier = ctx.state.certificate_signing.for_use(use)
    flight = ctx.state.outbox.in_flight
    if earlier and earlier.call_seq and not (flight and flight.call_seq == earlier.call_seq):
        yield CallsDropped(
            (earlier.call_seq,), "another certificate was ordered", because="replaced"
        )
    signing = SIGNING_USES[use]
    current = newest_certificate(ctx, use)
    key_type = ctx.variable_text(KEY_TYPE) if use == STATION_CERTIFICATE else None
    yield CertificateSigningOrdered(
        use=use,
        trigger=trigger,
        key_type=key_type or V2G_KEY_TYPE,
        common_name=ctx.variable_text(signing.common_name) or "",
        organization=_organization(ctx, signing),
        renews_sha256=current.sha256 if current else "",
    )


def newest_certificate(ctx: Context, use: str) -> CertificateInstalled | None:
    """The own certificate that was installed last."""
    installed = ctx.state.certificates.for_uses(SIGNING_USES[use].installed_as)
    return installed[-1] if installed else None


def order_by_age(ctx: Context) -> Iterator[Decision]:
    """Order the renewal of a certificate in use that expires soon. A03.FR.02."""
    for use in renewable_uses(ctx):
        due_at = renewal_due_at(ctx, use)
        if due_at is not None and ctx.now >= due_at and not refuse_order(ctx, use):
            yield from _order_certificate(ctx, use, "expiry")


def renewal_due_at(ctx: Context, use: str) -> datetime | None:
    """When the station orders a renewal by itself; None: it does not. A02.FR.19, A02.FR.20."""
    current = newest_certificate(ctx, use)
    if current is None or not _is_in_use(ctx, use):
        return None
    due_at = certificate_validity.renewal_due_at(
        current, ctx.variable_integer(certificate_validity.RENEWAL_DAYS, default=30)
    )
    earlier = ctx.state.certificate_signing.for_use(use)
    if earlier is None or earlier.order.renews_sha256 != current.sha256:
        if earlier is not None and earlier.end is None:
            return None
        return due_at
    if _awaits_request(ctx, earlier):
        return None
    ordered_at = datetime.fromisoformat(earlier.ordered_at)
    if ordered_at > ctx.now:  # the clock was set back
        return due_at
    return max(due_at, ordered_at + ORDER_AGAIN)


def _is_in_use(ctx: Context, use: str) -> bool:
    return use != STATION_CERTIFICATE or ctx.state.network_profiles.security_profile == 3


def _awaits_request(ctx: Context, request: SigningRequest) -> bool:
    """Whether a request for the current certificate leaves the next order to others."""
    if request.end is not None:
        return False
    never_answered = not request.accepted_count and _resends_are_used_up(ctx, request)
    return request.refused or not never_answered


# --- SignCertificate -----------------------------------------------------------------------------


def send_signing_requests(ctx: Context) -> Iterator[Decision]:
    """Send a CSR, or send it again after the back-off. A02.FR.03, A02.FR.13, A02.FR.17 to 20."""
    for request in ctx.state.certificate_signing.requests:
        due_ms = _send_due_ms(ctx, request)
        if due_ms is None or ctx.uptime_ms < due_ms:
            continue
        # This rule queues it again after a lost link, so it is not kept by QueueAllMessages.
        yield CallQueued(
            lane="general",
            action="SignCertificate",
            payload=encode_raw(
                SignCertificateRequest(
                    csr=request.csr,
                    certificate_type=request.order.use,  # type: ignore[arg-type]
                )
            ),
            requested_by_csms=request.order.trigger == "csms",
        )


def _send_due_ms(ctx: Context, request: SigningRequest) -> int | None:
    """Uptime from which the CSR may be sent; None: not now, or not again."""
    if not request.csr or request.end or request.refused or request.call_seq is not None:
        return None
    is_solicited = request.order.trigger == "csms" and ctx.state.link.online
    if not (ctx.may_send_calls or is_solicited) or _resends_are_used_up(ctx, request):
        return None
    if request.sent_count == 0:
        return 0
    return request.sent_ms + _wait_s(ctx, request) * 1000


def _resends_are_used_up(ctx: Context, request: SigningRequest) -> bool:
    """Whether the CSR is not sent again: once, and once after each wait. A02.FR.19."""
    return request.sent_count > 1 + ctx.variable_integer(REPEAT_TIMES)


def _wait_s(ctx: Context, request: SigningRequest) -> int:
    """Seconds from the last SignCertificate to the next: doubled each time. A02.FR.18."""
    minimum_s = max(1, ctx.variable_integer(WAIT_MINIMUM, default=60))
    doublings = max(0, request.sent_count - 1)
    return int(min(minimum_s * 2**doublings, WAIT_MAX_S))


def on_sign_certificate_answered(
    ctx: Context, call_seq: int, response: SignCertificateResponse | None
) -> Iterator[Decision]:
    """Note the answer; a rejection ends the request. A02.FR.12.

    A CALLERROR counts as a rejection. Without an answer before MessageTimeout the CSMS may have
    processed the CSR; it is sent again after the same waits.
    """
    request = ctx.state.certificate_signing.by_call(call_seq)
    if request is None:
        return
    use, order_seq = request.order.use, request.order_seq
    responded = isinstance(ctx.entry.event, FrameReceived)
    accepted = response is not None and response.status == "Accepted"
    yield SignCertificateAnswered(use, order_seq, accepted, responded)
    if responded and not accepted:
        yield CertificateSigningEnded(use, order_seq, "rejected_by_csms", _rejection(response))


def _rejection(response: SignCertificateResponse | None) -> str:
    if response is None:
        return "CALLERROR"
    info = response.status_info
    return " ".join(filter(None, (info.reason_code, info.additional_info))) if info else ""


def on_key_pair_failed(ctx: Context) -> Iterator[Decision]:
    """End the request: there is no key pair to make a CSR of."""
    failed = ctx.entry.event
    assert isinstance(failed, KeyPairFailed)
    for request in ctx.state.certificate_signing.requests:
        if request.order_seq == failed.order_seq and request.end is None:
            yield CertificateSigningEnded(
                request.order.use, request.order_seq, "key_pair_failed", failed.reason
            )


# --- CertificateSigned ---------------------------------------------------------------------------


def certificate_signed(
    ctx: Context, call: Call, request: CertificateSignedRequest
) -> Iterator[Decision]:
    """Install the certificate if it is valid and for the newest CSR. A02.FR.06 to 08, A02.FR.16."""
    use = request.certificate_type or STATION_CERTIFICATE
    if use not in renewable_uses(ctx):
        info = status_info("UnsupportedRequest")
        yield call_result(call, CertificateSignedResponse(status="Rejected", status_info=info))
        return
    chain = request.certificate_chain
    if len(chain) > ctx.variable_integer(CHAIN_SIZE_MAX, default=len(chain)):
        yield from _refuse_certificate(
            ctx, call, use, "TooLargeElement", f"has a chain of {len(chain)} characters"
        )
        return
    if _is_installed(ctx, use, chain):
        yield call_result(call, CertificateSignedResponse(status="Accepted"))
        return
    signing = ctx.state.certificate_signing.for_use(use)
    if signing is None or not signing.private_key_ref:
        text = "answers no CSR of this station"
        yield from _refuse_certificate(ctx, call, use, "InvalidCertificate", text)
        return
    try:
        new = x509.parse_signed_chain(
            SIGNING_USES[use].installed_as,
            chain,
            ctx.state.certificates.for_uses(SIGNING_USES[use].root_use),
            ctx.now,
            ExpectedLeaf(
                signing.public_key_sha256, signing.order.common_name, signing.private_key_ref
            ),
        )
    except CertificateUnusable as error:
        yield from _refuse_certificate(ctx, call, use, "InvalidCertificate", str(error))
        return
    yield new
    yield call_result(call, CertificateSignedResponse(status="Accepted"))
    yield CertificateSigningEnded(use, signing.order_seq, "installed")
    yield from _delete_replaced(ctx, new)
    yield from a_security.log_security_event(
        ctx, "ReconfigurationOfSecurityParameters", f"{use} renewed, valid until {new.not_after}"
    )


def _is_installed(ctx: Context, use: str, chain: str) -> bool:
    """Whether the certificate is installed: the CSMS sends it again if it got no response."""
    sha256 = x509.first_certificate_sha256(chain)
    installed = ctx.state.certificates.for_uses(SIGNING_USES[use].installed_as)
    return any(certificate.sha256 == sha256 for certificate in installed)


def _refuse_certificate(
    ctx: Context, call: Call, use: str, code: str, text: str
) -> Iterator[Decision]:
    """Reject, and report the security event. A02.FR.07, A02.FR.20."""
    info = status_info(code, f"the certificate {text}")
    yield call_result(call, CertificateSignedResponse(status="Rejected", status_info=info))
    signing = ctx.state.certificate_signing.for_use(use)
    if signing is not None and signing.end is None:
        yield SignedCertificateRefused(use, signing.order_seq, text)
    yield from a_security.log_security_event(
        ctx, "InvalidChargingStationCertificate", f"{use}: the certificate {text}"
    )


def _delete_replaced(ctx: Context, new: CertificateInstalled) -> Iterator[Decision]:
    """Delete what the new certificate replaces at once, so that at most two are installed.

    With security profile 3 the certificate of the last link stays until a link opens with one of
    the two. A V2G certificate replaces those of the same root (A02.FR.15).
    """
    for old in ctx.state.certificates.for_uses(new.use):
        if old.sha256 == new.sha256:
            continue
        if new.use == STATION_CERTIFICATE and _is_fallback(ctx, old):
            continue
        if new.use == V2G_CHAIN and _root_key_hash(old) != _root_key_hash(new):
            continue
        yield CertificateDeleted(old.use, old.sha256)


def _is_fallback(ctx: Context, certificate: CertificateInstalled) -> bool:
    """Whether it is the certificate to fall back to: of the last link, else the newest."""
    if ctx.state.network_profiles.security_profile != 3:
        return False
    installed = ctx.state.certificates.for_uses(STATION_CERTIFICATE)
    linked = ctx.state.link.certificate_sha256
    proven = [each for each in installed if each.sha256 == linked]
    return certificate == (proven or installed)[-1]


def _root_key_hash(certificate: CertificateInstalled) -> str:
    chain = (certificate.hash_data, *certificate.child_hash_data)
    return chain[-1].issuer_key_hash


# --- Proof by a connection -----------------------------------------------------------------------


def prove_certificate(ctx: Context) -> Iterator[Decision]:
    """When the CSMS answers on a link, discard the other certificate. A02.FR.10, A02.FR.29."""
    event, link = ctx.entry.event, ctx.state.link
    if not isinstance(event, FrameReceived | LinkOpened):
        return
    if not link.online or link.security_profile != 3:
        return
    if STATION_CERTIFICATE not in renewable_uses(ctx):
        return
    installed = ctx.state.certificates.for_uses(STATION_CERTIFICATE)
    digests = [each.sha256 for each in installed]
    if len(installed) < 2 or link.certificate_sha256 not in digests:
        return
    renewal = ctx.state.certificate_signing.for_use(STATION_CERTIFICATE)
    if renewal is not None and renewal.end_seq > link.opened_seq:
        return  # the link is from before the new certificate
    if isinstance(event, LinkOpened):
        yield from queue_call(ctx, HeartbeatRequest())
        return
    in_use = digests.index(link.certificate_sha256)
    for place, certificate in enumerate(installed):
        if place == in_use:
            continue
        yield CertificateDeleted(certificate.use, certificate.sha256)
        if place > in_use:
            yield from a_security.log_security_event(
                ctx,
                "DiscardedRenewedClientCertificate",
                f"no connection with it; {certificate.subject[:100]}, "
                f"valid until {certificate.not_after}",
            )


# --- For other blocks ----------------------------------------------------------------------------


def client_certificates(ctx: Context) -> tuple[CertificateInstalled, ...]:
    """The certificates to open a link with, in the order they are tried. A02.FR.08, A02.FR.28."""
    installed = ctx.state.certificates.for_uses(STATION_CERTIFICATE)
    if STATION_CERTIFICATE not in renewable_uses(ctx):
        return installed[-1:]
    return installed[::-1]


def next_renewal_at(ctx: Context, certificate: CertificateInstalled) -> datetime | None:
    """When the station orders the renewal of a certificate by itself; None: it does not."""
    for use in renewable_uses(ctx):
        newest = newest_certificate(ctx, use)
        if newest is not None and newest.sha256 == certificate.sha256:
            return renewal_due_at(ctx, use)
    return None


def renewal_progress(ctx: Context, certificate: CertificateInstalled) -> str:
    """What a renewal of an own certificate waits for, for people; empty: nothing is under way."""
    for use in renewable_uses(ctx):
        request = ctx.state.certificate_signing.for_use(use)
        if certificate.use != SIGNING_USES[use].installed_as or request is None:
            continue
        newest = newest_certificate(ctx, use)
        if newest is not None and newest.sha256 != certificate.sha256:
            return "replaced by a newer one when the CSMS has answered on a connection with it"
        return _request_progress(ctx, request)
    return ""


def _request_progress(ctx: Context, request: SigningRequest) -> str:
    if request.end == "rejected_by_csms":
        return "the CSMS rejected the last request for a new one"
    if request.end == "key_pair_failed":
        return "no key pair could be created for a new one"
    if request.end is not None:
        return ""
    if not request.csr:
        return "a key pair for a new one is being created"
    if request.refused:
        return "the new one that the CSMS sent was not valid"
    if request.sent_count == 0:
        return "a request for a new one waits for the CSMS"
    if _resends_are_used_up(ctx, request):
        return "the CSMS did not send the new one that was requested"
    return "requested from the CSMS"


def key_pair_orders(ctx: Context) -> tuple[SigningRequest, ...]:
    """The requests for which a key pair is to be created."""
    return tuple(
        request
        for request in ctx.state.certificate_signing.requests
        if not request.csr and request.end is None
    )


def private_key_references(ctx: Context) -> tuple[str, ...]:
    """References of the private keys that are needed: of certificates and unanswered CSRs."""
    certificates = ctx.state.certificates.installed
    requests = ctx.state.certificate_signing.requests
    references = [each.private_key_ref for each in certificates]
    references += [each.private_key_ref for each in requests]
    return tuple(filter(None, references))


def next_renewal_step_due_ms(ctx: Context) -> int | None:
    """Uptime at which a CSR is sent again, or a renewal by age is due."""
    due = [
        due_ms
        for request in ctx.state.certificate_signing.requests
        if (due_ms := _send_due_ms(ctx, request)) is not None
    ]
    for use in renewable_uses(ctx):
        due_at = renewal_due_at(ctx, use)
        if due_at is not None and due_at > ctx.now:
            due.append(ctx.uptime_ms + (due_at - ctx.now) // timedelta(milliseconds=1) + 1)
    return min(due, default=None)


CALLS: Final[dict[str, CallHandler]] = {"CertificateSigned": certificate_signed}
RESULTS: Final[dict[str, ResultHandler]] = {"SignCertificate": on_sign_certificate_answered}
OBSERVED: Final[dict[type[Event], Rule]] = {
    CertificateRenewalRequested: on_renewal_requested,
    KeyPairFailed: on_key_pair_failed,
}
REASONS: Final[Reasons] = {
    CertificateSigningOrdered: ReasonTable(
        {
            "csms": Reason("the CSMS requested it with TriggerMessage", "A02.FR.02"),
            "expiry": Reason("the certificate in use expires soon", "A03.FR.02"),
            "operator": Reason("an operator requested it"),
        },
        lambda order: str(order.trigger),
    ),
    SignCertificateAnswered: ReasonTable(
        {
            "answered": Reason("the CSMS answered SignCertificate", "A02.FR.12"),
            "no_answer": Reason("no answer to SignCertificate arrived"),
        },
        lambda answered: "answered" if answered.responded else "no_answer",
    ),
    SignedCertificateRefused: Reason("the certificate {event.reason}", "A02.FR.07"),
    CertificateSigningEnded: ReasonTable(
        {
            "installed": Reason("the CSMS sent a valid certificate", "A02.FR.08"),
            "rejected_by_csms": Reason("the CSMS rejected the CSR", "A02.FR.12"),
            "key_pair_failed": Reason("no key pair could be created: {event.reason}"),
        },
        lambda ended: str(ended.end),
    ),
}
CALL_REASONS: Final = {
    "SignCertificate": Reason(
        "a key pair of the station has no certificate yet", "A02.FR.03, A02.FR.17"
    )
}
DEADLINES: Final[tuple[Deadline, ...]] = (next_renewal_step_due_ms,)
RULES: Final[tuple[Rule, ...]] = (
    prove_certificate,
    order_by_age,
    send_signing_requests,
)
