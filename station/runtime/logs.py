"""Who writes the log the CSMS asked for, and brings it there? (N01)

The file is made from the journal, in a thread, each time it is needed: after a restart it is made
anew, the same but for its heading. It is gone once the upload is over.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trio

from journal.codec import Registry
from journal.observations import UploadEnded
from journal.projections.logs import Upload
from journal.reader import JournalFailed, Reader
from journal.state import State
from journal.terms import Entry, Observation
from station.case import Product
from station.logs import diagnosis, heading, security_event, told
from station.runtime.follow import follow
from station.runtime.latest import Latest
from station.runtime.locations import revealed
from station.wanted import Wanted

log = logging.getLogger("station.logs")

ENTRIES_MAX: Final = 50_000  # of one log, the newest: about 10 MB, for a mobile network
LINES_AT_ONCE: Final = 500  # between two looks at whether the log is still wanted

SECURITY_EVENTS: Final = ("SecurityEventLogged",)


class LogWork:
    """Does what `wanted.upload` says."""

    def __init__(
        self,
        product: Product,
        journal: Path,
        registry: Registry,
        directory: Path,
        *,
        observe: Callable[[Observation], None],
        memory: Callable[[], State],
        reveal: Callable[[str], str | None],
    ) -> None:
        """`directory`: of this task alone, for the file while it is on its way."""
        self._product = product
        self._journal = journal
        self._registry = registry
        self._directory = directory
        self._observe = observe
        self._memory = memory
        self._reveal = reveal

    async def run(self, wanted: Latest[Wanted]) -> None:
        await follow(wanted, lambda level: level.upload, self._bring)

    async def _bring(self, upload: Upload | None) -> None:
        """Write it, send it, delete it, and tell how it went."""
        await trio.to_thread.run_sync(self._clear)
        if upload is None:
            return
        try:
            status, why = await self._sent(upload)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._clear)
        log.log(
            logging.INFO if status == "Uploaded" else logging.WARNING,
            "log %s: %s%s",
            upload.ordered.filename,
            status,
            f": {why}" if why else "",
        )
        self._observe(UploadEnded(upload.seq, status, why))

    async def _sent(self, upload: Upload) -> tuple[str, str]:
        """The UploadLogStatusEnumType it ends with, and why."""
        # Here, and not above: it brings half a second of imports with it.
        from station.runtime.transfers import SCHEMES, TransferFailed, trust_of
        from station.runtime.transfers import upload as send

        ordered = upload.ordered
        url = revealed(ordered.location, self._reveal)
        if url is None:
            return "UploadFailure", "the credentials of the URL are lost"
        scheme = url.partition("://")[0].lower()
        protocol = SCHEMES.get(scheme)
        if protocol not in self._product.profile.limits.file_transfer_protocols:
            return "NotSupportedOperation", f"{scheme[:10]!r} is no protocol of this product"
        file = self._directory / ordered.filename
        state = self._memory()
        roots = "".join(one.pem for one in state.certificates.of("CSMSRootCertificate"))
        try:
            await trio.to_thread.run_sync(self._write, file, upload, state)
            trust = await trio.to_thread.run_sync(trust_of, roots)
            await send(
                file, url, trust=trust, attempts=ordered.attempts, interval_s=ordered.interval_s
            )
        except TransferFailed as failure:
            return failure.status, str(failure)
        except (OSError, JournalFailed) as failure:
            return "UploadFailure", str(failure)
        return "Uploaded", ""

    # --- The file, in a thread -------------------------------------------------------------------

    def _clear(self) -> None:
        """Nothing of a log stays on the disk."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _write(self, file: Path, upload: Upload, state: State) -> None:
        """Write the log, until nobody wants it any more.

        Raises:
            JournalFailed, OSError: the journal cannot be read, the file not written.
            trio.Cancelled: it is not wanted any more.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8") as text:
            for number, line in enumerate(self._lines(upload, state)):
                if number % LINES_AT_ONCE == 0:
                    trio.from_thread.check_cancelled()
                text.write(f"{line}\n")

    def _lines(self, upload: Upload, state: State) -> Iterator[str]:
        ordered = upload.ordered
        security = ordered.log_type == "SecurityLog"
        yield from heading(ordered, state, self._product, _now())
        if not security:
            yield from diagnosis(state, self._product)
        word: Callable[[Entry], str] = security_event if security else told
        with Reader.open(self._journal, self._registry) as reader:
            numbers = reader.numbers(
                newest=ENTRIES_MAX,
                before=upload.seq,
                oldest=_moment(ordered.oldest),
                latest=_moment(ordered.latest),
                kinds=SECURITY_EVENTS if security else (),
            )
            if len(numbers) == ENTRIES_MAX:
                yield f"The newest {ENTRIES_MAX} entries; for others ask for an earlier time."
            for number in numbers:
                try:
                    yield word(reader.entry(number))
                except JournalFailed as failure:
                    yield f"entry {number} cannot be told: {failure}"


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
