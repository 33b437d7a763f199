"""Every story has its transcript, and its state survives encoding after every entry."""

from __future__ import annotations

import pytest

from journal.state import State, apply_entries, apply_entry, decode_state, encode_state
from tests.stories import HERE, STORIES, play_story, transcript_of, transcript_path
from tests.support.story import JOURNAL_ID


@pytest.mark.parametrize("name", STORIES)
def test_a_story_has_its_transcript(name: str) -> None:
    """After an intended change: `python -m tests.stories`, and read the diff."""
    assert transcript_of(name) == transcript_path(name).read_text(encoding="utf-8")


def test_every_transcript_has_its_story() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == STORIES.keys()


@pytest.mark.parametrize("name", STORIES)
def test_the_state_survives_encoding_after_every_entry_p1(name: str) -> None:
    """A state that was encoded and decoded at any point leads to the same final state."""
    station = play_story(name)
    state = State(JOURNAL_ID)
    for at, entry in enumerate(station.entries, start=1):
        state = apply_entry(decode_state(encode_state(state)), entry)
        if at % 10 == 0:
            assert apply_entries(state, station.entries[at:]) == station.state
    assert encode_state(state) == encode_state(station.state)


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_the_same_each_time_it_is_told(name: str) -> None:
    assert play_story(name).entries == play_story(name).entries
