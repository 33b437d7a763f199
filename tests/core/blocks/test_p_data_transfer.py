"""DataTransfer in both directions. Block P."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from journal.events import Decision
from journal.observations import DataTransferRequested
from station.core.blocks import p_data_transfer
from station.core.context import Call, Context, call_result
from station.ocpp.messages.p_data_transfer import DataTransferRequest, DataTransferResponse
from tests.support.story import (
    LINK_LOST,
    ONLINE,
    called,
    given,
    queued_payloads,
    response_payload_in,
)


def accept_data_transfer(
    ctx: Context, call: Call, request: DataTransferRequest
) -> Iterator[Decision]:
    yield call_result(call, DataTransferResponse(status="Accepted", data=request.data))


def test_an_unknown_vendor_is_unknown_p01_fr_05() -> None:
    decisions = given(ONLINE).when(
        called("DataTransfer", vendorId="org.example", messageId="Hello")
    )
    assert response_payload_in(decisions) == {"status": "UnknownVendorId"}


@pytest.mark.parametrize("message_id", ["Goodbye", None])
def test_an_unknown_message_of_a_known_vendor_is_unknown_p01_fr_06(
    monkeypatch: pytest.MonkeyPatch, message_id: str | None
) -> None:
    monkeypatch.setitem(
        p_data_transfer.HANDLERS_BY_VENDOR, "org.example", {"Hello": accept_data_transfer}
    )
    named = {} if message_id is None else {"messageId": message_id}
    decisions = given(ONLINE).when(called("DataTransfer", vendorId="org.example", **named))
    assert response_payload_in(decisions) == {"status": "UnknownMessageId"}


def test_a_known_message_reaches_its_handler_p01_fr_07(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        p_data_transfer.HANDLERS_BY_VENDOR, "org.example", {"Hello": accept_data_transfer}
    )
    decisions = given(ONLINE).when(
        called("DataTransfer", vendorId="org.example", messageId="Hello", data={"a": [1, "b"]})
    )
    assert response_payload_in(decisions) == {"status": "Accepted", "data": {"a": [1, "b"]}}


def test_an_operators_message_goes_out_as_it_is_p02() -> None:
    data = msgspec.Raw(b'{"amount":12.50,"list":[1,null]}')
    decisions = given(ONLINE).when(DataTransferRequested("org.example", "Hello", data))
    assert queued_payloads(decisions, "DataTransfer") == [
        {
            "vendorId": "org.example",
            "messageId": "Hello",
            "data": {"amount": 12.5, "list": [1, None]},
        }
    ]


def test_without_data_there_is_none() -> None:
    decisions = given(ONLINE).when(DataTransferRequested("org.example"))
    assert queued_payloads(decisions, "DataTransfer") == [{"vendorId": "org.example"}]


def test_a_call_that_need_not_be_kept_is_not_queued_offline() -> None:
    assert not queued_payloads(
        given(ONLINE, LINK_LOST).when(DataTransferRequested("x")), "DataTransfer"
    )
