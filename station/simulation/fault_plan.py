"""What may happen to a station in a world with faults?

A `Plan` is a whole world: how the station is configured, and the things that happen to it, each
with its time. Everything that happens is a `ScheduledEvent`; its name is a row of HAPPENINGS.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from journal.observations import DeviceFaulted
from journal.projections.outbox import CallRetryRequested
from journal.storage.errors import DiskFull, JournalFailed
from station.ocpp.messages import decode_request
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import NO_FAULTS, FaultRates
from station.simulation.station_process import ProcessKilledError, StationProcess
from station.simulation.world import SimulatedWorld

NOISE_MESSAGE_IDS: Final = ("noise-", "-1")  # how the messageIds of what answers it begin


class ScheduledEvent(msgspec.Struct, frozen=True):
    """Something that happens, so many seconds after the beginning."""

    at_s: float
    kind: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        how = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.kind}({how})"


class Plan(msgspec.Struct, frozen=True):
    """A whole world.

    `seed` is of the dice that are thrown on the way: latencies, and which call meets a mischief.
    """

    seed: int
    variables: dict[str, str]
    events: tuple[ScheduledEvent, ...]
    profile: str = "development"

    @property
    def last_event_s(self) -> float:
        return max((one.at_s for one in self.events), default=0)


class FaultyDisk:
    """A disk, and a host, that fail on demand."""

    def __init__(self) -> None:
        self.stall_s = 0.0  # of the next commit
        self.stalled_until_s = 0.0  # the one under way
        self.fail_phase: str | None = None  # the next commit: "before" or "after" it is in the file
        self.kill_phase: str | None = None  # the program, at that moment: "before" or "after"
        self.is_full = False  # but for what the reserve gives up

    def clear_faults(self) -> None:
        self.stall_s, self.stalled_until_s, self.fail_phase, self.kill_phase = 0, 0, None, None
        self.is_full = False

    def raise_if_due(self, phase: str) -> None:
        if self.fail_phase == phase:
            self.fail_phase = None
            raise JournalFailed("cannot be written" if phase == "before" else "cannot be synced")

    def raise_if_full(self, process: StationProcess) -> None:
        if self.is_full and process.disk_reserve.is_allocated():
            raise DiskFull("no room")

    def kill_if_due(self, phase: str, process: StationProcess) -> None:
        if self.kill_phase == phase:
            self.kill_phase = None
            process.kill()
        if process.is_killed:
            raise ProcessKilledError


# --- What happens --------------------------------------------------------------------------------


class EventTarget(Protocol):
    """Where it happens."""

    world: SimulatedWorld
    disk: FaultyDisk
    steps_until_kill: int

    def undo_after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Undo a happening after so many seconds, at the end at the latest."""


def start_session(
    stage: EventTarget, *, evse_id: int, who: str, stays_s: float, power_w: int
) -> None:
    ev = SimulatedEv(energy_needed_wh=Decimal(5_000), power_w=power_w)
    stage.world.schedule_session(evse_id, who, ev, stays_s)


def connect_ev(stage: EventTarget, *, evse_id: int) -> None:
    stage.world.evses[evse_id].connect_ev(SimulatedEv())


def disconnect_ev(stage: EventTarget, *, evse_id: int) -> None:
    stage.world.evses[evse_id].disconnect_ev()


def present_id_token(stage: EventTarget, *, who: str, evse_id: int | None) -> None:
    stage.world.present_id_token(who, evse_id)


def pause_ev(stage: EventTarget, *, evse_id: int, seconds: float) -> None:
    bay = stage.world.evses[evse_id]
    bay.set_paused(True)
    stage.undo_after(seconds, partial(bay.set_paused, False))


def press_stop_button(stage: EventTarget, *, evse_id: int) -> None:
    stage.world.press_stop_button(evse_id)


def cut_connection(stage: EventTarget) -> None:
    stage.world.network.cut_connection()


def switch_network(stage: EventTarget, *, mode: str, seconds: float) -> None:
    stage.world.network.switch_mode(mode)
    stage.undo_after(seconds, partial(stage.world.network.switch_mode, "up"))


def slow_network(stage: EventTarget, *, latency_s: float, seconds: float) -> None:
    lines = stage.world.network
    lines.latency_s = (latency_s / 4, latency_s)
    stage.undo_after(seconds, lambda: setattr(lines, "latency_s", (0.005, 0.08)))


def restart_csms(stage: EventTarget, *, seconds: float) -> None:
    stage.world.csms.restart()
    switch_network(stage, mode="down", seconds=seconds)


