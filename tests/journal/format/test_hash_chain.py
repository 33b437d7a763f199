"""The digest rule, with literal bytes: a change would invalidate every journal in the field."""

from __future__ import annotations

from typing import Any

import pytest

from journal.format.hash_chain import entry_digest, origin_digest
from tests.journal.kinds import JOURNAL_ID

FIRST = (1, "2026-11-22T17:25:08.123Z", 8123, "MeterRead", 1, None, '{"energy_wh":2935.600}')
ORIGIN = "45666f1c06ca1c42b42dd785216941b949d0916d6ef6d1ff8652d532aa52863e"
DIGEST = "2fa136794ae2e1e09454045e02944b87e07a7e42bb374c9bb144345c8ceec287"


def test_the_origin_contains_the_id_of_the_journal() -> None:
    assert origin_digest(JOURNAL_ID).hex() == ORIGIN


def test_a_digest_covers_the_digest_before_it() -> None:
    assert entry_digest(origin_digest(JOURNAL_ID), *FIRST).hex() == DIGEST


@pytest.mark.parametrize(
    ("column", "value"),
    list(enumerate([2, "2026-11-22T17:25:08.124Z", 8124, "MeterRead2", 2, 1, "{}"])),
)
def test_every_column_counts(column: Any, value: Any) -> None:
    changed: list[Any] = list(FIRST)
    changed[column] = value
    assert entry_digest(bytes(32), *changed) != entry_digest(bytes(32), *FIRST)
    assert entry_digest(bytes(31) + b"\1", *FIRST) != entry_digest(bytes(32), *FIRST)
