"""Who starts the tasks of the station, and what happens when one of them fails?

One nursery. A fault in the link or the control socket restarts that part; devices are looked
after by `Evses`; a journal that cannot be written ends the program, because a station that
cannot remember must not sell.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Final

import trio

from drivers.emulators.json_lines_socket import JsonLinesSocket
from journal.observations import SafeModeEntered, StationStarted, StationStopping
from journal.state import State
from journal.storage.connection import StoreSettings
from journal.storage.errors import DiskFull, JournalFailed
from station import RELEASE
from station.config.station_toml import Config
from station.core.context import Product
from station.runtime.clock import HostClock, read_boot_id
from station.runtime.control_socket import ControlHandler
from station.runtime.csms.connection import CsmsConnection
from station.runtime.csms.dialer import Dialer
from station.runtime.csms.frame_filter import FrameFilter
from station.runtime.disk.archiver import Archiver, CurrentState
from station.runtime.disk.auditor import audit_journal, verify_command
from station.runtime.disk.reserve import DiskReserve
from station.runtime.hardware.emulator_process import emulator_socket
from station.runtime.hardware.hardware import Hardware
from station.runtime.jobs.certificate_export import export_certificates
from station.runtime.jobs.customers import CustomerDataJob
from station.runtime.jobs.firmware import FirmwareUpdateJob
from station.runtime.jobs.installer_process import DEFAULT_INSTALLER as OWN_INSTALLER
from station.runtime.jobs.logs import LogUploadJob
from station.runtime.loop.commit_thread import CommitThread
from station.runtime.loop.initial_observations import initial_observations
from station.runtime.loop.recorder import Recorder
from station.runtime.loop.startup import Startup, event_registry
from station.runtime.secrets.store import SecretStore
from station.runtime.secrets.urls import find_secret_reference
from station.runtime.timer import report_deadlines

log = logging.getLogger("station")

RESTART_PAUSE_S: Final = 1.0  # before a part that failed is started again; doubles
RESTART_PAUSE_MAX_S: Final = 30.0
SNAPSHOT_INTERVAL_ENTRIES: Final = 10_000  # a start replays at most about so many


async def run_station(config: Config, damage_reason: str = "") -> str | None:
    """Run one life of the station.

    Args:
        config: station.toml.
        damage: what the life before found wrong with the journal; empty: nothing.

    Returns:
        The reason of the next one (BootReasonEnumType) when the station shall restart; None when
        it was asked to end.

    Raises:
        JournalDamaged: the journal turned out to be damaged: the next life shall know.
        JournalFailed: the journal cannot be opened or written.
        SocketPathError: the control socket cannot lie in the data directory.
    """
    life = StationApp(config, damage_reason)
    try:
        return await life.run()
    finally:
        life.close()


class StationApp:
    """Everything between one StationStarted and the next."""

    def __init__(self, config: Config, damage_reason: str = "") -> None:
        self.config = config
        self.product = Product(config.profile, config.device_model)
        settings = StoreSettings(
            checkpoint_pages=config.journal.checkpoint_pages,
            grow_bytes=config.journal.grow_bytes,
            powersafe_overwrite=config.journal.powersafe_overwrite,
        )
        self.startup = Startup(config.data_directory, settings, damage_reason=damage_reason)
        self.clock = HostClock()
        self.network = Dialer()
        self.secrets = SecretStore(config.data_directory / "secrets")
        self.commit_thread = CommitThread(self.startup.store.write_rows)
        self.recorder = Recorder(
            self.product,
            self.startup.store,
            self.startup.state,
            self.clock,
            commit_thread=self.commit_thread,
        )
        self.hardware = Hardware(
            config.hardware or Hardware.emulated_settings(config.data_directory / "emulated"),
            config.profile,
            observe=self.recorder.observe,
            reference_for=self.startup.store.reference_for,
            reading_interval_s=config.journal.reading_interval_s,
            desired_state=self.recorder.desired_state,
        )
        self.recorder.latest_reading = self.hardware.latest_reading
        self.reserve = DiskReserve(
            config.data_directory,
            config.journal.reserve_bytes,
            self.recorder.observe,
            level=self.startup.state.health.storage_level,
        )
        self.recorder.release_reserve = self.reserve.release
        self._restart_reason: str | None = None

    async def run(self) -> str | None:
        """Begin, work, and end in good order: power first, then the last commit."""
        control = JsonLinesSocket(
            self.config.data_directory / "control.sock", self._build_control().handle_line
        )
        self._allocate_reserve()
        await self._record_start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.recorder.run)
            nursery.start_soon(self._restart_on_failure, "room", self.reserve.run)
            nursery.start_soon(self._restart_on_failure, "audit", self._run_auditor)
            nursery.start_soon(self._run_checkpoints)
            nursery.start_soon(self._restart_on_failure, "archive", self._run_archiver)
            nursery.start_soon(self._restart_on_failure, "control", control.run)
            nursery.start_soon(
                self._restart_on_failure, "certificate files", self._export_certificates
            )
            with trio.CancelScope() as working:
                nursery.start_soon(self._stop_on_signal, working)
                nursery.start_soon(self._stop_on_restart_request, working)
                await self._run_workers()
            self.recorder.observe(StationStopping(self._restart_reason or "asked to end"))
            nursery.cancel_scope.cancel()
        return self._restart_reason

    async def _run_workers(self) -> None:
        """The tasks that end first, so that the scribe can write down how they did."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._restart_on_failure, "link", self._build_link().run)
            nursery.start_soon(self._restart_on_failure, "hardware", self.hardware.run)
            nursery.start_soon(
                report_deadlines, self.recorder.desired_state, self.clock, self.recorder.observe
            )
            nursery.start_soon(self._restart_on_failure, "firmware", self._run_firmware)
            nursery.start_soon(self._restart_on_failure, "logs", self._run_logs)
            nursery.start_soon(self._restart_on_failure, "customers", self._run_customers)

    async def _run_firmware(self) -> None:
        firmware, data = self.config.firmware, self.config.data_directory
        work = FirmwareUpdateJob(
            self.product,
            data / "downloads",
            installer_command=(str(firmware.installer),) if firmware.installer else OWN_INSTALLER,
            installer_base=firmware.directory or data / "firmware",
            observe=self.recorder.observe,
            current_state=self._current_state,
            read_secret=self.secrets.read_secret,
        )
        await work.run(self.recorder.desired_state)

    async def _run_logs(self) -> None:
        work = LogUploadJob(
            self.product,
            self.config.data_directory / "journal.db",
            event_registry(),
            self.config.data_directory / "uploads",
            observe=self.recorder.observe,
            current_state=self._current_state,
            read_secret=self.secrets.read_secret,
        )
        await work.run(self.recorder.desired_state)

    async def _run_customers(self) -> None:
        work = CustomerDataJob(
            self.startup.store,
            self.config.data_directory / "journal.db",
            event_registry(),
            observe=self.recorder.observe,
            current_state=self._current_state,
            wait_until_idle=self.recorder.wait_until_idle,
        )
        await work.run(self.recorder.desired_state)

    def _current_state(self) -> State:
        return self.recorder.state

    def close(self) -> None:
        """Leave the journal as one file, with a snapshot beside it."""
        self.commit_thread.close()
        try:
            self.startup.save_snapshot(self.recorder.head, self.recorder.state)
            self.secrets.delete_unreferenced(set(self._secrets_in_use()))
        finally:
            self.startup.close()

    def _secrets_in_use(self) -> Iterator[str]:
        """Values that may be references of secrets, and all that are."""
        yield from self.recorder.state.variables.values.values()
        state = self.recorder.state
        yield from (one.private_key_ref for one in state.certificates.installed)
        for work in (state.firmware.running_update, state.logs.upload):
            if work is not None:
                yield find_secret_reference(work.order.location) or ""

    async def _run_auditor(self) -> None:
        command = verify_command(self.config.data_directory / "journal.db")
        await audit_journal(command, self.recorder.observe, lambda: self.recorder.state.health)

    def _allocate_reserve(self) -> None:
        try:
            self.reserve.allocate()
        except OSError as error:
            log.error("no room is kept in reserve: %s", error.strerror)

    # --- Beginning ------------------------------------------------------------------------------

    async def _record_start(self) -> None:
        """The first entries of this life."""
        self.secrets.delete_unreferenced(set(self._secrets_in_use()))  # what a killed run left
        head = self.startup.store.head
        for observation in initial_observations(
            self.config,
            self.startup.state,
            head.seq == 0,
            self.secrets.store_secret,
            journal_damaged=bool(self.startup.damage_found),
        ):
            self.recorder.observe(observation)
        profile = self.config.profile
        self.recorder.observe(
            StationStarted(
                boot_id=read_boot_id(),
                release=RELEASE,
                product_profile=profile.name,
                identity=self.config.identity,
                evses=tuple(
                    (evse.id, tuple(one.id for one in evse.connectors)) for evse in profile.evse
                ),
                last_entry_at=head.at.isoformat() if head.at else None,
                last_entry_uptime_ms=head.uptime_ms if head.at else None,
            )
        )
        for damage in self.startup.damage_found:
            self.recorder.observe(damage)
        if self.config.complaints:
            self.recorder.observe(SafeModeEntered(self.config.complaints))
        await self.recorder.commit_now()
        log.info(
            "%s, profile %s, journal at entry %d",
            self.config.identity,
            profile.name,
            self.recorder.head.seq,
        )

    def _build_link(self) -> CsmsConnection:
        return CsmsConnection(
            self.config.identity,
            self.recorder,
            FrameFilter(
                self.product.device_model,
                self.startup.store.reference_for,
                self.secrets.store_secret,
            ),
            self.network,
            read_password=self._basic_auth_password,
            value_of=self.startup.store.value_of,
            read_key=self.secrets.read_secret,
            cipher_suites=self.config.profile.cipher_suites,
        )

    async def _export_certificates(self) -> None:
        await export_certificates(
            self.recorder.desired_state, self.config.data_directory / "certificates"
        )

    def _basic_auth_password(self, reference: str) -> str | None:
        """BasicAuthPassword as the CSMS set it last, else as station.toml has it. A01."""
        kept = self.secrets.read_secret(reference)
        if kept is not None:
            return kept
        configured = self.config.csms.password
        return configured.reveal() if configured else None

    def _build_control(self) -> ControlHandler:
        devices = None if self.config.hardware else emulator_socket(self.config.data_directory)
        return ControlHandler(
            self.recorder,
            self.hardware,
            network=self.network,
            clock=self.clock,
            emulator_socket=devices,
        )

    # --- Working --------------------------------------------------------------------------------

    async def _restart_on_failure(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Start a part again when it fails. Only a journal that fails ends the station."""
        pause_s = RESTART_PAUSE_S
        while True:
            began = trio.current_time()
            try:
                await work()
            except JournalFailed:
                raise
            except Exception:
                log.exception("%s failed; it is started again", name)
            if trio.current_time() - began > RESTART_PAUSE_MAX_S:
                pause_s = RESTART_PAUSE_S
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_PAUSE_MAX_S)

    async def _stop_on_signal(self, scope: trio.CancelScope) -> None:
        """SIGTERM or SIGINT: end in good order."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                log.info("%s: ending", signal.Signals(number).name)
                scope.cancel()
                return

    async def _stop_on_restart_request(self, scope: trio.CancelScope) -> None:
        """The judgement wants a restart. B11.FR.03."""
        current = await self.recorder.desired_state.wait_part_changed(
            lambda level: level.restart_reason, None
        )
        self._restart_reason = current.restart_reason
        log.info("restarting: %s", current.restart_reason)
        scope.cancel()

    async def _run_archiver(self) -> None:
        def present() -> CurrentState:
            state = self.recorder.state
            return CurrentState(self.recorder.head, state, self.recorder.station_time(state))

        archiving = Archiver(
            self.startup.store,
            self.config.data_directory / "journal.db",
            timedelta(days=self.config.journal.retention),
            read_current=present,
            write_snapshot=self.startup.save_snapshot,
        )
        await archiving.run()

    async def _run_checkpoints(self) -> None:
        """Keep the log short and a snapshot young, beside the commits."""
        saved = self.recorder.head.seq
        while True:
            await self.recorder.committed.wait()
            if self.startup.store.is_checkpoint_due:
                await self._checkpoint_journal()
            if self.recorder.head.seq - saved >= SNAPSHOT_INTERVAL_ENTRIES:
                head, state = self.recorder.head, self.recorder.state
                await trio.to_thread.run_sync(self.startup.save_snapshot, head, state)
                saved = head.seq

    async def _checkpoint_journal(self) -> None:
        """Fold the log into the file. Where that has no room to grow, the log goes on for now."""
        try:
            await trio.to_thread.run_sync(self.startup.store.checkpoint)
        except DiskFull as failure:
            log.error("%s", failure)
            self.reserve.release()
