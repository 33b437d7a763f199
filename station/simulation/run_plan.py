"""Does the station keep its promises in the world of a plan?

`tried` runs a plan to its end: the happenings, then a world without faults in which everything
must be delivered, and then the books are closed.
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
from station.simulation.invariants import InvariantChecker, InvariantError, check
from station.simulation.station_process import ProcessKilledError
from station.simulation.world import (
    SimulatedWorld,
    load_product,
    run_simulation,
    shared_memory_directory,
)

RECOVERY_TIMEOUT_S: Final = 1_800  # in a world without faults, until everything is delivered
POLL_INTERVAL_S: Final = 5


class RunResult(msgspec.Struct):
    """What came of a plan."""

    plan: Plan
    violation: str = ""  # which promise; empty: none
    transcript: str = ""
    head: str = ""  # SEQ:DIGEST of the journal
    entries: int = 0
    process_starts: int = 0
    transactions: int = 0
    resent_count: int = 0


class FaultyDiskChecker(InvariantChecker):
    """Keeps the books on a disk that fails."""

    disk: FaultyDisk

    async def before_commit(self, entries: list[Entry]) -> None:
        life = self.process
        assert life is not None
        if life.is_killed:
            raise ProcessKilledError
        await super().before_commit(entries)
        await self._stall_commit()
        self.disk.raise_if_full(life)
        self.disk.kill_if_due("before", life)
        self.disk.raise_if_due("before")

    async def _stall_commit(self) -> None:
        """A slow disk; who dies meanwhile does not wait for it."""
        life, disk = self.process, self.disk
        disk.stalled_until_s, disk.stall_s = trio.current_time() + disk.stall_s, 0
        with trio.CancelScope(shield=True):
            while (
                trio.current_time() < disk.stalled_until_s
                and life is not None
                and not life.is_killed
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
    """One plan, from its beginning to the closed books."""

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
        """Needs trio's loop."""
        self.world = SimulatedWorld(
            self._directory,
            seed=self.plan.seed,
            observer=self.checker,
            variables=self.plan.variables,
            profile=self.plan.profile,
        )
        trio.lowlevel.add_instrument(self)
        await self.world.run(self._run_script)

    # --- Killed between any two steps ------------------------------------------------------------

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count down to the moment the program is killed."""
        if self.steps_until_kill:
            self.steps_until_kill -= 1
            if not self.steps_until_kill and self.world.process is not None:
                self.world.process.kill()

    # --- The course of it ------------------------------------------------------------------------

    async def _run_script(self) -> None:
        for happening in self.plan.events:
            await trio.sleep(max(0, happening.at_s - trio.current_time()))
            self.checker.add_line(f"--- {trio.current_time():.2f} s: {happening}")
            EVENT_ACTIONS[happening.kind](self, **happening.arguments)
        await self._recover_world()
        self._check_final_state()

    def undo_after(self, delay_s: float, action: Callable[[], None]) -> None:
        def undone() -> None:
            if action in self._undo_actions:
                self._undo_actions.remove(action)
                self.checker.add_line(f"--- {trio.current_time():.2f} s: over")
                action()

        self._undo_actions.append(action)
        self.world.event_queue.run_after(delay_s, undone)

    async def _recover_world(self) -> None:
        """No more faults: everybody leaves, everything is delivered."""
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
        life, state = self.world.process, self.checker.state
        if life is None or state is None or len(self.world.event_queue) or life.recorder.is_busy:
            return False
        if state.outbox.parked and not len(state.outbox):
            self.world.observe(CallRetryRequested())
        return not (
            len(state.outbox)
            or state.outbox.parked
            or state.transactions.open
            or state.pending_replies.pending
            or state.lifecycle.restart
            or not all(one.is_finished for one in self.world.csms.calls)
        )

    def _describe_backlog(self) -> str:
        state = self.checker.state
        assert state is not None
        unsettled = [one.action for one in self.world.csms.calls if not one.is_finished]
        return f"{unsettled}, {state.outbox}, {state.transactions.open}, {state.pending_replies}"

    def _check_final_state(self) -> None:
        double = self.world.csms.double
        self.checker.check_completeness(double.ledger.transactions)
        noise = tuple(f"an answer to {name}" for name in NOISE_MESSAGE_IDS)
        complaints = [one for one in double.complaints if not one.startswith(noise)]
        check(not complaints, "Part 4", f"the CSMS complains: {complaints}")


def run_plan(plan: Plan) -> RunResult:
    """Run a plan; what came of it. Never raises for what the station did."""
    directory = Path(tempfile.mkdtemp(prefix="trial-", dir=shared_memory_directory()))
    trial = PlanRun(plan, directory)
    verdict = RunResult(plan)
    try:
        run_simulation(trial.run_world, plan.seed)
    except InvariantError as broken:
        verdict.violation = str(broken)
    except (Exception, trio.Cancelled) as crash:
        verdict.violation = f"crashed: {type(crash).__name__}: {crash}"
    else:
        with trial.world.open_final_journal() as store:
            verdict.head = f"{store.head.seq}:{store.head.digest.hex()}"
    finally:
        shutil.rmtree(directory)
    if verdict.violation:
        verdict.transcript = trial.checker.recent_transcript()
    verdict.entries, verdict.resent_count = trial.checker.seq, trial.checker.resent_count
    verdict.process_starts = trial.world.process_starts
    verdict.transactions = len(trial.world.csms.double.ledger.transactions)
    return verdict


def shrink_plan(plan: Plan) -> Plan:
    """The plan without everything that it breaks the same promise without."""
    promised = run_plan(plan).violation.partition(":")[0]
    smaller = True
    while smaller:
        smaller = False
        for less in _smaller_plans(plan):
            if run_plan(less).violation.partition(":")[0] == promised:
                plan, smaller = less, True
                break
    return plan


def _smaller_plans(plan: Plan) -> Iterator[Plan]:
    count = len(plan.events)
    for size in (count // 2, count // 4, 1):
        for start in range(0, count, max(1, size)):
            if size:
                left = plan.events[:start] + plan.events[start + size :]
                yield replace(plan, events=left)
    for name in plan.variables:
        less = {key: value for key, value in plan.variables.items() if key != name}
        yield replace(plan, variables=less)
