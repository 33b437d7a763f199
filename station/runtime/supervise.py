"""Who starts the tasks of the station, and what happens when one of them fails?

One nursery. A fault in the link or the control socket restarts that part; devices are looked
after by `Hardware`; a journal that cannot be written ends the program, because a station that
cannot remember must not sell.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Final

import trio

from drivers.emulators.line_socket import LineSocket
from journal.observations import SafeModeEntered, StationStarted, StationStopping
from journal.state import State
from journal.store import DiskFull, JournalFailed, StoreSettings
from station import RELEASE
from station.case import Product
from station.config import Config
from station.runtime.alarm import alarm
from station.runtime.archiving import Archiving, Present
from station.runtime.audit import audit, verifying
from station.runtime.certificate_files import certificate_files
from station.runtime.clock import HostClock, boot_id
from station.runtime.control import Control
from station.runtime.customers import CustomerWork
from station.runtime.devices import socket_of
from station.runtime.firmware import FirmwareWork
from station.runtime.hardware import Hardware
from station.runtime.ingest import Ingest
from station.runtime.installer import DEFAULT as OWN_INSTALLER
from station.runtime.link import Link
from station.runtime.locations import reference_in
from station.runtime.logs import LogWork
from station.runtime.memory import Memory, registry
from station.runtime.network import Network
from station.runtime.presets import presets
from station.runtime.room import Room
from station.runtime.scribe import Scribe
from station.runtime.secrets import Secrets
from station.runtime.writer import Writer

log = logging.getLogger("station")

RESTART_S: Final = 1.0  # before a part that failed is started again; doubles
RESTART_MAX_S: Final = 30.0
SNAPSHOT_ENTRIES: Final = 10_000  # a start replays at most about so many


async def run_station(config: Config, damage: str = "") -> str | None:
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
    life = Life(config, damage)
    try:
        return await life.run()
    finally:
        life.close()


class Life:
    """Everything between one StationStarted and the next."""

    def __init__(self, config: Config, damage: str = "") -> None:
        self.config = config
        self.product = Product(config.profile, config.model)
        settings = StoreSettings(
            checkpoint_pages=config.journal.checkpoint_pages,
            grow_bytes=config.journal.grow_bytes,
            powersafe_overwrite=config.journal.powersafe_overwrite,
        )
        self.memory = Memory(config.data, settings, damage=damage)
        self.clock = HostClock()
        self.network = Network()
        self.secrets = Secrets(config.data / "secrets")
        self.writer = Writer(self.memory.store.write)
        self.scribe = Scribe(
            self.product, self.memory.store, self.memory.state, self.clock, writer=self.writer
        )
        self.hardware = Hardware(
            config.hardware or Hardware.emulated(config.data / "emulated"),
            config.profile,
            observe=self.scribe.observe,
            refer=self.memory.store.refer,
            reading_interval_s=config.journal.reading_interval_s,
            wanted=self.scribe.wanted,
        )
        self.scribe.reading = self.hardware.latest_reading
        self.room = Room(
            config.data,
            config.journal.reserve_bytes,
            self.scribe.observe,
            level=self.memory.state.condition.storage,
        )
        self.scribe.more_room = self.room.release
        self._why: str | None = None

    async def run(self) -> str | None:
        """Begin, work, and end in good order: power first, then the last commit."""
        control = LineSocket(self.config.data / "control.sock", self._control().answer)
        self._keep_reserve()
        await self._begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.scribe.run)
            nursery.start_soon(self._keep, "room", self.room.run)
            nursery.start_soon(self._keep, "audit", self._audit)
            nursery.start_soon(self._checkpoints)
            nursery.start_soon(self._keep, "archive", self._archive)
            nursery.start_soon(self._keep, "control", control.run)
            nursery.start_soon(self._keep, "certificate files", self._certificate_files)
            with trio.CancelScope() as working:
                nursery.start_soon(self._until_asked, working)
                nursery.start_soon(self._until_restart, working)
                await self._work()
            self.scribe.observe(StationStopping(self._why or "asked to end"))
            nursery.cancel_scope.cancel()
        return self._why

    async def _work(self) -> None:
        """The tasks that end first, so that the scribe can write down how they did."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep, "link", self._link().run)
            nursery.start_soon(self._keep, "hardware", self.hardware.run)
            nursery.start_soon(alarm, self.scribe.wanted, self.clock, self.scribe.observe)
            nursery.start_soon(self._keep, "firmware", self._firmware)
            nursery.start_soon(self._keep, "logs", self._logs)
            nursery.start_soon(self._keep, "customers", self._customers)

    async def _firmware(self) -> None:
        firmware, data = self.config.firmware, self.config.data
        work = FirmwareWork(
            self.product,
            data / "downloads",
            installer=(str(firmware.installer),) if firmware.installer else OWN_INSTALLER,
            base=firmware.directory or data / "firmware",
            observe=self.scribe.observe,
            memory=self._memory,
            reveal=self.secrets.reveal,
        )
        await work.run(self.scribe.wanted)

    async def _logs(self) -> None:
        work = LogWork(
            self.product,
            self.config.data / "journal.db",
            registry(),
            self.config.data / "uploads",
            observe=self.scribe.observe,
            memory=self._memory,
            reveal=self.secrets.reveal,
        )
        await work.run(self.scribe.wanted)

    async def _customers(self) -> None:
        work = CustomerWork(
            self.memory.store,
            self.config.data / "journal.db",
            registry(),
            observe=self.scribe.observe,
            memory=self._memory,
            settled=self.scribe.settled,
        )
        await work.run(self.scribe.wanted)

    def _memory(self) -> State:
        return self.scribe.state

    def close(self) -> None:
        """Leave the journal as one file, with a snapshot beside it."""
        self.writer.close()
        try:
            self.memory.snapshot(self.scribe.head, self.scribe.state)
            self.secrets.keep_only(set(self._secrets_in_use()))
        finally:
            self.memory.close()

    def _secrets_in_use(self) -> Iterator[str]:
        """Values that may be references of secrets, and all that are."""
        yield from self.scribe.state.variables.values.values()
        state = self.scribe.state
        yield from (one.key for one in state.certificates.installed)
        for work in (state.firmware.running, state.logs.upload):
            if work is not None:
                yield reference_in(work.ordered.location) or ""

    async def _audit(self) -> None:
        command = verifying(self.config.data / "journal.db")
        await audit(command, self.scribe.observe, lambda: self.scribe.state.condition)

    def _keep_reserve(self) -> None:
        try:
            self.room.keep()
        except OSError as error:
            log.error("no room is kept in reserve: %s", error.strerror)

    # --- Beginning ------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """The first entries of this life."""
        self.secrets.keep_only(set(self._secrets_in_use()))  # what a killed run left
        head = self.memory.store.head
        for observation in presets(
            self.config,
            self.memory.state,
            head.seq == 0,
            self.secrets.keep,
            damaged=bool(self.memory.found),
        ):
            self.scribe.observe(observation)
        profile = self.config.profile
        self.scribe.observe(
            StationStarted(
                boot_id=boot_id(),
                release=RELEASE,
                profile=profile.name,
                identity=self.config.identity,
                evses=tuple(
                    (evse.id, tuple(one.id for one in evse.connectors)) for evse in profile.evse
                ),
                last_at=head.at.isoformat() if head.at else None,
                last_uptime_ms=head.uptime_ms if head.at else None,
            )
        )
        for damage in self.memory.found:
            self.scribe.observe(damage)
        if self.config.complaints:
            self.scribe.observe(SafeModeEntered(self.config.complaints))
        await self.scribe.write_now()
        log.info(
            "%s, profile %s, journal at entry %d",
            self.config.identity,
            profile.name,
            self.scribe.head.seq,
        )

    def _link(self) -> Link:
        return Link(
            self.config.identity,
            self.scribe,
            Ingest(self.product.model, self.memory.store.refer, self.secrets.keep),
            self.network,
            password=self._password,
            value_of=self.memory.store.value_of,
            key_of=self.secrets.reveal,
            cipher_suites=self.config.profile.cipher_suites,
        )

    async def _certificate_files(self) -> None:
        await certificate_files(self.scribe.wanted, self.config.data / "certificates")

    def _password(self, reference: str) -> str | None:
        """BasicAuthPassword as the CSMS set it last, else as station.toml has it. A01."""
        kept = self.secrets.reveal(reference)
        if kept is not None:
            return kept
        configured = self.config.csms.password
        return configured.reveal() if configured else None

    def _control(self) -> Control:
        devices = None if self.config.hardware else socket_of(self.config.data)
        return Control(
            self.scribe,
            self.hardware,
            network=self.network,
            clock=self.clock,
            devices=devices,
        )

    # --- Working --------------------------------------------------------------------------------

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Start a part again when it fails. Only a journal that fails ends the station."""
        pause_s = RESTART_S
        while True:
            began = trio.current_time()
            try:
                await work()
            except JournalFailed:
                raise
            except Exception:
                log.exception("%s failed; it is started again", name)
            if trio.current_time() - began > RESTART_MAX_S:
                pause_s = RESTART_S
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_MAX_S)

    async def _until_asked(self, scope: trio.CancelScope) -> None:
        """SIGTERM or SIGINT: end in good order."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                log.info("%s: ending", signal.Signals(number).name)
                scope.cancel()
                return

    async def _until_restart(self, scope: trio.CancelScope) -> None:
        """The judgement wants a restart. B11.FR.03."""
        current = await self.scribe.wanted.changed(lambda level: level.restart, None)
        self._why = current.restart
        log.info("restarting: %s", current.restart)
        scope.cancel()

    async def _archive(self) -> None:
        def present() -> Present:
            state = self.scribe.state
            return Present(self.scribe.head, state, self.scribe.at(state))

        archiving = Archiving(
            self.memory.store,
            self.config.data / "journal.db",
            timedelta(days=self.config.journal.retention),
            present=present,
            snapshot=self.memory.snapshot,
        )
        await archiving.run()

    async def _checkpoints(self) -> None:
        """Keep the log short and a snapshot young, beside the commits."""
        saved = self.scribe.head.seq
        while True:
            await self.scribe.committed.wait()
            if self.memory.store.checkpoint_due:
                await self._checkpoint()
            if self.scribe.head.seq - saved >= SNAPSHOT_ENTRIES:
                head, state = self.scribe.head, self.scribe.state
                await trio.to_thread.run_sync(self.memory.snapshot, head, state)
                saved = head.seq

    async def _checkpoint(self) -> None:
        """Fold the log into the file. Where that has no room to grow, the log goes on for now."""
        try:
            await trio.to_thread.run_sync(self.memory.store.checkpoint)
        except DiskFull as failure:
            log.error("%s", failure)
            self.room.release()
