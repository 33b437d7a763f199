"""A value that tasks can wait on: only the newest counts, so there is no queue that could grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class WatchedValue(Generic[T]):
    """A value with one writer and any number of waiting readers.

    Most changes concern one reader of ten, and waking a task costs more than comparing the part it
    waits for. So a reader names its part and is woken only when that part changes.
    """

    def __init__(self, value: T) -> None:
        self.value = value
        self._waiters: dict[trio.Event, tuple[Callable[[T], object], object]] = {}
        self._listeners: list[Callable[[], None]] = []

    def set(self, value: T) -> None:
        self.value = value
        for changed, (select, last_seen) in self._waiters.items():
            if select(value) != last_seen:
                changed.set()
        for listener in self._listeners:
            listener()

    @contextmanager
    def call_on_change(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` after each change in the block. It must not wait or raise."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    async def wait_part_changed(self, select: Callable[[T], object], last_seen: object) -> T:
        """Return the newest value once `select(value)`, which never raises, is not `last_seen`."""
        while select(self.value) == last_seen:
            changed = trio.Event()
            self._waiters[changed] = select, last_seen
            try:
                await changed.wait()
            finally:
                del self._waiters[changed]
        return self.value

    async def wait_changed(self, last_seen: T) -> T:
        """Return the newest value once it is another object than `last_seen`."""
        return await self.wait_part_changed(lambda value: value is last_seen, True)
