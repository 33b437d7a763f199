"""`station demo` runs a whole session with the real program and leaves no process running."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from station.commands.demo import session
from station.commands.demo.console import DemoConsole, _wrap_line, format_bar
from station.commands.shared.control_client import StationUnreachable, send_request
from tests.commands.fixtures_journals import StationCommand, start_command

DEMO_TIMEOUT_S = 100  # on a loaded machine; otherwise about 12


@pytest.fixture
def demo_directory() -> Iterator[Path]:
    """A directory with a path short enough for sockets; its processes end with the test."""
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        yield Path(directory) / "demo"
        for pid in processes_of(Path(directory)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def start_demo(demo_directory: Path, *more: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return start_command("demo", "--data", demo_directory, "--seconds", "2", *more)


def processes_of(directory: Path) -> dict[int, str]:
    """Running processes whose command line names this directory: pid and command line."""
    processes = {}
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended in the meantime
            continue
        if str(directory) in text:
            processes[int(cmdline.parent.name)] = text
    return processes


def all_processes_ended(demo_directory: Path) -> bool:
    """Whether all of them end; a child may need a moment to notice the end of its parent."""
    deadline = time.monotonic() + 10
    while processes_of(demo_directory):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.timeout(2 * DEMO_TIMEOUT_S)
def test_a_whole_session_and_then_another_on_the_same_journal(
    run_station: StationCommand, demo_directory: Path
) -> None:
    with start_demo(demo_directory, "--once") as demo:
        out, err = demo.communicate(timeout=DEMO_TIMEOUT_S)
    assert (demo.returncode, err) == (0, ""), out
    for text in (
        "CSMS       accepts EVS-FLASH-300",
        "EV driver  presents card 04A224B2",
        "station    precharges the cable to the battery voltage",
        "TransactionEvent 0 Started",
        "Ended: StopAuthorized",
        "CSMS, journal and meter agree",
    ):
        assert text in out
    assert "\x1b" not in out
    delivered = re.search(r"Delivered: ([0-9.]+) kWh, at most ([0-9.]+) kW", out)
    assert delivered is not None
    assert float(delivered[1]) > 0
    assert float(delivered[2]) > 50
    assert all_processes_ended(demo_directory), processes_of(demo_directory)
    head = re.search(r"Head of the journal: (\d+:[0-9a-f]{64})", out)
    assert head is not None
    assert run_station("verify", demo_directory, "--head", head[1]).exit_code == 0

    with start_demo(demo_directory) as second_demo:  # ends: stdout is not a terminal
        out, err = second_demo.communicate(timeout=DEMO_TIMEOUT_S)
    assert (second_demo.returncode, err) == (0, ""), out
    assert re.search(r"its journal already has \d+ entries", out)
    assert all_processes_ended(demo_directory), processes_of(demo_directory)


@pytest.mark.parametrize("until", ["EV driver  plugs in", "A station with"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_ctrl_c_in_the_middle_leaves_no_process(
    demo_directory: Path, until: str, number: signal.Signals
) -> None:
    with start_demo(demo_directory) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if until in line:
                break
        os.kill(demo.pid, number)
        _, err = demo.communicate(timeout=30)
    assert (demo.returncode, err) == (130, "")
    assert all_processes_ended(demo_directory), processes_of(demo_directory)


@pytest.mark.timeout(2 * DEMO_TIMEOUT_S)
def test_a_killed_demo_leaves_no_process(demo_directory: Path) -> None:
    with start_demo(demo_directory) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "plugs in" in line:
                break
        assert len(processes_of(demo_directory)) >= 3  # the demo, the station, its devices
        demo.kill()
        demo.wait()
        assert all_processes_ended(demo_directory), processes_of(demo_directory)


@pytest.mark.parametrize(
    ("options", "is_terminal", "stays"),
    [
        ((), True, True),
        ((), False, False),
        (("--once",), True, False),
        (("--stay",), False, True),
    ],
)
def test_the_station_stays_only_where_somebody_watches(
    run_station: StationCommand,
    demo_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    is_terminal: bool,
    stays: bool,
) -> None:
    seen = []

    async def run_until_signal(data: Path, once: bool, seconds: float) -> list[str]:
        seen.append(once)
        return []

    monkeypatch.setattr(session, "_run_until_signal", run_until_signal)
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    assert run_station("demo", "--data", demo_directory, *options).exit_code == 0
    assert seen == [not stays]


@pytest.mark.timeout(2 * DEMO_TIMEOUT_S)
def test_it_keeps_running_until_ctrl_c(run_station: StationCommand, demo_directory: Path) -> None:
    with start_demo(demo_directory, "--stay") as demo:
        assert demo.stdout is not None
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "Press Ctrl-C to end" in line:
                break
        else:
            pytest.fail("".join([*lines, demo.communicate()[1]]))
        assert run_station("sim", "plug-in", "-e", "2", "--data", demo_directory).exit_code == 0
        assert "EVSE 2" in run_station("sim", "state", "--data", demo_directory).stdout
        second = run_station("demo", "--data", demo_directory)
        assert second.exit_code == 1
        named = re.search(r"a station is already running there, process (\d+).", second.stderr)
        assert named is not None
        assert f"End it with `kill {named[1]}`" in second.stderr
        assert " station run " in processes_of(demo_directory)[int(named[1])]
        os.kill(demo.pid, signal.SIGINT)
        _, err = demo.communicate(timeout=30)
    assert (demo.returncode, err) == (0, "")
    assert any(
        re.match(r"Open http://127\.0\.0\.1:\d+/#token=[0-9a-f]{32} ", line) for line in lines
    )
    [hint] = [line for line in lines if " sim plug-in" in line]
    assert str(demo_directory) in hint
    assert all_processes_ended(demo_directory), processes_of(demo_directory)
    with pytest.raises(StationUnreachable):
        send_request(demo_directory / "control.sock", "state")


def test_a_station_that_does_not_start_is_one_line(
    run_station: StationCommand, demo_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo_directory.mkdir()
    (demo_directory / "journal.db").mkdir()
    started_s = time.monotonic()
    failed = run_station("demo", "--data", demo_directory)
    assert failed.exit_code == 1
    assert failed.stderr.count("\n") == 1
    assert str(demo_directory) in failed.stderr
    assert time.monotonic() - started_s < 30
    assert all_processes_ended(demo_directory), processes_of(demo_directory)


def test_a_path_too_long_for_a_socket_names_the_limit(
    run_station: StationCommand, tmp_path: Path
) -> None:
    long = run_station("demo", "--data", tmp_path / ("x" * 120))
    assert (long.exit_code, long.stderr.count("\n")) == (2, 1)
    assert "107 bytes" in long.stderr


def test_a_directory_that_cannot_be_is_one_line(
    run_station: StationCommand, demo_directory: Path
) -> None:
    demo_directory.write_text("a file")
    failed = run_station("demo", "--data", demo_directory / "below")
    assert (failed.exit_code, failed.stderr.count("\n")) == (2, 1)
    assert "give another directory" in failed.stderr


# --- The console ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "shown"), [(-3, "." * 12), (50, "#" * 6 + "." * 6), (101, "#" * 12)]
)
def test_a_bar_shows_how_full_it_is(percent: float, shown: str) -> None:
    assert format_bar(percent) == f"[{shown}]"


def test_a_line_of_a_terminal_breaks_between_words() -> None:
    event = "  5.1 s  station    starts transaction 5f0c at EVSE 1, accepted by the CSMS"
    assert _wrap_line(event, 50) == [
        "  5.1 s  station    starts transaction 5f0c at",
        "                    EVSE 1, accepted by the CSMS",
    ]
    command = "  station replay /a/very/long/directory/name/that/stays/whole  print it"
    assert _wrap_line(command, 30)[1].strip() == "/a/very/long/directory/name/that/stays/whole"
    assert _wrap_line("", 30) == [""]


class Terminal(io.StringIO):
    """A stream that reports to be a terminal."""

    def isatty(self) -> bool:
        return True


def console_output(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, term: str) -> str:
    """Output of a console: a line, two updates of the live line, a line."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stdout", stream)
    console = DemoConsole()
    console.print_event("CSMS", "receives")
    console.update_line("station", "100 kW")
    console.update_line("station", "200 kW")
    console.print_event("CSMS", "receives again")
    return stream.getvalue()


def test_a_terminal_gets_colors_and_a_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    output = console_output(monkeypatch, Terminal(), term="xterm-256color")
    assert "\x1b[35m" in output
    assert output.count("\r\x1b[K") == 3  # twice overwritten, once cleared
    assert output.count("\n") == 2


def test_a_terminal_without_colors_has_a_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    output = console_output(monkeypatch, Terminal(), term="xterm-256color")
    assert "\x1b[35m" not in output
    assert "\r\x1b[K" in output


@pytest.mark.parametrize(
    ("to", "term"), [(Terminal(), "dumb"), (io.StringIO(), "xterm")], ids=["dumb", "pipe"]
)
def test_without_a_live_line_a_line_comes_at_intervals(
    monkeypatch: pytest.MonkeyPatch, to: io.StringIO, term: str
) -> None:
    output = console_output(monkeypatch, to, term=term)
    assert "\x1b[K" not in output
    assert "100 kW\n" in output
    assert "200 kW" not in output
