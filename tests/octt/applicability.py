"""Which test cases must a product pass?

Part 5 gives each test case a condition over the answers of the certificate (HFS-x, C-xx, AQ-x,
and those of the optional profiles: AS-x, LA-x, SC-x, R-x, DM-x, ISO-x, UI-x). `cases.json` holds
them with errata up to 2025-06; this module reads a product's answers out of its profile.

A condition is written `C-49 and (C-30..C-32 or "ISO 15118 Support") and not AQ-2`, where
`C-30..C-32` is any of these and a name in quotes is a certification profile or a product subtype.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from station.profiles import Profile

CASES = Path(__file__).with_name("cases.json")
CORE = "Core"
SUBTYPES = frozenset({"Mode 1/2 only"})  # a product says nothing of them: it is not of that kind

# Answers about certification profiles the product is not certified for, so that their cases can
# be chosen and tried all the same. A DC station sets limits in W (SC-2.2), reserves any EVSE,
# shows all priorities in ASCII and UTF-8 (UI-1, UI-2.1, UI-2.4).
ASSUMED: Mapping[str, bool] = {
    "AS-2": True,
    "AS-3": True,
    "DM-3": True,
    "ISO-4": True,
    "ISO-5": True,
    "LA-1": True,
    "LA-3": True,
    "R-1": True,
    "R-2": True,
    "R-3": True,
    "SC-2.1": False,
    "SC-2.2": True,
    "UI-1.1": True,
    "UI-1.2": True,
    "UI-1.3": True,
    "UI-2.1": True,
    "UI-2.2": False,
    "UI-2.3": False,
    "UI-2.4": True,
}

_TOKEN = re.compile(
    r"\s*(?:(?P<word>and|or|not)\b|(?P<mark>[()])|\"(?P<name>[^\"]+)\""
    r"|(?P<first>[A-Z]+-\d+)\.\.(?P<last>[A-Z]+-\d+)"
    r"|(?P<counted>[A-Z]+-\d+)\s*>\s*(?P<least>\d+)|(?P<id>[A-Z]+-\d+(?:\.\d+)?))"
)

Verdict = bool | None  # None: it hangs on a question the certificate does not answer


class TestCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One test case as Part 5 lists it. `needs` is what its steps take for granted."""

    __test__ = False  # not a class of pytest's

    id: str
    title: str
    profile: str
    requirements: tuple[str, ...] = ()
    condition: str = ""
    needs: str = ""
    removed: str = ""  # the erratum that took it out of the programme
    errata: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decided:
    """Whether a case applies, and in words why."""

    case: TestCase
    applies: Verdict
    why: str


@cache
def catalogue() -> tuple[TestCase, ...]:
    """Every test case for Charging Stations, in the order of Part 5."""
    return msgspec.json.decode(CASES.read_bytes(), type=tuple[TestCase, ...])


def decide(case: TestCase, product: Profile) -> Decided:
    """Whether a product certified as its profile says must pass a case.

    A case of a certification profile the product does not claim is judged as if it did.
    """
    if case.removed:
        return Decided(case, False, f"taken out of the programme by errata {case.removed}")
    answers = Answers(product, case.profile)
    if not case.condition:
        if case.needs and answers.holds(case.needs) is not True:
            return Decided(case, None, f"mandatory, but it needs {case.needs}")
        return Decided(case, True, f"mandatory in {case.profile}")
    verdict = answers.holds(case.condition)
    said = ", ".join(f"{question}={_WORDS[answer]}" for question, answer in answers.said.items())
    return Decided(case, verdict, said)


def decide_all(product: Profile) -> dict[str, Decided]:
    """Every case by its id."""
    return {case.id: decide(case, product) for case in catalogue()}


_WORDS: Mapping[Verdict, str] = {True: "Yes", False: "No", None: "unanswered"}


class Answers:
    """What a product answers; `said` holds every answer that was asked for."""

    def __init__(self, product: Profile, profile: str) -> None:
        self.product = product
        self.claimed = {*(product.certificate.profiles if product.certificate else (CORE,))}
        self.assuming = profile not in self.claimed
        self.claimed.add(profile)
        self.said: dict[str, Verdict] = {}

    def holds(self, condition: str) -> Verdict:
        """Whether a condition holds; unanswered questions only count where they decide.

        Raises:
            ValueError: the condition cannot be read.
        """
        tokens = list(_tokens(condition))
        verdict = self._any(tokens)
        if tokens:
            raise ValueError(f"{condition!r}: nothing may follow before {tokens[0]}")
        return verdict

    def _any(self, tokens: list[Token]) -> Verdict:
        verdicts = [self._all(tokens)]
        while _took(tokens, "or"):
            verdicts.append(self._all(tokens))
        return _or(verdicts)

    def _all(self, tokens: list[Token]) -> Verdict:
        verdicts = [self._term(tokens)]
        while _took(tokens, "and"):
            verdicts.append(self._term(tokens))
        return _not(_or([_not(each) for each in verdicts]))

    def _term(self, tokens: list[Token]) -> Verdict:
        if _took(tokens, "not"):
            return _not(self._term(tokens))
        if _took(tokens, "("):
            verdict = self._any(tokens)
            if not _took(tokens, ")"):
                raise ValueError("a bracket is not closed")
            return verdict
        if not tokens:
            raise ValueError("a condition ends too early")
        return self._fact(tokens.pop(0))

    def _fact(self, token: Token) -> Verdict:
        match token:
            case ("range", first, last):
                return _or([self._answer(each) for each in _between(first, last)])
            case ("more", question, least):
                return self._note(f"{question} > {least}", self._number(question) > int(least))
            case ("name", name, _):
                return self._note(name, name not in SUBTYPES and name in self.claimed)
            case (_, question, _):
                return self._answer(question)

    def _answer(self, question: str) -> Verdict:
        if question == "C-40":
            return self._note(question, bool(self.product.measurands.tx_updated.supported))
        try:
            return self._note(question, self.product.has(question))
        except KeyError:
            return self._note(question, ASSUMED.get(question) if self.assuming else None)

    def _number(self, question: str) -> int:
        answer = self.product.answer(question)
        if not isinstance(answer, int):
            raise TypeError(f"{question} is no number")
        return answer

    def _note(self, question: str, verdict: Verdict) -> Verdict:
        self.said[question] = verdict
        return verdict


Token = tuple[str, str, str]


def _tokens(condition: str) -> Iterator[Token]:
    at = 0
    while at < len(condition.rstrip()):
        found = _TOKEN.match(condition, at)
        if found is None:
            raise ValueError(f"{condition!r}: cannot read from {condition[at:]!r}")
        at = found.end()
        part = found.groupdict()
        if part["first"]:
            yield "range", part["first"], part["last"]
        elif part["counted"]:
            yield "more", part["counted"], part["least"]
        elif part["name"]:
            yield "name", part["name"], ""
        elif part["id"]:
            yield "id", part["id"], ""
        else:
            yield "sign", part["word"] or part["mark"], ""


def _took(tokens: list[Token], sign: str) -> bool:
    if tokens and tokens[0][:2] == ("sign", sign):
        tokens.pop(0)
        return True
    return False


def _between(first: str, last: str) -> Iterator[str]:
    kind, _, start = first.partition("-")
    for number in range(int(start), int(last.partition("-")[2]) + 1):
        yield f"{kind}-{number}"


def _not(verdict: Verdict) -> Verdict:
    return None if verdict is None else not verdict


def _or(verdicts: list[Verdict]) -> Verdict:
    """True wins, then the unanswered (Kleene)."""
    if True in verdicts:
        return True
    return None if None in verdicts else False
