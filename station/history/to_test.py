"""How does a stretch of a journal become a test that anybody may see?

The test is a Python file that needs this program and pytest, and nothing else: the memory before
the stretch, what was heard in it, and what was decided because of it, told to a `Retelling`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from journal.codec import at_text, registry_of
from journal.observations import (
    CertificatePreset,
    ClockStepped,
    CsmsConfigured,
    StationStarted,
    VariablePreset,
)
from journal.state import State, decode_state, encode_state
from journal.terms import Decision, Entry, Observation
from station import RELEASE
from station.history.redaction import Redaction
from station.history.retelling import Differs, commits, first_difference
from station.transcript import line

WIDTH: Final = 100  # characters of a line, where a text allows it
BEFORE_START: Final = (CertificatePreset, ClockStepped, CsmsConfigured, VariablePreset)


class Stretch(NamedTuple):
    """Entries from an observation on, complete commits, and the memory before them."""

    before: State
    after: int  # the last entry in that memory
    profile: str  # of the product that judged first
    entries: tuple[Entry, ...]

    def difference(self) -> Differs | None:
        """Where this release would decide otherwise.

        Raises:
            ProfileError: it has no such product.
        """
        return first_difference(self.before, self.after, self.profile, self.entries)


def profile_of(before: State, entries: Sequence[Entry]) -> str:
    """The product that judges the first of these entries; empty: none of them tells."""
    for entry in entries:
        if isinstance(entry.event, StationStarted):
            return entry.event.profile
        if not isinstance(entry.event, (*BEFORE_START, Decision)):
            break
    return before.lifecycle.profile


def redacted(stretch: Stretch) -> Stretch:
    """The stretch without anything that names a person, a station, a place or a key."""
    registry = registry_of(Observation, Decision)
    redaction = Redaction()
    state = encode_state(stretch.before).decode()
    bodies = [registry.encode(entry.event) for entry in stretch.entries]
    heard = [isinstance(entry.event, Observation) for entry in stretch.entries]
    redaction.learn(state)
    for (_, _, body), is_heard in zip(bodies, heard, strict=True):
        redaction.learn(body, heard=is_heard)
    entries = (
        msgspec.structs.replace(
            entry, event=registry.decode(kind, version, redaction.told(body, heard=is_heard))
        )
        for entry, (kind, version, body), is_heard in zip(
            stretch.entries, bodies, heard, strict=True
        )
    )
    before = decode_state(redaction.told(state).encode())
    return stretch._replace(before=before, entries=tuple(entries))


# --- The file ------------------------------------------------------------------------------------

_FILE: Final = '''\
"""Does a station decide entries {first} to {last} of a journal as it did on {day}?

Written by `station to-test` of release {release}. Whatever names a person, a station, a place or a
key is made up: the same name stands for the same. `station.history.retelling` says how it is told.
"""

# ruff: noqa
# fmt: off

{imports}

PROFILE = {profile}


def test_entries_{first}_to_{last}_are_decided_as_they_were() -> None:
    story = Retelling(BEFORE, after={after}, profile=PROFILE)
{story}
    story.ends()


# What the station remembered before.
BEFORE = r"""
{before}
"""
'''


def source(stretch: Stretch) -> str:
    """The test, as the text of a Python file."""
    first, last = stretch.entries[0], stretch.entries[-1]
    story = "\n".join(_story(stretch.entries))
    before = msgspec.json.format(encode_state(stretch.before), indent=1).decode()
    return _FILE.format(
        first=first.seq,
        last=last.seq,
        day=f"{first.at:%Y-%m-%d}",
        release=RELEASE,
        imports="\n".join(_imports(stretch.entries, story)),
        profile=_quoted(stretch.profile),
        after=stretch.after,
        story=story,
        before=before,
    )


def _story(entries: Iterable[Entry]) -> Iterator[str]:
    """Each observation, with the line of the transcript above it, and what was decided."""
    for entry, decisions in commits(entries):
        yield ""
        yield f"    # {line(entry)}"
        yield _call("    story.heard(", (
            str(entry.seq), _quoted(at_text(entry.at)), str(entry.uptime_ms),
            code(entry.event, 8),
        ), 4)  # fmt: skip
        if decisions:
            yield _call("    story.decided(", [code(one, 8) for one in decisions], 4)


def _imports(entries: Iterable[Entry], story: str) -> Iterator[str]:
    """What the story names."""
    wanted: dict[str, set[str]] = {}
    for struct in {kind for entry in entries for kind in _structs(entry.event)}:
        wanted.setdefault(struct.__module__, set()).add(struct.__name__)
    tools = {name for name in ("raw",) if f"{name}(" in story}
    wanted.setdefault("station.history.retelling", set()).update({"Retelling"} | tools)
    if "Decimal(" in story:
        yield from ("from decimal import Decimal", "")
    for module in sorted(wanted):
        names = sorted(wanted[module], key=lambda name: (name.islower(), name))
        yield _call(f"from {module} import (", names, 0, bare=True)


def _structs(value: object) -> Iterator[type]:
    if isinstance(value, msgspec.Struct):
        yield type(value)
        for name in value.__struct_fields__:
            yield from _structs(getattr(value, name))
    elif isinstance(value, tuple):
        for one in value:
            yield from _structs(one)


# --- Values --------------------------------------------------------------------------------------


def code(value: Any, indent: int = 0) -> str:
    """The Python expression that makes this value, its further lines indented so far.

    Fields that have their defaults are left out.

    Raises:
        TypeError: no event holds such a value.
    """
    match value:
        case msgspec.Struct():
            fields = [
                f"{field.name}={code(getattr(value, field.name), indent + 4)}"
                for field in msgspec.structs.fields(value)
                if field.required or getattr(value, field.name) != field.default
            ]
            return _call(f"{type(value).__name__}(", fields, indent)
        case msgspec.Raw():
            return f"raw({_quoted(bytes(value).decode())})"
        case Decimal():
            return f'Decimal("{value}")'
        case str():
            return _quoted(value)
        case tuple():
            return _call("(", [code(one, indent + 4) for one in value], indent, single=True)
        case None | bool() | int():
            return repr(value)
    raise TypeError(f"{type(value).__name__}: an event holds no such thing")


def _call(
    head: str, parts: Sequence[str], indent: int, *, single: bool = False, bare: bool = False
) -> str:
    """A call, a tuple (`single`: of one, too) or an import (`bare` where it fits), on as many
    lines as it takes."""
    comma = "," if single and len(parts) == 1 else ""
    flat = f"{head}{', '.join(parts)}{comma})"
    if "\n" not in flat and len(flat) + indent <= WIDTH:
        return flat.replace("(", "", 1)[:-1] if bare else flat
    inner = " " * (indent + 4)
    return "\n".join([head, *(f"{inner}{one}," for one in parts), f"{' ' * indent})"])


def _quoted(text: str) -> str:
    """A string literal, as the formatter writes it."""
    literal = repr(text)
    if literal.startswith("'") and '"' not in literal:
        return f'"{literal[1:-1]}"'
    return literal
