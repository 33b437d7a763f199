"""The projection of the Local Authorization List: chunks of lines against a plain dictionary."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from journal.events import Decision, Entry, IdToken
from journal.projections.auth_cache import AuthCacheCleared
from journal.projections.local_list import (
    ListedIdToken,
    LocalList,
    LocalListChanged,
    LocalListReplaced,
)

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATUSES = ("Accepted", "Blocked", "Invalid")


def applied(local_list: LocalList, decision: Decision) -> LocalList:
    return local_list.apply(Entry(1, AT, 0, decision))


def token(number: int) -> IdToken:
    """Numbers share the end of their reference in groups of 16, so that chunks have many."""
    return IdToken(f"#{number:013x}{number % 16:03x}", "ISO14443")


def listed(source: random.Random, number: int) -> ListedIdToken:
    return ListedIdToken(
        id_token=token(number),
        status=source.choice(STATUSES),
        group_id_token=source.choice([None, IdToken("#00000000000f1ee7", "Central")]),
        expires_at=source.choice([None, "2026-12-24T18:00:00.000Z"]),
        allowed_evse_ids=source.choice([(), (1,), (2, 1)]),
    )


@pytest.mark.parametrize("seed", range(20))
def test_updates_have_the_effect_of_those_on_a_dictionary_d01_fr_16_d01_fr_17(seed: int) -> None:
    source = random.Random(seed)
    local_list, expected = LocalList(), dict[IdToken, ListedIdToken]()
    for version in range(1, 40):
        numbers = source.sample(range(200), source.randint(0, 30))
        entries = tuple(listed(source, number) for number in numbers)
        if source.random() < 0.1:
            decision: Decision = LocalListReplaced(version_number=version, id_tokens=entries)
            expected = {}
        else:
            removed = tuple(token(source.randrange(200)).ref for _ in range(source.randint(0, 20)))
            decision = LocalListChanged(
                version_number=version, updated=entries, removed_refs=removed
            )
            expected = {key: each for key, each in expected.items() if key.ref not in removed}
        expected |= {each.id_token: each for each in entries}
        local_list = applied(local_list, decision)
        assert local_list.version_number == version
        assert local_list.count == len(expected)
        for number in range(200):
            assert local_list.find(token(number)) == expected.get(token(number))
            assert local_list.has_reference(token(number).ref) == (token(number) in expected)


def test_the_order_of_updates_leaves_no_trace_in_the_state() -> None:
    """Equal lists are equal states, so that replay and snapshot agree to the byte."""
    entries = [listed(random.Random(number), number) for number in range(100)]
    one_by_one = LocalList()
    for entry in reversed(entries):
        one_by_one = applied(one_by_one, LocalListChanged(version_number=1, updated=(entry,)))
    at_once = applied(LocalList(), LocalListReplaced(version_number=1, id_tokens=tuple(entries)))
    assert one_by_one == at_once


def test_an_entry_is_found_by_its_whole_reference() -> None:
    short, long = IdToken("#1ab", "ISO14443"), IdToken("#11ab", "ISO14443")
    entry = ListedIdToken(id_token=long, status="Accepted")
    local_list = applied(LocalList(), LocalListReplaced(version_number=1, id_tokens=(entry,)))
    assert local_list.find(long) == entry
    assert local_list.find(short) is None
    assert not local_list.has_reference("")


def test_other_entries_do_not_change_it_d01_fr_09() -> None:
    local_list = applied(
        LocalList(),
        LocalListReplaced(
            version_number=1, id_tokens=(ListedIdToken(id_token=token(1), status="Accepted"),)
        ),
    )
    assert applied(local_list, AuthCacheCleared()) is local_list
