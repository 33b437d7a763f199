"""The Local Authorization List: updates, their refusals, the version. D01, D02."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from journal.events import IdToken
from journal.projections.auth_cache import AuthCacheCleared
from journal.projections.customer_requests import CustomerDataCleared
from journal.projections.local_list import LocalListChanged, LocalListReplaced
from journal.state import decode_state, encode_state
from station.core.blocks import d_local_list, n_customers
from tests.support.story import (
    ALICE,
    BOB,
    FAMILY,
    ONLINE,
    Json,
    Station,
    Step,
    called,
    given,
    id_token_named,
    id_token_payload,
    of_kind,
    queued_payloads,
    response_payload_in,
    station_restarted,
)

CAROL = id_token_named("carol")


def item(id_token: IdToken, status: str | None = "Accepted", **info: Any) -> Json:
    """AuthorizationData; without a status it removes the idToken."""
    data: Json = {"idToken": id_token_payload(id_token)}
    return data if status is None else data | {"idTokenInfo": {"status": status, **info}}


def list_sent(version: int, *items: Json, update: str = "Full") -> Step:
    """A SendLocalList; without items it has no localAuthorizationList."""
    payload: Json = {"versionNumber": version, "updateType": update}
    return called(
        "SendLocalList", **payload, **({"localAuthorizationList": items} if items else {})
    )


def change_sent(version: int, *items: Json) -> Step:
    return list_sent(version, *items, update="Differential")


def status_of(station: Station, step: Step) -> str:
    status: str = response_payload_in(station.when(step))["status"]
    return status


def reason_of(station: Station, step: Step) -> str:
    """The reasonCode of a message that failed; the list is as it was before."""
    before = station.state.local_list
    response = response_payload_in(station.when(step))
    assert response["status"] == "Failed"
    assert station.state.local_list == before
    code: str = response["statusInfo"]["reasonCode"]
    return code


def version_of(station: Station) -> int:
    version: int = response_payload_in(station.when(called("GetLocalListVersion")))["versionNumber"]
    return version


def listed(station: Station) -> dict[str, str]:
    """Status of each of the three EV drivers who are in the list."""
    entries = {each.ref: station.state.local_list.find(each) for each in (ALICE, BOB, CAROL)}
    return {ref: entry.status for ref, entry in entries.items() if entry}


# --- Full ----------------------------------------------------------------------------------------


def test_a_full_update_replaces_the_list_d01_fr_15_d02_fr_01() -> None:
    station = given(ONLINE, list_sent(7, item(ALICE), item(BOB, "Blocked")))
    assert listed(station) == {ALICE.ref: "Accepted", BOB.ref: "Blocked"}
    [replaced] = of_kind(station.when(list_sent(3, item(CAROL))), LocalListReplaced)
    assert replaced.version_number == 3
    assert listed(station) == {CAROL.ref: "Accepted"}
    assert station.state.local_list.count == 1
    assert version_of(station) == 3


def test_a_full_update_without_a_list_empties_it_d01_fr_04() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE)))
    assert status_of(station, list_sent(2)) == "Accepted"
    assert listed(station) == {}
    assert version_of(station) == 2


def test_the_list_keeps_what_decides_d01_fr_01() -> None:
    info = {
        "cacheExpiryDateTime": "2030-01-01T01:00:00+01:00",
        "groupIdToken": id_token_payload(FAMILY),
        "evseId": [2],
        "chargingPriority": 3,
    }
    station = given(ONLINE, list_sent(1, item(ALICE, "Accepted", **info)))
    entry = station.state.local_list.find(ALICE)
    assert entry is not None
    assert entry.group_id_token == FAMILY
    assert entry.expires_at == "2030-01-01T00:00:00.000Z"
    assert entry.allowed_evse_ids == (2,)


def test_another_type_is_another_id_token_c01_fr_25() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE)))
    assert station.state.local_list.find(IdToken(ALICE.ref, "eMAID")) is None


# --- Differential --------------------------------------------------------------------------------


def test_a_differential_update_adds_and_replaces_d01_fr_16() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE), item(BOB)))
    [changed] = of_kind(
        station.when(change_sent(2, item(BOB, "Blocked"), item(CAROL))), LocalListChanged
    )
    assert not changed.removed_refs
    assert listed(station) == {ALICE.ref: "Accepted", BOB.ref: "Blocked", CAROL.ref: "Accepted"}
    assert station.state.local_list.count == 3
    assert version_of(station) == 2


def test_without_id_token_info_it_removes_d01_fr_17() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE), item(BOB)))
    assert status_of(station, change_sent(2, item(BOB, None), item(CAROL, None))) == "Accepted"
    assert listed(station) == {ALICE.ref: "Accepted"}
    assert station.state.local_list.count == 1
    assert version_of(station) == 2


def test_without_a_list_it_changes_only_the_version_d01_fr_05() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE)))
    assert status_of(station, change_sent(5)) == "Accepted"
    assert listed(station) == {ALICE.ref: "Accepted"}
    assert version_of(station) == 5


@pytest.mark.parametrize("version", [1, 3, 4])
def test_an_older_or_equal_version_is_a_mismatch_d01_fr_19(version: int) -> None:
    station = given(ONLINE, list_sent(4, item(ALICE)))
    decisions = station.when(change_sent(version, item(BOB)))
    assert response_payload_in(decisions) == {"status": "VersionMismatch"}
    assert listed(station) == {ALICE.ref: "Accepted"}
    assert version_of(station) == 4


def test_a_differential_update_can_be_the_first_one_d01_fr_16() -> None:
    station = given(ONLINE)
    assert status_of(station, change_sent(1, item(ALICE))) == "Accepted"
    assert listed(station) == {ALICE.ref: "Accepted"}


# --- Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, -1])
def test_the_version_must_be_greater_than_zero_d01_fr_18(version: int) -> None:
    station = given(ONLINE, list_sent(1, item(ALICE)))
    assert reason_of(station, list_sent(version, item(BOB))) == "InvalidValue"


def test_no_id_token_occurs_twice_d01_fr_06() -> None:
    station = given(ONLINE)
    assert reason_of(station, list_sent(1, item(ALICE), item(ALICE, "Blocked"))) == "InvalidValue"
    assert reason_of(station, change_sent(1, item(ALICE), item(ALICE, None))) == "InvalidValue"


def test_a_full_update_needs_every_id_token_info_d01_fr_15() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE)))
    assert reason_of(station, list_sent(2, item(BOB), item(CAROL, None))) == "MissingParam"


def test_an_empty_id_token_cannot_be_listed() -> None:
    nobody = IdToken("", "NoAuthorization")
    assert reason_of(given(ONLINE), list_sent(1, item(nobody))) == "InvalidIdToken"


def many(count: int, first: int = 0) -> list[Json]:
    return [item(id_token_named(f"{number:06}")) for number in range(first, first + count)]


def test_a_message_has_a_number_of_items_at_most_d01_fr_11() -> None:
    station = given(ONLINE)
    limit = station.product.profile.local_list.items_per_message
    assert status_of(station, list_sent(1, *many(limit))) == "Accepted"
    assert reason_of(station, list_sent(2, *many(limit + 1))) == "TooManyElements"


def test_a_message_has_a_number_of_bytes_at_most_d01_fr_11() -> None:
    station = given(ONLINE)
    limit = station.product.profile.local_list.bytes_per_message
    message = {"format": "UTF8", "content": "x" * 512}
    long = [
        item(id_token_named(f"{number:06}"), personalMessage=message)
        for number in range(limit // 512)
    ]
    assert reason_of(station, list_sent(1, *long)) == "TooLargeElement"
    assert status_of(station, list_sent(1, *long[: len(long) // 2])) == "Accepted"


@dataclass(frozen=True)
class SmallList:
    """A station whose list has room for three idTokens."""

    entries: int = 3

    def station(self, *steps: Step) -> Station:
        station = given(ONLINE, *steps)
        definition = station.product.device_model.by_path[d_local_list.ENTRIES]
        model = station.product.device_model
        model.by_path[d_local_list.ENTRIES] = msgspec.structs.replace(
            definition, max_limit=self.entries
        )
        return station


@pytest.fixture
def small_list(monkeypatch: pytest.MonkeyPatch) -> SmallList:
    model = given(ONLINE).product.device_model
    monkeypatch.setattr(model, "by_path", dict(model.by_path))
    return SmallList()


def test_a_full_list_accepts_no_more_id_tokens_d01_fr_12(small_list: SmallList) -> None:
    station = small_list.station()
    assert reason_of(station, list_sent(1, *many(4))) == "OutOfStorage"
    assert status_of(station, list_sent(1, *many(3))) == "Accepted"
    assert reason_of(station, change_sent(2, *many(1, first=3))) == "OutOfStorage"
    assert status_of(station, change_sent(2, *many(2))) == "Accepted"  # replaced, not added
    removed = item(id_token_named("000000"), None)
    assert status_of(station, change_sent(3, removed, *many(1, first=3))) == "Accepted"
    assert station.state.local_list.count == 3


def test_a_disabled_list_is_not_changed_and_reported_as_none_d02_fr_03() -> None:
    station = given(ONLINE, list_sent(4, item(ALICE)))
    station.when(
        called(
            "SetVariables",
            setVariableData=[
                {
                    "component": {"name": "LocalAuthListCtrlr"},
                    "variable": {"name": "Enabled"},
                    "attributeValue": "false",
                }
            ],
        )
    )
    assert version_of(station) == 0
    assert reason_of(station, list_sent(5, item(BOB))) == "NotEnabled"
    assert listed(station) == {ALICE.ref: "Accepted"}  # not lost: it can be enabled again


# --- Version and device model --------------------------------------------------------------------


def test_before_the_first_update_the_version_is_zero_d02_fr_02() -> None:
    assert version_of(given(ONLINE)) == 0


def test_a_product_without_the_list_refuses_it_d02_fr_03() -> None:
    station = given(ONLINE, profile_name="evs-flash-300")
    assert reason_of(station, list_sent(1, item(ALICE))) == "NotEnabled"
    assert version_of(station) == 0


def read_variable(station: Station, variable: str) -> str:
    data = {"component": {"name": "LocalAuthListCtrlr"}, "variable": {"name": variable}}
    response = response_payload_in(station.when(called("GetVariables", getVariableData=[data])))
    value: str = response["getVariableResult"][0]["attributeValue"]
    return value


def test_the_device_model_has_the_number_of_id_tokens_and_the_limits_d01_fr_12() -> None:
    station = given(ONLINE, list_sent(1, item(ALICE), item(BOB)))
    limits = station.product.profile.local_list
    assert read_variable(station, "Entries") == "2"
    assert read_variable(station, "ItemsPerMessage") == str(limits.items_per_message)
    assert read_variable(station, "BytesPerMessage") == str(limits.bytes_per_message)
    assert read_variable(station, "Enabled") == "true"  # D01.FR.13
    entries = station.product.device_model.by_path[d_local_list.ENTRIES]
    assert entries.max_limit == limits.entries == 100_000


# --- What changes it, and what does not ----------------------------------------------------------


def test_the_list_is_kept_over_a_restart_and_in_a_snapshot_d01_fr_10() -> None:
    station = given(ONLINE, list_sent(9, item(ALICE), item(BOB, "Expired")), station_restarted())
    assert listed(station) == {ALICE.ref: "Accepted", BOB.ref: "Expired"}
    assert decode_state(encode_state(station.state)).local_list == station.state.local_list
    assert station.state.local_list.version_number == 9


def test_only_send_local_list_changes_it_d01_fr_09() -> None:
    station = given(ONLINE, list_sent(9, item(ALICE)))
    before = station.state.local_list
    decisions = station.when(called("ClearCache"))
    assert of_kind(decisions, AuthCacheCleared)
    assert station.state.local_list is before


def customer_cleared(id_token: IdToken) -> Step:
    return called(
        "CustomerInformation",
        requestId=5,
        report=False,
        clear=True,
        idToken=id_token_payload(id_token),
    )


def test_a_customer_is_cleared_except_from_the_list_n10_fr_06() -> None:
    station = given(ONLINE, list_sent(9, item(ALICE)))
    decisions = station.when(customer_cleared(ALICE))
    assert of_kind(decisions, CustomerDataCleared)
    assert queued_payloads(decisions, "NotifyCustomerInformation")[0]["data"] == (
        n_customers.CLEARED_EXCEPT_LIST_TEXT
    )
    assert listed(station) == {ALICE.ref: "Accepted"}
    assert not station.desired.references_to_erase  # the list still needs the value
    station.when(change_sent(10, item(ALICE, None)))  # N10.FR.02
    assert list(station.desired.references_to_erase) == [ALICE.ref]


def test_one_message_is_one_decision_d01_fr_02() -> None:
    """A decision is whole or absent after a power cut, and so is each part of a long list."""
    station = given(ONLINE)
    before = len(station.entries)
    station.when(list_sent(1, *many(100)))
    updates = [
        entry.event
        for entry in station.entries[before:]
        if isinstance(entry.event, LocalListReplaced | LocalListChanged)
    ]
    assert len(updates) == 1
