"""Frame filter and secret store: what of a frame reaches the journal. P9, N10, A01."""

from __future__ import annotations

import errno
import json
import logging
import random
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.events import IdToken
from journal.observations import FrameMalformed, FrameReceived
from station.core.blocks.b_variables import INVALID_SECRET
from station.ocpp import rpc
from station.runtime.csms.frame_filter import (
    QUICK_CHARACTERS_MAX,
    SECRETS_MAX,
    TOO_MANY_PARTS,
    FrameFilter,
)
from station.runtime.secrets.store import SecretStore
from station.runtime.secrets.urls import restore_url
from tests.runtime.fixtures_recorder import PRODUCT
from tests.support.authorities import make_authority

PASSWORD = "correct horse battery"


class MemoryStore:
    """Keeps the values and secrets taken out of the frames."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.secrets: list[str] = []

    def reference_for(self, type: str, value: str) -> IdToken:
        ref = f"#{len(self.values):016x}"
        self.values[ref] = value
        return IdToken(ref, type)

    def store_secret(self, secret: str) -> str:
        self.secrets.append(secret)
        return "<secret 0>"


def make_frame_filter() -> tuple[FrameFilter, MemoryStore]:
    store = MemoryStore()
    return FrameFilter(PRODUCT.device_model, store.reference_for, store.store_secret), store


def set_variables(component: str, variable: str, value: object) -> str:
    data = [
        {
            "component": {"name": component},
            "variable": {"name": variable},
            "attributeValue": value,
        }
    ]
    return json.dumps([2, "1", "SetVariables", {"setVariableData": data}])


@pytest.mark.parametrize(
    ("component", "variable"),
    [
        ("SecurityCtrlr", "BasicAuthPassword"),
        ("securityctrlr", "BASICAUTHPASSWORD"),
    ],
)
def test_a_password_never_reaches_the_journal_p9(component: str, variable: str) -> None:
    frame_filter, store = make_frame_filter()
    observation = frame_filter.to_observation(set_variables(component, variable, PASSWORD))
    assert isinstance(observation, FrameReceived)
    assert PASSWORD.encode() not in bytes(observation.frame)
    assert store.secrets == [PASSWORD]


def test_a_password_that_is_not_usable_is_not_stored_a00_fr_205() -> None:
    frame_filter, store = make_frame_filter()
    observation = frame_filter.to_observation(
        set_variables("SecurityCtrlr", "BasicAuthPassword", "short")
    )
    assert isinstance(observation, FrameReceived)
    assert INVALID_SECRET.encode() in bytes(observation.frame)
    assert store.secrets == []


def test_a_frame_stores_a_few_secrets_at_most() -> None:
    """Each is a file that is synced: 1,500 in a frame would be 3,000 syncs."""
    frame_filter, store = make_frame_filter()
    [item] = json.loads(set_variables("SecurityCtrlr", "BasicAuthPassword", PASSWORD))[3][
        "setVariableData"
    ]
    observation = frame_filter.to_observation(
        json.dumps([2, "1", "SetVariables", {"setVariableData": [item] * 20}])
    )
    assert isinstance(observation, FrameReceived)
    assert PASSWORD.encode() not in bytes(observation.frame)
    items = json.loads(bytes(observation.frame))[3]["setVariableData"]
    values = [item["attributeValue"] for item in items]
    assert values == ["<secret 0>"] * SECRETS_MAX + [INVALID_SECRET] * (20 - SECRETS_MAX)
    assert store.secrets == [PASSWORD] * SECRETS_MAX


def raise_disk_full(secret: str) -> str:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_password_that_cannot_be_stored_does_not_end_the_connection_a01_fr_01(
    caplog: pytest.LogCaptureFixture,
) -> None:
    frame_filter = FrameFilter(PRODUCT.device_model, MemoryStore().reference_for, raise_disk_full)
    observation = frame_filter.to_observation(
        set_variables("SecurityCtrlr", "BasicAuthPassword", PASSWORD)
    )
    assert isinstance(observation, FrameReceived)
    assert INVALID_SECRET.encode() in bytes(observation.frame)
    assert PASSWORD.encode() not in bytes(observation.frame)
    assert "No space left" in caplog.text


def test_credentials_that_cannot_be_stored_are_lost_p9() -> None:
    frame_filter = FrameFilter(PRODUCT.device_model, MemoryStore().reference_for, raise_disk_full)
    url = f"https://user:{quote(PASSWORD)}@files/logs/"
    payload = {"log": {"remoteLocation": url}, "logType": "SecurityLog", "requestId": 1}
    observation = frame_filter.to_observation(json.dumps([2, "1", "GetLog", payload]))
    assert isinstance(observation, FrameReceived)
    location = json.loads(bytes(observation.frame))[3]["log"]["remoteLocation"]
    assert "horse" not in location
    assert restore_url(location, lambda reference: None) is None


def test_an_unknown_variable_with_password_in_its_name_is_redacted_p9() -> None:
    frame_filter, store = make_frame_filter()
    observation = frame_filter.to_observation(
        set_variables("SecurityController", "BasicAuthPassword", PASSWORD)
    )
    assert isinstance(observation, FrameReceived)
    assert PASSWORD.encode() not in bytes(observation.frame)
    assert store.secrets == []


def test_a_private_key_sent_with_a_certificate_never_reaches_the_journal_p9() -> None:
    frame_filter, store = make_frame_filter()
    key = make_authority().key_pem
    payload = {"certificateType": "CSMSRootCertificate", "certificate": f"{key}and the rest"}
    text = json.dumps([2, "m-1", "InstallCertificate", payload])
    for frame in (text, text.replace("PRIVATE", "\\u0050RIVATE")):
        observation = frame_filter.to_observation(frame)
        assert isinstance(observation, FrameReceived)
        assert key.splitlines()[1].encode() not in bytes(observation.frame)
        assert json.loads(bytes(observation.frame))[:3] == [2, "m-1", "InstallCertificate"]
    assert store.secrets == []


def test_secrets_of_a_network_profile_never_reach_the_journal_p9() -> None:
    frame_filter, _ = make_frame_filter()
    data = {
        "ocppCsmsUrl": f"wss://user:{PASSWORD}@csms/ocpp",
        "apn": {"apn": "internet", "apnPassword": PASSWORD, "simPin": 4711},
        "vpn": {"server": "vpn", "password": PASSWORD, "key": PASSWORD},
    }
    payload = {"configurationSlot": 2, "connectionData": data}
    observation = frame_filter.to_observation(json.dumps([2, "m-1", "SetNetworkProfile", payload]))
    assert isinstance(observation, FrameReceived)
    assert PASSWORD.encode() not in bytes(observation.frame)
    assert b"4711" not in bytes(observation.frame)


def test_an_ordinary_value_stays_as_it_is() -> None:
    frame_filter, _ = make_frame_filter()
    observation = frame_filter.to_observation(
        set_variables("OCPPCommCtrlr", "HeartbeatInterval", "30")
    )
    assert isinstance(observation, FrameReceived)
    assert b'"30"' in bytes(observation.frame)


def test_an_id_token_is_replaced_by_a_reference_n10() -> None:
    frame_filter, store = make_frame_filter()
    frame = [3, "1", {"idTokenInfo": {"groupIdToken": {"idToken": "FAMILY", "type": "Central"}}}]
    observation = frame_filter.to_observation(json.dumps(frame))
    assert isinstance(observation, FrameReceived)
    assert b"FAMILY" not in bytes(observation.frame)
    assert list(store.values.values()) == ["FAMILY"]


def test_a_key_code_never_reaches_journal_or_log_c04_fr_04(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    frame_filter, _ = make_frame_filter()
    payload = {"idToken": {"idToken": "271828", "type": "KeyCode"}, "remoteStartId": 1}
    for frame in ([2, "1", "RequestStartTransaction", payload], [2, "1", "Nonsense", payload]):
        observation = frame_filter.to_observation(json.dumps(frame))
        assert isinstance(observation, FrameReceived)
        assert b"271828" not in bytes(observation.frame)
    malformed = frame_filter.to_observation(
        json.dumps([2, "1", "RequestStartTransaction", payload])[:-1]
    )
    assert "271828" not in repr(malformed) + caplog.text


def test_an_overlong_id_token_stays_overlong_but_is_not_personal() -> None:
    frame_filter, store = make_frame_filter()
    payload = {"remoteStartId": 1, "idToken": {"idToken": "X" * 37, "type": "Central"}}
    observation = frame_filter.to_observation(
        json.dumps([2, "1", "RequestStartTransaction", payload])
    )
    assert isinstance(observation, FrameReceived)
    assert "#" * 37 in bytes(observation.frame).decode()
    assert store.values == {}


def test_numbers_keep_their_digits() -> None:
    frame_filter, _ = make_frame_filter()
    observation = frame_filter.to_observation('[3,"1",{"totalCost":12.500}]')
    assert isinstance(observation, FrameReceived)
    assert bytes(observation.frame) == b'[3,"1",{"totalCost":12.500}]'


def test_text_that_is_no_json_is_described_and_quoted() -> None:
    frame_filter, _ = make_frame_filter()
    observation = frame_filter.to_observation("hello")
    assert isinstance(observation, FrameMalformed)
    assert (observation.size_bytes, observation.excerpt) == (5, "hello")


def test_text_that_may_contain_a_secret_is_not_quoted_p9() -> None:
    frame_filter, _ = make_frame_filter()
    observation = frame_filter.to_observation(
        set_variables("SecurityCtrlr", "BasicAuthPassword", PASSWORD)[:-1]
    )
    assert isinstance(observation, FrameMalformed)
    assert observation.excerpt == ""


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=20,
    ).map(json.dumps)
)
def test_any_text_makes_an_observation(text: str) -> None:
    frame_filter, _ = make_frame_filter()
    assert isinstance(frame_filter.to_observation(text), FrameReceived | FrameMalformed)


# JSON of any type, also where a schema has another one: numbers of any size, escapes of halves of
# characters, and the words the filter searches for.
NUMBERS = st.sampled_from(["0", "2", "2.0", "-1", "1e9999", "1E+999999999", "9" * 400, "0.10"])
STRINGS = st.sampled_from(
    [
        '""',
        '"\\ud800"',
        '"\\u0000"',
        '"ISO14443"',
        '"SecurityCtrlr"',
        '"BasicAuthPassword"',
        '"correct horse battery"',
        '"https://u:p@[::1/x?y"',
        '"https://u:p@host:port/"',
        '"-----BEGIN PRIVATE KEY-----x"',
    ]
)
SCALARS = st.sampled_from(["null", "true"]) | NUMBERS | STRINGS
KEYS = st.sampled_from(
    [
        "setVariableData",
        "component",
        "variable",
        "name",
        "instance",
        "evse",
        "id",
        "attributeValue",
        "connectionData",
        "ocppCsmsUrl",
        "apn",
        "password",
        "log",
        "remoteLocation",
        "firmware",
        "location",
        "idToken",
        "type",
        "additionalIdToken",
        "customerIdentifier",
        "data",
        "seqNo",
        "generatedAt",
        "requestId",
    ]
)


def json_text(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Arrays and objects of those parts."""
    members = st.dictionaries(KEYS, inner, max_size=4)
    return st.lists(inner, max_size=4).map(lambda parts: f"[{','.join(parts)}]") | members.map(
        lambda fields: "{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}"
    )


