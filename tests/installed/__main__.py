"""The chapter "On a real charger" as a program: `python -m tests.installed PACKAGE`, as root.

Installs the package on a Debian with systemd as PID 1, and ends with exit code 1 at the first
statement of the integrator's guide that is not true there. The devices are emulated, the CSMS is
that of the tests, on the host. It takes some minutes, and Debian's mirror the first time.
"""

from __future__ import annotations

import argparse
import shutil
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.e2e.harness import IDENTITY, PASSWORD, request_control
from tests.installed.machine import Machine, MachineFailed
from tests.support.authorities import make_authority, make_server_certificate
from tests.support.csms import Csms

CARD: Final = "0123456789ABCD"
DEVICES: Final = "/srv/devices"
DATA: Final = "/var/lib/ocpp-station"
KINDS: Final = {
    "meter": "acrel_djsf1352",
    "insulation": "bender_isocha425hv",
    "io": "icpdas_m7055",
    "secc": "advantics",
    "modules": "infypower",
    "reader": "pn532",
}
EMULATE: Final = (
    f"install -d -o ocpp-station {DEVICES} && systemd-run --quiet --unit devices"
    f" --uid ocpp-station --gid ocpp-station ocpp-station emulate --data {DEVICES}"
)
WAIT_S: Final = 120  # a restart on a busy machine
WATCHDOG_S: Final = 30  # of the unit


