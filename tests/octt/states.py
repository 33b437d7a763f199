"""The reusable states and memory states of Part 6 §2.18 and §2.19, with errata 6.2.116 to 6.2.123.

Each takes what the document calls its state as given where it is already so, and leaves it for
the next. There is no sensor for the parking bay in these products: ParkingBayOccupied and
ParkingBayUnoccupied are what the document then makes of them, nothing and EVDisconnected.
"""

from __future__ import annotations

from typing import Any

from tests.csms import Payload
from tests.octt.bench import VALID
from tests.octt.certificates import Identity, same_hash_data
from tests.octt.tester import EVENT, MANUAL_S, TOKEN_TYPE, Session, Tester
from tests.octt.verify import OMITTED, Failure, must, one_of, verify

ENDING_POINTS = {"Authorized", "PowerPathClosed", "EnergyTransfer"}
STARTUP = ("StartupOfTheDevice", "ResetOrReboot")
SEES_S = 0.5  # until a person has seen that the card was accepted, and takes the cable


# Booting.


def booting(t: Tester) -> None:
    """The station restarts; it has not connected yet."""
    t.reset("Booting step 1")


def booted(t: Tester, *, reset: bool = True, connectors: dict[int, str] | None = None) -> Payload:
    """The station restarted, was accepted and told its state. Gives the BootNotification.

    Args:
        reset: by ResetRequest; False: it restarts already.
        connectors: AvailabilityState by EVSE where it is not Available.
    """
    if reset:
        t.reset("Booted step 1")
    boot = t.boot_notification("Booted step 3")
    t.statuses("Booted step 5", but=connectors)
    t.security_event("Booted step 7", *STARTUP)
    return boot


def unavailable(t: Tester, evse_id: int | None = None, connector_id: int | None = None) -> None:
    """The station, an EVSE or a connector is set Inoperative."""
    request: Payload = {"operationalStatus": "Inoperative"}
    if evse_id is not None:
        request["evse"] = {"id": evse_id} | ({"connectorId": connector_id} if connector_id else {})
    t.call("Unavailable step 1", "ChangeAvailability", request, {"status": "Accepted"})
    for evse, connector in t.connectors:
        if evse_id in (None, evse) and connector_id in (None, connector):
            t.status("Unavailable step 3", "Unavailable", evse, connector)


# Before energy flows.


def parking_bay_occupied(t: Tester) -> None:
    """Nothing: no sensor tells."""
    must("ParkingBayOccupied", "ParkingBayOccupancy" not in t.start_points, "no bay sensor exists")


def ev_connected_pre_session(t: Tester, evse_id: int | None = None, *, ready: bool = True) -> None:
    """Cable and EV are connected; with an authorization a transaction may have begun."""
    session = t.session(evse_id)
    t.plug_in(evse_id, ready=ready)
    t.status("EVConnectedPreSession step 1", "Occupied", evse_id)
    authorized = session.id_token is not None
    begins = "EVConnected" in t.start_points or ("PowerPathClosed" in t.start_points and authorized)
    if session.open or begins:
        expected: dict[str, Any] = {
            "eventType": "Updated" if session.open else "Started",
            "triggerReason": one_of("CablePluggedIn", "ChargingStateChanged", "RemoteStart"),
            "transactionInfo.chargingState": (
                one_of("EVConnected", "SuspendedEVSE", "Charging") if authorized else "EVConnected"
            ),
        }
        t.event("EVConnectedPreSession step 3", expected, evse_id)


def authorized(
    t: Tester,
    id_token: str = VALID,
    evse_id: int | None = None,
    *,
    remote: bool = False,
    cached: bool = False,
    anywhere: bool = False,
) -> None:
    """A person may charge: by a card at the reader, or by the CSMS.

    Args:
        anywhere: the person says nothing about the EVSE.
        cached: the authorization cache knows the token, so nobody is asked.
    """
    if remote:
        _authorized_remotely(t, id_token, evse_id, cached=cached)
    else:
        t.present(id_token, evse_id, anywhere=anywhere)
        _authorized_locally(t, id_token, evse_id, cached=cached)


def _authorized_locally(t: Tester, id_token: str, evse_id: int | None, *, cached: bool) -> None:
    session = t.session(evse_id)
    if cached:
        t.silent("Authorized step 1", "Authorize", {"idToken.idToken": id_token}, wait_s=1.0)
    else:
        authorize(t, "Authorized step 1", id_token)
        t.wait(SEES_S)
    _await_authorization(session, id_token)
    if begins_by_authorization(t, session):
        first_event_after_authorization(t, "Authorized step 3", evse_id, "Authorized")


