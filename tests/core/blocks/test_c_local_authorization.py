"""The decision table of what the station knows of an idToken: list, cache, CSMS. C12 to C15."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from journal.events import Decision
from journal.projections.auth_cache import AuthCacheUpdated
from journal.projections.authorizations import (
    AuthorizationEnded,
    AuthorizationGranted,
    AuthorizationRefused,
    AuthorizationRequested,
)
from station.core.blocks import c_local_authorization
from station.core.blocks.c_local_authorization import DECISION_TABLE, DecisionRow, KnownAs
from station.ocpp.messages import format_timestamp
from station.ocpp.messages.enums import AuthorizationStatusEnumType
from tests.core.blocks.test_d_local_list import change_sent, item, list_sent
from tests.support.story import (
    ALICE,
    BOB,
    FAMILY,
    LINK_LOST,
    ONLINE,
    Json,
    Station,
    Step,
    accept_everything,
    cable_plugged,
    called,
    charging_started,
    csms_answers,
    event_triggers,
    given,
    id_token_payload,
    in_transaction,
    of_kind,
    presented,
    queued_payloads,
    time_passed,
    variable_preset,
)

GUIDE = Path(__file__).parents[3] / "station" / "README.md"
PRE_AUTHORIZE = variable_preset("AuthCtrlr.LocalPreAuthorize", "true")
UNKNOWN_OFFLINE = variable_preset("AuthCtrlr.OfflineTxForUnknownIdEnabled", "true")
HOUR = timedelta(hours=1)
GROUP = id_token_payload(FAMILY)
REFUSED = tuple(each for each in get_args(AuthorizationStatusEnumType) if each != "Accepted")
VARIABLES = sorted({row.variable for row in DECISION_TABLE if row.variable})


# --- The table -----------------------------------------------------------------------------------


def render_rows() -> Iterator[str]:
    """The table as station/README.md has it."""
    for row in DECISION_TABLE:
        csms = "can be asked" if row.can_ask else "cannot be asked"
        cells = (csms, render_known(row), row.variable and f"`{row.variable}`", row.decision)
        yield f"| {' | '.join(cells)} | {row.requirements} |".replace("|  |", "| |")


def render_known(row: DecisionRow) -> str:
    everything: tuple[KnownAs, ...] = get_args(KnownAs)
    if set(row.known_as) == set(everything):
        return "anything"
    if set(row.known_as) == set(everything) - {"unknown"}:
        return "listed or cached"
    return " or ".join(row.known_as)


def test_the_guide_has_the_table_that_the_code_uses() -> None:
    text = GUIDE.read_text("utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| can(not)? be asked \|", line)]
    assert rows == list(render_rows())


def test_every_row_of_the_table_can_apply() -> None:
    """A row is the first one for some idToken and some variables, so none is dead."""
    reached = set()
    for can_ask in (True, False):
        for known_as in get_args(KnownAs):
            for row in DECISION_TABLE:
                if row.can_ask is can_ask and known_as in row.known_as:
                    reached.add(row)
                    if not row.variable:
                        break
    assert reached == set(DECISION_TABLE)


def test_the_table_decides_everything() -> None:
    for can_ask in (True, False):
        for known_as in get_args(KnownAs):
            assert any(
                row.can_ask is can_ask and known_as in row.known_as and not row.variable
                for row in DECISION_TABLE
            ), (can_ask, known_as)


def cached(status: str, **info: Any) -> Step:
    """The CSMS answers an Authorize of ALICE, so that the cache has it."""

    def step(station: Station) -> list[Decision]:
        def csms(action: str, payload: Json) -> Json | None:
            if action != "Authorize":
                return accept_everything(action, payload)
            return {"idTokenInfo": {"status": status, **info}}

        decisions = station.when(presented(ALICE, evse_id=1), csms_answers(csms))
        assert of_kind(decisions, AuthCacheUpdated)
        if status == "Accepted" and station.state.authorizations.active:
            station.when(time_passed(seconds=3), presented(ALICE, evse_id=1))
        assert not station.state.authorizations.active
        return decisions

    return step


PAST = "2020-01-01T00:00:00Z"
KNOWN_BY: dict[KnownAs, tuple[Step, ...]] = {
    "listed: accepted": (list_sent(1, item(ALICE)),),
    "listed: accepted at other EVSEs": (list_sent(1, item(ALICE, evseId=[2])),),
    "listed: outdated": (list_sent(1, item(ALICE, cacheExpiryDateTime=PAST)),),
    "listed: refused": (list_sent(1, item(ALICE, "Blocked")),),
    "cached: accepted": (cached("Accepted"),),
    "cached: accepted at other EVSEs": (cached("Accepted", evseId=[2]),),
    "cached: refused": (cached("Blocked"),),
    "unknown": (),
}
STATUS_OF: dict[KnownAs, str] = {
    "listed: accepted at other EVSEs": "NotAllowedTypeEVSE",
    "cached: accepted at other EVSEs": "NotAllowedTypeEVSE",
    "listed: outdated": "Expired",
    "listed: refused": "Blocked",
    "cached: refused": "Blocked",
    "listed: accepted": "Accepted",
    "cached: accepted": "Accepted",
}


def expected_row(can_ask: bool, known_as: KnownAs, true_variable: str) -> DecisionRow:
    """The first row for these conditions, written apart from `select_row`."""
    for row in DECISION_TABLE:
        if (
            row.can_ask == can_ask
            and known_as in row.known_as
            and row.variable in ("", true_variable)
        ):
            return row
    raise AssertionError


@pytest.mark.parametrize("true_variable", ["", *VARIABLES])
@pytest.mark.parametrize("known_as", get_args(KnownAs))
@pytest.mark.parametrize("can_ask", [True, False])
def test_an_id_token_is_decided_by_the_table(
    can_ask: bool, known_as: KnownAs, true_variable: str
) -> None:
    presets = [
        variable_preset(name, "true" if name == true_variable else "false") for name in VARIABLES
    ]
    station = given(ONLINE, *KNOWN_BY[known_as], *presets)
    if not can_ask:
        station.when(LINK_LOST)
    decisions = station.when(presented(ALICE, evse_id=1))
    row = expected_row(can_ask, known_as, true_variable)
    asked = of_kind(decisions, AuthorizationRequested)
    granted = of_kind(decisions, AuthorizationGranted)
    refused = of_kind(decisions, AuthorizationRefused)
    assert [bool(asked), bool(granted), bool(refused)].count(True) == 1
    assert bool(asked) == (row.decision == "ask")
    assert bool(granted) == (row.decision == "grant")
    if refused:
        named = row.decision.removeprefix("refuse as ")
        expected = STATUS_OF[known_as] if named == "known" else named
        assert refused[0].status == expected
    if granted:
        source = {"listed": "LocalList", "cached": "Cache", "unknown": "OfflineUnknownId"}
        assert granted[0].authorized_by == source[known_as.partition(":")[0]]


# --- The list comes first ------------------------------------------------------------------------


def test_offline_the_list_counts_before_the_cache_c13_fr_01() -> None:
    station = given(ONLINE, cached("Accepted"), list_sent(1, item(ALICE, "Invalid")), LINK_LOST)
    [refused] = of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationRefused)
    assert (refused.status, refused.because) == ("Invalid", "not_asked/listed")


def test_online_the_list_counts_before_the_cache_c14_fr_01() -> None:
    station = given(ONLINE, cached("Blocked"), list_sent(1, item(ALICE)), PRE_AUTHORIZE)
    [granted] = of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationGranted)
    assert granted.authorized_by == "LocalList"


def test_a_disabled_list_is_not_used_d01_fr_13() -> None:
    disabled = variable_preset("LocalAuthListCtrlr.Enabled", "false")
    station = given(ONLINE, list_sent(1, item(ALICE)), PRE_AUTHORIZE, disabled)
    assert of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationRequested)


@pytest.mark.parametrize("status", REFUSED)
def test_online_every_other_status_is_checked_with_the_csms_c14_fr_03(status: str) -> None:
    station = given(ONLINE, list_sent(1, item(ALICE, status)), PRE_AUTHORIZE)
    [asked] = of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationRequested)
    assert asked.because == "listed_refused"


@pytest.mark.parametrize("status", REFUSED)
def test_offline_every_other_status_is_refused_c13_fr_02(status: str) -> None:
    station = given(ONLINE, list_sent(1, item(ALICE, status)), LINK_LOST)
    [refused] = of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationRefused)
    assert refused.status == status


def test_accepted_in_the_list_starts_without_asking_c14_fr_02() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE)), PRE_AUTHORIZE, cable_plugged(1))
    decisions = station.when(presented(ALICE), charging_started(1))
    assert not queued_payloads(decisions, "Authorize")
    assert ("Started", "Authorized") in event_triggers(decisions)


def test_offline_accepted_in_the_list_starts_c13_fr_03() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE)), LINK_LOST, cable_plugged(1))
    [granted] = of_kind(station.when(presented(ALICE)), AuthorizationGranted)
    assert granted.authorized_by == "LocalList"


def test_offline_an_unknown_id_starts_beside_the_list_c13_fr_04() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE, "Blocked")), UNKNOWN_OFFLINE, LINK_LOST)
    [refused] = of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationRefused)
    assert refused.status == "Blocked"
    [granted] = of_kind(station.when(presented(BOB, evse_id=1)), AuthorizationGranted)
    assert granted.authorized_by == "OfflineUnknownId"


# --- Expiry --------------------------------------------------------------------------------------


def expiring(station: Station, status: str = "Accepted") -> Step:
    """A list in which ALICE expires in an hour."""
    return list_sent(
        1, item(ALICE, status, cacheExpiryDateTime=format_timestamp(station.at + HOUR))
    )


def test_before_its_expiry_an_entry_is_accepted_c13_fr_05_c14_fr_04() -> None:
    station = given(ONLINE, PRE_AUTHORIZE)
    station.when(expiring(station), time_passed(seconds=3590))
    [online] = of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationGranted)
    assert online.authorized_by == "LocalList"
    station.when(LINK_LOST)
    [offline] = of_kind(station.when(presented(ALICE, evse_id=2)), AuthorizationGranted)
    assert offline.authorized_by == "LocalList"


def test_an_outdated_entry_is_checked_with_the_csms_c14_fr_05() -> None:
    disable_post = variable_preset("LocalAuthListCtrlr.DisablePostAuthorize", "true")
    station = given(ONLINE, PRE_AUTHORIZE, disable_post)
    station.with_csms(accept_everything, expiring(station), time_passed(seconds=3600))
    [asked] = of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationRequested)
    assert asked.because == "listed_outdated"


def test_offline_an_outdated_entry_is_no_unknown_id_c13_fr_06() -> None:
    station = given(ONLINE, UNKNOWN_OFFLINE)
    station.when(expiring(station), LINK_LOST, time_passed(seconds=3600))
    [refused] = of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationRefused)
    assert refused.status == "Expired"


def test_without_expiry_times_the_date_does_not_count_c13_fr_02_c14_fr_02() -> None:
    ignored = variable_preset(c_local_authorization.SUPPORTS_EXPIRY, "false")
    station = given(ONLINE, PRE_AUTHORIZE, ignored)
    station.with_csms(accept_everything, expiring(station), time_passed(seconds=7200))
    assert of_kind(station.when(presented(ALICE, evse_id=1)), AuthorizationGranted)
    station.when(LINK_LOST)
    assert of_kind(station.when(presented(ALICE, evse_id=2)), AuthorizationGranted)


# --- Groups, remote starts, what follows later ---------------------------------------------------


def test_an_id_token_of_the_same_group_in_the_list_stops_c09_fr_07() -> None:
    station = given(
        ONLINE,
        PRE_AUTHORIZE,
        list_sent(1, item(ALICE, groupIdToken=GROUP), item(BOB, groupIdToken=GROUP)),
        in_transaction(1, ALICE),
    )
    decisions = station.when(presented(BOB, evse_id=1))
    [ended] = of_kind(decisions, AuthorizationEnded)
    assert ended.ended_by_id_token == BOB
    assert not queued_payloads(decisions, "Authorize")


def test_a_refused_id_token_of_the_group_does_not_stop_c09_fr_11() -> None:
    station = given(
        ONLINE,
        PRE_AUTHORIZE,
        list_sent(1, item(ALICE, groupIdToken=GROUP), item(BOB, "Invalid", groupIdToken=GROUP)),
        in_transaction(1, ALICE),
    )
    decisions = station.when(presented(BOB, evse_id=1))
    assert not of_kind(decisions, AuthorizationEnded)
    assert queued_payloads(decisions, "Authorize")


def test_the_list_can_forbid_to_ask_for_the_group_c14_fr_03() -> None:
    station = given(
        ONLINE,
        PRE_AUTHORIZE,
        variable_preset("LocalAuthListCtrlr.DisablePostAuthorize", "true"),
        list_sent(1, item(ALICE, groupIdToken=GROUP), item(BOB, "Invalid", groupIdToken=GROUP)),
        in_transaction(1, ALICE),
    )
    decisions = station.when(presented(BOB, evse_id=1))
    assert not queued_payloads(decisions, "Authorize")
    [refused] = of_kind(decisions, AuthorizationRefused)
    assert refused.status == "Invalid"


def test_a_remote_start_is_authorized_by_the_list_f01_fr_01() -> None:
    station = given(ONLINE, PRE_AUTHORIZE, list_sent(1, item(ALICE)))
    decisions = station.when(
        called(
            "RequestStartTransaction",
            remoteStartId=3,
            evseId=1,
            idToken=id_token_payload(ALICE),
        )
    )
    [granted] = of_kind(decisions, AuthorizationGranted)
    assert (granted.authorized_by, granted.remote_start_id) == ("LocalList", 3)


def test_an_open_transaction_outlives_its_entry_in_the_list() -> None:
    """Removing an idToken ends nothing: the CSMS stops a transaction with other messages."""
    station = given(ONLINE, PRE_AUTHORIZE, list_sent(1, item(ALICE)), in_transaction(1, ALICE))
    decisions = station.when(change_sent(2, item(ALICE, None)))
    assert not of_kind(decisions, AuthorizationEnded)
    assert station.open_transaction.id_token == ALICE


def test_a_pending_request_is_decided_by_the_list_when_the_link_closes_c13_fr_02() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE)))
    station.when(presented(ALICE, evse_id=1))
    [granted] = of_kind(station.when(LINK_LOST), AuthorizationGranted)
    assert granted.authorized_by == "LocalList"
