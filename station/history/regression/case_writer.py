"""Writes an excerpt of a journal as a pytest file for `station to-test`.

The file needs this program and pytest, nothing else. It contains the state before the excerpt and,
for each observation in it, the decisions that the station made then; a `ReplayedCase` decides again
and compares. Everything that identifies a person, a station, a place or a key is redacted before.
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

LINE_WIDTH: Final = 100  # characters, where a text can be broken
BEFORE_START: Final = (CertificatePreset, ClockStepped, CsmsConfigured, VariablePreset)


class Excerpt(NamedTuple):
    """Complete commits from an observation on, and the state before them."""

    state_before: State
    last_seq_before: int  # last entry in that state
    profile: str  # product profile of the first run in the excerpt
    entries: tuple[Entry, ...]

    def find_difference(self) -> DecisionDiffers | None:
        """The first entry that this release would decide differently; None: all as before.

        Raises:
            ProfileError: there is no such profile.
        """
        return find_first_difference(
            self.state_before, self.last_seq_before, self.profile, self.entries
        )


def find_profile(state_before: State, entries: Sequence[Entry]) -> str:
    """Profile of the run of the first of these entries; empty: no entry shows it."""
    for entry in entries:
        if isinstance(entry.event, StationStarted):
            return entry.event.product_profile
        if not isinstance(entry.event, (*BEFORE_START, Decision)):
            break
    return state_before.lifecycle.product_profile


def redact_excerpt(excerpt: Excerpt) -> Excerpt:
    """The excerpt without anything that identifies a person, a station, a place or a key."""
    registry = build_registry(Observation, Decision)
    redactor = Redactor()
    state = encode_state(excerpt.state_before).decode()
    bodies = [registry.encode(entry.event) for entry in excerpt.entries]
    are_observations = [isinstance(entry.event, Observation) for entry in excerpt.entries]
    redactor.learn_names(state)
    for (_, _, body), is_observation in zip(bodies, are_observations, strict=True):
        redactor.learn_names(body, is_observation=is_observation)
    entries = (
        msgspec.structs.replace(
            entry,
            event=registry.decode(
                kind, version, redactor.redact_document(body, is_observation=is_observation)
            ),
        )
        for entry, (kind, version, body), is_observation in zip(
            excerpt.entries, bodies, are_observations, strict=True
        )
    )
    state_before = decode_state(redactor.redact_document(state).encode())
    return excerpt._replace(state_before=state_before, entries=tuple(entries))


# --- The file ------------------------------------------------------------------------------------

_TEST_TEMPLATE: Final = '''\
"""Decides entries {first} to {last} of a journal of {day} again and compares.

Written by `station to-test` of release {release}. Everything that identifies a person, a station, a
place or a key was replaced; equal values were replaced by equal values. See
`station.history.regression.replayed_case`.
"""

# ruff: noqa
# fmt: off

{imports}

PROFILE = {profile}


def test_entries_{first}_to_{last}_are_decided_as_they_were() -> None:
    case = ReplayedCase(STATE_BEFORE, last_seq={last_seq}, profile=PROFILE)
{steps}
    case.finish()


# The state before entry {first}.
STATE_BEFORE = r"""
{state_before}
"""
'''


def render_test(excerpt: Excerpt) -> str:
    """The test, as the text of a Python file."""
    first, last = excerpt.entries[0], excerpt.entries[-1]
    steps = "\n".join(_render_steps(excerpt.entries))
    state_before = msgspec.json.format(encode_state(excerpt.state_before), indent=1).decode()
    return _TEST_TEMPLATE.format(
        first=first.seq,
        last=last.seq,
        day=f"{first.at:%Y-%m-%d}",
        release=RELEASE,
        imports="\n".join(_render_imports(excerpt.entries, steps)),
        profile=_quote_string(excerpt.profile),
        last_seq=excerpt.last_seq_before,
        steps=steps,
        state_before=state_before,
    )


def _render_steps(entries: Iterable[Entry]) -> Iterator[str]:
    """Each observation under its line of the transcript, then its decisions."""
    for entry, decisions in group_by_observation(entries):
        yield ""
        yield f"    # {format_entry(entry)}"
        yield _render_call("    case.observe(", (
            str(entry.seq), _quote_string(format_time(entry.at)), str(entry.uptime_ms),
            render_value(entry.event, 8),
        ), 4)  # fmt: skip
        if decisions:
            rendered = [render_value(decision, 8) for decision in decisions]
            yield _render_call("    case.expect_decisions(", rendered, 4)


def _render_imports(entries: Iterable[Entry], steps_text: str) -> Iterator[str]:
    """The import statements that the steps need."""
    names_by_module: dict[str, set[str]] = {}
    for struct in {kind for entry in entries for kind in _struct_types(entry.event)}:
        names_by_module.setdefault(struct.__module__, set()).add(struct.__name__)
    helpers = {"ReplayedCase", *(["raw_json"] if "raw_json(" in steps_text else [])}
    names_by_module.setdefault("station.history.regression.replayed_case", set()).update(helpers)
    if "Decimal(" in steps_text:
        yield from ("from decimal import Decimal", "")
    for module in sorted(names_by_module):
        names = sorted(names_by_module[module], key=lambda name: (name.islower(), name))
        yield _render_call(f"from {module} import (", names, 0, is_import=True)


def _struct_types(value: object) -> Iterator[type]:
    if isinstance(value, msgspec.Struct):
        yield type(value)
        for name in value.__struct_fields__:
            yield from _struct_types(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _struct_types(item)


# --- Values --------------------------------------------------------------------------------------


def render_value(value: Any, indent: int = 0) -> str:
    """A Python expression for this value; fields with their default values are left out.

    Args:
        indent: of the lines after the first.

    Raises:
        TypeError: an event cannot contain such a value.
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
            return f"raw_json({_quote_string(bytes(value).decode())})"
        case Decimal():
            return f'Decimal("{value}")'
        case str():
            return _quote_string(value)
        case tuple():
            return _render_call(
                "(", [render_value(item, indent + 4) for item in value], indent, is_tuple=True
            )
        case None | bool() | int():
            return repr(value)
    raise TypeError(f"{type(value).__name__}: an event cannot contain this")


def _render_call(
    head: str, parts: Sequence[str], indent: int, *, is_tuple: bool = False, is_import: bool = False
) -> str:
    """A call, a tuple or an import; on one line if it fits, else one line per part.

    Args:
        is_tuple: a tuple of one part needs a comma.
        is_import: on one line without parentheses.
    """
    comma = "," if is_tuple and len(parts) == 1 else ""
    flat = f"{head}{', '.join(parts)}{comma})"
    if "\n" not in flat and len(flat) + indent <= LINE_WIDTH:
        return flat.replace("(", "", 1)[:-1] if is_import else flat
    inner = " " * (indent + 4)
    return "\n".join([head, *(f"{inner}{part}," for part in parts), f"{' ' * indent})"])


def _quote_string(text: str) -> str:
    """A string literal with the quotes that the formatter uses."""
    literal = repr(text)
    if literal.startswith("'") and '"' not in literal:
        return f'"{literal[1:-1]}"'
    return literal
