"""Plans of simulated worlds: the events that can happen to a station, and what each does.

A `Plan` is a whole world: seed, configured variables, and a sequence of `ScheduledEvent`s. The kind
of an event is a key of `EVENT_ACTIONS`, which is the name of the function that carries it out:

    EV driver    start_session, connect_ev, disconnect_ev, present_id_token, pause_ev,
                 press_stop_button
    network      cut_connection, switch_network, slow_network
    CSMS         restart_csms, set_fault_rates, set_registration, send_csms_request, stop_remotely,
                 send_raw_frame, refuse_certificate
    site         limit_externally
    station      renew_certificate, raise_fault, silence_meter, replace_meter, step_clock,
                 retry_calls, send_sigterm
    host, disk   kill_process, kill_at_commit, fail_disk, fill_disk, stall_disk

Rules:

* An event that lasts registers its end with `undo_after`. At the end of the plan all such ends are
  carried out at once, latest first; after that the world has no faults.
* `seeds.py` makes the arguments of an event; a plan is data and can be written by hand (see
  `tests/simulation/test_found_seeds.py`) or shrunk.
* The commit faults have two phases. "before": the commit is lost. "after": it is in the file, but
  the recorder does not know yet. Both must look the same from outside, apart from the entries.
* The names of events and of their arguments are kept in plans of tests; renaming one means to
  rename it there, in `seeds.py` and in `tests/ground_truth`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from journal.observations import (
    CertificateRenewalRequested,
    DeviceFaulted,
    ExternalLimitReported,
    LimitPeriod,
)
from journal.projections.outbox import CallRetryRequested
from journal.storage.errors import DiskFull, JournalFailed
from station.ocpp.messages import decode_request
from station.simulation.evse_double import SimulatedEv
from station.simulation.faulty_csms import NO_FAULTS, FaultRates
from station.simulation.station_process import ProcessKilledError, StationProcess
from station.simulation.world import SimulatedWorld

METER_LOST_S: Final = 30.0  # a meter that is silent for this time stops a session
NOISE_MESSAGE_IDS: Final = ("noise-", "-1")  # prefixes of the messageIds of `send_raw_frame`


class ScheduledEvent(msgspec.Struct, frozen=True):
    """An event, at so many seconds after the beginning."""

    at_s: float
    kind: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.kind}({arguments})"


class Plan(msgspec.Struct, frozen=True):
    """A whole world.

    Attributes:
        seed: of the random source of the run: latencies, and which CALL has a fault of the CSMS.
        variables: preset at the first start, by path.
        events: in order of their time.
        profile: the product.
        security_profile: 1, or 3: with certificates.
    """

    seed: int
    variables: dict[str, str]
    events: tuple[ScheduledEvent, ...]
    profile: str = "development"
    security_profile: int = 1

    @property
    def last_event_s(self) -> float:
        return max((event.at_s for event in self.events), default=0)


class FaultyDisk:
    """Faults of the disk, and of the host at a commit, raised on demand."""

    def __init__(self) -> None:
        self.stall_s = 0.0  # how long the next commit takes
        self.stalled_until_s = 0.0  # end of the commit under way
        self.fail_phase: str | None = None  # fail the next commit "before" or "after" the write
        self.kill_phase: str | None = None  # kill the program "before" or "after" the write
        self.is_full = False  # no room except the released reserve

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


# --- Events --------------------------------------------------------------------------------------


class EventTarget(Protocol):
    """The run an event acts on."""

    world: SimulatedWorld
    disk: FaultyDisk
    steps_until_kill: int

    def undo_after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call `action` after so many seconds, at the end of the plan at the latest."""


def start_session(
    target: EventTarget,
    *,
    evse_id: int,
    id_token: str,
    stays_s: float,
    power_w: int,
    varies: bool = False,
) -> None:
    ev = SimulatedEv(energy_needed_wh=Decimal(5_000), power_w=power_w, varies=varies)
    target.world.schedule_session(evse_id, id_token, ev, stays_s)


def connect_ev(target: EventTarget, *, evse_id: int) -> None:
    target.world.evses[evse_id].connect_ev(SimulatedEv())


