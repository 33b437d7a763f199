"""What may go wrong in a world, and when?

A `Plan` is what a seed stands for: how the station is configured, and the things that happen to
it, each with its time. Everything that happens is a `Happening`; its name is a row of HAPPENINGS.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from journal.observations import DeviceFaulted
from journal.projections.outbox import RetryRequested
from journal.store import JournalFailed
from station.messages import decode_request
from station.simulation.cars import Ev
from station.simulation.counterpart import ALICE, BOB, CALM, CAROL, MALLORY, Temper
from station.simulation.life import DiedError, Life
from station.simulation.world import World

YEAR_S: Final = 365 * 86_400
SHORT_S: Final = 600  # of most plans; some are four times as long


class Happening(msgspec.Struct, frozen=True):
    """Something that happens, so many seconds after the beginning."""

    at_s: float
    what: str
    how: dict[str, Any]

    def __str__(self) -> str:
        how = ", ".join(f"{name}={value!r}" for name, value in self.how.items())
        return f"{self.what}({how})"


class Plan(msgspec.Struct, frozen=True):
    """A whole world.

    `seed` is of the dice that are thrown on the way: latencies, and which call meets a mischief.
    """

    seed: int
    variables: dict[str, str]
    happenings: tuple[Happening, ...]
    profile: str = "development"

    @property
    def ends_s(self) -> float:
        return max((one.at_s for one in self.happenings), default=0)


class Disk:
    """A disk, and a host, that fail on demand."""

    def __init__(self) -> None:
        self.stall_s = 0.0  # of the next commit
        self.stalls_until = 0.0  # the one under way
        self.fails: str | None = None  # the next commit: "before" or "after" it is in the file
        self.dies: str | None = None  # the program, at that moment: "before" or "after"

    def heal(self) -> None:
        self.stall_s, self.stalls_until, self.fails, self.dies = 0, 0, None, None

    def fail(self, when: str) -> None:
        if self.fails == when:
            self.fails = None
            raise JournalFailed("disk full" if when == "before" else "I/O error")

    def kill(self, when: str, life: Life) -> None:
        if self.dies == when:
            self.dies = None
            life.die()
        if life.dead:
            raise DiedError


# --- What happens --------------------------------------------------------------------------------


class Stage(Protocol):
    """Where it happens."""

    world: World
    disk: Disk
    dies_at_step: int

    def again(self, at_s: float, act: Callable[[], None]) -> None:
        """Undo a happening after so many seconds, at the end at the latest."""


def session(stage: Stage, *, evse_id: int, who: str, stays_s: float, power_w: int) -> None:
    ev = Ev(needs_wh=Decimal(5_000), power_w=power_w)
    stage.world.session(evse_id, who, ev, stays_s)


def plug_in(stage: Stage, *, evse_id: int) -> None:
    stage.world.bays[evse_id].plug_in(Ev())


def unplug(stage: Stage, *, evse_id: int) -> None:
    stage.world.bays[evse_id].unplug()


def card(stage: Stage, *, who: str, evse_id: int | None) -> None:
    stage.world.card(who, evse_id)


def pause(stage: Stage, *, evse_id: int, seconds: float) -> None:
    bay = stage.world.bays[evse_id]
    bay.pause(True)
    stage.again(seconds, partial(bay.pause, False))


def stop_button(stage: Stage, *, evse_id: int) -> None:
    stage.world.stop_button(evse_id)


def cut(stage: Stage) -> None:
    stage.world.lines.cut()


def network(stage: Stage, *, mode: str, seconds: float) -> None:
    stage.world.lines.switch(mode)
    stage.again(seconds, partial(stage.world.lines.switch, "up"))


def slow(stage: Stage, *, latency_s: float, seconds: float) -> None:
    lines = stage.world.lines
    lines.latency_s = (latency_s / 4, latency_s)
    stage.again(seconds, lambda: setattr(lines, "latency_s", (0.005, 0.08)))


def csms_restarts(stage: Stage, *, seconds: float) -> None:
    stage.world.csms.restart()
    network(stage, mode="down", seconds=seconds)


def temper(stage: Stage, *, seconds: float, **mischief: float) -> None:
    csms = stage.world.csms
    csms.temper = Temper(**mischief)
    stage.again(seconds, lambda: setattr(csms, "temper", CALM))


def registration(stage: Stage, *, status: str, interval_s: int, seconds: float) -> None:
    double = stage.world.csms.double
    double.registration, double.heartbeat_s = status, interval_s

    def accepts() -> None:
        double.registration, double.heartbeat_s = "Accepted", 300

    stage.again(seconds, accepts)


def clock(stage: Stage, *, step_s: float) -> None:
    stage.world.clock.step(step_s)


def fault(
    stage: Stage, *, evse_id: int, device: str, kind: str, blocks: bool, seconds: float
) -> None:
    world = stage.world
    wrong = DeviceFaulted(evse_id, device, kind, blocks, stopped_reason="Other")
    world.trouble.begins(wrong)
    _look(world)

    def ends() -> None:
        world.trouble.ends(wrong)
        _look(world)

    stage.again(seconds, ends)


def _look(world: World) -> None:
    for bay in world.bays.values():
        bay.changed()


def dies(stage: Stage, *, steps: int, gap_s: float, host: bool) -> None:
    """The program is killed after so many steps of any task from now on."""
    _away(stage, gap_s, host)
    stage.dies_at_step = steps


def dies_at_commit(stage: Stage, *, when: str, gap_s: float, host: bool) -> None:
    _away(stage, gap_s, host)
    stage.disk.dies = when


def _away(stage: Stage, gap_s: float, host: bool) -> None:
    """For how long nobody is there, and whether the host is not there either."""
    stage.world.gap_s = gap_s
    if host:
        stage.world.host_dies = True


def disk_fails(stage: Stage, *, when: str, gap_s: float) -> None:
    stage.world.gap_s = gap_s
    stage.disk.fails = when


def stall(stage: Stage, *, seconds: float) -> None:
    stage.disk.stall_s = seconds


def sigterm(stage: Stage, *, gap_s: float) -> None:
    stage.world.gap_s = gap_s
    if stage.world.life is not None:
        stage.world.life.end()


def asks(stage: Stage, *, action: str, payload: dict[str, Any]) -> None:
    request = decode_request(action, msgspec.json.encode(payload))
    stage.world.csms.ask(request)


def stops_remotely(stage: Stage, *, evse_id: int) -> None:
    """The CSMS ends what it knows to run there."""
    for account in stage.world.csms.double.ledger.accounts.values():
        if account.evse_id == evse_id and account.ended is None:
            payload = {"transactionId": account.transaction_id}
            asks(stage, action="RequestStopTransaction", payload=payload)


def noise(stage: Stage, *, text: str) -> None:
    stage.world.csms.say(text)


def retries(stage: Stage, *, calls: list[int]) -> None:
    """Somebody at the station wants parked calls to be tried again."""
    stage.world.observe(RetryRequested(tuple(calls)))


HAPPENINGS: Final[dict[str, Callable[..., None]]] = {
    one.__name__: one
    for one in (
        session, plug_in, unplug, card, pause, stop_button,
        cut, network, slow, csms_restarts, temper, registration, clock, fault,
        dies, dies_at_commit, disk_fails, stall, sigterm,
        asks, stops_remotely, noise, retries,
    )
}  # fmt: skip


# --- A plan from a seed --------------------------------------------------------------------------

# Kinds that have to do with each other; half of the plans are made of one such set.
THEMES: Final = (
    ("temper", "temper", "clock"),
    ("temper", "cut", "dies"),
    ("temper", "stall", "slow"),
    ("network", "clock", "dies"),
    ("network", "stall", "dies_at_commit"),
    ("disk_fails", "temper", "cut"),
    ("registration", "csms_restarts", "dies", "temper"),
    ("fault", "unplug", "plug_in", "pause", "stop_button", "card"),
    ("asks", "stops_remotely", "temper", "cut"),
    ("sigterm", "asks", "network", "retries"),
)
WHO: Final = (ALICE, ALICE, BOB, CAROL, MALLORY, "04EEEEEE")
FAULTS: Final = (
    ("meter", "silent", False),
    ("meter", "silent", True),
    ("module", "dead", False),
    ("contactor", "welded", True),
    ("insulation", "low", True),
    ("reader", "gone", False),
)
OFTEN: Final = "SampledDataCtrlr.TxUpdatedInterval"  # how much there is to be delivered
VARIABLES: Final = {
    OFTEN: ("0", "2", "5", "10", "60"),
    "SampledDataCtrlr.TxEndedInterval": ("0", "0", "20"),
    "AlignedDataCtrlr.Interval": ("0", "0", "60", "300"),
    "AlignedDataCtrlr.TxEndedInterval": ("0", "0", "60"),
    "TxCtrlr.TxStartPoint": ("PowerPathClosed", "EVConnected", "Authorized", "EnergyTransfer"),
    "TxCtrlr.TxStopPoint": ("PowerPathClosed", "Authorized", "EVConnected"),
    "TxCtrlr.StopTxOnInvalidId": ("true", "false"),
    "TxCtrlr.ResumptionTimeout": ("0", "30", "300"),
    "TxCtrlr.AllowEnergyTransferResumption": ("true", "false"),
    "TxCtrlr.EVConnectionTimeOut": ("20", "60"),
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": ("1", "2", "3", "5"),
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": ("0", "1", "10", "60"),
    "OCPPCommCtrlr.QueueAllMessages": ("true", "false"),
    "OCPPCommCtrlr.HeartbeatInterval": ("30", "300"),
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": ("1", "10"),
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": ("0", "2"),
    "OCPPCommCtrlr.WebSocketPingInterval": ("0", "20"),
}
NOISE: Final = (
    "",
    "{}",
    "[]",
    "[2]",
    "null",
    '[3,"nobody",{}]',
    '[4,"nobody","GenericError","",{}]',
    '[2,"noise-a","Reset",{"type":"Sometimes"}]',
    '[2,"noise-a","Reset"]',
    '[2,"","Heartbeat",{}]',
    '[2,"noise-b","Nonsense",{}]',
    '[2,"noise-c","GetVariables",{"getVariableData":[]}]',
    '[9,"noise-d","GetVariables",{}]',
    "[" * 2_000,
    '[2,"noise-e","SetVariables",{"setVariableData":"all"}]',
    '[3,"-1",{}]',
    "\ud800",
)
NOISE_ANSWERED: Final = ("noise-", "-1")  # how the messageIds of what answers it begin
MISCHIEF: Final = (
    "lost",
    "deaf",
    "late",
    "twice",
    "refused",
    "nonsense",
    "cut_before",
    "cut_after",
)


def planned(seed: int) -> Plan:
    """The plan of a seed."""
    dice = random.Random(seed)
    some = {OFTEN, *dice.sample(sorted(VARIABLES), dice.randint(0, len(VARIABLES)))}
    return Plan(
        seed=seed,
        variables={name: dice.choice(VARIABLES[name]) for name in sorted(some)},
        happenings=tuple(sorted(_happenings(dice), key=lambda one: one.at_s)),
    )


def _happenings(dice: random.Random) -> Iterator[Happening]:
    """Some sessions, and mischief of a few kinds, most of it while somebody charges."""
    length_s = SHORT_S * dice.choice([1, 1, 1, 1, 1, 4])
    sessions = [
        Happening(round(dice.uniform(0, length_s), 2), "session", _session(dice))
        for _ in range(dice.randint(1, 5))
    ]
    yield from sessions
    kinds = dice.choice(THEMES) if dice.random() < 0.5 else dice.sample(list(MAKERS), 6)
    for _ in range(dice.randint(1, 25)):
        what = dice.choice(kinds)
        yield Happening(_moment(dice, sessions, length_s), what, MAKERS[what](dice))


def _moment(dice: random.Random, sessions: list[Happening], length_s: float) -> float:
    session = dice.choice(sessions)
    if dice.random() < 0.3:
        return round(dice.uniform(0, length_s), 2)
    stays_s: float = session.how["stays_s"]
    into_s = dice.choice([8, stays_s, dice.uniform(0, stays_s + 20)])
    return round(session.at_s + into_s + dice.choice([0, 0.1, 3]) * dice.random(), 3)


def _session(dice: random.Random) -> dict[str, Any]:
    return {
        "evse_id": dice.choice([1, 2]),
        "who": dice.choice(WHO),
        "stays_s": round(dice.uniform(20, 300), 1),
        "power_w": dice.choice([11_000, 60_000, 150_000]),
    }


def _temper(dice: random.Random) -> dict[str, Any]:
    which = dice.sample(MISCHIEF, dice.randint(1, 3))
    share = dice.choice([0.2, 0.5, 0.9]) / len(which)
    seconds = round(dice.choice([20, 60, 300]) * dice.uniform(0.5, 2), 2)
    return {"seconds": seconds, **dict.fromkeys(which, share)}


def _some_s(dice: random.Random) -> float:
    return round(dice.choice([1, 10, 60, 300]) * dice.uniform(0.2, 2), 2)


def _step_s(dice: random.Random) -> float:
    size = dice.choice([2, 60, 3_600, 86_400, YEAR_S, 50 * YEAR_S])
    return round(size * dice.uniform(0.5, 1) * dice.choice([-1, 1]), 3)


def _fault(dice: random.Random) -> dict[str, Any]:
    device, kind, blocks = dice.choice(FAULTS)
    where = dice.choice([0, 1, 2])
    return {
        "evse_id": where, "device": device, "kind": kind, "blocks": blocks,
        "seconds": _some_s(dice),
    }  # fmt: skip


def _gap(dice: random.Random) -> dict[str, Any]:
    return {"gap_s": round(dice.choice([1, 20, 400]) * dice.uniform(0.2, 1), 2)}


def _asks(dice: random.Random) -> dict[str, Any]:
    action, payload = dice.choice(REQUESTS)
    return {"action": action, "payload": payload}


def _variable(component: str, variable: str, value: str, instance: str | None = None) -> Any:
    which = {"name": variable} | ({"instance": instance} if instance else {})
    data = {"attributeValue": value, "component": {"name": component}, "variable": which}
    return "SetVariables", {"setVariableData": [data]}


_TOKEN: Final = {"idToken": ALICE, "type": "ISO14443"}
REQUESTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("RequestStartTransaction", {"remoteStartId": 1, "idToken": _TOKEN, "evseId": 1}),
    ("RequestStartTransaction", {"remoteStartId": 2, "idToken": _TOKEN, "evseId": 2}),
    ("RequestStartTransaction", {"remoteStartId": 3, "idToken": _TOKEN}),
    ("RequestStopTransaction", {"transactionId": "unheard of"}),
    ("Reset", {"type": "Immediate"}),
    ("Reset", {"type": "OnIdle"}),
    ("Reset", {"type": "Immediate", "evseId": 1}),
    ("ChangeAvailability", {"operationalStatus": "Inoperative"}),
    ("ChangeAvailability", {"operationalStatus": "Operative"}),
    ("ChangeAvailability", {"operationalStatus": "Inoperative", "evse": {"id": 1}}),
    ("ChangeAvailability", {"operationalStatus": "Operative", "evse": {"id": 1}}),
    ("UnlockConnector", {"evseId": 1, "connectorId": 1}),
    ("ClearCache", {}),
    ("GetTransactionStatus", {}),
    ("GetLocalListVersion", {}),
    ("DataTransfer", {"vendorId": "nobody"}),
    ("GetBaseReport", {"requestId": 1, "reportBase": "SummaryInventory"}),
    ("TriggerMessage", {"requestedMessage": "BootNotification"}),
    ("TriggerMessage", {"requestedMessage": "Heartbeat"}),
    ("TriggerMessage", {"requestedMessage": "StatusNotification"}),
    ("TriggerMessage", {"requestedMessage": "MeterValues"}),
    ("TriggerMessage", {"requestedMessage": "TransactionEvent"}),
    ("TriggerMessage", {"requestedMessage": "TransactionEvent", "evse": {"id": 2}}),
    _variable("TxCtrlr", "StopTxOnEVSideDisconnect", "false"),
    _variable("SampledDataCtrlr", "TxUpdatedInterval", "5"),
    _variable("AlignedDataCtrlr", "Interval", "60"),
    _variable("OCPPCommCtrlr", "MessageAttempts", "1", "TransactionEvent"),
    _variable("OCPPCommCtrlr", "MessageAttemptInterval", "0", "TransactionEvent"),
    _variable("OCPPCommCtrlr", "HeartbeatInterval", "5m"),
    _variable("AuthCtrlr", "Enabled", "false"),
    _variable("Nobody", "Knows", "1"),
)

MAKERS: Final[dict[str, Callable[[random.Random], dict[str, Any]]]] = {
    "plug_in": lambda dice: {"evse_id": dice.choice([1, 2])},
    "unplug": lambda dice: {"evse_id": dice.choice([1, 2])},
    "card": lambda dice: {"who": dice.choice(WHO), "evse_id": dice.choice([None, 1, 2])},
    "pause": lambda dice: {"evse_id": dice.choice([1, 2]), "seconds": _some_s(dice)},
    "stop_button": lambda dice: {"evse_id": dice.choice([1, 2])},
    "cut": lambda dice: {},
    "network": lambda dice: {"mode": dice.choice(["down", "silent"]), "seconds": _some_s(dice)},
    "slow": lambda dice: {"latency_s": dice.choice([1, 10, 40]), "seconds": _some_s(dice)},
    "csms_restarts": lambda dice: {"seconds": _some_s(dice)},
    "temper": _temper,
    "registration": lambda dice: {
        "status": dice.choice(["Pending", "Rejected"]),
        "interval_s": dice.choice([0, 5, 60]),
        "seconds": _some_s(dice),
    },
    "clock": lambda dice: {"step_s": _step_s(dice)},
    "fault": _fault,
    "dies": lambda dice: {
        "steps": dice.randint(1, 400), "host": dice.random() < 0.5, **_gap(dice)
    },
    "dies_at_commit": lambda dice: {
        "when": dice.choice(["before", "after"]), "host": dice.random() < 0.5, **_gap(dice)
    },
    "disk_fails": lambda dice: {"when": dice.choice(["before", "after"]), **_gap(dice)},
    "stall": lambda dice: {"seconds": _some_s(dice)},
    "sigterm": _gap,
    "asks": _asks,
    "stops_remotely": lambda dice: {"evse_id": dice.choice([1, 2])},
    "noise": lambda dice: {"text": dice.choice(NOISE)},
    "retries": lambda dice: {"calls": [dice.randint(1, 200)] if dice.random() < 0.5 else []},
}  # fmt: skip
