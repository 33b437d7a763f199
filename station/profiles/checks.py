"""Contradictions of a product profile with itself or with the specification."""

from __future__ import annotations

from collections.abc import Iterator

from station.profiles import certificate_questions
from station.profiles.profile import Measurands, Profile
from station.profiles.toml_tables import unknown_key_message


def find_contradictions(profile: Profile) -> Iterator[str]:
    """Each contradiction as one line for people."""
    sections = (
        ("hardware", profile.hardware, certificate_questions.HARDWARE_FEATURES),
        ("features", profile.features, certificate_questions.OPTIONAL_FEATURES),
        ("questions", profile.questions, certificate_questions.ADDITIONAL_QUESTIONS),
    )
    for section, answers, questions in sections:
        may_be_absent = (
            certificate_questions.OPTIONAL_PROFILE_FEATURES if section == "features" else {}
        )
        known = {**questions, **may_be_absent}
        for key in answers:
            if key not in known:
                yield f"[{section}] {unknown_key_message(key, known)}"
        for key, meaning in known.items():
            if key not in answers:
                if key not in may_be_absent:
                    yield f"[{section}] {key} is missing: {meaning}"
            elif type(answers[key]) is not _answer_type(key):
                expected = _TYPE_NAMES[_answer_type(key)]
                yield f"[{section}] {key} needs {expected}, got {answers[key]!r}"
    yield from _check_hardware(profile)
    yield from _check_choices(profile)


_ANSWER_TYPES: dict[str, type] = {
    "HFS-8": int,
    "HFS-9": tuple,
    "HFS-10": str,
    "HFS-11": int,
    "HFS-12": int,
    "C-23": tuple,
    "C-41": tuple,
    "C-54": tuple,
}
_TYPE_NAMES = {bool: "true or false", int: "a whole number", str: "text", tuple: "a list"}


def _answer_type(question: str) -> type:
    return _ANSWER_TYPES.get(question, bool)


def _check_hardware(profile: Profile) -> Iterator[str]:
    count, most = profile.certificate_answer("HFS-8"), profile.supply.power_max_w
    if len(profile.evse) != count:
        yield f"[hardware] HFS-8 has {count} EVSEs, [[evse]] lists {len(profile.evse)}"
    for number, evse in enumerate(profile.evse, start=1):
        if evse.id != number:
            yield f"[[evse]] {number}: id is {evse.id}; EVSEs are numbered from 1 without gaps"
        ids = [connector.id for connector in evse.connectors]
        if not ids or ids != list(range(1, len(ids) + 1)):
            yield f"[[evse]] {number}: connectors are numbered from 1 without gaps, got {ids}"
        if evse.power_max_w > most:
            yield f"[[evse]] {number}: power_max_w is more than the {most} of [supply]"
    cables = {connector.cable for evse in profile.evse for connector in evse.connectors}
    for question, cable in (("HFS-1", "detachable"), ("HFS-2", "fixed")):
        if profile.supports(question) is not (cable in cables):
            yield f"[hardware] {question} and the cables of [[evse]] disagree about {cable} ones"
    for key, limit in (("model", 20), ("vendor_name", 50), ("firmware_version", 50)):
        if len(getattr(profile.product, key)) > limit:
            yield f"[product] {key} is longer than the {limit} characters BootNotification carries"


def _check_choices(profile: Profile) -> Iterator[str]:
    for group in ("C-06", "C-09", "C-10", "C-12", "C-48"):
        parts = [
            key for key in certificate_questions.OPTIONAL_FEATURES if key.startswith(f"{group}.")
        ]
        if not any(profile.supports(part) for part in parts):
            yield f"[features] {group}: at least one of {', '.join(parts)} must be true"
    if profile.supports("C-01") and not any(map(profile.supports, ("C-02", "C-49", "LA-1"))):
        yield "[features] C-01 needs C-02, C-49 or LA-1: offline nothing else can authorize"
    if "Heartbeat" not in profile.time_sources:
        yield "[features] C-23 must list Heartbeat"
    if profile.limits.network_slots < 2:
        yield "[limits] network_slots must be 2 or more (B09.FR.06)"
    points = (
        ("start_points", profile.transaction.start_points, profile.tx_start_points, "C-09"),
        ("stop_points", profile.transaction.stop_points, profile.tx_stop_points, "C-10"),
    )
    for key, configured, offered, group in points:
        for point in configured:
            if point not in offered:
                yield f"[transaction] {key} has {point}, which {group} does not offer"
    for field in Measurands.__struct_fields__:
        choice = getattr(profile.measurands, field)
        for measurand in choice.supported:
            if measurand not in certificate_questions.MEASURANDS:
                yield f"[measurands.{field}] {measurand} is not a measurand of OCPP 2.0.1"
        for measurand in choice.default:
            if measurand not in choice.supported:
                yield f"[measurands.{field}] default {measurand} is not among supported"
