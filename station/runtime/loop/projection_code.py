"""The code that each projection of the state depends on, and its fingerprints.

That is the class of the projection, the steps of the kinds of event that it handles, and what every
replay runs, with the versions of Python and msgspec. Imported only for a start after an update and
for the first snapshot of a release.
"""

from __future__ import annotations

from typing import Final

from journal.projections.base import Projection
from journal.state import PROJECTIONS
from journal.storage.code_fingerprints import Definition, Definitions
from journal.storage.snapshots import RUNTIME_VERSIONS
from journal.upcasters import STEPS

# What every replay runs, besides the projections and the steps of their kinds.
REPLAY_CODE: Final = (
    Definition("journal.codec", "build_registry"),
    Definition("journal.codec", "parse_time"),
    Definition("journal.events", "Entry"),
    Definition("journal.state", "apply_entry"),
    Definition("journal.state", "apply_entries"),
    Definition("journal.state", "encode_state"),
    Definition("journal.state", "decode_projections"),
)
# Lists of what the parts have each for themselves.
LISTS: Final = frozenset(
    {Definition("journal.state", "State"), Definition("journal.upcasters", "STEPS")}
)


def compute_fingerprints(definitions: Definitions | None = None) -> dict[str, bytes]:
    """SHA-256 over the code of each projection, by its name in the state.

    Args:
        definitions: of the journal; None: those of the sources that are installed.
    """
    definitions = definitions or Definitions("journal")
    replay_code = definitions.fingerprint(REPLAY_CODE, *RUNTIME_VERSIONS, without=LISTS).hex()
    return {
        name: definitions.fingerprint(projection_roots(projection), replay_code)
        for name, projection in PROJECTIONS.items()
    }


def projection_roots(projection: type[Projection]) -> list[Definition]:
    """A projection and the steps of the kinds of event that it handles; they use the rest."""
    kinds = {kind.__name__ for kind in projection.HANDLES}
    steps = [step.__name__ for (kind, _), step in sorted(STEPS.items()) if kind in kinds]
    return [
        Definition(projection.__module__, projection.__name__),
        *(Definition("journal.upcasters", step) for step in steps),
    ]
