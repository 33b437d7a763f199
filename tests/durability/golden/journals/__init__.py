"""Golden journals: whole journals of earlier releases, and what must follow from each for ever. P4.

`<name>.db.gz` is the file as the station left it, `<name>.json` what followed from it in the
release that wrote it: the state (also whole, in `<name>.state.json.gz`) and every byte sent to the
CSMS. They are never changed; `python -m tests.durability.golden.journals` adds further ones. Where
a later release deliberately decides otherwise, or has a state of another shape, `changed.toml`
gives the reason. Different outbound bytes are never accepted.
"""

from __future__ import annotations

import gzip
import hashlib
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from journal.events import Event
from journal.maintenance.verify import verify
from journal.projections.outbox import CallAttempted, CallQueued
from journal.projections.pending_replies import CallErrorQueued, CallResultQueued, PendingReply
from journal.state import State, apply_entries, digest_state, encode_state
from journal.storage.reader import Reader
from station.core.context import Product
from station.core.device_model.model import DeviceModel
from station.history.json_diff import Change, diff_json
from station.history.regression.redecide import Deviation, redecide_entries
from station.profiles import load_profile
from station.runtime.csms.outgoing import build_call_frame, build_reply_frame
from tests.durability.golden import station_kinds

HOME: Final = Path(__file__).parent
CHANGED: Final = HOME / "changed.toml"


class PinnedResults(msgspec.Struct, frozen=True):
    """The results of a journal in the release that wrote it."""

    made_by: str  # release
    head: str  # SEQ:DIGEST
    state: str  # digest
    frames: int  # CALLs (each attempt) and replies to the CSMS
    outbound: str  # SHA-256 over their texts in order, each with a line feed
    # Decided by that release; False: examples of entries
    decided: bool = msgspec.field(default=True, name="judged")


def journal_names() -> tuple[str, ...]:
    return tuple(sorted(file.name.removesuffix(".db.gz") for file in HOME.glob("*.db.gz")))


def unpack_journal(name: str, directory: Path) -> Path:
    """Write the journal's file into a directory, to be opened like any other."""
    path = directory / "journal.db"
    path.write_bytes(gzip.decompress((HOME / f"{name}.db.gz").read_bytes()))
    return path


def load_pins(name: str) -> PinnedResults:
    return msgspec.json.decode((HOME / f"{name}.json").read_bytes(), type=PinnedResults)


def pinned_state(name: str) -> bytes:
    """The pinned state in canonical form."""
    return gzip.decompress((HOME / f"{name}.state.json.gz").read_bytes())


def accepted_changes(subject: str) -> dict[str, str]:
    """Journals with another result today, and the reason. `subject`: decisions or state."""
    table: dict[str, dict[str, str]] = tomllib.loads(CHANGED.read_text(encoding="utf-8"))
    return table[subject]


# --- Results -------------------------------------------------------------------------------------


def replay_state(reader: Reader) -> State:
    return apply_entries(State(reader.journal_id), reader.iter_entries())


def outbound_frames(reader: Reader) -> Iterator[str]:
    """The text of every CALL, once per attempt, and of every reply, in order."""
    for entry in reader.iter_entries():
        match entry.event:
            case CallAttempted() as attempt:
                queued = reader.read_entry(attempt.call_seq).event
                assert isinstance(queued, CallQueued), attempt
                yield build_call_frame(
                    attempt.message_id,
                    queued.action,
                    queued.payload,
                    reader.value_of,
                    offline=attempt.offline,
                )
            case CallResultQueued(message_id=message_id, payload=payload):
                reply = PendingReply(entry.seq, message_id, payload)
                yield build_reply_frame(reply, reader.value_of)
            case CallErrorQueued(message_id=message_id, error_code=code, error_description=text):
                reply = PendingReply(entry.seq, message_id, error_code=code, error_description=text)
                yield build_reply_frame(reply, reader.value_of)


def compute_pins(reader: Reader, release: str, *, was_decided: bool) -> PinnedResults:
    """The results of a journal today."""
    sha, frames = hashlib.sha256(), 0
    for text in outbound_frames(reader):
        sha.update(f"{text}\n".encode())
        frames += 1
    head = reader.read_head()
    return PinnedResults(
        made_by=release,
        head=f"{head.seq}:{head.digest.hex()}",
        state=digest_state(replay_state(reader)),
        frames=frames,
        outbound=sha.hexdigest(),
        decided=was_decided,
    )


def decision_differences(reader: Reader) -> list[Deviation]:
    """Where today's code decides otherwise than the release that wrote the journal."""
    return list(
        redecide_entries(
            reader.journal_id,
            reader.iter_entries(),
            station_kinds(),
            lambda _, start: _load_product(start.product_profile),
        )
    )


@cache
def _load_product(name: str) -> Product:
    profile = load_profile(name)
    return Product(profile, DeviceModel(profile))


def complaints_of(name: str, directory: Path) -> Iterator[str]:
    """Differences between today's results and the pinned ones.

    `directory` is an empty one, to unpack the journal into.
    """
    path, pins = unpack_journal(name, directory), load_pins(name)
    yield from map(str, verify(path))
    with Reader.open(path, station_kinds()) as reader:
        today = compute_pins(reader, pins.made_by, was_decided=pins.decided)
        if today.head != pins.head:
            yield f"the head is {today.head}"
        if (today.frames, today.outbound) != (pins.frames, pins.outbound):
            yield f"{today.frames} frames are sent, with other bytes"
        if name not in accepted_changes("state"):
            yield from (f"state: {change}" for change in state_changes(name, replay_state(reader)))
        if pins.decided and name not in accepted_changes("decisions"):
            yield from map(str, decision_differences(reader))


def state_changes(name: str, today: State) -> list[Change]:
    """Differences of today's state from the pinned one. Fields added later are no differences."""
    pinned = pinned_state(name)
    comparable = _as_pinned(_decoder.decode(encode_state(today)), _decoder.decode(pinned))
    return list(diff_json(pinned, _encoder.encode(comparable)))


_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def _as_pinned(today: Any, pinned: Any) -> Any:
    """Today's document without struct fields that the pinned one does not have."""
    if isinstance(today, list) and isinstance(pinned, list) and len(today) == len(pinned):
        return [_as_pinned(new, old) for new, old in zip(today, pinned, strict=True)]
    if not isinstance(today, dict) or not isinstance(pinned, dict):
        return today
    is_struct = pinned and pinned.keys() <= _struct_field_names()
    return {
        name: _as_pinned(value, pinned.get(name))
        for name, value in today.items()
        if name in pinned or not is_struct
    }


@cache
def _struct_field_names() -> frozenset[str]:
    """The names of all fields of the state's structs. No map of the state has one as a key."""
    names: set[str] = set()
    ahead: list[type[msgspec.Struct]] = [msgspec.Struct]
    while ahead:
        for cls in ahead.pop().__subclasses__():
            ahead.append(cls)
            if cls.__module__.startswith("journal."):
                names.update(cls.__struct_fields__)
    return frozenset(names)


def event_kinds_in(reader: Reader) -> set[type[Event]]:
    return {type(entry.event) for entry in reader.iter_entries()}
