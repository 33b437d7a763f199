"""Faults of the judgement core: what a block says, or forgets to say."""

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


def _everybody_is_cached() -> None:
    """Whoever was ever let in is let in again, whatever LocalPreAuthorize says."""
    from station.core.blocks import c_authorization

    assert isinstance(c_authorization.LOCAL_PRE_AUTHORIZE, str)
    replace_attribute(
        c_authorization, "LOCAL_PRE_AUTHORIZE", lambda _: "AuthCtrlr.LocalAuthorizeOffline"
    )


def _skip_numbers(payload: dict[str, Any]) -> None:
    payload["seqNo"] *= 2


def _never_suspended(payload: dict[str, Any]) -> None:
    if payload["transactionInfo"].get("chargingState") == "SuspendedEV":
        payload["transactionInfo"]["chargingState"] = "Charging"


def _other_context() -> None:
    from station.core.blocks import e_transactions, j_metering

    for module in (e_transactions, j_metering):
        replace_attribute(
            module, "sample_of", lambda sample_of: lambda reading, _: sample_of(reading, "Other")
        )


def _late_heartbeat() -> None:
    from station.core import decide
    from station.core.context import call_result
    from station.ocpp.messages.f_remote_control import TriggerMessageResponse

    trigger = decide.CALLS["TriggerMessage"]

    def handler(case: Any, call: Any, request: Any) -> Iterator[Any]:
        if request.requested_message == "Heartbeat":
            yield call_result(call, TriggerMessageResponse(status="Accepted"))
        else:
            yield from trigger(case, call, request)

    decide.CALLS["TriggerMessage"] = handler


def _boot_retry_at_once() -> None:
    from station.core.blocks import b_registration

    replace_attribute(
        b_registration, "RegistrationAnswered", lambda made: lambda status, _: made(status, 1)
    )


def _booted_for_no_reason() -> None:
    from station.core.blocks import b_reset

    replace_attribute(
        b_reset, "BOOT_REASON_BY_SCHEDULED", lambda _: {False: "Unknown", True: "Unknown"}
    )


def _reading_the_unknown_is_rejected() -> None:
    from station.core.blocks import b_variables

    def make(original: Any) -> Any:
        def read(*args: Any) -> Any:
            result = original(*args)
            if result.attribute_status == "Accepted":
                return result
            return msgspec.structs.replace(result, attribute_status="Rejected")

        return read

    replace_attribute(b_variables, "_get_variable", make)


def _everything_can_be_set() -> None:
    from station.core.blocks import b_variables

    replace_attribute(b_variables, "_check_new_value", lambda _: lambda *args: None)


def _a_variable_is_left_out() -> None:
    from station.core.device_model.reports import INVENTORIES

    def but_one(inventory: Any) -> Any:
        return lambda *args: (one for one in inventory(*args) if one.key.name != "OfflineThreshold")

    for base, inventory in INVENTORIES.items():
        INVENTORIES[base] = but_one(inventory)


def _nobody_is_refused() -> None:
    from station.core import decide

    original = decide.RESULTS["Authorize"]

    def answered(case: Any, call: int, response: Any) -> Any:
        return original(case, call, None if response is None else _accept_response(response))

    decide.RESULTS["Authorize"] = answered


def _accept_response(response: Any) -> Any:
    info = msgspec.structs.replace(response.id_token_info, status="Accepted")
    return msgspec.structs.replace(response, id_token_info=info)


def _ignore_deauthorization() -> None:
    from station.core import decide

    decide.RESULTS["TransactionEvent"] = lambda *args: iter(())


def _patch_constant_result(block: str, name: str, result: Any = None) -> Patch:
    """A function of a block that gives the same, whatever it is asked."""

    def patch() -> None:
        module = import_module(f"station.core.blocks.{block}")
        replace_attribute(module, name, lambda _: lambda *args, **kwargs: result)

    return patch


def _patch_queue_status(queued: bool) -> Patch:
    """GetTransactionStatus tells that messages wait, or that none do, whatever is so."""

    def patch() -> None:
        from station.core import decide
        from station.core.context import call_result
        from station.ocpp.messages.e_transactions import GetTransactionStatusResponse

        def handler(case: Any, call: Any, request: Any) -> Iterator[Any]:
            ongoing = None
            if request.transaction_id is not None:
                ongoing = case.state.transactions.by_id(request.transaction_id) is not None
            told = GetTransactionStatusResponse(messages_in_queue=queued, ongoing_indicator=ongoing)
            yield call_result(call, told)

        decide.CALLS["GetTransactionStatus"] = handler

    return patch


