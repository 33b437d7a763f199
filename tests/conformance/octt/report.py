"""The abstract of the test report, as text and as JSON.

The layout is that of the certificate: product, certification profiles, results, supported
features, response times.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from station.profiles import Profile, certificate_questions
from tests.conformance.octt.applicability import Applicability
from tests.conformance.octt.runner import Outcome

RESULTS = {True: "pass", False: "fail"}
TABLES = (
    ("Hardware features", certificate_questions.HARDWARE_FEATURES),
    ("Optional features", certificate_questions.OPTIONAL_FEATURES),
    ("Additional questions", certificate_questions.ADDITIONAL_QUESTIONS),
)
ResponseTimeRow = Mapping[str, Any]


def response_time_rows(outcomes: Sequence[Outcome], product: Profile) -> list[dict[str, Any]]:
    """The response-time table: name, limit and measured times, in seconds."""
    measured = (
        [seconds for outcome in outcomes for seconds in outcome.measured.responses],
        [seconds for outcome in outcomes for seconds in outcome.measured.triggered],
        [seconds for outcome in outcomes for seconds in outcome.measured.remote_start],
        [seconds for outcome in outcomes for seconds in outcome.measured.remote_stop],
    )
    names = [(row.name, float(row.limit_s)) for row in product.response_time] or _DEFAULT_LIMITS
    return [
        {
            "name": name,
            "limit_s": limit_s,
            "count": len(seconds),
            "min_s": min(seconds, default=None),
            "max_s": max(seconds, default=None),
            "average_s": fmean(seconds) if seconds else None,
        }
        for (name, limit_s), seconds in zip(names, measured, strict=True)
    ]


_DEFAULT_LIMITS = [
    ("OCPP response time", 20.0),
    ("OCPP triggered function response time", 20.0),
    ("Transaction authorization time by RequestStartTransactionRequest", 20.0),
    ("Transaction authorization end time by RequestStopTransactionRequest", 20.0),
]


def report_as_json(
    decided: Mapping[str, Applicability], outcomes: Sequence[Outcome], product: Profile
) -> dict[str, Any]:
    """The report as a JSON object."""
    played = {outcome.case_id: outcome for outcome in outcomes}
    return {
        "product": product.product.designation,
        "profile": product.name,
        "cases": [
            _case_row(applicability, played.get(case_id))
            for case_id, applicability in decided.items()
        ],
        "kpi": {row["name"]: row for row in response_time_rows(outcomes, product)},
    }


def _case_row(decided: Applicability, outcome: Outcome | None) -> dict[str, str]:
    if outcome is not None:
        result, reason = RESULTS[outcome.passed], outcome.reason
    elif decided.applies:
        result, reason = "not_run", "not selected for this run"
    else:
        undecided = "" if decided.applies is False else "undecided: "
        result, reason = "not_applicable", undecided + decided.reason
    return {"id": decided.case.id, "result": result, "reason": reason}


def write_report(
    path: Path, decided: Mapping[str, Applicability], outcomes: Sequence[Outcome], product: Profile
) -> None:
    path.write_text(json.dumps(report_as_json(decided, outcomes, product), indent=1) + "\n")


def abstract_lines(
    decided: Mapping[str, Applicability], outcomes: Sequence[Outcome], product: Profile
) -> Iterator[str]:
    """The report as text, line by line."""
    yield "Abstract of the Test Report"
    yield ""
    yield from _product_lines(product)
    yield ""
    yield from _profile_lines(decided, outcomes)
    yield ""
    yield from _result_lines(decided, outcomes)
    for title, names in TABLES:
        yield ""
        yield title
        yield from _answer_lines(product, names)
    yield ""
    yield from _response_time_lines(response_time_rows(outcomes, product))


def _product_lines(product: Profile) -> Iterator[str]:
    yield f"  Product designation  {product.product.designation}"
    yield f"  Vendor               {product.product.vendor_name}"
    yield f"  Firmware version     {product.product.firmware_version}"
    yield f"  Product profile      {product.name}"
    yield "  Specification        OCPP 2.0.1 Edition 3 with errata 2025-06"


def _profile_lines(
    decided: Mapping[str, Applicability], outcomes: Sequence[Outcome]
) -> Iterator[str]:
    yield "Certification profiles"
    played = {outcome.case_id: outcome for outcome in outcomes}
    for name in dict.fromkeys(applicability.case.profile for applicability in decided.values()):
        applicable = [
            applicability
            for applicability in decided.values()
            if applicability.case.profile == name and applicability.applies
        ]
        known_results = [
            played[applicability.case.id]
            for applicability in applicable
            if applicability.case.id in played
        ]
        passed = sum(outcome.passed for outcome in known_results)
        if not known_results:
            verdict = "Not Tested"
        elif passed == len(applicable):
            verdict = "Pass"
        else:
            verdict = f"{passed} of {len(applicable)} passed"
            verdict += f", {len(applicable) - len(known_results)} not run" * (
                len(applicable) > len(known_results)
            )
        yield f"  {name:<38} {verdict}"


def _result_lines(
    decided: Mapping[str, Applicability], outcomes: Sequence[Outcome]
) -> Iterator[str]:
    yield "Results"
    for outcome in outcomes:
        mark = "Pass" if outcome.passed else "FAIL"
        title = decided[outcome.case_id].case.title
        yield f"  {mark}  {outcome.case_id:<13} {title}"
        if not outcome.passed:
            yield f"        {outcome.reason.splitlines()[0]}"


def _answer_lines(product: Profile, names: Mapping[str, str]) -> Iterator[str]:
    for question, description in names.items():
        try:
            answer = product.certificate_answer(question)
        except KeyError:
            continue  # not a question for this product
        yield f"  {question:<7} {description:<52} {_answer_text(answer)}"


def _answer_text(answer: object) -> str:
    match answer:
        case bool():
            return "Yes" if answer else "No"
        case tuple():
            return ", ".join(map(str, answer)) or "-"
        case _:
            return str(answer)


def _response_time_lines(rows: Iterable[ResponseTimeRow]) -> Iterator[str]:
    yield f"{'Response times (seconds)':<70} {'limit':>6} {'min':>8} {'max':>8} {'average':>8}"
    for row in rows:
        cells = [_format_seconds(row[key]) for key in ("min_s", "max_s", "average_s")]
        yield f"  {row['name']:<68} {row['limit_s']:>6.0f} " + " ".join(f"{c:>8}" for c in cells)


def _format_seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
