"""One run of the station's program in a simulation.

`StationProcess` is the counterpart of `station.runtime.app`: start-up, recorder, timer, connection
and control loop in one nursery, from StationStarted to the end. The first four are the real ones,
on a real SQLite file; network, clocks and control loop are simulated.

It can be killed between any two steps: from then on nothing counts that is not in the file. The
tasks still run to their cancellation, but `ProcessKilledError` keeps them from writing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import trio

from journal.events import Entry, Observation
from journal.observations import (
    CsmsConfigured,
    DeadlineReached,
    MeterRead,
    StationStarted,
    StationStopping,
    VariablePreset,
)
from journal.projections.certificates import CertificateInstalled
from journal.projections.network_profiles import NetworkProfile
from journal.state import State
from journal.storage.connection import StoreSettings
from journal.storage.store import Store
from station import RELEASE
from station.core.blocks.m_certificates import STATION_CERTIFICATE
from station.core.context import Context, Product
from station.runtime.csms.connection import CsmsConnection
from station.runtime.csms.dialer import Dialer
from station.runtime.csms.frame_filter import FrameFilter
from station.runtime.disk.reserve import DiskReserve
from station.runtime.jobs.key_pairs import KeyPairJob
from station.runtime.loop.recorder import Recorder
from station.runtime.loop.startup import Startup
from station.runtime.monitored_values import report_monitored_values
from station.runtime.secrets.key_pairs import KeyPair
from station.runtime.secrets.references import secrets_in_use
from station.runtime.timer import report_deadlines
from station.simulation.certificates import CertificateWorld
from station.simulation.event_queue import SimulatedClock
from station.simulation.evse_double import ControlLoopDouble, DeviceFaults, EvseDouble
from station.simulation.network import SimulatedConnection, SimulatedNetwork

T = TypeVar("T")

IDENTITY: Final = "SIM-1"
URL: Final = "ws://csms.invalid/ocpp"
TLS_URL: Final = "wss://csms.invalid/ocpp"  # with certificates: security profile 3
KEY_PAIR_S: Final = 0.5  # to create one
STORE_SETTINGS: Final = StoreSettings(checkpoint_pages=512, grow_bytes=64 << 10, is_one_thread=True)
RESERVE_BYTES: Final = 64 << 10
SNAPSHOT_ENTRIES: Final = 10_000


class ProcessKilledError(Exception):
    """The process was killed. Nothing its tasks still do has an effect."""


class CommitHooks(Protocol):
    """Faults and observation of each commit."""

    async def before_commit(self, entries: list[Entry]) -> None:
        """A commit begins: may wait, fail, or never return."""

    def after_write(self, entries: list[Entry]) -> None:
        """The entries are in the file, and the recorder does not know yet; may still fail."""

    def after_commit(self, state: State) -> None:
        """The recorder finished the commit."""


class ObservedRecorder(Recorder):
    """The real recorder, with a disk that can fail."""

    def __init__(self, *arguments: Any, commit_hooks: CommitHooks, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.commit_hooks = commit_hooks
        self._commits_underway = 0

    @property
    def is_busy(self) -> bool:
        """Whether an observation is not committed yet."""
        return bool(self._queue or self._commits_underway)

    async def _finish_commit(self, entries: list[Entry]) -> None:
        await self.commit_hooks.before_commit(entries)
        await super()._finish_commit(entries)
        self.commit_hooks.after_write(entries)

    async def _commit_batch(self) -> None:
        self._commits_underway += 1
        await super()._commit_batch()
        self._commits_underway -= 1
        self.commit_hooks.after_commit(self.state)


class SimulatedLink(CsmsConnection):
    """The real connection to the CSMS, on the simulated network."""

    def __init__(
        self,
        *arguments: Any,
        network: SimulatedNetwork,
        certificates: CertificateWorld | None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.network, self.certificates = network, certificates

    async def _open_websocket(
        self,
        nursery: trio.Nursery,
        slot: NetworkProfile,
        certificate: CertificateInstalled | None,
        roots: tuple[CertificateInstalled, ...],
    ) -> tuple[Any, Any, str]:
        """The connection serves as WebSocket, and as the stream below it; it has no TLS.

        With security profile 3 the CSMS accepts or refuses the certificate of the station.
        """
        if self.network.mode == "up" and certificate and self.certificates:
            self._certificate_tried = True
            if not self.certificates.accepts(certificate.pem):
                raise ConnectionResetError("the CSMS refuses the certificate")
        connection: SimulatedConnection = await self.network.connect()
        return connection, connection, ""


class SimulationEnvironment(Protocol):
    """The part of the world that a process uses."""

    clock: SimulatedClock
    network: SimulatedNetwork
    evses: dict[int, EvseDouble]
    device_faults: DeviceFaults
    commit_hooks: CommitHooks
    random_source: random.Random
    boot_id: str
    variables: dict[str, str]
    store_settings: StoreSettings
    certificates: CertificateWorld | None  # None: security profile 1

    def read_free_bytes(self, directory: Path) -> int: ...

    def on_contactor_closing(self, evse_id: int) -> None: ...

    def on_set_points(self, setpoints_w: dict[int, int]) -> None: ...


class StationProcess:
    """One run of the program.

    Attributes:
        store, recorder: the journal, and the task that commits to it.
        is_killed: nothing this process does has an effect any more.
    """

    def __init__(
        self, environment: SimulationEnvironment, product: Product, data: Path, damage: str = ""
    ) -> None:
        """Open the journal and replay it; `damage` is what the process before found wrong with it.

        Raises:
            JournalFailed: the journal cannot be opened.
        """
        self.environment = environment
        self.product = product
        self.is_killed = False
        random_source = random.Random(environment.random_source.random())
        self.startup = Startup(
            data, environment.store_settings, entropy=random_source.randbytes, damage_reason=damage
        )
        self.recorder = ObservedRecorder(
            product,
            self.startup.store,
            self.startup.state,
            environment.clock,
            latest_reading=self._read_meter,
            release_reserve=self._release_reserve,
            commit_hooks=environment.commit_hooks,
        )

        self.control_loop = ControlLoopDouble(
            environment.evses,
            environment.device_faults,
            self.recorder.desired_state,
            self.recorder.observe,
            environment.on_contactor_closing,
            random_source,
            station_max_w=product.profile.supply.power_max_w,
            on_set_points=environment.on_set_points,
        )
        self.disk_reserve = DiskReserve(
            data,
            RESERVE_BYTES,
            self.recorder.observe,
            level=self.startup.state.health.storage_level,
            measure_free=environment.read_free_bytes,
            run_blocking=_run_in_loop,
        )
        self._link = self._build_link(random_source)
        self._kill_scope = trio.CancelScope()
        self._stop_scope = trio.CancelScope()

    def _read_meter(self, evse_id: int) -> MeterRead | None:
        """For the recorder, which is built before the devices that report to it."""
        return self.control_loop.read_meter(evse_id)

    async def _release_reserve(self) -> bool:
        """For the recorder, which is built before the reserve that reports to it."""
        return await self.disk_reserve.release()

    @property
    def store(self) -> Store:
        return self.startup.store

    def _build_link(self, random_source: random.Random) -> SimulatedLink:
        return SimulatedLink(
            IDENTITY,
            self.recorder,
            FrameFilter(self.product.device_model, self.store.reference_for, _secret_reference),
            Dialer(),
            read_password=lambda reference: None,
            value_of=self.store.value_of,
            random_source=random_source,
            run_blocking=_run_in_loop,
            network=self.environment.network,
            certificates=self.environment.certificates,
        )

    async def run(self) -> str | None:
        """Run until the end.

        Returns:
            The reason of the restart the station requested; None after `stop`.

        Raises:
            ProcessKilledError: the process was killed.
            JournalFailed: a commit failed.
        """
        with self._kill_scope:
            await self.disk_reserve.allocate()
            await self._record_start()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.recorder.run)
                nursery.start_soon(self._run_checkpoints)
                with self._stop_scope:
                    nursery.start_soon(self._stop_on_restart)
                    await self._run_tasks()
                reason = self.recorder.desired_state.value.restart_reason
                self.recorder.observe(StationStopping(reason or "asked to end"))
                nursery.cancel_scope.cancel()
        if self.is_killed:
            raise ProcessKilledError
        return self.recorder.desired_state.value.restart_reason

    def kill(self) -> None:
        """Kill the process, as SIGKILL does."""
        self.is_killed = True
        self._kill_scope.cancel()

    def stop(self) -> None:
        """Request an orderly end, as SIGTERM does."""
        self._stop_scope.cancel()

    def close(self) -> None:
        """Save a snapshot and close the journal, as after an orderly end."""
        self.startup.save_snapshot(self.recorder.head, self.recorder.state)
        self.startup.close()

    async def _record_start(self) -> None:
        head = self.store.head
        self._record_certificates()
        if self.startup.state.network_profiles.last_configured is None:
            configured = CsmsConfigured(TLS_URL, 3) if self.environment.certificates else None
            self.recorder.observe(configured or CsmsConfigured(URL, 1))
        if head.seq == 0 or self.startup.damage_found:
            for path, value in sorted(self.environment.variables.items()):
                if path not in self.startup.state.variables.values:
                    self.recorder.observe(VariablePreset(path, value))
        self.recorder.observe(self._station_started())
        for damage in self.startup.damage_found:
            self.recorder.observe(damage)
        await self.recorder.commit_now()

    def _record_certificates(self) -> None:
        """Those the station is delivered with, if it has none; and delete unused private keys."""
        certificates = self.environment.certificates
        if certificates is None:
            return
        certificates.secrets.delete_unreferenced(set(secrets_in_use(self.startup.state)))
        if not self.startup.state.certificates.for_uses(STATION_CERTIFICATE):
            for preset in certificates.presets():
                self.recorder.observe(preset)

    def _station_started(self) -> Observation:
        head, profile = self.store.head, self.product.profile
        return StationStarted(
            boot_id=self.environment.boot_id,
            release=RELEASE,
            product_profile=profile.name,
            identity=IDENTITY,
            evses=tuple(
                (evse.id, tuple(connector.id for connector in evse.connectors))
                for evse in profile.evse
            ),
            last_entry_at=head.at.isoformat() if head.at else None,
            last_entry_uptime_ms=head.uptime_ms if head.at else None,
        )

    async def _run_tasks(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._link.run)
            nursery.start_soon(self.control_loop.run)
            nursery.start_soon(self.disk_reserve.run)
            nursery.start_soon(self._run_monitors)
            nursery.start_soon(
                report_deadlines,
                self.recorder.desired_state,
                self.environment.clock,
                self.recorder.observe,
            )
            if self.environment.certificates:
                nursery.start_soon(self._run_key_pairs, self.environment.certificates)

    async def _run_key_pairs(self, certificates: CertificateWorld) -> None:
        async def create(key_type: str, common_name: str, organization: str) -> KeyPair:
            await trio.sleep(KEY_PAIR_S)
            return certificates.create_key_pair(key_type, common_name, organization)

        job = KeyPairJob(
            certificates.secrets,
            observe=self.recorder.observe,
            create=create,
            run_blocking=_run_in_loop,
        )
        await job.run(self.recorder.desired_state)

    async def _run_monitors(self) -> None:
        """As in the real program, but only once the CSMS has set a monitor: a month has seconds."""
        while not self.recorder.state.monitors.custom:
            await self.recorder.committed.wait()
        await report_monitored_values(
            self._present_context,
            self._read_meter,
            dict,
            self.recorder.observe,
            self.recorder.wait_until_idle,
        )

    def _present_context(self) -> Context:
        head, state = self.recorder.head, self.recorder.state
        uptime_ms = self.environment.clock.uptime_ms()
        at = self.recorder.station_time(state)
        entry = Entry(head.seq, at, uptime_ms, DeadlineReached(uptime_ms))
        return Context(self.product, state, entry)

    async def _stop_on_restart(self) -> None:
        await self.recorder.desired_state.wait_part_changed(
            lambda desired_state: desired_state.restart_reason, None
        )
        self._stop_scope.cancel()

    async def _run_checkpoints(self) -> None:
        """Checkpoints and snapshots as in the real program, but in the loop's own thread."""
        saved_seq = self.recorder.head.seq
        while True:
            await self.recorder.committed.wait()
            if self.is_killed:
                continue
            if self.store.is_checkpoint_due:
                self.store.checkpoint()
            if self.recorder.head.seq - saved_seq >= SNAPSHOT_ENTRIES:
                self.startup.save_snapshot(self.recorder.head, self.recorder.state)
                saved_seq = self.recorder.head.seq


async def _run_in_loop(function: Callable[[], T]) -> T:
    """No thread: time would jump while it runs."""
    return function()


def _secret_reference(secret: str) -> str:
    """A reference in place of a secret, the same in every run."""
    return f"<secret {len(secret):032x}>"
