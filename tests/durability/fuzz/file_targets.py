"""Targets whose inputs are files and lines of this machine, not of a peer.

station.toml, lines of the control socket, segments of the archive, the snapshot, exports and
journal.db: another program, a bad disk or a person may have written them. Files are read outside
the loop that protects, so their limit of processor time is longer; the lines are handled in it.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any, Final, cast

from journal.codec import DECODE_ERRORS
from journal.events import Entry
from journal.format.segments import MissingRange, Segment, pack_blocks, segment_path
from journal.maintenance.verify import verify
from journal.state import decode_projections, decode_state, encode_state
from journal.storage.reader import Reader
from journal.storage.snapshots import PartialSnapshot, SnapshotFile, SnapshotIgnored
from station import cli
from station.config.hardware import find_hardware_problems
from station.config.problems import find_problems
from station.history.export.manifest import verify_export
from station.runtime.control_socket import REAL_DEVICE_OPS, ControlHandler
from station.runtime.hardware.hardware import Hardware
from station.runtime.live_status import LiveStatus
from station.runtime.loop.startup import event_registry
from tests.commands.fixtures_journals import write_journal
from tests.durability.fuzz.peer_targets import mutate_json
from tests.durability.fuzz.target import Target, mutate
from tests.runtime.fixtures_recorder import IDLE_REPORTS, STATION_STARTED, open_recorder
from tests.runtime.test_control_socket import HardwareDouble
from tests.support.story import JOURNAL_ID, ONLINE, given, in_transaction

FILE_CPU_MAX_S: Final = 1.0
FILE_BYTES_MAX: Final = 1 << 20
LINE_BYTES_MAX: Final = 64 << 10
FINGERPRINT: Final = bytes(32)
HEADER_END: Final = b"\n"
STATION_TOML: Final = """
[station]
identity = "CS001"
profile = "evs-flash-300"
data = "data"

[csms]
url = "wss://csms.example/ocpp"
security_profile = 2
password = "a-password-of-sixteen"

[journal]
csms_bytes_per_day = 500000000

[limits]
connection_w = 100000

[[variable]]
component = "OCPPCommCtrlr"
name = "HeartbeatInterval"
value = "60"

[hardware.meter]
driver = "acrel_djsf1352"
port = "/dev/ttyS1"
addresses = [1, 2]

[hardware.insulation]
driver = "bender_isocha425hv"
port = "/dev/ttyS2"
prealarm_kohm = 600

[hardware.io]
driver = "icpdas_m7055"
port = "/dev/ttyS3"

[hardware.secc]
driver = "advantics"
port = "can0"
interface = "socketcan"

