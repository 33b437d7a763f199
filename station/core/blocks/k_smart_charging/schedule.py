"""Composite schedule and limit in force, from charging profiles and external limits. K08, SC.01.

A `Timetable` is one schedule as a function of time: a charging profile of the CSMS or an external
limit. A `Constraint` is a timetable that applies to an EVSE or to the station, with its source.
`Limits` holds the constraints of one EVSE or of the station and gives its limit at an instant.

How constraints combine (Part 2 K §3.5, §4 SC.01):

1. A timetable gives a limit only within validFrom <= t < validTo (K01.FR.36, K01.FR.37), not before
   its schedule starts (K01.FR.30) and not after its duration (K01.FR.11, K01.FR.12). Outside of
   that it has a gap.
2. Of one purpose, the profile with the highest stackLevel that has no gap counts; a gap falls to
   the next level (K01.FR.17).
3. TxProfile replaces TxDefaultProfile; in its gaps TxDefaultProfile counts (K02.FR.04, K02.FR.08).
4. The lowest over ChargingStationMaxProfile, TxProfile or TxDefaultProfile, and every
   external limit counts. The result is above none of them (K08.FR.04).

Where a schedule starts:

* Absolute: at startSchedule.
* Recurring: at startSchedule and then every 24 hours or 7 days of UTC. The specification has no
  time zone, so a daily schedule does not move when the local clock changes between winter and
  summer time. After its duration it has a gap until it recurs (K01.FR.13).
* Relative: at `relative_start_ms` of the constraint: when the EVSE was ready to deliver energy to
  the transaction (K01.FR.42).

All instants are whole milliseconds since 1970 UTC; limits are exact decimals in W. A limit in A is
multiplied with `watts_per_ampere` of its constraint, which `limits.py` takes from a voltage.
numberPhases and phaseToUse have no effect on a DC EVSE (K01.FR.44).

Evaluation is lazy: only the constraints that count at an instant are computed, each by bisection,
and each result holds until a known border. A composite schedule therefore costs about one step per
border of the schedules that count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_FLOOR, Context, Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from station.ocpp.messages import parse_timestamp
from station.ocpp.messages.datatypes import ChargingSchedulePeriodType

FAR_MS: Final = 1 << 62  # after every instant: a border that does not come
RECURRENCE_MS: Final = {"Daily": 86_400_000, "Weekly": 604_800_000}
PURPOSE_MAX: Final = "ChargingStationMaxProfile"
PURPOSE_DEFAULT: Final = "TxDefaultProfile"
PURPOSE_TX: Final = "TxProfile"
PURPOSE_EXTERNAL: Final = "ChargingStationExternalConstraints"

# Steps of one composite schedule. A window with more borders is reported up to the last one.
STEPS_MAX: Final = 2_048

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT: Final = Context(prec=60, rounding=ROUND_FLOOR)
_TENTH: Final = Decimal("0.1")


class LimitSource(msgspec.Struct, frozen=True):
    """Where a limit comes from."""

    purpose: str  # ChargingProfilePurposeEnumType
    entry_seq: int  # entry that installed the profile, or reported the external limit
    profile_id: int  # chargingProfile.id
    stack_level: int
    evse_id: int  # where it is installed; 0: the station, or every EVSE
    limit_source: str  # ChargingLimitSourceEnumType
    origin: str = ""  # of an external limit: what reported it


class Timetable(msgspec.Struct, frozen=True):
    """One schedule, prepared: `starts_ms[i]` after its start `limits[i]` begins."""

    kind: str  # ChargingProfileKindEnumType
    unit: str  # ChargingRateUnitEnumType of limits and min_rate
    starts_ms: tuple[int, ...]
    limits: tuple[Decimal, ...]
    start_ms: int | None = None  # startSchedule; None: relative
    duration_ms: int | None = None  # None: the last period has no end
    recurrence_ms: int | None = None
    valid_from_ms: int = -FAR_MS
    valid_to_ms: int = FAR_MS
    min_rate: Decimal | None = None  # minChargingRate. K01.FR.21

    def at(self, at_ms: int, relative_start_ms: int) -> tuple[Decimal | None, int]:
        """The limit in `unit` at an instant, None in a gap; and the next border."""
        if at_ms >= self.valid_to_ms:
            return None, FAR_MS  # K01.FR.37
        if at_ms < self.valid_from_ms:
            return None, self.valid_from_ms  # K01.FR.36
        limit, until_ms = self._within_validity(at_ms, relative_start_ms)
        return limit, min(until_ms, self.valid_to_ms)

    def _within_validity(self, at_ms: int, relative_start_ms: int) -> tuple[Decimal | None, int]:
        base_ms = relative_start_ms if self.start_ms is None else self.start_ms
        if at_ms < base_ms:
            return None, base_ms  # K01.FR.30
        end_ms = FAR_MS
        if self.recurrence_ms is not None:
            base_ms = at_ms - (at_ms - base_ms) % self.recurrence_ms
            end_ms = base_ms + self.recurrence_ms
        offset_ms = at_ms - base_ms
        if self.duration_ms is not None:
            if offset_ms >= self.duration_ms:
                return None, end_ms  # K01.FR.11, K01.FR.13
            end_ms = min(end_ms, base_ms + self.duration_ms)
        following = bisect_right(self.starts_ms, offset_ms)
        if following < len(self.starts_ms):
            end_ms = min(end_ms, base_ms + self.starts_ms[following])
        return (self.limits[following - 1] if following else None), end_ms


class Constraint(msgspec.Struct, frozen=True):
    """A timetable that applies, with its source."""

    timetable: Timetable
    source: LimitSource
    watts_per_ampere: Decimal  # for limits in A
    relative_start_ms: int = 0  # start of a Relative schedule


class Limits(msgspec.Struct, frozen=True):
    """The constraints of one EVSE, or of the station. The order within a field has no meaning."""

    station_max: tuple[Constraint, ...] = ()  # ChargingStationMaxProfile
    external: tuple[Constraint, ...] = ()  # ChargingStationExternalConstraints
    tx: tuple[Constraint, ...] = ()  # TxProfile of the transaction on the EVSE
    tx_default: tuple[Constraint, ...] = ()  # TxDefaultProfile for the EVSE


class LimitInForce(msgspec.Struct, frozen=True):
    """The limit of an EVSE or of the station at an instant."""

    limit_w: Decimal | None = None  # None: nothing limits
    source: LimitSource | None = None  # of the lowest constraint; None: nothing limits
    until: datetime | None = None  # it can change then; None: not by itself
    min_rate_w: Decimal | None = None  # minChargingRate of the schedule. K01.FR.21


class CompositeSchedule(msgspec.Struct, frozen=True):
    """A composite schedule: periods in s from the start of the window."""

    periods: tuple[ChargingSchedulePeriodType, ...]  # at least one; limits rounded down to 0.1
    duration_s: int  # shorter than requested if it has more periods than are reported


# --- Preparing -----------------------------------------------------------------------------------


class _SameRaw:
    """Cache key of a payload: the object itself, so that a long payload is not compared."""

    __slots__ = ("raw",)

    def __init__(self, raw: msgspec.Raw) -> None:
        self.raw = raw

    def __hash__(self) -> int:
        return id(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameRaw) and self.raw is other.raw


def profile_timetable(profile: msgspec.Raw) -> Timetable:
    """The timetable of an installed profile, prepared once per object.

    Args:
        profile: an encoded ChargingProfileType that was checked when it was installed.
    """
    return _decode_timetable(_SameRaw(profile))


class _Period(msgspec.Struct, frozen=True, rename="camel"):
    start_period: int
    limit: Decimal


class _Schedule(msgspec.Struct, frozen=True, rename="camel"):
    charging_rate_unit: str
    charging_schedule_period: tuple[_Period, ...]
    start_schedule: str | None = None
    duration: int | None = None
    min_charging_rate: Decimal | None = None


class _Profile(msgspec.Struct, frozen=True, rename="camel"):
    """What a timetable needs of a ChargingProfileType. Decoded ten times as fast as all of it."""

    charging_profile_kind: str
    charging_schedule: tuple[_Schedule, ...]
    recurrency_kind: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None


_profile_decoder = msgspec.json.Decoder(_Profile)


@lru_cache(maxsize=128)
def _decode_timetable(key: _SameRaw) -> Timetable:
    """The timetable of the first schedule; more than one is for ISO 15118 (K01.FR.34)."""
    profile = _profile_decoder.decode(key.raw)
    schedule = profile.charging_schedule[0]
    periods = schedule.charging_schedule_period
    return Timetable(
        kind=profile.charging_profile_kind,
        unit=schedule.charging_rate_unit,
        starts_ms=tuple(period.start_period * 1000 for period in periods),
        limits=tuple(period.limit for period in periods),
        start_ms=_instant_ms(schedule.start_schedule, None),
        duration_ms=None if schedule.duration is None else schedule.duration * 1000,
        recurrence_ms=RECURRENCE_MS[profile.recurrency_kind or "Daily"]
        if profile.charging_profile_kind == "Recurring"
        else None,
        valid_from_ms=_instant_ms(profile.valid_from, -FAR_MS),
        valid_to_ms=_instant_ms(profile.valid_to, FAR_MS),
        min_rate=schedule.min_charging_rate,
    )


def external_timetable(
    starts_s: Iterable[int], limits_w: Iterable[Decimal], start_ms: int, duration_s: int | None
) -> Timetable:
    """The timetable of an external limit, in W from the instant it was reported."""
    return Timetable(
        kind="Absolute",
        unit="W",
        starts_ms=tuple(start_s * 1000 for start_s in starts_s),
        limits=tuple(limits_w),
        start_ms=start_ms,
        duration_ms=None if duration_s is None else duration_s * 1000,
    )


def unix_ms(moment: datetime) -> int:
    """A moment as milliseconds since 1970."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _instant_ms(timestamp: str | None, absent: int | None) -> Any:
    return absent if timestamp is None else unix_ms(parse_timestamp(timestamp))


