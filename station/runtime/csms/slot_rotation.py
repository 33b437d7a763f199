"""Choice of slot and certificates for the next attempt to connect. B10, A02.FR.28, M05.FR.14.

* The candidates are the slots of NetworkConfigurationPriority that may be used, in its order.
* Each slot gets NetworkProfileConnectionAttempts attempts, then the next one is tried (B10.FR.03).
* After a start, the first slot of the priority comes first (B10.FR.04); after a lost connection,
  the slot that was in use (B10.FR.03).
* When every slot has failed: a product that falls back (C-47) stays with the slot of the last
  successful connection (B10.FR.07), if there was one; any other starts with the next slot in the
  order again (B10.FR.08).
* A successful connection resets the counts and ends the fallback.
* There is no last attempt (B10.FR.09).

The candidates may change between two attempts. A slot that is no candidate any more is not tried.

After a renewal there are two certificates of the station, the new one and the one before:

* Attempts begin with the new one. When every slot has failed with it, the other one is used for a
  round of all slots, and so on in turns (A02.FR.28). In fallback (B10.FR.07) the turns begin with
  the old one and change after NetworkProfileConnectionAttempts attempts.
* Attempts that did not reach the CSMS say nothing about a certificate. After a round of only such
  attempts the certificate stays: otherwise a network failure right after a renewal would lead to a
  connection with the old certificate, and the new one would be discarded.
* A successful connection, and another new certificate, begin with the newest one again.

With AdditionalRootCertificateCheck there may be two CSMS roots, of which one at a time is trusted:

* In an attempt through the slot of the last connection, the newest root is tried and at once the
  fallback (M05.FR.14). An attempt through another slot, a migration, trusts only the newest
  (M05.FR.15).
* Back in the slot of the last connection after a migration in which the newest root did not verify
  the CSMS, the fallback is tried first (M05.FR.16).
* When all slots have failed, both are tried in every slot, so that no root can cut the station off.
"""

from __future__ import annotations

from journal.projections.certificates import CertificateInstalled
from journal.projections.network_profiles import NetworkProfile
from station.core.desired import DesiredLink


class SlotRotation:
    """The position in the order of slots, and the attempts that failed since the last success."""

    def __init__(self) -> None:
        self._slot = 0  # of the current attempts; 0: none yet
        self._failed_attempts = 0  # through this slot
        self._exhausted_slots = 0  # slots of which all attempts failed
        self._has_fallen_back = False
        self._newest_certificate = ""  # SHA-256 of the first of the certificates
        self._certificate_turn = (
            0  # place of the certificate in use among them, modulo their number
        )
        self._certificate_tried = False  # in this round an attempt with it reached the CSMS
        self._root_refused_in_migration = False

    def next_slot(self, link: DesiredLink) -> NetworkProfile | None:
        """The slot of the next attempt; None: no slot may be used."""
        if not link.candidates:
            return None
        if self._failed_attempts >= link.attempts_per_candidate:
            if self._has_fallen_back:
                self._failed_attempts = 0
                self._alternate_certificate()
            else:
                self._advance(link)
        if self._has_fallen_back and link.last_successful is not None:
            return link.last_successful
        profiles = (profile for profile in link.candidates if profile.slot == self._slot)
        chosen = next(profiles, link.candidates[0])
        self._slot = chosen.slot
        return chosen

    def _advance(self, link: DesiredLink) -> None:
        """Leave a slot without attempts left for the next one, or fall back."""
        self._failed_attempts = 0
        self._exhausted_slots += 1
        self._slot = _following_slot(link, self._slot)
        self._has_fallen_back = (
            link.fallback_enabled
            and link.last_successful is not None
            and self._exhausted_slots >= len(link.candidates)
        )
        if self._exhausted_slots % len(link.candidates) == 0:
            self._alternate_certificate()

    def _alternate_certificate(self) -> None:
        """After a round of attempts, take the other certificate if this one was tried."""
        self._certificate_turn += self._certificate_tried
        self._certificate_tried = False

    def client_certificate(self, link: DesiredLink) -> CertificateInstalled | None:
        """The certificate of the station for the next attempt with security profile 3, if any."""
        certificates = link.client_certificates
        newest = certificates[0].sha256 if certificates else ""
        if newest != self._newest_certificate:
            self._newest_certificate = newest
            self._certificate_turn, self._certificate_tried = 0, False
        return certificates[self._certificate_turn % len(certificates)] if certificates else None

    def csms_roots(
        self, link: DesiredLink, slot: NetworkProfile
    ) -> tuple[CertificateInstalled, ...]:
        """The roots to verify the CSMS with in an attempt through `slot`, one after the other.

        Empty: every installed root is trusted.
        """
        roots, last = link.csms_roots, link.last_successful
        if last is None or slot.slot == last.slot:
            return roots[::-1] if self._root_refused_in_migration else roots
        if self._exhausted_slots < len(link.candidates):
            return roots[:1]
        return roots

    def on_attempt_failed(
        self, *, certificate_tried: bool = False, root_refused_in_migration: bool = False
    ) -> None:
        """Count a failed attempt.

        Args:
            certificate_tried: it reached the CSMS with a certificate of the station, or the
                certificate cannot be used at all.
            root_refused_in_migration: the only root that was tried did not verify the CSMS, and
                there is a fallback.
        """
        self._failed_attempts += 1
        self._certificate_tried |= certificate_tried
        self._root_refused_in_migration |= root_refused_in_migration

    def on_connected(self, slot: int) -> None:
        """Reset the counts: a connection through `slot` was opened."""
        self._slot, self._has_fallen_back = slot, False
        self._failed_attempts = self._exhausted_slots = 0
        self._certificate_turn, self._certificate_tried = 0, False
        self._root_refused_in_migration = False


def _following_slot(link: DesiredLink, slot: int) -> int:
    slots = [profile.slot for profile in link.candidates]
    if slot not in slots:
        return slots[0]
    return slots[(slots.index(slot) + 1) % len(slots)]
