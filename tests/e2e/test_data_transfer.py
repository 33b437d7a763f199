"""A DataTransfer ordered by the operator reaches the CSMS unchanged. P02."""

from __future__ import annotations

import pytest

from tests.e2e.harness import ControlRefused, StationProcess
from tests.e2e.steps import STEP_TIMEOUT_S
from tests.support.csms import Csms


def test_an_operators_message_reaches_the_csms_p02(station: StationProcess, csms: Csms) -> None:
    data = {"list": [1, 2.50, None], "text": "grüße"}
    station.request_operation(
        "data_transfer", vendor_id="org.example", message_id="Hello", data=data
    )
    sent = csms.wait_for_call("DataTransfer", timeout_s=STEP_TIMEOUT_S)
    assert sent.payload == {"vendorId": "org.example", "messageId": "Hello", "data": data}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "vendor_id is a text"),
        ({"vendor_id": ""}, "vendor_id is a text"),
        ({"vendor_id": "x" * 256}, "vendor_id is a text"),
        ({"vendor_id": "x", "message_id": "y" * 51}, "message_id is a text"),
        ({"vendor_id": "x", "data": "z" * 70_000}, "at most"),
        ({"vendor_id": "x", "more": 1}, "takes no argument more"),
    ],
)
def test_invalid_arguments_are_refused(
    station: StationProcess, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ControlRefused, match=message):
        station.request_operation("data_transfer", **arguments)
    assert station.read_entries("DataTransferRequested") == []
