"""The modem of the host: a fake `mmcli` on PATH that answers, is silent, or prints garbage."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import trio

from journal.observations import ModemReported
from journal.projections.modem import Modem
from station.core.device_model.model import DeviceModel
from station.profiles import load_profile
from station.runtime.jobs import modem
from station.runtime.jobs.modem import (
    OUTPUT_LENGTH_MAX,
    ModemUnreadable,
    find_modem_program,
    has_changed,
    read_modem,
    watch_modem,
)

SIM = "/org/freedesktop/ModemManager1/SIM/0"
ICCID, IMSI = "8949020000123456789", "262011234567890"
MODEM_JSON = {
    "modem": {"generic": {"sim": SIM, "signal-quality": {"recent": "yes", "value": "50"}}}
}
SIM_JSON = {"sim": {"properties": {"iccid": ICCID, "imsi": IMSI, "operator-name": "--"}}}
SIGNAL_JSON = {"modem": {"signal": {"5g": {"rsrp": "--"}, "lte": {"rssi": "-67.00"}}}}


def write_mmcli(directory: Path, **answers: Any) -> str:
    """A program that prints an answer for `-m any`, `-i SIM` and `--signal-get`.

    Args:
        directory: where it is made.
        answers: `modem`, `sim`, `signal`: JSON values, or a shell command as text.
    """
    commands = {
        name: answer
        if isinstance(answer, str)
        else f"cat <<'END'\n{json.dumps(answer)}\nEND"
        for name, answer in {
            "modem": MODEM_JSON, "sim": SIM_JSON, "signal": SIGNAL_JSON, **answers
        }.items()
    }  # fmt: skip
    path = directory / "mmcli"
    path.write_text(
        "#!/bin/sh\n"
        f'case "$*" in\n'
        f'"-J -m any") {commands["modem"]}\n;;\n'
        f'"-J -i {SIM}") {commands["sim"]}\n;;\n'
        f'"-J -m any --signal-get") {commands["signal"]}\n;;\n'
        "*) exit 9;;\nesac\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_sim_card_and_level_are_read(tmp_path: Path) -> None:
    report = await read_modem(write_mmcli(tmp_path))
    assert report == ModemReported(iccid=ICCID, imsi=IMSI, signal_dbm=-67)


async def test_without_a_measured_level_the_quality_counts(tmp_path: Path) -> None:
    for signal in ("exit 1", {"modem": {"signal": {"lte": {"rssi": "--"}}}}):
        report = await read_modem(write_mmcli(tmp_path, signal=signal))
        assert report is not None
        assert report.signal_dbm == -82  # the middle of -113 and -51


async def test_a_host_without_a_modem_reports_nothing(tmp_path: Path) -> None:
    assert await read_modem(write_mmcli(tmp_path, modem="exit 1")) is None


async def test_a_modem_without_a_sim_card_has_a_level_only(tmp_path: Path) -> None:
    answer = {"modem": {"generic": {"sim": "--", "signal-quality": {"value": "0"}}}}
    report = await read_modem(write_mmcli(tmp_path, modem=answer, sim="exit 9"))
    assert report == ModemReported(signal_dbm=-67)


@pytest.mark.parametrize(
    ("iccid", "imsi", "level"),
    [
        ("89490200001234567890123", "26201", "-900"),
        ("", "--", "0"),
        ("<script>", "2620112345678901\n", "nan"),
        (["8949020000123456789"], 262011234567890, -67),
        ("８９４９０２００００１２", "٢٦٢٠١١٢٣٤٥", "1e3"),
        (None, {}, None),
    ],
)
async def test_values_of_another_form_are_left_out(
    tmp_path: Path, iccid: object, imsi: object, level: object
) -> None:
    program = write_mmcli(
        tmp_path,
        modem={"modem": {"generic": {"sim": SIM, "signal-quality": {"value": "5000"}}}},
        sim={"sim": {"properties": {"iccid": iccid, "imsi": imsi}}},
        signal={"modem": {"signal": {"lte": {"rssi": level}}}},
    )
    assert await read_modem(program) == ModemReported()


async def test_only_the_path_of_a_sim_card_becomes_an_argument(tmp_path: Path) -> None:
    for path in ("--help", "/org/freedesktop/ModemManager1/SIM/0 --reset", 7, None):
        answer = {"modem": {"generic": {"sim": path}}}
        report = await read_modem(write_mmcli(tmp_path, modem=answer, sim="touch called"))
        assert report == ModemReported(signal_dbm=-67)


@pytest.mark.parametrize(
    "output",
    [
        "echo no json",
        "printf '\\377\\376'",
        "printf '[%.0s' $(seq 60000)",
        f"head -c {OUTPUT_LENGTH_MAX + 1} /dev/zero",
        "yes",
    ],
    ids=["text", "bytes", "nested", "long", "endless"],
)
async def test_garbage_is_refused(tmp_path: Path, output: str) -> None:
    with pytest.raises(ModemUnreadable, match="mmcli printed"):
        await read_modem(write_mmcli(tmp_path, modem=output))


@pytest.mark.parametrize("output", ["[]", "null", '"text"', "{}", '{"modem": [1]}'])
async def test_other_json_has_nothing_of_a_modem(tmp_path: Path, output: str) -> None:
    report = await read_modem(write_mmcli(tmp_path, modem=f"echo '{output}'", signal="exit 1"))
    assert report in (None, ModemReported())


async def test_a_program_that_hangs_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modem, "TIMEOUT_S", 0.2)
    with pytest.raises(ModemUnreadable, match=r"has not ended after 0\.2 s"):
        await read_modem(write_mmcli(tmp_path, modem="exec sleep 60"))


async def test_a_program_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModemUnreadable, match="cannot be run: No such file"):
        await read_modem(str(tmp_path / "mmcli"))


async def test_it_is_reported_when_it_changes_and_errors_end_nothing(tmp_path: Path) -> None:
    reports: list[ModemReported] = []
    known = Modem()

    def observe(report: ModemReported) -> None:
        nonlocal known
        reports.append(report)
        known = Modem(report.iccid, report.imsi, report.signal_dbm)

    program = write_mmcli(tmp_path)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, program, observe, lambda: known)
            while len(reports) < 1:
                await trio.sleep(0.01)
            write_mmcli(tmp_path, modem="echo garbage")
            await trio.sleep(0.2)
            assert len(reports) == 1
            write_mmcli(tmp_path, sim={"sim": {"properties": {"iccid": "8949020000000000001"}}})
            while len(reports) < 2:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert reports[1] == ModemReported(iccid="8949020000000000001", signal_dbm=-67)


async def _watch(program: str, observe: Any, known: Any) -> None:
    await watch_modem(program, observe, known, interval_s=0.02)


@pytest.mark.parametrize(
    ("level_dbm", "changed"), [(-67, False), (-72, False), (-73, True), (-61, True), (None, True)]
)
def test_a_level_counts_from_6_db_on(level_dbm: int | None, changed: bool) -> None:
    report = ModemReported(ICCID, IMSI, level_dbm)
    assert has_changed(report, Modem(ICCID, IMSI, -67)) is changed


def test_only_a_product_with_the_variables_looks_for_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_mmcli(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_modem_program(DeviceModel(load_profile("development"))) == program
    assert find_modem_program(DeviceModel(load_profile("evs-flash-300"))) is None
    monkeypatch.setenv("PATH", str(tmp_path / "absent"))
    assert find_modem_program(DeviceModel(load_profile("development"))) is None
