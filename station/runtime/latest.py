"""How does a task learn that a level changed, without a queue that could grow?"""

from __future__ import annotations

from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Latest(Generic[T]):
    """A value of which only the newest counts. One writer, any number of waiting readers."""

    def __init__(self, value: T) -> None:
        self.value = value
        self._changed = trio.Event()

    def set(self, value: T) -> None:
        self.value = value
        self._changed.set()
        self._changed = trio.Event()

    async def wait_changed(self, seen: T) -> T:
        """Return the newest value as soon as it is not the one that was `seen`."""
        while self.value is seen:
            await self._changed.wait()
        return self.value
