"""Report of the data held about one customer, as text for NotifyCustomerInformation. N09.

The station holds two kinds of data about an idToken: its entry in the Authorization Cache, and the
transactions it started or authorized. Each becomes one sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from journal.events import Entry, IdToken
from journal.projections.transactions import TransactionAuthorized, TransactionStarted
from journal.state import State
from station.ocpp.messages import format_timestamp

PAGE_CHARACTERS_MAX: Final = 512  # NotifyCustomerInformationRequest.data
TRANSACTIONS_MAX: Final = 1_000  # the newest; about 250 messages
CUSTOMER_EVENT_KINDS: Final = ("TransactionStarted", "TransactionAuthorized")  # have an idToken


def build_report_pages(
    id_token: IdToken, state: State, entries: Iterable[Entry]
) -> tuple[str, ...]:
    """The report, in pages that fit one message each; empty: no data is held.

    Args:
        id_token: of the customer.
        state: has the Authorization Cache and the Local Authorization List.
        entries: of CUSTOMER_EVENT_KINDS with this idToken, oldest first.
    """
    pages: list[str] = []
    for sentence in (
        *_describe_cache_entry(id_token, state),
        *_describe_list_entry(id_token, state),
        *_describe_transactions(id_token, entries),
    ):
        if pages and len(pages[-1]) + 1 + len(sentence) <= PAGE_CHARACTERS_MAX:
            pages[-1] += f"\n{sentence}"
        else:
            pages.append(sentence[:PAGE_CHARACTERS_MAX])
    return tuple(pages)


def _describe_cache_entry(id_token: IdToken, state: State) -> Iterator[str]:
    cached = state.auth_cache.entries.get(id_token.ref)
    if cached is not None and cached.type == id_token.type:
        until = f", until {cached.expires_at}" if cached.expires_at else ""
        group = ", member of a group" if cached.group_id_token else ""
        yield f"Authorization Cache: {cached.type}, {cached.status}{until}{group}."


def _describe_list_entry(id_token: IdToken, state: State) -> Iterator[str]:
    listed = state.local_list.find(id_token)
    if listed is not None:
        until = f", until {listed.expires_at}" if listed.expires_at else ""
        group = ", member of a group" if listed.group_id_token else ""
        yield f"Local Authorization List: {id_token.type}, {listed.status}{until}{group}."


def _describe_transactions(id_token: IdToken, entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        match entry.event:
            case TransactionStarted(
                id_token=entry_token, transaction_id=transaction_id, evse_id=evse_id
            ):
                where = f" at EVSE {evse_id}" if evse_id else ""
            case TransactionAuthorized(id_token=entry_token, transaction_id=transaction_id):
                where = ""
            case _:
                continue
        if entry_token is not None and entry_token.ref == id_token.ref:
            yield f"Transaction {transaction_id}{where}, since {format_timestamp(entry.at)}."
