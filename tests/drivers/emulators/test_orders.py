"""Orders to the emulated station: each is executed or refused with a reason."""

from __future__ import annotations

import copy
import json
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.emulators.faults import FAULTS
from drivers.emulators.json_lines_socket import LINE_MAX, JsonLinesSocket, SocketPathError
from drivers.emulators.orders import ORDERS, execute_order
from drivers.emulators.station import EmulatedStation
from tests.drivers.fixtures_charging import make_memory_world

Response = dict[str, Any]


@pytest.fixture
async def world(tmp_path: Path) -> EmulatedStation:
    return make_memory_world(tmp_path)[0]


def send_order(world: EmulatedStation, op: str, **arguments: object) -> Response:
    return execute_order(world, json.dumps({"op": op, **arguments}).encode())


def refusal_of(world: EmulatedStation, op: str, **arguments: object) -> str:
    response = send_order(world, op, **arguments)
    assert response["ok"] is False
    assert set(response) == {"ok", "error"}
    error = response["error"]
    assert isinstance(error, str)
    return error


def evse_state(world: EmulatedStation, number: int = 1) -> Response:
    evse: Response = send_order(world, "world")["evses"][number - 1]
    return evse


async def test_the_order_world_returns_the_true_state(world: EmulatedStation) -> None:
    assert send_order(world, "world") == {
        "ok": True,
        "evses": [evse_state(world, 1), evse_state(world, 2)],
        "emergency_pressed": False,
        "cards_waiting": 0,
        "display": ["", "", "", ""],
        "faults": [],
    }
    assert evse_state(world) == {
        "evse_id": 1,
        "plugged": False,
        "contactor": "open",
        "voltage_v": 0.0,
        "current_a": 0.0,
        "energy_wh": "0",
        "energy_exact_wh": "0",
        "soc": None,
        "bus_voltage_v": 0.0,
        "set_point_a": 0.0,
        "secc_state": "NOT_AVAILABLE",
        "pilot": "A",
        "violations": [],
    }


async def test_plug_in_and_unplug(world: EmulatedStation) -> None:
    ev = {"capacity_wh": 60_000, "soc": 50.5, "max_voltage_v": 800, "max_power_w": 50_000}
    assert send_order(world, "plug_in", evse_id=2, ev=ev, ready=False) == {"ok": True}
    plugged_ev = world.ev_on_evse(2)
    assert (plugged_ev.capacity_wh, plugged_ev.soc, plugged_ev.ready) == (60_000, 50.5, False)
    assert (plugged_ev.max_voltage_v, plugged_ev.max_power_w) == (800, 50_000)
    assert evse_state(world, 2)["plugged"]
    assert evse_state(world, 2)["pilot"] == "B"
    assert not evse_state(world, 1)["plugged"]
    assert refusal_of(world, "plug_in", evse_id=2) == "EVSE 2 has an EV plugged in already"
    assert send_order(world, "unplug", evse_id=2) == {"ok": True}
    assert refusal_of(world, "unplug", evse_id=2) == "EVSE 2 has no EV plugged in"


async def test_ready_and_pause(world: EmulatedStation) -> None:
    assert refusal_of(world, "ev_ready", evse_id=1) == "EVSE 1 has no EV plugged in"
    send_order(world, "plug_in", evse_id=1)
    assert send_order(world, "ev_pause", evse_id=1) == {"ok": True}
    assert not world.ev_on_evse(1).ready
    assert send_order(world, "ev_ready", evse_id=1) == {"ok": True}
    assert world.ev_on_evse(1).ready


async def test_cards_are_queued(world: EmulatedStation) -> None:
    for uid in ("5A3C917E", "04a25b1c9f6180", "04010203040506070809"):
        response = send_order(world, "present_token", id_token=uid, type="ISO14443", evse_id=1)
        assert response == {"ok": True}
    assert send_order(world, "present_token", id_token="5A3C917E") == {"ok": True}
    assert send_order(world, "world")["cards_waiting"] == 4


@pytest.mark.parametrize(
    "uid", ["", "5A3C91", "5A3C917", "5A3C917E9", "5A3C917G", " 5A3C917", "é" * 8]
)
async def test_an_invalid_uid_is_refused(world: EmulatedStation, uid: str) -> None:
    error = refusal_of(world, "present_token", id_token=uid)
    assert error == f"id_token must be an ISO14443 UID of 8, 14 or 20 hex digits, got {uid!r}"
    assert send_order(world, "world")["cards_waiting"] == 0


