"""Sessions and curves from the entries of a journal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from journal.events import Entry, Event, IdToken
from journal.observations import MeterRead
from journal.projections.authorizations import AuthorizationBoundToEvse
from journal.projections.outbox import (
    CallDelivered,
    CallParked,
    CallQueued,
    TransactionEventSummary,
)
from journal.projections.transactions import TransactionStarted, TransactionStopOrdered
from station.page.session_log import POINTS_MAX, SESSIONS_MAX, Curve, Point, SessionLog

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class LogBench:
    """A log, and entries at one second after the other."""

    def __init__(self) -> None:
        self.log = SessionLog()
        self._seqs = count(1)

    def apply(self, event: Event) -> int:
        seq = next(self._seqs)
        self.log.apply(Entry(seq, NOON + timedelta(seconds=seq), seq * 1000, event))
        return seq

    def read_meter(self, energy_wh: str, power_w: int = 0, evse_id: int = 1) -> None:
        self.apply(MeterRead(evse_id, Decimal(energy_wh), power_w=Decimal(power_w), soc_percent=50))

    def start(self, transaction_id: str, evse_id: int = 1, authorization_seq: int = 7) -> None:
        self.apply(
            TransactionStarted(
                transaction_id=transaction_id,
                evse_id=evse_id,
                trigger_reason="CablePluggedIn",
                authorization_seq=authorization_seq,
                id_token=IdToken("#0123456789abcdef", "ISO14443"),
            )
        )

    def end(self, transaction_id: str) -> int:
        summary = TransactionEventSummary(transaction_id, 1, 3, "Ended", "EVDeparted")
        return self.apply(
            CallQueued(
                lane="transaction",
                action="TransactionEvent",
                payload=b"{}",  # type: ignore[arg-type]
                transaction_event=summary,
            )
        )


def test_a_session_from_its_start_to_its_delivery() -> None:
    bench = LogBench()
    bench.read_meter("1000.5")
    bench.start("abc")
    bench.read_meter("1500.75", 60_000)
    [session] = bench.log.newest()
    assert (session.begin_wh, session.energy_wh) == ("1000.5", "500.25")
    assert (session.id_token, session.delivery) == ("ISO14443/#0123456789abcdef", "")
    bench.apply(
        TransactionStopOrdered(
            transaction_id="abc", trigger_reason="StopAuthorized", stopped_reason="Local"
        )
    )
    call_seq = bench.end("abc")
    assert (session.stopped_reason, session.delivery) == ("Local", "waiting")
    bench.read_meter("9999")
    assert session.energy_wh == "500.25"
    bench.apply(CallParked(call_seq, "no answer"))
    assert session.delivery == "parked"
    bench.apply(CallDelivered(call_seq, "m1"))
    assert session.delivery == "delivered"


def test_a_session_that_starts_with_the_card_gets_its_evse_later() -> None:
    bench = LogBench()
    bench.start("abc", evse_id=0, authorization_seq=5)
    bench.apply(AuthorizationBoundToEvse(5, 2))
    bench.read_meter("10", evse_id=2)
    bench.read_meter("30", evse_id=2)
    [session] = bench.log.newest()
    assert (session.evse_id, session.energy_wh) == (2, "20")


def test_only_the_newest_sessions_are_kept() -> None:
    bench = LogBench()
    for number in range(SESSIONS_MAX + 5):
        bench.start(f"t{number}")
        bench.read_meter(str(number), 1)
        bench.end(f"t{number}")
    sessions = bench.log.newest()
    assert len(sessions) == SESSIONS_MAX
    assert sessions[0].transaction_id == f"t{SESSIONS_MAX + 4}"
    assert bench.log.curve("t0") == []


def test_a_curve_of_a_long_session_has_few_points_and_keeps_both_ends() -> None:
    curve = Curve()
    for second in range(20 * POINTS_MAX):
        curve.add(Point(second * 1000, float(second), None))
    assert POINTS_MAX // 2 <= len(curve.points) <= POINTS_MAX
    assert curve.points[0].at_ms == 0
    assert curve.points[-1].at_ms == (20 * POINTS_MAX - 1) * 1000
    times = [point.at_ms for point in curve.points]
    assert times == sorted(times)


def test_what_is_measured_now_is_added_only_to_a_session_that_runs() -> None:
    bench = LogBench()
    bench.start("abc")
    point: Any = Point(1, 5.0, 40)
    bench.log.add_point("abc", point)
    bench.log.add_point("unknown", point)
    bench.end("abc")
    bench.log.add_point("abc", Point(2, 6.0, 41))
    assert bench.log.curve("abc") == [point]
    assert bench.log.curve("unknown") == []


def test_a_clock_that_is_set_back_does_not_stop_a_curve() -> None:
    curve = Curve()
    for at_ms in (1000, 2000, 3000, 1500, 2500):
        curve.add(Point(at_ms, 1.0, None))
    assert [point.at_ms for point in curve.points] == [1000, 1500, 2500]
