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


def test_a_base_report_it_does_not_make_is_refused_and_not_told_b07_fr_02_b07_fr_05() -> None:
    station = Station(product_without("C-56"))
    station.with_csms(accept_everything, ONLINE)
    asked = called("GetBaseReport", requestId=1, reportBase="SummaryInventory")
    said = station.with_csms(accept_everything, asked)
    assert response_payload_in(said) == {"status": "NotSupported"}
    assert not queued_payloads(said, "NotifyReport")


def test_what_has_no_value_is_reported_all_the_same_b07_fr_11() -> None:
    station = given(ONLINE)
    said = station.when(called("GetBaseReport", requestId=1, reportBase="FullInventory"))
    parts = queued_payloads(said + station.when(csms_answers()), "NotifyReport")
    reported = [one for part in parts for one in part["reportData"]]
    assert len(reported) == len(station.product.device_model.definitions)
    assert all(one["variableAttribute"] for one in reported)
    [password] = [one for one in reported if one["variable"]["name"] == "BasicAuthPassword"]
    [attribute] = password["variableAttribute"]
    assert not attribute.get("value")
    assert attribute["mutability"] == "WriteOnly"
