"""Charging profiles that the CSMS has installed. K01, K05, K10.

A profile takes effect with the commit of `ChargingProfileInstalled` and stays over restarts
(K01.FR.27) until it is replaced or removed. One that came with RequestStartTransaction belongs to
the authorization of that request until its transaction starts (K05).
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from journal.events import Decision, Entry
from journal.projections.base import Projection
from journal.projections.transactions import TransactionAuthorized, TransactionStarted

RemovalReason = Literal["cleared", "transaction_ended", "not_started"]


class ChargingProfileInstalled(Decision, frozen=True, kw_only=True):
    """The CSMS installed a charging profile; it replaces one with the same id. K01.FR.05, K05."""

    evse_id: int  # 0: the station; a TxDefaultProfile there counts for every EVSE. K01.FR.14
    profile_id: int
    purpose: str  # ChargingProfilePurposeEnumType
    stack_level: int
    transaction_id: str = ""  # of a TxProfile; empty: none, or not started yet
    remote_start_id: int | None = None  # of the RequestStartTransaction it came with
    profile: msgspec.Raw  # ChargingProfileType, as received


class ChargingProfileRemoved(Decision, frozen=True):
    """A charging profile ended. K02.FR.05, K10.FR.03, K10.FR.04."""

    profile_id: int
    # cleared: by the CSMS; not_started: its RequestStartTransaction led to no transaction
    reason: RemovalReason


class InstalledProfile(msgspec.Struct, frozen=True):
    """A charging profile, identified by its id."""

    seq: int  # entry that installed it
    evse_id: int
    profile_id: int
    purpose: str
    stack_level: int
    transaction_id: str
    remote_start_id: int | None
    profile: msgspec.Raw


class ChargingProfiles(Projection, frozen=True):
    """The installed profiles, by id. How many there can be is checked before the event."""

    HANDLES = (
        ChargingProfileInstalled, ChargingProfileRemoved, TransactionStarted, TransactionAuthorized,
    )  # fmt: skip

    installed: tuple[InstalledProfile, ...] = ()

    def apply(self, entry: Entry) -> ChargingProfiles:
        match entry.event:
            case TransactionStarted(transaction_id=transaction_id, remote_start_id=remote_start):
                return self._bind(transaction_id, remote_start)
            case TransactionAuthorized(transaction_id=transaction_id, remote_start_id=remote_start):
                return self._bind(transaction_id, remote_start)
            case ChargingProfileInstalled() as event:
                return self._install(entry.seq, event)
            case ChargingProfileRemoved(profile_id=profile_id):
                return ChargingProfiles(
                    tuple(each for each in self.installed if each.profile_id != profile_id)
                )
            case _:
                return self

    def by_id(self, profile_id: int) -> InstalledProfile | None:
        return next((each for each in self.installed if each.profile_id == profile_id), None)

    def _install(self, seq: int, event: ChargingProfileInstalled) -> ChargingProfiles:
        profile = InstalledProfile(
            seq=seq,
            evse_id=event.evse_id,
            profile_id=event.profile_id,
            purpose=event.purpose,
            stack_level=event.stack_level,
            transaction_id=event.transaction_id,
            remote_start_id=event.remote_start_id,
            profile=event.profile,
        )
        others = (each for each in self.installed if each.profile_id != event.profile_id)
        return ChargingProfiles(tuple(sorted((*others, profile), key=lambda each: each.profile_id)))

    def _bind(self, transaction_id: str, remote_start_id: int | None) -> ChargingProfiles:
        """Give the profile of a RequestStartTransaction to the transaction it led to. K05.FR.03."""
        if remote_start_id is None or not any(
            self._waits_for(each, remote_start_id) for each in self.installed
        ):
            return self
        return ChargingProfiles(
            tuple(
                replace(each, transaction_id=transaction_id, remote_start_id=None)
                if self._waits_for(each, remote_start_id)
                else each
                for each in self.installed
            )
        )

    @staticmethod
    def _waits_for(profile: InstalledProfile, remote_start_id: int) -> bool:
        return not profile.transaction_id and profile.remote_start_id == remote_start_id
