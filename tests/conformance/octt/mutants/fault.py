"""What is a mutant made of, and how is a function of the program replaced?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

Patch = Callable[[], None]


@dataclass(frozen=True)
class Mutant:
    """One fault, and the cases that must turn red because of it."""

    patch: Patch
    failing_cases: tuple[str, ...]
    description: str


def replace_attribute(module: Any, name: str, make: Callable[[Any], Any]) -> None:
    setattr(module, name, make(getattr(module, name)))


def _patch_payload(change: Callable[[dict[str, Any]], None]) -> Callable[[Any], Any]:
    """A maker of `event` functions that change the payload of what they queue."""

    def make(original: Any) -> Any:
        def event(*args: Any, **kwargs: Any) -> Any:
            queued = original(*args, **kwargs)
            payload = msgspec.json.decode(queued.payload)
            change(payload)
            return msgspec.structs.replace(
                queued, payload=msgspec.Raw(msgspec.json.encode(payload))
            )

        return event

    return make


def patch_events(change: Callable[[dict[str, Any]], None]) -> Patch:
    """Every TransactionEvent is changed, wherever a block makes one."""

    def patch() -> None:
        from station.core.blocks import (
            e_transaction_events,
            e_transactions,
            f_remote_control,
            j_metering,
        )

        changed = _patch_payload(change)(e_transaction_events.build_transaction_event)
        for module in (e_transactions, f_remote_control, j_metering):
            module.build_transaction_event = changed  # type: ignore[attr-defined]

    return patch


def patch_response(action: str, status: str) -> Patch:
    """An action is answered with this status, and nothing is done."""

    def patch() -> None:
        from station.core import decide
        from station.core.context import call_result
        from station.ocpp.messages import ACTIONS

        response: Any = ACTIONS[action].response

        def handler(case: Any, call: Any, request: Any) -> Iterator[Any]:
            yield call_result(call, response(status=status))

        decide.CALLS[action] = handler

    return patch


def remove_rule(rule: str) -> Patch:
    """A rule of the judgement core, as in `e_transactions.starts`, decides nothing any more."""

    def patch() -> None:
        from station.core import decide

        kept = tuple(each for each in decide.RULES if _rule_name(each) != rule)
        assert len(kept) == len(decide.RULES) - 1, f"there is no rule {rule}"
        decide.RULES = kept  # type: ignore[misc]

    return patch


def _rule_name(rule: Any) -> str:
    return f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}"
