"""CustomerInformation requests, and the personal values that are to be erased. N09, N10.

A value is erased as soon as nothing needs it any more; undelivered messages of transactions come
first. The parts of a report are personal too, and are erased once the CSMS has them.
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
    """The CSMS requested the data held about a person. N09.FR.02."""

    request_id: int
    id_token: IdToken
    clear: bool  # the data is to be erased afterwards. N10.FR.03


class CustomerInformationAnswered(Decision, frozen=True):
    """The report of the data was queued. N09.FR.05, N09.FR.06."""

    request_seq: int  # entry of the request


class CustomerDataCleared(Decision, frozen=True):
    """Data about these values was cleared; the values follow when possible. N10.FR.03."""

    refs: tuple[str, ...]  # references of the values


class CustomerRequest(msgspec.Struct, frozen=True):
    """A request of the CSMS, identified by its entry."""

    seq: int
    request: CustomerInformationRequested


class CustomerRequests(Projection, frozen=True):
    HANDLES = (
        CustomerInformationRequested, CustomerInformationAnswered, CustomerDataCleared,
        ErasureRequested, PersonalValuesErased, CallQueued, CallDelivered, CallsDropped,
    )  # fmt: skip

    pending: tuple[CustomerRequest, ...] = ()  # without an answer, oldest first
    report_ref_by_call: ImmutableMap[int, str] = ImmutableMap()  # call -> its part of a report
    refs_to_erase: tuple[str, ...] = ()  # references of values that are to be erased

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
            case CustomerInformationRequested() as request:
                return replace(self, pending=(*self.pending, CustomerRequest(entry.seq, request)))
            case CustomerInformationAnswered(request_seq=request_seq):
                others = tuple(each for each in self.pending if each.seq != request_seq)
                return replace(self, pending=others)
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
        requests = self
        for call in call_seqs:
            ref = requests.report_ref_by_call.get(call)
            assert ref is not None, f"call {call} carries no part of a report"
            rest = requests.report_ref_by_call.without_key(call)
            requests = replace(requests, report_ref_by_call=rest)._with_refs_to_erase((ref,))
        return requests

    def _with_refs_to_erase(self, refs: tuple[str, ...]) -> CustomerRequests:
        new = tuple(ref for ref in refs if ref not in self.refs_to_erase)
        return replace(self, refs_to_erase=(*self.refs_to_erase, *new)) if new else self
