"""What HTTP servers do, right and wrong."""

from __future__ import annotations

import email
import email.policy
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from station.runtime.transfers import TransferFailed, download, upload
from station.runtime.transfers.http import strong_validator
from tests.transfers.conftest import Opened, babbling, once
from tests.transfers.http_server import HttpFiles

CUT = 150_001


@pytest.fixture
def files(opened: Opened) -> HttpFiles:
    server = opened("http")
    assert isinstance(server, HttpFiles)
    return server


@pytest.fixture
def secure(opened: Opened) -> HttpFiles:
    server = opened("https")
    assert isinstance(server, HttpFiles)
    return server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / 'log "1".zip'
    file.write_bytes(b"the log")
    return file


async def cut_download(files: HttpFiles, into: Path, trust: ssl.SSLContext) -> None:
    """Leave a part of image.bin."""
    files.faults.cut_at = [CUT]
    with pytest.raises(TransferFailed):
        await download(files.url("image.bin"), into, **once(trust))


async def test_a_server_without_ranges_sends_it_all_again(
    files: HttpFiles, trust: ssl.SSLContext, tmp_path: Path, content: bytes
) -> None:
    (files.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await cut_download(files, into, trust)
    files.ranges = False
    await download(files.url("image.bin"), into, **once(trust))
    assert into.read_bytes() == content
    assert "Range" in files.requests[-1][2]
    assert files.offsets == [0, 0]


async def test_another_tag_is_another_file(
    files: HttpFiles, trust: ssl.SSLContext, tmp_path: Path, content: bytes
) -> None:
    (files.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await cut_download(files, into, trust)
    (files.root / "image.bin").write_bytes(content[::-1])
    files.etag = '"8"'
    await download(files.url("image.bin"), into, **once(trust))
    assert into.read_bytes() == content[::-1]
    assert files.requests[-1][2]["If-Range"] == '"7"'
    assert len(files.requests) == 2


async def test_a_date_is_enough_to_resume(
    files: HttpFiles, trust: ssl.SSLContext, tmp_path: Path, content: bytes
) -> None:
    (files.root / "image.bin").write_bytes(content)
    os.utime(files.root / "image.bin", (1_000_000_000, 1_000_000_000))
    files.etag = None
    into = tmp_path / "image.bin"
    await cut_download(files, into, trust)
    await download(files.url("image.bin"), into, **once(trust))
    assert into.read_bytes() == content
    assert files.offsets[-1] > 0


async def test_a_weak_tag_is_no_ground_to_resume(
    files: HttpFiles, trust: ssl.SSLContext, tmp_path: Path, content: bytes
) -> None:
    (files.root / "image.bin").write_bytes(content)
    files.etag = 'W/"1"'
    into = tmp_path / "image.bin"
    await cut_download(files, into, trust)
    assert list(tmp_path.glob("image*")) == []
    await download(files.url("image.bin"), into, **once(trust))
    assert "Range" not in files.requests[-1][2]
    assert into.read_bytes() == content


async def test_a_file_that_shrank_under_the_same_tag_is_fetched_whole(
    files: HttpFiles, trust: ssl.SSLContext, tmp_path: Path, content: bytes
) -> None:
    (files.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await cut_download(files, into, trust)
    (files.root / "image.bin").write_bytes(content[:10])
    await download(files.url("image.bin"), into, **once(trust))
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
async def test_a_part_that_was_not_asked_for_is_refused(
    files: HttpFiles,
    trust: ssl.SSLContext,
    tmp_path: Path,
    content: bytes,
    headers: dict[str, str],
) -> None:
    (files.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await cut_download(files, into, trust)
    files.answers["GET", "/image.bin"] = 206, headers
    with pytest.raises(TransferFailed, match="HTTP 206"):
        await download(files.url("image.bin"), into, **once(trust))
    del files.answers["GET", "/image.bin"]
    await download(files.url("image.bin"), into, **once(trust))
    assert into.read_bytes() == content


async def test_a_part_of_another_total_is_not_appended(
    files: HttpFiles, trust: ssl.SSLContext, tmp_path: Path, content: bytes
) -> None:
    (files.root / "image.bin").write_bytes(content)
    into = tmp_path / "image.bin"
    await cut_download(files, into, trust)
    (files.root / "image.bin").write_bytes(content + b"!")  # the tag did not change
    await download(files.url("image.bin"), into, **once(trust))
    assert into.read_bytes() == content + b"!"
    assert files.offsets[-1] == 0


async def test_redirects_are_followed(
    files: HttpFiles, secure: HttpFiles, trust: ssl.SSLContext, tmp_path: Path, content: bytes
) -> None:
    (secure.root / "image.bin").write_bytes(content)
    files.answers["GET", "/here"] = 301, {"Location": "/there"}
    files.answers["GET", "/there"] = 302, {"Location": secure.url("image.bin")}
    into = tmp_path / "image.bin"
    await download(files.url("here"), into, **once(trust))
    assert into.read_bytes() == content


async def test_an_upload_follows_a_redirect_with_its_body(
    files: HttpFiles, trust: ssl.SSLContext, source: Path
) -> None:
    files.answers["PUT", "/here"] = 307, {"Location": files.url("there")}
    await upload(source, files.url("here"), **once(trust))
    assert (files.root / "there").read_bytes() == b"the log"


async def test_no_redirect_leads_out_of_tls(
    files: HttpFiles, secure: HttpFiles, trust: ssl.SSLContext, tmp_path: Path, source: Path
) -> None:
    (files.root / "image.bin").write_bytes(b"image")
    secure.answers["GET", "/image.bin"] = 302, {"Location": files.url("image.bin")}
    secure.answers["PUT", "/log"] = 307, {"Location": files.url("log")}
    with pytest.raises(TransferFailed, match=r"redirected to http://.* refused"):
        await download(secure.url("image.bin"), tmp_path / "image.bin", **once(trust))
    with pytest.raises(TransferFailed, match=r"redirected to http://.* refused"):
        await upload(source, secure.url("log"), **once(trust))
    assert files.requests == []


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[", "\t"])
async def test_no_redirect_leads_out_of_http(
    files: HttpFiles, trust: ssl.SSLContext, tmp_path: Path, location: str
) -> None:
    files.answers["GET", "/image.bin"] = 302, {"Location": location}
    with pytest.raises(TransferFailed, match="redirected to") as failed:
        await download(files.url("image.bin"), tmp_path / "image.bin", **once(trust))
    assert not failed.value.permanent


async def test_redirects_end(files: HttpFiles, trust: ssl.SSLContext, tmp_path: Path) -> None:
    files.answers["GET", "/round"] = 302, {"Location": "/round"}
    with pytest.raises(TransferFailed, match="more than 5 redirects"):
        await download(files.url("round"), tmp_path / "image.bin", **once(trust))
    assert len(files.requests) == 6


async def test_credentials_go_to_their_own_origin_only_n01_fr_17(
    files: HttpFiles, opened: Opened, trust: ssl.SSLContext, tmp_path: Path
) -> None:
    other = opened("http")
    assert isinstance(other, HttpFiles)
    (other.root / "image.bin").write_bytes(b"image")
    files.credentials = "station", "p@ss"
    with pytest.raises(TransferFailed, match="HTTP 401"):
        await download(files.url("image.bin"), tmp_path / "image.bin", **once(trust))
    files.credentials = None
    files.answers["GET", "/image.bin"] = 302, {"Location": other.url("image.bin")}
    url = files.url("image.bin", userinfo="station:p@ss@")
    await download(url, tmp_path / "image.bin", **once(trust))
    assert files.requests[-1][2]["Authorization"] == "Basic c3RhdGlvbjpwQHNz"
    assert "Authorization" not in other.requests[-1][2]


@pytest.mark.parametrize("status", [404, 405, 415, 501])
async def test_where_put_is_unknown_a_form_is_posted_n01_fr_19(
    files: HttpFiles, trust: ssl.SSLContext, source: Path, status: int
) -> None:
    files.answers["PUT", "/upload"] = status, {}
    await upload(source, files.url("upload"), **once(trust))
    method, _, headers = files.requests[-1]
    assert method == "POST"
    form = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + files.form
    [part] = email.message_from_bytes(form, policy=email.policy.HTTP).iter_parts()
    assert part.get_content_type() == "application/octet-stream"
    assert part.get_content_disposition() == "form-data"
    assert part.get_filename() == "log %221%22.zip"
    assert part.get_payload(decode=True) == b"the log"


async def test_a_put_says_what_the_file_is_called_n01_fr_19(
    files: HttpFiles, trust: ssl.SSLContext, source: Path
) -> None:
    await upload(source, files.url("upload"), **once(trust))
    _, _, headers = files.requests[-1]
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
async def test_a_refusal_has_ocpps_name_n01_fr_10(
    files: HttpFiles, trust: ssl.SSLContext, source: Path, status: int, meaning: str
) -> None:
    files.answers["PUT", "/log"] = files.answers["POST", "/log"] = status, {}
    with pytest.raises(TransferFailed, match=f"HTTP {status}") as failed:
        await upload(source, files.url("log"), **once(trust))
    assert failed.value.status == meaning


async def test_a_signed_url_is_used_and_not_told(
    files: HttpFiles,
    trust: ssl.SSLContext,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    url = files.url("image.bin?signature=s3cret")
    with pytest.raises(TransferFailed) as failed:
        await download(url, tmp_path / "image.bin", **once(trust))
    assert files.requests[-1][1] == "/image.bin?signature=s3cret"
    assert "s3cret" not in str(failed.value) + caplog.text


async def test_the_environment_names_no_proxy(
    files: HttpFiles, trust: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    (files.root / "image.bin").write_bytes(b"image")
    await download(files.url("image.bin"), tmp_path / "image.bin", **once(trust))


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
async def test_nonsense_fails_the_attempt(
    trust: ssl.SSLContext, tmp_path: Path, nursery: trio.Nursery, answer: bytes
) -> None:
    port = await babbling(nursery, answer, after_hearing=True)
    with pytest.raises(TransferFailed) as failed:
        await download(f"http://127.0.0.1:{port}/x", tmp_path / "image.bin", **once(trust))
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
def test_only_what_tells_versions_apart_validates(
    headers: Mapping[str, str], validator: str
) -> None:
    assert strong_validator(headers) == validator
