"""Operations `live` and `release` of the control socket, on doubles of the hardware."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from journal.observations import CsmsConfigured, FaultReleaseRequested, MeterRead
from journal.projections.faults import FaultRelease
from station.core.display import LiveReading
from station.runtime.control_socket import REAL_DEVICE_OPS, ControlHandler
from station.runtime.disk.auditor import AuditResult
from station.runtime.hardware.fault_registry import FaultStatus
from station.runtime.hardware.hardware import Hardware
from station.runtime.hardware.power_budget import EvseBudget, Limiter
from station.runtime.live_status import MIN_INTERVAL_S, LiveStatus
from station.runtime.loop.recorder import Recorder
from tests.runtime.fixtures_recorder import IDLE_REPORTS, STATION_STARTED, open_recorder
from tests.support.renewal import ROOT_INSTALLED, SERIAL_NUMBER_SET, URL, factory_certificate
from tests.support.story import NOON


def make_fault(device: str, fault: str, evse_id: int = 1, **changes: Any) -> FaultStatus:
    values = {"blocks_charging": True, "latched": True, "found": False, "age_s": 12.34}
    return FaultStatus(
        evse_id, device, fault, **{**values, "tech_code": "CX017", "info": "", **changes}
    )


class HardwareDouble:
    """What the control socket reads of the hardware."""

    def __init__(self) -> None:
        self.faults: list[FaultStatus] = []
        self.reading: MeterRead | None = None
        self.limiter: Limiter = "product"

    def latest_reading(self, evse_id: int) -> MeterRead | None:
        return self.reading if evse_id == 1 else None

    def active_faults(self) -> list[FaultStatus]:
        return self.faults

    def live_readings(self) -> dict[int, LiveReading]:
        return {1: LiveReading(soc_percent=55)}

    def power_budget(self, evse_id: int) -> EvseBudget | None:
        return EvseBudget(Decimal(300), 150_000, self.limiter, 150_000)

    def round_lag_s(self) -> float:
        return 0.003


class SocketBench:
    """A handler of a station with real devices; its recorder is committed by the test."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.hardware = HardwareDouble()
        self.audit: AuditResult | None = None
        hardware = cast(Hardware, self.hardware)
        live = LiveStatus(
            recorder,
            hardware,
            recorder._clock,
            emulated=False,
            last_audit=lambda: self.audit,
        )
        self.handler = ControlHandler(recorder, hardware, None, live)

    async def request(self, operation: str, **arguments: Any) -> dict[str, Any]:
        line = json.dumps({"op": operation, **arguments}).encode()
        reply = json.dumps(await self.handler.handle_line(line))  # as it goes over the socket
        return cast(dict[str, Any], json.loads(reply))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SocketBench]:
    with open_recorder(tmp_path) as (recorder, _, _):
        for observation in (STATION_STARTED, *IDLE_REPORTS):
            recorder.observe(observation)
        yield SocketBench(recorder)


async def test_live_reports_what_is_measured_now(bench: SocketBench) -> None:
    await bench.recorder.commit_now()
    bench.hardware.reading = MeterRead(
        1, Decimal("1234.5"), power_w=Decimal(60000), voltage_v=Decimal(400), soc_percent=55
    )
    bench.hardware.faults = [make_fault("contactor", "welded")]
    bench.audit = AuditResult(datetime(2026, 11, 22, tzinfo=UTC), True, ())
    live = await bench.request("live")
    assert (live["ok"], live["identity"], live["emulated"]) == (True, "CS001", False)
    first, second = live["evses"]
    assert (first["power_w"], first["energy_wh"], first["soc"]) == (60000, 1234.5, 55)
    assert (first["limit_w"], first["limit_reason"]) == (150000, "rated power of the EVSE")
    assert (second["power_w"], second["status"], second["plugged"]) == (None, "Available", False)
    assert second["display"]["headline"] == "Not ready yet"
    assert live["display"]["situation"] == "station.offline"
    assert live["faults"][0]["latched"]
    assert live["faults"][0]["age_s"] == 12.3
    assert live["journal"]["verified"] == {
        "at": "2026-11-22T00:00:00.000Z",
        "ok": True,
        "complaints": [],
    }
    assert live["link"]["online"] is False
    assert live["loop"]["commits"] == 1


async def test_a_flood_of_live_builds_one_report_in_an_interval(
    bench: SocketBench, autojump_clock: trio.testing.MockClock
) -> None:
    await bench.recorder.commit_now()
    built = bench.handler._live
    first = built.report()
    assert all(built.report() is first for _ in range(1000))
    await trio.sleep(MIN_INTERVAL_S)
    assert built.report() is not first


async def test_live_takes_no_argument(bench: SocketBench) -> None:
    assert "no argument" in (await bench.request("live", evse_id=1))["error"]


async def test_a_release_is_recorded_with_who_did_it_before_it_acts(bench: SocketBench) -> None:
    bench.hardware.faults = [make_fault("contactor", "welded")]
    reply = await bench.request(
        "release", device="contactor", kind="welded", evse_id=1, requested_by="ada"
    )
    assert reply == {"ok": True, "released": ["contactor welded"]}
    assert not bench.recorder.desired_state.value.fault_releases
    await bench.recorder.commit_now()
    [release] = bench.recorder.desired_state.value.fault_releases
    assert release == FaultRelease(release.seq, "contactor", "welded", 1)
    assert bench.recorder._store.read_entry(release.seq).event == FaultReleaseRequested(
        "contactor", "welded", 1, "ada"
    )


