"""What stands on the tester's bench: a station process, the CSMS it talks to, a file server.

Cases may share a bench one after another; `restore` brings it back to the general preconditions
of Part 6 §2.1. A bench on which a case failed is thrown away.
"""

from __future__ import annotations

import shutil
import ssl
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from station.profiles import load
from tests.csms import Csms, Payload
from tests.e2e.harness import IDENTITY, PASSWORD, StationProcess, Variable, until
from tests.octt.certificates import Identity, root, server, tls
from tests.octt.files import FileServer

BOOT_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 30.0

VALID = "04A224B2"
VALID_2 = "04B7C1D9E35A80"
OTHER = "04C0FFEE"
GROUP = "FAMILY"
INVALID = "04DEAD01"
BLOCKED = "04B10C01"
EXPIRED = "04E8B1ED"
UNKNOWN = "04F00D99"

# The device model before the first start: quick to retry, so that no case waits for a back-off.
AT_THE_START = (
    Variable("OCPPCommCtrlr", "RetryBackOffWaitMinimum", "1"),
    Variable("OCPPCommCtrlr", "RetryBackOffRandomRange", "0"),
    Variable("OCPPCommCtrlr", "RetryBackOffRepeatTimes", "1"),
    Variable("OCPPCommCtrlr", "MessageTimeout", "5", variable_instance="Default"),
    Variable("OCPPCommCtrlr", "MessageAttemptInterval", "1", variable_instance="TransactionEvent"),
    Variable("SampledDataCtrlr", "TxUpdatedInterval", "60"),
)

PROGRAM = (sys.executable, "-m", "station")


@dataclass(frozen=True)
class Settings:
    """What the test system would be configured with. Times in seconds."""

    evse_id: int = 1
    connector_id: int = 1
    second_evse_id: int = 2
    transaction_s: float = 3.0
    message_timeout_s: int = 5  # OCPPCommCtrlr.MessageTimeout, and how long silence is waited for
    message_attempts: int = 3
    message_attempt_interval_s: int = 2
    ev_connection_timeout_s: int = 4
    clock_aligned_interval_s: int = 5
    sampled_interval_s: int = 3
    offline_s: int = 6  # how long the CSMS stays away
    offline_threshold_s: int = 6
    retry_wait_s: int = 3
    heartbeat_interval_s: int = 5
    deviation_s: float = 4.0  # of times, as certification laboratories allow
    log_retry_interval_s: int = 3
    schedule_offset_s: int = 8  # of firmware updates


@dataclass(frozen=True)
class Authorities:
    """The roots of one bench and the certificate its CSMS shows."""

    csms_root: Identity
    manufacturer_root: Identity
    csms: Identity

    @classmethod
    def make(cls) -> Authorities:
        csms_root = root("CSMS Root 1")
        return cls(csms_root, root("Manufacturer Root"), server(csms_root))


class TestCsms(Csms):
    """A CSMS whose certificate can be changed between two connections."""

    __test__ = False  # not a class of pytest's

    def show(self, context: ssl.SSLContext) -> None:
        """Drop the connection and listen with another certificate."""
        self.down()
        self._tls = context
        self.up()


