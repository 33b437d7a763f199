"""Self-test of the insulation monitor, before its readings are relied on.

    NEEDED ──▶ ORDERED ──▶ RUNNING ──▶ PASSED ──▶ NEEDED (after `PASS_VALID_S`, when idle)
       ▲                       │
       └── failed, or monitor started again

A test is ordered when an EV is plugged in or may charge, before any voltage is on the output. A
failed test is repeated after `RETEST_DELAY_S`.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from drivers.ports import InsulationMonitor, InsulationReading

DEVICE_ERROR: Final = 2  # alarm code that means a failed test
PASS_VALID_S: Final = 600.0  # a passed test
RETEST_DELAY_S: Final = 1.0  # after a failed one


class Stage(Enum):
    """Stage of the self-test."""

    NEEDED = "needed"
    ORDERED = "ordered"
    RUNNING = "running"
    PASSED = "passed"


class InsulationSelfTest:
    """Self-tests of one monitor.

    Attributes:
        last_failed: the last test failed.
        failure_count: failed tests since energy last flowed.
    """

    def __init__(self, monitor: InsulationMonitor, now: float) -> None:
        self.last_failed = False
        self.failure_count = 0
        self._monitor = monitor
        self._stage = Stage.NEEDED
        self._ended_at = now

    @property
    def has_passed(self) -> bool:
        return self._stage is Stage.PASSED

    def on_insulation_report(self, report: InsulationReading, now: float) -> None:
        """Follow the test. Reports before it has begun are no result."""
        if report.self_test_running and self._stage is Stage.ORDERED:
            self._stage = Stage.RUNNING
        elif not report.self_test_running and self._stage is Stage.RUNNING:
            self.last_failed = report.alarm == DEVICE_ERROR
            self.failure_count += self.last_failed
            self._stage = Stage.NEEDED if self.last_failed else Stage.PASSED
            self._ended_at = now

    def start_if_due(self, *, needed: bool, idle: bool, now: float) -> None:
        """Order a test where one is due.

        Args:
            needed: an EV is plugged in or may charge.
            idle: no session relies on the last test.
            now: by the `AwakeClock`.
        """
        age_s = now - self._ended_at
        if self.has_passed and idle and age_s > PASS_VALID_S:
            self._stage = Stage.NEEDED
        if self._stage is not Stage.NEEDED:
            return
        if age_s > RETEST_DELAY_S if self.last_failed else needed:
            self._stage = Stage.ORDERED
            self._monitor.start_self_test()

    def on_monitor_restart(self) -> None:
        """The monitor was set up again: a test in progress is lost, a passed one is void."""
        self._stage = Stage.NEEDED
