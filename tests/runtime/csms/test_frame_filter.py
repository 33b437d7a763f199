"""Does a frame reach the journal whole, but for what must never lie there?"""

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
from station.runtime.csms.frame_filter import FrameFilter
from station.runtime.secrets.store import SecretStore
from station.runtime.secrets.urls import restore_url
from tests.runtime.fixtures_recorder import PRODUCT
from tests.support.authorities import make_authority

PASSWORD = "correct horse battery"


class MemoryStore:
    """Remembers what was taken out of the frames."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.secrets: list[str] = []

    def reference_for(self, type: str, value: str) -> IdToken:
        ref = f"#{len(self.values):016x}"
        self.values[ref] = value
        return IdToken(ref, type)

    def keep(self, secret: str) -> str:
        self.secrets.append(secret)
        return "<secret 0>"


def make_frame_filter() -> tuple[FrameFilter, MemoryStore]:
    vault = MemoryStore()
    return FrameFilter(PRODUCT.device_model, vault.reference_for, vault.keep), vault


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
    taker, vault = make_frame_filter()
    seen = taker.to_observation(set_variables(component, variable, PASSWORD))
    assert isinstance(seen, FrameReceived)
    assert PASSWORD.encode() not in bytes(seen.frame)
    assert vault.secrets == [PASSWORD]


def test_a_password_nobody_can_use_is_not_even_kept_a00_fr_205() -> None:
    taker, vault = make_frame_filter()
    seen = taker.to_observation(set_variables("SecurityCtrlr", "BasicAuthPassword", "short"))
    assert isinstance(seen, FrameReceived)
    assert INVALID_SECRET.encode() in bytes(seen.frame)
    assert vault.secrets == []


def raise_disk_full(secret: str) -> str:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_password_the_disk_refuses_is_no_fault_of_the_link_a01_fr_01(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taker = FrameFilter(PRODUCT.device_model, MemoryStore().reference_for, raise_disk_full)
    seen = taker.to_observation(set_variables("SecurityCtrlr", "BasicAuthPassword", PASSWORD))
    assert isinstance(seen, FrameReceived)
    assert INVALID_SECRET.encode() in bytes(seen.frame)
    assert PASSWORD.encode() not in bytes(seen.frame)
    assert "No space left" in caplog.text


def test_credentials_the_disk_refuses_are_lost_and_not_in_the_journal_p9() -> None:
    taker = FrameFilter(PRODUCT.device_model, MemoryStore().reference_for, raise_disk_full)
    url = f"https://user:{quote(PASSWORD)}@files/logs/"
    asked = {"log": {"remoteLocation": url}, "logType": "SecurityLog", "requestId": 1}
    seen = taker.to_observation(json.dumps([2, "1", "GetLog", asked]))
    assert isinstance(seen, FrameReceived)
    location = json.loads(bytes(seen.frame))[3]["log"]["remoteLocation"]
    assert "horse" not in location
    assert restore_url(location, lambda reference: None) is None


def test_what_only_sounds_like_a_password_is_hidden_too_p9() -> None:
    taker, vault = make_frame_filter()
    seen = taker.to_observation(set_variables("SecurityController", "BasicAuthPassword", PASSWORD))
    assert isinstance(seen, FrameReceived)
    assert PASSWORD.encode() not in bytes(seen.frame)
    assert vault.secrets == []


def test_a_private_key_sent_with_a_certificate_never_reaches_the_journal_p9() -> None:
    taker, vault = make_frame_filter()
    key = make_authority().key_pem
    payload = {"certificateType": "CSMSRootCertificate", "certificate": f"{key}and the rest"}
    text = json.dumps([2, "m-1", "InstallCertificate", payload])
    for sent in (text, text.replace("PRIVATE", "\\u0050RIVATE")):
        seen = taker.to_observation(sent)
        assert isinstance(seen, FrameReceived)
        assert key.splitlines()[1].encode() not in bytes(seen.frame)
        assert json.loads(bytes(seen.frame))[:3] == [2, "m-1", "InstallCertificate"]
    assert vault.secrets == []


def test_secrets_of_a_network_profile_never_reach_the_journal_p9() -> None:
    taker, _ = make_frame_filter()
    data = {
        "ocppCsmsUrl": f"wss://user:{PASSWORD}@csms/ocpp",
        "apn": {"apn": "internet", "apnPassword": PASSWORD, "simPin": 4711},
        "vpn": {"server": "vpn", "password": PASSWORD, "key": PASSWORD},
    }
    payload = {"configurationSlot": 2, "connectionData": data}
    seen = taker.to_observation(json.dumps([2, "m-1", "SetNetworkProfile", payload]))
    assert isinstance(seen, FrameReceived)
    assert PASSWORD.encode() not in bytes(seen.frame)
    assert b"4711" not in bytes(seen.frame)


def test_an_ordinary_value_stays_as_it_is() -> None:
    taker, _ = make_frame_filter()
    seen = taker.to_observation(set_variables("OCPPCommCtrlr", "HeartbeatInterval", "30"))
    assert isinstance(seen, FrameReceived)
    assert b'"30"' in bytes(seen.frame)


def test_an_id_token_is_kept_apart_n10() -> None:
    taker, vault = make_frame_filter()
    frame = [3, "1", {"idTokenInfo": {"groupIdToken": {"idToken": "FAMILY", "type": "Central"}}}]
    seen = taker.to_observation(json.dumps(frame))
    assert isinstance(seen, FrameReceived)
    assert b"FAMILY" not in bytes(seen.frame)
    assert list(vault.values.values()) == ["FAMILY"]


def test_a_key_code_never_reaches_journal_or_log_c04_fr_04(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    taker, _ = make_frame_filter()
    asked = {"idToken": {"idToken": "271828", "type": "KeyCode"}, "remoteStartId": 1}
    for frame in ([2, "1", "RequestStartTransaction", asked], [2, "1", "Nonsense", asked]):
        seen = taker.to_observation(json.dumps(frame))
        assert isinstance(seen, FrameReceived)
        assert b"271828" not in bytes(seen.frame)
    garbled = taker.to_observation(json.dumps([2, "1", "RequestStartTransaction", asked])[:-1])
    assert "271828" not in repr(garbled) + caplog.text


def test_an_overlong_id_token_stays_overlong_but_is_nobodys() -> None:
    taker, vault = make_frame_filter()
    payload = {"remoteStartId": 1, "idToken": {"idToken": "X" * 37, "type": "Central"}}
    seen = taker.to_observation(json.dumps([2, "1", "RequestStartTransaction", payload]))
    assert isinstance(seen, FrameReceived)
    assert "#" * 37 in bytes(seen.frame).decode()
    assert vault.values == {}


def test_numbers_keep_their_digits() -> None:
    taker, _ = make_frame_filter()
    seen = taker.to_observation('[3,"1",{"totalCost":12.500}]')
    assert isinstance(seen, FrameReceived)
    assert bytes(seen.frame) == b'[3,"1",{"totalCost":12.500}]'


def test_what_is_no_json_is_described_and_quoted() -> None:
    taker, _ = make_frame_filter()
    seen = taker.to_observation("hello")
    assert isinstance(seen, FrameMalformed)
    assert (seen.size_bytes, seen.excerpt) == (5, "hello")


def test_what_is_no_json_and_may_hold_a_secret_is_not_quoted_p9() -> None:
    taker, _ = make_frame_filter()
    seen = taker.to_observation(set_variables("SecurityCtrlr", "BasicAuthPassword", PASSWORD)[:-1])
    assert isinstance(seen, FrameMalformed)
    assert seen.excerpt == ""


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
    taker, _ = make_frame_filter()
    assert isinstance(taker.to_observation(text), FrameReceived | FrameMalformed)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '[3,"1",' + '{"a":' * 50_000, "[1e999999999]", "\ud800"]
)
def test_wild_frames_break_nothing(text: str) -> None:
    taker, _ = make_frame_filter()
    assert isinstance(taker.to_observation(text), FrameReceived | FrameMalformed)


def test_secrets_lie_in_files_of_their_own_and_go_when_unused_a01_fr_10(tmp_path: Path) -> None:
    secrets = SecretStore(tmp_path / "secrets")
    old, new = secrets.store_secret("old"), secrets.store_secret(PASSWORD)
    assert secrets.read_secret(new) == PASSWORD
    [mode] = {file.stat().st_mode & 0o777 for file in (tmp_path / "secrets").iterdir()}
    assert mode == 0o600
    secrets.delete_unreferenced({new})
    assert secrets.read_secret(old) is None
    assert secrets.read_secret(new) == PASSWORD
    assert secrets.read_secret("no reference") is None


def test_a_rotten_secret_is_a_lost_one_p8(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secrets = SecretStore(tmp_path / "secrets")
    reference = secrets.store_secret(PASSWORD)
    [file] = (tmp_path / "secrets").iterdir()
    file.write_bytes(b"\xff\xfe\x00")
    assert secrets.read_secret(reference) is None
    assert "cannot be read" in caplog.text
    file.unlink()
    file.mkdir()
    assert secrets.read_secret(reference) is None


def test_what_is_no_secret_of_ours_stays_where_it_is(tmp_path: Path) -> None:
    secrets = SecretStore(tmp_path / "secrets")
    secrets.store_secret(PASSWORD)
    (tmp_path / "secrets" / "lost+found").mkdir()
    secrets.delete_unreferenced(set())
    assert [file.name for file in (tmp_path / "secrets").iterdir()] == ["lost+found"]


def test_random_bytes_as_text_break_nothing() -> None:
    seed = 20261122
    print(f"seed {seed}")
    dice = random.Random(seed)
    taker, _ = make_frame_filter()
    for _ in range(500):
        text = dice.randbytes(dice.randrange(60)).decode("latin-1")
        assert isinstance(taker.to_observation(text), FrameReceived | FrameMalformed)
