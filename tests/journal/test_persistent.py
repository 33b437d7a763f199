"""Do the collections that share structure behave as plain ones would?"""

from __future__ import annotations

import random

import msgspec
import pytest

from journal.persistent import SPAN, Backlog, collected, plain


def test_a_backlog_is_in_the_order_of_its_numbers() -> None:
    backlog = Backlog().having(7, "b").having(3 * SPAN, "a").having(5, "a")
    assert list(backlog) == [5, 7, 3 * SPAN]
    assert backlog.head == 5
    assert [backlog.owner_of(one) for one in (5, 6, 7)] == ["a", None, "b"]
    assert {owner: list(owned) for owner, owned in backlog.by_owner().items()} == {
        "a": [5, 3 * SPAN],
        "b": [7],
    }


def test_a_backlog_that_changes_leaves_the_one_before_as_it_was() -> None:
    before = Backlog({"a": [1, 2]})
    after = before.without(1).having(9, "b")
    assert (list(before), before.head, len(before)) == ([1, 2], 1, 2)
    assert (list(after), after.head, len(after)) == ([2, 9], 2, 2)


def test_what_is_there_is_not_added_and_what_is_not_is_not_taken() -> None:
    backlog = Backlog({"a": [4]})
    assert backlog.having(4, "a") is backlog
    assert backlog.without(5) is backlog
    assert backlog.without(4 + SPAN) is backlog
    assert 5 not in backlog


@pytest.mark.parametrize("seed", range(8))
def test_a_backlog_does_what_a_dict_does(seed: int) -> None:
    dice = random.Random(seed)
    backlog, model = Backlog(), dict[int, str]()
    for _ in range(1_500):
        number = dice.randrange(1, 6 * SPAN)
        if dice.random() < (0.65 if len(model) < 500 else 0.35):
            owner = model.setdefault(number, f"owner {number % 11}")
            backlog = backlog.having(number, owner)
        else:
            number = dice.choice([number, min(model, default=number)])
            model.pop(number, None)
            backlog = backlog.without(number)
        assert backlog.head == min(model, default=None)
        assert len(backlog) == len(model)
        assert backlog.owner_of(number) == model.get(number)
        assert backlog.owns("owner 3") == ("owner 3" in model.values())
    assert {one: backlog.owner_of(one) for one in backlog} == model, f"seed {seed}"
    assert list(backlog) == sorted(model)
    for number in list(backlog):
        backlog = backlog.without(number)
    assert backlog == Backlog()
    assert backlog.head is None


def test_equal_backlogs_give_equal_bytes_whatever_came_before() -> None:
    grown = Backlog()
    for number in (9, 2, 2 * SPAN, 4):
        grown = grown.having(number, "a" if number % 4 else "b")
    grown = grown.without(9).having(9, "a").without(2).having(2, "a")
    made = Backlog({"a": [2, 9], "b": [4, 2 * SPAN]})
    assert grown == made
    encode = msgspec.json.Encoder(enc_hook=plain, order="deterministic").encode
    assert encode(grown) == encode(made)
    assert collected(Backlog, msgspec.json.decode(encode(grown))) == grown