[hardware.modules]
driver = "infypower"
port = "can1"
interface = "socketcan"
"""
LINES: Final[tuple[dict[str, Any], ...]] = (
    {"op": "state"},
    {"op": "release", "device": "contactor", "kind": "welded", "evse_id": 1, "requested_by": "a"},
    {"op": "retry", "calls": [1, 2]},
    {"op": "forget", "refs": ["#0123456789abcdef"]},
    {"op": "data_transfer", "vendor_id": "v", "message_id": "m", "data": {"a": [1.5, "x"]}},
    {"op": "external_limit", "limit_w": 5000, "evse_id": 1, "source": "SO", "duration_s": 60},
    {"op": "renew_certificate", "use": "ChargingStationCertificate"},
)


@contextmanager
def make_file_targets(directory: Path) -> Iterator[list[Target]]:
    """The targets; their files are below `directory` and are replaced for each input."""
    entries = given(ONLINE, in_transaction(1)).entries
    with ExitStack() as stack:
        yield [
            _station_toml(directory),
            stack.enter_context(_control_line(directory / "control")),
            _segment(directory / "segment", entries),
            _snapshot(directory / "snapshot"),
            *_export(directory / "export", entries),
            _journal(directory / "journal", entries),
        ]


def _station_toml(directory: Path) -> Target:
    path = directory / "station.toml"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        problems, config = find_problems(path)
        if config is not None:
            problems += find_hardware_problems(config.hardware, config.profile.evse_ids)
        assert all(problems), "a problem without words"

    seed = STATION_TOML.encode()
    return Target("station.toml", check, [seed], FILE_BYTES_MAX, cpu_max_s=FILE_CPU_MAX_S, every=4)


@contextmanager
def _control_line(directory: Path) -> Iterator[Target]:
    """Every operation of a station with real devices; none of them waits."""
    directory.mkdir()
    with open_recorder(directory) as (recorder, _, _):
        for observation in (STATION_STARTED, *IDLE_REPORTS):
            recorder.observe(observation)
        hardware = cast(Hardware, HardwareDouble())
        live = LiveStatus(
            recorder, hardware, recorder._clock, emulated=False, last_audit=lambda: None
        )
        handler = ControlHandler(recorder, hardware, None, live)

        def handle(data: bytes) -> None:
            coroutine = handler.handle_line(data)
            try:
                coroutine.send(None)
            except StopIteration as result:
                json.dumps(result.value).encode()
            else:
                raise AssertionError("it waits")

        assert {line["op"] for line in LINES} == {*REAL_DEVICE_OPS} - {"live"}
        seeds = [json.dumps(line).encode() for line in LINES]
        yield Target("control line", handle, seeds, LINE_BYTES_MAX, mutate=mutate_json)


def _segment(directory: Path, entries: list[Entry]) -> Target:
    directory.mkdir()
    journal = write_journal(directory / "journal.db", entries)
    with Reader.open(journal, event_registry()) as reader:
        rows = list(reader.iter_rows())
    path = segment_path(journal, JOURNAL_ID, 1, rows[-1].seq)
    segment = Segment(path, 1, rows[-1].seq)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        segment.digest_before_first(JOURNAL_ID)
        segment.last_digest(JOURNAL_ID)
        for block in segment.iter_blocks(JOURNAL_ID):
            if not isinstance(block, MissingRange):
                list(block.iter_rows())

    seed = b"".join(pack_blocks(JOURNAL_ID, 0, bytes(32), rows))
    return Target("segment", read, [seed], FILE_BYTES_MAX, (), _mutate_gzip, FILE_CPU_MAX_S)


def _mutate_gzip(dice: random.Random, data: bytes, bytes_max: int) -> bytes:
    """Change the bytes of a gzip member, or its text with a right checksum."""
    if dice.random() < 0.3:
        return mutate(dice, data, bytes_max)
    head_end = data.index(b"\0", 10) + 1  # of the comment
    text = mutate(dice, zlib.decompress(data, 31), bytes_max)
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = deflate.compress(text) + deflate.flush()
    check = zlib.crc32(text).to_bytes(4, "little") + len(text).to_bytes(4, "little")
    return data[:head_end] + content + check


def _snapshot(path: Path) -> Target:
    """A snapshot with a right digest, so that its header and its state are parsed."""
    parts = {"link": FINGERPRINT, "outbox": FINGERPRINT}
    snapshot_file = SnapshotFile(path, FINGERPRINT, encode_state, decode_state, lambda: parts)
    snapshot_file.save(1, FINGERPRINT, given(ONLINE, in_transaction(1)).state)
    content = path.read_bytes()
    magic_end = content.index(HEADER_END) + 1
    seed = content[magic_end + 32 :]

    def load(data: bytes) -> None:
        path.write_bytes(content[:magic_end] + sha256(data).digest() + data)
        loaded = snapshot_file.load(lambda seq: FINGERPRINT)
        assert not isinstance(loaded, SnapshotIgnored) or loaded.reason
        if isinstance(loaded, PartialSnapshot):
            with suppress(*DECODE_ERRORS):
                decode_projections(loaded.body, loaded.valid_parts)

    return Target("snapshot", load, [seed], FILE_BYTES_MAX, cpu_max_s=FILE_CPU_MAX_S)


def _export(directory: Path, entries: list[Entry]) -> Iterator[Target]:
    """The manifest, its signature and a data file of an export."""
    journal = write_journal(directory.with_suffix(".db"), entries)
    with redirect_stdout(StringIO()):
        assert cli.run_cli(["export", str(journal), "events", "--out", str(directory)]) == 0
    manifest = directory / "manifest.json"

    def target(file: Path, **options: Any) -> Target:
        original = file.read_bytes()

        def check(data: bytes) -> None:
            file.write_bytes(data)
            complaints = list(verify_export(manifest))
            file.write_bytes(original)
            assert complaints or data == original, "a change that is not noticed"

        return Target(
            f"export {file.name}",
            check,
            [original],
            FILE_BYTES_MAX,
            cpu_max_s=10 * FILE_CPU_MAX_S,  # a manifest may list thousands of files
            **options,
        )

    yield target(manifest, mutate=mutate_json)
    for file in sorted(directory.iterdir()):
        if file != manifest:
            yield target(file)


def _journal(directory: Path, entries: list[Entry]) -> Target:
    """A file of SQLite that `verify` reads; see `tests.durability.damage` for what goes on then."""
    directory.mkdir()
    path = write_journal(directory / "journal.db", entries)

    def check(data: bytes) -> None:
        for file in directory.iterdir():
            file.unlink()
        path.write_bytes(data)
        list(verify(path))

    return Target(
        "journal.db",
        check,
        [path.read_bytes()],
        FILE_BYTES_MAX,
        cpu_max_s=10 * FILE_CPU_MAX_S,
        every=60,
    )
