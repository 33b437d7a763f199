"""How does `station verify --redecide` judge a whole journal again?"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import click

from journal.observations import StationStarted
from station.commands.shared.exits import CommandFailed
from station.commands.shared.journal_argument import open_journal, progress_bar, with_progress
from station.core.context import Product
from station.core.device_model.model import DeviceModel
from station.history.regression.redecide import redecide_entries
from station.profiles import load_profile, profile_names
from station.runtime.loop.startup import event_registry


def redecide_journal(path: Path, profiles: Iterable[str]) -> bool:
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
    products = _ProductLookup(path, profiles)
    with closing(open_journal(path)) as reader:
        last = reader.read_head().seq
        if not last:
            return True  # nothing was decided; `verify` says that it is empty
        otherwise = 0
        with progress_bar("judging again", last) as advance:
            entries = with_progress(reader.iter_entries(1, last, on_damage=lambda _: None), advance)
            for one in redecide_entries(
                reader.journal_id, entries, event_registry(), products.product_for_run
            ):
                click.echo(str(one), err=True)
                otherwise += 1
    if not otherwise:
        click.echo(f"{path}: this release would decide all of it as it was decided.")
    return not otherwise


class _ProductLookup:
    """What the station was, run by run."""

    def __init__(self, path: Path, profiles: Iterable[str]) -> None:
        self._path = path
        given = [load_profile(one) for one in profiles]
        self._by_name = {profile.name: Product(profile, DeviceModel(profile)) for profile in given}

    def product_for_run(self, seq: int, start: StationStarted) -> Product:
        """The product of the run that began at this entry."""
        name = start.product_profile
        if name not in self._by_name:
            if name not in profile_names():
                raise CommandFailed(
                    f"{self._path}: entry {seq}: the product profile {name} does not come with "
                    "the program. Give its file with --profile."
                )
            profile = load_profile(name)
            self._by_name[name] = Product(profile, DeviceModel(profile))
        product = self._by_name[name]
        if _evse_layout(product) != start.evses:
            raise CommandFailed(
                f"{self._path}: entry {seq}: the profile {name} here has other EVSEs or "
                "connectors than the station had. Give the one it had with --profile."
            )
        return product


def _evse_layout(product: Product) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """As StationStarted tells them."""
    return tuple(
        (evse.id, tuple(one.id for one in evse.connectors)) for evse in product.profile.evse
    )
