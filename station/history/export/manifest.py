"""Signed manifest of an export: writing it and verifying an export against it.

The manifest is beside the data. It lists every file with its SHA-256, the range, and the journal's
head digest; its bytes are signed with Ed25519. With the station's public key, or its fingerprint,
an export can be verified without the journal and without the station.

The signature alone proves nothing about the signer: the manifest contains the key it is verified
with, so an export that was changed and signed again is consistent. Only the fingerprint, from a
trusted source, shows that the station signed it. A manifest that is read is untrusted: its types
accept only what `station export` writes, and its texts are escaped before they are printed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, NamedTuple
from urllib.parse import quote

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from journal.format.sectors import read_regular_file
from station.transcript.phrases import escape_control_characters

FORMAT: Final = "ocpp-station export 1"
MANIFEST_NAME: Final = "manifest.json"
HIDDEN_NAME: Final = f"_{MANIFEST_NAME}"  # in a Parquet tree: query engines skip names with `_`
PARTITION_PREFIX: Final = "station="  # of the directory of one station in a tree
SIGNATURE_SUFFIX: Final = ".sig"  # appended to the manifest's name: 64 bytes over its bytes
MANIFEST_BYTES_MAX: Final = 64 << 20  # a Parquet export of a century has 36,525 files, 10 MB
SIGNATURE_BYTES: Final = 64
PATH_CHARS_MAX: Final = 200  # of a path in a complaint
READ_BYTES: Final = 1 << 20  # of a data file, at a time

Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]  # 32 bytes
OptionalHex32 = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z")]  # or empty
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
TimeText = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z\Z")
]
DecimalText = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,60}(\.[0-9]{1,30})?\Z")]
UuidText = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
TableName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z-]{0,39}\Z")]


class SigningKeyFailed(Exception):
    """The signing key cannot be read or created. One line: which file, what to do."""


class ManifestFile(msgspec.Struct, frozen=True):
    path: str  # relative to the manifest's directory, with slashes
    bytes: Count
    rows: Count
    sha256: Hex32


class Manifest(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The contents of manifest.json; a field is a key of the file (`from_` is `from`)."""

    format: str
    table: TableName
    station: str
    journal_id: UuidText
    from_: TimeText | None
    to: TimeText | None
    first_seq: Count
    last_seq: Count
    last_digest: OptionalHex32  # of entry last_seq; empty: that entry cannot be read. With
    # last_seq it is a head for `verify --head`
    complete: bool  # every entry from first_seq to last_seq was there, readable and unchanged
    id_tokens_revealed: bool  # idToken values instead of references
    totals: dict[str, DecimalText]
    files: tuple[ManifestFile, ...]
    public_key: Hex32  # Ed25519, 32 bytes


class ExportLocation(NamedTuple):
    """Paths of an export."""

    root: Path  # directory to which the paths in the manifest are relative
    manifest: Path
    is_exclusive: bool  # the directory contains nothing but the export


def locate_export(
    path: Path, suffixes: frozenset[str], *, station: str | None = None
) -> ExportLocation:
    """Where an export to `path` is written.

    A path with the suffix of a data file is that file, with its manifest beside it; any other path
    is a directory.

    Args:
        station: the path is a tree that several stations share; this station has a directory in it.
    """
    if path.suffix in suffixes and not path.is_dir():
        return ExportLocation(
            path.parent, path.with_name(f"{path.name}.{MANIFEST_NAME}"), is_exclusive=False
        )
    if station is None:
        return ExportLocation(path, path / MANIFEST_NAME, is_exclusive=True)
    directory = path / partition_name(station)
    return ExportLocation(directory, directory / HIDDEN_NAME, is_exclusive=True)


def partition_name(station: str) -> str:
    """Name of a station's directory in a tree, in Hive's notation."""
    return PARTITION_PREFIX + quote(station, safe="")


# --- Writing -------------------------------------------------------------------------------------


def describe_file(root: Path, path: Path, row_count: int) -> ManifestFile:
    """The manifest's row for a file."""
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return ManifestFile(path.relative_to(root).as_posix(), path.stat().st_size, row_count, digest)