class Bench:
    """`with Bench("evs-flash-300") as bench:` runs until the end of the block."""

    def __init__(
        self,
        profile: str,
        *,
        settings: Settings | None = None,
        program: Sequence[str] = PROGRAM,
        security_profile: int = 2,
    ) -> None:
        """
        Args:
            profile: a product profile by name or path.
            security_profile: 1: without TLS.
            program: what is run as the station; a mutant is another one.
        """
        self.profile = load(profile)
        self.profile_name = profile
        self.settings = settings or Settings()
        self.program = tuple(program)
        self.security_profile = security_profile
        self.authorities = Authorities.make()
        self.changed: dict[tuple[str, str, str | None], str] = {}  # variables, before the case
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            directory = tempfile.mkdtemp(prefix="octt-")
            opening.callback(shutil.rmtree, directory, ignore_errors=True)
            self.place = Path(directory)
            self.files = opening.enter_context(FileServer())
            shown = self.authorities.csms if self.security_profile > 1 else None
            self.csms = opening.enter_context(self.another_csms(shown))
            self.station = self._station()
            opening.callback(self.station.close)
            self.station.start()
            self.wait_booted(self.csms)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def another_csms(self, identity: Identity | None) -> TestCsms:
        """A CSMS that admits this station, with TLS or without; more than one may run at a time."""
        context = None if identity is None else tls(identity)
        csms = TestCsms(passwords={IDENTITY: PASSWORD}, tls=context)
        csms.answers.boot_interval_s = 300
        know_everybody(csms)
        return csms

    def wait_booted(self, csms: Csms, after: int = 0) -> None:
        """Until the CSMS accepted a BootNotification and the station has nothing left to say."""
        boot = csms.wait_for("BootNotification", timeout_s=BOOT_TIMEOUT_S, after=after)
        for evse in self.profile.evse:
            evse_told = partial(_tells_of, evse.id)
            csms.wait_for("StatusNotification", evse_told, BOOT_TIMEOUT_S, after=boot.number)
        self.wait_settled()

    def wait_settled(self) -> None:
        """Until the link is up and the outbox is empty."""

        def settled() -> bool:
            state = self.station.state()
            return bool(state["link"] == "up" and state["outbox"] == 0)

        until(settled, SETTLE_TIMEOUT_S, "empty outbox")

    def restore(self) -> None:
        """Bring back the general preconditions after a case that passed.

        Raises:
            Exception: it could not be done; the bench is of no more use.
        """
        csms, station = self.csms, self.station
        csms.disturbances.clear()
        csms.refusing = None
        csms.answers.overriding.clear()
        csms.answers.boot_status = "Accepted"
        know_everybody(csms)
        self.files.pause_s = 0.0
        for evse in self.profile.evse:
            if station.world(evse.id)["plugged"]:
                station.op("unplug", evse_id=evse.id)
        csms.wait_connected(SETTLE_TIMEOUT_S)
        self._end_transactions()
        self._set_back()
        csms.call("ChangeAvailability", {"operationalStatus": "Operative"})
        for evse in self.profile.evse:
            where = {"id": evse.id, "connectorId": 1}
            csms.call("ChangeAvailability", {"operationalStatus": "Operative", "evse": where})
            csms.call(
                "ChangeAvailability", {"operationalStatus": "Operative", "evse": {"id": evse.id}}
            )
        if self.profile.has("C-49"):
            csms.call("ClearCache")
        self.wait_settled()

    def _end_transactions(self) -> None:
        def idle() -> bool:
            evses = self.station.state()["evses"]
            for evse in evses:
                if evse["transaction_id"] is not None:
                    self.csms.call(
                        "RequestStopTransaction", {"transactionId": evse["transaction_id"]}
                    )
            return all(
                evse["transaction_id"] is None
                and evse["contactor"] == "open"
                and not evse["plugged"]
                for evse in evses
            )

        until(idle, SETTLE_TIMEOUT_S, "idle station")

    def _set_back(self) -> None:
        for (component, variable, instance), value in self.changed.items():
            name = {"name": variable} | ({"instance": instance} if instance else {})
            self.csms.call(
                "SetVariables",
                {
                    "setVariableData": [
                        {
                            "component": {"name": component},
                            "variable": name,
                            "attributeValue": value,
                        }
                    ]
                },
            )
        self.changed.clear()

    def _station(self) -> StationProcess:
        ca_file = self.place / "csms-root.pem"
        ca_file.write_text(self.authorities.csms_root.pem)
        manufacturer = self.place / "manufacturer-root.pem"
        manufacturer.write_text(self.authorities.manufacturer_root.pem)
        station = StationProcess(
            self.place,
            self.csms.url,
            variables=AT_THE_START,
            profile=self.profile_name,
            security_profile=self.security_profile,
            ca_file=ca_file,
            more="".join(
                f'\n[[certificate]]\nuse = "{use}"\nfile = "{file}"\n'
                for use, file in (
                    ("ManufacturerRootCertificate", manufacturer),
                    ("CSMSRootCertificate", ca_file),
                )
            ),
        )
        station.PROGRAM = self.program  # type: ignore[assignment]
        return station


def _tells_of(evse_id: int, told: Payload) -> bool:
    return bool(told["evseId"] == evse_id)


def know_everybody(csms: Csms) -> None:
    """What the CSMS says of each token unless a case wants otherwise."""
    csms.answers.tokens.clear()
    csms.answers.know(VALID, group=GROUP)
    csms.answers.know(VALID_2, group=GROUP)
    csms.answers.know(OTHER)
    csms.answers.know(INVALID, "Invalid", group=GROUP)
    csms.answers.know(BLOCKED, "Blocked")
    csms.answers.know(EXPIRED, "Expired")
    csms.answers.know(UNKNOWN, "Unknown")
