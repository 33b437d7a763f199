"""What an EV driver reads, at each EVSE and for the station as a whole.

Two pure steps:

    describe_display   state               -> DisplaySituation   part of the desired state
    render_display     situation, readings -> StationDisplay     texts in a language

The situation follows from the committed state (`station.core.display_situation`). Rendering adds
what changes without a commit: live readings, the seconds that are left, the cycle of messages, and
the language. Display, page and tools render the same situation; a renderer of its own would say
something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import msgspec
from msgspec.structs import replace

from station.core.blocks.i_tariff_and_cost import ShownCost
from station.core.display_situation import (
    DisplaySituation,
    EvseSituation,
    Mood,
    Notice,
    SessionFigures,
    ShownMessage,
    Words,
)
from station.texts import TEXTS

PreparationStep = Literal["", "insulation_test", "precharge"]


# --- What is shown -------------------------------------------------------------------------------


class LiveReading(msgspec.Struct, frozen=True):
    """What is measured at an EVSE now; nothing of it is in the journal."""

    step: PreparationStep = ""  # of the charge controller
    power_w: Decimal | None = None
    register_wh: Decimal | None = None
    soc_percent: int | None = None


class Amounts(msgspec.Struct, frozen=True):
    """The numbers of a session; None: not known, or without meaning now."""

    power_kw: Decimal | None = None  # one decimal; only while energy flows
    energy_kwh: Decimal | None = None  # of this session, two decimals
    charging_seconds: int | None = None  # with energy flow
    soc_percent: int | None = None  # of the EV, while it is plugged in
    total_cost: Decimal | None = None  # so far or in total, with every digit of the CSMS
    currency: str = ""  # ISO 4217


class EvseDisplay(msgspec.Struct, frozen=True):
    """The texts of an EVSE in one language."""

    evse_id: int
    situation: str  # key of the headline, without `.headline`
    mood: Mood
    headline: str
    help: str
    language: str
    amounts: Amounts = Amounts()
    amount_texts: tuple[str, ...] = ()  # the known amounts with their units, in this language
    transaction_id: str | None = None
    tariff: str = ""
    cost: str = ""  # the cost as a sentence
    messages: tuple[ShownMessage, ...] = ()


class StationDisplay(msgspec.Struct, frozen=True):
    """The texts of the station and of each EVSE.

    Attributes:
        situation, mood: keys for tests and colors; not for people.
        notice_headline, notice_help: the answer to the last card, while it is shown.
    """

    situation: str
    mood: Mood
    headline: str
    help: str
    language: str
    notice_headline: str = ""
    notice_help: str = ""
    evses: tuple[EvseDisplay, ...] = ()

    @property
    def shown_situations(self) -> tuple[str, ...]:
        """What is shown, without what counts up or down: a change of it is a new text."""
        evses = (f"{evse.situation} {evse.language}" for evse in self.evses)
        messages = (str(message.id) for evse in self.evses for message in evse.messages)
        return (self.situation, self.notice_headline, *evses, *messages)


def render_display(
    situation: DisplaySituation,
    live: Mapping[int, LiveReading],
    uptime_ms: int,
    language: str | None = None,
) -> StationDisplay:
    """The texts of a situation at a moment.

    Args:
        live: readings by EVSE id; without one, what is recorded is shown.
        uptime_ms: of the host, not before the commit that the situation follows from.
        language: one of `LANGUAGES` for all texts; None: that of each EV driver.
    """
    own = language or situation.language
    headline, help_text = _render_words(situation.words, own, situation, uptime_ms)
    notice = _current_notice(situation.notice, uptime_ms)
    notice_texts = _render_words(notice.words, own, situation, uptime_ms) if notice else ("", "")
    return StationDisplay(
        situation=situation.words.headline,
        mood=situation.words.mood,
        headline=headline,
        help=help_text,
        language=own,
        notice_headline=notice_texts[0],
        notice_help=notice_texts[1],
        evses=tuple(
            _render_evse(
                situation,
                evse,
                live.get(evse.evse_id, LiveReading()),
                uptime_ms,
                language or evse.language,
            )
            for evse in situation.evses
        ),
    )


def _current_notice(notice: Notice | None, uptime_ms: int) -> Notice | None:
    if notice is None or (notice.until_ms is not None and uptime_ms >= notice.until_ms):
        return None
    return notice


def _render_evse(
    situation: DisplaySituation,
    evse: EvseSituation,
    live: LiveReading,
    uptime_ms: int,
    language: str,
) -> EvseDisplay:
    notice = _current_notice(evse.notice, uptime_ms)
    words = notice.words if notice else evse.words
    if words.headline == "evse.connecting" and live.step:
        key = f"evse.{live.step}"
        words = Words(key, key, "wait")
    has_session = notice is not None and notice.session is not None
    session = notice.session if notice and has_session else evse.session
    cost = notice.cost if notice and has_session else evse.cost
    headline, help_text = _render_words(words, language, situation, uptime_ms)
    amounts = _compute_amounts(session, evse.words, live, uptime_ms) if session else Amounts()
    if cost and cost.total_cost is not None:
        amounts = replace(amounts, total_cost=cost.total_cost, currency=cost.currency)
    return EvseDisplay(
        evse_id=evse.evse_id,
        situation=words.headline,
        mood=words.mood,
        headline=headline,
        help=help_text,
        language=language,
        amounts=amounts,
        amount_texts=tuple(_render_amounts(amounts, language)),
        transaction_id=session.transaction_id if session else None,
        tariff=evse.tariff,
        cost=_render_cost(cost, language) if cost else "",
        messages=evse.messages,
    )


def _compute_amounts(
    session: SessionFigures, words: Words, live: LiveReading, uptime_ms: int
) -> Amounts:
    charging_ms = session.charging_ms
    if session.charging_since_ms is not None:
        charging_ms += max(0, uptime_ms - session.charging_since_ms)
    if not session.is_open:
        return Amounts(
            energy_kwh=_energy_kwh(session.begin_wh, session.recorded_wh),
            charging_seconds=charging_ms // 1000,
        )
    register_wh = session.recorded_wh if live.register_wh is None else live.register_wh
    soc_percent = live.soc_percent
    if soc_percent is None:
        soc_percent = session.recorded_soc_percent
    return Amounts(
        power_kw=_round(live.power_w / 1000, "0.1")
        if words.mood == "charging" and live.power_w is not None
        else None,
        energy_kwh=_energy_kwh(session.begin_wh, register_wh),
        charging_seconds=charging_ms // 1000,
        soc_percent=soc_percent,
    )


def _energy_kwh(begin_wh: Decimal | None, end_wh: Decimal | None) -> Decimal | None:
    """Energy between two registers; None if one is unknown or the meter was replaced."""
    if begin_wh is None or end_wh is None or end_wh < begin_wh:
        return None
    return _round((end_wh - begin_wh) / 1000, "0.01")


def _round(value: Decimal, unit: str) -> Decimal:
    return value.quantize(Decimal(unit), ROUND_HALF_UP)


# --- Texts ---------------------------------------------------------------------------------------


def _render_words(
    words: Words, language: str, situation: DisplaySituation, uptime_ms: int
) -> tuple[str, str]:
    """Headline and help in a language."""
    texts = TEXTS[language]
    seconds = 0 if words.due_ms is None else max(0, -((uptime_ms - words.due_ms) // 1000))
    number = situation.contact_number
    contact = texts["contact.number"].format(number=number) if number else texts["contact.none"]
    help_text = texts[f"{words.help}.help"].format(
        contact=contact,
        seconds=seconds,
        limit=format_number(_round((words.limit_w or Decimal(0)) / 1000, "0.1"), language),
        source=texts.get(f"limited_by.{words.limited_by}", texts["limited_by.Other"]),
    )
    return texts[f"{words.headline}.headline"], help_text


def _render_amounts(amounts: Amounts, language: str) -> Iterator[str]:
    """The known amounts with their units, the most important first."""
    for name, value in (
        ("power", amounts.power_kw),
        ("energy", amounts.energy_kwh),
        ("cost", amounts.total_cost),
        _charging_time(amounts.charging_seconds),
        ("state_of_charge", amounts.soc_percent),
    ):
        if name == "cost" and amounts.total_cost is not None:
            yield format_money(amounts.total_cost, amounts.currency, language)
        elif value is not None:
            text = format_number(value, language)
            yield TEXTS[language][f"amounts.{name}"].format(value=text)


def _charging_time(seconds: int | None) -> tuple[str, int | None]:
    """Whole minutes; seconds below one minute. The unit, as the key of its text, and the number."""
    if seconds is None or seconds < 60:
        return "seconds", seconds
    return "minutes", seconds // 60


def _render_cost(cost: ShownCost, language: str) -> str:
    """The cost as a sentence; the fallback is shown as it was set."""
    texts = TEXTS[language]
    if cost.total_cost is None:
        return texts["price.pending"] if cost.kind == "pending" else cost.text
    if cost.kind == "final" and not cost.total_cost:
        return texts["price.free"]  # I03.FR.04
    money = format_money(cost.total_cost, cost.currency, language)
    return texts[f"price.{cost.kind}"].format(cost=money)


def format_money(amount: Decimal, currency: str, language: str) -> str:
    """An amount with every digit it has, at least two after the point: exact, never rounded."""
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent > -2:
        amount = amount.quantize(Decimal("0.01"))  # only adds zeros
    text = format_number(amount, language)
    return TEXTS[language]["amounts.cost"].format(value=text, currency=currency).strip()


def format_number(value: Decimal | int, language: str) -> str:
    """A number with every digit it has, and the decimal point of the language."""
    text = str(value) if isinstance(value, int) else f"{value:f}"
    return text.replace(".", TEXTS[language]["language.decimal_point"])
