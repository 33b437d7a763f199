"""Verifier of an export, written from station/history/README.md alone; standard library only.

    python export_verifier.py EXPORT [FINGERPRINT]

Checks the manifest's Ed25519 signature, the key's fingerprint, size and digest of each file, the
totals, and in `events` the hash chain. Prints the head of the journal as SEQ:DIGEST, or one line
with the reason why the export is not accepted. `tests/commands/test_export_verifier.py` compares
it with `station verify`.
"""

import csv
import hashlib
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

# --- Ed25519, RFC 8032 ---------------------------------------------------------------------------

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE = -121665 * pow(121666, -1, PRIME) % PRIME


Point = tuple[int, int, int, int]


def add_points(first: Point, second: Point) -> Point:
    """The sum of two points in extended coordinates."""
    a = (first[1] - first[0]) * (second[1] - second[0]) % PRIME
    b = (first[1] + first[0]) * (second[1] + second[0]) % PRIME
    c = 2 * first[3] * second[3] * CURVE % PRIME
    d = 2 * first[2] * second[2] % PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % PRIME, g * h % PRIME, f * g % PRIME, e * h % PRIME


def multiply_point(number: int, point: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while number:
        if number & 1:
            total = add_points(total, point)
        point, number = add_points(point, point), number >> 1
    return total


def point_of(data: bytes) -> Point:
    """Decode a point of the curve from 32 bytes; ValueError if there is none."""
    y = int.from_bytes(data, "little")
    odd, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(CURVE * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    if (x * x - square) % PRIME or y >= PRIME or (x == 0 and odd):
        raise ValueError("no point of the curve")
    x = PRIME - x if x & 1 != odd else x
    return x, y, 1, x * y % PRIME


BASE = point_of((4 * pow(5, -1, PRIME) % PRIME).to_bytes(32, "little"))


def is_signed(key: bytes, signature: bytes, text: bytes) -> bool:
    """Whether the signature of the text by this key is valid."""
    if len(signature) != 64 or int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    try:
        commitment, owner = point_of(signature[:32]), point_of(key)
    except ValueError:
        return False
    digest = hashlib.sha512(signature[:32] + key + text).digest()
    left = multiply_point(int.from_bytes(signature[32:], "little"), BASE)
    right = add_points(commitment, multiply_point(int.from_bytes(digest, "little") % ORDER, owner))
    return not any((left[axis] * right[2] - right[axis] * left[2]) % PRIME for axis in (0, 1))


# --- The export ----------------------------------------------------------------------------------


def check_export(export: Path, fingerprint: str | None) -> None:
    [manifest_path] = [
        path for path in (export / "manifest.json", export / "_manifest.json") if path.is_file()
    ]
    text = manifest_path.read_bytes()
    manifest = json.loads(text)
    key = bytes.fromhex(manifest["public_key"])
    if not is_signed(key, manifest_path.with_name(manifest_path.name + ".sig").read_bytes(), text):
        sys.exit("the signature is invalid")
    if fingerprint and hashlib.sha256(key).hexdigest() != fingerprint:
        sys.exit("signed by another key")
    for file in manifest["files"]:
        data = (export / file["path"]).read_bytes()
        if len(data) != file["bytes"] or hashlib.sha256(data).hexdigest() != file["sha256"]:
            sys.exit(f"{file['path']}: changed")
        if file["path"].endswith(".csv"):
            check_rows(manifest, list(csv.DictReader(data.decode().splitlines(keepends=True))))
    listed = {
        manifest_path.name,
        f"{manifest_path.name}.sig",
        *(file["path"] for file in manifest["files"]),
    }
    for path in export.rglob("*"):
        if path.is_file() and path.relative_to(export).as_posix() not in listed:
            sys.exit(f"{path.name}: not in the manifest")
    if not manifest["complete"]:
        sys.exit("the journal was damaged when it was exported")
    print(f"{manifest['last_seq']}:{manifest['last_digest']}")


def check_rows(manifest: dict[str, Any], rows: list[dict[str, str]]) -> None:
    """Check the totals exactly; in `events`, also the hash chain."""
    for name, total in manifest["totals"].items():
        actual = Decimal(len(rows))
        if name != "rows":
            actual = sum((Decimal(row[name] or 0) for row in rows), Decimal())
        if actual != Decimal(total):
            sys.exit(f"{name}: {actual}, not {total}")
    is_whole_chain = manifest["table"] == "events" and rows and rows[0]["seq"] == "1"
    if is_whole_chain and not manifest["id_tokens_revealed"]:
        digest = hashlib.sha256(
            f"ocpp-station journal 1 {manifest['journal_id']}".encode()
        ).digest()
        for row in rows:
            columns = ("seq", "at", "uptime_ms", "kind", "version", "cause_seq", "body")
            line = "\n".join(row[name] for name in columns)
            digest = hashlib.sha256(digest + line.encode()).digest()
            if digest.hex() != row["digest"]:
                sys.exit(f"entry {row['seq']}: changed")
        if manifest["last_digest"] != digest.hex():
            sys.exit("last_digest does not match the chain")


check_export(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
