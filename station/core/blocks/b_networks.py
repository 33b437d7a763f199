"""Network connection profiles: slots, their priority, and the security profile. B09, B10, A05.

A *slot* holds one network connection profile. NetworkConfigurationPriority lists the slots in the
order they are tried. A stored profile or a changed priority takes effect at the next start, when
`select_network_slots` makes the list of candidates (B10.FR.04).

The security profile in use can only rise, except from 3 to 2 if the product has
AllowSecurityProfileDowngrade and the integrator set it (A00.FR.005, erratum 2.5 of 2025-01). A slot
with a higher one may be put into the priority if the certificates it needs are installed
(A05.FR.02, A05.FR.03); once a link of the higher profile has opened, slots of lower ones are
dropped (A05.FR.06).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journal.events import Decision, Event
from journal.observations import CsmsConfigured, LinkOpened, StationStarted
from journal.projections.network_profiles import (
    CONFIGURED_SLOT,
    NetworkProfile,
    NetworkProfileSet,
    NetworkSlotsSelected,
    SecurityProfileLowered,
    SecurityProfileRaised,
)
from journal.projections.variables import VariableChanged
from station.core.blocks import a_security, m_certificates
from station.core.context import Call, CallHandler, Context, Rule, call_result, status_info
from station.core.device_model.definitions import Refusal
from station.core.device_model.model import split_list
from station.core.reasons import Reason, Reasons
from station.ocpp.csms_url import CsmsUrlError, parse_csms_url
from station.ocpp.messages.b_provisioning import (
    NetworkConnectionProfileType,
    SetNetworkProfileRequest,
    SetNetworkProfileResponse,
)

CONFIGURATION_PRIORITY: Final = "OCPPCommCtrlr.NetworkConfigurationPriority"
DOWNGRADE_ALLOWED: Final = "SecurityCtrlr.AllowSecurityProfileDowngrade"
OCPP_VERSION: Final = "OCPP20"  # OCPPVersionEnumType of 2.0.1
MESSAGE_TIMEOUT_MAX_S: Final = 3600  # a lost answer delays every other call for this long
SCHEME_BY_PROFILE: Final = {1: "ws", 2: "wss", 3: "wss"}  # by security profile


# --- B09: store a profile ------------------------------------------------------------------------


def set_network_profile(
    ctx: Context, call: Call, request: SetNetworkProfileRequest
) -> Iterator[Decision]:
    """Store a network connection profile; it takes effect at a start. B09.FR.01 to 05."""
    slot, data = request.configuration_slot, request.connection_data
    new = NetworkProfile(
        slot=slot,
        url=data.ocpp_csms_url.rstrip("/"),
        security_profile=data.security_profile,
        message_timeout_s=data.message_timeout,
        interface=data.ocpp_interface,
    )
    refusal = (
        _check_slot(ctx, slot)
        or _check_connection_data(ctx, data)
        or _check_slot_in_priority(ctx, new)
    )
    if refusal:
        info = status_info(*refusal)
        yield call_result(call, SetNetworkProfileResponse(status="Rejected", status_info=info))
        return
    yield NetworkProfileSet(new)
    yield call_result(call, SetNetworkProfileResponse(status="Accepted"))
    yield from a_security.log_security_event(
        ctx,
        "ReconfigurationOfSecurityParameters",
        f"network slot {slot}: security profile {data.security_profile}",
    )


def _check_slot(ctx: Context, slot: int) -> tuple[str, str] | None:
    """Only slots in the valuesList of the priority. B09.FR.05."""
    if str(slot) in ctx.product.profile.network_slots:
        return None
    slots = ",".join(ctx.product.profile.network_slots)
    return "InvalidValue", f"there are slots {slots}, not {slot}"


def _check_slot_in_priority(ctx: Context, network_slot: NetworkProfile) -> tuple[str, str] | None:
    """Refuse a profile that the priority would refuse, for a slot that is in the priority.

    Otherwise the station would try a profile that cannot work at the next start. A05.FR.02, FR.03.
    """
    if str(network_slot.slot) not in ctx.variable_list(CONFIGURATION_PRIORITY):
        return None
    fault = _check_security_profile(ctx, network_slot)
    return (
        ("InvalidValue", f"slot {network_slot.slot} is in the priority: {fault}") if fault else None
    )


def _check_connection_data(
    ctx: Context, data: NetworkConnectionProfileType
) -> tuple[str, str] | None:
    """Reason code and text of the first refusal; None: it is usable. B09.FR.02, B09.FR.04."""
    in_use, own = ctx.state.network_profiles.security_profile, data.security_profile
    allowed = ctx.product.profile.security_profiles
    if own < _lowest_security_profile(ctx):  # B09.FR.04, B09.FR.31, B09.FR.32
        return "InvalidValue", f"security profile {own} is lower than {in_use}, which is in use"
    if own not in allowed:
        return "InvalidValue", f"security profile {own} is none of {','.join(map(str, allowed))}"
    if data.ocpp_version != OCPP_VERSION or data.ocpp_transport != "JSON":
        return "UnsupportedParam", f"only {OCPP_VERSION} over JSON is supported"
    if not 1 <= data.message_timeout <= MESSAGE_TIMEOUT_MAX_S:
        text = f"messageTimeout is 1 to {MESSAGE_TIMEOUT_MAX_S} s, not {data.message_timeout}"
        return "ValueOutOfRange", text
    if data.apn is not None or data.vpn is not None:
        # A tunnel that was accepted and is not used would be worse than a refusal.
        return "UnsupportedParam", "modem and tunnel are set up in the host, not by OCPP"
    fault = check_url(data.ocpp_csms_url, own)
    return ("InvalidURL", fault) if fault else None


def check_url(url: str, security_profile: int) -> str | None:
    """Why a URL is unusable with a security profile; None: it is usable. Part 4 §3.1.1."""
    scheme = SCHEME_BY_PROFILE[security_profile]
    try:
        parsed = parse_csms_url(url)
    except CsmsUrlError as error:
        return f"the URL cannot be used: {error}"
    if parsed.scheme != scheme:
        return f"security profile {security_profile} needs {scheme}://"
    return None


# --- B10: the priority ---------------------------------------------------------------------------


def check_priority(ctx: Context, text: str) -> Refusal | None:
    """Why a value of NetworkConfigurationPriority is refused. B10.FR.02, A05.FR.02 to 04.

    Its form has been checked by its variable definition.
    """
    networks = ctx.state.network_profiles
    for member in split_list(text):
        stored = networks.stored_profile(int(member))
        if stored is None:
            return _priority_refusal(f"slot {member} holds no network connection profile")
        if fault := _check_security_profile(ctx, stored):
            return _priority_refusal(f"slot {member}: {fault}")
    return None


def _priority_refusal(text: str) -> Refusal:
    return Refusal("Rejected", "InvalidValue", text)


def _check_security_profile(ctx: Context, network_slot: NetworkProfile) -> str | None:
    """Why a slot cannot be used; None: it can."""
    in_use, own = ctx.state.network_profiles.security_profile, network_slot.security_profile
    if own < _lowest_security_profile(ctx):  # A05.FR.08 to 10
        return f"security profile {own} is lower than {in_use}"
    if (
        own > in_use
        and own > 1
        and not m_certificates.has_valid_certificate(ctx, m_certificates.CSMS_ROOT)
    ):
        return "no valid CSMSRootCertificate is installed"  # A05.FR.02
    if (
        own > in_use
        and own == 3
        and not m_certificates.has_valid_certificate(ctx, m_certificates.STATION_CERTIFICATE)
    ):
        return "no valid ChargingStationCertificate is installed"  # A05.FR.03
    return None


def _lowest_security_profile(ctx: Context) -> int:
    """The lowest security profile that may be used: from 3 to 2 by a setting, never to 1."""
    in_use = ctx.state.network_profiles.security_profile
    return 2 if in_use == 3 and ctx.variable_boolean(DOWNGRADE_ALLOWED) else in_use


def select_network_slots(ctx: Context) -> Iterator[Decision]:
    """At a start, make the candidates from the stored profiles. B10.FR.04, A05.FR.05.

    If the priority leaves no usable slot, every usable one is tried, so that the station is not
    cut off from the CSMS (B10.FR.09).
    """
    if not isinstance(ctx.entry.event, StationStarted):
        return
    networks = ctx.state.network_profiles
    usable = [
        profile
        for profile in networks.stored_profiles
        if profile.security_profile >= _lowest_security_profile(ctx)
    ]
    usable_by_slot = {str(profile.slot): profile for profile in usable}
    in_priority = [
        usable_by_slot[slot]
        for slot in ctx.variable_list(CONFIGURATION_PRIORITY)
        if slot in usable_by_slot
    ]
    candidates = tuple(in_priority or usable)
    if candidates != networks.candidates:
        yield NetworkSlotsSelected(candidates)


def on_csms_configured(ctx: Context) -> Iterator[Decision]:
    """After a change of `[csms]` in station.toml, put its slot first in the priority."""
    yield from m_certificates.install_csms_roots(ctx)
    others = [
        slot for slot in ctx.variable_list(CONFIGURATION_PRIORITY) if slot != str(CONFIGURED_SLOT)
    ]
    priority = ",".join([str(CONFIGURED_SLOT), *others])
    if ctx.state.lifecycle.run_count and priority != ctx.variable_text(CONFIGURATION_PRIORITY):
        yield VariableChanged(CONFIGURATION_PRIORITY, priority)


def change_security_profile(ctx: Context) -> Iterator[Decision]:
    """When a link of a higher security profile opens, drop slots of lower ones. A05.FR.06.

    A link of a lower one, which the setting allows, changes only the profile in use. A05.FR.08.
    """
    event, networks = ctx.entry.event, ctx.state.network_profiles
    if not isinstance(event, LinkOpened) or event.security_profile == networks.security_profile:
        return
    if event.security_profile < networks.security_profile:
        if event.security_profile >= _lowest_security_profile(ctx):
            yield SecurityProfileLowered(event.security_profile)
            yield from a_security.log_security_event(
                ctx,
                "ReconfigurationOfSecurityParameters",
                f"security profile {networks.security_profile} lowered to {event.security_profile}",
            )
        return
    dropped = {
        profile.slot
        for profile in networks.stored_profiles
        if profile.security_profile < event.security_profile
    }
    yield SecurityProfileRaised(event.security_profile, tuple(sorted(dropped)))
    kept = [slot for slot in ctx.variable_list(CONFIGURATION_PRIORITY) if int(slot) not in dropped]
    priority = ",".join(kept or [str(event.slot)])
    if priority != ctx.variable_text(CONFIGURATION_PRIORITY):
        yield VariableChanged(CONFIGURATION_PRIORITY, priority)
    if networks.security_profile:
        yield from a_security.log_security_event(
            ctx,
            "ReconfigurationOfSecurityParameters",
            f"security profile {networks.security_profile} raised to {event.security_profile}",
        )


CALLS: Final[dict[str, CallHandler]] = {"SetNetworkProfile": set_network_profile}

REASONS: Final[Reasons] = {
    NetworkProfileSet: Reason("the CSMS requested it with SetNetworkProfile", "B09.FR.01"),
    NetworkSlotsSelected: Reason(
        "the program started, and NetworkConfigurationPriority or the stored profiles differ from "
        "those of the start before",
        "B10.FR.04",
    ),
    SecurityProfileLowered: Reason(
        "the link that opened has a lower security profile, and AllowSecurityProfileDowngrade is "
        "set",
        "A05.FR.08",
    ),
    SecurityProfileRaised: Reason(
        "the link that opened has a higher security profile", "A05.FR.06"
    ),
}
OBSERVED: Final[dict[type[Event], Rule]] = {CsmsConfigured: on_csms_configured}
RULES: Final[tuple[Rule, ...]] = (select_network_slots, change_security_profile)
