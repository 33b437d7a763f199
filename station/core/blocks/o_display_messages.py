"""Messages of the CSMS on the display: set, report, clear, remove, and which are shown. Block O.

A product has this block if it has DisplayMessageCtrlr, that is, if it answers UI-1.x and UI-2.x.

Which messages are shown at an EVSE now (`shown_messages`):

1. Those whose time has come and not passed (O01.FR.06, O01.FR.07), whose state is that of the EVSE,
   and whose transaction is the one there.
2. Of messages that differ only in id, content and language, one EV driver needs one: those in the
   language of the display at this EVSE, else those in English, else all (O01.FR.08, O01.FR.09).
3. Of the rest those of the highest priority: AlwaysFront alone, else all InFront, else NormalCycle.
   InFront and NormalCycle messages are shown in turn (O01.FR.12 to 15).

There is at most one AlwaysFront message: a new one removes the one before (O01.FR.16). A message
whose end has passed, or whose transaction has ended, is removed; it is in no report any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

from journal.events import Decision
from journal.projections.display_messages import (
    DisplayMessage,
    DisplayMessageRemoved,
    DisplayMessageSet,
)
from station.core.blocks.evse_conditions import charging_state
from station.core.blocks.g_availability import current_evse_status
from station.core.blocks.not_supported import NOT_ENABLED, UNSUPPORTED_REQUEST
from station.core.blocks.transfer_fields import has_passed, to_utc_text
from station.core.context import (
    Call,
    CallHandler,
    Context,
    Deadline,
    Rule,
    call_error,
    call_result,
    queue_call,
    status_info,
)
from station.core.device_model.model import Component, Refusal
from station.core.reasons import AnswerReasons, Reason, Reasons, ReasonTable, Refusals
from station.ocpp.messages.datatypes import ComponentType, MessageContentType
from station.ocpp.messages.o_display import (
    ClearDisplayMessageRequest,
    ClearDisplayMessageResponse,
    GetDisplayMessagesRequest,
    GetDisplayMessagesResponse,
    MessageInfoType,
    NotifyDisplayMessagesRequest,
    SetDisplayMessageRequest,
    SetDisplayMessageResponse,
)

AVAILABLE: Final = "DisplayMessageCtrlr.Available"
ENABLED: Final = "DisplayMessageCtrlr.Enabled"
STORED_MESSAGES: Final = "DisplayMessageCtrlr.DisplayMessages"
SUPPORTED_FORMATS: Final = "DisplayMessageCtrlr.SupportedFormats"
SUPPORTED_PRIORITIES: Final = "DisplayMessageCtrlr.SupportedPriorities"
DISPLAY: Final = "Display"  # the component of every display
MESSAGES_PER_NOTIFICATION: Final = 10  # of 512 characters each: frames stay below 16 kB
NOTIFICATIONS_MAX: Final = 20  # waiting; one report has 5 of them at most
FALLBACK_LANGUAGE: Final = "en"  # O01.FR.09


def is_supported(ctx: Context) -> bool:
    return ctx.variable_boolean(AVAILABLE)


def messages_max(ctx: Context) -> int:
    """How many messages are stored at most: DisplayMessages.maxLimit. O01.FR.11."""
    return ctx.product.device_model.by_path[STORED_MESSAGES].max_limit or 0


# --- Set -----------------------------------------------------------------------------------------


def set_display_message(
    ctx: Context, call: Call, request: SetDisplayMessageRequest
) -> Iterator[Decision]:
    """Store a message, or refuse it with the reason. O01, O02, O06."""
    if not is_supported(ctx):
        yield call_error(call, "NotSupported", f"{call.action} is not supported by this station")
        return
    refusal = _refuse_message(ctx, request.message)
    if refusal:
        yield call_result(call, refusal)
        return
    message = _message_from_info(request.message)
    for other in ctx.state.display_messages.messages:
        if other.priority == message.priority == "AlwaysFront" and other.id != message.id:
            yield DisplayMessageRemoved(other.id, "ReplacedInFront")  # O01.FR.16, O02.FR.18
    yield DisplayMessageSet(message)
    yield call_result(call, SetDisplayMessageResponse(status="Accepted"))


def _refuse_message(ctx: Context, info: MessageInfoType) -> SetDisplayMessageResponse | None:
    """The response to a message that cannot be shown; None: it can."""
    if not ctx.variable_boolean(ENABLED):
        return SetDisplayMessageResponse(status="Rejected", status_info=NOT_ENABLED)
    if info.priority not in ctx.variable_list(SUPPORTED_PRIORITIES):
        return SetDisplayMessageResponse(status="NotSupportedPriority")  # O01.FR.01, O02.FR.03
    if info.message.format not in ctx.variable_list(SUPPORTED_FORMATS):
        return SetDisplayMessageResponse(status="NotSupportedMessageFormat")  # O01.FR.03, O02.FR.05
    if info.transaction_id and ctx.state.transactions.by_id(info.transaction_id) is None:
        return SetDisplayMessageResponse(status="UnknownTransaction")  # O02.FR.01
    if info.display and not _is_known_display(ctx, info.display):
        return _reject("NotFound", f"there is no display {info.display.name}")  # O01.FR.22
    start_at, end_at = to_utc_text(info.start_date_time), to_utc_text(info.end_date_time)
    if end_at and (has_passed(end_at, ctx.now) or (start_at and end_at <= start_at)):
        return _reject("InvalidValue", "endDateTime is in the past, or not after startDateTime")
    if not _has_room(ctx, info):
        return _reject("TooManyElements", f"at most {messages_max(ctx)} messages are stored")
    return None


def _reject(code: str, text: str) -> SetDisplayMessageResponse:
    return SetDisplayMessageResponse(status="Rejected", status_info=status_info(code, text))


def _is_known_display(ctx: Context, component: ComponentType) -> bool:
    """Whether a component is a display of the product. Errata 2.56: O01.FR.21 to 23."""
    if component.name.lower() != DISPLAY.lower():
        return False
    found = ctx.product.device_model.find_variable(
        Component(
            component.name,
            component.instance,
            component.evse.id if component.evse else None,
            component.evse.connector_id if component.evse else None,
        ),
        "Available",
    )
    return not isinstance(found, Refusal)


def _has_room(ctx: Context, info: MessageInfoType) -> bool:
    """Whether the store is not full after this message has replaced others. O01.FR.11."""
    replaced = [
        message
        for message in ctx.state.display_messages.messages
        if message.id == info.id or message.priority == info.priority == "AlwaysFront"
    ]
    stored = len(ctx.state.display_messages.messages)
    return stored - len(replaced) < messages_max(ctx)


def _message_from_info(info: MessageInfoType) -> DisplayMessage:
    return DisplayMessage(
        id=info.id,
        priority=info.priority,
        format=info.message.format,
        content=info.message.content,
        language=info.message.language,
        state=info.state,
        start_at=to_utc_text(info.start_date_time),
        end_at=to_utc_text(info.end_date_time),
        transaction_id=info.transaction_id,
        display=info.display.name if info.display else None,
    )


def _info_from_message(message: DisplayMessage) -> MessageInfoType:
    return MessageInfoType(
        id=message.id,
        priority=message.priority,  # type: ignore[arg-type]
        message=MessageContentType(
            format=message.format,  # type: ignore[arg-type]
            content=message.content,
            language=message.language,
        ),
        display=ComponentType(name=message.display) if message.display else None,
        state=message.state,  # type: ignore[arg-type]
        start_date_time=message.start_at,  # type: ignore[arg-type]
        end_date_time=message.end_at,  # type: ignore[arg-type]
        transaction_id=message.transaction_id,
    )


# --- Report and clear ----------------------------------------------------------------------------


def get_display_messages(
    ctx: Context, call: Call, request: GetDisplayMessagesRequest
) -> Iterator[Decision]:
    """Report the messages that match all criteria, in pages. O03.FR.01 to 06, O04.FR.01 to 07."""
    if not is_supported(ctx):
        response = GetDisplayMessagesResponse(status="Unknown", status_info=UNSUPPORTED_REQUEST)
        yield call_result(call, response)
        return
    matching = [
        message
        for message in ctx.state.display_messages.messages
        if (request.id is None or message.id in request.id)
        and request.priority in (None, message.priority)
        and request.state in (None, message.state)
    ]
    if not matching:
        yield call_result(call, GetDisplayMessagesResponse(status="Unknown"))
        return
    if ctx.state.outbox.general_count("NotifyDisplayMessages") >= NOTIFICATIONS_MAX:
        yield call_error(call, "GenericError", "earlier reports are not delivered yet")
        return
    yield call_result(call, GetDisplayMessagesResponse(status="Accepted"))
    for start in range(0, len(matching), MESSAGES_PER_NOTIFICATION):
        end = start + MESSAGES_PER_NOTIFICATION
        notification = NotifyDisplayMessagesRequest(
            request_id=request.request_id,
            message_info=tuple(_info_from_message(message) for message in matching[start:end]),
            tbc=end < len(matching),
        )
        yield from queue_call(ctx, notification, solicited=True)


def clear_display_message(
    ctx: Context, call: Call, request: ClearDisplayMessageRequest
) -> Iterator[Decision]:
    """Remove a message. O05.FR.01, O05.FR.02."""
    if ctx.state.display_messages.by_id(request.id) is None:
        information = None if is_supported(ctx) else UNSUPPORTED_REQUEST
        response = ClearDisplayMessageResponse(status="Unknown", status_info=information)
        yield call_result(call, response)
        return
    yield DisplayMessageRemoved(request.id, "Cleared")
    yield call_result(call, ClearDisplayMessageResponse(status="Accepted"))


# --- Messages that are over ----------------------------------------------------------------------


def remove_ended_messages(ctx: Context) -> Iterator[Decision]:
    """Remove messages whose end or whose transaction is over. O01.FR.07, O02.FR.02, O02.FR.07.

    Not with a clock that may be wrong: the message is not shown then, but kept.
    """
    is_clock_right = ctx.state.clock.synchronized
    for message in ctx.state.display_messages.messages:
        if is_clock_right and message.end_at is not None and has_passed(message.end_at, ctx.now):
            yield DisplayMessageRemoved(message.id, "Ended")
        elif (
            message.transaction_id is not None
            and ctx.state.transactions.by_id(message.transaction_id) is None
        ):
            yield DisplayMessageRemoved(message.id, "TransactionEnded")


def next_message_due_ms(ctx: Context) -> int | None:
    """Uptime at which the next message begins or ends. O01.FR.06, O01.FR.07."""
    moments = (
        datetime.fromisoformat(moment)
        for message in ctx.state.display_messages.messages
        for moment in (message.start_at, message.end_at)
        if moment is not None and not has_passed(moment, ctx.now)
    )
    next_moment = min(moments, default=None)
    if next_moment is None:
        return None
    return ctx.uptime_ms - (ctx.now - next_moment) // timedelta(milliseconds=1)


# --- What is shown -------------------------------------------------------------------------------


def shown_messages(ctx: Context, evse_id: int, language: str) -> tuple[DisplayMessage, ...]:
    """The messages for an EVSE now, all of one priority; the order is that of their cycle."""
    messages = ctx.state.display_messages.messages
    if not messages or not is_supported(ctx) or not ctx.variable_boolean(ENABLED):
        return ()
    applicable = [message for message in messages if _applies(ctx, message, evse_id)]
    for priority in ("AlwaysFront", "InFront", "NormalCycle"):
        of_priority = [message for message in applicable if message.priority == priority]
        if of_priority:
            return tuple(_choose_language(of_priority, language))
    return ()


def _applies(ctx: Context, message: DisplayMessage, evse_id: int) -> bool:
    if message.start_at is not None and not has_passed(message.start_at, ctx.now):
        return False
    if message.end_at is not None and has_passed(message.end_at, ctx.now):
        return False
    if message.transaction_id is not None:
        transaction = ctx.state.transactions.by_id(message.transaction_id)
        if transaction is None or transaction.evse_id != evse_id:
            return False
    return message.state in (None, message_state(ctx, evse_id))


def message_state(ctx: Context, evse_id: int) -> str:
    """MessageStateEnumType of an EVSE."""
    status = current_evse_status(ctx, evse_id)
    if status in ("Faulted", "Unavailable"):
        return status
    return "Charging" if charging_state(ctx, evse_id) == "Charging" else "Idle"


def _choose_language(messages: list[DisplayMessage], language: str) -> Iterator[DisplayMessage]:
    """Of each message that is there in several languages, those that fit best."""
    languages: dict[object, set[str]] = {}
    for message in messages:
        languages.setdefault(_occasion(message), set()).add(_primary_language(message))
    for message in messages:
        offered = languages[_occasion(message)]
        wanted = next((each for each in (language, FALLBACK_LANGUAGE) if each in offered), None)
        if wanted is None or _primary_language(message) in (wanted, ""):
            yield message


def _occasion(message: DisplayMessage) -> object:
    """What translations of a message have in common."""
    return (
        message.state, message.start_at, message.end_at, message.transaction_id, message.display,
    )  # fmt: skip


def _primary_language(message: DisplayMessage) -> str:
    return (message.language or "").partition("-")[0].lower()


CALLS: Final[dict[str, CallHandler]] = {
    "SetDisplayMessage": set_display_message,
    "GetDisplayMessages": get_display_messages,
    "ClearDisplayMessage": clear_display_message,
}
DEADLINES: Final[tuple[Deadline, ...]] = (next_message_due_ms,)
RULES: Final[tuple[Rule, ...]] = (remove_ended_messages,)
REASONS: Final[Reasons] = {
    DisplayMessageSet: Reason("the CSMS requested it", "O01, O02"),
    DisplayMessageRemoved: ReasonTable(
        {
            "Cleared": Reason("the CSMS requested it", "O05.FR.01"),
            "ReplacedInFront": Reason("there is one AlwaysFront message at most", "O01.FR.16"),
            "Ended": Reason("its endDateTime has passed", "O01.FR.07"),
            "TransactionEnded": Reason("its transaction has ended", "O02.FR.02"),
        },
        attrgetter("reason"),
    ),
}
ANSWER_REASONS: Final[AnswerReasons] = {
    ("GetDisplayMessages", "Unknown"): Reason("no stored message matches"),
    ("SetDisplayMessage", "NotSupportedMessageFormat"): Reason(
        "the display does not support that format", "O01.FR.03, O02.FR.05"
    ),
    ("SetDisplayMessage", "NotSupportedPriority"): Reason(
        "the station does not support that priority", "O01.FR.01, O02.FR.03"
    ),
    ("SetDisplayMessage", "UnknownTransaction"): Reason(
        "that transaction is not open", "O02.FR.01"
    ),
}
CALL_REASONS: Final = {
    "NotifyDisplayMessages": Reason("the CSMS requested the messages", "O03.FR.02, O04.FR.03")
}
REFUSALS: Final[Refusals] = {
    ("SetDisplayMessage", "NotFound"): "O01.FR.22",
    ("SetDisplayMessage", "TooManyElements"): "O01.FR.11",
}
