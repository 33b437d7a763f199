"""What must a station know after a power cut, and what may it know?

Whatever was acknowledged before the cut, all of it; and of what was under way the whole commit or
nothing. The rest of this is fixed by the journal that the undisturbed session left.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from journal.events import Entry
from journal.projections.outbox import CallQueued
from journal.state import State, apply_entry
from journal.storage.reader import Reader
from station.ocpp.messages import decode_request
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.runtime.loop.startup import event_registry
from station.simulation.csms_ledger import CsmsLedger
from tests.durability.powercut.disk import Image
from tests.durability.powercut.session import ContinuedStation, finish_session
from tests.support.story import Json, accept_everything, load_product

TRANSACTION: Final = "TransactionEvent"


class ExpectedJournal(msgspec.Struct):
    """What is known of the journal at a moment of the recording."""

    acknowledged: int = 0  # the last entry the station may have told somebody of
    begun: tuple[int, ...] = ()  # last entries of commits that were under way since
    saved: int = 0  # the entry of the last snapshot that is complete
    saving: int = 0  # and of the last one that was begun
    people: dict[str, str] = {}  # reference to value, of whoever is known
    introduced: dict[str, int] = {}  # reference to the last entry before they were
    forgetting: frozenset[str] = frozenset()
    forgotten: frozenset[str] = frozenset()
    taken: int = 0  # TransactionEvents the CSMS has taken in

    def apply_report(self, report: dict[str, Any]) -> ExpectedJournal:
        """Hear what the session says next."""
        change: dict[str, Any] = {}
        match report:
            case {"began": last}:
                change = {"begun": (*self.begun, last)}
            case {"acknowledged": last}:
                change = {"acknowledged": last, "begun": ()}
            case {"saving": seq}:
                change = {"saving": seq}
            case {"saved": seq}:
                change = {"saved": seq}
            case {"person": ref, "uid": uid} if ref not in self.people:
                change = {
                    "people": self.people | {ref: uid},
                    "introduced": self.introduced | {ref: self.acknowledged},
                }
            case {"forgetting": ref}:
                change = {"forgetting": self.forgetting | {ref}}
            case {"forgot": ref}:
                change = {"forgotten": self.forgotten | {ref}}
            case {"took": _}:
                change = {"taken": self.taken + 1}
        return msgspec.structs.replace(self, **change)


class Ending(msgspec.Struct, frozen=True):
    """How a session goes on after a cut."""

    commits: tuple[list[Entry], ...]
    complaints: tuple[str, ...]  # of the CSMS, at the end


class _FinishedStation(ContinuedStation):
    def __init__(self, entries: list[Entry], state: State) -> None:
        super().__init__(load_product(), entries, state)
        self.commits: list[list[Entry]] = []
        self.delivered_events: list[TransactionEventRequest] = []

    def commit_entries(self, entries: list[Entry]) -> None:
        self.commits.append(entries)

    def answer_call(self, action: str, payload: Json) -> Json | None:
        if action == TRANSACTION:
            self.delivered_events.append(_decode_event(msgspec.json.encode(payload)))
        return accept_everything(action, payload)


class Reference:
    """The journal of the undisturbed session, its digests and states, and what the CSMS took."""

    def __init__(self, files: Image, delivered: list[dict[str, Any]]) -> None:
        with TemporaryDirectory() as place:
            for name, content in files.items():
                (Path(place) / name).write_bytes(content)
            with Reader.open(Path(place) / "journal.db", event_registry()) as journal:
                self.entries = list(journal.iter_entries())
                self.digests = {row.seq: row.digest for row in journal.iter_rows()}
                self.states = [State(journal.journal_id)]
        for entry in self.entries:
            self.states.append(apply_entry(self.states[-1], entry))
        self._delivered_events = [
            _decode_event(msgspec.json.encode(payload)) for payload in delivered
        ]
        self._endings: dict[tuple[int, int], Ending] = {}

    def ending_from(self, head: int, delivered_count: int) -> Ending:
        """How the session goes on from entry `head`, where the CSMS has taken so many events.

        Pure, hence the same for every image with that head: it is worked out once.
        """
        known = self._endings.get((head, delivered_count))
        if known is None:
            known = self._endings[head, delivered_count] = self._compute_ending(
                head, self._delivered_events[:delivered_count]
            )
        return known

    def _compute_ending(self, head: int, delivered: list[TransactionEventRequest]) -> Ending:
        station = _FinishedStation(self.entries[:head], self.states[head])
        before = set(_queued_event_keys(station.entries))
        complaints = [
            f"the CSMS has what the journal has not: {one}"
            for one in delivered
            if _event_key(one) not in before
        ]
        station.when(finish_session(self.entries[:head], station.answer_call))
        ledger = CsmsLedger()
        for event in (*delivered, *station.delivered_events):
            ledger.add_event(event)
        for account in ledger.transactions.values():
            complaints += account.find_complaints()
            if not account.is_complete:
                complaints.append(f"transaction {account.transaction_id} is never ended")
        known = {(name, no) for name, one in ledger.transactions.items() for no in one.events}
        complaints += [
            f"never told: {one}" for one in _queued_event_keys(station.entries) if one not in known
        ]
        return Ending(tuple(station.commits), tuple(complaints))


def _decode_event(payload: bytes) -> TransactionEventRequest:
    event = decode_request(TRANSACTION, payload)
    assert isinstance(event, TransactionEventRequest)
    return event


def _event_key(event: TransactionEventRequest) -> tuple[str, int]:
    return event.transaction_info.transaction_id, event.seq_no


def _queued_event_keys(entries: list[Entry]) -> Iterator[tuple[str, int]]:
    """Every TransactionEvent of a journal: transactionId and seqNo."""
    for entry in entries:
        if isinstance(entry.event, CallQueued) and (mark := entry.event.transaction_event):
            yield mark.transaction_id, mark.seq_no
