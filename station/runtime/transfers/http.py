"""How does a file travel over HTTP and HTTPS?

Down by GET; the rest of a broken one by Range and If-Range (RFC 9110 §13.1.5, §14.2). Up by PUT;
where PUT is not understood, by POST as a form with one file (N01.FR.18, N01.FR.19). HTTP has no way
to go on with a broken upload: it starts again.
"""

from __future__ import annotations

import contextlib
import logging
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import BinaryIO, Final
from urllib.parse import quote, urljoin

import httpx
import msgspec
import trio

from station.runtime.transfers.partial_download import PartialDownload
from station.runtime.transfers.results import (
    CHUNK_BYTES,
    ProgressCallback,
    TransferFailed,
    TransferFailureStatus,
    TransferOptions,
)
from station.runtime.transfers.upload_source import UploadSource
from station.runtime.transfers.url import TransferUrl, parse_url

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs, signed ones too

OK, PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 200, 206, 416
REDIRECT_STATUSES: Final = {"GET": (301, 302, 303, 307, 308), "PUT": (307, 308), "POST": (307, 308)}
PUT_UNSUPPORTED_STATUSES: Final = (
    404,
    405,
    415,
    501,
)  # what servers that only know the form answer to PUT
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


async def fetch_file(url: TransferUrl, download: PartialDownload, options: TransferOptions) -> None:
    """Receive what is missing of the file.

    Raises:
        TransferFailed: see its text.
    """
    async with _HttpSession(options) as exchange:
        ask = {"Range": f"bytes={download.received_bytes}-", "If-Range": download.validator}
        response = await exchange.send_request("GET", url, ask if download.is_resumable else {})
        if response.status_code == RANGE_NOT_SATISFIABLE or not _is_usable_response(
            download, response
        ):
            response = await exchange.send_request("GET", url, {})
        if response.status_code == OK:
            total = _content_length(response.headers)
            validator = strong_validator(response.headers)
            await trio.to_thread.run_sync(download.start_from_zero, total, validator)
        elif response.status_code != PARTIAL_CONTENT or not _is_usable_response(download, response):
            raise _http_error(url, response)
        with exchange.translate_errors(url):
            await _write_body(response, download, options.progress)
    if download.total_bytes is not None and download.received_bytes != download.total_bytes:
        raise url.transfer_error(f"{download.received_bytes} of {download.total_bytes} bytes came")


async def send_file(
    url: TransferUrl, upload_source: UploadSource, options: TransferOptions
) -> None:
    """Send the whole file.

    Raises:
        TransferFailed: see its text.
    """
    place = url.join_name(upload_source.name) if url.path.endswith("/") else url
    with await trio.to_thread.run_sync(upload_source.open) as file:
        async with _HttpSession(options) as exchange:
            plain = _plain_body(file, upload_source, options.progress)
            response = await exchange.send_request("PUT", place, plain.headers, plain)
            if response.status_code in PUT_UNSUPPORTED_STATUSES:
                form = _form_body(file, upload_source, options.progress)
                response = await exchange.send_request("POST", url, form.headers, form)
            if not response.is_success:
                raise _http_error(url, response)


async def _write_body(
    response: httpx.Response, download: PartialDownload, progress: ProgressCallback
) -> None:
    """The body into the file.

    When the disk refuses, the body's nested generators are ended from within, by cancelling the
    next read: left from outside, they would be cleaned up by nobody.
    """
    refused: TransferFailed | None = None
    with trio.CancelScope() as reading:
        async for chunk in response.aiter_raw():
            if refused:
                continue
            try:
                await trio.to_thread.run_sync(download.append, chunk)
            except TransferFailed as failure:
                refused = failure
                reading.cancel()
            else:
                progress(download.received_bytes, download.total_bytes)
    if refused:
        raise refused


def strong_validator(headers: Mapping[str, str]) -> str:
    """What If-Range may carry: "" if nothing tells this version of the file from the next.

    A date counts once it is a second older than the answer: within that second the file may have
    changed again (RFC 9110 §8.8.2.2).
    """
    tag = headers.get("ETag", "")
    if tag:
        return "" if tag.startswith("W/") else tag
    changed, answered = headers.get("Last-Modified", ""), headers.get("Date", "")
    try:
        age = parsedate_to_datetime(answered) - parsedate_to_datetime(changed)
    except (ValueError, TypeError):  # absent, nonsense, or one of them without a zone
        return ""
    return changed if age >= timedelta(seconds=1) else ""


class _FileBody(httpx.AsyncByteStream):
    """A file as the body of a request, with what goes before and after it. May be sent again."""

    def __init__(
        self,
        file: BinaryIO,
        upload_source: UploadSource,
        progress: ProgressCallback,
        headers: Mapping[str, str],
        head_and_tail: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self._file = file
        self._file_bytes = upload_source.size_bytes
        self._progress = progress
        self._head_and_tail = head_and_tail
        length = upload_source.size_bytes + sum(map(len, head_and_tail))
        self.headers = {"Content-Length": str(length), **headers}

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _BodyIterator(self._file, self._file_bytes, self._progress, self._head_and_tail)


def _plain_body(
    file: BinaryIO, upload_source: UploadSource, progress: ProgressCallback
) -> _FileBody:
    """The file and nothing else; a server that stores by name finds the name in a header."""
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{_quote_name(upload_source.name)}"',
    }
    return _FileBody(file, upload_source, progress, headers)


