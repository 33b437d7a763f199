"""What does the station hold about a person, and how is it told and removed? (N09, N10)

A person is known by an idToken: what the CSMS said of it lies in the Authorization Cache, what it
did in the journal. Entries hold a reference; the value lies beside them, and with it goes the
person (N10). What a transaction still owes the CSMS is told first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.observations import CustomerDataFound
from journal.projections.customers import CustomerAnswered, CustomerAsked, CustomerCleared
from journal.state import State
from journal.terms import Decision, Event, IdToken
from journal.tokens import CUSTOMER_IDENTIFIER
from station.case import Call, Case, Handler, Rule, answer, reason, say, token_of
from station.messages import timestamp
from station.messages.n_diagnostics import (
    CustomerInformationRequest,
    CustomerInformationResponse,
    NotifyCustomerInformationRequest,
)

BY_IDENTIFIER: Final = "C-14"
INQUIRIES_MAX: Final = 16  # at once; each takes a search of the journal
NOTHING: Final = "No data found."  # N09.FR.06, N10.FR.04
CLEARED: Final = "The data has been cleared."  # N10.FR.06
LATER: Final = (
    "The data has been cleared, but for what a transaction still has to tell; that goes with it."
)


def customer_information(
    case: Case, call: Call, request: CustomerInformationRequest
) -> Iterator[Decision]:
    """Report or clear what is held about a person. N09.FR.02 to 09, N10.FR.01 to 07.

    There is nothing about anybody's certificate: the product does no Plug & Charge.
    """
    named = (request.id_token, request.customer_certificate, request.customer_identifier)
    if sum(one is not None for one in named) != 1:
        yield answer(call, CustomerInformationResponse(status="Invalid"))  # N09.FR.09
        return
    person = _person(request)
    if not (request.report or request.clear):
        yield _refused(call, "InvalidValue", "neither report nor clear")  # N09.FR.07
        return
    if request.customer_identifier is not None and not case.product.profile.has(BY_IDENTIFIER):
        yield _refused(call, "UnsupportedParam", "nothing is held under a customerIdentifier")
        yield from _forgotten(person)  # but for what the request itself brought
        return
    if len(case.state.customers.inquiries) >= INQUIRIES_MAX:
        yield _refused(call, "OutOfMemory", "too many inquiries are open")  # N09.FR.03
        return
    yield answer(call, CustomerInformationResponse(status="Accepted"))
    if person is None:
        yield from _told(case, request.request_id, (NOTHING,))
    elif request.report:
        yield CustomerAsked(request_id=request.request_id, id_token=person, clear=request.clear)
    else:
        text = LATER if is_needed(case.state, person.ref) else CLEARED
        yield from _forgotten(person)
        yield from _told(case, request.request_id, (text,))


def _person(request: CustomerInformationRequest) -> IdToken | None:
    """By what reference the memory knows who is meant; None for the bearer of a certificate."""
    if request.id_token is not None:
        return token_of(request.id_token)
    if request.customer_identifier is not None:
        return IdToken(ref=request.customer_identifier, type=CUSTOMER_IDENTIFIER)
    return None


def _refused(call: Call, code: str, text: str) -> Decision:
    info = reason(code, text)
    return answer(call, CustomerInformationResponse(status="Rejected", status_info=info))


def data_found(case: Case) -> Iterator[Decision]:
    """Tell what is held, and clear it if that was asked for. N09.FR.05, N09.FR.06, N10.FR.03."""
    found = case.entry.event
    assert isinstance(found, CustomerDataFound)
    for inquiry in case.state.customers.inquiries:
        if inquiry.seq != found.inquiry:
            continue
        asked = inquiry.asked
        yield CustomerAnswered(inquiry.seq)
        yield from _told(case, asked.request_id, found.pages or (NOTHING,))
        if asked.clear:
            yield from _forgotten(asked.id_token)


def _told(case: Case, request_id: int, pages: tuple[str, ...]) -> Iterator[Decision]:
    """One message for each part; a part that is personal is a reference until it leaves."""
    for seq_no, data in enumerate(pages):
        request = NotifyCustomerInformationRequest(
            data=data,
            seq_no=seq_no,
            generated_at=timestamp(case.now),
            request_id=request_id,
            tbc=True if seq_no + 1 < len(pages) else None,
        )
        yield from say(case, request, keep=True)


def _forgotten(person: IdToken | None) -> Iterator[Decision]:
    if person is not None and person.ref.startswith("#"):  # the empty idToken is nobody's
        yield CustomerCleared((person.ref,))


# --- Erasing -------------------------------------------------------------------------------------


def erasable(case: Case) -> tuple[str, ...]:
    """References whose values shall go, and which nothing needs any more. N10.FR.03."""
    return tuple(ref for ref in case.state.customers.erasing if not is_needed(case.state, ref))


def is_needed(state: State, ref: str) -> bool:
    """Whether a message that carries the value may still go out. P2 comes before N10."""
    return ref in set(_needed(state))


def _needed(state: State) -> Iterator[str]:
    """References of whoever charges, is asked about, or stands in an undelivered message."""
    yield from state.customers.reports.values()
    for transaction in state.transactions.open:
        ended = transaction.authorization_end
        stopping = transaction.stopping
        for id_token in (
            transaction.id_token,
            transaction.group,
            ended.id_token if ended else None,
            stopping.id_token if stopping else None,
        ):
            if id_token is not None:
                yield id_token.ref
    for held in state.authorizations.held:
        yield held.id_token.ref
    for asked in state.authorizations.asked:
        yield asked.question.id_token.ref
    for id_token in state.outbox.judges.values():
        yield id_token.ref


CALLS: dict[str, Handler] = {"CustomerInformation": customer_information}
OBSERVED: Final[dict[type[Event], Rule]] = {CustomerDataFound: data_found}
