"""Through which slots may the CSMS be reached, and which of them count in this run? (B09, B10)

A slot that is set counts from the next start on (B10.FR.04), so what may be tried now is kept
apart from what is stored.
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
    message_timeout_s: int = 0  # 0: as OCPPCommCtrlr.MessageTimeout[Default] is at the factory
    interface: str = ""  # OCPPInterfaceEnumType; empty: whatever the host's routes say


class NetworkProfileSet(Decision, frozen=True):
    """The CSMS filled a slot. B09.FR.01."""

    profile: NetworkProfile


class NetworkSlotsSelected(Decision, frozen=True):
    """The slots that are tried in this run, in this order. B10.FR.04."""

    candidates: tuple[NetworkProfile, ...]


class SecurityProfileRaised(Decision, frozen=True):
    """A connection of a higher security profile stands; there is no way back. A05.FR.06."""

    security_profile: int
    removed_slots: tuple[int, ...]  # slots of a lower one


class NetworkProfiles(Projection, frozen=True):
    HANDLES = (
        CsmsConfigured,
        NetworkProfileSet,
        NetworkSlotsSelected,
        SecurityProfileRaised,
        LinkOpened,
    )

    stored_profiles: tuple[NetworkProfile, ...] = ()  # what is stored, by number
    candidates: tuple[NetworkProfile, ...] = ()  # what is tried in this run, in this order
    last_configured: CsmsConfigured | None = None  # what station.toml said last
    security_profile: int = 0  # SecurityCtrlr.SecurityProfile; 0 before the first start
    last_connected_slot: int = 0  # of the last successful connection. B10.FR.07

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
            case LinkOpened(slot=slot, security_profile=profile):
                reached = self.security_profile or profile
                return replace(self, last_connected_slot=slot, security_profile=reached)
            case _:
                return self

    def _on_csms_configured(self, configured: CsmsConfigured) -> NetworkProfiles:
        """A person on site may also go back to a lower security profile. A00.FR.005."""
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
                one for one in self.stored_profiles if one.slot not in raised.removed_slots
            ),
            candidates=tuple(
                one for one in self.candidates if one.slot not in raised.removed_slots
            ),
            security_profile=raised.security_profile,
        )

    def _stored_profiles_with(self, profile: NetworkProfile) -> tuple[NetworkProfile, ...]:
        others = [one for one in self.stored_profiles if one.slot != profile.slot]
        return tuple(sorted([*others, profile], key=lambda one: one.slot))

    def stored_profile(self, slot: int) -> NetworkProfile | None:
        """What the slot holds."""
        return next((one for one in self.stored_profiles if one.slot == slot), None)

    def candidate_profile(self, slot: int) -> NetworkProfile | None:
        """What the slot held when this run began."""
        return next((one for one in self.candidates if one.slot == slot), None)
