"""Job for the key pairs of the station's certificates: create ordered ones, delete others. A02.

* A key pair is created in another process, which no stop of the station waits for. Its private key
  is stored durably before KeyPairCreated is observed; so no entry refers to a key that a power cut
  could take (A02.FR.02). If the power is cut in between, the next start deletes the stored key, and
  a new pair is created.
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

CreateKeyPair = Callable[[str, str, str], Awaitable[KeyPair]]  # key type, commonName, organization
RunBlocking = Callable[[Callable[[], str]], Awaitable[str]]


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
        create: CreateKeyPair | None = None,
        run_blocking: RunBlocking = trio.to_thread.run_sync,
    ) -> None:
        """Prepare.

        Args:
            secrets: keeps the private keys.
            observe: records the results.
            create: creates a key pair; raises ValueError. None: in another process.
            run_blocking: stores a private key beside the loop.
        """
        self._secrets = secrets
        self._observe = observe
        self._create = create or _create_one_at_a_time()
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
                created = await self._build(request)
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

    async def _build(self, request: SigningRequest) -> KeyPairCreated:
        """Create a key pair and store its private key. Raises OSError, ValueError."""
        order = request.order
        pair = await self._create(order.key_type, order.common_name, order.organization)
        return KeyPairCreated(
            order_seq=request.order_seq,
            csr=pair.csr,
            public_key_sha256=pair.public_key_sha256,
            private_key_ref=await self._run_blocking(
                partial(self._secrets.store_secret, pair.private_key)
            ),
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


def _create_one_at_a_time() -> CreateKeyPair:
    """Create key pairs in another process.

    A cancelled one ends later by itself; only then the next begins, however often a CSMS orders.
    """
    limiter = trio.CapacityLimiter(1)

    async def create(key_type: str, common_name: str, organization: str) -> KeyPair:
        return await trio.to_thread.run_sync(
            create_key_pair_apart,
            key_type,
            common_name,
            organization,
            abandon_on_cancel=True,
            limiter=limiter,
        )

    return create
