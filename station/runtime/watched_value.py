"""How does a task learn that a level changed, without a queue that could grow?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class WatchedValue(Generic[T]):
    """A value of which only the newest counts. One writer, any number of waiting readers.

    Most changes concern one reader of ten, and waking a task costs more than looking at the part
    it waits for: so a reader names its part, and sleeps on while the rest changes.
    """

    def __init__(self, value: T) -> None:
        self.value = value
        self._waiters: dict[trio.Event, tuple[Callable[[T], object], object]] = {}

    def set(self, value: T) -> None:
        self.value = value
        for woken, (part, seen) in self._waiters.items():
            if part(value) != seen:
                woken.set()

    async def wait_part_changed(self, select: Callable[[T], object], last_seen: object) -> T:
        """Return the newest value as soon as `part` of it, which never raises, is not `seen`."""
        while select(self.value) == last_seen:
            woken = trio.Event()
            self._waiters[woken] = select, last_seen
            try:
                await woken.wait()
            finally:
                del self._waiters[woken]
        return self.value

    async def wait_changed(self, last_seen: T) -> T:
        """Return the newest value as soon as it is not the one that was `seen`."""
        return await self.wait_part_changed(lambda value: value is last_seen, True)
