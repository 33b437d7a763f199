"""Stories: whole sessions of the core, with their transcripts.

`STORIES` has the steps of each; `<name>.txt` beside this file is the expected transcript, with `>`
before observations, decisions without. `python -m tests.stories` writes all transcripts again;
read the diff before committing it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from journal.events import IdToken
from journal.observations import (
    DeviceFaulted,
    DeviceRecovered,
    EvTokenReported,
    MeasuredValue,
    ValuesMeasured,
)
from station.transcript.lines import format_entry
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
    flow_reported,
    given,
    id_token_named,
    id_token_payload,
    in_sequence,
    meter_read,
    presented,
    result_received_for,
    station_restarted,
    time_passed,
    variable_preset,
)

HERE: Final = Path(__file__).parent


def authorize_answered(status: str) -> Step:
    """The CSMS answers the AuthorizeRequest in flight with this status."""
    return result_received_for("Authorize", idTokenInfo={"status": status})


def remote_stop(station: Station) -> list:  # type: ignore[type-arg]
    return station.when(
        called("RequestStopTransaction", transactionId=station.open_transaction.transaction_id)
    )


def list_sent(version: int, id_token: IdToken | None = None, status: str = "") -> Step:
    """The CSMS replaces the Local Authorization List by one idToken, or by none."""
    return _send_list("Full", version, id_token, status)


def list_changed(version: int, id_token: IdToken, status: str) -> Step:
    """The CSMS adds or replaces an idToken of the Local Authorization List."""
    return _send_list("Differential", version, id_token, status)


def _send_list(update_type: str, version: int, id_token: IdToken | None, status: str) -> Step:
    request: Json = {"versionNumber": version, "updateType": update_type}
    if id_token is not None:
        entry = {"idToken": id_token_payload(id_token), "idTokenInfo": {"status": status}}
        request["localAuthorizationList"] = [entry]
    return called("SendLocalList", **request)


REMOTE_START_ALICE: Json = {"remoteStartId": 17, "evseId": 2, "idToken": id_token_payload(ALICE)}
RESERVE_1_FOR_ALICE: Final = called(
    "ReserveNow",
    id=1,
    evseId=1,
    expiryDateTime="2026-03-01T12:30:00Z",
    idToken=id_token_payload(ALICE),
)
RESERVE_ANY_FOR_BOB: Final = called(
    "ReserveNow",
    id=2,
    expiryDateTime="2026-03-01T12:02:00Z",
    idToken=id_token_payload(BOB),
    groupIdToken=id_token_payload(FAMILY),
)
CABLE: Final[Json] = {
    "component": {
        "name": "TemperatureSensor",
        "instance": "cable",
        "evse": {"id": 1, "connectorId": 1},
    },
    "variable": {"name": "Temperature"},
}
POWER: Final[Json] = {
    "component": {"name": "EVSE", "evse": {"id": 1}},
    "variable": {"name": "Power"},
}
WATCH_POWER_AND_CABLE: Final = called(
    "SetVariableMonitoring",
    setMonitoringData=[
        {**POWER, "type": "UpperThreshold", "value": 100000, "severity": 6},
        {**CABLE, "type": "UpperThreshold", "value": 90, "severity": 4},
    ],
)
HOT_CABLE: Final = ValuesMeasured(
    (MeasuredValue("TemperatureSensor[cable]@1/1.Temperature", "91"),)
)
BOOT_ONLINE: Final = in_sequence(BOOTED, IDLE, LINK_OPENED, csms_answers())
DRIVE_AWAY: Final = in_sequence(
    meter_read(1, "13468.2"), charging_stopped(1), cable_unplugged(1), csms_answers()
)

STORIES: Final[dict[str, tuple[Step, ...]]] = {
    "local_start_and_stop": (
        BOOT_ONLINE,
        cable_plugged(1),
        time_passed(seconds=5),
        presented(ALICE),
        csms_answers(),
        time_passed(seconds=2),
        charging_started(1),
        csms_answers(),
        meter_read(1, "5000", power_w="120000"),
        time_passed(seconds=60),
        csms_answers(),
        flow_reported(1, "suspended_ev"),
        csms_answers(),
        time_passed(seconds=10),
        presented(ALICE),
        time_passed(seconds=1),
        DRIVE_AWAY,
    ),
    "autocharge": (
        variable_preset("AuthCtrlr.AutochargeEnabled", "true"),
        BOOT_ONLINE,
        cable_plugged(1),
        time_passed(seconds=4),
        EvTokenReported(1, id_token_named("ev", "MacAddress")),
        csms_answers(),
        charging_started(1),
        csms_answers(),
        time_passed(seconds=30),
        flow_reported(1, "none"),
        DRIVE_AWAY,
    ),
    "remote_start_and_stop": (
        BOOT_ONLINE,
        called("RequestStartTransaction", **REMOTE_START_ALICE),
        csms_answers(),
        time_passed(seconds=12),
        cable_plugged(2),
        csms_answers(),
        charging_started(2),
        csms_answers(),
        time_passed(seconds=30),
        remote_stop,
        meter_read(2, "2900"),
        charging_stopped(2),
        csms_answers(),
        cable_unplugged(2),
        csms_answers(),
    ),
    "offline_with_cache_and_delivered_later": (
        BOOT_ONLINE,
        presented(ALICE, evse_id=1),
        csms_answers(),
        time_passed(seconds=3),
        presented(ALICE),
        LINK_LOST,
        time_passed(seconds=90),
        cable_plugged(1),
        presented(ALICE),
        charging_started(1),
        time_passed(seconds=61),
        presented(BOB, evse_id=2),
        presented(ALICE),
        meter_read(1, "9000"),
        charging_stopped(1),
        cable_unplugged(1),
        time_passed(seconds=30),
        LINK_OPENED,
        csms_answers(),
    ),
    "local_list_online_and_offline": (
        variable_preset("AuthCtrlr.LocalPreAuthorize", "true"),
        BOOT_ONLINE,
        list_sent(1, ALICE, "Accepted"),
        list_changed(2, BOB, "Blocked"),
        called("GetLocalListVersion"),
        # Listed as refused: the CSMS is asked, and accepts
        cable_plugged(2),
        csms_answers(),
        presented(BOB, evse_id=2),
        authorize_answered("Accepted"),
        cable_unplugged(2),
        csms_answers(),
        # Listed as accepted: granted without asking
        cable_plugged(1),
        presented(ALICE),
        charging_started(1),
        csms_answers(),
        time_passed(seconds=10),
        presented(ALICE),
        DRIVE_AWAY,
        # Offline the list decides, and counts before the cache
        LINK_LOST,
        presented(BOB, evse_id=2),
        cable_plugged(1),
        presented(ALICE),
        charging_started(1),
        time_passed(seconds=30),
        presented(ALICE),
        DRIVE_AWAY,
        LINK_OPENED,
        csms_answers(),
        # An update that is too old, and the end of the list
        list_changed(2, ALICE, "Blocked"),
        list_sent(3),
        presented(ALICE, evse_id=2),
    ),
    "refused_token": (
        BOOT_ONLINE,
        cable_plugged(1),
        csms_answers(),
        presented(ALICE),
        authorize_answered("Blocked"),
        presented(BOB),
        authorize_answered("Accepted"),
        charging_started(1),
        result_received_for("TransactionEvent", idTokenInfo={"status": "Expired"}),
        csms_answers(),
        DRIVE_AWAY,
    ),
    "stopped_by_another_token_of_the_group": (
        BOOT_ONLINE,
        cable_plugged(1),
        presented(ALICE),
        csms_answers(
            lambda action, payload: (
                {"idTokenInfo": {"status": "Accepted", "groupIdToken": id_token_payload(FAMILY)}}
                if action == "Authorize"
                else accept_everything(action, payload)
            )
        ),
        charging_started(1),
        csms_answers(),
        presented(BOB, evse_id=1),
        result_received_for(
            "Authorize",
            idTokenInfo={"status": "Accepted", "groupIdToken": id_token_payload(FAMILY)},
        ),
        DRIVE_AWAY,
    ),
    "short_power_cut_in_a_transaction": (
        BOOT_ONLINE,
        cable_plugged(1),
        presented(ALICE),
        csms_answers(),
        charging_started(1),
        csms_answers(),
        meter_read(1, "4000"),
        time_passed(seconds=20),
        station_restarted(boot_id="boot-2", gap_s=40),
        contactor_reported(1, closed=False),
        cable_plugged(1),
        meter_read(1, "4000"),
        charging_started(1),
        cable_unplugged(2),
        LINK_OPENED,
        csms_answers(),
        presented(ALICE),
        DRIVE_AWAY,
    ),
    "long_power_cut_in_a_transaction": (
        BOOT_ONLINE,
        cable_plugged(1),
        presented(ALICE),
        csms_answers(),
        charging_started(1),
        meter_read(1, "4000"),
        station_restarted(boot_id="boot-2", gap_s=4000),
        contactor_reported(1, closed=False),
        cable_plugged(1),
        meter_read(1, "4031.5"),
        time_passed(seconds=1),
        LINK_OPENED,
        csms_answers(),
    ),
    "a_reserved_evse": (
        BOOT_ONLINE,
        RESERVE_1_FOR_ALICE,
        csms_answers(),
        cable_plugged(1),
        presented(BOB),
        presented(ALICE),
        csms_answers(),
        DRIVE_AWAY,
        RESERVE_ANY_FOR_BOB,
        csms_answers(),
        station_restarted(boot_id="boot-2", gap_s=40),
        IDLE,
        cable_plugged(2),
        LINK_OPENED,
        csms_answers(),
        time_passed(seconds=80),
        csms_answers(),
    ),
    "monitors_over_a_limit_offline_and_a_fault": (
        BOOT_ONLINE,
        time_passed(seconds=15),
        WATCH_POWER_AND_CABLE,
        csms_answers(),
        cable_plugged(1),
        presented(ALICE),
        csms_answers(),
        charging_started(1),
        meter_read(1, "1100", power_w="60000"),
        csms_answers(),
        time_passed(seconds=10),
        meter_read(1, "1300", power_w="120000"),
        csms_answers(),
        time_passed(seconds=10),
        HOT_CABLE,
        csms_answers(),
        LINK_LOST,
        time_passed(seconds=10),
        meter_read(1, "1600", power_w="50000"),
        DeviceFaulted(0, "reader", "silent", blocks_charging=False),
        time_passed(seconds=10),
        DeviceRecovered(0, "reader", "silent"),
        LINK_OPENED,
        csms_answers(),
        time_passed(seconds=10),
        csms_answers(),
    ),
    "a_message_the_csms_never_accepts": (
        variable_preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "2"),
        variable_preset("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]", "10"),
        BOOT_ONLINE,
        cable_plugged(1),
        csms_answers(),
        presented(ALICE),
        authorize_answered("Accepted"),
        time_passed(seconds=41),
        time_passed(seconds=30),
        charging_started(1),
        csms_answers(),
    ),
}


def play_story(name: str) -> Station:
    """The station at the end of a story."""
    station = given()
    station.when(*STORIES[name])
    return station


def transcript_of(name: str) -> str:
    return "".join(f"{format_entry(entry)}\n" for entry in play_story(name).entries)


def transcript_path(name: str) -> Path:
    return HERE / f"{name}.txt"
