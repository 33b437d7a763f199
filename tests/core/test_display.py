"""What the EV driver reads: each step of a session, refusals, faults, languages."""

from __future__ import annotations

import string
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from journal.observations import (
    ExternalLimitReported,
    LimitPeriod,
    LinkClosed,
    SafeModeEntered,
    StopButtonPressed,
)
from station.core.display import EvseDisplay, LiveReading, render_display
from station.core.display_rows import compose_rows
from station.core.display_situation import FAULT_TEXTS, ShownMessage
from station.runtime.hardware.fault_registry import FAULT_RULES
from station.texts import LANGUAGES, TEXTS, find_language
from tests.support.story import (
    ALICE,
    BOB,
    BOOTED,
    CONFIGURED,
    LINK_OPENED,
    ONLINE,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    called,
    charging_started,
    charging_stopped,
    contactor_reported,
    device_faulted,
    device_recovered,
    flow_reported,
    given,
    id_token_named,
    in_transaction,
    meter_read,
    presented,
    result_received_for,
    shown_at,
    time_passed,
)


def situations(station: Station) -> tuple[str, str]:
    return shown_at(station, 1).situation, shown_at(station, 2).situation


def rows_of(station: Station, columns: int = 40, rows: int = 4) -> tuple[str, ...]:
    display = render_display(station.desired.display, {}, station.uptime_ms)
    return compose_rows(display, columns, rows, 0)


# --- A session, step by step ---------------------------------------------------------------------


def test_a_session_card_first() -> None:
    station = given(ONLINE)
    assert situations(station) == ("evse.available", "evse.available")
    station.when(presented(ALICE))
    assert situations(station) == ("card.checking", "card.checking")
    station.when(result_received_for("Authorize", idTokenInfo={"status": "Accepted"}))
    assert situations(station) == ("evse.taken_by_card", "evse.taken_by_card")
    assert shown_at(station, 1).help == "Plug in the cable within 60 s."
    station.when(time_passed(seconds=9.5))
    assert shown_at(station, 1).help == "Plug in the cable within 51 s."
    station.with_csms(accept_everything, cable_plugged(1))
    assert situations(station) == ("evse.connecting", "evse.available")
    station.with_csms(accept_everything, charging_started(1))
    assert situations(station) == ("evse.charging", "evse.available")
    station.with_csms(accept_everything, time_passed(seconds=3), presented(ALICE))
    assert situations(station) == ("evse.finishing", "evse.available")
    station.with_csms(accept_everything, charging_stopped(1))
    assert situations(station) == ("evse.finished", "evse.available")
    station.with_csms(accept_everything, cable_unplugged(1))
    assert situations(station) == ("evse.receipt", "evse.available")
    station.when(time_passed(seconds=61))
    assert situations(station) == ("evse.available", "evse.available")


def test_a_session_cable_first() -> None:
    station = given(ONLINE, cable_plugged(2))
    assert situations(station) == ("evse.available", "evse.plugged_in")
    station.when(presented(ALICE))
    assert situations(station) == ("evse.available", "card.checking")
    station.when(result_received_for("Authorize", idTokenInfo={"status": "Accepted"}))
    assert situations(station) == ("evse.available", "evse.connecting")


def test_the_steps_of_the_preparation_come_from_the_charge_controller() -> None:
    station = given(ONLINE, cable_plugged(1), presented(ALICE))
    for step, headline in (("insulation_test", "Safety test"), ("precharge", "Almost ready")):
        live = {1: LiveReading(step=step)}  # type: ignore[arg-type]
        display = render_display(station.desired.display, live, station.uptime_ms)
        assert display.evses[0].headline == headline