def _moment(at_ms: int) -> datetime | None:
    """The moment of a border; None if it does not come before the year 10000."""
    try:
        return _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return None


# --- Combining -----------------------------------------------------------------------------------


class _Segment(NamedTuple):
    """A limit that holds until a border."""

    limit_w: Decimal | None
    until_ms: int
    source: LimitSource | None = None
    min_rate_w: Decimal | None = None


def _until(segment: _Segment, until_ms: int) -> _Segment:
    """The segment with another border."""
    if segment.until_ms == until_ms:
        return segment
    return _Segment(segment.limit_w, until_ms, segment.source, segment.min_rate_w)


_Curve = Callable[[int], _Segment]  # the limit as a function of an instant in ms


def _constraint_curve(constraint: Constraint) -> _Curve:
    timetable = constraint.timetable
    factor = None if timetable.unit == "W" else constraint.watts_per_ampere
    min_rate_w = _to_watts(timetable.min_rate, factor)

    def at(at_ms: int) -> _Segment:
        limit, until_ms = timetable.at(at_ms, constraint.relative_start_ms)
        if limit is None:
            return _Segment(None, until_ms)
        return _Segment(_to_watts(limit, factor), until_ms, constraint.source, min_rate_w)

    return _hold_until_border(at)


def _to_watts(value: Decimal | None, factor: Decimal | None) -> Decimal | None:
    return value if value is None or factor is None else _EXACT.multiply(value, factor)


