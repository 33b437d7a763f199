"""Events are encoded as text and decoded again, in every version."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.codec import (
    Registry,
    UnknownKind,
    UnreadableBody,
    build_registry,
    format_time,
    parse_time,
)
from journal.events import Event
from tests.journal.kinds import REGISTRY, START, FrameHeard, LidOpened, MeterRead

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=0, max_value=10**9)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def test_a_register_keeps_its_zeros() -> None:
    kind, version, body = REGISTRY.encode(MeterRead(1, Decimal("2935.600")))
    assert (kind, version, body) == ("MeterRead", 1, '{"evse_id":1,"energy_wh":2935.600}')
    assert str(REGISTRY.decode(kind, version, body).energy_wh) == "2935.600"  # type: ignore[attr-defined]


def test_an_untyped_number_keeps_its_zeros_too() -> None:
    body = '{"payload":{"meterValue":[{"value":2935.600}],"seqNo":7}}'
    event = REGISTRY.decode("FrameHeard", 1, body)
    assert REGISTRY.encode(event) == ("FrameHeard", 1, body)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_an_event_is_decoded_as_it_was_and_encoded_to_the_same_bytes(payload: Any) -> None:
    event = FrameHeard(payload)
    written = REGISTRY.encode(event)
    assert REGISTRY.decode(*written) == event
    assert REGISTRY.encode(REGISTRY.decode(*written)) == written


def test_a_time_is_written_in_utc_to_the_millisecond() -> None:
    assert format_time(START) == "2026-11-22T17:25:08.123Z"
    assert parse_time("2026-11-22T17:25:08.123Z") == START
    assert format_time(START.replace(microsecond=0)) == "2026-11-22T17:25:08.000Z"
    with pytest.raises(ValueError, match="whole milliseconds"):
        format_time(START.replace(microsecond=123456))
    with pytest.raises(ValueError, match="is UTC"):
        format_time(START.replace(tzinfo=None))


def test_older_versions_are_raised_step_by_step() -> None:
    assert REGISTRY.decode("LidOpened", 1, '{"open_s":1.5}') == LidOpened(1500, None)
    assert REGISTRY.decode("LidOpened", 2, '{"open_ms":1500}') == LidOpened(1500, None)
    assert REGISTRY.decode("LidOpened", 3, '{"open_ms":1500,"opened_by":"me"}') == LidOpened(
        1500, "me"
    )


@pytest.mark.parametrize(
    ("kind", "version"), [("Teleported", 1), ("LidOpened", 4), ("LidOpened", 0)]
)
def test_a_kind_of_a_newer_release_is_named(kind: Any, version: Any) -> None:
    with pytest.raises(UnknownKind, match=kind):
        REGISTRY.decode(kind, version, "{}")


def test_an_unregistered_event_is_not_written() -> None:
    class Stranger(Event, frozen=True):
        pass

    with pytest.raises(UnknownKind, match="Stranger"):
        REGISTRY.encode(Stranger())


@pytest.mark.parametrize(
    ("version", "body"),
    [
        (3, "{"),
        (3, '{"open_ms":"x","opened_by":null}'),
        (1, "{}"),
        (1, "[]"),
        (1, '{"open_s":"x"}'),
    ],
)
def test_a_body_of_another_shape_is_an_error_with_a_reason(version: Any, body: Any) -> None:
    with pytest.raises(UnreadableBody, match=f"LidOpened version {version} does not decode"):
        REGISTRY.decode("LidOpened", version, body)


def test_a_missing_step_is_found_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="LidOpened: no upcaster from version 1"):
        Registry([LidOpened], {})


def test_two_kinds_of_one_name_are_refused() -> None:
    twin: Any = msgspec.defstruct("MeterRead", [("x", int)], bases=(Event,), frozen=True)
    with pytest.raises(ValueError, match="have the name MeterRead"):
        Registry([MeterRead, twin])


def test_a_registry_contains_all_subclasses_of_its_bases() -> None:
    class Base(Event, frozen=True):
        pass

    class One(Base, frozen=True):
        pass

    class Two(One, frozen=True):
        pass

    assert build_registry(Base).kinds == {"One": One, "Two": Two}


def test_two_threads_make_decoders_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made at the same time, msgspec 0.22 crashes if they share a class."""
    making = threading.Lock()

    def make(value_type: type, **_: Any) -> msgspec.json.Decoder[Any]:
        assert making.acquire(blocking=False), "another thread makes a decoder"
        time.sleep(0.001)
        making.release()
        return original(value_type)

    original = msgspec.json.Decoder
    monkeypatch.setattr(msgspec.json, "Decoder", make)
    kinds = [(name, kind.VERSION) for name, kind in REGISTRY.kinds.items()]
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda key: REGISTRY.make_decoder(*key), kinds))
    assert len(made) == len(kinds) > 2
