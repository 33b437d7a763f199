"""A scene: events at one EVSE within a time range, and questions with their expected answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

from station.simulation.fault_plan import ScheduledEvent
from station.simulation.faulty_csms import ALICE

SAMPLE_INTERVAL_S: Final = 10
SCENE_S: Final = 200.0  # length of a scene; longer with a long absence
LONG_ABSENCE_S: Final = 400.0  # longer than TxCtrlr.ResumptionTimeout
SETTLE_S: Final = 40.0  # between two scenes, until the connector is Available

# Values at the beginning of a day; each scene restores them.
VARIABLES: Final = {
    "AuthCacheCtrlr.DisablePostAuthorize": "false",
    "AuthCacheCtrlr.LifeTime": "2592000",
    "AuthCtrlr.AuthorizeRemoteStart": "true",
    "AuthCtrlr.DisableRemoteAuthorization": "false",
    "AuthCtrlr.Enabled": "true",
    "AuthCtrlr.LocalAuthorizeOffline": "true",
    "AuthCtrlr.LocalPreAuthorize": "false",
    "AuthCtrlr.OfflineTxForUnknownIdEnabled": "false",
    "LocalAuthListCtrlr.DisablePostAuthorize": "false",
    "LocalAuthListCtrlr.Enabled": "true",
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": "5",
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": "3",
    "OCPPCommCtrlr.RetryBackOffRandomRange": "0",
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": "1",
    "ReservationCtrlr.Enabled": "true",
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
    "start", "stop", "authorization_end", "authorization", "refusal", "reply", "suspension",
    "event_update", "status", "restart", "firmware_status", "resend", "parked", "dropped",
    "sample_drop", "unaccounted",
]  # fmt: skip


class Question(NamedTuple):
    """A question to `station why`, and what its answer must contain.

    Attributes:
        kind: `start`, `stop`: about the transaction that started in the time range; `resend`,
            `sample_drop`: about its messages that were sent more than once, or dropped on a full
            disk; any other kind: about all entries of that kind in the time range.
        expected_text: must be in the answer; empty with `resend`: nothing was sent again; empty
            with `unaccounted`: nothing was listed.
        status: of the connector, or of the firmware; with `stop`: the stoppedReason; with
            `event_update`: the triggerReason; with `reply`: the action that was answered.
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
    """Collects the events and questions of one scene. Times are seconds after its beginning."""

    def __init__(
        self, random_source: random.Random, begin_s: float, evse_id: int, unused_uids: Iterator[int]
    ) -> None:
        self.random_source = random_source
        self.begin_s = begin_s
        self.evse_id = evse_id
        self.length_s = SCENE_S
        self._unused_uids = unused_uids
        self._events: list[ScheduledEvent] = []
        self._questions: list[tuple[QuestionKind, str, str]] = []
        self._changed_variables: list[str] = []

    @property
    def other_evse_id(self) -> int:
        return 3 - self.evse_id

    @property
    def evse(self) -> dict[str, int]:
        """The EVSE as EVSEType."""
        return {"id": self.evse_id}

    def new_id_token(self) -> str:
        """An id token that was never used before; Unknown to the CSMS."""
        return f"{next(self._unused_uids):014X}"

    def accepted_id_token(self, status: str = "Accepted", **info: Any) -> str:
        """A new id token with a status, usually Accepted, in the CSMS."""
        id_token = self.new_id_token()
        self.add_event(0, "set_id_token_info", id_token=id_token, status=status, **info)
        return id_token

    def add_event(self, at_s: float, event_kind: str, **arguments: Any) -> None:
        self._events.append(ScheduledEvent(round(self.begin_s + at_s, 3), event_kind, arguments))

    def random_time(self, at_s: float, within_s: float) -> float:
        """A random time within so many seconds after `at_s`."""
        return at_s + within_s * self.random_source.random()

    def add_question(self, kind: QuestionKind, expected_text: str, status: str = "") -> None:
        self._questions.append((kind, expected_text, status))

    # --- Common to several scenes ----------------------------------------------------------------

    def plug_in(self, at_s: float = 2) -> None:
        self.add_event(at_s, "connect_ev", evse_id=self.evse_id)

    def unplug(self, at_s: float = 180) -> None:
        self.add_event(at_s, "disconnect_ev", evse_id=self.evse_id)

    def present_id_token(self, at_s: float, id_token: str) -> None:
        self.add_event(at_s, "present_id_token", id_token=id_token, evse_id=self.evse_id)

    def start_charging(self, id_token: str = ALICE) -> None:
        """Plug in and present the card; energy flows within 12 s."""
        self.plug_in()
        self.present_id_token(self.random_time(4, 1), id_token)

    def charge_at_other_evse(self, until_s: float) -> None:
        """A session at the other EVSE."""
        session = {"id_token": self.accepted_id_token(), "evse_id": self.other_evse_id}
        self.add_event(2, "connect_ev", evse_id=self.other_evse_id)
        self.add_event(5, "present_id_token", **session)
        self.add_event(until_s, "present_id_token", **session)
        self.add_event(until_s + 10, "disconnect_ev", evse_id=self.other_evse_id)

    def raise_fault(
        self,
        at_s: float,
        kind: str,
        seconds: float,
        evse_id: int | None = None,
        stopped_reason: str = "Other",
    ) -> None:
        """Raise a fault that blocks charging; at this EVSE, unless `evse_id` is given."""
        fault_evse_id = self.evse_id if evse_id is None else evse_id
        device, fault = kind.split()
        self.add_event(
            at_s,
            "raise_blocking_fault",
            evse_id=fault_evse_id,
            device=device,
            kind=fault,
            stopped_reason=stopped_reason,
            seconds=seconds,
        )

    def go_offline(self, at_s: float, until_s: float) -> None:
        self.add_event(at_s, "switch_network", mode="down", seconds=until_s - at_s)

    def csms_calls(self, at_s: float, action: str, **payload: Any) -> None:
        self.add_event(at_s, "send_csms_request", action=action, payload=payload)

    def csms_starts(self, at_s: float, id_token: str) -> None:
        """The CSMS requests a start at this EVSE."""
        start = {"idToken": {"idToken": id_token, "type": "ISO14443"}, "evseId": self.evse_id}
        self.csms_calls(at_s, "RequestStartTransaction", remoteStartId=7, **start)

    def change_availability(
        self, at_s: float, operative: bool, evse: dict[str, int] | None = None
    ) -> None:
        """The CSMS sets an EVSE, a connector or, with None, the station to Operative or not."""
        status = {"operationalStatus": "Operative" if operative else "Inoperative"}
        self.csms_calls(at_s, "ChangeAvailability", **status, **({"evse": evse} if evse else {}))

    def set_variable(self, path: str, value: str) -> None:
        """The CSMS sets a variable, and restores it at the end of the scene."""
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
            Question(kind, self.evse_id, self.begin_s, until_s, expected_text, status)
            for kind, expected_text, status in self._questions
        )
        events = sorted(self._events, key=lambda event: event.at_s)
        return Scene(name, tuple(events), questions, until_s + SETTLE_S)
