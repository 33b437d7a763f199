"""Limits of other sources than the CSMS: station.toml, a lost connection, derated hardware.

Every limit is an ExternalLimitReported with an origin of its own, so that several hold beside each
other and each is lifted by what set it:

| origin | set by | source |
|---|---|---|
| `control_socket` | operation `external_limit` | as requested |
| `installer` | `[limits] station_w`, at a start | Other |
| `offline` | `[limits] offline_w`, while there is no CSMS | Other |
| `contact` | `[limits] contact_w`, by the contact | SO |
| `power_modules` | modules that are missing, while that lasts | Other |
| `cable_cooling` | a cable without cooling, while that lasts | Other |
| `cable_temperature` | a warm cable, while that lasts | Other |

ChargingLimitSourceEnumType has no value for the station itself: EMS is an energy management system,
SO a system operator, CSO must not be used (K11.FR.05), so it is Other.

A limit stays in the journal over restarts. What station.toml does not have any more is lifted at
the next start; the others are compared with what is true then. Deratings are lifted at a start,
and reported again if they last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

import trio

from journal.events import Observation
from journal.observations import ExternalLimitReported, LimitPeriod
from journal.state import State
from station.config.file_tables import LimitsConfig
from station.core.blocks.k_power_limits import SIGNIFICANCE
from station.core.context import Context
from station.core.desired import DesiredState
from station.runtime.hardware.power_limits import Derating
from station.runtime.watched_value import WatchedValue

CONTROL_SOCKET: Final = "control_socket"
INSTALLER: Final = "installer"
OFFLINE: Final = "offline"
CONTACT: Final = "contact"
DERATING_ORIGINS: Final[dict[str, str]] = {
    "modules": "power_modules",
    "cooling": "cable_cooling",
    "cable": "cable_temperature",
}


def limit_report(
    evse_id: int,
    origin: str,
    source: str,
    limit_w: float | None,
    *,
    duration_s: int | None = None,
) -> ExternalLimitReported:
    """The report of a limit; None lifts it."""
    periods = () if limit_w is None else (LimitPeriod(0, Decimal(str(limit_w))),)
    return ExternalLimitReported(
        evse_id, origin, source, periods, duration_s if limit_w is not None else None
    )


def configured_limits(limits: LimitsConfig, state: State) -> Iterator[Observation]:
    """What `[limits]` changes at a start."""
    if _active_limit(state, INSTALLER) != limits.station_w:
        yield limit_report(0, INSTALLER, "Other", limits.station_w)
    for origin, source, limit_w in (
        (OFFLINE, "Other", limits.offline_w),
        (CONTACT, "SO", limits.contact_w),
    ):
        active_w = _active_limit(state, origin)
        if active_w is not None and active_w != limit_w:
            yield limit_report(0, origin, source, limit_w)
    for limit in state.external_limits.limits:
        if limit.origin in DERATING_ORIGINS.values():
            yield limit_report(limit.evse_id, limit.origin, limit.source, None)


def _active_limit(state: State, origin: str, evse_id: int = 0) -> Decimal | None:
    """The limit that an origin with one limit has set; 0: of the grid connection."""
    for limit in state.external_limits.limits:
        if (limit.evse_id, limit.origin) == (evse_id, origin):
            return limit.periods[0].limit_w
    return None


def report_contact(limits: LimitsConfig, state: State, limited: bool) -> Iterator[Observation]:
    """What the contact changes."""
    limit_w = limits.contact_w if limited else None
    if _active_limit(state, CONTACT) != limit_w:
        yield limit_report(0, CONTACT, "SO", limit_w)


def report_derating(ctx: Context, evse_id: int, derating: Derating | None) -> Iterator[Observation]:
    """What a derating of an EVSE changes; None: it ended.

    It is a limit if the product has smart charging and the power that is lost is more than
    LimitChangeSignificance percent. K11.FR.02, K12.FR.02.
    """
    origin = None
    if derating is not None and _is_significant(ctx, derating):
        origin = DERATING_ORIGINS[derating.cause]
    for other in DERATING_ORIGINS.values():
        if other != origin and _active_limit(ctx.state, other, evse_id) is not None:
            yield limit_report(evse_id, other, "Other", None)
    if (
        origin is not None
        and derating is not None
        and _active_limit(ctx.state, origin, evse_id) != derating.limit_w
    ):
        yield limit_report(evse_id, origin, "Other", derating.limit_w)


def _is_significant(ctx: Context, derating: Derating) -> bool:
    percent = ctx.variable_text(SIGNIFICANCE)
    if percent is None:  # a product without smart charging
        return False
    return (derating.rated_w - derating.limit_w) * 100 > Decimal(percent or 0) * derating.rated_w


async def limit_while_offline(
    limits: LimitsConfig,
    desired_state: WatchedValue[DesiredState],
    current_state: Callable[[], State],
    observe: Callable[[Observation], None],
) -> None:
    """Report `offline_w` after `offline_after_s` without a CSMS; lift it with the connection."""
    if limits.offline_w is None:
        return
    while True:
        if not desired_state.value.link.online:
            with trio.move_on_after(limits.offline_after_s):
                await _wait_link(desired_state, online=True)
        online = desired_state.value.link.online
        is_limited = _active_limit(current_state(), OFFLINE) is not None
        if online == is_limited:
            observe(limit_report(0, OFFLINE, "Other", None if online else limits.offline_w))
        await _wait_link(desired_state, online=not online)


async def _wait_link(desired_state: WatchedValue[DesiredState], *, online: bool) -> None:
    await desired_state.wait_part_changed(lambda state: state.link.online, not online)
