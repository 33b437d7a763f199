"""Fingerprints of single definitions of our code, with all that they use.

A *definition* is a class, function or constant at the top of a module. It uses every definition
whose name occurs in its text, in its own module or imported, and what that one uses. Comments,
texts and attributes count like names: one definition too many only makes a fingerprint change more
often. A statement that defines nothing, such as a call at the top of a module, counts as used by
everything in its module, and so does the `__init__` of its packages.

Not found by name is code that is imported within a function, looked up by a text, or changed from
another module. `tests/journal/storage/test_code_fingerprints.py` checks what can be checked of
this, and compares the way sources are divided here with Python's own parser, which takes ten times
as long: a start after an update computes these fingerprints before the station may charge.
`journal.storage.snapshots` has the fingerprint of whole modules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

_DOCSTRING: Final = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""')
# From a line at column 0 to the next one; closing brackets and comments are no beginning.
_STATEMENT: Final = re.compile(r"^[^\s#)\]}].*\n(?:(?:[ #)\]}].*)?\n)*", re.MULTILINE)
_DEFINED_NAME: Final = re.compile(
    r"(?:class|(?:async )?def) (\w+)|(?!(?:else|try|finally):)(\w+)(?: = |: \w)"
)
_IMPORT: Final = re.compile(r"(?:from (\S+) )?import ([^#]*)")
_IMPORTED_NAME: Final = re.compile(r"([\w.*]+)(?: as (\w+))?")
_IDENTIFIER: Final = re.compile(r"[^\W\d]\w*")
_ALWAYS: Final = ""  # in place of a name: what the module does besides defining names
_ALL: Final = "*"  # in place of a name: everything in the module


class Definition(NamedTuple):
    """A definition by its name."""

    module: str
    name: str


class _Source(NamedTuple):
    """The text of a definition, and what it uses directly."""

    text: str
    uses: frozenset[Definition]


def read_source(module: str) -> str | None:
    """The source of a module; None if there is no such module."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # its parent is no package
        return None
    return Path(spec.origin).read_text("utf-8") if spec is not None and spec.origin else None


class Definitions:
    """The definitions of a package. Each module is read once, when it is needed."""

    def __init__(
        self, package: str, read_source: Callable[[str], str | None] = read_source
    ) -> None:
        """Follow imports of `package` and of its modules."""
        self._package = package
        self._read_source = read_source
        self._modules: dict[str, dict[str, _Source]] = {}

    def fingerprint(
        self,
        roots: Sequence[Definition],
        *extra: str,
        without: frozenset[Definition] = frozenset(),
    ) -> bytes:
        """SHA-256 over the definitions `roots` in this order, everything they use, and `extra`.

        Args:
            without: left out, with what nothing else uses.
        """
        names = (f"{module} {name}" for module, name in roots)
        digest = sha256("\n".join((*names, *extra)).encode())
        for definition in sorted(self.find_used(roots, without)):
            source = self._module(definition.module).get(definition.name)
            if source is not None:
                text = source.text.encode()
                digest.update(f"\n{definition.module} {definition.name} {len(text)}\n".encode())
                digest.update(text)
        return digest.digest()

    def find_used(
        self, roots: Iterable[Definition], without: frozenset[Definition] = frozenset()
    ) -> set[Definition]:
        """The definitions `roots` and everything that they use, directly or not."""
        used, ahead = set(without), list(roots)
        while ahead:
            definition = ahead.pop()
            if definition not in used:
                used.add(definition)
                ahead.extend(self._uses_of(definition))
        return used - without

    def _uses_of(self, definition: Definition) -> Iterable[Definition]:
        module, name = definition
        names = self._module(module)
        if name == _ALL:
            return [Definition(module, each) for each in names]
        if name in names:
            return names[name].uses
        # `from package import module`, or bound by a statement that may do more than define it
        return [Definition(f"{module}.{name}", _ALL), *(Definition(module, each) for each in names)]

    def _module(self, module: str) -> dict[str, _Source]:
        """The definitions of a module by their names; empty if there is no such module."""
        if module not in self._modules:
            text = self._read_source(module)
            self._modules[module] = {} if text is None else self._divide(module, text)
        return self._modules[module]

    def _divide(self, module: str, text: str) -> dict[str, _Source]:
        texts, uses = {_ALWAYS: ""}, {_ALWAYS: set[Definition]()}
        for statement in iter_statements(text):
            if imported := parse_import(statement):
                for name, target in imported.items():
                    texts[name] = f"{texts.get(name, '')}{target.module} {target.name}\n"
                    if target.module.split(".", 1)[0] == self._package:
                        uses.setdefault(name, set()).add(target)
            else:
                name = defined_name(statement)
                texts[name] = texts.get(name, "") + statement
        parents = module.split(".")[:-1]
        uses[_ALWAYS] |= {
            Definition(".".join(parents[: end + 1]), _ALL) for end in range(len(parents))
        }
        return {
            name: _Source(
                text,
                frozenset(
                    {Definition(module, _ALWAYS)}
                    | uses.get(name, set())
                    | {
                        Definition(module, each)
                        for each in _IDENTIFIER.findall(text)
                        if each in texts
                    }
                ),
            )
            for name, text in texts.items()
        }


def iter_statements(text: str) -> Iterator[str]:
    """The statements at the top of a module, without its docstring; decorators are separate."""
    docstring = _DOCSTRING.match(text)
    start = docstring.end() if docstring else 0
    return map(re.Match.group, _STATEMENT.finditer(f"{text}\n", start))


def parse_import(statement: str) -> dict[str, Definition]:
    """What an import binds, by name; empty if the statement is none."""
    match = _IMPORT.match(statement)
    if match is None or match[1] == "__future__":  # which changes how the module is read
        return {}
    bound = dict[str, Definition]()
    for name, alias in _IMPORTED_NAME.findall(match[2]):
        if match[1] is None:
            bound[alias or name.split(".", 1)[0]] = Definition(name, _ALL)
        elif name == _ALL:
            bound[_ALWAYS] = Definition(match[1], _ALL)
        else:
            bound[alias or name] = Definition(match[1], name)
    return bound


def defined_name(statement: str) -> str:
    """The name that a statement defines; empty if it does not, or may do more than that."""
    match = _DEFINED_NAME.match(statement)
    return (match[1] or match[2]) if match is not None else _ALWAYS
