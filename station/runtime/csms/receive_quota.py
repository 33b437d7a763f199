"""Quota of received frames: how much a CSMS can make the station write in a day.

Every frame is recorded, so a CSMS that sends without end fills the disk. Two allowances, each used
up by frames and refilled with time, bound what is recorded of them:

    bulk     what frames have beyond `WHOLE_BYTES`. A frame that finds it used up is recorded by
             length, digest and beginning (FrameMalformed) and refused.
    frames   `FRAME_COST_BYTES` for the entries that follow, and the frame up to `WHOLE_BYTES`; of a
             frame beyond the bulk allowance all of it. Used up: the connection is closed.

The answer to a call of this station uses up nothing but bulk: a backlog of a month is delivered
without a pause. A SendLocalList uses up no bulk, because a list of 100,000 idTokens has some 15 MB
of long frames; it uses up `LIST_COST_FACTOR` times its size of the frames allowance, because its
idTokens are written as the frame, as the decision and in the side table: a day has room for five
such lists. What the station sends uses up the frames allowance too, except TransactionEvents: a
short GetBaseReport is answered with 150 KB, which are in the journal as well. Sending is never
refused; the next received frame is.

No real CSMS comes near the limits; it would have to send more than one request a second, day and
night. The allowances outlast a connection, so that a new one does not refill them. The integrator
sets the bytes of a day as `[journal] csms_bytes_per_day`; bulk is a part of them.
"""

from __future__ import annotations

from typing import Final, Literal

HOUR_S: Final = 3600.0
WHOLE_BYTES: Final = 4 * 1024  # of a frame; most requests are under 1 KiB
FRAME_COST_BYTES: Final = 2 * 1024  # entries of a short request and its reply
BULK_BYTES_MAX: Final = 8 * 1024 * 1024  # hundreds of the longest requests there are
BULK_BYTES_PER_HOUR: Final = 4 * 1024 * 1024  # some 100 MB a day
LIST_ACTION: Final = "SendLocalList"
LIST_COST_FACTOR: Final = 3
FRAME_BYTES_MAX: Final = 256 * 1024 * 1024  # a day's worth at once: 100,000 requests
HOURS_PER_DAY: Final = 24
UNCOUNTED_ACTION: Final = "TransactionEvent"  # what it reports happened at the station

Admission = Literal["whole", "digest", "close"]


class Allowance:
    """Bytes that may be used up; they come back at a constant rate."""

    def __init__(self, bytes_max: int, bytes_per_hour: int, now_s: float) -> None:
        self._bytes_max = bytes_max
        self._bytes_per_s = bytes_per_hour / HOUR_S
        self._left = float(bytes_max)
        self._counted_s = now_s

    def use(self, size_bytes: int, now_s: float) -> bool:
        """Use up bytes; False, and nothing is used up, if fewer are left."""
        refilled = self._left + (now_s - self._counted_s) * self._bytes_per_s
        self._left, self._counted_s = min(refilled, self._bytes_max), now_s
        if size_bytes > self._left:
            return False
        self._left -= size_bytes
        return True

    def charge(self, size_bytes: int) -> None:
        """Use up bytes that were written already, also if fewer are left."""
        self._left = max(self._left - size_bytes, -float(self._bytes_max))


class ReceiveQuota:
    """Decides how each received frame is recorded."""

    def __init__(self, now_s: float, bytes_per_day: int | None = None) -> None:
        """Start with full allowances.

        Args:
            now_s: trio time.
            bytes_per_day: of the frames allowance; None: FRAME_BYTES_MAX.
        """
        day = bytes_per_day or FRAME_BYTES_MAX
        bulk_max, bulk_per_hour = (
            size * day // FRAME_BYTES_MAX for size in (BULK_BYTES_MAX, BULK_BYTES_PER_HOUR)
        )
        self._bulk = Allowance(bulk_max, bulk_per_hour, now_s)
        self._frames = Allowance(day, day // HOURS_PER_DAY, now_s)

    def charge_sent(self, size_bytes: int, action: str = "") -> None:
        """Count a frame that was sent: a reply, or a call with this action."""
        if action != UNCOUNTED_ACTION:
            self._frames.charge(size_bytes)

    def admit(
        self, size_bytes: int, now_s: float, *, is_awaited: bool, is_list: bool = False
    ) -> Admission:
        """Record the frame whole, or by its digest, or close the connection.

        Args:
            size_bytes: of the frame.
            now_s: trio time.
            is_awaited: it is the answer to the call in flight.
            is_list: it is a SendLocalList.
        """
        if is_list:
            cost = FRAME_COST_BYTES + LIST_COST_FACTOR * size_bytes
            return "whole" if self._frames.use(cost, now_s) else "close"
        bulk = max(0, size_bytes - WHOLE_BYTES)
        is_within_bulk = self._bulk.use(bulk, now_s)
        if is_awaited and is_within_bulk:
            return "whole"
        cost = FRAME_COST_BYTES + (size_bytes - bulk if is_within_bulk else size_bytes)
        if not self._frames.use(cost, now_s):
            return "close"
        return "whole" if is_within_bulk else "digest"
