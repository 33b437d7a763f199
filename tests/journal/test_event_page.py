"""journal/EVENTS.md has every kind and field as the source has it, and each has a text."""

from __future__ import annotations

from tests.durability.golden import station_kinds
from tests.journal.event_page import PAGE, describe, page_text


def test_the_page_of_events_is_generated_from_the_source() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_text(), (
        "run `python -m tests.journal.event_page` and commit what it changes"
    )


def test_every_kind_has_a_docstring_that_is_a_sentence() -> None:
    docs = {kind.__name__: describe(kind).doc for kind in station_kinds().kinds.values()}
    assert [name for name, doc in docs.items() if not doc.endswith((".", '"'))] == []
