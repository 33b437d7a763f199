"""The emulated power stage: electrical behavior, and recording of forbidden actions."""

import pytest

from drivers.emulators.ev import RAMP_UP_A_PER_S, Ev
from drivers.emulators.infypower_modules import EmulatedModule
from drivers.emulators.power_stage import PowerStage

STEP_S = 0.01


def make_stage(*, ev: Ev | None = None, joined: bool = False) -> PowerStage:
    """One EVSE with six modules; `joined`: all contactors closed, no power."""
    stage = PowerStage(1, [EmulatedModule(address, 1) for address in range(6)])
    stage.ev = ev
    if joined:
        assert ev is not None
        stage.coil, stage.bus_v = True, ev.battery_v
        run_stage(stage, 0.1)
        stage.bus_v = ev.battery_v
        ev.contactors_closed = True
        run_stage(stage, STEP_S)
    return stage


def set_output(stage: PowerStage, voltage_v: float, current_a: float) -> None:
    for module in stage.modules:
        module.on = True
        module.set_voltage_mv = round(voltage_v * 1000)
        module.set_current_ma = round(current_a * 1000 / 6)


def run_stage(stage: PowerStage, seconds: float) -> float:
    """Advance by `seconds`; returns the delivered energy in Wh."""
    return sum(stage.step(STEP_S) for _ in range(round(seconds / STEP_S)))


def test_the_output_rises_by_2000_v_a_second() -> None:
    stage = make_stage()
    set_output(stage, 1000, 2)
    run_stage(stage, 0.25)
    assert stage.bus_v == pytest.approx(500, abs=25)
    run_stage(stage, 0.5)
    assert stage.bus_v == 1000


def test_walk_in_rises_in_5_s() -> None:
    stage = make_stage()
    set_output(stage, 1000, 2)
    for module in stage.modules:
        module.walk_in = True
    run_stage(stage, 2.5)
    assert stage.bus_v == pytest.approx(500, abs=25)


def test_off_decays_and_the_bleeder_is_faster() -> None:
    slow, fast = make_stage(), make_stage()
    slow.bus_v = fast.bus_v = 500.0
    fast.bleeding = True
    run_stage(slow, 0.2)
    run_stage(fast, 0.2)
    assert 200 < slow.bus_v < 300
    assert fast.bus_v < 20
    run_stage(slow, 3)
    assert slow.bus_v == 0


def test_a_bleeder_that_failed_keeps_the_voltage() -> None:
    stage = make_stage()
    stage.bus_v, stage.keeps_voltage, stage.bleeding = 400.0, True, True
    run_stage(stage, 60)
    assert stage.bus_v == 400


def test_no_current_below_the_battery_then_the_set_current() -> None:
    ev = Ev()
    stage = make_stage(ev=ev, joined=True)
    set_output(stage, ev.battery_v - 5, 100)
    run_stage(stage, 1)
    assert stage.current_a == 0
    set_output(stage, 450, 100)
    run_stage(stage, 1)
    assert stage.current_a == pytest.approx(100, abs=0.1)
    assert stage.outlet_v == pytest.approx(ev.battery_v + 100 * ev.resistance_ohm, abs=0.1)
    assert sum(module.current_ma for module in stage.modules) == pytest.approx(100_000, abs=10)


def test_a_module_delivers_at_most_its_rated_power() -> None:
    ev = Ev(max_voltage_v=900)
    stage = make_stage(ev=ev, joined=True)
    set_output(stage, 900, 600)
    run_stage(stage, 2)
    assert stage.current_a == pytest.approx(6 * 30_000 / 900, rel=0.01)
    stage.modules[0].power_share = 0.5
    run_stage(stage, 1)
    assert stage.current_a == pytest.approx(5.5 * 30_000 / 900, rel=0.01)


def test_dead_modules_deliver_nothing_and_the_others_continue() -> None:
    ev = Ev()
    stage = make_stage(ev=ev, joined=True)
    set_output(stage, 450, 120)
    run_stage(stage, 1)
    stage.modules[2].dead = True
    stage.modules[3].injected_bits.add("over_temperature")
    run_stage(stage, 1)
    assert stage.current_a == pytest.approx(80, abs=0.1)
    assert stage.modules[2].current_ma == stage.modules[3].current_ma == 0


