"""Bodies of older versions are raised to the newest, one step at a time."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from journal.projections.outbox import CallQueued, ConnectorStatusSummary
from journal.upcasters import STEPS, Body, upcast
from tests.durability.golden import station_kinds, stored_bodies
from tests.journal import kinds


def fields_of(body: object) -> Body:
    """The fields of a body, not decoded."""
    return msgspec.json.decode(msgspec.json.encode(body), type=Body)


def test_a_body_takes_every_step_from_its_version_on() -> None:
    def raised(version: int, body: object) -> object:
        raised_body = upcast(kinds.UPCASTERS, "LidOpened", version, 3, fields_of(body))
        return msgspec.json.decode(msgspec.json.encode(raised_body))

    assert raised(1, {"open_s": 2}) == {"open_ms": 2000, "opened_by": None}
    assert raised(2, {"open_ms": 2}) == {"open_ms": 2, "opened_by": None}
    assert raised(3, {"open_ms": 2, "opened_by": "me"}) == {"open_ms": 2, "opened_by": "me"}


def test_a_step_does_not_change_the_body_it_receives() -> None:
    body = fields_of({"open_ms": 2})
    upcast(kinds.UPCASTERS, "LidOpened", 2, 3, body)
    assert body.keys() == {"open_ms"}


def test_the_payload_of_a_call_keeps_every_byte() -> None:
    """What was queued by an older release goes out as that release would have sent it."""
    payload = '{"data": 1.0e5,  "é":"\\u00e9"}'
    status = '{"evse_id":1,"connector_id":1,"status":"Available"}'
    body = (
        f'{{"lane":"general","action":"DataTransfer","payload":{payload},'
        f'"transaction_event":null,"connector_status":{status},"keep_when_offline":false,'
        '"requested_by_csms":false}'
    )
    call = station_kinds().decode("CallQueued", 1, body)
    assert isinstance(call, CallQueued)
    assert bytes(call.payload).decode() == payload
    assert call.connector_status == ConnectorStatusSummary(1, 1, "Available", because="")


def gets_reason(kind: str, version: int) -> bool:
    """Whether a kind has a reason today, and its bodies of this version have none."""
    has_reason = kind == "CallQueued" or "because" in station_kinds().kinds[kind].__struct_fields__
    return has_reason and '"because"' not in stored_bodies()[kind, version]


@pytest.mark.parametrize(("kind", "version"), [step for step in STEPS if gets_reason(*step)])
def test_an_older_body_has_no_reason(kind: str, version: int) -> None:
    event: Any = station_kinds().decode(kind, version, stored_bodies()[kind, version])
    assert getattr(event, "connector_status", event).because == ""


def test_an_older_grant_keeps_its_origin() -> None:
    kinds_of_today, body = station_kinds(), stored_bodies()["AuthorizationGranted", 1]
    event: Any = kinds_of_today.decode("AuthorizationGranted", 1, body)
    assert event.authorized_by == "CSMS"
    assert kinds_of_today.encode(event) == ("AuthorizationGranted", 2, body)


def test_an_older_cost_has_no_currency() -> None:
    event: Any = station_kinds().decode("CostReceived", 1, stored_bodies()["CostReceived", 1])
    assert event.currency == ""


def test_an_older_link_has_no_certificate() -> None:
    event: Any = station_kinds().decode("LinkOpened", 1, stored_bodies()["LinkOpened", 1])
    assert event.certificate_sha256 == ""


def test_an_older_link_has_no_root() -> None:
    event: Any = station_kinds().decode("LinkOpened", 2, stored_bodies()["LinkOpened", 2])
    assert event.root_sha256 == ""


@pytest.mark.parametrize("steps", [STEPS, kinds.UPCASTERS])
def test_a_step_is_named_by_its_kind_and_versions(steps: Any) -> None:
    for (kind, version), step in steps.items():
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()
        assert step.__name__ == f"{snake}_{version}_to_{version + 1}"
