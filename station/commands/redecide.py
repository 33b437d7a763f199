"""How does `station verify --redecide` judge a whole journal again?"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import click

from journal.observations import StationStarted
from station.case import Product
from station.commands.answers import No
from station.commands.journals import counted, opened, watched
from station.devicemodel import DeviceModel
from station.history.redecide import redecided
from station.profiles import load, names
from station.runtime.memory import registry


def judged_again(path: Path, profiles: Iterable[str]) -> bool:
    """Say where this release would decide otherwise, a line for each observation.

    Args:
        path: the journal.
        profiles: names or files of the products of runs whose profile does not come with the
            program; the journal has only its name.

    Returns:
        Whether all of it would be decided as it was.

    Raises:
        No: the product of a run is not known here.
        ProfileError: one of `profiles` is none.
        JournalFailed: the journal cannot be read.
    """
    products = _Products(path, profiles)
    with closing(opened(path)) as reader:
        last = reader.head().seq
        if not last:
            return True  # nothing was decided; `verify` says that it is empty
        otherwise = 0
        with counted("judging again", last) as advance:
            entries = watched(reader.entries(1, last, damaged=lambda _: None), advance)
            for one in redecided(reader.journal_id, entries, registry(), products.of):
                click.echo(str(one), err=True)
                otherwise += 1
    if not otherwise:
        click.echo(f"{path}: this release would decide all of it as it was decided.")
    return not otherwise


class _Products:
    """What the station was, run by run."""

    def __init__(self, path: Path, profiles: Iterable[str]) -> None:
        self._path = path
        given = [load(one) for one in profiles]
        self._known = {profile.name: Product(profile, DeviceModel(profile)) for profile in given}

    def of(self, seq: int, start: StationStarted) -> Product:
        """The product of the run that began at this entry."""
        name = start.profile
        if name not in self._known:
            if name not in names():
                raise No(
                    f"{self._path}: entry {seq}: the product profile {name} does not come with "
                    "the program. Give its file with --profile."
                )
            profile = load(name)
            self._known[name] = Product(profile, DeviceModel(profile))
        product = self._known[name]
        if _evses(product) != start.evses:
            raise No(
                f"{self._path}: entry {seq}: the profile {name} here has other EVSEs or "
                "connectors than the station had. Give the one it had with --profile."
            )
        return product


def _evses(product: Product) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """As StationStarted tells them."""
    return tuple(
        (evse.id, tuple(one.id for one in evse.connectors)) for evse in product.profile.evse
    )
