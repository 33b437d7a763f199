"""How many different images does the station come back from, and which not?"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from tests.durability.powercut.boot import ImageBoot
from tests.durability.powercut.disk import DETERMINISTIC_FATES, FATES, Disk, Image
from tests.durability.powercut.recording import Op, Recording, SessionReport
from tests.durability.powercut.reference import ExpectedJournal, Reference

SHARED_MEMORY: Final = Path("/dev/shm")
CUT_PROBABILITY: Final = 0.1  # of the moments, in each round of the dice
ROUNDS_MAX: Final = 200  # without a new image, before a recording counts as exhausted


class SweepFailure(NamedTuple):
    """An image no station comes back from whole."""

    cut: int  # operations before it
    before: str  # the last of them
    fate: str
    image: Image
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return f"cut {self.cut} after {self.before}, {self.fate}: {'; '.join(self.faults[:3])}"


class SweepOutcome:
    """What a sweep found."""

    def __init__(self) -> None:
        self.cuts: set[int] = set()  # moments at which the power went, by operations before it
        self.image_count = 0  # images, of which some are equal
        self.distinct_by_fate: Counter[str] = Counter()  # by fate
        self.failures: list[SweepFailure] = []

    @property
    def distinct_total(self) -> int:
        """Different images, each of which a station was booted from."""
        return self.distinct_by_fate.total()


class CutMoment(NamedTuple):
    """A moment at which the power may go."""

    cut: int
    last_op: Op | None
    disk: Disk
    expected: ExpectedJournal


def cut_moments(recording: Recording) -> Iterator[CutMoment]:
    """Before the first operation and after each; the disk is the same object and goes on."""
    disk = Disk(powersafe_overwrite=recording.powersafe_overwrite)
    owed = ExpectedJournal()
    yield CutMoment(0, None, disk, owed)
    for cut, op in enumerate(recording.ops, 1):
        disk.apply_op(op)
        if isinstance(op, SessionReport):
            owed = owed.apply_report(op.body)
        yield CutMoment(cut, op, disk, owed)


class Sweep:
    """Cuts the power of one recording."""

    def __init__(self, recording: Recording, files: Image, seed: int) -> None:
        took = [
            op.body["took"]
            for op in recording.ops
            if isinstance(op, SessionReport) and "took" in op.body
        ]
        self.recording = recording
        self.outcome = SweepOutcome()
        self._reference = Reference(files, took)
        self._dice = random.Random(seed)
        self._seen_images: set[bytes] = set()
        self._expected_numbers: dict[str, int] = {}  # a number for each state of what is owed
        self._booted: set[tuple[bytes, int]] = set()

    def run_sweep(
        self,
        images: int,
        *,
        exhaustive: bool = True,
        span: range | None = None,
        failures_max: int = 20,
        progress: Callable[[SweepOutcome], None] = lambda _: None,
    ) -> SweepOutcome:
        """Every moment with what is certain, then by the dice until there are so many images.

        Args:
            images: different ones; more, where the certain ones are more.
            exhaustive: False: all of it by the dice.
            span: only moments with so many operations before them.
            failures_max: stop after so many.
        """
        shared = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        with TemporaryDirectory(dir=shared) as place:
            data = Path(place) / "data"
            data.mkdir()
            boot = ImageBoot(
                data,
                self._reference,
                powersafe_overwrite=self.recording.powersafe_overwrite,
            )
            for moment, fate in self._scheduled_cuts(images, exhaustive=exhaustive):
                if span is not None and moment.cut not in span:
                    continue
                self._boot_image(boot, moment, fate)
                progress(self.outcome)
                if len(self.outcome.failures) >= failures_max:
                    break
        return self.outcome

    def _scheduled_cuts(self, images: int, *, exhaustive: bool) -> Iterator[tuple[CutMoment, str]]:
        if exhaustive:
            yield from self._deterministic_cuts()
        fates = [fate for fate in FATES if not (exhaustive and fate in DETERMINISTIC_FATES)]
        vain = 0
        while self.outcome.distinct_total < images and vain < ROUNDS_MAX:
            before = self.outcome.distinct_total
            for moment in cut_moments(self.recording):
                chosen = self._dice.random() < CUT_PROBABILITY and not (
                    exhaustive and moment.disk.is_idle
                )
                if chosen and self.outcome.distinct_total < images:
                    yield moment, self._dice.choice(fates)
            vain = 0 if self.outcome.distinct_total > before else vain + 1

    def _deterministic_cuts(self) -> Iterator[tuple[CutMoment, str]]:
        for moment in cut_moments(self.recording):
            for fate in DETERMINISTIC_FATES:
                yield moment, fate

    def _boot_image(self, boot: ImageBoot, moment: CutMoment, fate: str) -> None:
        image = FATES[fate](moment.disk, self._dice)
        self.outcome.image_count += 1
        self.outcome.cuts.add(moment.cut)
        name = _image_digest(image)
        owed_at = self._expected_numbers.setdefault(
            repr(moment.expected), len(self._expected_numbers)
        )
        if (name, owed_at) in self._booted:
            return
        self._booted.add((name, owed_at))
        if name not in self._seen_images:
            self._seen_images.add(name)
            self.outcome.distinct_by_fate[fate] += 1
        boot.write_image(image, self._dice)
        try:
            faults = tuple(boot.find_faults(moment.expected))
        except Exception as error:  # whatever it is: no station comes back from this
            faults = (f"crashed: {error!r}",)
        if faults:
            last = _op_text(moment.last_op)
            self.outcome.failures.append(SweepFailure(moment.cut, last, fate, image, faults))


def _image_digest(image: Image) -> bytes:
    """The same for the same names with the same bytes."""
    digest = blake2b(digest_size=16)
    for name in sorted(image):
        digest.update(f"\n{name} {len(image[name])}\n".encode())
        digest.update(image[name])
    return digest.digest()


def _op_text(op: Op | None) -> str:
    text = repr(op)
    return text if len(text) < 100 else f"{text[:97]}..."
