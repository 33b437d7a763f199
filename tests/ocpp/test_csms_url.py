"""URL of the CSMS: what passes the check can be dialed and requested."""

from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import Request

from station.ocpp.csms_url import CsmsUrl, CsmsUrlError, parse_csms_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://csms/", CsmsUrl("ws", "csms", 80, "csms:80", "")),
        ("wss://CSMS.example.", CsmsUrl("wss", "csms.example.", 443, "csms.example.:443", "")),
        ("ws://csms_1:9000/a/b/", CsmsUrl("ws", "csms_1", 9000, "csms_1:9000", "/a/b")),
        ("ws://10.0.0.1:/ocpp", CsmsUrl("ws", "10.0.0.1", 80, "10.0.0.1:80", "/ocpp")),
        ("wss://[::1]:9000/ocpp", CsmsUrl("wss", "::1", 9000, "[::1]:9000", "/ocpp")),
    ],
)
def test_a_url_names_what_to_dial_and_what_to_request_part_4_3_1_1(
    url: str, expected: CsmsUrl
) -> None:
    assert parse_csms_url(url) == expected
    assert expected.request_target("CS 1/2") == f"{expected.path}/CS%201%2F2"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "csms.example.com/ocpp",
        "http://csms.example.com/ocpp",
        "ws:/csms/ocpp",
        "ws://.example.com/",
        "ws://csms..example.com/",
        f"ws://{'a' * 64}.example.com/",
        f"ws://{'a' * 60}:8080/",  # the Host header counts the port to the last label
        f"ws://{'a.' * 130}com/",
        "ws://csms.example.com/caf\u00e9",
        "ws://caf\u00e9.example.com/",
        "ws://csms.example.com\uff0fevil/",
        "ws://csms%41/",
        "ws://csms\\example/",
        "ws://-csms/",
        "ws://[::1/",
        "ws://[nonsense]/",
        "ws://csms:0/",
        "ws://csms:65536/",
        "ws://csms:port/",
        "ws://@csms/",
        "ws://csms/a\tb",
    ],
)
def test_a_url_that_cannot_be_requested_is_refused_b09_fr_02(url: str) -> None:
    with pytest.raises(CsmsUrlError):
        parse_csms_url(url)


HOST_CHARACTERS = st.sampled_from("aZ0-_.:[]%@\\\u00e9\u3002 1")


@given(
    host=st.one_of(
        st.text(HOST_CHARACTERS, max_size=12), st.from_regex(r"[a.]{1,70}", fullmatch=True)
    ),
    port=st.one_of(st.just(""), st.integers(-1, 70000).map(lambda port: f":{port}")),
    path=st.text(max_size=8),
)
def test_what_passes_the_check_never_raises_in_an_attempt(host: str, port: str, path: str) -> None:
    try:
        url = parse_csms_url(f"ws://{host}{port}/{path}")
    except CsmsUrlError:
        return
    target = url.request_target("CS001")
    WSConnection(ConnectionType.CLIENT).send(Request(host=url.host_header, target=target))
    with contextlib.suppress(OSError):  # a name; the resolver has encoded it
        socket.getaddrinfo(url.host, url.port, flags=socket.AI_NUMERICHOST)
