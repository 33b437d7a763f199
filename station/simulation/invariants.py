"""Invariants of the station that are checked at every step of a simulation.

`InvariantChecker` observes each commit, each frame, each event in the CSMS's ledger and each
contactor that closes. It keeps records of its own: a second `State`, applied from the entries in
the file and from nothing else. The first step that breaks a promise raises `InvariantError`, which
begins with its name:

    P1      Nothing acknowledged is lost: at each start the file holds all entries seen before, and
            a commit under way either whole or not at all.
            on_process_started, _apply_entries
    P2      TransactionEvents: seqNo gapless from 0, Started first, nothing after Ended; sent in
            order, and again only without a response; dropped only on a full disk; at the end the
            ledger of the CSMS equals the journal. Registers never decrease.
            message_checks.py, energy_checks.py
    P3      Commit before effect: every frame sent and every closing contactor follows from entries
            in the file.
            message_checks.py, on_contactor_closing
    P4      Replay is exact: after start-up and after each commit, the state equals the second one
            and encodes to the same bytes.
            on_process_started, after_commit
    P6      Bounds: size of the state, waiting observations, deadlines without an effect.
            on_process_started, after_commit, _check_deadline_effect
    P7      The pause between two attempts is kept on uptime, whatever the wall clock does.
            message_checks.py
    P8      No rule raises.
            _apply_entries
    P11     What a meter counted is billed or listed: at the end, for each meter, the last register
            less the first is the sum of what the TransactionEvents bill (Transaction.Begin to
            Transaction.End) and of the EnergyUnaccounted entries; the last register is the true
            one.
            energy_checks.py
    SC.01   The limits in force are those that profiles and external limits give at that moment;
            set-points exceed neither the limit of their EVSE nor together that of the station.
            _check_power_limits, on_set_points
    D01     The Local Authorization List is the one the CSMS sent and the station accepted, after
            every commit and every start.
            _apply_entries
    A02     With security profile 3 the station has one or two certificates at any time, and
            each has its private key; so has each CSR under way. At the end there is one, and no
            private key of another.
            _check_certificates, check_private_keys
    H01     Each open reservation has an EVSE without an authorization; it is used by its own
            idToken or group, at its own EVSE; its id is carried, and its end reported, once.
            _apply_entries, after_commit
    N07     eventIds grow; events of thresholds alternate between exceeded and cleared, beginning
            with exceeded; a monitor rests between two events, and all events are bounded; each is
            in a NotifyEvent.
            monitor_checks.py
    E13     An attempt fails only by an error or after the message timeout.
            message_checks.py
    Part 4  One CALL is in flight, and no messageId is sent twice.
            message_checks.py

Other promises are checked elsewhere: P5 by the mutation sweep of `verify`, P9 by the tests of TLS,
parsers and floods, P10 by the benchmarks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from journal.events import Entry
from journal.observations import (
    DeadlineReached,
    FrameReceived,
)
from journal.projections.certificate_signing import CertificateSigningEnded
from journal.projections.certificates import CertificateInstalled
from journal.projections.clock import ClockCorrected
from journal.projections.pending_replies import CallResultQueued
from journal.state import State, apply_entry, encode_state
from station.core.blocks.k_smart_charging.limits import present_limit
from station.core.blocks.k_smart_charging.schedule import unix_ms
from station.core.blocks.m_certificates import STATION_CERTIFICATE
from station.core.context import Context, Product
from station.ocpp import rpc
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.certificates import CertificateWorld
from station.simulation.csms_ledger import TransactionRecord
from station.simulation.energy_checks import EnergyChecks
from station.simulation.evse_double import EvseDouble
from station.simulation.invariant_error import check
from station.simulation.local_list_model import LocalListModel
from station.simulation.message_checks import MessageChecks
from station.simulation.monitor_checks import MonitorChecks
from station.simulation.network import SimulatedConnection
from station.simulation.reservation_record import ReservationRecord
from station.simulation.station_process import StationProcess
from station.simulation.world import SimulationObserver
from station.transcript import lines

STATE_BYTES_MAX: Final = 256 * 1024  # of the encoded state; hours of faults need less
WAITING_OBSERVATIONS_MAX: Final = 5_000  # in the queue of the recorder
LIMIT_LATE_MS: Final = 1_000  # a limit changes so long after its border at most
IDLE_DEADLINES_MAX: Final = 20  # deadlines in a row without an effect
TRANSCRIPT_LINES_MAX: Final = 400  # kept for the report of a failure


def own_certificates(state: State) -> tuple[CertificateInstalled, ...]:
    """The certificates that the station connects with."""
    return state.certificates.for_uses(STATION_CERTIFICATE)


def _private_keys(state: State) -> Iterator[str]:
    """The references that certificates and CSRs need."""
    yield from (each.private_key_ref for each in own_certificates(state))
    for request in state.certificate_signing.requests:
        if request.private_key_ref:
            yield request.private_key_ref


class InvariantChecker(SimulationObserver):
    """Checks the invariants; see the module's docstring.

    Attributes:
        recent_lines: the latest entries and events, for the report of a failure.
        messages: the checks of what is queued, sent and delivered.
    """

    def __init__(self, product: Product) -> None:
        self.product = product
        self.process: StationProcess | None = None
        self.state: State | None = None  # from the entries in the file
        self.seq = 0
        self.recent_lines: deque[str | Entry] = deque(maxlen=TRANSCRIPT_LINES_MAX)
        self.messages = MessageChecks(product)
        self._energy = EnergyChecks()
        self._pending_commit: list[Entry] = []  # a commit with an unknown outcome
        self._local_list = LocalListModel()
        self.reservations = ReservationRecord()
        self._idle_deadlines = 0
        self.set_point_checks = 0
        self.monitor_checks = MonitorChecks()
        self.renewals_count = 0
        self._last_entry: Entry
        self._is_clock_corrected = False  # by the commit that was written last
        self._committed_ms = 0  # uptime when the newest commit was done

    @property
    def monitor_counts(self) -> tuple[int, int]:
        """Events of monitors, and those in a NotifyEvent."""
        return self.monitor_checks.event_count, self.monitor_checks.notified_count

    def add_line(self, text: str) -> None:
        """Add an event of the simulation to the transcript."""
        self.recent_lines.append(text)

    def recent_transcript(self) -> str:
        """The latest entries and events, one per line."""
        return "\n".join(
            line if isinstance(line, str) else lines.format_entry(line)
            for line in self.recent_lines
        )

    # --- The file --------------------------------------------------------------------------------

    def on_process_started(self, process: StationProcess) -> None:
        """The state after start-up is exactly that of the file, with every commit. P1, P4."""
        self.process = self.messages.process = self._energy.process = process
        store = process.store
        if self.state is None:
            self.state = State(store.journal_id)
        head = store.head.seq
        check(head >= self.seq, "P1", f"the file ends at entry {head}, before at {self.seq}")
        new_entries = list(store.reader.iter_entries(self.seq + 1))
        new_seqs = [entry.seq for entry in new_entries]
        is_whole = not new_seqs or new_seqs == [entry.seq for entry in self._pending_commit]
        check(is_whole, "P1", f"only a part of a commit is in the file: {new_seqs}")
        self._pending_commit = []
        self._apply_entries(new_entries)
        check(process.startup.state == self.state, "P4", "replay gives another state")
        encoded = encode_state(self.state)
        check(encode_state(process.startup.state) == encoded, "P4", "two encodings of one state")
        check(len(encoded) < STATE_BYTES_MAX, "P6", f"the state takes {len(encoded)} bytes")
        self.messages.end_flight()
        if self.seq:
            self._check_certificates()

    async def before_commit(self, entries: list[Entry]) -> None:
        self._pending_commit = entries

    def after_write(self, entries: list[Entry]) -> None:
        self._apply_entries(entries)
        self._pending_commit = []
        self._last_entry = entries[-1]
        self._check_certificates()
        self._is_clock_corrected = any(isinstance(entry.event, ClockCorrected) for entry in entries)

    def after_commit(self, state: State) -> None:
        """The state of the recorder equals the state of the file. P4."""
        check(state == self.state, "P4", "the recorder's state is not that of the journal")
        assert self.process is not None
        self._committed_ms = self.process.environment.clock.uptime_ms()
        self._check_power_limits(state)
        for broken in self.reservations.broken_by_state(state):
            check(False, "H01", broken)
        waiting_count = len(self.process.recorder._queue)
        check(waiting_count < WAITING_OBSERVATIONS_MAX, "P6", f"{waiting_count} observations wait")

    def _apply_entries(self, entries: Iterable[Entry]) -> None:
        assert self.state is not None
        for entry in entries:
            check(entry.seq == self.seq + 1, "P1", f"entry {entry.seq} after {self.seq}")
            self.seq = entry.seq
            self.recent_lines.append(entry)
            self._check_deadline_effect(entry)
            self._record_entry(entry)
            for broken in self.reservations.broken_by_entry(entry):
                check(False, "H01", broken)
            self.state = apply_entry(self.state, entry)
            failed = self.state.health.failed_rule
            check(not failed, "P8", f"rule {failed} failed")
        difference = self._local_list.describe_difference(self.state.local_list)
        check(not difference, "D01", f"the local list has {difference}")

    def _check_deadline_effect(self, entry: Entry) -> None:
        """A deadline without an effect must not be repeated endlessly. P6."""
        if isinstance(entry.event, DeadlineReached):
            self._idle_deadlines += 1
            check(
                self._idle_deadlines < IDLE_DEADLINES_MAX,
                "P6",
                f"{self._idle_deadlines} deadlines in a row without an effect",
            )
        elif entry.cause is not None or not isinstance(entry.event, DeadlineReached):
            self._idle_deadlines = 0

    def _record_entry(self, entry: Entry) -> None:
        assert self.state is not None
        violation = self.monitor_checks.find_violation(entry)
        check(violation is None, "N07", violation or "")
        self.messages.record_entry(entry, self.state)
        self._energy.record_entry(entry)
        match entry.event:
            case FrameReceived(frame=frame):
                self._record_local_list(frame)
            case CallResultQueued(message_id=message_id, payload=payload):
                self._local_list.on_response(message_id, payload)
            case CertificateSigningEnded(end="installed"):
                self.renewals_count += 1

    def _record_local_list(self, frame: msgspec.Raw) -> None:
        match rpc.parse_frame(frame):
            case rpc.CallFrame(action="SendLocalList") as call:
                self._local_list.on_request(call.message_id, call.payload)

    # --- Messages --------------------------------------------------------------------------------

    def on_connected(self, connection: SimulatedConnection) -> None:
        self.messages.end_flight()

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        """Every frame is in the file; no CALL is sent twice without need. P2, P3."""
        self.messages.on_frame_sent(connection, text)

    def on_transaction_event(self, event: TransactionEventRequest) -> None:
        """The CSMS receives only events that are in the journal."""
        self.messages.on_transaction_event(event)

    def check_completeness(self, records: dict[str, TransactionRecord]) -> None:
        """The ledger of the CSMS equals the journal: every event, and no other. P2."""
        assert self.state is not None
        self.messages.check_completeness(records, self.state)

    # --- Energy ----------------------------------------------------------------------------------

    def has_read_meters(self, evses: dict[int, EvseDouble]) -> bool:
        """Whether the last register of every meter is in the journal."""
        return self._energy.has_read_meters(evses)

    def check_energy(self) -> None:
        """What each meter counted is billed to transactions or listed. P11."""
        self._energy.check_energy(self.messages)

    # --- Contactors ------------------------------------------------------------------------------

    def on_contactor_closing(self, evse_id: int) -> None:
        """A contactor closes only with a journaled cable and authorization, and no fault. P3."""
        assert self.state is not None
        authorization = self.state.authorizations.on_evse(evse_id)
        evse = self.state.evses.by_id(evse_id)
        fault = self.state.faults.blocking_fault(evse_id)
        check(authorization is not None, "P3", f"EVSE {evse_id} closes without an authorization")
        check(evse.is_plugged_in, "P3", f"EVSE {evse_id} closes without a cable")
        check(fault is None, "P3", f"EVSE {evse_id} closes despite {fault}")

    # --- Power limits ----------------------------------------------------------------------------

    def _check_power_limits(self, state: State) -> None:
        """The limits that were decided are those that a computation from scratch gives. SC.01.

        Not after a commit that corrects the clock: its entries carry the time before.
        """
        if self._is_clock_corrected or not (
            state.charging_profiles.installed or state.external_limits.limits
        ):
            return
        ctx = Context(self.product, state, self._last_entry)
        for evse_id in (0, *self.product.profile.evse_ids):
            decided = state.power_limits.on_evse(evse_id)
            decided_w = decided.limit_w if decided else None
            limit = present_limit(ctx, evse_id)
            text = f"EVSE {evse_id}: decided {decided_w} W, in force {limit.limit_w} W"
            check(decided_w == limit.limit_w, "SC.01", text)

    def on_set_points(self, setpoints_w: dict[int, int]) -> None:
        """Set-points respect the limits of the newest state that the program has published."""
        assert self.process is not None
        self.set_point_checks += 1
        recorder = self.process.recorder
        limits = recorder.state.power_limits
        if limits.until_unix_ms is not None and not (recorder.is_busy or self._is_clock_corrected):
            # On uptime: a step of the wall clock is noticed with the next observation. P7
            last = self._last_entry
            border_ms = last.uptime_ms + limits.until_unix_ms - unix_ms(last.at)
            due_ms = max(border_ms, self._committed_ms)  # not while the disk holds a commit
            late_ms = self.process.environment.clock.uptime_ms() - due_ms
            check(late_ms < LIMIT_LATE_MS, "SC.01", f"a border passed {late_ms} ms ago: {limits}")
        for evse_id, setpoint_w in setpoints_w.items():
            limit = limits.on_evse(evse_id)
            is_kept = limit is None or setpoint_w <= limit.limit_w
            check(is_kept, "SC.01", f"set-point {setpoint_w} W, limit {limit}")
        station = limits.on_evse(0)
        efficiency = self.product.profile.supply.efficiency_percent
        is_kept = station is None or sum(setpoints_w.values()) * 100 <= station.limit_w * efficiency
        check(is_kept, "SC.01", f"set-points {setpoints_w}, limit of the station {station}")

    # --- Certificates ----------------------------------------------------------------------------

    def _check_certificates(self) -> None:
        assert self.process is not None
        assert self.state is not None
        certificates = self.process.environment.certificates
        if certificates is None:
            return
        own = own_certificates(self.state)
        check(1 <= len(own) <= 2, "A02", f"{len(own)} certificates of the station")
        missing = set(_private_keys(self.state)) - certificates.secrets.secrets.keys()
        check(not missing, "A02", f"without a private key: {missing}")

    def check_private_keys(self, certificates: CertificateWorld) -> None:
        """No private key is left that nothing needs."""
        assert self.state is not None
        unneeded = certificates.secrets.secrets.keys() - set(_private_keys(self.state))
        check(not unneeded, "A02", f"private keys that nothing needs: {unneeded}")
