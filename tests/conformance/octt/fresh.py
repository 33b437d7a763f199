"""Marks of cases that need a station of their own, its security profile and its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Play = TypeVar("Play", bound=Callable[..., None])


def needs_fresh_station(play: Play) -> Play:
    """Mark a case that leaves the station unusable for others: other CSMS, other secrets."""
    play.fresh = True  # type: ignore[attr-defined]
    return play


def with_client_certificate(play: Play) -> Play:
    """Mark a case that starts with security profile 3."""
    play.security_profile = 3  # type: ignore[attr-defined]
    return needs_fresh_station(play)


def with_root_check(play: Play) -> Play:
    """Mark a case that starts with AdditionalRootCertificateCheck."""
    play.root_check = True  # type: ignore[attr-defined]
    return needs_fresh_station(play)


def without_tls(play: Play) -> Play:
    """Mark a case that starts with security profile 1, without TLS."""
    play.security_profile = 1  # type: ignore[attr-defined]
    return needs_fresh_station(play)
