"""The test cases that apply to a product, by the conditions of Part 5.

Part 5 gives each test case a condition on the answers of the certificate (HFS-x, C-xx, AQ-x,
and those of the optional profiles: AS-x, LA-x, SC-x, R-x, DM-x, ISO-x, UI-x). `cases.json` has
them with errata up to 2025-06; this module takes a product's answers from its profile.

A condition is written `C-49 and (C-30..C-32 or "ISO 15118 Support") and not AQ-2`, where
`C-30..C-32` is any of these and a name in quotes is a certification profile or a product subtype.
It is evaluated in three-valued logic (Kleene): a question without an answer makes the verdict
None only where it is decisive.
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
LOCAL_LIST = "Local Authorization List Management"
SMART_CHARGING = "Smart Charging"
SUBTYPES = frozenset({"Mode 1/2 only"})  # never claimed: no profile describes such a product

# Answers for certification profiles the product is not certified for, so that their cases can be
# run nevertheless. A DC station sets limits in W (SC-2.2), reserves any EVSE, displays all
# priorities in ASCII and UTF-8 (UI-1, UI-2.1, UI-2.4).
ASSUMED_ANSWERS: Mapping[str, bool] = {
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

_TOKEN_PATTERN = re.compile(
    r"\s*(?:(?P<word>and|or|not)\b|(?P<mark>[()])|\"(?P<name>[^\"]+)\""
    r"|(?P<first>[A-Z]+-\d+)\.\.(?P<last>[A-Z]+-\d+)"
    r"|(?P<counted>[A-Z]+-\d+)\s*>\s*(?P<least>\d+)|(?P<id>[A-Z]+-\d+(?:\.\d+)?))"
)

Verdict = bool | None  # None: depends on a question the certificate does not answer


class TestCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One test case of Part 5. `needs`: the condition its steps presuppose."""

    __test__ = False  # not a class of pytest's

    id: str
    title: str
    profile: str
    requirements: tuple[str, ...] = ()
    condition: str = ""
    needs: str = ""
    removed: str = ""  # the erratum that removed it from the certification program
    errata: tuple[str, ...] = ()


@dataclass(frozen=True)
class Applicability:
    """Whether a case applies, and the reason as text."""

    case: TestCase
    applies: Verdict
    reason: str


@cache
def load_catalogue() -> tuple[TestCase, ...]:
    """Every test case for Charging Stations, in the order of Part 5."""
    return msgspec.json.decode(CASES.read_bytes(), type=tuple[TestCase, ...])


def decide_case(case: TestCase, product: Profile) -> Applicability:
    """Whether a product must pass a case, by the certificate in its profile.

    A case of a certification profile the product does not claim is decided as if it did.
    """
    if case.removed:
        return Applicability(case, False, f"removed from the program by errata {case.removed}")
    answers = ProductAnswers(product, case.profile)
    if not case.condition:
        if case.needs and answers.evaluate(case.needs) is not True:
            return Applicability(case, None, f"mandatory, but needs {case.needs}")
        return Applicability(case, True, f"mandatory in {case.profile}")
    verdict = answers.evaluate(case.condition)
    reason = ", ".join(
        f"{question}={_ANSWER_TEXT[answer]}" for question, answer in answers.asked_answers.items()
    )
    return Applicability(case, verdict, reason)


def decide_all_cases(product: Profile) -> dict[str, Applicability]:
    """Every case by its id."""
    return {case.id: decide_case(case, product) for case in load_catalogue()}


_ANSWER_TEXT: Mapping[Verdict, str] = {True: "Yes", False: "No", None: "unanswered"}


