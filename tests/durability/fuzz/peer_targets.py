"""Targets whose inputs come from a CSMS or a device: frames, bytes of buses, certificates.

Frames go the whole way: filter, decision, desired state. Bytes of devices go through the parsers of
their protocols, certificates through theirs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta
from typing import Any, Final

import trustme

from drivers.wire import advantics, infypower, modbus_rtu, pn532, slcan
from journal.events import Entry, IdToken
from journal.observations import FrameMalformed
from journal.projections.pending_replies import CallErrorQueued
from journal.projections.station_health import RuleFailed
from station.core import x509
from station.core.decide import decide
from station.core.desired import compute_desired_state
from station.ocpp.messages import ACTIONS
from station.runtime.csms.frame_filter import FrameFilter
from tests.durability.fuzz.target import Target, mutate
from tests.ocpp.messages.schemas import example_payload, schema_of
from tests.support.story import NOON, ONLINE, cable_plugged, given, in_transaction

FRAME_BYTES_MAX: Final = 250_000  # a longer frame is closed by the connection
DEVICE_BYTES_MAX: Final = 4096  # one read of a port
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 2**31, 10**40, 1e308, "", "x" * 5000, "\x00", "9999-12-31T23:59:59Z"),
    *("0001-01-01T00:00:00Z", "2026-11-22T17:25:08+23:59", [], {}, [[]] * 500, {"a": {"a": {}}}),
    *("http://[::1]:1/" + "a" * 500, "ws://csms..example/", "-0", "NaN", 1.0000000000000002),
)


def mutate_json(dice: random.Random, data: bytes, bytes_max: int) -> bytes:
    """Change values of a JSON text, so that it remains JSON; or its bytes."""
    if dice.random() < 0.3:
        return mutate(dice, data, bytes_max)
    frame = json.loads(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        _change_node(dice, frame, bytes_max)
    text = json.dumps(frame).encode()
    return text if len(text) <= bytes_max else data


def _change_node(dice: random.Random, node: Any, bytes_max: int) -> None:
    """Go down to a random depth, then replace, remove or repeat one value."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = dice.choice(keys)
        if not isinstance(node[key], dict | list) or dice.random() < 0.2:
            break
        node = node[key]
    match dice.randrange(4):
        case 0:
            del node[key]
        case 1 if isinstance(node[key], list):
            times = dice.choice((2, 50, 2000))
            if len(json.dumps(node[key])) * times <= bytes_max:
                node[key] = node[key] * times
        case 1 if isinstance(node[key], str):
            node[key] = node[key] * dice.choice((0, 2, 50))
        case 2 if isinstance(node, dict):
            node[dice.choice(("customData", "evse", "x", "id"))] = deepcopy(dice.choice(VALUES))
        case _:
            node[key] = deepcopy(dice.choice(VALUES))


class CoreTarget:
    """Filter, decision and desired state of one received frame; each begins at the same state."""

    def __init__(self) -> None:
        self._station = given(ONLINE, in_transaction(1), cable_plugged(2))
        product = self._station.product
        self._filter = FrameFilter(
            product.device_model, lambda kind, value: IdToken(f"#{len(value)}", kind), str.upper
        )

    def run(self, data: bytes) -> None:
        observation = self._filter.to_observation(data.decode("utf-8", "replace"))
        if isinstance(observation, FrameMalformed):
            return
        station = self._station
        uptime_ms = station.uptime_ms + 20
        at = NOON + timedelta(milliseconds=uptime_ms)
        entry = Entry(len(station.entries) + 1, at, uptime_ms, observation)
        entries, state = decide(station.product, station.state, entry)
        compute_desired_state(station.product, state, entries[-1])
        for decided in entries:
            assert not isinstance(decided.event, RuleFailed), decided.event
            if isinstance(decided.event, CallErrorQueued):  # a handler that failed
                assert decided.event.error_code != "InternalError", decided.event


def call_frames() -> Iterator[bytes]:
    """A valid CALL of every action, and other frames."""
    for action in sorted(ACTIONS):
        schema = schema_of(f"{action}Request")
        payload = example_payload(schema, schema)
        yield json.dumps([2, "1", action, payload], default=float).encode()
    yield b'[3,"1",{"idTokenInfo":{"status":"Accepted"}}]'
    yield b'[4,"1","InternalError","",{}]'


def make_peer_targets() -> list[Target]:
    request = modbus_rtu.read_registers(1, 0, 20)
    answer = modbus_rtu.append_crc(b"\x01\x03\x28" + bytes(40))
    cards = [pn532.encode_response(bytes(20)), pn532.encode_command(b"\x4a\x01\x00")]
    can = [b"T02C801F080102030405060708\r", b"t1238AABBCCDDEEFF0011\r", b"z\r\x07"]
    pem = trustme.CA().cert_pem.bytes()

    def parse_can(data: bytes) -> None:
        for item in slcan.Decoder().feed(data):
            if isinstance(item, slcan.CanFrame):
                infypower.parse_frame(item)
                message = advantics.find_message(item)
                if message is not None and len(item.data) >= message.length:
                    message.decode(item.data)

    return [
        Target("frame", CoreTarget().run, list(call_frames()), FRAME_BYTES_MAX, (), mutate_json),
        Target(
            "modbus response",
            lambda data: modbus_rtu.find_response(data[-1024:], request),
            [answer, b"\x01\x83\x02\xc0\xf1"],
            DEVICE_BYTES_MAX,
        ),
        Target("pn532", lambda data: pn532.Decoder().feed(data), cards, DEVICE_BYTES_MAX),
        Target("slcan, infypower, advantics", parse_can, can, DEVICE_BYTES_MAX),
        Target(
            "certificate",
            lambda data: x509.parse_root("CSMSRootCertificate", data.decode("latin-1"), (), NOON),
            [pem],
            10_000,
            (x509.CertificateUnusable,),
        ),
    ]