def disconnect_ev(target: EventTarget, *, evse_id: int) -> None:
    target.world.evses[evse_id].disconnect_ev()


def present_id_token(target: EventTarget, *, id_token: str, evse_id: int | None) -> None:
    target.world.present_id_token(id_token, evse_id)


def pause_ev(target: EventTarget, *, evse_id: int, seconds: float) -> None:
    evse = target.world.evses[evse_id]
    evse.set_paused(True)
    target.undo_after(seconds, partial(evse.set_paused, False))


def press_stop_button(target: EventTarget, *, evse_id: int) -> None:
    target.world.press_stop_button(evse_id)


def cut_connection(target: EventTarget) -> None:
    target.world.network.cut_connection()


def switch_network(target: EventTarget, *, mode: str, seconds: float) -> None:
    target.world.network.switch_mode(mode)
    target.undo_after(seconds, partial(target.world.network.switch_mode, "up"))


def slow_network(target: EventTarget, *, latency_s: float, seconds: float) -> None:
    network = target.world.network
    network.latency_s = (latency_s / 4, latency_s)
    target.undo_after(seconds, lambda: setattr(network, "latency_s", (0.005, 0.08)))


def restart_csms(target: EventTarget, *, seconds: float) -> None:
    target.world.csms.restart()
    switch_network(target, mode="down", seconds=seconds)


def set_fault_rates(target: EventTarget, *, seconds: float, **rates: float) -> None:
    csms = target.world.csms
    csms.fault_rates = FaultRates(**rates)
    target.undo_after(seconds, lambda: setattr(csms, "fault_rates", NO_FAULTS))


def set_registration(target: EventTarget, *, status: str, interval_s: int, seconds: float) -> None:
    double = target.world.csms.double
    double.registration_status, double.heartbeat_interval_s = status, interval_s

    def accept_station() -> None:
        double.registration_status, double.heartbeat_interval_s = "Accepted", 300

    target.undo_after(seconds, accept_station)


def step_clock(target: EventTarget, *, step_s: float) -> None:
    target.world.clock.step_wall_clock(step_s)


def raise_fault(
    target: EventTarget, *, evse_id: int, device: str, kind: str, blocks: bool, seconds: float
) -> None:
    add_device_fault(
        target, DeviceFaulted(evse_id, device, kind, blocks, stopped_reason="Other"), seconds
    )


def add_device_fault(target: EventTarget, fault: DeviceFaulted, seconds: float) -> None:
    """A device has a fault for so many seconds."""
    world = target.world
    world.device_faults.add_fault(fault)
    _notify_evses(world)

    def clear_fault() -> None:
        world.device_faults.clear_fault(fault)
        _notify_evses(world)

    target.undo_after(seconds, clear_fault)


def silence_meter(target: EventTarget, *, evse_id: int, seconds: float) -> None:
    """The meter of an EVSE does not respond for so many seconds; its register counts on.

    As with the real protections, an EVSE with open contactors is blocked at once, a session after
    `METER_LOST_S`.
    """
    evse = target.world.evses[evse_id]
    if evse.silent_since_s is not None:
        return
    evse.set_meter_silent(True)
    fault = DeviceFaulted(evse_id, "meter", "no_response", blocks_charging=True)

    def block_charging() -> None:
        if evse.silent_since_s is not None:
            evse.faults.add_fault(fault)
            _notify_evses(target.world)

    def end_silence() -> None:
        evse.set_meter_silent(False)
        evse.faults.clear_fault(fault)
        _notify_evses(target.world)

    block_after_s = METER_LOST_S if evse.contactor_closed else 0
    target.world.event_queue.run_after(block_after_s, block_charging)
    target.undo_after(seconds, end_silence)


def replace_meter(target: EventTarget, *, evse_id: int, register_wh: int) -> None:
    """Another meter is installed: its register has another value. Only while nothing flows."""
    evse = target.world.evses[evse_id]
    if not evse.energy_flowing:
        evse.replace_meter(register_wh)


def _notify_evses(world: SimulatedWorld) -> None:
    for evse in world.evses.values():
        evse.on_change()


