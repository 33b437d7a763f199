"""Who looks for what the station holds about a person, and who erases it? (N09, N10)"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import trio

from journal.codec import Registry
from journal.events import Entry, IdToken, Observation
from journal.format.id_tokens import CUSTOMER_DATA
from journal.maintenance.erase_quarantined import erase_in_quarantines
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

ERASE_RETRY_INTERVAL_S: Final = 60.0  # while another program still reads what shall be erased


class CustomerDataJob:
    """Does what `wanted.inquiry` and `wanted.erase` say."""

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
        """`settled`: returns at a moment when everything observed is history."""
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
                lambda level: level.customer_request,
                self._answer_inquiry,
            )
            nursery.start_soon(
                run_while_desired, desired_state, lambda level: level.references_to_erase, erase
            )

    async def _answer_inquiry(self, inquiry: CustomerRequest | None) -> None:
        """Search the journal. What is found lies beside the entries, as every personal value."""
        if inquiry is None:
            return
        state = self._current_state()
        found = await trio.to_thread.run_sync(self._find_pages, inquiry.request.id_token, state)
        refs = tuple(self._store.reference_for(CUSTOMER_DATA, page).ref for page in found)
        self._observe(CustomerDataFound(inquiry.seq, refs))

    def _find_pages(self, id_token: IdToken, state: State) -> tuple[str, ...]:
        """In a thread."""
        if not id_token.ref.startswith("#"):
            return ()  # the empty idToken is nobody's
        with Reader.open(self._journal, self._registry) as reader:
            numbers = reader.find_seqs(
                count_max=TRANSACTIONS_MAX,
                kinds=CUSTOMER_EVENT_KINDS,
                containing=f'"{id_token.ref}"',
            )
            return build_report_pages(id_token, state, _readable_entries(reader, numbers))

    async def _erase_values(self, refs: tuple[str, ...]) -> None:
        """Take the values off the disk, as soon as nobody else holds on to them.

        Nothing observed is on its way to the journal now, and whoever is seen from now on gets
        another reference: no entry to come can need these values.
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
                log.warning("%s Once more in %.0f s.", failure, ERASE_RETRY_INTERVAL_S)
                await trio.sleep(ERASE_RETRY_INTERVAL_S)
            else:
                break
        await trio.to_thread.run_sync(self._erase_quarantined, refs, values)
        self._observe(PersonalValuesErased(refs))

    def _erase_quarantined(self, refs: tuple[str, ...], values: list[str]) -> None:
        """In a thread. What cannot be reached there is named, and does not hold up the rest."""
        try:
            _, left = erase_in_quarantines(self._journal, refs, values)
        except OSError as error:
            log.error("journals that were set aside cannot be read: %s", error.strerror)
            return
        for file, why in left:
            log.error("%s: %s, of somebody who shall be forgotten. Delete it.", file, why)


def _readable_entries(reader: Reader, seqs: Iterable[int]) -> Iterator[Entry]:
    """The entries that can be read; a damaged one must not stop the station. P5."""
    for number in seqs:
        try:
            yield reader.read_entry(number)
        except JournalFailed as failure:
            log.error("%s", failure)
