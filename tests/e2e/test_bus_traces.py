"""A fault of an emulated device leaves a bus trace, which the journal names and GetLog delivers."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import can
import pytest

from tests.e2e.harness import JournalRow, StationProcess, wait_until
from tests.e2e.steps import STEP_TIMEOUT_S, wait_booted
from tests.runtime.transfers.http_server import HttpServer
from tests.support.csms import Csms

TRACE_TIMEOUT_S = 60.0  # a process at the lowest priority, on a busy machine
CARD = "04A224B25C1190"


@pytest.fixture
def station(csms: Csms, short_directory: Path) -> Iterator[StationProcess]:
    traces = "[traces]\nseconds_after = 1\n"
    station = StationProcess(short_directory, csms.url, extra_toml=traces)
    try:
        station.start()
        wait_booted(station, csms)
        yield station
    finally:
        station.close()


def test_a_fault_is_traced_named_and_uploaded_n01(
    station: StationProcess, csms: Csms, short_directory: Path
) -> None:
    station.request_operation("present_token", id_token=CARD, type="ISO14443", evse_id=1)
    wait_until(lambda: station.read_entries("IdTokenPresented"), STEP_TIMEOUT_S, "the card")
    station.request_operation("emergency_stop")
    [written] = wait_until(lambda: traces_of_stop(station), TRACE_TIMEOUT_S, "the trace")
    assert written.body["reason"] == ""
    trace = station.data / "traces" / written.body["directory"]
    assert sorted(path.name for path in trace.iterdir()) == written.body["files"]
    check_files(trace)
    check_upload(csms, short_directory / "files", trace.name)


def traces_of_stop(station: StationProcess) -> list[JournalRow]:
    """The entry that names the trace of the emergency stop, once there is one."""
    stops = {
        fault.seq
        for fault in station.read_entries("DeviceFaulted")
        if fault.body["device"] == "emergency_stop"
    }
    traces = station.read_entries("BusTraceWritten")
    return [trace for trace in traces if stops & set(trace.body["fault_seqs"])]


def check_files(trace: Path) -> None:
    """Every bus was recorded in both directions; the card's UID is nowhere."""
    assert "emergency_stop pressed" in (trace / "about.txt").read_text()
    for name in ("secc.asc", "modules.asc"):
        with can.ASCReader(trace / name) as log:
            directions = {message.is_rx for message in log}
        assert directions == {True, False}, name
    for name in ("io.txt", "meter.txt", "insulation.txt", "reader.txt"):
        lines = (trace / name).read_text().splitlines()
        assert {line.split()[1] for line in lines} == {">", "<"}, name
    uid = bytes.fromhex(CARD).hex(" ")
    assert not any(uid in path.read_text().lower() for path in trace.iterdir())


def check_upload(csms: Csms, root: Path, trace_name: str) -> None:
    root.mkdir()
    server = HttpServer(root)
    try:
        log = {"remoteLocation": server.url("")}
        reply = csms.call("GetLog", {"log": log, "logType": "DiagnosticsLog", "requestId": 1})
        csms.wait_for_call(
            "LogStatusNotification",
            lambda payload: payload == {"status": "Uploaded", "requestId": 1},
            STEP_TIMEOUT_S,
        )
    finally:
        server.close()
    name: str = reply["filename"]
    with tarfile.open(root / name) as archive:
        names = archive.getnames()
    assert f"traces/{trace_name}/about.txt" in names
    assert f"{name.removesuffix('.tar.gz')}.log" in names
