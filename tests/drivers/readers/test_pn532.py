"""The card reader: its driver against its emulator, and each way it may fail."""

from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.memory_port import MemoryPort, open_memory_line
from drivers.emulators.pn532 import EmulatedPn532
from drivers.emulators.pty import Pty
from drivers.ports import (
    CommandRefused,
    DeviceReady,
    InvalidResponse,
    NoResponse,
    PortLost,
    TokenPresented,
)
from drivers.readers.pn532 import CardPresence, Pn532Reader
from drivers.wire import pn532
from drivers.wire.pn532 import Target
from tests.drivers.fixtures_serial import ReportLog, running_tasks, sent_frames, wait_until

CLASSIC = bytes.fromhex("5A 3C 91 7E")
DESFIRE = bytes.fromhex("04 51 6E 2A 33 5C 80")
PHONE = bytes.fromhex("08 11 22 33")
POLL = "00 00 FF 04 FC D4 4A 01 00 E1 00"
FIELD_OFF, FIELD_ON = "00 00 FF 04 FC D4 32 01 00 F9 00", "00 00 FF 04 FC D4 32 01 01 F8 00"
LINE_TEST = "00 00 FF 05 FB D4 00 00 AA 55 2D 00"


class ReaderBench:
    """A reader on a line in memory, its emulated chip and its reports."""

    def __init__(self) -> None:
        self.station, device = open_memory_line()
        self.device: MemoryPort = device
        self.chip = EmulatedPn532(device)
        self.reader = Pn532Reader("memory", open_port=self.station.open)
        self.reports = ReportLog()

    async def run_driver(self) -> None:
        await self.reader.run(self.reports)

    def presented_uids(self) -> list[bytes]:
        return [token.uid for token in self.reports.reports_of(TokenPresented)]


def reader_ready() -> DeviceReady:
    return DeviceReady("NXP PN532 firmware 1.6")


async def test_the_set_up_sends_the_bytes_of_the_manual(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run, bench.run_driver):
        await trio.sleep(0.1)
    assert sent_frames(bench.station)[:5] == [
        "55 55 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 FF 05 FB D4 14 01 00 01 16 00",
        "00 00 FF 02 FE D4 02 2A 00",
        "00 00 FF 06 FA D4 32 05 FF 01 02 F3 00",
        FIELD_ON,
        POLL,
    ]
    assert bench.reports.all == [reader_ready()]


