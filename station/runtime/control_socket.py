"""Operations of the control socket `<data>/control.sock` of a running station.

One JSON object per line in, one out, at once; no operation waits for the CSMS.

* `state`, `live`, `release`, `retry`, `forget`, `data_transfer`, `external_limit` and
  `renew_certificate` are answered by every station.
* `link` and `clock` disturb the emulated network and clock; operations of devices are forwarded
  to the process of the emulated devices. A station with real devices refuses all of these.

`ok: true` means that the operation was accepted. It is an observation then, and in the journal with
the next commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from journal.events import Entry
from journal.observations import (
    CertificateRenewalRequested,
    DataTransferRequested,
    ErasureRequested,
    FaultReleaseRequested,
    MeterRead,
)
from journal.projections.evses import Evse
from journal.projections.outbox import CallRetryRequested
from journal.state import digest_state
from station.core.blocks.a_certificate_renewal import refuse_order, renewable_uses
from station.core.blocks.m_certificates import STATION_CERTIFICATE
from station.core.context import Context
from station.core.display import render_display
from station.runtime.clock import HostClock
from station.runtime.external_limits import CONTROL_SOCKET, limit_report
from station.runtime.hardware.fault_registry import FAULT_RULES
from station.runtime.hardware.hardware import Hardware
from station.runtime.live_status import LiveStatus
from station.runtime.loop.recorder import Recorder
from station.runtime.similar_names import find_similar_name

if TYPE_CHECKING:
    from station.runtime.emulation import Emulation

JsonObject = dict[str, Any]
EMULATOR_OPS: Final = frozenset(
    {
        "plug_in", "unplug", "present_token", "ev_ready", "ev_pause", "stop_button",
        "emergency_stop", "emergency_release", "fault", "clear_fault", "meter",
    }
)  # fmt: skip
RELEASE_OPS: Final = {"emergency_release": "emergency_stop", "clear_fault": None}
REAL_DEVICE_OPS: Final = (
    "state", "live", "release", "retry", "forget", "data_transfer", "external_limit",
    "renew_certificate",
)  # fmt: skip
REFERENCE_PATTERN: Final = re.compile("#[0-9a-f]{16}", re.ASCII)
EXTERNAL_LIMIT_MAX_W: Final = 10_000_000
EXTERNAL_DURATION_MAX_S: Final = 31 * 86_400
EXTERNAL_SOURCES: Final = ("EMS", "SO", "Other")  # never CSO. K11.FR.05, K12.FR.04
VENDOR_ID_MAX: Final = 255  # characters. DataTransferRequest
MESSAGE_ID_MAX: Final = 50  # characters. DataTransferRequest
DATA_BYTES_MAX: Final = 64 * 1024  # of one DataTransfer; a quarter of the largest frame
NAME_CHARS_MAX: Final = 100  # of the person who released a fault
LINK_MODES: Final = ("up", "closed", "silent")
EMULATOR_TIMEOUT_S: Final = 5.0  # the emulated devices answer in milliseconds


class RequestRefused(Exception):
    """An operation is refused. The message is sent as `error`."""


class UnknownName(RequestRefused):
    """A name is not known: `error` gets the name that was probably meant, or all known ones."""

    def __init__(self, message: str, name: str, known: Iterable[str]) -> None:
        super().__init__(message)
        self.name = name
        self.known = sorted(known)


class ControlHandler:
    """Executes the operations."""

    def __init__(
        self,
        recorder: Recorder,
        hardware: Hardware,
        emulation: Emulation | None,
        live: LiveStatus,
    ) -> None:
        """`emulation`: emulated network, clock and devices; None with real devices."""
        self._recorder = recorder
        self._hardware = hardware
        self._emulation = emulation
        self._live = live
        self._operations: dict[str, Callable[[JsonObject], JsonObject]] = {
            "state": self._report_state,
            "live": self._report_live,
            "release": self._release_faults,
            "retry": self._retry_calls,
            "forget": self._erase_values,
            "data_transfer": self._send_data_transfer,
            "renew_certificate": self._renew_certificate,
            "external_limit": self._set_external_limit,
        }
        self._emulation_operations: dict[str, Callable[[Emulation, JsonObject], None]] = {
            "link": _set_link_mode,
            "clock": _step_clock,
        }

    async def handle_line(self, line: bytes) -> JsonObject:
        """Execute the operation of a line and return the reply. Never raises for bad input."""
        try:
            return {"ok": True, **await self._dispatch_line(line)}
        except UnknownName as refusal:
            similar = await find_similar_name(refusal.name, refusal.known)
            hint = (
                f"; did you mean {similar}?" if similar else f". Known: {', '.join(refusal.known)}"
            )
            return {"ok": False, "error": f"{refusal}{hint}"}
        except RequestRefused as refusal:
            return {"ok": False, "error": str(refusal)}

    async def _dispatch_line(self, line: bytes) -> JsonObject:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestRefused(f"not JSON: {error}") from error
        if not isinstance(request, dict) or not isinstance(request.get("op"), str):
            raise RequestRefused('a request is a JSON object with a string "op"')
        op = request["op"]
        arguments = {key: value for key, value in request.items() if key != "op"}
        if op in self._operations:
            return self._operations[op](arguments)
        if self._emulation is None:
            offered = ", ".join(REAL_DEVICE_OPS)
            raise RequestRefused(f"{op}: the devices are real; only {offered} are accepted")
        if op in self._emulation_operations:
            self._emulation_operations[op](self._emulation, arguments)
            return {}
        if op in EMULATOR_OPS:
            return await self._forward_to_emulator(self._emulation, op, request, line)
        known = {*self._operations, *self._emulation_operations, *EMULATOR_OPS}
        raise UnknownName(f"op {op!r} is not known", op, known)

    # --- Operations of every station ------------------------------------------------------------

    def _report_state(self, arguments: JsonObject) -> JsonObject:
        """Committed facts, and the newest meter readings, which may not be committed."""
        _refuse_arguments(arguments, "state")
        state, head = self._recorder.state, self._recorder.head
        return {
            "evses": [self._report_evse(evse) for evse in state.evses.all_evses],
            "outbox": len(state.outbox),
            "parked": len(state.outbox.parked),
            "link": "up" if state.link.online else "down",
            "registration": state.registration.status,
            "storage": state.health.storage_level,
            "safe_mode": list(state.health.safe_mode_reasons),
            "damage": [damage.reason for damage in state.health.journal_damages],
            "journal": {
                "seq": head.seq,
                "digest": head.digest.hex(),
                "state_digest": digest_state(state),
            },
        }

    def _report_evse(self, evse: Evse) -> JsonObject:
        state = self._recorder.state
        transaction = state.transactions.on_evse(evse.evse_id)
        recorded = state.readings.on_evse(evse.evse_id)
        reading = self._hardware.latest_reading(evse.evse_id) or (
            # Of a silent meter only the last register: nothing else holds any more. P11
            MeterRead(evse.evse_id, recorded.meter_read.energy_wh) if recorded else None
        )
        return {
            "evse_id": evse.evse_id,
            "plugged": evse.is_plugged_in,
            "contactor": "closed" if evse.contactor_closed else "open",
            "transaction_id": transaction.transaction_id if transaction else None,
            "power_w": _json_number(reading.power_w) if reading else 0,
            "energy_wh": _json_number(reading.energy_wh) if reading else 0,
            "soc": reading.soc_percent if reading else None,
            "words": self._display_text(evse.evse_id),
            "faults": [
                f"{fault.device} {fault.fault}"
                for fault in state.faults.active
                if fault.evse_id in (0, evse.evse_id)
            ],
        }

    def _display_text(self, evse_id: int) -> str:
        """The headline on the display, as of the last commit."""
        state = self._recorder.desired_state.value
        display = render_display(state.display, {}, HostClock().uptime_ms())
        return next((each.headline for each in display.evses if each.evse_id == evse_id), "")

    def _report_live(self, arguments: JsonObject) -> JsonObject:
        """What is true and measured now, for people."""
        _refuse_arguments(arguments, "live")
        return self._live.report()

    def _release_faults(self, arguments: JsonObject) -> JsonObject:
        """Release latched faults of a device; the hardware acts once the request is committed."""
        device, kind = arguments.pop("device", None), arguments.pop("kind", None)
        evse_id, requested_by = arguments.pop("evse_id", None), arguments.pop("requested_by", "")
        _refuse_arguments(arguments, "release")
        if not isinstance(device, str) or not isinstance(kind, str | None):
            raise RequestRefused("release: device is a text, and so is kind if it is given")
        if evse_id is not None and type(evse_id) is not int:
            raise RequestRefused("release: evse_id is a number")
        if not isinstance(requested_by, str) or len(requested_by) > NAME_CHARS_MAX:
            raise RequestRefused(f"release: requested_by is a text of at most {NAME_CHARS_MAX}")
        released = self._find_releasable(device, kind, evse_id)
        self._recorder.observe(FaultReleaseRequested(device, kind or "", evse_id, requested_by))
        return {"released": released}

    def _find_releasable(self, device: str, kind: str | None, evse_id: int | None) -> list[str]:
        """The latched faults that a release means.

        Raises:
            RequestRefused: there is none, or the device still reports one.
        """
        devices = {rule.device for rule in FAULT_RULES.values()}
        if device not in devices:
            raise UnknownName(f"release: device {device!r} is not known", device, devices)
        faults = [
            fault
            for fault in self._hardware.active_faults()
            if fault.latched
            and fault.device == device
            and kind in (None, fault.fault)
            and (evse_id is None or fault.evse_id in (0, evse_id))
        ]
        name = " ".join(filter(None, (device, kind)))
        if not faults:
            raise RequestRefused(f"release: {name} has no latched fault there")
        for fault in faults:
            if fault.found:
                raise RequestRefused(
                    f"release: {device} {fault.fault} is still present; remove its cause first"
                )
        return [f"{fault.device} {fault.fault}" for fault in faults]

    def _retry_calls(self, arguments: JsonObject) -> JsonObject:
        """Send parked calls again: those listed in `calls`, or all."""
        calls = arguments.pop("calls", [])
        _refuse_arguments(arguments, "retry")
        if not isinstance(calls, list) or not all(type(call) is int for call in calls):
            raise RequestRefused("retry: calls is a list of numbers")
        parked = {call.call_seq for call in self._recorder.state.outbox.parked}
        unknown = [call for call in calls if call not in parked]
        if unknown:
            raise RequestRefused(f"retry: call {unknown[0]} is not parked")
        self._recorder.observe(CallRetryRequested(tuple(calls)))
        return {"retried": len(calls or parked)}

    def _erase_values(self, arguments: JsonObject) -> JsonObject:
        """Erase the personal values of `refs`, each once no open transaction or call needs it."""
        refs = arguments.pop("refs", None)
        _refuse_arguments(arguments, "forget")
        if not isinstance(refs, list) or not refs:
            raise RequestRefused("forget: refs is a list of references")
        for ref in refs:
            if not isinstance(ref, str) or not REFERENCE_PATTERN.fullmatch(ref):
                raise RequestRefused(f"forget: {ref} is no reference: # and 16 hex digits")
        self._recorder.observe(ErasureRequested(tuple(refs)))
        return {}

    def _send_data_transfer(self, arguments: JsonObject) -> JsonObject:
        """Send a DataTransferRequest to the CSMS. P02."""
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
                f"data_transfer: data has {len(data)} bytes; the maximum is {DATA_BYTES_MAX}"
            )
        if not self._recorder.state.link.online:
            raise RequestRefused("data_transfer: the station is offline; try again when online")
        self._recorder.observe(DataTransferRequested(vendor_id, message_id, msgspec.Raw(data)))
        return {}

    def _set_external_limit(self, arguments: JsonObject) -> JsonObject:
        """Set or lift a limit of an energy management system or grid operator. K11 to K13."""
        if "limit_w" not in arguments:
            raise RequestRefused("external_limit: limit_w is missing; null lifts the limit")
        limit_w, evse_id = arguments.pop("limit_w"), arguments.pop("evse_id", 0)
        source, duration_s = arguments.pop("source", "EMS"), arguments.pop("duration_s", None)
        _refuse_arguments(arguments, "external_limit")
        if limit_w is not None and (
            type(limit_w) not in (int, float) or not 0 <= limit_w <= EXTERNAL_LIMIT_MAX_W
        ):
            raise RequestRefused(
                f"external_limit: limit_w is null or a number of 0 to {EXTERNAL_LIMIT_MAX_W}"
            )
        evse_ids = (0, *(evse.evse_id for evse in self._recorder.state.evses.all_evses))
        if type(evse_id) is not int or evse_id not in evse_ids:
            raise RequestRefused(
                f"external_limit: evse_id is one of {', '.join(map(str, evse_ids))}"
            )
        if source not in EXTERNAL_SOURCES:
            raise RequestRefused(f"external_limit: source is one of {', '.join(EXTERNAL_SOURCES)}")
        if duration_s is not None and (
            type(duration_s) is not int or not 0 < duration_s <= EXTERNAL_DURATION_MAX_S
        ):
            raise RequestRefused(
                f"external_limit: duration_s is a whole number of 1 to {EXTERNAL_DURATION_MAX_S}"
            )
        self._recorder.observe(
            limit_report(evse_id, CONTROL_SOCKET, source, limit_w, duration_s=duration_s)
        )
        return {}

    def _renew_certificate(self, arguments: JsonObject) -> JsonObject:
        """Order a new certificate of the station from the CSMS, with a new key pair. A02."""
        use = arguments.pop("use", STATION_CERTIFICATE)
        _refuse_arguments(arguments, "renew_certificate")
        state, head = self._recorder.state, self._recorder.head
        at = self._recorder.station_time(state)
        entry = Entry(head.seq, at, 0, CertificateRenewalRequested(str(use)))
        ctx = Context(self._recorder.product, state, entry)
        uses = renewable_uses(ctx)
        if use not in uses:
            offered = ", ".join(uses) or "none"
            raise RequestRefused(f"renew_certificate: use is one of {offered}")
        if refusal := refuse_order(ctx, use):
            raise RequestRefused(f"renew_certificate: {refusal}")
        self._recorder.observe(CertificateRenewalRequested(use))
        return {"online": state.link.online}

    # --- Operations of the emulated devices -----------------------------------------------------

    async def _forward_to_emulator(
        self, emulation: Emulation, op: str, request: JsonObject, line: bytes
    ) -> JsonObject:
        token, evse_id = request.get("id_token"), request.get("evse_id")
        if op == "present_token" and isinstance(token, str) and isinstance(evse_id, int):
            emulation.cards.expect_card(token, evse_id)
        try:
            with trio.fail_after(EMULATOR_TIMEOUT_S):
                stream = await trio.open_unix_socket(str(emulation.socket))
                async with stream:
                    await stream.send_all(line.strip() + b"\n")
                    reply = await _receive_object(stream)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
            raise RequestRefused(f"{op}: the emulated devices do not answer: {error}") from error
        if not reply.pop("ok", False):
            raise RequestRefused(str(reply.get("error", "refused")))
        if op in RELEASE_OPS:
            # A latched fault waits for a person; clearing its emulation counts as that person.
            self._hardware.release_faults(
                RELEASE_OPS[op] or request.get("device"), request.get("evse_id")
            )
        return reply


def _set_link_mode(emulation: Emulation, arguments: JsonObject) -> None:
    mode = arguments.pop("mode", None)
    _refuse_arguments(arguments, "link")
    if mode not in LINK_MODES:
        raise RequestRefused(f"link: mode is one of {', '.join(LINK_MODES)}")
    emulation.network.set_mode(mode)


def _step_clock(emulation: Emulation, arguments: JsonObject) -> None:
    seconds = arguments.pop("step_s", None)
    _refuse_arguments(arguments, "clock")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise RequestRefused("clock: step_s is a number of seconds")
    try:
        emulation.clock.step_wall_clock(seconds)
    except (OverflowError, ValueError):
        raise RequestRefused(f"clock: {seconds} s is beyond the calendar's range") from None


async def _receive_object(stream: trio.SocketStream) -> JsonObject:
    data = b""
    while not data.endswith(b"\n"):
        more = await stream.receive_some()
        if not more:
            break
        data += more
    reply = json.loads(data or b"{}")
    return reply if isinstance(reply, dict) else {}


def _refuse_arguments(arguments: JsonObject, op: str) -> None:
    """Refuse the first argument that the operation has not used."""
    for name in arguments:
        raise RequestRefused(f"{op} takes no argument {name}")


def _json_number(value: Any) -> float | int:
    """A decimal as a JSON number, without a fraction where it has none."""
    if value is None:
        return 0
    return int(value) if value == int(value) else float(value)
