"""Migrations in a process of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from journal.storage import schema
from journal.storage.connection import StoreSettings
from journal.storage.store import Store
from tests.journal.kinds import JOURNAL_ID, REGISTRY

APART = StoreSettings(migrates_apart=True)


def open_journal(path: Path, settings: StoreSettings = APART) -> None:
    with Store.open(path, REGISTRY, journal_id_if_new=JOURNAL_ID, settings=settings) as store:
        assert store.journal_id == JOURNAL_ID
        assert store.head.seq == 0


def fail(*_: object) -> None:
    raise AssertionError("migrated in this process")


def test_another_process_runs_the_migrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_run_migrations", fail)
    open_journal(tmp_path / "journal.db")
    with pytest.raises(AssertionError, match="in this process"):
        open_journal(tmp_path / "other.db", StoreSettings())


@pytest.mark.parametrize("program", ["/no/such/program", "/bin/false"])
def test_what_the_other_process_leaves_out_is_done_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    open_journal(tmp_path / "journal.db")


def test_no_process_is_started_for_a_journal_that_is_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_journal(tmp_path / "journal.db")
    monkeypatch.setattr(schema, "_run_migrations_apart", fail)
    open_journal(tmp_path / "journal.db")
