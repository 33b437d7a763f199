"""Mutants of the core: wrong or missing decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import msgspec

from tests.conformance.octt.mutants.fault import (
    Mutant,
    Patch,
    patch_events,
    patch_response,
    remove_rule,
    replace_attribute,
    replace_handler,
    replace_rule,
)


def _wrong_stopped_reason(payload: dict[str, Any]) -> None:
    if payload["eventType"] == "Ended":
        payload["transactionInfo"]["stoppedReason"] = "Other"


def _omit_id_token(payload: dict[str, Any]) -> None:
    payload.pop("idToken", None)


def _omit_remote_start_id(payload: dict[str, Any]) -> None:
    payload["transactionInfo"].pop("remoteStartId", None)


def _always_plugged_in(payload: dict[str, Any]) -> None:
    if payload["eventType"] == "Started":
        payload["triggerReason"] = "CablePluggedIn"


def _count_from_one(payload: dict[str, Any]) -> None:
    payload["seqNo"] += 1


def _no_meter_at_the_end(payload: dict[str, Any]) -> None:
    if payload["eventType"] == "Ended":
        payload.pop("meterValue", None)


def _never_offline() -> None:
    from station.core import outbox_rules

    def make(original: Any) -> Any:
        return lambda *args, **kwargs: original(*args, **kwargs | {"offline": False})

    replace_attribute(outbox_rules, "CallAttempted", make)


def _always_available() -> None:
    from station.core.blocks import g_availability

    replace_attribute(
        g_availability, "current_connector_status", lambda _: lambda *place: "Available"
    )


def replace_row_variable(variable: str, replacement: str) -> Patch:
    """Rows of the decision table depend on another variable; `-`: they never apply."""

    def change(table: Any) -> Any:
        assert any(row.variable == variable for row in table), f"no row has {variable}"
        return tuple(
            row._replace(variable=replacement) if row.variable == variable else row for row in table
        )

    def patch() -> None:
        from station.core.blocks import c_local_authorization

        replace_attribute(c_local_authorization, "DECISION_TABLE", change)

    return patch


def _skip_numbers(payload: dict[str, Any]) -> None:
    payload["seqNo"] *= 2


def _never_suspended(payload: dict[str, Any]) -> None:
    if payload["transactionInfo"].get("chargingState") == "SuspendedEV":
        payload["transactionInfo"]["chargingState"] = "Charging"


def _other_context() -> None:
    from station.core import meter_values

    replace_attribute(
        meter_values, "make_sample", lambda original: lambda reading, _: original(reading, "Other")
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


def _boot_retry_at_once() -> None:
    from station.core.blocks import b_registration

    replace_attribute(
        b_registration,
        "RegistrationAnswered",
        lambda original: lambda status, _: original(status, 1),
    )


def _boot_reason_unknown() -> None:
    from station.core.blocks import b_reset

    replace_attribute(
        b_reset, "BOOT_REASON_BY_SCHEDULED", lambda _: {False: "Unknown", True: "Unknown"}
    )


def _reject_reading_the_unknown() -> None:
    from station.core.blocks import b_variables

    def make(original: Any) -> Any:
        def read(*args: Any) -> Any:
            result = original(*args)
            if result.attribute_status == "Accepted":
                return result
            return msgspec.structs.replace(result, attribute_status="Rejected")

        return read

    replace_attribute(b_variables, "_get_variable", make)


def _accept_every_value() -> None:
    from station.core.blocks import b_variables

    replace_attribute(b_variables, "_check_new_value", lambda _: lambda *args: None)


def _omit_a_variable() -> None:
    from station.core.device_model.reports import INVENTORIES

    def make(inventory: Any) -> Any:
        return lambda *args: (row for row in inventory(*args) if row.key.name != "OfflineThreshold")

    for base in list(INVENTORIES):
        replace_handler(INVENTORIES, base, make)


def _accept_every_id_token() -> None:
    from station.core import decide

    def make(original: Any) -> Any:
        return lambda ctx, call, response: original(
            ctx, call, None if response is None else _accept_response(response)
        )

    replace_handler(decide.RESULTS, "Authorize", make)


def _accept_response(response: Any) -> Any:
    info = msgspec.structs.replace(response.id_token_info, status="Accepted")
    return msgspec.structs.replace(response, id_token_info=info)


def _ignore_deauthorization() -> None:
    from station.core import decide

    decide.RESULTS["TransactionEvent"] = lambda *args: iter(())


def _find_no_cache_entry() -> None:
    from station.core.blocks import c_local_authorization

    replace_attribute(c_local_authorization, "find_cache_entry", lambda _: lambda *args: None)


def _patch_constant_result(block: str, name: str, result: Any = None) -> Patch:
    """A function of a block returns this result, whatever its arguments."""

    def patch() -> None:
        module = import_module(f"station.core.blocks.{block}")
        replace_attribute(module, name, lambda _: lambda *args, **kwargs: result)

    return patch


def _patch_queue_status(queued: bool) -> Patch:
    """GetTransactionStatus always reports that messages are queued, or that none are."""

    def patch() -> None:
        from station.core import decide
        from station.core.context import call_result
        from station.ocpp.messages.e_transactions import GetTransactionStatusResponse

        def handler(ctx: Any, call: Any, request: Any) -> Iterator[Any]:
            ongoing = None
            if request.transaction_id is not None:
                ongoing = ctx.state.transactions.by_id(request.transaction_id) is not None
            response = GetTransactionStatusResponse(
                messages_in_queue=queued, ongoing_indicator=ongoing
            )
            yield call_result(call, response)

        replace_handler(decide.CALLS, "GetTransactionStatus", lambda _: handler)

    return patch


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


def _no_pause_between_attempts() -> None:
    from station.core import outbox_rules

    replace_attribute(
        outbox_rules,
        "CallAttemptFailed",
        lambda original: lambda call, message_id, reason, _: original(call, message_id, reason, 0),
    )


def _more_attempts() -> None:
    from station.core import outbox_rules

    replace_attribute(
        outbox_rules, "MESSAGE_ATTEMPTS", lambda _: outbox_rules.MESSAGE_TIMEOUT
    )  # a number, and a larger one


def _reject_setting_the_unknown() -> None:
    from station.core.blocks import b_variables

    def make(original: Any) -> Any:
        def set_variable(*args: Any) -> Any:
            result, changes = original(*args)
            if result.attribute_status.startswith("Unknown"):
                result = msgspec.structs.replace(result, attribute_status="Rejected")
            return result, changes

        return set_variable

    replace_attribute(b_variables, "_set_variable", make)


def _reject_every_value() -> None:
    from station.core.blocks import b_variables
    from station.core.device_model.definitions import Refusal

    refusal = Refusal("Rejected", "ReadOnly", "nothing can be set")
    replace_attribute(b_variables, "_check_new_value", lambda _: lambda *args: refusal)


def _ignore_configuration_priority() -> None:
    from station.core.blocks import b_networks

    replace_attribute(
        b_networks, "CONFIGURATION_PRIORITY", lambda _: "OCPPCommCtrlr.FileTransferProtocols"
    )


def _refuse_with_another_error() -> None:
    from station.core import decide

    def make(original: Any) -> Any:
        def call_error(call: Any, code: str, description: str) -> Any:
            return original(call, "InternalError" if code == "SecurityError" else code, description)

        return call_error

    replace_attribute(decide, "call_error", make)


def _resend_after_every_absence() -> None:
    from journal.observations import LinkOpened
    from journal.projections.reported_statuses import StatusResendRequired

    def require_status_resend(ctx: Any) -> Iterator[Any]:
        if isinstance(ctx.entry.event, LinkOpened):
            yield StatusResendRequired("offline")

    replace_rule("b_registration.require_status_resend", require_status_resend)()


def _stop_with_any_card() -> None:
    from station.core.blocks import c_authorization

    def any_authorization(ctx: Any, presented: Any) -> Any:
        return next(iter(ctx.state.authorizations.active), None)

    replace_attribute(c_authorization, "authorization_of_token", lambda _: any_authorization)


def _no_customer_report() -> None:
    from station.core.blocks import n_customers

    replace_attribute(n_customers, "_queue_report", lambda _: lambda *args: iter(()))


def _another_variable(block: str, name: str, path: str) -> Patch:
    """A block reads a wrong variable."""

    def patch() -> None:
        replace_attribute(import_module(f"station.core.blocks.{block}"), name, lambda _: path)

    return patch


MUTANTS: Mapping[str, Mutant] = {
    "stopped-reason": Mutant(
        patch_events(_wrong_stopped_reason),
        (
            "TC_E_15_CS",
            "TC_E_21_CS",
            "TC_B_22_CS",
            "TC_E_06_CS",
            "TC_E_32_CS",
        ),
        "every transaction ends for the reason Other",
    ),
    "id-token": Mutant(
        patch_events(_omit_id_token),
        ("TC_E_03_CS", "TC_E_04_CS", "TC_C_39_CS"),
        "TransactionEvent without idToken",
    ),
    "remote-start-id": Mutant(
        patch_events(_omit_remote_start_id),
        ("TC_F_01_CS", "TC_F_02_CS", "TC_K_38_CS"),
        "TransactionEvent without remoteStartId",
    ),
    "trigger-reason": Mutant(
        patch_events(_always_plugged_in),
        ("TC_E_03_CS", "TC_F_01_CS"),
        "every transaction starts because a cable was plugged in",
    ),
    "seq-no": Mutant(
        patch_events(_count_from_one),
        ("TC_E_01_CS", "TC_F_08_CS"),
        "seqNo counts from 1",
    ),
    "meter-at-the-end": Mutant(
        patch_events(_no_meter_at_the_end),
        ("TC_J_03_CS", "TC_J_10_CS"),
        "Ended carries no meter values",
    ),
    "offline": Mutant(
        _never_offline,
        (
            "TC_E_43_CS",
            "TC_E_44_CS",
            "TC_E_40_CS",
            "TC_E_45_CS",
        ),
        "no message is marked as offline",
    ),
    "pre-authorize": Mutant(
        replace_row_variable("AuthCtrlr.LocalPreAuthorize", "AuthCtrlr.LocalAuthorizeOffline"),
        ("TC_C_36_CS",),
        "the cache is used although LocalPreAuthorize is false",
    ),
    "reset": Mutant(
        patch_response("Reset", "Accepted"),
        (
            "TC_B_20_CS",
            "TC_B_28_CS",
            "TC_B_29_CS",
        ),
        "Reset is accepted and not performed",
    ),
    "clear-cache": Mutant(
        patch_response("ClearCache", "Accepted"),
        ("TC_C_37_CS", "TC_C_38_CS"),
        "ClearCache is accepted and not performed",
    ),
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
    "network-profile": Mutant(
        patch_response("SetNetworkProfile", "Accepted"),
        ("TC_A_22_CS", "TC_B_43_CS"),
        "every network profile is accepted",
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
    "sampling": Mutant(
        remove_rule("e_transactions.take_samples"),
        ("TC_J_09_CS",),
        "nothing is sampled during a transaction",
    ),
    "aligned": Mutant(
        remove_rule("j_metering.report_aligned_values"),
        ("TC_J_01_CS", "TC_J_02_CS"),
        "nothing is sampled by the clock",
    ),
    "retry": Mutant(
        remove_rule("decide.fail_overdue_call"),
        ("TC_E_41_CS", "TC_E_42_CS"),
        "a call without an answer never times out",
    ),
    "connection-timeout": Mutant(
        remove_rule("c_connection.expire_authorizations"),
        (
            "TC_E_05_CS",
            "TC_E_39_CS",
            "TC_F_04_CS",
        ),
        "an authorization without a plugged-in cable never expires",
    ),
    "seq-gap": Mutant(
        patch_events(_skip_numbers),
        ("TC_E_03_CS", "TC_E_15_CS", "TC_F_01_CS"),
        "seqNo leaves out every second number",
    ),
    "charging-state": Mutant(
        patch_events(_never_suspended), ("TC_E_38_CS",), "SuspendedEV is reported as Charging"
    ),
    "context": Mutant(
        _other_context,
        ("TC_J_01_CS", "TC_J_07_CS", "TC_J_09_CS", "TC_F_11_CS"),
        "every sample has the context Other",
    ),
    "late-heartbeat": Mutant(
        _late_heartbeat,
        ("TC_F_20_CS",),
        "a triggered Heartbeat is sent with the next regular one only",
    ),
    "boot-interval": Mutant(
        _boot_retry_at_once, ("TC_B_03_CS",), "a Rejected station does not wait for the interval"
    ),
    "boot-reason": Mutant(
        _boot_reason_unknown,
        ("TC_B_21_CS", "TC_B_22_CS", "TC_B_23_CS"),
        "the boot reason after a reset is Unknown",
    ),
    "startup-event": Mutant(
        remove_rule("a_security.log_startup"),
        ("TC_B_01_CS", "TC_G_21_CS"),
        "a start is no security event",
    ),
    "security-event": Mutant(
        remove_rule("a_security.log_observed_events"),
        ("TC_A_05_CS",),
        "a bad certificate is no security event",
    ),
    "offline-threshold": Mutant(
        remove_rule("b_registration.require_status_resend"),
        ("TC_B_51_CS",),
        "after a long absence only changed statuses are reported",
    ),
    "unknown-variable": Mutant(
        _reject_reading_the_unknown,
        ("TC_B_32_CS", "TC_B_33_CS", "TC_B_34_CS"),
        "reading an unknown variable is Rejected",
    ),
    "read-only": Mutant(
        _accept_every_value,
        ("TC_B_11_CS", "TC_B_37_CS", "TC_B_39_CS"),
        "every value of every variable can be set",
    ),
    "inventory": Mutant(
        _omit_a_variable,
        ("TC_B_12_CS", "TC_B_13_CS", "TC_B_53_CS"),
        "reports leave out a required variable",
    ),
    "refused": Mutant(
        _accept_every_id_token,
        (
            "TC_C_02_CS",
            "TC_C_06_CS",
            "TC_C_42_CS",
            "TC_C_07_CS",
            "TC_C_56_CS",
            "TC_C_09_CS",
            "TC_C_10_CS",
            "TC_C_11_CS",
        ),
        "an idToken that the CSMS refuses may charge",
    ),
    "deauthorized": Mutant(
        _ignore_deauthorization,
        (
            "TC_C_34_CS",
            "TC_E_16_CS",
            "TC_C_16_CS",
            "TC_C_17_CS",
        ),
        "the idTokenInfo in a TransactionEventResponse is ignored",
    ),
    "forgetful": Mutant(
        _patch_constant_result("c_authorization_cache", "find_cache_entry"),
        (
            "TC_C_08_CS",
            "TC_C_13_CS",
            "TC_C_33_CS",
            "TC_C_32_CS",
            "TC_C_41_CS",
        ),
        "the cache has no entries",
    ),
    "group": Mutant(
        _patch_constant_result("c_authorization", "group_of_authorization"),
        ("TC_C_39_CS",),
        "a token of the same group cannot stop a transaction",
    ),
    "transaction-status": Mutant(
        _patch_queue_status(queued=False),
        ("TC_E_29_CS", "TC_E_31_CS", "TC_E_33_CS"),
        "messages are never reported as queued",
    ),
    "availability": Mutant(
        _operative_after_a_restart,
        ("TC_G_18_CS", "TC_G_19_CS", "TC_G_21_CS"),
        "after a restart everything is in service",
    ),
    "signer": Mutant(
        _patch_constant_result("l_firmware", "_check_signer", ""),
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
    "pause": Mutant(
        _no_pause_between_attempts,
        (
            "TC_E_41_CS",
            "TC_E_50_CS",
            "TC_E_42_CS",
            "TC_E_51_CS",
        ),
        "a failed message is sent again without delay",
    ),
    "attempts": Mutant(
        _more_attempts,
        ("TC_E_41_CS", "TC_E_50_CS"),
        "a message is attempted more often than configured",
    ),
    "set-unknown": Mutant(
        _reject_setting_the_unknown,
        ("TC_B_35_CS", "TC_B_36_CS"),
        "setting an unknown variable is Rejected",
    ),
    "set": Mutant(_reject_every_value, ("TC_B_09_CS", "TC_B_10_CS"), "no variable can be set"),
    "value": Mutant(
        _patch_constant_result("b_variables", "read_attribute", "0"),
        ("TC_B_06_CS", "TC_B_07_CS", "TC_P_03_CS"),
        "every variable reads as 0",
    ),
    "priority": Mutant(
        _ignore_configuration_priority,
        ("TC_B_45_CS", "TC_B_50_CS"),
        "NetworkConfigurationPriority is ignored",
    ),
    "rejected": Mutant(
        _refuse_with_another_error,
        ("TC_B_30_CS",),
        "a Rejected station refuses with another CALLERROR",
    ),
    "short-absence": Mutant(
        _resend_after_every_absence,
        ("TC_B_52_CS",),
        "after a short absence every connector is reported",
    ),
    "any-card": Mutant(
        _stop_with_any_card, ("TC_C_04_CS", "TC_C_44_CS"), "any card stops a transaction"
    ),
    "queue": Mutant(
        _patch_queue_status(queued=True),
        ("TC_E_28_CS", "TC_E_30_CS", "TC_E_32_CS", "TC_E_34_CS"),
        "messages are always reported as queued",
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
    "remote-authorization": Mutant(
        replace_row_variable("AuthCtrlr.DisableRemoteAuthorization", "-"),
        ("TC_E_52_CS",),
        "AuthorizeRequest is sent although DisableRemoteAuthorization is true",
    ),
    "during-idle": Mutant(
        _another_variable("j_metering", "SEND_DURING_IDLE", "-"),
        ("TC_J_06_CS",),
        "clock-aligned values are sent during a transaction too",
    ),
    "cached-refusal": Mutant(
        replace_row_variable("AuthCacheCtrlr.DisablePostAuthorize", "AuthCacheCtrlr.Enabled"),
        ("TC_C_12_CS",),
        "a token refused in the cache is not checked with the CSMS",
    ),
}
