"""Does a validation hold when it should, and say what is wrong when it does not?"""

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
def test_where_nothing_stands_the_field_is_omitted(path: str) -> None:
    assert field_at(EVENT, path) is OMITTED
    check_fields("step 1", EVENT, {path: OMITTED})


@pytest.mark.parametrize(
    "expected",
    [
        {"seqNo": 1},
        {"seqNo": OMITTED},
        {"seqNo": False},  # 0 is no False
        {"offline": 1},  # nor is True 1
        {"offline": one_of("true", OMITTED)},
        {"nothing": PRESENT},
        {"nothing": NOT_EMPTY},
        {"nothing": None},
        {"seqNo": not_in(0, 1)},
        {"transactionInfo.chargingState": "Idle"},
    ],
)
def test_what_is_not_as_expected_fails_with_step_and_field(expected: dict[str, Any]) -> None:
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
def test_what_is_as_expected_passes(expected: dict[str, Any]) -> None:
    check_fields("step 7", EVENT, expected)
    assert matches_fields(EVENT, expected)


def test_a_status_info_may_only_say_that_nothing_is_wrong() -> None:
    assert matches_fields({"statusInfo": {"reasonCode": "NoError"}}, {"statusInfo": NO_ERROR_INFO})
    assert not matches_fields(
        {"statusInfo": {"reasonCode": "InvalidValue"}}, {"statusInfo": NO_ERROR_INFO}
    )


def test_must_tells_what_had_to_be() -> None:
    require("step 1", [1], "something must be there")
    with pytest.raises(CheckFailed, match=r"^step 2: something must be there$"):
        require("step 2", [], "something must be there")


def check_counting_of(*events: tuple[int, str]) -> None:
    """`check_counting` over one transaction's (seqNo, eventType), in the order they came."""
    frames = [
        SimpleNamespace(
            payload={"seqNo": number, "eventType": kind, "transactionInfo": {"transactionId": "T"}}
        )
        for number, kind in events
    ]
    tester = object.__new__(Tester)
    tester.bench = cast(
        StationBench, SimpleNamespace(csms=SimpleNamespace(calls=lambda action: frames))
    )
    tester.check_counting()


def test_numbers_may_come_in_any_order_and_more_than_once() -> None:
    check_counting_of((0, "Started"))
    check_counting_of((1, "Updated"), (0, "Started"), (1, "Updated"), (2, "Ended"))


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([(1, "Started"), (2, "Ended")], "must count on from 0"),
        ([(0, "Started"), (2, "Ended")], "must count on from 0"),
        ([(0, "Updated"), (1, "Ended")], "must begin with Started"),
        ([(0, "Started"), (1, "Ended"), (2, "Updated")], "in its middle"),
    ],
)
def test_a_transaction_that_does_not_count_on_is_noticed(
    events: list[tuple[int, str]], words: str
) -> None:
    with pytest.raises(CheckFailed, match=words):
        check_counting_of(*events)
