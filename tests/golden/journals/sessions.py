"""Which journals are told by the judgement alone, for kinds that seldom come from the world?

`python -m tests.golden.journals story NAME` keeps one of them. A session that was kept once may be
told otherwise here: the journal stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from journal.observations import (
    CustomerDataFound,
    DamageFound,
    EvStopped,
    HeadNoted,
    PayloadLost,
    SafeModeEntered,
    StopPressed,
    StorageReported,
    ValuesErased,
)
from journal.projections.outbox import RetryRequested
from journal.terms import Decision
from station.case import Product
from tests.story import (
    ALICE,
    BOB,
    FAMILY,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Checks,
    Json,
    Station,
    Step,
    accepting,
    after,
    answered,
    called,
    charging,
    discharged,
    given,
    id_token,
    in_transaction,
    plugged,
    presented,
    preset,
    product,
    read,
    restarted,
    unplugged,
)


class Unwatched(Station):
    """A station in which calls may go that were not delivered: room is short, entries are lost."""

    def __init__(self, of: Product) -> None:
        super().__init__(of)
        self.checks = cast(Checks, lambda *_: None)


def people() -> Station:
    """A card before its cable, a group, somebody blocked meanwhile, somebody forgotten."""
    return given(
        preset("TxCtrlr.StopTxOnInvalidId", "false"),
        preset("TxCtrlr.MaxEnergyOnInvalidId", "500"),
        ONLINE,
        presented(BOB),
        plugged(2),
        *leaves(2),
        read(1, "1000"),
        blocked_meanwhile,
        read(1, "1400"),
        read(1, "1600"),
        StopPressed(1),
        *leaves(1),
        called("CustomerInformation", requestId=9, report=True, clear=True, idToken=id_token(BOB)),
        data_found,
        ValuesErased((BOB.ref,)),
        after(seconds=5),
    )


def service() -> Station:
    """Out of service, a disk that is full, damage, a CSMS that does not take a message."""
    station = Unwatched(product())
    station.with_csms(
        accepting,
        preset("CustomizationCtrlr.CustomImplementationEnabled[ocpp-station.journal]", "true"),
        preset("OCPPCommCtrlr.MessageAttempts[TransactionEvent]", "1"),
        preset("SampledDataCtrlr.TxUpdatedInterval", "10"),
        ONLINE,
        in_transaction(1, ALICE),
        called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}),
        called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 2}),
        called("SetVariables", setVariableData=[NETWORKS]),
        LINK_LOST,
        after(seconds=95),
        StorageReported("low", 5_000_000),
        StorageReported("full", 500_000),
        HeadNoted(100, "ab" * 32),
        EvStopped(1),
        *leaves(1),
        StorageReported("enough", 900_000_000),
        restarted(boot_id="boot-2", gap_s=400),
        DamageFound("entry 40 was changed", 40, 41, era="0c4f1a52-3c0e-4a53-8f8a-0a6f6f8b3f10"),
        SafeModeEntered(("[[variable]] 3: no such component",)),
        online_without_a_payload,
        RetryRequested(()),
        after(seconds=40),
        called("ChangeAvailability", operationalStatus="Operative", evse={"id": 1}),
        after(seconds=5),
    )
    return station


NETWORKS: Final[Json] = {
    "component": {"name": "OCPPCommCtrlr"},
    "variable": {"name": "NetworkConfigurationPriority"},
    "attributeValue": "1",
}


def leaves(evse_id: int) -> tuple[Step, ...]:
    """The last reading, and the cable goes."""
    return read(evse_id, "2600"), discharged(evse_id), unplugged(evse_id)


def blocked_meanwhile(station: Station) -> list[Decision]:
    """Alice may charge; by the first event the CSMS knows her group, and has blocked her."""

    def csms(action: str, payload: Json) -> Json | None:
        if action != "TransactionEvent" or "idToken" not in payload:
            return accepting(action, payload)
        return {"idTokenInfo": {"status": "Blocked", "groupIdToken": id_token(FAMILY)}}

    return station.with_csms(csms, plugged(1), presented(ALICE, evse_id=1), charging(1))


def data_found(station: Station) -> list[Decision]:
    inquiry = station.level.inquiry
    assert inquiry is not None
    return station.when(CustomerDataFound(inquiry.seq, ("#page1",)))


def online_without_a_payload(station: Station) -> list[Decision]:
    """The link is back; what is to be sent first of a transaction cannot be read any more."""
    said = station.when(LINK_OPENED)
    while station.in_flight and station.in_flight.lane != "transaction":
        said += answered_once(station)
    assert station.in_flight is not None
    return [*said, *station.when(PayloadLost(station.in_flight.call, "it was changed"))]


def answered_once(station: Station) -> list[Decision]:
    """The call in flight gets its answer."""
    flight = station.in_flight
    assert flight is not None
    return station.when(answered(**accepting(flight.action, station.payload(flight.call)) or {}))


STORIES: Final[dict[str, Callable[[], Station]]] = {"people": people, "service": service}
