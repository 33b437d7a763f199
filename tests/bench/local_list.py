"""Figures of a long Local Authorization List: `python -m tests.bench.local_list [IDTOKENS]`.

The list arrives as a CSMS sends it: a Full update and Differential ones, each with as many idTokens
as a message may have. Every message passes the filter of received frames, the rules and the commit
to a real file; the processor time of rules and digests is what the loop is held. The filter runs
in a thread of the station.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import msgspec

from journal.events import Entry, IdToken, Observation
from journal.observations import LinkOpened, StationStarted
from journal.state import State, apply_entries, decode_state, encode_state
from journal.storage.store import Store
from station.core.context import Product
from station.core.decide import decide
from station.runtime.csms.frame_filter import FrameFilter
from station.runtime.loop.startup import event_registry
from station.simulation.event_queue import START_TIME
from station.simulation.world import JOURNAL_ID, load_product

ID_TOKENS: Final = 100_000
LOOKUPS: Final = 2_000
EVERY_GROUP: Final = 3  # one of so many idTokens has a group
EVERY_REFUSED: Final = 10  # one of so many is Blocked


class Replacement(NamedTuple):
    """A whole list was sent."""

    messages: int
    seconds: float  # all of it, commits included
    held_ms: float  # median of what a message holds the loop
    held_max_ms: float
    frame_bytes: int


class Figures(NamedTuple):
    """Of a list with that many idTokens."""

    id_tokens: int
    first: Replacement
    again: Replacement  # the same idTokens: their references exist
    state_mib: float  # growth of the process, state and caches
    lookup_us: float  # of an idToken in the list
    missing_us: float  # of one that is not
    snapshot_ms: float  # encode
    snapshot_bytes: int
    start_ms: float  # decode it
    replay_s: float  # of all entries, without a snapshot
    journal_bytes: int


class ListBench:
    """A station core with a journal, and the frames of a CSMS."""

    def __init__(self, directory: Path, product: Product) -> None:
        self.product = product
        self.path = directory / "journal.db"
        self.store = Store.open(self.path, event_registry(), journal_id_if_new=JOURNAL_ID)
        self.filter = FrameFilter(
            product.device_model, self.store.reference_for, lambda secret: secret
        )
        self.state = State(JOURNAL_ID)
        self.held_ms: list[float] = []
        self.version = 0
        self.observe(
            StationStarted(
                boot_id="boot-1",
                release="0.1.0",
                product_profile=product.profile.name,
                identity="CS001",
                evses=((1, (1,)), (2, (1,))),
                last_entry_at=None,
                last_entry_uptime_ms=None,
            )
        )
        self.observe(LinkOpened(slot=1, url="ws://csms/ocpp", security_profile=1))

    def observe(self, observation: Observation) -> tuple[Entry, ...]:
        """Decide and commit; returns the entries."""
        entry = Entry(
            self.store.head.seq + 1,
            START_TIME + timedelta(seconds=self.store.head.seq),
            1_000 * (self.store.head.seq + 1),
            observation,
        )
        entries, self.state = decide(self.product, self.state, entry)
        self.store.append(entries)
        return tuple(entries)

    def receive(self, text: str) -> None:
        """A frame of the CSMS, as the connection and the recorder handle it."""
        began = time.thread_time()
        observation = self.filter.to_observation(text)
        if not self.filter.is_quick(text):  # in a thread, beside the loop
            began = time.thread_time()
        seq = self.store.head.seq + 1
        entry = Entry(seq, START_TIME + timedelta(seconds=seq), 1_000 * seq, observation)
        entries, self.state = decide(self.product, self.state, entry)
        rows = self.store.chain_rows(entries)
        self.held_ms.append((time.thread_time() - began) * 1_000)
        self.store.write_rows(rows)

    def send_list(self, id_tokens: int) -> Replacement:
        """Send a whole list in parts; each is accepted."""
        limits = self.product.profile.local_list
        self.held_ms.clear()
        began, size = time.perf_counter(), 0
        for start in range(0, id_tokens, limits.items_per_message):
            self.version += 1
            part = range(start, min(start + limits.items_per_message, id_tokens))
            frame = build_frame(self.version, part, is_first=not start)
            size += len(frame)
            self.receive(frame)
        assert self.state.local_list.version_number == self.version
        assert self.state.local_list.count == id_tokens
        return Replacement(
            len(self.held_ms),
            time.perf_counter() - began,
            statistics.median(self.held_ms),
            max(self.held_ms),
            size,
        )


def build_frame(version: int, numbers: Iterable[int], *, is_first: bool) -> str:
    """A SendLocalList with these EV drivers."""
    payload = {
        "versionNumber": version,
        "updateType": "Full" if is_first else "Differential",
        "localAuthorizationList": [_authorization_data(number) for number in numbers],
    }
    return msgspec.json.encode([2, f"list-{version}", "SendLocalList", payload]).decode()


def _authorization_data(number: int) -> dict[str, object]:
    info: dict[str, object] = {
        "status": "Accepted" if number % EVERY_REFUSED else "Blocked",
        "cacheExpiryDateTime": "2031-12-31T23:59:59Z",
    }
    if not number % EVERY_GROUP:
        info["groupIdToken"] = {"idToken": f"FLEET-{number // 30}", "type": "Central"}
    return {"idToken": {"idToken": uid_of(number), "type": "ISO14443"}, "idTokenInfo": info}


def uid_of(number: int) -> str:
    return f"04{number * 2_654_435_761 % 2**48:012X}"


def measure(directory: Path, id_tokens: int) -> Figures:
    """Send a list twice, and measure it."""
    bench = ListBench(directory, load_product())
    before_kib = _resident_kib()
    first = bench.send_list(id_tokens)
    state_mib = (_resident_kib() - before_kib) / 1024
    again = bench.send_list(id_tokens)
    step = max(1, id_tokens // LOOKUPS)
    listed = [
        bench.store.reference_for("ISO14443", uid_of(number))
        for number in range(0, id_tokens, step)
    ]
    missing = [IdToken(f"#{number:016x}", "ISO14443") for number in range(len(listed))]
    find = bench.state.local_list.find
    assert all(map(find, listed))
    assert not any(map(find, missing))
    lookup_s = _time(lambda: list(map(find, listed)))
    missing_s = _time(lambda: list(map(find, missing)))
    snapshot = encode_state(bench.state)
    snapshot_s = _time(lambda: encode_state(bench.state))
    start_s = _time(lambda: decode_state(snapshot))
    assert decode_state(snapshot) == bench.state
    began = time.perf_counter()
    replayed = apply_entries(State(JOURNAL_ID), bench.store.iter_entries())
    replay_s = time.perf_counter() - began
    assert replayed == bench.state
    bench.store.close()
    return Figures(
        id_tokens=id_tokens,
        first=first,
        again=again,
        state_mib=state_mib,
        lookup_us=lookup_s * 1e6 / len(listed),
        missing_us=missing_s * 1e6 / len(missing),
        snapshot_ms=snapshot_s * 1e3,
        snapshot_bytes=len(snapshot),
        start_ms=start_s * 1e3,
        replay_s=replay_s,
        journal_bytes=bench.path.stat().st_size,
    )


def _time(action: Callable[[], object]) -> float:
    """Seconds of an action; the shortest of five runs."""

    def run() -> float:
        began = time.perf_counter()
        action()
        return time.perf_counter() - began

    return min(run() for _ in range(5))


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def describe(figures: Figures) -> Iterator[str]:
    """One line per figure."""
    yield f"idTokens                     {figures.id_tokens:>12,}"
    for name, sent in (("new idTokens", figures.first), ("the same again", figures.again)):
        yield f"{name}"
        yield f"  messages                   {sent.messages:>12,}"
        yield f"  bytes received             {sent.frame_bytes:>12,}"
        yield f"  seconds, commits included  {sent.seconds:>12.1f}"
        yield f"  the loop is held, median   {sent.held_ms:>12.1f} ms"
        yield f"  the loop is held, most     {sent.held_max_ms:>12.1f} ms"
    yield f"memory of the process        {figures.state_mib:>12.1f} MiB more"
    yield f"lookup                       {figures.lookup_us:>12.1f} us"
    yield f"lookup if it is not listed   {figures.missing_us:>12.1f} us"
    yield f"snapshot                     {figures.snapshot_bytes:>12,} bytes"
    yield f"  encoded in                 {figures.snapshot_ms:>12.1f} ms"
    yield f"  decoded in                 {figures.start_ms:>12.1f} ms"
    yield f"replay without a snapshot    {figures.replay_s:>12.1f} s"
    yield f"journal                      {figures.journal_bytes:>12,} bytes"


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.bench.local_list", description=__doc__)
    parser.add_argument("id_tokens", type=int, nargs="?", default=ID_TOKENS)
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as directory:
        for line in describe(measure(Path(directory), options.id_tokens)):
            print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
