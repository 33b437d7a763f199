"""The connector statuses that were sent to the CSMS, to be compared with the present ones.

A status counts as reported when its message is queued. If that message is dropped, or the CSMS may
have lost the status, it is reported again.
"""

from __future__ import annotations

import msgspec

from journal.events import Decision, Entry
from journal.observations import StationStarted
from journal.projections.base import Projection
from journal.projections.outbox import CallQueued, CallsDropped, ConnectorStatusSummary


class StatusResendRequired(Decision, frozen=True):
    """The status of every connector has to be sent again. B01.FR.05, B04.FR.01."""

    VERSION = 2

    reason: str
    because: str = ""  # code of the reason; empty: its release recorded none


class ReportedStatus(msgspec.Struct, frozen=True):
    """The status of a connector and the call that reports it."""

    evse_id: int
    connector_id: int
    status: str  # ConnectorStatusEnumType
    call_seq: int


class ReportedStatuses(Projection, frozen=True):
    HANDLES = (CallQueued, CallsDropped, StatusResendRequired, StationStarted)

    reported: tuple[ReportedStatus, ...] = ()

    def apply(self, entry: Entry) -> ReportedStatuses:
        match entry.event:
            case CallQueued(connector_status=summary):
                return self if summary is None else self._with_status(entry.seq, summary)
            case CallsDropped(rejected_by_csms=True):
                return self  # sent again at once, it would be refused again at once
            case CallsDropped(call_seqs=calls) if any(
                each.call_seq in calls for each in self.reported
            ):
                left = tuple(each for each in self.reported if each.call_seq not in calls)
                return ReportedStatuses(left)
            case StatusResendRequired() | StationStarted():
                return ReportedStatuses()
            case _:
                return self

    def on_connector(self, evse_id: int, connector_id: int) -> str | None:
        for each in self.reported:
            if (each.evse_id, each.connector_id) == (evse_id, connector_id):
                return each.status
        return None

    def _with_status(self, call_seq: int, summary: ConnectorStatusSummary) -> ReportedStatuses:
        new = ReportedStatus(summary.evse_id, summary.connector_id, summary.status, call_seq)
        return ReportedStatuses(
            (*self._without_connector(summary.evse_id, summary.connector_id), new)
        )

    def _without_connector(self, evse_id: int, connector_id: int) -> tuple[ReportedStatus, ...]:
        connector = (evse_id, connector_id)
        return tuple(
            each for each in self.reported if (each.evse_id, each.connector_id) != connector
        )
