"""Mutants of blocks F, G, L, M, N and P: remote control, availability, firmware, certificates,
logs, customers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import msgspec

from tests.conformance.octt.mutants.fault import (
    Mutant,
    Patch,
    patch_constant_result,
    patch_response,
    replace_attribute,
    replace_handler,
)


def _always_available() -> None:
    from station.core.blocks import g_availability

    replace_attribute(
        g_availability, "current_connector_status", lambda _: lambda *place: "Available"
    )


def _late_heartbeat() -> None:
    from station.core import decide
    from station.core.context import call_result
    from station.ocpp.messages.f_remote_control import TriggerMessageResponse

    def make(original: Any) -> Any:
        def handler(ctx: Any, call: Any, request: Any) -> Iterator[Any]:
            if request.requested_message == "Heartbeat":
                yield call_result(call, TriggerMessageResponse(status="Accepted"))
            else:
                yield from original(ctx, call, request)

        return handler

    replace_handler(decide.CALLS, "TriggerMessage", make)


def _operative_after_a_restart() -> None:
    from journal.observations import StationStarted
    from journal.projections.availability import Availability

    original = Availability.apply

    def apply_and_reset(self: Any, entry: Any) -> Any:
        return Availability() if isinstance(entry.event, StationStarted) else original(self, entry)

    Availability.HANDLES = (*Availability.HANDLES, StationStarted)  # type: ignore[assignment]
    Availability.apply = apply_and_reset  # type: ignore[method-assign]


def _ignore_firmware_schedule() -> None:
    from station.core.blocks import transfer_fields

    replace_attribute(transfer_fields, "has_passed", lambda _: lambda moment, now: True)


def _stay_available_during_update() -> None:
    from station.core.blocks import evse_conditions

    replace_attribute(evse_conditions, "is_closed_for_firmware", lambda _: lambda *args: False)


def _other_request_id(block: str) -> Patch:
    """Status notifications of a transfer have another requestId."""

    def patch() -> None:
        module = import_module(f"station.core.blocks.{block}")

        def make(original: Any) -> Any:
            def notify(ctx: Any, status: str, request_id: int | None, **more: Any) -> Any:
                return original(ctx, status, (request_id or 0) + 1000, **more)

            return notify

        replace_attribute(module, "queue_status_notification", make)

    return patch


def _other_hash_data() -> None:
    from station.core.blocks import m_certificates

    def make(original: Any) -> Any:
        return lambda certificate: msgspec.structs.replace(
            original(certificate), issuer_key_hash="00"
        )

    replace_attribute(m_certificates, "_hash_data_for_message", make)


def _no_customer_erasure() -> None:
    from station.core.blocks import n_customers

    replace_attribute(n_customers, "_request_erasure", lambda _: lambda person: iter(()))


def _no_customer_report() -> None:
    from station.core.blocks import n_customers

    replace_attribute(n_customers, "_queue_report", lambda _: lambda *args: iter(()))


MUTANTS: Mapping[str, Mutant] = {
    "change-availability": Mutant(
        patch_response("ChangeAvailability", "Accepted"),
        (
            "TC_G_03_CS",
            "TC_G_05_CS",
            "TC_G_11_CS",
            "TC_G_04_CS",
            "TC_G_06_CS",
            "TC_G_07_CS",
            "TC_G_08_CS",
            "TC_G_14_CS",
            "TC_G_17_CS",
        ),
        "ChangeAvailability is accepted and not performed",
    ),
    "trigger": Mutant(
        patch_response("TriggerMessage", "Accepted"),
        (
            "TC_F_11_CS",
            "TC_F_20_CS",
            "TC_F_26_CS",
            "TC_F_27_CS",
            "TC_B_02_CS",
            "TC_F_12_CS",
            "TC_F_13_CS",
            "TC_F_14_CS",
            "TC_F_15_CS",
            "TC_F_16_CS",
            "TC_F_23_CS",
            "TC_F_24_CS",
        ),
        "TriggerMessage is accepted and not performed",
    ),
    "remote-stop": Mutant(
        patch_response("RequestStopTransaction", "Accepted"),
        ("TC_F_08_CS", "TC_F_09_CS"),
        "RequestStopTransaction is accepted and not performed",
    ),
    "data-transfer": Mutant(
        patch_response("DataTransfer", "Accepted"),
        ("TC_P_01_CS",),
        "DataTransfer of an unknown vendor is accepted",
    ),
    "install-certificate": Mutant(
        patch_response("InstallCertificate", "Accepted"),
        (
            "TC_M_01_CS",
            "TC_M_07_CS",
            "TC_M_02_CS",
            "TC_M_13_CS",
            "TC_M_17_CS",
        ),
        "certificates are accepted and not stored",
    ),
    "status": Mutant(
        _always_available,
        (
            "TC_B_51_CS",
            "TC_G_01_CS",
            "TC_G_03_CS",
            "TC_B_41_CS",
            "TC_G_02_CS",
        ),
        "every connector is reported Available",
    ),
    "late-heartbeat": Mutant(
        _late_heartbeat,
        ("TC_F_20_CS",),
        "a triggered Heartbeat is sent with the next regular one only",
    ),
    "availability": Mutant(
        _operative_after_a_restart,
        ("TC_G_18_CS", "TC_G_19_CS", "TC_G_21_CS"),
        "after a restart everything is in service",
    ),
    "signer": Mutant(
        patch_constant_result("l_firmware", "_check_signer", ""),
        ("TC_L_05_CS",),
        "firmware signed by any certificate is accepted",
    ),
    "firmware-request": Mutant(
        _other_request_id("l_firmware"),
        (
            "TC_L_01_CS",
            "TC_L_06_CS",
            "TC_L_07_CS",
            "TC_L_08_CS",
            "TC_L_11_CS",
            "TC_L_12_CS",
        ),
        "FirmwareStatusNotification has another requestId",
    ),
    "firmware-schedule": Mutant(
        _ignore_firmware_schedule,
        ("TC_L_02_CS", "TC_L_03_CS"),
        "firmware is downloaded and installed without waiting",
    ),
    "firmware-sessions": Mutant(
        _stay_available_during_update,
        ("TC_L_13_CS",),
        "EVSEs stay Available while an update is pending",
    ),
    "log-request": Mutant(
        _other_request_id("n_logs"),
        ("TC_N_25_CS", "TC_N_35_CS"),
        "LogStatusNotification has another requestId",
    ),
    "clear": Mutant(
        _no_customer_erasure,
        ("TC_N_30_CS",),
        "clearing customer information is accepted and not performed",
    ),
    "delete-certificate": Mutant(
        patch_response("DeleteCertificate", "Accepted"),
        ("TC_M_20_CS", "TC_M_22_CS"),
        "deleting a certificate is accepted and not performed",
    ),
    "hash-data": Mutant(
        _other_hash_data,
        ("TC_M_12_CS", "TC_M_18_CS"),
        "certificates are listed with a wrong hash",
    ),
    "availability-refused": Mutant(
        patch_response("ChangeAvailability", "Rejected"),
        ("TC_G_09_CS", "TC_G_10_CS", "TC_G_12_CS", "TC_G_13_CS", "TC_G_15_CS", "TC_G_16_CS"),
        "ChangeAvailability is refused",
    ),
    "update-firmware": Mutant(
        patch_response("UpdateFirmware", "Accepted"),
        ("TC_L_11_CS", "TC_L_18_CS"),
        "every UpdateFirmware is accepted",
    ),
    "list-certificates": Mutant(
        patch_response("GetInstalledCertificateIds", "Accepted"),
        ("TC_M_19_CS",),
        "GetInstalledCertificateIds is always Accepted",
    ),
    "customer": Mutant(
        _no_customer_report,
        ("TC_N_27_CS", "TC_N_28_CS", "TC_N_31_CS", "TC_N_32_CS"),
        "no customer information is reported",
    ),
}
