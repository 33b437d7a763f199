"""The routes over real connections: who may do what, events, orders, limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from journal.observations import StopButtonPressed
from station.page import app as page_app
from station.page import connections
from station.page.app import ASSETS, BODY_BYTES_MAX, ORDERS_BURST
from station.page.tools import LIMITED
from tests.page.fixtures_page import make_live, run_page

ASSETS_DIRECTORY = Path(page_app.__file__).parent / "assets"


# --- Events --------------------------------------------------------------------------------------


async def test_a_new_browser_gets_the_newest_entries_then_each_new_one(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        head = bench.recorder.head.seq
        async with bench.events() as events:
            _, _, hello = await events.next("hello")
            assert (hello["head_seq"], hello["continues"]) == (head, False)
            assert await events.entries(head) == list(range(1, head + 1))
            await bench.commit(StopButtonPressed(1))
            _, _, entry = await events.next("entry")
            assert entry["text"] == "presses the stop button of EVSE 1"
            assert entry["evse_ids"] == [1]


async def test_a_browser_that_reconnects_gets_what_it_missed_once(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        head = await bench.commit(*[StopButtonPressed(1)] * 30)
        async with bench.events(last_event_id=str(head - 7)) as events:
            _, _, hello = await events.next("hello")
            assert hello["continues"]
            assert await events.entries(7) == list(range(head - 6, head + 1))


async def test_a_restart_of_the_page_loses_and_doubles_no_entry(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    async with run_page(data) as bench:
        head = bench.recorder.head.seq
        async with bench.events() as events:
            seen = await events.entries(head)
    async with run_page(data) as bench:  # also of the station: another run of the same journal
        last = await bench.commit(StopButtonPressed(2))
        async with bench.events(f"/stream?after={seen[-1]}") as events:
            seen += await events.entries(last - head)
    assert seen == list(range(1, last + 1))


async def test_what_a_browser_missed_beyond_the_kept_lines_is_read_from_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.page.journal_feed.LINES_MAX", 5)
    async with run_page(tmp_path) as bench:
        head = await bench.commit(*[StopButtonPressed(1)] * 300)
        async with bench.events(last_event_id="2") as events:
            assert await events.entries(head - 2) == list(range(3, head + 1))


async def test_after_too_many_missed_entries_the_newest_are_sent_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_app, "STREAM_MISSED_MAX", 10)
    monkeypatch.setattr(page_app, "STREAM_LINES_FIRST", 4)
    async with run_page(tmp_path) as bench:
        head = await bench.commit(*[StopButtonPressed(1)] * 30)
        async with bench.events(last_event_id="2") as events:
            _, _, hello = await events.next("hello")
            assert hello["continues"] is False
            assert await events.entries(4) == list(range(head - 3, head + 1))


async def test_live_is_sent_and_says_when_the_station_does_not_answer(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench, bench.events("/stream?lines=0") as events:
        _, event_id, live = await events.next("live")
        assert (event_id, live["station"], live["identity"]) == ("", "running", "CS001")
        bench.station.live = None
        while live["station"] == "running":
            _, _, live = await events.next("live")
        assert live == {"station": "unreachable", "reason": "not now"}


async def test_many_browsers_cost_the_station_one_client(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench, trio.open_nursery() as nursery:

        async def watch() -> None:
            async with bench.events("/stream?lines=0") as events:
                while True:
                    await events.next("live")

        for _ in range(20):
            nursery.start_soon(watch)
        await trio.sleep(2.5)
        assert 2 <= len(bench.station.requests) <= 2.5 / 0.2 + 2
        nursery.cancel_scope.cancel()


async def test_without_a_browser_the_station_is_not_asked(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        await trio.sleep(1.5)
        assert bench.station.requests == []


async def test_a_display_has_the_number_of_an_evse(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        assert (await bench.request("GET", "/display/1")).status == 200
        for evse_id in ("x", "-1", "9" * 5000):
            assert (await bench.request("GET", f"/display/{evse_id}")).status == 404


async def test_streams_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_app, "STREAMS_MAX", 1)
    async with run_page(tmp_path) as bench:
        async with bench.events() as events:
            await events.next("hello")
            assert (await bench.request("GET", "/stream")).status == 503
        await trio.sleep(0.3)
        async with bench.events() as events:
            await events.next("hello")


# --- What is read --------------------------------------------------------------------------------


async def test_entries_are_filtered_and_searched_backwards(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        presses = [StopButtonPressed(1 + index % 2) for index in range(40)]
        head = await bench.commit(*presses)
        answer = await bench.request("GET", "/entries?kind=StopButtonPressed&evse=2&count=5")
        newest = [line["seq"] for line in answer.json["lines"]]
        assert len(newest) == 5
        assert all(line["evse_ids"] == [2] for line in answer.json["lines"])
        assert newest[-1] <= head
        answer = await bench.request(
            "GET", f"/entries?kind=StopButtonPressed&evse=2&count=5&before={answer.json['before']}"
        )
        assert [line["seq"] for line in answer.json["lines"]][-1] < newest[0]
        answer = await bench.request("GET", "/entries?text=PRESSES%20the")
        assert len(answer.json["lines"]) == 40
        assert answer.json["before"] is None
        assert (await bench.request("GET", "/entries?evse=x")).status == 400


async def test_why_prints_the_causes_of_an_entry(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        answer = await bench.request("GET", "/why/1")
        assert answer.status == 200
        assert answer.body.startswith(b"Entry 1: station starts")
        assert (await bench.request("GET", "/why/--help")).status == 400


async def test_a_report_of_a_range_may_run_nothing(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        answer = await bench.request("GET", "/report")
        assert b"<html" in answer.body[:200]
        assert "sandbox" in answer.headers["content-security-policy"]
        assert (await bench.request("GET", "/report?from=--out")).status == 400
        answer = await bench.request("GET", "/report?from=2031-01-01")
        assert b"no entry in that range" in answer.body


async def test_a_verb_that_needs_too_much_memory_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.page.tools.LIMITED", (*LIMITED[:3], "20000"))
    async with run_page(tmp_path) as bench:
        answer = await bench.request("GET", "/why/1")
        assert b"Entry 1" not in answer.body


async def test_only_two_verbs_run_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.page.tools.RUNNING_MAX", 0)
    async with run_page(tmp_path) as bench:
        assert (await bench.request("GET", "/why/1")).status == 503


async def test_metrics_follow_the_conventions(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        text = (await bench.request("GET", "/metrics")).body.decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert all(name.startswith("station_") for name in families)
        for name, family in families.items():
            assert family.documentation
            assert all(sample.name.endswith("_total") for sample in family.samples) is (
                family.type == "counter"
            ), name
        power = {s.labels["evse"]: s.value for s in families["station_evse_power_watts"].samples}
        assert power == {"1": 96400.5}
        energy = families["station_evse_energy_joules"].samples
        assert energy[0].value == 2935 * 3600
        assert families["station_fault_active"].samples[0].labels == {
            "evse": "2",
            "device": "contactor",
            "fault": "welded",
            "blocks_charging": "true",
            "latched": "true",
        }
        bench.station.live = None
        await trio.sleep(1.1)
        text = (await bench.request("GET", "/metrics")).body.decode()
        assert "station_up 0.0" in text
        assert "station_disk_free_bytes" in text
        assert "station_evse" not in text


async def test_alerts_and_dashboard_use_metrics_that_exist(tmp_path: Path) -> None:
    readme = (ASSETS_DIRECTORY.parent / "README.md").read_text()
    documented = set(re.findall(r"station_[a-z_]+", readme))
    async with run_page(tmp_path) as bench:
        text = (await bench.request("GET", "/metrics")).body.decode()
    # Without a process to look at, this one metric is missing.
    given = set(re.findall(r"^(station_[a-z_]+)", text, re.MULTILINE))
    given.add("station_resident_memory_bytes")
    for name in ("alerts.yml", "grafana.json"):
        source = (ASSETS_DIRECTORY.parent / "monitoring" / name).read_text()
        used = set(re.findall(r"station_[a-z_]+", source))
        assert used <= given
    assert documented - {"station_client"} == given


async def test_health_needs_station_and_journal(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        await trio.sleep(0.3)
        answer = await bench.request("GET", "/healthz")
        assert (answer.status, answer.json["journal"]) == (200, "readable")
        bench.station.live = None
        await trio.sleep(1.1)
        assert (await bench.request("GET", "/healthz")).status == 503


async def test_a_page_may_start_before_the_station(tmp_path: Path) -> None:
    directory = tmp_path / "empty"
    directory.mkdir()
    async with run_page(directory) as bench:
        for path in directory.glob("journal*"):
            path.rename(tmp_path / path.name)
        answer = await bench.request("GET", "/entries")
        assert answer.status == 503


# --- Orders --------------------------------------------------------------------------------------


async def test_an_order_with_the_token_reaches_the_station_with_who_gave_it(
    tmp_path: Path,
) -> None:
    async with run_page(tmp_path) as bench:
        body = {"device": "door", "kind": "open", "evse_id": 0, "requested_by": "another person"}
        answer = await bench.request("POST", "/orders/release", body, token=True)
        assert (answer.status, answer.json) == (200, {"released": ["door open"]})
        [order] = bench.station.orders()
        assert order == {
            "op": "release",
            "device": "door",
            "kind": "open",
            "evse_id": 0,
            "requested_by": "page, 127.0.0.1",
        }


async def test_a_session_is_opened_with_the_token_and_closed(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        wrong = await bench.request("POST", "/login", {"token": "x"})
        assert (wrong.status, "set-cookie" in wrong.headers) == (401, False)
        answer = await bench.request("POST", "/login", {"token": bench.token})
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        pair = cookie.partition(";")[0]
        assert (await bench.request("POST", "/orders/retry", {}, cookie=pair)).status == 200
        async with bench.events(cookie=pair) as events:
            assert (await events.next("hello"))[2]["may_order"]
        answer = await bench.request("POST", "/logout", {}, cookie=pair)
        assert "station_page" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"token": False}, 401),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": ""}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"host": "evil.example"}, 421),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
    ],
    ids=str,
)
async def test_an_order_is_refused(tmp_path: Path, changes: dict[str, Any], status: int) -> None:
    async with run_page(tmp_path) as bench:
        answer = await bench.request("POST", "/orders/retry", {}, **{"token": True, **changes})
        assert answer.status == status
        assert bench.station.orders() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"[]", 400), (b"{", 400), (b"[" * 4000, 400), (b" " * (BODY_BYTES_MAX + 1), 413)],
    ids=["list", "broken", "nested", "long"],
)
async def test_a_body_that_is_no_order_is_refused(tmp_path: Path, body: bytes, status: int) -> None:
    async with run_page(tmp_path) as bench:
        answer = await bench.request("POST", "/orders/retry", body, token=True)
        assert answer.status == status
        assert bench.station.orders() == []


async def test_only_orders_of_this_station_are_passed_on(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        assert (await bench.request("POST", "/orders/plug_in", {}, token=True)).status == 200
        for op in ("forget", "data_transfer", "state", "live"):
            assert (await bench.request("POST", f"/orders/{op}", {}, token=True)).status == 404
        bench.station.live = make_live(emulated=False)
        await trio.sleep(1.1)
        assert (await bench.request("POST", "/orders/plug_in", {}, token=True)).status == 404
        for op in ("release", "retry", "renew_certificate"):
            assert (await bench.request("POST", f"/orders/{op}", {}, token=True)).status == 200


async def test_orders_have_a_rate(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        statuses = [
            (await bench.request("POST", "/orders/retry", {}, token=True)).status
            for _ in range(int(ORDERS_BURST) + 15)
        ]
        assert statuses[: int(ORDERS_BURST)] == [200] * int(ORDERS_BURST)
        assert 429 in statuses


async def test_a_refusal_of_the_station_is_passed_on(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        bench.station.live = None
        answer = await bench.request("POST", "/orders/retry", {}, token=True)
        assert (answer.status, answer.json) == (409, {"error": "not now"})


async def test_values_of_references_need_the_token(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        token = bench.recorder._store.reference_for("ISO14443", "04A224B2")
        await bench.commit(StopButtonPressed(1))
        answer = await bench.request("POST", "/reveal", {"ref": token.ref})
        assert answer.status == 401
        answer = await bench.request("POST", "/reveal", {"ref": token.ref}, token=True)
        assert answer.json == {"value": "04A224B2"}


# --- Access --------------------------------------------------------------------------------------


async def test_on_another_address_only_what_shows_nothing_is_open(tmp_path: Path) -> None:
    async with run_page(tmp_path, address="192.0.2.7") as bench:
        for path in ("/", "/display/1", "/assets/operator.js", "/healthz"):
            assert (await bench.request("GET", path)).status in (200, 503)
        for path in (
            "/stream",
            "/entries",
            "/sessions",
            "/metrics",
            "/why/1",
            "/report",
            "/outbox",
        ):
            assert (await bench.request("GET", path)).status == 401
        assert (await bench.request("GET", "/metrics", token=True)).status == 200


async def test_every_response_has_the_security_headers(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        for method, path in (("GET", "/"), ("GET", "/nothing"), ("PUT", "/"), ("POST", "/login")):
            answer = await bench.request(method, path, host="")
            answer = await bench.request(method, path)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"


def test_pages_have_no_inline_script_or_style_and_fetch_nothing_from_outside() -> None:
    for path in ASSETS_DIRECTORY.iterdir():
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
        if path.suffix == ".html":
            assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
            assert re.findall(r"<style|\sstyle=|\son\w+=", text) == []
            linked = re.findall(r'(?:src|href)="/assets/([^"]+)"', text)
            assert set(linked) <= set(ASSETS)


# --- Connections ---------------------------------------------------------------------------------


async def test_a_further_connection_is_refused(tmp_path: Path) -> None:
    async with run_page(tmp_path, connections_max=2) as bench:
        first, second = await bench.connect(), await bench.connect()
        await trio.sleep(0.1)
        assert (await bench.request("GET", "/healthz")).status == 0
        await first.aclose()
        await trio.sleep(0.1)
        assert (await bench.request("GET", "/healthz")).status == 200
        await second.aclose()


async def test_a_client_that_sends_slowly_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)
    async with run_page(tmp_path) as bench, await bench.connect() as stream:
        with trio.fail_after(5):
            assert await _send_until_closed(stream) < 4


async def test_a_client_that_does_not_read_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SEND_S", 0.5)
    async with run_page(tmp_path) as bench:
        bench.station.live = make_live(identity="x" * 1_000_000)
        async with bench.events("/stream?lines=0") as events:
            await trio.sleep(0.2)
            assert (await bench.request("GET", "/")).status == 200
            await trio.sleep(3)
            with trio.fail_after(10):
                await events.read_to_end()
        assert (await bench.request("GET", "/")).status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade, http2-settings\r\n"
        b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"\x00" * 100,
    ],
    ids=["h2", "h2c", "websocket", "tls", "long", "two-hosts", "zeros"],
)
async def test_other_protocols_are_ended_and_the_page_goes_on(
    tmp_path: Path, request_bytes: bytes
) -> None:
    async with run_page(tmp_path) as bench:
        async with await bench.connect() as stream:
            await stream.send_all(request_bytes)
            with trio.move_on_after(3):
                data = b"".join([chunk async for chunk in stream])
                assert b"200 " not in data[:20]
        assert (await bench.request("GET", "/")).status == 200


async def _send_until_closed(stream: trio.SocketStream) -> float:
    """Send a request byte by byte; the seconds until the connection is closed."""
    began = trio.current_time()
    try:
        while True:
            await stream.send_all(b"G")
            await trio.sleep(0.1)
    except trio.BrokenResourceError:
        return trio.current_time() - began
