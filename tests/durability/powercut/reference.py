"""The reference: what the journal must and may contain after a power cut at a moment.

Everything acknowledged before the cut must be there; a commit under way may be there as a whole
or not at all. Entries, digests and states must equal those of the undisturbed session.
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
    """The requirements on the journal at a moment of the recording, from the reports so far."""

    acknowledged: int = 0  # the last entry with effects that may be visible outside
    begun: tuple[int, ...] = ()  # last entries of the commits begun since
    saved: int = 0  # the entry of the last complete snapshot
    saving: int = 0  # the entry of the last snapshot begun
    id_tokens: dict[str, str] = {}  # reference: value
    introduced: dict[str, int] = {}  # reference: the last entry before the idToken was stored
    erasing: frozenset[str] = frozenset()  # references of idTokens being erased
    erased: frozenset[str] = frozenset()  # references of erased idTokens
    listed: tuple[int, ...] = (0, 0)  # version and idTokens of the Local Authorization List
    listing: tuple[int, ...] = ()  # of the list that the CSMS is sending
    delivered_count: int = 0  # TransactionEvents the CSMS has answered

    def apply_report(self, report: dict[str, Any]) -> ExpectedJournal:
        """Apply the session's next report."""
        change: dict[str, Any] = {}
        match report:
            case {"commit_begun": last}:
                change = {"begun": (*self.begun, last)}
            case {"acknowledged": last}:
                change = {"acknowledged": last, "begun": ()}
            case {"snapshot_begun": seq}:
                change = {"saving": seq}
            case {"snapshot_saved": seq}:
                change = {"saved": seq}
            case {"id_token": ref, "uid": uid} if ref not in self.id_tokens:
                change = {
                    "id_tokens": self.id_tokens | {ref: uid},
                    "introduced": self.introduced | {ref: self.acknowledged},
                }
            case {"erasing": ref}:
                change = {"erasing": self.erasing | {ref}}
            case {"erased": ref}:
                change = {"erased": self.erased | {ref}}
            case {"listing": version_and_count}:
                change = {"listing": tuple(version_and_count)}
            case {"listed": _}:
                change = {"listed": self.listing, "listing": ()}
            case {"delivered": _}:
                change = {"delivered_count": self.delivered_count + 1}
        return msgspec.structs.replace(self, **change)


class Ending(msgspec.Struct, frozen=True):
    """The rest of a session after a cut."""

    commits: tuple[list[Entry], ...]
    complaints: tuple[str, ...]  # about the CSMS's account, at the end


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
    """The journal of the undisturbed session: entries, digests, states, delivered events."""

    def __init__(self, files: Image, delivered: list[dict[str, Any]]) -> None:
        with TemporaryDirectory() as directory:
            for name, content in files.items():
                (Path(directory) / name).write_bytes(content)
            with Reader.open(Path(directory) / "journal.db", event_registry()) as journal:
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
        """The rest of the session from entry `head`, when the CSMS has received so many events.

        Pure, hence the same for every image with that head: computed once.
        """
        ending = self._endings.get((head, delivered_count))
        if ending is None:
            ending = self._endings[head, delivered_count] = self._compute_ending(
                head, self._delivered_events[:delivered_count]
            )
        return ending

    def _compute_ending(self, head: int, delivered: list[TransactionEventRequest]) -> Ending:
        station = _FinishedStation(self.entries[:head], self.states[head])
        before = set(_queued_event_keys(station.entries))
        complaints = [
            f"the CSMS has an event that the journal does not have: {event}"
            for event in delivered
            if _event_key(event) not in before
        ]
        station.when(finish_session(self.entries[:head], station.answer_call))
        ledger = CsmsLedger()
        for event in (*delivered, *station.delivered_events):
            ledger.add_event(event)
        for account in ledger.transactions.values():
            complaints += account.find_complaints()
            if not account.is_complete:
                complaints.append(f"transaction {account.transaction_id} is not complete")
        delivered_keys = {
            (transaction_id, seq_no)
            for transaction_id, account in ledger.transactions.items()
            for seq_no in account.events
        }
        complaints += [
            f"never delivered: {key}"
            for key in _queued_event_keys(station.entries)
            if key not in delivered_keys
        ]
        return Ending(tuple(station.commits), tuple(complaints))


def _decode_event(payload: bytes) -> TransactionEventRequest:
    event = decode_request(TRANSACTION, payload)
    assert isinstance(event, TransactionEventRequest)
    return event


def _event_key(event: TransactionEventRequest) -> tuple[str, int]:
    return event.transaction_info.transaction_id, event.seq_no


def _queued_event_keys(entries: list[Entry]) -> Iterator[tuple[str, int]]:
    """transactionId and seqNo of every TransactionEvent in a journal."""
    for entry in entries:
        if isinstance(entry.event, CallQueued) and (mark := entry.event.transaction_event):
            yield mark.transaction_id, mark.seq_no
