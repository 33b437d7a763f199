"""Notification of systemd: ready, status, stopping, watchdog. sd_notify(3).

systemd gives the path of a datagram socket in `NOTIFY_SOCKET` and the time limit of its watchdog in
`WATCHDOG_USEC`. Without them, nothing is sent. The variables are removed, so that no child process
of the station can send in its name.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Final

log = logging.getLogger("station")

SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE: Final = "WATCHDOG_USEC"
WATCHDOG_PID_VARIABLE: Final = "WATCHDOG_PID"
MICROSECONDS: Final = 1_000_000
STATUS_CHARS_MAX: Final = 300


class ServiceManager:
    """The systemd that started this process, or none.

    Attributes:
        watchdog_s: systemd restarts the service if it receives no ping for this time; None: it
            has no watchdog.
    """

    def __init__(self, address: str | None, watchdog_s: float | None) -> None:
        """`address`: of the socket; it begins with "@" in the abstract namespace."""
        self.watchdog_s = watchdog_s
        self._address = address
        self._last_status = ""
        self._failure_logged = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> ServiceManager:
        """As systemd described itself in the environment, whose variables are removed."""
        address = environment.pop(SOCKET_VARIABLE, None)
        limit = environment.pop(WATCHDOG_VARIABLE, "")
        pid = environment.pop(WATCHDOG_PID_VARIABLE, str(os.getpid()))
        is_ours = address is not None and limit.isascii() and limit.isdecimal() and int(limit) > 0
        if not is_ours or pid != str(os.getpid()):
            return cls(address, None)
        return cls(address, int(limit) / MICROSECONDS)

    def to_environment(self) -> dict[str, str]:
        """The variables again, for a program that replaces this one in the same process."""
        variables = {}
        if self._address is not None:
            variables[SOCKET_VARIABLE] = self._address
        if self.watchdog_s is not None:
            variables[WATCHDOG_VARIABLE] = str(round(self.watchdog_s * MICROSECONDS))
            variables[WATCHDOG_PID_VARIABLE] = str(os.getpid())
        return variables

    def report_ready(self) -> None:
        """The station recovered its state and works."""
        self._send("READY=1")

    def report_stopping(self) -> None:
        """The station ends in order."""
        self._send("STOPPING=1")

    def report_status(self, text: str) -> None:
        """One line for `systemctl status`; the same line is sent once."""
        line = " ".join(text.split())[:STATUS_CHARS_MAX]
        if line != self._last_status:
            self._last_status = line
            self._send(f"STATUS={line}")

    def feed_watchdog(self) -> None:
        """The station works."""
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        """Send without waiting; a failure is logged once, because the watchdog shows it anyway."""
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.setblocking(False)
                connection.sendto(state.encode(), address)
        except OSError as error:
            if not self._failure_logged:
                log.error("systemd: %s: cannot notify: %s", self._address, error.strerror)
            self._failure_logged = True