async def test_another_type_of_token_is_refused(world: EmulatedStation) -> None:
    error = refusal_of(world, "present_token", id_token="5A3C917E", type="eMAID")
    assert error == "type must be ISO14443, the only type of card this reader reads, got 'eMAID'"


async def test_buttons_change_their_inputs(
    world: EmulatedStation, autojump_clock: trio.testing.MockClock
) -> None:
    assert world.io[1].input_levels() == 0b1111_0101
    assert world.io[2].input_levels() == 0b0011_1010
    send_order(world, "emergency_stop")
    assert world.io[1].input_levels() & 1 == 0
    assert send_order(world, "world")["emergency_pressed"]
    send_order(world, "emergency_release")
    assert world.io[1].input_levels() & 1 == 1
    send_order(world, "stop_button", evse_id=1)
    assert world.io[2].input_levels() >> 6 == 0b01
    await trio.sleep(1)
    send_order(world, "stop_button", evse_id=2)
    assert world.io[2].input_levels() >> 6 == 0b10
    await trio.sleep(1)
    assert world.io[2].input_levels() >> 6 == 0


async def test_the_meter_can_be_set(world: EmulatedStation) -> None:
    send_order(
        world, "meter", evse_id=1, energy_wh=1234.5, voltage_v=400.2, current_a=-10, power_w=4000
    )
    read = world.meters[1].read_register
    assert [read(address) for address in (0, 2, 8, 12, 13)] == [4002, 65_536 - 100, 40, 0, 1234]
    assert evse_state(world)["energy_exact_wh"] == "1234.5"
    send_order(world, "meter", evse_id=1, voltage_v=None, current_a=None, power_w=None)
    assert read(0) == read(2) == read(8) == 0
    assert "backwards" in refusal_of(world, "meter", evse_id=1, energy_wh=1234)
    assert refusal_of(world, "meter", evse_id=1, soc=50) == "EVSE 1 has no EV plugged in"
    send_order(world, "plug_in", evse_id=1)
    send_order(world, "meter", evse_id=1, soc=50, voltage_v=1)
    assert evse_state(world)["soc"] == 50
    send_order(world, "unplug", evse_id=1)
    assert read(0) == 0  # the override ended with the EV


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[1]", 'an order is an object with "op", a string'),
        ('{"op": 5}', 'an order is an object with "op", a string'),
        ('{"op": "plugin"}', "op 'plugin' is not known; did you mean plug_in?"),
        ('{"op": "plug_in"}', "plug_in needs evse_id"),
        ('{"op": "plug_in", "evse": 1}', "plug_in takes no evse; did you mean evse_id?"),
        ('{"op": "plug_in", "evse_id": "1"}', 'evse_id must be a whole number, got "1"'),
        ('{"op": "plug_in", "evse_id": true}', "evse_id must be a whole number, got true"),
        ('{"op": "plug_in", "evse_id": 1.0}', 'evse_id must be a whole number, got "1.0"'),
        (
            '{"op": "plug_in", "evse_id": 0}',
            "evse_id 0 is not an EVSE of this station; it has 1, 2",
        ),
        ('{"op": "plug_in", "evse_id": 1, "ready": 1}', "ready must be true or false, got 1"),
        ('{"op": "plug_in", "evse_id": 1, "ev": 3}', "ev must be an object, got 3"),
        (
            '{"op": "plug_in", "evse_id": 1, "ev": {"capacity": 3}}',
            "ev has no capacity; did you mean capacity_wh?",
        ),
        ('{"op": "plug_in", "evse_id": 1, "ev": {"soc": 101}}', "ev.soc must be 0 to 100, got 101"),
        ('{"op": "plug_in", "evse_id": 1, "ev": {"soc": "x"}}', 'ev.soc must be a number, got "x"'),
        ('{"op": "meter", "evse_id": 1, "soc": NaN}', "soc must be a number, got NaN"),
        ('{"op": "fault", "device": "cable"}', "fault needs kind"),
        (
            '{"op": "fault", "device": "cabel", "kind": "hot"}',
            "device 'cabel' is not known; did you mean cable?",
        ),
        (
            '{"op": "clear_fault", "device": "lock", "kind": "x"}',
            "lock has no fault 'x'; it has stuck",
        ),
        (
            '{"op": "fault", "device": "ev", "kind": "emergency_stop", "evse_id": 1}',
            "EVSE 1 has no EV plugged in",
        ),
        ('{"op": "fault", "device": "ev", "kind": "stops"}', "no EVSE has an EV plugged in"),
    ],
)
async def test_an_invalid_order_is_refused_with_a_reason(
    world: EmulatedStation, line: str, error: str
) -> None:
    assert execute_order(world, line.encode()) == {"ok": False, "error": error}
    assert not evse_state(world)["plugged"]
    assert world.faults == set()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
