"""Metrics for Prometheus: names, units and labels as its conventions have them.

Everything comes from the newest `live` response, the files of the data directory and /proc. Nothing
is counted here, so a restart of the page changes no value. Without a station only `station_up` and
what the disk shows are given.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
STATUSES: Final = ("Available", "Occupied", "Reserved", "Unavailable", "Faulted")
REGISTRATIONS: Final = ("Accepted", "Pending", "Rejected", "Unknown")
JOULES_PER_WH: Final = 3600
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

JsonObject = dict[str, Any]


def render_metrics(
    live: JsonObject | None, data_directory: Path, station_pid: int | None, oldest_s: float | None
) -> bytes:
    """The text for Prometheus.

    Args:
        live: the response of the station; None: it does not answer.
        data_directory: of the station.
        station_pid: its process, if known.
        oldest_s: age of the oldest message that waits, if one does.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StationCollector(live, data_directory, station_pid, oldest_s))
    return generate_latest(registry)


def read_resident_bytes(pid: int) -> int | None:
    """Resident memory of a process; None: it cannot be read."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except OSError:
        return None
    return int(fields[1]) * PAGE_BYTES


class _StationCollector(Collector):
    def __init__(
        self,
        live: JsonObject | None,
        data_directory: Path,
        station_pid: int | None,
        oldest_s: float | None,
    ) -> None:
        self._live = live
        self._data_directory = data_directory
        self._station_pid = station_pid
        self._oldest_s = oldest_s

    def collect(self) -> Iterable[Metric]:
        yield _gauge("station_up", "Whether the station answers.", self._live is not None)
        yield from self._disk()
        if self._live is None:
            return
        live = self._live
        info = GaugeMetricFamily(
            "station_info", "Identity of the station.", labels=("identity", "release", "profile")
        )
        info.add_metric([live["identity"], live["release"], live["profile"]], 1)
        yield info
        yield _gauge("station_running_seconds", "Time since the start.", live["running_s"])
        yield from _csms(live)
        yield from _evses(live)
        yield from _faults(live)
        yield from self._outbox(live)
        yield from _loop(live)
        yield from _certificates(live)
        clock = live["clock"]
        yield _gauge(
            "station_clock_synchronized", "Whether the CSMS set the clock.", clock["synchronized"]
        )
        yield _gauge(
            "station_clock_offset_seconds",
            "The station's clock minus the host's.",
            clock["offset_ms"] / 1000,
        )
        yield _gauge(
            "station_safe_mode",
            "Whether a part of the configuration is left out.",
            bool(live["safe_mode"]),
        )
        yield _gauge(
            "station_journal_damages", "Damages of the journal found so far.", len(live["damage"])
        )
        yield _counter("station_journal_entries", "Entries of the journal.", live["journal"]["seq"])
        resident = read_resident_bytes(self._station_pid) if self._station_pid else None
        if resident is not None:
            yield _gauge(
                "station_resident_memory_bytes", "Resident memory of the station.", resident
            )

    def _disk(self) -> Iterator[Metric]:
        size = 0
        for path in self._data_directory.glob("journal*"):
            try:
                size += path.stat().st_size if path.is_file() else 0
            except OSError:
                continue
        yield _gauge("station_journal_size_bytes", "Journal, its log and its archive.", size)
        try:
            disk = os.statvfs(self._data_directory)
        except OSError:
            return
        yield _gauge(
            "station_disk_free_bytes",
            "Free on the disk of the data directory.",
            disk.f_bavail * disk.f_frsize,
        )

    def _outbox(self, live: JsonObject) -> Iterator[Metric]:
        outbox = live["outbox"]
        yield _gauge(
            "station_outbox_messages", "Messages that wait for the CSMS.", outbox["waiting"]
        )
        yield _gauge(
            "station_outbox_parked_messages",
            "Messages after their last failed attempt.",
            outbox["parked_count"],
        )
        yield _gauge(
            "station_outbox_oldest_seconds",
            "Age of the oldest TransactionEvent.",
            self._oldest_s or 0,
        )


def _csms(live: JsonObject) -> Iterator[Metric]:
    link = live["link"]
    yield _gauge("station_csms_connected", "Whether the WebSocket is open.", link["online"])
    yield _gauge(
        "station_csms_state_seconds", "Time since the link went up or down.", link["since_s"]
    )
    yield _gauge(
        "station_csms_failed_attempts",
        "Failed attempts to connect since the last one.",
        link["failed_attempts"],
    )
    yield _states(
        "station_registration",
        "BootNotification status.",
        (),
        REGISTRATIONS,
        [((), link["registration"])],
    )


def _evses(live: JsonObject) -> Iterator[Metric]:
    evses = live["evses"]
    labels = ("evse",)
    names = [((str(evse["evse_id"]),), evse) for evse in evses]
    yield _states(
        "station_evse_status",
        "Status that the CSMS receives.",
        labels,
        STATUSES,
        [(name, evse["status"]) for name, evse in names],
    )
    for metric, meaning, key, factor in (
        ("station_evse_power_watts", "Power to the EV.", "power_w", 1),
        ("station_evse_limit_watts", "What limits the power of the EVSE.", "limit_w", 1),
        ("station_evse_state_of_charge_ratio", "State of charge of the EV.", "soc", 0.01),
    ):
        family = GaugeMetricFamily(metric, meaning, labels=labels)
        for name, evse in names:
            if evse[key] is not None:
                family.add_metric(name, evse[key] * factor)
        yield family
    energy = CounterMetricFamily(
        "station_evse_energy_joules", "Register of the meter.", labels=labels
    )
    transactions = GaugeMetricFamily(
        "station_evse_transaction", "Whether a transaction is open.", labels=labels
    )
    for name, evse in names:
        if evse["energy_wh"] is not None:
            energy.add_metric(name, evse["energy_wh"] * JOULES_PER_WH)
        transactions.add_metric(name, evse["transaction"] is not None)
    yield energy
    yield transactions


def _faults(live: JsonObject) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "station_fault_active",
        "Active faults; evse 0 is the whole station.",
        labels=("evse", "device", "fault", "blocks_charging", "latched"),
    )
    for fault in live["faults"]:
        flags = ("true" if fault[name] else "false" for name in ("blocks_charging", "latched"))
        family.add_metric([str(fault["evse_id"]), fault["device"], fault["fault"], *flags], 1)
    yield family


def _loop(live: JsonObject) -> Iterator[Metric]:
    loop = live["loop"]
    yield _counter("station_commits", "Commits of this run.", loop["commits"])
    yield _counter(
        "station_commit_duration_seconds",
        "Time spent in commits in this run.",
        loop["commit_total_s"],
    )
    yield _gauge(
        "station_commit_duration_max_seconds",
        "The longest commit of the last minute.",
        loop["commit_max_s"],
    )
    yield _gauge(
        "station_control_loop_lag_max_seconds",
        "How late a round of the control loop ended at most in the last minute.",
        loop["round_lag_max_s"],
    )


def _certificates(live: JsonObject) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "station_certificate_expiry_timestamp_seconds",
        "End of validity.",
        labels=("use", "subject", "sha256"),
    )
    for certificate in live["certificates"]:
        end = datetime.fromisoformat(certificate["not_after"])
        end = end if end.tzinfo else end.replace(tzinfo=UTC)
        family.add_metric(
            [certificate["use"], certificate["subject"], certificate["sha256"][:16]],
            end.timestamp(),
        )
    yield family


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(name, meaning, value=value)


def _states(
    name: str,
    meaning: str,
    labels: tuple[str, ...],
    states: tuple[str, ...],
    present: list[tuple[tuple[str, ...], str]],
) -> Metric:
    """One series for each state, 1 for the present one."""
    family = GaugeMetricFamily(name, meaning, labels=(*labels, "status"))
    for values, state in present:
        for each in states:
            family.add_metric([*values, each], each == state)
    return family
