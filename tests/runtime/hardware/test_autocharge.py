"""Autocharge at the power path: the EVCCID before the authorization, and the session after it."""

from __future__ import annotations

from pathlib import Path

import trio
from msgspec.structs import replace
from trio.testing import MockClock

from drivers.emulators.ev import Ev
from drivers.ports import SeccState
from journal.events import IdToken
from journal.observations import EvIdentified, EvTokenReported
from station.core.desired import DesiredEvse, DesiredState
from tests.runtime.fixtures_hardware import HardwareBench, run_in_memory, world_violations

WAITING = DesiredState(
    autocharge=True,
    evses=(
        DesiredEvse(1, False, False, None, identify_ev=True),
        DesiredEvse(2, False, False, None),
    ),
)
AUTHORIZED = replace(
    WAITING, evses=(DesiredEvse(1, True, False, "tx"), DesiredEvse(2, False, False, None))
)


def tokens_of(bench: HardwareBench) -> list[tuple[int, IdToken]]:
    return [(each.evse_id, each.id_token) for each in bench.observations_of(EvTokenReported)]


async def test_the_evccid_is_reported_before_the_authorization_and_then_the_ev_charges(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.desired.set(WAITING)
        bench.world.plug_in(1, Ev(evcc_id=bytes.fromhex("AABBCC001122")))
        await bench.wait_until(lambda: tokens_of(bench), 3, "EVCCID")
        assert tokens_of(bench) == [(1, IdToken("#AABBCC001122", "MacAddress"))]
        secc = bench.world.seccs[1]
        await trio.sleep(20)
        assert secc.state is SeccState.CCS_AUTHORIZATION_PROCESS
        assert not bench.world.power_stages[1].closed
        bench.desired.set(AUTHORIZED)
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 8, "charging")
        await trio.sleep(5)
        assert len(tokens_of(bench)) == 1
        assert [each.evcc_id for each in bench.observations_of(EvIdentified)] == [None]
        assert bench.active_faults() == set()
        assert world_violations(bench.world) == []


async def test_an_ev_that_gave_up_waiting_charges_when_it_is_authorized_later(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.desired.set(WAITING)
        bench.world.plug_in(1, Ev())
        await trio.sleep(bench.world.seccs[1].timings.authorization_max_s + 10)
        assert bench.world.seccs[1].state is SeccState.NOT_AVAILABLE
        assert bench.active_faults() == set()
        bench.desired.set(AUTHORIZED)
        await bench.wait_until(lambda: bench.energy_flow(1) == "charging", 8, "charging")
        assert len(tokens_of(bench)) == 1


async def test_the_next_ev_is_not_taken_for_the_one_before(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.desired.set(WAITING)
        for evcc_id in ("AABBCC001122", "02A1B2C3D4E5"):
            bench.world.plug_in(1, Ev(evcc_id=bytes.fromhex(evcc_id)))
            await bench.wait_until(lambda: bench.is_plugged(1), 3)
            await trio.sleep(5)
            bench.world.unplug(1)
            await bench.wait_until(lambda: bench.is_plugged(1) is False, 3)
            await trio.sleep(1)
        values = [id_token.ref for _, id_token in tokens_of(bench)]
        assert values == ["#AABBCC001122", "#02A1B2C3D4E5"]
        assert bench.active_faults() == set()


async def test_without_autocharge_the_controller_waits_for_the_authorization(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with run_in_memory(tmp_path) as bench:
        bench.world.plug_in(1, Ev())
        await trio.sleep(10)
        assert bench.world.seccs[1].state is SeccState.NOT_AVAILABLE
        assert tokens_of(bench) == []
