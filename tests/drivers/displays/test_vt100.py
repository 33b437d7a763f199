"""The display: bytes of the standard, control characters in texts, a lost display."""

from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.displays.vt100 import Vt100Display, replace_control_characters
from drivers.emulators.memory_port import open_memory_line
from drivers.emulators.pty import Pty
from drivers.emulators.vt100 import EmulatedVt100
from drivers.ports import DeviceReady, NoResponse, PortLost
from tests.drivers.fixtures_serial import ReportLog, running_tasks, wait_until


async def test_the_text_is_written_with_the_sequences_of_the_standard(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, device = open_memory_line()
    display = Vt100Display("memory", columns=5, rows=2, open_port=station.open)
    display.lines = ("Plug in", "€")
    reports = ReportLog()
    async with running_tasks(EmulatedVt100(device).run, lambda: display.run(reports)):
        await trio.sleep(1)
    assert station.sent == [
        b"\x1b[5n",
        b"\x1b[2J\x1b[?25l",
        b"\x1b[HPlug \x1b[K\r\n\xe2\x82\xac\x1b[K",
    ]
    assert reports.all == [DeviceReady("VT100 display")]


async def test_a_new_text_replaces_the_old_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, device = open_memory_line()
    terminal = EmulatedVt100(device)
    device.peer_receive_max_bytes = station.peer_receive_max_bytes = 1
    display = Vt100Display("memory", open_port=station.open)
    async with running_tasks(terminal.run, lambda: display.run(ReportLog())):
        display.lines = ["Charging", "12.4 kWh", "", "Thank you"]
        await trio.sleep(0.1)
        assert terminal.screen == ["Charging", "12.4 kWh", "", "Thank you"]
        display.lines = ["Ready"]
        await trio.sleep(0.1)
    assert terminal.screen == ["Ready", "", "", ""]


async def test_a_message_cannot_control_the_terminal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, device = open_memory_line()
    terminal = EmulatedVt100(device)
    display = Vt100Display("memory", open_port=station.open)
    async with running_tasks(terminal.run, lambda: display.run(ReportLog())):
        display.lines = ["a\x1b[2Jb\r\nc\x9b5n"]
        await trio.sleep(0.1)
    assert terminal.screen == ["a [2Jb  c 5n", "", "", ""]


@settings(deadline=None)
@given(st.text())
def test_control_characters_are_removed_from_every_text(text: str) -> None:
    assert all(letter.isprintable() for letter in replace_control_characters(text))
    assert len(replace_control_characters(text)) == len(text)


async def test_a_display_that_stops_responding_is_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, device = open_memory_line()
    terminal = EmulatedVt100(device)
    display = Vt100Display("memory", open_port=station.open)
    async with running_tasks(terminal.run):

        async def fall_silent() -> None:
            await trio.sleep(25)
            terminal.silent = True

        async with running_tasks(fall_silent):
            with pytest.raises(NoResponse, match="no status report in 3 tries"):
                await display.run(ReportLog())
    assert 30 <= trio.current_time() <= 32


async def test_a_display_that_cannot_respond_gets_no_requests(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, device = open_memory_line()
    terminal = EmulatedVt100(device)
    terminal.silent = True
    display = Vt100Display("memory", health_s=0, open_port=station.open)
    async with running_tasks(terminal.run, lambda: display.run(ReportLog())):
        await trio.sleep(60)
        display.lines = ["Ready"]
        await trio.sleep(1)
    assert terminal.screen[0] == "Ready"


async def test_over_a_pty_with_a_pulled_plug(tmp_path: Path) -> None:
    with Pty(tmp_path / "display") as device:
        terminal = EmulatedVt100(device)
        display = Vt100Display(device.path, health_s=0.05)
        display.lines = ["Ready"]
        async with running_tasks(terminal.run):
            async with running_tasks(lambda: display.run(ReportLog())):
                await wait_until(lambda: terminal.screen[0] == "Ready")
            device.unplug()
            with pytest.raises(PortLost):
                await display.run(ReportLog())
