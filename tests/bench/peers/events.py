"""Events per second that the `eventsourcing` package stores in SQLite: FILE SAVES EVENTS."""

import os
import sys
import time

file, saves, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ.update(PERSISTENCE_MODULE="eventsourcing.sqlite", SQLITE_DBNAME=file)

from eventsourcing.application import Application  # type: ignore[import-not-found]  # noqa: E402
from eventsourcing.domain import Aggregate, event  # type: ignore[import-not-found]  # noqa: E402


class Transaction(Aggregate):  # type: ignore[misc]
    """What one EVSE did."""

    def __init__(self) -> None:
        self.energy_wh = ""

    @event("MeterRead")  # type: ignore[untyped-decorator]
    def read(self, evse_id: int, energy_wh: str, voltage_v: str, current_a: str) -> None:
        """A reading."""
        self.energy_wh = energy_wh


application = Application()
transaction = Transaction()
application.save(transaction)
began = time.perf_counter()
for number in range(saves):
    for each in range(count):
        transaction.read(1, f"{number * count + each}.600", "400.1", "125.0")
    application.save(transaction)
print(saves * count / (time.perf_counter() - began))
