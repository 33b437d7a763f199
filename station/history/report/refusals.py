"""Refused idTokens of a range: how many by status, and the newest."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from journal.events import IdToken
from journal.projections.authorizations import AuthorizationRefused

LISTED_REFUSALS_MAX: Final = 100  # the newest; `station export refusals` has all
STATUSES_MAX: Final = 30  # AuthorizationStatusEnumType has 11; a forged journal can have more


class Refusal(NamedTuple):
    """An EV driver presented an idToken and may not charge."""

    seq: int
    moment_ms: int  # corrected time
    id_token: IdToken
    status: str
    evse_id: int | None


@dataclass
class Refusals:
    """The refusals of a range."""

    count: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    newest: deque[Refusal] = field(default_factory=lambda: deque(maxlen=LISTED_REFUSALS_MAX))

    def add_refusal(self, seq: int, moment_ms: int, event: AuthorizationRefused) -> None:
        self.count += 1
        is_counted = event.status in self.by_status or len(self.by_status) < STATUSES_MAX
        self.by_status[event.status if is_counted else "(others)"] += 1
        self.newest.append(Refusal(seq, moment_ms, event.id_token, event.status, event.evse_id))
