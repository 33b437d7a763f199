"""Network connection profiles: those stored by slot, and those tried in this run. B09, B10.

A slot that is set takes effect at the next start (B10.FR.04), so the candidates of this run are
kept apart from the stored profiles.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.observations import CsmsConfigured, LinkOpened
from journal.projections.base import Projection

CONFIGURED_SLOT = 1  # the slot that `[csms]` of station.toml fills


class NetworkProfile(msgspec.Struct, frozen=True):
    """One network connection profile."""

    slot: int
    url: str  # without the identity
    security_profile: int
    message_timeout_s: int = 0  # 0: the factory value of OCPPCommCtrlr.MessageTimeout[Default]
    interface: str = ""  # OCPPInterfaceEnumType; empty: by the host's routes


class NetworkProfileSet(Decision, frozen=True):
    """The CSMS set the profile of a slot. B09.FR.01."""

    profile: NetworkProfile


class NetworkSlotsSelected(Decision, frozen=True):
    """The profiles to try in this run were determined. B10.FR.04."""

    candidates: tuple[NetworkProfile, ...]  # in this order


class SecurityProfileRaised(Decision, frozen=True):
    """A connection with a higher security profile was opened; this is final. A05.FR.06."""

    security_profile: int
    removed_slots: tuple[int, ...]  # slots with a lower security profile


class SecurityProfileLowered(Decision, frozen=True):
    """A connection with security profile 2 was opened after 3, as the setting allows. A05.FR.08."""

    security_profile: int


class NetworkProfiles(Projection, frozen=True):
    HANDLES = (
        CsmsConfigured,
        NetworkProfileSet,
        NetworkSlotsSelected,
        SecurityProfileRaised,
        SecurityProfileLowered,
        LinkOpened,
    )

    stored_profiles: tuple[NetworkProfile, ...] = ()  # sorted by slot
    candidates: tuple[NetworkProfile, ...] = ()  # of this run, in the order of attempts
    last_configured: CsmsConfigured | None = None  # last [csms] of station.toml
    security_profile: int = 0  # SecurityCtrlr.SecurityProfile; 0 before the first start
    last_connected_slot: int = 0  # of the last opened connection. B10.FR.07

    def apply(self, entry: Entry) -> NetworkProfiles:
        match entry.event:
            case CsmsConfigured() as configured:
                return self._on_csms_configured(configured)
            case NetworkProfileSet(profile=profile):
                return replace(self, stored_profiles=self._stored_profiles_with(profile))
            case NetworkSlotsSelected(candidates=candidates):
                return replace(self, candidates=candidates)
            case SecurityProfileRaised() as raised:
                return self._on_security_profile_raised(raised)
            case SecurityProfileLowered(security_profile=profile):
                return replace(self, security_profile=profile)
            case LinkOpened(slot=slot, security_profile=profile):
                reached = self.security_profile or profile
                return replace(self, last_connected_slot=slot, security_profile=reached)
            case _:
                return self

    def _on_csms_configured(self, configured: CsmsConfigured) -> NetworkProfiles:
        """station.toml, changed on site, may also lower the security profile. A00.FR.005."""
        reached, own = self.security_profile, configured.security_profile
        return replace(
            self,
            stored_profiles=self._stored_profiles_with(
                NetworkProfile(CONFIGURED_SLOT, configured.url, own)
            ),
            last_configured=configured,
            security_profile=min(reached, own) if reached else own,
        )

    def _on_security_profile_raised(self, raised: SecurityProfileRaised) -> NetworkProfiles:
        return replace(
            self,
            stored_profiles=tuple(
                each for each in self.stored_profiles if each.slot not in raised.removed_slots
            ),
            candidates=tuple(
                each for each in self.candidates if each.slot not in raised.removed_slots
            ),
            security_profile=raised.security_profile,
        )

    def _stored_profiles_with(self, profile: NetworkProfile) -> tuple[NetworkProfile, ...]:
        others = [each for each in self.stored_profiles if each.slot != profile.slot]
        return tuple(sorted([*others, profile], key=lambda each: each.slot))

    def stored_profile(self, slot: int) -> NetworkProfile | None:
        """The profile stored in the slot."""
        return next((each for each in self.stored_profiles if each.slot == slot), None)

    def candidate_profile(self, slot: int) -> NetworkProfile | None:
        """The profile of the slot that this run uses."""
        return next((each for each in self.candidates if each.slot == slot), None)