async def test_any_line_is_answered(world: EmulatedStation, data: st.DataObject) -> None:
    json_value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=5,
    )
    names = st.sampled_from(
        ["op", "evse_id", "ev", "ready", "id_token", "type", "device", "kind", "energy_wh", "soc"]
    )
    values = json_value | st.sampled_from(sorted(ORDERS)) | st.integers(1, 2)
    order = st.dictionaries(names, values)
    line = data.draw(st.binary(max_size=60) | order.map(lambda value: json.dumps(value).encode()))
    assert execute_order(world, line)["ok"] in (True, False)


# --- faults --------------------------------------------------------------------------------------


def visible_state(world: EmulatedStation) -> object:
    """Everything a fault can change, as plain values."""

    def to_plain(value: object, depth: int = 0) -> object:
        if isinstance(value, (int, float, Decimal, str, bytes, set, frozenset, type(None))):
            return copy.copy(value)
        if isinstance(value, (list, tuple)):
            return [to_plain(item, depth) for item in value]
        if isinstance(value, dict):
            return {str(key): to_plain(item, depth) for key, item in value.items()}
        if (
            hasattr(value, "__dict__")
            and depth < 3
            and "drivers.emulators" in type(value).__module__
        ):
            return {
                key: to_plain(item, depth + 1)
                for key, item in vars(value).items()
                if not key.startswith("_") and key not in ("ev", "port", "nodes")
            }
        return None

    return to_plain(
        [
            *world.power_stages.values(),
            *world.seccs.values(),
            *world.meters.values(),
            *world.monitors.values(),
            *world.io.values(),
            *world.cabinet.modules,
            world.cabinet,
            world.secc_bus,
            world.cabinet_bus,
            world.reader,
            world.display,
            [vars(stage.ev) for stage in world.power_stages.values() if stage.ev is not None],
            [world.io[1].input_levels(), world.io[2].input_levels(), world.io[1].outputs],
        ]
    )


NEED_A_PTY = {("reader", "gone"), ("display", "gone"), ("can", "gone"), ("secc_can", "gone")}
MOMENTARY = {("io", "reboot")}


@pytest.mark.parametrize(("device", "kind"), sorted(FAULTS.keys() - NEED_A_PTY - MOMENTARY))
async def test_each_fault_has_an_effect_until_it_is_cleared(
    world: EmulatedStation, device: str, kind: str
) -> None:
    for number in (1, 2):
        send_order(world, "plug_in", evse_id=number)
    before = visible_state(world)
    assert send_order(world, "fault", device=device, kind=kind, evse_id=2) == {"ok": True}
    with_fault = visible_state(world)
    assert with_fault != before
    assert send_order(world, "fault", device=device, kind=kind, evse_id=2) == {"ok": True}
    assert visible_state(world) == with_fault
    [fault] = send_order(world, "world")["faults"]
    assert (fault["device"], fault["kind"]) == (device, kind)
    assert fault["evse_id"] == (2 if FAULTS[device, kind].per_evse else None)
    assert send_order(world, "clear_fault", device=device, kind=kind, evse_id=2) == {"ok": True}
    assert visible_state(world) == before
    assert send_order(world, "world")["faults"] == []


async def test_a_rebooted_io_module_sets_its_reset_flag_and_is_no_lasting_fault(
    world: EmulatedStation,
) -> None:
    world.io[1].read_bit(0x110)
    assert not world.io[1].read_bit(0x110)
    send_order(world, "fault", device="io", kind="reboot", evse_id=1)
    assert world.io[1].read_bit(0x110)
    assert send_order(world, "world")["faults"] == []


async def test_a_fault_without_an_evse_affects_all_evses(world: EmulatedStation) -> None:
    send_order(world, "fault", device="cable", kind="hot")
    assert [stage.cable_sensor_c for stage in world.power_stages.values()] == [85, 85]
    send_order(world, "clear_fault", device="cable", kind="hot", evse_id=1)
    assert [stage.cable_sensor_c for stage in world.power_stages.values()] == [30, 85]


