"""Transfers over HTTP: resuming, redirects, forms, and servers that misbehave."""

from __future__ import annotations

import email
import email.policy
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from station.runtime.transfers.http import strong_validator
from station.runtime.transfers.results import TransferFailed
from station.runtime.transfers.retry import download_file, upload_file
from tests.runtime.transfers.conftest import ServerStarter, serve_fixed_reply, single_attempt
from tests.runtime.transfers.http_server import HttpServer

CUT = 150_001


@pytest.fixture
def http_server(start_server: ServerStarter) -> HttpServer:
    server = start_server("http")
    assert isinstance(server, HttpServer)
    return server


@pytest.fixture
def https_server(start_server: ServerStarter) -> HttpServer:
    server = start_server("https")
    assert isinstance(server, HttpServer)
    return server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / 'log "1".zip'
    file.write_bytes(b"the log")
    return file


async def interrupt_download(http_server: HttpServer, target: Path, roots_pem: str) -> None:
    """Leave a part of image.bin."""
    http_server.faults.cut_at = [CUT]
    with pytest.raises(TransferFailed):
        await download_file(http_server.url("image.bin"), target, **single_attempt(roots_pem))


async def test_without_ranges_the_whole_file_is_sent_again(
    http_server: HttpServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (http_server.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await interrupt_download(http_server, into, roots_pem)
    http_server.supports_ranges = False
    await download_file(http_server.url("image.bin"), into, **single_attempt(roots_pem))
    assert into.read_bytes() == content
    assert "Range" in http_server.requests[-1][2]
    assert http_server.offsets == [0, 0]


async def test_another_tag_is_another_file(
    http_server: HttpServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (http_server.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await interrupt_download(http_server, into, roots_pem)
    (http_server.root / "image.bin").write_bytes(content[::-1])
    http_server.etag = '"8"'
    await download_file(http_server.url("image.bin"), into, **single_attempt(roots_pem))
    assert into.read_bytes() == content[::-1]
    assert http_server.requests[-1][2]["If-Range"] == '"7"'
    assert len(http_server.requests) == 2


async def test_a_date_is_enough_to_resume(
    http_server: HttpServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (http_server.root / "image.bin").write_bytes(content)
    os.utime(http_server.root / "image.bin", (1_000_000_000, 1_000_000_000))
    http_server.etag = None
    into = tmp_path / "image.bin"
    await interrupt_download(http_server, into, roots_pem)
    await download_file(http_server.url("image.bin"), into, **single_attempt(roots_pem))
    assert into.read_bytes() == content
    assert http_server.offsets[-1] > 0


async def test_a_weak_tag_is_not_resumed(
    http_server: HttpServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (http_server.root / "image.bin").write_bytes(content)
    http_server.etag = 'W/"1"'
    into = tmp_path / "image.bin"
    await interrupt_download(http_server, into, roots_pem)
    assert list(tmp_path.glob("image*")) == []
    await download_file(http_server.url("image.bin"), into, **single_attempt(roots_pem))
    assert "Range" not in http_server.requests[-1][2]
    assert into.read_bytes() == content


async def test_a_file_that_shrank_under_the_same_tag_is_fetched_whole(
    http_server: HttpServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (http_server.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await interrupt_download(http_server, into, roots_pem)
    (http_server.root / "image.bin").write_bytes(content[:10])
    await download_file(http_server.url("image.bin"), into, **single_attempt(roots_pem))
    assert into.read_bytes() == content[:10]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Range": "bytes 7-300000/300001"},
        {"Content-Range": "bytes 0-300000/300001"},
        {"Content-Range": "elephants 1-2/3"},
    ],
)
async def test_a_part_that_was_not_requested_is_refused(
    http_server: HttpServer,
    roots_pem: str,
    tmp_path: Path,
    content: bytes,
    headers: dict[str, str],
) -> None:
    (http_server.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await interrupt_download(http_server, into, roots_pem)
    http_server.fixed_responses["GET", "/image.bin"] = 206, headers
    with pytest.raises(TransferFailed, match="HTTP 206"):
        await download_file(http_server.url("image.bin"), into, **single_attempt(roots_pem))
    del http_server.fixed_responses["GET", "/image.bin"]
    await download_file(http_server.url("image.bin"), into, **single_attempt(roots_pem))
    assert into.read_bytes() == content


async def test_a_part_of_another_total_is_not_appended(
    http_server: HttpServer, roots_pem: str, tmp_path: Path, content: bytes
) -> None:
    (http_server.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await interrupt_download(http_server, into, roots_pem)
    (http_server.root / "image.bin").write_bytes(content + b"!")  # the tag did not change
    await download_file(http_server.url("image.bin"), into, **single_attempt(roots_pem))
    assert into.read_bytes() == content + b"!"
    assert http_server.offsets[-1] == 0


async def test_redirects_are_followed(
    http_server: HttpServer,
    https_server: HttpServer,
    roots_pem: str,
    tmp_path: Path,
    content: bytes,
) -> None:
    (https_server.root / "image.bin").write_bytes(content)
    http_server.fixed_responses["GET", "/here"] = 301, {"Location": "/there"}
    http_server.fixed_responses["GET", "/there"] = 302, {"Location": https_server.url("image.bin")}
    into = tmp_path / "image.bin"
    await download_file(http_server.url("here"), into, **single_attempt(roots_pem))
    assert into.read_bytes() == content


async def test_an_upload_follows_a_redirect_with_its_body(
    http_server: HttpServer, roots_pem: str, source: Path
) -> None:
    http_server.fixed_responses["PUT", "/here"] = 307, {"Location": http_server.url("there")}
    await upload_file(source, http_server.url("here"), **single_attempt(roots_pem))
    assert (http_server.root / "there").read_bytes() == b"the log"


async def test_no_redirect_leads_out_of_tls(
    http_server: HttpServer,
    https_server: HttpServer,
    roots_pem: str,
    tmp_path: Path,
    source: Path,
) -> None:
    (http_server.root / "image.bin").write_bytes(b"image")
    https_server.fixed_responses["GET", "/image.bin"] = (
        302,
        {"Location": http_server.url("image.bin")},
    )
    https_server.fixed_responses["PUT", "/log"] = 307, {"Location": http_server.url("log")}
    with pytest.raises(TransferFailed, match=r"redirected to http://.* refused"):
        await download_file(
            https_server.url("image.bin"), tmp_path / "image.bin", **single_attempt(roots_pem)
        )
    with pytest.raises(TransferFailed, match=r"redirected to http://.* refused"):
        await upload_file(source, https_server.url("log"), **single_attempt(roots_pem))
    assert http_server.requests == []


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[", "\t"])
async def test_no_redirect_leads_out_of_http(
    http_server: HttpServer, roots_pem: str, tmp_path: Path, location: str
) -> None:
    http_server.fixed_responses["GET", "/image.bin"] = 302, {"Location": location}
    with pytest.raises(TransferFailed, match="redirected to") as failed:
        await download_file(
            http_server.url("image.bin"), tmp_path / "image.bin", **single_attempt(roots_pem)
        )
    assert not failed.value.permanent


async def test_redirects_are_limited(
    http_server: HttpServer, roots_pem: str, tmp_path: Path
) -> None:
    http_server.fixed_responses["GET", "/round"] = 302, {"Location": "/round"}
    with pytest.raises(TransferFailed, match="more than 5 redirects"):
        await download_file(
            http_server.url("round"), tmp_path / "image.bin", **single_attempt(roots_pem)
        )
    assert len(http_server.requests) == 6


async def test_credentials_go_to_their_own_origin_only_n01_fr_17(
    http_server: HttpServer, start_server: ServerStarter, roots_pem: str, tmp_path: Path
) -> None:
    other = start_server("http")
    assert isinstance(other, HttpServer)
    (other.root / "image.bin").write_bytes(b"image")
    http_server.credentials = "station", "p@ss"
    with pytest.raises(TransferFailed, match="HTTP 401"):
        await download_file(
            http_server.url("image.bin"), tmp_path / "image.bin", **single_attempt(roots_pem)
        )
    http_server.credentials = None
    http_server.fixed_responses["GET", "/image.bin"] = 302, {"Location": other.url("image.bin")}
    url = http_server.url("image.bin", userinfo="station:p@ss@")
    await download_file(url, tmp_path / "image.bin", **single_attempt(roots_pem))
    assert http_server.requests[-1][2]["Authorization"] == "Basic c3RhdGlvbjpwQHNz"
    assert "Authorization" not in other.requests[-1][2]


@pytest.mark.parametrize("status", [404, 405, 415, 501])
async def test_without_put_a_form_is_posted_n01_fr_19(
    http_server: HttpServer, roots_pem: str, source: Path, status: int
) -> None:
    http_server.fixed_responses["PUT", "/upload"] = status, {}
    await upload_file(source, http_server.url("upload"), **single_attempt(roots_pem))
    method, _, headers = http_server.requests[-1]
    assert method == "POST"
    form = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + http_server.posted_body
    [part] = email.message_from_bytes(form, policy=email.policy.HTTP).iter_parts()
    assert part.get_content_type() == "application/octet-stream"
    assert part.get_content_disposition() == "form-data"
    assert part.get_filename() == "log %221%22.zip"
    assert part.get_payload(decode=True) == b"the log"


async def test_a_put_has_the_name_of_the_file_n01_fr_19(
    http_server: HttpServer, roots_pem: str, source: Path
) -> None:
    await upload_file(source, http_server.url("upload"), **single_attempt(roots_pem))
    _, _, headers = http_server.requests[-1]
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == 'attachment; filename="log %221%22.zip"'
    assert headers["Content-Length"] == "7"


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (400, "BadMessage"),
        (403, "PermissionDenied"),
        (405, "NotSupportedOperation"),
        (501, "NotSupportedOperation"),
        (500, "UploadFailure"),
        (503, "UploadFailure"),
        (304, "UploadFailure"),
    ],
)
async def test_http_errors_have_a_status_of_ocpp_n01_fr_10(
    http_server: HttpServer, roots_pem: str, source: Path, status: int, meaning: str
) -> None:
    http_server.fixed_responses["PUT", "/log"] = http_server.fixed_responses["POST", "/log"] = (
        status,
        {},
    )
    with pytest.raises(TransferFailed, match=f"HTTP {status}") as failed:
        await upload_file(source, http_server.url("log"), **single_attempt(roots_pem))
    assert failed.value.status == meaning


async def test_a_signed_url_is_used_and_not_logged(
    http_server: HttpServer,
    roots_pem: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    url = http_server.url("image.bin?signature=s3cret")
    with pytest.raises(TransferFailed) as failed:
        await download_file(url, tmp_path / "image.bin", **single_attempt(roots_pem))
    assert http_server.requests[-1][1] == "/image.bin?signature=s3cret"
    assert "s3cret" not in str(failed.value) + caplog.text


async def test_proxies_of_the_environment_are_not_used(
    http_server: HttpServer, roots_pem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    (http_server.root / "image.bin").write_bytes(b"image")
    await download_file(
        http_server.url("image.bin"), tmp_path / "image.bin", **single_attempt(roots_pem)
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nelephant\r\n",
        b"\x00\xff" * 1000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
    ],
)
async def test_a_malformed_response_fails_the_attempt(
    roots_pem: str, tmp_path: Path, nursery: trio.Nursery, answer: bytes
) -> None:
    port = await serve_fixed_reply(nursery, answer, after_request=True)
    with pytest.raises(TransferFailed) as failed:
        await download_file(
            f"http://127.0.0.1:{port}/x", tmp_path / "image.bin", **single_attempt(roots_pem)
        )
    assert failed.value.status == "BadMessage"
    assert list(tmp_path.glob("image*")) == []


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"a"', "Last-Modified": "x"}, '"a"'),
        ({"ETag": 'W/"a"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, ""),
        (
            {
                "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
                "Date": "Thu, 01 Jan 2026 00:00:01 GMT",
            },
            "Thu, 01 Jan 2026 00:00:00 GMT",
        ),
        (
            {
                "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
                "Date": "Thu, 01 Jan 2026 00:00:00 GMT",
            },
            "",
        ),
        ({"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, ""),
        ({"Last-Modified": "yesterday", "Date": "today"}, ""),
        (
            {
                "Last-Modified": "Thu, 01 Jan 2026 00:00:00",
                "Date": "Thu, 01 Jan 2026 00:00:05 GMT",
            },
            "",
        ),
        ({}, ""),
    ],
)
def test_strong_validators(headers: Mapping[str, str], validator: str) -> None:
    assert strong_validator(headers) == validator
