"""Libraries of the running station, imported without what they import for nothing.

    shutil           imports bz2 and lzma for archives, if they are installed
    subprocess       imports locale for text without an encoding
    attr, uuid       ask platform for the kind of the interpreter and the system
    trio             imports idna for hosts that are not ASCII, and searches for the C library with
                     ctypes.util, which starts a process
    msgspec          takes two names from typing_extensions if that is installed, else from typing
    trio_websocket   reads the release of trio with importlib.metadata, which brings a parser of
                     e-mail, zip files and CSV

All of it would stay in the process: 3.2 MiB. `station run` imports this module first. It imports
these libraries while those modules are hidden or replaced. The stand-in of a module that may be
needed later imports it then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import Any, Final

METADATA: Final = "importlib.metadata"
C_LIBRARY: Final = "libpthread.so.0"  # of glibc, in every release


@contextmanager
def _replaced(name: str, stand_in: ModuleType | None) -> Iterator[None]:
    """Let imports of a module that is not imported yet find a stand-in; None: no such module."""
    if name in sys.modules:
        yield
        return
    package, _, attribute = name.rpartition(".")
    sys.modules[name] = stand_in  # type: ignore[assignment]  # None is how a module is hidden
    if package and stand_in:
        setattr(import_module(package), attribute, stand_in)
    try:
        yield
    finally:
        if sys.modules[name] is stand_in:
            del sys.modules[name]
            if package and stand_in:
                delattr(sys.modules[package], attribute)


def _stand_in(name: str, **functions: Callable[..., Any]) -> ModuleType:
    """A module that has these functions; the use of any other name imports the real one."""
    module = ModuleType(name)

    def find_real(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)  # the import system asks for __path__
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    vars(module).update(functions, __getattr__=find_real)
    return module


def _import_lean() -> None:
    """Import the libraries; as usual where a release needs more than is given here."""
    with _replaced("bz2", None), _replaced("lzma", None):
        import_module("shutil")
    _import_with("subprocess", _stand_in("locale"))
    system = _stand_in(
        "platform",
        python_implementation=lambda: {"cpython": "CPython", "pypy": "PyPy"}[
            sys.implementation.name
        ],
        system=lambda: os.uname().sysname,
    )
    _import_with("attr", system)
    _import_with("uuid", system)
    with _replaced("idna", _stand_in("idna")):
        _import_with("trio", _stand_in("ctypes.util", find_library=lambda _: C_LIBRARY))
    with suppress(ImportError), _replaced("typing_extensions", None):
        import_module("msgspec")
    import_module("msgspec")
    trio_release = {"trio": import_module("trio").__version__}
    _import_with("trio_websocket", _stand_in(METADATA, version=trio_release.__getitem__))


def _import_with(library: str, stand_in: ModuleType) -> None:
    with suppress(ImportError, KeyError), _replaced(stand_in.__name__, stand_in):
        import_module(library)
    import_module(library)


_import_lean()
