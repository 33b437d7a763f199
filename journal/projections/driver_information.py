"""What the CSMS sent for an EV driver to read: tariff, languages and costs. Block I.

A text belongs to an idToken from its grant until its next one, or to a transaction. It is erased
when the idToken is granted again without the CSMS: a tariff of another day must not be shown as
that of today. The newest of each are kept; older ones belong to EV drivers who have left.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from journal.events import Decision, Entry, IdToken
from journal.projections.authorizations import AuthorizationGranted
from journal.projections.base import Projection

KEPT_MAX: Final = 16  # of each; more than EV drivers at one station


class DriverInformationReceived(Decision, frozen=True, kw_only=True):
    """The CSMS sent a text for an EV driver, or the languages to use. I01.FR.03, I06.FR.03."""

    id_token: IdToken | None = None
    transaction_id: str | None = None  # of a TransactionEventResponse
    language1: str | None = None  # RFC 5646
    language2: str | None = None  # RFC 5646; if language1 is not available
    message: str | None = None  # usually the tariff; None: as before
    message_format: str | None = None  # MessageFormatEnumType


class CostReceived(Decision, frozen=True, kw_only=True):
    """The CSMS sent the cost of a transaction, taxes included. I02.FR.03/04, I03.FR.03."""

    VERSION = 2

    transaction_id: str
    total_cost: Decimal  # 0: free
    is_final: bool = False  # answer to the last TransactionEvent; else the cost so far
    currency: str = ""  # ISO 4217, of TariffCostCtrlr.Currency then


class DriverInformation(Projection, frozen=True):
    HANDLES = (DriverInformationReceived, CostReceived, AuthorizationGranted)

    information: tuple[DriverInformationReceived, ...] = ()  # one for each idToken or transaction
    costs: tuple[CostReceived, ...] = ()  # one for each transaction

    def apply(self, entry: Entry) -> DriverInformation:
        match entry.event:
            case DriverInformationReceived() as new:
                return self._add_information(new)
            case CostReceived(transaction_id=transaction_id) as cost:
                others = tuple(each for each in self.costs if each.transaction_id != transaction_id)
                return replace(self, costs=(*others, cost)[-KEPT_MAX:])
            case AuthorizationGranted(id_token=id_token) if self.information:
                kept = tuple(each for each in self.information if each.id_token != id_token)
                return (
                    self if len(kept) == len(self.information) else replace(self, information=kept)
                )
            case _:
                return self

    def for_transaction(self, transaction_id: str) -> DriverInformationReceived | None:
        return next(
            (each for each in self.information if each.transaction_id == transaction_id), None
        )

    def for_token(self, id_token: IdToken | None) -> DriverInformationReceived | None:
        """What came with the answer to an AuthorizeRequest."""
        return next(
            (
                each
                for each in self.information
                if each.transaction_id is None and each.id_token == id_token
            ),
            None,
        )

    def has_format(self, message_format: str) -> bool:
        """Whether a message has this format."""
        return any(each.message_format == message_format for each in self.information)

    def cost_of(self, transaction_id: str) -> CostReceived | None:
        """The newest cost of a transaction."""
        return next((each for each in self.costs if each.transaction_id == transaction_id), None)

    def _add_information(self, new: DriverInformationReceived) -> DriverInformation:
        """Fields that are absent stay as they were."""
        old = next(
            (each for each in self.information if _belongs_to(each) == _belongs_to(new)), None
        )
        if old is not None:
            new = replace(
                new,
                language1=new.language1 or old.language1,
                language2=new.language2 or old.language2,
                message=old.message if new.message is None else new.message,
                message_format=old.message_format if new.message is None else new.message_format,
            )
        others = tuple(each for each in self.information if each is not old)
        return replace(self, information=(*others, new)[-KEPT_MAX:])


def _belongs_to(information: DriverInformationReceived) -> object:
    return information.transaction_id or information.id_token
