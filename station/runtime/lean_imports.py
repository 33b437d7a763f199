"""Libraries of the running station, imported without what they import for nothing.

    msgspec          takes two names from typing_extensions if that is installed, else from typing
    trio_websocket   reads the release of trio with importlib.metadata, which brings a parser of
                     e-mail, zip files and CSV

Both would stay in the process: 2 MiB. `station run` imports this module first. It imports the two
libraries while typing_extensions is hidden, and importlib.metadata replaced by the one function
that is used.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import Final

import trio

METADATA: Final = "importlib.metadata"


@contextmanager
def _replaced(name: str, stand_in: ModuleType | None) -> Iterator[None]:
    """Let imports of a module that is not imported yet find a stand-in; None: no such module."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = stand_in  # type: ignore[assignment]  # None is how a module is hidden
    try:
        yield
    finally:
        del sys.modules[name]


def _import_lean() -> None:
    """Import both libraries; as usual where a release needs more than is given here."""
    metadata = ModuleType(METADATA)
    vars(metadata)["version"] = {"trio": trio.__version__}.__getitem__
    for library, name, stand_in in (
        ("msgspec", "typing_extensions", None),
        ("trio_websocket", METADATA, metadata),
    ):
        with suppress(ImportError, AttributeError, KeyError), _replaced(name, stand_in):
            import_module(library)
        import_module(library)


_import_lean()
