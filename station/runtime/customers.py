"""Who looks for what the station holds about a person, and who erases it? (N09, N10)"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import trio

from journal.aside import forget_aside
from journal.codec import Registry
from journal.observations import CustomerDataFound, ValuesErased
from journal.projections.customers import Inquiry
from journal.reader import Reader
from journal.state import State
from journal.store import JournalDamaged, JournalFailed, Store
from journal.terms import Entry, IdToken, Observation
from journal.tokens import CUSTOMER_DATA
from station.customers import KINDS, TRANSACTIONS_MAX, pages
from station.runtime.follow import follow
from station.runtime.latest import Latest
from station.wanted import Wanted

log = logging.getLogger("station.customers")

AGAIN_S: Final = 60.0  # while another program still reads what shall be erased


class CustomerWork:
    """Does what `wanted.inquiry` and `wanted.erase` say."""

    def __init__(
        self,
        store: Store,
        journal: Path,
        registry: Registry,
        *,
        observe: Callable[[Observation], None],
        memory: Callable[[], State],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        """`settled`: returns at a moment when everything observed is history."""
        self._store = store
        self._journal = journal
        self._registry = registry
        self._observe = observe
        self._memory = memory
        self._settled = settled

    async def run(self, wanted: Latest[Wanted]) -> None:
        async def erase(refs: tuple[str, ...]) -> None:
            await self._settled()
            if refs and wanted.value.erase == refs:
                await self._erase(refs)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, wanted, lambda level: level.inquiry, self._answer)
            nursery.start_soon(follow, wanted, lambda level: level.erase, erase)

    async def _answer(self, inquiry: Inquiry | None) -> None:
        """Search the journal. What is found lies beside the entries, as every personal value."""
        if inquiry is None:
            return
        state = self._memory()
        found = await trio.to_thread.run_sync(self._found, inquiry.asked.id_token, state)
        refs = tuple(self._store.refer(CUSTOMER_DATA, page).ref for page in found)
        self._observe(CustomerDataFound(inquiry.seq, refs))

    def _found(self, id_token: IdToken, state: State) -> tuple[str, ...]:
        """In a thread."""
        if not id_token.ref.startswith("#"):
            return ()  # the empty idToken is nobody's
        with Reader.open(self._journal, self._registry) as reader:
            numbers = reader.numbers(
                newest=TRANSACTIONS_MAX, kinds=KINDS, containing=f'"{id_token.ref}"'
            )
            return pages(id_token, state, _readable(reader, numbers))

    async def _erase(self, refs: tuple[str, ...]) -> None:
        """Take the values off the disk, as soon as nobody else holds on to them.

        Nothing observed is on its way to the journal now, and whoever is seen from now on gets
        another reference: no entry to come can need these values.
        """
        self._store.leave(refs)
        values = [value for ref in refs if (value := self._store.value_of(ref)) is not None]
        while True:
            try:
                for ref in refs:
                    await trio.to_thread.run_sync(self._store.forget, ref)
            except JournalDamaged:
                raise
            except JournalFailed as failure:
                log.warning("%s Once more in %.0f s.", failure, AGAIN_S)
                await trio.sleep(AGAIN_S)
            else:
                break
        await trio.to_thread.run_sync(self._erase_aside, refs, values)
        self._observe(ValuesErased(refs))

    def _erase_aside(self, refs: tuple[str, ...], values: list[str]) -> None:
        """In a thread. What cannot be reached there is named, and does not hold up the rest."""
        try:
            _, left = forget_aside(self._journal, refs, values)
        except OSError as error:
            log.error("journals that were set aside cannot be read: %s", error.strerror)
            return
        for file, why in left:
            log.error("%s: %s, of somebody who shall be forgotten. Delete it.", file, why)


def _readable(reader: Reader, numbers: Iterable[int]) -> Iterator[Entry]:
    """The entries that can be read; a damaged one must not stop the station. P5."""
    for number in numbers:
        try:
            yield reader.entry(number)
        except JournalFailed as failure:
            log.error("%s", failure)
