"""Jobs for personal data: customer reports and erasure. N09, N10.

* Report: search the journal for the customer's idToken and store the pages as personal values; the
  CustomerDataFound entry holds only their references.
* Erase: remove values from the side table, then from damaged journals that were set aside. It
  starts when every observation is committed, so that no entry on its way can use an erased
  reference.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import trio

from journal.codec import Registry
from journal.events import Entry, IdToken, Observation
from journal.format.id_tokens import CUSTOMER_DATA
from journal.observations import CustomerDataFound, PersonalValuesErased
from journal.projections.customer_requests import CustomerRequest
from journal.state import State
from journal.storage.errors import JournalDamaged, JournalFailed
from journal.storage.reader import Reader
from journal.storage.store import Store
from station.core.desired import DesiredState
from station.runtime.jobs.customer_report import (
    CUSTOMER_EVENT_KINDS,
    TRANSACTIONS_MAX,
    build_report_pages,
)
from station.runtime.reconcile import run_while_desired
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station.customers")

ERASE_RETRY_INTERVAL_S: Final = 60.0  # while another program reads the journal


class CustomerDataJob:
    """Executes `customer_request` and `references_to_erase` of the desired state."""

    def __init__(
        self,
        store: Store,
        journal: Path,
        registry: Registry,
        *,
        observe: Callable[[Observation], None],
        current_state: Callable[[], State],
        wait_until_idle: Callable[[], Awaitable[None]],
    ) -> None:
        """Prepare.

        Args:
            store: the journal, open for writing.
            journal: its path.
            registry: decodes its events.
            observe: records the results.
            current_state: the state of the last commit.
            wait_until_idle: returns when every observation so far is committed.
        """
        self._store = store
        self._journal = journal
        self._registry = registry
        self._observe = observe
        self._current_state = current_state
        self._wait_until_idle = wait_until_idle

    async def run(self, desired_state: WatchedValue[DesiredState]) -> None:
        async def erase(refs: tuple[str, ...]) -> None:
            await self._wait_until_idle()
            if refs and desired_state.value.references_to_erase == refs:
                await self._erase_values(refs)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                run_while_desired,
                desired_state,
                lambda desired: desired.customer_request,
                self._report_customer,
            )
            nursery.start_soon(
                run_while_desired, desired_state, lambda desired: desired.references_to_erase, erase
            )

    async def _report_customer(self, customer: CustomerRequest | None) -> None:
        """Search the journal and store the report as personal values."""
        if customer is None:
            return
        state = self._current_state()
        pages = await trio.to_thread.run_sync(self._build_pages, customer.request.id_token, state)
        refs = tuple(self._store.reference_for(CUSTOMER_DATA, page).ref for page in pages)
        self._observe(CustomerDataFound(customer.seq, refs))

    def _build_pages(self, id_token: IdToken, state: State) -> tuple[str, ...]:
        """The pages of the report. Blocks: runs in a thread."""
        if not id_token.ref.startswith("#"):
            return ()  # the empty idToken (type NoAuthorization) belongs to no customer
        with Reader.open(self._journal, self._registry) as reader:
            seqs = reader.find_seqs(
                count_max=TRANSACTIONS_MAX,
                kinds=CUSTOMER_EVENT_KINDS,
                containing=f'"{id_token.ref}"',
            )
            return build_report_pages(id_token, state, _readable_entries(reader, seqs))

    async def _erase_values(self, refs: tuple[str, ...]) -> None:
        """Erase values from the disk, again each minute while another program reads the journal.

        No uncommitted observation uses these references now, and the same idToken gets a new
        reference from now on, so no later entry needs these values.
        """
        self._store.mark_for_erasure(refs)
        values = [value for ref in refs if (value := self._store.value_of(ref)) is not None]
        while True:
            try:
                for ref in refs:
                    await trio.to_thread.run_sync(self._store.erase, ref)
            except JournalDamaged:
                raise
            except JournalFailed as failure:
                log.warning("%s Next try to erase in %.0f s.", failure, ERASE_RETRY_INTERVAL_S)
                await trio.sleep(ERASE_RETRY_INTERVAL_S)
            else:
                break
        await trio.to_thread.run_sync(self._erase_quarantined, refs, values)
        self._observe(PersonalValuesErased(refs))

    def _erase_quarantined(self, refs: tuple[str, ...], values: list[str]) -> None:
        """Erase values in damaged journals that were set aside; log what is left. Blocks."""
        from journal.maintenance.erase_quarantined import erase_in_quarantines  # seldom used

        try:
            _, left = erase_in_quarantines(self._journal, refs, values)
        except OSError as error:
            log.error(
                "damaged journals that were set aside cannot be read: %s. They may hold erased "
                "personal values; delete them.",
                error.strerror,
            )
            return
        for file, reason in left:
            log.error("%s: %s. It may hold erased personal values; delete it.", file, reason)


def _readable_entries(reader: Reader, seqs: Iterable[int]) -> Iterator[Entry]:
    """The entries that can be read; damaged ones are logged and skipped. P5."""
    for seq in seqs:
        try:
            yield reader.read_entry(seq)
        except JournalFailed as failure:
            log.error("%s", failure)
