"""Rules of block B that no other test names: base reports."""

from __future__ import annotations

from msgspec.structs import replace

from station.core.context import Product
from tests.support.story import (
    ONLINE,
    Station,
    accept_everything,
    called,
    csms_answers,
    given,
    load_product,
    queued_payloads,
    response_payload_in,
)


def product_without(feature: str) -> Product:
    """The product of every story, without one feature."""
    whole = load_product()
    features = {**whole.profile.features, feature: False}
    return replace(whole, profile=replace(whole.profile, features=features))


def test_an_unsupported_base_report_is_refused_and_not_sent_b07_fr_02_b07_fr_05() -> None:
    station = Station(product_without("C-56"))
    station.with_csms(accept_everything, ONLINE)
    requested = called("GetBaseReport", requestId=1, reportBase="SummaryInventory")
    decisions = station.with_csms(accept_everything, requested)
    assert response_payload_in(decisions) == {"status": "NotSupported"}
    assert not queued_payloads(decisions, "NotifyReport")


def test_what_has_no_value_is_reported_all_the_same_b07_fr_11() -> None:
    station = given(ONLINE)
    decisions = station.when(called("GetBaseReport", requestId=1, reportBase="FullInventory"))
    parts = queued_payloads(decisions + station.when(csms_answers()), "NotifyReport")
    reported = [row for part in parts for row in part["reportData"]]
    assert len(reported) == len(station.product.device_model.definitions)
    assert all(row["variableAttribute"] for row in reported)
    [password] = [row for row in reported if row["variable"]["name"] == "BasicAuthPassword"]
    [attribute] = password["variableAttribute"]
    assert not attribute.get("value")
    assert attribute["mutability"] == "WriteOnly"
