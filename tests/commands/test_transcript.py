"""The transcript: a sentence for every kind of event, with what matters in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args, get_origin

import msgspec
import pytest

from journal.codec import format_time
from journal.events import Entry, Event, IdToken
from journal.observations import (
    DeviceFaulted,
    FrameMalformed,
    FrameReceived,
    IdTokenPresented,
    LinkClosed,
    MeterRead,
    StationStarted,
)
from journal.projections.outbox import CallQueued, CallsDropped, TransactionEventSummary
from journal.projections.transactions import Sample
from station.runtime.loop.startup import event_registry
from station.transcript.lines import SENTENCES, describe_event, format_entry, reveal_id_tokens
from station.transcript.phrases import PAYLOAD_CHARS_MAX
from tests.support.story import ONLINE, Station, given, station_restarted

AT = datetime(2026, 11, 22, 17, 25, 8, 123_000, tzinfo=UTC)
ALICE = IdToken("#0123456789abcdef", "ISO14443")
KINDS = event_registry().kinds.values()
OURS = [kind for kind in KINDS if kind.__module__.split(".")[0] in ("journal", "station")]

_SAMPLES: dict[Any, Any] = {
    str: "text",
    int: 7,
    bool: True,
    Decimal: Decimal("2935.600"),
    IdToken: ALICE,
    msgspec.Raw: msgspec.Raw(b'{"a": 1}'),
}


def _sample_value(kind: Any) -> Any:
    """A value of a field's type: the first of a choice, None only if nothing else is possible."""
    if kind in _SAMPLES:
        return _SAMPLES[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _filled_struct(kind)
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        types = [argument for argument in arguments if argument is not Ellipsis]
        return tuple(_sample_value(argument) for argument in types)
    return arguments[0] if isinstance(arguments[0], str) else _sample_value(arguments[0])


def _filled_struct(kind: type[msgspec.Struct]) -> Any:
    fields = msgspec.structs.fields(kind)
    return kind(**{field.name: _sample_value(field.type) for field in fields})


def _minimal_struct(kind: type[msgspec.Struct]) -> Any:
    """Only the required fields."""
    fields = msgspec.structs.fields(kind)
    return kind(**{field.name: _sample_value(field.type) for field in fields if field.required})


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_kind_of_event_has_a_sentence(kind: type[Event]) -> None:
    assert kind.__name__ in SENTENCES, f"station/transcript has no sentence for {kind.__name__}"
    for event in (_filled_struct(kind), _minimal_struct(kind)):
        source, sentence = describe_event(event)
        assert source
        assert sentence.strip() == sentence
        assert "None" not in sentence
        assert sentence.isprintable()


def test_no_sentence_is_for_an_unknown_kind() -> None:
    assert set(SENTENCES) <= {kind.__name__ for kind in KINDS}


def test_a_kind_without_a_sentence_shows_its_fields() -> None:
    class MoonRose(Event, frozen=True):
        phase: str

    assert describe_event(MoonRose("full" * 100))[1].startswith("MoonRose: phase full")
    assert len(describe_event(MoonRose("full" * 100))[1]) == PAYLOAD_CHARS_MAX


def test_a_line_has_time_number_source_and_sentence() -> None:
    presented = Entry(12, AT, 1, IdTokenPresented(ALICE, 1))
    assert format_entry(presented) == (
        "17:25:08.123      12 > EV driver presents ISO14443/#0123456789abcdef at EVSE 1"
    )


def test_a_decision_has_no_mark() -> None:
    decided = Entry(13, AT, 1, CallsDropped((3, 4), "link lost"), cause=12)
    assert format_entry(decided) == "17:25:08.123      13   station   drops calls 3, 4: link lost"


def test_a_reading_keeps_the_digits_of_the_meter() -> None:
    read = MeterRead(1, Decimal("2935.600"), power_w=Decimal("96400"), soc_percent=34)
    assert describe_event(read) == ("device", "EVSE 1: meter at 2935.600 Wh, 96400 W, SoC 34 %")


def test_a_transaction_event_is_described_by_its_summary() -> None:
    mark = TransactionEventSummary(
        "5f0c7c6e-3d0b", 1, 3, "Updated", "ChargingStateChanged", "Charging"
    )
    queued = CallQueued(
        lane="transaction",
        action="TransactionEvent",
        payload=msgspec.Raw(b"{}"),
        transaction_event=mark,
    )
    assert describe_event(queued) == (
        "station",
        "queues TransactionEvent Updated, seqNo 3 (ChargingStateChanged, Charging) of 5f0c7c6e…",
    )


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        ([2, "a1", "Reset", {"type": "OnIdle"}], "requests Reset a1: type OnIdle"),
        (
            [3, "a1", {"idTokenInfo": {"status": "Accepted"}, "list": [1.50, True]}],
            "answers a1: idTokenInfo (status Accepted), list [1.5, true]",
        ),
        ([3, "a1", {}], "answers a1 with an empty payload"),
        ([4, "a1", "InternalError", "", {}], "answers a1 with CALLERROR InternalError"),
        ([9, "a1"], "sends an invalid message: MessageTypeId 9 is none of 2, 3, 4"),
    ],
)
def test_a_frame_is_described_by_its_message_type(frame: list[Any], sentence: str) -> None:
    event = FrameReceived(msgspec.Raw(json.dumps(frame).encode()))
    assert describe_event(event) == ("CSMS", sentence)


