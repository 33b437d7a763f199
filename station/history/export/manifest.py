"""What makes an export trustworthy without the station?

A manifest beside the data names every file with its SHA-256, the range, and the journal's head
digest; its bytes are signed with Ed25519. Whoever knows the station's public key, or its
fingerprint, needs nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT: Final = "ocpp-station export 1"
MANIFEST_NAME: Final = "manifest.json"
HIDDEN_NAME: Final = (
    f"_{MANIFEST_NAME}"  # in a tree of Parquet: engines pass over names that begin so
)
PARTITION_PREFIX: Final = (
    "station="  # begins the name of the directory that a station has in a tree
)
SIGNATURE_SUFFIX: Final = ".sig"  # behind the manifest's name: 64 bytes over the manifest's bytes


class SigningKeyFailed(Exception):
    """The signing key cannot be read or made. One line: which file, what to do."""


class ManifestFile(msgspec.Struct, frozen=True):
    path: str  # from the manifest's directory, with slashes
    bytes: int
    rows: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What an export says of itself."""

    format: str
    table: str
    station: str
    journal_id: str
    from_: str | None
    to: str | None
    first_entry: int
    last_entry: int
    last_digest: str  # of that entry: the chain up to it, as `station verify --head` takes it
    whole: bool  # every entry up to the last was there, readable and unchanged
    values: bool  # idTokens, not their references
    totals: dict[str, str]
    files: tuple[ManifestFile, ...]
    public_key: str  # Ed25519, 32 bytes in hex


class ExportLocation(NamedTuple):
    """Where an export lies."""

    root: Path  # directory that the paths in the manifest start from
    manifest: Path
    is_exclusive: bool  # the directory holds nothing else


def locate_export(
    path: Path, suffixes: frozenset[str], *, station: str | None = None
) -> ExportLocation:
    """A path that ends as a data file is one, with its manifest beside it; else a directory.

    `station`: the path is a tree that stations share, and each has a directory of its own there.
    """
    if path.suffix in suffixes and not path.is_dir():
        return ExportLocation(
            path.parent, path.with_name(f"{path.name}.{MANIFEST_NAME}"), is_exclusive=False
        )
    if station is None:
        return ExportLocation(path, path / MANIFEST_NAME, is_exclusive=True)
    own = path / partition_name(station)
    return ExportLocation(own, own / HIDDEN_NAME, is_exclusive=True)


def partition_name(station: str) -> str:
    """The name of a station's directory in a tree, as Hive writes it."""
    return PARTITION_PREFIX + quote(station, safe="")


# --- Making --------------------------------------------------------------------------------------


def describe_file(root: Path, path: Path, row_count: int) -> ManifestFile:
    """What the manifest says of a file."""
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return ManifestFile(path.relative_to(root).as_posix(), path.stat().st_size, row_count, digest)


def open_signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in `path`, made when it is not there, for its owner's eyes only.

    Raises:
        SigningKeyFailed: it is no such key, or there cannot be one.
    """
    try:
        if path.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if not isinstance(key, Ed25519PrivateKey):
                raise SigningKeyFailed(
                    f"{path}: no Ed25519 key. Move it away, and a new one is made."
                )
            return key
        return _create_key(path)
    except OSError as error:
        raise SigningKeyFailed(
            f"{path}: {error.strerror}. Name a key that can be read or made with --key."
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningKeyFailed(
            f"{path}: no private key. Move it away, and a new one is made."
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
    """What a person compares: SHA-256 of the 32 bytes of the public key."""
    return sha256(bytes.fromhex(public_key_hex)).hexdigest()


def write_manifest(manifest: Manifest, location: ExportLocation, key: Ed25519PrivateKey) -> None:
    """Write the manifest and its signature. Raises OSError."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    location.manifest.write_bytes(text)
    signature_path(location.manifest).write_bytes(key.sign(text))


def signature_path(manifest_path: Path) -> Path:
    return manifest_path.with_name(manifest_path.name + SIGNATURE_SUFFIX)


# --- Checking ------------------------------------------------------------------------------------


