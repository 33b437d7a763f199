"""What can happen at a station of which it is known beforehand what somebody will ask later?

A scene plays at one EVSE in a time of its own, and knows its questions and their answers. A day is
some scenes one after the other, chosen by dice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final, Literal, NamedTuple

from station.simulation.counterpart import ALICE, BOB, CAROL, MALLORY
from station.simulation.storm import Happening, Plan

SAMPLES_S: Final = 10
LENGTH_S: Final = 200.0  # of a scene; some are away for longer
AWAY_S: Final = 400.0  # longer than TxCtrlr.ResumptionTimeout
SETTLES_S: Final = 40.0  # between two scenes: the connector is free again
VARIABLES: Final = {
    "SampledDataCtrlr.TxUpdatedInterval": str(SAMPLES_S),
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": "3",
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": "5",
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "1",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "0",
    "TxCtrlr.ResumptionTimeout": "300",
    "TxCtrlr.StopTxOnInvalidId": "true",
}

About = Literal["stop", "refusal", "status", "again"]


class Question(NamedTuple):
    """Something that somebody will want to know.

    Attributes:
        about: `stop` of a transaction that began in the time; `again`: of its
            messages that were sent more than once; `refusal`, `status`: of an entry of the time.
        says: must stand in the answer; empty: of `again`, that there was none.
        status: that is asked about.
    """

    about: About
    evse_id: int
    since_s: float
    until_s: float
    says: str
    status: str = ""


class Scene(NamedTuple):
    name: str
    happenings: tuple[Happening, ...]
    questions: tuple[Question, ...]
    ends_s: float


Director = Callable[["Stage"], None]


class Stage:
    """Where and when a scene plays. What is done takes place so many seconds after its begin."""

    def __init__(self, dice: random.Random, begin_s: float, evse_id: int, strangers: Any) -> None:
        self.dice = dice
        self.begin_s = begin_s
        self.evse_id = evse_id
        self.length_s = LENGTH_S
        self._strangers = strangers
        self._happenings: list[Happening] = []
        self._questions: list[tuple[About, str, str]] = []

    @property
    def other(self) -> int:
        return 3 - self.evse_id

    def stranger(self) -> str:
        """A card nobody has seen before."""
        return f"{next(self._strangers):014X}"

    def at(self, at_s: float, what: str, **how: Any) -> None:
        self._happenings.append(Happening(round(self.begin_s + at_s, 3), what, how))

    def asks(self, about: About, says: str, status: str = "") -> None:
        self._questions.append((about, says, status))

    # --- What scenes have in common --------------------------------------------------------------

    def plugs(self, at_s: float = 2) -> None:
        self.at(at_s, "plug_in", evse_id=self.evse_id)

    def leaves(self, at_s: float = 180) -> None:
        self.at(at_s, "unplug", evse_id=self.evse_id)

    def shows(self, at_s: float, who: str) -> None:
        self.at(at_s, "card", who=who, evse_id=self.evse_id)

    def charges(self, who: str = ALICE) -> None:
        """Somebody plugs in, is accepted, and energy flows within 12 s."""
        self.plugs()
        self.shows(4 + self.dice.random(), who)

    def breaks(self, at_s: float, kind: str, seconds: float, evse_id: int | None = None) -> None:
        where = self.evse_id if evse_id is None else evse_id
        device, fault = kind.split()
        self.at(at_s, "fault", evse_id=where, device=device, kind=fault, blocks=True,
                seconds=seconds)  # fmt: skip

    def csms_asks(self, at_s: float, action: str, **payload: Any) -> None:
        self.at(at_s, "asks", action=action, payload=payload)

    def scene(self, name: str) -> Scene:
        until_s = self.begin_s + self.length_s
        questions = tuple(
            Question(about, self.evse_id, self.begin_s, until_s, says, status)
            for about, says, status in self._questions
        )
        happenings = sorted(self._happenings, key=lambda one: one.at_s)
        return Scene(name, tuple(happenings), questions, until_s + SETTLES_S)


# --- Why did it stop? ----------------------------------------------------------------------------


def card_ends(stage: Stage) -> None:
    stage.charges()
    stage.shows(60 + stage.dice.random() * 60, ALICE)
    stage.leaves()
    stage.asks("stop", "the token that began it, or one of its group, was shown (E07.FR.01")


def family_ends(stage: Stage) -> None:
    stage.charges(BOB)
    stage.shows(60 + stage.dice.random() * 60, CAROL)
    stage.leaves()
    stage.asks("stop", "the token that began it, or one of its group, was shown (E07.FR.01")


def button_ends(stage: Stage) -> None:
    stage.charges()
    stage.at(50 + stage.dice.random() * 60, "stop_button", evse_id=stage.evse_id)
    stage.leaves()
    stage.asks("stop", "the stop button was pressed (E07.FR.05")


def ev_is_full(stage: Stage) -> None:
    stage.at(2, "comes", evse_id=stage.evse_id, needs_wh=800 + stage.dice.randrange(500))
    stage.shows(5, ALICE)
    stage.leaves()
    stage.asks("stop", "the EV ended its session (E15.FR.04")


def ev_leaves(stage: Stage) -> None:
    stage.charges()
    stage.leaves(50 + stage.dice.random() * 60)
    stage.asks("stop", "the EV was disconnected (E09.FR.01")


def device_breaks(stage: Stage) -> None:
    kind = stage.dice.choice(["contactor welded", "insulation low"])
    stage.charges()
    stage.breaks(50 + stage.dice.random() * 60, kind, 30)
    stage.leaves()
    stage.asks("stop", f"EVSE {stage.evse_id} had a fault, {kind}: charging was forbidden")
    stage.asks("status", f"EVSE {stage.evse_id} had a fault, {kind}", "Faulted")


def both_break(stage: Stage) -> None:
    """The fault of the other EVSE came first, and has nothing to do with this one."""
    stage.charges()
    stage.breaks(40, "insulation low", 100, evse_id=stage.other)
    stage.breaks(60 + stage.dice.random() * 30, "contactor welded", 30)
    stage.leaves()
    stage.asks(
        "stop", f"EVSE {stage.evse_id} had a fault, contactor welded: charging was forbidden"
    )
    stage.asks("status", f"EVSE {stage.evse_id} had a fault, contactor welded", "Faulted")


def station_breaks(stage: Stage) -> None:
    stage.charges()
    stage.breaks(50 + stage.dice.random() * 60, "mains lost", 30, evse_id=0)
    stage.leaves()
    stage.asks("stop", "the station had a fault, mains lost: charging was forbidden (E06.FR.16")


def csms_stops(stage: Stage) -> None:
    stage.charges()
    stage.at(60 + stage.dice.random() * 60, "stops_remotely", evse_id=stage.evse_id)
    stage.leaves()
    stage.asks("stop", "the CSMS asked for it (F03.FR.02")


def csms_resets(stage: Stage) -> None:
    stage.charges()
    stage.csms_asks(60 + stage.dice.random() * 60, "Reset", type="Immediate")
    stage.leaves()
    stage.asks("stop", "an immediate reset was ordered (B12.FR.04")


def supply_fails(stage: Stage) -> None:
    stage.charges()
    stage.at(60 + stage.dice.random() * 60, "crash", gap_s=AWAY_S, host=True)
    stage.length_s += AWAY_S
    stage.leaves(stage.length_s - 20)
    stage.asks("stop", "the supply was lost, and it could not go on afterwards (OCPP 2.1 E17.FR.20")


def program_ends(stage: Stage) -> None:
    stage.charges()
    stage.at(60 + stage.dice.random() * 60, "crash", gap_s=AWAY_S, host=False)
    stage.length_s += AWAY_S
    stage.leaves(stage.length_s - 20)
    stage.asks("stop", "the program ended, and it could not go on afterwards (OCPP 2.1 E17.FR.20")


def program_ends_for_a_moment(stage: Stage) -> None:
    """The transaction goes on, and ends as it would have."""
    stage.charges()
    stage.at(60 + stage.dice.random() * 20, "crash", gap_s=5, host=False)
    stage.shows(150, ALICE)
    stage.leaves()
    stage.asks("stop", "the token that began it, or one of its group, was shown (E07.FR.01")


def csms_thinks_again(stage: Stage) -> None:
    """Known to the cache, let in without a CSMS, and then not accepted after all."""
    who = BOB
    stage.shows(1, who)  # remembered as accepted
    stage.shows(3, who)  # and away again
    stage.at(8, "network", mode="down", seconds=80)
    stage.plugs(20)
    stage.shows(25, who)
    stage.at(40, "judges", who=who, status="Blocked")
    stage.leaves()
    stage.at(190, "judges", who=who, status="Accepted")
    stage.csms_asks(195, "ClearCache")
    stage.asks("stop", "the CSMS does not accept the token that authorised it (E05.FR.09")


# --- Why was the card refused? -------------------------------------------------------------------


def blocked(stage: Stage) -> None:
    stage.plugs()
    stage.shows(10, MALLORY)
    stage.leaves()
    stage.asks("refusal", "the CSMS says Blocked (C01.FR.07)")


def unknown(stage: Stage) -> None:
    stage.plugs()
    stage.shows(10, stage.stranger())
    stage.leaves()
    stage.asks("refusal", "the CSMS says Unknown (C01.FR.07)")


def blocked_by_the_cache(stage: Stage) -> None:
    stage.plugs()
    stage.shows(10, MALLORY)
    stage.at(20, "network", mode="down", seconds=100)
    stage.shows(60, MALLORY)
    stage.leaves()
    stage.asks("refusal", "the CSMS says Blocked (C01.FR.07)")
    stage.asks("refusal", "the cache knows the token as Blocked (C12")


def nobody_to_ask(stage: Stage) -> None:
    stage.plugs()
    stage.at(10, "network", mode="down", seconds=100)
    stage.shows(60, stage.stranger())
    stage.leaves()
    stage.asks("refusal", "nobody could be asked, and nothing here lets it in (C12, C15.FR.08)")


def broken_for_everybody(stage: Stage) -> None:
    stage.breaks(2, "contactor welded", 100)
    stage.plugs(10)
    stage.shows(30, ALICE)
    stage.leaves()
    stage.asks(
        "refusal", f"EVSE {stage.evse_id} had a fault, contactor welded (ConnectorStatusEnumType)"
    )


def out_of_service(stage: Stage) -> None:
    where = {"id": stage.evse_id}
    stage.csms_asks(2, "ChangeAvailability", operationalStatus="Inoperative", evse=where)
    stage.shows(30, ALICE)
    stage.csms_asks(100, "ChangeAvailability", operationalStatus="Operative", evse=where)
    stage.asks("refusal", f"the CSMS took EVSE {stage.evse_id} out of service (G03.FR.06")
    stage.asks("status", f"the CSMS took EVSE {stage.evse_id} out of service (G03", "Unavailable")


def not_accepted(stage: Stage) -> None:
    """The CSMS has not made up its mind about the station since it began anew."""
    stage.at(2, "registration", status="Pending", interval_s=5, seconds=90)
    stage.at(4, "crash", gap_s=3, host=False)
    stage.plugs(20)
    stage.shows(50, ALICE)
    stage.leaves()
    stage.asks("refusal", "the CSMS had not accepted the station (B03.FR.01)")


def somebody_else_charges(stage: Stage) -> None:
    stage.charges(ALICE)
    stage.shows(60, stage.stranger())
    stage.shows(120, ALICE)
    stage.leaves()
    stage.asks("refusal", "no EVSE was free, and it could end nothing (C09.FR.05)")


# --- Why is it Unavailable? ----------------------------------------------------------------------


def all_out_of_service(stage: Stage) -> None:
    stage.csms_asks(2, "ChangeAvailability", operationalStatus="Inoperative")
    stage.csms_asks(100, "ChangeAvailability", operationalStatus="Operative")
    stage.asks("status", "the CSMS took the station out of service (G04", "Unavailable")


def out_of_service_afterwards(stage: Stage) -> None:
    where = {"id": stage.evse_id}
    stage.charges()
    stage.csms_asks(40, "ChangeAvailability", operationalStatus="Inoperative", evse=where)
    stage.shows(90, ALICE)
    stage.leaves(110)
    stage.csms_asks(150, "ChangeAvailability", operationalStatus="Operative", evse=where)
    stage.asks("status", f"the CSMS took EVSE {stage.evse_id} out of service (G03", "Unavailable")


def about_to_restart(stage: Stage) -> None:
    """Somebody charges next door, and the station waits for that before it restarts."""
    stage.at(2, "plug_in", evse_id=stage.other)
    stage.at(5, "card", who=ALICE, evse_id=stage.other)
    stage.csms_asks(40, "Reset", type="OnIdle")
    stage.at(100, "card", who=ALICE, evse_id=stage.other)
    stage.at(110, "unplug", evse_id=stage.other)
    stage.asks("status", "the station was about to restart (B11.FR.03)", "Unavailable")


def broken(stage: Stage) -> None:
    stage.breaks(10, "insulation low", 60)
    stage.asks("status", f"EVSE {stage.evse_id} had a fault, insulation low", "Faulted")


# --- Why was this message sent twice? ------------------------------------------------------------


def _meets(stage: Stage, mischief: str, seconds: float) -> None:
    """One sample, or a few, of a transaction meet a mischief."""
    stage.charges()
    stage.at(50, "temper", seconds=seconds, **{mischief: 1.0})
    stage.shows(160, ALICE)
    stage.leaves(185)


def refused_by_the_csms(stage: Stage) -> None:
    _meets(stage, "refused", SAMPLES_S)
    stage.asks("again", "sent again: the attempt before failed, InternalError: not today (E13")


def never_answered(stage: Stage) -> None:
    _meets(stage, "lost", SAMPLES_S)
    stage.asks("again", "sent again: the attempt before failed, no answer within 30 s (E13")


def cut_before_the_answer(stage: Stage) -> None:
    _meets(stage, stage.dice.choice(["cut_after", "cut_before"]), SAMPLES_S)
    stage.asks("again", "sent again: the link went with the answer, which is no failure")


def dead_before_the_answer(stage: Stage) -> None:
    stage.charges()
    stage.at(50, "temper", seconds=SAMPLES_S + 5, lost=1.0)
    stage.at(66, "crash", gap_s=3, host=False)
    stage.shows(160, ALICE)
    stage.leaves(185)
    stage.asks("again", "sent again: the program ended before it knew of an answer")


def parked_and_wanted(stage: Stage) -> None:
    """Refused three times, parked, and tried once more because somebody said so."""
    _meets(stage, "refused", SAMPLES_S + 18)
    stage.at(100, "retries", calls=[])
    stage.asks("again", "sent again: an operator wanted it")


def sent_once(stage: Stage) -> None:
    """Slow, but not too slow."""
    stage.charges()
    stage.at(40, "slow", latency_s=2, seconds=60)
    stage.shows(130, ALICE)
    stage.leaves()
    stage.asks("again", "")


DIRECTORS: Final[dict[str, Director]] = {
    one.__name__: one
    for one in (
        card_ends, family_ends, button_ends, ev_is_full, ev_leaves, device_breaks, both_break,
        station_breaks,
        csms_stops, csms_resets, supply_fails, program_ends, program_ends_for_a_moment,
        csms_thinks_again,
        blocked, unknown, blocked_by_the_cache, nobody_to_ask, broken_for_everybody,
        out_of_service, not_accepted, somebody_else_charges,
        all_out_of_service, out_of_service_afterwards, about_to_restart, broken,
        refused_by_the_csms, never_answered, cut_before_the_answer, dead_before_the_answer,
        parked_and_wanted, sent_once,
    )
}  # fmt: skip


def day(seed: int, names: list[str]) -> tuple[Plan, list[Scene]]:
    """These scenes, one after the other, each at an EVSE that the dice choose."""
    dice = random.Random(seed)
    strangers = count(0x04E00000000000 + (seed << 16))
    scenes: list[Scene] = []
    begin_s = 10.0
    for name in names:
        stage = Stage(dice, begin_s, dice.choice([1, 2]), strangers)
        DIRECTORS[name](stage)
        scenes.append(stage.scene(name))
        begin_s = scenes[-1].ends_s
    return Plan(seed, VARIABLES, tuple(_acts(scenes, begin_s))), scenes


def _acts(scenes: list[Scene], ends_s: float) -> Iterator[Happening]:
    for scene in scenes:
        yield from scene.happenings
    yield Happening(ends_s, "rest", {})


def days(seed: int, journals: int) -> Iterator[tuple[Plan, list[Scene]]]:
    """So many days, in which every scene has its turn again and again."""
    dice = random.Random(seed)
    rest: list[str] = []
    for number in range(journals):
        names = []
        for _ in range(SCENES):
            rest = rest or dice.sample(list(DIRECTORS), len(DIRECTORS))
            names.append(rest.pop())
        yield day(seed * 1_000 + number, names)


SCENES: Final = 8  # of a day
