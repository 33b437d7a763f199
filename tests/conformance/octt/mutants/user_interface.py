"""Mutants of display messages, tariff and cost; the certified product has none of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.conformance.octt.mutants.fault import (
    Mutant,
    patch_response,
    remove_rule,
    replace_attribute,
    replace_handler,
)

PRODUCT = "development"


def _show_at_any_time() -> None:
    from station.core.blocks import o_display_messages

    replace_attribute(o_display_messages, "_applies", lambda _: lambda *args: True)


def _show_nothing() -> None:
    from station.core.blocks import o_display_messages

    replace_attribute(o_display_messages, "_applies", lambda _: lambda *args: False)


def _keep_old_message() -> None:
    """SetDisplayMessage with a known id, or a second AlwaysFront, is confirmed and not stored."""
    from station.core import decide
    from station.core.context import call_result
    from station.ocpp.messages.o_display import SetDisplayMessageResponse

    def make(original: Any) -> Any:
        def handler(ctx: Any, call: Any, request: Any) -> Iterator[Any]:
            stored = ctx.state.display_messages.messages
            known = any(
                message.id == request.message.id
                or message.priority == request.message.priority == "AlwaysFront"
                for message in stored
            )
            if known:
                yield call_result(call, SetDisplayMessageResponse(status="Accepted"))
            else:
                yield from original(ctx, call, request)

        return handler

    replace_handler(decide.CALLS, "SetDisplayMessage", make)


def _ignore_criteria() -> None:
    """GetDisplayMessages reports every message."""
    from msgspec.structs import replace

    from station.core import decide

    def make(original: Any) -> Any:
        return lambda ctx, call, request: original(
            ctx, call, replace(request, id=None, priority=None, state=None)
        )

    replace_handler(decide.CALLS, "GetDisplayMessages", make)


def _lose_messages_at_a_start() -> None:
    from journal.observations import StationStarted
    from journal.projections.display_messages import DisplayMessageRemoved
    from station.core.blocks import o_display_messages
    from tests.conformance.octt.mutants.fault import replace_rule

    def lose(ctx: Any) -> Iterator[Any]:
        yield from o_display_messages.remove_ended_messages(ctx)
        if isinstance(ctx.entry.event, StationStarted):
            for message in ctx.state.display_messages.messages:
                yield DisplayMessageRemoved(message.id, "Cleared")

    replace_rule("o_display_messages.remove_ended_messages", lose)()


def _forget_costs() -> None:
    from station.core.blocks import i_tariff_and_cost

    replace_attribute(i_tariff_and_cost, "_store_cost", lambda _: lambda *a, **k: iter(()))


def _forget_tariffs() -> None:
    from station.core.blocks import i_tariff_and_cost

    replace_attribute(i_tariff_and_cost, "_store_information", lambda _: lambda *a: iter(()))


MUTANTS: Mapping[str, Mutant] = {
    "display-message-set": Mutant(
        patch_response("SetDisplayMessage", "Accepted"),
        (
            "TC_O_01_CS",
            "TC_O_02_CS",
            "TC_O_04_CS",
            "TC_O_07_CS",
            "TC_O_08_CS",
            "TC_O_09_CS",
            "TC_O_10_CS",
            "TC_O_19_CS",
            "TC_O_22_CS",
        ),
        "SetDisplayMessage is accepted and not performed",
        PRODUCT,
    ),
    "display-message-lost": Mutant(
        _lose_messages_at_a_start,
        ("TC_O_20_CS",),
        "display messages are lost with a restart",
        PRODUCT,
    ),
    "display-message-replaced": Mutant(
        _keep_old_message,
        ("TC_O_12_CS", "TC_O_24_CS", "TC_O_32_CS"),
        "a display message is not replaced",
        PRODUCT,
    ),
    "display-message-criteria": Mutant(
        _ignore_criteria,
        ("TC_O_08_CS", "TC_O_09_CS", "TC_O_11_CS", "TC_O_34_CS", "TC_O_35_CS"),
        "GetDisplayMessages ignores its criteria",
        PRODUCT,
    ),
    "display-message-report": Mutant(
        patch_response("GetDisplayMessages", "Accepted"),
        ("TC_O_03_CS", "TC_O_33_CS"),
        "GetDisplayMessages is always Accepted",
        PRODUCT,
    ),
    "display-message-cleared": Mutant(
        patch_response("ClearDisplayMessage", "Accepted"),
        ("TC_O_04_CS", "TC_O_05_CS"),
        "ClearDisplayMessage is accepted and not performed",
        PRODUCT,
    ),
    "display-message-ended": Mutant(
        remove_rule("o_display_messages.remove_ended_messages"),
        ("TC_O_06_CS", "TC_O_14_CS", "TC_O_27_CS", "TC_O_28_CS", "TC_O_30_CS"),
        "display messages are never removed",
        PRODUCT,
    ),
    "display-message-shown": Mutant(
        _show_at_any_time,
        ("TC_O_13_CS", "TC_O_27_CS", "TC_O_36_CS", "TC_O_37_CS", "TC_O_38_CS"),
        "display messages are shown at any time and in any state",
        PRODUCT,
    ),
    "display-message-hidden": Mutant(
        _show_nothing, ("TC_O_01_CS", "TC_O_22_CS"), "no display message is shown", PRODUCT
    ),
    "cost": Mutant(
        _forget_costs, ("TC_I_01_CS", "TC_I_02_CS", "TC_I_07_CS"), "no cost is shown", PRODUCT
    ),
    "tariff": Mutant(_forget_tariffs, ("TC_I_01_CS", "TC_I_07_CS"), "no tariff is shown", PRODUCT),
}
