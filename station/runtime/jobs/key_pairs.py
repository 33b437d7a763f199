"""Job for the key pairs of the station's certificates: create ordered ones, delete others. A02.

* A key pair is created beside the loop and its private key stored durably before KeyPairCreated is
  observed; so no entry refers to a key that a power cut could take (A02.FR.02). If the power is cut
  in between, the next start deletes the stored key, and a new pair is created.
* A private key is deleted once no certificate and no CSR of the state needs it. If the power is cut
  before, the next start deletes it.
* Nothing else of the private key leaves this module: not the log, not the journal (A02.FR.05).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import trio

from journal.events import Observation
from journal.observations import KeyPairCreated, KeyPairFailed
from journal.projections.certificate_signing import SigningRequest
from station.core.desired import DesiredState
from station.runtime.crypto.process import create_key_pair_apart
from station.runtime.reconcile import run_while_desired
from station.runtime.secrets.key_pairs import KeyPair
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station.secrets")

CreateKeyPair = Callable[[str, str, str], KeyPair]  # key type, commonName, organization
RunBlocking = Callable[[Callable[[], KeyPairCreated]], Awaitable[KeyPairCreated]]


class KeyStore(Protocol):
    """The part of the secret store that the job uses."""

    def store_secret(self, secret: str) -> str:
        """Store a private key durably and return its reference. Raises OSError."""
        ...

    def delete_secret(self, reference: str) -> None:
        """Delete a private key. Raises OSError."""
        ...


class KeyPairJob:
    """Executes `key_pair_orders` and `private_key_references` of the desired state."""

    def __init__(
        self,
        secrets: KeyStore,
        *,
        observe: Callable[[Observation], None],
        create: CreateKeyPair = create_key_pair_apart,
        run_blocking: RunBlocking = trio.to_thread.run_sync,
    ) -> None:
        """Prepare.

        Args:
            secrets: keeps the private keys.
            observe: records the results.
            create: creates a key pair; blocks.
            run_blocking: runs a blocking function beside the loop.
        """
        self._secrets = secrets
        self._observe = observe
        self._create = create
        self._run_blocking = run_blocking

    async def run(self, desired_state: WatchedValue[DesiredState]) -> None:
        """Create and delete until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._delete_unneeded, desired_state)
            await run_while_desired(
                desired_state,
                lambda desired: desired.key_pair_orders,
                lambda orders: self._create_ordered(orders, desired_state),
            )

    async def _create_ordered(
        self, orders: tuple[SigningRequest, ...], desired_state: WatchedValue[DesiredState]
    ) -> None:
        for request in orders:
            try:
                created = await self._run_blocking(partial(self._build, request))
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                log.error("no key pair for a new %s: %s", request.order.use, reason)
                self._observe(KeyPairFailed(request.order_seq, reason[:300]))
                continue
            if request in desired_state.value.key_pair_orders:
                log.info("created a key pair for a new %s", request.order.use)
                self._observe(created)
            else:  # another order came while this one was executed
                self._delete_key(created.private_key_ref)

    def _build(self, request: SigningRequest) -> KeyPairCreated:
        """Create a key pair and store its private key. Blocks."""
        order = request.order
        pair = self._create(order.key_type, order.common_name, order.organization)
        return KeyPairCreated(
            order_seq=request.order_seq,
            csr=pair.csr,
            public_key_sha256=pair.public_key_sha256,
            private_key_ref=self._secrets.store_secret(pair.private_key),
        )

    async def _delete_unneeded(self, desired_state: WatchedValue[DesiredState]) -> None:
        """Delete each private key that the state needed before and needs no longer."""
        current = desired_state.value
        needed = set(current.private_key_references or ())
        while True:
            references = current.private_key_references
            if references is not None:  # None: the desired state could not be computed
                for reference in sorted(needed.difference(references)):
                    self._delete_key(reference)
                needed = set(references)
            current = await desired_state.wait_part_changed(
                lambda desired: desired.private_key_references, references
            )

    def _delete_key(self, reference: str) -> None:
        """Delete one file; the next start deletes it if that fails now."""
        try:
            self._secrets.delete_secret(reference)
        except OSError as error:
            log.warning("a private key is deleted at the next start: %s", error.strerror)