def _operative_after_a_restart() -> None:
    from journal.observations import StationStarted
    from journal.projections.availability import Availability

    original = Availability.apply

    def after(self: Any, entry: Any) -> Any:
        return Availability() if isinstance(entry.event, StationStarted) else original(self, entry)

    Availability.HANDLES = (*Availability.HANDLES, StationStarted)  # type: ignore[assignment]
    Availability.apply = after  # type: ignore[method-assign]


def _installed_at_once() -> None:
    from station.core.blocks import evse_conditions, l_firmware

    for module in (l_firmware, evse_conditions):
        replace_attribute(module, "passed", lambda _: lambda moment, now: True)


def _never_closed_for_firmware() -> None:
    from station.core.blocks import evse_conditions, g_availability

    for module in (g_availability, evse_conditions):
        replace_attribute(module, "closed_for_firmware", lambda _: lambda *place: False)


def _other_request_id(block: str) -> Patch:
    """Statuses of a transfer name another request."""

    def patch() -> None:
        module = import_module(f"station.core.blocks.{block}")

        def make(original: Any) -> Any:
            def status(case: Any, word: str, number: int | None, **more: Any) -> Any:
                return original(case, word, (number or 0) + 1000, **more)

            return status

        replace_attribute(module, "status_notification", make)

    return patch


def _other_hash_data() -> None:
    from station.core.blocks import m_certificates

    def make(original: Any) -> Any:
        return lambda known: msgspec.structs.replace(original(known), issuer_key_hash="00")

    replace_attribute(m_certificates, "_hash_data_for_message", make)


def _no_customer_erasure() -> None:
    from station.core.blocks import n_customers

    replace_attribute(n_customers, "_request_erasure", lambda _: lambda person: iter(()))


def _no_pause_between_attempts() -> None:
    from station.core import outbox_rules

    replace_attribute(
        outbox_rules,
        "CallAttemptFailed",
        lambda made: lambda call, name, why, _: made(call, name, why, 0),
    )


def _more_attempts() -> None:
    from station.core import outbox_rules

    replace_attribute(
        outbox_rules, "MESSAGE_ATTEMPTS", lambda _: outbox_rules.MESSAGE_TIMEOUT
    )  # a number, and a larger one


def _setting_the_unknown_is_rejected() -> None:
    from station.core.blocks import b_variables

    def make(original: Any) -> Any:
        def set_one(*args: Any) -> Any:
            result, changes = original(*args)
            if result.attribute_status.startswith("Unknown"):
                result = msgspec.structs.replace(result, attribute_status="Rejected")
            return result, changes

        return set_one

    replace_attribute(b_variables, "_set_variable", make)


def _nothing_can_be_set() -> None:
    from station.core.blocks import b_variables
    from station.core.device_model.definitions import Refusal

    refusal = Refusal("Rejected", "ReadOnly", "nothing can be set")
    replace_attribute(b_variables, "_check_new_value", lambda _: lambda *args: refusal)


def _not_in_the_order_of_the_priority() -> None:
    from station.core.blocks import b_networks

    replace_attribute(
        b_networks, "CONFIGURATION_PRIORITY", lambda _: "OCPPCommCtrlr.FileTransferProtocols"
    )


def _rejected_for_another_reason() -> None:
    from station.core import decide

    def make(refuse: Any) -> Any:
        def refused(call: Any, code: str, words: str) -> Any:
            return refuse(call, "InternalError" if code == "SecurityError" else code, words)

        return refused

    replace_attribute(decide, "call_error", make)


def _every_absence_is_long() -> None:
    from journal.observations import LinkOpened
    from journal.projections.reported_statuses import StatusResendRequired
    from station.core import decide

    def reconnected(case: Any) -> Iterator[Any]:
        if isinstance(case.entry.event, LinkOpened):
            yield StatusResendRequired("offline")

    rules = [reconnected if _is_named(rule, "reconnected") else rule for rule in decide.RULES]
    decide.RULES = tuple(rules)  # type: ignore[misc]


def _is_named(rule: Any, name: str) -> bool:
    return bool(rule.__name__ == name)


def _any_card_stops() -> None:
    from station.core.blocks import c_authorization

    def own(case: Any, seen: Any) -> Any:
        return next(iter(case.state.authorizations.active), None)

    replace_attribute(c_authorization, "_authorization_of_token", lambda _: own)


def _no_customer_report() -> None:
    from station.core.blocks import n_customers

    replace_attribute(n_customers, "_queue_report", lambda _: lambda *args: iter(()))


