"""Smart charging. Block K.

| module | has |
|---|---|
| `schedule.py` | how limits combine over time: limit in force, composite schedule |
| `limits.py` | which limits apply to an EVSE and to the station, from the state |
| `profile_checks.py` | every check of a profile before it is installed |
| `charging_profiles.py` | SetChargingProfile, ClearChargingProfile, the end of TxProfiles |
| `reports.py` | GetChargingProfiles, ReportChargingProfiles |
| `composite_schedules.py` | GetCompositeSchedule |
| `external_limits.py` | NotifyChargingLimit, ClearedChargingLimit |

Profiles are kept by the projection `charging_profiles`, limits of other sources by
`external_limits`. K15 to K17, schedules negotiated with the EV, are not in this package: the EV of
this product does not negotiate one, so a profile has one schedule (K01.FR.34).
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from journal.projections.charging_profiles import ChargingProfileInstalled, ChargingProfileRemoved
from journal.projections.external_limits import ExternalLimitNotified
from station.core.blocks.k_smart_charging.charging_profiles import (
    clear_charging_profile,
    end_transaction_profiles,
    set_charging_profile,
)
from station.core.blocks.k_smart_charging.composite_schedules import get_composite_schedule
from station.core.blocks.k_smart_charging.external_limits import (
    next_external_border_ms,
    notify_external_limits,
)
from station.core.blocks.k_smart_charging.reports import get_charging_profiles
from station.core.context import CallHandler, Deadline, Rule
from station.core.reasons import Reason, Reasons, ReasonTable

CALLS: Final[dict[str, CallHandler]] = {
    "SetChargingProfile": set_charging_profile,
    "GetChargingProfiles": get_charging_profiles,
    "ClearChargingProfile": clear_charging_profile,
    "GetCompositeSchedule": get_composite_schedule,
}
DEADLINES: Final[tuple[Deadline, ...]] = (next_external_border_ms,)
REASONS: Final[Reasons] = {
    ChargingProfileInstalled: Reason("the CSMS sent it", "K01.FR.05, K05.FR.03"),
    ChargingProfileRemoved: ReasonTable(
        {
            "cleared": Reason("the CSMS requested it", "K10.FR.03, K10.FR.04"),
            "not_started": Reason(
                "the RequestStartTransaction that it came with led to no transaction", "K02.FR.05"
            ),
            "transaction_ended": Reason("its transaction has ended", "K02.FR.05"),
        },
        attrgetter("reason"),
    ),
    ExternalLimitNotified: Reason(
        "an external limit began, changed or ended", "K11.FR.02, K12.FR.02, K13.FR.02"
    ),
}
CALL_REASONS: Final = {
    "ReportChargingProfiles": Reason("the CSMS requested the charging profiles", "K09.FR.01"),
    "NotifyChargingLimit": Reason("an external limit changed", "K11.FR.02, K12.FR.02"),
    "ClearedChargingLimit": Reason("an external limit no longer applies", "K13.FR.02"),
}
RULES: Final[tuple[Rule, ...]] = (end_transaction_profiles, notify_external_limits)
