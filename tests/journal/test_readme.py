"""A stranger's verifier, as the README gives it, agrees with ours."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journal.kinds import TokenShown, archived, entries, entry, mistreated, opened

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def strangers(tmp_path: Path) -> list[str]:
    """The command that runs the README's verifier, with nothing but the standard library."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    [code] = [block for block in blocks if "ocpp-station journal {format}" in block]
    assert len(code.strip().splitlines()) <= 33
    script = tmp_path / "verifier.py"
    script.write_text(code, encoding="utf-8")
    return [sys.executable, "-I", "-S", str(script)]


def verdict(strangers: list[str], path: Path) -> str:
    done = subprocess.run([*strangers, str(path)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("moved", [(), (20,), (20, 250), (300,)])
def test_the_verifier_of_the_readme_agrees(
    strangers: list[str], tmp_path: Path, moved: tuple[int, ...]
) -> None:
    path = tmp_path / "journal.db"
    with opened(path) as store:
        token = store.refer("ISO14443", "04A224B2")
        store.append([*entries(1, 300), entry(301, TokenShown(token), cause=300)])
        for last in moved:
            assert archived(store, path, last)
        assert verdict(strangers, path) == f"301:{store.head.digest.hex()}\n"


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
    strangers: list[str], tmp_path: Path, statement: str, expected: str
) -> None:
    path = tmp_path / "journal.db"
    with opened(path) as store:
        ref = store.refer("ISO14443", "04A224B2").ref
        store.append(list(entries(1, 300)))
    mistreated(path, statement)
    assert verdict(strangers, path) == expected.replace("#1a1", ref) + "\n"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET body = '{}' WHERE seq = 77",
        "DELETE FROM entry WHERE seq BETWEEN 77 AND 99",
    ],
)
def test_the_verifier_of_the_readme_finds_in_the_archive_what_was_damaged_before(
    strangers: list[str], tmp_path: Path, statement: str
) -> None:
    path = tmp_path / "journal.db"
    with opened(path) as store:
        store.append(list(entries(1, 300)))
    mistreated(path, statement)
    with opened(path) as store:
        assert archived(store, path, 200)
    assert verdict(strangers, path) == "entry 77: missing or changed\n"


def test_the_verifier_of_the_readme_follows_what_was_left_half_way(
    strangers: list[str], tmp_path: Path
) -> None:
    """A segment is there, and only some of its entries have left the file."""
    path = tmp_path / "journal.db"
    with opened(path) as store:
        store.append(list(entries(1, 300)))
        copy = tmp_path / "copy"
        copy.mkdir()
        assert archived(store, path, 200)
        head = store.head
        [segment] = tmp_path.glob("journal.*.gz")
        shutil.copy(segment, copy)
    with opened(copy / "journal.db") as store:
        store.append(list(entries(1, 300)))
        store.retire(90)
        assert store.head == head
    assert verdict(strangers, copy / "journal.db") == f"300:{head.digest.hex()}\n"


@pytest.mark.parametrize("how", ["missing", "changed"])
def test_the_verifier_of_the_readme_finds_what_was_done_to_the_archive(
    strangers: list[str], tmp_path: Path, how: str
) -> None:
    path = tmp_path / "journal.db"
    with opened(path) as store:
        store.append(list(entries(1, 300)))
        assert archived(store, path, 100)
        assert archived(store, path, 200)
    first, second = sorted(tmp_path.glob("journal.*.gz"))
    if how == "missing":
        second.unlink()
        assert verdict(strangers, path) == "entry 101: missing or changed\n"
    else:
        text = gzip.decompress(first.read_bytes()).replace(b":77.600", b":77.601")
        first.write_bytes(gzip.compress(text))
        assert verdict(strangers, path) == "entry 77: missing or changed\n"
