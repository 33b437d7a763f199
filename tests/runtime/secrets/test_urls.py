"""URLs with credentials stay out of the journal; all others are unchanged. P9."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.events import IdToken
from station.runtime.csms.frame_filter import FrameFilter
from station.runtime.secrets.store import SecretStore
from station.runtime.secrets.urls import (
    URL_LENGTH_MAX,
    find_secret_reference,
    hide_credentials,
    restore_url,
)
from tests.support.story import load_product

REFERENCE = f"<secret {'0' * 32}>"


def keep_secret(text: str) -> str:
    return REFERENCE


def secret_reader(url: str | None = None) -> Callable[[str], str | None]:
    return lambda reference: url if reference == REFERENCE else None


@pytest.mark.parametrize(
    "url",
    [
        "https://files.example/firmware.bin",
        "ftp://files.example:2121/a%20b/c;type=i",
        "sftp://[2001:db8::1]/x",
        "/no/scheme",
        "",
    ],
)
def test_a_url_without_credentials_is_kept_as_it_is(url: str) -> None:
    assert hide_credentials(url, keep_secret) == url
    assert restore_url(url, secret_reader()) == url


@pytest.mark.parametrize(
    ("url", "safe_parts"),
    [
        ("ftp://user:pass@host/dir/", "ftp://host/dir/"),
        ("ftp://user@host:2121/dir/", "ftp://host:2121/dir/"),
        ("https://host/log?sig=abc", "https://host/log?…"),
        ("https://user:p@ss@host/log", "https://host/log"),
        ("https://host/log#secret", "https://host/log"),
        ("http:/user:pass@host/log", ""),
        ("http://[user:pass@host/log", ""),
        ("user:pass@host", ""),
        ("ftp://me:1234?5678@host/x", ""),
        ("ftp://me:1234/5678@host/x", ""),
    ],
)
def test_credentials_are_stored_and_restored(url: str, safe_parts: str) -> None:
    location = hide_credentials(url, keep_secret)
    assert location == f"{REFERENCE} {safe_parts}".rstrip()
    assert find_secret_reference(location) == REFERENCE
    assert restore_url(location, secret_reader(url)) == url


def test_a_lost_secret_is_no_url() -> None:
    assert (
        restore_url(hide_credentials("ftp://user:pass@host/", keep_secret), secret_reader()) is None
    )


def test_an_overlong_url_stays_overlong_and_is_not_stored() -> None:
    location = hide_credentials("ftp://user:pass@host/" + "x" * URL_LENGTH_MAX, lambda text: "kept")
    assert len(location) > URL_LENGTH_MAX
    assert set(location) == {"*"}


@given(
    password=st.text(st.characters(categories=("L", "N", "P", "S")), min_size=8, max_size=60),
    form=st.sampled_from(["ftp://me:{}@host/x", "https://host/?sig={}", "sftp://{}@h", "x:{}@y"]),
)
def test_no_password_stays_in_the_location(password: str, form: str) -> None:
    location = hide_credentials(form.format(password), keep_secret)
    assert password not in location.replace(REFERENCE, "")
    assert len(location) <= URL_LENGTH_MAX or set(location) == {"*"}


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("GetLog", {"log": {"remoteLocation": "ftp://me:hunter22@host/"}}),
        ("UpdateFirmware", {"firmware": {"location": "ftp://me:hunter22@host/"}, "requestId": 1}),
        ("PublishFirmware", {"location": "ftp://me:hunter22@host/"}),
    ],
)
def test_the_frame_filter_removes_credentials(
    tmp_path: Path, action: str, payload: dict[str, object]
) -> None:
    secrets = SecretStore(tmp_path / "secrets")
    frame_filter = FrameFilter(
        load_product().device_model, lambda type, value: IdToken("#x", type), secrets.store_secret
    )
    observation = frame_filter.to_observation(json.dumps([2, "m-1", action, payload]))
    frame = bytes(observation.frame).decode()  # type: ignore[union-attr]
    assert "hunter22" not in frame
    location = frame[frame.index("<secret") :].partition('"')[0]
    assert restore_url(location, secrets.read_secret) == "ftp://me:hunter22@host/"


@pytest.mark.parametrize("payload", [[], {}, {"log": 3}, {"log": {"remoteLocation": 3}}, None])
def test_a_request_of_another_shape_is_unchanged(tmp_path: Path, payload: object) -> None:
    frame_filter = FrameFilter(
        load_product().device_model, lambda type, value: IdToken("#x", type), lambda text: "kept"
    )
    frame = [2, "m-1", "GetLog", payload]
    observation = frame_filter.to_observation(json.dumps(frame))
    assert json.loads(bytes(observation.frame)) == frame  # type: ignore[union-attr]


def test_a_malformed_frame_with_a_url_is_not_quoted() -> None:
    frame_filter = FrameFilter(
        load_product().device_model, lambda type, value: IdToken("#x", type), lambda text: "kept"
    )
    observation = frame_filter.to_observation(
        '[2,"m","GetLog",{"log":{"remoteLocation":"ftp://me:hunter22@host/"'
    )
    assert observation.excerpt == ""  # type: ignore[union-attr]
