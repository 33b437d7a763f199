"""The routes of the page and what guards them.

    GET   /  /display/{evse}        pages of the operators and of the EV driver
    GET   /stream                   events for both
    GET   /entries  /sessions  /curve/{id}  /outbox     what the operators' page shows on request
    GET   /traces  /traces/{seq}  /traces/{seq}/{name}  bus traces, all files of one, a file
    GET   /why/{what}  /report      what the analyst's verbs print
    GET   /metrics  /healthz        for programs
    POST  /login  /logout           exchange the token for a session, end it
    POST  /orders/{op}              pass an order to the station
    POST  /verify  /reveal          verify the journal now; the value of a reference

`Guard` decides for every request before its route sees it; `access` has the rules. `/stream` sends
server-sent events: `entry` events with the entry number as their id, so that a browser that
reconnects gets what it missed and nothing twice, and `live` events without an id.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from journal.storage.errors import JournalFailed
from station.page.access import Access
from station.page.bus_traces import TraceFiles, TraceUnavailable, archive_chunks
from station.page.downloads import Content, Downloads, TooManyDownloads
from station.page.journal_feed import JournalFeed
from station.page.live_feed import LiveFeed
from station.page.metrics import CONTENT_TYPE, render_metrics
from station.page.station_client import RequestRefused, StationClient, StationUnreachable
from station.page.tools import TARGET, TIME, Busy, Result, Tools
from station.page.transcript_lines import LineFilter

STREAMS_MAX: Final = 100  # browsers with a live page at the same time
STREAM_LINES_FIRST: Final = 200  # lines that a new browser gets
STREAM_MISSED_MAX: Final = 10_000  # lines a browser may have missed; of more, the newest are sent
STREAM_BATCH: Final = 200
HEARTBEAT_S: Final = 15.0
BODY_BYTES_MAX: Final = 4_096
BODY_S: Final = 5.0
ORDERS_PER_S: Final = 5.0
ORDERS_BURST: Final = 20.0
METRICS_MAX_AGE_S: Final = 1.0
NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)  # of an entry or EVSE, in a path
VIEWER_NAME: Final = "page, "

REAL_ORDERS: Final = frozenset({"release", "retry", "renew_certificate"})
EMULATED_ORDERS: Final = frozenset(
    {
        "plug_in", "unplug", "present_token", "ev_ready", "ev_pause", "stop_button",
        "emergency_stop", "emergency_release", "fault", "clear_fault", "link", "clock",
    }
)  # fmt: skip
ASSETS: Final = {
    "base.css": "text/css",
    "operator.css": "text/css",
    "operator.js": "text/javascript",
    "curve.js": "text/javascript",
    "session.js": "text/javascript",
    "display.css": "text/css",
    "display.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
# Open to all: they have no data of the station.
OPEN_PATHS: Final = frozenset({"/", "/login", "/healthz", *(f"/assets/{name}" for name in ASSETS)})
SECURITY_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# The report has its style inside; it may run and fetch nothing.
REPORT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class RefusedRequest(Exception):
    """A request is refused with a status and one line."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Guard:
    """ASGI middleware: access, and the headers of every response."""

    def __init__(self, app: Any, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # hypercorn answers a WebSocket without an application with an error

        async def send_guarded(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in SECURITY_HEADERS.items()
                        if name.encode() not in present
                    ),
                ]
            await send(message)

        refusal = self._refusal(Request(scope))
        app: Any = refusal or self._app
        await app(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        """Why the request is refused; None: it is not."""
        headers, path = request.headers, request.url.path
        if not self._access.is_host_allowed(headers):
            return _error(421, "this name is not the page's")
        if request.method not in ("GET", "HEAD", "POST"):
            return _error(405, "GET or POST")
        if request.method == "POST":
            if not self._access.is_same_origin(headers):
                return _error(403, "orders are taken from the page itself only")
            if path != "/login" and not self._access.has_token(headers, request.cookies):
                return _error(401, "orders need the token")
            return None
        is_display = path.startswith("/display/") and path.count("/") == 2
        is_open = path in OPEN_PATHS or is_display
        if not is_open and not self._access.may_read(headers, request.cookies):
            return _error(401, "the token is needed")
        return None


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status)


