"""A page on a journal of its own and a station that the test answers for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from drivers.emulators.json_lines_socket import JsonLinesSocket
from journal.events import Observation
from station.page.access import Access, load_token
from station.page.app import PageApp
from station.page.connections import serve_page
from station.runtime.loop.recorder import Recorder
from tests.commands.test_status import LIVE
from tests.runtime.fixtures_recorder import IDLE_REPORTS, STATION_STARTED, open_recorder

JsonObject = dict[str, Any]


def make_live(**changes: Any) -> JsonObject:
    """A `live` response."""
    display = {"headline": "Welcome", "help": "", "mood": "ready", "language": "en"}
    live = {
        **LIVE,
        "certificates": [{**LIVE["certificates"][0], "sha256": "ab" * 32}],
        "display": {**display, "notice_headline": "", "notice_help": ""},
        "loop": {
            "commits": 9,
            "commit_total_s": 0.5,
            "commit_last_s": 0.01,
            "commit_max_s": 0.2,
            "round_lag_max_s": 0.003,
        },
        "outbox": {
            "waiting": 3,
            "transaction_events": 2,
            "next_seq": None,
            "general_seqs": [],
            "failed_attempts": 0,
            "in_flight": None,
            "parked_count": 1,
            "parked": [{"seq": 4, "reason": "no answer", "transaction_id": None}],
        },
    }
    return {**live, **changes}


class StationDouble:
    """Answers the control socket; None: it refuses every operation."""

    def __init__(self) -> None:
        self.live: JsonObject | None = make_live()
        self.requests: list[JsonObject] = []

    async def handle_line(self, line: bytes) -> JsonObject:
        request = json.loads(line)
        self.requests.append(request)
        if self.live is None:
            return {"ok": False, "error": "not now"}
        if request["op"] == "live":
            return {**self.live, "ok": True}
        return {"ok": True, "released": ["door open"]}

    def orders(self) -> list[JsonObject]:
        """The requests that are not `live`."""
        return [request for request in self.requests if request["op"] != "live"]


class PageBench:
    """A page that is served, its journal, and raw HTTP over its connections."""

    def __init__(self, directory: Path, recorder: Recorder, port: int) -> None:
        self.directory = directory
        self.recorder = recorder
        self.port = port
        self.station = StationDouble()
        self.token = (directory / "page.token").read_text().strip()

    async def commit(self, *observations: Observation) -> int:
        """Append observations to the journal; returns the head."""
        for observation in observations:
            self.recorder.observe(observation)
        await self.recorder.commit_now()
        return self.recorder.head.seq

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def request(
        self,
        method: str,
        path: str,
        body: JsonObject | bytes | None = None,
        *,
        token: bool = False,
        **headers: str,
    ) -> Answer:
        """One request on a connection of its own. `headers` with `_` for `-`."""
        sent = {"host": f"127.0.0.1:{self.port}", "connection": "close"}
        if token:
            sent["authorization"] = f"Bearer {self.token}"
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent |= {"content-type": "application/json", "content-length": str(len(body))}
            sent["origin"] = f"http://{sent['host']}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value)
        stream = await self.connect()
        async with stream:
            await stream.send_all(
                f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")
            )
            data = b"".join([chunk async for chunk in stream])
        return Answer(data)

    @asynccontextmanager
    async def events(self, path: str = "/stream", **headers: str) -> AsyncIterator[EventReader]:
        """A stream of events."""
        stream = await self.connect()
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        async with stream:
            await stream.send_all(
                f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n{head}\r\n".encode()
            )
            yield EventReader(stream)


class Answer:
    """A response."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0] else 0
        self.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
        }
        if self.headers.get("transfer-encoding") == "chunked":
            self.body = _join_chunks(self.body)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def _join_chunks(body: bytes) -> bytes:
    joined = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        joined, body = joined + body[:length], body[length + 2 :]
    return joined


class EventReader:
    """Server-sent events of a connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._text = ""

    async def next(self, kind: str = "") -> tuple[str, str, Any]:
        """Kind, id and data of the next event (of a kind)."""
        with trio.fail_after(10):
            while True:
                while "\n\n" in self._text:
                    block, _, self._text = self._text.partition("\n\n")
                    event = _parse_event(block)
                    if event[0] and kind in ("", event[0]):
                        return event
                chunk = await self._stream.receive_some()
                assert chunk, "the stream ended"
                # Sizes of chunks are lines of their own that no field has.
                self._text += chunk.decode().replace("\r\n", "\n")

    async def read_to_end(self) -> None:
        """Read until the server has closed the connection."""
        try:
            async for _ in self._stream:
                pass
        except trio.BrokenResourceError:
            pass  # closed with data that was not sent

    async def entries(self, count: int) -> list[int]:
        """The numbers of the next entries."""
        seqs = []
        for _ in range(count):
            _, event_id, data = await self.next("entry")
            assert int(event_id) == data["seq"]
            seqs.append(data["seq"])
        return seqs


def _parse_event(block: str) -> tuple[str, str, Any]:
    fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
    data = json.loads(fields["data"]) if "data" in fields else None
    return fields.get("event", ""), fields.get("id", ""), data


@asynccontextmanager
async def run_page(
    directory: Path, *, address: str = "127.0.0.1", **limits: Any
) -> AsyncIterator[PageBench]:
    """A page on a station that has just started. `address`: what it believes to listen on."""
    with open_recorder(directory) as (recorder, _, _):
        for observation in (STATION_STARTED, *IDLE_REPORTS):
            recorder.observe(observation)
        await recorder.commit_now()
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        access = Access(load_token(directory), address, port)
        bench = PageBench(directory, recorder, port)
        socket = JsonLinesSocket(directory / "control.sock", bench.station.handle_line)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.run)
            app = await nursery.start(PageApp(directory, access).run)
            await nursery.start(partial(serve_page, app, [listener], **limits))
            yield bench
            nursery.cancel_scope.cancel()
