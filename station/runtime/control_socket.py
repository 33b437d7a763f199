"""What may somebody on this machine ask of the running station?

One operation a line, answered at once, never waiting for the CSMS. What concerns the emulated
devices is passed on to them; with real devices only `state` is answered, and `retry`, `forget`
and `data_transfer`, which are an operator's orders and not a device's.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from journal.observations import DataTransferRequested, ErasureRequested
from journal.projections.outbox import CallRetryRequested
from journal.state import digest_state
from station.runtime.clock import HostClock
from station.runtime.csms.dialer import Dialer
from station.runtime.hardware.hardware import Hardware
from station.runtime.loop.recorder import Recorder

JsonObject = dict[str, Any]
EMULATOR_OPS: Final = frozenset(
    {
        "plug_in", "unplug", "present_token", "ev_ready", "ev_pause", "stop_button",
        "emergency_stop", "emergency_release", "fault", "clear_fault", "meter",
    }
)  # fmt: skip
RELEASE_OPS: Final = {"emergency_release": "emergency_stop", "clear_fault": None}
REAL_DEVICE_OPS: Final = ("state", "retry", "forget", "data_transfer")
REFERENCE_PATTERN: Final = re.compile("#[0-9a-f]{16}", re.ASCII)
VENDOR_ID_MAX, MESSAGE_ID_MAX, DATA_BYTES_MAX = (
    255,
    50,
    64 * 1024,
)  # characters; DataTransferRequest
LINK_MODES: Final = ("up", "closed", "silent")
EMULATOR_TIMEOUT_S: Final = 5.0  # the emulated devices answer at once, or not at all


class RequestRefused(Exception):
    """An order that is not obeyed. The message is the answer."""


class ControlHandler:
    """Answers the control socket of a running station."""

    def __init__(
        self,
        recorder: Recorder,
        hardware: Hardware,
        *,
        network: Dialer,
        clock: HostClock,
        emulator_socket: Path | None,
    ) -> None:
        """`devices`: socket of the emulated devices; None where the devices are real."""
        self._recorder = recorder
        self._hardware = hardware
        self._network = network
        self._clock = clock
        self._emulator_socket = emulator_socket
        self._operations: dict[str, Callable[[JsonObject], JsonObject]] = {
            "state": self._report_state,
            "retry": self._retry_calls,
            "forget": self._erase_values,
            "data_transfer": self._send_data_transfer,
            "link": self._set_link_mode,
            "clock": self._step_clock,
        }

    async def handle_line(self, line: bytes) -> JsonObject:
        """Do what a line says; the answer, which never raises."""
        try:
            return {"ok": True, **await self._dispatch_line(line)}
        except RequestRefused as refusal:
            return {"ok": False, "error": str(refusal)}

    async def _dispatch_line(self, line: bytes) -> JsonObject:
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestRefused(f"not JSON: {error}") from error
        if not isinstance(told, dict) or not isinstance(told.get("op"), str):
            raise RequestRefused('an order is an object with "op", a string')
        op = told["op"]
        if self._emulator_socket is None and op not in REAL_DEVICE_OPS:
            offered = ", ".join(REAL_DEVICE_OPS)
            raise RequestRefused(f"{op}: the devices are real; only {offered} are answered")
        if op in self._operations:
            return self._operations[op]({key: told[key] for key in told if key != "op"})
        if op in EMULATOR_OPS:
            return await self._forward_to_emulator(op, told, line)
        raise RequestRefused(
            f"op {op!r} is not known{_suggest_name(op, {*self._operations, *EMULATOR_OPS})}"
        )

    # --- Our own --------------------------------------------------------------------------------

    def _report_state(self, arguments: JsonObject) -> JsonObject:
        """Committed facts, and what the hardware measures right now."""
        _refuse_arguments(arguments, "state")
        state = self._recorder.state
        evses = []
        for evse in state.evses.all_evses:
            transaction = state.transactions.on_evse(evse.evse_id)
            reading = self._hardware.latest_reading(evse.evse_id)
            known = state.readings.on_evse(evse.evse_id)
            read = reading or (known.meter_read if known else None)
            evses.append(
                {
                    "evse_id": evse.evse_id,
                    "plugged": evse.is_plugged_in,
                    "contactor": "closed" if evse.contactor_closed else "open",
                    "transaction_id": transaction.transaction_id if transaction else None,
                    "power_w": _json_number(read.power_w) if read else 0,
                    "energy_wh": _json_number(read.energy_wh) if read else 0,
                    "soc": read.soc_percent if read else None,
                    "words": self._display_text(evse.evse_id),
                }
            )
        head = self._recorder.head
        return {
            "evses": evses,
            "outbox": len(state.outbox),
            "parked": len(state.outbox.parked),
            "link": "up" if state.link.online else "down",
            "registration": state.registration.status,
            "storage": state.health.storage_level,
            "safe_mode": list(state.health.safe_mode_reasons),
            "damage": [one.reason for one in state.health.journal_damages],
            "journal": {
                "seq": head.seq,
                "digest": head.digest.hex(),
                "state_digest": digest_state(state),
            },
        }

    def _display_text(self, evse_id: int) -> str:
        for evse in self._recorder.desired_state.value.evses:
            if evse.evse_id == evse_id:
                return evse.display_text
        return ""

    def _retry_calls(self, arguments: JsonObject) -> JsonObject:
        """Try parked calls again: those named in `calls`, or all."""
        calls = arguments.pop("calls", [])
        _refuse_arguments(arguments, "retry")
        if not isinstance(calls, list) or not all(type(call) is int for call in calls):
            raise RequestRefused("retry: calls is a list of numbers")
        parked = {one.call_seq for one in self._recorder.state.outbox.parked}
        unknown = [call for call in calls if call not in parked]
        if unknown:
            raise RequestRefused(f"retry: call {unknown[0]} is not parked")
        self._recorder.observe(CallRetryRequested(tuple(calls)))
        return {"retried": len(calls or parked)}

    def _erase_values(self, arguments: JsonObject) -> JsonObject:
        """Erase the values of `refs`, each as soon as nothing needs it any more."""
        refs = arguments.pop("refs", None)
        _refuse_arguments(arguments, "forget")
        if not isinstance(refs, list) or not refs:
            raise RequestRefused("forget: refs is a list of references")
        for ref in refs:
            if not isinstance(ref, str) or not REFERENCE_PATTERN.fullmatch(ref):
                raise RequestRefused(f"forget: {ref} is no reference; they are # and 16 hex digits")
        self._recorder.observe(ErasureRequested(tuple(refs)))
        return {}

    def _send_data_transfer(self, arguments: JsonObject) -> JsonObject:
        """Say something to the CSMS that OCPP has no message for. P02."""
        vendor_id, message_id = arguments.pop("vendor_id", None), arguments.pop("message_id", None)
        data = msgspec.json.encode(arguments.pop("data", None))
        _refuse_arguments(arguments, "data_transfer")
        if not isinstance(vendor_id, str) or not 0 < len(vendor_id) <= VENDOR_ID_MAX:
            raise RequestRefused(
                f"data_transfer: vendor_id is a text of 1 to {VENDOR_ID_MAX} characters"
            )
        if message_id is not None and (
            not isinstance(message_id, str) or len(message_id) > MESSAGE_ID_MAX
        ):
            raise RequestRefused(f"data_transfer: message_id is a text of at most {MESSAGE_ID_MAX}")
        if len(data) > DATA_BYTES_MAX:
            raise RequestRefused(
                f"data_transfer: data has {len(data)} bytes; at most {DATA_BYTES_MAX} go out"
            )
        if not self._recorder.state.link.online:
            raise RequestRefused("data_transfer: there is no link to the CSMS")
        self._recorder.observe(DataTransferRequested(vendor_id, message_id, msgspec.Raw(data)))
        return {}

    def _set_link_mode(self, arguments: JsonObject) -> JsonObject:
        mode = arguments.pop("mode", None)
        _refuse_arguments(arguments, "link")
        if mode not in LINK_MODES:
            raise RequestRefused(f"link: mode is one of {', '.join(LINK_MODES)}")
        self._network.set_mode(mode)
        return {}

    def _step_clock(self, arguments: JsonObject) -> JsonObject:
        seconds = arguments.pop("step_s", None)
        _refuse_arguments(arguments, "clock")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise RequestRefused("clock: step_s is a number of seconds")
        try:
            self._clock.step_wall_clock(seconds)
        except (OverflowError, ValueError):
            raise RequestRefused(f"clock: {seconds} s leads out of the calendar") from None
        return {}

    # --- The devices' ---------------------------------------------------------------------------

    async def _forward_to_emulator(self, op: str, request: JsonObject, line: bytes) -> JsonObject:
        assert self._emulator_socket is not None
        token, evse_id = request.get("id_token"), request.get("evse_id")
        if op == "present_token" and isinstance(token, str) and isinstance(evse_id, int):
            self._hardware.evse_id_by_uid[token.upper()] = evse_id
        try:
            with trio.fail_after(EMULATOR_TIMEOUT_S):
                stream = await trio.open_unix_socket(str(self._emulator_socket))
                async with stream:
                    await stream.send_all(line.strip() + b"\n")
                    answer = await _receive_object(stream)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
            raise RequestRefused(f"{op}: the emulated devices do not answer: {error}") from error
        if not answer.pop("ok", False):
            raise RequestRefused(str(answer.get("error", "refused")))
        if op in RELEASE_OPS:
            # Whoever takes an emulated fault away is the person a latched one waits for.
            self._hardware.release_faults(
                RELEASE_OPS[op] or request.get("device"), request.get("evse_id")
            )
        return answer


async def _receive_object(stream: trio.SocketStream) -> JsonObject:
    data = b""
    while not data.endswith(b"\n"):
        more = await stream.receive_some()
        if not more:
            break
        data += more
    found = json.loads(data or b"{}")
    return found if isinstance(found, dict) else {}


def _refuse_arguments(arguments: JsonObject, op: str) -> None:
    """Refuse arguments nobody knows."""
    for name in arguments:
        raise RequestRefused(f"{op} takes no {name}")


def _suggest_name(name: str, names: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(names))}"


def _json_number(value: Any) -> float | int:
    """A decimal as JSON carries it: whole where it is whole."""
    if value is None:
        return 0
    return int(value) if value == int(value) else float(value)
