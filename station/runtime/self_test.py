"""May the insulation monitor be relied on?"""

from __future__ import annotations

from enum import Enum
from typing import Final

from drivers.insulation.bender_isocha425hv import BenderIsoCha425hv
from drivers.ports import Insulation

DEVICE_ERROR: Final = 2  # a failed test's only verdict
COUNTS_S: Final = 600.0  # a passed test
RETEST_S: Final = 1.0  # after a failed one


class Stage(Enum):
    NEEDED = "needed"
    ORDERED = "ordered"
    RUNS = "runs"
    PASSED = "passed"


class SelfTest:
    """The monitor's self-test, done when an EV comes or may come, before any voltage is on.

    Attributes:
        failed: the last one did.
        failures: how many did since energy last flowed.
    """

    def __init__(self, monitor: BenderIsoCha425hv, now: float) -> None:
        self.failed = False
        self.failures = 0
        self._monitor = monitor
        self._stage = Stage.NEEDED
        self._ended_at = now

    @property
    def passed(self) -> bool:
        return self._stage is Stage.PASSED

    def hear(self, report: Insulation, now: float) -> None:
        """What the monitor says before the test begins is no verdict."""
        if report.testing and self._stage is Stage.ORDERED:
            self._stage = Stage.RUNS
        elif not report.testing and self._stage is Stage.RUNS:
            self.failed = report.alarm == DEVICE_ERROR
            self.failures += self.failed
            self._stage = Stage.NEEDED if self.failed else Stage.PASSED
            self._ended_at = now

    def see_to(self, *, needed: bool, idle: bool, now: float) -> None:
        """Order a test where one is due.

        Args:
            needed: an EV is there, or somebody may charge.
            idle: no session relies on the last one.
            now: by the `AwakeClock`.
        """
        age_s = now - self._ended_at
        if self.passed and idle and age_s > COUNTS_S:
            self._stage = Stage.NEEDED
        if self._stage is not Stage.NEEDED:
            return
        if age_s > RETEST_S if self.failed else needed:
            self._stage = Stage.ORDERED
            self._monitor.start_self_test()

    def forget(self) -> None:
        """The monitor began anew; what it was testing is lost."""
        self._stage = Stage.NEEDED