def _first_without_gap(curves: Sequence[_Curve]) -> _Curve:
    """The first curve that has a limit; until then the borders of those before it count."""
    if len(curves) == 1:
        return curves[0]

    def at(at_ms: int) -> _Segment:
        border_ms = FAR_MS
        for curve in curves:
            segment = curve(at_ms)
            border_ms = min(border_ms, segment.until_ms)
            if segment.limit_w is not None:
                return _until(segment, border_ms)
        return _Segment(None, border_ms)

    return _hold_until_border(at)


def _lowest(curves: Sequence[_Curve]) -> _Curve:
    """The lowest limit of all curves; the first of several equal ones is the source."""
    if len(curves) == 1:
        return curves[0]

    def at(at_ms: int) -> _Segment:
        lowest = _Segment(None, FAR_MS)
        border_ms = FAR_MS
        for curve in curves:
            segment = curve(at_ms)
            border_ms = min(border_ms, segment.until_ms)
            if segment.limit_w is not None and (
                lowest.limit_w is None or segment.limit_w < lowest.limit_w
            ):
                lowest = segment
        return _until(lowest, border_ms)

    return _hold_until_border(at)


def _total(curves: Sequence[_Curve]) -> _Curve:
    """The sum of curves that have no gaps."""

    def at(at_ms: int) -> _Segment:
        total, border_ms = Decimal(0), FAR_MS
        for curve in curves:
            segment = curve(at_ms)
            border_ms = min(border_ms, segment.until_ms)
            total = _EXACT.add(total, segment.limit_w or Decimal(0))
        return _Segment(total, border_ms)

    return _hold_until_border(at)


