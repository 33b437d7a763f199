"""What does the journal tell about a person, in words? (N09)"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from journal.events import Entry, IdToken
from journal.projections.transactions import TransactionAuthorized, TransactionStarted
from journal.state import State
from station.ocpp.messages import format_timestamp

PAGE_CHARACTERS_MAX: Final = 512  # characters. NotifyCustomerInformationRequest.data
TRANSACTIONS_MAX: Final = 1_000  # the newest; about 250 messages
CUSTOMER_EVENT_KINDS: Final = (
    "TransactionStarted",
    "TransactionAuthorized",
)  # that say who charges


def build_report_pages(
    id_token: IdToken, state: State, entries: Iterable[Entry]
) -> tuple[str, ...]:
    """What is held about somebody, in parts that each fit a message; none: nothing is held.

    Args:
        entries: those of KINDS that speak of this person, oldest first.
    """
    found: list[str] = []
    for sentence in (
        *_describe_cache_entry(id_token, state),
        *_describe_transactions(id_token, entries),
    ):
        if found and len(found[-1]) + 1 + len(sentence) <= PAGE_CHARACTERS_MAX:
            found[-1] += f"\n{sentence}"
        else:
            found.append(sentence[:PAGE_CHARACTERS_MAX])
    return tuple(found)


def _describe_cache_entry(id_token: IdToken, state: State) -> Iterator[str]:
    cached = state.auth_cache.entries.get(id_token.ref)
    if cached is not None and cached.type == id_token.type:
        until = f", until {cached.expires_at}" if cached.expires_at else ""
        group = ", member of a group" if cached.group_id_token else ""
        yield f"Authorization Cache: {cached.type}, {cached.status}{until}{group}."


def _describe_transactions(id_token: IdToken, entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        match entry.event:
            case TransactionStarted(id_token=who, transaction_id=transaction_id, evse_id=evse_id):
                where = f" at EVSE {evse_id}" if evse_id else ""
            case TransactionAuthorized(id_token=who, transaction_id=transaction_id):
                where = ""
            case _:
                continue
        if who is not None and who.ref == id_token.ref:
            yield f"Transaction {transaction_id}{where}, since {format_timestamp(entry.at)}."
