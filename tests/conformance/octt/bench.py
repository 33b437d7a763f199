"""The test bench of one or more cases: station process, CSMS, file server.

Cases may use a bench one after another; `restore_preconditions` brings it back to the general
preconditions of Part 6 §2.1. A bench on which a case failed is discarded.
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
from typing import Any, Self

from station.profiles import load_profile
from tests.conformance.octt.certificates import (
    CertifiedKey,
    make_root,
    make_server_certificate,
    make_station_certificate,
    tls_context,
)
from tests.conformance.octt.files import FileServer
from tests.e2e.harness import IDENTITY, PASSWORD, StationProcess, Variable, wait_until
from tests.support.csms import Csms, Payload

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

# Variables before the first start: short retry intervals, so that no case waits for a back-off.
INITIAL_VARIABLES = (
    Variable("OCPPCommCtrlr", "RetryBackOffWaitMinimum", "1"),
    Variable("OCPPCommCtrlr", "RetryBackOffRandomRange", "0"),
    Variable("OCPPCommCtrlr", "RetryBackOffRepeatTimes", "1"),
    Variable("OCPPCommCtrlr", "MessageTimeout", "5", variable_instance="Default"),
    Variable("OCPPCommCtrlr", "MessageAttemptInterval", "1", variable_instance="TransactionEvent"),
    Variable("SampledDataCtrlr", "TxUpdatedInterval", "60"),
)

SERIAL_NUMBER = "EVS-2026-0042"

PROGRAM = (sys.executable, "-m", "station")


@dataclass(frozen=True)
class Settings:
    """The configuration of the test system. Times in seconds."""

    evse_id: int = 1
    connector_id: int = 1
    second_evse_id: int = 2
    transaction_s: float = 3.0
    message_timeout_s: int = 5  # OCPPCommCtrlr.MessageTimeout; how long `expect_no_call` waits
    message_attempts: int = 3
    message_attempt_interval_s: int = 2
    ev_connection_timeout_s: int = 4
    clock_aligned_interval_s: int = 10
    sampled_interval_s: int = 5
    kept_interval_s: int = 10  # of samples for the Ended event
    offline_s: int = 8  # how long the CSMS is unreachable
    offline_threshold_s: int = 6
    retry_wait_s: int = 3
    heartbeat_interval_s: int = 5
    deviation_s: float = 4.0  # tolerance of times, as certification laboratories allow
    log_retry_interval_s: int = 3
    schedule_offset_s: int = 8  # of firmware updates


@dataclass(frozen=True)
class BenchCertificates:
    """The root certificates of one bench and the certificates of its CSMS and station."""

    csms_root: CertifiedKey
    manufacturer_root: CertifiedKey
    csms: CertifiedKey
    station: CertifiedKey

    @classmethod
    def make(cls) -> BenchCertificates:
        csms_root = make_root("CSMS Root 1")
        return cls(
            csms_root,
            make_root("Manufacturer Root"),
            make_server_certificate(csms_root),
            make_station_certificate(csms_root, SERIAL_NUMBER),
        )


class TestCsms(Csms):
    """A CSMS with a server certificate that can be changed between two connections."""

    __test__ = False  # not a class of pytest's

    def show_certificate(self, context: ssl.SSLContext) -> None:
        """Abort the connection and listen with another certificate."""
        self.stop_listening()
        self._tls = context
        self.start_listening()


class StationBench:
    """`with StationBench("evs-flash-300") as bench:` runs until the end of the block."""

    def __init__(
        self,
        profile: str,
        *,
        settings: Settings | None = None,
        program: Sequence[str] = PROGRAM,
        security_profile: int = 2,
        root_check: bool = False,
    ) -> None:
        """
        Args:
            profile: a product profile by name or path.
            security_profile: 1 is without TLS, 3 with a certificate of the station.
            root_check: AdditionalRootCertificateCheck is true.
            program: the command that starts the station; mutants have another one.
        """
        self.profile = load_profile(profile)
        self.profile_name = profile
        self.settings = settings or Settings()
        self.program = tuple(program)
        self.security_profile = security_profile
        self.root_check = root_check
        self.authorities = BenchCertificates.make()
        # Values before the case, by (component, variable, instance).
        self.original_values: dict[tuple[str, str, str | None], str] = {}
        self.reservation_ids: set[int] = set()  # made by the case
        self._open_resources = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            directory = tempfile.mkdtemp(prefix="octt-")
            opening.callback(shutil.rmtree, directory, ignore_errors=True)
            self.directory = Path(directory)
            self.files = opening.enter_context(FileServer())
            certificate = self.authorities.csms if self.security_profile > 1 else None
            self.csms = opening.enter_context(self.make_csms(certificate))
            self.station = self._make_station()
            opening.callback(self.station.close)
            self.station.start()
            self.wait_booted(self.csms)
            self._open_resources = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open_resources.close()

    def make_csms(self, identity: CertifiedKey | None) -> TestCsms:
        """A CSMS that accepts this station, with TLS or without; several may run at a time."""
        context = None if identity is None else self.csms_context(identity)
        passwords = {IDENTITY: PASSWORD} if self.security_profile < 3 else None
        csms = TestCsms(passwords=passwords, tls=context)
        csms.responses.boot_interval_s = 300
        set_known_tokens(csms)
        return csms

    def csms_context(self, identity: CertifiedKey, **options: Any) -> ssl.SSLContext:
        """TLS settings of the CSMS; with security profile 3 a station needs a certificate."""
        clients = self.authorities.csms_root if self.security_profile == 3 else None
        return tls_context(identity, clients=clients, **options)

    def wait_booted(self, csms: Csms, after: int = 0) -> None:
        """Wait until the station has booted, reported its connectors and emptied its outbox."""
        boot = csms.wait_for_call("BootNotification", timeout_s=BOOT_TIMEOUT_S, after=after)
        for evse in self.profile.evse:
            is_for_evse = partial(_is_for_evse, evse.id)
            csms.wait_for_call("StatusNotification", is_for_evse, BOOT_TIMEOUT_S, after=boot.number)
        self.wait_settled()

    def wait_settled(self) -> None:
        """Wait until the link is up and the outbox is empty."""

        def settled() -> bool:
            state = self.station.read_state()
            return bool(state["link"] == "up" and state["outbox"] == 0)

        wait_until(settled, SETTLE_TIMEOUT_S, "empty outbox")

    def restore_preconditions(self) -> None:
        """Restore the general preconditions after a case that passed.

        Raises:
            Exception: that failed; the bench must be discarded.
        """
        csms, station = self.csms, self.station
        csms.disturbances.clear()
        csms.refuse_with = None
        csms.responses.overrides.clear()
        csms.responses.boot_status = "Accepted"
        set_known_tokens(csms)
        self.files.pause_s = 0.0
        for evse in self.profile.evse:
            if station.read_emulated_evse(evse.id)["plugged"]:
                station.request_operation("unplug", evse_id=evse.id)
        csms.wait_connected(SETTLE_TIMEOUT_S)
        self._end_transactions()
        for reservation_id in self.reservation_ids:
            csms.call("CancelReservation", {"reservationId": reservation_id})
        self.reservation_ids.clear()
        self._restore_variables()
        csms.call("ChangeAvailability", {"operationalStatus": "Operative"})
        for evse in self.profile.evse:
            connector = {"id": evse.id, "connectorId": 1}
            csms.call("ChangeAvailability", {"operationalStatus": "Operative", "evse": connector})
            csms.call(
                "ChangeAvailability", {"operationalStatus": "Operative", "evse": {"id": evse.id}}
            )
        if self.profile.supports("C-49"):
            csms.call("ClearCache")
        if self.profile.has_monitoring:
            csms.call("SetMonitoringBase", {"monitoringBase": "FactoryDefault"})
            csms.call("SetMonitoringLevel", {"severity": 9})
        if self.profile.supports("LA-1"):
            csms.call("SendLocalList", {"versionNumber": 1, "updateType": "Full"})
        if self.profile.charging_rate_units:
            csms.call("ClearChargingProfile", {"chargingProfileCriteria": {}})
        self.wait_settled()

    def _end_transactions(self) -> None:
        def idle() -> bool:
            evses = self.station.read_state()["evses"]
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

        wait_until(idle, SETTLE_TIMEOUT_S, "idle station")

    def _restore_variables(self) -> None:
        for (component, variable, instance), value in self.original_values.items():
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
        self.original_values.clear()

    def _make_station(self) -> StationProcess:
        ca_file = self.directory / "csms-root.pem"
        ca_file.write_text(self.authorities.csms_root.pem)
        manufacturer = self.directory / "manufacturer-root.pem"
        manufacturer.write_text(self.authorities.manufacturer_root.pem)
        station = StationProcess(
            self.directory,
            self.csms.url,
            variables=(*INITIAL_VARIABLES, *self._serial_number(), *self._root_check()),
            profile=self.profile_name,
            security_profile=self.security_profile,
            ca_file=ca_file,
            extra_toml="".join(
                f'\n[[certificate]]\nuse = "{use}"\nfile = "{file}"\n'
                for use, file in (
                    ("ManufacturerRootCertificate", manufacturer),
                    ("CSMSRootCertificate", ca_file),
                )
            )
            + self._station_certificate_toml(),
        )
        station.PROGRAM = self.program
        return station

    def _serial_number(self) -> tuple[Variable, ...]:
        if self.security_profile < 3:
            return ()
        return (Variable("ChargingStation", "SerialNumber", SERIAL_NUMBER),)

    def _root_check(self) -> tuple[Variable, ...]:
        if not self.root_check:
            return ()
        return (Variable("SecurityCtrlr", "AdditionalRootCertificateCheck", "true"),)

    def _station_certificate_toml(self) -> str:
        if self.security_profile < 3:
            return ""
        certificate, key = self.directory / "station.pem", self.directory / "station-key.pem"
        certificate.write_text(self.authorities.station.pem)
        key.write_text(self.authorities.station.key_pem)
        return (
            f'\n[[certificate]]\nuse = "ChargingStationCertificate"\nfile = "{certificate}"\n'
            f'key_file = "{key}"\n'
        )


def _is_for_evse(evse_id: int, payload: Payload) -> bool:
    return bool(payload["evseId"] == evse_id)


def set_known_tokens(csms: Csms) -> None:
    """Set the idTokenInfo of each test token; a case may override it."""
    csms.responses.id_token_infos.clear()
    csms.responses.add_id_token(VALID, group_id_token=GROUP)
    csms.responses.add_id_token(VALID_2, group_id_token=GROUP)
    csms.responses.add_id_token(OTHER)
    csms.responses.add_id_token(INVALID, "Invalid", group_id_token=GROUP)
    csms.responses.add_id_token(BLOCKED, "Blocked")
    csms.responses.add_id_token(EXPIRED, "Expired")
    csms.responses.add_id_token(UNKNOWN, "Unknown")