def open_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the key in `path`, or create it, readable by the owner only.

    Raises:
        SigningKeyFailed: the file is not such a key, or cannot be read or created.
    """
    try:
        if path.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if not isinstance(key, Ed25519PrivateKey):
                raise SigningKeyFailed(
                    f"{path}: not an Ed25519 key. Move the file away; a new key is then created."
                )
            return key
        return _create_key(path)
    except OSError as error:
        raise SigningKeyFailed(
            f"{path}: {error.strerror}. Give the path of a readable or new key with --key."
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningKeyFailed(
            f"{path}: not a private key. Move the file away; a new key is then created."
        ) from error


def _create_key(path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    return key


def encode_public_key(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def key_fingerprint(public_key_hex: str) -> str:
    """SHA-256 of the 32 bytes of the public key, for comparison by a person."""
    return sha256(bytes.fromhex(public_key_hex)).hexdigest()


def write_manifest(manifest: Manifest, location: ExportLocation, key: Ed25519PrivateKey) -> None:
    """Write the manifest and its signature. Raises OSError."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    location.manifest.write_bytes(text)
    signature_path(location.manifest).write_bytes(key.sign(text))


def signature_path(manifest_path: Path) -> Path:
    return manifest_path.with_name(manifest_path.name + SIGNATURE_SUFFIX)


# --- Verifying -----------------------------------------------------------------------------------


def find_manifest(path: Path) -> Path | None:
    """The manifest of an export, given its directory, one of its files or the manifest itself."""
    beside = path.with_name(f"{path.name}.{MANIFEST_NAME}")
    itself = path.with_name(path.name.removesuffix(SIGNATURE_SUFFIX))
    candidates = [
        path / MANIFEST_NAME,
        path / HIDDEN_NAME,
        itself if itself.name.endswith(MANIFEST_NAME) else beside,
    ]
    if path.is_file():  # a file listed in the directory's manifest; with Parquet, a file of a day
        candidates += [
            path.parent / MANIFEST_NAME,
            path.parent / HIDDEN_NAME,
            path.parent.parent / HIDDEN_NAME,
        ]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def find_manifests(path: Path) -> list[Path]:
    """The manifest of the export at `path`, or those of all stations of a tree."""
    if manifest := find_manifest(path):
        return [manifest]
    return sorted(path.rglob(HIDDEN_NAME)) if path.is_dir() else []


def find_unexported_files(tree: Path, manifest_paths: list[Path]) -> Iterator[str]:
    """Files of a tree that belong to no export; a query engine would read them."""
    directories = {manifest.parent for manifest in manifest_paths}
    for path in sorted(tree.rglob("*")):
        if path.is_file() and directories.isdisjoint(path.parents):
            yield escape_control_characters(f"{path}: in no export with a manifest")


def read_manifest(manifest_path: Path) -> tuple[Manifest, bytes]:
    """Read a manifest, and its bytes, which are signed.

    Raises:
        OSError, ValueError: unreadable, or not a manifest.
    """
    text = read_regular_file(manifest_path, MANIFEST_BYTES_MAX)
    manifest = msgspec.json.decode(text, type=Manifest)
    if manifest.complete and not manifest.last_digest:
        raise ValueError("complete, but without last_digest")
    return manifest, text


def verify_export(path: Path, *, fingerprints: Collection[str] = ()) -> Iterator[str]:
    """Every complaint about an export, one line each, without control characters.

    Args:
        path: its manifest.
        fingerprints: of the keys one of which must have signed it, in lower case; empty: any key.
    """
    yield from map(escape_control_characters, _find_complaints(path, fingerprints))