def _constant(limit_w: Decimal) -> _Curve:
    return lambda at_ms: _Segment(limit_w, FAR_MS)


def _hold_until_border(curve: _Curve) -> _Curve:
    """The curve for instants in ascending order; it is computed once per border."""
    held = _Segment(None, -FAR_MS)

    def at(at_ms: int) -> _Segment:
        nonlocal held
        if at_ms >= held.until_ms:
            held = curve(at_ms)
        return held

    return at


def _by_stack_level(constraints: Iterable[Constraint]) -> _Curve:
    """K01.FR.17. Equal levels are refused at the door; the order by id only makes it unique."""
    ranked = sorted(
        constraints, key=lambda each: (-each.source.stack_level, each.source.profile_id)
    )
    return _first_without_gap([_constraint_curve(constraint) for constraint in ranked])


def _own_curve(limits: Limits) -> _Curve:
    """The lowest of external limits, ChargingStationMaxProfile and the transaction's profile."""
    external = sorted(limits.external, key=lambda each: each.source.entry_seq)
    curves = [_constraint_curve(constraint) for constraint in external]
    if limits.station_max:
        curves.append(_by_stack_level(limits.station_max))
    transaction = [_by_stack_level(each) for each in (limits.tx, limits.tx_default) if each]
    if transaction:
        curves.append(_first_without_gap(transaction))
    return _lowest(curves)


# --- Results -------------------------------------------------------------------------------------


def limit_in_force(limits: Limits, at: datetime) -> LimitInForce:
    """The limit at an instant, its source and until when it holds. SC.01."""
    segment = _own_curve(limits)(unix_ms(at))
    return LimitInForce(
        limit_w=segment.limit_w,
        source=segment.source,
        until=_moment(segment.until_ms),
        min_rate_w=segment.min_rate_w,
    )


def evse_schedule(
    limits: Limits,
    hardware_w: Decimal,
    start: datetime,
    duration_s: int,
    watts_per_unit: Decimal = Decimal(1),
    periods_max: int = STEPS_MAX,
) -> CompositeSchedule:
    """The composite schedule of an EVSE. K08.FR.02, K08.FR.04.

    Args:
        limits: the constraints of the EVSE, those of the station included.
        hardware_w: what the EVSE can give; the local limit (K08 remark).
        start: whole seconds.
        watts_per_unit: divides the limits: 1 for W, a voltage for A.
        periods_max: more periods are not reported; the duration is cut before the next one.
    """
    curve = _lowest([_own_curve(limits), _constant(hardware_w)])
    return _sample(curve, start, duration_s, watts_per_unit, periods_max)


