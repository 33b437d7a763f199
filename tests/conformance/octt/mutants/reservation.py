"""Mutants of reservations; the certified product has none of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.conformance.octt.mutants.fault import (
    Mutant,
    Patch,
    patch_response,
    remove_rule,
    replace_attribute,
    replace_rule,
)

PRODUCT = "development"


def _admit_everyone() -> None:
    from station.core.blocks import h_kept_evses

    replace_attribute(h_kept_evses, "find_obstacle", lambda _: lambda *args: None)


def _report_nothing_reserved() -> None:
    from station.core.blocks import h_kept_evses

    replace_attribute(h_kept_evses, "find_reserved_facts", lambda _: lambda *args: (False, False))


def _find_room_everywhere() -> None:
    from station.core.blocks import h_kept_evses

    replace_attribute(h_kept_evses.KeptEvses, "has_room_for", lambda _: lambda *args: True)


def _ignore_unspecific_reservations() -> None:
    from station.core.blocks import h_kept_evses

    replace_attribute(h_kept_evses.KeptEvses, "is_kept_free", lambda _: lambda *args: False)


def _ignore_groups() -> None:
    from station.core.blocks import h_kept_evses

    def make(original: Any) -> Any:
        return lambda claimant, reservation: claimant.id_token == reservation.id_token

    replace_attribute(h_kept_evses.Claimant, "matches", make)


def _ignore_enabled() -> None:
    from station.core.blocks import h_reservation

    replace_attribute(h_reservation, "_is_enabled", lambda _: lambda ctx: True)


def _keep_replaced() -> None:
    """ReserveNow with a known id is confirmed and not performed."""
    from station.core import decide
    from station.core.context import call_result
    from station.ocpp.messages.h_reservation import ReserveNowResponse
    from tests.conformance.octt.mutants.fault import replace_handler

    def make(original: Any) -> Any:
        def handler(ctx: Any, call: Any, request: Any) -> Iterator[Any]:
            if ctx.state.reservations.by_id(request.id):
                yield call_result(call, ReserveNowResponse(status="Accepted"))
            else:
                yield from original(ctx, call, request)

        return handler

    replace_handler(decide.CALLS, "ReserveNow", make)


def _lose_at_a_start() -> Patch:
    from journal.observations import StationStarted
    from journal.projections.reservations import ReservationEnded
    from station.core.blocks import h_reservation

    def lose(ctx: Any) -> Iterator[Any]:
        yield from h_reservation.end_reservations(ctx)
        if isinstance(ctx.entry.event, StationStarted):
            for reservation in ctx.state.reservations.open:
                yield ReservationEnded(reservation.reservation_id, 0, "cancelled")

    return replace_rule("h_reservation.end_reservations", lose)


MUTANTS: Mapping[str, Mutant] = {
    "reservation-made": Mutant(
        patch_response("ReserveNow", "Accepted"),
        (
            "TC_B_24_CS",
            "TC_H_01_CS",
            "TC_H_02_CS",
            "TC_H_07_CS",
            "TC_H_08_CS",
            "TC_H_14_CS",
            "TC_H_15_CS",
            "TC_H_17_CS",
            "TC_H_19_CS",
            "TC_H_21_CS",
            "TC_H_22_CS",
            "TC_H_23_CS",
            "TC_H_24_CS",
        ),
        "ReserveNow is accepted and not performed",
        PRODUCT,
    ),
    "reservation-refused": Mutant(
        _find_room_everywhere,
        (
            "TC_H_03_CS",
            "TC_H_04_CS",
            "TC_H_06_CS",
            "TC_H_09_CS",
            "TC_H_10_CS",
            "TC_H_12_CS",
            "TC_H_16_CS",
        ),
        "EVSEs that are taken or closed are reserved",
        PRODUCT,
    ),
    "reservation-ignored": Mutant(
        _admit_everyone, ("TC_H_02_CS",), "any idToken may use a reserved EVSE", PRODUCT
    ),
    "reservation-status": Mutant(
        _report_nothing_reserved,
        ("TC_B_24_CS", "TC_H_01_CS", "TC_H_14_CS", "TC_H_15_CS"),
        "no connector is reported Reserved",
        PRODUCT,
    ),
    "reservation-unspecific": Mutant(
        _ignore_unspecific_reservations,
        ("TC_H_14_CS", "TC_H_15_CS", "TC_H_24_CS"),
        "no EVSE is kept for a reservation that names none",
        PRODUCT,
    ),
    "reservation-group": Mutant(
        _ignore_groups, ("TC_H_19_CS", "TC_H_24_CS"), "groupIdTokens do not count", PRODUCT
    ),
    "reservation-used": Mutant(
        remove_rule("h_reservation.use_reservations"),
        ("TC_H_01_CS", "TC_H_08_CS", "TC_H_15_CS", "TC_H_19_CS", "TC_H_23_CS", "TC_H_24_CS"),
        "a reservation stays when its idToken is authorized",
        PRODUCT,
    ),
    "reservation-replaced": Mutant(
        _keep_replaced, ("TC_H_23_CS",), "a reservation is not replaced", PRODUCT
    ),
    "reservation-ended": Mutant(
        remove_rule("h_reservation.end_reservations"),
        ("TC_H_07_CS", "TC_H_21_CS"),
        "a reservation ends neither in time nor with its EVSE",
        PRODUCT,
    ),
    "reservation-unreported": Mutant(
        remove_rule("h_reservation.report_ended_reservations"),
        ("TC_H_07_CS", "TC_H_21_CS"),
        "the end of a reservation is not reported",
        PRODUCT,
    ),
    "reservation-cancelled": Mutant(
        patch_response("CancelReservation", "Accepted"),
        ("TC_H_17_CS", "TC_H_18_CS"),
        "CancelReservation is accepted and not performed",
        PRODUCT,
    ),
    "reservation-disabled": Mutant(
        _ignore_enabled, ("TC_H_22_CS",), "ReservationCtrlr.Enabled does not count", PRODUCT
    ),
    "reservation-lost": Mutant(
        lambda: _lose_at_a_start()(),
        ("TC_B_24_CS",),
        "reservations are lost with a restart",
        PRODUCT,
    ),
}
