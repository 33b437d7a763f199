"""Mutants and the ways to replace a function, constant, handler or rule of the program.

Names of the program are given as strings, so a rename or move in the program could leave a patch
without effect. Every function here therefore fails if the name does not exist or if its module
does not use it; `test_mutants.py` applies every patch.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import Any

import msgspec

Patch = Callable[[], None]


@dataclass(frozen=True)
class Mutant:
    """One fault, and the cases that must fail because of it."""

    patch: Patch
    failing_cases: tuple[str, ...]
    description: str
    profile: str = ""  # product that has the function; empty: any product


def replace_attribute(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace an attribute of a module or class by what `make` returns for the original.

    A function is replaced in every module of the station that has imported it.

    Raises:
        AttributeError: there is no such attribute.
        AssertionError: no function looks that name up, so the patch would have no effect.
    """
    original = getattr(owner, name)
    replacement = make(original)
    owners = [owner]
    if isinstance(original, FunctionType):
        owners += [module for module in _core_modules() if vars(module).get(name) is original]
    if isinstance(owner, ModuleType):
        assert any(_is_looked_up(module, name) for module in owners), f"nothing uses {name}"
    for place in owners:
        setattr(place, name, replacement)


def _core_modules() -> list[ModuleType]:
    import_module("station.core.decide")  # imports all of them
    return [module for name, module in sys.modules.items() if name.startswith("station.core.")]


def _is_looked_up(module: ModuleType, name: str) -> bool:
    """Whether functions look up `name` in the module, or `module.name` in `decide`."""
    qualified = f"{module.__name__.rpartition('.')[2]}.{name}("
    decide = import_module("station.core.decide")
    return name in _names_used_in(module) or qualified in inspect.getsource(decide)


@cache
def _names_used_in(module: ModuleType) -> frozenset[str]:
    """The names that functions of the module look up when they are called."""
    loader: Any = module.__loader__
    return frozenset(_names_in_functions(loader.get_code(module.__name__)))


def _names_in_functions(code: CodeType) -> Iterator[str]:
    if code.co_flags & inspect.CO_OPTIMIZED:  # a function, not a module or a class
        yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in_functions(constant)


def _patch_payload(change: Callable[[dict[str, Any]], None]) -> Callable[[Any], Any]:
    """Wraps `build_transaction_event` so that `change` edits the payload it queues."""

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
    """Change every TransactionEvent, in each block that builds one."""

    def patch() -> None:
        from station.core.blocks import e_transaction_events

        replace_attribute(e_transaction_events, "build_transaction_event", _patch_payload(change))

    return patch


def patch_response(action: str, status: str) -> Patch:
    """Answer an action with this status and do nothing else."""

    def patch() -> None:
        from station.core import decide
        from station.core.context import call_result
        from station.ocpp.messages import ACTIONS

        response: Any = ACTIONS[action].response

        def handler(ctx: Any, call: Any, request: Any) -> Iterator[Any]:
            yield call_result(call, response(status=status))

        replace_handler(decide.CALLS, action, lambda _: handler)

    return patch


def replace_handler(table: Any, key: str, make: Callable[[Any], Any]) -> None:
    """Replace a handler of a table such as `decide.CALLS`.

    Raises:
        KeyError: the table has no handler for this key.
    """
    table[key] = make(table[key])


def remove_rule(rule: str) -> Patch:
    """Remove a rule of the core, named as in `e_transactions.take_samples`."""
    return replace_rule(rule, lambda *args: iter(()))


def replace_rule(name: str, replacement: Callable[..., Iterator[Any]]) -> Patch:
    """Replace a rule of the core, named as in `e_transactions.take_samples`."""

    def patch() -> None:
        from station.core import decide

        names = [_rule_name(rule) for rule in decide.RULES]
        assert names.count(name) == 1, f"there is no rule {name}"
        decide.RULES = tuple(  # type: ignore[misc]
            replacement if _rule_name(rule) == name else rule for rule in decide.RULES
        )

    return patch


def _rule_name(rule: Any) -> str:
    return f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}"


def replace_row_variable(variable: str, replacement: str) -> Patch:
    """Rows of the decision table depend on another variable; `-`: they never apply."""

    def change(table: Any) -> Any:
        assert any(row.variable == variable for row in table), f"no row has {variable}"
        return tuple(
            row._replace(variable=replacement) if row.variable == variable else row for row in table
        )

    def patch() -> None:
        from station.core.blocks import c_local_authorization

        replace_attribute(c_local_authorization, "DECISION_TABLE", change)

    return patch


def patch_constant_result(block: str, name: str, result: Any = None) -> Patch:
    """A function of a block returns this result, whatever its arguments."""

    def patch() -> None:
        module = import_module(f"station.core.blocks.{block}")
        replace_attribute(module, name, lambda _: lambda *args, **kwargs: result)

    return patch


def another_variable(block: str, name: str, path: str) -> Patch:
    """A block reads a wrong variable."""

    def patch() -> None:
        replace_attribute(import_module(f"station.core.blocks.{block}"), name, lambda _: path)

    return patch
