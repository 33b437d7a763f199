"""`station verify --redecide`: decide a whole journal again and print the differences."""

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
from station.transcript.phrases import escape_control_characters


def redecide_journal(path: Path, profiles: Iterable[str]) -> bool:
    """Print where this release would decide differently, one line for each observation.

    Args:
        path: the journal.
        profiles: names or files of product profiles that are not part of this release; the journal
            has only the name of its profile.

    Returns:
        Whether every decision would be the same.

    Raises:
        CommandFailed: the product profile of a run is unknown.
        ProfileError: one of `profiles` is not a profile.
        JournalFailed: the journal cannot be read.
    """
    products = _ProductLookup(path, profiles)
    with closing(open_journal(path)) as reader:
        last = reader.read_head().seq
        if not last:
            return True  # no decisions; `verify` reports that the journal is empty
        differences = 0
        with progress_bar("deciding again", last) as advance:
            entries = with_progress(reader.iter_entries(1, last, on_damage=lambda _: None), advance)
            for difference in redecide_entries(
                reader.journal_id, entries, event_registry(), products.product_for_run
            ):
                click.echo(escape_control_characters(str(difference)), err=True)
                differences += 1
    if not differences:
        click.echo(f"{path}: this release would decide everything the same way.")
    return not differences


class _ProductLookup:
    """The product that each run of the station had."""

    def __init__(self, path: Path, profiles: Iterable[str]) -> None:
        self._path = path
        given = [load_profile(name_or_file) for name_or_file in profiles]
        self._by_name = {profile.name: Product(profile, DeviceModel(profile)) for profile in given}

    def product_for_run(self, seq: int, start: StationStarted) -> Product:
        """The product of the run that began at this entry."""
        name = start.product_profile
        if name not in self._by_name:
            if name not in profile_names():
                raise CommandFailed(
                    f"{self._path}: entry {seq}: the product profile {name} is not part of this "
                    "release. Give its file with --profile."
                )
            profile = load_profile(name)
            self._by_name[name] = Product(profile, DeviceModel(profile))
        product = self._by_name[name]
        if _evse_layout(product) != start.evses:
            raise CommandFailed(
                f"{self._path}: entry {seq}: the profile {name} of this release has other EVSEs or "
                "connectors than the station had. Give the station's profile with --profile."
            )
        return product


def _evse_layout(product: Product) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """EVSEs and connectors in the form of StationStarted."""
    return tuple(
        (evse.id, tuple(connector.id for connector in evse.connectors))
        for evse in product.profile.evse
    )