JSON_TEXT = st.recursive(SCALARS, json_text, max_leaves=12)
ACTIONS = st.sampled_from(
    [f'"{name}"' for name in ("SetVariables", "SetNetworkProfile", "GetLog", "UpdateFirmware")]
)


@st.composite
def set_variable_requests(draw: st.DrawFn) -> str:
    """SetVariables in which every field may have any type."""

    def field(value: str) -> str:
        return draw(st.just(value) | JSON_TEXT)

    evse = field(f'{{"id":{field("1")}}}')
    name, instance = field('"SecurityCtrlr"'), field("null")
    component = f'{{"name":{name},"instance":{instance},"evse":{evse}}}'
    name, instance = field('"BasicAuthPassword"'), field("null")
    variable = f'{{"name":{name},"instance":{instance}}}'
    value = field('"correct horse battery"')
    item = f'{{"component":{component},"variable":{variable},"attributeValue":{value}}}'
    return f'[2,"1","SetVariables",{{"setVariableData":[{item}]}}]'


@settings(max_examples=400)
@given(
    set_variable_requests()
    | st.tuples(NUMBERS, JSON_TEXT, ACTIONS | JSON_TEXT, JSON_TEXT).map(
        lambda parts: f"[{','.join(parts)}]"
    )
    | st.lists(JSON_TEXT, max_size=5).map(lambda parts: f"[{','.join(parts)}]")
)
def test_json_of_any_type_in_any_place_makes_an_observation(text: str) -> None:
    frame_filter, _ = make_frame_filter()
    observation = frame_filter.to_observation(text)
    if isinstance(observation, FrameReceived):
        rpc.parse_frame(observation.frame)
    else:
        assert isinstance(observation, FrameMalformed)


