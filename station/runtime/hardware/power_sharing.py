"""Sharing of the station's power between its EVSEs.

`share_power` is pure: from what each EVSE may give and what its EV takes, it computes the most that
each EVSE may be ordered to give now. It runs in every round of the control loop, and moves power in
three steps:

1. **Need.** An EVSE needs all it may give (its limit), unless its EV has taken clearly less than it
   may for `LEND_AFTER_S`: then it needs what the EV takes and some headroom. An EV that takes
   `HUNGRY_SHARE` of its set-point again gets its full need in the same round: it may be ramping
   up, and an EV never requests more than it is offered. Headroom and threshold differ, so a
   steady EV does not make the needs alternate, and a tapering one lowers its need in steps.
2. **Fair shares.** First every EVSE gets its minimum, the one that was served first before the
   others; one whose minimum does not fit gets nothing and waits. Then the smallest shares are
   raised together until the total is used or the needs are met (max-min fairness). What is left
   after that is distributed in the same way up to the limits, so that no EV is limited without a
   reason.
3. **Order of changes.** A lower share counts at once. A higher one waits until the power is free:
   an EVSE whose share was lowered still occupies what it gives (its measured output), and for
   `SETTLE_S` what it was allowed before, because its modules have not received the order yet.

So at every moment the sum of all set-points is at most the total, and so is the sum of a raised
set-point and what the other EVSEs still give. A change of the total or of a limit is followed in
the same round in both directions; only the loan of unused power is delayed.

The modules themselves are not shared: each stays in the group of the EVSE it is wired to. What is
shared is the power that the station may take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

LEND_AFTER_S: Final = 10.0  # an EV ramps up in less; a shorter dip is no reason to lend
SETTLE_S: Final = 0.5  # from a lower share to the modules: a command slot and their response
HUNGRY_SHARE: Final = (95, 100)  # an EV that takes this much of its share may want more
HEADROOM: Final = (110, 100)  # of what an EV takes, so that it is not hungry at once
HEADROOM_W: Final = 2_000
STEP_W: Final = 2_000  # a need is lowered by this much at least, or by the headroom of a tenth


class EvseDemand(msgspec.Struct, frozen=True):
    """What one EVSE may give and what its EV takes; whole watts.

    Attributes:
        limit_w: the most it may give, by its own limits; 0: nothing.
        minimum_w: less than this is of no use to the EV; more than 0.
        request_w: what the EV requests; None: it is not charging yet.
        measured_w: what the EVSE gives now.
        has_session: an EV charges, or is about to; False: needs nothing.
    """

    evse_id: int
    limit_w: int
    minimum_w: int
    request_w: int | None
    measured_w: int
    has_session: bool


class PowerShare(msgspec.Struct, frozen=True):
    """The share of one EVSE, kept from round to round.

    Attributes:
        setpoint_w: the most it may be ordered to give now.
        share_w: what it gets once the others have made room.
        need_w: what it was counted with; None: its limit.
        served_since: when it first got power in this session; None: it has not got any.
        low_since: since when its EV takes less than it needs; None: it does not.
        released: set-points that were lowered less than `SETTLE_S` ago, each with the time until
            which it counts as occupied.
    """

    setpoint_w: int = 0
    share_w: int = 0
    need_w: int | None = None
    served_since: float | None = None
    low_since: float | None = None
    released: tuple[tuple[float, int], ...] = ()


Shares = Mapping[int, PowerShare]  # by EVSE
NO_SHARE: Final = PowerShare()


def share_power(
    previous: Shares, demands: Sequence[EvseDemand], total_w: int, now: float
) -> dict[int, PowerShare]:
    """The shares of all EVSEs.

    Args:
        previous: the result of the round before; empty at first.
        demands: one for each EVSE.
        total_w: the most that all EVSEs may give together.
        now: seconds of a clock that does not go back.

    Returns:
        By EVSE. The sum of `setpoint_w` is at most `total_w`, and each at most its `limit_w`.
    """
    updated: dict[int, PowerShare] = {}
    for demand in demands:
        updated[demand.evse_id] = _update_need(previous.get(demand.evse_id, NO_SHARE), demand, now)
    shares_w = _fair_shares(updated, demands, total_w)
    occupied_w = {}
    for demand in demands:
        share = _release(updated[demand.evse_id], shares_w[demand.evse_id], now)
        updated[demand.evse_id] = share
        occupied_w[demand.evse_id] = max(
            share.share_w, demand.measured_w, *(setpoint_w for _, setpoint_w in share.released)
        )
    all_occupied_w = sum(occupied_w.values())
    return {
        demand.evse_id: _set_point(
            updated[demand.evse_id],
            demand,
            total_w - (all_occupied_w - occupied_w[demand.evse_id]),
            now,
        )
        for demand in demands
    }


# --- Need ----------------------------------------------------------------------------------------


def _update_need(share: PowerShare, demand: EvseDemand, now: float) -> PowerShare:
    """Set what the EVSE needs now."""
    if not demand.has_session:
        return replace(share, need_w=0, low_since=None, served_since=None)
    if demand.request_w is None or _is_hungry(share, demand):
        return replace(share, need_w=None, low_since=None)
    need_w = demand.limit_w if share.need_w is None else share.need_w
    with_headroom_w = demand.request_w * HEADROOM[0] // HEADROOM[1] + HEADROOM_W
    if demand.request_w > need_w:
        return replace(share, need_w=with_headroom_w, low_since=None)
    if with_headroom_w + max(STEP_W, need_w // 10) > need_w:
        return replace(share, low_since=None)
    low_since = now if share.low_since is None else share.low_since
    if now - low_since < LEND_AFTER_S:
        return replace(share, low_since=low_since)
    return replace(share, need_w=with_headroom_w, low_since=None)


def _is_hungry(share: PowerShare, demand: EvseDemand) -> bool:
    """Whether the EV takes about all it may; it may want more than it can request."""
    assert demand.request_w is not None
    taken_w = max(demand.request_w, demand.measured_w)
    return taken_w * HUNGRY_SHARE[1] >= share.setpoint_w * HUNGRY_SHARE[0]


# --- Fair shares ---------------------------------------------------------------------------------


def _fair_shares(needs: Shares, demands: Sequence[EvseDemand], total_w: int) -> dict[int, int]:
    """Minimums first, then needs, then limits; each step raises the smallest shares together."""
    floors = {demand.evse_id: 0 for demand in demands}
    ceilings, limits = dict(floors), dict(floors)
    left_w = total_w
    for demand in sorted(demands, key=lambda demand: _precedence(needs, demand)):
        evse_id, need_w = demand.evse_id, needs[demand.evse_id].need_w
        if not demand.has_session or demand.minimum_w > min(demand.limit_w, left_w):
            continue
        floors[evse_id] = demand.minimum_w
        limits[evse_id] = demand.limit_w
        ceilings[evse_id] = (
            demand.limit_w if need_w is None else max(demand.minimum_w, min(need_w, demand.limit_w))
        )
        left_w -= demand.minimum_w
    shares = _level_out(floors, ceilings, total_w)
    return _level_out(shares, limits, total_w)


def _precedence(needs: Shares, demand: EvseDemand) -> tuple[bool, float, int]:
    served_since = needs[demand.evse_id].served_since
    return served_since is None, served_since or 0.0, demand.evse_id


def _level_out(
    floors: Mapping[int, int], ceilings: Mapping[int, int], total_w: int
) -> dict[int, int]:
    """Raise all shares to one level, each between its floor and its ceiling, within the total.

    The sum of the floors is at most `total_w`. Between two neighbouring floors or ceilings the sum
    rises evenly, so the last of them that fits and what is left above it give the level.
    """

    def shares_at(level_w: int) -> dict[int, int]:
        return {
            evse_id: max(floors[evse_id], min(ceilings[evse_id], level_w)) for evse_id in floors
        }

    shares = dict(floors)
    for level_w in sorted({*floors.values(), *ceilings.values()}):
        raised = shares_at(level_w)
        if sum(raised.values()) > total_w:
            rising = [evse_id for evse_id in floors if raised[evse_id] > shares[evse_id]]
            step_w = (total_w - sum(shares.values())) // len(rising)
            return {
                evse_id: share_w + step_w if evse_id in rising else share_w
                for evse_id, share_w in shares.items()
            }
        shares = raised
    return shares


# --- Order of changes ----------------------------------------------------------------------------


def _release(share: PowerShare, share_w: int, now: float) -> PowerShare:
    """Set the share; a set-point above it counts as occupied for `SETTLE_S` more."""
    released = tuple(item for item in share.released if now < item[0])
    if share.setpoint_w > share_w:
        released = (*released, (now + SETTLE_S, share.setpoint_w))
    return replace(share, share_w=share_w, released=released)


def _set_point(share: PowerShare, demand: EvseDemand, free_w: int, now: float) -> PowerShare:
    """Lower the set-point to the share at once; raise it as far as the others have made room.

    Args:
        free_w: of the total, what the other EVSEs do not occupy.
    """
    setpoint_w = min(share.share_w, max(share.setpoint_w, free_w))
    if setpoint_w < demand.minimum_w:
        setpoint_w = 0
    served_since = share.served_since
    if served_since is None and setpoint_w and demand.has_session:
        served_since = now
    return replace(share, setpoint_w=setpoint_w, served_since=served_since)
