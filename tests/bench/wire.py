"""How fast does the station answer, start and begin to charge, beside the `ocpp` package?"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from station.messages import ACTIONS
from tests.authorities import authority
from tests.bench import journals
from tests.bench.csms import Csms, Station, listening
from tests.bench.measures import LOOKS_S, Row, Size, cpu_s, percentile, ratio, rss_mib
from tests.bench.peers import PROGRAMS
from tests.e2e.harness import IDENTITY, EmulatedDevices, StationProcess
from tests.messages.schemas import example, schema_of

HEARTBEAT: Final = {
    "component": {"name": "OCPPCommCtrlr"},
    "variable": {"name": "HeartbeatInterval"},
}
SHORT: Final = {"component": {"name": "ClockCtrlr"}, "variable": {"name": "DateTime"}}
PEER: Final = "peer"
BATCH: Final = 26  # items of a long request: as many as BytesPerMessage, 2048, takes (ORS-5)
ANYBODY: Final = {"idToken": "04A224B2", "type": "ISO14443"}
SETTINGS: Final = (
    ("TxCtrlr", "TxStartPoint", "Authorized"),
    ("TxCtrlr", "TxStopPoint", "Authorized"),
    ("AuthCtrlr", "AuthorizeRemoteStart", "false"),
)
START_S: Final = 300.0  # with a whole journal to replay
RSS_MIB: Final = 40
FLAT_MIB: Final = 2  # what a million entries may add
SETTLES_S: Final = 3.0
NOWHERE: Final = "http://127.0.0.1:9/logs"  # nobody listens
LONG_PART: Final = 8  # so many times fewer long requests


def get(items: int) -> tuple[str, dict[str, Any]]:
    return "GetVariables", {"getVariableData": [SHORT] * items}


def set_to(value: str, items: int = 1) -> tuple[str, dict[str, Any]]:
    return "SetVariables", {"setVariableData": [{**HEARTBEAT, "attributeValue": value}] * items}


def rows(directory: Path, size: Size) -> Iterator[Row]:
    """All rows that need a CSMS."""
    with asyncio.Runner() as runner:
        found = _rows(directory, size)
        while rows := runner.run(anext(found, None)):
            yield from rows


async def _rows(directory: Path, size: Size) -> AsyncIterator[list[Row]]:
    async with AsyncExitStack() as stack:
        csms = await stack.enter_async_context(listening())
        short, long = _Site(directory / "s", csms), _Site(directory / "l", csms)
        for site in (short, long):
            stack.callback(site.close)
            site.devices.start()
        journals.written(long.station.data, size.entries)
        yield await _starts(csms, short, long, size)
        await short.start()
        with _peer(csms) as peer:
            await csms.station(PEER).heard("BootNotification").get()
            ours = Asked(csms.station(IDENTITY), short.station.pid)
            yield await _answers(ours, Asked(csms.station(PEER), peer.pid), size)
        yield await _begins(csms.station(IDENTITY), size)
        short.stop()
        small, grown = [await _memory(csms.station(IDENTITY), site) for site in (short, long)]
        yield [
            Row("RSS, long journal, in everyday use", grown.worked, "MiB"),
            Row("RSS, long journal, after every CALL of a CSMS", grown.called, "MiB", RSS_MIB),
            Row("of that for the long journal", grown.called - small.called, "MiB", FLAT_MIB),
        ]


class _Site:
    """A station with its emulated devices."""

    def __init__(self, directory: Path, csms: Csms) -> None:
        directory.mkdir(parents=True)
        self._csms = csms
        self.station = StationProcess(directory, csms.url)
        self.devices = EmulatedDevices(self.station.data)

    async def start(self) -> float:
        """Start it; the seconds until the CSMS is told of it."""
        boots = self._csms.station(IDENTITY).heard("BootNotification")
        while not boots.empty():
            boots.get_nowait()
        began = time.perf_counter()
        self.station.spawn()
        async with asyncio.timeout(START_S):
            while boots.empty():
                await asyncio.sleep(LOOKS_S)
                assert self.station.alive, self.station.log_tail()
        at, _ = await boots.get()
        return at - began

    def stop(self) -> None:
        """End it in good order: the next start finds a snapshot."""
        self.station.terminate()

    def close(self) -> None:
        self.station.close()
        self.devices.close()


@contextmanager
def _peer(csms: Csms) -> Iterator[subprocess.Popen[bytes]]:
    url = f"{csms.url}/{PEER}"
    process = subprocess.Popen([sys.executable, "-W", "ignore", PROGRAMS / "charge_point.py", url])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _starts(csms: Csms, short: _Site, long: _Site, size: Size) -> list[Row]:
    """In turn, so that all meet the same machine."""
    for site in (short, long):
        await site.start()  # replays; from then on there is a snapshot
        site.stop()
    empty, full, peers = [], [], []
    for _ in range(size.rounds):
        empty.append(await short.start())
        short.stop()
        full.append(await long.start())
        long.stop()
        began = time.perf_counter()
        with _peer(csms):
            at, _ = await csms.station(PEER).heard("BootNotification").get()
            peers.append(at - began)
    beside = f"{_ms(full)} ms; empty {_ms(empty)} ms; ocpp {_ms(peers)} ms"
    return [
        Row(
            f"cold start, {size.entries} entries, to BootNotification",
            ratio(full, empty),
            "x empty",
            1.05,
            beside=beside,
        ),
        Row("the same", ratio(full, peers), "x ocpp", 0.8),
    ]


def _ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f}"


class Asked(NamedTuple):
    """Who is asked, and the process it is."""

    station: Station
    pid: int


class Taken(NamedTuple):
    """What requests took, in rounds: seconds of each, and the mean of processor seconds."""

    seconds: list[list[float]]
    cpu_s: list[float]


Request = Callable[[int], tuple[str, dict[str, Any]]]


async def _answers(ours: Asked, peer: Asked, size: Size) -> list[Row]:
    """Requests to both in turn."""
    await asyncio.sleep(SETTLES_S)
    await _paired(ours, peer, size, lambda number: get(1))  # both have seen it once
    one = await _paired(ours, peer, size, lambda number: get(1))
    durable = await _paired(ours, peer, size, lambda number: set_to(str(300 + number % 100)))
    many = await _paired(ours, peer, size, lambda number: get(BATCH), items=BATCH)
    return [
        _faster("GetVariables p50", one, 0.25),
        _rate("durable SetVariables", durable, 2.5),
        _rate(f"GetVariables of {BATCH} items", many, 40),
    ]


async def _paired(
    ours: Asked, peer: Asked, size: Size, request: Request, items: int = 1
) -> tuple[Taken, Taken]:
    """Ask both in rounds; all items are Accepted. Long requests are fewer."""
    taken = Taken([], []), Taken([], [])
    times = size.times if items == 1 else size.times // LONG_PART
    for _ in range(size.rounds):
        for who, of in zip((ours, peer), taken, strict=True):
            before = cpu_s(who.pid)
            of.seconds.append(
                [await who.station.call(*request(one), accepted=items) for one in range(times)]
            )
            of.cpu_s.append((cpu_s(who.pid) - before) / times)
    return taken


def _faster(what: str, taken: tuple[Taken, Taken], limit: float) -> Row:
    mine, peers = ([percentile(one, 0.5) for one in each.seconds] for each in taken)
    beside = f"{_ms(mine)} ms; ocpp {_ms(peers)} ms; {_cpu(taken)}"
    return Row(what, ratio(mine, peers), "x ocpp", limit, beside=beside)


def _rate(what: str, taken: tuple[Taken, Taken], limit: float) -> Row:
    mine, peers = ([len(one) / sum(one) for one in each.seconds] for each in taken)
    rates = f"{statistics.median(mine):.0f}/s; ocpp {statistics.median(peers):.0f}/s"
    return Row(what, ratio(mine, peers), "x ocpp", limit, ">=", f"{rates}; {_cpu(taken)}")


def _cpu(taken: tuple[Taken, Taken]) -> str:
    ours, peer = (_ms(each.cpu_s) for each in taken)
    return f"processor {ours} ms; ocpp {peer} ms"


async def _begins(station: Station, size: Size) -> list[Row]:
    """From the answer to RequestStartTransaction to TransactionEvent(Started). F02.

    A transaction begins when somebody is authorized, so that no cable takes its time.
    """
    for component, variable, value in SETTINGS:
        data = {
            "component": {"name": component},
            "variable": {"name": variable},
            "attributeValue": value,
        }
        await station.call("SetVariables", {"setVariableData": [data]}, accepted=1)
    events = station.heard("TransactionEvent")
    taken, since_asked = [], []
    for number in range(size.rounds * max(5, size.times // 4)):
        while not events.empty():
            events.get_nowait()
        asked = {"evseId": 1, "remoteStartId": number + 1, "idToken": ANYBODY}
        began = time.perf_counter()
        accepted = began + await station.call("RequestStartTransaction", asked, accepted=1)
        at, told = await _first(events, "Started")
        taken.append(at - accepted)
        since_asked.append(at - began)
        named = {"transactionId": told["transactionInfo"]["transactionId"]}
        await station.call("RequestStopTransaction", named)
        await _first(events, "Ended")
    p50, p99 = (percentile(taken, part) * 1000 for part in (0.5, 0.99))
    what = "RemoteStart accepted to Started, p99"
    whole = f"from the request p99 {percentile(since_asked, 0.99) * 1000:.1f} ms"
    return [Row(what, p99, "ms", 20, beside=f"p50 {p50:.1f} ms of {len(taken)}; {whole}")]


async def _first(events: asyncio.Queue[tuple[float, dict[str, Any]]], kind: str) -> Any:
    async with asyncio.timeout(30):
        while True:
            at, told = await events.get()
            if told["eventType"] == kind:
                return at, told


async def _every_day(station: Station) -> None:
    """Reports, transactions, settings, refusals."""
    await asyncio.sleep(SETTLES_S)
    await station.call("GetBaseReport", {"requestId": 1, "reportBase": "FullInventory"})
    await _begins(station, Size(0, 1, 20))
    for request in (
        get(1),
        set_to("300"),
        ("ChangeAvailability", {"operationalStatus": "Operative"}),
        ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
        ("GetTransactionStatus", {}),
        ("ClearCache", {}),
        ("GetInstalledCertificateIds", {}),
        ("DataTransfer", {"vendorId": "nobody"}),
        ("SetNetworkProfile", _network()),
        ("UnlockConnector", {"evseId": 2, "connectorId": 1}),
    ):
        await station.call(*request)
    await asyncio.sleep(SETTLES_S)


def _network() -> dict[str, Any]:
    data = {
        "ocppVersion": "OCPP20",
        "ocppTransport": "JSON",
        "ocppCsmsUrl": "ws://127.0.0.1:9/ocpp",
        "messageTimeout": 30,
        "securityProfile": 1,
        "ocppInterface": "Wired0",
    }
    return {"configurationSlot": 2, "connectionData": data}


class Resident(NamedTuple):
    """RSS in MiB."""

    worked: float  # after what happens on any day
    called: float  # after everything a CSMS may ask


async def _memory(station: Station, site: _Site) -> Resident:
    await site.start()
    await _every_day(station)
    worked = rss_mib(site.station.pid)
    await _every_call(station)
    called = rss_mib(site.station.pid)
    site.stop()
    return Resident(worked, called)


async def _every_call(station: Station) -> None:
    """Ask everything once, with all fields there are, and what makes work for other libraries."""
    for action, known in ACTIONS.items():
        if known.sender != "station" and action != "Reset":
            schema = schema_of(f"{action}Request")
            await station.ask(action, example(schema, schema))
    root = {"certificateType": "CSMSRootCertificate", "certificate": authority().pem}
    await station.call("InstallCertificate", root, accepted=1)
    log = {"remoteLocation": NOWHERE}
    wanted = {"logType": "DiagnosticsLog", "requestId": 1, "retries": 0, "log": log}
    await station.call("GetLog", wanted, accepted=1)
    await asyncio.sleep(SETTLES_S)
