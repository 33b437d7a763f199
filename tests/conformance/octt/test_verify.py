"""Field checks pass and fail as they should, with step and field in the message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.conformance.octt.bench import StationBench
from tests.conformance.octt.tester import Tester
from tests.conformance.octt.verify import (
    NO_ERROR_INFO,
    NOT_EMPTY,
    OMITTED,
    PRESENT,
    CheckFailed,
    check_fields,
    field_at,
    matches_fields,
    not_in,
    one_of,
    require,
)

EVENT = {
    "seqNo": 0,
    "offline": True,
    "transactionInfo": {"chargingState": "Charging"},
    "meterValue": [{"sampledValue": [{"context": "Trigger"}]}],
}


def test_a_path_leads_into_objects_and_lists() -> None:
    assert field_at(EVENT, "transactionInfo.chargingState") == "Charging"
    assert field_at(EVENT, "meterValue[0].sampledValue[0].context") == "Trigger"


@pytest.mark.parametrize(
    "path", ["nothing", "transactionInfo.nothing", "meterValue[1]", "seqNo.nothing", "seqNo[0]"]
)
def test_a_path_without_a_value_is_omitted(path: str) -> None:
    assert field_at(EVENT, path) is OMITTED
    check_fields("step 1", EVENT, {path: OMITTED})


@pytest.mark.parametrize(
    "expected",
    [
        {"seqNo": 1},
        {"seqNo": OMITTED},
        {"seqNo": False},  # 0 is not False
        {"offline": 1},  # True is not 1
        {"offline": one_of("true", OMITTED)},
        {"nothing": PRESENT},
        {"nothing": NOT_EMPTY},
        {"nothing": None},
        {"seqNo": not_in(0, 1)},
        {"transactionInfo.chargingState": "Idle"},
    ],
)
def test_a_failed_check_names_step_and_field(expected: dict[str, Any]) -> None:
    [path] = expected
    with pytest.raises(CheckFailed, match=r"^step 7: ") as failure:
        check_fields("step 7", EVENT, expected)
    assert path in str(failure.value)
    assert not matches_fields(EVENT, expected)


@pytest.mark.parametrize(
    "expected",
    [
        {"seqNo": 0, "offline": True},
        {"offline": one_of(True, OMITTED), "nothing": one_of("a", OMITTED)},
        {"meterValue": NOT_EMPTY, "seqNo": PRESENT},
        {"seqNo": not_in(1)},
        {"statusInfo": NO_ERROR_INFO},
    ],
)
def test_expected_fields_pass(expected: dict[str, Any]) -> None:
    check_fields("step 7", EVENT, expected)
    assert matches_fields(EVENT, expected)


def test_a_status_info_may_only_have_reason_code_no_error() -> None:
    assert matches_fields({"statusInfo": {"reasonCode": "NoError"}}, {"statusInfo": NO_ERROR_INFO})
    assert not matches_fields(
        {"statusInfo": {"reasonCode": "InvalidValue"}}, {"statusInfo": NO_ERROR_INFO}
    )


def test_require_fails_with_its_description() -> None:
    require("step 1", [1], "something must be there")
    with pytest.raises(CheckFailed, match=r"^step 2: something must be there$"):
        require("step 2", [], "something must be there")


def check_counting_of(*events: tuple[int, str]) -> None:
    """`check_counting` of one transaction, given its (seqNo, eventType) in order of arrival."""
    frames = [
        SimpleNamespace(
            payload={"seqNo": number, "eventType": kind, "transactionInfo": {"transactionId": "T"}}
        )
        for number, kind in events
    ]
    tester = object.__new__(Tester)
    tester.bench = cast(
        StationBench, SimpleNamespace(csms=SimpleNamespace(calls_for=lambda action: frames))
    )
    tester.check_counting()


def test_seq_nos_may_arrive_in_any_order_and_repeatedly() -> None:
    check_counting_of((0, "Started"))
    check_counting_of((1, "Updated"), (0, "Started"), (1, "Updated"), (2, "Ended"))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([(1, "Started"), (2, "Ended")], "must count from 0"),
        ([(0, "Started"), (2, "Ended")], "must count from 0"),
        ([(0, "Updated"), (1, "Ended")], "must begin with Started"),
        ([(0, "Started"), (1, "Ended"), (2, "Updated")], "between its first and last event"),
    ],
)
def test_a_gap_in_a_transaction_fails(events: list[tuple[int, str]], message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check_counting_of(*events)
