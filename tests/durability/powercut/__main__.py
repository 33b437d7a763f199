"""`python -m tests.durability.powercut`: cut the power wherever it can be cut.

Records a station at work, once for each setting of `powersafe_overwrite`, and boots it from every
disk image a power cut may leave: at each moment with nothing and with all of what was not synced,
then by the dice until there are as many different images as asked for.
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
@click.option("--images", default=20_000, show_default=True, help="Different ones to boot from.")
@click.option("--seed", default=0, show_default=True, help="Of the dice.")
@click.option("--faults", is_flag=True, help="Instead: is each deliberate fault noticed?")
def main(images: int, seed: int, faults: bool) -> None:
    """Boot the station from the images that power cuts leave of a session.

    Exit code 0: nothing acknowledged was lost; 1: it was, and the images are kept; 2: this machine
    does not let a process be watched.
    """
    try:
        kept = _all_faults_noticed(seed) if faults else _run_sweeps(images, seed)
    except CannotTraceError as error:
        click.echo(f"powercut: {error}. Allow ptrace(2) and try again.", err=True)
        sys.exit(2)
    sys.exit(0 if kept else 1)


def _run_sweeps(images: int, seed: int) -> bool:
    outcomes = [
        _sweep_setting(name, options, images // len(OVERWRITE_SETTINGS), seed)
        for name, options in OVERWRITE_SETTINGS.items()
    ]
    lost = sum(len(one.failures) for one in outcomes)
    click.echo(
        f"{sum(one.distinct_total for one in outcomes)} different images booted, seed {seed}: "
        + (f"{lost} of them BREAK THE PROMISE" if lost else "nothing acknowledged was lost")
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
    """Save an image, for whoever wants to know why."""
    place = Path(mkdtemp(prefix=f"powercut-{failure.cut}-{failure.fate}-"))
    for name, content in failure.image.items():
        (place / name).write_bytes(content)
    return place


def _all_faults_noticed(seed: int) -> bool:
    whole: tuple[Recording, Image] = record_session()
    found: dict[str, SweepFailure | None] = {
        name: find_program_fault(name, seed) for name in PROGRAM_FAULTS
    }
    found |= {name: find_disk_fault(name, whole, seed) for name in DISK_FAULTS}
    for name, failure in found.items():
        click.echo(f"{name}: {failure or 'NOT NOTICED'}")
    return all(found.values())


if __name__ == "__main__":
    main()
