"""Transfers over HTTP and HTTPS.

* Download: GET; the rest of an interrupted download by Range and If-Range (RFC 9110 §13.1.5,
  §14.2). If the answer is not exactly the missing part, the whole file is requested.
* Upload: PUT; if the server does not support PUT, POST of a form with one file (N01.FR.18,
  N01.FR.19). HTTP cannot continue an interrupted upload: it starts again.
* Redirects: at most 5, never from https to http. Credentials are sent only to the origin they were
  given for.
"""

from __future__ import annotations

import contextlib
import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import BinaryIO, Final
from urllib.parse import quote, urljoin

import httpx
import msgspec

from station.runtime.transfers.partial_download import PartialDownload
from station.runtime.transfers.results import (
    CHUNK_BYTES,
    TransferFailed,
    TransferFailureStatus,
    TransferOptions,
)
from station.runtime.transfers.upload_source import UploadSource
from station.runtime.transfers.url import TransferUrl, parse_url

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs, signed ones too

OK, PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 200, 206, 416
REDIRECT_STATUSES: Final = {"GET": (301, 302, 303, 307, 308), "PUT": (307, 308), "POST": (307, 308)}
PUT_UNSUPPORTED_STATUSES: Final = (404, 405, 415, 501)  # then the form is tried
CONTENT_RANGE_PATTERN: Final = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")
STATUS_BY_HTTP_CODE: Final[dict[int, TransferFailureStatus]] = {
    400: "BadMessage",
    401: "PermissionDenied",
    403: "PermissionDenied",
    405: "NotSupportedOperation",
    407: "PermissionDenied",
    415: "NotSupportedOperation",
    501: "NotSupportedOperation",
    505: "NotSupportedOperation",
}


def fetch_file(url: TransferUrl, download: PartialDownload, options: TransferOptions) -> None:
    """Download the missing part of the file. Raises TransferFailed."""
    with _HttpSession(options) as exchange:
        range_headers = {
            "Range": f"bytes={download.received_bytes}-",
            "If-Range": download.validator,
        }
        response = exchange.send_request("GET", url, range_headers if download.is_resumable else {})
        if response.status_code == RANGE_NOT_SATISFIABLE or not _is_usable_response(
            download, response
        ):
            response = exchange.send_request("GET", url, {})
        if response.status_code == OK:
            total = _content_length(response.headers)
            download.start_from_zero(total, strong_validator(response.headers))
        elif response.status_code != PARTIAL_CONTENT or not _is_usable_response(download, response):
            raise _http_error(url, response)
        with exchange.translate_errors(url):
            for chunk in response.iter_raw():
                download.append(chunk)
    if download.total_bytes is not None and download.received_bytes != download.total_bytes:
        raise url.transfer_error(
            f"received {download.received_bytes} of {download.total_bytes} bytes"
        )


def send_file(url: TransferUrl, upload_source: UploadSource, options: TransferOptions) -> None:
    """Upload the whole file. Raises TransferFailed."""
    file_url = url.join_name(upload_source.name) if url.path.endswith("/") else url
    with upload_source.open() as file, _HttpSession(options) as exchange:
        plain = _plain_body(file, upload_source)
        response = exchange.send_request("PUT", file_url, plain.headers, plain)
        if response.status_code in PUT_UNSUPPORTED_STATUSES:
            form = _form_body(file, upload_source)
            response = exchange.send_request("POST", url, form.headers, form)
        if not response.is_success:
            raise _http_error(url, response)


def strong_validator(headers: Mapping[str, str]) -> str:
    """The value for If-Range: strong ETag or date; empty: the response has neither.

    A date is used only if it is at least a second older than the response: within that second the
    file may have changed again (RFC 9110 §8.8.2.2).
    """
    tag = headers.get("ETag", "")
    if tag:
        return "" if tag.startswith("W/") else tag
    changed, answered = headers.get("Last-Modified", ""), headers.get("Date", "")
    try:
        age = parsedate_to_datetime(answered) - parsedate_to_datetime(changed)
    except (ValueError, TypeError):  # absent, malformed, or without a time zone
        return ""
    return changed if age >= timedelta(seconds=1) else ""


class _FileBody(httpx.SyncByteStream):
    """A file as the body of a request, with bytes before and after it. May be sent again."""

    def __init__(
        self,
        file: BinaryIO,
        upload_source: UploadSource,
        headers: Mapping[str, str],
        head_and_tail: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self._file = file
        self._head_and_tail = head_and_tail
        length = upload_source.size_bytes + sum(map(len, head_and_tail))
        self.headers = {"Content-Length": str(length), **headers}

    def __iter__(self) -> Iterator[bytes]:
        head, tail = self._head_and_tail
        self._file.seek(0)
        yield head
        while chunk := self._file.read(CHUNK_BYTES):
            yield chunk
        yield tail


def _plain_body(file: BinaryIO, upload_source: UploadSource) -> _FileBody:
    """The file alone; a header has its name, for servers that store by name."""
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{_quote_name(upload_source.name)}"',
    }
    return _FileBody(file, upload_source, headers)