def test_the_amounts_of_a_session_and_of_its_receipt() -> None:
    station = given(ONLINE, meter_read(1, "1000"), in_transaction(1))
    station.with_csms(
        accept_everything, time_passed(seconds=150), meter_read(1, "8655", power_w="97700")
    )
    shown = shown_at(station, 1)
    assert shown.amounts.energy_kwh == Decimal("7.66")
    assert shown.amounts.charging_seconds == 150
    live = {1: LiveReading(power_w=Decimal("97651"), register_wh=Decimal("9655"), soc_percent=45)}
    display = render_display(station.desired.display, live, station.uptime_ms)
    assert display.evses[0].amount_texts == ("97.7 kW", "8.66 kWh", "2 min", "45 %")
    station.with_csms(accept_everything, presented(ALICE), meter_read(1, "9700"))
    assert render_display(station.desired.display, live, 0).evses[0].amounts.power_kw is None
    station.with_csms(accept_everything, charging_stopped(1), cable_unplugged(1))
    receipt = shown_at(station, 1)
    assert receipt.situation == "evse.receipt"
    assert receipt.amount_texts == ("8.70 kWh", "2 min")


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_a_session_of_less_than_a_minute_is_shown_in_seconds(language: str) -> None:
    station = given(ONLINE, meter_read(1, "1000"), in_transaction(1))
    station.with_csms(accept_everything, time_passed(seconds=42), presented(ALICE))
    station.with_csms(
        accept_everything, meter_read(1, "1400"), charging_stopped(1), cable_unplugged(1)
    )
    situation = station.desired.display
    first, *others = situation.evses
    situation = replace(situation, evses=(replace(first, language=language), *others))
    display = render_display(situation, {}, station.uptime_ms)
    receipt = display.evses[0]
    assert receipt.situation == "evse.receipt"
    seconds = receipt.amounts.charging_seconds
    assert seconds is not None
    assert 42 <= seconds < 60
    assert receipt.amount_texts[-1] == f"{seconds} s"
    assert f"{seconds} s" in compose_rows(display, 40, 4, 0)[0]


def test_a_meter_that_runs_backwards_has_no_energy_on_the_display() -> None:
    station = given(ONLINE, meter_read(1, "1000"), in_transaction(1))
    station.when(meter_read(1, "10"))
    assert shown_at(station, 1).amounts.energy_kwh is None


def test_paused_by_the_car_and_by_the_station() -> None:
    station = given(ONLINE, in_transaction(1))
    station.with_csms(accept_everything, flow_reported(1, "suspended_ev"))
    assert shown_at(station, 1).situation == "evse.paused_by_car"
    station.with_csms(accept_everything, flow_reported(1, "suspended_evse"))
    assert shown_at(station, 1).situation == "evse.paused_by_station"


def external_limit(limit_w: int | None) -> ExternalLimitReported:
    """Of the energy management, for EVSE 1; None: lifted."""
    periods = () if limit_w is None else (LimitPeriod(0, Decimal(limit_w)),)
    return ExternalLimitReported(1, "ems", "EMS", periods)


def test_a_limit_is_named_with_its_source() -> None:
    station = given(ONLINE, in_transaction(1))
    station.with_csms(accept_everything, external_limit(40_000))
    assert shown_at(station, 1).situation == "evse.charging_limited"
    assert shown_at(station, 1).help.startswith(
        "At most 40.0 kW, limited by the energy management."
    )
    station.with_csms(
        accept_everything,
        external_limit(0),
        flow_reported(1, "suspended_evse"),
    )
    assert shown_at(station, 1).situation == "evse.paused_by_limit"
    station.with_csms(accept_everything, external_limit(None), flow_reported(1, "charging"))
    assert shown_at(station, 1).situation == "evse.charging"


def test_unplug_is_never_asked_for_while_the_contactors_are_closed() -> None:
    station = given(ONLINE, in_transaction(1))
    station.with_csms(accept_everything, StopButtonPressed(1), flow_reported(1, "none"))
    assert shown_at(station, 1).help == "Do not unplug yet."
    station.with_csms(accept_everything, contactor_reported(1, closed=False))
    assert shown_at(station, 1).situation == "evse.finished"


# --- Cards ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    [
        "Blocked", "ConcurrentTx", "Expired", "Invalid", "NoCredit", "NotAllowedTypeEVSE",
        "NotAtThisLocation", "NotAtThisTime", "Unknown",
    ],
)  # fmt: skip
def test_each_refusal_of_the_csms_has_its_own_words(status: str) -> None:
    station = given(ONLINE)
    station.when(presented(ALICE), result_received_for("Authorize", idTokenInfo={"status": status}))
    assert situations(station) == (f"refused.{status}", f"refused.{status}")
    station.when(time_passed(seconds=8))
    assert situations(station) == ("evse.available", "evse.available")


def test_a_card_without_a_free_cable_is_answered_beside_the_running_sessions() -> None:
    station = given(ONLINE, in_transaction(1), in_transaction(2, BOB))
    station.when(presented(id_token_named("carol")))
    assert situations(station) == ("evse.charging", "evse.charging")
    rows = rows_of(station)
    assert rows[0].startswith("1  Charging")
    assert rows[2:] == ("No place is free", "Every cable is in use. Try again when")


def test_a_second_tap_is_answered() -> None:
    station = given(ONLINE, presented(ALICE))
    station.when(time_passed(seconds=1), presented(ALICE))
    notice = station.desired.display.notice
    assert notice is not None
    assert notice.words.headline == "card.accepted_already"


def test_a_card_that_cancels_before_plugging_in_is_answered() -> None:
    station = given(ONLINE, presented(ALICE))
    station.when(time_passed(seconds=3), presented(ALICE))
    assert situations(station) == ("card.cancelled", "card.cancelled")


