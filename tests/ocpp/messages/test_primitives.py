"""Timestamps are parsed and formatted in UTC with milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.ocpp.messages import Timestamp, format_timestamp, parse_timestamp
from station.ocpp.messages.primitives import TIMESTAMP_PATTERN

_RUN = settings(max_examples=300, derandomize=True, deadline=None, database=None)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 22, 17, 25, 8, 123_000, UTC), "2026-11-22T17:25:08.123Z"),
        (datetime(2026, 11, 22, 17, 25, 8, 0, UTC), "2026-11-22T17:25:08.000Z"),
        (datetime(2026, 11, 22, 17, 25, 8, 999_999, UTC), "2026-11-22T17:25:08.999Z"),
        (
            datetime(2026, 1, 1, 0, 30, 0, 0, timezone(timedelta(hours=1))),
            "2025-12-31T23:30:00.000Z",
        ),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_timestamp_is_formatted_in_utc_with_z_and_milliseconds(
    moment: datetime, text: str
) -> None:
    assert format_timestamp(moment) == text


def test_formatting_a_time_without_a_zone_is_a_program_error() -> None:
    with pytest.raises(AssertionError, match="no time zone"):
        format_timestamp(datetime(2026, 11, 22))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2019-04-12T23:20:50.52Z", datetime(2019, 4, 12, 23, 20, 50, 520_000, UTC)),
        ("2019-12-19T16:39:57+01:00", datetime(2019, 12, 19, 15, 39, 57, 0, UTC)),
        ("2019-12-19T16:39:57-00:30", datetime(2019, 12, 19, 17, 9, 57, 0, UTC)),
        ("2026-11-22T17:25:08", datetime(2026, 11, 22, 17, 25, 8, 0, UTC)),
        ("2026-11-22t17:25:08z", datetime(2026, 11, 22, 17, 25, 8, 0, UTC)),
        ("2026-11-22 17:25:08.1", datetime(2026, 11, 22, 17, 25, 8, 100_000, UTC)),
        ("2026-11-22T17:25:08.1239999Z", datetime(2026, 11, 22, 17, 25, 8, 123_000, UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, 0, 0, 0, 0, UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2000-02-29T00:00:00Z", datetime(2000, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:60-01:00", datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)),
    ],
)
def test_a_timestamp_is_parsed_as_utc(text: str, moment: datetime) -> None:
    read = parse_timestamp(text)
    assert read == moment
    assert read.utcoffset() == timedelta()


@pytest.mark.parametrize("text", ["1900-02-29T00:00:00Z", "2026-11-22", "", "yesterday"])
def test_an_invalid_timestamp_is_an_error_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"not an RFC 3339 date-time: {text!r}")):
        parse_timestamp(text)


@_RUN
@given(text=st.from_regex(TIMESTAMP_PATTERN))
def test_every_timestamp_that_matches_the_pattern_can_be_parsed(text: str) -> None:
    written = format_timestamp(parse_timestamp(text))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written)
    assert format_timestamp(parse_timestamp(written)) == written


@_RUN
@given(moment=st.datetimes(timezones=st.timezones()))
def test_parsing_a_formatted_timestamp_returns_it(moment: datetime) -> None:
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        return
    whole = utc.replace(microsecond=utc.microsecond // 1000 * 1000)
    text: Timestamp = format_timestamp(moment)
    assert parse_timestamp(text) == whole


@_RUN
@given(day=st.dates())
def test_every_date_can_be_parsed(day: datetime) -> None:
    assert parse_timestamp(f"{day.isoformat()}T12:00:00Z").date() == day
