"""Snapshots: the state at entry N, so that a start need not replay the whole journal.

A snapshot is valid for the code that made it and is disposable: whatever is wrong with it, it is
ignored with a reason, and the journal is replayed from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import msgspec

from journal.codec import DECODE_ERRORS
from journal.format.sectors import read_regular_file
from journal.storage.atomic_file import write_atomically

State = TypeVar("State")

_MAGIC = b"ocpp-station snapshot 1\n"
_DIGEST_BYTES = 32
_FILE_BYTES_MAX = 64 << 20  # a month of waiting calls is a tenth of it


class _SnapshotHeader(msgspec.Struct, frozen=True):
    """The code and the entry that a snapshot belongs to."""

    fingerprint: bytes  # of the code of the state
    seq: int  # the last entry in the state
    digest: bytes  # of entry `seq`


class Snapshot(NamedTuple, Generic[State]):
    """A state and the last entry in it."""

    seq: int
    state: State


class SnapshotIgnored(NamedTuple):
    """There is no valid snapshot: replay the whole journal."""

    reason: str
    seen_seq: int = 0  # its entry, if it is a snapshot for this code; 0: it is none


def code_fingerprint(modules: Iterable[str], *extra: str) -> bytes:
    """SHA-256 over the sources of `modules` and over `extra`.

    Covers every .py file of modules and packages, by name and content, without importing it.

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
    """The snapshot of a journal, in a file of its own.

    Before an update there may be a second one, for the next release, made while this one runs.
    """

    def __init__(
        self,
        path: Path,
        fingerprint: bytes,
        encode: Callable[[State], bytes],
        decode: Callable[[bytes | memoryview], State],
    ) -> None:
        """Use the file at `path`. `decode` raises for anything that `encode` has not made."""
        self._path = path
        self._next_path = path.with_suffix(".next")
        self._fingerprint = fingerprint
        self._encode = encode
        self._decode = decode

    def save(self, seq: int, digest: bytes, state: State) -> None:
        """Replace the snapshot by the state after entry `seq`, which has this digest.

        A power cut leaves the old snapshot or the new one.

        Raises:
            OSError: it cannot be written. The old snapshot is unchanged.
        """
        self._write_snapshot(self._path, seq, digest, state)

    def save_for_next_start(self, seq: int, digest: bytes, state: State) -> None:
        """Save a snapshot for the next release, beside that of the running one.

        Raises:
            OSError: it cannot be written.
        """
        self._write_snapshot(self._next_path, seq, digest, state)

    def _write_snapshot(self, path: Path, seq: int, digest: bytes, state: State) -> None:
        header = msgspec.json.encode(_SnapshotHeader(self._fingerprint, seq, digest)) + b"\n"
        body = self._encode(state)
        content_digest = sha256(header)
        content_digest.update(body)
        write_atomically(path, (_MAGIC, content_digest.digest(), header, body))

    def load(self, digest_at: Callable[[int], bytes | None]) -> Snapshot[State] | SnapshotIgnored:
        """The snapshot, if it belongs to this journal and this code; else the prepared one.

        Args:
            digest_at: the digest of an entry of the journal; None if there is no such entry.
        """
        snapshot = self._load_from(self._path, digest_at)
        if isinstance(snapshot, SnapshotIgnored) and not snapshot.seen_seq:
            prepared = self._load_from(self._next_path, digest_at)
            return snapshot if isinstance(prepared, SnapshotIgnored) else prepared
        return snapshot

    def _load_from(
        self, path: Path, digest_at: Callable[[int], bytes | None]
    ) -> Snapshot[State] | SnapshotIgnored:
        try:
            data = read_regular_file(path, _FILE_BYTES_MAX)
        except FileNotFoundError:
            return SnapshotIgnored("there is none")
        except OSError as error:
            return SnapshotIgnored(f"it cannot be read: {error.strerror}")
        start = len(_MAGIC) + _DIGEST_BYTES
        content = memoryview(data)[start:]  # no copies: a month of waiting calls is megabytes
        if data[:start] != _MAGIC + sha256(content).digest():
            return SnapshotIgnored("it is damaged")
        end = data.find(b"\n", start)
        body = memoryview(data)[end + 1 :]
        try:
            header = msgspec.json.decode(data[start:end], type=_SnapshotHeader)
        except msgspec.MsgspecError as error:
            return SnapshotIgnored(f"its header does not decode: {error}")
        if header.fingerprint != self._fingerprint:
            return SnapshotIgnored("another release made it")
        if digest_at(header.seq) != header.digest:
            return SnapshotIgnored(f"the journal's entry {header.seq} is another one", header.seq)
        try:
            return Snapshot(header.seq, self._decode(body))
        except DECODE_ERRORS as error:
            reason = " ".join(str(error).split())
            return SnapshotIgnored(f"it does not decode: {type(error).__name__} {reason}")
