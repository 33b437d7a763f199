"""Sweep: boots the station from many images of one recording and collects the failures.

The images of a sweep:

1. exhaustive part: for each moment (before the first operation and after each), the two
   deterministic fates: nothing and all of what is pending is on the disk;
2. random part: rounds over all moments, each chosen with probability `CUT_PROBABILITY`, with a
   random fate, until there are as many different images as requested. It ends early after
   `ROUNDS_MAX` rounds without a new image.

Two images count as different if a name or a byte differs. An image is booted again only if the
requirements on it differ: the same files may be right at one moment and too old at a later one.
"""

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
CUT_PROBABILITY: Final = 0.1  # of a moment, in each round of the random part
ROUNDS_MAX: Final = 200  # rounds without a new image, after which a sweep ends


class SweepFailure(NamedTuple):
    """An image from which the station does not start with everything required."""

    cut: int  # number of operations before the cut
    before: str  # the last operation before the cut
    fate: str
    image: Image
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return f"cut {self.cut} after {self.before}, {self.fate}: {'; '.join(self.faults[:3])}"


class SweepOutcome:
    """The counts and failures of a sweep."""

    def __init__(self) -> None:
        self.cuts: set[int] = set()  # moments of the cuts, as number of operations before
        self.image_count = 0  # images made, equal ones included
        self.distinct_by_fate: Counter[str] = Counter()  # by fate
        self.failures: list[SweepFailure] = []

    @property
    def distinct_total(self) -> int:
        """Number of different images booted."""
        return self.distinct_by_fate.total()


class CutMoment(NamedTuple):
    """A moment of the recording at which the power may be cut."""

    cut: int
    last_op: Op | None
    disk: Disk
    expected: ExpectedJournal


def cut_moments(recording: Recording) -> Iterator[CutMoment]:
    """The moments before the first operation and after each; `disk` is one object that changes."""
    disk = Disk(powersafe_overwrite=recording.powersafe_overwrite)
    expected = ExpectedJournal()
    yield CutMoment(0, None, disk, expected)
    for cut, op in enumerate(recording.ops, 1):
        disk.apply_op(op)
        if isinstance(op, SessionReport):
            expected = expected.apply_report(op.body)
        yield CutMoment(cut, op, disk, expected)


class Sweep:
    """Cuts the power of one recording."""

    def __init__(self, recording: Recording, files: Image, seed: int) -> None:
        delivered = [
            op.body["delivered"]
            for op in recording.ops
            if isinstance(op, SessionReport) and "delivered" in op.body
        ]
        self.recording = recording
        self.outcome = SweepOutcome()
        self._reference = Reference(files, delivered)
        self._dice = random.Random(seed)
        self._seen_images: set[bytes] = set()
        self._expected_numbers: dict[str, int] = {}  # a number for each ExpectedJournal
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
        """Boot the exhaustive images, then random ones until there are `images` different ones.

        Args:
            images: number of different images; the exhaustive part may exceed it.
            exhaustive: False: random part only.
            span: only moments with that many operations before them.
            failures_max: stop after that many failures.
        """
        shared = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        with TemporaryDirectory(dir=shared) as directory:
            data = Path(directory) / "data"
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
        rounds_without_new = 0
        while self.outcome.distinct_total < images and rounds_without_new < ROUNDS_MAX:
            before = self.outcome.distinct_total
            for moment in cut_moments(self.recording):
                chosen = self._dice.random() < CUT_PROBABILITY and not (
                    exhaustive and moment.disk.is_idle
                )
                if chosen and self.outcome.distinct_total < images:
                    yield moment, self._dice.choice(fates)
            rounds_without_new = (
                0 if self.outcome.distinct_total > before else rounds_without_new + 1
            )

    def _deterministic_cuts(self) -> Iterator[tuple[CutMoment, str]]:
        for moment in cut_moments(self.recording):
            for fate in DETERMINISTIC_FATES:
                yield moment, fate

    def _boot_image(self, boot: ImageBoot, moment: CutMoment, fate: str) -> None:
        image = FATES[fate](moment.disk, self._dice)
        self.outcome.image_count += 1
        self.outcome.cuts.add(moment.cut)
        digest = _image_digest(image)
        expected_number = self._expected_numbers.setdefault(
            repr(moment.expected), len(self._expected_numbers)
        )
        if (digest, expected_number) in self._booted:
            return
        self._booted.add((digest, expected_number))
        if digest not in self._seen_images:
            self._seen_images.add(digest)
            self.outcome.distinct_by_fate[fate] += 1
        boot.write_image(image, self._dice)
        try:
            faults = tuple(boot.find_faults(moment.expected))
        except Exception as error:  # whatever it is: the station does not start from this image
            faults = (f"crashed: {error!r}",)
        if faults:
            last = _op_text(moment.last_op)
            self.outcome.failures.append(SweepFailure(moment.cut, last, fate, image, faults))


def _image_digest(image: Image) -> bytes:
    """Equal if and only if names and bytes are equal."""
    digest = blake2b(digest_size=16)
    for name in sorted(image):
        digest.update(f"\n{name} {len(image[name])}\n".encode())
        digest.update(image[name])
    return digest.digest()


def _op_text(op: Op | None) -> str:
    text = repr(op)
    return text if len(text) < 100 else f"{text[:97]}..."
