"""`station report` writes one complete page or nothing."""

from __future__ import annotations

import os
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any

import pytest

from journal.observations import DeviceFaulted
from journal.projections.authorizations import AuthorizationRefused
from station.history.report import page as pages
from tests.commands.fixtures_journals import StationCommand, open_writable, write_journal
from tests.history.report.fixtures_report import PageChecker
from tests.support.story import (
    ALICE,
    LINK_LOST,
    LINK_OPENED,
    ONLINE,
    Station,
    accept_everything,
    cable_plugged,
    cable_unplugged,
    charging_stopped,
    given,
    presented,
    time_passed,
)


@pytest.fixture
def journal(story: Station, tmp_path: Path) -> Path:
    """A station in a transaction, ten minutes longer."""
    story.when(time_passed(seconds=600))
    return write_journal(tmp_path / "journal.db", story.entries)


def test_a_page_is_written_and_named(
    run_station: StationCommand, journal: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    result = run_station("report", journal, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{out}: entries 1 to ")
    page = out.read_text(encoding="utf-8")
    browser = PageChecker(page)
    assert browser.complaints == []
    assert "CS001" in browser.text
    assert [file.name for file in tmp_path.iterdir() if file.name.endswith(".new")] == []
    assert run_station("report", journal.parent).stdout == page, (
        "the same to a pipe, by the directory"
    )


def test_an_existing_page_is_replaced(
    run_station: StationCommand, journal: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    out.write_text("old")
    assert run_station("report", journal, "--out", out).exit_code == 0
    assert "old" not in out.read_text(encoding="utf-8")[:100]


def test_a_range_is_counted_and_named(run_station: StationCommand, journal: Path) -> None:
    since, until = "2026-03-01T12:02Z", "2026-03-01T14:05:00+02:00"
    browser = PageChecker(run_station("report", journal, "--from", since, "--to", until).stdout)
    assert "2026-03-01 12:02:00to2026-03-01 12:05:00 UTC" in browser.text
    assert "in s: ((180.000 − (0.000 − 0.000)) / 180.000) × 100 = 100.000 %" in browser.text


def test_the_printed_terms_give_the_printed_uptime(
    run_station: StationCommand, tmp_path: Path
) -> None:
    story = given(ONLINE, time_passed(seconds=100), LINK_LOST, time_passed(seconds=33))
    story.advance_clock(255)
    story.with_csms(accept_everything, LINK_OPENED, time_passed(seconds=60))
    page = PageChecker(
        run_station("report", write_journal(tmp_path / "journal.db", story.entries)).stdout
    ).text
    terms = re.findall(r"in s: \(\((\S+) − \((\S+) − (\S+)\)\) / (\S+)\) × 100 = (\S+) %", page)
    assert len(terms) == 2
    for whole, outage, excluded, again, percent in terms:
        assert whole == again
        up = Decimal(whole) - (Decimal(outage) - Decimal(excluded))
        cut = (up / Decimal(whole) * 100).quantize(Decimal("0.001"), ROUND_DOWN)
        assert (str(cut), outage) == (percent, "33.255")


def test_a_range_without_entries_says_so(
    run_station: StationCommand, journal: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    result = run_station(
        "report", journal, "--from", "2026-03-01T12:00:30Z", "--to", "2026-03-01T12:00:31Z",
        "--out", out,
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"page.html: no entry; the last entry before it is \d+, ", result.stdout)
    page = out.read_text(encoding="utf-8")
    assert "no entry; the last entry before it is" in PageChecker(page).text
    assert f"{len(page.encode()):,} bytes" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "yesterday"], "is not a time"),
        (["--to", "9999-12-31T23:59-23:00"], "is not a time"),
        (["--from", "2026-03-02", "--to", "2026-03-01"], "the range is empty"),
        (["--to", "2026-03-01T12:00Z", "--from", "2026-03-01T12:00Z"], "the range is empty"),
    ],
)
def test_invalid_arguments_are_a_usage_error(
    run_station: StationCommand, journal: Path, arguments: list[str], message: str
) -> None:
    result = run_station("report", journal, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_range_after_the_journal_is_exit_code_1(
    run_station: StationCommand, journal: Path
) -> None:
    result = run_station("report", journal, "--from", "2027-01-01")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has no entry in that range" in result.stderr


def test_a_journal_without_entries_is_exit_code_1(
    run_station: StationCommand, tmp_path: Path
) -> None:
    open_writable(tmp_path / "journal.db").close()
    result = run_station("report", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no entries yet" in result.stderr


def test_a_page_that_cannot_be_written_leaves_nothing(
    run_station: StationCommand, journal: Path, tmp_path: Path
) -> None:
    result = run_station("report", journal, "--out", tmp_path / "nowhere" / "page.html")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "No page was written" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_link_is_replaced_and_a_pipe_stays_a_pipe(
    run_station: StationCommand, journal: Path, tmp_path: Path
) -> None:
    page, link, pipe = (tmp_path / name for name in ("page.html", "link.html", "pipe"))
    link.symlink_to(page)
    assert run_station("report", journal, "--out", link).exit_code == 0
    assert not link.is_symlink()
    assert not page.exists(), "the target of the link is another user's choice"
    assert link.read_text(encoding="utf-8") == run_station("report", journal).stdout
    page.write_text("precious")
    link.unlink()
    link.symlink_to(page)
    draft = tmp_path / "link.html.new"
    draft.symlink_to(page)
    assert run_station("report", journal, "--out", link).exit_code == 1
    assert page.read_text() == "precious"
    assert run_station("report", journal, "--out", link).exit_code == 0, "the draft was removed"
    assert page.read_text() == "precious"
    page = link
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with ThreadPoolExecutor(1) as other:
            content = other.submit(_read_exactly, reader, page.stat().st_size)
            assert run_station("report", journal, "--out", pipe).exit_code == 0
            assert content.result() == page.read_bytes()
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [file.name for file in tmp_path.iterdir() if file.name.endswith(".new")] == []


def _read_exactly(reader: int, size: int) -> bytes:
    """Read this number of bytes from a pipe."""
    os.set_blocking(reader, True)
    text = b""
    while len(text) < size:
        text += os.read(reader, size)
    return text


def test_a_dash_is_stdout(
    run_station: StationCommand, journal: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = run_station("report", journal)
    assert run_station("report", journal, "--out", "-") == plain
    rows = run_station("export", journal, "events")
    assert run_station("export", journal, "events", "--out", "-") == rows
    assert not (tmp_path / "-").exists()


def refuse_id_tokens(action: str, payload: dict[str, Any]) -> dict[str, Any] | None:
    """A CSMS that blocks every idToken."""
    if action == "Authorize":
        return {"idTokenInfo": {"status": "Blocked"}}
    return accept_everything(action, payload)


def test_a_refused_id_token_is_on_the_page_and_in_the_export(
    run_station: StationCommand, tmp_path: Path
) -> None:
    station = given(ONLINE, csms=refuse_id_tokens)
    station.with_csms(refuse_id_tokens, cable_plugged(1), presented(ALICE, evse_id=1))
    [(refused, status)] = [
        (entry, entry.event.status)
        for entry in station.entries
        if isinstance(entry.event, AuthorizationRefused)
    ]
    path = write_journal(tmp_path / "journal.db", station.entries)
    page = PageChecker(run_station("report", path).stdout)
    assert page.complaints == []
    assert f"refused 1 times: {status}" in page.text
    [header, row] = run_station("export", path, "refusals").lines
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert (cells["seq"], cells["status"], cells["cause_seq"]) == (
        str(refused.seq), status, str(refused.cause),
    )  # fmt: skip


def test_a_session_names_the_fault_that_ended_it(
    run_station: StationCommand, story: Station, tmp_path: Path
) -> None:
    story.with_csms(
        accept_everything, DeviceFaulted(1, "meter", "silent", blocks_charging=False),
        time_passed(seconds=60), DeviceFaulted(1, "meter", "silent", blocks_charging=True),
        charging_stopped(1), cable_unplugged(1), time_passed(seconds=60),
    )  # fmt: skip
    path = write_journal(tmp_path / "journal.db", story.entries)
    page = PageChecker(run_station("report", path).stdout)
    assert "meter silent: Other (AbnormalCondition)" in page.text
    [header, row] = run_station("export", path, "faults").lines
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert cells["blocks_charging"] == "true", "it blocked later"


def test_a_narrow_screen_shows_causes_and_says_that_the_timeline_is_wider(
    run_station: StationCommand, tmp_path: Path
) -> None:
    story = given(ONLINE, time_passed(seconds=100), LINK_LOST, time_passed(seconds=33))
    page = run_station("report", write_journal(tmp_path / "journal.db", story.entries)).stdout
    assert page.count('<div class="scroll stacked">') == page.count("<table>") > 2
    assert 'data-title="Causes, with their entries"' in page
    assert page.count('<p class="swipe">') == page.count('<div class="timeline"') > 0


def test_a_page_is_not_printed_on_a_terminal(
    run_station: StationCommand, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    result = run_station("report", journal)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--out" in result.stderr


def test_progress_is_for_terminals_only(
    run_station: StationCommand, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    result = run_station("report", journal, "--out", tmp_path / "page.html")
    assert result.exit_code == 0
    assert "entries" in result.stderr


def test_the_page_of_a_damaged_journal_shows_the_damage(
    run_station: StationCommand, journal: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(journal) as connection:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        for (name,) in names.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM entry WHERE seq = 40")
    out = tmp_path / "page.html"
    result = run_station("report", journal, "--out", out)
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert "entry 40: missing" in PageChecker(out.read_text(encoding="utf-8")).text


def test_no_value_of_a_person_is_on_the_page(run_station: StationCommand, tmp_path: Path) -> None:
    with open_writable(tmp_path / "journal.db") as store:
        token = store.reference_for("ISO14443", "04A224B2C3D4E5")
        station = given(
            ONLINE, cable_plugged(1), presented(token, evse_id=1), time_passed(seconds=60)
        )
        store.append(station.entries)
    page = run_station("report", tmp_path).stdout
    assert token.ref in page
    assert "04A224B2" not in page.upper()


def test_reading_changes_nothing(run_station: StationCommand, journal: Path) -> None:
    before = journal.read_bytes()
    os.utime(journal, (1, 1))
    assert run_station("report", journal).exit_code == 0
    assert journal.read_bytes() == before
    assert journal.stat().st_mtime == 1


def test_the_policy_of_the_page_forbids_everything() -> None:
    assert pages.CONTENT_SECURITY_POLICY.startswith("default-src 'none'")
    assert "script" not in pages.CONTENT_SECURITY_POLICY


def test_archived_entries_give_the_same_page(
    run_station: StationCommand, story: Station, tmp_path: Path
) -> None:
    story.with_csms(
        accept_everything, presented(ALICE, evse_id=1), charging_stopped(1), cable_unplugged(1),
        *[time_passed(seconds=86_400)] * 3,
    )  # fmt: skip
    journal = write_journal(tmp_path / "journal.db", story.entries)
    before = run_station("report", journal)
    archived = run_station("archive", journal, "--days", "1")
    assert archived.exit_code == 0, archived.stderr
    assert run_station("report", journal) == before