def test_energy_is_voltage_times_current_times_time() -> None:
    ev = Ev(capacity_wh=1_000_000)
    stage = make_stage(ev=ev, joined=True)
    set_output(stage, 450, 100)
    run_stage(stage, 1)
    assert run_stage(stage, 36) == pytest.approx(stage.outlet_v * 100 * 36 / 3600, rel=1e-3)


def test_no_current_flows_once_the_ev_is_unplugged() -> None:
    stage = make_stage(ev=Ev(), joined=True)
    set_output(stage, 450, 100)
    run_stage(stage, 1)
    stage.ev = None
    run_stage(stage, STEP_S)
    assert stage.current_a == 0


def test_contactors_follow_their_coil_welded_and_stuck_ones_do_not() -> None:
    stage = make_stage()
    stage.coil = True
    run_stage(stage, 0.1)
    assert stage.closed
    stage.emergency = True
    run_stage(stage, 0.1)
    assert not stage.closed
    stage.emergency, stage.stuck_open = False, True
    run_stage(stage, 1)
    assert not stage.closed
    stage.stuck_open, stage.coil, stage.welded = False, False, True
    run_stage(stage, 0.1)
    assert stage.closed
    stage.welded = False
    run_stage(stage, 0.1)
    assert not stage.closed


def test_opening_under_load_is_a_violation_except_by_emergency_stop() -> None:
    for by_button in (False, True):
        stage = make_stage(ev=Ev(), joined=True)
        set_output(stage, 450, 100)
        run_stage(stage, 1)
        stage.coil, stage.emergency = by_button, by_button
        run_stage(stage, 0.1)
        assert list(stage.violations) == ([] if by_button else ["contactors opened at 100 A"])


def test_closing_onto_a_battery_at_another_voltage_is_a_violation() -> None:
    ev = Ev(contactors_closed=True)
    stage = make_stage(ev=ev)
    stage.coil = True
    run_stage(stage, 0.1)
    assert stage.violations[0] == f"contactors closed 0 V onto a battery at {ev.battery_v:.0f} V"


def test_bleeding_a_battery_is_a_violation_recorded_once() -> None:
    stage = make_stage(ev=Ev(), joined=True)
    stage.bleeding = True
    run_stage(stage, 1)
    assert list(stage.violations) == ["bleeder on while a battery is connected"]


def test_over_voltage_and_over_current_exceed_the_set_values() -> None:
    stage = make_stage()
    stage.over_voltage = True
    set_output(stage, 500, 2)
    run_stage(stage, 1)
    assert stage.bus_v == pytest.approx(560)
    ev = Ev()
    stage = make_stage(ev=ev, joined=True)
    stage.over_current = True
    set_output(stage, 450, 100)
    run_stage(stage, 1)
    assert stage.current_a == pytest.approx(140, abs=0.1)


def test_the_cable_warms_with_the_square_of_the_current() -> None:
    ev = Ev(capacity_wh=10_000_000)
    stage = make_stage(ev=ev, joined=True)
    assert stage.cable_sensor_c == 30
    set_output(stage, 450, 250)
    run_stage(stage, 600)
    assert stage.cable_sensor_c == 40
    stage.cable_fault_c = 95
    assert stage.cable_sensor_c == 95


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


def test_the_maximum_power_of_an_ev_limits_its_current() -> None:
    ev = Ev(max_power_w=10_000, contactors_closed=True)
    assert ev.target_a == pytest.approx(10_000 / ev.battery_v)


def test_an_ev_that_is_not_connected_not_ready_or_finished_requests_no_current() -> None:
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


def test_the_battery_voltage_rises_with_the_state_of_charge() -> None:
    assert Ev(soc=0).battery_v == pytest.approx(360)
    assert Ev(soc=100).battery_v == pytest.approx(427.5)
