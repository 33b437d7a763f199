"""`python -m tests.durability.powercut`: boot the station from the images that power cuts leave.

Records a session once for each setting of `powersafe_overwrite`. Boots from two images of each
moment (nothing and all of what was not synced is on the disk), then from random images until
there are as many different ones as requested.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import click

from tests.durability.powercut.disk import Image
from tests.durability.powercut.faults import (
    DISK_FAULTS,
    PROGRAM_FAULTS,
    find_disk_fault,
    find_program_fault,
)
from tests.durability.powercut.recording import Recording, SessionReport, record_session
from tests.durability.powercut.session import NO_POWERSAFE_OVERWRITE
from tests.durability.powercut.sweep import Sweep, SweepFailure, SweepOutcome
from tests.durability.powercut.syscalls import CannotTraceError

OVERWRITE_SETTINGS: Final[dict[str, tuple[str, ...]]] = {
    "powersafe_overwrite = true": (),
    "powersafe_overwrite = false": (NO_POWERSAFE_OVERWRITE,),
}


@click.command()
@click.option(
    "--images", default=20_000, show_default=True, help="Number of different images to boot."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the random images.")
@click.option(
    "--faults", is_flag=True, help="Instead, check that each deliberate fault is detected."
)
def main(images: int, seed: int, faults: bool) -> None:
    """Boot the station from the images that power cuts leave of a session.

    Exit code 0: nothing acknowledged was lost; 1: something was, and the images are kept; 2: this
    machine does not allow a process to be traced.
    """
    try:
        passed = _all_faults_detected(seed) if faults else _run_sweeps(images, seed)
    except CannotTraceError as error:
        click.echo(f"powercut: {error}. Allow ptrace(2) and try again.", err=True)
        sys.exit(2)
    sys.exit(0 if passed else 1)


def _run_sweeps(images: int, seed: int) -> bool:
    outcomes = [
        _sweep_setting(name, options, images // len(OVERWRITE_SETTINGS), seed)
        for name, options in OVERWRITE_SETTINGS.items()
    ]
    lost = sum(len(outcome.failures) for outcome in outcomes)
    booted = sum(outcome.distinct_total for outcome in outcomes)
    click.echo(
        f"{booted} different images booted, seed {seed}: "
        + (f"{lost} of them LOST ACKNOWLEDGED ENTRIES" if lost else "nothing acknowledged was lost")
    )
    return not lost


def _sweep_setting(name: str, options: tuple[str, ...], images: int, seed: int) -> SweepOutcome:
    recording, files = record_session(options)
    writes = sum(not isinstance(op, SessionReport) for op in recording.ops)
    click.echo(f"{name}: {writes} writes, syncs and names recorded")
    sweep = Sweep(recording, files, seed)
    with click.progressbar(length=images, label="  booting", file=sys.stderr) as bar:

        def progress(outcome: SweepOutcome) -> None:
            bar.update(min(outcome.distinct_total, images) - bar.pos)

        outcome = sweep.run_sweep(images, progress=progress)
    by_fate = ", ".join(f"{count} {fate}" for fate, count in outcome.distinct_by_fate.items())
    click.echo(f"  power cut at {len(outcome.cuts)} moments, {outcome.image_count} images made")
    click.echo(f"  {outcome.distinct_total} different: {by_fate}")
    for failure in outcome.failures:
        click.echo(f"  {failure}\n    kept in {_save_image(failure)}")
    return outcome


def _save_image(failure: SweepFailure) -> Path:
    """Save an image for analysis."""
    directory = Path(mkdtemp(prefix=f"powercut-{failure.cut}-{failure.fate}-"))
    for name, content in failure.image.items():
        (directory / name).write_bytes(content)
    return directory


def _all_faults_detected(seed: int) -> bool:
    whole: tuple[Recording, Image] = record_session()
    failures: dict[str, SweepFailure | None] = {
        name: find_program_fault(name, seed) for name in PROGRAM_FAULTS
    }
    failures |= {name: find_disk_fault(name, whole, seed) for name in DISK_FAULTS}
    for name, failure in failures.items():
        click.echo(f"{name}: {failure or 'NOT DETECTED'}")
    return all(failures.values())


if __name__ == "__main__":
    main()
