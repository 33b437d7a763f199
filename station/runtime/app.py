"""Assembly and supervision of the station's tasks.

`StationApp` builds every object of one run, from StationStarted to StationStopping, and starts its
tasks. Two nurseries give the order of the end:

    inner  connection to the CSMS, hardware, deadlines, firmware, logs, bus traces, customer data,
           key pairs.
           Cancelled first, so that outputs are off and their last reports reach the recorder.
    outer  recorder, disk reserve, auditor, checkpoints, archiver, control socket, certificate
           files. Cancelled after StationStopping was observed; the recorder still commits it.

When a task fails:

    any task            it is started again after 1 s, doubling up to 30 s; a task that ran longer
                        than 30 s before it failed starts at 1 s again.
    JournalFailed       ends the program. A station that cannot record must not sell.
    device faults       are handled in `hardware`; they do not reach this module.
    recorder, deadlines,
    checkpoints         are not restarted: a failure there ends the program.
"""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from drivers.emulators.json_lines_socket import JsonLinesSocket, RequestQuota
from drivers.wire.bus_traffic import BusTraffic
from drivers.wiring import parse_channel
from journal.events import Entry
from journal.observations import (
    DeadlineReached,
    MeterRead,
    ModemReported,
    SafeModeEntered,
    StationStarted,
    StationStopping,
)
from journal.projections.modem import Modem
from journal.state import State
from journal.storage.connection import StoreSettings
from journal.storage.errors import DiskFull, JournalFailed
from station import RELEASE
from station.config.station_toml import Config
from station.core.context import Context, Product
from station.core.html_text import import_html_for
from station.runtime.clock import HostClock, read_boot_id
from station.runtime.control_socket import ControlHandler
from station.runtime.crypto.process import execute_apart
from station.runtime.csms.connection import CsmsConnection
from station.runtime.csms.dialer import Dialer
from station.runtime.csms.frame_filter import FrameFilter
from station.runtime.disk.archiver import Archiver, CurrentState
from station.runtime.disk.auditor import AuditResult, audit_journal, verify_command
from station.runtime.disk.reserve import DiskReserve
from station.runtime.external_limits import (
    configured_limits,
    limit_while_offline,
    report_contact,
    report_derating,
)
from station.runtime.hardware.hardware import Hardware, evse_unknown
from station.runtime.hardware.lasting_derating import LastingDerating
from station.runtime.hardware.limit_contact import LimitContact
from station.runtime.hardware.power_limits import Derating
from station.runtime.host_values import HostValues
from station.runtime.jobs.bus_traces import BusTraceJob
from station.runtime.jobs.certificate_export import export_certificates
from station.runtime.jobs.customers import CustomerDataJob
from station.runtime.jobs.firmware import FirmwareUpdateJob
from station.runtime.jobs.installer_process import DEFAULT_INSTALLER as OWN_INSTALLER
from station.runtime.jobs.key_pairs import KeyPairJob
from station.runtime.jobs.logs import LogUploadJob
from station.runtime.jobs.modem import (
    FIRST_TIMEOUT_S,
    ModemUnreadable,
    find_modem_program,
    read_modem,
    watch_modem,
)
from station.runtime.jobs.trace_directories import TRACES_DIRECTORY
from station.runtime.live_status import LiveStatus
from station.runtime.loop.commit_thread import CommitThread
from station.runtime.loop.initial_observations import initial_observations
from station.runtime.loop.recorder import Recorder
from station.runtime.loop.startup import Startup, event_registry
from station.runtime.monitored_values import report_monitored_values
from station.runtime.requested_values import RequestedValues
from station.runtime.secrets.references import secrets_in_use
from station.runtime.secrets.store import SecretStore
from station.runtime.service.notify import ServiceManager
from station.runtime.service.watchdog import ServiceReporter
from station.runtime.timer import report_deadlines

if TYPE_CHECKING:
    from station.runtime.emulation import Emulation

log = logging.getLogger("station")

RESTART_PAUSE_S: Final = 1.0  # before a failed task is started again; doubles
RESTART_PAUSE_MAX_S: Final = 30.0
SNAPSHOT_INTERVAL_ENTRIES: Final = 10_000  # a start replays about this many at most