def _authorized_remotely(t: Tester, id_token: str, evse_id: int | None, *, cached: bool) -> None:
    session = t.session(evse_id)
    number = request_start(t, "Authorized step 1", id_token, evse_id)
    if t.value("AuthCtrlr", "AuthorizeRemoteStart") == "true" and not cached:
        authorize(t, "Authorized step 3", id_token)
    _await_authorization(session, id_token)
    session.remote_start_id = number
    if begins_by_authorization(t, session):
        first_event_after_authorization(t, "Authorized step 5", evse_id, "RemoteStart")
        _note_time(t, "RequestStartTransaction", t.timings.remote_start)


def _await_authorization(session: Session, id_token: str) -> None:
    session.id_token = id_token
    session.told_of_token = False
    session.told_of_remote_start = False


def begins_by_authorization(t: Tester, session: Session) -> bool:
    """Whether a token here and now makes the station send a TransactionEvent."""
    return (
        session.open
        or "Authorized" in t.start_points
        or ("PowerPathClosed" in t.start_points and session.plugged)
    )


def first_event_after_authorization(
    t: Tester, step: str, evse_id: int | None, trigger_reason: str
) -> Payload:
    session = t.session(evse_id)
    return t.event(
        step,
        {
            "eventType": "Updated" if session.open else "Started",
            "triggerReason": trigger_reason,
        },
        evse_id,
    )


def authorize(t: Tester, step: str, id_token: str = VALID) -> Payload:
    """The station asks whether this token may charge."""
    return t.expect(
        step,
        "Authorize",
        {"idToken.idToken": id_token, "idToken.type": TOKEN_TYPE},
        timeout_s=MANUAL_S,
    )


def request_start(
    t: Tester,
    step: str,
    id_token: str = VALID,
    evse_id: int | None = None,
    more: Payload | None = None,
) -> int:
    """RequestStartTransaction is accepted; gives the remoteStartId."""
    session = t.session(evse_id)
    number = t.next_id()
    request = {
        "idToken": {"idToken": id_token, "type": TOKEN_TYPE},
        "remoteStartId": number,
        "evseId": session.evse_id,
    }
    expected: dict[str, Any] = {"status": "Accepted"}
    if session.open:
        expected["transactionId"] = session.transaction_id
    t.call(step, "RequestStartTransaction", request | (more or {}), expected)
    return number


def energy_transfer_started(
    t: Tester, evse_id: int | None = None, *, id_token: str = VALID, remote: bool = False
) -> str:
    """Energy flows; gives the transactionId."""
    session = t.session(evse_id)
    if session.id_token is None:
        authorized(t, id_token, evse_id, remote=remote)
    if not session.plugged:
        _plug_in_authorized(t, session)
    step = "EnergyTransferStarted step 9"
    charging = {
        "triggerReason": "ChargingStateChanged",
        "transactionInfo.chargingState": "Charging",
    }
    event = t.next_event(step, evse_id)
    if event["transactionInfo"].get("chargingState") in ("EVConnected", "SuspendedEVSE"):
        t.event("EnergyTransferStarted step 7", {"triggerReason": "ChargingStateChanged"}, evse_id)
    t.event(step, charging, evse_id)
    t.until(lambda: t.power_flows(evse_id), step, "energy from the station to the EV")
    assert session.transaction_id is not None  # an event was taken
    return session.transaction_id


def _plug_in_authorized(t: Tester, session: Session) -> None:
    t.plug_in(session.evse_id)
    t.status("EnergyTransferStarted step 1", "Occupied", session.evse_id)
    if session.open or {"EVConnected", "PowerPathClosed"} & set(t.start_points):
        t.event(
            "EnergyTransferStarted step 3",
            {
                "triggerReason": one_of("CablePluggedIn", "RemoteStart"),
                "transactionInfo.chargingState": "EVConnected",
            },
            session.evse_id,
        )


def energy_transfer_suspended(t: Tester, evse_id: int | None = None) -> None:
    """The EV asks for no energy any more."""
    t.wait(t.settings.transaction_s)
    t.ev_pause(evse_id)
    t.event(
        "EnergyTransferSuspended step 1",
        {
            "triggerReason": "ChargingStateChanged",
            "transactionInfo.chargingState": one_of("EVConnected", "SuspendedEV"),
            "eventType": one_of("Updated", "Ended"),
        },
        evse_id,
    )


# After energy flowed.


