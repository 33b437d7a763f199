"""Job for log uploads: write the log, upload it, delete it, report the result. N01.

The file is written from the journal in a thread; with bus traces it is an archive of the log and
their directories. After a restart of the station, a running upload
starts again with a new file, equal but for its header.
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
from journal.events import Entry, Observation
from journal.observations import LogUploadEnded
from journal.projections.logs import ARCHIVE_SUFFIX, LogUpload, LogUploadOrdered
from journal.state import State
from journal.storage.errors import JournalFailed
from journal.storage.reader import EntryDamage, Reader
from station.core.context import Product
from station.core.desired import DesiredState
from station.runtime.jobs.log_text import (
    format_diagnostics_entry,
    format_header,
    format_security_event,
    format_station_state,
)
from station.runtime.jobs.trace_directories import find_traces
from station.runtime.reconcile import run_while_desired
from station.runtime.secrets.urls import restore_url
from station.runtime.transfers.results import TransferFailed
from station.runtime.transfers.retry import upload_file
from station.runtime.transfers.url import SCHEMES
from station.runtime.watched_value import WatchedValue

log = logging.getLogger("station.logs")

ENTRIES_MAX: Final = 50_000  # per log, the newest: about 10 MB, for a mobile network
LINES_PER_CANCEL_CHECK: Final = 500  # between two checks whether the job was cancelled

SECURITY_EVENT_KINDS: Final = ("SecurityEventLogged",)


class LogUploadJob:
    """Executes `log_upload` of the desired state."""

    def __init__(
        self,
        product: Product,
        journal: Path,
        registry: Registry,
        directory: Path,
        traces: Path,
        *,
        observe: Callable[[Observation], None],
        current_state: Callable[[], State],
        read_secret: Callable[[str], str | None],
    ) -> None:
        """Prepare.

        Args:
            product: for the header and the state of the station.
            journal: its path.
            registry: decodes its events.
            directory: used by this job only, for the file to upload.
            traces: directory of the bus traces.
            observe: records the result.
            current_state: the state of the last commit.
            read_secret: a URL with credentials, by its reference.
        """
        self._product = product
        self._journal = journal
        self._registry = registry
        self._directory = directory
        self._traces = traces
        self._observe = observe
        self._current_state = current_state
        self._read_secret = read_secret

    async def run(self, desired_state: WatchedValue[DesiredState]) -> None:
        await run_while_desired(desired_state, lambda desired: desired.log_upload, self._upload_log)

    async def _upload_log(self, upload: LogUpload | None) -> None:
        """Write, upload and delete the log, and report the result."""
        await trio.to_thread.run_sync(self._delete_files)
        if upload is None:
            return
        try:
            status, reason = await self._send_log(upload)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._delete_files)
        log.log(
            logging.INFO if status == "Uploaded" else logging.WARNING,
            "upload of log %s: %s%s",
            upload.order.filename,
            status,
            f": {reason}" if reason else "",
        )
        self._observe(LogUploadEnded(upload.seq, status, reason))

    async def _send_log(self, upload: LogUpload) -> tuple[str, str]:
        """UploadLogStatusEnumType of the result, and its reason."""
        ordered = upload.order
        url = restore_url(ordered.location, self._read_secret)
        if url is None:
            return "UploadFailure", "the credentials of the URL are lost"
        scheme = url.partition("://")[0].lower()
        protocol = SCHEMES.get(scheme)
        if protocol not in self._product.profile.limits.file_transfer_protocols:
            return "NotSupportedOperation", f"{scheme[:10]!r} is no protocol of this product"
        file = self._directory / ordered.filename
        state = self._current_state()
        certificates = state.certificates.for_uses("CSMSRootCertificate")
        roots = "".join(certificate.pem for certificate in certificates)
        try:
            await trio.to_thread.run_sync(self._write_log, file, upload, state)
            await upload_file(
                file,
                url,
                roots_pem=roots,
                attempts=ordered.attempts_max,
                interval_s=ordered.retry_interval_s,
            )
        except TransferFailed as failure:
            return failure.status, str(failure)
        except (OSError, JournalFailed) as failure:
            return "UploadFailure", str(failure)
        return "Uploaded", ""

    # --- The file, in a thread -------------------------------------------------------------------

    def _delete_files(self) -> None:
        """No part of a log stays on the disk."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _write_log(self, file: Path, upload: LogUpload, state: State) -> None:
        """Write the log. Blocks: runs in a thread.

        Raises:
            JournalFailed: the journal cannot be read.
            OSError: the file cannot be written.
            trio.Cancelled: the job was cancelled.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.name.endswith(ARCHIVE_SUFFIX):
            self._write_text(file, upload, state)
            return
        text = file.with_name(file.name.removesuffix(ARCHIVE_SUFFIX) + ".log")
        self._write_text(text, upload, state)
        import tarfile  # only for an archive

        with tarfile.open(file, "w:gz") as archive:
            archive.add(text, text.name)
            for trace in self._requested_traces(upload.order):
                trio.from_thread.check_cancelled()
                archive.add(trace, f"traces/{trace.name}")
        text.unlink()

    def _requested_traces(self, ordered: LogUploadOrdered) -> Iterator[Path]:
        oldest = _parse_datetime(ordered.oldest_timestamp)
        latest = _parse_datetime(ordered.latest_timestamp)
        for trace in find_traces(self._traces):
            if (oldest is None or trace.at >= oldest) and (latest is None or trace.at <= latest):
                yield trace.path

    def _write_text(self, file: Path, upload: LogUpload, state: State) -> None:
        with file.open("w", encoding="utf-8") as text:
            for number, line in enumerate(self._log_lines(upload, state)):
                if number % LINES_PER_CANCEL_CHECK == 0:
                    trio.from_thread.check_cancelled()
                text.write(f"{line}\n")

    def _log_lines(self, upload: LogUpload, state: State) -> Iterator[str]:
        ordered = upload.order
        security = ordered.log_type == "SecurityLog"
        yield from format_header(ordered, state, self._product, _utc_now())
        if not security:
            yield from format_station_state(state, self._product)
        format_line: Callable[[Entry], str] = (
            format_security_event if security else format_diagnostics_entry
        )
        damages: list[EntryDamage] = []
        with Reader.open(self._journal, self._registry) as reader:
            seqs = reader.find_seqs(
                count_max=ENTRIES_MAX,
                before_seq=upload.seq,
                oldest=_parse_datetime(ordered.oldest_timestamp),
                latest=_parse_datetime(ordered.latest_timestamp),
                kinds=SECURITY_EVENT_KINDS if security else (),
                on_damage=damages.append,
            )
            for damage in damages[:ENTRIES_MAX]:
                yield f"entry {damage.seq} cannot be read: {damage.reason}"
            if len(seqs) == ENTRIES_MAX:
                yield f"The newest {ENTRIES_MAX} entries; request an earlier period for older ones."
            for seq in seqs:
                try:
                    yield format_line(reader.read_entry(seq))
                except JournalFailed as failure:
                    yield f"entry {seq} cannot be read: {failure}"


def _parse_datetime(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _utc_now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
