"""Libraries of the running station, imported without what they import for nothing.

    shutil           imports bz2 and lzma for archives, if they are installed
    msgspec          takes two names from typing_extensions if that is installed, else from typing
    trio_websocket   reads the release of trio with importlib.metadata, which brings a parser of
                     e-mail, zip files and CSV

All of it would stay in the process: 2.5 MiB. `station run` imports this module first. It imports
these libraries while those modules are hidden, and importlib.metadata replaced by the one function
that is used.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import Final

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
    """Import the libraries; as usual where a release needs more than is given here."""
    with _replaced("bz2", None), _replaced("lzma", None):
        import_module("shutil")
    _import_with("msgspec", "typing_extensions", None)
    metadata = ModuleType(METADATA)
    vars(metadata)["version"] = {"trio": import_module("trio").__version__}.__getitem__
    _import_with("trio_websocket", METADATA, metadata)


def _import_with(library: str, name: str, stand_in: ModuleType | None) -> None:
    with suppress(ImportError, AttributeError, KeyError), _replaced(name, stand_in):
        import_module(library)
    import_module(library)


_import_lean()
