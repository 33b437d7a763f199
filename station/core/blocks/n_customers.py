"""What does the station hold about a person, and how is it told and removed? (N09, N10)

A person is known by an idToken: what the CSMS said of it lies in the Authorization Cache, what it
did in the journal. Entries hold a reference; the value lies beside them, and with it goes the
person (N10). What a transaction still owes the CSMS is told first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision, Event, IdToken
from journal.format.id_tokens import CUSTOMER_IDENTIFIER
from journal.observations import CustomerDataFound
from journal.projections.customer_requests import (
    CustomerDataCleared,
    CustomerInformationAnswered,
    CustomerInformationRequested,
)
from journal.state import State
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Rule,
    call_result,
    id_token_from_message,
    queue_call,
    status_info,
)
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.n_diagnostics import (
    CustomerInformationRequest,
    CustomerInformationResponse,
    NotifyCustomerInformationRequest,
)

FINDS_BY_IDENTIFIER: Final = "C-14"
INQUIRIES_MAX: Final = 16  # at once; each takes a search of the journal
NO_DATA_TEXT: Final = "No data found."  # N09.FR.06, N10.FR.04
CLEARED_TEXT: Final = "The data has been cleared."  # N10.FR.06
CLEARED_LATER_TEXT: Final = (
    "The data has been cleared, but for what a transaction still has to tell; that goes with it."
)


def customer_information(
    ctx: Context, call: Call, request: CustomerInformationRequest
) -> Iterator[Decision]:
    """Report or clear what is held about a person. N09.FR.02 to 09, N10.FR.01 to 07.

    There is nothing about anybody's certificate: the product does no Plug & Charge.
    """
    named = (request.id_token, request.customer_certificate, request.customer_identifier)
    if sum(one is not None for one in named) != 1:
        yield call_result(call, CustomerInformationResponse(status="Invalid"))  # N09.FR.09
        return
    person = _requested_id_token(request)
    if not (request.report or request.clear):
        yield _reject_request(call, "InvalidValue", "neither report nor clear")  # N09.FR.07
        return
    if request.customer_identifier is not None and not ctx.product.profile.supports(
        FINDS_BY_IDENTIFIER
    ):
        yield _reject_request(
            call, "UnsupportedParam", "nothing is held under a customerIdentifier"
        )
        yield from _request_erasure(person)  # but for what the request itself brought
        return
    if len(ctx.state.customer_requests.pending) >= INQUIRIES_MAX:
        yield _reject_request(call, "OutOfMemory", "too many inquiries are open")  # N09.FR.03
        return
    yield call_result(call, CustomerInformationResponse(status="Accepted"))
    if person is None:
        yield from _queue_report(ctx, request.request_id, (NO_DATA_TEXT,))
    elif request.report:
        yield CustomerInformationRequested(
            request_id=request.request_id, id_token=person, clear=request.clear
        )
    else:
        text = CLEARED_LATER_TEXT if is_reference_needed(ctx.state, person.ref) else CLEARED_TEXT
        yield from _request_erasure(person)
        yield from _queue_report(ctx, request.request_id, (text,))


def _requested_id_token(request: CustomerInformationRequest) -> IdToken | None:
    """By what reference the memory knows who is meant; None for the bearer of a certificate."""
    if request.id_token is not None:
        return id_token_from_message(request.id_token)
    if request.customer_identifier is not None:
        return IdToken(ref=request.customer_identifier, type=CUSTOMER_IDENTIFIER)
    return None


def _reject_request(call: Call, code: str, text: str) -> Decision:
    info = status_info(code, text)
    return call_result(call, CustomerInformationResponse(status="Rejected", status_info=info))


def on_customer_data_found(ctx: Context) -> Iterator[Decision]:
    """Tell what is held, and clear it if that was asked for. N09.FR.05, N09.FR.06, N10.FR.03."""
    found = ctx.entry.event
    assert isinstance(found, CustomerDataFound)
    for inquiry in ctx.state.customer_requests.pending:
        if inquiry.seq != found.request_seq:
            continue
        asked = inquiry.request
        yield CustomerInformationAnswered(inquiry.seq)
        yield from _queue_report(ctx, asked.request_id, found.page_refs or (NO_DATA_TEXT,))
        if asked.clear:
            yield from _request_erasure(asked.id_token)


def _queue_report(ctx: Context, request_id: int, pages: tuple[str, ...]) -> Iterator[Decision]:
    """One message for each part; a part that is personal is a reference until it leaves."""
    for seq_no, data in enumerate(pages):
        request = NotifyCustomerInformationRequest(
            data=data,
            seq_no=seq_no,
            generated_at=format_timestamp(ctx.now),
            request_id=request_id,
            tbc=True if seq_no + 1 < len(pages) else None,
        )
        yield from queue_call(ctx, request, keep=True)


def _request_erasure(id_token: IdToken | None) -> Iterator[Decision]:
    if id_token is not None and id_token.ref.startswith("#"):  # the empty idToken is nobody's
        yield CustomerDataCleared((id_token.ref,))


# --- Erasing -------------------------------------------------------------------------------------


def erasable_references(ctx: Context) -> tuple[str, ...]:
    """References whose values shall go, and which nothing needs any more. N10.FR.03."""
    return tuple(
        ref
        for ref in ctx.state.customer_requests.refs_to_erase
        if not is_reference_needed(ctx.state, ref)
    )


def is_reference_needed(state: State, ref: str) -> bool:
    """Whether a message that carries the value may still go out. P2 comes before N10."""
    return ref in set(_needed_references(state))


def _needed_references(state: State) -> Iterator[str]:
    """References of whoever charges, is asked about, or stands in an undelivered message."""
    yield from state.customer_requests.report_ref_by_call.values()
    for transaction in state.transactions.open:
        ended = transaction.authorization_end
        stopping = transaction.stop_order
        for id_token in (
            transaction.id_token,
            transaction.group_id_token,
            ended.ended_by_id_token if ended else None,
            stopping.stopped_by_id_token if stopping else None,
        ):
            if id_token is not None:
                yield id_token.ref
    for held in state.authorizations.active:
        yield held.id_token.ref
    for asked in state.authorizations.pending:
        yield asked.request.id_token.ref
    for id_token in state.outbox.id_token_by_call.values():
        yield id_token.ref


CALLS: dict[str, CallHandler] = {"CustomerInformation": customer_information}
OBSERVED: Final[dict[type[Event], Rule]] = {CustomerDataFound: on_customer_data_found}