def station_schedule(
    station: Limits,
    station_hardware_w: Decimal,
    evses: Sequence[tuple[Limits, Decimal]],
    start: datetime,
    duration_s: int,
    watts_per_unit: Decimal = Decimal(1),
    periods_max: int = STEPS_MAX,
) -> CompositeSchedule:
    """What the station expects to take from the grid: evseId 0. K08.FR.03.

    The lowest of the station's limits, its hardware, and the sum of what its EVSEs may give.

    Args:
        evses: for each EVSE its constraints and what its hardware can give.
        station, station_hardware_w, start, duration_s, watts_per_unit, periods_max: as for
            `evse_schedule`.
    """
    parts = [_lowest([_own_curve(limits), _constant(hardware_w)]) for limits, hardware_w in evses]
    curve = _lowest([_own_curve(station), _total(parts), _constant(station_hardware_w)])
    return _sample(curve, start, duration_s, watts_per_unit, periods_max)


def _sample(
    curve: _Curve, start: datetime, duration_s: int, watts_per_unit: Decimal, periods_max: int
) -> CompositeSchedule:
    """The curve as periods of whole seconds.

    A border between two seconds is moved to the side where the lower limit holds longer, so that
    no period is above the limit at any instant in it.
    """
    start_ms = unix_ms(start)
    periods: list[tuple[int, Decimal]] = []
    covered_s = 0
    for from_ms, until_ms, limit_w in _steps(curve, start_ms, duration_s * 1000):
        limit = _EXACT.divide(limit_w, watts_per_unit).quantize(_TENTH, ROUND_DOWN, _EXACT)
        from_s, until_s = from_ms // 1000, -(-until_ms // 1000)
        if from_s < covered_s:
            _cover_shared_second(periods, from_s, limit)
            from_s = covered_s
        if not periods or (from_s < until_s and periods[-1][1] != limit):
            periods.append((from_s, limit))
        covered_s = until_s
        if len(periods) > periods_max + 1:  # one more than can be merged away below
            break
    merged = _merge_equal(periods)
    if len(merged) > periods_max:
        covered_s = merged[periods_max][0]
    return CompositeSchedule(
        periods=tuple(
            ChargingSchedulePeriodType(start_period=from_s, limit=limit)
            for from_s, limit in merged[:periods_max]
        ),
        duration_s=covered_s,
    )


def _steps(curve: _Curve, start_ms: int, duration_ms: int) -> Iterator[tuple[int, int, Decimal]]:
    """From, until (ms from the start of the window) and limit of each segment."""
    from_ms = 0
    for _ in range(STEPS_MAX):
        segment = curve(start_ms + from_ms)
        assert segment.limit_w is not None  # the hardware's limit has no gap
        until_ms = duration_ms
        if segment.until_ms < FAR_MS:
            until_ms = min(segment.until_ms - start_ms, duration_ms)
        yield from_ms, until_ms, segment.limit_w
        if until_ms >= duration_ms:
            return
        from_ms = until_ms


def _cover_shared_second(periods: list[tuple[int, Decimal]], second: int, limit: Decimal) -> None:
    """Give a second in which two segments meet the lower of both limits."""
    start_s, before = periods[-1]
    if limit >= before:
        return
    if start_s == second:
        periods[-1] = (second, limit)
    else:
        periods.append((second, limit))


def _merge_equal(periods: Sequence[tuple[int, Decimal]]) -> list[tuple[int, Decimal]]:
    merged: list[tuple[int, Decimal]] = []
    for period in periods:
        if not merged or merged[-1][1] != period[1]:
            merged.append(period)
    return merged
