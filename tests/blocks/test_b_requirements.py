"""Rules of block B that no other test names: base reports."""

from __future__ import annotations

from msgspec.structs import replace

from station.case import Product
from tests.story import ONLINE, Station, accepting, called, given, product, queued, reply_in, serves


def without(feature: str) -> Product:
    """The product of every story, without one feature."""
    whole = product()
    features = {**whole.profile.features, feature: False}
    return replace(whole, profile=replace(whole.profile, features=features))


def test_a_base_report_it_does_not_make_is_refused_and_not_told_b07_fr_02_b07_fr_05() -> None:
    station = Station(without("C-56"))
    station.with_csms(accepting, ONLINE)
    asked = called("GetBaseReport", requestId=1, reportBase="SummaryInventory")
    said = station.with_csms(accepting, asked)
    assert reply_in(said) == {"status": "NotSupported"}
    assert not queued(said, "NotifyReport")


def test_what_has_no_value_is_reported_all_the_same_b07_fr_11() -> None:
    station = given(ONLINE)
    said = station.when(called("GetBaseReport", requestId=1, reportBase="FullInventory"))
    parts = queued(said + station.when(serves()), "NotifyReport")
    reported = [one for part in parts for one in part["reportData"]]
    assert len(reported) == len(station.product.model.definitions)
    assert all(one["variableAttribute"] for one in reported)
    [password] = [one for one in reported if one["variable"]["name"] == "BasicAuthPassword"]
    [attribute] = password["variableAttribute"]
    assert not attribute.get("value")
    assert attribute["mutability"] == "WriteOnly"