def stop_authorized(
    t: Tester, evse_id: int | None = None, *, id_token: str | None = None, remote: bool = False
) -> None:
    """The person, or the CSMS, ended the right to charge."""
    session = t.session(evse_id)
    t.wait(t.settings.transaction_s)
    if remote:
        request_stop(t, "StopAuthorized step 1", evse_id)
        stopped(t, "StopAuthorized step 3", evse_id, trigger="RemoteStop", reason="Remote")
    else:
        token = id_token or session.id_token
        assert token is not None  # somebody started it
        t.present(token, evse_id)
        reason = one_of("Local", OMITTED)
        stopped(t, "StopAuthorized step 1", evse_id, "StopAuthorized", reason, token)


def request_stop(t: Tester, step: str, evse_id: int | None = None) -> None:
    """RequestStopTransaction of the transaction of an EVSE is accepted."""
    request = {"transactionId": t.session(evse_id).transaction_id}
    t.call(step, "RequestStopTransaction", request, {"status": "Accepted"})


def stopped(
    t: Tester,
    step: str,
    evse_id: int | None,
    trigger: str,
    reason: Any,
    id_token: str | None = None,
) -> list[Payload]:
    """One event for the stop itself, one for the state it led to, or both in one. Errata 6.2.117.

    The last one ends the transaction where TxStopPoint wants it.
    """
    events = [_stop_event(t, step, evse_id, trigger, reason, id_token)]
    ends = bool(ENDING_POINTS & set(t.stop_points))
    if ends and events[-1]["eventType"] != "Ended":
        events.append(_stop_event(t, step, evse_id, trigger, reason, id_token))
    last = events[-1]
    verify(step, last, {"eventType": "Ended" if ends else "Updated"})
    if ends:
        verify(step, last, {"transactionInfo.stoppedReason": reason})
    return events


def _stop_event(
    t: Tester, step: str, evse_id: int | None, trigger: str, reason: Any, id_token: str | None
) -> Payload:
    event = t.event(step, {"triggerReason": one_of(trigger, "ChargingStateChanged")}, evse_id)
    if event["triggerReason"] == "ChargingStateChanged":
        verify(step, event, {"transactionInfo.chargingState": "EVConnected"})
    elif id_token is not None and "idToken" in event:
        verify(step, event, {"idToken.idToken": id_token, "idToken.type": TOKEN_TYPE})
    return event


def deauthorized(t: Tester, evse_id: int | None = None) -> None:
    """The CSMS says in a TransactionEventResponse that the token is not valid. Errata 6.2.118."""
    ends = bool(ENDING_POINTS & set(t.stop_points))
    t.event(
        "Deauthorized step 3",
        {
            "triggerReason": "Deauthorized",
            "transactionInfo.chargingState": one_of("EVConnected", "SuspendedEVSE"),
            "eventType": "Ended" if ends else "Updated",
            "transactionInfo.stoppedReason": "DeAuthorized" if ends else OMITTED,
        },
        evse_id,
    )


def ev_connected_post_session(t: Tester, evse_id: int | None = None) -> None:
    """Energy flows no more and will not without a new authorization."""
    session = t.session(evse_id)
    if session.open:
        if session.id_token is not None and not ENDING_POINTS & set(t.stop_points):
            stop_authorized(t, evse_id)
        if session.open:
            t.event(
                "EVConnectedPostSession step 1",
                {
                    "triggerReason": "ChargingStateChanged",
                    "transactionInfo.chargingState": "EVConnected",
                },
                evse_id,
            )
    t.until(
        lambda: t.bench.station.world(session.evse_id)["contactor"] == "open",
        "EVConnectedPostSession",
        "open contactor",
    )


def ev_disconnected(t: Tester, evse_id: int | None = None, status: str = "Available") -> None:
    """Cable and EV are apart."""
    session = t.session(evse_id)
    t.unplug(evse_id)
    t.status("EVDisconnected step 1", status, evse_id)
    if session.open:
        t.event(
            "EVDisconnected step 3",
            {
                "triggerReason": "EVCommunicationLost",
                "transactionInfo.chargingState": "Idle",
            },
            evse_id,
        )


def parking_bay_unoccupied(t: Tester, evse_id: int | None = None) -> None:
    """What has not happened yet of a session's end; no sensor tells that the EV drove away."""
    session = t.session(evse_id)
    if session.open and session.id_token is not None:
        stop_authorized(t, evse_id)
    if session.plugged:
        ev_connected_post_session(t, evse_id)
        ev_disconnected(t, evse_id)


