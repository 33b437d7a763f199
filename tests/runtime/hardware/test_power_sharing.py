"""The station's power between its EVSEs: fair, never above a limit, steady."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from station.runtime.hardware.power_sharing import (
    LEND_AFTER_S,
    SETTLE_S,
    EvseDemand,
    PowerShare,
    Shares,
    share_power,
)

MINIMUM_W = 1_000
ROUND_S = 0.1


def demand(
    evse_id: int,
    request_w: int | None = 300_000,
    *,
    limit_w: int = 300_000,
    measured_w: int = 0,
    has_session: bool = True,
) -> EvseDemand:
    return EvseDemand(evse_id, limit_w, MINIMUM_W, request_w, measured_w, has_session)


@dataclass
class Ev:
    """An EV that takes what it wants, as far as it is offered, with a ramp."""

    wants_w: Callable[[float], int]
    connected: Callable[[float], bool] = lambda now: True
    ramp_w_per_s: int = 100_000
    power_w: int = 0

    def take(self, setpoint_w: int, now: float) -> None:
        target_w = min(self.wants_w(now), setpoint_w) if self.connected(now) else 0
        raised_w = self.power_w + int(self.ramp_w_per_s * ROUND_S)
        self.power_w = min(target_w, raised_w)

    def request_w(self, setpoint_w: int, now: float) -> int:
        """A CCS EV requests at most what it is offered."""
        return min(self.wants_w(now), setpoint_w)


@dataclass
class Site:
    """Two EVSEs in a closed loop with their EVs."""

    evs: dict[int, Ev]
    total_w: Callable[[float], int] = lambda now: 300_000
    limit_w: int = 300_000
    now: float = 0.0
    shares: Shares = field(default_factory=dict)
    changes: int = 0  # of set-points

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / ROUND_S)):
            self._run_round()

    def _run_round(self) -> None:
        self.now = round(self.now + ROUND_S, 3)
        setpoints = {evse_id: self.setpoint_w(evse_id) for evse_id in self.evs}
        demands = [
            EvseDemand(
                evse_id,
                self.limit_w,
                MINIMUM_W,
                ev.request_w(setpoints[evse_id], self.now),
                ev.power_w,
                ev.connected(self.now),
            )
            for evse_id, ev in self.evs.items()
        ]
        total_w = self.total_w(self.now)
        self.shares = share_power(self.shares, demands, total_w, self.now)
        assert sum(share.setpoint_w for share in self.shares.values()) <= total_w
        self.changes += sum(
            abs(self.setpoint_w(evse_id) - setpoints[evse_id]) > 100 for evse_id in self.evs
        )
        for evse_id, ev in self.evs.items():
            ev.take(self.setpoint_w(evse_id), self.now)

    def setpoint_w(self, evse_id: int) -> int:
        return self.shares[evse_id].setpoint_w if self.shares else 0

    def power_w(self) -> int:
        return sum(ev.power_w for ev in self.evs.values())


def always(value_w: int) -> Callable[[float], int]:
    return lambda now: value_w


# --- Rules ---------------------------------------------------------------------------------------

watts = st.integers(0, 400_000)
demands_of_two = st.tuples(
    *(
        st.builds(
            EvseDemand,
            evse_id=st.just(evse_id),
            limit_w=watts,
            minimum_w=st.integers(1, 3_000),
            request_w=st.none() | watts,
            measured_w=watts,
            has_session=st.booleans(),
        )
        for evse_id in (1, 2)
    )
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(demands_of_two, watts, st.floats(0, 20)), min_size=1, max_size=12))
def test_no_limit_is_ever_exceeded_sc_01(
    rounds: list[tuple[tuple[EvseDemand, EvseDemand], int, float]],
) -> None:
    shares: Shares = {}
    now = 0.0
    for demands, total_w, seconds in rounds:
        now += seconds
        before, shares = shares, share_power(shares, demands, total_w, now)
        setpoints_w = {evse_id: share.setpoint_w for evse_id, share in shares.items()}
        assert sum(setpoints_w.values()) <= total_w
        for each in demands:
            setpoint_w = setpoints_w[each.evse_id]
            assert 0 <= setpoint_w <= each.limit_w
            assert setpoint_w == 0 or setpoint_w >= each.minimum_w
            assert setpoint_w == 0 or each.has_session
            was_w = before[each.evse_id].setpoint_w if before else 0
            if setpoint_w > was_w:  # raised: only into power that the other does not give any more
                other = demands[2 - each.evse_id]
                assert setpoint_w + other.measured_w <= total_w


@settings(max_examples=300, deadline=None)
@given(demands_of_two, watts)
def test_power_is_shared_out_and_no_ev_is_below_its_minimum(
    demands: tuple[EvseDemand, EvseDemand], total_w: int
) -> None:
    shares = share_power({}, demands, total_w, 0.0)
    served = [each for each in demands if each.has_session and each.limit_w >= each.minimum_w]
    if sum(each.minimum_w for each in served) <= total_w:
        given_w = sum(share.share_w for share in shares.values())
        useful_w = min(total_w, sum(each.limit_w for each in served))
        assert useful_w - len(demands) < given_w <= useful_w
        for each in served:
            assert shares[each.evse_id].share_w >= each.minimum_w


def test_two_hungry_evs_get_the_same() -> None:
    shares = share_power({}, [demand(1), demand(2)], 100_000, 0.0)
    assert [shares[1].setpoint_w, shares[2].setpoint_w] == [50_000, 50_000]


def test_an_evse_with_a_lower_limit_leaves_the_rest_to_the_other() -> None:
    shares = share_power({}, [demand(1, limit_w=20_000), demand(2)], 100_000, 0.0)
    assert [shares[1].setpoint_w, shares[2].setpoint_w] == [20_000, 80_000]


def test_without_room_for_both_minimums_the_first_ev_keeps_its_power() -> None:
    site = Site({1: Ev(always(50_000), lambda now: now > 5), 2: Ev(always(50_000))})
    site.run(10)
    site.total_w = always(MINIMUM_W + 500)
    site.run(1)
    assert (site.setpoint_w(1), site.setpoint_w(2)) == (0, MINIMUM_W + 500)


def test_a_lower_total_counts_in_the_same_round() -> None:
    site = Site({1: Ev(always(150_000)), 2: Ev(always(150_000))})
    site.run(10)
    assert site.power_w() == 300_000
    site.total_w = always(40_000)
    site.run(ROUND_S)
    assert (site.setpoint_w(1), site.setpoint_w(2)) == (20_000, 20_000)


def test_a_cleared_limit_counts_in_the_same_round() -> None:
    site = Site({1: Ev(always(150_000)), 2: Ev(always(150_000))}, total_w=always(40_000))
    site.run(20)
    site.total_w = always(300_000)
    site.run(ROUND_S)
    assert (site.setpoint_w(1), site.setpoint_w(2)) == (150_000, 150_000)


def test_power_is_raised_only_after_the_other_evse_gives_less() -> None:
    def shares_after(measured_w: int, seconds: float) -> dict[int, PowerShare]:
        shares = share_power({}, [demand(1), demand(2, has_session=False)], 100_000, 0.0)
        demands = [demand(1, measured_w=measured_w), demand(2)]
        shares = share_power(shares, demands, 100_000, 1.0)
        return share_power(shares, demands, 100_000, 1.0 + seconds)

    assert shares_after(50_000, ROUND_S)[2].setpoint_w == 0  # the modules may not have the order
    assert shares_after(90_000, SETTLE_S)[2].setpoint_w == 10_000  # they still give 90 kW
    assert shares_after(50_000, SETTLE_S)[2].setpoint_w == 50_000


# --- Two EVs -------------------------------------------------------------------------------------


def test_unused_power_goes_to_the_other_ev_and_comes_back() -> None:
    wants_w = {"first": 30_000}
    site = Site({1: Ev(lambda now: wants_w["first"]), 2: Ev(always(280_000))})
    site.run(5)
    assert site.evs[2].power_w == 150_000  # not lent yet
    site.run(LEND_AFTER_S + 10)
    assert site.evs[2].power_w == 300_000 - (30_000 * 110 // 100 + 2_000)
    wants_w["first"] = 200_000
    site.run(3)
    assert [site.evs[1].power_w, site.evs[2].power_w] == [150_000, 150_000]


def test_power_of_an_ev_that_leaves_is_used_within_a_second() -> None:
    site = Site({1: Ev(always(150_000), lambda now: now < 20), 2: Ev(always(300_000))})
    site.run(19)
    assert site.evs[2].power_w == 150_000
    site.run(4)
    assert site.evs[2].power_w == 300_000


def test_a_paused_ev_gets_its_power_back_when_it_goes_on() -> None:
    site = Site({1: Ev(lambda now: 0 if 20 < now < 60 else 150_000), 2: Ev(always(300_000))})
    site.run(59)
    assert site.evs[2].power_w == 298_000
    site.run(4)
    assert [site.evs[1].power_w, site.evs[2].power_w] == [150_000, 150_000]


def test_set_points_do_not_hunt_while_an_ev_tapers() -> None:
    """An EV that tapers for ten minutes, beside one that takes all it gets."""
    site = Site({1: Ev(lambda now: int(150_000 * (1 - now / 600))), 2: Ev(always(300_000))})
    site.run(60)
    site.changes = 0
    site.run(500)
    assert site.changes <= 2 * 500 / LEND_AFTER_S
    assert site.power_w() >= 290_000


def test_set_points_of_steady_evs_do_not_change() -> None:
    site = Site({1: Ev(always(60_000)), 2: Ev(always(300_000))})
    site.run(30)
    site.changes = 0
    site.run(120)
    assert site.changes == 0
