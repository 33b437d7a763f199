"""Is what changed told once, where it changed, and always in the same order?"""

from __future__ import annotations

import random

import msgspec
import pytest

from station.history.json_diff import diff_json


def change_texts(before: bytes, after: bytes) -> list[str]:
    return [str(one) for one in diff_json(before, after)]


def test_equal_documents_have_no_changes() -> None:
    assert change_texts(b'{"a":[1,{"b":null}]}', b'{"a": [1, {"b": null}]}') == []


def test_a_member_is_told_by_its_path() -> None:
    assert change_texts(b'{"a":{"b":1,"c":"x"}}', b'{"a":{"b":2,"c":"x"}}') == ["a.b: 1 -> 2"]


def test_what_came_and_what_went_is_told_whole() -> None:
    assert change_texts(b'{"a":{"b":1},"c":null}', b'{"c":null,"d":{"e":[]}}') == [
        'a: {"b":1} -> nothing',
        'd: nothing -> {"e":[]}',
    ]


def test_null_is_a_value_and_no_absence() -> None:
    assert change_texts(b'{"a":null}', b"{}") == ["a: null -> nothing"]


@pytest.mark.parametrize(("old", "new"), [("1.0", "1.00"), ("1", "1.0"), ("1", "true")])
def test_a_number_is_its_digits(old: str, new: str) -> None:
    assert change_texts(f'{{"a":{old}}}'.encode(), f'{{"a":{new}}}'.encode()) == [
        f"a: {old} -> {new}"
    ]


def test_a_name_that_is_no_word_stands_in_brackets() -> None:
    [line] = change_texts(b'{"values":{"A.B[c]":"1"}}', b'{"values":{"A.B[c]":"2"}}')
    assert line == 'values[A.B[c]]: "1" -> "2"'


def test_members_of_a_list_go_by_what_identifies_them() -> None:
    before = b'{"open":[{"transaction_id":"t-1","n":1},{"transaction_id":"t-2","n":5}]}'
    after = b'{"open":[{"transaction_id":"t-2","n":6}]}'
    assert change_texts(before, after) == [
        'open[t-1]: {"transaction_id":"t-1","n":1} -> nothing',
        "open[t-2].n: 5 -> 6",
    ]


def test_where_two_members_have_one_name_another_is_taken() -> None:
    before = b'[{"evse_id":1,"device":"a","fault":"x"},{"evse_id":1,"device":"b","fault":"y"}]'
    after = b'[{"evse_id":1,"device":"b","fault":"y"}]'
    assert change_texts(before, after) == [
        '[1/a/x]: {"evse_id":1,"device":"a","fault":"x"} -> nothing',
    ]


def test_pairs_go_by_their_first_part() -> None:
    assert change_texts(b"[[1,5],[2,6]]", b"[[1,5],[2,7]]") == ["[2]: [2,6] -> [2,7]"]


def test_a_short_list_of_numbers_is_one_value() -> None:
    assert change_texts(b'{"a":[1,2]}', b'{"a":[2,3]}') == ["a: [1,2] -> [2,3]"]


def test_of_a_long_list_of_numbers_only_what_came_and_went_is_told() -> None:
    before, after = (msgspec.json.encode([*range(n, 200 + n)]) for n in (0, 1))
    assert change_texts(before, after) == ["[0]: 0 -> nothing", "[200]: nothing -> 200"]


def test_another_order_is_a_change() -> None:
    before, after = b'[{"seq":1},{"seq":2}]', b'[{"seq":2},{"seq":1}]'
    assert change_texts(before, after) == [" (order): 1, 2 -> 2, 1"]


def test_paths_are_in_order_and_numbers_by_their_size() -> None:
    old = b'{"b":{"10":1,"9":1},"a":1}'
    new = b'{"a":2,"b":{"9":2,"10":2}}'
    assert change_texts(old, new) == ["a: 1 -> 2", "b[9]: 1 -> 2", "b[10]: 1 -> 2"]


@pytest.mark.parametrize("seed", range(20))
def test_documents_that_are_told_to_be_equal_are_equal(seed: int) -> None:
    """Whatever is changed in a document shows, and nothing shows that was not changed."""
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
    """Any JSON document."""
    kind = dice.randrange(5) if depth else dice.randrange(3)
    if kind == 3:
        return [random_document(dice, depth - 1) for _ in range(dice.randrange(20))]
    if kind == 4:
        names = dice.sample(["seq", "evse_id", "a", "b", "#1", "7"], dice.randrange(6))
        return {name: random_document(dice, depth - 1) for name in sorted(names)}
    return [dice.randrange(3), dice.choice("xyz"), None][kind]


def alter_document(dice: random.Random, part: object) -> object:
    """The document with one thing changed somewhere."""
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
