"""What is the account of a transaction, from its first entry to the last proof of delivery?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

from journal.observations import CableReported, ClockStepped, MeterRead, StationStarted
from journal.projections.authorizations import AuthorizationBound
from journal.projections.clocks import ClockCorrected
from journal.projections.lifecycle import Lifecycle
from journal.projections.outbox import (
    CallDelivered,
    CallParked,
    CallQueued,
    CallsDropped,
    TransactionMark,
)
from journal.projections.transactions import (
    GroupLearned,
    TransactionAuthorized,
    TransactionStarted,
    TransactionStopping,
)
from journal.terms import Entry, IdToken

# Sums and differences of registers keep every digit, or fail.
EXACT: Final = Context(prec=200, traps=[Inexact, InvalidOperation])

TRANSACTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("transaction_id", "text"),
    ("evse_id", "int"),
    ("connector_id", "int"),
    ("id_token_type", "text"),
    ("id_token", "text"),  # its reference, or with --values what it stands for
    ("group_id_token", "text"),
    ("remote_start_id", "int"),
    ("started_at", "time"),
    ("started_time_quality", "text"),
    ("started_reason", "text"),  # TriggerReasonEnumType
    ("ended_at", "time"),  # empty: still open
    ("ended_time_quality", "text"),
    ("stopped_reason", "text"),  # ReasonEnumType
    ("stopped_trigger", "text"),  # TriggerReasonEnumType
    ("duration_ms", "int"),  # by the wall clock, its changes taken out
    ("start_wh", "decimal"),
    ("stop_wh", "decimal"),
    ("energy_wh", "decimal"),
    ("seq_no_first", "int"),
    ("seq_no_last", "int"),
    ("seq_no_missing", "int"),  # between first and last; 0 is what must be
    ("messages", "int"),
    ("delivered", "int"),
    ("parked", "int"),
    ("dropped", "int"),
    ("ended_message_id", "text"),  # of the attempt at the last message that the CSMS answered
    ("ended_answer_entry", "int"),  # entry that holds the CSMS's answer
    ("interruptions", "int"),  # restarts of the program in between
    ("interrupted_ms", "int"),  # how long, in all; empty: a clock that ran backwards cannot say
    ("clock_changes", "int"),  # of the wall clock in between
    ("clock_change_ms", "int"),
    ("entry_first", "int"),
    ("entry_last", "int"),
)


@dataclass
class Session:
    """A transaction as far as it has been heard."""

    transaction_id: str
    evse_id: int
    started_at: datetime
    started_quality: str
    started_reason: str
    entry_first: int
    entry_last: int
    id_token: IdToken | None = None
    group: IdToken | None = None
    remote_start_id: int | None = None
    connector_id: int | None = None
    granted: int = 0  # entry that granted the right to charge
    start_wh: Decimal | None = None
    stop_wh: Decimal | None = None
    ended_at: datetime | None = None
    ended_quality: str = ""
    stopped_reason: str = ""
    stopped_trigger: str = ""
    seq_nos: list[int] = field(default_factory=list)  # first, last, how many
    delivered: int = 0
    dropped: int = 0
    waiting: set[int] = field(default_factory=set)
    parked: set[int] = field(default_factory=set)
    ended_call: int = 0
    ended_message_id: str = ""
    ended_answer: int | None = None
    interruptions: int = 0
    interrupted_ms: int | None = 0
    clock_changes: int = 0
    clock_change_ms: int = 0

    @property
    def complete(self) -> bool:
        """Whether it is over and the CSMS has confirmed all of it."""
        return self.ended_at is not None and not self.waiting

    def counts(self, seq_no: int) -> None:
        first, _, known = self.seq_nos or (seq_no, 0, 0)
        self.seq_nos = [first, seq_no, known + 1]

    def values(self, reveal: Callable[[str], str]) -> tuple[Any, ...]:
        """A row of `TRANSACTIONS`."""
        first, last, messages = self.seq_nos or (None, None, 0)
        missing = 0 if first is None or last is None else last - first + 1 - messages
        token, group = self.id_token, self.group
        return (
            self.transaction_id, self.evse_id or None, self.connector_id,
            token.type if token else None, reveal(token.ref) if token else None,
            reveal(group.ref) if group else None, self.remote_start_id,
            self.started_at, self.started_quality, self.started_reason,
            self.ended_at, self.ended_quality, self.stopped_reason, self.stopped_trigger,
            self._duration_ms(), self.start_wh, self.stop_wh, self._energy_wh(),
            first, last, missing, messages, self.delivered, len(self.parked), self.dropped,
            self.ended_message_id, self.ended_answer, self.interruptions, self.interrupted_ms,
            self.clock_changes, self.clock_change_ms, self.entry_first, self.entry_last,
        )  # fmt: skip

    def _energy_wh(self) -> Decimal | None:
        if self.start_wh is None or self.stop_wh is None:
            return None
        return EXACT.subtract(self.stop_wh, self.start_wh)

    def _duration_ms(self) -> int | None:
        if self.ended_at is None:
            return None
        return (self.ended_at - self.started_at) // timedelta(milliseconds=1) - self.clock_change_ms


class Sessions:
    """Keeps a transaction until its account is complete; what is complete is forgotten."""

    def __init__(self) -> None:
        self._kept: dict[str, Session] = {}
        self._owner: dict[int, Session] = {}  # call -> whose it is, until the CSMS has it
        self._registers: dict[int, Decimal] = {}  # evse_id -> what its meter said last
        self._connectors: dict[int, int] = {}  # evse_id -> connector the EV hangs on
        self._life = Lifecycle()

    def hears(self, entry: Entry, quality: str) -> Iterator[Session]:
        """Those that are complete with this entry; `quality` is that of its time."""
        match entry.event:
            case MeterRead(evse_id=evse_id, energy_wh=energy_wh):
                self._registers[evse_id] = energy_wh
            case CableReported() as cable:
                self._cabled(cable)
            case ClockStepped(step_ms=step_ms) | ClockCorrected(step_ms=step_ms) if step_ms:
                self._clock_changed(step_ms)
            case TransactionStarted() as start:
                self._begins(entry, start, quality)
            case CallQueued(transaction=mark) if mark is not None:
                self._told(entry, mark, quality)
            case CallDelivered() | CallParked() | CallsDropped():
                yield from self._settled(entry)
            case _:
                self._goes_on(entry)
        if isinstance(entry.event, Lifecycle.HEARS):
            self._life = self._life.after(entry)
            if isinstance(entry.event, StationStarted):
                self._interrupted()

    def rest(self, *, ever: bool) -> Iterator[Session]:
        """Those that are over though not confirmed, as they ended; `ever`: then the open ones."""
        ended = [one for one in self._kept.values() if one.ended_at is not None]
        yield from sorted(ended, key=lambda one: one.ended_call)
        if ever:
            yield from (one for one in self._kept.values() if one.ended_at is None)

    def _open(self) -> Iterator[Session]:
        return (one for one in self._kept.values() if one.ended_at is None)

    def _begins(self, entry: Entry, start: TransactionStarted, quality: str) -> None:
        self._kept[start.transaction_id] = Session(
            transaction_id=start.transaction_id,
            evse_id=start.evse_id,
            started_at=entry.at,
            started_quality=quality,
            started_reason=start.trigger_reason,
            entry_first=entry.seq,
            entry_last=entry.seq,
            id_token=start.id_token,
            group=start.group,
            remote_start_id=start.remote_start_id,
            connector_id=self._connectors.get(start.evse_id),
            start_wh=self._registers.get(start.evse_id),
            granted=start.granted_seq,
        )

    def _goes_on(self, entry: Entry) -> None:
        match entry.event:
            case AuthorizationBound(granted_seq=granted, evse_id=evse_id):
                self._bound(granted, evse_id)
            case TransactionAuthorized(transaction_id=name) as grant:
                if one := self._kept.get(name):
                    one.id_token, one.group = grant.id_token, grant.group
                    one.remote_start_id = grant.remote_start_id or one.remote_start_id
            case GroupLearned(transaction_id=name, group=group):
                if one := self._kept.get(name):
                    one.group = group
            case TransactionStopping(transaction_id=name) as stop:
                if one := self._kept.get(name):
                    one.stopped_reason, one.stopped_trigger = (
                        stop.stopped_reason,
                        stop.trigger_reason,
                    )
            case _:
                pass

    def _cabled(self, cable: CableReported) -> None:
        if not cable.plugged:
            self._connectors.pop(cable.evse_id, None)
            return
        self._connectors[cable.evse_id] = cable.connector_id
        for one in self._open():
            if one.evse_id == cable.evse_id:
                one.connector_id = one.connector_id or cable.connector_id

    def _bound(self, granted: int, evse_id: int) -> None:
        """Who was authorised before there was a cable has found an EVSE. E01.FR.03."""
        for one in self._open():
            if one.granted == granted and not one.evse_id:
                one.evse_id = evse_id
                one.connector_id = self._connectors.get(evse_id)

    def _told(self, entry: Entry, mark: TransactionMark, quality: str) -> None:
        one = self._kept.get(mark.transaction_id)
        if one is None:
            return  # its beginning is archived or damaged
        one.counts(mark.seq_no)
        one.waiting.add(entry.seq)
        one.entry_last = entry.seq
        self._owner[entry.seq] = one
        if one.start_wh is None:
            one.start_wh = self._registers.get(one.evse_id)  # not known before
        if mark.event_type == "Ended":
            one.ended_at, one.ended_quality = entry.at, quality
            one.ended_call = entry.seq
            one.stop_wh = self._registers.get(one.evse_id)

    def _settled(self, entry: Entry) -> Iterator[Session]:
        match entry.event:
            case CallDelivered(call=call, message_id=name):
                if one := self._owner.pop(call, None):
                    one.delivered += 1
                    if call == one.ended_call:
                        one.ended_message_id, one.ended_answer = name, entry.cause
                    yield from self._without(one, call, entry)
            case CallParked(call=call):
                if one := self._owner.get(call):
                    one.parked.add(call)
                    one.entry_last = entry.seq
            case CallsDropped(calls=calls):
                for call in calls:
                    if one := self._owner.pop(call, None):
                        one.dropped += 1
                        yield from self._without(one, call, entry)

    def _without(self, one: Session, call: int, entry: Entry) -> Iterator[Session]:
        """A call is off the table: with the last of them the account is complete."""
        one.waiting.discard(call)
        one.parked.discard(call)
        one.entry_last = entry.seq
        if one.complete:
            del self._kept[one.transaction_id]
            yield one

    def _clock_changed(self, step_ms: int) -> None:
        for one in self._open():
            one.clock_changes += 1
            one.clock_change_ms += step_ms

    def _interrupted(self) -> None:
        gap_ms = self._life.gap_ms
        for one in self._open():
            one.interruptions += 1
            known = one.interrupted_ms is not None and gap_ms is not None
            one.interrupted_ms = (one.interrupted_ms or 0) + (gap_ms or 0) if known else None
