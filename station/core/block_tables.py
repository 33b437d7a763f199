"""The blocks of the core, and the tables merged from what each block declares.

A block is a module that decides something. It declares what it handles in module-level tables; a
table it has nothing for is left out:

    CALLS      action of a CALL from the CSMS  -> handler (ctx, call, request)
    RESULTS    action of a CALL of the station -> handler (ctx, call_seq, response or None)
    OBSERVED   class of an observation         -> rule (ctx)
    DEADLINES  functions (ctx) that give the uptime at which a rule of the block is due, or None
    RULES      rules (ctx) that run after every entry; `decide.RULE_SECTIONS` has their order
    REASONS       class of a decision -> why it is made: a row of `core.reasons`, or one per code
    CALL_REASONS  action of a CALL of the station -> why it is queued
    REFUSALS      (action, reasonCode) of an answer -> the requirement that refuses the CALL
    ANSWER_REASONS  (action, status) of an answer without statusInfo -> why it has that status

A key has one handler: two blocks that declare the same key are refused when this module is
imported. `tests/core/test_block_tables.py` fails when a file of `core/blocks` is neither in
`BLOCKS` nor listed there as a helper, and when a rule is missing in the order.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from journal.events import Event
from journal.projections.outbox import CallQueued
from station.core import outbox_rules
from station.core.blocks import (
    a_certificate_renewal,
    a_security,
    b_networks,
    b_registration,
    b_reset,
    b_variables,
    c_authorization,
    c_authorization_cache,
    c_connection,
    d_local_list,
    e_transactions,
    f_remote_control,
    g_availability,
    h_reservation,
    i_tariff_and_cost,
    j_metering,
    k_power_limits,
    k_smart_charging,
    l_firmware,
    m_certificates,
    n_customers,
    n_logs,
    n_monitoring,
    not_supported,
    o_display_messages,
    p_data_transfer,
)
from station.core.context import CallHandler, Deadline, ResultHandler, Rule
from station.core.reasons import (
    TRIGGERED,
    AnswerReasons,
    Reason,
    Reasons,
    Refusals,
    select_reason,
)

BLOCKS: Final[tuple[ModuleType, ...]] = (
    outbox_rules,
    a_certificate_renewal,
    a_security,
    b_networks,
    b_registration,
    b_reset,
    b_variables,
    c_authorization,
    c_authorization_cache,
    c_connection,
    d_local_list,
    e_transactions,
    f_remote_control,
    g_availability,
    h_reservation,
    i_tariff_and_cost,
    j_metering,
    k_power_limits,
    k_smart_charging,
    l_firmware,
    m_certificates,
    n_customers,
    n_logs,
    n_monitoring,
    not_supported,
    o_display_messages,
    p_data_transfer,
)


class DuplicateHandlerError(Exception):
    """Two blocks declare a handler for the same key."""


def merge_tables(name: str, blocks: Iterable[ModuleType]) -> dict[Any, Any]:
    """One table of all blocks.

    Raises:
        DuplicateHandlerError: two blocks declare the same key.
    """
    merged: dict[Any, Any] = {}
    owners: dict[Any, str] = {}
    for block in blocks:
        for key, handler in getattr(block, name, {}).items():
            if key in merged:
                raise DuplicateHandlerError(
                    f"{name}: {key} is in {owners[key]} and in {block.__name__}"
                )
            merged[key], owners[key] = handler, block.__name__
    return merged


def collect_declared(name: str, blocks: Iterable[ModuleType]) -> tuple[Any, ...]:
    """What the blocks declare in tables without keys, DEADLINES and RULES."""
    return tuple(item for block in blocks for item in getattr(block, name, ()))


CALLS: Final[dict[str, CallHandler]] = merge_tables("CALLS", BLOCKS)
RESULTS: Final[dict[str, ResultHandler]] = merge_tables("RESULTS", BLOCKS)
OBSERVED: Final[dict[type[Event], Rule]] = merge_tables("OBSERVED", BLOCKS)
DEADLINES: Final[tuple[Deadline, ...]] = collect_declared("DEADLINES", BLOCKS)
BLOCK_RULES: Final[tuple[Rule, ...]] = collect_declared("RULES", BLOCKS)
REASONS: Final[Reasons] = merge_tables("REASONS", BLOCKS)
CALL_REASONS: Final[dict[str, Reason]] = merge_tables("CALL_REASONS", BLOCKS)
REFUSALS: Final[Refusals] = merge_tables("REFUSALS", BLOCKS)
ANSWER_REASONS: Final[AnswerReasons] = merge_tables("ANSWER_REASONS", BLOCKS)


def find_reason(event: Event) -> Reason | None:
    """The row of a decision; None: it has none, or its release did not record which one.

    A CALL that reports a transaction or a connector status has the reason of that report.
    """
    if not isinstance(event, CallQueued):
        return select_reason(REASONS, event)
    if event.requested_by_csms and event.action in f_remote_control.TRIGGERS:
        return TRIGGERED
    report = event.transaction_event or event.connector_status
    return select_reason(REASONS, report) if report else CALL_REASONS.get(event.action)
