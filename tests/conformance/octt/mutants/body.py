"""Faults of what the judgement core is wrapped in: TLS, passwords, waiting, files."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

from tests.conformance.octt.mutants.fault import Mutant, Patch, replace_attribute


def _patch_tls(change: Callable[[ssl.SSLContext], None]) -> Patch:
    """Every TLS connection is made in another way."""

    def patch() -> None:
        from station.runtime.csms import connection

        def make(context_for: Any) -> Any:
            def context(*args: Any) -> Any:
                made = context_for(*args)
                change(made)
                return made

            return context

        replace_attribute(connection, "create_tls_context", make)

    return patch


def _another_suite(context: ssl.SSLContext) -> None:
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")


def _old_versions(context: ssl.SSLContext) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1


def _trusts_everybody() -> None:
    def unchecked(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_NONE

    _patch_tls(unchecked)()
    _asks_no_name()


def _asks_no_name() -> None:
    from station.runtime.csms import tls

    replace_attribute(tls, "check_host_name", lambda _: lambda *args: None)


def _any_password() -> None:
    from station.runtime.csms import frame_filter

    replace_attribute(frame_filter, "check_value", lambda _: lambda *args: None)


def _old_password() -> None:
    from station.runtime.app import StationApp

    replace_attribute(
        StationApp,
        "_basic_auth_password",
        lambda _: lambda self, __: self.config.csms.password.reveal(),
    )


def _retry_at_once() -> None:
    from station.runtime.csms.back_off import BackOff

    replace_attribute(BackOff, "next_wait_s", lambda _: lambda *args: 0.2)


def _one_attempt() -> None:
    from station.runtime.csms.slot_rotation import SlotRotation

    def make(failed: Any) -> Any:
        def failed_for_good(self: Any) -> None:
            for _ in range(9):
                failed(self)

        return failed_for_good

    replace_attribute(SlotRotation, "on_attempt_failed", make)


def _any_signature() -> None:
    from station.runtime.jobs import firmware

    replace_attribute(firmware, "signature_problem", lambda _: lambda *args: "")


def _no_pause_between_transfers() -> None:
    from station.runtime.transfers import retry

    def make(attempted: Any) -> Any:
        return lambda attempt, attempts, interval_s: attempted(attempt, attempts, 0)

    replace_attribute(retry, "run_attempts", make)


MUTANTS: Mapping[str, Mutant] = {
    "cipher": Mutant(
        _patch_tls(_another_suite), ("TC_A_04_CS",), "one of the cipher suites is not offered"
    ),
    "tls-version": Mutant(_patch_tls(_old_versions), ("TC_A_06_CS",), "TLS 1.1 is good enough"),
    "certificate": Mutant(_trusts_everybody, ("TC_A_05_CS",), "every certificate is good enough"),
    "host-name": Mutant(
        _asks_no_name, ("TC_A_05_CS",), "a certificate for another host is good enough"
    ),
    "password": Mutant(_any_password, ("TC_A_10_CS",), "a short password is good enough"),
    "old-password": Mutant(_old_password, ("TC_A_09_CS",), "a new password is not used"),
    "back-off": Mutant(_retry_at_once, ("TC_B_57_CS",), "a lost connection is made anew at once"),
    "connection-attempts": Mutant(
        _one_attempt, ("TC_B_46_CS",), "each network profile is tried once"
    ),
    "signature": Mutant(_any_signature, ("TC_L_06_CS",), "every signature of firmware is right"),
    "transfer-pause": Mutant(
        _no_pause_between_transfers, ("TC_N_26_CS",), "a failed upload is tried again at once"
    ),
}
