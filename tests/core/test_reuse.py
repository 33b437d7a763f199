"""Values are reused while what they were computed from is unchanged, and not longer.

Every story also checks it: the steps of `tests.support.story` compare the reused desired state with
one that is computed from nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from journal.observations import DeviceFaulted
from station.core.context import Context
from station.core.desired import DesiredStateMemo
from station.core.reuse import Reused
from tests.support.story import (
    ALICE,
    ONLINE,
    Station,
    called,
    device_faulted,
    given,
    meter_read,
    presented,
    time_passed,
)


def context_of(station: Station) -> Context:
    return Context(station.product, station.state, station.entries[-1])


class Counted:
    """A function of a context that counts its calls."""

    def __init__(self, compute: Callable[[Context], Any]) -> None:
        self.calls = 0
        self._compute = compute

    def __call__(self, ctx: Context) -> Any:
        self.calls += 1
        return self._compute(ctx)


def faults_of(ctx: Context) -> tuple[DeviceFaulted, ...]:
    return ctx.state.faults.active


def test_a_value_is_reused_until_something_it_read_changes() -> None:
    station = given(ONLINE)
    counted = Counted(faults_of)
    reused = Reused(counted)
    assert reused(context_of(station)) == ()
    station.when(
        called("GetBaseReport", requestId=1, reportBase="FullInventory"), time_passed(seconds=60)
    )
    assert reused(context_of(station)) == ()
    assert counted.calls == 1
    station.when(device_faulted(1))
    assert len(reused(context_of(station))) == 1
    assert counted.calls == 2


@pytest.mark.parametrize(
    "read_time", [lambda ctx: ctx.uptime_ms, lambda ctx: ctx.now, lambda ctx: ctx.entry.seq]
)
def test_what_reads_the_time_or_the_entry_is_never_reused(read_time: Any) -> None:
    station = given(ONLINE)
    reused = Reused(read_time)
    before = reused(context_of(station))
    station.when(time_passed(seconds=1), meter_read(1, "3000"))
    assert reused(context_of(station)) == read_time(context_of(station)) != before


def test_a_comparison_with_the_uptime_holds_until_its_moment() -> None:
    station = given(ONLINE)
    context = context_of(station)
    moment_ms = context.uptime_ms + 10_000
    counted = Counted(lambda ctx: ctx.has_reached(moment_ms))
    reused = Reused(counted)

    def at(uptime_ms: int) -> Context:
        return replace(context, entry=replace(context.entry, uptime_ms=uptime_ms))

    assert [reused(at(moment_ms + offset)) for offset in (-9_000, -1, 0, 5_000, -1)] == [
        *(False, False),
        *(True, True),
        False,
    ]
    assert counted.calls == 3


def test_another_product_or_a_corrected_clock_is_another_value() -> None:
    station = given(ONLINE)
    counted = Counted(lambda ctx: ctx.product.profile.name)
    reused = Reused(counted)
    context = context_of(station)
    reused(context)
    reused(replace(context, product=replace(station.product)))
    reused(replace(context, clock_step_ms=5))
    assert counted.calls == 3


def test_a_failure_is_not_reused() -> None:
    station = given(ONLINE)
    values = iter([0, 2])
    reused = Reused(lambda ctx: 4 // next(values))
    with pytest.raises(ZeroDivisionError):
        reused(context_of(station))
    assert reused(context_of(station)) == 2


def test_the_display_is_computed_again_when_its_notice_is_over() -> None:
    """Nothing of the state changes at that moment, only the time."""
    station = given(ONLINE, presented(ALICE))
    memo = DesiredStateMemo()
    before = memo.compute(station.product, station.state, station.entries[-1])
    later = replace(station.entries[-1], uptime_ms=station.uptime_ms + 600_000)
    after = memo.compute(station.product, station.state, later)
    assert before.display.notice is not None
    assert after.display.notice is None


def test_a_commit_that_changes_nothing_shown_reuses_the_display() -> None:
    station = given(ONLINE)
    memo = DesiredStateMemo()
    before = memo.compute(station.product, station.state, station.entries[-1])
    station.when(called("GetVariables", getVariableData=[]))
    after = memo.compute(station.product, station.state, station.entries[-1])
    assert after.display is before.display
    assert after.link is before.link
