"""The constraints that apply now to each EVSE and to the station, from the state.

What `schedule.py` combines is collected here:

* station: ChargingStationMaxProfile and external limits of evseId 0; what is taken from the grid;
* EVSE: those of the station, external limits of the EVSE, TxProfile of its transaction, and
  TxDefaultProfile of the EVSE and of evseId 0 (K01.FR.14).

Voltage for limits in A. ChargingStationMaxProfile limits the grid connection: A per phase
(K01.FR.51), with the voltage of the grid and all its phases. A profile of an EVSE limits the output
to the EV: A of direct current, with the present voltage while energy flows. Before that the voltage
of the EV is not known; `[[evse]] voltage_nominal_v` of the product profile counts, which should be
the lowest usual battery voltage, so that the limit is not above what it will be.

A Relative schedule starts when the EVSE was ready for its transaction, and until then, as for an
EVSE without a transaction (K08.FR.06), at the present moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Final

from journal.projections.charging_profiles import InstalledProfile
from journal.projections.external_limits import ExternalLimit
from station.core.blocks.k_smart_charging.schedule import (
    PURPOSE_DEFAULT,
    PURPOSE_EXTERNAL,
    PURPOSE_MAX,
    PURPOSE_TX,
    Constraint,
    LimitInForce,
    Limits,
    LimitSource,
    Timetable,
    external_timetable,
    limit_in_force,
    profile_timetable,
    unix_ms,
)
from station.core.blocks.k_smart_charging.support import is_enabled
from station.core.context import Context

LIMIT_SOURCE_CSO: Final = "CSO"  # ChargingLimitSourceEnumType of every profile of the CSMS
VOLTAGE_LEAST_V: Final = 100  # a lower reading is no voltage of an EV that is charging


def present_limit(ctx: Context, evse_id: int) -> LimitInForce:
    """The limit in force at the present entry. SC.01, K08.FR.04.

    Args:
        evse_id: 0: the station, as taken from the grid; the sum of all EVSEs must not exceed it
            (K04.FR.05). Otherwise an EVSE; the limits of the station are included.

    Only profiles and external limits count: what modules, cable and EV can do is not in it.
    `until` is on the corrected wall clock of the station, as `ctx.now`.
    """
    limits = station_limits(ctx) if evse_id == 0 else evse_limits(ctx, evse_id)
    return limit_in_force(limits, ctx.now)


def station_limits(ctx: Context) -> Limits:
    """The constraints of the grid connection, evseId 0."""
    return Limits(
        station_max=_profile_constraints(ctx, _with_purpose(ctx, PURPOSE_MAX), 0),
        external=_external_constraints(ctx, (0,)),
    )


def evse_limits(ctx: Context, evse_id: int) -> Limits:
    """The constraints of an EVSE, those of the station included."""
    transaction = ctx.state.transactions.on_evse(evse_id)
    tx = (
        profile
        for profile in _with_purpose(ctx, PURPOSE_TX)
        if transaction and profile.transaction_id == transaction.transaction_id
    )
    tx_default = (
        profile
        for profile in _with_purpose(ctx, PURPOSE_DEFAULT)
        if profile.evse_id in (0, evse_id)
    )
    return Limits(
        station_max=_profile_constraints(ctx, _with_purpose(ctx, PURPOSE_MAX), 0),
        external=_external_constraints(ctx, (0, evse_id)),
        tx=_profile_constraints(ctx, tx, evse_id),
        tx_default=_profile_constraints(ctx, tx_default, evse_id),
    )


def watts_per_ampere(ctx: Context, evse_id: int) -> Decimal:
    """What a limit of 1 A is in W: of the grid connection (0), or of an EVSE's output."""
    profile = ctx.product.profile
    if evse_id == 0:
        return Decimal(profile.supply.phase_voltage_v * profile.supply.phases)
    reading = ctx.state.readings.on_evse(evse_id)
    if reading and ctx.state.evses.by_id(evse_id).flow == "charging":
        voltage_v = reading.meter_read.voltage_v
        if voltage_v is not None and voltage_v >= VOLTAGE_LEAST_V:
            return voltage_v
    voltages_v = {evse.id: evse.voltage_nominal_v for evse in profile.evse}
    return Decimal(voltages_v[evse_id])


def _with_purpose(ctx: Context, purpose: str) -> Iterable[InstalledProfile]:
    """Installed profiles; none while smart charging is disabled. External limits count always."""
    if not is_enabled(ctx):
        return ()
    return (
        profile for profile in ctx.state.charging_profiles.installed if profile.purpose == purpose
    )


def _profile_constraints(
    ctx: Context, profiles: Iterable[InstalledProfile], evse_id: int
) -> tuple[Constraint, ...]:
    """Profiles as constraints of the station (0) or of an EVSE."""
    ready_ms = ctx.state.ready_evses.since_unix_ms(evse_id)
    return tuple(
        Constraint(
            timetable=profile_timetable(profile.profile),
            source=_profile_source(profile),
            watts_per_ampere=watts_per_ampere(ctx, evse_id),
            relative_start_ms=unix_ms(ctx.now) if ready_ms is None else ready_ms,
        )
        for profile in profiles
    )


def _profile_source(profile: InstalledProfile) -> LimitSource:
    return LimitSource(
        purpose=profile.purpose,
        entry_seq=profile.seq,
        profile_id=profile.profile_id,
        stack_level=profile.stack_level,
        evse_id=profile.evse_id,
        limit_source=LIMIT_SOURCE_CSO,
    )


def _external_constraints(ctx: Context, evse_ids: tuple[int, ...]) -> tuple[Constraint, ...]:
    return tuple(
        Constraint(
            timetable=_external_timetable(limit),
            source=LimitSource(
                purpose=PURPOSE_EXTERNAL,
                entry_seq=limit.seq,
                profile_id=limit.profile_id,
                stack_level=0,
                evse_id=limit.evse_id,
                limit_source=limit.source,
                origin=limit.origin,
            ),
            watts_per_ampere=Decimal(1),  # external limits are in W
        )
        for limit in ctx.state.external_limits.limits
        if limit.evse_id in evse_ids
    )


def _external_timetable(limit: ExternalLimit) -> Timetable:
    return external_timetable(
        (period.start_s for period in limit.periods),
        (period.limit_w for period in limit.periods),
        limit.since_unix_ms,
        limit.duration_s,
    )


def external_limit_at(limit: ExternalLimit, at: datetime) -> Decimal | None:
    """What an external limit is in W at an instant; None: its duration is over."""
    return _external_timetable(limit).at(unix_ms(at), 0)[0]
