"""A stranger's verifier, as the README gives it, agrees with ours."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journal.kinds import TokenShown, entries, entry, opened

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def strangers(tmp_path: Path) -> list[str]:
    """The command that runs the README's verifier, with nothing but the standard library."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    [code] = [block for block in blocks if "ocpp-station journal {format}" in block]
    assert len(code.strip().splitlines()) <= 20
    script = tmp_path / "verifier.py"
    script.write_text(code, encoding="utf-8")
    return [sys.executable, "-I", "-S", str(script)]


def verdict(strangers: list[str], path: Path) -> str:
    done = subprocess.run([*strangers, str(path)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("retired", [0, 20])
def test_the_verifier_of_the_readme_agrees(
    strangers: list[str], tmp_path: Path, retired: int
) -> None:
    path = tmp_path / "journal.db"
    with opened(path) as store:
        token = store.refer("ISO14443", "04A224B2")
        store.append([*entries(1, 300), entry(301, TokenShown(token), cause=300)])
        if retired:
            store.retire(retired)
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
    connection = sqlite3.connect(path)
    for (name,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
    ).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)
    connection.commit()
    connection.close()
    assert verdict(strangers, path) == expected.replace("#1a1", ref) + "\n"
