"""CustomerInformation: report and erase what is stored about a person. N09, N10.

A person is identified by an idToken. The Authorization Cache has what the CSMS answered for it, the
journal has what was done with it. Entries hold only a reference; the value is in a side table, and
erasing it there erases the person without breaking the hash chain (N10). A value that an
undelivered message still needs is erased after the message is delivered (P2 before N10), and one in
the Local Authorization List after the CSMS has removed it from there (N10.FR.02, N10.FR.03).

A report needs a search of the journal: CustomerInformationRequested orders it, a job reports
CustomerDataFound, and the pages are queued then.
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
from station.core.reasons import AnswerReasons, Reason, Reasons
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.n_diagnostics import (
    CustomerInformationRequest,
    CustomerInformationResponse,
    NotifyCustomerInformationRequest,
)

FINDS_BY_IDENTIFIER: Final = "C-14"
INQUIRIES_MAX: Final = 16  # pending requests; each needs a search of the journal
NO_DATA_TEXT: Final = "No data found."  # N09.FR.06, N10.FR.04
CLEARED_TEXT: Final = "The data has been cleared."  # N10.FR.06
CLEARED_LATER_TEXT: Final = (
    "The data has been cleared, except what an open transaction still has to report; that is "
    "cleared after the transaction."
)
CLEARED_EXCEPT_LIST_TEXT: Final = (
    "The data has been cleared, except from the Local Authorization List; update it with "
    "SendLocalList."
)


def customer_information(
    ctx: Context, call: Call, request: CustomerInformationRequest
) -> Iterator[Decision]:
    """Report or clear what is stored about a person. N09.FR.02 to 09, N10.FR.01 to 07.

    Nothing is stored for a customerCertificate: the product has no Plug & Charge.
    """
    identifiers = (request.id_token, request.customer_certificate, request.customer_identifier)
    if sum(identifier is not None for identifier in identifiers) != 1:
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
            call, "UnsupportedParam", "nothing is stored under a customerIdentifier"
        )
        yield from _request_erasure(person)  # the value that came with the request
        return
    if len(ctx.state.customer_requests.pending) >= INQUIRIES_MAX:
        yield _reject_request(call, "OutOfMemory", "too many requests are pending")  # N09.FR.03
        return
    yield call_result(call, CustomerInformationResponse(status="Accepted"))
    if person is None:
        yield from _queue_report(ctx, request.request_id, (NO_DATA_TEXT,))
    elif request.report:
        yield CustomerInformationRequested(
            request_id=request.request_id, id_token=person, clear=request.clear
        )
    else:
        yield from _request_erasure(person)
        yield from _queue_report(ctx, request.request_id, (_describe_clearing(ctx, person.ref),))


def _describe_clearing(ctx: Context, ref: str) -> str:
    """What has been cleared, and what has not yet. N10.FR.06."""
    if ctx.state.local_list.has_reference(ref):
        return CLEARED_EXCEPT_LIST_TEXT
    return CLEARED_LATER_TEXT if is_reference_needed(ctx.state, ref) else CLEARED_TEXT


def _requested_id_token(request: CustomerInformationRequest) -> IdToken | None:
    """The idToken reference of the person; None for a customerCertificate."""
    if request.id_token is not None:
        return id_token_from_message(request.id_token)
    if request.customer_identifier is not None:
        return IdToken(ref=request.customer_identifier, type=CUSTOMER_IDENTIFIER)
    return None


def _reject_request(call: Call, code: str, text: str) -> Decision:
    info = status_info(code, text)
    return call_result(call, CustomerInformationResponse(status="Rejected", status_info=info))


def on_customer_data_found(ctx: Context) -> Iterator[Decision]:
    """Report what was found, and clear it if requested. N09.FR.05, N09.FR.06, N10.FR.03."""
    report = ctx.entry.event
    assert isinstance(report, CustomerDataFound)
    for pending in ctx.state.customer_requests.pending:
        if pending.seq != report.request_seq:
            continue
        request = pending.request
        yield CustomerInformationAnswered(pending.seq)
        yield from _queue_report(ctx, request.request_id, report.page_refs or (NO_DATA_TEXT,))
        if request.clear:
            yield from _request_erasure(request.id_token)


def _queue_report(ctx: Context, request_id: int, pages: tuple[str, ...]) -> Iterator[Decision]:
    """Queue one message for each page. A page is a reference until it is sent."""
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
    """Order the value to be erased; the empty idToken has none."""
    if id_token is not None and id_token.ref.startswith("#"):
        yield CustomerDataCleared((id_token.ref,))


# --- Erase ---------------------------------------------------------------------------------------


def erasable_references(ctx: Context) -> tuple[str, ...]:
    """References of values that are to be erased and no longer needed. N10.FR.03."""
    return tuple(
        ref
        for ref in ctx.state.customer_requests.refs_to_erase
        if not is_reference_needed(ctx.state, ref)
    )


def is_reference_needed(state: State, ref: str) -> bool:
    """Whether the list has the idToken, or a message that carries it may still be sent.

    P2 comes before N10, and only the CSMS changes the list (N10.FR.03).
    """
    return state.local_list.has_reference(ref) or ref in set(_needed_references(state))


def _needed_references(state: State) -> Iterator[str]:
    """References in open transactions, authorizations and undelivered messages."""
    yield from state.customer_requests.report_ref_by_call.values()
    for transaction in state.transactions.open:
        end = transaction.authorization_end
        stop = transaction.stop_order
        for id_token in (
            transaction.id_token,
            transaction.group_id_token,
            end.ended_by_id_token if end else None,
            stop.stopped_by_id_token if stop else None,
        ):
            if id_token is not None:
                yield id_token.ref
    for authorization in state.authorizations.active:
        yield authorization.id_token.ref
    for pending in state.authorizations.pending:
        yield pending.request.id_token.ref
    for reservation in state.reservations.open:
        yield reservation.id_token.ref
        if reservation.group_id_token is not None:
            yield reservation.group_id_token.ref
    for id_token in state.outbox.id_token_by_call.values():
        yield id_token.ref


CALLS: Final[dict[str, CallHandler]] = {"CustomerInformation": customer_information}
OBSERVED: Final[dict[type[Event], Rule]] = {CustomerDataFound: on_customer_data_found}
ANSWER_REASONS: Final[AnswerReasons] = {
    ("CustomerInformation", "Invalid"): Reason(
        "it does not name exactly one idToken, certificate or identifier", "N09.FR.09"
    ),
}
REASONS: Final[Reasons] = {
    CustomerInformationRequested: Reason("the CSMS requested the data of a customer", "N09.FR.05"),
    CustomerInformationAnswered: Reason("the data of the customer was found", "N09.FR.05"),
    CustomerDataCleared: Reason("the CSMS requested to clear the data", "N10.FR.03"),
}
CALL_REASONS: Final = {
    "NotifyCustomerInformation": Reason("the CSMS requested the data of a customer", "N09.FR.05")
}