class ProductAnswers:
    """A product's answers; `asked_answers` has every answer that a condition used."""

    def __init__(self, product: Profile, profile: str) -> None:
        self.product = product
        self.claimed = {*_claimed_profiles(product)}
        self.uses_assumptions = profile not in self.claimed
        self.claimed.add(profile)
        self.asked_answers: dict[str, Verdict] = {}

    def evaluate(self, condition: str) -> Verdict:
        """Whether a condition holds; None if that depends on an unanswered question.

        Raises:
            ValueError: the condition cannot be parsed.
        """
        tokens = list(_tokenize(condition))
        verdict = self._evaluate_or(tokens)
        if tokens:
            raise ValueError(f"{condition!r}: unexpected {tokens[0]}")
        return verdict

    def _evaluate_or(self, tokens: list[Token]) -> Verdict:
        verdicts = [self._evaluate_and(tokens)]
        while _consume_sign(tokens, "or"):
            verdicts.append(self._evaluate_and(tokens))
        return _any_true(verdicts)

    def _evaluate_and(self, tokens: list[Token]) -> Verdict:
        verdicts = [self._evaluate_term(tokens)]
        while _consume_sign(tokens, "and"):
            verdicts.append(self._evaluate_term(tokens))
        return _negate(_any_true([_negate(verdict) for verdict in verdicts]))

    def _evaluate_term(self, tokens: list[Token]) -> Verdict:
        if _consume_sign(tokens, "not"):
            return _negate(self._evaluate_term(tokens))
        if _consume_sign(tokens, "("):
            verdict = self._evaluate_or(tokens)
            if not _consume_sign(tokens, ")"):
                raise ValueError("missing closing bracket")
            return verdict
        if not tokens:
            raise ValueError("the condition is incomplete")
        return self._evaluate_fact(tokens.pop(0))

    def _evaluate_fact(self, token: Token) -> Verdict:
        match token:
            case ("range", first, last):
                return _any_true(
                    [self._answer_of(question) for question in _expand_range(first, last)]
                )
            case ("more", question, least):
                return self._record_answer(
                    f"{question} > {least}", self._number_of(question) > int(least)
                )
            case ("name", name, _):
                return self._record_answer(name, name not in SUBTYPES and name in self.claimed)
            case (_, question, _):
                return self._answer_of(question)

    def _answer_of(self, question: str) -> Verdict:
        if question == "C-40":
            return self._record_answer(question, bool(self.product.measurands.tx_updated.supported))
        try:
            return self._record_answer(question, bool(self.product.certificate_answer(question)))
        except KeyError:
            return self._record_answer(
                question, ASSUMED_ANSWERS.get(question) if self.uses_assumptions else None
            )

    def _number_of(self, question: str) -> int:
        answer = self.product.certificate_answer(question)
        if not isinstance(answer, int):
            raise TypeError(f"{question} is not a number")
        return answer

    def _record_answer(self, question: str, verdict: Verdict) -> Verdict:
        self.asked_answers[question] = verdict
        return verdict


def _claimed_profiles(product: Profile) -> Iterator[str]:
    """The certification profiles of a product: of its certificate, or what it has built in."""
    if product.certificate:
        yield from product.certificate.profiles
        return
    yield CORE
    if product.supports("LA-1"):
        yield LOCAL_LIST
    if product.charging_rate_units:
        yield SMART_CHARGING


Token = tuple[str, str, str]


def _tokenize(condition: str) -> Iterator[Token]:
    at = 0
    while at < len(condition.rstrip()):
        match = _TOKEN_PATTERN.match(condition, at)
        if match is None:
            raise ValueError(f"{condition!r}: cannot parse from {condition[at:]!r}")
        at = match.end()
        groups = match.groupdict()
        if groups["first"]:
            yield "range", groups["first"], groups["last"]
        elif groups["counted"]:
            yield "more", groups["counted"], groups["least"]
        elif groups["name"]:
            yield "name", groups["name"], ""
        elif groups["id"]:
            yield "id", groups["id"], ""
        else:
            yield "sign", groups["word"] or groups["mark"], ""


def _consume_sign(tokens: list[Token], sign: str) -> bool:
    if tokens and tokens[0][:2] == ("sign", sign):
        tokens.pop(0)
        return True
    return False


def _expand_range(first: str, last: str) -> Iterator[str]:
    kind, _, start = first.partition("-")
    for number in range(int(start), int(last.partition("-")[2]) + 1):
        yield f"{kind}-{number}"


def _negate(verdict: Verdict) -> Verdict:
    return None if verdict is None else not verdict


def _any_true(verdicts: list[Verdict]) -> Verdict:
    """Or in Kleene's logic: True if any is True, else None if any is None."""
    if True in verdicts:
        return True
    return None if None in verdicts else False