def test_an_offline_station_says_which_cards_it_accepts() -> None:
    station = given(ONLINE, LinkClosed("lost"))
    assert situations(station) == ("evse.available_offline",) * 2
    station.when(presented(ALICE))
    assert situations(station) == ("refused.Offline",) * 2


def test_the_stop_button_of_an_idle_evse_is_answered() -> None:
    station = given(ONLINE, StopButtonPressed(2))
    assert situations(station) == ("evse.available", "stop_button.nothing")


# --- Not usable ----------------------------------------------------------------------------------


def test_before_the_first_reports_nothing_is_claimed() -> None:
    station = given(CONFIGURED, BOOTED)
    assert situations(station) == ("evse.starting", "evse.starting")


def test_a_station_that_the_csms_has_not_accepted_says_so() -> None:
    station = Station(given(ONLINE).product)
    station.when(CONFIGURED, BOOTED, *IDLE_STEPS, LINK_OPENED)
    assert situations(station) == ("evse.not_accepted",) * 2


IDLE_STEPS = tuple(
    step
    for evse_id in (1, 2)
    for step in (cable_unplugged(evse_id), contactor_reported(evse_id, closed=False))
)


def test_out_of_service_by_the_csms() -> None:
    station = given(ONLINE)
    station.when(called("ChangeAvailability", operationalStatus="Inoperative", evse={"id": 1}))
    assert situations(station) == ("evse.out_of_service", "evse.available")


def test_safe_mode_asks_for_service_and_charges() -> None:
    station = given(ONLINE, SafeModeEntered(("station.toml: unreadable",)))
    assert situations(station) == ("evse.service_needed",) * 2


def test_every_fault_with_a_text_of_its_own_exists() -> None:
    assert {"/".join(name) for name in FAULT_TEXTS} <= set(FAULT_RULES)


@pytest.mark.parametrize(
    ("device", "fault", "key"),
    [(*name, key) for name, key in FAULT_TEXTS.items()]
    + [("insulation", "lost", "fault.other"), ("cable", "sensor_broken", "fault.other")],
)
def test_each_fault_says_what_it_is_and_ends_with_it(device: str, fault: str, key: str) -> None:
    station = given(ONLINE, device_faulted(1, device, fault))
    assert situations(station) == (key, "evse.available")
    station.when(device_recovered(1, device, fault))
    assert situations(station) == ("evse.available", "evse.available")


def test_a_fault_while_charging_asks_to_wait_then_to_unplug() -> None:
    station = given(ONLINE, in_transaction(1))
    station.with_csms(accept_everything, device_faulted(1, "emergency_stop", "pressed"))
    assert shown_at(station, 1).headline == "Emergency stop"
    assert shown_at(station, 1).help == "Do not unplug yet."
    station.with_csms(accept_everything, charging_stopped(1))
    assert shown_at(station, 1).help.startswith("Turn the red button to release it.")


def test_a_fault_is_not_covered_by_a_card() -> None:
    station = given(ONLINE, device_faulted(1), presented(ALICE, evse_id=1))
    assert shown_at(station, 1).situation == "fault.other"
    assert station.desired.display.notice is not None


# --- Texts ---------------------------------------------------------------------------------------


