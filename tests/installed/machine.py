"""A Debian 12 in a container of systemd-nspawn: boot, commands as root, power off.

Real: Debian's packages and Python, systemd as PID 1 with its watchdog, journald, cgroups (version
2) and device policy. Simulated: the kernel is that of the host, the network too, and nothing limits
the memory where the host has not given that controller to cgroup 2.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

RELEASE: Final = "bookworm"
MIRROR: Final = "http://deb.debian.org/debian"
PACKAGES: Final = "systemd,systemd-sysv,dbus,udev,python3,ca-certificates"
BOOT_TIMEOUT_S: Final = 120
COMMAND_TIMEOUT_S: Final = 600
NEEDED: Final = ("mmdebstrap", "systemd-nspawn", "nsenter")
POLL_S: Final = 0.5


class MachineFailed(Exception):
    """The machine cannot be made or booted, or a command on it failed. One line and its output."""


class Machine:
    """One machine, whose disk is a directory. It is off until `boot`."""

    def __init__(self, directory: Path) -> None:
        """Make the disk from Debian's mirror, if it does not exist: some minutes.

        Raises:
            MachineFailed: not root, a tool is missing, or the mirror does not answer.
        """
        missing = [tool for tool in NEEDED if not shutil.which(tool)]
        if os.geteuid() != 0 or missing:
            raise MachineFailed(f"needs root, and {', '.join(NEEDED)}; missing: {missing}")
        self.disk = directory / "disk"
        self._log = directory / "console.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        if not self.disk.exists():
            draft = directory / "draft"
            shutil.rmtree(draft, ignore_errors=True)
            include = f"--include={PACKAGES}"
            command = ("mmdebstrap", "--variant=minbase", include, RELEASE, str(draft), MIRROR)
            if subprocess.run(command, check=False).returncode:
                raise MachineFailed(f"{MIRROR}: no Debian from it")
            (draft / "etc/hosts").write_text("127.0.0.1 localhost\n")
            draft.rename(self.disk)

    def boot(self) -> None:
        """Switch the machine on and wait until systemd has started everything.

        Raises:
            MachineFailed: not in time.
        """
        command = ("systemd-nspawn", "--boot", "--directory", str(self.disk))
        # Without machined and without a unit of the host: neither needs to be there.
        options = ("--register=no", "--keep-unit", "--machine=charger", "--console=pipe")
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                (*command, *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        self.wait_until(self._is_booted, BOOT_TIMEOUT_S, "boot")

    def _is_booted(self) -> bool:
        if self._init_pid() is None:
            return False
        done = self.try_run("systemctl is-system-running")
        return done.stdout.strip() in ("running", "degraded")

    def power_off(self) -> None:
        """Take the supply away: no process ends in order."""
        if self._nspawn is not None:
            init = self._init_pid()  # while nspawn is its parent
            if init is not None:
                os.kill(init, signal.SIGKILL)  # and with it every process of the container
            self._nspawn.kill()
            self._nspawn.wait()
            self._nspawn = None

    def _init_pid(self) -> int | None:
        """The process that is PID 1 in the container."""
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        try:
            pids = children.read_text(encoding="ascii").split()
        except OSError:
            return None
        for pid in map(int, pids):
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
            if re.search(rf"^NSpid:\t{pid}\t1$", status, re.MULTILINE):
                return pid
        return None

    def try_run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root; its exit code may be any."""
        pid = self._init_pid()
        if pid is None:
            raise MachineFailed(f"the machine is off; see {self._log}")
        enter = ("nsenter", "--target", str(pid), "-m", "-u", "-i", "-p", "-n", "-C", "--")
        environment = ("env", "-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
        options = ("LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
        return subprocess.run(
            (*enter, *environment, *options, "sh", "-c", f"cd /root; {script}"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )

    def run(self, script: str) -> str:
        """Run a shell script as root; returns its output.

        Raises:
            MachineFailed: its exit code is not 0.
        """
        done = self.try_run(script)
        if done.returncode:
            raise MachineFailed(
                f"{script}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def wait_until(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Poll until the condition is true.

        Raises:
            MachineFailed: not in time.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise MachineFailed(f"no {what} within {timeout_s:.0f} s; see {self._log}")
            time.sleep(POLL_S)