@pytest.mark.parametrize("action", ["[]", "{}", "null", "7", '["SetVariables"]'])
def test_an_action_that_is_no_string_is_recorded_and_refused(action: str) -> None:
    frame_filter, _ = make_frame_filter()
    observation = frame_filter.to_observation(f'[2,"x",{action},{{}}]')
    assert isinstance(observation, FrameReceived)
    assert rpc.parse_frame(observation.frame) == rpc.MalformedFrame(
        "x", "RpcFrameworkError", "Action is no string", True
    )


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '[3,"1",' + '{"a":' * 50_000, "[1e999999999]", "\ud800"]
)
def test_extreme_frames_raise_nothing(text: str) -> None:
    frame_filter, _ = make_frame_filter()
    assert isinstance(frame_filter.to_observation(text), FrameReceived | FrameMalformed)


@pytest.mark.parametrize("part", ["[],", "{},", "1.5,", "[[[["])
def test_json_with_too_many_parts_is_not_decoded(part: str) -> None:
    frame_filter, _ = make_frame_filter()
    longest = 256 * 1024
    observation = frame_filter.to_observation(f'[2,"1","X",{{"a":[{part * (longest // 5)}')
    assert isinstance(observation, FrameMalformed)
    assert observation.reason == TOO_MANY_PARTS