def fields_of(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_with_its_fields(language: str) -> None:
    reference, texts = TEXTS[LANGUAGES[0]], TEXTS[language]
    assert set(texts) == set(reference)
    assert {key: fields_of(text) for key, text in texts.items()} == {
        key: fields_of(text) for key, text in reference.items()
    }
    too_long = [text for key, text in texts.items() if key.endswith("headline") and len(text) > 24]
    assert too_long == []


@pytest.mark.parametrize(
    ("tag", "language"),
    [("de", "de"), ("de-CH", "de"), ("EN-us", "en"), ("it", None), ("", None), (None, None)],
)
def test_a_language_is_found_by_its_primary_subtag(tag: str | None, language: str | None) -> None:
    assert find_language(tag) == language


@pytest.mark.parametrize(
    ("tags", "headline"),
    [
        ({"language1": "de-DE", "language2": "fr"}, "Angenommen"),  # C01.FR.08
        ({"language1": "nl", "language2": "fr-BE"}, "Acceptée"),  # C01.FR.09
        ({"language1": "nl", "language2": "da"}, "Accepted"),  # C01.FR.12, C01.FR.13
        ({}, "Accepted"),
    ],
)
def test_the_language_of_the_ev_driver_c01_fr_08_09_12_13(
    tags: dict[str, str], headline: str
) -> None:
    station = given(ONLINE)
    info = {"status": "Accepted", **tags}
    station.when(presented(ALICE), result_received_for("Authorize", idTokenInfo=info))
    assert shown_at(station, 1).headline == headline
    station.when(time_passed(seconds=61))
    assert shown_at(station, 1).headline == "Welcome"


def test_numbers_have_the_decimal_point_of_the_language() -> None:
    station = given(ONLINE, meter_read(1, "1000"), in_transaction(1))
    station.when(meter_read(1, "1250"))
    display = render_display(station.desired.display, {}, station.uptime_ms, "de")
    assert display.evses[0].headline == "Lädt"
    assert display.evses[0].amount_texts == ("0,25 kWh", "0 s")


# --- Rows ----------------------------------------------------------------------------------------


def evse_display(evse_id: int, headline: str, help_text: str, *amounts: str) -> EvseDisplay:
    return EvseDisplay(evse_id, "", "ready", headline, help_text, "en", amount_texts=tuple(amounts))


def test_rows_drop_the_amounts_that_do_not_fit() -> None:
    station = given(ONLINE)
    display = render_display(station.desired.display, {}, 0)
    evse = evse_display(1, "Charging", "Stop: card.", "97.7 kW", "12.34 kWh", "120 min")
    display = replace(display, evses=(evse,))
    assert compose_rows(display, 30, 2, 0) == ("1  Charging  97.7 kW", "Stop: card.")
    assert compose_rows(display, 32, 2, 0)[0] == "1  Charging  97.7 kW  12.34 kWh"


def test_long_help_is_shown_in_pages() -> None:
    station = given(ONLINE)
    first, second = (
        rows_of_at(station, elapsed_ms=elapsed_ms, columns=20) for elapsed_ms in (0, 4_000)
    )
    assert first[2:] == ("Plug in the cable", "and present your")
    assert second[2:] == ("card.",)


def rows_of_at(station: Station, *, elapsed_ms: int, columns: int) -> tuple[str, ...]:
    display = render_display(station.desired.display, {}, station.uptime_ms)
    return compose_rows(display, columns, 4, elapsed_ms)


def message(message_id: int, priority: str, content: str) -> ShownMessage:
    return ShownMessage(message_id, priority, content)


def area_at(evse: EvseDisplay, *, seconds: int, **fields: Any) -> tuple[str, ...]:
    """The text area of a display of 20 by 3, after a time, with one EVSE."""
    display = render_display(given(ONLINE).desired.display, {}, 0)
    display = replace(display, evses=(evse,), **fields)
    return compose_rows(display, 20, 3, seconds * 1000)[1:]


def test_messages_of_the_normal_cycle_take_turns_with_our_texts_o01_fr_12() -> None:
    evse = replace(
        evse_display(1, "Welcome", "Plug in."),
        cost="Total: 3 EUR",
        messages=(message(1, "NormalCycle", "Coffee inside"),),
    )
    shown = [area_at(evse, seconds=seconds) for seconds in (0, 4, 8, 12)]
    assert shown == [("Plug in.",), ("Total: 3 EUR",), ("Coffee inside",), ("Plug in.",)]


def test_messages_in_front_have_the_text_area_o01_fr_13_fr_14_fr_15() -> None:
    front = (message(1, "InFront", "Closed on Sunday"), message(2, "InFront", "Sale"))
    evse = replace(evse_display(1, "Welcome", "Plug in."), messages=front)
    shown = [area_at(evse, seconds=seconds) for seconds in (0, 4, 8)]
    assert shown == [("Closed on Sunday",), ("Sale",), ("Closed on Sunday",)]


def test_an_ev_driver_who_has_to_act_reads_it_beside_a_message_in_front() -> None:
    always = (message(1, "AlwaysFront", "Closed on Sunday"),)
    evse = replace(evse_display(1, "Finished", "Unplug."), mood="done", messages=always)
    assert area_at(evse, seconds=0) == ("1: Unplug.", "Closed on Sunday")
    card = {"notice_headline": "Refused", "notice_help": "Try later."}
    assert area_at(evse, seconds=0, **card) == ("Refused. Try later.", "Closed on Sunday")


def test_no_row_is_longer_than_the_display_and_none_is_too_many() -> None:
    station = given(ONLINE, in_transaction(1), presented(BOB))
    for columns in (8, 16, 20, 40):
        for rows in (1, 2, 3, 4, 8):
            for uptime_ms in range(0, 40_000, 4_000):
                display = render_display(station.desired.display, {}, uptime_ms)
                shown = compose_rows(display, columns, rows, uptime_ms)
                assert len(shown) <= rows
                assert all(len(row) <= columns for row in shown)
