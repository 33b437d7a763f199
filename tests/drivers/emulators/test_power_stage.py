"""The physics between modules and battery, and what a station must never do there."""

import pytest

from drivers.emulators.ev import RAMP_UP_A_PER_S, Ev
from drivers.emulators.infypower_modules import EmulatedModule
from drivers.emulators.power_stage import PowerStage

STEP_S = 0.01


def make_bay(*, ev: Ev | None = None, joined: bool = False) -> PowerStage:
    """One EVSE with six modules; joined: contactors and EV closed, no power."""
    made = PowerStage(1, [EmulatedModule(address, 1) for address in range(6)])
    made.ev = ev
    if joined:
        assert ev is not None
        made.coil, made.bus_v = True, ev.battery_v
        run_bay(made, 0.1)
        made.bus_v = ev.battery_v
        ev.contactors_closed = True
        run_bay(made, STEP_S)
    return made


def set_output(bay: PowerStage, voltage_v: float, current_a: float) -> None:
    for module in bay.modules:
        module.on = True
        module.set_voltage_mv = round(voltage_v * 1000)
        module.set_current_ma = round(current_a * 1000 / 6)


def run_bay(bay: PowerStage, seconds: float) -> float:
    """Let time pass; Wh that flowed."""
    return sum(bay.step(STEP_S) for _ in range(round(seconds / STEP_S)))


def test_the_output_rises_by_2000_v_a_second() -> None:
    it = make_bay()
    set_output(it, 1000, 2)
    run_bay(it, 0.25)
    assert it.bus_v == pytest.approx(500, abs=25)
    run_bay(it, 0.5)
    assert it.bus_v == 1000


def test_walk_in_rises_in_5_s() -> None:
    it = make_bay()
    set_output(it, 1000, 2)
    for module in it.modules:
        module.walk_in = True
    run_bay(it, 2.5)
    assert it.bus_v == pytest.approx(500, abs=25)


def test_off_decays_and_the_bleeder_is_faster() -> None:
    slow, fast = make_bay(), make_bay()
    slow.bus_v = fast.bus_v = 500.0
    fast.bleeding = True
    run_bay(slow, 0.2)
    run_bay(fast, 0.2)
    assert 200 < slow.bus_v < 300
    assert fast.bus_v < 20
    run_bay(slow, 3)
    assert slow.bus_v == 0


def test_a_bleeder_that_failed_keeps_the_voltage() -> None:
    it = make_bay()
    it.bus_v, it.keeps_voltage, it.bleeding = 400.0, True, True
    run_bay(it, 60)
    assert it.bus_v == 400


def test_no_current_below_the_battery_then_the_set_current() -> None:
    ev = Ev()
    it = make_bay(ev=ev, joined=True)
    set_output(it, ev.battery_v - 5, 100)
    run_bay(it, 1)
    assert it.current_a == 0
    set_output(it, 450, 100)
    run_bay(it, 1)
    assert it.current_a == pytest.approx(100, abs=0.1)
    assert it.outlet_v == pytest.approx(ev.battery_v + 100 * ev.resistance_ohm, abs=0.1)
    assert sum(module.current_ma for module in it.modules) == pytest.approx(100_000, abs=10)


def test_a_module_gives_no_more_than_its_rated_power() -> None:
    ev = Ev(max_voltage_v=900)
    it = make_bay(ev=ev, joined=True)
    set_output(it, 900, 600)
    run_bay(it, 2)
    assert it.current_a == pytest.approx(6 * 30_000 / 900, rel=0.01)
    it.modules[0].power_share = 0.5
    run_bay(it, 1)
    assert it.current_a == pytest.approx(5.5 * 30_000 / 900, rel=0.01)


def test_dead_modules_give_nothing_and_the_rest_goes_on() -> None:
    ev = Ev()
    it = make_bay(ev=ev, joined=True)
    set_output(it, 450, 120)
    run_bay(it, 1)
    it.modules[2].dead = True
    it.modules[3].injected_bits.add("over_temperature")
    run_bay(it, 1)
    assert it.current_a == pytest.approx(80, abs=0.1)
    assert it.modules[2].current_ma == it.modules[3].current_ma == 0


def test_energy_is_voltage_times_current_times_time() -> None:
    ev = Ev(capacity_wh=1_000_000)
    it = make_bay(ev=ev, joined=True)
    set_output(it, 450, 100)
    run_bay(it, 1)
    assert run_bay(it, 36) == pytest.approx(it.outlet_v * 100 * 36 / 3600, rel=1e-3)


