"""Steps that turn a body of an older version into one of the newest.

One small function per step, named `<kind>_<from>_to_<to>` and entered in `STEPS`. A released step
is never edited and never removed, because journals of that age are still read.

The fields of a body are `msgspec.Raw`: JSON text that is not decoded. So a field that no step
changes (the payload of a call, for example) keeps every byte; a step that needs the value of a
field decodes that field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

Body = dict[str, msgspec.Raw]
Step = Callable[[Body], Body]
Steps = Mapping[tuple[str, int], Step]


def upcast(steps: Steps, kind: str, version: int, newest: int, body: Body) -> Body:
    """Raise `body` step by step from `version` to `newest`.

    Raises:
        KeyError: a step is missing; `journal.codec.Registry` refuses such a table when it is built.
    """
    for step in range(version, newest):
        body = steps[kind, step](body)
    return body


# --- Reasons of decisions: version 1 did not record them -----------------------------------------

_NO_REASON: Final = {"because": msgspec.Raw(b'""')}
_decode_body = msgspec.json.Decoder(Body | None).decode


def authorization_ended_1_to_2(body: Body) -> Body:
    return body | _NO_REASON


def authorization_refused_1_to_2(body: Body) -> Body:
    return body | _NO_REASON


def authorization_requested_1_to_2(body: Body) -> Body:
    return body | _NO_REASON


def call_parked_1_to_2(body: Body) -> Body:
    return body | _NO_REASON


def call_queued_1_to_2(body: Body) -> Body:
    """The reason is that of the connector status, if the call reports one."""
    status = _decode_body(body.get("connector_status", b"null"))
    if status is None:
        return body
    return body | {"connector_status": msgspec.Raw(msgspec.json.encode(status | _NO_REASON))}


def calls_dropped_1_to_2(body: Body) -> Body:
    return body | _NO_REASON


def status_resend_required_1_to_2(body: Body) -> Body:
    return body | _NO_REASON


def transaction_started_1_to_2(body: Body) -> Body:
    return body | _NO_REASON


def transaction_stop_ordered_1_to_2(body: Body) -> Body:
    return body | _NO_REASON


def link_opened_1_to_2(body: Body) -> Body:
    """Earlier releases did not record the certificate of the station."""
    return body | {"certificate_sha256": msgspec.Raw(b'""')}


def link_opened_2_to_3(body: Body) -> Body:
    """Earlier releases trusted every CSMSRootCertificate and did not record which one was used."""
    return body | {"root_sha256": msgspec.Raw(b'""')}


def cost_received_1_to_2(body: Body) -> Body:
    """Earlier releases did not record the currency."""
    return body | {"currency": msgspec.Raw(b'""')}


def authorization_granted_1_to_2(body: Body) -> Body:
    """Version 2 can be authorized by a reservation; every older value keeps its meaning."""
    return body


STEPS: Steps = {
    ("AuthorizationEnded", 1): authorization_ended_1_to_2,
    ("AuthorizationGranted", 1): authorization_granted_1_to_2,
    ("AuthorizationRefused", 1): authorization_refused_1_to_2,
    ("AuthorizationRequested", 1): authorization_requested_1_to_2,
    ("CallParked", 1): call_parked_1_to_2,
    ("CallQueued", 1): call_queued_1_to_2,
    ("CallsDropped", 1): calls_dropped_1_to_2,
    ("CostReceived", 1): cost_received_1_to_2,
    ("LinkOpened", 1): link_opened_1_to_2,
    ("LinkOpened", 2): link_opened_2_to_3,
    ("StatusResendRequired", 1): status_resend_required_1_to_2,
    ("TransactionStarted", 1): transaction_started_1_to_2,
    ("TransactionStopOrdered", 1): transaction_stop_ordered_1_to_2,
}