def test_a_long_payload_is_cut() -> None:
    frame = json.dumps([2, "a1", "DataTransfer", {"data": "x" * 10_000}])
    _, sentence = describe_event(FrameReceived(msgspec.Raw(frame.encode())))
    assert sentence.endswith("…")
    assert len(sentence) < PAYLOAD_CHARS_MAX + 40


def test_received_text_cannot_control_a_terminal() -> None:
    evil = "\x1b[2J\x9b1m\u202eabc\n> 1"
    for event in (
        LinkClosed(evil),
        FrameMalformed(9, "00", "no JSON", evil),
        DeviceFaulted(1, "meter", "silent", True, tech_info=evil),
        FrameReceived(msgspec.Raw(json.dumps([4, "a1", evil, evil, {}]).encode())),
    ):
        assert format_entry(Entry(1, AT, 1, event)).isprintable()
    text = reveal_id_tokens("#0123456789abcdef", lambda _: evil)
    assert text.isprintable()


def test_a_payload_nested_too_deeply_still_gets_a_line() -> None:
    frame = b'[3,"a1",' + b"[" * 5_000 + b"]" * 5_000 + b"]"
    assert describe_event(FrameReceived(msgspec.Raw(frame)))[1].startswith(("answers", "sends"))


def test_values_replace_the_references_that_still_have_one() -> None:
    text = "ISO14443/#0123456789abcdef and #fedcba9876543210"
    kept = {"#0123456789abcdef": "04A224B2"}
    assert reveal_id_tokens(text, kept.get) == "ISO14443/04A224B2 and #fedcba9876543210"


def test_a_whole_session_has_a_transcript(story: Station) -> None:
    lines = [format_entry(entry) for entry in story.entries]
    assert any("starts transaction" in line for line in lines)
    assert any("energy transfer started" in line for line in lines)


def test_a_start_shows_the_time_of_the_last_entry_in_the_common_format() -> None:
    station = given(ONLINE, station_restarted(gap_s=7))
    [start] = [entry for entry in station.entries[2:] if isinstance(entry.event, StationStarted)]
    before = station.entries[start.seq - 2]
    assert f"starts, last entry at {format_time(before.at)}: " in format_entry(start)


def test_a_stored_sample_shows_its_reading() -> None:
    sample = Sample("Sample.Periodic", 0, MeterRead(1, Decimal("5.0")))
    kept = next(kind for kind in KINDS if kind.__name__ == "TransactionSampleKept")
    _, sentence = describe_event(kept(transaction_id="5f0c7c6e-3d0b", sample=sample))
    assert (
        sentence == "stores a sample for the Ended message of 5f0c7c6e…: 5.0 Wh (Sample.Periodic)"
    )
