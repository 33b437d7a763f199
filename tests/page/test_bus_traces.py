"""Bus traces on the page: the list, downloads, and what may never be sent."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from journal.events import Observation
from journal.observations import BusTraceWritten, DeviceFaulted, StopButtonPressed
from station.page import bus_traces, downloads
from tests.page.fixtures_page import PageBench, run_page

FILES = {"about.txt": b"Bus trace of CS001\n", "modules.asc": b"date\n" + b"x" * 200_000}
SECRET = b"a file outside"
LARGE = 64 << 20  # more than the buffers of a connection


def make_files(bench: PageBench, name: str, files: dict[str, bytes] = FILES) -> Path:
    """The directory of a trace, as the writer leaves it."""
    directory = bench.directory / "traces" / name
    directory.mkdir(parents=True)
    for file, content in files.items():
        (directory / file).write_bytes(content)
    return directory


async def commit(bench: PageBench, observation: Observation) -> int:
    """Append an observation; returns its entry."""
    before = bench.recorder.head.seq
    await bench.commit(observation)
    return before + 1


async def write_trace(
    bench: PageBench, *, files: tuple[str, ...] = tuple(FILES), directory: str = ""
) -> tuple[int, str]:
    """A fault, its trace, and the entry that names it; returns that entry and the directory."""
    fault = await commit(bench, DeviceFaulted(2, "modules", "lost", blocks_charging=True))
    name = directory or f"20260301T120005Z_{fault}"
    return await commit(bench, BusTraceWritten((fault,), name, files)), name


async def read_list(bench: PageBench, *seqs: int) -> list[dict[str, Any]]:
    """The list, once the page has read the journal up to its head."""
    head = bench.recorder.head.seq
    async with bench.events(f"/stream?after={head - 1}") as events:
        await events.entries(1)
    answer = await bench.request("GET", "/traces")
    assert answer.status == 200
    assert not seqs or [trace["seq"] for trace in answer.json] == list(seqs)
    traces: list[dict[str, Any]] = answer.json
    return traces


# --- The list ------------------------------------------------------------------------------------


async def test_a_trace_is_listed_with_its_faults_and_sizes(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        seq, name = await write_trace(bench)
        make_files(bench, name)
        [trace] = await read_list(bench, seq)
        [fault] = trace["faults"]
        assert (fault["evse_id"], fault["device"], fault["fault"]) == (2, "modules", "lost")
        assert (trace["directory"], trace["unavailable"]) == (name, "")
        assert trace["files"] == [
            {"name": file, "size_bytes": len(content)} for file, content in FILES.items()
        ]


async def test_a_trace_that_was_deleted_or_not_written_says_so(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        deleted, _ = await write_trace(bench)
        reason = "little space is left on the disk"
        unwritten = await commit(bench, BusTraceWritten((1,), reason=reason))
        newer, older = await read_list(bench, unwritten, deleted)
        assert (newer["files"], newer["unavailable"]) == ([], f"not written: {reason}")
        assert newer["faults"] == [
            {"seq": 1, "at": None, "evse_id": None, "device": "", "fault": ""}
        ]
        assert (older["files"], older["unavailable"]) == ([], bus_traces.DELETED)
        for path, status in ((f"/traces/{deleted}", 410), (f"/traces/{unwritten}", 404)):
            assert (await bench.request("GET", path)).status == status


async def test_a_trace_older_than_what_the_page_reads_is_found_by_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("HISTORY_ENTRIES_MAX", "LINES_MAX", "WARM_UP_ENTRIES"):
        monkeypatch.setattr(f"station.page.journal_feed.{limit}", 2)
    data = tmp_path / "data"
    data.mkdir()
    async with run_page(data) as bench:
        seq, name = await write_trace(bench)
        make_files(bench, name)
        make_files(bench, "20260301T120005Z_9999999999999999999")  # of no entry
        make_files(bench, "20260301T120005Z_2")  # named by no entry
        await bench.commit(*[StopButtonPressed(1)] * 20)
    async with run_page(data) as bench:
        await read_list(bench, seq)
        assert (await bench.request("GET", f"/traces/{seq}/about.txt")).status == 200


# --- Downloads -----------------------------------------------------------------------------------


async def test_a_file_and_the_archive_of_all_are_downloaded(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        seq, name = await write_trace(bench, files=("gone.txt", *FILES))
        make_files(bench, name)
        answer = await bench.request("GET", f"/traces/{seq}/modules.asc")
        assert answer.body == FILES["modules.asc"]
        assert answer.headers["content-length"] == str(len(answer.body))
        assert answer.headers["content-disposition"] == (
            f'attachment; filename="{name}_modules.asc"'
        )
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        answer = await bench.request("GET", f"/traces/{seq}")
        assert f'filename="{name}.tar.gz"' in answer.headers["content-disposition"]
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
            contents = {
                member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
                for member in archive
            }
        assert contents == {f"traces/{name}/{file}": data for file, data in FILES.items()}
        answer = await bench.request("HEAD", f"/traces/{seq}/modules.asc")
        assert (answer.status, answer.body) == (200, b"")
        assert (await bench.request("GET", f"/traces/{seq}/gone.txt")).status == 410


async def test_another_address_needs_the_token(tmp_path: Path) -> None:
    async with run_page(tmp_path, address="192.0.2.7") as bench:
        seq, name = await write_trace(bench)
        make_files(bench, name)
        for path in ("/traces", f"/traces/{seq}", f"/traces/{seq}/about.txt"):
            assert (await bench.request("GET", path)).status == 401
            assert (await bench.request("GET", path, token=True)).status == 200
            assert (await bench.request("POST", path, {}, token=True)).status == 405


async def test_what_no_entry_names_is_not_sent(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        seq, name = await write_trace(bench)
        make_files(bench, name, {**FILES, "notes.txt": SECRET})
        for path in (
            f"{seq}/notes.txt",
            f"{seq}/page.token",
            f"{seq}/..%2f..%2fpage.token",
            f"{seq}/../../page.token",
            f"{seq}/%2e%2e%2f%2e%2e%2fjournal.db",
            f"{seq}/about.txt%00.asc",
            "1",
            "1/about.txt",
            "999999",
            "x",
            "-1",
            "9" * 5000,
        ):
            answer = await bench.request("GET", f"/traces/{path}")
            assert answer.status in (400, 404), path
            assert bench.token.encode() not in answer.body


async def test_an_entry_with_a_hostile_directory_leads_nowhere(tmp_path: Path) -> None:
    async with run_page(tmp_path) as bench:
        make_files(bench, "20260301T120005Z_1")
        (bench.directory / "about.txt").write_bytes(SECRET)
        seqs = [
            (await write_trace(bench, files=("about.txt", "passwd"), directory=directory))[0]
            for directory in ("..", ".", "/etc", "20260301T120005Z_1/..", "../traces")
        ]
        for trace in await read_list(bench, *reversed(seqs)):
            assert (trace["files"], trace["unavailable"]) == ([], bus_traces.NOT_OF_A_TRACE)
        for seq in seqs:
            for path in (f"/traces/{seq}", f"/traces/{seq}/about.txt"):
                answer = await bench.request("GET", path)
                assert answer.status == 404
                assert SECRET not in answer.body


async def test_links_special_files_and_hostile_names_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_traces, "FILE_BYTES_MAX", 1_000_000)
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret.txt").write_bytes(SECRET)
    names = ("link.txt", "pipe.txt", "folder.txt", "large.txt", "../../page.token", "about.txt")
    async with run_page(data) as bench:
        seq, name = await write_trace(bench, files=names)
        directory = make_files(bench, name, {"about.txt": b"about"})
        (directory / "link.txt").symlink_to(tmp_path / "secret.txt")
        os.mkfifo(directory / "pipe.txt")
        (directory / "folder.txt").mkdir()
        (directory / "large.txt").touch()
        os.truncate(directory / "large.txt", 1_000_001)
        [trace] = await read_list(bench, seq)
        sizes = {file["name"]: file["size_bytes"] for file in trace["files"]}
        assert sizes == {**dict.fromkeys(names[:4]), "about.txt": 5}
        for file in names[:4]:
            assert (await bench.request("GET", f"/traces/{seq}/{file}")).status == 410
        answer = await bench.request("GET", f"/traces/{seq}")
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
            assert archive.getnames() == [f"traces/{name}/about.txt"]


async def test_a_trace_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    data.mkdir()
    outside.mkdir()
    (outside / "about.txt").write_bytes(SECRET)
    async with run_page(data) as bench:
        seq, name = await write_trace(bench)
        (data / "traces").mkdir()
        (data / "traces" / name).symlink_to(outside)
        [trace] = await read_list(bench, seq)
        assert trace["files"] == []
        assert trace["unavailable"].startswith("cannot be read: ")
        assert (await bench.request("GET", f"/traces/{seq}/about.txt")).status == 404


# --- Limits --------------------------------------------------------------------------------------


@asynccontextmanager
async def stalled_download(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[PageBench, trio.SocketStream, Path]]:
    """The only download that may run, of a large file to a client that does not read."""
    monkeypatch.setattr(downloads, "RUNNING_MAX", 1)
    async with run_page(directory) as bench:
        seq, name = await write_trace(bench)
        file = make_files(bench, name) / "modules.asc"
        os.truncate(file, LARGE)
        async with await bench.connect() as stream:
            head = f"GET /traces/{seq}/modules.asc HTTP/1.1\r\nhost: 127.0.0.1:{bench.port}\r\n\r\n"
            await stream.send_all(head.encode())
            assert (await stream.receive_some(1_000)).startswith(b"HTTP/1.1 200")
            yield bench, stream, file


async def wait_for_slot(bench: PageBench) -> None:
    """Until another download is possible."""
    with trio.fail_after(20):
        while (await bench.request("GET", "/traces/999999")).status == 503:
            await trio.sleep(0.02)


async def count_rest(stream: trio.SocketStream) -> int:
    with trio.fail_after(20):
        return sum([len(chunk) async for chunk in stream])


async def test_a_further_download_is_refused_until_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stalled_download(tmp_path, monkeypatch) as (bench, stream, _):
        assert (await bench.request("GET", "/traces/999999")).status == 503
        await stream.aclose()
        await wait_for_slot(bench)


async def test_a_download_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "DURATION_MAX_S", 1.0)
    async with stalled_download(tmp_path, monkeypatch) as (bench, stream, _):
        await wait_for_slot(bench)
        assert await count_rest(stream) < LARGE


async def test_a_file_that_becomes_shorter_is_an_incomplete_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stalled_download(tmp_path, monkeypatch) as (bench, stream, file):
        os.truncate(file, 10)
        assert await count_rest(stream) < LARGE
        await wait_for_slot(bench)
