"""What does a seed stand for?

`planned` throws a seed's dice: how the station is configured, who comes to charge, and what goes
wrong meanwhile. Half of the plans take kinds of mischief that have to do with each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from station.simulation.counterpart import ALICE, BOB, CAROL, MALLORY
from station.simulation.life import RESERVE_BYTES
from station.simulation.storm import Happening, Plan

YEAR_S: Final = 365 * 86_400
FILLS_EVERY: Final = 8  # plans, the disk is short of room in one
SHORT_S: Final = 600  # of most plans; some are four times as long

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
    variables = {name: dice.choice(VARIABLES[name]) for name in sorted(some)}
    happenings = [*_happenings(dice), *_room(seed)]
    return Plan(
        seed=seed,
        variables=variables,
        happenings=tuple(sorted(happenings, key=lambda one: one.at_s)),
    )


def _room(seed: int) -> Iterator[Happening]:
    """Now and then in an eighth of the plans there is little room on the disk, or none."""
    if seed % FILLS_EVERY != FILLS_EVERY - 1:
        return
    dice = random.Random(f"room {seed}")
    for _ in range(dice.randint(1, 3)):
        left = dice.choice([0, 0, RESERVE_BYTES // 2, 2 * RESERVE_BYTES])
        at_s, lasts_s = round(dice.uniform(0, SHORT_S), 2), round(dice.uniform(10, 300), 1)
        yield Happening(at_s, "disk_fills", {"free_bytes": left, "seconds": lasts_s})
        if dice.random() < 0.5:  # so that samples wait
            away_s = round(lasts_s + dice.uniform(0, 100), 1)
            yield Happening(max(0, at_s - 60), "network", {"mode": "silent", "seconds": away_s})


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
    alone = dice.random() < 0.3  # what is late is rarely so in company
    which = ["late"] if alone else dice.sample(MISCHIEF, dice.randint(1, 3))
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
