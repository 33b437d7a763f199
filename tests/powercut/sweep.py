"""How many different images does the station come back from, and which not?"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from tests.powercut.boot import Boot
from tests.powercut.disk import CERTAIN, FATES, Disk, Image
from tests.powercut.recording import Op, Recording, Said
from tests.powercut.reference import Owed, Reference

MEMORY_DISK: Final = Path("/dev/shm")
SHARE: Final = 0.1  # of the moments, in each round of the dice
ROUNDS_MAX: Final = 200  # without a new image, before a recording counts as exhausted


class Failure(NamedTuple):
    """An image no station comes back from whole."""

    cut: int  # operations before it
    before: str  # the last of them
    fate: str
    image: Image
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return f"cut {self.cut} after {self.before}, {self.fate}: {'; '.join(self.faults[:3])}"


class Outcome:
    """What a sweep found."""

    def __init__(self) -> None:
        self.cuts: set[int] = set()  # moments at which the power went, by operations before it
        self.made = 0  # images, of which some are equal
        self.different: Counter[str] = Counter()  # by fate
        self.failures: list[Failure] = []

    @property
    def total(self) -> int:
        """Different images, each of which a station was booted from."""
        return self.different.total()


class Moment(NamedTuple):
    """A moment at which the power may go."""

    cut: int
    last: Op | None
    disk: Disk
    owed: Owed


def moments(recording: Recording) -> Iterator[Moment]:
    """Before the first operation and after each; the disk is the same object and goes on."""
    disk = Disk(powersafe_overwrite=recording.powersafe_overwrite)
    owed = Owed()
    yield Moment(0, None, disk, owed)
    for cut, op in enumerate(recording.ops, 1):
        disk.take(op)
        if isinstance(op, Said):
            owed = owed.after(op.what)
        yield Moment(cut, op, disk, owed)


class Sweep:
    """Cuts the power of one recording."""

    def __init__(self, recording: Recording, files: Image, seed: int) -> None:
        took = [
            op.what["took"] for op in recording.ops if isinstance(op, Said) and "took" in op.what
        ]
        self.recording = recording
        self.outcome = Outcome()
        self._reference = Reference(files, took)
        self._dice = random.Random(seed)
        self._seen: set[bytes] = set()
        self._debts: dict[str, int] = {}  # a number for each state of what is owed
        self._tried: set[tuple[bytes, int]] = set()

    def run(
        self,
        images: int,
        *,
        exhaustive: bool = True,
        span: range | None = None,
        failures_max: int = 20,
        progress: Callable[[Outcome], None] = lambda _: None,
    ) -> Outcome:
        """Every moment with what is certain, then by the dice until there are so many images.

        Args:
            images: different ones; more, where the certain ones are more.
            exhaustive: False: all of it by the dice.
            span: only moments with so many operations before them.
            failures_max: stop after so many.
        """
        shared = MEMORY_DISK if MEMORY_DISK.is_dir() else None
        with TemporaryDirectory(dir=shared) as place:
            data = Path(place) / "data"
            data.mkdir()
            boot = Boot(
                data,
                self._reference,
                powersafe_overwrite=self.recording.powersafe_overwrite,
            )
            for moment, fate in self._schedule(images, exhaustive=exhaustive):
                if span is not None and moment.cut not in span:
                    continue
                self._try(boot, moment, fate)
                progress(self.outcome)
                if len(self.outcome.failures) >= failures_max:
                    break
        return self.outcome

    def _schedule(self, images: int, *, exhaustive: bool) -> Iterator[tuple[Moment, str]]:
        if exhaustive:
            yield from self._certain()
        fates = [fate for fate in FATES if not (exhaustive and fate in CERTAIN)]
        vain = 0
        while self.outcome.total < images and vain < ROUNDS_MAX:
            before = self.outcome.total
            for moment in moments(self.recording):
                chosen = self._dice.random() < SHARE and not (exhaustive and moment.disk.idle)
                if chosen and self.outcome.total < images:
                    yield moment, self._dice.choice(fates)
            vain = 0 if self.outcome.total > before else vain + 1

    def _certain(self) -> Iterator[tuple[Moment, str]]:
        for moment in moments(self.recording):
            for fate in CERTAIN:
                yield moment, fate

    def _try(self, boot: Boot, moment: Moment, fate: str) -> None:
        image = FATES[fate](moment.disk, self._dice)
        self.outcome.made += 1
        self.outcome.cuts.add(moment.cut)
        name = _fingerprint(image)
        owed_at = self._debts.setdefault(repr(moment.owed), len(self._debts))
        if (name, owed_at) in self._tried:
            return
        self._tried.add((name, owed_at))
        if name not in self._seen:
            self._seen.add(name)
            self.outcome.different[fate] += 1
        boot.lay(image, self._dice)
        try:
            faults = tuple(boot.faults(moment.owed))
        except Exception as error:  # whatever it is: no station comes back from this
            faults = (f"crashed: {error!r}",)
        if faults:
            last = _told(moment.last)
            self.outcome.failures.append(Failure(moment.cut, last, fate, image, faults))


def _fingerprint(image: Image) -> bytes:
    """The same for the same names with the same bytes."""
    digest = blake2b(digest_size=16)
    for name in sorted(image):
        digest.update(f"\n{name} {len(image[name])}\n".encode())
        digest.update(image[name])
    return digest.digest()


def _told(op: Op | None) -> str:
    text = repr(op)
    return text if len(text) < 100 else f"{text[:97]}..."
