"""Response times, start-up, start of a transaction and memory, compared with the `ocpp` package."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from station.ocpp.messages import ACTIONS
from tests.bench import journals
from tests.bench.csms import BenchCsms, BenchStation, run_csms
from tests.bench.measures import (
    SAMPLE_INTERVAL_S,
    Row,
    Size,
    cpu_s,
    median_ratio,
    percentile_of,
    rss_mib,
)
from tests.e2e.harness import IDENTITY, EmulatedDevices, StationProcess
from tests.ocpp.messages.schemas import example_payload, schema_of
from tests.support.authorities import make_authority

ROOT: Final = Path(__file__).parents[2]
HEARTBEAT: Final = {
    "component": {"name": "OCPPCommCtrlr"},
    "variable": {"name": "HeartbeatInterval"},
}
CLOCK_VARIABLE: Final = {"component": {"name": "ClockCtrlr"}, "variable": {"name": "DateTime"}}
PEER: Final = "peer"
ECHO: Final = "echo"
BATCH: Final = 26  # items of a long request: as many as BytesPerMessage, 2048, allows (ORS-5)
ID_TOKEN: Final = {"idToken": "04A224B2", "type": "ISO14443"}
SETTINGS: Final = (
    ("TxCtrlr", "TxStartPoint", "Authorized"),
    ("TxCtrlr", "TxStopPoint", "Authorized"),
    ("AuthCtrlr", "AuthorizeRemoteStart", "false"),
)
START_S: Final = 300.0  # with the whole journal to replay
EVERYDAY_MIB: Final = 42
ALL_CALLS_MIB: Final = 48  # after transfers and certificates too
GROWTH_MIB_MAX: Final = 2  # what a million entries may add
SETTLE_S: Final = 3.0
UNREACHABLE_URL: Final = "http://127.0.0.1:9/logs"  # no process listens
LONG_DIVISOR: Final = 8  # long requests are fewer by this factor


def get_variables_request(items: int) -> tuple[str, dict[str, Any]]:
    return "GetVariables", {"getVariableData": [CLOCK_VARIABLE] * items}


def set_variables_request(value: str, items: int = 1) -> tuple[str, dict[str, Any]]:
    return "SetVariables", {"setVariableData": [{**HEARTBEAT, "attributeValue": value}] * items}


def measure_rows(directory: Path, size: Size) -> Iterator[Row]:
    """The rows that need a CSMS."""
    with asyncio.Runner() as runner:
        row_groups = _measure_rows(directory, size)
        while rows := runner.run(anext(row_groups, None)):
            yield from rows


async def _measure_rows(directory: Path, size: Size) -> AsyncIterator[list[Row]]:
    async with AsyncExitStack() as stack:
        csms = await stack.enter_async_context(run_csms())
        short, long = _BenchSite(directory / "s", csms), _BenchSite(directory / "l", csms)
        for site in (short, long):
            stack.callback(site.close)
            site.devices.start()
        journals.write_journal(long.station.data, size.entries)
        yield await _measure_starts(csms, short, long, size)
        await short.start()
        with _run_peer(csms) as peer, _run_echo(csms, directory / "e") as echo:
            for name in (PEER, ECHO):
                await csms.station_of(name).calls_of("BootNotification").get()
            yield await _measure_responses(
                MeasuredStation(csms.station_of(IDENTITY), short.station.pid),
                MeasuredStation(csms.station_of(PEER), peer.pid),
                MeasuredStation(csms.station_of(ECHO), echo.pid),
                size,
            )
        yield await _measure_transaction_starts(csms.station_of(IDENTITY), size)
        short.stop()
        small, grown = [
            await _measure_memory(csms.station_of(IDENTITY), site) for site in (short, long)
        ]
        yield [
            Row("RSS, long journal, in everyday use", grown.usual_mib, "MiB", EVERYDAY_MIB),
            Row(
                "RSS, long journal, after every CALL of a CSMS",
                grown.all_calls_mib,
                "MiB",
                ALL_CALLS_MIB,
            ),
            Row(
                "of that for the long journal",
                grown.all_calls_mib - small.all_calls_mib,
                "MiB",
                GROWTH_MIB_MAX,
            ),
        ]


class StartTimes(NamedTuple):
    """From the start of a program to its BootNotification."""

    seconds: float
    cpu_s: float  # of a processor


class _BenchSite:
    """A station with its emulated devices."""

    def __init__(self, directory: Path, csms: BenchCsms) -> None:
        directory.mkdir(parents=True)
        self._csms = csms
        self.station = StationProcess(directory, csms.url)
        self.devices = EmulatedDevices(self.station.data)

    async def start(self) -> StartTimes:
        """Start the station, and wait until its BootNotification arrives."""
        boots = self._csms.station_of(IDENTITY).calls_of("BootNotification")
        while not boots.empty():
            boots.get_nowait()
        began = time.perf_counter()
        self.station.spawn()
        async with asyncio.timeout(START_S):
            while boots.empty():
                await asyncio.sleep(SAMPLE_INTERVAL_S)
                assert self.station.is_alive, self.station.log_tail()
        at, _ = await boots.get()
        return StartTimes(at - began, cpu_s(self.station.pid))

    def stop(self) -> None:
        """Stop the station with SIGTERM, so that the next start finds a snapshot."""
        self.station.terminate()

    def close(self) -> None:
        self.station.close()
        self.devices.close()


def _run_peer(csms: BenchCsms) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return _run_program("charge_point", f"{csms.url}/{PEER}")


def _run_echo(csms: BenchCsms, data: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return _run_program("committing_echo", f"{csms.url}/{ECHO}", str(data))


@contextmanager
def _run_program(name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    module = f"tests.bench.peers.{name}"
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-m", module, *arguments], cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _measure_starts(
    csms: BenchCsms, short: _BenchSite, long: _BenchSite, size: Size
) -> list[Row]:
    """Starts in turn, so that all see the same machine."""
    for site in (short, long):
        await site.start()  # replays; after this there is a snapshot
        site.stop()
    empty: list[StartTimes] = []
    full: list[StartTimes] = []
    peers: list[StartTimes] = []
    for _ in range(size.rounds):
        empty.append(await short.start())
        short.stop()
        full.append(await long.start())
        long.stop()
        began = time.perf_counter()
        with _run_peer(csms) as peer:
            at, _ = await csms.station_of(PEER).calls_of("BootNotification").get()
            peers.append(StartTimes(at - began, cpu_s(peer.pid)))
    seconds = [[each.seconds for each in starts] for starts in (full, empty, peers)]
    processor = [[each.cpu_s for each in starts] for starts in (full, peers)]
    return [
        Row(
            f"cold start, {size.entries} entries, to BootNotification",
            median_ratio(seconds[0], seconds[1]),
            "x empty",
            1.05,
            details="{} ms; empty {} ms; ocpp {} ms".format(*map(_format_ms, seconds)),
        ),
        Row(
            "the same, processor",
            median_ratio(*processor),
            "x ocpp",
            1.1,
            details="{} ms; ocpp {} ms".format(*map(_format_ms, processor)),
        ),
    ]


def _format_ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f}"


class MeasuredStation(NamedTuple):
    """A station that is measured, and its process."""

    station: BenchStation
    pid: int


class RequestTimes(NamedTuple):
    """Times of requests by round: seconds of each, and the mean of processor seconds."""

    seconds: list[list[float]]
    cpu_s: list[float]


Request = Callable[[int], tuple[str, dict[str, Any]]]


async def _measure_responses(
    ours: MeasuredStation, peer: MeasuredStation, echo: MeasuredStation, size: Size
) -> list[Row]:
    """Send requests to all in turn. The echo commits as many entries and decides nothing."""
    await asyncio.sleep(SETTLE_S)
    await _time_in_turn(
        (ours, peer, echo), size, lambda number: get_variables_request(1)
    )  # a warm-up round
    single, of_peer, of_echo = await _time_in_turn(
        (ours, peer, echo), size, lambda number: get_variables_request(1)
    )
    durable = await _time_in_turn(
        (ours, peer), size, lambda number: set_variables_request(str(300 + number % 100))
    )
    many = await _time_in_turn(
        (ours, peer), size, lambda number: get_variables_request(BATCH), items=BATCH
    )
    return [
        _latency_row("GetVariables p50", single, of_peer, "ocpp", 0.9),
        _cpu_row("GetVariables, processor", single, of_peer, "ocpp", 0.9),
        _latency_row("GetVariables p50", single, of_echo, "echo that commits", 1.2),
        _cpu_row("GetVariables, processor", single, of_echo, "echo that commits", 1.2),
        _rate_row("durable SetVariables", durable, 1.0),
        _rate_row(f"GetVariables of {BATCH} items", many, 6),
    ]


async def _time_in_turn(
    stations: Sequence[MeasuredStation], size: Size, request: Request, items: int = 1
) -> list[RequestTimes]:
    """Send requests to all in rounds; every item is Accepted. Long requests are fewer."""
    taken = [RequestTimes([], []) for _ in stations]
    times = size.repetitions if items == 1 else size.repetitions // LONG_DIVISOR
    for _ in range(size.rounds):
        for measured, result in zip(stations, taken, strict=True):
            before = cpu_s(measured.pid)
            result.seconds.append(
                [
                    await measured.station.call_accepted(*request(number), accepted_min=items)
                    for number in range(times)
                ]
            )
            result.cpu_s.append((cpu_s(measured.pid) - before) / times)
    return taken


def _latency_row(
    row_name: str, ours: RequestTimes, other: RequestTimes, other_name: str, limit: float
) -> Row:
    mine, others = (
        [percentile_of(seconds, 0.5) for seconds in each.seconds] for each in (ours, other)
    )
    details = f"{_format_ms(mine)} ms; {other_name} {_format_ms(others)} ms"
    unit = f"x {other_name.partition(' ')[0]}"
    return Row(row_name, median_ratio(mine, others), unit, limit, details=details)


def _cpu_row(
    row_name: str, ours: RequestTimes, other: RequestTimes, other_name: str, limit: float
) -> Row:
    details = f"{_format_ms(ours.cpu_s)} ms; {other_name} {_format_ms(other.cpu_s)} ms"
    unit = f"x {other_name.partition(' ')[0]}"
    return Row(row_name, median_ratio(ours.cpu_s, other.cpu_s), unit, limit, details=details)


def _rate_row(row_name: str, times: Sequence[RequestTimes], limit: float) -> Row:
    mine, peers = ([len(seconds) / sum(seconds) for seconds in each.seconds] for each in times)
    rates = f"{statistics.median(mine):.0f}/s; ocpp {statistics.median(peers):.0f}/s"
    ours_ms, peer_ms = (_format_ms(each.cpu_s) for each in times)
    details = f"{rates}; processor {ours_ms} ms; ocpp {peer_ms} ms"
    return Row(row_name, median_ratio(mine, peers), "x ocpp", limit, ">=", details)


async def _measure_transaction_starts(station: BenchStation, size: Size) -> list[Row]:
    """From the response to RequestStartTransaction to TransactionEvent(Started). F02.

    TxStartPoint is Authorized, so that the time of plugging in is not measured.
    """
    for component, variable, value in SETTINGS:
        data = {
            "component": {"name": component},
            "variable": {"name": variable},
            "attributeValue": value,
        }
        await station.call_accepted("SetVariables", {"setVariableData": [data]}, accepted_min=1)
    events = station.calls_of("TransactionEvent")
    taken, since_request = [], []
    for number in range(size.rounds * max(5, size.repetitions // 4)):
        while not events.empty():
            events.get_nowait()
        request = {"evseId": 1, "remoteStartId": number + 1, "idToken": ID_TOKEN}
        began = time.perf_counter()
        accepted = began + await station.call_accepted(
            "RequestStartTransaction", request, accepted_min=1
        )
        at, event = await _wait_for_event(events, "Started")
        taken.append(at - accepted)
        since_request.append(at - began)
        stop_request = {"transactionId": event["transactionInfo"]["transactionId"]}
        await station.call_accepted("RequestStopTransaction", stop_request)
        await _wait_for_event(events, "Ended")
    p50, p99 = (percentile_of(taken, part) * 1000 for part in (0.5, 0.99))
    name = "RemoteStart accepted to Started, p99"
    since = f"from the request p99 {percentile_of(since_request, 0.99) * 1000:.1f} ms"
    return [Row(name, p99, "ms", 20, details=f"p50 {p50:.1f} ms of {len(taken)}; {since}")]


async def _wait_for_event(events: asyncio.Queue[tuple[float, dict[str, Any]]], kind: str) -> Any:
    async with asyncio.timeout(30):
        while True:
            at, event = await events.get()
            if event["eventType"] == kind:
                return at, event


async def _run_usual_load(station: BenchStation) -> None:
    """The messages of an ordinary day: reports, transactions, variables, refusals."""
    await asyncio.sleep(SETTLE_S)
    await station.call_accepted("GetBaseReport", {"requestId": 1, "reportBase": "FullInventory"})
    await _measure_transaction_starts(station, Size(0, 1, 20))
    for request in (
        get_variables_request(1),
        set_variables_request("300"),
        ("ChangeAvailability", {"operationalStatus": "Operative"}),
        ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
        ("GetTransactionStatus", {}),
        ("ClearCache", {}),
        ("GetInstalledCertificateIds", {}),
        ("DataTransfer", {"vendorId": "unknown"}),
        ("SetNetworkProfile", _network_profile_request()),
        ("UnlockConnector", {"evseId": 2, "connectorId": 1}),
    ):
        await station.call_accepted(*request)
    await asyncio.sleep(SETTLE_S)


def _network_profile_request() -> dict[str, Any]:
    data = {
        "ocppVersion": "OCPP20",
        "ocppTransport": "JSON",
        "ocppCsmsUrl": "ws://127.0.0.1:9/ocpp",
        "messageTimeout": 30,
        "securityProfile": 1,
        "ocppInterface": "Wired0",
    }
    return {"configurationSlot": 2, "connectionData": data}


class ResidentMemory(NamedTuple):
    """RSS in MiB."""

    usual_mib: float  # after the messages of an ordinary day
    all_calls_mib: float  # after every CALL a CSMS can send


async def _measure_memory(station: BenchStation, site: _BenchSite) -> ResidentMemory:
    await site.start()
    await _run_usual_load(station)
    usual_mib = rss_mib(site.station.pid)
    await _send_every_call(station)
    all_calls_mib = rss_mib(site.station.pid)
    site.stop()
    return ResidentMemory(usual_mib, all_calls_mib)


async def _send_every_call(station: BenchStation) -> None:
    """Send every CALL once with all its fields, then calls that load other libraries."""
    for action, definition in ACTIONS.items():
        if definition.sender != "station" and action != "Reset":
            schema = schema_of(f"{action}Request")
            await station.send_call(action, example_payload(schema, schema))
    root = {"certificateType": "CSMSRootCertificate", "certificate": make_authority().pem}
    await station.call_accepted("InstallCertificate", root, accepted_min=1)
    log = {"remoteLocation": UNREACHABLE_URL}
    request = {"logType": "DiagnosticsLog", "requestId": 1, "retries": 0, "log": log}
    await station.call_accepted("GetLog", request, accepted_min=1)
    await asyncio.sleep(SETTLE_S)