def _form_body(
    file: BinaryIO, upload_source: UploadSource, progress: ProgressCallback
) -> _FileBody:
    """multipart/form-data with the one field N01.FR.19 shows."""
    boundary = uuid.uuid4().hex
    name = _quote_name(upload_source.name)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="uploadfile"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    tail = f"\r\n--{boundary}--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return _FileBody(file, upload_source, progress, headers, (head.encode(), tail.encode()))


def _quote_name(name: str) -> str:
    """RFC 7578 §4.2."""
    return quote(name, safe=" !#$&'()*+,;=@[]^`{}~")


class _BodyIterator:
    """A body read once. Not a generator: nobody closes one that a broken connection leaves."""

    def __init__(
        self,
        file: BinaryIO,
        file_bytes: int,
        progress: ProgressCallback,
        head_and_tail: tuple[bytes, bytes],
    ) -> None:
        self._head, self._tail = head_and_tail
        self._file = file
        self._file_bytes = file_bytes
        self._progress = progress
        self._sent_bytes = 0
        file.seek(0)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        chunk = await trio.to_thread.run_sync(self._file.read, CHUNK_BYTES)
        if chunk:
            self._sent_bytes += len(chunk)
            self._progress(self._sent_bytes, self._file_bytes)
            return chunk
        if self._tail:
            tail, self._tail = self._tail, b""
            return tail
        raise StopAsyncIteration


class _HttpSession(contextlib.AsyncExitStack):
    """One attempt's requests and answers, closed together."""

    def __init__(self, options: TransferOptions) -> None:
        super().__init__()
        self._limits = options.limits
        self._client = httpx.AsyncClient(
            verify=options.tls_context,
            timeout=httpx.Timeout(
                options.limits.stall_timeout_s, connect=options.limits.connect_timeout_s
            ),
            trust_env=False,  # what a station does must not depend on a shell's variables
            headers={"Accept-Encoding": "identity"},  # the file, byte for byte
        )
        self.push_async_exit(self._client)

    async def send_request(
        self,
        method: str,
        url: TransferUrl,
        headers: Mapping[str, str],
        body: _FileBody | None = None,
    ) -> httpx.Response:
        """The first answer that is no redirect; its body is not read yet."""
        for _ in range(self._limits.redirects_max + 1):
            with self.translate_errors(url):
                request = self._client.build_request(
                    method, url.without_credentials, headers=headers
                )
                if body is not None:
                    request.stream = body  # as `content` it would be wrapped in a generator
                response = await self._client.send(request, stream=True, auth=_basic_auth(url))
            self.push_async_callback(response.aclose)
            if response.status_code not in REDIRECT_STATUSES[method]:
                return response
            url = _follow_redirect(url, response)
        raise url.transfer_error(f"more than {self._limits.redirects_max} redirects")

    @contextlib.contextmanager
    def translate_errors(self, url: TransferUrl) -> Iterator[None]:
        """Put what goes wrong on the way in words."""
        try:
            yield
        except httpx.ConnectTimeout:
            raise url.transfer_error(
                f"no connection within {self._limits.connect_timeout_s:g} s"
            ) from None
        except httpx.TimeoutException:
            raise url.transfer_error(f"not a byte for {self._limits.stall_timeout_s:g} s") from None
        except (httpx.ProtocolError, httpx.InvalidURL, UnicodeError) as error:
            raise url.transfer_error(str(error), "BadMessage") from error
        except httpx.HTTPError as error:
            raise url.transfer_error(_error_text(error)) from error


def _error_text(error: BaseException) -> str:
    """What the first of the exceptions behind `error` says that says anything."""
    inner: BaseException | None = error
    while inner is not None:
        if str(inner):
            return str(inner)
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__


def _basic_auth(url: TransferUrl) -> httpx.BasicAuth | None:
    """N01.FR.17."""
    if not url.user and not url.password:
        return None
    return httpx.BasicAuth(url.user, url.password)


def _follow_redirect(url: TransferUrl, response: httpx.Response) -> TransferUrl:
    """Where the answer sends us. Credentials stay with the origin they were given for."""
    location = response.headers.get("Location", "")
    try:
        found = parse_url(urljoin(url.without_credentials, location))
    except (TransferFailed, ValueError) as error:
        raise url.transfer_error(
            f"redirected to a place that is none: {error}", "BadMessage"
        ) from None
    if found.scheme not in ("https", url.scheme) or not location:
        raise url.transfer_error(f"redirected to {found.loggable_url}; refused")
    if found.origin == url.origin and not found.user:
        return msgspec.structs.replace(found, user=url.user, password=url.password)
    return found


def _is_usable_response(download: PartialDownload, response: httpx.Response) -> bool:
    """Whether the answer, if it is a part of the file, is the part that is missing."""
    if response.status_code != PARTIAL_CONTENT:
        return True
    found = CONTENT_RANGE_PATTERN.fullmatch(response.headers.get("Content-Range", ""))
    same_file = response.headers.get("ETag", download.validator) == download.validator
    return (
        download.is_resumable
        and same_file
        and found is not None
        and int(found[1]) == download.received_bytes
        and found[2] in ("*", str(download.total_bytes))
    )


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _http_error(url: TransferUrl, response: httpx.Response) -> TransferFailed:
    status = STATUS_BY_HTTP_CODE.get(response.status_code, "UploadFailure")
    return url.transfer_error(f"HTTP {response.status_code} {response.reason_phrase}", status)
