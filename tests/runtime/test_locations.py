"""Does a URL with credentials in it stay out of the journal, and all others in it?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.terms import IdToken
from station.runtime.ingest import Ingest
from station.runtime.locations import LOCATION_MAX, hidden, reference_in, revealed
from station.runtime.secrets import Secrets
from tests.story import product

REFERENCE = f"<secret {'0' * 32}>"


def keep(text: str) -> str:
    return REFERENCE


def kept(url: str | None = None) -> Callable[[str], str | None]:
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
    assert hidden(url, keep) == url
    assert revealed(url, kept()) == url


@pytest.mark.parametrize(
    ("url", "shown"),
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
def test_credentials_are_kept_apart_and_come_back(url: str, shown: str) -> None:
    location = hidden(url, keep)
    assert location == f"{REFERENCE} {shown}".rstrip()
    assert reference_in(location) == REFERENCE
    assert revealed(location, kept(url)) == url


def test_a_lost_secret_is_no_url() -> None:
    assert revealed(hidden("ftp://user:pass@host/", keep), kept()) is None


def test_an_overlong_url_stays_overlong_and_is_not_kept() -> None:
    location = hidden("ftp://user:pass@host/" + "x" * LOCATION_MAX, lambda text: "kept")
    assert len(location) > LOCATION_MAX
    assert set(location) == {"*"}


@given(
    password=st.text(st.characters(categories=("L", "N", "P", "S")), min_size=8, max_size=60),
    form=st.sampled_from(["ftp://me:{}@host/x", "https://host/?sig={}", "sftp://{}@h", "x:{}@y"]),
)
def test_no_password_survives_whatever_it_is(password: str, form: str) -> None:
    location = hidden(form.format(password), keep)
    assert password not in location.replace(REFERENCE, "")
    assert len(location) <= LOCATION_MAX or set(location) == {"*"}


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("GetLog", {"log": {"remoteLocation": "ftp://me:hunter22@host/"}}),
        ("UpdateFirmware", {"firmware": {"location": "ftp://me:hunter22@host/"}, "requestId": 1}),
        ("PublishFirmware", {"location": "ftp://me:hunter22@host/"}),
    ],
)
def test_the_intake_takes_credentials_out(
    tmp_path: Path, action: str, payload: dict[str, object]
) -> None:
    secrets = Secrets(tmp_path / "secrets")
    intake = Ingest(product().model, lambda type, value: IdToken("#x", type), secrets.keep)
    seen = bytes(intake.frame(json.dumps([2, "m-1", action, payload])).frame).decode()  # type: ignore[union-attr]
    assert "hunter22" not in seen
    location = seen[seen.index("<secret") :].partition('"')[0]
    assert revealed(location, secrets.reveal) == "ftp://me:hunter22@host/"


@pytest.mark.parametrize("payload", [[], {}, {"log": 3}, {"log": {"remoteLocation": 3}}, None])
def test_a_request_of_another_shape_passes(tmp_path: Path, payload: object) -> None:
    intake = Ingest(product().model, lambda type, value: IdToken("#x", type), lambda text: "kept")
    frame = [2, "m-1", "GetLog", payload]
    seen = intake.frame(json.dumps(frame))
    assert json.loads(bytes(seen.frame)) == frame  # type: ignore[union-attr]


def test_a_garbled_frame_with_a_url_is_not_quoted() -> None:
    intake = Ingest(product().model, lambda type, value: IdToken("#x", type), lambda text: "kept")
    seen = intake.frame('[2,"m","GetLog",{"log":{"remoteLocation":"ftp://me:hunter22@host/"')
    assert seen.excerpt == ""  # type: ignore[union-attr]
