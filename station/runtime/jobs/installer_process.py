"""The installer of firmware images, run as a process of its own.

The program is `station.firmware.swap` unless `[firmware] installer` names another one. As a process
it cannot damage the station's memory or block its loop. Its exit code is the result.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

import trio

from station.firmware import EXIT_IMAGE_INVALID, EXIT_OK

DEFAULT_INSTALLER: Final = (sys.executable, "-m", "station.firmware.swap")
OUTPUT_LENGTH_MAX: Final = 300  # characters of its last line
INSTALLER_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

InstallFailureStatus = Literal["InstallVerificationFailed", "InstallationFailed"]


class InstallFailed(Exception):
    """Nothing was installed; the release in use is unchanged. The message is one line.

    Attributes:
        status: for FirmwareStatusNotification. L01.FR.01, L01.FR.29.
    """

    def __init__(self, line: str, status: InstallFailureStatus) -> None:
        super().__init__(line)
        self.status: InstallFailureStatus = status


async def install_image(
    image: Path, base: Path, *, program: tuple[str, ...] = DEFAULT_INSTALLER, timeout_s: float = 600
) -> str:
    """Make `image` the release that runs after the next start.

    Args:
        image: with a verified signature of the manufacturer.
        base: directory of the releases.
        program: gets `install BASE IMAGE` as further arguments.
        timeout_s: after that the program is killed.

    Returns:
        The last line of its stdout: the version.

    Raises:
        InstallFailed: exit code 3 is InstallVerificationFailed, any other InstallationFailed.
    """
    return await _run_installer((*program, "install", str(base), str(image)), timeout_s)


async def roll_back(
    base: Path, *, program: tuple[str, ...] = DEFAULT_INSTALLER, timeout_s: float = 60
) -> str:
    """Make the previous release the one that runs after the next start.

    Returns:
        Its version.

    Raises:
        InstallFailed: there is none, or the program fails.
    """
    return await _run_installer((*program, "rollback", str(base)), timeout_s)


async def current_version(
    base: Path, *, program: tuple[str, ...] = DEFAULT_INSTALLER, timeout_s: float = 60
) -> str:
    """The version that runs after the next start.

    Raises:
        InstallFailed: there is none, or the program fails.
    """
    return await _run_installer((*program, "current", str(base)), timeout_s)


async def _run_installer(command: tuple[str, ...], timeout_s: float) -> str:
    """Run the program; a cancellation kills it."""
    try:
        with trio.fail_after(timeout_s):
            result = await trio.run_process(
                command,
                stdin=b"",
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=INSTALLER_ENVIRONMENT,
            )
    except trio.TooSlowError:
        raise InstallFailed(
            f"installer not finished after {timeout_s:g} s; killed", "InstallationFailed"
        ) from None
    except OSError as error:
        raise InstallFailed(
            f"installer {command[0]}: {error.strerror}", "InstallationFailed"
        ) from error
    return _parse_result(result)


def _parse_result(result: subprocess.CompletedProcess[bytes]) -> str:
    if result.returncode == EXIT_OK:
        return _last_line(result.stdout)
    reason = _last_line(result.stderr) or f"exit code {result.returncode}"
    status: InstallFailureStatus = (
        "InstallVerificationFailed"
        if result.returncode == EXIT_IMAGE_INVALID
        else "InstallationFailed"
    )
    raise InstallFailed(f"installer: {reason}", status)


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").split("\n")
    words = next((line for line in reversed(lines) if line.strip()), "")
    return "".join(letter for letter in words if letter.isprintable())[:OUTPUT_LENGTH_MAX]
