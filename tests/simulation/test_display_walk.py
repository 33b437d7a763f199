"""The display in simulated worlds: no text claims what is not so, and every action is answered.

`DisplayWitness` renders the display after each commit, in every language, and compares it with the
state that is in the file. What is claimed by each situation is in `CLAIMS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from journal.events import Entry
from journal.observations import CableReported, IdTokenPresented, StopButtonPressed
from journal.state import State
from station.core import display_situation
from station.core.desired import compute_desired_state
from station.core.display import EvseDisplay, LiveReading, StationDisplay, render_display
from station.core.display_rows import compose_rows
from station.core.display_situation import Mood, Words
from station.simulation.invariant_error import check
from station.simulation.invariants import InvariantChecker
from station.simulation.run_plan import run_plan
from station.simulation.seeds import make_plan
from station.texts import LANGUAGES

SEEDS: Final = range(25)
Claim = Callable[[State, int], bool]


def is_free(state: State, evse_id: int) -> bool:
    """No cable, no transaction, no authorization here."""
    return (
        not state.evses.by_id(evse_id).is_plugged_in
        and state.transactions.on_evse(evse_id) is None
        and state.authorizations.on_evse(evse_id) is None
        and state.faults.blocking_fault(evse_id) is None
    )


def is_plugged_in(state: State, evse_id: int) -> bool:
    return state.evses.by_id(evse_id).is_plugged_in


def may_be_unplugged(state: State, evse_id: int) -> bool:
    evse = state.evses.by_id(evse_id)
    return evse.contactor_closed is not True and evse.flow != "charging"


def is_authorized(state: State, evse_id: int) -> bool:
    return state.authorizations.on_evse(evse_id) is not None


def is_charging(state: State, evse_id: int) -> bool:
    return state.evses.by_id(evse_id).flow == "charging" and is_authorized(state, evse_id)


def is_faulted(state: State, evse_id: int) -> bool:
    return state.faults.blocking_fault(evse_id) is not None


def is_offline(state: State, evse_id: int) -> bool:
    return not (state.link.online and state.registration.is_accepted)


CLAIMS: Final[dict[str, tuple[Claim, ...]]] = {
    "evse.available": (is_free,),
    "evse.available_offline": (is_free, is_offline),
    "evse.closed_offline": (is_free, is_offline),
    "evse.taken_by_card": (lambda state, evse_id: not is_plugged_in(state, evse_id),),
    "evse.plugged_in": (
        is_plugged_in,
        may_be_unplugged,
        lambda state, evse_id: not is_authorized(state, evse_id),
    ),
    "evse.connecting": (is_plugged_in, is_authorized),
    "evse.charging": (is_plugged_in, is_charging),
    "evse.charging_free": (is_plugged_in, is_charging),
    "evse.paused_by_car": (is_plugged_in, is_authorized),
    "evse.paused_by_station": (is_plugged_in, is_authorized),
    "evse.finishing": (is_plugged_in,),
    "evse.finished": (is_plugged_in, may_be_unplugged),
    "evse.receipt": (is_free, may_be_unplugged),
    "card.stopped": (is_plugged_in, may_be_unplugged),
    "fault.unplug": (is_faulted, may_be_unplugged),
}


def shows_cable(shown: EvseDisplay, entry: Entry) -> bool:
    """A text of an EVSE with a cable, or without; a fault or a closed EVSE says neither."""
    assert isinstance(entry.event, CableReported)
    if shown.mood in ("fault", "closed") or shown.situation.startswith(("card.", "refused.")):
        return True
    without_cable = shown.situation in (
        "evse.available", "evse.available_offline", "evse.closing", "evse.receipt",
        "evse.service_needed", "evse.taken_by_card", "evse.unplugged", "stop_button.nothing",
    )  # fmt: skip
    return shown.situation == "stop_button.nothing" or without_cable is not entry.event.plugged_in


def shows_stop(shown: EvseDisplay, entry: Entry) -> bool:
    """After the stop button nothing goes on as before."""
    return shown.mood != "charging"


SHOWN_AFTER: Final[dict[type, Callable[[EvseDisplay, Entry], bool]]] = {
    CableReported: shows_cable,
    StopButtonPressed: shows_stop,
}


class DisplayWitness:
    """Checks the display after each commit; replaces methods of `InvariantChecker`."""

    def __init__(self) -> None:
        self.situations: set[str] = set()

    def check_commit(self, checker: InvariantChecker, entries: list[Entry]) -> None:
        assert checker.state is not None
        entry = next((each for each in entries if each.cause is None), entries[0])
        desired = compute_desired_state(checker.product, checker.state, entry)
        check(not desired.failure, "display", desired.failure)
        live = {
            evse.evse_id: LiveReading(power_w=None, soc_percent=50)
            for evse in checker.state.evses.all_evses
        }
        displays = [
            render_display(desired.display, live, entry.uptime_ms, language)
            for language in LANGUAGES
        ]
        for shown in displays:
            compose_rows(shown, 40, 4, 0)
            for evse in shown.evses:
                self.check_evse(checker.state, evse, str(entry))
        self.check_answered(entries, displays[0])

    def check_evse(self, state: State, evse: EvseDisplay, entry: str) -> None:
        self.situations.add(evse.situation)
        for claim in CLAIMS.get(evse.situation, ()):
            check(
                claim(state, evse.evse_id),
                "display",
                f"EVSE {evse.evse_id} shows {evse.situation}, but not {claim}: {entry}",
            )
        check(
            evse.amounts.power_kw is None or evse.mood == "charging",
            "display",
            f"power while {evse.situation}",
        )
        check(bool(evse.headline), "display", f"{evse.situation} has no text")

    def check_answered(self, entries: list[Entry], station: StationDisplay) -> None:
        """What an EV driver did in this commit is answered by what is shown after it."""
        for entry in entries:
            match entry.event:
                case IdTokenPresented():
                    shown = station.notice_headline
                    check(shown, "display", f"a card is not answered: {entry}")
                case CableReported(evse_id=evse_id) | StopButtonPressed(evse_id=evse_id):
                    [evse] = (evse for evse in station.evses if evse.evse_id == evse_id)
                    fits = SHOWN_AFTER[type(entry.event)](evse, entry)
                    check(fits, "display", f"{entry} is answered by {evse.situation}")
                case _:
                    pass


def install_witness(monkeypatch: pytest.MonkeyPatch) -> DisplayWitness:
    """Check the display after each commit of every world."""
    witness = DisplayWitness()
    after_write = InvariantChecker.after_write

    def check_after_write(checker: InvariantChecker, entries: list[Entry]) -> None:
        after_write(checker, entries)
        witness.check_commit(checker, entries)

    monkeypatch.setattr(InvariantChecker, "after_write", check_after_write)
    return witness


def test_no_text_claims_what_is_not_so(monkeypatch: pytest.MonkeyPatch) -> None:
    witness = install_witness(monkeypatch)
    for seed in SEEDS:
        result = run_plan(make_plan(seed))
        assert not result.violation, f"seed {seed}: {result.violation}"
    assert {
        "evse.available", "evse.available_offline", "evse.charging", "evse.connecting",
        "evse.finished", "evse.finishing", "evse.not_accepted", "evse.plugged_in", "evse.receipt",
        "evse.starting", "evse.taken_by_card", "card.checking", "fault.other", "refused.Blocked",
    } <= witness.situations  # fmt: skip


def test_a_text_that_asks_to_unplug_too_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    install_witness(monkeypatch)
    words = display_situation._words

    def hurry(key: str, mood: Mood, due_ms: int | None = None) -> Words:
        return words("evse.finished" if key == "evse.finishing" else key, mood, due_ms)

    monkeypatch.setattr(display_situation, "_words", hurry)
    violations = (run_plan(make_plan(seed)).violation for seed in range(40))
    assert any("evse.finished" in violation for violation in violations)
