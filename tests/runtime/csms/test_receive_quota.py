"""Quota of received frames: what a CSMS can make the station write in a day is bounded."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest

from journal.observations import FrameMalformed, FrameReceived, LinkClosed, LinkOpened
from journal.projections.pending_replies import PendingReply
from station.runtime.csms import receive_quota
from station.runtime.csms.connection import BEYOND_QUOTA, FRAME_BYTES_MAX, QUOTA_EXCEEDED
from station.runtime.csms.receive_quota import (
    BULK_BYTES_MAX,
    FRAME_COST_BYTES,
    LIST_COST_FACTOR,
    WHOLE_BYTES,
    Admission,
    ReceiveQuota,
)
from tests.runtime.fixtures_csms import (
    FakeRecorder,
    MemoryNetwork,
    accept_request,
    desired_link,
    make_link,
)

DAY_S = 24 * 3600
FRAME_BYTES_PER_DAY = receive_quota.FRAME_BYTES_MAX
WRITTEN_MAX = 1_000_000_000  # bytes a day, whatever a CSMS sends
DIGEST_BYTES = 2 * FRAME_COST_BYTES  # entries of a frame that is refused


def admissions_of_a_day(size_bytes: int, rate_per_s: int, *, day: int) -> Counter[Admission]:
    """Admissions on a day of a flood; a connection that was closed is opened 10 s later."""
    quota, counts = ReceiveQuota(0.0), Counter[Admission]()
    now_s = 0.0
    while now_s < day * DAY_S:
        admission = quota.admit(size_bytes, now_s, is_awaited=False)
        if now_s >= (day - 1) * DAY_S:
            counts[admission] += 1
        now_s += 10 if admission == "close" else 1 / rate_per_s
    return counts


@pytest.mark.parametrize("day", [1, 2])
@pytest.mark.parametrize(
    ("size_bytes", "rate_per_s"), [(250_000, 40), (WHOLE_BYTES, 40), (5_000, 20), (30, 20)]
)
def test_a_flood_writes_less_than_a_gigabyte_a_day(
    size_bytes: int, rate_per_s: int, day: int
) -> None:
    counts = admissions_of_a_day(size_bytes, rate_per_s, day=day)
    written = counts["whole"] * (size_bytes + FRAME_COST_BYTES) + counts["digest"] * DIGEST_BYTES
    assert written < WRITTEN_MAX
    assert counts["close"]


LIST_PART_BYTES = 30_000  # a SendLocalList with 200 idTokens


def test_a_long_local_list_is_recorded_whole_d01_fr_11() -> None:
    """100,000 idTokens at once, in more bytes than the bulk allowance has."""
    quota = ReceiveQuota(0.0)
    for part in range(500):
        admission = quota.admit(LIST_PART_BYTES, part / 10, is_awaited=False, is_list=True)
        assert admission == "whole"
    assert 500 * LIST_PART_BYTES > BULK_BYTES_MAX
    assert quota.admit(WHOLE_BYTES + 1, 50.0, is_awaited=False) == "whole"  # bulk is left


@pytest.mark.parametrize("day", [1, 2])
def test_local_lists_without_end_write_less_than_a_gigabyte_a_day(day: int) -> None:
    quota, written, now_s = ReceiveQuota(0.0), 0, 0.0
    while now_s < day * DAY_S:
        if quota.admit(250_000, now_s, is_awaited=False, is_list=True) == "close":
            now_s += 10
            continue
        now_s += 0.5
        if now_s >= (day - 1) * DAY_S:
            written += LIST_COST_FACTOR * 250_000  # frame, decision and side table
    assert 0 < written < WRITTEN_MAX


REPORT_BYTES = 150_000  # NotifyReports of one GetBaseReport


@pytest.mark.parametrize("day", [1, 2])
def test_short_requests_with_long_answers_write_less_than_a_gigabyte_a_day(day: int) -> None:
    """The answers are in the journal too; each is delivered before the next request."""
    quota, written, now_s = ReceiveQuota(0.0), 0, 0.0
    while now_s < day * DAY_S:
        if quota.admit(120, now_s, is_awaited=False) == "close":
            now_s += 10
            continue
        quota.charge_sent(REPORT_BYTES, "NotifyReport")
        now_s += 0.5
        if now_s >= (day - 1) * DAY_S:
            written += REPORT_BYTES * 12 // 10  # queued calls, their attempts and answers
    assert 0 < written < WRITTEN_MAX


def test_transaction_events_use_nothing_up() -> None:
    quota = ReceiveQuota(0.0)
    quota.charge_sent(10 * FRAME_BYTES_PER_DAY, "TransactionEvent")
    assert quota.admit(120, 0.0, is_awaited=False) == "whole"
    quota.charge_sent(10 * FRAME_BYTES_PER_DAY, "NotifyReport")
    assert quota.admit(120, 0.0, is_awaited=False) == "close"
    assert quota.admit(120, 2.1 * DAY_S, is_awaited=False) == "whole"  # a day is owed at most


@pytest.mark.parametrize("bytes_per_day", [FRAME_BYTES_PER_DAY // 4, 4 * FRAME_BYTES_PER_DAY])
def test_the_integrator_sets_the_bytes_of_a_day(bytes_per_day: int) -> None:
    quota, frames = ReceiveQuota(0.0, bytes_per_day), 0
    while quota.admit(500, 0.0, is_awaited=False) == "whole":
        frames += 1
    assert frames == bytes_per_day // (FRAME_COST_BYTES + 500)


def test_bulk_is_whole_until_its_allowance_is_used_up_and_again_with_time() -> None:
    quota = ReceiveQuota(0.0)
    within = BULK_BYTES_MAX // (250_000 - WHOLE_BYTES)
    for _ in range(within):
        assert quota.admit(250_000, 0.0, is_awaited=False) == "whole"
    assert quota.admit(250_000, 0.0, is_awaited=False) == "digest"
    assert quota.admit(500, 0.0, is_awaited=False) == "whole"  # a short request is none
    assert quota.admit(250_000, 3600.0, is_awaited=False) == "whole"


def test_the_answers_of_a_backlog_of_a_month_use_nothing_up() -> None:
    quota = ReceiveQuota(0.0)
    assert {quota.admit(120, i / 100, is_awaited=True) for i in range(170_000)} == {"whole"}
    assert quota.admit(120, 1700.0, is_awaited=False) == "whole"


def test_a_request_a_second_is_served_day_and_night() -> None:
    quota = ReceiveQuota(0.0)
    assert {quota.admit(500, float(i), is_awaited=False) for i in range(2 * DAY_S)} == {"whole"}


async def flood(request: WebSocketRequest, frame: str) -> None:
    """Send a frame without end."""
    websocket = await accept_request(request)
    with suppress(ConnectionClosed):
        while True:
            await websocket.send_message(frame)
            await trio.sleep(0.1)


async def test_what_a_request_makes_the_station_send_uses_up_the_quota(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = lambda request: flood(request, '[2,"1","GetReport",{}]')
        nursery.start_soon(make_link(recorder, network, bytes_per_day=2**19).run)
        await recorder.wait_for_observation(FrameReceived, 10)
        reply = PendingReply(7, "1", msgspec.Raw(b'"' + b"x" * 600_000 + b'"'))
        desired = recorder.desired_state.value
        recorder.desired_state.set(msgspec.structs.replace(desired, replies=(reply,)))
        closed = await recorder.wait_for_observation(LinkClosed)
        assert closed.reason == QUOTA_EXCEEDED
        assert len([item for item in recorder.observed if isinstance(item, FrameReceived)]) < 20
        nursery.cancel_scope.cancel()


async def test_long_answers_to_nothing_are_recorded_by_digest_and_then_end_the_connection(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_quota, "BULK_BYTES_MAX", 2**20)
    monkeypatch.setattr(receive_quota, "FRAME_BYTES_MAX", 4 * 2**20)
    frame = f'[3,"nothing","{"x" * 250_000}"]'
    assert len(frame) < FRAME_BYTES_MAX
    async with trio.open_nursery() as nursery:
        recorder, network = FakeRecorder(desired_link("a")), MemoryNetwork(nursery)
        network.servers["a"] = lambda request: flood(request, frame)
        nursery.start_soon(make_link(recorder, network).run)
        closed = await recorder.wait_for_observation(LinkClosed)
        assert closed.reason == QUOTA_EXCEEDED
        whole = [item for item in recorder.observed if isinstance(item, FrameReceived)]
        digests = [item for item in recorder.observed if isinstance(item, FrameMalformed)]
        assert sum(len(item.frame) for item in whole) < 2 * 2**20
        assert {item.reason for item in digests} == {BEYOND_QUOTA}
        await recorder.wait_for_observation(LinkOpened, 4)
        starts_s = [start_s for start_s, _ in network.attempts]
        waits_s = [round(later - earlier) for earlier, later in pairwise(starts_s)]
        assert waits_s[1:3] == [20, 40]  # the connections were no success for the back-off
        nursery.cancel_scope.cancel()
