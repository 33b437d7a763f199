"""The persistent collections behave as plain ones do."""

from __future__ import annotations

import random

import msgspec
import pytest

from journal.immutable import (
    BLOCK_NUMBERS,
    Backlog,
    EntryQueue,
    ImmutableMap,
    decode_collection,
    encode_collection,
)


def test_a_backlog_is_in_the_order_of_its_numbers() -> None:
    backlog = Backlog().with_number(7, "b").with_number(3 * BLOCK_NUMBERS, "a").with_number(5, "a")
    assert list(backlog) == [5, 7, 3 * BLOCK_NUMBERS]
    assert backlog.head == 5
    assert [backlog.owner_of(number) for number in (5, 6, 7)] == ["a", None, "b"]
    assert {owner: list(owned) for owner, owned in backlog.numbers_by_owner().items()} == {
        "a": [5, 3 * BLOCK_NUMBERS],
        "b": [7],
    }


def test_a_change_leaves_the_earlier_backlog_as_it_was() -> None:
    before = Backlog({"a": [1, 2]})
    after = before.without_number(1).with_number(9, "b")
    assert (list(before), before.head, len(before)) == ([1, 2], 1, 2)
    assert (list(after), after.head, len(after)) == ([2, 9], 2, 2)


def test_adding_a_present_number_and_removing_a_missing_one_change_nothing() -> None:
    backlog = Backlog({"a": [4]})
    assert backlog.with_number(4, "a") is backlog
    assert backlog.without_number(5) is backlog
    assert backlog.without_number(4 + BLOCK_NUMBERS) is backlog
    assert 5 not in backlog


@pytest.mark.parametrize("seed", range(8))
def test_a_backlog_does_what_a_dict_does(seed: int) -> None:
    dice = random.Random(seed)
    backlog, model = Backlog(), dict[int, str]()
    for _ in range(1_500):
        number = dice.randrange(1, 6 * BLOCK_NUMBERS)
        if dice.random() < (0.65 if len(model) < 500 else 0.35):
            owner = model.setdefault(number, f"owner {number % 11}")
            backlog = backlog.with_number(number, owner)
        else:
            number = dice.choice([number, min(model, default=number)])
            model.pop(number, None)
            backlog = backlog.without_number(number)
        assert backlog.head == min(model, default=None)
        assert len(backlog) == len(model)
        assert backlog.owner_of(number) == model.get(number)
        assert backlog.has_owner("owner 3") == ("owner 3" in model.values())
    assert {number: backlog.owner_of(number) for number in backlog} == model, f"seed {seed}"
    assert list(backlog) == sorted(model)
    for number in list(backlog):
        backlog = backlog.without_number(number)
    assert backlog == Backlog()
    assert backlog.head is None


def test_equal_backlogs_give_equal_bytes_whatever_came_before() -> None:
    grown = Backlog()
    for number in (9, 2, 2 * BLOCK_NUMBERS, 4):
        grown = grown.with_number(number, "a" if number % 4 else "b")
    grown = grown.without_number(9).with_number(9, "a").without_number(2).with_number(2, "a")
    made = Backlog({"a": [2, 9], "b": [4, 2 * BLOCK_NUMBERS]})
    assert grown == made
    encode = msgspec.json.Encoder(enc_hook=encode_collection, order="deterministic").encode
    assert encode(grown) == encode(made)
    assert decode_collection(Backlog, msgspec.json.decode(encode(grown))) == grown


@pytest.mark.parametrize(
    ("collection", "value"),
    [
        (ImmutableMap[str, int], 1),
        (ImmutableMap[str, int], {"a": "b"}),
        (EntryQueue, {"a": 1}),
        (EntryQueue, [-1]),
        (Backlog, [1]),
        (Backlog, {"a": [-1]}),
        (Backlog, {"a": 1}),
    ],
    ids=str,
)
def test_a_value_that_is_no_plain_form_is_refused(collection: object, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_collection(collection, value)
