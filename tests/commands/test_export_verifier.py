"""An export can be verified with the documentation and the standard library alone.

The verifier is `tests/support/export_verifier.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from station.history.export.tables import TABLE_COLUMNS
from tests.commands.fixtures_journals import StationCommand

VERIFIER = Path(__file__).parents[1] / "support" / "export_verifier.py"


def run_verifier(export: Path, *more: str) -> str:
    """Run the verifier with nothing but the standard library."""
    arguments = [sys.executable, "-I", "-S", str(VERIFIER), str(export), *more]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return (result.stdout + result.stderr).strip()


def export_table(
    run_station: StationCommand, journal: Path, out: Path, table: str, format: str = "csv"
) -> Path:
    assert run_station("export", journal, table, "--format", format, "--out", out).exit_code == 0
    return next(file.parent for file in out.rglob("*manifest.json"))


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("what", list(TABLE_COLUMNS))
def test_the_independent_verifier_finds_the_same_head(
    run_station: StationCommand, journal: Path, tmp_path: Path, what: str, format: str
) -> None:
    out = export_table(run_station, journal, tmp_path / "out", what, format)
    output = run_station("verify", out).stdout.split()
    fingerprint, head = output[output.index("key") + 1], output[-1]
    assert run_verifier(out, fingerprint) == head
    assert run_verifier(out, "0" * 64) == "signed by another key"


def flip_byte(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def rename_identity(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"CS001", b"CS002"))


def resign_export(out: Path) -> None:
    """Remove a row and make everything fit except the totals."""
    data = out / "transactions.csv"
    data.write_bytes(data.read_bytes().splitlines(keepends=True)[0])
    key = Ed25519PrivateKey.generate()
    manifest = json.loads((out / "manifest.json").read_bytes())
    manifest["files"][0] |= {
        "bytes": data.stat().st_size,
        "sha256": sha256(data.read_bytes()).hexdigest(),
    }
    manifest["public_key"] = key.public_key().public_bytes_raw().hex()
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "manifest.json.sig").write_bytes(key.sign((out / "manifest.json").read_bytes()))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: flip_byte(out / "transactions.csv", -20), "transactions.csv: changed"),
        (lambda out: rename_identity(out / "manifest.json"), "the signature is invalid"),
        (lambda out: flip_byte(out / "manifest.json.sig", 3), "the signature is invalid"),
        (lambda out: flip_byte(out / "manifest.json.sig", 40), "the signature is invalid"),
        (lambda out: (out / "more.csv").touch(), "more.csv: not in the manifest"),
        (resign_export, "rows: 0, not 1"),
    ],
)
def test_the_independent_verifier_finds_changes(
    run_station: StationCommand,
    journal: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    out = export_table(run_station, journal, tmp_path / "out", "transactions")
    assert run_verifier(out).count(":") == 1
    damage(out)
    assert run_verifier(out) == message


def test_the_independent_verifier_checks_the_chain_of_events(
    run_station: StationCommand, journal: Path, tmp_path: Path
) -> None:
    """Even the station's own key does not make another history of it."""
    out = export_table(run_station, journal, tmp_path / "out", "events")
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert run_verifier(out) == f"{manifest['last_seq']}:{manifest['last_digest']}"
    data = out / "events.csv"
    data.write_bytes(data.read_bytes().replace(b"2935.600", b"2934.600"))
    manifest["files"][0]["sha256"] = sha256(data.read_bytes()).hexdigest()
    key = Ed25519PrivateKey.generate()
    manifest["public_key"] = key.public_key().public_bytes_raw().hex()
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "manifest.json.sig").write_bytes(key.sign((out / "manifest.json").read_bytes()))
    assert run_verifier(out).startswith("entry ")
