"""Mutants of variable monitoring; the certified product does not have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.conformance.octt.mutants.fault import (
    Mutant,
    Patch,
    patch_response,
    remove_rule,
    replace_attribute,
    replace_handler,
)

PRODUCT = "development"


def _evaluation(name: str, make: Callable[[Any], Any]) -> Patch:
    def patch() -> None:
        from station.core.blocks.n_monitoring import evaluation

        replace_attribute(evaluation, name, make)

    return patch


def _configuration(name: str, make: Callable[[Any], Any]) -> Patch:
    def patch() -> None:
        from station.core.blocks.n_monitoring import configuration

        replace_attribute(configuration, name, make)

    return patch


def _setting(name: str) -> Patch:
    """Leave out a check of `_MonitorSetting`."""

    def patch() -> None:
        from station.core.blocks.n_monitoring import configuration

        replace_attribute(configuration._MonitorSetting, name, lambda _: lambda *args: None)

    return patch


def _lose_custom_monitors() -> None:
    """Monitors are accepted, and are never active."""
    from station.core.blocks.n_monitoring import active_monitors

    replace_attribute(active_monitors, "_build_table", _without_custom)


def _without_custom(original: Any) -> Any:
    from msgspec.structs import replace

    from journal.immutable import ImmutableMap

    return lambda model, monitors: original(model, replace(monitors, custom=ImmutableMap()))


def _lose_monitors_at_a_start() -> None:
    from journal.observations import StationStarted
    from journal.projections.monitors import MonitorCleared
    from tests.conformance.octt.mutants.fault import replace_rule

    def lose(ctx: Any) -> Iterator[Any]:
        if isinstance(ctx.entry.event, StationStarted):
            for monitor_id in ctx.state.monitors.custom:
                yield MonitorCleared(monitor_id, "VariableGone")

    replace_rule("events.remove_unknown_monitors", lose)()


def _ignore_request(**defaults: Any) -> Patch:
    """GetMonitoringReport ignores fields of its request."""

    def patch() -> None:
        from msgspec.structs import replace

        from station.core import decide

        def make(original: Any) -> Any:
            return lambda ctx, call, request: original(ctx, call, replace(request, **defaults))

        replace_handler(decide.CALLS, "GetMonitoringReport", make)

    return patch


def _keep_monitors_with_a_base() -> None:
    """SetMonitoringBase removes no custom monitor."""
    from msgspec.structs import replace

    from journal.projections.monitors import Monitors

    replace_attribute(
        Monitors,
        "_on_base",
        lambda _: lambda self, entry, base: replace(self, base=base, changed_seq=entry.seq),
    )


def _ignore_changed_thresholds() -> None:
    """A replaced monitor keeps its old value."""
    from journal.projections.monitors import Monitors

    def make(original: Any) -> Any:
        def on_set(self: Any, entry: Any, monitor: Any) -> Any:
            old = self.custom.get(monitor.id)
            if old is None:
                return original(self, entry, monitor)
            return original(self, entry, old)

        return on_set

    replace_attribute(Monitors, "_on_set", make)


def _keep_cleared_monitors() -> None:
    from journal.projections.monitors import Monitors

    replace_attribute(Monitors, "_on_cleared", lambda _: lambda self, entry, monitor_id: self)


def _read_write_only_value() -> None:
    """The reference of a secret is sent as actualValue."""
    from station.core.device_model.definitions import VariableDefinition

    replace_attribute(VariableDefinition, "is_write_only", lambda _: property(lambda self: False))


def _accept_every_monitor() -> None:
    """SetVariableMonitoring accepts everything with the same id and does nothing."""
    from station.core import decide
    from station.core.context import call_result
    from station.ocpp.messages.n_diagnostics import (
        SetMonitoringResultType,
        SetVariableMonitoringResponse,
    )

    def handler(ctx: Any, call: Any, request: Any) -> Iterator[Any]:
        results = tuple(
            SetMonitoringResultType(
                status="Accepted",
                type=item.type,
                component=item.component,
                variable=item.variable,
                severity=item.severity,
                id=1,
            )
            for item in request.set_monitoring_data
        )
        yield call_result(call, SetVariableMonitoringResponse(set_monitoring_result=results))

    replace_handler(decide.CALLS, "SetVariableMonitoring", lambda _: handler)


def _accept_every_clear() -> None:
    """ClearVariableMonitoring accepts every id and does nothing."""
    from station.core import decide
    from station.core.context import call_result
    from station.ocpp.messages.n_diagnostics import (
        ClearMonitoringResultType,
        ClearVariableMonitoringResponse,
    )

    def handler(ctx: Any, call: Any, request: Any) -> Iterator[Any]:
        results = tuple(
            ClearMonitoringResultType(status="Accepted", id=each) for each in request.id
        )
        yield call_result(call, ClearVariableMonitoringResponse(clear_monitoring_result=results))

    replace_handler(decide.CALLS, "ClearVariableMonitoring", lambda _: handler)


def _no_origin() -> None:
    """Notifications are sent as events of hard-wired monitors."""
    from msgspec.structs import replace

    from station.core.blocks.n_monitoring import events

    def make(original: Any) -> Any:
        def event_data(*args: Any) -> Any:
            return replace(original(*args), event_notification_type="HardWiredMonitor")

        return event_data

    replace_attribute(events, "_event_data", make)


MUTANTS: Mapping[str, Mutant] = {
    "monitor-lost": Mutant(
        _lose_custom_monitors,
        (
            "TC_N_01_CS",
            "TC_N_02_CS",
            "TC_N_03_CS",
            "TC_N_06_CS",
            "TC_N_08_CS",
            "TC_N_09_CS",
            "TC_N_18_CS",
            "TC_N_47_CS",
        ),
        "monitors are accepted and never active",
        PRODUCT,
    ),
    "monitor-events": Mutant(
        remove_rule("events.report_monitored_changes"),
        (
            "TC_N_20_CS",
            "TC_N_21_CS",
            "TC_N_22_CS",
            "TC_N_23_CS",
            "TC_N_24_CS",
            "TC_N_45_CS",
            "TC_N_48_CS",
            "TC_N_52_CS",
            "TC_N_56_CS",
        ),
        "no monitor is ever triggered",
        PRODUCT,
    ),
    "monitor-criteria": Mutant(
        _ignore_request(monitoring_criteria=None),
        ("TC_N_01_CS", "TC_N_03_CS"),
        "GetMonitoringReport ignores monitoringCriteria",
        PRODUCT,
    ),
    "monitor-places": Mutant(
        _ignore_request(component_variable=None),
        ("TC_N_02_CS", "TC_N_06_CS", "TC_N_18_CS"),
        "GetMonitoringReport ignores componentVariable",
        PRODUCT,
    ),
    "monitor-base": Mutant(
        patch_response("SetMonitoringBase", "Accepted"),
        ("TC_N_05_CS", "TC_N_06_CS", "TC_N_41_CS"),
        "SetMonitoringBase is accepted and not performed",
        PRODUCT,
    ),
    "monitor-base-custom": Mutant(
        _keep_monitors_with_a_base,
        ("TC_N_06_CS", "TC_N_41_CS"),
        "SetMonitoringBase removes no custom monitor",
        PRODUCT,
    ),
    "monitor-level": Mutant(
        patch_response("SetMonitoringLevel", "Accepted"),
        ("TC_N_16_CS", "TC_N_17_CS"),
        "SetMonitoringLevel is always accepted and not performed",
        PRODUCT,
    ),
    "monitor-range": Mutant(
        _configuration("check_monitor", lambda _: lambda *args: None),
        ("TC_N_12_CS", "TC_N_13_CS", "TC_N_43_CS"),
        "values of monitors are not checked",
        PRODUCT,
    ),
    "monitor-duplicate": Mutant(
        _setting("_check_others"), ("TC_N_15_CS",), "duplicate monitors are accepted", PRODUCT
    ),
    "monitor-id": Mutant(
        _setting("_check_id"),
        ("TC_N_39_CS",),
        "a monitor is replaced by one of another variable",
        PRODUCT,
    ),
    "monitor-unknown": Mutant(
        _accept_every_monitor,
        ("TC_N_10_CS", "TC_N_11_CS", "TC_N_37_CS"),
        "SetVariableMonitoring accepts everything, with one id",
        PRODUCT,
    ),
    "monitor-replaced": Mutant(
        _ignore_changed_thresholds,
        ("TC_N_40_CS", "TC_N_51_CS"),
        "a monitor with a known id is accepted and not replaced",
        PRODUCT,
    ),
    "monitor-cleared": Mutant(
        _keep_cleared_monitors,
        ("TC_N_18_CS", "TC_N_52_CS"),
        "ClearVariableMonitoring is accepted and not performed",
        PRODUCT,
    ),
    "monitor-clear-any": Mutant(
        _accept_every_clear,
        ("TC_N_19_CS", "TC_N_44_CS"),
        "every monitor can be cleared",
        PRODUCT,
    ),
    "monitor-lost-at-start": Mutant(
        _lose_monitors_at_a_start,
        ("TC_N_53_CS",),
        "monitors are lost with a restart",
        PRODUCT,
    ),
    "monitor-secret": Mutant(
        _read_write_only_value,
        ("TC_N_48_CS",),
        "an event has the value of a write-only variable",
        PRODUCT,
    ),
    "monitor-notification": Mutant(
        _no_origin,
        ("TC_N_20_CS", "TC_N_21_CS"),
        "every event is one of a hard-wired monitor",
        PRODUCT,
    ),
    "monitor-offline": Mutant(
        _evaluation("OFFLINE_SEVERITY", lambda _: "MonitoringCtrlr.Nothing"),
        ("TC_N_22_CS",),
        "no event is queued while offline",
        PRODUCT,
    ),
}