def main() -> int:
    """Run all steps; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("package", type=Path, help="the .deb")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp/ocpp-station-installed"))
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    try:
        machine = Machine(arguments.directory)
        with open_csms(arguments.directory) as csms:
            machine.boot()
            try:
                for step in FirstDay(machine, csms, arguments).steps():
                    print(f"pass  {step}", flush=True)
            finally:
                machine.power_off()
    except (MachineFailed, TimeoutError) as error:
        print(f"FAIL  {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def open_csms(directory: Path) -> Iterator[Csms]:
    """A CSMS at wss://localhost, with its root certificate in `directory`."""
    root = make_authority("Example root")
    server = make_server_certificate(root, "localhost", common_name="localhost")
    for name, text in (("server.pem", server.pem), ("server.key", server.key_pem)):
        (directory / name).write_text(text)
    (directory / "csms-root.pem").write_text(root.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    with Csms(tls=context, passwords={IDENTITY: PASSWORD}) as csms:
        csms.responses.add_id_token(CARD)
        yield csms


def require(condition: bool, complaint: str) -> None:
    """Raises MachineFailed: the condition is false."""
    if not condition:
        raise MachineFailed(complaint)


class FirstDay:
    """The steps of the integrator, and what may happen to the charger afterwards."""

    def __init__(self, machine: Machine, csms: Csms, arguments: argparse.Namespace) -> None:
        self._machine, self._csms, self._package = machine, csms, arguments.package
        self._files = machine.disk / "root"
        shutil.copy(arguments.package, self._files / "station.deb")
        shutil.copy(arguments.directory / "csms-root.pem", self._files)
        (self._files / "password").write_text(f"{PASSWORD}\n")

    def steps(self) -> Iterator[str]:
        """Run one step after the other; yields what each has shown."""
        yield from self._install()
        yield from self._charge()
        yield from self._kill()
        yield from self._stop()
        yield from self._lose_supply()
        yield from self._fail_five_times()
        yield from self._remove()
        require(not self._csms.problems, f"{self._csms.problems}")
        yield "the CSMS received no message that is not valid"

    def _install(self) -> Iterator[str]:
        run = self._machine.run
        run(f"apt-get purge --yes ocpp-station; rm -rf {DATA} /etc/ocpp-station")
        run("apt-get update && apt-get install --yes --reinstall ./station.deb")
        run("ocpp-station drivers | grep acrel_djsf1352")
        self._write_configuration()
        run("install -m 0640 -g ocpp-station password csms-root.pem /etc/ocpp-station/")
        run(EMULATE)
        self._machine.wait_until(
            lambda: self._machine.try_run(f"test -S {DEVICES}/emulator.sock").returncode == 0,
            WAIT_S,
            "emulated devices",
        )
        run("ocpp-station check")
        yield "install, drivers, check: no problem, and secrets only for the service"
        run("ocpp-station probe --seconds 60")
        yield "probe: every device answers"
        run("systemctl enable --now ocpp-station ocpp-station-page")
        self._wait_connected()
        self._machine.wait_until(
            lambda: "connected" in self._show("StatusText"), WATCHDOG_S, "status line"
        )
        fields = run("journalctl --unit ocpp-station --output json LOGGER=station.csms")
        require('"PRIORITY":"6"' in fields, f"no field PRIORITY: {fields}")
        yield "enable --now: ready, status, watchdog, and fields in journald"

    def _write_configuration(self) -> None:
        url = self._csms.url.replace("127.0.0.1", "localhost")
        text = f'[station]\nidentity = "{IDENTITY}"\nprofile = "evs-flash-300"\ndata = "{DATA}"\n'
        text += f'[csms]\nurl = "{url}"\nsecurity_profile = 2\npassword_file = "password"\n'
        text += 'ca_file = "csms-root.pem"\n'
        for kind, driver in KINDS.items():
            port = f"{DEVICES}/emulated/{kind}.tty"
            text += f'[hardware.{kind}]\ndriver = "{driver}"\nport = "{port}"\n'
        (self._machine.disk / "etc/ocpp-station/station.toml").write_text(text)

    def _charge(self) -> Iterator[str]:
        self._order("plug_in", evse_id=1)
        self._order("present_token", id_token=CARD, type="ISO14443", evse_id=1)
        self._wait_status("Charging")
        yield "a session charges"

    def _kill(self) -> Iterator[str]:
        pid = self._show("MainPID")
        self._machine.run(f"kill -9 {pid}")
        self._wait_restarted(pid)
        self._wait_status("Charging")
        yield "kill -9: restarted, and the session continues"

    def _stop(self) -> Iterator[str]:
        pid = self._show("MainPID")
        stopped_at = time.monotonic()
        self._machine.run(f"kill -STOP {pid}")
        self._machine.wait_until(lambda: not self._is_closed(), WATCHDOG_S, "open contactors")
        opened_s = time.monotonic() - stopped_at
        self._wait_restarted(pid)
        self._wait_status("Charging")
        yield f"kill -STOP: contactors open within {opened_s:.1f} s, restarted by the watchdog"

    def _lose_supply(self) -> Iterator[str]:
        self._machine.power_off()
        self._machine.boot()
        self._machine.run(EMULATE)
        self._wait_connected()
        self._machine.wait_until(self._has_no_fault, WAIT_S, "end of the faults")
        self._machine.run(f"ocpp-station verify {DATA}")
        yield "supply lost: started at boot, devices that came later are found, journal intact"

    def _fail_five_times(self) -> Iterator[str]:
        """A release that was installed over OCPP ends at once."""
        firmware = f"{DATA}/firmware"
        self._machine.run(
            f"mkdir -p {firmware}/releases/1.0/bin {firmware}/releases/1.1/bin && cd {firmware}"
            " && ln -s /opt/ocpp-station/bin/station releases/1.0/bin/station"
            " && cp /bin/false releases/1.1/bin/station"
            " && ln -sfn releases/1.0 previous && ln -sfn releases/1.1 current"
            " && chown -hR ocpp-station . && { systemctl restart ocpp-station || true; }"
        )
        link = f"readlink {firmware}/current"
        self._machine.wait_until(
            lambda: self._machine.run(link).strip() == "releases/1.0", WAIT_S, "rollback"
        )
        self._wait_connected()
        yield "an update that fails five times: back to the release before, and connected"

    def _remove(self) -> Iterator[str]:
        run = self._machine.run
        run("apt-get install --yes --reinstall ./station.deb")
        self._wait_connected()
        yield "upgrade: restarted, data and configuration stay"
        run("apt-get remove --yes ocpp-station")
        run(f"test -s {DATA}/journal.db && ! pgrep -u ocpp-station -f 'station (run|page)'")
        run(f"apt-get purge --yes ocpp-station && test -s {DATA}/journal.db")
        yield "remove and purge without an answer: nothing runs, the journal stays"

    # --- What the machine shows -------------------------------------------------------------------

    def _show(self, name: str) -> str:
        return self._machine.run(f"systemctl show --property {name} --value ocpp-station").strip()

    def _wait_status(self, text: str) -> None:
        self._machine.wait_until(
            lambda: text in self._machine.try_run("ocpp-station status").stdout, WAIT_S, text
        )

    def _has_no_fault(self) -> bool:
        lines = self._machine.try_run("ocpp-station status").stdout.splitlines()
        return any(line.split() == ["faults", "none"] for line in lines)

    def _wait_connected(self) -> None:
        self._wait_status("registration Accepted")

    def _wait_restarted(self, old_pid: str) -> None:
        self._machine.wait_until(
            lambda: (
                self._show("MainPID") not in (old_pid, "0")
                and self._show("ActiveState") == "active"
            ),
            WATCHDOG_S + WAIT_S,
            "restart",
        )

    def _order(self, operation: str, **arguments: Any) -> dict[str, Any]:
        path = self._machine.disk / f"{DEVICES[1:]}/emulator.sock"
        return request_control(path, operation, **arguments)

    def _is_closed(self) -> bool:
        return bool(self._order("world")["evses"][0]["contactor"] == "closed")


if __name__ == "__main__":
    sys.exit(main())
