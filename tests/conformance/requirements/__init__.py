"""Requirement coverage: the requirements that bind the station, and the tests that hold them.

The scope is every requirement of the use cases that the certified test cases of Core belong to,
with those added to them by errata up to 2025-06, and of the other use cases that are built (A02 to
A04, C13, C14, D, H, I, O, K01 to K13, N02 to N08). `ids.json` lists the party that each one binds:
station, csms (a Local Controller is one), both, or the operator (who makes certificates and chooses
passwords).

A requirement is held if it is cited
* by a test module that names it: `_b05_fr_02`, `B05.FR.02`, `B05.FR.02/03`, `B07.FR.01 to 13`; or
* by a test case of Part 6 that runs for one of `PROFILES` and lists it in `octt/cases.json`.

Every other one must be in `excused.toml` with a reason: it cannot apply to the product, is the
same as another one, or is not built. `verdict_of` has the order in which these count.
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
TESTS = HERE.parents[1]
PROFILES = ("evs-flash-300", "development")  # a case counts if it applies to one of these
STATION_BOUND = frozenset({"station", "both"})

_CITED = re.compile(
    r"(?<![a-z0-9])(?P<use_case>[a-p]\d\d)[._]fr[._](?P<first>\d{2,3})(?!\d)"
    r"(?P<more>(?:(?:\s*(?:/|,|-|and|to)\s*|_(?:to_)?)(?:fr[._])?\d{2,3}(?!\d|\.\d))*)",
    re.IGNORECASE,
)
_MORE = re.compile(r"(?P<to>to|-)?[\s_/,]*(?:fr[._])?(?P<number>\d{2,3})", re.IGNORECASE)


@dataclass(frozen=True)
class Excuses:
    """The content of `excused.toml`: why requirements need no test of their own.

    Attributes:
        reasons: pattern of ids (`*`, `?`, `[...]`) to a reason: they do not apply to the product.
        same: id to the id of the same rule elsewhere, which must be cited.
        named_only: pattern to a reason. Cases of Part 6 list these and do not test them, so a
            case does not count for them; a test module does.
        not_built: id to what is missing. The station does not fulfill these.
    """

    reasons: Mapping[str, str]
    same: Mapping[str, str]
    named_only: Mapping[str, str]
    not_built: Mapping[str, str]


@dataclass(frozen=True)
class Verdict:
    """What holds one requirement. Missing if there is neither a citation nor an excuse."""

    requirement: str
    cited_by: tuple[str, ...] = ()
    excuse: str = ""
    not_built: bool = False

    @property
    def is_missing(self) -> bool:
        return not self.cited_by and not self.excuse

    @property
    def is_by_cases_only(self) -> bool:
        """Whether only cases of Part 6 cite it, no test module."""
        return bool(self.cited_by) and all(citation.startswith("TC_") for citation in self.cited_by)


def bound_parties() -> Mapping[str, str]:
    """Requirement id to the party it binds."""
    table = msgspec.json.decode((HERE / "ids.json").read_bytes(), type=dict[str, dict[str, str]])
    return {
        f"{use_case}.FR.{number}": party
        for use_case, numbers in table.items()
        for number, party in numbers.items()
    }


def load_excuses() -> Excuses:
    return msgspec.convert(tomllib.loads((HERE / "excused.toml").read_text("utf-8")), Excuses)


def requirements_in(text: str) -> Iterator[str]:
    """Every requirement id in a text; ranges and lists are expanded."""
    for match in _CITED.finditer(text):
        use_case, last = match["use_case"].upper(), match["first"]
        yield f"{use_case}.FR.{last}"
        for more in _MORE.finditer(match["more"]):
            number = more["number"]
            begin = int(last) + 1 if more["to"] else int(number)
            for member in range(begin, int(number) + 1):
                yield f"{use_case}.FR.{member:0{len(number)}}"
            last = number


@cache
def citing_modules() -> Mapping[str, tuple[str, ...]]:
    """Requirement id to the test modules that cite it."""
    return _group_by_requirement(
        (requirement, path.relative_to(TESTS).as_posix())
        for path in _test_modules()
        for requirement in requirements_in(path.read_text("utf-8"))
    )


@cache
def citing_cases() -> Mapping[str, tuple[str, ...]]:
    """Requirement id to the test cases that apply and list it."""
    return _group_by_requirement(
        (requirement, case_id)
        for profile in PROFILES
        for case_id, decided in decide_all_cases(load_profile(profile)).items()
        if decided.applies and case_id in PLAYS
        for requirement in decided.case.requirements
    )


def _group_by_requirement(pairs: Iterable[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    groups: dict[str, set[str]] = {}
    for requirement, source in pairs:
        groups.setdefault(requirement, set()).add(source)
    return {requirement: tuple(sorted(source)) for requirement, source in groups.items()}


def _test_modules() -> Iterator[Path]:
    yield from (path for path in TESTS.rglob("test_*.py") if HERE not in path.parents)
    yield from (TESTS / "conformance" / "octt" / "cases").glob("*.py")


def all_verdicts() -> list[Verdict]:
    """The verdict on each requirement that binds the station, by id."""
    excused = load_excuses()
    return [
        verdict_of(requirement, excused)
        for requirement, party in sorted(bound_parties().items())
        if party in STATION_BOUND
    ]


def verdict_of(requirement: str, excused: Excuses) -> Verdict:
    if missing := excused.not_built.get(requirement):
        return Verdict(requirement, excuse=missing, not_built=True)
    if cited := citations_of(requirement, excused):
        return Verdict(requirement, cited_by=cited)
    other = excused.same.get(requirement)
    if other and (cited := citations_of(other, excused)):
        return Verdict(
            requirement, cited_by=tuple(f"{citation} (as {other})" for citation in cited)
        )
    reason = _matching_reason(requirement, excused.named_only) or _matching_reason(
        requirement, excused.reasons
    )
    return Verdict(requirement, excuse=reason)


def citations_of(requirement: str, excused: Excuses) -> tuple[str, ...]:
    """The test modules and cases that cite this id."""
    modules = citing_modules().get(requirement, ())
    if _matching_reason(requirement, excused.named_only):
        return modules
    return (*modules, *citing_cases().get(requirement, ()))


def _matching_reason(requirement: str, reasons: Mapping[str, str]) -> str:
    """The reason of the first matching pattern, or an empty string."""
    return next(
        (reason for pattern, reason in reasons.items() if fnmatchcase(requirement, pattern)), ""
    )
