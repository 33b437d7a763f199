"""Cost, currency and tariff in exports and reports: every digit as the CSMS sent it. Block I."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.commands.fixtures_journals import StationCommand, write_journal
from tests.support.story import (
    ALICE,
    BOB,
    ONLINE,
    Json,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    charging_started,
    charging_stopped,
    given,
    in_transaction,
    presented,
    time_passed,
    variable_preset,
)

TARIFF = {"format": "UTF8", "content": "0.39 <CHF>/kWh"}


def csms_with_prices(action: str, payload: Json) -> Json | None:
    if action == "Authorize":
        return {"idTokenInfo": {"status": "Accepted", "personalMessage": TARIFF}}
    if action == "TransactionEvent":
        cost: dict[str, Any] = {"Updated": Decimal("3.1"), "Ended": Decimal("8.200")}
        total = cost.get(payload["eventType"])
        return {} if total is None else {"totalCost": total}
    return accept_everything(action, payload)


def story_with_prices() -> Station:
    """EVSE 1: a session with tariff and total. EVSE 2: one without a price that is open."""
    station = given(variable_preset("TariffCostCtrlr.Currency", "CHF"), ONLINE)
    station.with_csms(csms_with_prices, presented(ALICE))
    station.with_csms(csms_with_prices, cable_plugged(1))
    station.with_csms(csms_with_prices, charging_started(1))
    station.with_csms(csms_with_prices, time_passed(seconds=61))
    station.with_csms(csms_with_prices, presented(ALICE), charging_stopped(1))
    station.with_csms(accept_everything, cable_unplugged(1), in_transaction(2, BOB))
    return station


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return write_journal(tmp_path / "journal.db", story_with_prices().entries)


def test_a_transaction_has_its_cost_with_every_digit(
    journal: Path, run_station: StationCommand
) -> None:
    out = journal.with_name("transactions")
    assert run_station("export", journal, "transactions", "--out", out).exit_code == 0
    text = (out / "transactions.csv").read_text()
    priced, unpriced = csv.DictReader(io.StringIO(text))
    columns = ("total_cost", "total_cost_is_final", "currency", "tariff")
    assert [priced[column] for column in columns] == ["8.200", "1", "CHF", "0.39 <CHF>/kWh"]
    assert [unpriced[column] for column in columns] == [""] * 4


def test_the_report_has_the_cost(journal: Path, run_station: StationCommand) -> None:
    page = journal.with_name("report.html")
    assert run_station("report", journal, "--out", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert '<span title="0.39 &lt;CHF&gt;/kWh">8.200 CHF</span>' in text