# Memory states.


def id_token_cached(t: Tester, id_token: str = VALID) -> None:
    """The authorization cache holds the token; a whole session if accepted. Errata 6.2.120."""
    if not t.profile.has("C-49"):
        return
    accepted = t.csms.answers.tokens[id_token.casefold()]["status"] == "Accepted"
    if not accepted:
        t.present(id_token)
        authorize(t, "IdTokenCached step 2", id_token)
        t.bench.wait_settled()
        t.forget()
        return
    authorized(t, id_token)
    energy_transfer_started(t)
    stop_authorized(t)
    ev_connected_post_session(t)
    ev_disconnected(t)
    t.bench.wait_settled()
    t.forget()


def transaction_events_in_queue_ended(t: Tester) -> None:
    """A whole session while offline: its events wait for the CSMS."""
    t.configure("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=True)
    id_token_cached(t)
    with t.offline():
        t.plug_in()
        world_until(t, "plugged", True)
        t.present()
        t.until(t.power_flows, "TransactionEventsInQueueEnded", "energy to the EV")
        t.present()
        world_until(t, "contactor", "open")
        t.unplug()
        world_until(t, "plugged", False)
        t.wait(1.0)


def start_offline_transaction(t: Tester, id_token: str = VALID) -> None:
    """A transaction begins while offline; then the CSMS is there again."""
    with t.offline():
        t.present(id_token)
        t.plug_in()
        t.until(t.power_flows, "StartOfflineTransaction", "energy to the EV")


def world_until(t: Tester, fact: str, value: object, evse_id: int | None = None) -> None:
    """Until the emulated world shows this at an EVSE."""
    t.until(
        lambda: bool(t.bench.station.world(evse_id or t.evse)[fact] == value),
        "manual action",
        f"{fact} {value}",
    )


def certificate_installed(t: Tester, use: str, certificate: Identity) -> None:
    """A root certificate is in the store."""
    t.call(
        "CertificateInstalled step 1",
        "InstallCertificate",
        {"certificateType": use, "certificate": certificate.pem},
        {"status": "Accepted"},
    )


def installed_certificates(t: Tester, step: str, *uses: str) -> list[Payload]:
    """certificateHashDataChain of what is installed for these uses; empty where there is none."""
    request: Payload = {"certificateType": list(uses)} if uses else {}
    response = t.call(
        step, "GetInstalledCertificateIds", request, {"status": one_of("Accepted", "NotFound")}
    )
    if response["status"] == "NotFound":
        verify(step, response, {"certificateHashDataChain": OMITTED})
        return []
    return list(response["certificateHashDataChain"])


def get_installed_certificates(t: Tester, *wanted: tuple[str, Identity]) -> None:
    """Each of these certificates is told, for its use."""
    step = "GetInstalledCertificates step 2"
    told = installed_certificates(t, step, *dict.fromkeys(use for use, _ in wanted))
    for use, certificate in wanted:
        must(step, is_told(told, use, certificate), f"{use} {certificate.hash_data()} must be told")


def is_told(told: list[Payload], use: str, certificate: Identity) -> bool:
    """Whether a certificate is among certificateHashDataChain entries."""
    return any(
        entry["certificateType"] == use
        and same_hash_data(entry["certificateHashData"], certificate.hash_data())
        for entry in told
    )


# What several blocks use.


def emptied_queue(t: Tester, step: str) -> list[Payload]:
    """Every event that waited while offline, taken; at least one."""
    t.take(step, EVENT, timeout_s=MANUAL_S)
    t.bench.wait_settled()
    frames = [frame.payload for frame in t.csms.calls(EVENT, t.since)]
    for event in frames:
        session = t.session()
        session.transaction_id = event["transactionInfo"]["transactionId"]
        session.open = event["eventType"] != "Ended"
    return frames


def charging_goes_on(t: Tester, step: str) -> None:
    """Nothing ended: the transaction is open and energy flows."""
    ended = t.waiting(EVENT, {"eventType": "Ended"})
    must(step, not ended, f"the transaction may not end, came {ended[:1]}")
    must(step, t.power_flows(), "energy must flow on")


def _note_time(t: Tester, action: str, seconds: list[float]) -> None:
    frames = t.csms.record.frames
    asked = next((f for f in reversed(frames) if f.action == action and not f.incoming), None)
    if asked is None:
        raise Failure(f"{action} was never sent")
    told = next(f for f in frames[asked.number :] if f.incoming and f.action == EVENT)
    seconds.append(told.monotonic_s - asked.monotonic_s)
