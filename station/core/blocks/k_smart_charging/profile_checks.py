"""Checks of a charging profile before it is installed. K01, K05.

All checks are made here, at the door; a profile that was accepted is never dropped for its content.
`find_refusal` gives the first reason against it. The checks go from what the profile is to what it
would conflict with, so that the reason names the cause and not a consequence.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Final, NamedTuple

from station.core.blocks.k_smart_charging.schedule import (
    FAR_MS,
    PURPOSE_DEFAULT,
    PURPOSE_EXTERNAL,
    PURPOSE_MAX,
    PURPOSE_TX,
    Timetable,
    profile_timetable,
    unix_ms,
)
from station.core.blocks.k_smart_charging.support import Refusal
from station.core.context import Context
from station.ocpp.messages import parse_timestamp
from station.ocpp.messages.datatypes import ChargingProfileType, ChargingScheduleType

PROFILE_ENTRIES: Final = "SmartChargingCtrlr.Entries[ChargingProfiles]"
PERIODS_PER_SCHEDULE: Final = "SmartChargingCtrlr.PeriodsPerSchedule"
STACK_LEVEL: Final = "SmartChargingCtrlr.ProfileStackLevel"
RATE_UNIT: Final = "SmartChargingCtrlr.RateUnit"

# Bounds of numbers, so that every later computation with them is exact and cannot overflow.
LIMIT_MAX: Final = Decimal(10) ** 9  # W or A; the specification writes "no limit" as 999999
SECONDS_MAX: Final = 100 * 366 * 86_400
DIGITS_MAX: Final = 20


class Candidate(NamedTuple):
    """A profile that is to be installed."""

    ctx: Context
    evse_id: int
    profile: ChargingProfileType
    transaction_id: str | None  # of a TxProfile; None: of a transaction that has not started

    @property
    def schedule(self) -> ChargingScheduleType:
        return self.profile.charging_schedule[0]


def find_refusal(candidate: Candidate) -> Refusal | None:
    """The first reason to refuse the profile; None: it can be installed."""
    for check in _CHECKS:
        refusal = check(candidate)
        if refusal is not None:
            return refusal
    return None


# --- The profile ---------------------------------------------------------------------------------


def _check_purpose(candidate: Candidate) -> Refusal | None:
    purpose, evse_id = candidate.profile.charging_profile_purpose, candidate.evse_id
    if purpose == PURPOSE_EXTERNAL:
        return Refusal("InvalidProfile", f"{purpose} is not set by the CSMS")  # K01.FR.22
    if evse_id != 0 and evse_id not in candidate.ctx.state.lifecycle.evse_ids:
        return Refusal("UnknownEvse", f"there is no EVSE {evse_id}")  # K01.FR.28
    if purpose == PURPOSE_TX and evse_id == 0:
        return Refusal("InvalidProfile", f"{purpose} needs an evseId above 0")  # K01.FR.16
    if purpose == PURPOSE_MAX and evse_id != 0:
        return Refusal("InvalidProfile", f"{purpose} needs evseId 0")  # K04.FR.03
    if purpose != PURPOSE_TX and candidate.profile.transaction_id is not None:
        return Refusal("InvalidProfile", f"{purpose} has no transactionId")
    return None


def _check_external_id(candidate: Candidate) -> Refusal | None:
    """K01.FR.05: the profile of an external limit cannot be replaced by the CSMS."""
    profile_id = candidate.profile.id
    if any(limit.profile_id == profile_id for limit in candidate.ctx.state.external_limits.limits):
        return Refusal("InvalidProfile", f"id {profile_id} is that of an external limit")
    return None


def _check_stack_level(candidate: Candidate) -> Refusal | None:
    level_max = candidate.ctx.variable_integer(STACK_LEVEL)
    if not 0 <= candidate.profile.stack_level <= level_max:
        return Refusal("InvalidStackLevel", f"stackLevel goes from 0 to {level_max}")
    return None


def _check_kind(candidate: Candidate) -> Refusal | None:
    profile = candidate.profile
    kind, start = profile.charging_profile_kind, candidate.schedule.start_schedule
    if kind == "Relative":
        if profile.charging_profile_purpose == PURPOSE_MAX:
            return Refusal("InvalidProfile", f"{PURPOSE_MAX} is never Relative")  # K01.FR.38
        if start is not None:
            return Refusal("InvalidSchedule", "Relative has no startSchedule")  # K01.FR.41
    elif start is None:
        return Refusal("InvalidSchedule", f"{kind} needs startSchedule")  # K01.FR.40
    if kind == "Recurring" and profile.recurrency_kind is None:
        return Refusal("InvalidProfile", "Recurring needs recurrencyKind")
    return None


def _check_validity(candidate: Candidate) -> Refusal | None:
    valid_from_ms, valid_to_ms = _validity_ms(candidate.profile)
    if valid_from_ms >= valid_to_ms:
        return Refusal("InvalidProfile", "validTo is not after validFrom")
    return None


# --- Its schedule --------------------------------------------------------------------------------


def _check_schedule_count(candidate: Candidate) -> Refusal | None:
    if len(candidate.profile.charging_schedule) > 1:
        return Refusal(  # K01.FR.34
            "TooManyElements", "more than one chargingSchedule needs an EV with ISO 15118"
        )
    return None


def _check_rate_unit(candidate: Candidate) -> Refusal | None:
    units = candidate.ctx.variable_list(RATE_UNIT)
    if candidate.schedule.charging_rate_unit not in units:
        return Refusal("UnsupportedRateUnit", f"supported: {', '.join(units)}")  # K01.FR.26
    return None


def _check_period_count(candidate: Candidate) -> Refusal | None:
    periods_max = candidate.ctx.variable_integer(PERIODS_PER_SCHEDULE)
    if len(candidate.schedule.charging_schedule_period) > periods_max:
        return Refusal("TooManyElements", f"at most {periods_max} periods in a schedule")
    return None


def _check_period_starts(candidate: Candidate) -> Refusal | None:
    starts = [period.start_period for period in candidate.schedule.charging_schedule_period]
    if starts[0] != 0:
        return Refusal("InvalidSchedule", "the first startPeriod is not 0")  # K01.FR.31
    if any(later <= earlier for earlier, later in pairwise(starts)):
        return Refusal("InvalidSchedule", "startPeriod does not increase")  # K01.FR.35
    if starts[-1] > SECONDS_MAX:
        return Refusal("InvalidSchedule", f"startPeriod is above {SECONDS_MAX} s")
    return None


def _check_numbers(candidate: Candidate) -> Refusal | None:
    schedule = candidate.schedule
    duration = schedule.duration
    if duration is not None and not 0 < duration <= SECONDS_MAX:
        return Refusal("InvalidSchedule", f"duration goes from 1 to {SECONDS_MAX} s")
    rates = [period.limit for period in schedule.charging_schedule_period]
    if schedule.min_charging_rate is not None:
        rates.append(schedule.min_charging_rate)
    if not all(_is_usable_rate(rate) for rate in rates):
        return Refusal("InvalidSchedule", f"limits go from 0 to {LIMIT_MAX}")
    return None


def _is_usable_rate(rate: Decimal) -> bool:
    digits = rate.as_tuple().digits
    return 0 <= rate <= LIMIT_MAX and len(digits) <= DIGITS_MAX and rate.adjusted() >= -DIGITS_MAX


# --- What it conflicts with ----------------------------------------------------------------------


def _check_transaction(candidate: Candidate) -> Refusal | None:
    """A TxProfile belongs to the transaction on its EVSE. K01.FR.03, K01.FR.09, K01.FR.33."""
    if candidate.profile.charging_profile_purpose != PURPOSE_TX or candidate.transaction_id is None:
        return None
    transaction = candidate.ctx.state.transactions.on_evse(candidate.evse_id)
    if transaction is None:
        return Refusal("TxNotFound", f"there is no transaction on EVSE {candidate.evse_id}")
    if not candidate.transaction_id:
        return Refusal("MissingParam", f"{PURPOSE_TX} needs transactionId")
    if candidate.transaction_id != transaction.transaction_id:
        return Refusal("TxNotFound", f"it is not the transaction on EVSE {candidate.evse_id}")
    return None


def _check_duplicate(candidate: Candidate) -> Refusal | None:
    """Two profiles that could count at the same time. K01.FR.06, K01.FR.39, K01.FR.52/53."""
    profile = candidate.profile
    for other in candidate.ctx.state.charging_profiles.installed:
        if (
            other.profile_id == profile.id
            or other.purpose != profile.charging_profile_purpose
            or other.stack_level != profile.stack_level
        ):
            continue
        if other.purpose == PURPOSE_TX:
            conflicts = other.evse_id == candidate.evse_id and other.transaction_id in (
                candidate.transaction_id,
                "",
            )
        elif other.evse_id == candidate.evse_id:
            conflicts = _is_overlapping(profile, profile_timetable(other.profile))
        else:  # one of them counts for every EVSE, whatever their validity
            conflicts = other.purpose == PURPOSE_DEFAULT and 0 in (
                other.evse_id,
                candidate.evse_id,
            )
        if conflicts:
            return Refusal("DuplicateProfile", f"profile {other.profile_id} has its stackLevel")
    return None


def _is_overlapping(profile: ChargingProfileType, other: Timetable) -> bool:
    valid_from_ms, valid_to_ms = _validity_ms(profile)
    return valid_from_ms < other.valid_to_ms and other.valid_from_ms < valid_to_ms


def _check_entry_count(candidate: Candidate) -> Refusal | None:
    installed = candidate.ctx.state.charging_profiles
    definition = candidate.ctx.product.device_model.by_path[PROFILE_ENTRIES]
    entries_max = definition.max_limit or 0
    if installed.by_id(candidate.profile.id) is None and len(installed.installed) >= entries_max:
        return Refusal("TooManyElements", f"at most {entries_max} charging profiles")
    return None


def _validity_ms(profile: ChargingProfileType) -> tuple[int, int]:
    valid_from, valid_to = profile.valid_from, profile.valid_to
    return (
        -FAR_MS if valid_from is None else unix_ms(parse_timestamp(valid_from)),
        FAR_MS if valid_to is None else unix_ms(parse_timestamp(valid_to)),
    )


_CHECKS: Final[tuple[Callable[[Candidate], Refusal | None], ...]] = (
    _check_purpose,
    _check_external_id,
    _check_stack_level,
    _check_kind,
    _check_validity,
    _check_schedule_count,
    _check_rate_unit,
    _check_period_count,
    _check_period_starts,
    _check_numbers,
    _check_transaction,
    _check_duplicate,
    _check_entry_count,
)
