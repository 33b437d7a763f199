"""Which stories are told in full, and how does each begin and go on?

`<name>.txt` beside this file is the transcript of each, `>` what was seen, the rest what was
decided. `python -m tests.stories` writes them anew; read the difference before committing it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from station.transcript import line
from tests.story import (
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
    accepting,
    after,
    answers,
    called,
    charging,
    contactor,
    discharged,
    flow,
    given,
    id_token,
    plugged,
    presented,
    preset,
    read,
    restarted,
    serves,
    several,
    unplugged,
)

HERE: Final = Path(__file__).parent


def judging(status: str) -> Step:
    """The CSMS judges the token it is asked about."""
    return answers("Authorize", idTokenInfo={"status": status})


def stop_from_afar(station: Station) -> list:  # type: ignore[type-arg]
    return station.when(
        called("RequestStopTransaction", transactionId=station.transaction.transaction_id)
    )


ALICE_STARTS: Json = {"remoteStartId": 17, "evseId": 2, "idToken": id_token(ALICE)}
BEGIN: Final = several(BOOTED, IDLE, LINK_OPENED, serves())
LEAVES: Final = several(read(1, "13468.2"), discharged(1), unplugged(1), serves())

STORIES: Final[dict[str, tuple[Step, ...]]] = {
    "local_start_and_stop": (
        BEGIN,
        plugged(1),
        after(seconds=5),
        presented(ALICE),
        serves(),
        after(seconds=2),
        charging(1),
        serves(),
        read(1, "5000", power_w="120000"),
        after(seconds=60),
        serves(),
        flow(1, "suspended_ev"),
        serves(),
        after(seconds=10),
        presented(ALICE),
        after(seconds=1),
        LEAVES,
    ),
    "remote_start_and_stop": (
        BEGIN,
        called("RequestStartTransaction", **ALICE_STARTS),
        serves(),
        after(seconds=12),
        plugged(2),
        serves(),
        charging(2),
        serves(),
        after(seconds=30),
        stop_from_afar,
        read(2, "2900"),
        discharged(2),
        serves(),
        unplugged(2),
        serves(),
    ),
    "offline_with_cache_and_told_later": (
        BEGIN,
        presented(ALICE, evse_id=1),
        serves(),
        presented(ALICE),
        LINK_LOST,
        after(seconds=90),
        plugged(1),
        presented(ALICE),
        charging(1),
        after(seconds=61),
        presented(BOB, evse_id=2),
        presented(ALICE),
        read(1, "9000"),
        discharged(1),
        unplugged(1),
        after(seconds=30),
        LINK_OPENED,
        serves(),
    ),
    "refused_token": (
        BEGIN,
        plugged(1),
        serves(),
        presented(ALICE),
        judging("Blocked"),
        presented(BOB),
        judging("Accepted"),
        charging(1),
        answers("TransactionEvent", idTokenInfo={"status": "Expired"}),
        serves(),
        LEAVES,
    ),
    "somebody_of_the_group_stops": (
        BEGIN,
        plugged(1),
        presented(ALICE),
        serves(
            lambda action, payload: (
                {"idTokenInfo": {"status": "Accepted", "groupIdToken": id_token(FAMILY)}}
                if action == "Authorize"
                else accepting(action, payload)
            )
        ),
        charging(1),
        serves(),
        presented(BOB, evse_id=1),
        answers("Authorize", idTokenInfo={"status": "Accepted", "groupIdToken": id_token(FAMILY)}),
        LEAVES,
    ),
    "short_power_cut_in_a_transaction": (
        BEGIN,
        plugged(1),
        presented(ALICE),
        serves(),
        charging(1),
        serves(),
        read(1, "4000"),
        after(seconds=20),
        restarted(boot_id="boot-2", gap_s=40),
        contactor(1, closed=False),
        plugged(1),
        read(1, "4000"),
        charging(1),
        unplugged(2),
        LINK_OPENED,
        serves(),
        presented(ALICE),
        LEAVES,
    ),
    "long_power_cut_in_a_transaction": (
        BEGIN,
        plugged(1),
        presented(ALICE),
        serves(),
        charging(1),
        read(1, "4000"),
        restarted(boot_id="boot-2", gap_s=4000),
        contactor(1, closed=False),
        plugged(1),
        read(1, "4031.5"),
        after(seconds=1),
        LINK_OPENED,
        serves(),
    ),
    "a_message_the_csms_never_takes": (
        preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "2"),
        preset("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]", "10"),
        BEGIN,
        plugged(1),
        serves(),
        presented(ALICE),
        judging("Accepted"),
        after(seconds=41),
        after(seconds=30),
        charging(1),
        serves(),
    ),
}


def told(name: str) -> Station:
    """The station at the end of a story."""
    station = given()
    station.when(*STORIES[name])
    return station


def transcript(name: str) -> str:
    return "".join(f"{line(entry)}\n" for entry in told(name).entries)


def file_of(name: str) -> Path:
    return HERE / f"{name}.txt"