async def test_clearing_one_of_two_overlapping_faults_leaves_the_other(
    world: EmulatedStation,
) -> None:
    send_order(world, "fault", device="module", kind="dead", evse_id=1)
    send_order(world, "fault", device="breaker", kind="tripped")
    send_order(world, "clear_fault", device="breaker", kind="tripped")
    assert [module.dead for module in world.cabinet.modules] == [True] + 11 * [False]
    send_order(world, "fault", device="cable", kind="hot", evse_id=1)
    send_order(world, "fault", device="cable", kind="over_temperature", evse_id=1)
    send_order(world, "clear_fault", device="cable", kind="over_temperature", evse_id=1)
    assert world.power_stages[1].cable_sensor_c == 85


async def test_a_fault_of_an_ev_ends_when_it_is_unplugged(world: EmulatedStation) -> None:
    send_order(world, "plug_in", evse_id=1)
    send_order(world, "fault", device="ev", kind="emergency_stop")
    assert world.ev_on_evse(1).emergency
    send_order(world, "unplug", evse_id=1)
    assert world.faults == set()
    send_order(world, "plug_in", evse_id=1)
    assert not world.ev_on_evse(1).emergency


# --- the socket ----------------------------------------------------------------------------------


def order_socket(world: EmulatedStation, path: Path) -> JsonLinesSocket:
    async def answer(line: bytes) -> Response:
        return execute_order(world, line)

    return JsonLinesSocket(path, answer)


async def send_lines(path: Path, *lines: bytes) -> list[Response]:
    """Send lines on one connection, read as many responses."""
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        await stream.send_all(b"".join(lines))
        received = b""
        with trio.fail_after(5):
            while received.count(b"\n") < len(lines):
                received += await stream.receive_some()
    return [json.loads(line) for line in received.splitlines()]


async def test_one_connection_carries_many_orders(tmp_path: Path) -> None:
    path = tmp_path / "s"
    world = make_memory_world(tmp_path)[0]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(order_socket(world, path).run)
        responses = await send_lines(
            path,
            b'{"op": "plug_in", "evse_id": 1}\n',
            b"rubbish\n",
            b"\n",
            b'{"op": "world"}\r\n',
            b"x" * (LINE_MAX + 10) + b"\n",
            b"\xff\xfe\n",
            b'{"op": "unplug", "evse_id": 1}\n',
        )
        accepted = [response["ok"] for response in responses]
        assert accepted == [True, False, False, True, False, False, True]
        assert responses[4]["error"] == f"a line has at most {LINE_MAX} bytes"
        nursery.cancel_scope.cancel()
    assert not path.exists()


async def test_an_order_without_a_line_end_is_answered_at_the_end_of_the_stream(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(order_socket(make_memory_world(tmp_path)[0], path).run)
        stream = await trio.open_unix_socket(str(path))
        async with stream:
            await stream.send_all(b'{"op": "world"}')
            await stream.send_eof()
            assert json.loads(await stream.receive_some())["ok"]
        nursery.cancel_scope.cancel()


async def test_a_client_that_does_not_wait_does_not_disturb_others(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(order_socket(make_memory_world(tmp_path)[0], path).run)
        for _ in range(5):
            stream = await trio.open_unix_socket(str(path))
            await stream.send_all(b'{"op": "world"}\n' * 500)
            await stream.aclose()
        assert (await send_lines(path, b'{"op": "world"}\n'))[0]["ok"]
        nursery.cancel_scope.cancel()


async def test_only_the_owner_may_use_the_socket_and_a_stale_one_is_replaced(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s"
    world = make_memory_world(tmp_path)[0]
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(order_socket(world, path).run)
        assert path.stat().st_mode & 0o777 == 0o600
        assert (await send_lines(path, b'{"op": "world"}\n'))[0]["ok"]
        nursery.cancel_scope.cancel()


async def test_a_path_that_is_too_long_or_taken_is_refused(tmp_path: Path) -> None:
    world = make_memory_world(tmp_path)[0]
    with pytest.raises(SocketPathError, match="at most 107 bytes, this one has"):
        order_socket(world, tmp_path / ("x" * 107))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SocketPathError, match="is not a socket"):
        order_socket(world, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