def build_emulation(data_directory: Path) -> Emulation:
    """Network, clock and device socket of a station without `[hardware]`."""
    # not in the memory of a station that has devices
    from station.runtime.emulation import EmulatedCards, EmulatedClock, EmulatedNetwork, Emulation
    from station.runtime.hardware.emulator_process import emulator_socket

    socket = emulator_socket(data_directory)
    return Emulation(socket, EmulatedNetwork(), EmulatedClock(), EmulatedCards())


def _exclude_from_collections() -> None:
    """Never search what exists now for garbage again: modules, tables, the state.

    A full collection held all threads for 80 ms, the devices' too, and a peer causes one with a
    frame of 25,000 empty lists. Afterwards it takes as long as what was added since.
    """
    gc.collect()
    gc.freeze()


async def run_station(
    config: Config, damage_reason: str = "", service_manager: ServiceManager | None = None
) -> str | None:
    """Run the station until a signal or a requested restart ends it.

    Args:
        config: station.toml.
        damage_reason: damage to the journal that the previous run found; empty: none.
        service_manager: systemd, if it started this process.

    Returns:
        BootReasonEnumType of the next run if the station has to restart; None after a signal.

    Raises:
        JournalDamaged: damage was found in this run. The caller passes it to the next run.
        JournalFailed: the journal cannot be opened or written.
        SocketPathError: the data directory's path is too long for a control socket.
    """
    app = StationApp(config, damage_reason, service_manager)
    try:
        return await app.run()
    finally:
        app.close()


