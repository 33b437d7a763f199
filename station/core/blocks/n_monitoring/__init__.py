"""Variable monitoring. Block N, N02 to N08.

| module | has |
|---|---|
| `active_monitors.py` | the monitors that exist now, of the product and of the CSMS |
| `configuration.py` | Set- and ClearVariableMonitoring, SetMonitoringBase, SetMonitoringLevel |
| `reports.py` | GetMonitoringReport, NotifyMonitoringReport |
| `evaluation.py` | which monitors a value triggers, and why replay is exact |
| `events.py` | evaluation after an entry, NotifyEvent, deadlines |
| `support.py` | whether the product has monitoring, limits of messages |

What was set and what was reported last is kept by the projection `monitors`; values of devices that
are not in other entries by `measured_values`. Rows `[[monitor]]` of a profile are the monitors of a
product (`station/core/device_model/monitors.py`).
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from journal.projections.monitors import (
    MonitorCleared,
    MonitoringBaseSet,
    MonitoringLevelSet,
    MonitorSet,
    MonitorsStarted,
    MonitorsTriggered,
)
from station.core.blocks.n_monitoring.configuration import (
    clear_variable_monitoring,
    set_monitoring_base,
    set_monitoring_level,
    set_variable_monitoring,
)
from station.core.blocks.n_monitoring.events import (
    next_monitor_due_ms,
    remove_unknown_monitors,
    report_monitored_changes,
)
from station.core.blocks.n_monitoring.reports import get_monitoring_report
from station.core.context import CallHandler, Deadline, Rule
from station.core.reasons import Reason, Reasons, ReasonTable, Refusals

CALLS: Final[dict[str, CallHandler]] = {
    "SetVariableMonitoring": set_variable_monitoring,
    "ClearVariableMonitoring": clear_variable_monitoring,
    "SetMonitoringBase": set_monitoring_base,
    "SetMonitoringLevel": set_monitoring_level,
    "GetMonitoringReport": get_monitoring_report,
}
DEADLINES: Final[tuple[Deadline, ...]] = (next_monitor_due_ms,)
RULES: Final[tuple[Rule, ...]] = (remove_unknown_monitors, report_monitored_changes)
REASONS: Final[Reasons] = {
    MonitorSet: Reason("the CSMS requested it", "N04.FR.08"),
    MonitorCleared: ReasonTable(
        {
            "Cleared": Reason("the CSMS requested it", "N06.FR.01"),
            "VariableGone": Reason("this firmware cannot monitor the variable", "N04"),
        },
        attrgetter("because"),
    ),
    MonitoringBaseSet: Reason("the CSMS requested it", "N03.FR.01"),
    MonitoringLevelSet: Reason("the CSMS requested it", "N05.FR.01"),
    MonitorsStarted: Reason(
        "the monitor is active from now on: changes are compared with this value, and intervals "
        "begin",
        "N07.FR.18",
    ),
    MonitorsTriggered: Reason(
        "a threshold was passed, a value changed by more than its monitor allows, or an interval "
        "ended",
        "N07, N08",
    ),
}
CALL_REASONS: Final = {
    "NotifyEvent": Reason("a monitor was triggered", "N07, N08"),
    "NotifyMonitoringReport": Reason("the CSMS requested the monitors", "N02.FR.03"),
}
REFUSALS: Final[Refusals] = {
    ("GetMonitoringReport", "NotFound"): "N02.FR.10",
    ("SetMonitoringLevel", "ValueOutOfRange"): "N05.FR.02",
}