def test_the_longest_charging_profile_has_fewer_parts() -> None:
    period = {"startPeriod": 1, "limit": 1.5, "numberPhases": 3, "phaseToUse": 1}
    schedule = {"id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": [period] * 1024}
    profile = {"id": 1, "chargingSchedule": [schedule] * 3}
    request = {"evseId": 1, "chargingProfile": profile}
    frame_filter, _ = make_frame_filter()
    observation = frame_filter.to_observation(json.dumps([2, "1", "SetChargingProfile", request]))
    assert isinstance(observation, FrameReceived)


@pytest.mark.parametrize(
    ("text", "is_quick"),
    [
        ('[2,"1","Reset",{"type":"Immediate"}]', True),
        (set_variables("OCPPCommCtrlr", "HeartbeatInterval", "300"), True),
        (json.dumps([2, "1", "Reset", {"type": "é"}]), False),
        (json.dumps([2, "1", "DataTransfer", {"data": "x" * QUICK_CHARACTERS_MAX}]), False),
        (set_variables("securityctrlr", "BASICAUTHPASSWORD", PASSWORD), False),
        ('[2,"1","GetLog",{"log":{"remoteLocation":"ftp://user:word@files"}}]', False),
    ],
)
def test_long_frames_and_those_with_secrets_are_not_quick(text: str, is_quick: bool) -> None:
    assert make_frame_filter()[0].is_quick(text) is is_quick


def test_a_quick_frame_stores_nothing_on_the_disk_p9() -> None:
    """Whatever has a secret is not quick: a sync in the loop would hold it."""
    frame_filter, store = make_frame_filter()
    url = "https://user:word@files/logs?signature=1"
    for frame in (
        set_variables("SecurityCtrlr", "BasicAuthPassword", PASSWORD),
        json.dumps([2, "1", "GetLog", {"log": {"remoteLocation": url}}]),
        json.dumps([2, "1", "UpdateFirmware", {"firmware": {"location": url}}]),
        json.dumps([2, "1", "PublishFirmware", {"location": url}]),
        json.dumps([2, "1", "SetNetworkProfile", {"connectionData": {"ocppCsmsUrl": url}}]),
    ):
        for text in (frame, frame.replace("S", "\\u0053"), frame.replace("a", "\\u0061")):
            store.secrets.clear()
            frame_filter.to_observation(text)
            assert store.secrets, text
            assert not frame_filter.is_quick(text)


def test_secrets_are_files_and_are_deleted_when_unused_a01_fr_10(tmp_path: Path) -> None:
    secrets = SecretStore(tmp_path / "secrets")
    old, new = secrets.store_secret("old"), secrets.store_secret(PASSWORD)
    assert secrets.read_secret(new) == PASSWORD
    [mode] = {file.stat().st_mode & 0o777 for file in (tmp_path / "secrets").iterdir()}
    assert mode == 0o600
    secrets.delete_unreferenced({new})
    assert secrets.read_secret(old) is None
    assert secrets.read_secret(new) == PASSWORD
    assert secrets.read_secret("no reference") is None


def test_an_unreadable_secret_is_a_lost_one_p8(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = SecretStore(tmp_path / "secrets")
    reference = secrets.store_secret(PASSWORD)
    [file] = (tmp_path / "secrets").iterdir()
    file.write_bytes(b"\xff\xfe\x00")
    assert secrets.read_secret(reference) is None
    assert "cannot be read" in caplog.text
    file.unlink()
    file.mkdir()
    assert secrets.read_secret(reference) is None


def test_other_files_beside_the_secrets_are_kept(tmp_path: Path) -> None:
    secrets = SecretStore(tmp_path / "secrets")
    secrets.store_secret(PASSWORD)
    (tmp_path / "secrets" / "lost+found").mkdir()
    secrets.delete_unreferenced(set())
    assert [file.name for file in (tmp_path / "secrets").iterdir()] == ["lost+found"]


def test_random_text_raises_nothing() -> None:
    seed = 20261122
    print(f"seed {seed}")
    dice = random.Random(seed)
    frame_filter, _ = make_frame_filter()
    for _ in range(500):
        text = dice.randbytes(dice.randrange(60)).decode("latin-1")
        assert isinstance(frame_filter.to_observation(text), FrameReceived | FrameMalformed)
