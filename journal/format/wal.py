"""The write-ahead log: its frames, and commits in it that SQLite cannot reach.

SQLite reads a log up to the first frame with a wrong checksum. After a power cut that frame belongs
to the one commit that was in progress, or to the padding before it. If more than one commit follows
it, the log was damaged later, and the commits it hides were acknowledged.

Source: SQLite, "WAL-mode File Format", and sections 4.1 to 4.4 of "Database File Format".
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from journal.format.sectors import FileContent, read_file_with_filler, read_with_filler

_MAGIC_LITTLE, _MAGIC_BIG = (
    0x377F0682,
    0x377F0683,
)  # magic number: byte order of the checksums' words
# Magic, version, page size, checkpoint number, two salts, two checksums
_LOG_HEADER = struct.Struct(">8I")
_ZEROS = bytes(4096)
_CHECKED_BYTES_MAX = 64 << 20  # of a log; the station's is 4 MiB, longer beside a slow reader
LOG_BYTES_MAX = 1 << 30  # of a log that is salvaged
# Page, pages of the file if the frame ends a commit, two salts, two checksums
_FRAME_HEADER = struct.Struct(">6I")


LogContent = bytes | FileContent


class _Frame(NamedTuple):
    page: int
    ends_commit: bool
    salts: tuple[int, int]
    checksum: tuple[int, int]
    checksummed_header: bytes  # covered by the checksum, with the image
    image: bytes
    start: int  # of the image in the log


def find_lost_commits(path: Path) -> str | None:
    """Describe commits in the log at `path`-wal that SQLite cannot reach; None if there are none.

    Checks twice: a log in use may change while it is read.
    """
    first = _find_lost_commits_once(path)
    return first and _find_lost_commits_once(path)


def _find_lost_commits_once(path: Path) -> str | None:
    try:
        log = read_file_with_filler(Path(f"{path}-wal"), _CHECKED_BYTES_MAX)
    except FileNotFoundError:
        return None
    frames = list(_iter_frames(log))
    if not frames:
        return None
    header = _parse_header(log)
    if header is None:
        return _describe_lost_header(path, frames)
    words, salts, checksum = header
    for number, frame in enumerate(frames):
        checksum = _extend_checksum(words, frame.checksummed_header + frame.image, checksum)
        if frame.salts != salts or checksum != frame.checksum:
            return _describe_lost_after(words, frames, number, salts)
    return None


class LoggedPage(NamedTuple):
    """A page, and where in the log its image is."""

    page: int
    start: int
    stop: int


def split_frames(log: LogContent) -> tuple[list[LoggedPage], list[LoggedPage]]:
    """Pages of the commits SQLite can reach, and of those it cannot; of LOG_BYTES_MAX at most.

    Frames that belong to no whole commit are in neither. Images are not kept, so the memory is 100
    bytes a frame.
    """
    header = _parse_header(log)
    words, salts, checksum = header or ("<", _salts_of_first_valid_run(log), (0, 0))
    reached, hidden = list[LoggedPage](), list[LoggedPage]()
    reached_count = hidden_count = 0  # up to the last end of a commit
    is_good = header is not None
    for frame in _iter_frames(log, LOG_BYTES_MAX):
        if is_good:
            checksum = _extend_checksum(words, frame.checksummed_header + frame.image, checksum)
            is_good = frame.salts == salts and checksum == frame.checksum
        page = LoggedPage(frame.page, frame.start, frame.start + len(frame.image))
        if is_good:
            reached.append(page)
            reached_count = len(reached) if frame.ends_commit else reached_count
        elif frame.salts == salts:
            hidden.append(page)
            hidden_count = len(hidden) if frame.ends_commit else hidden_count
    # Frames whose commit has no end that SQLite can reach
    unfinished = reached[reached_count:] if hidden_count else []
    return reached[:reached_count], unfinished + hidden[:hidden_count]


def _salts_of_first_valid_run(log: LogContent) -> tuple[int, int]:
    """As `_first_valid_run`, of a log of any length."""
    first_salts: tuple[int, int] | None = None
    before: _Frame | None = None
    for frame in _iter_frames(log, LOG_BYTES_MAX):
        first_salts = first_salts or frame.salts
        if (
            before is not None
            and any(frame.checksum)
            and any(_is_valid_after(words, before, frame) for words in "<>")
        ):
            return before.salts
        before = frame
    return first_salts or (0, 0)


def iter_changed_checksums(
    log: LogContent, zeroed_spans: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, bytes]]:
    """The checksums that change when spans of images become zeros: offset in the log, bytes.

    A frame that did not follow from the one before it still does not: SQLite reaches the same
    commits in the log as before. Checksums may be written while this is iterated.

    Args:
        log: as it is before.
        zeroed_spans: offset and length.
    """
    spans = deque(sorted(zeroed_spans))
    words = "<" if log[:4] == _MAGIC_LITTLE.to_bytes(4, "big") else ">"
    old = new = _LOG_HEADER.unpack(log[:32])[6:8] if len(log) >= _LOG_HEADER.size else (0, 0)
    for frame in _iter_frames(log):
        image, checksum = _zero_spans(frame, spans), frame.checksum
        if image != frame.image or new != old:
            follows = checksum == _extend_checksum(
                words, frame.checksummed_header + frame.image, old
            )
            if follows:
                checksum = _extend_checksum(words, frame.checksummed_header + image, new)
                yield frame.start - 8, struct.pack(">2I", *checksum)
        old, new = frame.checksum, checksum


def _zero_spans(frame: _Frame, spans: deque[tuple[int, int]]) -> bytes:
    """The image with zeros where a span covers it. Spans before its end are removed."""
    image, end = bytearray(frame.image), frame.start + len(frame.image)
    while spans and spans[0][0] < end:
        start, length = spans.popleft()
        first, stop = max(start, frame.start), min(start + length, end)
        image[first - frame.start : stop - frame.start] = bytes(max(0, stop - first))
        if start + length > end:
            spans.appendleft((end, start + length - end))
            break
    return bytes(image)


def _parse_header(log: LogContent) -> tuple[str, tuple[int, int], tuple[int, int]] | None:
    """Byte order of the checksums, salts, checksum so far; None if the header is damaged."""
    if len(log) < _LOG_HEADER.size:
        return None
    magic, _, _, _, salt_1, salt_2, *given = _LOG_HEADER.unpack(log[: _LOG_HEADER.size])
    words = "<" if magic == _MAGIC_LITTLE else ">"
    checksum = _extend_checksum(words, log[:24], (0, 0))
    if magic not in (_MAGIC_LITTLE, _MAGIC_BIG) or checksum != tuple(given):
        return None
    return words, (salt_1, salt_2), checksum


def _describe_lost_after(
    byte_order: str, frames: list[_Frame], damaged_index: int, salts: tuple[int, int]
) -> str | None:
    """Describe the commits after a damaged frame, written since the log's last restart.

    None for a single commit: its writes reach the disk in any order before a power cut. Padding to
    the disk's sector, which repeats a commit's last frame, counts to that commit.
    """
    pairs = zip(frames[damaged_index:], frames[damaged_index + 1 :], strict=False)
    whole = (
        [True] * damaged_index + [False] + [_is_valid_after(byte_order, *pair) for pair in pairs]
    )
    ends = [at for at, frame in enumerate(frames) if frame.ends_commit and frame.salts == salts]
    if not _has_unpadded_commit(frames, whole, ends):
        ends = [at for at in ends if at - 1 not in ends or frames[at].page != frames[at - 1].page]
    commits = sum(at >= damaged_index for at in ends)
    return (
        f"{commits} commits after damaged frame {damaged_index + 1} of the log"
        if commits > 1
        else None
    )


def _has_unpadded_commit(
    frames: list[_Frame], is_valid: list[bool], commit_ends: list[int]
) -> bool:
    """Whether some commit shows that commits were not padded: its last frame occurs only once.

    Otherwise two ends in a row, of the same page, may be one commit.
    """
    return any(
        is_valid[at]
        and is_valid[at + 1]
        and frames[at].image != frames[at + 1].image
        and (
            at - 1 not in commit_ends
            or (is_valid[at - 1] and frames[at].image != frames[at - 1].image)
        )
        for at in commit_ends
        if at + 1 < len(frames)
    )


def _is_valid_after(byte_order: str, before: _Frame, frame: _Frame) -> bool:
    """Whether a frame is as it was written, provided that the one before it is."""
    return (
        _extend_checksum(byte_order, frame.checksummed_header + frame.image, before.checksum)
        == frame.checksum
    )


def _describe_lost_header(path: Path, frames: list[_Frame]) -> str | None:
    """Describe the loss of a log without a readable header; None if the file has its content.

    The file has it if the power failed while the log was restarted. A log with one commit may have
    a damaged header too, on a disk that harms the bytes next to those it writes.
    """
    written = _first_valid_run(frames)
    while written and not written[-1].ends_commit:
        written.pop()
    if len({frame.image for frame in written if frame.ends_commit}) <= 1:
        return None
    latest = {frame.page: frame.image for frame in written}
    with path.open("rb") as file:
        for page, image in latest.items():
            at = max(page - 1, 0) * len(image)  # page 0 does not exist: a damaged frame
            if read_with_filler(file.fileno(), len(image), at)[0] != image:
                return "the header of the log is damaged, and with it all its commits are lost"
    return None


def _first_valid_run(frames: list[_Frame]) -> list[_Frame]:
    """The first run of frames that follow from each other; the first frame alone if none do.

    Noise may precede them, from growing the log or as damage.
    """
    run = frames[:1]
    for frame in frames[1:]:
        if any(frame.checksum) and any(_is_valid_after(words, run[-1], frame) for words in "<>"):
            run.append(frame)
        elif len(run) > 1:
            return run
        else:
            run = [frame]
    return run if len(run) > 1 else frames[:1]


def _used_bytes(log: LogContent, bytes_max: int | None = None) -> int:
    """Offset of the zeros that the log was grown with. Earlier zeros are damage."""
    size = len(log) if bytes_max is None else min(len(log), bytes_max)
    for at in reversed(range(0, size, len(_ZEROS))):
        piece = log[at : min(at + len(_ZEROS), size)]
        if piece != _ZEROS[: len(piece)]:
            return at + len(piece.rstrip(b"\0"))
    return 0


def _iter_frames(log: LogContent, bytes_max: int | None = None) -> Iterator[_Frame]:
    """Whole frames that begin in the used part of the first `bytes_max`; None: of the log."""
    used_bytes = _used_bytes(log, bytes_max)
    if len(log) < _LOG_HEADER.size:
        return
    size = _LOG_HEADER.unpack(log[: _LOG_HEADER.size])[2]
    if size not in {1 << bits for bits in range(9, 17)}:
        size = 4096
    end = min(used_bytes, len(log) - size - _FRAME_HEADER.size + 1)
    for start in range(_LOG_HEADER.size, end, size + _FRAME_HEADER.size):
        head = log[start : start + _FRAME_HEADER.size]
        page, commits, salt_1, salt_2, sum_1, sum_2 = _FRAME_HEADER.unpack(head)
        image = log[start + _FRAME_HEADER.size : start + _FRAME_HEADER.size + size]
        yield _Frame(
            page,
            commits > 0,
            (salt_1, salt_2),
            (sum_1, sum_2),
            head[:8],
            image,
            start + _FRAME_HEADER.size,
        )


def _extend_checksum(byte_order: str, data: bytes, previous: tuple[int, int]) -> tuple[int, int]:
    first, second = previous
    numbers = struct.unpack(f"{byte_order}{len(data) // 4}I", data)
    for even, odd in zip(numbers[::2], numbers[1::2], strict=True):
        first = first + even + second & 0xFFFFFFFF
        second = second + odd + first & 0xFFFFFFFF
    return first, second