def kill_process(target: EventTarget, *, steps: int, gap_s: float, host: bool) -> None:
    """Kill the program after so many steps of any of its tasks."""
    _set_restart_gap(target, gap_s, host)
    target.steps_until_kill = steps


def kill_at_commit(target: EventTarget, *, when: str, gap_s: float, host: bool) -> None:
    _set_restart_gap(target, gap_s, host)
    target.disk.kill_phase = when


def _set_restart_gap(target: EventTarget, gap_s: float, host: bool) -> None:
    """Set how long the program stays away, and whether its host restarts too."""
    target.world.restart_gap_s = gap_s
    if host:
        target.world.host_reboot_pending = True


def fail_disk(target: EventTarget, *, when: str, gap_s: float) -> None:
    target.world.restart_gap_s = gap_s
    target.disk.fail_phase = when


def fill_disk(target: EventTarget, *, free_bytes: int, seconds: float) -> None:
    """Leave only so many free bytes, for so many seconds."""

    def set_free_bytes(free: int) -> None:
        target.world.free_bytes, target.disk.is_full = free, free == 0

    target.undo_after(seconds, partial(set_free_bytes, target.world.free_bytes))
    set_free_bytes(free_bytes)


def stall_disk(target: EventTarget, *, seconds: float) -> None:
    target.disk.stall_s = seconds


def send_sigterm(target: EventTarget, *, gap_s: float) -> None:
    target.world.restart_gap_s = gap_s
    if target.world.process is not None:
        target.world.process.stop()


def send_csms_request(target: EventTarget, *, action: str, payload: dict[str, Any]) -> None:
    request = decode_request(action, msgspec.json.encode(payload))
    target.world.csms.send_request(request)


def limit_externally(
    target: EventTarget, *, evse_id: int, limits_w: list[int], period_s: int, source: str
) -> None:
    """An energy management system limits the power, or lifts its limit: no `limits_w`."""
    periods = tuple(
        LimitPeriod(number * period_s, Decimal(limit_w)) for number, limit_w in enumerate(limits_w)
    )
    target.world.observe(ExternalLimitReported(evse_id, "control_socket", source, periods))


def stop_remotely(target: EventTarget, *, evse_id: int) -> None:
    """The CSMS stops each transaction that its ledger has open on the EVSE."""
    for record in target.world.csms.double.ledger.transactions.values():
        if record.evse_id == evse_id and record.ended_event is None:
            payload = {"transactionId": record.transaction_id}
            send_csms_request(target, action="RequestStopTransaction", payload=payload)


def renew_certificate(target: EventTarget, *, by: str) -> None:
    """A new certificate is ordered by the "csms" or the "operator"."""
    if by == "csms":
        payload = {"requestedMessage": "SignChargingStationCertificate"}
        send_csms_request(target, action="TriggerMessage", payload=payload)
    else:
        target.world.observe(CertificateRenewalRequested("ChargingStationCertificate"))


def refuse_certificate(target: EventTarget, *, seconds: float) -> None:
    """The CSMS does not accept the newest certificate, and cuts the connection."""
    if target.world.certificates is not None:
        target.undo_after(seconds, target.world.certificates.refuse_newest())
        target.world.network.cut_connection()


def send_raw_frame(target: EventTarget, *, text: str) -> None:
    target.world.csms.send_text(text)


def retry_calls(target: EventTarget, *, calls: list[int]) -> None:
    """An operator retries parked calls; an empty list: all of them."""
    target.world.observe(CallRetryRequested(tuple(calls)))


EVENT_ACTIONS: Final[dict[str, Callable[..., None]]] = {
    action.__name__: action
    for action in (
        start_session, connect_ev, disconnect_ev, present_id_token, pause_ev, press_stop_button,
        cut_connection, switch_network, slow_network, restart_csms, set_fault_rates,
        set_registration, step_clock, renew_certificate, refuse_certificate,
        raise_fault, silence_meter, replace_meter,
        kill_process, kill_at_commit, fail_disk, fill_disk, stall_disk, send_sigterm,
        send_csms_request, stop_remotely, send_raw_frame, retry_calls, limit_externally,
    )
}  # fmt: skip
