"""Block J: meter values, by the clock and by the transaction."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise

from tests.csms import Payload
from tests.csms.ledger import instant
from tests.octt import states
from tests.octt.cases.e_transactions import is_charging
from tests.octt.tester import EVENT, KPI_S, Tester
from tests.octt.verify import NOT_EMPTY, must, verify

REGISTER = "Energy.Active.Import.Register"
SPREAD_S = 0.5  # between intended and told moment of a sample


def tc_j_01_cs(t: Tester) -> None:
    interval_s = t.settings.clock_aligned_interval_s
    t.configure("AlignedDataCtrlr", "Interval", interval_s)
    t.forget()
    messages = [
        t.expect("step 1", "MeterValues", {}, timeout_s=interval_s + KPI_S) for _ in range(3)
    ]
    while len(_moments(messages)) < 2:
        messages.append(t.expect("step 1", "MeterValues", {}, timeout_s=interval_s + KPI_S))
    _check_aligned(t, "step 1", messages)
    _check_intervals("afterwards", _moments(messages), interval_s)


def tc_j_02_cs(t: Tester) -> None:
    interval_s = t.settings.clock_aligned_interval_s
    t.configure("AlignedDataCtrlr", "SendDuringIdle", value=False)
    states.energy_transfer_started(t)
    t.configure("AlignedDataCtrlr", "Interval", interval_s)
    t.forget()
    t.wait(2 * interval_s + 2)
    messages = t.waiting("MeterValues")
    must("step 1", all(told["evseId"] != t.evse for told in messages), "idle EVSEs and the main")
    _check_aligned(t, "step 1", messages)
    events = t.waiting(EVENT, {"triggerReason": "MeterValueClock"})
    must("step 3", len(events) >= 2, f"two TransactionEvents must come, came {len(events)}")
    _check_aligned(t, "step 3", events)
    for told in (events, messages):
        _check_intervals("afterwards", _moments(told), interval_s)


def tc_j_03_cs(t: Tester) -> None:
    interval_s = t.settings.sampled_interval_s
    t.configure("AlignedDataCtrlr", "TxEndedInterval", interval_s)
    t.configure("SampledDataCtrlr", "TxEndedMeasurands", "")
    t.configure("AlignedDataCtrlr", "SendDuringIdle", value=False)
    states.energy_transfer_started(t)
    t.wait(2 * interval_s + 1)
    values = _ended(t)["meterValue"]
    wanted = _configured(t, "AlignedDataCtrlr", "TxEndedMeasurands")
    for value in values:
        _check_context("afterwards", value, "Sample.Clock")
        _check_measurands("afterwards", value, wanted)
    moments = sorted({instant(value["timestamp"]) for value in values})
    must("afterwards", len(moments) >= 2, f"two samples at the interval must be there: {moments}")
    _check_intervals("afterwards", moments, interval_s)


def tc_j_06_cs(t: Tester) -> None:
    interval_s = t.settings.clock_aligned_interval_s
    t.configure("SampledDataCtrlr", "TxUpdatedInterval", 0)
    t.configure("AlignedDataCtrlr", "SendDuringIdle", value=True)
    t.configure("AlignedDataCtrlr", "Interval", interval_s)
    t.forget()
    before = [t.expect("step 1", "MeterValues", {}, timeout_s=interval_s + KPI_S)]
    states.energy_transfer_started(t)
    charging_from = t.csms.mark()
    t.wait(interval_s + 5)
    during = t.csms.calls("MeterValues", charging_from)
    sampled = [
        event for event in t.csms.calls(EVENT, charging_from) if "meterValue" in event.payload
    ]
    must("step 4", not during, f"no MeterValues may come, came {len(during)}")
    must("step 4", not sampled, f"no event with meter values may come, came {len(sampled)}")
    states.parking_bay_unoccupied(t)
    t.forget()
    after = [t.expect("step 7", "MeterValues", {}, timeout_s=interval_s + KPI_S)]
    _check_aligned(t, "steps 1 and 7", before + after)


def tc_j_07_cs(t: Tester) -> None:
    states.authorized(t)
    states.ev_connected_pre_session(t)
    states.energy_transfer_started(t)
    [started] = [
        frame.payload
        for frame in t.csms.calls(EVENT, t.since)
        if frame.payload["eventType"] == "Started"
    ]
    verify("afterwards", started, {"meterValue": NOT_EMPTY})
    for value in started["meterValue"]:
        _check_context("afterwards", value, "Transaction.Begin")
        _check_measurands(
            "afterwards", value, _configured(t, "SampledDataCtrlr", "TxStartedMeasurands")
        )


def tc_j_08_cs(t: Tester) -> None:
    """The values come with the first event that tells the EVSE, or when charging starts.

    The document knows the first way only; E03.FR.11 and E04.FR.11 demand the second, and where
    the two differ the specification leads (Part 6 §1.2).
    """
    t.use_points(start="Authorized")
    states.authorized(t, anywhere=True)
    states.energy_transfer_started(t)
    events = [frame.payload for frame in t.csms.calls(EVENT, t.since)]
    telling = next(event for event in events if "evse" in event)
    charging = next(event for event in events if is_charging(event))
    begin = telling if "meterValue" in telling else charging
    verify("afterwards", begin, {"meterValue": NOT_EMPTY})
    for value in begin["meterValue"]:
        _check_context("afterwards", value, "Transaction.Begin")
        _check_measurands(
            "afterwards", value, _configured(t, "SampledDataCtrlr", "TxStartedMeasurands")
        )


def tc_j_09_cs(t: Tester) -> None:
    interval_s = t.settings.sampled_interval_s
    t.configure("SampledDataCtrlr", "TxUpdatedInterval", interval_s)
    states.energy_transfer_started(t)
    t.wait(3 * interval_s + 1)
    wanted = _configured(t, "SampledDataCtrlr", "TxUpdatedMeasurands")
    events = t.waiting(EVENT, {"triggerReason": "MeterValuePeriodic"})
    must("step 1", len(events) >= 2, f"two TransactionEvents must come, came {len(events)}")
    for event in events:
        for value in event["meterValue"]:
            _check_context("step 1", value, "Sample.Periodic")
            _check_measurands("step 1", value, wanted)
    _check_intervals("afterwards", _moments(events), interval_s)


def tc_j_10_cs(t: Tester) -> None:
    interval_s = t.settings.sampled_interval_s
    t.configure("SampledDataCtrlr", "TxEndedInterval", interval_s)
    t.configure("AlignedDataCtrlr", "TxEndedMeasurands", "")
    states.energy_transfer_started(t)
    t.wait(2 * interval_s + 1)
    values = _ended(t)["meterValue"]
    wanted = _configured(t, "SampledDataCtrlr", "TxEndedMeasurands")
    contexts = [value["sampledValue"][0].get("context", "Sample.Periodic") for value in values]
    must("afterwards", contexts.count("Transaction.End") == 1, "one sample is Transaction.End")
    others = set(contexts) - {"Transaction.End", "Transaction.Begin", "Sample.Periodic"}
    must("afterwards", not others, f"others are Sample.Periodic, not {others}")
    for value in values:
        _check_measurands("afterwards", value, wanted)
    periodic = [
        instant(value["timestamp"])
        for value, context in zip(values, contexts, strict=True)
        if context == "Sample.Periodic"
    ]
    must("afterwards", len(periodic) >= 2, "two samples at the interval must be there")
    _check_intervals("afterwards", sorted(set(periodic)), interval_s)


# What these cases share.


def _ended(t: Tester) -> Payload:
    """End the session; gives its Ended event, which has meter values."""
    states.parking_bay_unoccupied(t)
    [ended] = [
        dict(frame.payload)
        for frame in t.csms.calls(EVENT, t.since)
        if frame.payload["eventType"] == "Ended"
    ]
    verify("afterwards", ended, {"meterValue": NOT_EMPTY})
    return ended


def _configured(t: Tester, component: str, variable: str) -> list[str]:
    return [each for each in t.value(component, variable).split(",") if each]


def _check_aligned(t: Tester, step: str, messages: Iterable[Payload]) -> None:
    wanted = _configured(t, "AlignedDataCtrlr", "Measurands")
    for message in messages:
        for value in message["meterValue"]:
            _check_context(step, value, "Sample.Clock")
            if message.get("evseId") != 0:  # the main meter, which these products do not have
                _check_measurands(step, value, wanted)


def _check_context(step: str, value: Payload, context: str) -> None:
    told = value["sampledValue"][0].get("context", "Sample.Periodic")
    must(step, told == context, f"context must be {context}, is {told}")


def _check_measurands(step: str, value: Payload, wanted: list[str]) -> None:
    samples = value["sampledValue"]
    told = {sample.get("measurand", REGISTER) for sample in samples}
    must(step, set(wanted) <= told, f"{wanted} must be sampled, are {sorted(told)}")
    strange = [
        sample["measurand"]
        for sample in samples
        if sample.get("location") == "EV" and sample.get("measurand") != "SoC"
    ]
    must(step, not strange, f"only SoC is measured in the EV, not {strange}")  # errata 6.2.58


def _moments(messages: Iterable[Payload]) -> list[datetime]:
    """The different timestamps of the samples, in order."""
    return sorted(
        {instant(value["timestamp"]) for message in messages for value in message["meterValue"]}
    )


def _check_intervals(step: str, moments: list[datetime], interval_s: int) -> None:
    for earlier, later in pairwise(moments):
        apart_s = (later - earlier).total_seconds()
        must(
            step,
            abs(apart_s - interval_s) <= SPREAD_S,
            f"samples must be {interval_s} s apart, are {apart_s:.3f} s",
        )
