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

from station.runtime.transfers.outgoing import Outgoing
from station.runtime.transfers.partial import Partial
from station.runtime.transfers.target import Target, parse
from station.runtime.transfers.terms import CHUNK, FailureStatus, Means, Progress, TransferFailed

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs, signed ones too

OK, PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 200, 206, 416
REDIRECTS: Final = {"GET": (301, 302, 303, 307, 308), "PUT": (307, 308), "POST": (307, 308)}
NO_PUT_HERE: Final = (404, 405, 415, 501)  # what servers that only know the form answer to PUT
CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")
STATUSES: Final[dict[int, FailureStatus]] = {
    400: "BadMessage",
    401: "PermissionDenied",
    403: "PermissionDenied",
    405: "NotSupportedOperation",
    407: "PermissionDenied",
    415: "NotSupportedOperation",
    501: "NotSupportedOperation",
    505: "NotSupportedOperation",
}


async def fetch(target: Target, partial: Partial, means: Means) -> None:
    """Receive what is missing of the file.

    Raises:
        TransferFailed: see its text.
    """
    async with _Exchange(means) as exchange:
        ask = {"Range": f"bytes={partial.size}-", "If-Range": partial.validator}
        response = await exchange.ask("GET", target, ask if partial.resumable else {})
        if response.status_code == RANGE_NOT_SATISFIABLE or not _usable(partial, response):
            response = await exchange.ask("GET", target, {})
        if response.status_code == OK:
            total = _content_length(response.headers)
            validator = strong_validator(response.headers)
            await trio.to_thread.run_sync(partial.begin, total, validator)
        elif response.status_code != PARTIAL_CONTENT or not _usable(partial, response):
            raise _refused(target, response)
        with exchange.failures(target):
            await _poured(response, partial, means.progress)
    if partial.total is not None and partial.size != partial.total:
        raise target.failed(f"{partial.size} of {partial.total} bytes came")


async def send(target: Target, outgoing: Outgoing, means: Means) -> None:
    """Send the whole file.

    Raises:
        TransferFailed: see its text.
    """
    place = target.within(outgoing.name) if target.path.endswith("/") else target
    with await trio.to_thread.run_sync(outgoing.open) as file:
        async with _Exchange(means) as exchange:
            plain = _plain(file, outgoing, means.progress)
            response = await exchange.ask("PUT", place, plain.headers, plain)
            if response.status_code in NO_PUT_HERE:
                form = _form(file, outgoing, means.progress)
                response = await exchange.ask("POST", target, form.headers, form)
            if not response.is_success:
                raise _refused(target, response)


async def _poured(response: httpx.Response, partial: Partial, progress: Progress) -> None:
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
                await trio.to_thread.run_sync(partial.append, chunk)
            except TransferFailed as failure:
                refused = failure
                reading.cancel()
            else:
                progress(partial.size, partial.total)
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


class _Body(httpx.AsyncByteStream):
    """A file as the body of a request, with what goes before and after it. May be sent again."""

    def __init__(
        self,
        file: BinaryIO,
        outgoing: Outgoing,
        progress: Progress,
        headers: Mapping[str, str],
        around: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self._file = file
        self._size = outgoing.size
        self._progress = progress
        self._around = around
        length = outgoing.size + sum(map(len, around))
        self.headers = {"Content-Length": str(length), **headers}

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces(self._file, self._size, self._progress, self._around)


def _plain(file: BinaryIO, outgoing: Outgoing, progress: Progress) -> _Body:
    """The file and nothing else; a server that stores by name finds the name in a header."""
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{_quoted(outgoing.name)}"',
    }
    return _Body(file, outgoing, progress, headers)


def _form(file: BinaryIO, outgoing: Outgoing, progress: Progress) -> _Body:
    """multipart/form-data with the one field N01.FR.19 shows."""
    boundary = uuid.uuid4().hex
    name = _quoted(outgoing.name)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="uploadfile"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    tail = f"\r\n--{boundary}--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return _Body(file, outgoing, progress, headers, (head.encode(), tail.encode()))


def _quoted(name: str) -> str:
    """RFC 7578 §4.2."""
    return quote(name, safe=" !#$&'()*+,;=@[]^`{}~")


