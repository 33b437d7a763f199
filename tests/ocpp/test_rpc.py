"""Frames of OCPP-J: the parser is total."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from station.ocpp import rpc

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
FRAMES = st.tuples(st.sampled_from([2, 3, 4]) | JSON, JSON, JSON, JSON, JSON)


@given(
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.tuples(FRAMES, st.integers(0, 5)).map(
        lambda drawn: json.dumps(drawn[0][: drawn[1]]).encode()
    )
)
@example(b'[2,"x",[],{}]')
@example(b'[2,"x",{},{}]')
@example(b'[[],"x"]')
@example(b'[2.0,"x","Reset",{}]')
@example(b'[4,"x",[],{"a":[]},{}]')
@example(b'[2,"\\ud800","Reset",{}]')
@example(b"[" * 100_000)
@example(b'[2,"x",' + b"9" * 900 + b",{}]")
@example(b"[2,\xff]")
def test_any_bytes_give_a_frame(data: bytes) -> None:
    frame = rpc.parse_frame(data)
    assert isinstance(frame, rpc.Frame)
    if isinstance(frame, rpc.CallFrame):
        assert isinstance(frame.action, str)
