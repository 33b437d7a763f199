"""Mutants of blocks E and J: transactions, their messages, and meter values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.conformance.octt.mutants.fault import (
    Mutant,
    Patch,
    another_variable,
    patch_events,
    remove_rule,
    replace_attribute,
    replace_handler,
    replace_row_variable,
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
    "transaction-status": Mutant(
        _patch_queue_status(queued=False),
        ("TC_E_29_CS", "TC_E_31_CS", "TC_E_33_CS"),
        "messages are never reported as queued",
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
    "queue": Mutant(
        _patch_queue_status(queued=True),
        ("TC_E_28_CS", "TC_E_30_CS", "TC_E_32_CS", "TC_E_34_CS"),
        "messages are always reported as queued",
    ),
    "remote-authorization": Mutant(
        replace_row_variable("AuthCtrlr.DisableRemoteAuthorization", "-"),
        ("TC_E_52_CS",),
        "AuthorizeRequest is sent although DisableRemoteAuthorization is true",
    ),
    "during-idle": Mutant(
        another_variable("j_metering", "SEND_DURING_IDLE", "-"),
        ("TC_J_06_CS",),
        "clock-aligned values are sent during a transaction too",
    ),
}
