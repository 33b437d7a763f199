"""How does a station with a million entries start as fast as a new one?

A snapshot is the state at entry N, for the code that made it. It is disposable: whatever is
wrong with it, it is ignored with a reason, and the journal is replayed from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import msgspec

from journal.codec import DECODE_ERRORS
from journal.storage.atomic_file import write_atomically

State = TypeVar("State")

_MAGIC = b"ocpp-station snapshot 1\n"
_DIGEST_BYTES = 32


class _SnapshotHeader(msgspec.Struct, frozen=True):
    """What a snapshot is good for."""

    fingerprint: bytes
    seq: int
    digest: bytes  # of entry `seq`


class Snapshot(NamedTuple, Generic[State]):
    """A state and the entry it holds after."""

    seq: int
    state: State


class SnapshotIgnored(NamedTuple):
    """No snapshot: replay the whole journal."""

    reason: str
    seen_seq: int = 0  # an entry it is good for, of this journal or another one; 0: it tells none


def code_fingerprint(modules: Iterable[str], *extra: str) -> bytes:
    """SHA-256 over the sources of `modules`, and whatever else decides what a state means.

    Covers every .py file by name and content, of packages too, without importing it.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    digest = sha256("\n".join(extra).encode())
    for module in modules:
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"there is no module {module}")
        for root in map(Path, spec.submodule_search_locations or (spec.origin,)):
            for source in sorted(root.rglob("*.py")) if root.is_dir() else (root,):
                text = source.read_bytes()
                name = f"{module}/{source.relative_to(root).as_posix()}"
                digest.update(f"\n{name} {len(text)}\n".encode())
                digest.update(text)
    return digest.digest()


class SnapshotFile(Generic[State]):
    """The one snapshot of a journal, in a file of its own.

    Before an update there may be another: of the release to come, made while this one runs.
    """

    def __init__(
        self,
        path: Path,
        fingerprint: bytes,
        encode: Callable[[State], bytes],
        decode: Callable[[bytes | memoryview], State],
    ) -> None:
        """Keep it at `path`. `decode` raises for what `encode` has not made."""
        self._path = path
        self._next_path = path.with_suffix(".next")
        self._fingerprint = fingerprint
        self._encode = encode
        self._decode = decode

    def save(self, seq: int, digest: bytes, state: State) -> None:
        """Replace the snapshot by the state after entry `seq`, whose digest is given.

        A power cut leaves the old one or the new one.

        Raises:
            OSError: it cannot be written. The old one is untouched.
        """
        self._write_snapshot(self._path, seq, digest, state)

    def save_for_next_start(self, seq: int, digest: bytes, state: State) -> None:
        """The same for the next start, beside the snapshot of the release that runs now.

        Raises:
            OSError: it cannot be written.
        """
        self._write_snapshot(self._next_path, seq, digest, state)

    def _write_snapshot(self, path: Path, seq: int, digest: bytes, state: State) -> None:
        label = msgspec.json.encode(_SnapshotHeader(self._fingerprint, seq, digest)) + b"\n"
        body = self._encode(state)
        whole = sha256(label)
        whole.update(body)
        write_atomically(path, (_MAGIC, whole.digest(), label, body))

    def load(self, digest_at: Callable[[int], bytes | None]) -> Snapshot[State] | SnapshotIgnored:
        """The snapshot, if it is this journal's and this code's; else one that was prepared.

        Args:
            digest_at: the digest of an entry of the journal; None if there is no such entry.
        """
        found = self._load_from(self._path, digest_at)
        if isinstance(found, SnapshotIgnored) and not found.seen_seq:
            prepared = self._load_from(self._next_path, digest_at)
            return found if isinstance(prepared, SnapshotIgnored) else prepared
        return found

    def _load_from(
        self, path: Path, digest_at: Callable[[int], bytes | None]
    ) -> Snapshot[State] | SnapshotIgnored:
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            return SnapshotIgnored("there is none")
        except OSError as error:
            return SnapshotIgnored(f"it cannot be read: {error.strerror}")
        begins = len(_MAGIC) + _DIGEST_BYTES
        content = memoryview(found)[begins:]  # no copies: a month of waiting calls is megabytes
        if found[:begins] != _MAGIC + sha256(content).digest():
            return SnapshotIgnored("it is damaged")
        ends = found.index(b"\n", begins)
        label = msgspec.json.decode(found[begins:ends], type=_SnapshotHeader)
        body = memoryview(found)[ends + 1 :]
        if label.fingerprint != self._fingerprint:
            return SnapshotIgnored("another release made it")
        if digest_at(label.seq) != label.digest:
            return SnapshotIgnored(f"the journal's entry {label.seq} is another one", label.seq)
        try:
            return Snapshot(label.seq, self._decode(body))
        except DECODE_ERRORS as error:
            why = " ".join(str(error).split())
            return SnapshotIgnored(f"it does not decode: {type(error).__name__} {why}")
