"""The simulated world: everything outside the program, and the runs of the program in it.

One process, one thread, trio's MockClock: time jumps from one event to the next.

`SimulatedWorld` keeps what survives the program: the journal's file, EVs and EVSEs, the CSMS with
its ledger, the network, the clocks. It runs one `StationProcess` after the other:

    end of a process            before the next start
    orderly, or restart         snapshot saved, journal closed
    killed, or disk failed      the files are copied as they are, without the clean-up of a close
    journal damaged             the same; the reason is passed to the next start

    in every case               contactors open, the connection is cut, `restart_gap_s` passes
    `host_reboot_pending`       a new boot id, and the uptime starts again

Determinism: all random numbers come from `random_source`, trio's scheduler is seeded
(`run_simulation`), and nothing reads the real clock. So the same seed gives the same journal, byte
for byte. A test compares the digests of two runs, also in a process with another hash seed.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Final

import trio
from trio.testing import MockClock

from journal.events import Entry, Observation
from journal.observations import IdTokenPresented, StopButtonPressed
from journal.state import State
from journal.storage.connection import StoreSettings
from journal.storage.errors import JournalDamaged, JournalFailed
from journal.storage.store import Store
from station.core.context import Product
from station.core.device_model.model import DeviceModel
from station.profiles import load_profile
from station.runtime.loop.startup import event_registry
from station.simulation.certificates import SERIAL_NUMBER, CertificateWorld
from station.simulation.event_queue import EventQueue, SimulatedClock
from station.simulation.evse_double import DeviceFaults, EvseDouble, SimulatedEv
from station.simulation.faulty_csms import CsmsObserver, FaultyCsms, SigningDesk
from station.simulation.network import SimulatedNetwork
from station.simulation.station_process import (
    STORE_SETTINGS,
    CommitHooks,
    ProcessKilledError,
    StationProcess,
)

JOURNAL_ID: Final = "0b8c7f4e-98a5-4f2e-8f5d-3b8a5f1c2d3e"
JOURNAL_FILE: Final = "journal.db"
RESTART_GAP_S: Final = 1.0  # from the end of the program to its next start


@cache
def load_product(name: str = "development") -> Product:
    profile = load_profile(name)
    return Product(profile, DeviceModel(profile))


class SimulationObserver(CsmsObserver):
    """Observer of the whole world. This base class ignores everything."""

    def on_process_started(self, process: StationProcess) -> None:
        """A process opened the journal and replayed it."""

    async def before_commit(self, entries: list[Entry]) -> None:
        """A commit begins: may wait, fail, or never return."""

    def after_write(self, entries: list[Entry]) -> None:
        """The entries are in the file, and the recorder does not know yet; may still fail."""

    def after_commit(self, state: State) -> None:
        """The recorder finished the commit."""

    def on_contactor_closing(self, evse_id: int) -> None:
        """A contactor is about to close."""

    def on_set_points(self, setpoints_w: dict[int, int]) -> None:
        """The control loop has set these set-points, by EVSE, because there are limits."""


class SimulatedWorld:
    """Everything outside the program.

    Attributes:
        process: the present run of the program; None between two.
        process_starts: number of runs so far.
        restart_gap_s: time until the next start; used once.
        host_reboot_pending: the host reboots with the next start; used once.
        free_bytes: free bytes on the disk.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        observer: SimulationObserver | None = None,
        variables: dict[str, str] | None = None,
        profile: str = "development",
        security_profile: int = 1,
        store_settings: StoreSettings = STORE_SETTINGS,
    ) -> None:
        """Build the world around a directory; needs trio's loop.

        Args:
            directory: for the journal, empty.
            seed: of the random source.
            observer: observes the world.
            variables: preset at the first start, by path.
            profile: the product.
            security_profile: 1, or 3: with certificates that the CSMS signs.
            store_settings: of the journal's file.
        """
        self.random_source = random.Random(seed)
        self.product = load_product(profile)
        self.event_queue = EventQueue()
        self.clock = SimulatedClock()
        self.observer = observer or SimulationObserver()
        self.commit_hooks: CommitHooks = self.observer
        self.certificates = CertificateWorld() if security_profile == 3 else None
        self.csms = FaultyCsms(
            self.event_queue,
            self.clock,
            self.random_source,
            self.observer,
            lambda: self.network,
            SigningDesk(self.certificates, seed) if self.certificates else None,
        )
        self.network = SimulatedNetwork(self.event_queue, self.csms, self.random_source)
        self.device_faults = DeviceFaults()
        self.evses = {
            evse_id: EvseDouble(evse_id, faults=self.device_faults)
            for evse_id in self.product.profile.evse_ids
        }
        self.variables = dict(variables or {})
        if self.certificates:
            self.variables["ChargingStation.SerialNumber"] = SERIAL_NUMBER
        self.store_settings = store_settings
        self.free_bytes = 1 << 40
        self.boot_id = "boot-1"
        self.process: StationProcess | None = None
        self.process_starts = 0
        self.restart_gap_s = RESTART_GAP_S
        self.host_reboot_pending = False
        self._directory = directory
        self._data_directory = directory / "1"
        self._damage = ""  # what the last process found wrong with the file

    # --- Runs of the program ---------------------------------------------------------------------

    async def run(self, script: Callable[[], Awaitable[None]]) -> None:
        """Run the station in this world until the script ends."""
        self._create_journal()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.event_queue.run)
            nursery.start_soon(self._run_processes)
            await script()
            nursery.cancel_scope.cancel()

    def _create_journal(self) -> None:
        """Put an empty journal with a fixed journal id into the data directory."""
        self._data_directory.mkdir(parents=True)
        shutil.copyfile(_blank_journal(), self._data_directory / JOURNAL_FILE)

    async def _run_processes(self) -> None:
        """Run one process after the other."""
        while True:
            await self._run_process()
            gap_s, self.restart_gap_s = self.restart_gap_s, RESTART_GAP_S
            await trio.sleep(gap_s)
            if self.host_reboot_pending:
                self.host_reboot_pending = False
                self.boot_id = f"boot-{self.process_starts + 1}"
                self.clock.reboot_host()

    async def _run_process(self) -> None:
        process = StationProcess(self, self.product, self._data_directory, self._damage)
        self.process = process
        self._damage = ""
        self.process_starts += 1
        orderly = False
        try:
            self.observer.on_process_started(process)
            await process.run()
            orderly = True
        except* JournalDamaged as damage:
            process.is_killed = True
            self._damage = str(_innermost_error(damage))
        except* (ProcessKilledError, JournalFailed):
            process.is_killed = True
        finally:
            self.process = None
            self._clean_up(process, orderly)

    def _clean_up(self, process: StationProcess, clean: bool) -> None:
        """After the end of a process: open contactors, cut the connection, keep the files."""
        for evse in self.evses.values():
            evse.open_contactor()
        self.network.cut_connection()
        if clean:
            process.close()
        else:
            self._copy_crashed_files(process)

    def _copy_crashed_files(self, process: StationProcess) -> None:
        """Keep the files as a killed process leaves them: copied before they are closed."""
        copy = self._directory / f"{self.process_starts + 1}"
        copy.mkdir()
        for name in (JOURNAL_FILE, f"{JOURNAL_FILE}-wal", "snapshot"):
            if (self._data_directory / name).exists():
                shutil.copyfile(self._data_directory / name, copy / name)
        process.startup.close()
        shutil.rmtree(self._data_directory)
        self._data_directory = copy

    def open_final_journal(self) -> Store:
        """Open the journal of the process that was running when the script ended."""
        return Store.open(
            self._data_directory / JOURNAL_FILE,
            event_registry(),
            journal_id_if_new=JOURNAL_ID,
            settings=STORE_SETTINGS,
        )

    def read_free_bytes(self, directory: Path) -> int:
        """Free bytes on the disk, as reported to the station."""
        return self.free_bytes

    def on_contactor_closing(self, evse_id: int) -> None:
        self.observer.on_contactor_closing(evse_id)

    def on_set_points(self, setpoints_w: dict[int, int]) -> None:
        self.observer.on_set_points(setpoints_w)

    # --- Actions of people -----------------------------------------------------------------------

    def observe(self, observation: Observation) -> None:
        """Pass an observation to the program, if it runs."""
        if self.process is not None and not self.process.is_killed:
            self.process.recorder.observe(observation)

    def present_id_token(self, token_value: str, evse_id: int | None = None) -> None:
        """Present a card at the reader; without effect while the reader is disabled."""
        if (
            self.process is not None
            and not self.process.is_killed
            and self.process.recorder.desired_state.value.reader_enabled
        ):
            id_token = self.process.store.reference_for("ISO14443", token_value)
            self.process.recorder.observe(IdTokenPresented(id_token, evse_id))

    def press_stop_button(self, evse_id: int) -> None:
        """Press the stop button at the dispenser."""
        self.observe(StopButtonPressed(evse_id))

    def unplug_all(self) -> None:
        """Unplug every EV."""
        for evse in self.evses.values():
            evse.disconnect_ev()

    def schedule_session(
        self, evse_id: int, token_value: str, ev: SimulatedEv, stay_s: float
    ) -> None:
        """Plug in now, present the card after 8 s and after `stay_s`, unplug 15 s later."""
        self.evses[evse_id].connect_ev(ev)
        self.event_queue.run_after(8, lambda: self.present_id_token(token_value, evse_id))
        self.event_queue.run_after(stay_s, lambda: self.present_id_token(token_value, evse_id))
        self.event_queue.run_after(stay_s + 15, self.evses[evse_id].disconnect_ev)


@cache
def _blank_journal() -> Path:
    """An empty journal, made once per process."""
    import atexit
    import tempfile

    directory = Path(tempfile.mkdtemp(prefix="simulation-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = directory / JOURNAL_FILE
    Store.open(
        path, event_registry(), journal_id_if_new=JOURNAL_ID, settings=STORE_SETTINGS
    ).close()
    return path


def run_simulation(main: Callable[[], Awaitable[None]], seed: int) -> None:
    """Run `main` in a trio loop of its own, the same for the same seed.

    An exception of an observer is raised as it is, not as a group.
    """
    import trio._core._run as scheduler

    setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: B010  # it is Final
    scheduler._r.seed(seed)
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    except BaseExceptionGroup as group:
        raise _innermost_error(group) from None


def _innermost_error(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def shared_memory_directory() -> Path | None:
    """A directory in RAM, if there is one. Simulations need no file after a power cut."""
    path = Path("/dev/shm")
    return path if path.is_dir() else None
