"""What holds for every test: the mark `slow`, groups for parallel runs, the signals of children.

`pytest -m "not slow"` is the first answer, `make test` the whole suite on all cores. A test is slow
when it runs a program or works for about a second or more; `SLOW` names it by folder, file or
function, so that a new end-to-end test needs no mark. `test_marks.py` checks that each exists.

`make test` runs with `-n 4`: each test goes to any worker, except that tests of one group stay in
one worker. `TOGETHER` are files whose tests share a fixture that takes seconds to make. Each file
is a group. `IN_REAL_TIME` are tests of devices in real time; they are one group, so that they do
not slow each other down. `ALONE` are tests that measure times, with the mark `alone`: they run
after the others, one at a time.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# Hypothesis measures real time; a busy machine is no fault of a test.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

SLOW: Final = (
    "tests/bench",
    "tests/commands/demo/test_demo.py",
    "tests/commands/test_cli.py::test_bash_completes_verbs_options_and_values",
    "tests/commands/test_cli.py::test_output_to_a_full_disk_is_one_line",
    "tests/commands/test_emulate.py",
    "tests/commands/test_page.py",
    "tests/commands/test_export.py::test_any_byte_of_any_file_that_is_changed_is_located",
    "tests/commands/test_probe.py",
    "tests/commands/test_regression.py::test_pytest_runs_the_files_in_another_directory",
    "tests/commands/test_report.py::test_archived_entries_give_the_same_page",
    "tests/commands/test_export_verifier.py",
    "tests/commands/test_witness.py",
    "tests/conformance/octt/test_sample.py",
    "tests/core/blocks/k_smart_charging/test_hostile_profiles.py",
    "tests/core/blocks/k_smart_charging/test_schedule_properties.py",
    "tests/core/blocks/n_monitoring/test_events.py::test_all_monitors_together_are_bounded_and_the_severe_go_first",
    "tests/core/test_decide.py::TestWorld",
    "tests/durability/test_bytes_per_day.py",
    "tests/core/test_floods.py",
    "tests/data_lake",
    "tests/drivers/emulators/test_orders.py::test_any_line_is_answered",
    "tests/drivers/emulators/test_process.py",
    "tests/drivers/emulators/test_station.py",
    "tests/durability/damage/test_archived.py",
    "tests/durability/damage/test_audit.py",
    "tests/durability/damage/test_bad_sectors.py",
    "tests/durability/damage/test_damage.py",
    "tests/durability/fuzz",
    "tests/durability/powercut",
    "tests/e2e",
    "tests/ground_truth",
    "tests/history/report/test_simulated_worlds.py",
    "tests/journal/maintenance/test_verify.py::test_a_flipped_bit_is_found_or_changes_nothing",
    "tests/journal/storage/test_archive.py",
    "tests/journal/storage/test_quarantine.py",
    "tests/ocpp/messages/test_round_trip.py",
    "tests/packaging/test_environment.py::test_a_clone_is_linked_into_its_environment",
    "tests/page/test_app.py",
    "tests/page/test_browser.py",
    "tests/runtime/hardware/test_autocharge.py",
    "tests/runtime/hardware/test_evse_counts.py",
    "tests/runtime/hardware/test_hardware.py",
    "tests/runtime/hardware/test_own_pauses.py",
    "tests/runtime/hardware/test_power_budget.py",
    "tests/runtime/hardware/test_power_path.py",
    "tests/runtime/hardware/test_protections.py",
    "tests/runtime/jobs/test_bus_traces.py::test_a_directory_that_cannot_be_made_is_a_reason",
    "tests/runtime/jobs/test_bus_traces.py::test_a_program_that_fails_is_a_reason",
    "tests/runtime/jobs/test_bus_traces.py::test_the_program_writes_the_trace",
    "tests/runtime/transfers/test_attempt_process.py",
    "tests/runtime/transfers/test_everywhere.py",
    "tests/simulation/experiments",
    "tests/simulation/test_display_walk.py",
    "tests/simulation/test_worlds.py",
)

ALONE: Final = (
    "tests/bench",
    "tests/core/blocks/k_smart_charging/test_schedule.py",
    "tests/core/test_floods.py",
    "tests/drivers/emulators/test_process.py::test_a_session_over_ptys",
    "tests/durability/fuzz",
    "tests/e2e/test_power_limits.py",
    "tests/e2e/test_service.py",
    "tests/journal/storage/test_reader.py::test_a_commit_takes_no_longer_beside_a_reader",
    "tests/runtime/csms/test_guarded_stream.py",
    "tests/runtime/hardware/test_device_thread.py",
)

IN_REAL_TIME: Final = (
    "tests/drivers/emulators/test_station.py",
    "tests/runtime/hardware/test_power_path.py",
    "tests/runtime/hardware/test_protections.py",
)

TOGETHER: Final = (
    "tests/commands/test_witness.py",
    "tests/data_lake",
    "tests/durability/damage/test_archived.py",
    "tests/durability/damage/test_bad_sectors.py",
    "tests/durability/damage/test_damage.py",
    "tests/ground_truth",
    "tests/history/report/test_simulated_worlds.py",
    "tests/history/test_subjects.py",
    "tests/journal/maintenance/test_verify.py",
    "tests/journal/storage/test_archive.py",
    "tests/journal/storage/test_quarantine.py",
    "tests/page/test_browser.py",
    "tests/simulation/experiments",
)

MEMORY_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]{6,}")


def pytest_configure() -> None:
    """Let Ctrl-C reach what a test starts, also where the suite runs in the background.

    A shell without job control, as in CI, starts background jobs with SIGINT ignored. Children
    inherit that, and then ignore the SIGINT that a test sends. A handler is not inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if MEMORY_ADDRESS.search(item.nodeid):
            raise pytest.UsageError(
                f"{item.nodeid}: the id has a memory address, which differs in each worker. "
                "Give the parameter an id."
            )
        if _is_listed(item.nodeid, SLOW):
            item.add_marker(pytest.mark.slow)
        if _is_listed(item.nodeid, ALONE):
            item.add_marker(pytest.mark.alone)


def group_of(nodeid: str) -> str:
    """Tests with the same result run in one worker, in their order; others have their own."""
    if _is_listed(nodeid, IN_REAL_TIME):
        return "in real time"
    return nodeid.partition("::")[0] if _is_listed(nodeid, TOGETHER) else nodeid


def _is_listed(nodeid: str, places: tuple[str, ...]) -> bool:
    """Whether a test is in one of these folders, files or functions."""
    return any(
        nodeid.startswith(place) and nodeid[len(place) :][:1] in ("", "/", ":", "[")
        for place in places
    )


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Distributes tests to workers by `group_of`.

    The mark `xdist_group` has no effect with pytest 9.2: pytest-xdist 3.8 writes the group to an
    attribute of the test that pytest does not read any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    return GroupScheduling(config, log)


@pytest.fixture(autouse=True)
def fixed_umask() -> Iterator[None]:
    """A verb that runs in this process closes new files to other users; later tests need theirs."""
    umask = os.umask(0o022)
    yield
    os.umask(umask)