def set_fault_rates(stage: EventTarget, *, seconds: float, **mischief: float) -> None:
    csms = stage.world.csms
    csms.fault_rates = FaultRates(**mischief)
    stage.undo_after(seconds, lambda: setattr(csms, "fault_rates", NO_FAULTS))


def set_registration(stage: EventTarget, *, status: str, interval_s: int, seconds: float) -> None:
    double = stage.world.csms.double
    double.registration_status, double.heartbeat_interval_s = status, interval_s

    def accepts() -> None:
        double.registration_status, double.heartbeat_interval_s = "Accepted", 300

    stage.undo_after(seconds, accepts)


def step_clock(stage: EventTarget, *, step_s: float) -> None:
    stage.world.clock.step_wall_clock(step_s)


def raise_fault(
    stage: EventTarget, *, evse_id: int, device: str, kind: str, blocks: bool, seconds: float
) -> None:
    add_device_fault(
        stage, DeviceFaulted(evse_id, device, kind, blocks, stopped_reason="Other"), seconds
    )


def add_device_fault(stage: EventTarget, fault: DeviceFaulted, seconds: float) -> None:
    """Something is wrong with a device for so long."""
    world = stage.world
    world.device_faults.add_fault(fault)
    _notify_evses(world)

    def ends() -> None:
        world.device_faults.clear_fault(fault)
        _notify_evses(world)

    stage.undo_after(seconds, ends)


def _notify_evses(world: SimulatedWorld) -> None:
    for bay in world.evses.values():
        bay.on_change()


def kill_process(stage: EventTarget, *, steps: int, gap_s: float, host: bool) -> None:
    """The program is killed after so many steps of any task from now on."""
    _set_restart_gap(stage, gap_s, host)
    stage.steps_until_kill = steps


def kill_at_commit(stage: EventTarget, *, when: str, gap_s: float, host: bool) -> None:
    _set_restart_gap(stage, gap_s, host)
    stage.disk.kill_phase = when


def _set_restart_gap(stage: EventTarget, gap_s: float, host: bool) -> None:
    """For how long nobody is there, and whether the host is not there either."""
    stage.world.restart_gap_s = gap_s
    if host:
        stage.world.host_reboot_pending = True


def fail_disk(stage: EventTarget, *, when: str, gap_s: float) -> None:
    stage.world.restart_gap_s = gap_s
    stage.disk.fail_phase = when


def fill_disk(stage: EventTarget, *, free_bytes: int, seconds: float) -> None:
    """Somebody else takes up the room, for a while."""

    def fills(left: int) -> None:
        stage.world.free_bytes, stage.disk.is_full = left, left == 0

    stage.undo_after(seconds, partial(fills, stage.world.free_bytes))
    fills(free_bytes)


def stall_disk(stage: EventTarget, *, seconds: float) -> None:
    stage.disk.stall_s = seconds


def send_sigterm(stage: EventTarget, *, gap_s: float) -> None:
    stage.world.restart_gap_s = gap_s
    if stage.world.process is not None:
        stage.world.process.stop()


def send_csms_request(stage: EventTarget, *, action: str, payload: dict[str, Any]) -> None:
    request = decode_request(action, msgspec.json.encode(payload))
    stage.world.csms.send_request(request)


def stop_remotely(stage: EventTarget, *, evse_id: int) -> None:
    """The CSMS ends what it knows to run there."""
    for account in stage.world.csms.double.ledger.transactions.values():
        if account.evse_id == evse_id and account.ended_event is None:
            payload = {"transactionId": account.transaction_id}
            send_csms_request(stage, action="RequestStopTransaction", payload=payload)


def send_raw_frame(stage: EventTarget, *, text: str) -> None:
    stage.world.csms.send_text(text)


def retry_calls(stage: EventTarget, *, calls: list[int]) -> None:
    """Somebody at the station wants parked calls to be tried again."""
    stage.world.observe(CallRetryRequested(tuple(calls)))


EVENT_ACTIONS: Final[dict[str, Callable[..., None]]] = {
    one.__name__: one
    for one in (
        start_session, connect_ev, disconnect_ev, present_id_token, pause_ev, press_stop_button,
        cut_connection, switch_network, slow_network, restart_csms, set_fault_rates, set_registration, step_clock, raise_fault,
        kill_process, kill_at_commit, fail_disk, fill_disk, stall_disk, send_sigterm,
        send_csms_request, stop_remotely, send_raw_frame, retry_calls,
    )
}  # fmt: skip
