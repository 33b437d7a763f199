"""Stories for golden journals, decided without a runtime: kinds that are rare in simulations.

`python -m tests.durability.golden.journals story NAME` keeps one of them. A story may be changed
here after that; the journal that was kept stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from journal.events import Decision
from journal.observations import (
    CallPayloadLost,
    CustomerDataFound,
    EvStoppedCharging,
    HeadRecorded,
    JournalDamageFound,
    PersonalValuesErased,
    SafeModeEntered,
    StopButtonPressed,
    StorageReported,
)
from journal.projections.outbox import CallRetryRequested
from station.core.context import Product
from tests.support.story import (
    ALICE,
    BOB,
    FAMILY,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Json,
    Station,
    Step,
    StoryChecks,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    given,
    id_token_payload,
    in_transaction,
    load_product,
    meter_read,
    presented,
    result_received,
    station_restarted,
    time_passed,
    variable_preset,
)


class UncheckedStation(Station):
    """A station that may drop undelivered calls: the disk is full, or entries are lost."""

    def __init__(self, product: Product) -> None:
        super().__init__(product)
        self.checks = cast(StoryChecks, lambda *_: None)


def people_story() -> Station:
    """A card before the cable, a group, a token blocked while charging, a person erased."""
    return given(
        variable_preset("TxCtrlr.StopTxOnInvalidId", "false"),
        variable_preset("TxCtrlr.MaxEnergyOnInvalidId", "500"),
        ONLINE,
        presented(BOB),
        cable_plugged(2),
        *drive_away(2),
        meter_read(1, "1000"),
        block_during_charging,
        meter_read(1, "1400"),
        meter_read(1, "1600"),
        StopButtonPressed(1),
        *drive_away(1),
        called(
            "CustomerInformation",
            requestId=9,
            report=True,
            clear=True,
            idToken=id_token_payload(BOB),
        ),
        customer_data_found,
        PersonalValuesErased((BOB.ref,)),
        time_passed(seconds=5),
    )


def service_story() -> Station:
    """Inoperative EVSEs, a full disk, damage, a CSMS that refuses a message."""
    station = UncheckedStation(load_product())
    station.with_csms(
        accept_everything,
        variable_preset(
            "CustomizationCtrlr.CustomImplementationEnabled[ocpp-station.journal]", "true"
        ),
        variable_preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1"),
        variable_preset("SampledDataCtrlr.TxUpdatedInterval", "10"),
        ONLINE,
        in_transaction(1, ALICE),
        called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}),
        called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 2}),
        called("SetVariables", setVariableData=[SET_NETWORK_PRIORITY]),
        LINK_LOST,
        time_passed(seconds=95),
        StorageReported("low", 5_000_000),
        StorageReported("full", 500_000),
        HeadRecorded(100, "ab" * 32),
        EvStoppedCharging(1),
        *drive_away(1),
        StorageReported("enough", 900_000_000),
        station_restarted(boot_id="boot-2", gap_s=400),
        JournalDamageFound(
            "entry 40 was changed", 40, 41, id_namespace="0c4f1a52-3c0e-4a53-8f8a-0a6f6f8b3f10"
        ),
        SafeModeEntered(("[[variable]] 3: no such component",)),
        online_without_a_payload,
        CallRetryRequested(()),
        time_passed(seconds=40),
        called("ChangeAvailability", operationalStatus="Operative", evse={"id": 1}),
        time_passed(seconds=5),
    )
    return station


SET_NETWORK_PRIORITY: Final[Json] = {
    "component": {"name": "OCPPCommCtrlr"},
    "variable": {"name": "NetworkConfigurationPriority"},
    "attributeValue": "1",
}


def drive_away(evse_id: int) -> tuple[Step, ...]:
    """The last reading, the end of energy flow, the cable unplugged."""
    return meter_read(evse_id, "2600"), charging_stopped(evse_id), cable_unplugged(evse_id)


def block_during_charging(station: Station) -> list[Decision]:
    """Alice is authorized; the answer to the first event has her group and the status Blocked."""

    def csms(action: str, payload: Json) -> Json | None:
        if action != "TransactionEvent" or "idToken" not in payload:
            return accept_everything(action, payload)
        return {"idTokenInfo": {"status": "Blocked", "groupIdToken": id_token_payload(FAMILY)}}

    return station.with_csms(
        csms, cable_plugged(1), presented(ALICE, evse_id=1), charging_started(1)
    )


def customer_data_found(station: Station) -> list[Decision]:
    request = station.desired.customer_request
    assert request is not None
    return station.when(CustomerDataFound(request.seq, ("#page1",)))


def online_without_a_payload(station: Station) -> list[Decision]:
    """The link opens; the payload of the first transaction message cannot be read."""
    decisions = station.when(LINK_OPENED)
    while station.in_flight and station.in_flight.lane != "transaction":
        decisions += answer_current_call(station)
    assert station.in_flight is not None
    return [
        *decisions,
        *station.when(CallPayloadLost(station.in_flight.call_seq, "it was changed")),
    ]


def answer_current_call(station: Station) -> list[Decision]:
    """The CSMS answers the call in flight."""
    flight = station.in_flight
    assert flight is not None
    return station.when(
        result_received(
            **accept_everything(flight.action, station.payload_of_call(flight.call_seq)) or {}
        )
    )


STORIES: Final[dict[str, Callable[[], Station]]] = {
    "people": people_story,
    "service": service_story,
}
