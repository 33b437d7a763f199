"""Token, session cookie, Host and Origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from station.page.access import Access, is_loopback, load_token


def test_the_token_is_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    token = load_token(tmp_path)
    assert len(token) == 32
    assert load_token(tmp_path) == token
    assert (tmp_path / "page.token").stat().st_mode & 0o777 == 0o600


def test_a_token_that_was_deleted_ends_every_session(tmp_path: Path) -> None:
    before = Access(load_token(tmp_path), "127.0.0.1", 8180)
    (tmp_path / "page.token").unlink()
    after = Access(load_token(tmp_path), "127.0.0.1", 8180)
    cookie = {before.cookie_name: before.cookie_value}
    assert before.has_token({}, cookie)
    assert not after.has_token({}, cookie)


def test_the_cookie_does_not_contain_the_token() -> None:
    access = Access("secret", "127.0.0.1", 8180)
    assert "secret" not in access.cookie_value


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8180", True),
        ("localhost:8180", True),
        ("[::1]:8180", True),
        ("127.0.0.1", True),
        ("evil.example:8180", False),
        ("127.0.0.1.evil.example:8180", False),
        ("", False),
    ],
)
def test_on_loopback_only_its_own_names_are_served(host: str, allowed: bool) -> None:
    access = Access("secret", "127.0.0.1", 8180)
    assert access.is_host_allowed({"host": host}) is allowed


def test_on_another_address_every_name_is_served_and_reading_needs_the_token() -> None:
    access = Access("secret", "192.0.2.7", 8180)
    assert access.is_host_allowed({"host": "station.example"})
    assert not access.may_read({}, {})
    assert access.may_read({"authorization": "Bearer secret"}, {})
    assert not access.may_read({"authorization": "Bearer secre"}, {})
    assert not access.may_read({"authorization": "Basic secret"}, {})
    assert not access.may_read({}, {access.cookie_name: "secret"})


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({"origin": "http://127.0.0.1:8180", "host": "127.0.0.1:8180"}, True),
        ({"origin": "https://127.0.0.1:8180", "host": "127.0.0.1:8180"}, True),
        ({"origin": "http://127.0.0.1:9999", "host": "127.0.0.1:8180"}, False),
        ({"origin": "null", "host": "127.0.0.1:8180"}, False),
        ({"host": "127.0.0.1:8180"}, False),
        ({}, False),
        (
            {
                "origin": "http://127.0.0.1:8180",
                "host": "127.0.0.1:8180",
                "sec-fetch-site": "cross-site",
            },
            False,
        ),
    ],
    ids=str,
)
def test_an_order_comes_from_the_page_itself(headers: dict[str, str], same: bool) -> None:
    assert Access.is_same_origin(headers) is same


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("192.0.2.7", False), ("example", False)],
)  # fmt: skip
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