def _find_complaints(path: Path, fingerprints: Collection[str]) -> Iterator[str]:
    try:
        manifest, text = read_manifest(path)
    except (OSError, ValueError, RecursionError) as error:
        yield f"{path}: not a readable manifest: {error}"
        return
    yield from _verify_signature(path, text, manifest.public_key, fingerprints)
    if manifest.format != FORMAT:
        yield f"{path}: format {manifest.format!r}; this release reads {FORMAT!r}"
    if path.name == HIDDEN_NAME and path.absolute().parent.name != partition_name(manifest.station):
        expected = partition_name(manifest.station)
        yield f"{path.parent}: must be named {expected}: query engines take the station from it"
    row_count = sum(file.rows for file in manifest.files)
    if manifest.totals.get("rows") != str(row_count):
        yield f"{path}: totals give another number of rows than the files, which have {row_count}"
    for file in manifest.files:
        yield from _verify_file(path.parent, file)
    if path.name in (MANIFEST_NAME, HIDDEN_NAME):
        yield from _find_unlisted_files(path, {path.parent / file.path for file in manifest.files})


def _verify_signature(
    path: Path, text: bytes, public_key_hex: str, fingerprints: Collection[str]
) -> Iterator[str]:
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key_hex))
        key.verify(read_regular_file(signature_path(path), SIGNATURE_BYTES), text)
    except FileNotFoundError:
        yield f"{signature_path(path)}: missing; the manifest is not signed"
    except (InvalidSignature, ValueError, OSError, UnsupportedAlgorithm):
        yield f"{path}: invalid signature; the manifest was changed after signing"
    else:
        fingerprint = key_fingerprint(public_key_hex)
        if fingerprints and fingerprint not in fingerprints:
            yield f"{path}: signed with key {fingerprint}, not with the given key"


def _verify_file(root: Path, file: ManifestFile) -> Iterator[str]:
    path = root / file.path
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            yield f"{file.path}: outside of the export"
        elif not path.is_file():
            yield f"{path}: missing"
        elif path.stat().st_size != file.bytes:
            yield f"{path}: {path.stat().st_size} bytes, not {file.bytes}"
        else:
            yield from _verify_content(path, file)
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the path, a loop of links
        yield f"{shorten_path(file.path)}: cannot be read: {describe_error(error)}"


def _verify_content(path: Path, file: ManifestFile) -> Iterator[str]:
    with path.open("rb") as data:
        if file_digest(data, "sha256").hexdigest() != file.sha256:
            yield f"{path}: changed; its SHA-256 differs from the manifest"
            return
        data.seek(0)
        row_count = _count_rows(data, path.suffix)
    if row_count is not None and row_count != file.rows:
        yield f"{path}: {row_count} rows, not {file.rows}"


def _count_rows(data: BinaryIO, suffix: str) -> int | None:
    """The rows of a data file, without the header of CSV; None: not a text format."""
    if suffix not in (".csv", ".jsonl"):
        return None
    lines, in_quotes = 0, False
    while piece := data.read(READ_BYTES):
        if suffix == ".jsonl":
            lines += piece.count(b"\n")
            continue
        parts = piece.split(b'"')  # a line feed between quotes belongs to a cell
        lines += sum(part.count(b"\n") for part in parts[in_quotes::2])
        in_quotes ^= len(parts) % 2 == 0
    return lines - (suffix == ".csv")


def shorten_path(path: str) -> str:
    """A path of a manifest, cut to a length that a line can have."""
    return path if len(path) <= PATH_CHARS_MAX else f"{path[:PATH_CHARS_MAX]}…"


def describe_error(error: Exception) -> str:
    """What the system reports, without the path that it repeats."""
    return str(getattr(error, "strerror", None) or error)


def _find_unlisted_files(manifest_path: Path, listed_paths: set[Path]) -> Iterator[str]:
    """Files that are not in the manifest; a query engine would read them with the others."""
    own_paths = {manifest_path, signature_path(manifest_path)}
    for path in sorted(manifest_path.parent.rglob("*")):
        if path.is_file() and path not in listed_paths and path not in own_paths:
            yield f"{path}: not in the manifest"


def summarize_manifest(manifest: Manifest) -> dict[str, Any]:
    """What `station verify` prints of an export without complaints."""
    return {
        "rows": sum(file.rows for file in manifest.files),
        "head": f"{manifest.last_seq}:{manifest.last_digest}",
        "key": key_fingerprint(manifest.public_key),
    }
