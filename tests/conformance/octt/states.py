"""The reusable states and memory states of Part 6 §2.18 and §2.19, with errata 6.2.116 to 6.2.123.

A case is composed of them: each function performs the manual actions and checks the messages that
lead from the previous state to its own. Which events these are depends on TxStartPoint and
TxStopPoint (`tester.start_points`, `tester.stop_points`) and on the session of the EVSE. A state
that already holds is not entered again.

    parking_bay_occupied     ev_connected_pre_session     authorize_driver   (these in any order)
    -> start_energy_transfer -> suspend_energy_transfer
    -> authorize_stop | expect_deauthorized -> ev_connected_post_session -> ev_disconnected
    -> parking_bay_unoccupied

These products have no parking bay sensor. The document then defines ParkingBayOccupied as no
action and ParkingBayUnoccupied as EVDisconnected.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conformance.octt.bench import VALID
from tests.conformance.octt.certificates import CertifiedKey, same_hash_data, sign_csr
from tests.conformance.octt.tester import (
    MANUAL_ACTION_TIMEOUT_S,
    TOKEN_TYPE,
    TRANSACTION_EVENT,
    Session,
    Tester,
)
from tests.conformance.octt.verify import OMITTED, CheckFailed, check_fields, one_of, require
from tests.support.csms import Payload

ENDING_POINTS = {"Authorized", "PowerPathClosed", "EnergyTransfer"}
STARTUP = ("StartupOfTheDevice", "ResetOrReboot")
CSMS_ROOT = "CSMSRootCertificate"
STATION_CERTIFICATE = "ChargingStationCertificate"
RECONNECT_S = 30.0
CARD_TO_CABLE_S = 0.5  # time an EV driver needs to see the acceptance and take the cable


# Booting.


def reset_station(tester: Tester) -> None:
    """The station restarts; it has not yet reconnected."""
    tester.reset_station("Booting step 1")


def reset_and_boot(
    tester: Tester, *, reset: bool = True, connectors: dict[int, str] | None = None
) -> Payload:
    """The station restarted, was accepted and reported its state. Returns the BootNotification.

    Args:
        reset: restart it by ResetRequest; False: it is restarting already.
        connectors: AvailabilityState by EVSE where it is not Available.
    """
    if reset:
        tester.reset_station("Booted step 1")
    boot = tester.expect_boot_notification("Booted step 3")
    tester.expect_statuses("Booted step 5", exceptions=connectors)
    tester.expect_security_event("Booted step 7", *STARTUP)
    return boot


def make_unavailable(
    tester: Tester, evse_id: int | None = None, connector_id: int | None = None
) -> None:
    """Set the station, an EVSE or a connector Inoperative."""
    request: Payload = {"operationalStatus": "Inoperative"}
    if evse_id is not None:
        request["evse"] = {"id": evse_id} | ({"connectorId": connector_id} if connector_id else {})
    tester.send_call("Unavailable step 1", "ChangeAvailability", request, {"status": "Accepted"})
    for evse, connector in tester.connectors:
        if evse_id in (None, evse) and connector_id in (None, connector):
            tester.expect_status("Unavailable step 3", "Unavailable", evse, connector)


# Before energy flows.


def parking_bay_occupied(tester: Tester) -> None:
    """No action: there is no sensor."""
    require(
        "ParkingBayOccupied",
        "ParkingBayOccupancy" not in tester.start_points,
        "no bay sensor exists",
    )


def ev_connected_pre_session(
    tester: Tester, evse_id: int | None = None, *, ready: bool = True
) -> None:
    """Cable and EV are connected; a transaction may have started."""
    session = tester.session_on(evse_id)
    tester.plug_in(evse_id, ready=ready)
    tester.expect_status("EVConnectedPreSession step 1", "Occupied", evse_id)
    authorized = session.id_token is not None
    begins = "EVConnected" in tester.start_points or (
        "PowerPathClosed" in tester.start_points and authorized
    )
    if session.is_open or begins:
        expected: dict[str, Any] = {
            "eventType": "Updated" if session.is_open else "Started",
            "triggerReason": one_of("CablePluggedIn", "ChargingStateChanged", "RemoteStart"),
            "transactionInfo.chargingState": (
                one_of("EVConnected", "SuspendedEVSE", "Charging") if authorized else "EVConnected"
            ),
        }
        tester.expect_event("EVConnectedPreSession step 3", expected, evse_id)


def authorize_driver(
    tester: Tester,
    id_token: str = VALID,
    evse_id: int | None = None,
    *,
    remote: bool = False,
    cached: bool = False,
    anywhere: bool = False,
) -> None:
    """The EV driver is authorized, by a card at the reader or by the CSMS (`remote`).

    Args:
        anywhere: the card is presented for no EVSE in particular.
        cached: the authorization cache has the token, so no AuthorizeRequest is sent.
    """
    if remote:
        _authorize_remotely(tester, id_token, evse_id, cached=cached)
    else:
        tester.present_id_token(id_token, evse_id, anywhere=anywhere)
        _authorize_locally(tester, id_token, evse_id, cached=cached)


def _authorize_locally(tester: Tester, id_token: str, evse_id: int | None, *, cached: bool) -> None:
    session = tester.session_on(evse_id)
    if cached:
        tester.expect_no_call(
            "Authorized step 1", "Authorize", {"idToken.idToken": id_token}, wait_s=1.0
        )
    else:
        expect_authorize(tester, "Authorized step 1", id_token)
        tester.wait(CARD_TO_CABLE_S)
    _set_authorized(session, id_token)
    if starts_by_authorization(tester, session):
        first_event_after_authorization(tester, "Authorized step 3", evse_id, "Authorized")


def _authorize_remotely(
    tester: Tester, id_token: str, evse_id: int | None, *, cached: bool
) -> None:
    session = tester.session_on(evse_id)
    remote_start_id = request_start(tester, "Authorized step 1", id_token, evse_id)
    if tester.read_value("AuthCtrlr", "AuthorizeRemoteStart") == "true" and not cached:
        expect_authorize(tester, "Authorized step 3", id_token)
    _set_authorized(session, id_token)
    session.remote_start_id = remote_start_id
    if starts_by_authorization(tester, session):
        first_event_after_authorization(tester, "Authorized step 5", evse_id, "RemoteStart")
        _record_time(tester, "RequestStartTransaction", tester.timings.remote_start)


def _set_authorized(session: Session, id_token: str) -> None:
    session.id_token = id_token
    session.id_token_reported = False
    session.remote_start_reported = False


def starts_by_authorization(tester: Tester, session: Session) -> bool:
    """Whether an authorization in this session makes the station send a TransactionEvent."""
    return (
        session.is_open
        or "Authorized" in tester.start_points
        or ("PowerPathClosed" in tester.start_points and session.plugged)
    )


def first_event_after_authorization(
    tester: Tester, step: str, evse_id: int | None, trigger_reason: str
) -> Payload:
    session = tester.session_on(evse_id)
    return tester.expect_event(
        step,
        {
            "eventType": "Updated" if session.is_open else "Started",
            "triggerReason": trigger_reason,
        },
        evse_id,
    )


def expect_authorize(tester: Tester, step: str, id_token: str = VALID) -> Payload:
    """The station sends AuthorizeRequest for this token."""
    return tester.expect_call(
        step,
        "Authorize",
        {"idToken.idToken": id_token, "idToken.type": TOKEN_TYPE},
        timeout_s=MANUAL_ACTION_TIMEOUT_S,
    )


def request_start(
    tester: Tester,
    step: str,
    id_token: str = VALID,
    evse_id: int | None = None,
    more: Payload | None = None,
) -> int:
    """RequestStartTransaction is accepted; returns the remoteStartId."""
    session = tester.session_on(evse_id)
    remote_start_id = tester.next_id()
    request = {
        "idToken": {"idToken": id_token, "type": TOKEN_TYPE},
        "remoteStartId": remote_start_id,
        "evseId": session.evse_id,
    }
    expected: dict[str, Any] = {"status": "Accepted"}
    if session.is_open:
        expected["transactionId"] = session.transaction_id
    tester.send_call(step, "RequestStartTransaction", request | (more or {}), expected)
    return remote_start_id


def start_energy_transfer(
    tester: Tester, evse_id: int | None = None, *, id_token: str = VALID, remote: bool = False
) -> str:
    """Energy flows; returns the transactionId."""
    session = tester.session_on(evse_id)
    if session.id_token is None:
        authorize_driver(tester, id_token, evse_id, remote=remote)
    if not session.plugged:
        _plug_in_authorized(tester, session)
    step = "EnergyTransferStarted step 9"
    charging = {
        "triggerReason": "ChargingStateChanged",
        "transactionInfo.chargingState": "Charging",
    }
    event = tester.peek_event(step, evse_id)
    if event["transactionInfo"].get("chargingState") in ("EVConnected", "SuspendedEVSE"):
        tester.expect_event(
            "EnergyTransferStarted step 7", {"triggerReason": "ChargingStateChanged"}, evse_id
        )
    tester.expect_event(step, charging, evse_id)
    tester.wait_until(
        lambda: tester.is_power_flowing(evse_id), step, "energy from the station to the EV"
    )
    assert session.transaction_id is not None  # an event was consumed
    return session.transaction_id


def _plug_in_authorized(tester: Tester, session: Session) -> None:
    tester.plug_in(session.evse_id)
    tester.expect_status("EnergyTransferStarted step 1", "Occupied", session.evse_id)
    if session.is_open or {"EVConnected", "PowerPathClosed"} & set(tester.start_points):
        tester.expect_event(
            "EnergyTransferStarted step 3",
            {
                "triggerReason": one_of("CablePluggedIn", "RemoteStart"),
                "transactionInfo.chargingState": "EVConnected",
            },
            session.evse_id,
        )


def suspend_energy_transfer(tester: Tester, evse_id: int | None = None) -> None:
    """The EV stops requesting energy."""
    tester.wait(tester.settings.transaction_s)
    tester.pause_ev(evse_id)
    tester.expect_event(
        "EnergyTransferSuspended step 1",
        {
            "triggerReason": "ChargingStateChanged",
            "transactionInfo.chargingState": one_of("EVConnected", "SuspendedEV"),
            "eventType": one_of("Updated", "Ended"),
        },
        evse_id,
    )


# After energy flowed.


def authorize_stop(
    tester: Tester, evse_id: int | None = None, *, id_token: str | None = None, remote: bool = False
) -> None:
    """The EV driver or the CSMS (`remote`) ended the authorization."""
    session = tester.session_on(evse_id)
    tester.wait(tester.settings.transaction_s)
    if remote:
        request_stop(tester, "StopAuthorized step 1", evse_id)
        expect_stop(tester, "StopAuthorized step 3", evse_id, trigger="RemoteStop", reason="Remote")
    else:
        token = id_token or session.id_token
        assert token is not None  # the session was authorized
        tester.present_id_token(token, evse_id)
        reason = one_of("Local", OMITTED)
        expect_stop(tester, "StopAuthorized step 1", evse_id, "StopAuthorized", reason, token)


def request_stop(tester: Tester, step: str, evse_id: int | None = None) -> None:
    """RequestStopTransaction of the transaction of an EVSE is accepted."""
    request = {"transactionId": tester.session_on(evse_id).transaction_id}
    tester.send_call(step, "RequestStopTransaction", request, {"status": "Accepted"})


def expect_stop(
    tester: Tester,
    step: str,
    evse_id: int | None,
    trigger: str,
    reason: Any,
    id_token: str | None = None,
) -> list[Payload]:
    """One event for the stop, one for the resulting state, or both in one. Errata 6.2.117.

    The last one ends the transaction if TxStopPoint requires it.
    """
    events = [_expect_stop_event(tester, step, evse_id, trigger, reason, id_token)]
    ends = bool(ENDING_POINTS & set(tester.stop_points))
    if ends and events[-1]["eventType"] != "Ended":
        events.append(_expect_stop_event(tester, step, evse_id, trigger, reason, id_token))
    last = events[-1]
    check_fields(step, last, {"eventType": "Ended" if ends else "Updated"})
    if ends:
        check_fields(step, last, {"transactionInfo.stoppedReason": reason})
    return events


def _expect_stop_event(
    tester: Tester, step: str, evse_id: int | None, trigger: str, reason: Any, id_token: str | None
) -> Payload:
    event = tester.expect_event(
        step, {"triggerReason": one_of(trigger, "ChargingStateChanged")}, evse_id
    )
    if event["triggerReason"] == "ChargingStateChanged":
        check_fields(step, event, {"transactionInfo.chargingState": "EVConnected"})
    elif id_token is not None and "idToken" in event:
        check_fields(step, event, {"idToken.idToken": id_token, "idToken.type": TOKEN_TYPE})
    return event


def expect_deauthorized(tester: Tester, evse_id: int | None = None) -> None:
    """The CSMS refuses the token in a TransactionEventResponse. Errata 6.2.118."""
    ends = bool(ENDING_POINTS & set(tester.stop_points))
    tester.expect_event(
        "Deauthorized step 3",
        {
            "triggerReason": "Deauthorized",
            "transactionInfo.chargingState": one_of("EVConnected", "SuspendedEVSE"),
            "eventType": "Ended" if ends else "Updated",
            "transactionInfo.stoppedReason": "DeAuthorized" if ends else OMITTED,
        },
        evse_id,
    )


def ev_connected_post_session(tester: Tester, evse_id: int | None = None) -> None:
    """Energy flow has ended and needs a new authorization."""
    session = tester.session_on(evse_id)
    if session.is_open:
        if session.id_token is not None and not ENDING_POINTS & set(tester.stop_points):
            authorize_stop(tester, evse_id)
        if session.is_open:
            tester.expect_event(
                "EVConnectedPostSession step 1",
                {
                    "triggerReason": "ChargingStateChanged",
                    "transactionInfo.chargingState": "EVConnected",
                },
                evse_id,
            )
    tester.wait_until(
        lambda: tester.bench.station.read_emulated_evse(session.evse_id)["contactor"] == "open",
        "EVConnectedPostSession",
        "open contactor",
    )


def ev_disconnected(tester: Tester, evse_id: int | None = None, status: str = "Available") -> None:
    """Cable and EV are disconnected."""
    session = tester.session_on(evse_id)
    tester.unplug(evse_id)
    tester.expect_status("EVDisconnected step 1", status, evse_id)
    if session.is_open:
        tester.expect_event(
            "EVDisconnected step 3",
            {
                "triggerReason": "EVCommunicationLost",
                "transactionInfo.chargingState": "Idle",
            },
            evse_id,
        )


def parking_bay_unoccupied(tester: Tester, evse_id: int | None = None) -> None:
    """The remaining steps of the end of a session; there is no sensor for the parking bay."""
    session = tester.session_on(evse_id)
    if session.is_open and session.id_token is not None:
        authorize_stop(tester, evse_id)
    if session.plugged:
        ev_connected_post_session(tester, evse_id)
        ev_disconnected(tester, evse_id)


# Memory states.


def id_token_cached(tester: Tester, id_token: str = VALID) -> None:
    """The authorization cache has the token, if accepted after a whole session. Errata 6.2.120."""
    if not tester.profile.supports("C-49"):
        return
    accepted = tester.csms.responses.id_token_infos[id_token.casefold()]["status"] == "Accepted"
    if not accepted:
        tester.present_id_token(id_token)
        expect_authorize(tester, "IdTokenCached step 2", id_token)
        tester.bench.wait_settled()
        tester.discard_received()
        return
    authorize_driver(tester, id_token)
    start_energy_transfer(tester)
    authorize_stop(tester)
    ev_connected_post_session(tester)
    ev_disconnected(tester)
    tester.bench.wait_settled()
    tester.discard_received()


def transaction_events_in_queue_ended(tester: Tester) -> None:
    """A whole session while offline: its events are queued."""
    tester.configure_variable("AuthCtrlr", "OfflineTxForUnknownIdEnabled", value=True)
    id_token_cached(tester)
    with tester.offline_period():
        tester.plug_in()
        wait_for_world(tester, "plugged", True)
        tester.present_id_token()
        tester.wait_until(
            tester.is_power_flowing, "TransactionEventsInQueueEnded", "energy to the EV"
        )
        tester.wait(2.0)  # a second tap sooner after the first is not taken as a stop
        tester.present_id_token()
        wait_for_world(tester, "contactor", "open")
        tester.unplug()
        wait_for_world(tester, "plugged", False)
        tester.wait(1.0)


def start_offline_transaction(tester: Tester, id_token: str = VALID) -> None:
    """A transaction starts while offline; then the CSMS is reachable again."""
    with tester.offline_period():
        tester.present_id_token(id_token)
        tester.plug_in()
        tester.wait_until(tester.is_power_flowing, "StartOfflineTransaction", "energy to the EV")


def wait_for_world(tester: Tester, fact: str, value: object, evse_id: int | None = None) -> None:
    """Wait until the emulated hardware of an EVSE has this value."""
    tester.wait_until(
        lambda: bool(
            tester.bench.station.read_emulated_evse(evse_id or tester.evse_id)[fact] == value
        ),
        "manual action",
        f"{fact} {value}",
    )


def install_certificate(tester: Tester, use: str, certificate: CertifiedKey) -> None:
    """A root certificate is in the store."""
    tester.send_call(
        "CertificateInstalled step 1",
        "InstallCertificate",
        {"certificateType": use, "certificate": certificate.pem},
        {"status": "Accepted"},
    )


def replace_csms_root(tester: Tester, new_root: CertifiedKey) -> None:
    """The new CSMS root, signed by the old one, is in the store besides it."""
    install_certificate(tester, CSMS_ROOT, new_root)
    both = ((CSMS_ROOT, new_root), (CSMS_ROOT, tester.bench.authorities.csms_root))
    check_installed_certificates(tester, *both)


def request_csr(tester: Tester, step: str = "step") -> str:
    """Steps 1 to 4 of RenewChargingStationCertificate: the CSR that the CSMS accepts, checked."""
    request = {"requestedMessage": "SignChargingStationCertificate"}
    tester.send_call(f"{step} 1", "TriggerMessage", request, {"status": "Accepted"})
    sent = tester.expect_triggered_call(
        f"{step} 3", "SignCertificate", {"certificateType": STATION_CERTIFICATE}
    )
    check_csr(f"{step} 3", sent["csr"])
    return str(sent["csr"])


def check_csr(step: str, pem: str) -> None:
    """RFC 2986 in PEM, with a key of 2048 bits (RSA, DSA) or 224 (elliptic curve)."""
    csr = x509.load_pem_x509_csr(pem.encode())
    require(step, csr.is_signature_valid, "the CSR must be signed with its own key")
    key = csr.public_key()
    least = 224 if isinstance(key, ec.EllipticCurvePublicKey) else 2048
    require(step, getattr(key, "key_size", 0) >= least, f"the key must have {least} bits")


def renew_station_certificate(tester: Tester) -> CertifiedKey:
    """RenewChargingStationCertificate, errata 6.2.122 and 6.2.123: the new certificate."""
    new = sign_csr(tester.bench.authorities.csms_root, request_csr(tester))
    before = len(tester.csms.handshakes)
    send_certificate(tester, "step 5", new.pem, "Accepted")
    tester.wait_until(lambda: len(tester.csms.handshakes) > before, "step 7", "new connection")
    tester.csms.wait_connected(RECONNECT_S)
    used = tester.csms.handshakes[-1].client_certificate
    expected = new.certificate.public_bytes(serialization.Encoding.DER)
    require("step 7", used == expected, "the station must connect with the new certificate")
    return new


def send_certificate(tester: Tester, step: str, chain: str, status: object) -> Payload:
    """CertificateSigned with a chain; the response must have that status."""
    request = {"certificateChain": chain, "certificateType": STATION_CERTIFICATE}
    return tester.send_call(step, "CertificateSigned", request, {"status": status})


def installed_certificates(tester: Tester, step: str, *uses: str) -> list[Payload]:
    """certificateHashDataChain of the certificates installed for these uses; may be empty."""
    request: Payload = {"certificateType": list(uses)} if uses else {}
    response = tester.send_call(
        step, "GetInstalledCertificateIds", request, {"status": one_of("Accepted", "NotFound")}
    )
    if response["status"] == "NotFound":
        check_fields(step, response, {"certificateHashDataChain": OMITTED})
        return []
    return list(response["certificateHashDataChain"])


def check_installed_certificates(tester: Tester, *certificates: tuple[str, CertifiedKey]) -> None:
    """Assert that each of these certificates is listed for its use."""
    step = "GetInstalledCertificates step 2"
    listed = installed_certificates(tester, step, *dict.fromkeys(use for use, _ in certificates))
    for use, certificate in certificates:
        require(
            step,
            is_listed(listed, use, certificate),
            f"{use} {certificate.hash_data()} must be listed",
        )


def is_listed(listed: list[Payload], use: str, certificate: CertifiedKey) -> bool:
    """Whether a certificate is among certificateHashDataChain entries."""
    return any(
        entry["certificateType"] == use
        and same_hash_data(entry["certificateHashData"], certificate.hash_data())
        for entry in listed
    )


# Used by several blocks.


def take_queued_events(tester: Tester, step: str) -> list[Payload]:
    """Consume all events that were queued while offline; at least one."""
    tester.take_call(step, TRANSACTION_EVENT, timeout_s=MANUAL_ACTION_TIMEOUT_S)
    tester.bench.wait_settled()
    events = [
        frame.payload
        for frame in tester.csms.calls_for(TRANSACTION_EVENT, tester.first_relevant_frame)
    ]
    for event in events:
        session = tester.session_on()
        session.transaction_id = event["transactionInfo"]["transactionId"]
        session.is_open = event["eventType"] != "Ended"
    return events


def check_still_charging(tester: Tester, step: str) -> None:
    """Assert that the transaction is open and energy flows."""
    ended = tester.pending_calls(TRANSACTION_EVENT, {"eventType": "Ended"})
    require(step, not ended, f"the transaction may not end, got {ended[:1]}")
    require(step, tester.is_power_flowing(), "energy must still flow")


def _record_time(tester: Tester, action: str, seconds: list[float]) -> None:
    frames = tester.csms.record.frames
    request = next(
        (frame for frame in reversed(frames) if frame.action == action and not frame.incoming), None
    )
    if request is None:
        raise CheckFailed(f"{action} was never sent")
    event = next(
        frame
        for frame in frames[request.number :]
        if frame.incoming and frame.action == TRANSACTION_EVENT
    )
    seconds.append(event.monotonic_s - request.monotonic_s)