class StationApp:
    """All objects and tasks of one run."""

    def __init__(
        self,
        config: Config,
        damage_reason: str = "",
        service_manager: ServiceManager | None = None,
    ) -> None:
        self.config = config
        self.service_manager = service_manager or ServiceManager(None, None)
        self.product = Product(config.profile, config.device_model)
        settings = StoreSettings(
            checkpoint_pages=config.journal.checkpoint_pages,
            grow_bytes=config.journal.grow_bytes,
            powersafe_overwrite=config.journal.powersafe_overwrite,
            migrates_apart=True,
        )
        self.startup = Startup(config.data_directory, settings, damage_reason=damage_reason)
        import_html_for(self.startup.state.driver_information)
        self.emulation = None if config.hardware else build_emulation(config.data_directory)
        self.clock = self.emulation.clock if self.emulation else HostClock()
        self.secrets = SecretStore(config.data_directory / "secrets")
        self.commit_thread = CommitThread(self.startup.store.write_rows)
        self.recorder = Recorder(
            self.product,
            self.startup.store,
            self.startup.state,
            self.clock,
            latest_reading=self._latest_reading,
            release_reserve=self._release_reserve,
            commit_thread=self.commit_thread,
        )
        self.bus_traffic = self._build_bus_traffic()
        self.hardware = Hardware(
            config.hardware or Hardware.emulated_settings(config.data_directory / "emulated"),
            config.profile,
            observe=self.recorder.observe,
            reference_for=self.startup.store.reference_for,
            reading_interval_s=config.journal.reading_interval_s,
            desired_state=self.recorder.desired_state,
            evse_for_card=self.emulation.cards.take_evse_id if self.emulation else evse_unknown,
            limit_contact=self._build_limit_contact(),
            lasting_derating=LastingDerating(self._on_derating),
            bus_traffic=self.bus_traffic,
            in_thread=True,
        )

        self.reserve = DiskReserve(
            config.data_directory,
            config.journal.reserve_bytes,
            self.recorder.observe,
            level=self.startup.state.health.storage_level,
        )

        self.host_values = HostValues(config.data_directory)
        self.modem_program = find_modem_program(self.product.device_model)
        self._restart_reason: str | None = None
        self._last_audit: AuditResult | None = None

    def _build_bus_traffic(self) -> BusTraffic | None:
        traces = self.config.traces
        if traces.files == 0:
            return None
        return BusTraffic(traces.bytes_per_bus, traces.seconds + traces.seconds_after)

    def _build_limit_contact(self) -> LimitContact | None:
        contact_input = self.config.limits.contact_input
        if contact_input is None:
            return None
        return LimitContact(parse_channel(contact_input), self._on_limit_contact)

    def _on_limit_contact(self, limited: bool) -> None:
        for report in report_contact(self.config.limits, self.recorder.state, limited):
            self.recorder.observe(report)

    def _on_derating(self, evse_id: int, derating: Derating | None) -> None:
        for report in report_derating(self._present_context(), evse_id, derating):
            self.recorder.observe(report)

    def _present_context(self) -> Context:
        """The last commit, at the present time."""
        head, state = self.recorder.head, self.recorder.state
        at, uptime_ms = self.recorder.station_time(state), self.clock.uptime_ms()
        entry = Entry(head.seq, at, uptime_ms, DeadlineReached(uptime_ms))
        return Context(self.product, state, entry)

    def _device_values(self) -> Mapping[str, str]:
        """Newest values of devices other than meters, and of the computer, by variable."""
        return {**self.hardware.device_values(), **self.host_values.values}

    def _latest_reading(self, evse_id: int) -> MeterRead | None:
        """For the recorder, which is built before the hardware that reports to it."""
        return self.hardware.latest_reading(evse_id)

    async def _release_reserve(self) -> bool:
        """For the recorder, which is built before the reserve that reports to it."""
        return await self.reserve.release()

    async def run(self) -> str | None:
        """Start, work, and end in order: outputs off first, the last commit last."""
        control = JsonLinesSocket(
            self.config.data_directory / "control.sock",
            self._build_control().handle_line,
            quota=RequestQuota(),
        )
        await self._allocate_reserve()
        await self._record_start()
        _exclude_from_collections()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.recorder.run)
            nursery.start_soon(self._restart_on_failure, "disk reserve", self.reserve.run)
            nursery.start_soon(self._restart_on_failure, "auditor", self._run_auditor)
            nursery.start_soon(self._run_checkpoints)
            nursery.start_soon(ServiceReporter(self.service_manager, self.recorder).run)
            nursery.start_soon(self._restart_on_failure, "archiver", self._run_archiver)
            nursery.start_soon(self._restart_on_failure, "control socket", control.run)
            nursery.start_soon(
                self._restart_on_failure, "certificate files", self._export_certificates
            )
            with trio.CancelScope() as worker_scope:
                nursery.start_soon(self._stop_on_signal, worker_scope)
                nursery.start_soon(self._stop_on_restart_request, worker_scope)
                await self._run_workers()
            if self._restart_reason is None:
                self.service_manager.report_stopping()
            self.recorder.observe(StationStopping(self._restart_reason or "asked to end"))
            nursery.cancel_scope.cancel()
        return self._restart_reason

    async def _run_workers(self) -> None:
        """Run the tasks that end first, so that the recorder can record their last reports."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                self._restart_on_failure, "CSMS connection", self._build_connection().run
            )
            nursery.start_soon(self._restart_on_failure, "hardware", self.hardware.run)
            nursery.start_soon(
                report_deadlines, self.recorder.desired_state, self.clock, self.recorder.observe
            )
            nursery.start_soon(self._restart_on_failure, "offline limit", self._limit_while_offline)
            if self.product.profile.has_monitoring:
                nursery.start_soon(self._restart_on_failure, "monitors", self._run_monitors)
            nursery.start_soon(self._restart_on_failure, "firmware job", self._run_firmware)
            nursery.start_soon(self._restart_on_failure, "log upload job", self._run_logs)
            if self.bus_traffic is not None:
                nursery.start_soon(
                    self._restart_on_failure,
                    "bus trace job",
                    partial(self._run_bus_traces, self.bus_traffic),
                )
            nursery.start_soon(self._restart_on_failure, "customer data job", self._run_customers)
            nursery.start_soon(self._restart_on_failure, "key pair job", self._run_key_pairs)
            if self.modem_program is not None:
                nursery.start_soon(self._restart_on_failure, "modem", self._watch_modem)

    async def _limit_while_offline(self) -> None:
        await limit_while_offline(
            self.config.limits,
            self.recorder.desired_state,
            self._current_state,
            self.recorder.observe,
        )

    async def _run_monitors(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.host_values.run)
            await report_monitored_values(
                self._present_context,
                self.hardware.latest_reading,
                self._device_values,
                self.recorder.observe,
                self.recorder.wait_until_idle,
            )

    async def _run_firmware(self) -> None:
        firmware, data = self.config.firmware, self.config.data_directory
        job = FirmwareUpdateJob(
            self.product,
            data / "downloads",
            installer_command=(str(firmware.installer),) if firmware.installer else OWN_INSTALLER,
            installer_base=firmware.directory or data / "firmware",
            observe=self.recorder.observe,
            current_state=self._current_state,
            read_secret=self.secrets.read_secret,
        )
        await job.run(self.recorder.desired_state)

    async def _run_logs(self) -> None:
        job = LogUploadJob(
            self.product,
            self.config.data_directory / "journal.db",
            event_registry(),
            self.config.data_directory / "uploads",
            self.config.data_directory / TRACES_DIRECTORY,
            observe=self.recorder.observe,
            current_state=self._current_state,
            read_secret=self.secrets.read_secret,
        )
        await job.run(self.recorder.desired_state)

    async def _run_bus_traces(self, traffic: BusTraffic) -> None:
        job = BusTraceJob(
            self.config.traces,
            self.config.data_directory / TRACES_DIRECTORY,
            traffic,
            observe=self.recorder.observe,
            current_state=self._current_state,
            station_time=lambda: self.recorder.station_time(self.recorder.state),
        )
        await job.run(self.recorder.desired_state)

    async def _run_customers(self) -> None:
        job = CustomerDataJob(
            self.startup.store,
            self.config.data_directory / "journal.db",
            event_registry(),
            observe=self.recorder.observe,
            current_state=self._current_state,
            wait_until_idle=self.recorder.wait_until_idle,
        )
        await job.run(self.recorder.desired_state)

    async def _run_key_pairs(self) -> None:
        job = KeyPairJob(self.secrets, observe=self.recorder.observe)
        await job.run(self.recorder.desired_state)

    async def _watch_modem(self) -> None:
        if self.modem_program is not None:
            await watch_modem(
                self.modem_program, self.recorder.observe, lambda: self._current_state().modem
            )

    async def _read_first_modem(self) -> ModemReported | None:
        """The modem, before the first BootNotification; later the journal has its SIM card. B01."""
        if self.modem_program is None or self.startup.state.modem != Modem():
            return None
        with trio.move_on_after(FIRST_TIMEOUT_S):
            try:
                return await read_modem(self.modem_program)
            except ModemUnreadable as error:
                log.warning("modem: %s", error)
        return None

    def _current_state(self) -> State:
        return self.recorder.state

    def close(self) -> None:
        """Save a snapshot, delete unused secrets, and close the journal into one file."""
        self.commit_thread.close()
        try:
            self.startup.save_snapshot(self.recorder.head, self.recorder.state)
            self.secrets.delete_unreferenced(set(secrets_in_use(self.recorder.state)))
        finally:
            self.startup.close()

    async def _run_auditor(self) -> None:
        command = verify_command(self.config.data_directory / "journal.db")
        await audit_journal(
            command,
            self.recorder.observe,
            lambda: self.recorder.state.health,
            on_result=self._record_audit,
        )

    def _record_audit(self, result: AuditResult) -> None:
        self._last_audit = result

    async def _allocate_reserve(self) -> None:
        try:
            await self.reserve.allocate()
        except OSError as error:
            log.error(
                "%s: cannot allocate %d bytes in reserve: %s. A full disk will stop the station.",
                self.config.data_directory,
                self.config.journal.reserve_bytes,
                error.strerror,
            )

    # --- Start ----------------------------------------------------------------------------------

    async def _record_start(self) -> None:
        """Commit the first entries of this run."""
        self.secrets.delete_unreferenced(
            set(secrets_in_use(self.recorder.state))
        )  # left by a killed run
        head = self.startup.store.head
        for observation in initial_observations(
            self.config,
            self.startup.state,
            head.seq == 0,
            self.secrets.store_secret,
            journal_damaged=bool(self.startup.damage_found),
            execute=execute_apart,
        ):
            self.recorder.observe(observation)
        for observation in configured_limits(self.config.limits, self.startup.state):
            self.recorder.observe(observation)
        modem = await self._read_first_modem()
        profile = self.config.profile
        self.recorder.observe(
            StationStarted(
                boot_id=read_boot_id(),
                release=RELEASE,
                product_profile=profile.name,
                identity=self.config.identity,
                evses=tuple(
                    (evse.id, tuple(connector.id for connector in evse.connectors))
                    for evse in profile.evse
                ),
                last_entry_at=head.at.isoformat() if head.at else None,
                last_entry_uptime_ms=head.uptime_ms if head.at else None,
            )
        )
        if modem is not None:
            self.recorder.observe(modem)
        for damage in self.startup.damage_found:
            self.recorder.observe(damage)
        if self.config.complaints:
            self.recorder.observe(SafeModeEntered(self.config.complaints))
        await self.recorder.commit_now()
        log.info(
            "station %s started: release %s, profile %s, journal at entry %d",
            self.config.identity,
            RELEASE,
            profile.name,
            self.recorder.head.seq,
        )

    def _build_connection(self) -> CsmsConnection:
        return CsmsConnection(
            self.config.identity,
            self.recorder,
            FrameFilter(
                self.product.device_model,
                self.startup.store.reference_for,
                self.secrets.store_secret,
            ),
            self.emulation.network if self.emulation else Dialer(),
            read_password=self._basic_auth_password,
            value_of=self.startup.store.value_of,
            read_key=self.secrets.read_secret,
            cipher_suites=self.config.profile.cipher_suites,
            bytes_per_day=self.config.journal.csms_bytes_per_day,
            find_requested_values=RequestedValues(
                self.product.device_model,
                self._current_state,
                self.hardware.latest_reading,
                self._device_values,
            ).find_observations,
            examine=execute_apart,
        )

    async def _export_certificates(self) -> None:
        await export_certificates(
            self.recorder.desired_state, self.config.data_directory / "certificates"
        )

    def _basic_auth_password(self, reference: str) -> str | None:
        """BasicAuthPassword as the CSMS last set it, else that of station.toml. A01."""
        stored = self.secrets.read_secret(reference)
        if stored is not None:
            return stored
        configured = self.config.csms.password
        return configured.reveal() if configured else None

    def _build_control(self) -> ControlHandler:
        live = LiveStatus(
            self.recorder,
            self.hardware,
            self.clock,
            emulated=self.emulation is not None,
            last_audit=lambda: self._last_audit,
        )
        return ControlHandler(self.recorder, self.hardware, self.emulation, live)

    # --- Work -----------------------------------------------------------------------------------

    async def _restart_on_failure(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run a task, again after each failure. Only JournalFailed is passed on."""
        pause_s = RESTART_PAUSE_S
        while True:
            started_at = trio.current_time()
            try:
                await work()
            except JournalFailed:
                raise
            except Exception:
                log.exception("%s failed; it is started again in %.0f s or less", name, pause_s)
            if trio.current_time() - started_at > RESTART_PAUSE_MAX_S:
                pause_s = RESTART_PAUSE_S
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_PAUSE_MAX_S)

    async def _stop_on_signal(self, scope: trio.CancelScope) -> None:
        """SIGTERM or SIGINT: switch off, commit, end."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                log.info("%s received: stopping", signal.Signals(number).name)
                scope.cancel()
                return

    async def _stop_on_restart_request(self, scope: trio.CancelScope) -> None:
        """Stop once the desired state has a reason to restart. B11.FR.03."""
        current = await self.recorder.desired_state.wait_part_changed(
            lambda desired: desired.restart_reason, None
        )
        self._restart_reason = current.restart_reason
        log.info("restarting: %s", current.restart_reason)
        scope.cancel()

    async def _run_archiver(self) -> None:
        def read_current() -> CurrentState:
            state = self.recorder.state
            return CurrentState(self.recorder.head, state, self.recorder.station_time(state))

        archiver = Archiver(
            self.startup.store,
            self.config.data_directory / "journal.db",
            timedelta(days=self.config.journal.retention),
            read_current=read_current,
            write_snapshot=self.startup.save_snapshot,
        )
        await archiver.run()

    async def _run_checkpoints(self) -> None:
        """Checkpoint the write-ahead log and save snapshots, beside the commits."""
        saved_seq = self.recorder.head.seq
        while True:
            await self.recorder.committed.wait()
            if self.startup.store.is_checkpoint_due:
                await self._checkpoint_journal()
            if self.recorder.head.seq - saved_seq >= SNAPSHOT_INTERVAL_ENTRIES:
                head, state = self.recorder.head, self.recorder.state
                await trio.to_thread.run_sync(self.startup.save_snapshot, head, state)
                saved_seq = head.seq

    async def _checkpoint_journal(self) -> None:
        """Move the write-ahead log into the file; on a full disk release the reserve instead."""
        try:
            await trio.to_thread.run_sync(self.startup.store.checkpoint)
        except DiskFull as failure:
            log.error("%s", failure)
            await self.reserve.release()
