"""What does a scene consist of: what happens, what somebody will ask of it, and what is true?

A scene plays at one EVSE in a time of its own, and knows its questions and their answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

from station.simulation.fault_plan import ScheduledEvent
from station.simulation.faulty_csms import ALICE

SAMPLE_INTERVAL_S: Final = 10
SCENE_S: Final = 200.0  # of a scene; some are away for longer
LONG_ABSENCE_S: Final = 400.0  # longer than TxCtrlr.ResumptionTimeout
SETTLE_S: Final = 40.0  # between two scenes: the connector is free again

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
    "SampledDataCtrlr.TxUpdatedInterval": str(SAMPLE_INTERVAL_S),
    "TxCtrlr.EVConnectionTimeOut": "60",
    "TxCtrlr.MaxEnergyOnInvalidId": "0",
    "TxCtrlr.ResumptionTimeout": "300",
    "TxCtrlr.StopTxOnEVSideDisconnect": "true",
    "TxCtrlr.StopTxOnInvalidId": "true",
    "TxCtrlr.TxStartPoint": "PowerPathClosed",
    "TxCtrlr.TxStopPoint": "EVConnected,Authorized",
}

QuestionKind = Literal[
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

    kind: QuestionKind
    evse_id: int
    since_s: float
    until_s: float
    expected_text: str
    status: str = ""


class Scene(NamedTuple):
    name: str
    events: tuple[ScheduledEvent, ...]
    questions: tuple[Question, ...]
    ends_s: float


SceneBuilder = Callable[["SceneScript"], None]


class SceneScript:
    """Where and when a scene plays. What is done takes place so many seconds after its begin."""

    def __init__(
        self, dice: random.Random, begin_s: float, evse_id: int, strangers: Iterator[int]
    ) -> None:
        self.dice = dice
        self.begin_s = begin_s
        self.evse_id = evse_id
        self.length_s = SCENE_S
        self._unused_id_tokens = strangers
        self._events: list[ScheduledEvent] = []
        self._questions: list[tuple[QuestionKind, str, str]] = []
        self._changed_variables: list[str] = []  # variables

    @property
    def other_evse_id(self) -> int:
        return 3 - self.evse_id

    @property
    def evse(self) -> dict[str, int]:
        """The EVSE, as OCPP has it."""
        return {"id": self.evse_id}

    def new_id_token(self) -> str:
        """A card nobody has seen before."""
        return f"{next(self._unused_id_tokens):014X}"

    def accepted_id_token(self, status: str = "Accepted", **more: Any) -> str:
        """The same, but the CSMS knows it."""
        who = self.new_id_token()
        self.add_event(0, "judges", who=who, status=status, **more)
        return who

    def add_event(self, at_s: float, event_name: str, **how: Any) -> None:
        self._events.append(ScheduledEvent(round(self.begin_s + at_s, 3), event_name, how))

    def random_time(self, at_s: float, within_s: float) -> float:
        """Some time after that."""
        return at_s + within_s * self.dice.random()

    def add_question(self, kind: QuestionKind, expected_text: str, status: str = "") -> None:
        self._questions.append((kind, expected_text, status))

    # --- What scenes have in common --------------------------------------------------------------

    def plug_in(self, at_s: float = 2) -> None:
        self.add_event(at_s, "connect_ev", evse_id=self.evse_id)

    def unplug(self, at_s: float = 180) -> None:
        self.add_event(at_s, "disconnect_ev", evse_id=self.evse_id)

    def present_id_token(self, at_s: float, id_token: str) -> None:
        self.add_event(at_s, "present_id_token", id_token=id_token, evse_id=self.evse_id)

    def start_charging(self, id_token: str = ALICE) -> None:
        """Somebody plugs in, is accepted, and energy flows within 12 s."""
        self.plug_in()
        self.present_id_token(self.random_time(4, 1), id_token)

    def charge_at_other_evse(self, until_s: float) -> None:
        """Somebody charges at the other EVSE for a while."""
        who = self.accepted_id_token()
        self.add_event(2, "connect_ev", evse_id=self.other_evse_id)
        self.add_event(5, "present_id_token", id_token=who, evse_id=self.other_evse_id)
        self.add_event(until_s, "present_id_token", id_token=who, evse_id=self.other_evse_id)
        self.add_event(until_s + 10, "disconnect_ev", evse_id=self.other_evse_id)

    def raise_fault(
        self,
        at_s: float,
        kind: str,
        seconds: float,
        evse_id: int | None = None,
        stopped_reason: str = "Other",
    ) -> None:
        where = self.evse_id if evse_id is None else evse_id
        device, fault = kind.split()
        self.add_event(at_s, "trips", evse_id=where, device=device, kind=fault,
                stopped_reason=stopped_reason, seconds=seconds)  # fmt: skip

    def go_offline(self, at_s: float, until_s: float) -> None:
        self.add_event(at_s, "switch_network", mode="down", seconds=until_s - at_s)

    def csms_calls(self, at_s: float, action: str, **payload: Any) -> None:
        self.add_event(at_s, "send_csms_request", action=action, payload=payload)

    def csms_starts(self, at_s: float, id_token: str) -> None:
        """It wants somebody to charge here."""
        start = {"idToken": {"idToken": id_token, "type": "ISO14443"}, "evseId": self.evse_id}
        self.csms_calls(at_s, "RequestStartTransaction", remoteStartId=7, **start)

    def change_availability(
        self, at_s: float, operative: bool, evse: dict[str, int] | None = None
    ) -> None:
        """The CSMS takes a part into service, or out of it; None: the station."""
        wants = {"operationalStatus": "Operative" if operative else "Inoperative"}
        self.csms_calls(at_s, "ChangeAvailability", **wants, **({"evse": evse} if evse else {}))

    def set_variable(self, path: str, value: str) -> None:
        """The CSMS sets a variable; at the end of the scene it is as before."""
        self._set_at(0.5, path, value)
        self._changed_variables.append(path)

    def _set_at(self, at_s: float, path: str, value: str) -> None:
        component, variable = path.split(".")
        data = {
            "attributeValue": value,
            "component": {"name": component},
            "variable": {"name": variable},
        }
        self.csms_calls(at_s, "SetVariables", setVariableData=[data])

    def build_scene(self, name: str) -> Scene:
        for path in self._changed_variables:
            self._set_at(self.length_s + SETTLE_S / 2, path, VARIABLES[path])
        until_s = self.begin_s + self.length_s
        questions = tuple(
            Question(about, self.evse_id, self.begin_s, until_s, says, status)
            for about, says, status in self._questions
        )
        happenings = sorted(self._events, key=lambda one: one.at_s)
        return Scene(name, tuple(happenings), questions, until_s + SETTLE_S)
