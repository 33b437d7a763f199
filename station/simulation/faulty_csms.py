"""How does a CSMS behave on its bad days?

`FaultyCsms` puts a `CsmsDouble` behind simulated wires. Its `FaultRates` says how often an answer is
lost, late, doubled, refused or nonsense, and how often the wire breaks right before or after the
CSMS has taken a message in.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
from trio_websocket import CloseReason

from station.ocpp import rpc
from station.ocpp.messages import Datatype
from station.ocpp.messages.datatypes import IdTokenInfoType, IdTokenType
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.csms_double import CsmsCall, CsmsDouble
from station.simulation.event_queue import EventQueue, SimulatedClock
from station.simulation.network import GOING_AWAY, SimulatedConnection, SimulatedNetwork

LATE_RESPONSE_S: Final = (5.0, 150.0)  # the station waits 30 s
DUPLICATE_DELAY_MAX_S: Final = 3.0  # until an answer comes again, at most
CALLS_MAX: Final = 200  # calls of ours that are remembered

ALICE, BOB, CAROL, MALLORY = "04A224B2", "04B224B2", "04C224B2", "04D224B2"
GROUP_ID_TOKEN: Final = IdTokenType(id_token="FAMILY", type="Central")
ID_TOKENS: Final = {
    ALICE: IdTokenInfoType(status="Accepted"),
    BOB: IdTokenInfoType(status="Accepted", group_id_token=GROUP_ID_TOKEN),
    CAROL: IdTokenInfoType(status="Accepted", group_id_token=GROUP_ID_TOKEN),
    MALLORY: IdTokenInfoType(status="Blocked"),
}


class FaultRates(msgspec.Struct, frozen=True, kw_only=True):
    """How probable each mischief is, per call of the station. The rest is answered."""

    lost: float = 0  # taken in, never answered
    deaf: float = 0  # not even taken in
    late: float = 0
    twice: float = 0
    refused: float = 0  # a CALLERROR
    nonsense: float = 0  # taken in, answered with what is no answer
    cut_before: float = 0  # the wire breaks before it is taken in
    cut_after: float = 0  # and after, before the answer leaves


NO_FAULTS: Final = FaultRates()


class CsmsObserver:
    """Whoever watches the line and the ledger. This one does not care."""

    def on_connected(self, connection: SimulatedConnection) -> None:
        """A station is there."""

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        """The station sends a frame."""

    def on_transaction_event(self, event: TransactionEventRequest) -> None:
        """The CSMS takes a TransactionEvent in."""


class FaultyCsms:
    """The CSMS's end of all wires.

    Attributes:
        temper, registration: change them, and the next answer obeys.
        did: how often each mischief was done.
    """

    def __init__(
        self,
        event_queue: EventQueue,
        clock: SimulatedClock,
        random_source: random.Random,
        observer: CsmsObserver,
        get_network: Callable[[], SimulatedNetwork],
    ) -> None:
        self.double = CsmsDouble(ID_TOKENS, clock=clock.true_utc, on_request=self._on_request)
        self.fault_rates = NO_FAULTS
        self.fault_counts: Counter[str] = Counter()
        self.calls: list[CsmsCall] = []
        self._event_queue = event_queue
        self._random_source = random_source
        self._observer = observer
        self._get_network = get_network
        self._connection: SimulatedConnection | None = None
        self._fault_actions = {
            "lost": self._process_silently,
            "deaf": lambda wire, text: None,
            "late": self._respond_late,
            "twice": self._respond_twice,
            "refused": self._respond_with_error,
            "nonsense": self._respond_malformed,
            "cut_before": lambda wire, text: wire.cut(),
            "cut_after": self._process_then_cut,
        }

    # --- The wire --------------------------------------------------------------------------------

    def on_connected(self, connection: SimulatedConnection) -> None:
        if self._connection is not None:
            self.double.on_disconnected()
        self._connection = connection
        self._observer.on_connected(connection)

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        self._observer.on_frame_sent(connection, text)

    def on_frame_arrived(self, connection: SimulatedConnection, text: str) -> None:
        """A frame of the station, treated as the temper has it."""
        called = isinstance(rpc.parse_frame(text.encode()), rpc.CallFrame)
        mischief = self._pick_fault() if called else None
        if mischief is None:
            self._send_responses(connection, text)
        else:
            self.fault_counts[mischief] += 1
            self._fault_actions[mischief](connection, text)

    def on_disconnected(self, connection: SimulatedConnection) -> None:
        if connection is self._connection:
            self._connection = None
            self.double.on_disconnected()

    def restart(self) -> None:
        """It goes away and comes back; what it has taken in is in its database."""
        self._get_network().cut_connection(CloseReason(GOING_AWAY, "restarting"))

    # --- Asking ----------------------------------------------------------------------------------

    def send_request(self, request: Datatype) -> None:
        """Ask the station something, if one is there."""
        wire = self._connection
        if wire is None:
            return
        asked, texts = self.double.queue_call(request)
        self.calls = [*self.calls[-CALLS_MAX:], asked]
        for text in texts:
            wire.send_to_station(text)

    def send_text(self, text: str) -> None:
        """Send any text at all."""
        if self._connection is not None:
            self._connection.send_to_station(text)

    # --- Mischief --------------------------------------------------------------------------------

    def _pick_fault(self) -> str | None:
        chance = self._random_source.random()
        for name in self._fault_actions:
            chance -= getattr(self.fault_rates, name)
            if chance < 0:
                return name
        return None

    def _send_responses(self, connection: SimulatedConnection, text: str) -> None:
        for answer in self.double.receive_frame(text):
            connection.send_to_station(answer)

    def _process_silently(self, connection: SimulatedConnection, text: str) -> None:
        self.double.receive_frame(text)

    def _respond_late(self, connection: SimulatedConnection, text: str) -> None:
        for answer in self.double.receive_frame(text):
            self._event_queue.run_after(
                self._random_source.uniform(*LATE_RESPONSE_S),
                partial(connection.send_to_station, answer),
            )

    def _respond_twice(self, connection: SimulatedConnection, text: str) -> None:
        for answer in self.double.receive_frame(text):
            connection.send_to_station(answer)
            self._event_queue.run_after(
                self._random_source.uniform(0, DUPLICATE_DELAY_MAX_S),
                partial(connection.send_to_station, answer),
            )

    def _respond_with_error(self, connection: SimulatedConnection, text: str) -> None:
        frame = rpc.parse_frame(text.encode())
        assert isinstance(frame, rpc.CallFrame)
        connection.send_to_station(rpc.encode_error(frame.message_id, "InternalError", "not today"))

    def _respond_malformed(self, connection: SimulatedConnection, text: str) -> None:
        frame = rpc.parse_frame(text.encode())
        assert isinstance(frame, rpc.CallFrame)
        self.double.receive_frame(text)
        connection.send_to_station(rpc.encode_result(frame.message_id, b'{"status":7}'))

    def _process_then_cut(self, connection: SimulatedConnection, text: str) -> None:
        self.double.receive_frame(text)
        connection.cut()

    def _on_request(self, action: str, request: Datatype) -> None:
        if isinstance(request, TransactionEventRequest):
            self._observer.on_transaction_event(request)
