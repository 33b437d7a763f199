"""SetVariableMonitoring, ClearVariableMonitoring, SetMonitoringBase, SetMonitoringLevel.

N03 to N06. A monitor is refused with the first of these that applies: component or variable is
unknown (N04.FR.03, N04.FR.04), the variable cannot have a monitor of the type (N04.FR.05), severity
or value are out of range (N04.FR.06, N04.FR.14), the id is unknown, of another variable, or of a
hard-wired monitor (N04.FR.13, N04.FR.16, N04.FR.18), another monitor of the variable has the same
type and severity (N04.FR.10), there are `MonitoringCtrlr.Monitors` already, or all periodic
monitors together would cause more than `PERIODIC_RATE_MAX` events a second (P6).

Each monitor of a request is decided on its own, in the state that those before it left.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from journal.events import Decision
from journal.projections.monitors import (
    SEVERITY_MAX,
    Monitor,
    MonitorCleared,
    MonitoringBaseSet,
    MonitoringLevelSet,
    MonitorSet,
)
from station.core.blocks.n_monitoring.active_monitors import active_monitors, custom_monitor
from station.core.blocks.n_monitoring.support import requires_monitoring
from station.core.context import Call, Context, call_result, component_from_message, status_info
from station.core.device_model.model import Refusal, VariableDefinition
from station.core.device_model.monitors import VariableMonitor, supports_type
from station.core.report_messages import check_message_size, limits_of_message
from station.ocpp.messages.enums import SetMonitoringStatusEnumType
from station.ocpp.messages.n_diagnostics import (
    ClearMonitoringResultType,
    ClearVariableMonitoringRequest,
    ClearVariableMonitoringResponse,
    SetMonitoringBaseRequest,
    SetMonitoringBaseResponse,
    SetMonitoringDataType,
    SetMonitoringLevelRequest,
    SetMonitoringLevelResponse,
    SetMonitoringResultType,
    SetVariableMonitoringRequest,
    SetVariableMonitoringResponse,
)

SET_LIMITS: Final = limits_of_message("MonitoringCtrlr", "SetVariableMonitoring")
CLEAR_LIMITS: Final = limits_of_message("MonitoringCtrlr", "ClearVariableMonitoring")
MONITORS: Final = "MonitoringCtrlr.Monitors"
PERIODIC_RATE_MAX: Final = 1  # events a second of all periodic monitors
INTERVAL_MAX_S: Final = 31 * 86_400
VALUE_MAX: Final = 10**18  # of a threshold or delta; a bound for storage, as the next one
DIGITS_MAX: Final = 24  # of a value as text
UNSUPPORTED_REQUEST: Final = status_info("UnsupportedRequest")


class MonitorRefusal(NamedTuple):
    """Why a monitor is refused: status, reason code of Part 2 appendix 5, text for people."""

    status: SetMonitoringStatusEnumType
    reason_code: str
    text: str


# --- Set -----------------------------------------------------------------------------------------


def _refuse_every_monitor(request: SetVariableMonitoringRequest) -> SetVariableMonitoringResponse:
    return SetVariableMonitoringResponse(
        set_monitoring_result=tuple(
            SetMonitoringResultType(
                status="Rejected",
                type=item.type,
                component=item.component,
                variable=item.variable,
                severity=item.severity,
                status_info=UNSUPPORTED_REQUEST,
            )
            for item in request.set_monitoring_data
        )
    )


@requires_monitoring(_refuse_every_monitor)
def set_variable_monitoring(
    ctx: Context, call: Call, request: SetVariableMonitoringRequest
) -> Iterator[Decision]:
    """Set or replace each monitor; one result for each. N04.FR.01 to 18."""
    items = request.set_monitoring_data
    if refusal := check_message_size(ctx, call, len(items), SET_LIMITS):
        yield refusal
        return
    setting = _MonitorSetting(ctx)
    results = tuple(setting.set_monitor(item) for item in items)
    yield from setting.decisions
    yield call_result(call, SetVariableMonitoringResponse(set_monitoring_result=results))


class _MonitorSetting:
    """The monitors while those of one request are set.

    Attributes:
        decisions: of the monitors that were accepted.
    """

    def __init__(self, ctx: Context) -> None:
        self.decisions: list[Decision] = []
        self._model = ctx.product.device_model
        self._by_id = dict(active_monitors(self._model, ctx.state.monitors).by_id)
        self._custom_ids = set(ctx.state.monitors.custom)
        self._next_id = ctx.state.monitors.next_id
        self._custom_max = self._model.by_path[MONITORS].max_limit or 0

    def set_monitor(self, item: SetMonitoringDataType) -> SetMonitoringResultType:
        """Decide one monitor. N04.FR.08, N04.FR.11, N04.FR.12."""
        definition = self._model.find_variable(
            component_from_message(item.component), item.variable.name, item.variable.instance
        )
        if isinstance(definition, Refusal):
            return _result(item, _refusal_of_variable(definition))
        refusal = check_monitor(definition, item) or self._check_id(definition, item)
        refusal = refusal or self._check_others(definition, item)
        if refusal is not None:
            return _result(item, refusal)
        monitor = Monitor(
            id=self._next_id if item.id is None else item.id,
            variable=definition.path,
            type=item.type,
            value=item.value,
            severity=item.severity,
            transaction=bool(item.transaction),
        )
        self._keep(monitor)
        return _result(item, None, monitor.id)

    def _keep(self, monitor: Monitor) -> None:
        self._next_id = max(self._next_id, monitor.id + 1)
        self._custom_ids.add(monitor.id)
        active = custom_monitor(self._model, monitor)
        assert active is not None, f"{monitor.variable} was found before"
        self._by_id[monitor.id] = active
        self.decisions.append(MonitorSet(monitor))

    def _check_id(
        self, definition: VariableDefinition, item: SetMonitoringDataType
    ) -> MonitorRefusal | None:
        """N04.FR.13, N04.FR.16, N04.FR.18."""
        if item.id is None:
            return None
        existing = self._by_id.get(item.id)
        if existing is None or not existing.is_reported:
            return MonitorRefusal("Rejected", "NotFound", f"there is no monitor {item.id}")
        if existing.definition.path != definition.path:
            text = f"monitor {item.id} is of {existing.definition.path}"
            return MonitorRefusal("Rejected", "InvalidValue", text)
        if not existing.can_be_changed:
            return MonitorRefusal("Rejected", "ReadOnly", f"monitor {item.id} is hard-wired")
        return None

    def _check_others(
        self, definition: VariableDefinition, item: SetMonitoringDataType
    ) -> MonitorRefusal | None:
        """N04.FR.10, and the limits of all monitors together."""
        others = [each for each in self._by_id.values() if each.id != item.id]
        for other in others:
            if (other.definition.path, other.type, other.severity) == (
                definition.path, item.type, item.severity,
            ) and other.is_reported:  # fmt: skip
                text = f"monitor {other.id} has the same type and severity"
                return MonitorRefusal("Duplicate", "InvalidValue", text)
        if item.id not in self._custom_ids and len(self._custom_ids) >= self._custom_max:
            text = f"at most {self._custom_max} monitors"
            return MonitorRefusal("Rejected", "TooManyElements", text)
        return _check_rate(others, item)


def _refusal_of_variable(refusal: Refusal) -> MonitorRefusal:
    """N04.FR.03, N04.FR.04."""
    status: SetMonitoringStatusEnumType = (
        "UnknownComponent" if refusal.status == "UnknownComponent" else "UnknownVariable"
    )
    return MonitorRefusal(status, refusal.reason_code, refusal.info)


def check_monitor(
    definition: VariableDefinition, item: SetMonitoringDataType
) -> MonitorRefusal | None:
    """Why a variable cannot have this monitor, whatever others there are; None: it can."""
    if not supports_type(definition, item.type):  # N04.FR.05
        text = f"{definition.path} cannot have a monitor of type {item.type}"
        return MonitorRefusal("UnsupportedMonitorType", "UnsupportedParam", text)
    if not 0 <= item.severity <= SEVERITY_MAX:
        return _out_of_range(f"severity is 0 to {SEVERITY_MAX}")
    if abs(item.value) > VALUE_MAX or len(str(item.value)) > DIGITS_MAX:
        return _out_of_range(f"the value has more than {DIGITS_MAX} digits")
    if item.type == "Delta":
        return _out_of_range("a delta is not negative") if item.value < 0 else None  # N04.FR.14
    if item.type in ("Periodic", "PeriodicClockAligned"):
        return _check_interval(item.value)
    return _check_threshold(definition, item.value)


def _check_threshold(definition: VariableDefinition, value: Decimal) -> MonitorRefusal | None:
    """N04.FR.06 with errata 2.61: within minLimit and maxLimit."""
    least, most = definition.min_limit, definition.max_limit
    if (least is not None and value < least) or (most is not None and value > most):
        return _out_of_range(f"{definition.path} is {least} to {most}")
    return None


def _check_interval(value: Decimal) -> MonitorRefusal | None:
    if value != int(value) or not 1 <= value <= INTERVAL_MAX_S:
        return _out_of_range(f"an interval is 1 to {INTERVAL_MAX_S} whole seconds")
    return None


def _check_rate(
    others: list[VariableMonitor], item: SetMonitoringDataType
) -> MonitorRefusal | None:
    """Whether all periodic monitors together stay within PERIODIC_RATE_MAX."""
    if item.type not in ("Periodic", "PeriodicClockAligned"):
        return None
    rate = 1 / item.value + sum(1 / each.value for each in others if each.is_periodic)
    if rate > PERIODIC_RATE_MAX:
        text = f"all periodic monitors together cause at most {PERIODIC_RATE_MAX} event a second"
        return MonitorRefusal("Rejected", "TooManyElements", text)
    return None


def _out_of_range(text: str) -> MonitorRefusal:
    return MonitorRefusal("Rejected", "ValueOutOfRange", text)


def _result(
    item: SetMonitoringDataType, refusal: MonitorRefusal | None, monitor_id: int | None = None
) -> SetMonitoringResultType:
    """The result of one monitor. N04.FR.02."""
    return SetMonitoringResultType(
        status=refusal.status if refusal else "Accepted",
        type=item.type,
        component=item.component,
        variable=item.variable,
        severity=item.severity,
        id=monitor_id,
        status_info=status_info(refusal.reason_code, refusal.text) if refusal else None,
    )


# --- Clear ---------------------------------------------------------------------------------------


def _find_no_monitor(request: ClearVariableMonitoringRequest) -> ClearVariableMonitoringResponse:
    return ClearVariableMonitoringResponse(
        clear_monitoring_result=tuple(
            ClearMonitoringResultType(status="NotFound", id=monitor_id) for monitor_id in request.id
        )
    )


@requires_monitoring(_find_no_monitor)
def clear_variable_monitoring(
    ctx: Context, call: Call, request: ClearVariableMonitoringRequest
) -> Iterator[Decision]:
    """Remove each monitor; one result for each. N06.FR.01 to 07."""
    if refusal := check_message_size(ctx, call, len(request.id), CLEAR_LIMITS):
        yield refusal
        return
    by_id = dict(active_monitors(ctx.product.device_model, ctx.state.monitors).by_id)
    results = []
    for monitor_id in request.id:
        monitor = by_id.get(monitor_id)
        if monitor is None or not monitor.is_reported:
            results.append(
                ClearMonitoringResultType(  # N06.FR.02
                    status="NotFound", id=monitor_id, status_info=status_info("NotFound")
                )
            )
        elif not monitor.can_be_changed:
            results.append(
                ClearMonitoringResultType(  # N06.FR.03
                    status="Rejected",
                    id=monitor_id,
                    status_info=status_info("ReadOnly", "the monitor is hard-wired"),
                )
            )
        else:
            del by_id[monitor_id]
            yield MonitorCleared(monitor_id, "Cleared")
            results.append(ClearMonitoringResultType(status="Accepted", id=monitor_id))
    yield call_result(call, ClearVariableMonitoringResponse(clear_monitoring_result=tuple(results)))


# --- Base and level ------------------------------------------------------------------------------


@requires_monitoring(
    lambda _: SetMonitoringBaseResponse(status="NotSupported", status_info=UNSUPPORTED_REQUEST)
)
def set_monitoring_base(
    ctx: Context, call: Call, request: SetMonitoringBaseRequest
) -> Iterator[Decision]:
    """Select a set of monitors of the product. N03.FR.01 to 05."""
    yield MonitoringBaseSet(request.monitoring_base)
    yield call_result(call, SetMonitoringBaseResponse(status="Accepted"))


@requires_monitoring(
    lambda _: SetMonitoringLevelResponse(status="Rejected", status_info=UNSUPPORTED_REQUEST)
)
def set_monitoring_level(
    ctx: Context, call: Call, request: SetMonitoringLevelRequest
) -> Iterator[Decision]:
    """Set the greatest severity number of events that are sent. N05.FR.01 to 03."""
    if not 0 <= request.severity <= SEVERITY_MAX:
        reason = status_info("ValueOutOfRange", f"0 to {SEVERITY_MAX}")
        yield call_result(call, SetMonitoringLevelResponse(status="Rejected", status_info=reason))
        return
    yield MonitoringLevelSet(request.severity)
    yield call_result(call, SetMonitoringLevelResponse(status="Accepted"))
