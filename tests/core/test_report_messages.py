"""Messages of a report: their sizes."""

from __future__ import annotations

import msgspec
import pytest

from station.core.device_model.model import Component, DeviceModel
from station.core.device_model.reports import report_data
from station.core.report_messages import split_into_messages
from station.profiles import load_profile

MODEL = DeviceModel(load_profile("evs-flash-300"))


def no_measured_value(source: str, component: Component) -> str | None:
    return None


def test_a_full_report_fits_into_messages_of_2048_bytes() -> None:
    entries = [report_data(item, {}, no_measured_value) for item in MODEL.definitions]
    encoded = [msgspec.json.encode(entry) for entry in entries]
    shares = split_into_messages([len(item) for item in encoded], items_max=100, bytes_max=2048)
    assert [index for share in shares for index in share] == list(range(len(entries)))
    last = len(shares) - 1
    for number, share in enumerate(shares):
        payload = {
            "requestId": 2**31 - 1,
            "generatedAt": "2025-08-29T12:00:00.000Z",
            "seqNo": number,
            "tbc": number < last,
            "reportData": [entries[index] for index in share],
        }
        frame = msgspec.json.encode([2, "x" * 36, "NotifyReport", payload])
        assert len(frame) <= 2048


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([], []),
        ([10], [range(1)]),
        ([10, 10, 10], [range(2), range(2, 3)]),  # 3 items, 2 at a time
        ([40, 40, 10], [range(1), range(1, 3)]),  # 10 + 40 + 1 + 40 is one byte too many
        ([40, 39], [range(2)]),
        ([500, 10], [range(1), range(1, 2)]),  # too large, goes alone
        ([10, 500], [range(1), range(1, 2)]),
    ],
)
def test_entries_are_shared_out_by_number_and_bytes(sizes: list[int], shares: list[range]) -> None:
    assert split_into_messages(sizes, items_max=2, bytes_max=90, overhead=10) == shares
