"""A person stays out of the entries, and can be erased."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.store import Reader
from journal.terms import IdToken
from journal.tokens import apart, nobody_in, ref_of, together, token_row
from tests.journal.kinds import KINDS, TokenShown, entry, opened

STARTED = {
    "eventType": "Started",
    "idToken": {
        "idToken": "04A224B2",
        "type": "ISO14443",
        "additionalInfo": [{"additionalIdToken": "DE-ABC-1", "type": "eMAID"}],
    },
    "transactionInfo": {"transactionId": "idToken"},
}
AUTHORIZED = {
    "idTokenInfo": {"status": "Accepted", "groupIdToken": {"idToken": "FLEET", "type": "Central"}}
}
LIST = {
    "localAuthorizationList": [
        {"idToken": {"idToken": f"04A224B{n}", "type": "ISO14443"}} for n in "123"
    ]
}
ASKED = {"requestId": 1, "report": True, "clear": True, "customerIdentifier": "Alice Example"}
TOLD = {
    "requestId": 1,
    "seqNo": 0,
    "generatedAt": "2026-11-22T17:25:08Z",
    "data": "Alice, 04A224B2",
}
TRANSFERRED = {"vendorId": "x", "data": "kept", "type": "x"}


def test_the_reference_is_a_salted_digest_of_type_and_value() -> None:
    # printf '<16 zero bytes>ISO14443\n04A224B2' | sha256sum
    assert ref_of("ISO14443", "04A224B2", bytes(16)) == "#c246cdcb43b330d7"
    assert ref_of("Central", "04A224B2", bytes(16)) != ref_of("ISO14443", "04A224B2", bytes(16))
    assert ref_of("ISO14443", "04A224B2", bytes(15) + b"1") != ref_of(
        "ISO14443", "04A224B2", bytes(16)
    )


@pytest.mark.parametrize("payload", [STARTED, AUTHORIZED, LIST, ASKED, TOLD, TRANSFERRED])
def test_what_goes_apart_comes_together_again(payload: Any) -> None:
    names = Names()
    kept = apart(payload, names.refer)
    assert together(kept, names.values.get) == payload
    assert not [word for word in ("04A2", "ABC", "FLEET", "Alice") if word in str(kept)]
    assert "kept" in str(kept) or payload is not TRANSFERRED


class Names:
    """References made up in memory."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def refer(self, type: str, value: str) -> IdToken:
        row = token_row(type, value, b"salt")
        self.values[row.ref] = value
        return IdToken(row.ref, type)


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["idToken", "type", "additionalIdToken", "customerIdentifier", "x"]),
            inner,
        )
    ),
)


@given(JSON)
def test_any_payload_comes_together_again(payload: Any) -> None:
    names = Names()
    names.refer = lambda type, value: _exact(names, type, value)  # type: ignore[method-assign]
    before = repr(payload)
    assert together(apart(payload, names.refer), names.values.get) == payload
    assert repr(payload) == before


@pytest.mark.parametrize(
    "payload",
    [
        {"idToken": "a", "type": "Central"},
        {"additionalIdToken": "a", "type": "Central"},
        {"customerIdentifier": "a"},
        {"data": "a", "seqNo": 0, "generatedAt": "2026-11-22T12:00:00Z", "requestId": 1},
    ],
)
def test_a_glance_sees_everybody_however_keys_are_spelled(payload: Any) -> None:
    dice = random.Random(34)
    for part in (0.0, 0.05, 0.5, 1.0):
        for _ in range(50):
            text = _spelled([2, "1", "X", {"x": [payload]}], dice, part)
            assert json.loads(text)[3]["x"] == [payload]
            assert not nobody_in(text), text


def test_a_glance_at_others_finds_nobody() -> None:
    assert nobody_in(json.dumps([2, "1", "GetVariables", {"getVariableData": [{"type": "x"}]}]))


def _spelled(payload: Any, dice: random.Random, part: float) -> str:
    """JSON in which that part of all letters is escaped."""

    def letter(found: re.Match[str]) -> str:
        return f"\\u{ord(found[0]):04x}" if dice.random() < part else found[0]

    return re.sub("[a-zA-Z]", letter, json.dumps(payload))


def _exact(names: Names, type: str, value: str) -> IdToken:
    """Spellings kept apart: which one comes back is another test's matter."""
    row = token_row(type, value, value.encode())
    names.values[row.ref] = value
    return IdToken(row.ref, type)


def test_nobodys_token_stays() -> None:
    payload = {"idToken": {"idToken": "", "type": "NoAuthorization"}}
    assert apart(payload, Names().refer) == payload


