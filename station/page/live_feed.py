"""The newest `live` response of the station, asked for only while a page is open.

At most one request per `MIN_INTERVAL_S`, whatever the number of viewers. A new entry of the journal
asks at once, so that what an EV driver does is shown without waiting for the next interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import msgspec
import trio

from station.page.journal_feed import JournalFeed
from station.page.session_log import Point
from station.page.station_client import RequestRefused, StationClient, StationUnreachable

MIN_INTERVAL_S: Final = 0.2  # between two requests
ACTIVE_INTERVAL_S: Final = 0.5  # while energy flows
IDLE_INTERVAL_S: Final = 1.0
CURVE_INTERVAL_MS: Final = 1_000

JsonObject = dict[str, Any]


class LiveFeed:
    """Asks the station, and keeps the newest response.

    Attributes:
        live: the response; None: no station answers.
        body: the same as JSON, or the reason why there is none.
        version: counts responses.
        changed: set by the next response, then replaced.
    """

    def __init__(self, station: StationClient, journal: JournalFeed) -> None:
        self._station = station
        self._journal = journal
        self._viewers = 0
        self._viewer_came = trio.Event()
        self._fetched_at = float("-inf")
        self._fetch_turn = trio.Lock()
        self._curve_at_ms: dict[str, int] = {}
        self.live: JsonObject | None = None
        self.body = b'{"station":"unknown"}'
        self.version = 0
        self.changed = trio.Event()

    @contextmanager
    def viewer(self) -> Iterator[None]:
        """While entered, the station is asked at intervals."""
        self._viewers += 1
        self._viewer_came.set()
        try:
            yield
        finally:
            self._viewers -= 1

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            while not self._viewers:
                self._viewer_came = trio.Event()
                await self._viewer_came.wait()
            await self.refresh()
            await trio.sleep(MIN_INTERVAL_S)
            with trio.move_on_after(self._interval_s() - MIN_INTERVAL_S):
                await self._journal.changed.wait()

    def _interval_s(self) -> float:
        evses = self.live["evses"] if self.live else ()
        active = any(evse["transaction"] or evse["plugged"] for evse in evses)
        return ACTIVE_INTERVAL_S if active else IDLE_INTERVAL_S

    async def refresh(self, max_age_s: float = MIN_INTERVAL_S) -> None:
        """Ask the station, unless the response is newer than that."""
        async with self._fetch_turn:
            if trio.current_time() - self._fetched_at < max_age_s:
                return
            try:
                live: JsonObject | None = await self._station.request("live")
                failure = ""
            except (StationUnreachable, RequestRefused) as error:
                live, failure = None, str(error)
            self._fetched_at = trio.current_time()
            self.live = live
            if live is None:
                self.body = msgspec.json.encode({"station": "unreachable", "reason": failure})
            else:
                self._add_points(live)
                self.body = msgspec.json.encode({"station": "running", **live})
            self.version += 1
            self.changed.set()
            self.changed = trio.Event()

    def _add_points(self, live: JsonObject) -> None:
        """Add what is measured now to the curves of the sessions that run."""
        at_ms = round(datetime.fromisoformat(live["at"]).timestamp() * 1000)
        for evse in live["evses"]:
            transaction = evse["transaction"]
            if transaction is None or evse["power_w"] is None:
                continue
            last_ms = self._curve_at_ms.get(transaction["id"], 0)
            if 0 <= at_ms - last_ms < CURVE_INTERVAL_MS:
                continue
            self._curve_at_ms = {
                key: value for key, value in self._curve_at_ms.items() if key != transaction["id"]
            } | {transaction["id"]: at_ms}
            while len(self._curve_at_ms) > len(live["evses"]):
                del self._curve_at_ms[next(iter(self._curve_at_ms))]
            self._journal.sessions.add_point(
                transaction["id"], Point(at_ms, evse["power_w"], evse["soc"])
            )
