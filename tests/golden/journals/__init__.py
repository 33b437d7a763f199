"""Journals of stations that were, whole, and what follows from each for ever.

`<name>.db.gz` is the file as the station left it, `<name>.json` what followed from it in the
release that wrote it: the state (also whole, in `<name>.state.json.gz`) and every byte it had for
the CSMS. They are history: `python -m tests.golden.journals` adds journals and never changes one.
Where a later release means to differ in its judgement or in the shape of its state,
`changed.toml` says why; for outbound bytes there is no such excuse.
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

from journal.projections.outbox import CallAttempted, CallQueued
from journal.projections.replies import CallAnswered, CallRefused, Reply
from journal.reader import Reader
from journal.state import State, encode_state, folded, state_digest
from journal.terms import Event
from journal.verify import verify
from station.case import Product
from station.devicemodel import DeviceModel
from station.history.differences import Change, changes
from station.history.redecide import Otherwise, redecided
from station.outbound import call_frame, reply_frame
from station.profiles import load
from tests.golden import station_kinds

HOME: Final = Path(__file__).parent
CHANGED: Final = HOME / "changed.toml"


class Pins(msgspec.Struct, frozen=True):
    """What followed from a journal in the release that wrote it."""

    made_by: str  # release
    head: str  # SEQ:DIGEST
    state: str  # digest
    frames: int  # calls (each attempt) and answers the station had for the CSMS
    outbound: str  # SHA-256 over their texts in order, each with a line feed
    judged: bool = True  # by that release; not where entries are made up


def names() -> tuple[str, ...]:
    return tuple(sorted(file.name.removesuffix(".db.gz") for file in HOME.glob("*.db.gz")))


def unpacked(name: str, directory: Path) -> Path:
    """The journal's file in a directory, to be opened like any other."""
    path = directory / "journal.db"
    path.write_bytes(gzip.decompress((HOME / f"{name}.db.gz").read_bytes()))
    return path


def pins_of(name: str) -> Pins:
    return msgspec.json.decode((HOME / f"{name}.json").read_bytes(), type=Pins)


def state_of(name: str) -> bytes:
    """The state as it was pinned, canonical."""
    return gzip.decompress((HOME / f"{name}.state.json.gz").read_bytes())


def changed(what: str) -> dict[str, str]:
    """Journals from which something else follows today, and why. `what`: judgement or state."""
    table: dict[str, dict[str, str]] = tomllib.loads(CHANGED.read_text(encoding="utf-8"))
    return table[what]


# --- What follows --------------------------------------------------------------------------------


def replayed(reader: Reader) -> State:
    return folded(State(reader.journal_id), reader.entries())


def outbound(reader: Reader) -> Iterator[str]:
    """The text of every call, for each attempt at it, and of every answer, in order."""
    for entry in reader.entries():
        match entry.event:
            case CallAttempted() as attempt:
                queued = reader.entry(attempt.call).event
                assert isinstance(queued, CallQueued), attempt
                yield call_frame(
                    attempt.message_id,
                    queued.action,
                    queued.payload,
                    reader.value_of,
                    offline=attempt.offline,
                )
            case CallAnswered(message_id=asked, payload=payload):
                yield reply_frame(Reply(entry.seq, asked, payload), reader.value_of)
            case CallRefused(message_id=asked, code=code, description=why):
                yield reply_frame(
                    Reply(entry.seq, asked, code=code, description=why), reader.value_of
                )


def followed(reader: Reader, release: str, *, judged: bool) -> Pins:
    """What follows from a journal today."""
    sha, frames = hashlib.sha256(), 0
    for text in outbound(reader):
        sha.update(f"{text}\n".encode())
        frames += 1
    head = reader.head()
    return Pins(
        made_by=release,
        head=f"{head.seq}:{head.digest.hex()}",
        state=state_digest(replayed(reader)),
        frames=frames,
        outbound=sha.hexdigest(),
        judged=judged,
    )


def otherwise(reader: Reader) -> list[Otherwise]:
    """Where today's code would decide otherwise than the release that wrote it."""
    kinds = station_kinds()
    return list(
        redecided(
            reader.journal_id, reader.entries(), kinds, lambda _, start: _product(start.profile)
        )
    )


@cache
def _product(name: str) -> Product:
    profile = load(name)
    return Product(profile, DeviceModel(profile))


def complaints_of(name: str, directory: Path) -> Iterator[str]:
    """What does not follow today as it is pinned; nothing, if all of it does.

    `directory` is an empty one, to unpack the journal into.
    """
    path, pins = unpacked(name, directory), pins_of(name)
    yield from map(str, verify(path))
    with Reader.open(path, station_kinds()) as reader:
        today = followed(reader, pins.made_by, judged=pins.judged)
        if today.head != pins.head:
            yield f"the head is {today.head}"
        if (today.frames, today.outbound) != (pins.frames, pins.outbound):
            yield f"{today.frames} frames go out, with other bytes"
        if name not in changed("state"):
            yield from (f"state: {change}" for change in state_changes(name, replayed(reader)))
        if pins.judged and name not in changed("judgement"):
            yield from map(str, otherwise(reader))


def state_changes(name: str, today: State) -> list[Change]:
    """What of the pinned state is otherwise today. What a later release also remembers is new."""
    pinned = state_of(name)
    known = _as_pinned(_decoder.decode(encode_state(today)), _decoder.decode(pinned))
    return list(changes(pinned, _encoder.encode(known)))


_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def _as_pinned(today: Any, pinned: Any) -> Any:
    """Today's document without the fields of structs that the pinned one does not have."""
    if isinstance(today, list) and isinstance(pinned, list) and len(today) == len(pinned):
        return [_as_pinned(new, old) for new, old in zip(today, pinned, strict=True)]
    if not isinstance(today, dict) or not isinstance(pinned, dict):
        return today
    is_struct = pinned and pinned.keys() <= _fields()
    return {
        name: _as_pinned(value, pinned.get(name))
        for name, value in today.items()
        if name in pinned or not is_struct
    }


@cache
def _fields() -> frozenset[str]:
    """The names of the fields of everything that is remembered; no table has one as a key."""
    found: set[str] = set()
    due: list[type[msgspec.Struct]] = [msgspec.Struct]
    while due:
        for one in due.pop().__subclasses__():
            due.append(one)
            if one.__module__.startswith("journal."):
                found.update(one.__struct_fields__)
    return frozenset(found)


def kinds_in(reader: Reader) -> set[type[Event]]:
    return {type(entry.event) for entry in reader.entries()}