class _Pieces:
    """A body read once. Not a generator: nobody closes one that a broken connection leaves."""

    def __init__(
        self, file: BinaryIO, size: int, progress: Progress, around: tuple[bytes, bytes]
    ) -> None:
        self._head, self._tail = around
        self._file = file
        self._size = size
        self._progress = progress
        self._sent = 0
        file.seek(0)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        chunk = await trio.to_thread.run_sync(self._file.read, CHUNK)
        if chunk:
            self._sent += len(chunk)
            self._progress(self._sent, self._size)
            return chunk
        if self._tail:
            tail, self._tail = self._tail, b""
            return tail
        raise StopAsyncIteration


class _Exchange(contextlib.AsyncExitStack):
    """One attempt's requests and answers, closed together."""

    def __init__(self, means: Means) -> None:
        super().__init__()
        self._limits = means.limits
        self._client = httpx.AsyncClient(
            verify=means.trust,
            timeout=httpx.Timeout(means.limits.stall_s, connect=means.limits.connect_s),
            trust_env=False,  # what a station does must not depend on a shell's variables
            headers={"Accept-Encoding": "identity"},  # the file, byte for byte
        )
        self.push_async_exit(self._client)

    async def ask(
        self, method: str, target: Target, headers: Mapping[str, str], body: _Body | None = None
    ) -> httpx.Response:
        """The first answer that is no redirect; its body is not read yet."""
        for _ in range(self._limits.redirects_max + 1):
            with self.failures(target):
                request = self._client.build_request(method, target.location, headers=headers)
                if body is not None:
                    request.stream = body  # as `content` it would be wrapped in a generator
                response = await self._client.send(request, stream=True, auth=_credentials(target))
            self.push_async_callback(response.aclose)
            if response.status_code not in REDIRECTS[method]:
                return response
            target = _redirected(target, response)
        raise target.failed(f"more than {self._limits.redirects_max} redirects")

    @contextlib.contextmanager
    def failures(self, target: Target) -> Iterator[None]:
        """Put what goes wrong on the way in words."""
        try:
            yield
        except httpx.ConnectTimeout:
            raise target.failed(f"no connection within {self._limits.connect_s:g} s") from None
        except httpx.TimeoutException:
            raise target.failed(f"not a byte for {self._limits.stall_s:g} s") from None
        except (httpx.ProtocolError, httpx.InvalidURL, UnicodeError) as error:
            raise target.failed(str(error), "BadMessage") from error
        except httpx.HTTPError as error:
            raise target.failed(_cause(error)) from error


def _cause(error: BaseException) -> str:
    """What the first of the exceptions behind `error` says that says anything."""
    inner: BaseException | None = error
    while inner is not None:
        if str(inner):
            return str(inner)
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__


def _credentials(target: Target) -> httpx.BasicAuth | None:
    """N01.FR.17."""
    if not target.user and not target.password:
        return None
    return httpx.BasicAuth(target.user, target.password)


def _redirected(target: Target, response: httpx.Response) -> Target:
    """Where the answer sends us. Credentials stay with the origin they were given for."""
    location = response.headers.get("Location", "")
    try:
        found = parse(urljoin(target.location, location))
    except (TransferFailed, ValueError) as error:
        raise target.failed(f"redirected to a place that is none: {error}", "BadMessage") from None
    if found.scheme not in ("https", target.scheme) or not location:
        raise target.failed(f"redirected to {found.shown}; refused")
    if found.origin == target.origin and not found.user:
        return msgspec.structs.replace(found, user=target.user, password=target.password)
    return found


def _usable(partial: Partial, response: httpx.Response) -> bool:
    """Whether the answer, if it is a part of the file, is the part that is missing."""
    if response.status_code != PARTIAL_CONTENT:
        return True
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    same_file = response.headers.get("ETag", partial.validator) == partial.validator
    return (
        partial.resumable
        and same_file
        and found is not None
        and int(found[1]) == partial.size
        and found[2] in ("*", str(partial.total))
    )


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _refused(target: Target, response: httpx.Response) -> TransferFailed:
    status = STATUSES.get(response.status_code, "UploadFailure")
    return target.failed(f"HTTP {response.status_code} {response.reason_phrase}", status)