async def test_the_next_run_does_not_repeat_a_release(bench: SocketBench) -> None:
    bench.hardware.faults = [make_fault("contactor", "welded")]
    await bench.request("release", device="contactor")
    await bench.recorder.commit_now()
    assert bench.recorder.desired_state.value.fault_releases
    bench.recorder.observe(STATION_STARTED)
    await bench.recorder.commit_now()
    assert bench.recorder.desired_state.value.fault_releases == ()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"device": "contactr"}, "did you mean contactor?"),
        ({"device": "contactor"}, "no latched fault"),
        ({"device": "door", "evse_id": 2, "kind": "open"}, "still present"),
        ({"device": "cable"}, "no latched fault"),
        ({"device": 7}, "is a text"),
        ({}, "is a text"),
        ({"device": "door", "evse_id": "1"}, "is a number"),
        ({"device": "door", "evse_id": True}, "is a number"),
        ({"device": "door", "requested_by": "x" * 101}, "at most 100"),
        ({"device": "door", "why": "x"}, "no argument why"),
    ],
    ids=str,
)
async def test_a_release_that_cannot_help_is_refused_and_not_recorded(
    bench: SocketBench, arguments: dict[str, Any], error: str
) -> None:
    bench.hardware.faults = [
        make_fault("door", "open", evse_id=0, found=True),
        make_fault("cable", "over_temperature", latched=False),
    ]
    await bench.recorder.commit_now()
    head = bench.recorder.head.seq
    reply = await bench.request("release", **arguments)
    assert not reply["ok"]
    assert error in reply["error"]
    assert bench.recorder.head.seq == head
    assert not bench.recorder._queue


async def test_only_emulated_devices_can_be_driven(bench: SocketBench) -> None:
    reply = await bench.request("plug_in", evse_id=1)
    assert reply["error"].endswith(f"only {', '.join(REAL_DEVICE_OPS)} are accepted")


async def test_an_external_limit_acts_with_the_next_commit_with_real_devices_too(
    bench: SocketBench,
) -> None:
    await bench.recorder.commit_now()
    assert await bench.request("external_limit", limit_w=40_000.5, duration_s=900) == {"ok": True}
    await bench.recorder.commit_now()
    [limit] = bench.recorder.state.external_limits.limits
    assert (limit.origin, limit.source, limit.duration_s) == ("control_socket", "EMS", 900)
    assert limit.periods[0].limit_w == Decimal("40000.5")
    assert bench.recorder.desired_state.value.station_power_w == 38_000
    bench.hardware.limiter = "station_limit"
    report = (await bench.request("live"))["evses"][0]
    assert report["limit_source"] == f"EMS, control_socket (entry {limit.seq})"
    await bench.request("external_limit", limit_w=None)
    await bench.recorder.commit_now()
    assert bench.recorder.state.external_limits.limits == ()
    assert bench.recorder.desired_state.value.station_power_w is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "limit_w is missing"),
        ({"limit_w": -1}, "0 to 10000000"),
        ({"limit_w": float("nan")}, "0 to 10000000"),
        ({"limit_w": True}, "0 to 10000000"),
        ({"limit_w": "40000"}, "0 to 10000000"),
        ({"limit_w": 1, "evse_id": 3}, "evse_id is one of 0, 1, 2"),
        ({"limit_w": 1, "evse_id": True}, "evse_id is one of 0, 1, 2"),
        ({"limit_w": 1, "source": "CSO"}, "EMS, SO, Other"),
        ({"limit_w": 1, "source": ["EMS"]}, "EMS, SO, Other"),
        ({"limit_w": 1, "duration_s": 0}, "whole number"),
        ({"limit_w": 1, "duration_s": 1.5}, "whole number"),
        ({"limit_w": 1, "why": "x"}, "no argument why"),
    ],
    ids=str,
)
async def test_an_external_limit_that_makes_no_sense_is_refused(
    bench: SocketBench, arguments: dict[str, Any], error: str
) -> None:
    await bench.recorder.commit_now()
    reply = await bench.request("external_limit", **arguments)
    assert not reply["ok"]
    assert error in reply["error"]
    assert not bench.recorder._queue


# --- Certificates of the station -----------------------------------------------------------------


async def test_a_renewal_needs_the_names_of_the_certificate(bench: SocketBench) -> None:
    await bench.recorder.commit_now()
    reply = await bench.request("renew_certificate")
    assert not reply["ok"]
    assert "ChargingStation.SerialNumber is empty" in reply["error"]
    reply = await bench.request("renew_certificate", use="V2GCertificate")
    assert reply["error"] == "renew_certificate: use is one of ChargingStationCertificate"


async def test_a_renewal_is_ordered_and_shown(bench: SocketBench) -> None:
    certificate = factory_certificate(NOON, days=365)
    for observation in (SERIAL_NUMBER_SET, ROOT_INSTALLED, certificate, CsmsConfigured(URL, 3)):
        bench.recorder.observe(observation)
    await bench.recorder.commit_now()
    live = await bench.request("live")
    shown = [(each["use"], each["next_renewal"], each["renewal"]) for each in live["certificates"]]
    assert shown == [
        ("CSMSRootCertificate", None, ""),
        ("ChargingStationCertificate", "2027-01-30T12:00:00.000Z", ""),
    ]
    assert await bench.request("renew_certificate") == {"ok": True, "online": False}
    await bench.recorder.commit_now()
    [request] = bench.recorder.desired_state.value.key_pair_orders
    assert request.order.trigger == "operator"
    await trio.sleep(MIN_INTERVAL_S)
    live = await bench.request("live")
    assert live["certificates"][1]["renewal"] == "a key pair for a new one is being created"
