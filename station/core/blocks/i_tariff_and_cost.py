"""Tariff, running cost and final cost for the EV driver, as the CSMS sends them. Block I.

A product has this block if it has TariffCostCtrlr. The CSMS computes every price; the station
stores and shows it, digit by digit, and computes none.

    tariff   personalMessage of AuthorizeResponse, of idTokenInfo in TransactionEventResponse, and
             updatedPersonalMessage (I01, I06); without one TariffFallbackMessage (I04)
    cost     CostUpdatedRequest, or totalCost of TransactionEventResponse (I02); final in the answer
             to the last TransactionEvent (I03); without one TotalCostFallbackMessage (I05)

The languages of idTokenInfo select the language of the display at the EVSE. O01.FR.08
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from journal.events import Decision, IdToken
from journal.projections.driver_information import CostReceived, DriverInformationReceived
from journal.projections.transactions import EndedTransaction, Transaction
from station.core.blocks.a_security import log_security_event
from station.core.context import Call, CallHandler, Context, call_error, call_result
from station.core.html_text import HTML, convert_to_plain_text
from station.core.reasons import Reason, Reasons
from station.ocpp.messages.datatypes import IdTokenInfoType, MessageContentType
from station.ocpp.messages.e_transactions import TransactionEventResponse
from station.ocpp.messages.i_tariff import CostUpdatedRequest, CostUpdatedResponse

TARIFF_AVAILABLE: Final = "TariffCostCtrlr.Available[Tariff]"
TARIFF_ENABLED: Final = "TariffCostCtrlr.Enabled[Tariff]"
COST_AVAILABLE: Final = "TariffCostCtrlr.Available[Cost]"
COST_ENABLED: Final = "TariffCostCtrlr.Enabled[Cost]"
CURRENCY: Final = "TariffCostCtrlr.Currency"
TARIFF_FALLBACK: Final = "TariffCostCtrlr.TariffFallbackMessage"
TOTAL_COST_FALLBACK: Final = "TariffCostCtrlr.TotalCostFallbackMessage"

COST_DIGITS_MAX: Final = 12  # before the point: larger amounts are no prices
COST_DECIMALS_MAX: Final = 9  # as in exports
COST_BOUNDS: Final = f"more than {COST_DIGITS_MAX} digits or {COST_DECIMALS_MAX} decimals"


class ShownCost(msgspec.Struct, frozen=True):
    """The cost of a session as it is to be shown."""

    kind: Literal["running", "final", "pending", "text"]
    total_cost: Decimal | None = None  # running, final
    currency: str = ""  # ISO 4217
    text: str = ""  # of TotalCostFallbackMessage


# --- What the CSMS sends -------------------------------------------------------------------------


def update_cost(ctx: Context, call: Call, request: CostUpdatedRequest) -> Iterator[Decision]:
    """Store the running cost of a transaction. I02.FR.02, I02.FR.03.

    The response has no status: a cost of a transaction that is not open is confirmed and not used.
    """
    if not ctx.variable_boolean(COST_AVAILABLE):
        yield call_error(call, "NotSupported", f"{call.action} is not supported by this station")
        return
    if not is_usable_cost(request.total_cost):
        yield call_error(call, "PropertyConstraintViolation", f"totalCost: {COST_BOUNDS}")
        return
    if ctx.state.transactions.by_id(request.transaction_id):
        yield from _store_cost(ctx, request.transaction_id, request.total_cost, is_final=False)
    yield call_result(call, CostUpdatedResponse())


def is_usable_cost(total_cost: Decimal) -> bool:
    """Whether an amount has no more digits than displays and exports have."""
    exponent = total_cost.as_tuple().exponent
    assert isinstance(exponent, int), "a number of JSON is finite"
    return exponent >= -COST_DECIMALS_MAX and total_cost.adjusted() < COST_DIGITS_MAX


def _store_cost(
    ctx: Context, transaction_id: str, total_cost: Decimal, *, is_final: bool
) -> Iterator[Decision]:
    """A cost that is not known yet. The final one stays."""
    known = ctx.state.driver_information.cost_of(transaction_id)
    new = CostReceived(
        transaction_id=transaction_id,
        total_cost=total_cost,
        is_final=is_final,
        currency=ctx.variable_text(CURRENCY) or "",
    )
    if known is None or (known != new and not known.is_final):
        yield new


def receive_authorization_info(
    ctx: Context, id_token: IdToken, info: IdTokenInfoType
) -> Iterator[Decision]:
    """Store languages and tariff of an AuthorizeResponse that accepts an idToken. I01.FR.03."""
    if not ctx.variable_boolean(TARIFF_AVAILABLE) or info.status != "Accepted":
        return
    yield from _store_information(
        info, info.personal_message, DriverInformationReceived(id_token=id_token)
    )


def receive_transaction_info(
    ctx: Context, call_seq: int, response: TransactionEventResponse
) -> Iterator[Decision]:
    """Store tariff and cost of a TransactionEventResponse. I02.FR.04, I03.FR.03, I06.FR.03."""
    transaction_id = ctx.state.outbox.transaction_id_of(call_seq)
    if transaction_id is None:
        return
    transaction = ctx.state.transactions.by_id(transaction_id)
    if transaction and ctx.variable_boolean(TARIFF_AVAILABLE):
        info = response.id_token_info
        message = response.updated_personal_message or (info.personal_message if info else None)
        known = ctx.state.driver_information.for_transaction(transaction_id)
        yield from _store_information(
            info,
            message,
            known
            or DriverInformationReceived(
                id_token=transaction.id_token, transaction_id=transaction_id
            ),
        )
    if response.total_cost is not None and ctx.variable_boolean(COST_AVAILABLE):
        if not is_usable_cost(response.total_cost):
            yield from log_security_event(
                ctx, "InvalidMessages", f"answer to TransactionEvent: totalCost: {COST_BOUNDS}"
            )
            return
        is_final = transaction is None and _is_last_call(ctx, transaction_id, call_seq)
        yield from _store_cost(ctx, transaction_id, response.total_cost, is_final=is_final)


def _is_last_call(ctx: Context, transaction_id: str, call_seq: int) -> bool:
    waiting = ctx.state.outbox.transaction.without_number(call_seq)
    return not waiting.has_owner(transaction_id)


def _store_information(
    info: IdTokenInfoType | None,
    message: MessageContentType | None,
    known: DriverInformationReceived,
) -> Iterator[Decision]:
    """What differs from what is known; a CSMS may repeat a tariff with each answer."""
    new = known
    if info:
        new = replace(
            new,
            language1=info.language1 or known.language1,
            language2=info.language2 or known.language2,
        )
    if message:
        new = replace(new, message=message.content, message_format=message.format)
    if new != known:
        yield new


# --- What is shown -------------------------------------------------------------------------------


def language_tags(
    ctx: Context, id_token: IdToken | None, transaction: Transaction | None
) -> Iterator[str]:
    """The languages of an EV driver, the preferred one first; none: not known."""
    for information in _information(ctx, id_token, transaction):
        for tag in (information.language1, information.language2):
            if tag:
                yield tag


def shown_tariff(ctx: Context, id_token: IdToken | None, transaction: Transaction | None) -> str:
    """The tariff of an EV driver, or TariffFallbackMessage; empty: none. I01.FR.03, I04.FR.01."""
    if not ctx.variable_boolean(TARIFF_ENABLED):
        return ""
    for information in _information(ctx, id_token, transaction):
        if information.message:
            return plain_text(information.message, information.message_format)
    return ctx.variable_text(TARIFF_FALLBACK) or ""


def _information(
    ctx: Context, id_token: IdToken | None, transaction: Transaction | None
) -> Iterator[DriverInformationReceived]:
    """What was sent for an EV driver, the newest first: with the transaction, with the idToken."""
    stored = ctx.state.driver_information
    of_transaction = stored.for_transaction(transaction.transaction_id) if transaction else None
    of_token = stored.for_token(id_token) if id_token else None
    yield from (each for each in (of_transaction, of_token) if each is not None)


def plain_text(content: str, message_format: str | None) -> str:
    """A text for a display without HTML: markup is left out. A URI is shown as it is."""
    return convert_to_plain_text(content) if message_format == HTML else content


def running_cost(ctx: Context, transaction: Transaction) -> ShownCost | None:
    """The cost so far of an open transaction. I02.FR.03, I02.FR.04."""
    cost = ctx.state.driver_information.cost_of(transaction.transaction_id)
    if cost is None or not ctx.variable_boolean(COST_ENABLED):
        return None
    return ShownCost("running", cost.total_cost, cost.currency)


def final_cost(ctx: Context, ended: EndedTransaction) -> ShownCost | None:
    """The total of a transaction that has ended, or what is shown instead. I03.FR.03, I05.FR.02."""
    if not ctx.variable_boolean(COST_ENABLED):
        return None
    cost = ctx.state.driver_information.cost_of(ended.transaction_id)
    if cost is not None and cost.is_final:
        return ShownCost("final", cost.total_cost, cost.currency)
    is_answer_due = ctx.state.outbox.transaction.has_owner(ended.transaction_id)
    if is_answer_due and ctx.may_send_calls:
        return ShownCost("pending")
    text = ctx.variable_text(TOTAL_COST_FALLBACK)
    return ShownCost("text", text=text) if text else None


CALLS: Final[dict[str, CallHandler]] = {"CostUpdated": update_cost}
REASONS: Final[Reasons] = {
    CostReceived: Reason("the CSMS sent the cost", "I02.FR.03, I03.FR.03"),
    DriverInformationReceived: Reason("the CSMS sent it with an answer", "I01.FR.03, I06.FR.03"),
}
