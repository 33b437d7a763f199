"""Which requirements bind this station, and what test holds each?

The scope is every requirement of the use cases behind the certified test cases of the Core profile,
with those the errata up to 2025-06 added to them.
`ids.json` says whom each one binds: station, csms, both, or the operator (who makes certificates
and chooses passwords). `excused.toml` lists what needs no test of its own, each with its reason.

A requirement is cited by a test module that names it (`_b05_fr_02`, `B05.FR.02`, `B05.FR.02/03`,
`B07.FR.01 to 13`), or by a test case of Part 6 that is played for a profile of ours and names it
in `tests/conformance/octt/cases.json`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import msgspec

from station.profiles import load_profile
from tests.conformance.octt.applicability import decide_all_cases
from tests.conformance.octt.cases import PLAYS

HERE = Path(__file__).parent
TESTS = HERE.parent
PROFILES = ("evs-flash-300", "development")  # a case counts where one of these must pass it
STATION_BOUND = frozenset({"station", "both"})

_CITED = re.compile(
    r"(?<![a-z0-9])(?P<use_case>[a-p]\d\d)[._]fr[._](?P<first>\d{2,3})(?!\d)"
    r"(?P<more>(?:(?:\s*(?:/|,|-|and|to)\s*|_(?:to_)?)(?:fr[._])?\d{2,3}(?!\d|\.\d))*)",
    re.IGNORECASE,
)
_MORE = re.compile(r"(?P<to>to|-)?[\s_/,]*(?:fr[._])?(?P<number>\d{2,3})", re.IGNORECASE)


@dataclass(frozen=True)
class Excuses:
    """Why a requirement needs no test of its own.

    Attributes:
        reasons: pattern over ids (`*` and `?`) to a reason. What the product is not.
        same: id to the id of the same rule elsewhere, which a test must hold.
        named_only: pattern to a reason. A case of Part 6 names these and does not try them, so
            that it holds nothing; a test module that cites one still counts.
        not_built: id to what is missing. The station falls short of these.
    """

    reasons: Mapping[str, str]
    same: Mapping[str, str]
    named_only: Mapping[str, str]
    not_built: Mapping[str, str]


@dataclass(frozen=True)
class Verdict:
    """What holds one requirement; neither says: nothing does."""

    requirement: str
    cited_by: tuple[str, ...] = ()
    excuse: str = ""
    not_built: bool = False

    @property
    def is_missing(self) -> bool:
        return not self.cited_by and not self.excuse

    @property
    def is_by_cases_only(self) -> bool:
        """No test of ours names it: a played case of Part 6 does."""
        return bool(self.cited_by) and all(one.startswith("TC_") for one in self.cited_by)


def bound_parties() -> Mapping[str, str]:
    """Requirement id to whom it binds."""
    table = msgspec.json.decode((HERE / "ids.json").read_bytes(), type=dict[str, dict[str, str]])
    return {
        f"{use_case}.FR.{number}": whom
        for use_case, numbers in table.items()
        for number, whom in numbers.items()
    }


def load_excuses() -> Excuses:
    return msgspec.convert(tomllib.loads((HERE / "excused.toml").read_text("utf-8")), Excuses)


def requirements_in(text: str) -> Iterator[str]:
    """Every requirement id a text names, ranges and lists written out."""
    for found in _CITED.finditer(text):
        use_case, last = found["use_case"].upper(), found["first"]
        yield f"{use_case}.FR.{last}"
        for more in _MORE.finditer(found["more"]):
            number = more["number"]
            begin = int(last) + 1 if more["to"] else int(number)
            for one in range(begin, int(number) + 1):
                yield f"{use_case}.FR.{one:0{len(number)}}"
            last = number


@cache
def citing_modules() -> Mapping[str, tuple[str, ...]]:
    """Requirement id to the test modules that name it."""
    return _group_by_requirement(
        (requirement, path.relative_to(TESTS).as_posix())
        for path in _test_modules()
        for requirement in requirements_in(path.read_text("utf-8"))
    )


@cache
def citing_cases() -> Mapping[str, tuple[str, ...]]:
    """Requirement id to the played test cases that Part 6 says try it."""
    return _group_by_requirement(
        (requirement, case_id)
        for profile in PROFILES
        for case_id, decided in decide_all_cases(load_profile(profile)).items()
        if decided.applies and case_id in PLAYS
        for requirement in decided.case.requirements
    )


def _group_by_requirement(pairs: Iterable[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for requirement, where in pairs:
        found.setdefault(requirement, set()).add(where)
    return {requirement: tuple(sorted(where)) for requirement, where in found.items()}


def _test_modules() -> Iterator[Path]:
    yield from (path for path in TESTS.rglob("test_*.py") if HERE not in path.parents)
    yield from (TESTS / "octt" / "cases").glob("*.py")


def all_verdicts() -> list[Verdict]:
    """What holds each requirement that binds the station, in the order of their ids."""
    excused = load_excuses()
    return [
        verdict_of(one, excused)
        for one, whom in sorted(bound_parties().items())
        if whom in STATION_BOUND
    ]


def verdict_of(requirement: str, excused: Excuses) -> Verdict:
    if missing := excused.not_built.get(requirement):
        return Verdict(requirement, excuse=missing, not_built=True)
    if cited := citations_of(requirement, excused):
        return Verdict(requirement, cited_by=cited)
    other = excused.same.get(requirement)
    if other and (cited := citations_of(other, excused)):
        return Verdict(requirement, cited_by=tuple(f"{one} (as {other})" for one in cited))
    reason = _matching_reason(requirement, excused.named_only) or _matching_reason(
        requirement, excused.reasons
    )
    return Verdict(requirement, excuse=reason)


def citations_of(requirement: str, excused: Excuses) -> tuple[str, ...]:
    """What holds a requirement by its own id."""
    modules = citing_modules().get(requirement, ())
    if _matching_reason(requirement, excused.named_only):
        return modules
    return (*modules, *citing_cases().get(requirement, ()))


def _matching_reason(requirement: str, reasons: Mapping[str, str]) -> str:
    """The reason of the first pattern that fits, or nothing."""
    return next((why for one, why in reasons.items() if fnmatchcase(requirement, one)), "")
