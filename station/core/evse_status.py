"""ConnectorStatus of a connector, and AvailabilityState of an EVSE and of the station. G01.

A status is computed only here. `core/blocks/g_availability.py` reports the result
to the CSMS; `station/history` uses the same functions for `export states` and `report`, so what the
CSMS received and what the history shows cannot differ.

A connector has the status of the first cause in `STATUS_CAUSES` that holds; it is Available if none
holds. The order matters:

1. A fault that blocks charging comes first: Faulted must show also while a transaction is being
   stopped because of the fault.
2. A reservation comes next: the connector stays Reserved when an EV is plugged in without the
   idToken of the reservation, even if TxStartPoint EVConnected starts a transaction (G01.FR.09,
   H03 S1). The facts are false where an EV driver is authorized, and where a cause below closes the
   EVSE, except for a restart: Reserved persists (B11.FR.05).
3. An open transaction comes next. A connector that was taken out of service during a transaction
   stays Occupied until the transaction ends (G03.FR.05, G04.FR.06), and so does one on a station
   with a full disk, a pending restart or a failed rule: an EV is still charging or finishing there.
4. Everything that keeps new EV drivers away follows, whether or not a cable is plugged in
   (G03.FR.06, G04.FR.07). Out of service by order of the CSMS comes before a failed rule, because a
   connector that the CSMS has closed must not be reported Faulted.
5. A plugged in cable makes the connector Occupied (G01.FR.03).

An EVSE has the least usable status of its connectors; the station the most usable status of its
EVSEs, because it can be used while one of them can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from journal.projections.availability import (
    Availability,
    AvailabilityChanged,
    AvailabilityScheduled,
)
from journal.projections.station_health import StationHealth
from journal.state import State
from station.core.reasons import Reason
from station.ocpp.messages.enums import ConnectorStatusEnumType

# From the most to the least usable.
STATUS_ORDER: Final[tuple[ConnectorStatusEnumType, ...]] = (
    "Available",
    "Reserved",
    "Occupied",
    "Unavailable",
    "Faulted",
)
OUT_OF_ORDER_MS: Final = 600_000  # after a failed rule no new EV driver is admitted for this long


class ConnectorFacts(NamedTuple):
    """What a status is computed from, in the order of `STATUS_CAUSES`."""

    has_blocking_fault: bool  # of the EVSE or of the whole station
    is_reserved: bool  # a reservation names the EVSE
    is_kept_free: bool  # reservations that name no EVSE need it
    has_transaction: bool  # open on the EVSE
    is_out_of_service: bool  # by ChangeAvailability; also leaving service after a transaction
    is_restart_ordered: bool
    is_out_of_order: bool  # a rule failed less than OUT_OF_ORDER_MS ago
    is_storage_full: bool
    is_closed_for_firmware: bool  # an update keeps new EV drivers away
    is_plugged_in: bool  # a cable, at this connector


class StatusCause(NamedTuple):
    """A row of the status table: the fact, the status it leads to, and what it means."""

    fact: str
    status: ConnectorStatusEnumType
    description: str
    text: str  # of the reason, see `station.core.reasons`
    requirement: str = ""
    requirement_of_cause: Callable[[Any], str] | None = None

    @property
    def reason(self) -> Reason:
        return Reason(
            self.text,
            self.requirement,
            facts=(self.fact,),
            requirement_of_cause=self.requirement_of_cause,
        )


def _availability_requirement(change: AvailabilityChanged | AvailabilityScheduled) -> str:
    """The requirement that takes the part of a change out of service, now or later."""
    if isinstance(change, AvailabilityScheduled):
        return "G03.FR.05" if change.evse_id else "G04.FR.06"
    if change.connector_id:
        return "G03.FR.04"
    return "G03.FR.06" if change.evse_id else "G04.FR.07"


STATUS_CAUSES: Final = (
    StatusCause(
        "has_blocking_fault",
        "Faulted",
        "a device fault blocks charging",
        "{location} had a fault, {cause.device} {cause.fault}",
        "ConnectorStatusEnumType",  # only its value Faulted defines this
    ),
    StatusCause(
        "is_reserved",
        "Reserved",
        "it is reserved",
        "a reservation names the EVSE",
        "H01.FR.23",
    ),
    StatusCause(
        "is_kept_free",
        "Reserved",
        "it is kept free for a reservation that names no EVSE",
        "every free EVSE is kept for a reservation that names no EVSE",
        "H01.FR.07, H01.FR.09, H01.FR.20, H01.FR.24",
    ),
    StatusCause(
        "has_transaction",
        "Occupied",
        "a transaction is open",
        "a transaction is open there",
        "G01.FR.03",
    ),
    StatusCause(
        "is_out_of_service",
        "Unavailable",
        "out of service by ChangeAvailability",
        "the CSMS requested Inoperative for {location}",
        requirement_of_cause=_availability_requirement,
    ),
    StatusCause(
        "is_restart_ordered",
        "Unavailable",
        "the station is about to restart",
        "the station was about to restart",
        "B11.FR.03",
    ),
    StatusCause(
        "is_out_of_order",
        "Faulted",
        "a rule of the program failed",
        "rule {cause.rule} failed, so new EV drivers are refused",
    ),
    StatusCause(
        "is_storage_full",
        "Unavailable",
        "the disk is full",
        "the disk had space left only to end open transactions",
    ),
    StatusCause(
        "is_closed_for_firmware",
        "Unavailable",
        "a firmware update is pending",
        "a firmware update waits until the EVSEs are free",
        "L01.FR.06, L01.FR.07",
    ),
    StatusCause(
        "is_plugged_in", "Occupied", "an EV is plugged in", "an EV is plugged in", "G01.FR.03"
    ),
)
assert ConnectorFacts._fields == tuple(cause.fact for cause in STATUS_CAUSES)

# fact -> the reason of a connector status
STATUS_REASONS: Final = {cause.fact: cause.reason for cause in STATUS_CAUSES}


def status_cause(facts: Sequence[bool]) -> StatusCause | None:
    """The cause that decides the status; None: the connector is Available.

    Args:
        facts: `ConnectorFacts`, or a tuple in the same order.
    """
    return STATUS_CAUSES[facts.index(True)] if True in facts else None


def connector_status(facts: Sequence[bool]) -> ConnectorStatusEnumType:
    """ConnectorStatusEnumType. G01.FR.01 to 05, G03.FR.06, G04.FR.07, B11.FR.03, L01.FR.07."""
    return STATUS_CAUSES[facts.index(True)].status if True in facts else "Available"


def connector_facts(
    state: State,
    evse_id: int,
    connector_id: int,
    uptime_ms: int,
    *,
    is_reserved: bool,
    is_kept_free: bool,
    is_closed_for_firmware: bool,
) -> tuple[bool, ...]:
    """The facts of a connector in the order of `ConnectorFacts`.

    A plain tuple: it is made for every connector after every entry.
    """
    return (
        state.faults.blocking_fault(evse_id) is not None,
        is_reserved,
        is_kept_free,
        state.transactions.on_evse(evse_id) is not None,
        not is_connector_usable(state.availability, evse_id, connector_id),
        state.lifecycle.restart is not None,
        is_out_of_order(state.health, uptime_ms),
        state.health.storage_level == "full",
        is_closed_for_firmware,
        state.evses.by_id(evse_id).plugged_connector_id == connector_id,
    )


def is_connector_usable(availability: Availability, evse_id: int, connector_id: int) -> bool:
    """Whether the CSMS left a connector in service.

    If the whole station is to leave service, a connector that is not in use leaves at once and
    does not wait for transactions elsewhere. G04.FR.06, TC_G_14.
    """
    return availability.is_operative(evse_id, connector_id) and not availability.is_leaving_service(
        evse_id, connector_id
    )


def out_of_order_until_ms(health: StationHealth) -> int | None:
    """Uptime until which no new EV driver is admitted because a rule failed; None: none failed."""
    failed_ms = health.rule_failed_ms
    return None if failed_ms is None else failed_ms + OUT_OF_ORDER_MS


def is_out_of_order(health: StationHealth, uptime_ms: int) -> bool:
    """Whether a rule failed less than OUT_OF_ORDER_MS ago. P8."""
    until_ms = out_of_order_until_ms(health)
    return until_ms is not None and uptime_ms < until_ms


def is_storage_full(health: StationHealth) -> bool:
    """Whether the free space that is left is reserved for ending open transactions."""
    return health.storage_level == "full"


def evse_status(connector_statuses: Iterable[ConnectorStatusEnumType]) -> ConnectorStatusEnumType:
    """AvailabilityState of an EVSE: the least usable of its connectors; without any Unavailable."""
    return max(connector_statuses, key=STATUS_ORDER.index, default="Unavailable")


def most_usable_status(statuses: Iterable[ConnectorStatusEnumType]) -> ConnectorStatusEnumType:
    """The status of several EVSEs of which one is needed; without any Unavailable."""
    return min(statuses, key=STATUS_ORDER.index, default="Unavailable")


def station_status(
    evse_statuses: Iterable[ConnectorStatusEnumType],
    *,
    is_operative: bool,
    has_blocking_fault: bool,
) -> ConnectorStatusEnumType:
    """AvailabilityState of the station: the most usable of its EVSEs.

    Args:
        is_operative: the CSMS left the station as a whole in service.
        has_blocking_fault: a fault of the station as a whole, not of one EVSE.
    """
    if not is_operative:
        return "Unavailable"
    if has_blocking_fault:
        return "Faulted"
    return most_usable_status(evse_statuses)
