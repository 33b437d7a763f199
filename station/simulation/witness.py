"""What must hold at every step, whatever happens?

`Witness` sees each commit, each frame, each entry in the CSMS's ledger and each contactor that
closes, and keeps books of its own: a second memory, folded from what is in the file and nothing
else. It raises `BrokenPromiseError` at the first step that breaks a promise (README, section 2).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from journal.observations import (
    DeadlineReached,
    FrameReceived,
    MeterRead,
    StationStarted,
)
from journal.projections.outbox import (
    AttemptFailed,
    CallAttempted,
    CallDelivered,
    CallParked,
    CallQueued,
    CallsDropped,
    RetryRequested,
    TransactionMark,
)
from journal.projections.replies import CallAnswered, CallRefused
from journal.state import State, encode_state, evolve
from journal.terms import Entry
from journal.tokens import together
from station import ocppj, transcript
from station.case import Case, Product
from station.delivery import TIMEOUT
from station.messages import encode
from station.messages.e_transactions import TransactionEventRequest
from station.simulation.ledger import Account
from station.simulation.life import Life
from station.simulation.wire import Wire
from station.simulation.world import Watcher

STATE_MAX: Final = 256 * 1024  # bytes of the memory, written: hours of faults leave less
WAITING_MAX: Final = 5_000  # observations that the scribe has not taken yet
VAIN_MAX: Final = 20  # deadlines in a row that nothing follows from
LINES_MAX: Final = 400  # of the transcript

_payload = msgspec.json.Decoder(float_hook=Decimal)


class BrokenPromiseError(AssertionError):
    """A promise of the station, and how it was broken."""


def promise(kept: object, name: str, what: str) -> None:
    """Raise unless it was kept."""
    if not kept:
        raise BrokenPromiseError(f"{name}: {what}")


class Attempt(msgspec.Struct):
    """A CALL that went, or may go, over the wire."""

    call: int
    action: str
    message_id: str
    offline: bool
    wire: Wire | None = None  # that it went over
    left_ms: int | None = None  # uptime at which it did
    late: bool = False  # at the decision an earlier attempt was answered already
    answered: bool = False  # a CALLRESULT for it is in the journal
    over: bool = False  # it is given up, or answered


class Witness(Watcher):
    """Keeps the books.

    Attributes:
        lines: what happened last, for a person.
        resent: TransactionEvents that went over the wire again.
        excused: how often an answer did not come in time, was an error, or came to nobody.
    """

    def __init__(self, product: Product) -> None:
        self.product = product
        self.life: Life | None = None
        self.state: State | None = None  # of what is in the file
        self.seq = 0
        self.lines: deque[str | Entry] = deque(maxlen=LINES_MAX)
        self.resent = self.excused = 0
        self._underway: list[Entry] = []  # a commit of which nobody knows yet how it ended
        self._calls: dict[int, CallQueued] = {}
        self._transactions: dict[str, list[int]] = {}  # calls by transactionId, in order
        self._ended: set[str] = set()
        self._delivered: set[int] = set()
        self._parked: set[int] = set()
        self._thinned: set[int] = set()  # given up for want of room. E12.FR.05
        self._attempts: dict[str, Attempt] = {}  # by messageId
        self._of_call: dict[int, list[Attempt]] = {}
        self._flying: Attempt | None = None  # on the wire in use
        self._replies: dict[str, list[str]] = {}  # messageId to the texts that may be sent
        self._registers: dict[int, Decimal] = {}
        self._vain = 0

    def says(self, text: str) -> None:
        """Something happened that no entry tells."""
        self.lines.append(text)

    def transcript(self) -> str:
        """The last that happened."""
        return "\n".join(
            one if isinstance(one, str) else transcript.line(one) for one in self.lines
        )

    # --- The file --------------------------------------------------------------------------------

    def began(self, life: Life) -> None:
        """A life remembers exactly what is in the file: all of what was acknowledged. P1, P4."""
        self.life = life
        store = life.store
        if self.state is None:
            self.state = State(store.journal_id)
        head = store.head.seq
        promise(head >= self.seq, "P1", f"the file ends at {head}, it was at {self.seq} before")
        more = list(store.reader.entries(self.seq + 1))
        whole = not more or [one.seq for one in more] == [one.seq for one in self._underway]
        promise(whole, "P1", f"a part of a commit is in the file: {[one.seq for one in more]}")
        self._underway = []
        self._taken(more)
        promise(life.memory.state == self.state, "P4", "replay gives another memory")
        written = encode_state(self.state)
        promise(encode_state(life.memory.state) == written, "P4", "two forms of one memory")
        promise(len(written) < STATE_MAX, "P6", f"the memory takes {len(written)} bytes")
        self._flying = None

    async def before(self, entries: list[Entry]) -> None:
        self._underway = entries

    def written(self, entries: list[Entry]) -> None:
        self._taken(entries)
        self._underway = []

    def committed(self, state: State) -> None:
        """What the scribe goes on with is what the file says. P4."""
        promise(state == self.state, "P4", "the memory is not what the journal gives")
        assert self.life is not None
        waiting = len(self.life.scribe._waiting)
        promise(waiting < WAITING_MAX, "P6", f"{waiting} observations wait")

    def _taken(self, entries: Iterable[Entry]) -> None:
        assert self.state is not None
        for entry in entries:
            promise(entry.seq == self.seq + 1, "P1", f"entry {entry.seq} after {self.seq}")
            self.seq = entry.seq
            self.lines.append(entry)
            self._not_in_vain(entry)
            self._book(entry)
            self.state = evolve(self.state, entry)
            failed = self.state.condition.failed
            promise(not failed, "P8", f"{failed} has a fault")

    def _not_in_vain(self, entry: Entry) -> None:
        """A deadline from which nothing follows must not come again and again. P6."""
        if isinstance(entry.event, DeadlineReached):
            self._vain += 1
            promise(self._vain < VAIN_MAX, "P6", f"{self._vain} deadlines in vain")
        elif entry.cause is not None or not isinstance(entry.event, DeadlineReached):
            self._vain = 0

    def _book(self, entry: Entry) -> None:
        match entry.event:
            case StationStarted():
                self._flying = None
            case CallQueued() as queued:
                self._queued(entry.seq, queued)
            case CallAttempted() as attempted:
                self._attempted(entry, attempted)
            case FrameReceived(frame=frame):
                self._received(frame)
            case AttemptFailed() as failed:
                self._failed(entry, failed)
            case CallDelivered(call=call):
                self._delivered.add(call)
                self._parked.discard(call)
            case CallParked(call=call):
                self._parked.add(call)
            case CallsDropped(calls=calls):
                self._dropped({call for call in calls if self._is_event(call)})
            case RetryRequested(calls=calls):
                self._parked -= set(calls) if calls else set(self._parked)
            case CallAnswered(message_id=asked, payload=payload):
                self._replies.setdefault(asked, []).append(ocppj.result_text(asked, payload))
            case CallRefused(message_id=asked, code=code, description=why):
                self._replies.setdefault(asked, []).append(ocppj.error_text(asked, code, why))
            case MeterRead(evse_id=evse_id, energy_wh=energy_wh):
                before = self._registers.get(evse_id, Decimal(0))
                told = f"the register of EVSE {evse_id} fell from {before} to {energy_wh} Wh"
                promise(energy_wh >= before, "P2", told)
                self._registers[evse_id] = energy_wh

    def _dropped(self, events: set[int]) -> None:
        """Only samples that were never tried, and only where there is no room. E12.FR.05."""
        assert self.state is not None
        short = self.state.condition.storage != "enough"
        promise(short or not events, "P2", f"TransactionEvents {events} dropped")
        for call in events:
            body = json.loads(bytes(self._calls[call].payload))
            promise(body["eventType"] == "Updated", "P2", f"dropped for want of room: {body}")
            promise(call not in self._of_call, "P2", f"{call} dropped, though it was tried")
        self._thinned |= events

    def _is_event(self, call: int) -> bool:
        return call in self._calls and self._calls[call].transaction is not None

    def _queued(self, call: int, queued: CallQueued) -> None:
        """E01.FR.07: from 0, without a gap, Started first, nothing after Ended."""
        self._calls[call] = queued
        mark = queued.transaction
        if mark is None:
            return
        told = self._transactions.setdefault(mark.transaction_id, [])
        body = json.loads(bytes(queued.payload))
        promise(
            mark.seq_no == body["seqNo"] == len(told),
            "P2",
            f"seqNo {body['seqNo']} of {mark.transaction_id} where {len(told)} was due",
        )
        promise((body["eventType"] == "Started") == (not told), "P2", f"not the first: {body}")
        promise(mark.transaction_id not in self._ended, "P2", f"told after its end: {body}")
        self._not_idle_unseen(mark)
        if body["eventType"] == "Ended":
            self._ended.add(mark.transaction_id)
        told.append(call)

    def _not_idle_unseen(self, mark: TransactionMark) -> None:
        """After a start nobody says that the EV is gone before its EVSE has spoken. E02.FR.13.

        Of an EV that was never told of Idle says nothing new.
        """
        assert self.state is not None
        before = self.state.transactions.of(mark.transaction_id)
        told = None if before is None else before.charging_state
        if mark.charging_state != "Idle" or told in (None, "Idle"):
            return
        known = mark.evse_id == 0 or self.state.hardware.at(mark.evse_id).known
        promise(known, "P2", f"Idle, but EVSE {mark.evse_id} has not spoken: {mark}")

    def _attempted(self, entry: Entry, attempted: CallAttempted) -> None:
        self._rested(entry, attempted)
        before = self._of_call.get(attempted.call, [])
        attempt = Attempt(
            attempted.call,
            attempted.action,
            attempted.message_id,
            attempted.offline,
            late=any(one.answered for one in before),
        )
        self._attempts[attempted.message_id] = attempt
        self._of_call.setdefault(attempted.call, []).append(attempt)

    def _rested(self, entry: Entry, attempted: CallAttempted) -> None:
        """The pause between two attempts is kept, on uptime. E13.FR.03, P7."""
        assert self.state is not None
        until_ms = self.state.outbox.retry_ms
        if attempted.lane != "transaction" or until_ms is None:
            return
        late_ms = entry.uptime_ms - until_ms
        promise(late_ms >= 0, "P7", f"{-late_ms} ms before the pause is over: {attempted}")

    def _received(self, frame: msgspec.Raw) -> None:
        match ocppj.read(frame):
            case ocppj.ResultFrame(message_id=message_id):
                self._over(message_id, answered=True)
            case ocppj.ErrorFrame(message_id=message_id):
                self._over(message_id, answered=False)

    def _over(self, message_id: str, *, answered: bool) -> None:
        attempt = self._attempts.get(message_id)
        if attempt is None:
            return
        attempt.over = True
        attempt.answered |= answered
        if attempt is self._flying:
            self._flying = None

    def _failed(self, entry: Entry, failed: AttemptFailed) -> None:
        """An attempt fails by an answer that is none, or by a silence that was long enough."""
        attempt = self._attempts[failed.message_id]
        assert self.state is not None
        limit_ms = Case(self.product, self.state, entry).integer(TIMEOUT, absent=30) * 1000
        waited_ms = entry.uptime_ms - (attempt.left_ms or entry.uptime_ms)
        patient = attempt.over or waited_ms >= limit_ms
        promise(patient, "E13", f"given up {waited_ms} ms after it left: {failed}")
        self.excused += 1
        self._over(failed.message_id, answered=False)

    # --- The wire --------------------------------------------------------------------------------

    def connected(self, wire: Wire) -> None:
        self._flying = None

    def sent(self, wire: Wire, text: str) -> None:
        """Nothing leaves that the file does not hold, and nothing leaves twice without need."""
        match ocppj.read(text.encode()):
            case ocppj.CallFrame() as frame:
                self._sent_call(wire, frame)
            case ocppj.ResultFrame(message_id=asked) | ocppj.ErrorFrame(message_id=asked):
                self._sent_reply(asked, text)
            case broken:
                promise(False, "P3", f"a frame that is no message: {broken}")

    def _sent_call(self, wire: Wire, frame: ocppj.CallFrame) -> None:
        attempt = self._attempts.get(frame.message_id)
        if attempt is None:
            raise BrokenPromiseError(f"P3: {frame.action} sent, but not journaled")
        flying = self._flying
        promise(flying is None, "Part 4 §4.1.1", f"{attempt} while {flying} is in flight")
        promise(attempt.wire is None, "Part 4 §4.1.4", f"{attempt} sent twice")
        assert self.life is not None
        attempt.wire, self._flying = wire, attempt
        attempt.left_ms = self.life.outside.clock.uptime_ms()
        self._says_what_was_queued(attempt, frame)
        if self._is_event(attempt.call):
            self._in_order(attempt)
            self._not_again(attempt)

    def _says_what_was_queued(self, attempt: Attempt, frame: ocppj.CallFrame) -> None:
        queued = self._calls[attempt.call]
        promise(frame.action == queued.action, "P3", f"{frame.action} for {queued.action}")
        body = _payload.decode(frame.payload)
        assert self.life is not None
        expected = together(_payload.decode(queued.payload), self.life.store.value_of)
        if attempt.offline:
            expected = expected | {"offline": True}
        promise(body == expected, "P3", f"sent {body}, journaled {expected}")

    def _in_order(self, attempt: Attempt) -> None:
        """Everything before it of its transaction is delivered or parked. E13.

        Not so for a message that went before: what is tried again goes behind it.
        """
        if sum(one.wire is not None for one in self._of_call[attempt.call]) > 1:
            return
        mark = self._calls[attempt.call].transaction
        assert mark is not None
        for earlier in self._transactions[mark.transaction_id][: mark.seq_no]:
            promise(
                any(earlier in one for one in (self._delivered, self._parked, self._thinned)),
                "P2",
                f"seqNo {mark.seq_no} of {mark.transaction_id} goes before call {earlier}",
            )

    def _not_again(self, attempt: Attempt) -> None:
        """A message goes again only where its answer did not come, was an error, or is lost."""
        *before, _ = [one for one in self._of_call[attempt.call] if one.wire is not None]
        promise(not attempt.late, "P2", f"{attempt} sent again, though answered")
        if before:
            self.resent += 1
            lost = before[-1].wire is not attempt.wire
            promise(lost or before[-1].over, "P2", f"{attempt} sent again without need")
            self.excused += lost

    def _sent_reply(self, asked: str, text: str) -> None:
        said = _payload.decode(text)
        assert self.life is not None
        value_of = self.life.store.value_of
        texts = self._replies.get(asked, [])
        journaled = any(together(_payload.decode(one), value_of) == said for one in texts)
        promise(journaled, "P3", f"an answer that is not journaled: {text}")

    def took(self, event: TransactionEventRequest) -> None:
        """The CSMS takes in only what the journal has."""
        calls = self._transactions.get(event.transaction_info.transaction_id, [])
        promise(event.seq_no < len(calls), "P3", f"the CSMS has what the journal has not: {event}")

    # --- The power -------------------------------------------------------------------------------

    def closing(self, evse_id: int) -> None:
        """No contactor closes without cable, authorization and health, as journaled. P3."""
        assert self.state is not None
        held = self.state.authorizations.at(evse_id)
        evse = self.state.hardware.at(evse_id)
        blocking = self.state.faults.blocking(evse_id)
        where = f"EVSE {evse_id} closes"
        promise(held is not None, "P3", f"{where} without an authorization")
        promise(evse.plugged, "P3", f"{where} without a cable")
        promise(blocking is None, "P3", f"{where} despite {blocking}")

    # --- The end ---------------------------------------------------------------------------------

    def complete(self, accounts: dict[str, Account]) -> None:
        """The ledger of the CSMS is the journal's account: all of it, and nothing else. P2."""
        assert self.state is not None
        promise(not self.state.outbox.parked, "P2", f"parked: {self.state.outbox.parked}")
        for name in [*accounts, *self._transactions]:
            promise(name in self._transactions, "P2", f"{name} is not in the journal")
            promise(name in accounts, "P2", f"{name} is not in the ledger")
        for name, calls in self._transactions.items():
            self._same(accounts[name], calls)
            promise(name in self._ended, "P2", f"{name} never ended")
        again = sum(one.duplicates for one in accounts.values())
        promise(again <= self.resent <= self.excused, "P2", f"{again} came again")

    def _same(self, account: Account, calls: list[int]) -> None:
        taken = sorted(account.events)
        name = account.transaction_id
        due = [seq_no for seq_no, call in enumerate(calls) if call not in self._thinned]
        promise(taken == due, "P2", f"{name}: {due} to be told, {taken} taken")
        changed = [line for line in account.complaints() if "something else" in line]
        promise(not changed, "P2", f"{name}: {changed}")
        for seq_no in due:
            told = json.loads(bytes(self._calls[calls[seq_no]].payload))
            heard = json.loads(encode(account.events[seq_no]))
            promise(_plain(told) == _plain(heard), "P2", f"{name}: {heard} is not {told}")


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    """What may not differ between journal and ledger; the idToken is a reference here only."""
    return {key: body.get(key) for key in body if key not in ("offline", "idToken")}
