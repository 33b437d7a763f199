"""Differences of JSON documents: paths, identities of list members, order."""

from __future__ import annotations

import random
from typing import Any, get_args

import msgspec
import pytest

from journal.state import State
from station.history.json_diff import IDENTITY_FIELDS, diff_json


def change_texts(before: bytes, after: bytes) -> list[str]:
    return [str(change) for change in diff_json(before, after)]


def test_equal_documents_have_no_changes() -> None:
    assert change_texts(b'{"a":[1,{"b":null}]}', b'{"a": [1, {"b": null}]}') == []


def test_a_change_has_the_path_of_its_member() -> None:
    assert change_texts(b'{"a":{"b":1,"c":"x"}}', b'{"a":{"b":2,"c":"x"}}') == ["a.b: 1 -> 2"]


def test_added_and_removed_members_are_shown_whole() -> None:
    assert change_texts(b'{"a":{"b":1},"c":null}', b'{"c":null,"d":{"e":[]}}') == [
        'a: {"b":1} -> nothing',
        'd: nothing -> {"e":[]}',
    ]


def test_null_is_a_value() -> None:
    assert change_texts(b'{"a":null}', b"{}") == ["a: null -> nothing"]


@pytest.mark.parametrize(("old", "new"), [("1.0", "1.00"), ("1", "1.0"), ("1", "true")])
def test_numbers_are_compared_digit_by_digit(old: str, new: str) -> None:
    assert change_texts(f'{{"a":{old}}}'.encode(), f'{{"a":{new}}}'.encode()) == [
        f"a: {old} -> {new}"
    ]


def test_a_name_that_is_no_identifier_is_in_brackets() -> None:
    [line] = change_texts(b'{"values":{"A.B[c]":"1"}}', b'{"values":{"A.B[c]":"2"}}')
    assert line == 'values[A.B[c]]: "1" -> "2"'


def test_members_of_a_list_are_matched_by_their_identity() -> None:
    before = b'{"open":[{"transaction_id":"t-1","n":1},{"transaction_id":"t-2","n":5}]}'
    after = b'{"open":[{"transaction_id":"t-2","n":6}]}'
    assert change_texts(before, after) == [
        'open[t-1]: {"transaction_id":"t-1","n":1} -> nothing',
        "open[t-2].n: 5 -> 6",
    ]


def test_an_identity_that_two_members_share_is_not_used() -> None:
    before = b'[{"evse_id":1,"device":"a","fault":"x"},{"evse_id":1,"device":"b","fault":"y"}]'
    after = b'[{"evse_id":1,"device":"b","fault":"y"}]'
    assert change_texts(before, after) == [
        '[1/a/x]: {"evse_id":1,"device":"a","fault":"x"} -> nothing',
    ]


def test_pairs_are_matched_by_their_first_part() -> None:
    assert change_texts(b"[[1,5],[2,6]]", b"[[1,5],[2,7]]") == ["[2]: [2,6] -> [2,7]"]


def test_a_short_list_of_numbers_is_one_value() -> None:
    assert change_texts(b'{"a":[1,2]}', b'{"a":[2,3]}') == ["a: [1,2] -> [2,3]"]


def test_of_a_long_list_of_numbers_only_additions_and_removals_are_shown() -> None:
    before, after = (msgspec.json.encode([*range(n, 200 + n)]) for n in (0, 1))
    assert change_texts(before, after) == ["[0]: 0 -> nothing", "[200]: nothing -> 200"]


def test_a_changed_order_is_a_change() -> None:
    before, after = b'[{"seq":1},{"seq":2}]', b'[{"seq":2},{"seq":1}]'
    assert change_texts(before, after) == [" (order): 1, 2 -> 2, 1"]


def test_paths_are_sorted_and_numbers_by_value() -> None:
    old = b'{"b":{"10":1,"9":1},"a":1}'
    new = b'{"a":2,"b":{"9":2,"10":2}}'
    assert change_texts(old, new) == ["a: 1 -> 2", "b[9]: 1 -> 2", "b[10]: 1 -> 2"]


@pytest.mark.parametrize("seed", range(20))
def test_documents_without_changes_are_equal(seed: int) -> None:
    """Every change of a random document is found, and nothing else."""
    dice = random.Random(seed)
    before = random_document(dice, 4)
    after = msgspec.json.decode(msgspec.json.encode(before))
    assert change_texts(msgspec.json.encode(before), msgspec.json.encode(after)) == []
    changed = alter_document(dice, after)
    different = msgspec.json.encode(changed) != msgspec.json.encode(before)
    assert (
        bool(change_texts(msgspec.json.encode(before), msgspec.json.encode(changed))) is different
    )


def random_document(dice: random.Random, depth: int) -> object:
    """A random JSON document."""
    kind = dice.randrange(5) if depth else dice.randrange(3)
    if kind == 3:
        return [random_document(dice, depth - 1) for _ in range(dice.randrange(20))]
    if kind == 4:
        names = dice.sample(["seq", "evse_id", "a", "b", "#1", "7"], dice.randrange(6))
        return {name: random_document(dice, depth - 1) for name in sorted(names)}
    return [dice.randrange(3), dice.choice("xyz"), None][kind]


def alter_document(dice: random.Random, part: object) -> object:
    """The document with one random change."""
    if isinstance(part, list) and part:
        place = dice.randrange(len(part))
        way = dice.randrange(3)
        if way == 0:
            return part[:place] + part[place + 1 :]
        if way == 1:
            return [*part[:place], alter_document(dice, part[place]), *part[place + 1 :]]
        return part[::-1]
    if isinstance(part, dict) and part:
        name = dice.choice(sorted(part))
        return part | {name: alter_document(dice, part[name])}
    return "changed"


def field_names(kind: Any) -> set[str]:
    """Field names of a struct and of every struct in it, nested ones as `field.field`."""
    names: set[str] = set()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            inner = field_names(field.type)
            names |= {field.name} | inner | {f"{field.name}.{name}" for name in inner}
        return names
    for argument in get_args(kind):
        names |= field_names(argument)
    return names


def test_every_identity_is_a_field_of_the_state() -> None:
    names = field_names(State)
    for fields in IDENTITY_FIELDS:
        assert names.issuperset(fields), fields
