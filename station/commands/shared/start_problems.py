"""What a start would refuse or complain of in the data directory of a sound station.toml.

The steps of the start itself are performed where they only read: the state is restored from the
journal, and the first observations are made; what they raise and log are the problems. Nothing is
changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
import trio

from drivers.emulators.json_lines_socket import SocketPathError, check_socket_path
from drivers.wire.port_failure import find_lock_holders
from journal.events import Observation
from journal.format.wal import find_lost_commits
from journal.observations import CertificatePreset, CsmsConfigured
from journal.projections.certificates import CertificateInstalled
from journal.state import State
from journal.storage.errors import JournalDamaged, JournalFailed
from journal.storage.reader import Head
from journal.storage.schema import check_release
from station.commands.shared.control_client import (
    DEVICES_SOCKET,
    STATION_SOCKET,
    find_listener_pid,
)
from station.commands.shared.journal_argument import JOURNAL_FILE, open_journal
from station.config.data_directory import (
    DataDirectoryError,
    check_data_directory,
    count_exposed_files,
)
from station.config.station_toml import CERTIFICATE_USES, Config
from station.core import x509
from station.core.x509 import CertificateUnusable
from station.runtime.disk.reserve import free_bytes
from station.runtime.hardware.emulator_process import (
    EmulatorFailed,
    check_emulated_evses,
    emulator_socket,
)
from station.runtime.jobs.modem import ModemUnreadable, find_modem_program, read_modem
from station.runtime.loop.initial_observations import CSMS_ROOT, initial_observations
from station.runtime.loop.startup import restore_state
from station.runtime.loop.state_snapshot import open_snapshots
from station.runtime.secrets.references import secrets_in_use
from station.runtime.secrets.store import SecretStore, is_reference

Severity = Literal["error", "warning"]
BYTES_PER_MIB: Final = 1 << 20
DISK_MINIMUM: Final = 64 * BYTES_PER_MIB  # the journal of about ten days, before it is archived
RESERVE_FACTOR: Final = 2  # free bytes that the disk reserve needs, as a multiple of its size
OWN_FILES: Final = (JOURNAL_FILE, "journal.db-wal", "journal.lock")
STATION_CERTIFICATE: Final = "ChargingStationCertificate"


class Problem(msgspec.Struct, frozen=True):
    """One problem, as a line. Error: `run` would not start with this on a new station."""

    severity: Severity
    text: str


def find_start_problems(config: Config) -> Iterator[Problem]:
    """Every problem of a start with this configuration on this host, now."""
    directory = config.data_directory
    try:
        check_data_directory(directory)
        for name in (STATION_SOCKET, *(() if config.hardware else (DEVICES_SOCKET,))):
            check_socket_path(directory / name)
        if not config.hardware:
            trio.run(check_emulated_evses, emulator_socket(directory), len(config.profile.evse))
        _check_own_files(directory)
    except (DataDirectoryError, SocketPathError, EmulatorFailed, JournalFailed) as error:
        yield Problem("error", str(error))
        return
    if exposed := count_exposed_files(directory):
        yield _warning(
            f"data directory {directory}: other users can read {exposed} files; the next start"
            " takes that away"
        )
    yield from _disk_problems(config)
    yield from _modem_problems(config)
    yield from _journal_problems(config)


def _warning(text: str) -> Problem:
    return Problem("warning", text)


def _check_own_files(directory: Path) -> None:
    """Raises JournalFailed: a file of the journal is none, or another process writes it."""
    for path in (directory / name for name in OWN_FILES):
        if path.exists() and not path.is_file():
            raise JournalFailed(f"{path}: not a regular file. Move it away.")
    station = find_listener_pid(directory / STATION_SOCKET)
    for pid in find_lock_holders(str(directory / "journal.lock")):
        if pid != station:
            raise JournalFailed(
                f"{directory / JOURNAL_FILE}: another process (pid {pid}) writes this journal."
                " Stop it, or give this station a data directory of its own."
            )


def _disk_problems(config: Config) -> Iterator[Problem]:
    directory, reserve = config.data_directory, config.journal.reserve_bytes
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = free_bytes(existing)
    has_reserve = (directory / "reserve").exists()
    needed = max(DISK_MINIMUM, 0 if has_reserve else RESERVE_FACTOR * reserve)
    if free < needed:
        yield _warning(
            f"data directory {directory}: {free // BYTES_PER_MIB} MiB are free; the journal needs"
            f" at least {needed // BYTES_PER_MIB} MiB. Free some space."
        )


def _modem_problems(config: Config) -> Iterator[Problem]:
    program = find_modem_program(config.device_model)
    if program is not None:
        try:
            trio.run(read_modem, program)
        except ModemUnreadable as error:
            yield _warning(f"modem: {error}")


def _journal_problems(config: Config) -> Iterator[Problem]:
    """Problems of the journal, and of station.toml for the state that it leads to."""
    path = config.data_directory / JOURNAL_FILE
    head, state = Head(0, b"", None, 0), State(journal_id="")
    if path.exists() and path.stat().st_size:  # an empty file becomes a new journal
        try:
            with _collect_log("station") as messages:
                head, state = _read_state(path)
        except JournalDamaged as failure:
            yield _warning(f"{failure} A start rebuilds the journal.")
            return
        except JournalFailed as failure:
            yield Problem("error", str(failure))
            return
        yield from map(_warning, messages)
    observations: list[Observation] = []
    with _collect_log("station") as messages:
        observations += initial_observations(config, state, head.seq == 0, lambda secret: "new")
    yield from map(_warning, messages)
    yield from map(_warning, _clock_problems(head))
    yield from map(_warning, _certificate_problems(config, state, observations))
    yield from map(_warning, _lost_secrets(config, state))


def _read_state(path: Path) -> tuple[Head, State]:
    """Head and state, as a start restores them, with what it logs. Raises JournalFailed."""
    is_in_use = find_listener_pid(path.parent / STATION_SOCKET) is not None
    if not is_in_use and (lost := find_lost_commits(path)):
        raise JournalDamaged(f"{path}: {lost}.")
    with open_journal(path) as reader:
        check_release(path, reader.connection)
        head = reader.read_head()
        return head, restore_state(reader, head.seq, open_snapshots(path.parent), [])


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _clock_problems(head: Head) -> Iterator[str]:
    now = _utc_now()
    if head.at is not None and now < head.at:
        yield (
            f"clock: this host has {now:%Y-%m-%d %H:%M} UTC, the newest entry of the journal"
            f" {head.at:%Y-%m-%d %H:%M}. Set the clock, and check its battery."
        )


def _certificate_problems(
    config: Config, state: State, observations: list[Observation]
) -> Iterator[str]:
    """Certificates that a connection needs and that are missing or not valid now."""
    certificates = [*state.certificates.installed, *_new_certificates(observations)]
    uses = {certificate.use for certificate in certificates}
    csms = config.csms
    if csms.security_profile >= 2 and CSMS_ROOT not in uses:
        yield f"[csms] no {CSMS_ROOT}: no connection to {csms.url} is possible; set ca_file"
    if csms.security_profile == 3 and STATION_CERTIFICATE not in uses:
        yield (
            f"[csms] no {STATION_CERTIFICATE}: security profile 3 needs one;"
            " give it in [[certificate]]"
        )
    now = _utc_now()
    for certificate in certificates:
        begins, ends = map(datetime.fromisoformat, (certificate.not_before, certificate.not_after))
        if not begins <= now <= ends:
            yield (
                f"{certificate.use} {certificate.subject}: valid from {begins:%Y-%m-%d} to"
                f" {ends:%Y-%m-%d}, and this host has {now:%Y-%m-%d}"
            )


def _new_certificates(observations: list[Observation]) -> Iterator[CertificateInstalled]:
    """The certificates in the first observations, described."""
    for observation in observations:
        if isinstance(observation, CsmsConfigured):
            for pem in observation.ca_certificates:
                yield x509.parse_root(CSMS_ROOT, pem, (), None)
        elif isinstance(observation, CertificatePreset):
            try:
                if CERTIFICATE_USES[observation.use]:
                    yield x509.parse_own_chain(observation.use, observation.pem, (), "")
                else:
                    yield x509.parse_root(observation.use, observation.pem, (), None)
            except CertificateUnusable:  # the log of the start has the reason
                continue


def _lost_secrets(config: Config, state: State) -> Iterator[str]:
    """Passwords and private keys that the state refers to and that cannot be read."""
    store = SecretStore(config.data_directory / "secrets")
    references = sorted({text for text in secrets_in_use(state) if is_reference(text)})
    with _collect_log("station") as messages:
        lost = sum(store.read_secret(reference) is None for reference in references)
    yield from messages
    if lost > len(messages):
        yield (
            f"{config.data_directory / 'secrets'}: {lost - len(messages)} passwords or private keys"
            " are gone. Set them again from the CSMS."
        )


@contextmanager
def _collect_log(name: str) -> Iterator[list[str]]:
    """Collect warnings and errors of a logger instead of writing them."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, collector = logging.getLogger(name), Collector(logging.WARNING)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        yield messages
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagates
