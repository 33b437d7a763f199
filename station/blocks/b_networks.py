"""Which ways lead to a CSMS, and in which order are they tried? (B09, B10, A05)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from journal.observations import CsmsConfigured, LinkOpened, StationStarted
from journal.projections.networks import (
    CONFIGURED_SLOT,
    NetworkProfileSet,
    NetworkSlot,
    NetworksTaken,
    SecurityProfileRaised,
)
from journal.projections.variables import VariableChanged
from journal.terms import Decision, Event
from station.blocks import a_security, m_certificates
from station.case import Call, Case, Handler, Rule, answer, reason
from station.devicemodel import members
from station.messages.b_provisioning import (
    NetworkConnectionProfileType,
    SetNetworkProfileRequest,
    SetNetworkProfileResponse,
)
from station.variables import Refusal

PRIORITY: Final = "OCPPCommCtrlr.NetworkConfigurationPriority"
OCPP_VERSION: Final = "OCPP20"  # how OCPPVersionEnumType calls 2.0.1
TIMEOUT_MAX_S: Final = 3600  # one lost answer keeps everything else waiting for so long
SCHEMES: Final = {1: "ws", 2: "wss", 3: "wss"}  # by security profile


# --- B09: filling a slot -------------------------------------------------------------------------


def set_network_profile(
    case: Case, call: Call, request: SetNetworkProfileRequest
) -> Iterator[Decision]:
    """Store a way to a CSMS; it counts after the next start. B09.FR.01 to 05."""
    slot, data = request.configuration_slot, request.connection_data
    new = NetworkSlot(
        slot=slot,
        url=data.ocpp_csms_url.rstrip("/"),
        security_profile=data.security_profile,
        message_timeout_s=data.message_timeout,
        interface=data.ocpp_interface,
    )
    refusal = _slot_fault(case, slot) or _data_fault(case, data) or _priority_broken(case, new)
    if refusal:
        info = reason(*refusal)
        yield answer(call, SetNetworkProfileResponse(status="Rejected", status_info=info))
        return
    yield NetworkProfileSet(new)
    yield answer(call, SetNetworkProfileResponse(status="Accepted"))
    yield from a_security.logged(
        case,
        "ReconfigurationOfSecurityParameters",
        f"network slot {slot}: security profile {data.security_profile}",
    )


def _slot_fault(case: Case, slot: int) -> tuple[str, str] | None:
    """B09.FR.05: only what the valuesList of the priority has."""
    if str(slot) in case.product.profile.network_slots:
        return None
    known = ",".join(case.product.profile.network_slots)
    return "InvalidValue", f"there are slots {known}, not {slot}"


def _priority_broken(case: Case, new: NetworkSlot) -> tuple[str, str] | None:
    """What the priority would refuse today must not get into it by way of a slot it names.

    After the next start the station would try a way that cannot work. A05.FR.02, A05.FR.03.
    """
    if str(new.slot) not in case.members(PRIORITY):
        return None
    fault = _profile_fault(case, new)
    return ("InvalidValue", f"slot {new.slot} is in the priority: {fault}") if fault else None


def _data_fault(case: Case, data: NetworkConnectionProfileType) -> tuple[str, str] | None:
    """Reason code and text of the first thing wrong. B09.FR.02, B09.FR.04."""
    reached, own = case.state.networks.security_profile, data.security_profile
    allowed = case.product.profile.security_profiles
    if own < reached:
        return "InvalidValue", f"security profile {own} is lower than {reached}, which is in use"
    if own not in allowed:
        return "InvalidValue", f"security profile {own} is none of {','.join(map(str, allowed))}"
    if data.ocpp_version != OCPP_VERSION or data.ocpp_transport != "JSON":
        return "UnsupportedParam", f"only {OCPP_VERSION} over JSON is spoken here"
    if not 1 <= data.message_timeout <= TIMEOUT_MAX_S:
        told = f"messageTimeout is 1 to {TIMEOUT_MAX_S} s, not {data.message_timeout}"
        return "ValueOutOfRange", told
    if data.apn is not None or data.vpn is not None:
        # To accept a tunnel and then go without it would be worse than to say no.
        return "UnsupportedParam", "modem and tunnel are set up in the host, not by OCPP"
    fault = url_fault(data.ocpp_csms_url, own)
    return ("InvalidURL", fault) if fault else None


def url_fault(url: str, security_profile: int) -> str | None:
    """What is wrong with a URL for that security profile; None: nothing. Part 4 §3.1.1."""
    scheme = SCHEMES[security_profile]
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "the URL cannot be read"
    if parts.scheme != scheme:
        return f"security profile {security_profile} needs {scheme}://"
    if not host or port == 0 or " " in url or not url.isprintable():
        return "the URL names no host"
    if parts.username is not None or parts.password is not None:
        return "the URL holds a user or a password"
    if parts.query or parts.fragment:
        return "the URL must end with its path"
    return None


# --- B10: the order ------------------------------------------------------------------------------


def priority_fault(case: Case, text: str) -> Refusal | None:
    """Why NetworkConfigurationPriority cannot be this. B10.FR.02, A05.FR.02 to 04.

    Its form has been checked; the sense is judged here.
    """
    networks = case.state.networks
    for member in members(text):
        stored = networks.stored(int(member))
        if stored is None:
            return _refused(f"slot {member} holds no network connection profile")
        if fault := _profile_fault(case, stored):
            return _refused(f"slot {member}: {fault}")
    return None


def _refused(why: str) -> Refusal:
    return Refusal("Rejected", "InvalidValue", why)


def _profile_fault(case: Case, stored: NetworkSlot) -> str | None:
    """Why a slot cannot be put to use."""
    reached, own = case.state.networks.security_profile, stored.security_profile
    if own < reached:
        return f"security profile {own} is lower than {reached}"  # A05, remark
    if own > reached and own > 1 and not m_certificates.holds_valid(case, m_certificates.CSMS_ROOT):
        return "no valid CSMSRootCertificate is installed"  # A05.FR.02
    if own > reached and own == 3 and not m_certificates.holds_valid(case, m_certificates.STATION):
        return "no valid ChargingStationCertificate is installed"  # A05.FR.03
    return None


def taken(case: Case) -> Iterator[Decision]:
    """What is stored counts from this start on. B10.FR.04, A05.FR.05.

    A station must not be stranded (B10.FR.09): where the priority leaves no usable slot, every
    usable one is tried.
    """
    if not isinstance(case.entry.event, StationStarted):
        return
    networks = case.state.networks
    usable = [one for one in networks.slots if one.security_profile >= networks.security_profile]
    by_slot = {str(one.slot): one for one in usable}
    chosen = [by_slot[member] for member in case.members(PRIORITY) if member in by_slot]
    candidates = tuple(chosen or usable)
    if candidates != networks.candidates:
        yield NetworksTaken(candidates)


def configured(case: Case) -> Iterator[Decision]:
    """station.toml was changed: whoever stood at the station wants its slot tried first."""
    yield from m_certificates.configured(case)
    others = [one for one in case.members(PRIORITY) if one != str(CONFIGURED_SLOT)]
    priority = ",".join([str(CONFIGURED_SLOT), *others])
    if case.state.lifecycle.runs and priority != case.text(PRIORITY):
        yield VariableChanged(PRIORITY, priority)


def opened(case: Case) -> Iterator[Decision]:
    """A connection of a higher security profile stands: the way back is closed. A05.FR.06."""
    event, networks = case.entry.event, case.state.networks
    if not isinstance(event, LinkOpened) or event.security_profile <= networks.security_profile:
        return
    dropped = {one.slot for one in networks.slots if one.security_profile < event.security_profile}
    yield SecurityProfileRaised(event.security_profile, tuple(sorted(dropped)))
    kept = [one for one in case.members(PRIORITY) if int(one) not in dropped]
    priority = ",".join(kept or [str(event.slot)])
    if priority != case.text(PRIORITY):
        yield VariableChanged(PRIORITY, priority)
    if networks.security_profile:
        yield from a_security.logged(
            case,
            "ReconfigurationOfSecurityParameters",
            f"security profile {networks.security_profile} raised to {event.security_profile}",
        )


CALLS: Final[dict[str, Handler]] = {"SetNetworkProfile": set_network_profile}

OBSERVED: Final[dict[type[Event], Rule]] = {CsmsConfigured: configured}