def test_an_ev_that_is_gone_takes_no_current() -> None:
    it = make_bay(ev=Ev(), joined=True)
    set_output(it, 450, 100)
    run_bay(it, 1)
    it.ev = None
    run_bay(it, STEP_S)
    assert it.current_a == 0


def test_contactors_follow_their_coil_welded_and_stuck_ones_do_not() -> None:
    it = make_bay()
    it.coil = True
    run_bay(it, 0.1)
    assert it.closed
    it.emergency = True
    run_bay(it, 0.1)
    assert not it.closed
    it.emergency, it.stuck_open = False, True
    run_bay(it, 1)
    assert not it.closed
    it.stuck_open, it.coil, it.welded = False, False, True
    run_bay(it, 0.1)
    assert it.closed
    it.welded = False
    run_bay(it, 0.1)
    assert not it.closed


def test_opening_under_load_is_noted_the_mushroom_button_may() -> None:
    for by_button in (False, True):
        it = make_bay(ev=Ev(), joined=True)
        set_output(it, 450, 100)
        run_bay(it, 1)
        it.coil, it.emergency = by_button, by_button
        run_bay(it, 0.1)
        assert list(it.violations) == ([] if by_button else ["contactors opened at 100 A"])


def test_closing_onto_another_voltage_is_noted() -> None:
    ev = Ev(contactors_closed=True)
    it = make_bay(ev=ev)
    it.coil = True
    run_bay(it, 0.1)
    assert it.violations[0] == f"contactors closed 0 V onto a battery at {ev.battery_v:.0f} V"


def test_bleeding_a_battery_is_noted_once() -> None:
    it = make_bay(ev=Ev(), joined=True)
    it.bleeding = True
    run_bay(it, 1)
    assert list(it.violations) == ["bleeder on while a battery is connected"]


def test_over_voltage_and_over_current_exceed_the_order() -> None:
    it = make_bay()
    it.over_voltage = True
    set_output(it, 500, 2)
    run_bay(it, 1)
    assert it.bus_v == pytest.approx(560)
    ev = Ev()
    it = make_bay(ev=ev, joined=True)
    it.over_current = True
    set_output(it, 450, 100)
    run_bay(it, 1)
    assert it.current_a == pytest.approx(140, abs=0.1)


def test_the_cable_warms_with_the_square_of_the_current() -> None:
    ev = Ev(capacity_wh=10_000_000)
    it = make_bay(ev=ev, joined=True)
    assert it.cable_sensor_c == 30
    set_output(it, 450, 250)
    run_bay(it, 600)
    assert it.cable_sensor_c == 40
    it.cable_fault_c = 95
    assert it.cable_sensor_c == 95


# --- the EV --------------------------------------------------------------------------------------


def test_an_ev_ramps_up() -> None:
    ev = Ev(contactors_closed=True)
    ev.step(0.1, 0.0)
    assert ev.requested_a == pytest.approx(RAMP_UP_A_PER_S * 0.1)
    ev.step(10, 0.0)
    assert ev.requested_a == ev.target_a == 250


@pytest.mark.parametrize(("soc", "share"), [(0, 1), (80, 1), (90, 0.5), (99, 0.05), (99.9, 0.02)])
def test_an_ev_tapers_above_80_percent(soc: float, share: float) -> None:
    ev = Ev(soc=soc, max_power_w=200_000, contactors_closed=True)
    assert ev.target_a == pytest.approx(250 * share)


def test_an_evs_power_bounds_its_current() -> None:
    ev = Ev(max_power_w=10_000, contactors_closed=True)
    assert ev.target_a == pytest.approx(10_000 / ev.battery_v)


def test_an_ev_that_is_not_connected_ready_or_done_wants_nothing() -> None:
    assert Ev().target_a == 0
    assert Ev(contactors_closed=True, ready=False).target_a == 0
    assert Ev(contactors_closed=True, finished=True).target_a == 0


def test_an_ev_is_finished_at_its_target_and_never_above_full() -> None:
    ev = Ev(capacity_wh=100, soc=50, target_soc=60, contactors_closed=True)
    ev.step(1, 3600 / ev.battery_v * 5)
    assert not ev.finished
    ev.step(10, 3600 / ev.battery_v)
    assert ev.finished
    ev.step(1e6, 100)
    assert ev.soc == 100


def test_a_battery_has_more_voltage_the_fuller_it_is() -> None:
    assert Ev(soc=0).battery_v == pytest.approx(360)
    assert Ev(soc=100).battery_v == pytest.approx(427.5)
