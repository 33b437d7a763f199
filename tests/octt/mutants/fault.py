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
    kills: tuple[str, ...]
    words: str


def replaced(module: Any, name: str, make: Callable[[Any], Any]) -> None:
    setattr(module, name, make(getattr(module, name)))


def _in_payload(change: Callable[[dict[str, Any]], None]) -> Callable[[Any], Any]:
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


def events(change: Callable[[dict[str, Any]], None]) -> Patch:
    """Every TransactionEvent is changed, wherever a block makes one."""

    def patch() -> None:
        from station.blocks import e_transactions, f_remote_control, j_metering

        changed = _in_payload(change)(e_transactions.event)
        for module in (e_transactions, f_remote_control, j_metering):
            module.event = changed  # type: ignore[attr-defined]

    return patch


def answers(action: str, status: str) -> Patch:
    """An action is answered with this status, and nothing is done."""

    def patch() -> None:
        from station import decide
        from station.case import answer
        from station.messages import ACTIONS

        response: Any = ACTIONS[action].response

        def handler(case: Any, call: Any, request: Any) -> Iterator[Any]:
            yield answer(call, response(status=status))

        decide.CALLS[action] = handler

    return patch


def without(rule: str) -> Patch:
    """A rule of the judgement core, as in `e_transactions.starts`, decides nothing any more."""

    def patch() -> None:
        from station import decide

        kept = tuple(each for each in decide.RULES if _name(each) != rule)
        assert len(kept) == len(decide.RULES) - 1, f"there is no rule {rule}"
        decide.RULES = kept  # type: ignore[misc]

    return patch


def _name(rule: Any) -> str:
    return f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}"
