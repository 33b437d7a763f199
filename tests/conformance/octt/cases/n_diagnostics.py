"""Block N: log uploads and customer information."""

from __future__ import annotations

from typing import Any

from tests.conformance.octt import states
from tests.conformance.octt.bench import VALID
from tests.conformance.octt.cases.c_cache import enable_cache
from tests.conformance.octt.files import UPLOAD_PATH
from tests.conformance.octt.tester import TOKEN_TYPE, Tester
from tests.conformance.octt.verify import NOT_EMPTY, require
from tests.support.csms import Payload

FAILURES = ("UploadFailure", "BadMessage", "PermissionDenied", "NotSupportedOperation")
UPLOAD_S = 60.0
LOG_STATUS = "LogStatusNotification"


# GetLog (N01).


def _get_log(tester: Tester, kind: str, path: str, expected: dict[str, Any], **more: int) -> int:
    request_id = tester.next_id()
    location = {"remoteLocation": tester.bench.files.url(path)}
    request = {"logType": kind, "requestId": request_id, "log": location} | more
    tester.send_call("step 1", "GetLog", request, {"status": "Accepted"} | expected)
    return request_id


def _check_upload(tester: Tester, kind: str, expected: dict[str, Any]) -> None:
    request_id = _get_log(tester, kind, UPLOAD_PATH, expected)
    for step, status in (("step 3", "Uploading"), ("step 5", "Uploaded")):
        expected_status = {"status": status, "requestId": request_id}
        tester.expect_call(step, LOG_STATUS, expected_status, timeout_s=UPLOAD_S)
    require("afterwards", any(tester.bench.files.uploads.values()), "the log must have arrived")


def tc_n_25_cs(tester: Tester) -> None:
    _check_upload(tester, "DiagnosticsLog", {"filename": NOT_EMPTY})


def tc_n_35_cs(tester: Tester) -> None:
    _check_upload(tester, "SecurityLog", {})


def tc_n_26_cs(tester: Tester) -> None:
    interval_s = tester.settings.log_retry_interval_s
    request_id = _get_log(
        tester, "DiagnosticsLog", "/no-such-place/", {}, retries=3, retryInterval=interval_s
    )
    first = tester.take_call("step 3", LOG_STATUS, timeout_s=UPLOAD_S)
    tester.wait(3 * interval_s + tester.settings.deviation_s)
    notifications = [first.payload, *tester.pending_calls(LOG_STATUS)]
    for notification in notifications:
        require(
            "step 5", notification.get("requestId") == request_id, f"requestId must be {request_id}"
        )
    statuses = [notification["status"] for notification in notifications]
    failed = [status for status in statuses if status in FAILURES]
    require("step 3", statuses.count("Uploading") in (1, 4), f"Uploading 1 or 4 times: {statuses}")
    require("step 5", len(failed) in (1, 4), f"failed 1 or 4 times: {statuses}")
    last = tester.csms.calls_for(LOG_STATUS, tester.first_relevant_frame)[-1]
    took_s = last.monotonic_s - first.monotonic_s
    require(
        "step 5",
        abs(took_s - 3 * interval_s) <= tester.settings.deviation_s,
        f"the last failure must follow after {3 * interval_s} s, followed after {took_s:.1f} s",
    )


def tc_n_36_cs(tester: Tester) -> None:
    tester.bench.files.pause_s = 4.0
    first = _get_log(tester, "DiagnosticsLog", UPLOAD_PATH, {})
    tester.expect_call("step 3", LOG_STATUS, {"status": "Uploading", "requestId": first})
    second = tester.next_id()
    location = {"remoteLocation": tester.bench.files.url(UPLOAD_PATH)}
    request = {"logType": "DiagnosticsLog", "requestId": second, "log": location}
    tester.send_call("step 5", "GetLog", request, {"status": "AcceptedCanceled"})
    for step, status, request_id in (
        ("step 7", "AcceptedCanceled", first),
        ("step 9", "Uploading", second),
        ("step 11", "Uploaded", second),
    ):
        expected = {"status": status, "requestId": request_id}
        tester.expect_call(step, LOG_STATUS, expected, timeout_s=UPLOAD_S)


# CustomerInformation (N09, N10).


def _request_customer_information(
    tester: Tester, step: str, *, report: bool, clear: bool
) -> list[Payload]:
    """Request information about the bench's token; returns all parts of the report."""
    request_id = tester.next_id()
    request = {
        "requestId": request_id,
        "report": report,
        "clear": clear,
        "idToken": {"idToken": VALID, "type": TOKEN_TYPE},
    }
    tester.send_call(step, "CustomerInformation", request, {"status": "Accepted"})
    parts: list[Payload] = []
    while not parts or parts[-1].get("tbc"):
        expected = {"requestId": request_id, "seqNo": len(parts)}
        expect = tester.expect_call if parts else tester.expect_triggered_call
        parts.append(expect(f"{step} report {len(parts)}", "NotifyCustomerInformation", expected))
    return parts


def _create_customer_data(tester: Tester) -> None:
    enable_cache(tester)
    states.id_token_cached(tester)


def tc_n_27_cs(tester: Tester) -> None:
    _create_customer_data(tester)
    parts = _request_customer_information(tester, "step 1", report=True, clear=False)
    require("step 3", any(part["data"] for part in parts), "data may not be empty")


def _clear_customer(tester: Tester) -> None:
    """Erase the data that earlier cases on this bench left."""
    _request_customer_information(tester, "preparation", report=False, clear=True)


def tc_n_28_cs(tester: Tester) -> None:
    _clear_customer(tester)
    parts = _request_customer_information(tester, "step 1", report=True, clear=False)
    require("step 3", len(parts) == 1, f"there must be one message without data, got {len(parts)}")
    require("step 3", VALID not in parts[0]["data"], "there may be no data about the token")


def tc_n_30_cs(tester: Tester) -> None:
    _create_customer_data(tester)
    data = [
        part["data"]
        for part in _request_customer_information(tester, "step 1", report=True, clear=True)
    ]
    require("step 3", any(data), "data may not be empty")
    parts = _request_customer_information(tester, "step 5", report=True, clear=False)
    require("step 7", len(parts) == 1, f"there must be one message without data, got {len(parts)}")
    require("step 7", parts[0]["data"] not in data, "cleared data may not be reported again")
    require("step 7", VALID not in parts[0]["data"], "there may be no data about the token")


def tc_n_31_cs(tester: Tester) -> None:
    _clear_customer(tester)
    parts = _request_customer_information(tester, "step 1", report=True, clear=True)
    require("step 3", len(parts) == 1, f"there must be one message without data, got {len(parts)}")


def tc_n_32_cs(tester: Tester) -> None:
    _clear_customer(tester)
    parts = _request_customer_information(tester, "step 1", report=False, clear=True)
    require(
        "step 3", len(parts) == 1, f"there must be one message as confirmation, got {len(parts)}"
    )
