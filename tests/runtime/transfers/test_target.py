"""URLs of file servers: parsing, refusals, and texts without credentials."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station import profiles
from station.ocpp.messages.enums import UploadLogStatusEnumType
from station.runtime.transfers.results import TransferFailed
from station.runtime.transfers.url import SCHEMES, parse_url


@pytest.mark.parametrize(
    ("url", "where", "credentials", "file"),
    [
        ("http://host/a/b.bin", ("http", "host", 80), ("", ""), "a/b.bin"),
        ("HTTPS://Host:8443/a%20b", ("https", "host", 8443), ("", ""), "a b"),
        ("ftp://user@host/x", ("ftp", "host", 21), ("user", ""), "x"),
        ("ftps://u:p@host:990/%2Fetc/x", ("ftps", "host", 990), ("u", "p"), "/etc/x"),
        ("sftp://u%40d:p%3A%2F@host", ("sftp", "host", 22), ("u@d", "p:/"), ""),
        ("http://username:p@ss:w@[::1]:80/", ("http", "::1", 80), ("username", "p@ss:w"), ""),
    ],
)
def test_a_url_is_parsed_n01(
    url: str, where: tuple[str, str, int], credentials: tuple[str, str], file: str
) -> None:
    target = parse_url(url)
    assert target.origin == where
    assert (target.user, target.password) == credentials
    assert target.decoded_path == file


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("gopher://host/x", "NotSupportedOperation"),
        ("/srv/x", "NotSupportedOperation"),
        ("", "NotSupportedOperation"),
        ("http:///x", "BadMessage"),
        ("http://host:port/x", "BadMessage"),
        ("http://host:99999/x", "BadMessage"),
        ("http://[::1/x", "BadMessage"),
        ("ftp://host/x%0d%0aDELE%20y", "BadMessage"),
        ("ftp://u%00:p@host/x", "BadMessage"),
        ("ftp://host/%ff", "BadMessage"),
    ],
)
def test_an_unusable_url_is_refused(url: str, status: UploadLogStatusEnumType) -> None:
    with pytest.raises(TransferFailed) as failed:
        parse_url(url)
    assert failed.value.permanent
    assert failed.value.status == status


@given(st.text(max_size=80) | st.text("htps:/@[]%.0aftp\\?#", max_size=40).map("ftp://".__add__))
def test_any_url_is_parsed_or_refused(url: str) -> None:
    with suppress(TransferFailed):
        target = parse_url(url)
        assert target.scheme in SCHEMES
        again = parse_url(target.without_credentials)
        assert (again.origin, again.decoded_path) == (target.origin, target.decoded_path)


def test_texts_of_a_url_have_no_credentials() -> None:
    target = parse_url("https://user:s3cret@host/log?token=t0ken")
    failure = target.transfer_error("530 no such user: user/s3cret, token=t0ken\r\n\x1b[2J")
    for text in (target.loggable_url, repr(target), str(failure)):
        assert "s3cret" not in text
        assert "t0ken" not in text
    assert str(failure) == "https://host/log?…: 530 no such user: user/***, *** [2J"


def test_a_failure_is_one_line_of_bounded_length() -> None:
    failure = parse_url("ftp://host/x").transfer_error("a\nb\x00" * 10_000)
    assert str(failure).isprintable()
    assert len(str(failure)) <= 300


def test_the_schemes_are_those_of_the_certificate_ors_24() -> None:
    assert set(profiles.load_profile("evs-flash-300").limits.file_transfer_protocols) == set(
        SCHEMES.values()
    )
