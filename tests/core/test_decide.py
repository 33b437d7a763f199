"""Random observations in random order: `decide` never fails, and the promises hold.

A seeded machine sends observations to the core: EV drivers, cables, faults, time, links, restarts,
requests and answers of the CSMS, valid and not, noise. `tests.support.story.StoryChecks` checks
every entry. Another seed: STORY_SEED=7 pytest tests/core/test_decide.py; STORY_EXAMPLES=500 runs
more stories. With STORY_SHRINK=1 it takes minutes and shows the shortest story that fails.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from journal.events import Decision
from journal.observations import (
    ClockStepped,
    DeadlineReached,
    DeviceFaulted,
    EnergyFlow,
    EvIdentified,
    EvStoppedCharging,
    FrameMalformed,
    FrameSent,
    LinkFailed,
    StationStopping,
    StopButtonPressed,
)
from journal.projections.outbox import CallRetryRequested
from station.ocpp.messages import ACTIONS
from tests.ocpp.messages.schemas import schema_of, valid_payloads
from tests.support.story import (
    ALICE,
    BOB,
    BOOTED,
    FAMILY,
    IDLE,
    LINK_LOST,
    LINK_OPENED,
    Json,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    contactor_reported,
    csms_answers,
    device_recovered,
    error_received,
    flow_reported,
    frame_received,
    id_token_named,
    id_token_payload,
    in_sequence,
    in_transaction,
    load_product,
    meter_read,
    presented,
    result_received,
    station_restarted,
    time_passed,
)

SEED = int(os.environ.get("STORY_SEED", "1"))

EVSES = st.sampled_from([1, 1, 2, 2, 0, 7])
PEOPLE = st.sampled_from(
    [ALICE, BOB, id_token_named("carol"), id_token_named("central", "Central")]
)
DEVICES = st.sampled_from(["contactor", "meter", "reader", "emergency_stop"])
FLOWS: st.SearchStrategy[EnergyFlow] = st.sampled_from(
    ["none", "charging", "charging", "suspended_ev", "suspended_evse"]
)
STATUSES = st.sampled_from(["Accepted", "Accepted", "Blocked", "Invalid", "Nonsense"])
CSMS_ACTIONS = sorted(action for action, known in ACTIONS.items() if known.sender != "station")
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
VARIABLE_VALUES = [
    ("TxCtrlr", "TxStartPoint", ["EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer"]),
    ("TxCtrlr", "TxStopPoint", ["EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer"]),
    ("TxCtrlr", "StopTxOnEVSideDisconnect", ["true", "false"]),
    ("TxCtrlr", "StopTxOnInvalidId", ["true", "false"]),
    ("TxCtrlr", "EVConnectionTimeOut", ["1", "60"]),
    ("TxCtrlr", "ResumptionTimeout", ["0", "300"]),
    ("TxCtrlr", "AllowEnergyTransferResumption", ["true", "false"]),
    ("TxCtrlr", "TxBeforeAcceptedEnabled", ["true", "false"]),
    ("AuthCtrlr", "Enabled", ["true", "true", "false"]),
    ("AuthCtrlr", "LocalPreAuthorize", ["true", "false"]),
    ("AuthCtrlr", "OfflineTxForUnknownIdEnabled", ["true", "false"]),
    ("AuthCacheCtrlr", "LifeTime", ["1", "100"]),
    ("OCPPCommCtrlr", "HeartbeatInterval", ["5", "10", "300"]),
    ("OCPPCommCtrlr", "QueueAllMessages", ["true", "false"]),
    ("SampledDataCtrlr", "TxUpdatedInterval", ["0", "5", "60"]),
    ("SampledDataCtrlr", "TxEndedInterval", ["0", "10"]),
    ("AlignedDataCtrlr", "Interval", ["0", "11", "60"]),
    ("AlignedDataCtrlr", "TxEndedInterval", ["0", "11"]),
]


def json_payload(payload: Any) -> Json:
    """A generated payload as JSON, decimals as floats."""
    text: Json = json.loads(json.dumps(payload, default=float))
    return text


def host_suspended(hours: int) -> Step:
    """The host was suspended: everything that was due happens late, and once."""

    def step(station: Station) -> list[Decision]:
        station.advance_clock(hours * 3_600_000)
        return station.when(DeadlineReached(station.uptime_ms))

    return step


def clock_stepped(days: int) -> Step:
    def step(station: Station) -> list[Decision]:
        step_ms = days * 24 * 3_600_000
        if not 1980 < station.host_at.year + days // 365 < 2100:
            return []
        station.advance_clock(step_ms)
        station.uptime_ms -= step_ms
        return station.when(ClockStepped(step_ms))

    return step


RARE_STEPS: list[Step] = [
    *(host_suspended(hours) for hours in (1, 30 * 24)),
    *(clock_stepped(days) for days in (-18_000, -1, 1, 18_000)),
    *(
        in_sequence(station_restarted(boot_id=boot, gap_s=gap_s), IDLE)
        for boot in ("boot-1", "boot-2")
        for gap_s in (1, 900)
    ),
    in_sequence(
        station_restarted(gap_s=3),
        *(cable_plugged(evse_id) for evse_id in (1, 2)),
        contactor_reported(1, closed=False),
    ),
    station_restarted(boot_id="boot-3", gap_s=-60),
    in_sequence(StationStopping("SIGTERM"), station_restarted()),
    *(
        DeviceFaulted(evse_id, "meter", "silent", blocks)
        for evse_id in (0, 1)
        for blocks in (True, False)
    ),
    *(device_recovered(evse_id, "meter", "silent") for evse_id in (0, 1)),
]


class World(RuleBasedStateMachine):
    """Everything that can happen to a station."""

    station: Station

    @initialize(of=st.sampled_from(["development", "evs-flash-300"]), charges=st.booleans())
    def begins(self, of: str, charges: bool) -> None:
        self.station = Station(load_product(of))
        self.station.when(BOOTED, IDLE, LINK_OPENED, csms_answers())
        if charges:
            self.station.when(in_transaction(1))
        self.energy_wh = 1_000

    def online(self) -> bool:
        return self.station.state.link.online

    def in_flight(self) -> bool:
        return self.station.in_flight is not None

    # EV drivers and EVs

    @rule(who=PEOPLE, evse_id=st.sampled_from([None, None, 1, 2, 7]), lasting=st.booleans())
    def a_card(self, who: Any, evse_id: int | None, lasting: bool) -> None:
        self.station.when(presented(who, evse_id, cacheable=lasting))

    @rule(evse_id=EVSES, comes=st.booleans())
    def a_cable(self, evse_id: int, comes: bool) -> None:
        self.station.when(cable_plugged(evse_id) if comes else cable_unplugged(evse_id))

    @rule(evse_id=EVSES, what=FLOWS)
    def the_flow(self, evse_id: int, what: EnergyFlow) -> None:
        self.station.when(flow_reported(evse_id, what))

    @rule(evse_id=EVSES, closed=st.booleans())
    def the_contactor(self, evse_id: int, closed: bool) -> None:
        self.station.when(contactor_reported(evse_id, closed=closed))

    @rule(evse_id=EVSES)
    def a_reading(self, evse_id: int) -> None:
        self.energy_wh += 10
        self.station.when(meter_read(evse_id, f"{self.energy_wh}.600", voltage_v="801.5"))

    @rule(evse_id=EVSES, pressed=st.booleans())
    def a_stop(self, evse_id: int, pressed: bool) -> None:
        self.station.when(StopButtonPressed(evse_id) if pressed else EvStoppedCharging(evse_id))

    @rule(evse_id=EVSES)
    def an_ev_says_who_it_is(self, evse_id: int) -> None:
        self.station.when(EvIdentified(evse_id, evcc_id="001122334455"))

    @rule(evse_id=EVSES, device=DEVICES, blocks=st.booleans())
    def a_short_fault(self, evse_id: int, device: str, blocks: bool) -> None:
        self.station.when(DeviceFaulted(evse_id, device, "broken", blocks), csms_answers())
        self.station.when(device_recovered(evse_id, device, "broken"))

    @rule(evse_id=st.sampled_from([1, 2]), who=PEOPLE, pays=st.booleans())
    def a_session(self, evse_id: int, who: Any, pays: bool) -> None:
        """An EV driver comes, charges, and perhaps leaves in order."""
        self.station.when(
            cable_plugged(evse_id),
            presented(who, evse_id),
            csms_answers(),
            charging_started(evse_id),
        )
        if pays:
            self.station.when(presented(who), charging_stopped(evse_id), cable_unplugged(evse_id))

    # Time, and rare events

    @rule(seconds=st.sampled_from([0.001, 1, 10, 31, 61]))
    def time_passes(self, seconds: float) -> None:
        self.station.when(time_passed(seconds=seconds))

    @rule(step=st.integers(0, len(RARE_STEPS) * 2))
    def something_rare(self, step: int) -> None:
        if step < len(RARE_STEPS):
            self.station.when(RARE_STEPS[step])

    @rule(calls=st.lists(st.integers(1, 300), max_size=2))
    def an_operator_retries(self, calls: list[int]) -> None:
        self.station.when(CallRetryRequested(tuple(calls)))

    # The CSMS

    @rule(friendly=st.booleans())
    def the_link_opens(self, friendly: bool) -> None:
        self.station.when(LINK_OPENED)
        if friendly:
            self.station.when(csms_answers())

    @precondition(online)
    @rule()
    def the_link_breaks(self) -> None:
        self.station.when(LINK_LOST, LinkFailed(1, "refused"))

    @precondition(in_flight)
    @rule()
    def the_csms_is_friendly(self) -> None:
        self.station.when(csms_answers(accept_everything))

    @precondition(in_flight)
    @rule(status=STATUSES, group=st.booleans())
    def the_csms_judges(self, status: str, group: bool) -> None:
        info: Json = {"status": status}
        if group:
            info["groupIdToken"] = id_token_payload(FAMILY)
        flight = self.station.in_flight
        assert flight
        if flight.action in ("Authorize", "TransactionEvent"):
            self.station.when(result_received(idTokenInfo=info))
        elif flight.action == "BootNotification":
            self.station.when(
                result_received(status=status, interval=5, currentTime="2030-01-01T00:00:00Z")
            )
        else:
            self.station.when(result_received())

    @precondition(in_flight)
    @rule(data=st.data())
    def the_csms_answers_anything(self, data: st.DataObject) -> None:
        flight = self.station.in_flight
        assert flight
        schema = schema_of(f"{flight.action}Response")
        payload = json_payload(data.draw(valid_payloads(schema, schema)))
        self.station.when(frame_received(json.dumps([3, flight.message_id, payload])))

    @precondition(in_flight)
    @rule(noise=ANY_JSON)
    def the_csms_answers_nonsense(self, noise: Any) -> None:
        flight = self.station.in_flight
        assert flight
        self.station.when(frame_received(json.dumps([3, flight.message_id, noise])))

    @precondition(in_flight)
    @rule()
    def the_csms_errs(self) -> None:
        self.station.when(error_received())

    @precondition(online)
    @rule(action=st.sampled_from(CSMS_ACTIONS), data=st.data())
    def the_csms_orders(self, action: str, data: st.DataObject) -> None:
        schema = schema_of(f"{action}Request")
        self.station.when(called(action, **json_payload(data.draw(valid_payloads(schema, schema)))))

    @precondition(online)
    @rule(who=PEOPLE, evse_id=st.sampled_from([None, 1, 2]))
    def the_csms_starts(self, who: Any, evse_id: int | None) -> None:
        where = {} if evse_id is None else {"evseId": evse_id}
        start = {"remoteStartId": 5, "idToken": id_token_payload(who), **where}
        self.station.when(called("RequestStartTransaction", **start))

    @precondition(online)
    @rule()
    def the_csms_stops(self) -> None:
        for transaction in self.station.state.transactions.open:
            stop = {"transactionId": transaction.transaction_id}
            self.station.when(called("RequestStopTransaction", **stop))

    @precondition(online)
    @rule(kind=st.sampled_from(["Immediate", "OnIdle"]))
    def the_csms_resets(self, kind: str) -> None:
        self.station.when(called("Reset", type=kind))
        if self.station.desired.restart_reason:  # the station restarts
            self.station.when(station_restarted(), IDLE, LINK_OPENED)

    @precondition(online)
    @rule(status=st.sampled_from(["Operative", "Inoperative"]), evse_id=st.sampled_from([0, 1, 2]))
    def the_csms_changes_availability(self, status: str, evse_id: int) -> None:
        part = {"evse": {"id": evse_id}} if evse_id else {}
        self.station.when(called("ChangeAvailability", operationalStatus=status, **part))

    @precondition(online)
    @rule(knob=st.sampled_from(VARIABLE_VALUES), data=st.data())
    def the_csms_turns_a_knob(self, knob: tuple[str, str, list[str]], data: st.DataObject) -> None:
        component, variable, values = knob
        one = {
            "component": {"name": component},
            "variable": {"name": variable},
            "attributeValue": data.draw(st.sampled_from(values)),
        }
        self.station.when(called("SetVariables", setVariableData=[one]))

    @precondition(online)
    @rule(message=st.sampled_from(["MeterValues", "TransactionEvent", "BootNotification"]))
    def the_csms_asks(self, message: str) -> None:
        self.station.when(called("TriggerMessage", requestedMessage=message))

    @precondition(online)
    @rule(noise=ANY_JSON)
    def the_csms_talks_nonsense(self, noise: Any) -> None:
        self.station.when(frame_received(json.dumps(noise)))

    @precondition(online)
    @rule(
        kind=st.sampled_from([2, 3, 4, 5, "2", None]),
        message_id=st.sampled_from(["x", "", "y" * 37, 7, None]),
        rest=st.lists(ANY_JSON, max_size=4),
    )
    def the_csms_nearly_talks_ocpp(self, kind: Any, message_id: Any, rest: list[Any]) -> None:
        self.station.when(frame_received(json.dumps([kind, message_id, *rest])))

    @precondition(online)
    @rule()
    def the_csms_sends_no_json(self) -> None:
        self.station.when(FrameMalformed(3, "00" * 32, "no JSON", "\ufffd"))

    @rule(message_id=st.sampled_from(["x", "-1", "never"]))
    def a_frame_left(self, message_id: str) -> None:
        self.station.when(FrameSent(message_id))

    # At the end of each story

    def teardown(self) -> None:
        """Everything that waits is delivered once a CSMS answers."""
        if not hasattr(self, "station"):
            return
        station = self.station
        station.when(station_restarted(boot_id="boot-last", gap_s=3), IDLE, LINK_OPENED)
        for _ in range(3):
            station.when(csms_answers(accept_everything), time_passed(seconds=61))
        station.when(csms_answers(accept_everything))
        assert not len(station.state.outbox.transaction), "a message stays for ever"


World.TestCase.settings = settings(
    max_examples=int(os.environ.get("STORY_EXAMPLES", "60")),
    stateful_step_count=50,
    deadline=None,
    database=None,
    phases=[Phase.generate, *([Phase.shrink] if "STORY_SHRINK" in os.environ else [])],
    suppress_health_check=list(HealthCheck),
)
TestWorld = pytest.mark.timeout(900)(seed(SEED)(World).TestCase)
