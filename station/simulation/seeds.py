"""What does a seed stand for?

`planned` throws a seed's dice: how the station is configured, who comes to charge, and what goes
wrong meanwhile. Half of the plans take kinds of mischief that have to do with each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from station.simulation.fault_plan import Plan, ScheduledEvent
from station.simulation.faulty_csms import ALICE, BOB, CAROL, MALLORY
from station.simulation.station_process import RESERVE_BYTES

YEAR_S: Final = 365 * 86_400
DISK_FULL_EVERY: Final = 8  # plans, the disk is short of room in one
SHORT_PLAN_S: Final = 600  # of most plans; some are four times as long

# Kinds that have to do with each other; half of the plans are made of one such set.
RELATED_EVENTS: Final = (
    ("set_fault_rates", "set_fault_rates", "step_clock"),
    ("set_fault_rates", "cut_connection", "kill_process"),
    ("set_fault_rates", "stall_disk", "slow_network"),
    ("switch_network", "step_clock", "kill_process"),
    ("switch_network", "stall_disk", "kill_at_commit"),
    ("fail_disk", "set_fault_rates", "cut_connection"),
    ("set_registration", "restart_csms", "kill_process", "set_fault_rates"),
    (
        "raise_fault",
        "disconnect_ev",
        "connect_ev",
        "pause_ev",
        "press_stop_button",
        "present_id_token",
    ),
    ("send_csms_request", "stop_remotely", "set_fault_rates", "cut_connection"),
    ("send_sigterm", "send_csms_request", "switch_network", "retry_calls"),
)
ID_TOKENS: Final = (ALICE, ALICE, BOB, CAROL, MALLORY, "04EEEEEE")
DEVICE_FAULTS: Final = (
    ("meter", "silent", False),
    ("meter", "silent", True),
    ("module", "dead", False),
    ("contactor", "welded", True),
    ("insulation", "low", True),
    ("reader", "gone", False),
)
SAMPLE_INTERVAL: Final = "SampledDataCtrlr.TxUpdatedInterval"  # how much there is to be delivered
VARIABLE_VALUES: Final = {
    SAMPLE_INTERVAL: ("0", "2", "5", "10", "60"),
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
RAW_FRAMES: Final = (
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
CSMS_FAULTS: Final = (
    "lost",
    "deaf",
    "late",
    "twice",
    "refused",
    "nonsense",
    "cut_before",
    "cut_after",
)


def make_plan(seed: int) -> Plan:
    """The plan of a seed."""
    dice = random.Random(seed)
    some = {
        SAMPLE_INTERVAL,
        *dice.sample(sorted(VARIABLE_VALUES), dice.randint(0, len(VARIABLE_VALUES))),
    }
    variables = {name: dice.choice(VARIABLE_VALUES[name]) for name in sorted(some)}
    happenings = [*_random_events(dice), *_disk_events(seed)]
    return Plan(
        seed=seed,
        variables=variables,
        events=tuple(sorted(happenings, key=lambda one: one.at_s)),
    )


def _disk_events(seed: int) -> Iterator[ScheduledEvent]:
    """Now and then in an eighth of the plans there is little room on the disk, or none."""
    if seed % DISK_FULL_EVERY != DISK_FULL_EVERY - 1:
        return
    dice = random.Random(f"room {seed}")
    for _ in range(dice.randint(1, 3)):
        left = dice.choice([0, 0, RESERVE_BYTES // 2, 2 * RESERVE_BYTES])
        at_s, lasts_s = round(dice.uniform(0, SHORT_PLAN_S), 2), round(dice.uniform(10, 300), 1)
        yield ScheduledEvent(at_s, "fill_disk", {"free_bytes": left, "seconds": lasts_s})
        if dice.random() < 0.5:  # so that samples wait
            away_s = round(lasts_s + dice.uniform(0, 100), 1)
            yield ScheduledEvent(
                max(0, at_s - 60), "switch_network", {"mode": "silent", "seconds": away_s}
            )


def _random_events(random_source: random.Random) -> Iterator[ScheduledEvent]:
    """Some sessions, and mischief of a few kinds, most of it while somebody charges."""
    length_s = SHORT_PLAN_S * random_source.choice([1, 1, 1, 1, 1, 4])
    sessions = [
        ScheduledEvent(
            round(random_source.uniform(0, length_s), 2),
            "start_session",
            _session_arguments(random_source),
        )
        for _ in range(random_source.randint(1, 5))
    ]
    yield from sessions
    kinds = (
        random_source.choice(RELATED_EVENTS)
        if random_source.random() < 0.5
        else random_source.sample(list(ARGUMENT_MAKERS), 6)
    )
    for _ in range(random_source.randint(1, 25)):
        what = random_source.choice(kinds)
        yield ScheduledEvent(
            _random_time_s(random_source, sessions, length_s),
            what,
            ARGUMENT_MAKERS[what](random_source),
        )


def _random_time_s(
    random_source: random.Random, sessions: list[ScheduledEvent], length_s: float
) -> float:
    session = random_source.choice(sessions)
    if random_source.random() < 0.3:
        return round(random_source.uniform(0, length_s), 2)
    stays_s: float = session.arguments["stays_s"]
    into_s = random_source.choice([8, stays_s, random_source.uniform(0, stays_s + 20)])
    return round(
        session.at_s + into_s + random_source.choice([0, 0.1, 3]) * random_source.random(), 3
    )


def _session_arguments(random_source: random.Random) -> dict[str, Any]:
    return {
        "evse_id": random_source.choice([1, 2]),
        "who": random_source.choice(ID_TOKENS),
        "stays_s": round(random_source.uniform(20, 300), 1),
        "power_w": random_source.choice([11_000, 60_000, 150_000]),
    }


def _fault_rates(random_source: random.Random) -> dict[str, Any]:
    alone = random_source.random() < 0.3  # what is late is rarely so in company
    which = ["late"] if alone else random_source.sample(CSMS_FAULTS, random_source.randint(1, 3))
    share = random_source.choice([0.2, 0.5, 0.9]) / len(which)
    seconds = round(random_source.choice([20, 60, 300]) * random_source.uniform(0.5, 2), 2)
    return {"seconds": seconds, **dict.fromkeys(which, share)}


def _random_duration_s(random_source: random.Random) -> float:
    return round(random_source.choice([1, 10, 60, 300]) * random_source.uniform(0.2, 2), 2)


def _random_step_s(random_source: random.Random) -> float:
    size = random_source.choice([2, 60, 3_600, 86_400, YEAR_S, 50 * YEAR_S])
    return round(size * random_source.uniform(0.5, 1) * random_source.choice([-1, 1]), 3)


def _fault_arguments(random_source: random.Random) -> dict[str, Any]:
    device, kind, blocks = random_source.choice(DEVICE_FAULTS)
    where = random_source.choice([0, 1, 2])
    return {
        "evse_id": where, "device": device, "kind": kind, "blocks": blocks,
        "seconds": _random_duration_s(random_source),
    }  # fmt: skip


def _gap_arguments(random_source: random.Random) -> dict[str, Any]:
    return {"gap_s": round(random_source.choice([1, 20, 400]) * random_source.uniform(0.2, 1), 2)}


def _request_arguments(random_source: random.Random) -> dict[str, Any]:
    action, payload = random_source.choice(CSMS_REQUESTS)
    return {"action": action, "payload": payload}


def _set_variables_request(
    component: str, variable: str, value: str, instance: str | None = None
) -> Any:
    which = {"name": variable} | ({"instance": instance} if instance else {})
    data = {"attributeValue": value, "component": {"name": component}, "variable": which}
    return "SetVariables", {"setVariableData": [data]}


_ID_TOKEN: Final = {"idToken": ALICE, "type": "ISO14443"}
CSMS_REQUESTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("RequestStartTransaction", {"remoteStartId": 1, "idToken": _ID_TOKEN, "evseId": 1}),
    ("RequestStartTransaction", {"remoteStartId": 2, "idToken": _ID_TOKEN, "evseId": 2}),
    ("RequestStartTransaction", {"remoteStartId": 3, "idToken": _ID_TOKEN}),
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
    _set_variables_request("TxCtrlr", "StopTxOnEVSideDisconnect", "false"),
    _set_variables_request("SampledDataCtrlr", "TxUpdatedInterval", "5"),
    _set_variables_request("AlignedDataCtrlr", "Interval", "60"),
    _set_variables_request("OCPPCommCtrlr", "MessageAttempts", "1", "TransactionEvent"),
    _set_variables_request("OCPPCommCtrlr", "MessageAttemptInterval", "0", "TransactionEvent"),
    _set_variables_request("OCPPCommCtrlr", "HeartbeatInterval", "5m"),
    _set_variables_request("AuthCtrlr", "Enabled", "false"),
    _set_variables_request("Nobody", "Knows", "1"),
)

ARGUMENT_MAKERS: Final[dict[str, Callable[[random.Random], dict[str, Any]]]] = {
    "connect_ev": lambda dice: {"evse_id": dice.choice([1, 2])},
    "disconnect_ev": lambda dice: {"evse_id": dice.choice([1, 2])},
    "present_id_token": lambda dice: {"who": dice.choice(ID_TOKENS), "evse_id": dice.choice([None, 1, 2])},
    "pause_ev": lambda dice: {"evse_id": dice.choice([1, 2]), "seconds": _random_duration_s(dice)},
    "press_stop_button": lambda dice: {"evse_id": dice.choice([1, 2])},
    "cut_connection": lambda dice: {},
    "switch_network": lambda dice: {"mode": dice.choice(["down", "silent"]), "seconds": _random_duration_s(dice)},
    "slow_network": lambda dice: {"latency_s": dice.choice([1, 10, 40]), "seconds": _random_duration_s(dice)},
    "restart_csms": lambda dice: {"seconds": _random_duration_s(dice)},
    "set_fault_rates": _fault_rates,
    "set_registration": lambda dice: {
        "status": dice.choice(["Pending", "Rejected"]),
        "interval_s": dice.choice([0, 5, 60]),
        "seconds": _random_duration_s(dice),
    },
    "step_clock": lambda dice: {"step_s": _random_step_s(dice)},
    "raise_fault": _fault_arguments,
    "kill_process": lambda dice: {
        "steps": dice.randint(1, 400), "host": dice.random() < 0.5, **_gap_arguments(dice)
    },
    "kill_at_commit": lambda dice: {
        "when": dice.choice(["before", "after"]), "host": dice.random() < 0.5, **_gap_arguments(dice)
    },
    "fail_disk": lambda dice: {"when": dice.choice(["before", "after"]), **_gap_arguments(dice)},
    "stall_disk": lambda dice: {"seconds": _random_duration_s(dice)},
    "send_sigterm": _gap_arguments,
    "send_csms_request": _request_arguments,
    "stop_remotely": lambda dice: {"evse_id": dice.choice([1, 2])},
    "send_raw_frame": lambda dice: {"text": dice.choice(RAW_FRAMES)},
    "retry_calls": lambda dice: {"calls": [dice.randint(1, 200)] if dice.random() < 0.5 else []},
}  # fmt: skip
