"""Snapshots: the state at entry N, so that a start need not replay the whole journal.

A snapshot is valid for the code that made it and is disposable: whatever is wrong with it, it is
ignored with a reason, and the journal is replayed from its beginning. A snapshot of other code is
valid for those parts of the state whose own code is the same. Code that ran on another version of
Python or msgspec is other code: decimals, times and texts are read and computed by them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, Generic, NamedTuple, TypeVar

import msgspec

from journal.codec import DECODE_ERRORS
from journal.format.sectors import read_regular_file
from journal.storage.atomic_file import write_atomically
from journal.storage.errors import JournalDamaged, JournalFailed

State = TypeVar("State")

# What computes a state besides our code.
RUNTIME_VERSIONS: Final = (
    f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}",
    f"msgspec {msgspec.__version__}",
)
_MAGIC = b"ocpp-station snapshot 1\n"
_DIGEST_BYTES = 32
_SEQ_MAX: Final = (1 << 63) - 1  # of SQLite: a greater one would be taken for a damaged journal
_FILE_BYTES_MAX = 64 << 20  # a month of waiting calls is a tenth of it


class _SnapshotHeader(msgspec.Struct, frozen=True):
    """The code and the entry that a snapshot belongs to."""

    fingerprint: bytes  # of the code of the state
    seq: Annotated[int, msgspec.Meta(ge=0, le=_SEQ_MAX)]  # the last entry in the state
    digest: bytes  # of entry `seq`
    parts: dict[str, bytes] = {}  # fingerprints of the code of each part; none in older files


class Snapshot(NamedTuple, Generic[State]):
    """A state and the last entry in it."""

    seq: int
    state: State


class PartialSnapshot(NamedTuple):
    """A state of other code. Its parts whose code is the same are valid, if the entry is."""

    seq: int  # the last entry in the state
    digest: bytes  # of entry `seq`; to be compared with the journal
    body: memoryview  # the encoded state
    valid_parts: frozenset[str]  # at least one


class SnapshotIgnored(NamedTuple):
    """There is no valid snapshot: replay the whole journal."""

    reason: str
    seen_seq: int = 0  # its entry, if the journal has no such entry or another one; else 0


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
        part_fingerprints: Callable[[], Mapping[str, bytes]] = dict,
    ) -> None:
        """Use the file at `path`.

        Args:
            path: the file.
            fingerprint: of all code that computes the state.
            encode: the bytes of a state.
            decode: raises for anything that `encode` has not made.
            part_fingerprints: of the code of each part of the state, by name. Called only if no
                snapshot of the same code has them.
        """
        self._path = path
        self._next_path = path.with_suffix(".next")
        self._fingerprint = fingerprint
        self._encode = encode
        self._decode = decode
        self._compute_parts = part_fingerprints
        self._parts: Mapping[str, bytes] = {}  # empty: not known yet

    @property
    def _part_fingerprints(self) -> Mapping[str, bytes]:
        self._parts = self._parts or self._compute_parts()
        return self._parts

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
        parts = dict(self._part_fingerprints)
        header = msgspec.json.encode(_SnapshotHeader(self._fingerprint, seq, digest, parts)) + b"\n"
        body = self._encode(state)
        content_digest = sha256(header)
        content_digest.update(body)
        write_atomically(path, (_MAGIC, content_digest.digest(), header, body))

    def load(
        self, digest_at: Callable[[int], bytes | None]
    ) -> Snapshot[State] | PartialSnapshot | SnapshotIgnored:
        """The snapshot, if it belongs to this journal and this code; else the prepared one.

        If neither does, a snapshot of other code that has parts of the same code. After a snapshot
        for another entry, of any code, the prepared one is not used: entries may be missing at the
        end of the journal.

        Args:
            digest_at: the digest of an entry of the journal; None if there is no such entry.

        Raises:
            JournalDamaged: by `digest_at`.
        """
        snapshot = self._load_from(self._path, digest_at)
        if isinstance(snapshot, Snapshot) or (
            isinstance(snapshot, SnapshotIgnored) and snapshot.seen_seq
        ):
            return snapshot
        prepared = self._load_from(self._next_path, digest_at)
        return prepared if isinstance(prepared, Snapshot) else snapshot

    def _load_from(
        self, path: Path, digest_at: Callable[[int], bytes | None]
    ) -> Snapshot[State] | PartialSnapshot | SnapshotIgnored:
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
        try:
            is_of_journal = digest_at(header.seq) == header.digest
        except JournalDamaged:
            raise
        except JournalFailed as failure:  # its segment of the archive was moved elsewhere
            return SnapshotIgnored(str(failure))
        if not is_of_journal:
            return SnapshotIgnored(f"the journal's entry {header.seq} is another one", header.seq)
        if header.fingerprint != self._fingerprint:
            return self._find_valid_parts(header, body)
        try:
            snapshot = Snapshot(header.seq, self._decode(body))
        except DECODE_ERRORS as error:
            return SnapshotIgnored(describe_undecodable(error))
        self._parts = header.parts
        return snapshot

    def _find_valid_parts(
        self, header: _SnapshotHeader, body: memoryview
    ) -> PartialSnapshot | SnapshotIgnored:
        if not header.parts:
            return SnapshotIgnored("another release made it")
        current = self._part_fingerprints
        valid = {name for name, made_by in header.parts.items() if current.get(name) == made_by}
        if not valid:
            return SnapshotIgnored("another release made it")
        return PartialSnapshot(header.seq, header.digest, body, frozenset(valid))


def describe_undecodable(error: Exception) -> str:
    """Why a snapshot is ignored whose state does not decode."""
    return f"it does not decode: {type(error).__name__} {' '.join(str(error).split())}"
