"""Random plans: the world of a seed.

`make_plan` draws from one `random.Random(seed)`, in this order, and **the order of draws never
changes**: a seed that once found a fault must find it again, and seeds are quoted in tests and in
issues.

1. The number of configured variables, which ones (always `SAMPLE_INTERVAL`), then a value for each,
   sorted by path.
2. The length: `SHORT_PLAN_S`, in one of six plans four times as long. One to five sessions.
3. The kinds of further events: for half of the plans one row of `RELATED_EVENTS`, because faults
   that interact are found by combining them; for the others six kinds at random.
4. One to 25 events: kind, time, arguments (`ARGUMENT_MAKERS`). 70 % of the times are near the
   moments of a session where something changes: presentation of the card, the end, or anywhere
   between.
5. A full disk is drawn from a random source of its own, for one of `DISK_FULL_EVERY` seeds, because
   it was added later: it must not change the draws of 1 to 4.
6. Silent and replaced meters are drawn from a third random source, for one of `METER_FAULT_EVERY`
   seeds, for the same reason.

7. Charging profiles and external limits are drawn from one too, for one of `LIMITS_EVERY` seeds,
   with two EVs that ramp up and taper.
8. Renewals of the certificate are drawn from one too, for one of `RENEWALS_EVERY` seeds. That world
   has security profile 3.
9. Reservations are drawn from one too, for one of `RESERVATIONS_EVERY` seeds, with two sessions.
10. Monitors that the CSMS sets are drawn from one too, for one of `MONITORS_EVERY` seeds.
11. Updates of the Local Authorization List are drawn from one too, for one of `LIST_EVERY` seeds,
   with power cuts near them.

Values are drawn by position, and a draw depends on the length of its table: a new value, variable,
kind or row changes the world of every seed. What is added later gets a random source of its own, as
in 5.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from station.simulation.event_queue import START_TIME
from station.simulation.fault_plan import Plan, ScheduledEvent
from station.simulation.faulty_csms import ALICE, BOB, CAROL, MALLORY
from station.simulation.station_process import RESERVE_BYTES

YEAR_S: Final = 365 * 86_400
DISK_FULL_EVERY: Final = 8  # in one of so many plans the disk is full
METER_FAULT_EVERY: Final = 4  # in one of so many plans meters are silent
RESERVATIONS_EVERY: Final = 6  # in one of so many plans EVSEs are reserved
LIMITS_EVERY: Final = 5  # in one of so many plans the power is limited
RENEWALS_EVERY: Final = 7  # in one of so many plans certificates are renewed
MONITORS_EVERY: Final = 6  # in one of so many plans the CSMS sets monitors
LIST_EVERY: Final = 6  # in one of so many plans the Local Authorization List changes
SHORT_PLAN_S: Final = 600  # length of most plans; some are four times as long

# Kinds that interact; half of the plans are made of one such row.
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
RENEWAL_FAULTS: Final = (
    "refuse_certificate", "kill_process", "kill_at_commit", "cut_connection", "switch_network",
    "fail_disk",
)  # fmt: skip
ID_TOKENS: Final = (ALICE, ALICE, BOB, CAROL, MALLORY, "04EEEEEE")
DEVICE_FAULTS: Final = (
    ("meter", "silent", False),
    ("meter", "silent", True),
    ("module", "dead", False),
    ("contactor", "welded", True),
    ("insulation", "low", True),
    ("reader", "gone", False),
)
SAMPLE_INTERVAL: Final = "SampledDataCtrlr.TxUpdatedInterval"  # decides how many events are queued
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
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": ("1", "1", "10", "60"),
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
    '[3,"unknown",{}]',
    '[4,"unknown","GenericError","",{}]',
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
    "no_response",
    "ignored",
    "late_response",
    "duplicate_response",
    "call_error",
    "malformed_response",
    "cut_before_processing",
    "cut_after_processing",
)


MONITORED_VARIABLES: Final = (
    ("ChargingStation", "AvailabilityState"),
    ("ChargingStation", "Power"),
    ("EVSE", "AvailabilityState"),
    ("EVSE", "DCCurrent"),
    ("EVSE", "Power"),
    ("EVSE", "Problem"),
    ("PowerContactor", "Active"),
)


def make_plan(seed: int) -> Plan:
    """The plan of a seed."""
    random_source = random.Random(seed)
    names = {
        SAMPLE_INTERVAL,
        *random_source.sample(
            sorted(VARIABLE_VALUES), random_source.randint(0, len(VARIABLE_VALUES))
        ),
    }
    variables = {name: random_source.choice(VARIABLE_VALUES[name]) for name in sorted(names)}
    events = [*_random_events(random_source), *_disk_events(seed), *_limit_events(seed)]
    events += _meter_events(seed, events)
    renewals = list(_renewal_events(seed))
    events += renewals
    events += _reservation_events(seed)
    events += _monitor_events(seed)
    events += _list_events(seed)
    return Plan(
        seed=seed,
        variables=variables | _list_variables(seed),
        events=tuple(sorted(events, key=lambda event: event.at_s)),
        security_profile=3 if renewals else 1,
    )


def _disk_events(seed: int) -> Iterator[ScheduledEvent]:
    """Times of little or no room on the disk, in one of `DISK_FULL_EVERY` plans."""
    if seed % DISK_FULL_EVERY != DISK_FULL_EVERY - 1:
        return
    random_source = random.Random(f"room {seed}")
    for _ in range(random_source.randint(1, 3)):
        free_bytes = random_source.choice([0, 0, RESERVE_BYTES // 2, 2 * RESERVE_BYTES])
        at_s = round(random_source.uniform(0, SHORT_PLAN_S), 2)
        seconds = round(random_source.uniform(10, 300), 1)
        yield ScheduledEvent(at_s, "fill_disk", {"free_bytes": free_bytes, "seconds": seconds})
        if random_source.random() < 0.5:  # without a CSMS, samples wait in the outbox
            silent_s = round(seconds + random_source.uniform(0, 100), 1)
            yield ScheduledEvent(
                max(0, at_s - 60), "switch_network", {"mode": "silent", "seconds": silent_s}
            )


def _meter_events(seed: int, events: list[ScheduledEvent]) -> Iterator[ScheduledEvent]:
    """Silent meters near sessions, in one of `METER_FAULT_EVERY` plans; now and then another meter.

    A transaction whose meter is silent when it stops waits 30 s for it, so that both short and long
    silences matter.
    """
    if seed % METER_FAULT_EVERY != 1:
        return
    random_source = random.Random(f"meter {seed}")
    sessions = [event for event in events if event.kind == "start_session"]
    for _ in range(random_source.randint(1, 4)):
        session = random_source.choice(sessions)
        arguments = session.arguments
        at_s = session.at_s + random_source.uniform(-20, arguments["stays_s"] + 10)
        seconds = random_source.choice([4, 20, 45, 90, 200]) * random_source.uniform(0.5, 1.5)
        yield ScheduledEvent(
            round(max(0, at_s), 2),
            "silence_meter",
            {"evse_id": arguments["evse_id"], "seconds": round(seconds, 1)},
        )
    if random_source.random() < 0.25:
        at_s = round(random_source.uniform(0, SHORT_PLAN_S), 2)
        evse_id, register_wh = random_source.choice([1, 2]), random_source.choice([0, 5_000_000])
        yield ScheduledEvent(
            at_s, "replace_meter", {"evse_id": evse_id, "register_wh": register_wh}
        )


def _limit_events(seed: int) -> Iterator[ScheduledEvent]:
    """Two EVs that vary, and limits that change, in one of `LIMITS_EVERY` plans."""
    if seed % LIMITS_EVERY != LIMITS_EVERY - 1:
        return
    random_source = random.Random(f"limits {seed}")
    for evse_id in (1, 2):
        session = {**_session_arguments(random_source), "evse_id": evse_id, "varies": True}
        session["stays_s"] = round(random_source.uniform(200, 600), 1)
        yield ScheduledEvent(random_source.choice([0, 30, 100]), "start_session", session)
    for _ in range(random_source.randint(5, 40)):
        at_s = round(random_source.uniform(0, SHORT_PLAN_S), 2)
        yield ScheduledEvent(at_s, *make_limit_event(random_source, at_s))


def _renewal_events(seed: int) -> Iterator[ScheduledEvent]:
    """Renewals of the certificate, and faults near them, in one of `RENEWALS_EVERY` plans."""
    if seed % RENEWALS_EVERY != RENEWALS_EVERY - 1:
        return
    random_source = random.Random(f"renewal {seed}")
    for _ in range(random_source.randint(1, 5)):
        at_s = random_source.uniform(0, SHORT_PLAN_S)
        by = random_source.choice(["csms", "csms", "operator"])
        yield ScheduledEvent(round(at_s, 2), "renew_certificate", {"by": by})
        for kind in random_source.sample(RENEWAL_FAULTS, random_source.randint(0, 2)):
            near_s = round(at_s + random_source.choice([0.3, 3, 30]) * random_source.random(), 3)
            if kind == "refuse_certificate":
                arguments = {"seconds": _random_duration_s(random_source)}
            else:
                arguments = ARGUMENT_MAKERS[kind](random_source)
            yield ScheduledEvent(near_s, kind, arguments)


def _reservation_events(seed: int) -> Iterator[ScheduledEvent]:
    """Reservations near sessions of several idTokens, in one of `RESERVATIONS_EVERY` plans."""
    if seed % RESERVATIONS_EVERY != RESERVATIONS_EVERY - 1:
        return
    random_source = random.Random(f"reservations {seed}")
    for _ in range(2):
        at_s = round(random_source.uniform(0, SHORT_PLAN_S), 2)
        yield ScheduledEvent(at_s, "start_session", _session_arguments(random_source))
    for _ in range(random_source.randint(3, 25)):
        at_s = round(random_source.uniform(0, SHORT_PLAN_S), 2)
        kind, arguments = _reservation_event(random_source, at_s)
        yield ScheduledEvent(at_s, kind, arguments)
        if random_source.random() < 0.5:
            presentation = {
                "id_token": random_source.choice(ID_TOKENS[:-2]),
                "evse_id": random_source.choice([None, 1, 2]),
            }
            yield ScheduledEvent(round(at_s + 5, 2), "present_id_token", presentation)


def _reservation_event(random_source: random.Random, at_s: float) -> tuple[str, dict[str, Any]]:
    """Kind and arguments of an event about a reservation, some seconds after the beginning."""
    kind = random_source.choice([*["reserve"] * 7, "cancel", "disable", "enable", "enable"])
    if kind == "cancel":
        payload: dict[str, Any] = {"reservationId": random_source.randint(1, 4)}
        return "send_csms_request", {"action": "CancelReservation", "payload": payload}
    if kind != "reserve":
        action, payload = _set_variables_request(
            "ReservationCtrlr", "Enabled", "true" if kind == "enable" else "false"
        )
        return "send_csms_request", {"action": action, "payload": payload}
    expires_at = START_TIME + timedelta(seconds=int(at_s) + random_source.randint(5, 400))
    payload = {
        "id": random_source.randint(1, 4),
        "expiryDateTime": expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "idToken": {"idToken": random_source.choice(ID_TOKENS[:-2]), "type": "ISO14443"},
    }
    if random_source.random() < 0.5:
        payload["evseId"] = random_source.choice([1, 2])
    if random_source.random() < 0.3:
        payload["groupIdToken"] = {"idToken": "FAMILY", "type": "Central"}
    if random_source.random() < 0.3:
        payload["connectorType"] = random_source.choice([*["cCCS1"] * 5, "cCCS2"])
    return "send_csms_request", {"action": "ReserveNow", "payload": payload}


def _monitor_events(seed: int) -> Iterator[ScheduledEvent]:
    """Monitors of all types, and faults that they report, in one of `MONITORS_EVERY` plans."""
    if seed % MONITORS_EVERY != MONITORS_EVERY - 3:
        return
    random_source = random.Random(f"monitors {seed}")
    for _ in range(random_source.randint(3, 12)):
        at_s = round(random_source.uniform(0, SHORT_PLAN_S), 2)
        action, payload = _monitor_request(random_source)
        arguments = {"action": action, "payload": payload}
        yield ScheduledEvent(at_s, "send_csms_request", arguments)
    for _ in range(random_source.randint(0, 4)):
        at_s = round(random_source.uniform(0, SHORT_PLAN_S), 2)
        yield ScheduledEvent(at_s, "raise_fault", ARGUMENT_MAKERS["raise_fault"](random_source))


def _monitor_request(random_source: random.Random) -> tuple[str, dict[str, Any]]:
    kind = random_source.choice(["set", "set", "set", "clear", "base", "level", "report"])
    if kind == "set":
        items = [_monitor_item(random_source) for _ in range(random_source.randint(1, 12))]
        return "SetVariableMonitoring", {"setMonitoringData": items}
    if kind == "clear":
        ids = [random_source.randint(100_000, 100_030) for _ in range(4)]
        return "ClearVariableMonitoring", {"id": ids}
    if kind == "base":
        base = random_source.choice(["All", "FactoryDefault", "HardWiredOnly"])
        return "SetMonitoringBase", {"monitoringBase": base}
    if kind == "level":
        return "SetMonitoringLevel", {"severity": random_source.choice([3, 5, 9, 9])}
    return "GetMonitoringReport", {"requestId": random_source.randint(1, 1000)}


def _monitor_item(random_source: random.Random) -> dict[str, Any]:
    """A SetMonitoringDataType: a variable, a type and values that sessions reach."""
    name, variable = random_source.choice(MONITORED_VARIABLES)
    component: dict[str, Any] = {"name": name}
    if name != "ChargingStation":
        component["evse"] = {"id": random_source.choice([1, 2])}
    is_power = variable in ("Power", "DCCurrent")
    kinds = ["UpperThreshold", "LowerThreshold", "Delta", "Periodic", "PeriodicClockAligned"]
    kind = random_source.choice(kinds if is_power else kinds[2:])
    values = [10, 30, 120] if kind.startswith("Periodic") else [0, 1, 100, 20_000]
    item = {
        "component": component,
        "variable": {"name": variable},
        "type": kind,
        "value": random_source.choice(values),
        "severity": random_source.randint(0, 9),
    }
    if random_source.random() < 0.3:
        item["transaction"] = True
    if random_source.random() < 0.2:
        item["id"] = random_source.randint(100_000, 100_030)
    return item


def make_limit_event(random_source: random.Random, at_s: float) -> tuple[str, dict[str, Any]]:
    """Kind and arguments of an event that changes a limit, some seconds after the beginning."""
    kind = random_source.choice(["external", "profile", "profile", "profile", "clear"])
    if kind == "clear":
        payload: dict[str, Any] = {"chargingProfileId": random_source.randint(1, 5)}
        return "send_csms_request", {"action": "ClearChargingProfile", "payload": payload}
    limits_w = [
        random_source.choice([0, 500, 7_000, 40_000, 90_000, 150_000, 300_000])
        for _ in range(random_source.randint(1, 4))
    ]
    period_s = random_source.choice([10, 45, 120])
    if kind == "external":
        return "limit_externally", {
            "evse_id": random_source.choice([0, 0, 1, 2]),
            "limits_w": limits_w if random_source.random() < 0.7 else [],
            "period_s": period_s,
            "source": random_source.choice(["EMS", "SO"]),
        }
    return "send_csms_request", {
        "action": "SetChargingProfile",
        "payload": _profile_payload(random_source, at_s, limits_w, period_s),
    }


def _profile_payload(
    random_source: random.Random, at_s: float, limits_w: list[int], period_s: int
) -> dict[str, Any]:
    """A SetChargingProfileRequest; its schedule begins at about this time of the simulation."""
    purpose = random_source.choice(["ChargingStationMaxProfile", "TxDefaultProfile"])
    kind = random_source.choice(["Absolute", "Recurring", "Relative"])
    if purpose == "ChargingStationMaxProfile" and kind == "Relative":
        kind = "Absolute"  # K01.FR.38
    schedule: dict[str, Any] = {
        "id": 1,
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [
            {"startPeriod": number * period_s, "limit": limit_w}
            for number, limit_w in enumerate(limits_w)
        ],
    }
    if random_source.random() < 0.5:
        schedule["duration"] = len(limits_w) * period_s
    profile: dict[str, Any] = {
        "id": random_source.randint(1, 5),
        "stackLevel": random_source.randint(0, 3),
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": kind,
        "chargingSchedule": [schedule],
    }
    if kind != "Relative":
        start = START_TIME + timedelta(seconds=int(at_s) + random_source.randint(-60, 60))
        schedule["startSchedule"] = start.strftime("%Y-%m-%dT%H:%M:%SZ")
    if kind == "Recurring":
        profile["recurrencyKind"] = random_source.choice(["Daily", "Weekly"])
    is_station = purpose == "ChargingStationMaxProfile"
    evse_id = 0 if is_station else random_source.choice([0, 1, 2])
    return {"evseId": evse_id, "chargingProfile": profile}


def _list_variables(seed: int) -> dict[str, str]:
    """Whether the list decides without the CSMS, in one of `LIST_EVERY` plans."""
    if seed % LIST_EVERY != 1:
        return {}
    random_source = random.Random(f"list variables {seed}")
    names = ("AuthCtrlr.LocalPreAuthorize", "LocalAuthListCtrlr.DisablePostAuthorize")
    return {name: random_source.choice(["true", "true", "false"]) for name in names}


def _list_events(seed: int) -> Iterator[ScheduledEvent]:
    """Updates of the list, some with a power cut, in one of `LIST_EVERY` plans."""
    if seed % LIST_EVERY != 1:
        return
    random_source = random.Random(f"list {seed}")
    times_s = sorted(random_source.uniform(0, SHORT_PLAN_S) for _ in range(12))
    for version, at_s in enumerate(times_s, start=1):
        sent = version - random_source.choice([0, 0, 0, 0, 1, 3])  # at times a VersionMismatch
        payload = _list_payload(random_source, max(sent, 0))
        request = {"action": "SendLocalList", "payload": payload}
        yield ScheduledEvent(round(at_s, 2), "send_csms_request", request)
        if random_source.random() < 0.3:
            when = random_source.choice(["before", "after"])
            cut = {"when": when, "gap_s": 5.0, "host": random_source.random() < 0.5}
            yield ScheduledEvent(round(at_s, 2), "kill_at_commit", cut)


def _list_payload(random_source: random.Random, version: int) -> dict[str, Any]:
    """A SendLocalListRequest with some of the EV drivers, each once."""
    update_type = random_source.choice(["Full", "Differential", "Differential"])
    tokens = random_source.sample(sorted({*ID_TOKENS}), random_source.randint(0, 4))
    items = []
    for id_token in tokens:
        item: dict[str, Any] = {"idToken": {"idToken": id_token, "type": "ISO14443"}}
        if update_type == "Full" or random_source.random() < 0.7:
            info: dict[str, Any] = {
                "status": random_source.choice(["Accepted", "Accepted", "Blocked", "Invalid"])
            }
            if random_source.random() < 0.3:
                info["groupIdToken"] = {"idToken": "FLEET", "type": "Central"}
            if random_source.random() < 0.3:
                until = START_TIME + timedelta(seconds=random_source.randint(0, SHORT_PLAN_S))
                info["cacheExpiryDateTime"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
            item["idTokenInfo"] = info
        items.append(item)
    payload: dict[str, Any] = {"versionNumber": version, "updateType": update_type}
    return payload | ({"localAuthorizationList": items} if items else {})


def _random_events(random_source: random.Random) -> Iterator[ScheduledEvent]:
    """Some sessions, and other events of a few kinds, most of them near a session."""
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
        kind = random_source.choice(kinds)
        yield ScheduledEvent(
            _random_time_s(random_source, sessions, length_s),
            kind,
            ARGUMENT_MAKERS[kind](random_source),
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
        "id_token": random_source.choice(ID_TOKENS),
        "stays_s": round(random_source.uniform(20, 300), 1),
        "power_w": random_source.choice([11_000, 60_000, 150_000]),
    }


def _fault_rates(random_source: random.Random) -> dict[str, Any]:
    if random_source.random() < 0.3:  # mixed with other faults, late responses rarely matter
        faults = ["late_response"]
    else:
        faults = random_source.sample(CSMS_FAULTS, random_source.randint(1, 3))
    rate = random_source.choice([0.2, 0.5, 0.9]) / len(faults)
    seconds = round(random_source.choice([20, 60, 300]) * random_source.uniform(0.5, 2), 2)
    return {"seconds": seconds, **dict.fromkeys(faults, rate)}


def _random_duration_s(random_source: random.Random) -> float:
    return round(random_source.choice([1, 10, 60, 300]) * random_source.uniform(0.2, 2), 2)


def _random_step_s(random_source: random.Random) -> float:
    size = random_source.choice([2, 60, 3_600, 86_400, YEAR_S, 50 * YEAR_S])
    return round(size * random_source.uniform(0.5, 1) * random_source.choice([-1, 1]), 3)


def _fault_arguments(random_source: random.Random) -> dict[str, Any]:
    device, kind, blocks = random_source.choice(DEVICE_FAULTS)
    evse_id = random_source.choice([0, 1, 2])
    return {
        "evse_id": evse_id, "device": device, "kind": kind, "blocks": blocks,
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
    variable_type = {"name": variable} | ({"instance": instance} if instance else {})
    data = {"attributeValue": value, "component": {"name": component}, "variable": variable_type}
    return "SetVariables", {"setVariableData": [data]}


_ID_TOKEN: Final = {"idToken": ALICE, "type": "ISO14443"}
CSMS_REQUESTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("RequestStartTransaction", {"remoteStartId": 1, "idToken": _ID_TOKEN, "evseId": 1}),
    ("RequestStartTransaction", {"remoteStartId": 2, "idToken": _ID_TOKEN, "evseId": 2}),
    ("RequestStartTransaction", {"remoteStartId": 3, "idToken": _ID_TOKEN}),
    ("RequestStopTransaction", {"transactionId": "unknown"}),
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
    ("DataTransfer", {"vendorId": "unknown"}),
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
    _set_variables_request("OCPPCommCtrlr", "MessageAttemptInterval", "1", "TransactionEvent"),
    _set_variables_request("OCPPCommCtrlr", "HeartbeatInterval", "5m"),
    _set_variables_request("AuthCtrlr", "Enabled", "false"),
    _set_variables_request("UnknownCtrlr", "Unknown", "1"),
)

ARGUMENT_MAKERS: Final[dict[str, Callable[[random.Random], dict[str, Any]]]] = {
    "connect_ev": lambda source: {"evse_id": source.choice([1, 2])},
    "disconnect_ev": lambda source: {"evse_id": source.choice([1, 2])},
    "present_id_token": lambda source: {
        "id_token": source.choice(ID_TOKENS), "evse_id": source.choice([None, 1, 2])
    },
    "pause_ev": lambda source: {
        "evse_id": source.choice([1, 2]), "seconds": _random_duration_s(source)
    },
    "press_stop_button": lambda source: {"evse_id": source.choice([1, 2])},
    "cut_connection": lambda source: {},
    "switch_network": lambda source: {
        "mode": source.choice(["down", "silent"]), "seconds": _random_duration_s(source)
    },
    "slow_network": lambda source: {
        "latency_s": source.choice([1, 10, 40]), "seconds": _random_duration_s(source)
    },
    "restart_csms": lambda source: {"seconds": _random_duration_s(source)},
    "set_fault_rates": _fault_rates,
    "set_registration": lambda source: {
        "status": source.choice(["Pending", "Rejected"]),
        "interval_s": source.choice([0, 5, 60]),
        "seconds": _random_duration_s(source),
    },
    "step_clock": lambda source: {"step_s": _random_step_s(source)},
    "raise_fault": _fault_arguments,
    "kill_process": lambda source: {
        "steps": source.randint(1, 400), "host": source.random() < 0.5, **_gap_arguments(source)
    },
    "kill_at_commit": lambda source: {
        "when": source.choice(["before", "after"]), "host": source.random() < 0.5,
        **_gap_arguments(source),
    },
    "fail_disk": lambda source: {
        "when": source.choice(["before", "after"]), **_gap_arguments(source)
    },
    "stall_disk": lambda source: {"seconds": _random_duration_s(source)},
    "send_sigterm": _gap_arguments,
    "send_csms_request": _request_arguments,
    "stop_remotely": lambda source: {"evse_id": source.choice([1, 2])},
    "send_raw_frame": lambda source: {"text": source.choice(RAW_FRAMES)},
    "retry_calls": lambda source: {
        "calls": [source.randint(1, 200)] if source.random() < 0.5 else []
    },
}  # fmt: skip
