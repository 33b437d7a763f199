"""Blocks declare themselves: no file, handler or rule is left out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from station.core import block_tables, blocks, decide
from station.core.block_tables import (
    BLOCK_RULES,
    BLOCKS,
    DuplicateHandlerError,
    collect_declared,
    merge_tables,
)
from station.ocpp.messages import ACTIONS

# Modules of core/blocks that handle nothing themselves: what several blocks use.
HELPER_MODULES: Final = frozenset(
    {
        "c_authorization_reasons",
        "c_id_token",
        "c_local_authorization",
        "c_without_csms",
        "e_start_stop_points",
        "e_transaction_events",
        "evse_conditions",
        "h_kept_evses",
        "measured_variables",
        "transfer_fields",
    }
)
OF_DECIDE: Final = frozenset({decide.decide_observation, decide.fail_overdue_call})


def module_name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def test_every_file_of_blocks_is_a_block_or_a_helper() -> None:
    folder = Path(blocks.__path__[0])
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    files |= {path.parent.name for path in folder.glob("*/__init__.py")}
    in_blocks = {
        module_name(block) for block in BLOCKS if block.__name__.startswith(blocks.__name__)
    }
    assert files == in_blocks | HELPER_MODULES
    assert not in_blocks & HELPER_MODULES


@pytest.mark.parametrize("block", BLOCKS, ids=module_name)
def test_a_block_declares_something(block: ModuleType) -> None:
    tables = ("CALLS", "RESULTS", "OBSERVED", "DEADLINES", "RULES", "SEMANTIC_CHECKS")
    assert any(getattr(block, table, None) for table in tables)


def functions_of(block: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions that a block defines: in its module, or in all modules of its package."""
    modules = [block]
    for path in getattr(block, "__path__", ()):
        names = (each.stem for each in Path(path).glob("*.py") if each.stem != "__init__")
        modules += [import_module(f"{block.__name__}.{name}") for name in names]
    for module in modules:
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__:
                yield name, function


@pytest.mark.parametrize("block", BLOCKS, ids=module_name)
def test_no_handler_of_a_block_is_left_out(block: ModuleType) -> None:
    """A public function with the signature of a handler is in CALLS of its block."""
    handlers = set(getattr(block, "CALLS", {}).values())
    for name, function in functions_of(block):
        parameters = tuple(inspect.signature(function).parameters)
        if parameters == ("ctx", "call", "request"):
            assert name.startswith("_") or function in handlers, f"{name} is not in CALLS"


def test_every_rule_of_a_block_has_one_place_in_the_order() -> None:
    assert len(set(decide.RULES)) == len(decide.RULES)
    assert len(set(BLOCK_RULES)) == len(BLOCK_RULES)
    assert set(decide.RULES) == set(BLOCK_RULES) | OF_DECIDE


def test_every_row_of_the_order_has_a_reason() -> None:
    assert all(row.reason for section in decide.RULE_SECTIONS for row in section.rows)


def test_handlers_are_of_actions_that_exist() -> None:
    assert set(decide.CALLS) | set(decide.RESULTS) <= set(ACTIONS)


def test_two_handlers_for_one_key_are_refused() -> None:
    first, second = ModuleType("first"), ModuleType("second")
    first.CALLS = {"Reset": print}  # type: ignore[attr-defined]
    second.CALLS = {"Reset": repr}  # type: ignore[attr-defined]
    with pytest.raises(DuplicateHandlerError, match="Reset is in first and in second"):
        merge_tables("CALLS", (first, second))


def test_a_table_that_a_block_does_not_declare_is_empty() -> None:
    assert merge_tables("CALLS", (ModuleType("first"),)) == {}
    assert collect_declared("RULES", (ModuleType("first"),)) == ()


def test_frames_are_decided_by_no_block() -> None:
    assert len(decide.OBSERVED) == len(block_tables.OBSERVED) + 2
