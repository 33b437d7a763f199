"""What does a scene consist of: what happens, what somebody will ask of it, and what is true?

A scene plays at one EVSE in a time of its own, and knows its questions and their answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

from station.simulation.counterpart import ALICE
from station.simulation.storm import Happening

SAMPLES_S: Final = 10
LENGTH_S: Final = 200.0  # of a scene; some are away for longer
AWAY_S: Final = 400.0  # longer than TxCtrlr.ResumptionTimeout
SETTLES_S: Final = 40.0  # between two scenes: the connector is free again

# What a day begins with, and what a scene leaves behind.
VARIABLES: Final = {
    "AuthCacheCtrlr.DisablePostAuthorize": "false",
    "AuthCacheCtrlr.LifeTime": "2592000",
    "AuthCtrlr.AuthorizeRemoteStart": "true",
    "AuthCtrlr.DisableRemoteAuthorization": "false",
    "AuthCtrlr.Enabled": "true",
    "AuthCtrlr.LocalAuthorizeOffline": "true",
    "AuthCtrlr.LocalPreAuthorize": "false",
    "AuthCtrlr.OfflineTxForUnknownIdEnabled": "false",
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": "5",
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": "3",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "0",
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "1",
    "SampledDataCtrlr.TxUpdatedInterval": str(SAMPLES_S),
    "TxCtrlr.EVConnectionTimeOut": "60",
    "TxCtrlr.MaxEnergyOnInvalidId": "0",
    "TxCtrlr.ResumptionTimeout": "300",
    "TxCtrlr.StopTxOnEVSideDisconnect": "true",
    "TxCtrlr.StopTxOnInvalidId": "true",
    "TxCtrlr.TxStartPoint": "PowerPathClosed",
    "TxCtrlr.TxStopPoint": "EVConnected,Authorized",
}

About = Literal[
    "start", "stop", "right", "grant", "refusal", "reply", "suspension",
    "told", "status", "restart", "update", "again", "parked", "dropped", "thinned",
]  # fmt: skip


class Question(NamedTuple):
    """Something that somebody will want to know.

    Attributes:
        about: `start`, `stop`, `again`, `thinned`: of the transaction that began in the time, and
            of its messages that were sent more than once, or given up for want of room; the
            others: of all entries of the time of that kind.
        says: must stand in the answer; empty: of `again`, that there was none.
        status: of the connector, or of the update; of `stop`: the stoppedReason; of `told`: the
            triggerReason; of `reply`: the action that was answered.
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

    def __init__(
        self, dice: random.Random, begin_s: float, evse_id: int, strangers: Iterator[int]
    ) -> None:
        self.dice = dice
        self.begin_s = begin_s
        self.evse_id = evse_id
        self.length_s = LENGTH_S
        self._strangers = strangers
        self._happenings: list[Happening] = []
        self._questions: list[tuple[About, str, str]] = []
        self._changed: list[str] = []  # variables

    @property
    def other(self) -> int:
        return 3 - self.evse_id

    @property
    def here(self) -> dict[str, int]:
        """The EVSE, as OCPP has it."""
        return {"id": self.evse_id}

    def stranger(self) -> str:
        """A card nobody has seen before."""
        return f"{next(self._strangers):014X}"

    def friend(self, status: str = "Accepted", **more: Any) -> str:
        """The same, but the CSMS knows it."""
        who = self.stranger()
        self.at(0, "judges", who=who, status=status, **more)
        return who

    def at(self, at_s: float, what: str, **how: Any) -> None:
        self._happenings.append(Happening(round(self.begin_s + at_s, 3), what, how))

    def later(self, at_s: float, within_s: float) -> float:
        """Some time after that."""
        return at_s + within_s * self.dice.random()

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
        self.shows(self.later(4, 1), who)

    def next_door(self, until_s: float) -> None:
        """Somebody charges at the other EVSE for a while."""
        who = self.friend()
        self.at(2, "plug_in", evse_id=self.other)
        self.at(5, "card", who=who, evse_id=self.other)
        self.at(until_s, "card", who=who, evse_id=self.other)
        self.at(until_s + 10, "unplug", evse_id=self.other)

    def breaks(
        self,
        at_s: float,
        kind: str,
        seconds: float,
        evse_id: int | None = None,
        stopped_reason: str = "Other",
    ) -> None:
        where = self.evse_id if evse_id is None else evse_id
        device, fault = kind.split()
        self.at(at_s, "trips", evse_id=where, device=device, kind=fault,
                stopped_reason=stopped_reason, seconds=seconds)  # fmt: skip

    def offline(self, at_s: float, until_s: float) -> None:
        self.at(at_s, "network", mode="down", seconds=until_s - at_s)

    def csms_asks(self, at_s: float, action: str, **payload: Any) -> None:
        self.at(at_s, "asks", action=action, payload=payload)

    def csms_begins(self, at_s: float, who: str) -> None:
        """It wants somebody to charge here."""
        start = {"idToken": {"idToken": who, "type": "ISO14443"}, "evseId": self.evse_id}
        self.csms_asks(at_s, "RequestStartTransaction", remoteStartId=7, **start)

    def operative(self, at_s: float, yes: bool, evse: dict[str, int] | None = None) -> None:
        """The CSMS takes a part into service, or out of it; None: the station."""
        wants = {"operationalStatus": "Operative" if yes else "Inoperative"}
        self.csms_asks(at_s, "ChangeAvailability", **wants, **({"evse": evse} if evse else {}))

    def sets(self, path: str, value: str) -> None:
        """The CSMS sets a variable; at the end of the scene it is as before."""
        self._set(0.5, path, value)
        self._changed.append(path)

    def _set(self, at_s: float, path: str, value: str) -> None:
        component, variable = path.split(".")
        data = {
            "attributeValue": value,
            "component": {"name": component},
            "variable": {"name": variable},
        }
        self.csms_asks(at_s, "SetVariables", setVariableData=[data])

    def scene(self, name: str) -> Scene:
        for path in self._changed:
            self._set(self.length_s + SETTLES_S / 2, path, VARIABLES[path])
        until_s = self.begin_s + self.length_s
        questions = tuple(
            Question(about, self.evse_id, self.begin_s, until_s, says, status)
            for about, says, status in self._questions
        )
        happenings = sorted(self._happenings, key=lambda one: one.at_s)
        return Scene(name, tuple(happenings), questions, until_s + SETTLES_S)
