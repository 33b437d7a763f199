"""Random inputs of peers and devices, with a limit of processor time and memory for each.

    python -m tests.durability.fuzz SECONDS [SEED]

Frames of a CSMS go the whole way: filter, decision, desired state. Bytes of devices go through the
parsers of their protocols, certificates through theirs. An input may be refused only by the
exceptions that the parser documents. Exit code 1 if an input was too expensive or raised another
exception; each is printed.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import timedelta
from math import inf
from typing import Any, Final, NamedTuple

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
from tests.ocpp.messages.schemas import example_payload, schema_of
from tests.support.story import NOON, ONLINE, cable_plugged, given, in_transaction

CPU_MAX_S: Final = 0.02
MEMORY_MAX: Final = 32 * 2**20  # allocated at once for one input
FRAME_BYTES_MAX: Final = 250_000  # a longer frame is closed by the connection
DEVICE_BYTES_MAX: Final = 4096  # one read of a port
MEASURED_EVERY: Final = 50  # inputs; the memory of one is measured, which makes it slow
REPEATED: Final = 3  # an expensive input is measured again: another program may have disturbed
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, -1, 0, 2**31, 10**40, 1e308, "", "x" * 5000, "\x00", "9999-12-31T23:59:59Z"),
    *("0001-01-01T00:00:00Z", "2026-11-22T17:25:08+23:59", [], {}, [[]] * 500, {"a": {"a": {}}}),
    *("http://[::1]:1/" + "a" * 500, "ws://csms..example/", "-0", "NaN", 1.0000000000000002),
)
Mutate = Callable[[random.Random, bytes, int], bytes]
FRAGMENTS: Final = (
    *(b'"', b"[", b"{", b"}", b"\\u0000", b"\\ud800", b"1e999", b"-0", b"null", b"\xff"),
    *(b"9" * 400, b"[" * 600, b'{"a":' * 300, b"\x01\x03" * 200, b"t" * 50, b"\r" * 50),
    *(b"-----BEGIN CERTIFICATE-----\n", b"0" * 2000),
)


def mutate(dice: random.Random, data: bytes, bytes_max: int) -> bytes:
    """Change bytes, remove, insert and repeat pieces."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5, 20))):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(5):
            case 0:
                changed[at : at + 1] = dice.randbytes(1)
            case 1:
                del changed[at : at + dice.randrange(1, 20)]
            case 2:
                changed[at:at] = dice.randbytes(dice.randrange(1, 20))
            case 3:
                piece = changed[at : at + dice.randrange(1, 50)]
                changed[at:at] = piece * dice.choice((1, 10, 1000))
            case _:
                changed[at:at] = dice.choice(FRAGMENTS) * dice.choice((1, 1, 1, 50))
    return bytes(changed[:bytes_max])


def mutate_frame(dice: random.Random, data: bytes, bytes_max: int) -> bytes:
    """Change values of a valid frame, so that it remains JSON; or its bytes."""
    if dice.random() < 0.3:
        return mutate(dice, data, bytes_max)
    frame = json.loads(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        _change_node(dice, frame)
    text = json.dumps(frame).encode()
    return text if len(text) <= bytes_max else data


def _change_node(dice: random.Random, node: Any) -> None:
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
            node[key] = node[key] * dice.choice((2, 50, 2000))
        case 1 if isinstance(node[key], str):
            node[key] = node[key] * dice.choice((0, 2, 50))
        case 2 if isinstance(node, dict):
            node[dice.choice(("customData", "evse", "x", "id"))] = deepcopy(dice.choice(VALUES))
        case _:
            node[key] = deepcopy(dice.choice(VALUES))


class Target(NamedTuple):
    """A parser, inputs to begin with, and what it may raise."""

    name: str
    run: Callable[[bytes], object]
    seeds: list[bytes]
    bytes_max: int
    expected: tuple[type[Exception], ...] = ()
    mutate: Mutate = mutate


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


def make_targets() -> list[Target]:
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
        Target("frame", CoreTarget().run, list(call_frames()), FRAME_BYTES_MAX, (), mutate_frame),
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


class Result(NamedTuple):
    """What one input cost."""

    cpu_s: float
    failure: str  # the exception that was not expected; empty: none


def run_input(target: Target, data: bytes) -> Result:
    """Processor seconds of this thread; the shortest of several, if they are many."""
    shortest = float("inf")
    for _ in range(REPEATED):
        began, failure = time.thread_time(), ""
        try:
            target.run(data)
        except target.expected:
            pass
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        shortest = min(shortest, time.thread_time() - began)
        if shortest <= CPU_MAX_S:
            break
    return Result(shortest, failure)


def memory_of(target: Target, data: bytes) -> int:
    """Bytes that were allocated at once."""
    tracemalloc.start()
    try:
        run_input(target, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def fuzz(seconds: float, seed: int, report: Callable[[str], None], rounds_max: float = inf) -> int:
    """Run all targets in turn for a time; reports each finding. How many there were."""
    dice, findings = random.Random(seed), 0
    targets = make_targets()
    gc.collect()
    gc.freeze()  # as the station does at its start
    most: dict[str, Any] = {target.name: (0.0, b"", 0) for target in targets}
    ends_at = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < ends_at and rounds < rounds_max:
        rounds += 1
        for target in targets:
            data = target.mutate(dice, dice.choice(target.seeds), target.bytes_max)
            result = run_input(target, data)
            worst_s, worst_data, count = most[target.name]
            if result.cpu_s > worst_s:
                worst_s, worst_data = result.cpu_s, data
            most[target.name] = worst_s, worst_data, count + 1
            if result.failure or result.cpu_s > CPU_MAX_S:
                findings += 1
                cost = f"{result.cpu_s * 1000:.1f} ms {result.failure}"
                report(f"{target.name}: {cost} {len(data)} bytes {data[:200]!r}")
            if count % MEASURED_EVERY == 0 and (memory := memory_of(target, data)) > MEMORY_MAX:
                findings += 1
                allocated = f"{memory / 2**20:.1f} MiB"
                report(f"{target.name}: {allocated} for {len(data)} bytes {data[:200]!r}")
    for target in targets:
        worst_s, worst_data, count = most[target.name]
        memory = memory_of(target, worst_data)
        findings += memory > MEMORY_MAX
        report(
            f"{target.name}: {count} inputs, at most {worst_s * 1000:.1f} ms, "
            f"its memory {memory / 2**20:.1f} MiB"
        )
    return findings


def main(seconds: float, seed: int) -> int:
    """The command line."""
    print(f"seed {seed}")
    return 1 if fuzz(seconds, seed, print) else 0


if __name__ == "__main__":
    sys.exit(
        main(float(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else random.randrange(2**32))
    )
