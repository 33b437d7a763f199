"""Mutants of the runtime: TLS, passwords, waiting times, files."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

from tests.conformance.octt.mutants.fault import Mutant, Patch, replace_attribute


def patch_tls(change: Callable[[ssl.SSLContext], None]) -> Patch:
    """Change the TLS context of every connection."""

    def patch() -> None:
        from station.runtime.csms import connection

        def make(create: Any) -> Any:
            def create_changed(*args: Any) -> Any:
                tls = create(*args)
                change(tls)
                return tls

            return create_changed

        replace_attribute(connection, "create_tls_context", make)

    return patch


def offer_one_cipher_suite(context: ssl.SSLContext) -> None:
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")


def _offer_old_tls(context: ssl.SSLContext) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1


def _trust_every_certificate() -> None:
    def unchecked(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_NONE

    patch_tls(unchecked)()
    _check_no_host_name()


def _check_no_host_name() -> None:
    from station.runtime.csms import tls

    replace_attribute(tls, "check_host_name", lambda _: lambda *args: None)


def _accept_any_password() -> None:
    from station.runtime.csms import frame_filter

    replace_attribute(frame_filter, "check_value", lambda _: lambda *args: None)


def _use_old_password() -> None:
    from station.runtime.app import StationApp

    replace_attribute(
        StationApp,
        "_basic_auth_password",
        lambda _: lambda self, __: self.config.csms.password.reveal(),
    )


def _retry_at_once() -> None:
    from station.runtime.csms.back_off import BackOff

    replace_attribute(BackOff, "next_wait_s", lambda _: lambda *args: 0.2)


def _attempt_each_slot_once() -> None:
    from station.runtime.csms.slot_rotation import SlotRotation

    def make(on_attempt_failed: Any) -> Any:
        def use_up_attempts(self: Any, **options: Any) -> None:
            for _ in range(9):
                on_attempt_failed(self, **options)

        return use_up_attempts

    replace_attribute(SlotRotation, "on_attempt_failed", make)


def _accept_any_signature() -> None:
    from station.runtime.jobs import firmware

    replace_attribute(firmware, "signature_problem", lambda _: lambda *args: "")


def _no_pause_between_transfers() -> None:
    from station.runtime.transfers import retry

    def make(run_attempts: Any) -> Any:
        return lambda attempt, attempts, interval_s: run_attempts(attempt, attempts, 0)

    replace_attribute(retry, "run_attempts", make)


MUTANTS: Mapping[str, Mutant] = {
    "cipher": Mutant(
        patch_tls(offer_one_cipher_suite),
        ("TC_A_04_CS",),
        "one of the cipher suites is not offered",
    ),
    "tls-version": Mutant(patch_tls(_offer_old_tls), ("TC_A_06_CS",), "TLS 1.1 is accepted"),
    "certificate": Mutant(
        _trust_every_certificate, ("TC_A_05_CS",), "every certificate is accepted"
    ),
    "host-name": Mutant(
        _check_no_host_name, ("TC_A_05_CS",), "a certificate for another host is accepted"
    ),
    "password": Mutant(_accept_any_password, ("TC_A_10_CS",), "a short password is accepted"),
    "old-password": Mutant(_use_old_password, ("TC_A_09_CS",), "a new password is not used"),
    "back-off": Mutant(
        _retry_at_once, ("TC_B_57_CS",), "a lost connection is retried without delay"
    ),
    "connection-attempts": Mutant(
        _attempt_each_slot_once, ("TC_B_46_CS",), "each network profile is attempted only once"
    ),
    "signature": Mutant(
        _accept_any_signature, ("TC_L_06_CS",), "every firmware signature is accepted"
    ),
    "transfer-pause": Mutant(
        _no_pause_between_transfers, ("TC_N_26_CS",), "a failed upload is retried without delay"
    ),
}
