"""What does the CSMS believe of each connector?

A status counts as told from the moment it is queued. If its message is dropped, or the CSMS may
have forgotten, it is told again.
"""

from __future__ import annotations

import msgspec

from journal.events import Decision, Entry
from journal.observations import StationStarted
from journal.projections.base import Projection
from journal.projections.outbox import CallQueued, CallsDropped, ConnectorStatusSummary


class StatusResendRequired(Decision, frozen=True):
    """All connectors shall be told anew. B01.FR.05, B04.FR.01."""

    reason: str


class ReportedStatus(msgspec.Struct, frozen=True):
    evse_id: int
    connector_id: int
    status: str
    call_seq: int


class ReportedStatuses(Projection, frozen=True):
    HANDLES = (CallQueued, CallsDropped, StatusResendRequired, StationStarted)

    reported: tuple[ReportedStatus, ...] = ()

    def apply(self, entry: Entry) -> ReportedStatuses:
        match entry.event:
            case CallQueued(connector_status=mark):
                return self if mark is None else self._with_status(entry.seq, mark)
            case CallsDropped(rejected_by_csms=True):
                return self  # told again at once, it would be refused again at once
            case CallsDropped(call_seqs=calls) if any(
                one.call_seq in calls for one in self.reported
            ):
                return ReportedStatuses(
                    tuple(one for one in self.reported if one.call_seq not in calls)
                )
            case StatusResendRequired() | StationStarted():
                return ReportedStatuses()
            case _:
                return self

    def on_connector(self, evse_id: int, connector_id: int) -> str | None:
        for one in self.reported:
            if (one.evse_id, one.connector_id) == (evse_id, connector_id):
                return one.status
        return None

    def _with_status(self, call_seq: int, summary: ConnectorStatusSummary) -> ReportedStatuses:
        new = ReportedStatus(summary.evse_id, summary.connector_id, summary.status, call_seq)
        return ReportedStatuses(
            (*self._without_connector(summary.evse_id, summary.connector_id), new)
        )

    def _without_connector(self, evse_id: int, connector_id: int) -> tuple[ReportedStatus, ...]:
        where = (evse_id, connector_id)
        return tuple(one for one in self.reported if (one.evse_id, one.connector_id) != where)
