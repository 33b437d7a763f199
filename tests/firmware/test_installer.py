"""The installer program: its arguments, result, errors, time limit and environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

from station.runtime.jobs.installer_process import (
    InstallFailed,
    current_version,
    install_image,
    roll_back,
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


async def test_without_a_release_there_is_no_version_and_no_rollback(base: Path) -> None:
    for operation in (current_version, roll_back):
        with pytest.raises(InstallFailed, match=r"no (previous )?release") as failed:
            await operation(base)
        assert failed.value.status == "InstallationFailed"


async def test_a_file_that_is_not_an_image_is_not_verified_l01_fr_29(
    base: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"elephant")
    with pytest.raises(InstallFailed, match="image: ") as failed:
        await install_image(image, base)
    assert failed.value.status == "InstallVerificationFailed"


def python_command(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


async def test_a_custom_installer_is_run(base: Path) -> None:
    code = "import sys; print('working'); print(*sys.argv[1:])"
    version = await install_image(Path("image"), base, program=python_command(code))
    assert version == f"install {base} image"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (python_command("raise SystemExit('no flash')"), "no flash"),
        (python_command("import os; os._exit(9)"), "exit code 9"),
        (python_command("import sys; sys.stderr.write('\\x1b[2J' * 1000); sys.exit(1)"), r"\[2J"),
        (("/does/not/exist",), "No such file"),
    ],
)
async def test_a_failing_installer_is_reported_with_its_message(
    base: Path, program: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InstallFailed, match=message) as failed:
        await install_image(Path("image"), base, program=program)
    assert failed.value.status == "InstallationFailed"
    assert str(failed.value).isprintable()


async def test_an_installer_that_hangs_is_killed(base: Path) -> None:
    began = trio.current_time()
    with pytest.raises(InstallFailed, match="not finished"):
        await install_image(
            Path("image"),
            base,
            program=python_command("import time; time.sleep(60)"),
            timeout_s=0.3,
        )
    assert trio.current_time() - began < 5


async def test_the_installer_gets_no_secrets_in_its_environment(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATION_PASSWORD", "s3cret")
    code = "import os; print(sorted(os.environ))"
    assert "STATION" not in await install_image(Path("image"), base, program=python_command(code))
