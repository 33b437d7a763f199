"""`station to-test` writes a range of a journal as a test, without personal data.

The written files are run here, and once by pytest in another directory.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest

from journal.events import Entry, Event, IdToken
from journal.observations import (
    CsmsConfigured,
    DeviceFaulted,
    EvIdentified,
    LinkClosed,
    LinkFailed,
    LinkOpened,
    StationStarted,
)
from journal.projections.authorizations import AuthorizationGranted, AuthorizationRefused
from journal.projections.outbox import CallQueued
from journal.projections.transactions import TransactionStarted
from station.history.regression.replayed_case import DecisionDiffers
from station.runtime.loop.startup import event_registry
from tests.commands.fixtures_journals import CommandResult, StationCommand, write_journal
from tests.stories import play_story
from tests.support.authorities import make_authority
from tests.support.story import (
    BOOTED,
    IDLE,
    Station,
    cable_plugged,
    called,
    charging_started,
    csms_answers,
    given,
    id_token_named,
    meter_read,
    presented,
    variable_preset,
)

ROOT_DIRECTORY = Path(__file__).parent.parent.parent


class PlayedTest:
    """A file that `to-test` wrote, and the result of its test.

    Attributes:
        why: how the test failed; None: it passed.
    """

    def __init__(self, result: CommandResult, file: Path) -> None:
        assert result.exit_code == 0, result.stderr
        self.command_result, self.text = result, file.read_text()
        names: dict[str, Callable[[], None]] = {}
        exec(compile(self.text, file, "exec"), names)  # as pytest imports it
        [test] = [test for name, test in names.items() if name.startswith("test_")]
        self.failure: DecisionDiffers | None = None
        try:
            test()
        except DecisionDiffers as differs:
            self.failure = differs


CaseMaker = Callable[..., PlayedTest]


@pytest.fixture
def make_test(run_station: StationCommand, tmp_path: Path) -> CaseMaker:
    """Writes entries to a journal, a range of it to a test, and runs the test."""

    def made(entries: Sequence[Entry], *arguments: str, name: str = "field") -> PlayedTest:
        place = tmp_path / name
        place.mkdir()
        journal, file = write_journal(place / "journal.db", entries), tmp_path / f"test_{name}.py"
        return PlayedTest(run_station("to-test", journal, *arguments, "--out", file), file)

    return made


def seq_of(entries: Sequence[Entry], kind: type[Event], nth: int = 0) -> int:
    return [entry.seq for entry in entries if isinstance(entry.event, kind)][nth]


# --- Result --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["stopped_by_another_token_of_the_group", "short_power_cut_in_a_transaction"]
)
def test_a_range_with_the_same_decisions_passes(make_test: CaseMaker, name: str) -> None:
    entries = play_story(name).entries
    first = seq_of(entries, AuthorizationGranted)
    played = make_test(entries, "--from", str(first))
    begun = entries[first - 1].cause
    assert f"entries {begun} to {len(entries)}; with this release the test passes." in (
        played.command_result.stdout
    )
    assert played.failure is None


def test_a_whole_journal_needs_no_state_before_it(make_test: CaseMaker) -> None:
    played = make_test(play_story("refused_token").entries, "--from", "1")
    assert played.failure is None
    assert "last_seq=0" in played.text


def test_a_first_start_with_variables_is_complete(make_test: CaseMaker) -> None:
    """The product is recorded by StationStarted; there are decisions before it."""
    configured = variable_preset("AlignedDataCtrlr.Interval", "300")
    entries = given(CsmsConfigured(url=URL, security_profile=2), configured, BOOTED, IDLE).entries
    decided_first = next(entry for entry in entries if entry.cause is not None)
    assert decided_first.seq < seq_of(entries, StationStarted)
    assert make_test(entries, "--from", "1").failure is None


HistoryChange = Callable[[list[Entry]], int]  # changes the history; returns the first changed entry


def _change_trigger_reason(entries: list[Entry]) -> int:
    """A transaction that was started for another reason."""
    seq = seq_of(entries, TransactionStarted)
    event = entries[seq - 1].event
    assert isinstance(event, TransactionStarted)
    other = msgspec.structs.replace(event, trigger_reason="CablePluggedIn")
    entries[seq - 1] = msgspec.structs.replace(entries[seq - 1], event=other)
    return seq


def _change_payload(entries: list[Entry]) -> int:
    """A message with another payload."""
    seq = next(
        entry.seq
        for entry in entries
        if isinstance(entry.event, CallQueued) and entry.event.action == "TransactionEvent"
    )
    event = entries[seq - 1].event
    assert isinstance(event, CallQueued)
    payload = bytes(event.payload).replace(b'"Started"', b'"Updated"')
    other = msgspec.structs.replace(event, payload=msgspec.Raw(payload))
    entries[seq - 1] = msgspec.structs.replace(entries[seq - 1], event=other)
    return seq


def _add_decision(entries: list[Entry]) -> int:
    """One decision more at the end."""
    last = entries[-1]
    refused = AuthorizationRefused(id_token=IdToken("#0123456789abcdef", "Central"), status="Mood")
    entries.append(
        Entry(last.seq + 1, last.at, last.uptime_ms, refused, cause=last.cause or last.seq)
    )
    return last.seq + 1


def _remove_decision(entries: list[Entry]) -> int:
    """One decision less at the end."""
    while entries[-1].cause is None:
        del entries[-1]
    return entries.pop().seq


CHANGES: Final[dict[str, HistoryChange]] = {
    "other": _change_trigger_reason,
    "payload": _change_payload,
    "more": _add_decision,
    "less": _remove_decision,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_range_with_another_decision_fails_at_that_entry(
    make_test: CaseMaker, change: HistoryChange
) -> None:
    entries = list(play_story("local_start_and_stop").entries)
    seq = change(entries)
    played = make_test(entries, "--from", "30")
    assert f"with this release the test fails at entry {seq}." in played.command_result.stdout
    assert played.failure is not None
    assert str(played.failure).startswith(f"entry {seq}: the station decided")


def test_pytest_runs_the_files_in_another_directory(make_test: CaseMaker, tmp_path: Path) -> None:
    good = play_story("local_start_and_stop").entries
    seqs = {}
    for name, change in CHANGES.items():
        entries = list(good)
        seqs[name] = change(entries)
        make_test(entries, "--from", "30", name=name)
    make_test(good, "--from", "30", name="as_it_was")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT_DIRECTORY), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert "4 failed, 1 passed" in result.stdout
    assert "PASSED test_as_it_was.py" in result.stdout
    for name, seq in seqs.items():
        assert f"FAILED test_{name}.py" in result.stdout
        assert f"DecisionDiffers: entry {seq}: the station decided" in result.stdout


# --- Where it begins and ends --------------------------------------------------------------------


def test_a_test_has_complete_commits(make_test: CaseMaker) -> None:
    entries = play_story("local_start_and_stop").entries
    middle = seq_of(entries, TransactionStarted)
    played = make_test(entries, "--from", str(middle), "--to", str(middle))
    observation_seq = entries[middle - 1].cause
    assert observation_seq is not None
    end = max(entry.seq for entry in entries if entry.cause == observation_seq)
    assert end > middle > observation_seq
    assert f"entries {observation_seq} to {end};" in played.command_result.stdout
    assert played.failure is None


def test_the_test_goes_to_stdout_and_the_verdict_to_stderr(
    run_station: StationCommand, journal: Path
) -> None:
    result = run_station("to-test", journal, "--from", "20", "--to", "25")
    assert result.exit_code == 0
    compile(result.stdout, "test_field.py", "exec")
    assert "with this release the test passes." in result.stderr


def test_times_are_points(run_station: StationCommand, journal: Path) -> None:
    everything = ("--from", "2026-03-01T12:00", "--to", "2026-03-01T12:30")
    assert "entries 1 to" in run_station("to-test", journal, *everything).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "--from"),
        (("--from", "9999"), 1, "no entry 9999"),
        (("--from", "20", "--to", "10"), 2, "--to, entry 10, is before --from, entry 20"),
        (("--from", "yesterday"), 2, "'yesterday' is neither an entry number nor a time"),
        (("--from", "20", "--profile", "tesla"), 2, "tesla is not a profile"),
    ],
)
def test_invalid_ranges_are_one_line(
    run_station: StationCommand, journal: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = run_station("to-test", journal, *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (code, "", 1)
    assert message in result.stderr


def test_an_existing_file_is_kept(
    run_station: StationCommand, journal: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "test_mine.py"
    mine.write_text("mine")
    result = run_station("to-test", journal, "--from", "20", "--out", mine)
    assert (result.exit_code, mine.read_text()) == (2, "mine")


def test_a_file_that_cannot_be_written_is_one_line(
    run_station: StationCommand, journal: Path, tmp_path: Path
) -> None:
    result = run_station(
        "to-test", journal, "--from", "20", "--out", tmp_path / "none" / "test_it.py"
    )
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.endswith("No such file or directory. No test was written.\n")


@pytest.mark.parametrize(
    ("missing_seq", "first_seq", "message"),
    [
        (30, 20, "entry 30 is missing"),
        (10, 20, "entry 10 is missing"),
        (20, 20, "the observation of entry 20 is missing"),
    ],
)
def test_a_missing_entry_is_one_line(
    run_station: StationCommand, journal: Path, missing_seq: int, first_seq: int, message: str
) -> None:
    with sqlite3.connect(journal) as db:
        db.execute("DROP TRIGGER entry_not_deleted")
        db.execute("DELETE FROM entry WHERE seq = ?", (missing_seq,))
    db.close()
    result = run_station("to-test", journal, "--from", str(first_seq), "--to", "40")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert message in result.stderr


def test_a_range_that_is_too_long_is_refused(
    run_station: StationCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.commands.regression.ENTRIES_MAX", 50)
    journal = write_journal(tmp_path / "journal.db", play_story("refused_token").entries)
    result = run_station("to-test", journal, "--from", "1")
    assert result.exit_code == 1
    assert "more than 50 entries" in result.stderr


# --- Redaction -----------------------------------------------------------------------------------

PERSONAL_DATA = (  # received by the station below; must not be in the test
    "FLEET-MUC-0042", "9f1c6d2e-host", "csms.example.net", "10.1.2.33", "00:1b:44:11:3a:b7",
    "0123456789abcdef", "fedcba9876543210", "Stadtwerke", "alice@example.org", "files.example.net",
    "hunter2", "feedfacefeedface", "call me", "deadbeef", "4711-0815",
)  # fmt: skip
URL = "wss://csms.example.net:8443/ocpp"


def story_with_personal_data() -> Station:
    """A station that received all of `PERSONAL_DATA`."""
    card = id_token_named("0123456789abcdef")
    other = {"idToken": "#fedcba9876543210", "type": "ISO14443"}
    start = msgspec.structs.replace(BOOTED, identity="FLEET-MUC-0042", boot_id="9f1c6d2e-host")
    variable = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "OrganizationName"},
        "attributeValue": "Stadtwerke",
    }
    report = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "Identity"}}
    log = {"remoteLocation": "ftp://files.example.net/a?hunter2"}
    return given(
        CsmsConfigured(url=URL, security_profile=2),
        variable_preset("AuthCtrlr.MasterPassGroupId", "4711-0815"),
        start,
        IDLE,
        LinkFailed(1, "cannot connect to csms.example.net (10.1.2.33)"),
        LinkOpened(slot=1, url=URL, security_profile=2),
        csms_answers(),
        called("SetVariables", setVariableData=[variable]),
        called("GetVariables", getVariableData=[report]),
        called("DataTransfer", vendorId="net.example", data={"note": ["call me at deadbeef"]}),
        called("RequestStartTransaction", remoteStartId=7, idToken=other, evseId=2),
        called("GetLog", logType="DiagnosticsLog", requestId=1, log=log),
        cable_plugged(1),
        EvIdentified(1, evcc_id="00:1b:44:11:3a:b7"),
        DeviceFaulted(2, "module", "dead", False, tech_info="ask alice@example.org"),
        presented(card, evse_id=1),
        csms_answers(),
        charging_started(1),
        meter_read(1, "2935.600"),
        LinkClosed("csms.example.net closed it: <secret feedfacefeedfacefeedfacefeedface>"),
        LinkOpened(slot=1, url=URL, security_profile=2),
        csms_answers(),
    )


def test_personal_data_is_redacted_and_the_test_passes(make_test: CaseMaker) -> None:
    entries = story_with_personal_data().entries
    before = "".join(event_registry().encode(entry.event)[2] for entry in entries)
    absent = [text for text in PERSONAL_DATA if text not in before]
    assert not absent, "not in the journal, so not tested"
    played = make_test(entries, "--from", str(seq_of(entries, StationStarted)))
    assert [text for text in PERSONAL_DATA if text in played.text] == []
    assert "2935.600" in played.text
    assert played.failure is None


def test_the_state_before_is_redacted(make_test: CaseMaker) -> None:
    entries = story_with_personal_data().entries
    played = make_test(entries, "--from", str(seq_of(entries, LinkClosed)))
    assert [text for text in PERSONAL_DATA if text in played.text] == []
    assert '"identity": "identity-1"' in played.text
    assert played.failure is None


def test_equal_values_get_equal_names(run_station: StationCommand, tmp_path: Path) -> None:
    journal = write_journal(tmp_path / "journal.db", story_with_personal_data().entries)
    text = run_station("to-test", journal, "--from", "1").stdout
    assert "wss://host-1.invalid" in text
    assert "cannot connect to host-1.invalid (address-1)" in text
    assert "#0000000000000002" in text
    assert "#0000000000000003" not in text


def test_a_decision_that_needs_a_certificate_is_refused(
    run_station: StationCommand, tmp_path: Path
) -> None:
    story = given(
        BOOTED,
        IDLE,
        LinkOpened(slot=1, url=URL, security_profile=2),
        called("ClearCache"),
        called(
            "InstallCertificate",
            certificateType="CSMSRootCertificate",
            certificate=make_authority().pem,
        ),
        called("ClearCache"),
    )
    journal = write_journal(tmp_path / "journal.db", story.entries)
    result = run_station("to-test", journal, "--from", "1")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "depend on a value that must be redacted" in result.stderr
    later = run_station("to-test", journal, "--from", str(len(story.entries)))
    assert later.exit_code == 0, later.stderr
    assert "BEGIN" not in later.stdout.partition("BEFORE")[2].replace("BEFORE", "")
    assert "certificate-1" in later.stdout


# --- Form ----------------------------------------------------------------------------------------


def test_it_has_transcript_lines_and_passes_ruff(
    run_station: StationCommand, tmp_path: Path
) -> None:
    journal = write_journal(tmp_path / "journal.db", play_story("refused_token").entries)
    file = tmp_path / "test_refused.py"
    assert run_station("to-test", journal, "--from", "40", "--out", file).exit_code == 0
    text = file.read_text()
    assert "    # 12:00:00.000" in text
    assert "> EV driver presents" in text
    assert "from tests" not in text
    ruff = Path(sys.executable).with_name("ruff")
    checked = subprocess.run(
        [ruff, "check", "--config", ROOT_DIRECTORY / "pyproject.toml", "--no-cache", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_a_silent_csms_can_be_a_test(make_test: CaseMaker) -> None:
    entries = play_story("a_message_the_csms_never_accepts").entries
    assert make_test(entries, "--from", "40").failure is None