def _form_body(file: BinaryIO, upload_source: UploadSource) -> _FileBody:
    """multipart/form-data with one field, as in N01.FR.19."""
    boundary = uuid.uuid4().hex
    name = _quote_name(upload_source.name)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="uploadfile"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    tail = f"\r\n--{boundary}--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return _FileBody(file, upload_source, headers, (head.encode(), tail.encode()))


def _quote_name(name: str) -> str:
    """A file name for Content-Disposition. RFC 7578 §4.2."""
    return quote(name, safe=" !#$&'()*+,;=@[]^`{}~")


class _HttpSession(contextlib.ExitStack):
    """Requests and responses of one attempt, closed together."""

    def __init__(self, options: TransferOptions) -> None:
        super().__init__()
        self._limits = options.limits
        self._client = httpx.Client(
            verify=options.tls_context,
            timeout=httpx.Timeout(
                options.limits.stall_timeout_s, connect=options.limits.connect_timeout_s
            ),
            trust_env=False,  # environment variables must not change what a station does
            headers={"Accept-Encoding": "identity"},  # the file, byte for byte
        )
        self.enter_context(self._client)

    def send_request(
        self,
        method: str,
        url: TransferUrl,
        headers: Mapping[str, str],
        body: _FileBody | None = None,
    ) -> httpx.Response:
        """The first response that is no redirect; its body is not read yet."""
        for _ in range(self._limits.redirects_max + 1):
            with self.translate_errors(url):
                request = self._client.build_request(
                    method, url.without_credentials, headers=headers
                )
                if body is not None:
                    request.stream = body  # as `content` it could be sent only once
                response = self._client.send(request, stream=True, auth=_basic_auth(url))
            self.callback(response.close)
            if response.status_code not in REDIRECT_STATUSES[method]:
                return response
            url = _follow_redirect(url, response)
        raise url.transfer_error(f"more than {self._limits.redirects_max} redirects")

    @contextlib.contextmanager
    def translate_errors(self, url: TransferUrl) -> Iterator[None]:
        """Turn errors of httpx into TransferFailed."""
        try:
            yield
        except httpx.ConnectTimeout:
            raise url.transfer_error(
                f"no connection within {self._limits.connect_timeout_s:g} s"
            ) from None
        except httpx.TimeoutException:
            raise url.transfer_error(f"no data for {self._limits.stall_timeout_s:g} s") from None
        except (httpx.ProtocolError, httpx.InvalidURL, UnicodeError) as error:
            raise url.transfer_error(str(error), "BadMessage") from error
        except httpx.HTTPError as error:
            raise url.transfer_error(_error_text(error)) from error


def _error_text(error: BaseException) -> str:
    """The first text in the chain of exceptions that is not empty."""
    inner: BaseException | None = error
    while inner is not None:
        if str(inner):
            return str(inner)
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__


def _basic_auth(url: TransferUrl) -> httpx.BasicAuth | None:
    """Credentials of the URL as HTTP Basic. N01.FR.17."""
    if not url.user and not url.password:
        return None
    return httpx.BasicAuth(url.user, url.password)


def _follow_redirect(url: TransferUrl, response: httpx.Response) -> TransferUrl:
    """The URL of a redirect. It gets the credentials only if its origin is the same."""
    location = response.headers.get("Location", "")
    try:
        target = parse_url(urljoin(url.without_credentials, location))
    except (TransferFailed, ValueError) as error:
        raise url.transfer_error(f"redirected to an unusable URL: {error}", "BadMessage") from None
    if target.scheme not in ("https", url.scheme) or not location:
        raise url.transfer_error(f"redirected to {target.loggable_url}; refused")
    if target.origin == url.origin and not target.user:
        return msgspec.structs.replace(target, user=url.user, password=url.password)
    return target


def _is_usable_response(download: PartialDownload, response: httpx.Response) -> bool:
    """Whether a partial response is the missing part. True for any other response."""
    if response.status_code != PARTIAL_CONTENT:
        return True
    content_range = CONTENT_RANGE_PATTERN.fullmatch(response.headers.get("Content-Range", ""))
    same_file = response.headers.get("ETag", download.validator) == download.validator
    return (
        download.is_resumable
        and same_file
        and content_range is not None
        and int(content_range[1]) == download.received_bytes
        and content_range[2] in ("*", str(download.total_bytes))
    )


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _http_error(url: TransferUrl, response: httpx.Response) -> TransferFailed:
    status = STATUS_BY_HTTP_CODE.get(response.status_code, "UploadFailure")
    return url.transfer_error(f"HTTP {response.status_code} {response.reason_phrase}", status)