class EventStream(Response):
    """Server-sent events until the client leaves."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"content-type": "text/event-stream"})
        self._events = events
        del self.headers["content-length"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send until the client has left."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_events, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

    async def _send_events(self, send: Any) -> None:
        async with aclosing(self._events) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": event, "more_body": True})


class PageApp:
    """The routes, on the feeds of one data directory."""

    def __init__(self, data_directory: Path, access: Access) -> None:
        self._data_directory = data_directory
        self._access = access
        self._station = StationClient(data_directory)
        self._journal = JournalFeed(data_directory)
        self._live = LiveFeed(self._station, self._journal)
        self._tools = Tools(data_directory)
        self._traces = TraceFiles(data_directory)
        self._trace_turn = trio.CapacityLimiter(1)  # `TraceFiles` is used by one thread at a time
        self._downloads = Downloads()
        self._streams = 0
        self._order_tokens = ORDERS_BURST
        self._ordered_at = float("-inf")
        self._assets = {
            name: files("station.page").joinpath("assets", name).read_bytes()
            for name in (*ASSETS, "operator.html", "display.html")
        }

    async def run(self, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow journal and station until cancelled; gives the ASGI application when started."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._journal.run)
                nursery.start_soon(self._live.run)
                task_status.started(self.build())
        finally:
            with trio.CancelScope(shield=True):
                await self._station.aclose()

    def build(self) -> Any:
        """The ASGI application."""
        get, post = ["GET"], ["POST"]
        routes = [
            Route("/", self._operator_page, methods=get),
            Route("/display/{evse_id}", self._display_page, methods=get),
            Route("/assets/{name}", self._asset, methods=get),
            Route("/stream", self._stream, methods=get),
            Route("/entries", self._entries, methods=get),
            Route("/sessions", self._sessions, methods=get),
            Route("/curve/{transaction_id}", self._curve, methods=get),
            Route("/outbox", self._outbox, methods=get),
            Route("/traces", self._list_traces, methods=get),
            Route("/traces/{seq}", self._download_trace, methods=get),
            Route("/traces/{seq}/{name}", self._download_trace, methods=get),
            Route("/why/{what}", self._why, methods=get),
            Route("/report", self._report, methods=get),
            Route("/metrics", self._metrics, methods=get),
            Route("/healthz", self._health, methods=get),
            Route("/login", self._log_in, methods=post),
            Route("/logout", self._log_out, methods=post),
            Route("/orders/{op}", self._order, methods=post),
            Route("/verify", self._verify, methods=post),
            Route("/reveal", self._reveal, methods=post),
        ]
        handlers: dict[Any, Any] = {
            RefusedRequest: _on_refused,
            JournalFailed: _on_unavailable,
            StationUnreachable: _on_unavailable,
            RequestRefused: _on_refused_by_station,
            Busy: _on_busy,
            TooManyDownloads: _on_busy,
            TraceUnavailable: _on_trace_unavailable,
        }
        return Guard(Starlette(routes=routes, exception_handlers=handlers), self._access)

    # --- Pages -----------------------------------------------------------------------------------

    async def _operator_page(self, request: Request) -> Response:
        return Response(self._assets["operator.html"], media_type="text/html")

    async def _display_page(self, request: Request) -> Response:
        if not NUMBER.fullmatch(request.path_params["evse_id"]):
            raise RefusedRequest(404, "the number of an EVSE")
        return Response(self._assets["display.html"], media_type="text/html")

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            raise RefusedRequest(404, "no such file")
        return Response(
            self._assets[name],
            media_type=ASSETS[name],
            headers={"cache-control": "no-cache"},
        )

    # --- Events ----------------------------------------------------------------------------------

    async def _stream(self, request: Request) -> Response:
        """Server-sent events; with `lines=0` without the transcript."""
        if self._streams >= STREAMS_MAX:
            raise RefusedRequest(503, f"{STREAMS_MAX} browsers are connected")
        after = _integer(request, "last-event-id", request.headers)
        if after is None:
            after = _integer(request, "after", request.query_params)
        with_lines = request.query_params.get("lines") != "0"
        may_order = self._access.has_token(request.headers, request.cookies)
        return EventStream(self._events(after, with_lines, may_order))

    async def _events(
        self, after: int | None, with_lines: bool, may_order: bool
    ) -> AsyncGenerator[bytes, None]:
        """The events of one browser. Nothing is kept for it but the number of its last line."""
        self._streams += 1
        try:
            with self._live.viewer(), self._journal.viewer():
                journal = self._journal
                generation = version = 0  # no journal, no response seen
                position: int | None = None
                while True:
                    journal_changed, live_changed = journal.changed, self._live.changed
                    if journal.generation != generation:
                        # Of a journal that replaces another one, nothing is known to the browser.
                        known = after if generation == 0 else None
                        generation = journal.generation
                        position, hello = self._greet(known, may_order)
                        yield hello
                    if self._live.version != version:
                        version = self._live.version
                        yield b"event: live\ndata: " + self._live.body + b"\n\n"
                    if with_lines and position is not None and journal.head_seq > position:
                        lines = await self._next_lines(position)
                        if lines:
                            position = lines[-1].seq
                            yield b"".join(
                                b"id: %d\nevent: entry\ndata: %s\n\n" % line for line in lines
                            )
                            continue
                        position = journal.head_seq
                    if not await _wait_either(journal_changed, live_changed):
                        yield b": heartbeat\n\n"
        finally:
            self._streams -= 1

    def _greet(self, after: int | None, may_order: bool) -> tuple[int, bytes]:
        """Where the lines of a browser continue, and its first event."""
        journal = self._journal
        oldest = journal.head_seq - (STREAM_LINES_FIRST if after is None else STREAM_MISSED_MAX)
        is_known = after is not None and oldest <= after <= journal.head_seq
        position = (
            after
            if is_known and after is not None
            else max(0, journal.head_seq - STREAM_LINES_FIRST)
        )
        hello = {
            "journal_id": journal.journal_id,
            "head_seq": journal.head_seq,
            "continues": is_known,
            "may_order": may_order,
            "failure": journal.failure,
        }
        return position, b"retry: 1000\nevent: hello\ndata: %s\n\n" % msgspec.json.encode(hello)

    async def _next_lines(self, position: int) -> list[Any]:
        journal = self._journal
        if position + 1 < journal.first_kept_seq:
            return await journal.read_lines(position, STREAM_BATCH)
        return journal.kept_lines(position, STREAM_BATCH)

    # --- What is read ----------------------------------------------------------------------------

    async def _entries(self, request: Request) -> Response:
        query = request.query_params
        before = _integer(request, "before", query)
        count = _integer(request, "count", query)
        line_filter = LineFilter(
            evse_id=_integer(request, "evse", query),
            transaction=query.get("transaction", ""),
            kind=query.get("kind", ""),
            source=query.get("source", ""),
            direction=query.get("direction", ""),
            text=query.get("text", ""),
        )
        result = await self._journal.search(before, line_filter, 100 if count is None else count)
        return _json(result)

    async def _sessions(self, request: Request) -> Response:
        return _json(self._journal.sessions.newest())

    async def _curve(self, request: Request) -> Response:
        return _json(self._journal.sessions.curve(request.path_params["transaction_id"]))

    async def _outbox(self, request: Request) -> Response:
        """The messages that wait first, and the parked ones, with their actions."""
        await self._live.refresh(METRICS_MAX_AGE_S)
        live = self._live.live
        if live is None:
            raise StationUnreachable("no station answers")
        outbox = live["outbox"]
        seqs = [seq for seq in (outbox["next_seq"], *outbox["general_seqs"]) if seq is not None]
        parked = {call["seq"]: call["reason"] for call in outbox["parked"]}
        calls = await self._journal.describe_calls([*parked, *seqs])
        return _json(
            [
                {**call, "parked": call["seq"] in parked, "reason": parked.get(call["seq"])}
                for call in calls
            ]
        )

    async def _list_traces(self, request: Request) -> Response:
        newest_seqs = tuple(self._journal.trace_seqs)
        return _json(
            await self._journal.with_reader(
                lambda reader: self._traces.list_traces(reader, newest_seqs), self._trace_turn
            )
        )

    async def _download_trace(self, request: Request) -> Response:
        """A file of the trace that an entry names; without a name, an archive of all of them."""
        seq, name = request.path_params["seq"], request.path_params.get("name", "")
        if not NUMBER.fullmatch(seq):
            raise RefusedRequest(400, "the number of an entry")

        async def open_content() -> Content:
            directory, files = await self._journal.with_reader(
                lambda reader: self._traces.open_files(reader, int(seq), name), self._trace_turn
            )

            def close() -> None:
                for file in files:
                    file.file.close()

            if not name:
                chunks = archive_chunks(directory, files)
                return Content(f"{directory}.tar.gz", None, chunks, close)
            [file] = files
            return Content(f"{directory}_{name}", file.size, file.read_chunks(), close)

        return await self._downloads.start(open_content)

    async def _why(self, request: Request) -> Response:
        what = request.path_params["what"]
        if not TARGET.fullmatch(what):
            raise RefusedRequest(400, "an entry number or a transactionId")
        return _tool_text(await self._tools.explain(what))

    async def _report(self, request: Request) -> Response:
        since, until = request.query_params.get("from", ""), request.query_params.get("to", "")
        for moment in (since, until):
            if moment and not TIME.fullmatch(moment):
                raise RefusedRequest(400, "from and to are times such as 2026-11-22T12:00Z")
        result = await self._tools.report(since, until)
        if result.code not in (0, 1) or not result.stdout:
            return _tool_text(result)
        return Response(
            result.stdout,
            media_type="text/html",
            headers={"content-security-policy": REPORT_POLICY},
        )

    async def _metrics(self, request: Request) -> Response:
        await self._live.refresh(METRICS_MAX_AGE_S)
        live = self._live.live
        oldest_s = await self._oldest_age_s() if live and live["outbox"]["next_seq"] else None
        body = render_metrics(
            live, self._data_directory, self._station.peer_pid if live else None, oldest_s
        )
        return Response(body, headers={"content-type": CONTENT_TYPE})

    async def _oldest_age_s(self) -> float | None:
        assert self._live.live is not None
        try:
            calls = await self._journal.describe_calls([self._live.live["outbox"]["next_seq"]])
        except JournalFailed:
            return None
        if not calls:
            return None
        return max(0.0, _seconds_between(calls[0]["at"], self._live.live["at"]))

    async def _health(self, request: Request) -> Response:
        """200 if the station answers and its journal can be read."""
        await self._live.refresh(METRICS_MAX_AGE_S)
        report = {
            "station": "running" if self._live.live else "unreachable",
            "journal": "unreadable" if self._journal.failure else "readable",
        }
        is_well = self._live.live is not None and not self._journal.failure
        return JSONResponse(report, status_code=200 if is_well else 503)

    # --- Orders ----------------------------------------------------------------------------------

    async def _log_in(self, request: Request) -> Response:
        token = (await _read_body(request)).get("token")
        if not isinstance(token, str) or not self._access.is_token(token.strip()):
            raise RefusedRequest(401, "this is not the token of the page")
        response = JSONResponse({})
        response.set_cookie(
            self._access.cookie_name,
            self._access.cookie_value,
            max_age=365 * 86_400,
            httponly=True,
            samesite="strict",
        )
        return response

    async def _log_out(self, request: Request) -> Response:
        response = JSONResponse({})
        response.delete_cookie(self._access.cookie_name, httponly=True, samesite="strict")
        return response

    async def _order(self, request: Request) -> Response:
        """Pass an order on; the station checks its arguments."""
        op = request.path_params["op"]
        arguments = await _read_body(request)
        self._count_order()
        if op not in REAL_ORDERS:
            await self._live.refresh(METRICS_MAX_AGE_S)
            is_emulated = bool(self._live.live and self._live.live["emulated"])
            if op not in EMULATED_ORDERS or not is_emulated:
                raise RefusedRequest(404, f"{op} is no order of this station")
        if op == "release":
            client = request.client.host if request.client else "unknown"
            arguments["requested_by"] = f"{VIEWER_NAME}{client}"
        reply = await self._station.request(op, **{k: v for k, v in arguments.items() if k != "op"})
        return JSONResponse(reply)

    def _count_order(self) -> None:
        now = trio.current_time()
        refill = (now - self._ordered_at) * ORDERS_PER_S
        self._order_tokens = min(ORDERS_BURST, self._order_tokens + refill)
        self._ordered_at = now
        if self._order_tokens < 1:
            raise RefusedRequest(429, f"at most {ORDERS_PER_S:.0f} orders a second")
        self._order_tokens -= 1

    async def _verify(self, request: Request) -> Response:
        result = await self._tools.verify()
        complaints = result.stderr.splitlines()[:20]
        return JSONResponse(
            {
                "ok": result.code == 0,
                "text": result.stdout.decode("utf-8", "replace").strip(),
                "complaints": complaints,
            }
        )

    async def _reveal(self, request: Request) -> Response:
        reference = (await _read_body(request)).get("ref")
        if not isinstance(reference, str):
            raise RefusedRequest(400, "ref is a reference")
        return JSONResponse({"value": await self._journal.value_of(reference)})


# --- Helpers -------------------------------------------------------------------------------------


async def _wait_either(first: trio.Event, second: trio.Event) -> bool:
    """Wait for either event; False: neither within `HEARTBEAT_S`."""

    async def wait(event: trio.Event) -> None:
        await event.wait()
        nursery.cancel_scope.cancel()

    with trio.move_on_after(HEARTBEAT_S) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, first)
            nursery.start_soon(wait, second)
    return not scope.cancelled_caught


async def _read_body(request: Request) -> dict[str, Any]:
    """The JSON object of a POST.

    Raises:
        RefusedRequest: it is none, too long, or does not come.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise RefusedRequest(415, "application/json is needed")
    body = bytearray()
    with trio.move_on_after(BODY_S) as scope:
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise RefusedRequest(413, f"at most {BODY_BYTES_MAX} bytes")
    if scope.cancelled_caught:
        raise RefusedRequest(408, "the body did not come")
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise RefusedRequest(400, "not JSON") from None
    if not isinstance(value, dict):
        raise RefusedRequest(400, "a JSON object is needed")
    return value


def _integer(request: Request, name: str, values: Any) -> int | None:
    """A whole number of a query or header; None: it is not there."""
    text = values.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RefusedRequest(400, f"{name} is a number")
    return int(text)


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _tool_text(result: Result) -> Response:
    """What a verb printed, as plain text."""
    text = result.stdout.decode("utf-8", "replace") + result.stderr
    return Response(text, media_type="text/plain", status_code=504 if result.code is None else 200)


def _seconds_between(first: str, second: str) -> float:
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()


def _on_refused(request: Request, error: Exception) -> Response:
    return _error(getattr(error, "status", 400), str(error))


def _on_refused_by_station(request: Request, error: Exception) -> Response:
    return _error(409, str(error))


def _on_unavailable(request: Request, error: Exception) -> Response:
    return _error(503, str(error))


def _on_trace_unavailable(request: Request, error: Exception) -> Response:
    return _error(410 if getattr(error, "is_deleted", False) else 404, str(error))


def _on_busy(request: Request, error: Exception) -> Response:
    return _error(503, "others are being made; try again in a moment")
