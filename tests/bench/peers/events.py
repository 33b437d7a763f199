"""Events per second that the `eventsourcing` package stores in SQLite: FILE SAVES EVENTS.

The same number of saves goes before: a new file grows, which takes longer.
"""

import os
import sys
import time
from typing import Any

file, saves, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ.update(PERSISTENCE_MODULE="eventsourcing.sqlite", SQLITE_DBNAME=file)

from eventsourcing.application import Application  # type: ignore[import-not-found]  # noqa: E402
from eventsourcing.domain import Aggregate, event  # type: ignore[import-not-found]  # noqa: E402


class Transaction(Aggregate):  # type: ignore[misc]
    """The readings of one EVSE."""

    def __init__(self) -> None:
        self.energy_wh = ""

    @event("MeterRead")  # type: ignore[untyped-decorator]
    def read_meter(self, evse_id: int, energy_wh: str, voltage_v: str, current_a: str) -> None:
        """Store a reading."""
        self.energy_wh = energy_wh


def time_saves(application: Any, transaction: Transaction) -> float:
    """Seconds for all saves."""
    began = time.perf_counter()
    for number in range(saves):
        for index in range(count):
            transaction.read_meter(1, f"{number * count + index}.600", "400.1", "125.0")
        application.save(transaction)
    return time.perf_counter() - began


application = Application()
transaction = Transaction()
application.save(transaction)
time_saves(application, transaction)
print(saves * count / time_saves(application, transaction))
