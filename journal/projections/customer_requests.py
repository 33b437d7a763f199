"""Whose data does the CSMS ask for, and which personal values shall go? (N09, N10)

A value goes as soon as nothing needs it any more: what a transaction still has to tell comes
first. The parts of a report are personal too, and go once the CSMS has them.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry, IdToken
from journal.immutable import ImmutableMap
from journal.observations import ErasureRequested, PersonalValuesErased
from journal.projections.base import Projection
from journal.projections.outbox import CallDelivered, CallQueued, CallsDropped

REPORT_ACTION = "NotifyCustomerInformation"


class CustomerInformationRequested(Decision, frozen=True, kw_only=True):
    """The CSMS wants to know what is held about a person. N09.FR.02."""

    request_id: int
    id_token: IdToken
    clear: bool  # and then have it removed. N10.FR.03


class CustomerInformationAnswered(Decision, frozen=True):
    """The CSMS hears what was found. N09.FR.05, N09.FR.06."""

    request_seq: int  # entry that asked


class CustomerDataCleared(Decision, frozen=True):
    """Everything about these values goes, and they themselves as soon as they can. N10.FR.03."""

    refs: tuple[str, ...]


class CustomerRequest(msgspec.Struct, frozen=True):
    """A question of the CSMS, known by the entry that took it in."""

    seq: int
    request: CustomerInformationRequested


class CustomerRequests(Projection, frozen=True):
    HANDLES = (
        CustomerInformationRequested, CustomerInformationAnswered, CustomerDataCleared, ErasureRequested, PersonalValuesErased,
        CallQueued, CallDelivered, CallsDropped,
    )  # fmt: skip

    pending: tuple[CustomerRequest, ...] = ()  # not answered yet, oldest first
    report_ref_by_call: ImmutableMap[int, str] = (
        ImmutableMap()
    )  # call -> reference of the part it carries
    refs_to_erase: tuple[str, ...] = ()  # references whose values shall go

    def apply(self, entry: Entry) -> CustomerRequests:
        match entry.event:
            case CallQueued(action=action, payload=payload):
                return (
                    self._on_report_queued(entry.seq, payload) if action == REPORT_ACTION else self
                )
            case CallDelivered(call_seq=call):
                return (
                    self._on_reports_settled((call,)) if call in self.report_ref_by_call else self
                )
            case CustomerInformationRequested() as asked:
                return replace(self, pending=(*self.pending, CustomerRequest(entry.seq, asked)))
            case CustomerInformationAnswered(request_seq=inquiry):
                open = tuple(one for one in self.pending if one.seq != inquiry)
                return replace(self, pending=open)
            case CustomerDataCleared(refs=refs) | ErasureRequested(refs=refs):
                return self._with_refs_to_erase(refs)
            case PersonalValuesErased(refs=refs):
                left = tuple(ref for ref in self.refs_to_erase if ref not in refs)
                return replace(self, refs_to_erase=left)
            case CallsDropped(call_seqs=calls):
                return self._on_reports_settled(
                    tuple(call for call in calls if call in self.report_ref_by_call)
                )
            case _:
                return self

    def _on_report_queued(self, call_seq: int, payload: msgspec.Raw) -> CustomerRequests:
        data = msgspec.json.decode(payload)["data"]
        if not data.startswith("#"):
            return self
        return replace(self, report_ref_by_call=self.report_ref_by_call.with_item(call_seq, data))

    def _on_reports_settled(self, call_seqs: tuple[int, ...]) -> CustomerRequests:
        customers = self
        for call in call_seqs:
            ref = customers.report_ref_by_call.get(call)
            assert ref is not None, f"call {call} carries nothing personal"
            kept = replace(
                customers, report_ref_by_call=customers.report_ref_by_call.without_key(call)
            )
            customers = kept._with_refs_to_erase((ref,))
        return customers

    def _with_refs_to_erase(self, refs: tuple[str, ...]) -> CustomerRequests:
        new = tuple(ref for ref in refs if ref not in self.refs_to_erase)
        return replace(self, refs_to_erase=(*self.refs_to_erase, *new)) if new else self