def _another_variable(block: str, name: str, path: str) -> Patch:
    """A block reads another variable than it means to."""

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
        "no TransactionEvent tells who charges",
    ),
    "remote-start-id": Mutant(
        patch_events(_omit_remote_start_id),
        ("TC_F_01_CS", "TC_F_02_CS", "TC_K_38_CS"),
        "no TransactionEvent tells the remoteStartId",
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
        _everybody_is_cached,
        ("TC_C_36_CS",),
        "the cache is asked although LocalPreAuthorize is false",
    ),
    "reset": Mutant(
        patch_response("Reset", "Accepted"),
        (
            "TC_B_20_CS",
            "TC_B_28_CS",
            "TC_B_29_CS",
        ),
        "a Reset is accepted and forgotten",
    ),
    "clear-cache": Mutant(
        patch_response("ClearCache", "Accepted"),
        ("TC_C_37_CS", "TC_C_38_CS"),
        "ClearCache is accepted and forgotten",
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
        "ChangeAvailability is accepted and forgotten",
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
        "TriggerMessage is accepted and forgotten",
    ),
    "remote-stop": Mutant(
        patch_response("RequestStopTransaction", "Accepted"),
        ("TC_F_08_CS", "TC_F_09_CS"),
        "RequestStopTransaction is accepted and forgotten",
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
        "certificates are accepted and forgotten",
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
        "every connector is told to be Available",
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
        "an answer that never comes is waited for for ever",
    ),
    "connection-timeout": Mutant(
        remove_rule("c_authorization.expire_authorizations"),
        (
            "TC_E_05_CS",
            "TC_E_39_CS",
            "TC_F_04_CS",
        ),
        "who does not plug in stays authorized",
    ),
    "seq-gap": Mutant(
        patch_events(_skip_numbers),
        ("TC_E_03_CS", "TC_E_15_CS", "TC_F_01_CS"),
        "seqNo leaves out every second number",
    ),
    "charging-state": Mutant(
        patch_events(_never_suspended), ("TC_E_38_CS",), "an EV that waits is told to be charging"
    ),
    "context": Mutant(
        _other_context,
        ("TC_J_01_CS", "TC_J_07_CS", "TC_J_09_CS", "TC_F_11_CS"),
        "no sample tells its context",
    ),
    "late-heartbeat": Mutant(
        _late_heartbeat, ("TC_F_20_CS",), "a triggered Heartbeat comes with the next regular one"
    ),
    "boot-interval": Mutant(
        _boot_retry_at_once, ("TC_B_03_CS",), "a Rejected station does not wait for the interval"
    ),
    "boot-reason": Mutant(
        _booted_for_no_reason,
        ("TC_B_21_CS", "TC_B_22_CS", "TC_B_23_CS"),
        "a reset is no reason to boot",
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
        "after a long absence only what changed is told",
    ),
    "unknown-variable": Mutant(
        _reading_the_unknown_is_rejected,
        ("TC_B_32_CS", "TC_B_33_CS", "TC_B_34_CS"),
        "what is unknown is Rejected when it is to be read",
    ),
    "read-only": Mutant(
        _everything_can_be_set,
        ("TC_B_11_CS", "TC_B_37_CS", "TC_B_39_CS"),
        "every value of every variable can be set",
    ),
    "inventory": Mutant(
        _a_variable_is_left_out,
        ("TC_B_12_CS", "TC_B_13_CS", "TC_B_53_CS"),
        "reports leave out a required variable",
    ),
    "refused": Mutant(
        _nobody_is_refused,
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
        "whom the CSMS refuses may charge",
    ),
    "deauthorized": Mutant(
        _ignore_deauthorization,
        (
            "TC_C_34_CS",
            "TC_E_16_CS",
            "TC_C_16_CS",
            "TC_C_17_CS",
        ),
        "what the CSMS says of a token of a transaction is not heard",
    ),
    "forgetful": Mutant(
        _patch_constant_result("c_authorization", "find_cache_entry"),
        (
            "TC_C_08_CS",
            "TC_C_13_CS",
            "TC_C_33_CS",
            "TC_C_32_CS",
            "TC_C_41_CS",
        ),
        "the cache knows nobody",
    ),
    "group": Mutant(
        _patch_constant_result("c_authorization", "_group_of_authorization"),
        ("TC_C_39_CS",),
        "nobody of the same group can stop a transaction",
    ),
    "transaction-status": Mutant(
        _patch_queue_status(queued=False),
        ("TC_E_29_CS", "TC_E_31_CS", "TC_E_33_CS"),
        "no message ever waits in the queue",
    ),
    "availability": Mutant(
        _operative_after_a_restart,
        ("TC_G_18_CS", "TC_G_19_CS", "TC_G_21_CS"),
        "after a restart everything is in service",
    ),
    "signer": Mutant(
        _patch_constant_result("l_firmware", "_check_signer", ""),
        ("TC_L_05_CS",),
        "anybody may sign firmware",
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
        "FirmwareStatusNotification names another request",
    ),
    "firmware-schedule": Mutant(
        _installed_at_once,
        ("TC_L_02_CS", "TC_L_03_CS"),
        "firmware is fetched and installed at once",
    ),
    "firmware-sessions": Mutant(
        _never_closed_for_firmware,
        ("TC_L_13_CS",),
        "EVSEs stay Available while an update waits",
    ),
    "log-request": Mutant(
        _other_request_id("n_logs"),
        ("TC_N_25_CS", "TC_N_35_CS"),
        "LogStatusNotification names another request",
    ),
    "clear": Mutant(
        _no_customer_erasure, ("TC_N_30_CS",), "customer information is cleared and kept"
    ),
    "delete-certificate": Mutant(
        patch_response("DeleteCertificate", "Accepted"),
        ("TC_M_20_CS", "TC_M_22_CS"),
        "certificates are deleted and kept",
    ),
    "hash-data": Mutant(
        _other_hash_data,
        ("TC_M_12_CS", "TC_M_18_CS"),
        "certificates are listed with another hash",
    ),
    "pause": Mutant(
        _no_pause_between_attempts,
        (
            "TC_E_41_CS",
            "TC_E_50_CS",
            "TC_E_42_CS",
            "TC_E_51_CS",
        ),
        "a message that failed is sent again at once",
    ),
    "attempts": Mutant(
        _more_attempts, ("TC_E_41_CS", "TC_E_50_CS"), "a message is tried more often than set"
    ),
    "set-unknown": Mutant(
        _setting_the_unknown_is_rejected,
        ("TC_B_35_CS", "TC_B_36_CS"),
        "what is unknown is Rejected when it is to be set",
    ),
    "set": Mutant(_nothing_can_be_set, ("TC_B_09_CS", "TC_B_10_CS"), "no variable can be set"),
    "value": Mutant(
        _patch_constant_result("b_variables", "read_attribute", "0"),
        ("TC_B_06_CS", "TC_B_07_CS", "TC_P_03_CS"),
        "every variable is told to be 0",
    ),
    "priority": Mutant(
        _not_in_the_order_of_the_priority,
        ("TC_B_45_CS", "TC_B_50_CS"),
        "NetworkConfigurationPriority does not count",
    ),
    "rejected": Mutant(
        _rejected_for_another_reason,
        ("TC_B_30_CS",),
        "a Rejected station refuses with another CALLERROR",
    ),
    "short-absence": Mutant(
        _every_absence_is_long,
        ("TC_B_52_CS",),
        "after a short absence every connector is told",
    ),
    "any-card": Mutant(
        _any_card_stops, ("TC_C_04_CS", "TC_C_44_CS"), "any card stops a transaction"
    ),
    "queue": Mutant(
        _patch_queue_status(queued=True),
        ("TC_E_28_CS", "TC_E_30_CS", "TC_E_32_CS", "TC_E_34_CS"),
        "messages always wait in the queue",
    ),
    "availability-refused": Mutant(
        patch_response("ChangeAvailability", "Rejected"),
        ("TC_G_09_CS", "TC_G_10_CS", "TC_G_12_CS", "TC_G_13_CS", "TC_G_15_CS", "TC_G_16_CS"),
        "ChangeAvailability is refused",
    ),
    "update-firmware": Mutant(
        patch_response("UpdateFirmware", "Accepted"),
        ("TC_L_11_CS", "TC_L_18_CS"),
        "UpdateFirmware is accepted, whatever it says",
    ),
    "list-certificates": Mutant(
        patch_response("GetInstalledCertificateIds", "Accepted"),
        ("TC_M_19_CS",),
        "certificates are listed where there are none",
    ),
    "customer": Mutant(
        _no_customer_report,
        ("TC_N_27_CS", "TC_N_28_CS", "TC_N_31_CS", "TC_N_32_CS"),
        "nothing is told of a customer",
    ),
    "remote-authorization": Mutant(
        _another_variable("c_authorization", "DISABLE_REMOTE_AUTHORIZATION", "-"),
        ("TC_E_52_CS",),
        "the CSMS is asked although DisableRemoteAuthorization says no",
    ),
    "during-idle": Mutant(
        _another_variable("j_metering", "SEND_DURING_IDLE", "-"),
        ("TC_J_06_CS",),
        "clock-aligned values are sent during a transaction too",
    ),
    "cached-refusal": Mutant(
        _another_variable("c_authorization", "DISABLE_POST_AUTHORIZE", "AuthCacheCtrlr.Enabled"),
        ("TC_C_12_CS",),
        "whom the cache knows as refused is not asked about again",
    ),
}