def test_an_erased_person_stays_a_reference() -> None:
    names = Names()
    kept = apart(STARTED, names.refer)
    assert together(kept, lambda _: None) == kept


def test_a_value_that_looks_like_a_reference_is_a_value() -> None:
    names = Names()
    names.refer("ISO14443", "04A224B2")
    [ref] = names.values
    sly = {"idToken": {"idToken": ref, "type": "ISO14443"}}
    assert apart(sly, names.refer) != sly
    assert together(apart(sly, names.refer), names.values.get) == sly


def test_a_person_has_one_reference_whatever_the_case(tmp_path: Path) -> None:
    with opened(tmp_path / "journal.db") as store:
        first = store.refer("ISO14443", "04A224B2")
        assert store.refer("ISO14443", "04a224b2") == first
        store.append([entry(1, TokenShown(first))])
        assert store.refer("ISO14443", "04a224b2") == first
        assert store.value_of(first.ref) == "04A224B2"
        assert store.refer("Central", "04A224B2") != first


def test_a_customer_identifier_is_kept_to_the_letter(tmp_path: Path) -> None:
    with opened(tmp_path / "journal.db") as store:
        for name in ("Alice", "alice"):
            assert store.value_of(store.refer("customerIdentifier", name).ref) == name


def test_a_value_is_kept_in_the_commit_that_refers_to_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with opened(path) as store, Reader.open(path, KINDS) as outside:
        token = store.refer("ISO14443", "04A224B2")
        assert store.value_of(token.ref) == "04A224B2"
        assert outside.value_of(token.ref) is None
        store.append([entry(1, TokenShown(token))])
        assert outside.value_of(token.ref) == "04A224B2"
        assert outside.token("ISO14443", "04a224B2") == token
    with opened(path) as store:
        assert store.refer("ISO14443", "04A224B2") == token


def test_a_failed_commit_keeps_the_value_for_the_next(tmp_path: Path) -> None:
    with opened(tmp_path / "journal.db") as store:
        token = store.refer("ISO14443", "04A224B2")
        with pytest.raises(ValueError, match="does not follow"):
            store.append([entry(2, TokenShown(token))])
        store.append([entry(1, TokenShown(token))])
        assert store.reader.value_of(token.ref) == "04A224B2"


def test_an_erased_person_comes_back_as_somebody_else(tmp_path: Path) -> None:
    with opened(tmp_path / "journal.db") as store:
        token = store.refer("ISO14443", "04A224B2")
        store.append([entry(1, TokenShown(token))])
        assert store.forget(token.ref)
        assert not store.forget(token.ref)
        assert store.value_of(token.ref) is None
        assert store.refer("ISO14443", "04A224B2") != token
        fresh = store.refer("ISO14443", "04A224B3")
        assert store.forget(fresh.ref)
        store.append([entry(2, TokenShown(fresh))])
        assert store.value_of(fresh.ref) is None


def test_who_comes_while_being_erased_is_somebody_else_already(tmp_path: Path) -> None:
    with opened(tmp_path / "journal.db") as store:
        token, other = store.refer("ISO14443", "04A224B2"), store.refer("ISO14443", "04A224B3")
        store.append([entry(1, TokenShown(token)), entry(2, TokenShown(other))])
        store.leave([token.ref])
        assert store.value_of(token.ref) == "04A224B2"  # until `forget`
        again = store.refer("ISO14443", "04a224b2")
        assert again != token
        store.append([entry(3, TokenShown(again))])
        store.forget(token.ref)
        assert store.value_of(token.ref) is None
        assert store.value_of(again.ref) == "04a224b2"
        assert store.refer("ISO14443", "04A224B2") == again
        assert store.refer("ISO14443", "04A224B3") == other


def test_an_erased_value_is_gone_from_every_byte_n10(tmp_path: Path) -> None:
    random_order = random.Random(20261122)
    path = tmp_path / "journal.db"
    with opened(path) as store:
        values = [f"{random_order.randrange(2**32):08X}" for _ in range(600)]
        tokens = {}
        for seq, value in enumerate(values, 1):
            tokens[value] = store.refer("ISO14443", value)
            store.append([entry(seq, TokenShown(tokens[value]))])
        gone = random_order.sample(values, 60)
        for value in gone:
            store.forget(tokens[value].ref)
            for file in (path, Path(f"{path}-wal")):
                content = file.read_bytes().lower()
                assert value.lower().encode() not in content, f"{value} left in {file.name}"
        assert [store.value_of(tokens[value].ref) for value in values if value not in gone] == [
            value for value in values if value not in gone
        ]
