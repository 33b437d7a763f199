"""Reuse of a computed value while nothing that it was computed from has changed.

The desired state is computed after every commit, and most of it is the same as before. A function
of a `Context` reads the product, projections of the state and the time, and nothing else (`PURE` in
`tests/test_imports.py`). So it would take the same way and give the same value if

* the product is the same object;
* each projection that it read is the same object: projections are immutable;
* it read no time, or only compared the uptime by `Context.has_reached`, and each comparison still
  has the same result. Uptime does not run backwards within a run; if it does, nothing is reused.

What a function reads is not declared but recorded while it runs, so no list has to be kept right.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Generic, TypeVar, cast

import msgspec

from journal.events import Entry
from journal.state import State
from station.core.context import Context, Product

T = TypeVar("T")


class _RecordedState:
    """A state in whose `__dict__` each projection is that was read."""

    def __init__(self, state: State) -> None:
        self.__dict__["\0state"] = state  # no name of a projection

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(self.__dict__["\0state"], name)
        return value


class _RecordedEntry:
    """An entry that records whether anything of it was read."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self.was_read = False

    def __getattr__(self, name: str) -> Any:
        self.was_read = True
        return getattr(self._entry, name)


class _Comparisons(msgspec.Struct):
    """The period of the uptime in which all comparisons that were made have the same result."""

    since_ms: float = -inf
    until_ms: float = inf


class _RecordedContext(Context, frozen=True, kw_only=True):
    """A context that records what is read."""

    uptime_now_ms: int
    comparisons: _Comparisons

    def has_reached(self, moment_ms: int) -> bool:
        reached = self.uptime_now_ms >= moment_ms
        if reached:
            self.comparisons.since_ms = max(self.comparisons.since_ms, moment_ms)
        else:
            self.comparisons.until_ms = min(self.comparisons.until_ms, moment_ms)
        return reached


class Reused(Generic[T]):
    """A pure function of a context that is called again only when its value may differ."""

    def __init__(self, compute: Callable[[Context], T]) -> None:
        self._compute = compute
        self._product: Product | None = None
        self._reads: tuple[tuple[str, Any], ...] = ()
        self._comparisons = _Comparisons()
        self._value: T | None = None

    def __call__(self, ctx: Context) -> T:
        """The value of the function for this context. Raises what the function raises."""
        if self._is_unchanged(ctx):
            return cast(T, self._value)
        self._product = None  # until there is a value
        state, entry = _RecordedState(ctx.state), _RecordedEntry(ctx.entry)
        self._comparisons = _Comparisons()
        value = self._compute(
            _RecordedContext(
                product=ctx.product,
                state=cast(State, state),
                entry=cast(Entry, entry),
                clock_step_ms=ctx.clock_step_ms,
                expects_readings=ctx.expects_readings,
                uptime_now_ms=ctx.uptime_ms,
                comparisons=self._comparisons,
            )
        )
        if not entry.was_read:
            reads = vars(state)
            del reads["\0state"]
            self._product, self._reads, self._value = ctx.product, tuple(reads.items()), value
        return value

    def _is_unchanged(self, ctx: Context) -> bool:
        if self._product is not ctx.product or ctx.clock_step_ms or ctx.expects_readings:
            return False
        state = ctx.state
        return self._comparisons.since_ms <= ctx.uptime_ms < self._comparisons.until_ms and all(
            getattr(state, name) is value for name, value in self._reads
        )
