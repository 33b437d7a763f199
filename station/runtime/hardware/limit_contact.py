"""The contact by which a grid operator limits the station.

The contact is open while the station is limited, so that a broken wire limits too. It limits in the
round that reads it open; it has to be closed for `CLOSED_S` to lift the limit, because a contact
bounces. Until the input is read for the first time, nothing is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from drivers.wiring import Channel

CLOSED_S: Final = 2.0


class LimitContact:
    """One contact at an input; `report_limited` is called when it begins and ends to limit."""

    def __init__(self, channel: Channel, report_limited: Callable[[bool], None]) -> None:
        self.channel = channel
        self._report_limited = report_limited
        self._is_limited: bool | None = None  # as reported; None: not yet
        self._closed_since: float | None = None

    def reporting_by(self, post: Callable[[Callable[[], None]], None]) -> LimitContact:
        """The same contact, which reports through `post`."""
        return LimitContact(
            self.channel, lambda limited: post(partial(self._report_limited, limited))
        )

    def restart(self) -> None:
        """Begin a run of the devices, with another clock."""
        self._closed_since = None

    def update(self, closed: bool | None, now: float) -> None:
        """Take the level of the input; None: never read."""
        if closed is None:
            return
        if not closed:
            self._closed_since = None
            self._report(True)
            return
        if self._closed_since is None:
            self._closed_since = now
        if now - self._closed_since >= CLOSED_S:
            self._report(False)

    def _report(self, limited: bool) -> None:
        if limited is not self._is_limited:
            self._is_limited = limited
            self._report_limited(limited)
