"""Whose data does the CSMS ask for, and which personal values shall go? (N09, N10)

A value goes as soon as nothing needs it any more: what a transaction still has to tell comes
first. The parts of a report are personal too, and go once the CSMS has them.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.observations import ForgettingOrdered, ValuesErased
from journal.persistent import Table
from journal.projections.base import Projection
from journal.projections.outbox import CallDelivered, CallQueued, CallsDropped
from journal.terms import Decision, Entry, IdToken

REPORT = "NotifyCustomerInformation"


class CustomerAsked(Decision, frozen=True, kw_only=True):
    """The CSMS wants to know what is held about a person. N09.FR.02."""

    request_id: int
    id_token: IdToken
    clear: bool  # and then have it removed. N10.FR.03


class CustomerAnswered(Decision, frozen=True):
    """The CSMS hears what was found. N09.FR.05, N09.FR.06."""

    inquiry: int  # entry that asked


class CustomerCleared(Decision, frozen=True):
    """Everything about these values goes, and they themselves as soon as they can. N10.FR.03."""

    refs: tuple[str, ...]


class Inquiry(msgspec.Struct, frozen=True):
    """A question of the CSMS, known by the entry that took it in."""

    seq: int
    asked: CustomerAsked


class Customers(Projection, frozen=True):
    HEARS = (
        CustomerAsked, CustomerAnswered, CustomerCleared, ForgettingOrdered, ValuesErased,
        CallQueued, CallDelivered, CallsDropped,
    )  # fmt: skip

    inquiries: tuple[Inquiry, ...] = ()  # not answered yet, oldest first
    reports: Table[int, str] = Table()  # call -> reference of the part it carries
    erasing: tuple[str, ...] = ()  # references whose values shall go

    def after(self, entry: Entry) -> Customers:
        match entry.event:
            case CallQueued(action=action, payload=payload):
                return self._queued(entry.seq, payload) if action == REPORT else self
            case CallDelivered(call=call):
                return self._heard((call,)) if call in self.reports else self
            case CustomerAsked() as asked:
                return replace(self, inquiries=(*self.inquiries, Inquiry(entry.seq, asked)))
            case CustomerAnswered(inquiry=inquiry):
                open = tuple(one for one in self.inquiries if one.seq != inquiry)
                return replace(self, inquiries=open)
            case CustomerCleared(refs=refs) | ForgettingOrdered(refs=refs):
                return self._erasing(refs)
            case ValuesErased(refs=refs):
                left = tuple(ref for ref in self.erasing if ref not in refs)
                return replace(self, erasing=left)
            case CallsDropped(calls=calls):
                return self._heard(tuple(call for call in calls if call in self.reports))
            case _:
                return self

    def _queued(self, call: int, payload: msgspec.Raw) -> Customers:
        data = msgspec.json.decode(payload)["data"]
        if not data.startswith("#"):
            return self
        return replace(self, reports=self.reports.having(call, data))

    def _heard(self, calls: tuple[int, ...]) -> Customers:
        customers = self
        for call in calls:
            ref = customers.reports.get(call)
            assert ref is not None, f"call {call} carries nothing personal"
            kept = replace(customers, reports=customers.reports.without(call))
            customers = kept._erasing((ref,))
        return customers

    def _erasing(self, refs: tuple[str, ...]) -> Customers:
        new = tuple(ref for ref in refs if ref not in self.erasing)
        return replace(self, erasing=(*self.erasing, *new)) if new else self