def find_manifest(path: Path) -> Path | None:
    """The manifest of the export that `path` names: its directory, one of its files, or itself."""
    beside = path.with_name(f"{path.name}.{MANIFEST_NAME}")
    itself = path.with_name(path.name.removesuffix(SIGNATURE_SUFFIX))
    candidates = [
        path / MANIFEST_NAME,
        path / HIDDEN_NAME,
        itself if itself.name.endswith(MANIFEST_NAME) else beside,
    ]
    if path.is_file():  # one of those that the directory's manifest names; Parquet by days
        candidates += [
            path.parent / MANIFEST_NAME,
            path.parent / HIDDEN_NAME,
            path.parent.parent / HIDDEN_NAME,
        ]
    return next((one for one in candidates if one.is_file()), None)


def find_manifests(path: Path) -> list[Path]:
    """The manifest of the export that `path` names, or those of all stations of a tree."""
    one = find_manifest(path)
    return [one] if one else sorted(path.rglob(HIDDEN_NAME)) if path.is_dir() else []


def find_unexported_files(tree: Path, manifest_paths: list[Path]) -> Iterator[str]:
    """Files of a tree that are in nobody's export, though an engine would read them."""
    known = {manifest.parent for manifest in manifest_paths}
    for path in sorted(tree.rglob("*")):
        if path.is_file() and known.isdisjoint(path.parents):
            yield f"{path}: in no export with a manifest"


def read_manifest(manifest_path: Path) -> Manifest:
    """Raises OSError or ValueError: it cannot be read, or is no manifest."""
    return msgspec.json.decode(manifest_path.read_bytes(), type=Manifest)


def verify_export(path: Path, *, expected_fingerprint: str | None = None) -> Iterator[str]:
    """What is wrong with an export, a line each.

    Args:
        path: its manifest.
        expected: the fingerprint the key must have; None: any key.
    """
    try:
        text = path.read_bytes()
        manifest = msgspec.json.decode(text, type=Manifest)
    except (OSError, ValueError) as error:
        yield f"{path}: no manifest that can be read: {error}"
        return
    yield from _verify_signature(path, text, manifest.public_key, expected_fingerprint)
    if manifest.format != FORMAT:
        yield f"{path}: format {manifest.format!r}; this release knows {FORMAT!r}"
    if path.name == HIDDEN_NAME and path.absolute().parent.name != partition_name(manifest.station):
        yield f"{path.parent}: is not named {partition_name(manifest.station)}; engines would believe it"
    for file in manifest.files:
        yield from _verify_file(path.parent, file)
    if path.name in (MANIFEST_NAME, HIDDEN_NAME):
        yield from _find_unlisted_files(path, {path.parent / file.path for file in manifest.files})


def _verify_signature(
    path: Path, text: bytes, public_key_hex: str, expected_fingerprint: str | None
) -> Iterator[str]:
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key_hex))
        key.verify(signature_path(path).read_bytes(), text)
    except FileNotFoundError:
        yield f"{signature_path(path)}: missing, so nobody vouches for the manifest"
    except (InvalidSignature, ValueError, OSError, UnsupportedAlgorithm):
        yield f"{path}: its signature does not hold; it is not what was signed"
    else:
        if (
            expected_fingerprint is not None
            and key_fingerprint(public_key_hex) != expected_fingerprint.lower()
        ):
            yield f"{path}: signed with key {key_fingerprint(public_key_hex)}, which is not the one you named"


def _verify_file(root: Path, file: ManifestFile) -> Iterator[str]:
    path = root / file.path
    if not path.resolve().is_relative_to(root.resolve()):
        yield f"{file.path}: lies outside of the export"
    elif not path.is_file():
        yield f"{path}: missing"
    elif path.stat().st_size != file.bytes:
        yield f"{path}: {path.stat().st_size} bytes, not {file.bytes}"
    else:
        with path.open("rb") as data:
            if file_digest(data, "sha256").hexdigest() != file.sha256:
                yield f"{path}: changed; its SHA-256 is not the manifest's"


def _find_unlisted_files(manifest_path: Path, listed_paths: set[Path]) -> Iterator[str]:
    """A file that nobody vouches for would be read along with the others."""
    own = {manifest_path, signature_path(manifest_path)}
    for path in sorted(manifest_path.parent.rglob("*")):
        if path.is_file() and path not in listed_paths and path not in own:
            yield f"{path}: not in the manifest"


def summarize_manifest(manifest: Manifest) -> dict[str, Any]:
    """What a person is told of an export that is whole."""
    return {
        "rows": sum(file.rows for file in manifest.files),
        "head": f"{manifest.last_entry}:{manifest.last_digest}",
        "key": key_fingerprint(manifest.public_key),
    }
