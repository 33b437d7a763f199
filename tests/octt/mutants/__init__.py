"""Stations with one deliberate fault each: the tool must notice every one of them.

A mutant is the program as it is, with one function replaced before it starts. Nothing in the
product knows of this: `python -m tests.octt.mutants.station NAME run --config …` patches and runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

Patch = Callable[[], None]


@dataclass(frozen=True)
class Mutant:
    """One fault, and the cases that must turn red because of it."""

    patch: Patch
    kills: tuple[str, ...]
    words: str


def _replaced(module: Any, name: str, make: Callable[[Any], Any]) -> None:
    setattr(module, name, make(getattr(module, name)))


def _in_payload(change: Callable[[dict[str, Any]], None]) -> Callable[[Any], Any]:
    """A maker of `event` functions that change the payload of what they queue."""

    def make(original: Any) -> Any:
        def event(*args: Any, **kwargs: Any) -> Any:
            queued = original(*args, **kwargs)
            payload = msgspec.json.decode(queued.payload)
            change(payload)
            return msgspec.structs.replace(
                queued, payload=msgspec.Raw(msgspec.json.encode(payload))
            )

        return event

    return make


def _events(change: Callable[[dict[str, Any]], None]) -> Patch:
    """Every TransactionEvent is changed, wherever a block makes one."""

    def patch() -> None:
        from station.blocks import e_transactions, f_remote_control, j_metering

        changed = _in_payload(change)(e_transactions.event)
        for module in (e_transactions, f_remote_control, j_metering):
            module.event = changed  # type: ignore[attr-defined]

    return patch


def _forget_the_reason(payload: dict[str, Any]) -> None:
    if payload["eventType"] == "Ended":
        payload["transactionInfo"]["stoppedReason"] = "Other"


def _forget_the_token(payload: dict[str, Any]) -> None:
    payload.pop("idToken", None)


def _forget_the_remote_start(payload: dict[str, Any]) -> None:
    payload["transactionInfo"].pop("remoteStartId", None)


def _always_plugged_in(payload: dict[str, Any]) -> None:
    if payload["eventType"] == "Started":
        payload["triggerReason"] = "CablePluggedIn"


def _count_from_one(payload: dict[str, Any]) -> None:
    payload["seqNo"] += 1


def _no_meter_at_the_end(payload: dict[str, Any]) -> None:
    if payload["eventType"] == "Ended":
        payload.pop("meterValue", None)


def _answers(action: str, status: str) -> Patch:
    """An action is answered with this status, and nothing is done."""

    def patch() -> None:
        from station import decide
        from station.case import answer
        from station.messages import ACTIONS

        response: Any = ACTIONS[action].response

        def handler(case: Any, call: Any, request: Any) -> Iterator[Any]:
            yield answer(call, response(status=status))

        decide.CALLS[action] = handler

    return patch


def _without(rule: str) -> Patch:
    """A rule of the judgement core that decides nothing any more."""

    def patch() -> None:
        from station import decide

        kept = tuple(each for each in decide.RULES if each.__name__ != rule)
        assert len(kept) == len(decide.RULES) - 1, f"there is no rule {rule}"
        decide.RULES = kept  # type: ignore[misc]

    return patch


def _never_offline() -> None:
    from station import delivery

    def make(original: Any) -> Any:
        return lambda *args, **kwargs: original(*args, **kwargs | {"offline": False})

    _replaced(delivery, "CallAttempted", make)


def _always_available() -> None:
    from station.blocks import g_availability

    _replaced(g_availability, "connector_status", lambda _: lambda *place: "Available")


def _everybody_is_cached() -> None:
    """Whoever was ever let in is let in again, whatever LocalPreAuthorize says."""
    from station.blocks import c_authorization

    assert isinstance(c_authorization.PRE_AUTHORIZE, str)
    _replaced(c_authorization, "PRE_AUTHORIZE", lambda _: "AuthCtrlr.LocalAuthorizeOffline")


MUTANTS: Mapping[str, Mutant] = {
    "stopped-reason": Mutant(
        _events(_forget_the_reason),
        ("TC_E_15_CS", "TC_E_21_CS", "TC_B_22_CS"),
        "every transaction ends for the reason Other",
    ),
    "id-token": Mutant(
        _events(_forget_the_token),
        ("TC_E_03_CS", "TC_E_04_CS", "TC_C_39_CS"),
        "no TransactionEvent tells who charges",
    ),
    "remote-start-id": Mutant(
        _events(_forget_the_remote_start),
        ("TC_F_01_CS", "TC_F_02_CS", "TC_K_38_CS"),
        "no TransactionEvent tells the remoteStartId",
    ),
    "trigger-reason": Mutant(
        _events(_always_plugged_in),
        ("TC_E_03_CS", "TC_F_01_CS"),
        "every transaction starts because a cable was plugged in",
    ),
    "seq-no": Mutant(
        _events(_count_from_one),
        ("TC_E_01_CS", "TC_F_08_CS"),
        "seqNo counts from 1",
    ),
    "meter-at-the-end": Mutant(
        _events(_no_meter_at_the_end),
        ("TC_J_03_CS", "TC_J_10_CS"),
        "Ended carries no meter values",
    ),
    "offline": Mutant(
        _never_offline,
        ("TC_E_43_CS", "TC_E_44_CS"),
        "no message is marked as offline",
    ),
    "pre-authorize": Mutant(
        _everybody_is_cached,
        ("TC_C_36_CS",),
        "the cache is asked although LocalPreAuthorize is false",
    ),
    "reset": Mutant(
        _answers("Reset", "Accepted"),
        ("TC_B_20_CS", "TC_B_28_CS"),
        "a Reset is accepted and forgotten",
    ),
    "clear-cache": Mutant(
        _answers("ClearCache", "Accepted"),
        ("TC_C_37_CS", "TC_C_38_CS"),
        "ClearCache is accepted and forgotten",
    ),
    "change-availability": Mutant(
        _answers("ChangeAvailability", "Accepted"),
        ("TC_G_03_CS", "TC_G_05_CS", "TC_G_11_CS"),
        "ChangeAvailability is accepted and forgotten",
    ),
    "trigger": Mutant(
        _answers("TriggerMessage", "Accepted"),
        ("TC_F_11_CS", "TC_F_20_CS", "TC_F_26_CS", "TC_F_27_CS"),
        "TriggerMessage is accepted and forgotten",
    ),
    "remote-stop": Mutant(
        _answers("RequestStopTransaction", "Accepted"),
        ("TC_F_08_CS", "TC_F_09_CS"),
        "RequestStopTransaction is accepted and forgotten",
    ),
    "data-transfer": Mutant(
        _answers("DataTransfer", "Accepted"),
        ("TC_P_01_CS",),
        "DataTransfer of an unknown vendor is accepted",
    ),
    "network-profile": Mutant(
        _answers("SetNetworkProfile", "Accepted"),
        ("TC_A_22_CS", "TC_B_43_CS"),
        "every network profile is accepted",
    ),
    "install-certificate": Mutant(
        _answers("InstallCertificate", "Accepted"),
        ("TC_M_01_CS", "TC_M_07_CS"),
        "certificates are accepted and forgotten",
    ),
    "status": Mutant(
        _always_available,
        ("TC_B_51_CS", "TC_G_01_CS", "TC_G_03_CS"),
        "every connector is told to be Available",
    ),
    "sampling": Mutant(
        _without("samples"),
        ("TC_J_09_CS",),
        "nothing is sampled during a transaction",
    ),
    "aligned": Mutant(
        _without("aligned"),
        ("TC_J_01_CS", "TC_J_02_CS"),
        "nothing is sampled by the clock",
    ),
    "retry": Mutant(
        _without("overdue"),
        ("TC_E_41_CS", "TC_E_42_CS"),
        "an answer that never comes is waited for for ever",
    ),
    "connection-timeout": Mutant(
        _without("expires"),
        ("TC_E_05_CS", "TC_E_39_CS"),
        "who does not plug in stays authorized",
    ),
}
