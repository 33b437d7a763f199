"""Run a plan and check the station's promises; shrink a plan that breaks one.

`run_plan` runs three phases: the events of the plan; recovery, a world without faults in which
everything must be delivered within `RECOVERY_TIMEOUT_S`; and the final checks of ledger and
journal.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec.structs import replace

from journal.events import Entry
from journal.projections.outbox import CallRetryRequested
from station.simulation.fault_plan import EVENT_ACTIONS, NOISE_MESSAGE_IDS, FaultyDisk, Plan
from station.simulation.faulty_csms import NO_FAULTS
from station.simulation.invariant_error import InvariantError, check
from station.simulation.invariants import InvariantChecker, own_certificates
from station.simulation.station_process import ProcessKilledError
from station.simulation.world import (
    SimulatedWorld,
    load_product,
    run_simulation,
    shared_memory_directory,
)

RECOVERY_TIMEOUT_S: Final = 1_800  # simulated time until everything must be delivered
POLL_INTERVAL_S: Final = 5


class RunResult(msgspec.Struct):
    """The result of a plan."""

    plan: Plan
    violation: str = ""  # "PROMISE: how it was broken"; empty: none was
    transcript: str = ""
    head: str = ""  # SEQ:DIGEST of the journal
    entries: int = 0
    process_starts: int = 0
    transactions: int = 0
    renewals: int = 0
    monitor_events: int = 0
    resent_count: int = 0


class FaultyDiskChecker(InvariantChecker):
    """The invariant checker, with a disk that fails as planned."""

    disk: FaultyDisk

    async def before_commit(self, entries: list[Entry]) -> None:
        process = self.process
        assert process is not None
        if process.is_killed:
            raise ProcessKilledError
        await super().before_commit(entries)
        await self._stall_commit()
        self.disk.raise_if_full(process)
        self.disk.kill_if_due("before", process)
        self.disk.raise_if_due("before")

    async def _stall_commit(self) -> None:
        """Wait for a slow disk; a killed program does not wait."""
        process, disk = self.process, self.disk
        disk.stalled_until_s, disk.stall_s = trio.current_time() + disk.stall_s, 0
        with trio.CancelScope(shield=True):
            while (
                trio.current_time() < disk.stalled_until_s
                and process is not None
                and not process.is_killed
            ):
                await trio.sleep(min(0.1, disk.stalled_until_s - trio.current_time()))

    def after_write(self, entries: list[Entry]) -> None:
        assert self.process is not None
        if self.disk.fail_phase == "after" or self.disk.kill_phase == "after":
            self._pending_commit = entries
            self.disk.kill_if_due("after", self.process)
            self.disk.raise_if_due("after")
        super().after_write(entries)


class PlanRun(trio.abc.Instrument):
    """One run of a plan, from its first event to the final checks."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan = plan
        self.steps_until_kill = 0
        self.disk = FaultyDisk()
        self.checker = FaultyDiskChecker(load_product(plan.profile))
        self.checker.disk = self.disk
        self._directory = directory
        self._undo_actions: list[Callable[[], None]] = []
        self.world: SimulatedWorld

    async def run_world(self) -> None:
        """Build the world and run the plan in it; needs trio's loop."""
        self.world = SimulatedWorld(
            self._directory,
            seed=self.plan.seed,
            observer=self.checker,
            variables=self.plan.variables,
            profile=self.plan.profile,
            security_profile=self.plan.security_profile,
        )
        trio.lowlevel.add_instrument(self)
        await self.world.run(self._run_script)

    # --- Kill between any two steps --------------------------------------------------------------

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count down the steps until the program is killed."""
        if self.steps_until_kill:
            self.steps_until_kill -= 1
            if not self.steps_until_kill and self.world.process is not None:
                self.world.process.kill()

    # --- Phases ----------------------------------------------------------------------------------

    async def _run_script(self) -> None:
        for event in self.plan.events:
            await trio.sleep(max(0, event.at_s - trio.current_time()))
            self.checker.add_line(f"--- {trio.current_time():.2f} s: {event}")
            EVENT_ACTIONS[event.kind](self, **event.arguments)
        await self._recover_world()
        self._check_final_state()

    def undo_after(self, delay_s: float, action: Callable[[], None]) -> None:
        def undo() -> None:
            if action in self._undo_actions:
                self._undo_actions.remove(action)
                self.checker.add_line(f"--- {trio.current_time():.2f} s: over")
                action()

        self._undo_actions.append(action)
        self.world.event_queue.run_after(delay_s, undo)

    async def _recover_world(self) -> None:
        """End all faults, unplug all EVs, and wait until everything is delivered."""
        self.checker.add_line(f"--- {trio.current_time():.2f} s: no more faults")
        self.disk.clear_faults()
        self.steps_until_kill = 0
        while self._undo_actions:
            self._undo_actions.pop()()
        self.world.network.switch_mode("up")
        self.world.csms.fault_rates = NO_FAULTS
        self.world.unplug_all()
        deadline = trio.current_time() + RECOVERY_TIMEOUT_S
        while not self._is_recovered():
            await trio.sleep(POLL_INTERVAL_S)
            check(
                trio.current_time() < deadline, "P2", f"not delivered: {self._describe_backlog()}"
            )

    def _is_recovered(self) -> bool:
        process, state = self.world.process, self.checker.state
        if process is None or state is None:
            return False
        if len(self.world.event_queue) or process.recorder.is_busy:
            return False
        if state.outbox.parked and not len(state.outbox):
            self.world.observe(CallRetryRequested())
        return self.checker.has_read_meters(self.world.evses) and not (
            len(state.outbox)
            or state.outbox.parked
            or state.transactions.open
            or state.pending_replies.pending
            or state.lifecycle.restart
            or not all(call.is_finished for call in self.world.csms.calls)
            or any(account.find_gap() for account in state.energy_ledger.accounts)
            or (self.world.certificates and len(own_certificates(state)) != 1)
        )

    def _describe_backlog(self) -> str:
        state = self.checker.state
        assert state is not None
        calls = [call.action for call in self.world.csms.calls if not call.is_finished]
        return f"{calls}, {state.outbox}, {state.transactions.open}, {state.pending_replies}"

    def _check_final_state(self) -> None:
        double = self.world.csms.double
        self.checker.check_completeness(double.ledger.transactions)
        self.checker.check_energy()
        events, notified = self.checker.monitor_counts
        check(events == notified, "N07", f"{events} events, {notified} in NotifyEvents")
        if self.world.certificates:
            self.checker.check_private_keys(self.world.certificates)
        noise = tuple(f"response to {message_id}" for message_id in NOISE_MESSAGE_IDS)
        complaints = [text for text in double.complaints if not text.startswith(noise)]
        check(not complaints, "Part 4", f"complaints of the CSMS: {complaints}")


def run_plan(plan: Plan) -> RunResult:
    """Run a plan. A broken promise or an exception is in the result, never raised."""
    directory = Path(tempfile.mkdtemp(prefix="trial-", dir=shared_memory_directory()))
    run = PlanRun(plan, directory)
    result = RunResult(plan)
    try:
        run_simulation(run.run_world, plan.seed)
    except InvariantError as error:
        result.violation = str(error)
    except (Exception, trio.Cancelled) as error:
        result.violation = f"crashed: {type(error).__name__}: {error}"
    else:
        with run.world.open_final_journal() as store:
            result.head = f"{store.head.seq}:{store.head.digest.hex()}"
    finally:
        shutil.rmtree(directory)
    if result.violation:
        result.transcript = run.checker.recent_transcript()
    result.entries, result.resent_count = run.checker.seq, run.checker.messages.resent_count
    result.renewals = run.checker.renewals_count
    result.monitor_events = run.checker.monitor_checks.event_count
    result.process_starts = run.world.process_starts
    result.transactions = len(run.world.csms.double.ledger.transactions)
    return result


def shrink_plan(plan: Plan) -> Plan:
    """Remove events and variables as long as the plan still breaks the same promise."""
    promise = run_plan(plan).violation.partition(":")[0]
    shrunk = True
    while shrunk:
        shrunk = False
        for smaller in _smaller_plans(plan):
            if run_plan(smaller).violation.partition(":")[0] == promise:
                plan, shrunk = smaller, True
                break
    return plan


def _smaller_plans(plan: Plan) -> Iterator[Plan]:
    count = len(plan.events)
    for size in (count // 2, count // 4, 1):
        for start in range(0, count, max(1, size)):
            if size:
                yield replace(plan, events=plan.events[:start] + plan.events[start + size :])
    for name in plan.variables:
        variables = {key: value for key, value in plan.variables.items() if key != name}
        yield replace(plan, variables=variables)