async def test_a_scripted_chip_of_the_manuals_bytes_gives_its_card(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The driver against literal bytes only: an emulator could have the same mistakes."""
    station, device = open_memory_line()
    answers = [
        "00 00 FF 02 FE D5 15 16 00",
        "00 00 FF 06 FA D5 03 32 01 06 07 E8 00",
        "00 00 FF 02 FE D5 33 F8 00",
        "00 00 FF 02 FE D5 33 F8 00",
        "00 00 FF 15 EB D5 4B 01 01 03 44 20 07 04 51 6E 2A 33 5C 80 06 75 77 81 02 80 7F 00",
        "00 00 FF 03 FD D5 53 00 D8 00",
    ]

    async def chip() -> None:
        for answer in answers:
            await device.receive()
            await device.send(pn532.ACK + bytes.fromhex(answer))

    reports = ReportLog()
    reader = Pn532Reader("memory", open_port=station.open)
    async with running_tasks(chip, lambda: reader.run(reports)):
        await trio.sleep(0.1)
    assert reports.all == [reader_ready(), TokenPresented(DESFIRE, uid_is_random=False)]
    assert sent_frames(station)[-1] == "00 00 FF 03 FD D4 52 01 D9 00"


async def test_polls_begin_on_common_beats_about_150_ms_apart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    times: list[float] = []
    await trio.sleep(0.013)
    async with running_tasks(bench.chip.run, bench.run_driver):
        while len(times) < 5:
            before = sent_frames(bench.station).count(POLL)
            while sent_frames(bench.station).count(POLL) == before:
                await trio.sleep(0.001)
            times.append(trio.current_time())
    assert all((at + 0.001) % 0.05 <= 0.002 for at in times[1:])
    assert all(0.12 <= after - before <= 0.25 for before, after in pairwise(times[1:]))


async def test_a_card_is_reported_once_while_present_and_again_after_an_absence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run, bench.run_driver):
        bench.chip.present_card(DESFIRE, sak=0x20, ats=b"\x75\x77", duration_s=3)
        await trio.sleep(2.5)
        assert bench.presented_uids() == [DESFIRE]
        await trio.sleep(3)
        bench.chip.present_card(DESFIRE, duration_s=0.1)
        bench.chip.present_card(CLASSIC, duration_s=0.1)
        bench.chip.present_card(CLASSIC, duration_s=0.1)
        await trio.sleep(4)
    assert bench.presented_uids() == [DESFIRE, DESFIRE, CLASSIC, CLASSIC]
    assert bench.chip.cards_waiting == 0


async def test_a_tap_is_reported_within_a_quarter_of_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run, bench.run_driver):
        await trio.sleep(1.234)
        tapped = trio.current_time()
        bench.chip.present_card(CLASSIC)
        await trio.sleep(1)
    assert bench.presented_uids() == [CLASSIC]
    assert bench.reports.times[-1] - tapped < 0.25


async def test_a_phone_is_marked_random(autojump_clock: trio.testing.MockClock) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run, bench.run_driver):
        bench.chip.present_card(PHONE, sak=0x20)
        await trio.sleep(1)
    assert bench.reports.reports_of(TokenPresented) == [TokenPresented(PHONE, uid_is_random=True)]


def target_with_uid(uid: bytes) -> Target:
    return Target(1, b"\0\4", 0x08, uid)


def test_a_card_is_the_same_tap_until_absent_for_three_polls() -> None:
    presence = CardPresence(absent_polls=3)
    briefly = [
        target_with_uid(CLASSIC),
        None,
        None,
        target_with_uid(CLASSIC),
        None,
        None,
        target_with_uid(CLASSIC),
    ]
    assert [presence.on_poll(look) is not None for look in briefly] == [True, *[False] * 6]
    longer = [None, None, None, target_with_uid(CLASSIC)]
    assert [presence.on_poll(look) is not None for look in longer] == [False, False, False, True]


def test_another_card_is_another_tap_at_once() -> None:
    presence = CardPresence(absent_polls=3)
    tokens = [presence.on_poll(target_with_uid(uid)) for uid in (CLASSIC, DESFIRE, CLASSIC)]
    assert [token.uid for token in tokens if token] == [CLASSIC, DESFIRE, CLASSIC]


def test_a_phone_that_changes_its_uid_while_present_is_one_tap() -> None:
    presence = CardPresence(absent_polls=3)
    tokens = [presence.on_poll(target_with_uid(bytes([0x08, 1, 2, at]))) for at in range(5)]
    assert [token is not None for token in tokens] == [True, False, False, False, False]


async def test_a_disabled_reader_has_its_field_off_and_is_still_tested(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run, bench.run_driver):
        await trio.sleep(1)
        bench.reader.enabled = False
        await trio.sleep(1)
        assert not bench.chip.field_on
        bench.station.sent.clear()
        bench.chip.present_card(CLASSIC)
        await trio.sleep(25)
        assert sent_frames(bench.station) == [LINE_TEST, LINE_TEST]
        assert bench.presented_uids() == []
        bench.reader.enabled = True
        await trio.sleep(1)
    assert sent_frames(bench.station)[2:4] == [FIELD_ON, POLL]
    assert bench.presented_uids() == [CLASSIC]


async def test_a_card_that_stayed_is_a_new_tap_after_a_pause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run, bench.run_driver):
        bench.chip.present_card(CLASSIC, duration_s=100)
        await trio.sleep(1)
        bench.reader.enabled = False
        await trio.sleep(1)
        bench.reader.enabled = True
        await trio.sleep(1)
    assert bench.presented_uids() == [CLASSIC, CLASSIC]


@pytest.mark.parametrize("fault", ["drop_acks", "bad_dcs", "partial", "syntax_errors"])
async def test_two_damaged_responses_lose_no_card(
    autojump_clock: trio.testing.MockClock, fault: str
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run, bench.run_driver):
        await trio.sleep(1)
        bench.chip.present_card(CLASSIC, duration_s=10)
        setattr(bench.chip.faults, fault, 2)
        await trio.sleep(5)
        assert getattr(bench.chip.faults, fault) == 0
    assert bench.presented_uids() == [CLASSIC]


async def test_a_wrong_checksum_is_requested_again_with_one_nack(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run, bench.run_driver):
        await trio.sleep(1)
        bench.station.sent.clear()
        bench.chip.present_card(CLASSIC)
        bench.chip.faults.bad_dcs = 1
        await trio.sleep(0.3)
    assert sent_frames(bench.station)[:3] == [
        POLL,
        "00 00 FF FF 00 00",
        "00 00 FF 03 FD D4 52 01 D9 00",
    ]


async def test_a_chip_with_only_damaged_frames_gets_one_nack_per_attempt(
    autojump_clock: trio.testing.MockClock,
) -> None:
    station, device = open_memory_line()

    async def chip() -> None:
        while True:
            await device.receive()
            await device.send(bytes.fromhex("00 00 FF 02 FE D5 15 17 00"))

    reader = Pn532Reader("memory", open_port=station.open)
    async with running_tasks(chip):
        with pytest.raises(NoResponse, match="14 01 00 01"):
            await reader.run(ReportLog())
    one_try = ["14 01 00 01 16 00", "00 00 FF FF 00 00", "00 00 FF 00 FF 00"]
    assert [sent[-6:].hex(" ").upper() for sent in station.sent] == one_try * 3


async def test_a_response_that_comes_between_two_polls_is_no_card(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run, bench.run_driver):
        await trio.sleep(1)
        while bench.device.sent[-1] != bytes.fromhex("00 00 FF 03 FD D5 4B 00 E0 00"):
            await trio.sleep(0.001)
        await trio.sleep(0.05)
        late = pn532.encode_target_list(Target(1, b"\0\4", 0x08, CLASSIC))
        await bench.device.send(pn532.encode_response(late))
        await trio.sleep(1)
    assert bench.presented_uids() == []


@pytest.mark.parametrize("noise", ["FF 00 FF 03 00 55", "00 FF 40 C0", "00 FF 00"])
async def test_noise_before_each_frame_and_single_bytes_lose_no_card(
    autojump_clock: trio.testing.MockClock, noise: str
) -> None:
    bench = ReaderBench()
    bench.chip.faults.noise = bytes.fromhex(noise)
    bench.device.peer_receive_max_bytes = bench.station.peer_receive_max_bytes = 1
    async with running_tasks(bench.chip.run, bench.run_driver):
        bench.chip.present_card(DESFIRE, sak=0x20, ats=b"\x75\x77\x81\x02\x80")
        await trio.sleep(3)
    assert bench.presented_uids() == [DESFIRE]


async def test_three_silent_tries_are_a_lost_reader_and_each_is_aborted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run):

        async def fall_silent() -> None:
            await trio.sleep(1)
            bench.chip.faults.silent = True
            bench.station.sent.clear()

        async with running_tasks(fall_silent):
            with pytest.raises(
                NoResponse, match="memory: command 4a 01 00 not answered in 3 tries"
            ):
                await bench.run_driver()
    assert sent_frames(bench.station) == [POLL, "00 00 FF 00 FF 00"] * 3
    assert trio.current_time() < 3


async def test_a_chip_that_lost_its_power_is_woken_by_the_next_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run):

        async def lose_power() -> None:
            await trio.sleep(1)
            bench.chip.power_cycle()

        async with running_tasks(lose_power):
            with pytest.raises(NoResponse):
                await bench.run_driver()
        async with running_tasks(bench.run_driver):
            bench.chip.present_card(CLASSIC)
            await trio.sleep(1)
    assert bench.presented_uids() == [CLASSIC]
    assert bench.reports.reports_of(DeviceReady) == [reader_ready(), reader_ready()]


async def test_a_reader_that_refuses_every_command_is_a_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    bench.chip.faults.syntax_errors = 3
    async with running_tasks(bench.chip.run):
        with pytest.raises(CommandRefused, match="syntax error"):
            await bench.run_driver()


async def test_another_chip_is_no_pn532(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.emulators.pn532.FIRMWARE", bytes.fromhex("07 01 06 07"))
    bench = ReaderBench()
    async with running_tasks(bench.chip.run):
        with pytest.raises(InvalidResponse, match="07 01 06 07 is not of a PN532"):
            await bench.run_driver()
    assert bench.reports.all == []


async def test_a_cut_line_is_a_lost_port(autojump_clock: trio.testing.MockClock) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run):

        async def cut() -> None:
            await trio.sleep(1)
            bench.device.hang_up()

        async with running_tasks(cut):
            with pytest.raises(PortLost):
                await bench.run_driver()
        with pytest.raises(PortLost):
            await bench.run_driver()


async def test_nothing_is_answered_before_the_wake_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    async with running_tasks(bench.chip.run):
        await bench.station.send(pn532.encode_command(bytes([pn532.GET_FIRMWARE_VERSION])))
        await trio.sleep(1)
        assert bench.device.sent == []
        await bench.station.send(pn532.WAKE_UP + pn532.encode_command(pn532.NORMAL_MODE))
        await trio.sleep(1)
    assert sent_frames(bench.device) == ["00 00 FF 00 FF 00", "00 00 FF 02 FE D5 15 16 00"]


async def test_without_max_retries_the_chip_polls_until_an_ack_ends_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = ReaderBench()
    bench.chip.awake = True
    async with running_tasks(bench.chip.run):
        await bench.station.send(pn532.encode_command(pn532.LIST_ONE_TYPE_A))
        await trio.sleep(60)
        assert sent_frames(bench.device) == ["00 00 FF 00 FF 00"]
        await bench.station.send(pn532.ACK)
        bench.chip.present_card(CLASSIC)
        await trio.sleep(60)
    assert sent_frames(bench.device) == ["00 00 FF 00 FF 00"]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("16 10", "00 00 FF 03 FD D5 17 00 14 00"),
        ("00 00 AA 55", "00 00 FF 05 FB D5 01 00 AA 55 2B 00"),
        ("52 00", "00 00 FF 03 FD D5 53 00 D8 00"),
        ("4A 01 00", "00 00 FF 03 FD D5 4B 00 E0 00"),
        ("7A", "00 00 FF 01 FF 7F 81 00"),
        ("32", "00 00 FF 01 FF 7F 81 00"),
    ],
)
async def test_the_emulated_chip_answers_with_the_bytes_of_the_manual(
    autojump_clock: trio.testing.MockClock, command: str, answer: str
) -> None:
    bench = ReaderBench()
    bench.chip.awake = True
    async with running_tasks(bench.chip.run):
        for said in (pn532.set_max_retries(2), bytes.fromhex(command)):
            await bench.station.send(pn532.encode_command(said))
            await trio.sleep(1)
    assert sent_frames(bench.device)[2:] == ["00 00 FF 00 FF 00", answer]


def test_a_uid_that_no_card_has_is_refused() -> None:
    chip = EmulatedPn532(open_memory_line()[1])
    with pytest.raises(ValueError, match="4, 7 or 10 bytes"):
        chip.present_card(b"\x01\x02\x03")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=4))
def test_no_bytes_break_the_driver_or_the_chip(pieces: list[bytes]) -> None:
    async def main() -> None:
        bench = ReaderBench()

        async def noise() -> None:
            for piece in pieces:
                await trio.sleep(0.11)
                await bench.device.send(piece)
                await bench.station.send(piece)

        async def read_until_lost() -> None:
            with suppress(NoResponse, CommandRefused):
                await bench.run_driver()

        async with running_tasks(bench.chip.run):
            async with running_tasks(read_until_lost, noise):
                await trio.sleep(2)
            async with running_tasks(bench.run_driver):
                await trio.sleep(4)
                bench.chip.present_card(DESFIRE)
                await trio.sleep(1)
        assert DESFIRE in bench.presented_uids()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_over_a_pty_with_a_pulled_plug(tmp_path: Path) -> None:
    reports = ReportLog()
    with Pty(tmp_path / "reader") as device:
        chip = EmulatedPn532(device)
        reader = Pn532Reader(device.path, poll_ms=20)
        async with running_tasks(chip.run):
            chip.present_card(DESFIRE, sak=0x20, ats=b"\x75\x77", duration_s=0.1)
            async with running_tasks(lambda: reader.run(reports)):
                await wait_until(
                    lambda: reports.reports_of(TokenPresented) and not chip.cards_waiting
                )
            device.unplug()
            with pytest.raises(PortLost):
                await reader.run(reports)
            device.plug_in()
            chip.present_card(CLASSIC)
            async with running_tasks(lambda: reader.run(reports)):
                await wait_until(lambda: len(reports.reports_of(TokenPresented)) == 2)
    assert [token.uid for token in reports.reports_of(TokenPresented)] == [DESFIRE, CLASSIC]
