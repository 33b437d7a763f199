"""Block J: clock-aligned and sampled meter values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise

from tests.conformance.octt import states
from tests.conformance.octt.cases.e_transactions import is_charging
from tests.conformance.octt.tester import RESPONSE_TIMEOUT_S, TRANSACTION_EVENT, Tester
from tests.conformance.octt.verify import NOT_EMPTY, check_fields, require
from tests.support.csms import Payload
from tests.support.csms.ledger import parse_instant

REGISTER = "Energy.Active.Import.Register"
SAMPLE_TOLERANCE_S = 0.5  # between due time and timestamp of a sample


def tc_j_01_cs(tester: Tester) -> None:
    interval_s = tester.settings.clock_aligned_interval_s
    tester.configure_variable("AlignedDataCtrlr", "Interval", interval_s)
    tester.discard_received()
    messages = [
        tester.expect_call("step 1", "MeterValues", {}, timeout_s=interval_s + RESPONSE_TIMEOUT_S)
        for _ in range(3)
    ]
    while len(_sample_times(messages)) < 2:
        messages.append(
            tester.expect_call(
                "step 1", "MeterValues", {}, timeout_s=interval_s + RESPONSE_TIMEOUT_S
            )
        )
    _check_aligned(tester, "step 1", messages)
    _check_intervals("afterwards", _sample_times(messages), interval_s)


def tc_j_02_cs(tester: Tester) -> None:
    interval_s = tester.settings.clock_aligned_interval_s
    tester.configure_variable("AlignedDataCtrlr", "SendDuringIdle", value=False)
    states.start_energy_transfer(tester)
    tester.configure_variable("AlignedDataCtrlr", "Interval", interval_s)
    tester.discard_received()
    tester.wait(2 * interval_s + 2)
    messages = tester.pending_calls("MeterValues")
    require(
        "step 1",
        all(message["evseId"] != tester.evse_id for message in messages),
        "idle EVSEs and the main",
    )
    _check_aligned(tester, "step 1", messages)
    events = tester.pending_calls(TRANSACTION_EVENT, {"triggerReason": "MeterValueClock"})
    require("step 3", len(events) >= 2, f"there must be two TransactionEvents, got {len(events)}")
    _check_aligned(tester, "step 3", events)
    for series in (events, messages):
        _check_intervals("afterwards", _sample_times(series), interval_s)


def tc_j_03_cs(tester: Tester) -> None:
    interval_s = tester.settings.kept_interval_s
    tester.configure_variable("AlignedDataCtrlr", "TxEndedInterval", interval_s)
    tester.configure_variable("SampledDataCtrlr", "TxEndedMeasurands", "")
    tester.configure_variable("AlignedDataCtrlr", "SendDuringIdle", value=False)
    states.start_energy_transfer(tester)
    tester.wait(2 * interval_s + 1)
    values = _end_session(tester)["meterValue"]
    measurands = _configured_measurands(tester, "AlignedDataCtrlr", "TxEndedMeasurands")
    for value in values:
        _check_context("afterwards", value, "Sample.Clock")
        _check_measurands("afterwards", value, measurands)
    moments = sorted({parse_instant(value["timestamp"]) for value in values})
    require(
        "afterwards", len(moments) >= 2, f"there must be two samples at the interval: {moments}"
    )
    _check_intervals("afterwards", moments, interval_s)


def tc_j_06_cs(tester: Tester) -> None:
    interval_s = tester.settings.clock_aligned_interval_s
    tester.configure_variable("SampledDataCtrlr", "TxUpdatedInterval", 0)
    tester.configure_variable("AlignedDataCtrlr", "SendDuringIdle", value=True)
    tester.configure_variable("AlignedDataCtrlr", "Interval", interval_s)
    tester.discard_received()
    before = [
        tester.expect_call("step 1", "MeterValues", {}, timeout_s=interval_s + RESPONSE_TIMEOUT_S)
    ]
    states.start_energy_transfer(tester)
    charging_from = tester.csms.next_frame_number()
    tester.wait(interval_s + 5)
    during = tester.csms.calls_for("MeterValues", charging_from)
    sampled = [
        event
        for event in tester.csms.calls_for(TRANSACTION_EVENT, charging_from)
        if "meterValue" in event.payload
    ]
    require("step 4", not during, f"no MeterValues may be sent, got {len(during)}")
    require("step 4", not sampled, f"no event with meter values may be sent, got {len(sampled)}")
    states.parking_bay_unoccupied(tester)
    tester.discard_received()
    after = [
        tester.expect_call("step 7", "MeterValues", {}, timeout_s=interval_s + RESPONSE_TIMEOUT_S)
    ]
    _check_aligned(tester, "steps 1 and 7", before + after)


def tc_j_07_cs(tester: Tester) -> None:
    states.authorize_driver(tester)
    states.ev_connected_pre_session(tester)
    states.start_energy_transfer(tester)
    [started] = [
        frame.payload
        for frame in tester.csms.calls_for(TRANSACTION_EVENT, tester.first_relevant_frame)
        if frame.payload["eventType"] == "Started"
    ]
    check_fields("afterwards", started, {"meterValue": NOT_EMPTY})
    for value in started["meterValue"]:
        _check_context("afterwards", value, "Transaction.Begin")
        _check_measurands(
            "afterwards",
            value,
            _configured_measurands(tester, "SampledDataCtrlr", "TxStartedMeasurands"),
        )


def tc_j_08_cs(tester: Tester) -> None:
    """The values are in the first event with the EVSE, or in the one when charging starts.

    The document has the first way only; E03.FR.11 and E04.FR.11 require the second, and where the
    two differ the specification takes precedence (Part 6 §1.2).
    """
    tester.use_points(start="Authorized")
    states.authorize_driver(tester, anywhere=True)
    states.start_energy_transfer(tester)
    events = [
        frame.payload
        for frame in tester.csms.calls_for(TRANSACTION_EVENT, tester.first_relevant_frame)
    ]
    first_with_evse = next(event for event in events if "evse" in event)
    charging = next(event for event in events if is_charging(event))
    begin = first_with_evse if "meterValue" in first_with_evse else charging
    check_fields("afterwards", begin, {"meterValue": NOT_EMPTY})
    for value in begin["meterValue"]:
        _check_context("afterwards", value, "Transaction.Begin")
        _check_measurands(
            "afterwards",
            value,
            _configured_measurands(tester, "SampledDataCtrlr", "TxStartedMeasurands"),
        )


def tc_j_09_cs(tester: Tester) -> None:
    interval_s = tester.settings.sampled_interval_s
    tester.configure_variable("SampledDataCtrlr", "TxUpdatedInterval", interval_s)
    states.start_energy_transfer(tester)
    tester.wait(3 * interval_s + 1)
    measurands = _configured_measurands(tester, "SampledDataCtrlr", "TxUpdatedMeasurands")
    events = tester.pending_calls(TRANSACTION_EVENT, {"triggerReason": "MeterValuePeriodic"})
    require("step 1", len(events) >= 2, f"there must be two TransactionEvents, got {len(events)}")
    for event in events:
        for value in event["meterValue"]:
            _check_context("step 1", value, "Sample.Periodic")
            _check_measurands("step 1", value, measurands)
    _check_intervals("afterwards", _sample_times(events), interval_s)


def tc_j_10_cs(tester: Tester) -> None:
    interval_s = tester.settings.kept_interval_s
    tester.configure_variable("SampledDataCtrlr", "TxEndedInterval", interval_s)
    tester.configure_variable("AlignedDataCtrlr", "TxEndedMeasurands", "")
    states.start_energy_transfer(tester)
    tester.wait(2 * interval_s + 1)
    values = _end_session(tester)["meterValue"]
    measurands = _configured_measurands(tester, "SampledDataCtrlr", "TxEndedMeasurands")
    contexts = [value["sampledValue"][0].get("context", "Sample.Periodic") for value in values]
    require("afterwards", contexts.count("Transaction.End") == 1, "one sample is Transaction.End")
    unexpected = set(contexts) - {"Transaction.End", "Transaction.Begin", "Sample.Periodic"}
    require("afterwards", not unexpected, f"the others must be Sample.Periodic, not {unexpected}")
    for value in values:
        _check_measurands("afterwards", value, measurands)
    periodic = [
        parse_instant(value["timestamp"])
        for value, context in zip(values, contexts, strict=True)
        if context == "Sample.Periodic"
    ]
    require("afterwards", len(periodic) >= 2, "there must be two samples at the interval")
    _check_intervals("afterwards", sorted(set(periodic)), interval_s)


# Shared by these cases.


def _end_session(tester: Tester) -> Payload:
    """End the session; returns its Ended event, which has meter values."""
    states.parking_bay_unoccupied(tester)
    [ended] = [
        dict(frame.payload)
        for frame in tester.csms.calls_for(TRANSACTION_EVENT, tester.first_relevant_frame)
        if frame.payload["eventType"] == "Ended"
    ]
    check_fields("afterwards", ended, {"meterValue": NOT_EMPTY})
    return ended


def _configured_measurands(tester: Tester, component: str, variable: str) -> list[str]:
    return [
        measurand for measurand in tester.read_value(component, variable).split(",") if measurand
    ]


def _check_aligned(tester: Tester, step: str, messages: Iterable[Payload]) -> None:
    measurands = _configured_measurands(tester, "AlignedDataCtrlr", "Measurands")
    for message in messages:
        for value in message["meterValue"]:
            _check_context(step, value, "Sample.Clock")
            if message.get("evseId") != 0:  # the main meter, which these products do not have
                _check_measurands(step, value, measurands)


def _check_context(step: str, value: Payload, context: str) -> None:
    actual = value["sampledValue"][0].get("context", "Sample.Periodic")
    require(step, actual == context, f"context must be {context}, is {actual}")


def _check_measurands(step: str, value: Payload, expected: list[str]) -> None:
    samples = value["sampledValue"]
    sampled = {sample.get("measurand", REGISTER) for sample in samples}
    require(step, set(expected) <= sampled, f"{expected} must be sampled, got {sorted(sampled)}")
    unexpected = [
        sample["measurand"]
        for sample in samples
        if sample.get("location") == "EV" and sample.get("measurand") != "SoC"
    ]
    require(
        step, not unexpected, f"only SoC is measured in the EV, not {unexpected}"
    )  # errata 6.2.58


def _sample_times(messages: Iterable[Payload]) -> list[datetime]:
    """The different timestamps of the samples, in order."""
    return sorted(
        {
            parse_instant(value["timestamp"])
            for message in messages
            for value in message["meterValue"]
        }
    )


def _check_intervals(step: str, moments: list[datetime], interval_s: int) -> None:
    for earlier, later in pairwise(moments):
        distance_s = (later - earlier).total_seconds()
        require(
            step,
            abs(distance_s - interval_s) <= SAMPLE_TOLERANCE_S,
            f"samples must be {interval_s} s apart, are {distance_s:.3f} s",
        )
