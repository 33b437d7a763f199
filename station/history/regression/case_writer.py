"""How does a stretch of a journal become a test that anybody may see?

The test is a Python file that needs this program and pytest, and nothing else: the memory before
the stretch, what was heard in it, and what was decided because of it, told to a `ReplayedCase`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from journal.codec import build_registry, format_time
from journal.events import Decision, Entry, Observation
from journal.observations import (
    CertificatePreset,
    ClockStepped,
    CsmsConfigured,
    StationStarted,
    VariablePreset,
)
from journal.state import State, decode_state, encode_state
from station import RELEASE
from station.history.regression.redaction import Redactor
from station.history.regression.replayed_case import (
    DecisionDiffers,
    find_first_difference,
    group_by_observation,
)
from station.transcript.lines import format_entry

LINE_WIDTH: Final = 100  # characters of a line, where a text allows it
BEFORE_START: Final = (CertificatePreset, ClockStepped, CsmsConfigured, VariablePreset)


class Excerpt(NamedTuple):
    """Entries from an observation on, complete commits, and the memory before them."""

    state_before: State
    last_seq_before: int  # the last entry in that memory
    profile: str  # of the product that judged first
    entries: tuple[Entry, ...]

    def find_difference(self) -> DecisionDiffers | None:
        """Where this release would decide otherwise.

        Raises:
            ProfileError: it has no such product.
        """
        return find_first_difference(
            self.state_before, self.last_seq_before, self.profile, self.entries
        )


def find_profile(state_before: State, entries: Sequence[Entry]) -> str:
    """The product that judges the first of these entries; empty: none of them tells."""
    for entry in entries:
        if isinstance(entry.event, StationStarted):
            return entry.event.product_profile
        if not isinstance(entry.event, (*BEFORE_START, Decision)):
            break
    return state_before.lifecycle.product_profile


def redact_excerpt(excerpt: Excerpt) -> Excerpt:
    """The stretch without anything that names a person, a station, a place or a key."""
    registry = build_registry(Observation, Decision)
    redaction = Redactor()
    state = encode_state(excerpt.state_before).decode()
    bodies = [registry.encode(entry.event) for entry in excerpt.entries]
    heard = [isinstance(entry.event, Observation) for entry in excerpt.entries]
    redaction.learn_names(state)
    for (_, _, body), is_heard in zip(bodies, heard, strict=True):
        redaction.learn_names(body, is_observation=is_heard)
    entries = (
        msgspec.structs.replace(
            entry,
            event=registry.decode(
                kind, version, redaction.redact_document(body, is_observation=is_heard)
            ),
        )
        for entry, (kind, version, body), is_heard in zip(
            excerpt.entries, bodies, heard, strict=True
        )
    )
    before = decode_state(redaction.redact_document(state).encode())
    return excerpt._replace(state_before=before, entries=tuple(entries))


# --- The file ------------------------------------------------------------------------------------

_TEST_TEMPLATE: Final = '''\
"""Does a station decide entries {first} to {last} of a journal as it did on {day}?

Written by `station to-test` of release {release}. Whatever names a person, a station, a place or a
key is made up: the same name stands for the same. `station.history.regression.replayed_case` says how it is told.
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


def render_test(excerpt: Excerpt) -> str:
    """The test, as the text of a Python file."""
    first, last = excerpt.entries[0], excerpt.entries[-1]
    story = "\n".join(_render_steps(excerpt.entries))
    before = msgspec.json.format(encode_state(excerpt.state_before), indent=1).decode()
    return _TEST_TEMPLATE.format(
        first=first.seq,
        last=last.seq,
        day=f"{first.at:%Y-%m-%d}",
        release=RELEASE,
        imports="\n".join(_render_imports(excerpt.entries, story)),
        profile=_quote_string(excerpt.profile),
        after=excerpt.last_seq_before,
        story=story,
        before=before,
    )


def _render_steps(entries: Iterable[Entry]) -> Iterator[str]:
    """Each observation, with the line of the transcript above it, and what was decided."""
    for entry, decisions in group_by_observation(entries):
        yield ""
        yield f"    # {format_entry(entry)}"
        yield _render_call("    story.heard(", (
            str(entry.seq), _quote_string(format_time(entry.at)), str(entry.uptime_ms),
            render_value(entry.event, 8),
        ), 4)  # fmt: skip
        if decisions:
            yield _render_call("    story.decided(", [render_value(one, 8) for one in decisions], 4)


def _render_imports(entries: Iterable[Entry], steps_text: str) -> Iterator[str]:
    """What the story names."""
    wanted: dict[str, set[str]] = {}
    for struct in {kind for entry in entries for kind in _struct_types(entry.event)}:
        wanted.setdefault(struct.__module__, set()).add(struct.__name__)
    tools = {name for name in ("raw",) if f"{name}(" in steps_text}
    wanted.setdefault("station.history.regression.replayed_case", set()).update(
        {"Retelling"} | tools
    )
    if "Decimal(" in steps_text:
        yield from ("from decimal import Decimal", "")
    for module in sorted(wanted):
        names = sorted(wanted[module], key=lambda name: (name.islower(), name))
        yield _render_call(f"from {module} import (", names, 0, is_import=True)


def _struct_types(value: object) -> Iterator[type]:
    if isinstance(value, msgspec.Struct):
        yield type(value)
        for name in value.__struct_fields__:
            yield from _struct_types(getattr(value, name))
    elif isinstance(value, tuple):
        for one in value:
            yield from _struct_types(one)


# --- Values --------------------------------------------------------------------------------------


def render_value(value: Any, indent: int = 0) -> str:
    """The Python expression that makes this value, its further lines indented so far.

    Fields that have their defaults are left out.

    Raises:
        TypeError: no event holds such a value.
    """
    match value:
        case msgspec.Struct():
            fields = [
                f"{field.name}={render_value(getattr(value, field.name), indent + 4)}"
                for field in msgspec.structs.fields(value)
                if field.required or getattr(value, field.name) != field.default
            ]
            return _render_call(f"{type(value).__name__}(", fields, indent)
        case msgspec.Raw():
            return f"raw({_quote_string(bytes(value).decode())})"
        case Decimal():
            return f'Decimal("{value}")'
        case str():
            return _quote_string(value)
        case tuple():
            return _render_call(
                "(", [render_value(one, indent + 4) for one in value], indent, is_tuple=True
            )
        case None | bool() | int():
            return repr(value)
    raise TypeError(f"{type(value).__name__}: an event holds no such thing")


def _render_call(
    head: str, parts: Sequence[str], indent: int, *, is_tuple: bool = False, is_import: bool = False
) -> str:
    """A call, a tuple (`single`: of one, too) or an import (`bare` where it fits), on as many
    lines as it takes."""
    comma = "," if is_tuple and len(parts) == 1 else ""
    flat = f"{head}{', '.join(parts)}{comma})"
    if "\n" not in flat and len(flat) + indent <= LINE_WIDTH:
        return flat.replace("(", "", 1)[:-1] if is_import else flat
    inner = " " * (indent + 4)
    return "\n".join([head, *(f"{inner}{one}," for one in parts), f"{' ' * indent})"])


def _quote_string(text: str) -> str:
    """A string literal, as the formatter writes it."""
    literal = repr(text)
    if literal.startswith("'") and '"' not in literal:
        return f'"{literal[1:-1]}"'
    return literal
