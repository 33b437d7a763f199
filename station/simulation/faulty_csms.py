"""A CSMS with faults, on simulated connections.

`FaultyCsms` connects a `CsmsDouble` to the simulated network. `FaultRates` has the probability of
each fault per CALL of the station: a response that is missing, late, duplicated, malformed or a
CALLERROR, and a connection that breaks right before or after the CSMS processed the CALL.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import msgspec
from trio_websocket import CloseReason

from station.ocpp import rpc
from station.ocpp.messages import Datatype
from station.ocpp.messages.a_security import CertificateSignedRequest, SignCertificateRequest
from station.ocpp.messages.datatypes import IdTokenInfoType, IdTokenType
from station.ocpp.messages.e_transactions import TransactionEventRequest
from station.simulation.certificates import CertificateWorld
from station.simulation.csms_double import CsmsCall, CsmsDouble
from station.simulation.event_queue import EventQueue, SimulatedClock
from station.simulation.network import GOING_AWAY, SimulatedConnection, SimulatedNetwork

LATE_RESPONSE_S: Final = (5.0, 150.0)  # the station waits 30 s
DUPLICATE_DELAY_MAX_S: Final = 3.0  # until a response is sent again, at most
CALLS_MAX: Final = 200  # of the CSMS, that are kept

SIGNING_S: Final = (0.2, 8.0)  # from SignCertificate to CertificateSigned
WRONG_CERTIFICATES: Final = ("", "", "", "", "", "another key", "not valid yet")

ALICE, BOB, CAROL, MALLORY = "04A224B2", "04B224B2", "04C224B2", "04D224B2"
GROUP_ID_TOKEN: Final = IdTokenType(id_token="FAMILY", type="Central")
ID_TOKENS: Final = {
    ALICE: IdTokenInfoType(status="Accepted"),
    BOB: IdTokenInfoType(status="Accepted", group_id_token=GROUP_ID_TOKEN),
    CAROL: IdTokenInfoType(status="Accepted", group_id_token=GROUP_ID_TOKEN),
    MALLORY: IdTokenInfoType(status="Blocked"),
}


class FaultRates(msgspec.Struct, frozen=True, kw_only=True):
    """Probability of each fault per CALL of the station. All other CALLs are answered.

    The order of the fields is the order in which one random number is compared with them.
    """

    no_response: float = 0  # processed, never answered
    ignored: float = 0  # neither processed nor answered
    late_response: float = 0
    duplicate_response: float = 0
    call_error: float = 0  # not processed, answered with a CALLERROR
    malformed_response: float = 0  # processed, answered with an invalid payload
    cut_before_processing: float = 0  # the connection breaks, the CALL is not processed
    cut_after_processing: float = 0  # the connection breaks before the response is sent


NO_FAULTS: Final = FaultRates()


class CsmsObserver:
    """Observer of connections and ledger. This base class ignores everything."""

    def on_connected(self, connection: SimulatedConnection) -> None:
        """A station connected."""

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        """The station sent a frame."""

    def on_transaction_event(self, event: TransactionEventRequest) -> None:
        """The CSMS received a TransactionEvent."""


class SigningDesk:
    """Signs the CSRs of the station, some of them wrongly."""

    def __init__(self, certificates: CertificateWorld, seed: int) -> None:
        """`seed`: of a random source of its own, so that other worlds stay as they are."""
        self._certificates = certificates
        self._random_source = random.Random(f"certificates {seed}")

    def sign(
        self, request: SignCertificateRequest, now: datetime
    ) -> tuple[float, CertificateSignedRequest]:
        """The seconds until the certificate is sent, and the request that has it."""
        csr, valid_from = request.csr, now
        match self._random_source.choice(WRONG_CERTIFICATES):
            case "another key":
                csr = self._certificates.create_key_pair("ECDSA-P256", "SIM-0002", "Other").csr
            case "not valid yet":
                valid_from = now + timedelta(days=400)
        signed = CertificateSignedRequest(
            certificate_chain=self._certificates.sign_csr(csr, valid_from),
            certificate_type=request.certificate_type,
        )
        return self._random_source.uniform(*SIGNING_S), signed


class FaultyCsms:
    """The CSMS's end of all connections.

    Attributes:
        fault_rates: can be changed at any time; used for the next CALL.
        fault_counts: how often each fault occurred.
        calls: the latest `CALLS_MAX` CALLs of the CSMS.
    """

    def __init__(
        self,
        event_queue: EventQueue,
        clock: SimulatedClock,
        random_source: random.Random,
        observer: CsmsObserver,
        get_network: Callable[[], SimulatedNetwork],
        signing_desk: SigningDesk | None = None,
    ) -> None:
        self.double = CsmsDouble(ID_TOKENS, clock=clock.true_utc, on_request=self._on_request)
        self.fault_rates = NO_FAULTS
        self.fault_counts: Counter[str] = Counter()
        self.calls: list[CsmsCall] = []
        self._event_queue = event_queue
        self._random_source = random_source
        self._observer = observer
        self._get_network = get_network
        self._signing_desk = signing_desk
        self._connection: SimulatedConnection | None = None
        self._fault_actions = {
            "no_response": self._process_silently,
            "ignored": lambda connection, text: None,
            "late_response": self._respond_late,
            "duplicate_response": self._respond_twice,
            "call_error": self._respond_with_error,
            "malformed_response": self._respond_malformed,
            "cut_before_processing": lambda connection, text: connection.cut(),
            "cut_after_processing": self._process_then_cut,
        }

    # --- Connections -----------------------------------------------------------------------------

    def on_connected(self, connection: SimulatedConnection) -> None:
        if self._connection is not None:
            self.double.on_disconnected()
        self._connection = connection
        self._observer.on_connected(connection)

    def on_frame_sent(self, connection: SimulatedConnection, text: str) -> None:
        self._observer.on_frame_sent(connection, text)

    def on_frame_arrived(self, connection: SimulatedConnection, text: str) -> None:
        """Process a frame of the station; a CALL may have one of the faults."""
        is_call = isinstance(rpc.parse_frame(text.encode()), rpc.CallFrame)
        fault = self._pick_fault() if is_call else None
        if fault is None:
            self._send_responses(connection, text)
        else:
            self.fault_counts[fault] += 1
            self._fault_actions[fault](connection, text)

    def on_disconnected(self, connection: SimulatedConnection) -> None:
        if connection is self._connection:
            self._connection = None
            self.double.on_disconnected()

    def restart(self) -> None:
        """Cut the connection as a restarting CSMS does; its ledger is kept."""
        self._get_network().cut_connection(CloseReason(GOING_AWAY, "restarting"))

    # --- CALLs of the CSMS -----------------------------------------------------------------------

    def send_request(self, request: Datatype) -> None:
        """Send a request to the station, if one is connected."""
        connection = self._connection
        if connection is None:
            return
        call, texts = self.double.queue_call(request)
        self.calls = [*self.calls[-CALLS_MAX:], call]
        for text in texts:
            connection.send_to_station(text)

    def send_text(self, text: str) -> None:
        """Send any text, valid or not."""
        if self._connection is not None:
            self._connection.send_to_station(text)

    # --- Faults ----------------------------------------------------------------------------------

    def _pick_fault(self) -> str | None:
        chance = self._random_source.random()
        for name in self._fault_actions:
            chance -= getattr(self.fault_rates, name)
            if chance < 0:
                return name
        return None

    def _send_responses(self, connection: SimulatedConnection, text: str) -> None:
        for response in self.double.receive_frame(text):
            connection.send_to_station(response)

    def _process_silently(self, connection: SimulatedConnection, text: str) -> None:
        self.double.receive_frame(text)

    def _respond_late(self, connection: SimulatedConnection, text: str) -> None:
        for response in self.double.receive_frame(text):
            self._event_queue.run_after(
                self._random_source.uniform(*LATE_RESPONSE_S),
                partial(connection.send_to_station, response),
            )

    def _respond_twice(self, connection: SimulatedConnection, text: str) -> None:
        for response in self.double.receive_frame(text):
            connection.send_to_station(response)
            self._event_queue.run_after(
                self._random_source.uniform(0, DUPLICATE_DELAY_MAX_S),
                partial(connection.send_to_station, response),
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
        elif isinstance(request, SignCertificateRequest) and self._signing_desk is not None:
            delay_s, response = self._signing_desk.sign(request, self.double.clock())
            self._event_queue.run_after(delay_s, partial(self.send_request, response))
