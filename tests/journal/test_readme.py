"""The verifier shown in journal/README.md finds the same as `station verify`."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journal.kinds import (
    TokenShown,
    archive_until,
    make_entries,
    make_entry,
    open_writable,
    run_hidden_statements,
)

README = Path(__file__).parents[2] / "journal" / "README.md"


@pytest.fixture
def readme_verifier(tmp_path: Path) -> list[str]:
    """The command that runs the README's verifier, with nothing but the standard library."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    [code] = [block for block in blocks if "ocpp-station journal {format}" in block]
    assert len(code.strip().splitlines()) <= 33
    script = tmp_path / "verifier.py"
    script.write_text(code, encoding="utf-8")
    return [sys.executable, "-I", "-S", str(script)]


def run_verifier(readme_verifier: list[str], path: Path) -> str:
    done = subprocess.run(
        [*readme_verifier, str(path)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("moved", [(), (20,), (20, 250), (300,)])
def test_the_verifier_of_the_readme_agrees(
    readme_verifier: list[str], tmp_path: Path, moved: tuple[int, ...]
) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        token = store.reference_for("ISO14443", "04A224B2")
        store.append([*make_entries(1, 300), make_entry(301, TokenShown(token), cause=300)])
        for last in moved:
            assert archive_until(store, path, last)
        assert run_verifier(readme_verifier, path) == f"301:{store.head.digest.hex()}\n"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE entry SET body = '{}' WHERE seq = 77", "entry 77: missing or changed"),
        ("DELETE FROM entry WHERE seq = 77", "entry 77: missing or changed"),
        ("UPDATE meta SET journal_id = 'x'", "entry 1: missing or changed"),
        ("UPDATE id_token SET value = 'x'", "#1a1: not the value that was referred to"),
    ],
)
def test_the_verifier_of_the_readme_finds_what_was_done(
    readme_verifier: list[str], tmp_path: Path, statement: str, expected: str
) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        ref = store.reference_for("ISO14443", "04A224B2").ref
        store.append(list(make_entries(1, 300)))
    run_hidden_statements(path, statement)
    assert run_verifier(readme_verifier, path) == expected.replace("#1a1", ref) + "\n"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET body = '{}' WHERE seq = 77",
        "DELETE FROM entry WHERE seq BETWEEN 77 AND 99",
    ],
)
def test_the_verifier_of_the_readme_finds_in_the_archive_what_was_damaged_before(
    readme_verifier: list[str], tmp_path: Path, statement: str
) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, 300)))
    run_hidden_statements(path, statement)
    with open_writable(path) as store:
        assert archive_until(store, path, 200)
    assert run_verifier(readme_verifier, path) == "entry 77: missing or changed\n"


def test_the_verifier_of_the_readme_follows_what_was_left_half_way(
    readme_verifier: list[str], tmp_path: Path
) -> None:
    """A segment is there, and only some of its entries have left the file."""
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, 300)))
        copy = tmp_path / "copy"
        copy.mkdir()
        assert archive_until(store, path, 200)
        head = store.head
        [segment] = tmp_path.glob("journal.*.gz")
        shutil.copy(segment, copy)
    with open_writable(copy / "journal.db") as store:
        store.append(list(make_entries(1, 300)))
        store.drop_archived(90)
        assert store.head == head
    assert run_verifier(readme_verifier, copy / "journal.db") == f"300:{head.digest.hex()}\n"


@pytest.mark.parametrize("how", ["missing", "changed"])
def test_the_verifier_of_the_readme_finds_what_was_done_to_the_archive(
    readme_verifier: list[str], tmp_path: Path, how: str
) -> None:
    path = tmp_path / "journal.db"
    with open_writable(path) as store:
        store.append(list(make_entries(1, 300)))
        assert archive_until(store, path, 100)
        assert archive_until(store, path, 200)
    first, second = sorted(tmp_path.glob("journal.*.gz"))
    if how == "missing":
        second.unlink()
        assert run_verifier(readme_verifier, path) == "entry 101: missing or changed\n"
    else:
        text = gzip.decompress(first.read_bytes()).replace(b":77.600", b":77.601")
        first.write_bytes(gzip.compress(text))
        assert run_verifier(readme_verifier, path) == "entry 77: missing or changed\n"
