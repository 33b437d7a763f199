"""Texts in HTML, and when `html` is imported."""

from __future__ import annotations

import json
import sys

import pytest

from journal.projections.driver_information import DriverInformation, DriverInformationReceived
from station.core import html_text

FRAME = '[2,"1","CostUpdated",{"totalCost":1,"transactionId":"a"}]'
CONTENT = {"content": "<b>5</b>", "format": "HTML"}
PERSONAL = json.dumps([3, "1", {"idTokenInfo": {"status": "Accepted", "personalMessage": CONTENT}}])


@pytest.mark.parametrize(
    ("frame", "is_due"),
    [
        (PERSONAL, True),
        (PERSONAL.replace("HTML", "\\u0048TML"), True),
        (FRAME, False),
    ],
)
def test_html_is_imported_for_a_frame_that_may_hold_it(
    monkeypatch: pytest.MonkeyPatch, frame: str, is_due: bool
) -> None:
    monkeypatch.delitem(sys.modules, "html", raising=False)
    assert html_text.is_import_due(frame) == is_due
    html_text.import_html()
    assert not html_text.is_import_due(frame)


@pytest.mark.parametrize("message_format", ["HTML", "UTF8"])
def test_html_is_imported_at_a_start_with_a_text_in_html(
    monkeypatch: pytest.MonkeyPatch, message_format: str
) -> None:
    monkeypatch.delitem(sys.modules, "html", raising=False)
    received = DriverInformationReceived(
        transaction_id="a", message="<b>5</b>", message_format=message_format
    )
    html_text.import_html_for(DriverInformation((received,)))
    assert ("html" in sys.modules) == (message_format == "HTML")


def test_names_and_markup_are_replaced() -> None:
    text = html_text.convert_to_plain_text("<b>0.39&nbsp;EUR</b>\n<br>per&#32;kWh &lt;")
    assert text == "0.39 EUR per kWh <"
