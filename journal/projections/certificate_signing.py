"""CSRs of the station: key pairs ordered, requests sent, answers of the CSMS. A02, A03.

There is one request at most for each use: a new order replaces it. The request stays in the state
after its end, because how it ended decides whether the station orders the next one by itself.

    ordered     the key pair is being created
    created     it exists; SignCertificate is sent, and again while no certificate arrives
    ended       installed, rejected by the CSMS, or no key pair could be created

A certificate that was refused does not end the request, because the right one may still arrive; but
from then on the CSR is not sent again (A02.FR.20).
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import KeyPairCreated, StationStarted
from journal.projections.base import Projection
from journal.projections.outbox import CallQueued, CallsDropped

SigningTrigger = Literal["csms", "expiry", "operator"]
SigningEnd = Literal["installed", "rejected_by_csms", "key_pair_failed"]


class CertificateSigningOrdered(Decision, frozen=True, kw_only=True):
    """A certificate for a new key pair was ordered. A02.FR.02, A03.FR.02."""

    use: str  # CertificateSigningUseEnumType
    trigger: SigningTrigger
    key_type: str  # of SecurityCtrlr.CertificateKeyType
    common_name: str  # A00.FR.511
    organization: str  # A00.FR.509
    renews_sha256: str = ""  # the certificate it is to replace; empty: there is none


class SignCertificateAnswered(Decision, frozen=True):
    """The CSMS answered a SignCertificateRequest, or not in time. A02.FR.11, A02.FR.12."""

    use: str
    order_seq: int
    accepted: bool
    responded: bool = True  # False: no usable answer before MessageTimeout


class SignedCertificateRefused(Decision, frozen=True):
    """CertificateSigned contained no valid certificate for the request. A02.FR.07."""

    use: str
    order_seq: int
    reason: str


class CertificateSigningEnded(Decision, frozen=True):
    """The request has ended; its key pair is discarded unless the certificate is installed."""

    use: str
    order_seq: int
    end: SigningEnd
    reason: str = ""


class SigningRequest(msgspec.Struct, frozen=True):
    """The newest request for one use."""

    order_seq: int
    order: CertificateSigningOrdered
    ordered_at: str  # RFC 3339, UTC
    csr: str = ""  # empty: the key pair does not exist yet
    public_key_sha256: str = ""
    private_key_ref: str = ""  # empty also after the request has ended
    call_seq: int | None = None  # its SignCertificate that waits or is in flight
    sent_count: int = 0  # SignCertificate calls that were answered or timed out
    accepted_count: int = 0  # of them, those the CSMS accepted
    sent_ms: int = 0  # uptime of the last answer or timeout; the back-off counts from it
    refused: bool = False  # a certificate was refused: the CSR is not sent again. A02.FR.20
    end: SigningEnd | None = None
    end_seq: int = 0  # entry of the end


class CertificateSigning(Projection, frozen=True):
    HANDLES = (
        CertificateSigningOrdered, KeyPairCreated, CallQueued, CallsDropped,
        SignCertificateAnswered, SignedCertificateRefused, CertificateSigningEnded, StationStarted,
    )  # fmt: skip

    requests: tuple[SigningRequest, ...] = ()  # one for each use

    def apply(self, entry: Entry) -> CertificateSigning:
        match entry.event:
            case CertificateSigningOrdered() as order:
                others = tuple(each for each in self.requests if each.order.use != order.use)
                request = SigningRequest(entry.seq, order, ordered_at=entry.at.isoformat())
                return CertificateSigning((*others, request))
            case KeyPairCreated() as created:
                return self._change(
                    created.order_seq,
                    csr=created.csr,
                    public_key_sha256=created.public_key_sha256,
                    private_key_ref=created.private_key_ref,
                )
            case CallQueued(action="SignCertificate", payload=payload):
                return self._on_queued(entry.seq, msgspec.json.decode(payload)["certificateType"])
            case CallsDropped(call_seqs=calls):
                return self._without_calls(calls)
            case SignCertificateAnswered() as answer:
                return self._on_answered(entry, answer)
            case SignedCertificateRefused(order_seq=order_seq):
                return self._change(order_seq, refused=True)
            case CertificateSigningEnded(order_seq=order_seq, end=end):
                return self._change(
                    order_seq, end=end, end_seq=entry.seq, private_key_ref="", call_seq=None
                )
            case StationStarted():
                return CertificateSigning(
                    tuple(replace(each, sent_ms=entry.uptime_ms) for each in self.requests)
                )
            case _:
                return self

    def _change(self, order_seq: int, **fields: object) -> CertificateSigning:
        """The projection with other fields of one request; the same if it was replaced."""
        if all(each.order_seq != order_seq for each in self.requests):
            return self
        return CertificateSigning(
            tuple(
                replace(each, **fields) if each.order_seq == order_seq else each
                for each in self.requests
            )
        )

    def _on_queued(self, call_seq: int, use: str) -> CertificateSigning:
        request = self.for_use(use)
        return self._change(request.order_seq, call_seq=call_seq) if request else self

    def _without_calls(self, call_seqs: tuple[int, ...]) -> CertificateSigning:
        if not any(each.call_seq in call_seqs for each in self.requests):
            return self
        return CertificateSigning(
            tuple(
                replace(each, call_seq=None) if each.call_seq in call_seqs else each
                for each in self.requests
            )
        )

    def _on_answered(self, entry: Entry, answer: SignCertificateAnswered) -> CertificateSigning:
        request = self.for_use(answer.use)
        if request is None:
            return self
        return self._change(
            answer.order_seq,
            call_seq=None,
            sent_count=request.sent_count + 1,
            accepted_count=request.accepted_count + answer.accepted,
            sent_ms=entry.uptime_ms,
        )

    def for_use(self, use: str) -> SigningRequest | None:
        """The newest request for a use."""
        return next((each for each in self.requests if each.order.use == use), None)

    def by_call(self, call_seq: int) -> SigningRequest | None:
        """The request that a SignCertificate belongs to."""
        return next((each for each in self.requests if each.call_seq == call_seq), None)
