"""Which situation the display shows, at each EVSE and for the station as a whole.

`describe_display` follows from the committed state alone, so no text is shown that the journal does
not explain. A situation has keys of texts, moments of the uptime, and numbers, but no text of ours:
`station.core.display` renders it in a language.

At each EVSE the first of these that applies is shown (`_describe_evse`):

1. A fault that blocks charging. Whether the cable may be unplugged follows from the contactors, not
   from the transaction.
2. The cable has not been reported since the start of the program: nothing is known yet.
3. The end of a session: finishing while the contactors are closed or energy flows, then finished.
4. An authorization here: plug in, connecting, charging, paused by the EV or by the station.
5. What keeps new EV drivers away, in the order of `evse_status`; a reservation, without for whom.
6. A cable without an authorization, then an authorization that waits for a cable, then free.

With it go the tariff, the cost and the messages of the CSMS (blocks I and O), in the language of
the EV driver there, if the CSMS sent one, else that of DisplayMessageCtrlr.Language.

A **notice** covers this for a while: the answer to a card or to the stop button, or the receipt
after the cable was unplugged. It never covers a fault, nor the request not to unplug yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final, Literal

import msgspec

from journal.events import IdToken
from journal.observations import DeviceFaulted
from journal.projections.authorizations import Authorization
from journal.projections.ev_driver_actions import PresentedCard
from journal.projections.evses import Evse
from journal.projections.power_limiters import LimitingCause, find_limiting_cause
from journal.projections.transactions import Transaction
from station.core.blocks.c_authorization import AUTHORIZATION_ENABLED
from station.core.blocks.c_connection import connection_due_ms
from station.core.blocks.c_id_token import authorization_allows_evse, may_start_before_accepted
from station.core.blocks.c_local_authorization import (
    OFFLINE_TX_FOR_UNKNOWN_ID,
    accepts_known_offline,
)
from station.core.blocks.evse_conditions import (
    is_closed_for_firmware,
    is_in_service,
    is_out_of_order,
    is_storage_full,
    may_resume,
)
from station.core.blocks.h_kept_evses import find_reserved_facts
from station.core.blocks.i_tariff_and_cost import (
    ShownCost,
    final_cost,
    language_tags,
    running_cost,
    shown_tariff,
)
from station.core.blocks.o_display_messages import shown_messages
from station.core.context import Context
from station.texts import LANGUAGES, TEXTS, find_language

NOTICE_MS: Final = 8_000  # how long the answer to a card or a button is shown
RECEIPT_MS: Final = 60_000  # how long the totals are shown after the cable was unplugged
LANGUAGE: Final = "DisplayMessageCtrlr.Language"
CONTACT_NUMBER: Final = "DisplayMessageCtrlr.ContactNumber"

# The color of a situation: ready for a new EV driver, the EV driver has to act, wait, energy flows,
# no energy for now, finished, not usable, faulted.
Mood = Literal["ready", "act", "wait", "charging", "paused", "done", "closed", "fault"]

# The texts of a fault, by device and kind; other faults: `fault.other`. A text names a cause only
# where the fault proves it: an insulation monitor that does not respond has tested nothing.
FAULT_TEXTS: Final = {
    ("emergency_stop", "pressed"): "fault.emergency_stop",
    ("door", "open"): "fault.door",
    ("dispenser_door", "open"): "fault.door",
    ("mains", "lost"): "fault.mains",
    ("breaker", "tripped"): "fault.mains",
    ("ev", "emergency_stop"): "fault.ev",
    ("ev", "no_precharge"): "fault.ev",
    ("ev", "session_aborted"): "fault.ev",
    ("pilot", "error"): "fault.ev",
    ("insulation", "low"): "fault.insulation",
    ("insulation", "alarm"): "fault.insulation",
    ("insulation", "cable_check"): "fault.insulation",
    ("cable", "over_temperature"): "fault.cable",
}
# Their help also fits while an EV is plugged in.
FAULTS_WITH_OWN_HELP: Final = frozenset({"fault.emergency_stop", "fault.ev", "fault.insulation"})
# Situations in which a card that named no EVSE is answered at an EVSE.
OPEN_MOODS: Final = frozenset({"ready", "act"})
# Situations with the tariff: before a session and while it runs.
TARIFF_MOODS: Final = frozenset({"ready", "act", "wait", "charging", "paused"})


# --- The situation -------------------------------------------------------------------------------


class Words(msgspec.Struct, frozen=True):
    """Keys of the texts of a situation, without `.headline` and `.help`."""

    headline: str
    help: str
    mood: Mood
    due_ms: int | None = None  # uptime at which the `{seconds}` of the help are over
    limit_w: Decimal | None = None  # of the help
    limited_by: str = ""  # ChargingLimitSourceEnumType, or a limiter of PowerLimiterReported


class SessionFigures(msgspec.Struct, frozen=True):
    """Numbers of the session that is shown. Registers as the meter shows them."""

    transaction_id: str
    begin_wh: Decimal | None
    recorded_wh: Decimal | None  # newest register in the journal; of an ended session its last
    is_open: bool
    charging_ms: int  # until `charging_since_ms`
    charging_since_ms: int | None  # uptime; None: no energy flows
    recorded_soc_percent: int | None = None


class ShownMessage(msgspec.Struct, frozen=True):
    """A message of the CSMS that is to be shown. Block O."""

    id: int
    priority: str  # AlwaysFront: alone; InFront: before our texts; NormalCycle: in turn with them
    content: str
    language: str | None = None  # RFC 5646


class Notice(msgspec.Struct, frozen=True):
    """Words that cover a situation until a moment of the uptime; None: while the state says so."""

    words: Words
    until_ms: int | None
    session: SessionFigures | None = None
    cost: ShownCost | None = None


class EvseSituation(msgspec.Struct, frozen=True):
    """What is to be shown at an EVSE."""

    evse_id: int
    words: Words
    language: str
    session: SessionFigures | None = None
    notice: Notice | None = None
    tariff: str = ""  # as the CSMS sent it, or TariffFallbackMessage
    cost: ShownCost | None = None
    messages: tuple[ShownMessage, ...] = ()  # all of one priority


class DisplaySituation(msgspec.Struct, frozen=True):
    """What is to be shown: the part of the desired state that the display follows."""

    words: Words = Words("station.starting", "station.starting", "wait")
    language: str = LANGUAGES[0]
    contact_number: str = ""
    evses: tuple[EvseSituation, ...] = ()
    notice: Notice | None = None  # the answer to the last card


def describe_display(ctx: Context) -> DisplaySituation:
    """The situation after a commit."""
    language = configured_language(ctx)
    card_notice = _describe_card(ctx)
    evses = ctx.state.evses.all_evses
    return DisplaySituation(
        words=_describe_station(ctx),
        language=language,
        contact_number=ctx.variable_text(CONTACT_NUMBER) or "",
        evses=tuple(_describe_evse(ctx, evse, language, card_notice) for evse in evses),
        notice=card_notice,
    )


def describe_out_of_order(evse_ids: Iterator[int]) -> DisplaySituation:
    """The situation if none can be computed: out of order everywhere."""
    words = _words("evse.out_of_order", "fault")
    return DisplaySituation(
        words=_words("station.out_of_order", "fault"),
        evses=tuple(EvseSituation(evse_id, words, LANGUAGES[0]) for evse_id in evse_ids),
    )


def configured_language(ctx: Context) -> str:
    """The language for EV drivers whose own is not known."""
    return find_language(ctx.variable_text(LANGUAGE)) or LANGUAGES[0]


def _words(key: str, mood: Mood, due_ms: int | None = None) -> Words:
    return Words(key, key, mood, due_ms)


def _describe_station(ctx: Context) -> Words:
    """The station as a whole: the first that applies."""
    state = ctx.state
    if is_out_of_order(ctx) or any(
        fault.blocks_charging and fault.evse_id == 0 for fault in state.faults.active
    ):
        return _words("station.out_of_order", "fault")
    if state.lifecycle.restart or state.lifecycle.reset:
        return _words("station.restarting", "closed")
    if any(is_closed_for_firmware(ctx, evse.evse_id) for evse in state.evses.all_evses):
        return _words("station.updating", "closed")
    if not any(evse.is_cable_known for evse in state.evses.all_evses):
        return _words("station.starting", "wait")
    if not state.link.online:
        return _words("station.offline", "ready")
    return _words("station.ready", "ready")


def _describe_evse(
    ctx: Context, evse: Evse, language: str, card_notice: CardNotice | None
) -> EvseSituation:
    words = _evse_words(ctx, evse)
    transaction = ctx.state.transactions.on_evse(evse.evse_id)
    id_token = _id_token_at(ctx, evse, transaction)
    tags = language_tags(ctx, id_token, transaction)
    language = next(filter(None, map(find_language, tags)), language)
    shows_session = _shows_session(ctx, evse)
    return EvseSituation(
        evse_id=evse.evse_id,
        words=words,
        language=language,
        session=_session_figures(ctx, evse) if shows_session else None,
        notice=_evse_notice(ctx, evse, words, card_notice),
        tariff=shown_tariff(ctx, id_token, transaction) if words.mood in TARIFF_MOODS else "",
        cost=_session_cost(ctx, evse) if shows_session else None,
        messages=_describe_messages(ctx, evse.evse_id, language),
    )


def _id_token_at(ctx: Context, evse: Evse, transaction: Transaction | None) -> IdToken | None:
    """The idToken of the EV driver at an EVSE, or of the next one who may plug in there."""
    authorization = ctx.state.authorizations.on_evse(evse.evse_id)
    if authorization:
        return authorization.id_token
    if transaction:
        return transaction.id_token
    if evse.is_plugged_in:
        ended = ctx.state.transactions.last_ended(evse.evse_id)
        return ended.id_token if ended and _is_session_over(ctx, evse) else None
    for authorization in ctx.state.authorizations.unbound:
        if authorization_allows_evse(authorization, evse.evse_id):
            return authorization.id_token
    return None


def _describe_messages(ctx: Context, evse_id: int, language: str) -> tuple[ShownMessage, ...]:
    return tuple(
        ShownMessage(message.id, message.priority, message.content, message.language)
        for message in shown_messages(ctx, evse_id, language)
    )


def _evse_words(ctx: Context, evse: Evse) -> Words:
    """The words for an EVSE without its notice; the order is in the module text."""
    fault = ctx.state.faults.blocking_fault(evse.evse_id)
    if fault:
        return _fault_words(evse, fault)
    if not evse.is_cable_known:
        return _words("evse.starting", "wait")
    if _is_session_over(ctx, evse):
        if evse.is_deenergized:
            return _words("evse.finished", "done")
        return _words("evse.finishing", "wait")
    authorization = ctx.state.authorizations.on_evse(evse.evse_id)
    if authorization:
        return _authorized_words(ctx, evse, authorization)
    if not evse.is_plugged_in and ctx.state.transactions.on_evse(evse.evse_id):
        return _words("evse.closing", "wait")  # unplugged before the contactors were reported open
    return (
        _closed_words(ctx, evse.evse_id)
        or _reserved_words(ctx, evse.evse_id)
        or _free_words(ctx, evse)
    )


def _fault_words(evse: Evse, fault: DeviceFaulted) -> Words:
    """A fault: what it is, and whether to wait, to unplug or to call."""
    key = FAULT_TEXTS.get((fault.device, fault.fault), "fault.other")
    if not evse.is_plugged_in:
        return _words(key, "fault")
    if evse.contactor_closed or evse.flow == "charging":
        return Words(key, "fault.stopping", "fault")
    return Words(key, key if key in FAULTS_WITH_OWN_HELP else "fault.unplug", "fault")


def _is_session_over(ctx: Context, evse: Evse) -> bool:
    """Whether the session of the EV that is plugged in has ended or is ending."""
    if not evse.is_plugged_in:
        return False
    transaction = ctx.state.transactions.on_evse(evse.evse_id)
    if transaction:
        return transaction.stop_order is not None or (
            transaction.authorization_end is not None
            and ctx.state.authorizations.on_evse(evse.evse_id) is None
        )
    ended = ctx.state.transactions.last_ended(evse.evse_id)
    return (
        ended is not None
        and ended.ended_seq > evse.cable_reported_seq
        and ctx.state.authorizations.on_evse(evse.evse_id) is None
    )


def _authorized_words(ctx: Context, evse: Evse, authorization: Authorization) -> Words:
    """An EV driver is authorized here."""
    transaction = ctx.state.transactions.on_evse(evse.evse_id)
    if ctx.state.lifecycle.restart:
        return _words("evse.restarting", "wait")
    if not evse.is_plugged_in:
        due_ms = connection_due_ms(ctx, authorization)
        began = transaction is not None and _has_charged(transaction)
        return _words("evse.unplugged" if began else "evse.taken_by_card", "act", due_ms)
    if evse.flow == "charging":
        if authorization.granted.authorized_by == "NotNeeded":
            return _words("evse.charging_free", "charging")
        return _limited_words(ctx, evse.evse_id, "evse.charging_limited", "charging") or _words(
            "evse.charging", "charging"
        )
    if authorization.suspended:
        return _words("evse.paused_by_card", "act")
    if not may_resume(ctx, evse.evse_id):
        return _words("evse.not_resumed", "act")
    if evse.flow == "suspended_ev":
        return _words("evse.paused_by_car", "paused")
    if evse.flow == "suspended_evse":
        return _limited_words(ctx, evse.evse_id, "evse.paused_by_limit", "paused") or _words(
            "evse.paused_by_station", "paused"
        )
    return _words("evse.connecting", "wait")


def limiting_cause(ctx: Context, evse_id: int) -> LimitingCause | None:
    """What keeps an EVSE below its rated power; None: nothing that is in the journal."""
    cause = find_limiting_cause(ctx.state.power_limits, ctx.state.power_limiters, evse_id)
    power_max_w = next(evse.power_max_w for evse in ctx.product.profile.evse if evse.id == evse_id)
    return None if cause is None or cause.limit_w >= power_max_w else cause


def _limited_words(ctx: Context, evse_id: int, key: str, mood: Mood) -> Words | None:
    """The words for an EVSE that is kept below its rated power; None: it is not."""
    cause = limiting_cause(ctx, evse_id)
    if cause is None or (mood == "paused" and cause.limiter == "ev"):
        return None  # the EV does not pause what the station pauses: its report is of before
    limited_by = cause.limit.limit_source if cause.limit else cause.limiter
    return Words(key, key, mood, limit_w=cause.limit_w, limited_by=limited_by)


def _has_charged(transaction: Transaction) -> bool:
    return transaction.charging_ms > 0 or transaction.charging_since_ms is not None


def _closed_words(ctx: Context, evse_id: int) -> Words | None:
    """What keeps new EV drivers away; None: nothing."""
    if ctx.state.lifecycle.restart or ctx.state.lifecycle.reset:
        return _words("evse.restarting", "closed")
    if is_out_of_order(ctx):
        return _words("evse.out_of_order", "fault")
    if is_storage_full(ctx):
        return _words("evse.storage_full", "closed")
    if is_closed_for_firmware(ctx, evse_id):
        return _words("evse.updating", "closed")
    if not is_in_service(ctx, evse_id):
        return _words("evse.out_of_service", "closed")
    return None


def _reserved_words(ctx: Context, evse_id: int) -> Words | None:
    """The EVSE is kept for a reservation; None: it is not."""
    return _words("evse.reserved", "wait") if any(find_reserved_facts(ctx, evse_id)) else None


def _free_words(ctx: Context, evse: Evse) -> Words:
    """An EVSE in service without an authorization."""
    if not may_start_before_accepted(ctx):
        return _words("evse.not_accepted", "closed")
    if evse.is_plugged_in:
        needs_card = ctx.variable_boolean(AUTHORIZATION_ENABLED, default=True)
        return _words("evse.plugged_in", "act") if needs_card else _words("evse.connecting", "wait")
    for authorization in ctx.state.authorizations.unbound:
        if authorization_allows_evse(authorization, evse.evse_id):
            due_ms = connection_due_ms(ctx, authorization)
            return _words("evse.taken_by_card", "act", due_ms)
    if ctx.state.health.safe_mode_reasons:
        return _words("evse.service_needed", "ready")
    if not ctx.variable_boolean(AUTHORIZATION_ENABLED, default=True):
        return _words("evse.available_free", "ready")
    if ctx.may_send_calls or ctx.variable_boolean(OFFLINE_TX_FOR_UNKNOWN_ID):
        return _words("evse.available", "ready")
    if accepts_known_offline(ctx):
        return _words("evse.available_offline", "ready")
    return _words("evse.closed_offline", "closed")


# --- The figures of a session --------------------------------------------------------------------


def _shows_session(ctx: Context, evse: Evse) -> bool:
    """Whether the last session at an EVSE is that of the EV that is plugged in."""
    if ctx.state.transactions.on_evse(evse.evse_id):
        return True
    return _is_session_over(ctx, evse)


def _session_figures(ctx: Context, evse: Evse) -> SessionFigures | None:
    """The figures of the transaction that is open at an EVSE, or ended there last."""
    transactions, readings = ctx.state.transactions, ctx.state.readings
    registers, reading = readings.session(evse.evse_id), readings.on_evse(evse.evse_id)
    begin_wh = registers.begin_wh if registers else None
    transaction = transactions.on_evse(evse.evse_id)
    if transaction:
        return SessionFigures(
            transaction_id=transaction.transaction_id,
            begin_wh=begin_wh,
            recorded_wh=reading.meter_read.energy_wh if reading else None,
            is_open=True,
            charging_ms=transaction.charging_ms,
            charging_since_ms=transaction.charging_since_ms,
            recorded_soc_percent=reading.meter_read.soc_percent if reading else None,
        )
    ended = transactions.last_ended(evse.evse_id)
    if ended is None:
        return None
    return SessionFigures(
        transaction_id=ended.transaction_id,
        begin_wh=begin_wh,
        recorded_wh=registers.end_wh if registers else None,
        is_open=False,
        charging_ms=ended.charging_ms,
        charging_since_ms=None,
    )


def _session_cost(ctx: Context, evse: Evse) -> ShownCost | None:
    """The cost of the session that is shown."""
    transaction = ctx.state.transactions.on_evse(evse.evse_id)
    if transaction:
        return running_cost(ctx, transaction)
    ended = ctx.state.transactions.last_ended(evse.evse_id)
    return final_cost(ctx, ended) if ended else None


# --- Notices -------------------------------------------------------------------------------------


class CardNotice(Notice, frozen=True):
    """The answer to a card, and the EVSE it was for; None: for any."""

    evse_id: int | None = None


def _describe_card(ctx: Context) -> CardNotice | None:
    """The answer to the card that was presented last; None: it is no longer shown."""
    card = ctx.state.ev_driver_actions.card
    if card is None:
        return None
    if _is_pending(ctx, card.id_token):
        return CardNotice(_words("card.checking", "wait"), None, evse_id=card.evse_id)
    until_ms = card.since_ms + NOTICE_MS
    if ctx.has_reached(until_ms) or _has_receipt(ctx, card):
        return None
    if card.outcome == "accepted" and _authorization_of_card(ctx, card) is None:
        return None  # it has ended since
    return CardNotice(_card_words(ctx, card), until_ms, evse_id=card.evse_id)


def _has_receipt(ctx: Context, card: PresentedCard) -> bool:
    """Whether the session that the card ended is over and its cable unplugged."""
    if card.outcome != "stopping" or card.evse_id is None:
        return False
    ended = ctx.state.transactions.last_ended(card.evse_id)
    is_plugged_in = ctx.state.evses.by_id(card.evse_id).is_plugged_in
    return not is_plugged_in and ended is not None and ended.ended_seq > card.seq


def _is_pending(ctx: Context, id_token: IdToken) -> bool:
    return any(pending.request.id_token == id_token for pending in ctx.state.authorizations.pending)


def _card_words(ctx: Context, card: PresentedCard) -> Words:
    if card.outcome == "refused":
        key = f"refused.{card.refusal}"
        return _words(key if f"{key}.headline" in TEXTS[LANGUAGES[0]] else "refused.other", "act")
    if card.outcome == "stopping":
        return _stopping_words(ctx, card)
    authorization = _authorization_of_card(ctx, card)
    if authorization is None:
        return _words("card.read", "wait")
    if authorization.evse_id is not None:
        return _words("card.accepted_here", "wait")
    due_ms = connection_due_ms(ctx, authorization)
    if card.outcome == "read":
        return _words("card.accepted_already", "act", due_ms)
    return _words("card.accepted", "act", due_ms)


def _stopping_words(ctx: Context, card: PresentedCard) -> Words:
    """The card ended an authorization: before, during or after energy flowed."""
    evse = ctx.state.evses.by_id(card.evse_id or 0)
    if not evse.is_plugged_in:
        return _words("card.cancelled", "ready")
    if evse.is_deenergized:
        return _words("card.stopped", "done")
    return _words("card.stopping", "wait")


def _authorization_of_card(ctx: Context, card: PresentedCard) -> Authorization | None:
    for authorization in ctx.state.authorizations.active:
        if authorization.id_token == card.id_token:
            return authorization
    return None


def _evse_notice(
    ctx: Context, evse: Evse, words: Words, card_notice: CardNotice | None
) -> Notice | None:
    """The notice at an EVSE: of its card, of its stop button, or the receipt."""
    if words.mood == "fault" or words.headline == "evse.finishing":
        return None
    if card_notice and _concerns_evse(card_notice, evse.evse_id, words):
        return Notice(card_notice.words, card_notice.until_ms)
    pressed = ctx.state.ev_driver_actions.stop_button(evse.evse_id)
    if pressed and words.mood in OPEN_MOODS:
        until_ms = pressed.since_ms + NOTICE_MS
        if not ctx.has_reached(until_ms):
            return Notice(_words("stop_button.nothing", "ready"), until_ms)
    return _receipt(ctx, evse, words)


def _concerns_evse(notice: CardNotice, evse_id: int, words: Words) -> bool:
    """Whether a card is answered at an EVSE. Not where the situation itself is the answer."""
    if notice.words.headline.startswith("card.accepted") or words.mood in ("done", "closed"):
        return False
    if notice.evse_id is not None:
        return notice.evse_id == evse_id
    return words.mood in OPEN_MOODS


def _receipt(ctx: Context, evse: Evse, words: Words) -> Notice | None:
    """The totals after the cable was unplugged, until the next EV driver comes."""
    ended = ctx.state.transactions.last_ended(evse.evse_id)
    if ended is None or evse.is_plugged_in or words.mood != "ready":
        return None
    until_ms = max(ended.ended_ms, evse.cable_reported_ms) + RECEIPT_MS
    if ctx.has_reached(until_ms):
        return None
    return Notice(
        _words("evse.receipt", "done"),
        until_ms,
        _session_figures(ctx, evse),
        _session_cost(ctx, evse),
    )
