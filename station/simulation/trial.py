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

from journal.projections.outbox import RetryRequested
from journal.terms import Entry
from station.simulation.counterpart import CALM
from station.simulation.life import DiedError
from station.simulation.storm import HAPPENINGS, NOISE_ANSWERED, Disk, Plan
from station.simulation.witness import BrokenPromiseError, Witness, promise
from station.simulation.world import World, product, shared_memory, simulate

HEALS_S: Final = 1_800  # in a world without faults, until everything is delivered
LOOKS_S: Final = 5


class Verdict(msgspec.Struct):
    """What came of a plan."""

    plan: Plan
    broken: str = ""  # which promise; empty: none
    transcript: str = ""
    head: str = ""  # SEQ:DIGEST of the journal
    entries: int = 0
    lives: int = 0
    transactions: int = 0
    resent: int = 0


class StormyWitness(Witness):
    """Keeps the books on a disk that fails."""

    disk: Disk

    async def before(self, entries: list[Entry]) -> None:
        life = self.life
        assert life is not None
        if life.dead:
            raise DiedError
        await super().before(entries)
        await self._stall()
        self.disk.fill(life)
        self.disk.kill("before", life)
        self.disk.fail("before")

    async def _stall(self) -> None:
        """A slow disk; who dies meanwhile does not wait for it."""
        life, disk = self.life, self.disk
        disk.stalls_until, disk.stall_s = trio.current_time() + disk.stall_s, 0
        with trio.CancelScope(shield=True):
            while trio.current_time() < disk.stalls_until and life is not None and not life.dead:
                await trio.sleep(min(0.1, disk.stalls_until - trio.current_time()))

    def written(self, entries: list[Entry]) -> None:
        assert self.life is not None
        if self.disk.fails == "after" or self.disk.dies == "after":
            self._underway = entries
            self.disk.kill("after", self.life)
            self.disk.fail("after")
        super().written(entries)


class Trial(trio.abc.Instrument):
    """One plan, from its beginning to the closed books."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan = plan
        self.dies_at_step = 0
        self.disk = Disk()
        self.witness = StormyWitness(product(plan.profile))
        self.witness.disk = self.disk
        self._directory = directory
        self._undone: list[Callable[[], None]] = []
        self.world: World

    async def main(self) -> None:
        """Needs trio's loop."""
        self.world = World(
            self._directory,
            seed=self.plan.seed,
            watcher=self.witness,
            variables=self.plan.variables,
            profile=self.plan.profile,
        )
        trio.lowlevel.add_instrument(self)
        await self.world.run(self._script)

    # --- Killed between any two steps ------------------------------------------------------------

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count down to the moment the program is killed."""
        if self.dies_at_step:
            self.dies_at_step -= 1
            if not self.dies_at_step and self.world.life is not None:
                self.world.life.die()

    # --- The course of it ------------------------------------------------------------------------

    async def _script(self) -> None:
        for happening in self.plan.happenings:
            await trio.sleep(max(0, happening.at_s - trio.current_time()))
            self.witness.says(f"--- {trio.current_time():.2f} s: {happening}")
            HAPPENINGS[happening.what](self, **happening.how)
        await self._heals()
        self._closes_the_books()

    def again(self, at_s: float, act: Callable[[], None]) -> None:
        def undone() -> None:
            if act in self._undone:
                self._undone.remove(act)
                self.witness.says(f"--- {trio.current_time():.2f} s: over")
                act()

        self._undone.append(act)
        self.world.agenda.after(at_s, undone)

    async def _heals(self) -> None:
        """No more faults: everybody leaves, everything is delivered."""
        self.witness.says(f"--- {trio.current_time():.2f} s: no more faults")
        self.disk.heal()
        self.dies_at_step = 0
        while self._undone:
            self._undone.pop()()
        self.world.lines.switch("up")
        self.world.csms.temper = CALM
        self.world.people_leave()
        deadline = trio.current_time() + HEALS_S
        while not self._healed():
            await trio.sleep(LOOKS_S)
            promise(trio.current_time() < deadline, "P2", f"not delivered: {self._left()}")

    def _healed(self) -> bool:
        life, state = self.world.life, self.witness.state
        if life is None or state is None or len(self.world.agenda) or life.scribe.busy:
            return False
        if state.outbox.parked and not len(state.outbox):
            self.world.observe(RetryRequested())
        return not (
            len(state.outbox)
            or state.outbox.parked
            or state.transactions.open
            or state.replies.owed
            or state.lifecycle.restart
            or not all(one.settled for one in self.world.csms.asked)
        )

    def _left(self) -> str:
        state = self.witness.state
        assert state is not None
        unsettled = [one.action for one in self.world.csms.asked if not one.settled]
        return f"{unsettled}, {state.outbox}, {state.transactions.open}, {state.replies}"

    def _closes_the_books(self) -> None:
        double = self.world.csms.double
        self.witness.complete(double.ledger.accounts)
        noise = tuple(f"an answer to {name}" for name in NOISE_ANSWERED)
        complaints = [one for one in double.complaints if not one.startswith(noise)]
        promise(not complaints, "Part 4", f"the CSMS complains: {complaints}")


def tried(plan: Plan) -> Verdict:
    """Run a plan; what came of it. Never raises for what the station did."""
    directory = Path(tempfile.mkdtemp(prefix="trial-", dir=shared_memory()))
    trial = Trial(plan, directory)
    verdict = Verdict(plan)
    try:
        simulate(trial.main, plan.seed)
    except BrokenPromiseError as broken:
        verdict.broken = str(broken)
    except (Exception, trio.Cancelled) as crash:
        verdict.broken = f"crashed: {type(crash).__name__}: {crash}"
    else:
        with trial.world.ended() as store:
            verdict.head = f"{store.head.seq}:{store.head.digest.hex()}"
    finally:
        shutil.rmtree(directory)
    if verdict.broken:
        verdict.transcript = trial.witness.transcript()
    verdict.entries, verdict.resent = trial.witness.seq, trial.witness.resent
    verdict.lives = trial.world.lives
    verdict.transactions = len(trial.world.csms.double.ledger.accounts)
    return verdict


def shrunk(plan: Plan) -> Plan:
    """The plan without everything that it breaks the same promise without."""
    promised = tried(plan).broken.partition(":")[0]
    smaller = True
    while smaller:
        smaller = False
        for less in _less(plan):
            if tried(less).broken.partition(":")[0] == promised:
                plan, smaller = less, True
                break
    return plan


def _less(plan: Plan) -> Iterator[Plan]:
    count = len(plan.happenings)
    for size in (count // 2, count // 4, 1):
        for start in range(0, count, max(1, size)):
            if size:
                left = plan.happenings[:start] + plan.happenings[start + size :]
                yield replace(plan, happenings=left)
    for name in plan.variables:
        less = {key: value for key, value in plan.variables.items() if key != name}
        yield replace(plan, variables=less)
