"""Files of a bus trace. A program of its own: `python -m station.runtime.jobs.trace_files`.

A directory per trace: `about.txt` with the faults and the files; for a CAN bus `KIND.asc`, the
format of Vector's tools, which python-can writes; for a serial line `KIND.txt`, a line per record:
UTC, `>` sent or `<` received, the bytes in hex. Of personal data only the length is there.

The directory appears complete or not at all. Older ones are deleted so that `files_max` remain.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from drivers.wire.bus_traffic import BusRecords
from drivers.wire.traffic import TrafficRecord, read_records
from station.runtime.jobs.trace_directories import TIME_FORMAT, find_traces

PARTIAL: Final = ".partial"


class FaultLine(msgspec.Struct, frozen=True):
    """A fault that the trace is for."""

    seq: int
    at: datetime
    evse_id: int
    device: str
    fault: str


class TraceOrder(msgspec.Struct, frozen=True):
    """What to write, in MessagePack.

    Attributes:
        directory: of all traces.
        files_max: how many of them remain, this one included.
        since: records before this are left out; clock of the records.
        copied_at, copied_at_utc: the same moment, clock of the records and UTC.
    """

    directory: str
    files_max: int
    identity: str
    faults: tuple[FaultLine, ...]
    since: float
    copied_at: float
    copied_at_utc: datetime
    buses: tuple[BusRecords, ...]


class TraceResult(msgspec.Struct, frozen=True):
    """What was written, in JSON; nothing: no directory, and the reason."""

    directory: str = ""
    files: tuple[str, ...] = ()
    reason: str = ""


def encode_order(order: TraceOrder) -> bytes:
    """The text on stdin of the program."""
    return msgspec.msgpack.encode(order)


def write_trace(order: TraceOrder) -> TraceResult:
    """Write all files of a trace.

    Raises:
        OSError: they cannot be written; nothing of the trace remains.
    """
    directory = Path(order.directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = directory / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)  # of a power cut
    for trace in find_traces(directory)[: -(order.files_max - 1) or None]:
        shutil.rmtree(trace.path)
    partial.mkdir(mode=0o700)
    name = f"{order.copied_at_utc.strftime(TIME_FORMAT)}_{order.faults[0].seq}"
    try:
        descriptions = [_write_bus(partial, order, bus) for bus in order.buses]
        _write_lines(partial / "about.txt", _about_lines(order, descriptions))
        files = sorted(path.name for path in partial.iterdir())
        for file in files:
            _sync(partial / file)
        partial.rename(directory / name)
        _sync(directory)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return TraceResult(name, tuple(files))


def _write_bus(directory: Path, order: TraceOrder, bus: BusRecords) -> str:
    """Write the file of a bus; its line in `about.txt`."""
    records = list(read_records(bus.records, since=order.since))
    if not records:
        return f"{bus.kind}: no traffic"
    first, last = (_utc_of(order, record).isoformat() for record in (records[0], records[-1]))
    if bus.medium == "can":
        name, unit = f"{bus.kind}.asc", "CAN frames"
        _write_frames(directory / name, order, records)
    else:
        name, unit = f"{bus.kind}.txt", "records of a serial line"
        _write_lines(directory / name, _serial_lines(order, records))
    return f"{name}: {len(records)} {unit} from {first} to {last}"


def _write_frames(path: Path, order: TraceOrder, records: Sequence[TrafficRecord]) -> None:
    import can  # a tenth of a second and 8 MiB, only for this process

    with can.ASCWriter(path) as writer:
        for record in records:
            at = _utc_of(order, record).timestamp()
            if record.data is None:
                writer.log_event(f"// {record.can_id:X} {record.length} bytes, personal data", at)
                continue
            writer.on_message_received(
                can.Message(
                    timestamp=at,
                    arbitration_id=record.can_id,
                    is_extended_id=record.extended,
                    data=record.data,
                    is_rx=not record.sent,
                )
            )


def _serial_lines(order: TraceOrder, records: Sequence[TrafficRecord]) -> Iterator[str]:
    for record in records:
        content = (
            f"({record.length} bytes, personal data)"
            if record.data is None
            else record.data.hex(" ")
        )
        at = _utc_of(order, record).isoformat(timespec="microseconds")
        yield f"{at} {'>' if record.sent else '<'} {content}"


def _about_lines(order: TraceOrder, descriptions: Sequence[str]) -> Iterator[str]:
    yield f"Bus trace of {order.identity}, {order.copied_at_utc.isoformat()}"
    yield "All times are those of the journal, in UTC."
    yield ""
    for fault in order.faults:
        location = f"EVSE {fault.evse_id}" if fault.evse_id else "station"
        at = fault.at.isoformat()
        yield f"entry {fault.seq}, {at}: {location}: {fault.device} {fault.fault}"
    yield ""
    yield from descriptions


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _utc_of(order: TraceOrder, record: TrafficRecord) -> datetime:
    return order.copied_at_utc - timedelta(seconds=order.copied_at - record.at)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> None:
    """Write the trace ordered on stdin; the result on stdout."""
    os.environ["TZ"] = "UTC"  # python-can writes local times
    time.tzset()
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=TraceOrder)
    try:
        result = write_trace(order)
    except OSError as error:
        result = TraceResult(reason=f"{order.directory}: {error.strerror}")
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    os.umask(0o077)
    main()
