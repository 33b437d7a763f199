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

from journal.observations import DataTransferOrdered, ForgettingOrdered
from journal.projections.outbox import RetryRequested
from journal.state import state_digest
from station.runtime.clock import HostClock
from station.runtime.hardware import Hardware
from station.runtime.network import Network
from station.runtime.scribe import Scribe

Reply = dict[str, Any]
DEVICE_OPS: Final = frozenset(
    {
        "plug_in", "unplug", "present_token", "ev_ready", "ev_pause", "stop_button",
        "emergency_stop", "emergency_release", "fault", "clear_fault", "meter",
    }
)  # fmt: skip
RELEASES: Final = {"emergency_release": "emergency_stop", "clear_fault": None}
WITHOUT_DEVICES: Final = ("state", "retry", "forget", "data_transfer")
REFERENCE: Final = re.compile("#[0-9a-f]{16}", re.ASCII)
VENDOR_ID_MAX, MESSAGE_ID_MAX, DATA_MAX = 255, 50, 64 * 1024  # characters; DataTransferRequest
MODES: Final = ("up", "closed", "silent")
DEVICES_S: Final = 5.0  # the emulated devices answer at once, or not at all


class Refused(Exception):
    """An order that is not obeyed. The message is the answer."""


class Control:
    """Answers the control socket of a running station."""

    def __init__(
        self,
        scribe: Scribe,
        hardware: Hardware,
        *,
        network: Network,
        clock: HostClock,
        devices: Path | None,
    ) -> None:
        """`devices`: socket of the emulated devices; None where the devices are real."""
        self._scribe = scribe
        self._hardware = hardware
        self._network = network
        self._clock = clock
        self._devices = devices
        self._own: dict[str, Callable[[Reply], Reply]] = {
            "state": self._state,
            "retry": self._retry,
            "forget": self._forget,
            "data_transfer": self._data_transfer,
            "link": self._link,
            "clock": self._step_clock,
        }

    async def answer(self, line: bytes) -> Reply:
        """Do what a line says; the answer, which never raises."""
        try:
            return {"ok": True, **await self._do(line)}
        except Refused as refusal:
            return {"ok": False, "error": str(refusal)}

    async def _do(self, line: bytes) -> Reply:
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Refused(f"not JSON: {error}") from error
        if not isinstance(told, dict) or not isinstance(told.get("op"), str):
            raise Refused('an order is an object with "op", a string')
        op = told["op"]
        if self._devices is None and op not in WITHOUT_DEVICES:
            offered = ", ".join(WITHOUT_DEVICES)
            raise Refused(f"{op}: the devices are real; only {offered} are answered")
        if op in self._own:
            return self._own[op]({key: told[key] for key in told if key != "op"})
        if op in DEVICE_OPS:
            return await self._passed_on(op, told, line)
        raise Refused(f"op {op!r} is not known{_nearest(op, {*self._own, *DEVICE_OPS})}")

    # --- Our own --------------------------------------------------------------------------------

    def _state(self, told: Reply) -> Reply:
        """Committed facts, and what the hardware measures right now."""
        _only(told, "state")
        state = self._scribe.state
        evses = []
        for evse in state.hardware.evses:
            transaction = state.transactions.at(evse.evse_id)
            reading = self._hardware.latest_reading(evse.evse_id)
            known = state.readings.of(evse.evse_id)
            read = reading or (known.read if known else None)
            evses.append(
                {
                    "evse_id": evse.evse_id,
                    "plugged": evse.plugged,
                    "contactor": "closed" if evse.contactor_closed else "open",
                    "transaction_id": transaction.transaction_id if transaction else None,
                    "power_w": _number(read.power_w) if read else 0,
                    "energy_wh": _number(read.energy_wh) if read else 0,
                    "soc": read.soc_percent if read else None,
                    "words": self._words(evse.evse_id),
                }
            )
        head = self._scribe.head
        return {
            "evses": evses,
            "outbox": len(state.outbox),
            "parked": len(state.outbox.parked),
            "link": "up" if state.links.online else "down",
            "registration": state.registration.status,
            "storage": state.condition.storage,
            "safe_mode": list(state.condition.safe_mode),
            "damage": [one.why for one in state.condition.damages],
            "journal": {
                "seq": head.seq,
                "digest": head.digest.hex(),
                "state_digest": state_digest(state),
            },
        }

    def _words(self, evse_id: int) -> str:
        for evse in self._scribe.wanted.value.evses:
            if evse.evse_id == evse_id:
                return evse.words
        return ""

    def _retry(self, told: Reply) -> Reply:
        """Try parked calls again: those named in `calls`, or all."""
        calls = told.pop("calls", [])
        _only(told, "retry")
        if not isinstance(calls, list) or not all(type(call) is int for call in calls):
            raise Refused("retry: calls is a list of numbers")
        parked = {one.call for one in self._scribe.state.outbox.parked}
        unknown = [call for call in calls if call not in parked]
        if unknown:
            raise Refused(f"retry: call {unknown[0]} is not parked")
        self._scribe.observe(RetryRequested(tuple(calls)))
        return {"retried": len(calls or parked)}

    def _forget(self, told: Reply) -> Reply:
        """Erase the values of `refs`, each as soon as nothing needs it any more."""
        refs = told.pop("refs", None)
        _only(told, "forget")
        if not isinstance(refs, list) or not refs:
            raise Refused("forget: refs is a list of references")
        for ref in refs:
            if not isinstance(ref, str) or not REFERENCE.fullmatch(ref):
                raise Refused(f"forget: {ref} is no reference; they are # and 16 hex digits")
        self._scribe.observe(ForgettingOrdered(tuple(refs)))
        return {}

    def _data_transfer(self, told: Reply) -> Reply:
        """Say something to the CSMS that OCPP has no message for. P02."""
        vendor_id, message_id = told.pop("vendor_id", None), told.pop("message_id", None)
        data = msgspec.json.encode(told.pop("data", None))
        _only(told, "data_transfer")
        if not isinstance(vendor_id, str) or not 0 < len(vendor_id) <= VENDOR_ID_MAX:
            raise Refused(f"data_transfer: vendor_id is a text of 1 to {VENDOR_ID_MAX} characters")
        if message_id is not None and (
            not isinstance(message_id, str) or len(message_id) > MESSAGE_ID_MAX
        ):
            raise Refused(f"data_transfer: message_id is a text of at most {MESSAGE_ID_MAX}")
        if len(data) > DATA_MAX:
            raise Refused(f"data_transfer: data has {len(data)} bytes; at most {DATA_MAX} go out")
        if not self._scribe.state.links.online:
            raise Refused("data_transfer: there is no link to the CSMS")
        self._scribe.observe(DataTransferOrdered(vendor_id, message_id, msgspec.Raw(data)))
        return {}

    def _link(self, told: Reply) -> Reply:
        mode = told.pop("mode", None)
        _only(told, "link")
        if mode not in MODES:
            raise Refused(f"link: mode is one of {', '.join(MODES)}")
        self._network.switch(mode)
        return {}

    def _step_clock(self, told: Reply) -> Reply:
        seconds = told.pop("step_s", None)
        _only(told, "clock")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise Refused("clock: step_s is a number of seconds")
        try:
            self._clock.step(seconds)
        except (OverflowError, ValueError):
            raise Refused(f"clock: {seconds} s leads out of the calendar") from None
        return {}

    # --- The devices' ---------------------------------------------------------------------------

    async def _passed_on(self, op: str, told: Reply, line: bytes) -> Reply:
        assert self._devices is not None
        token, evse_id = told.get("id_token"), told.get("evse_id")
        if op == "present_token" and isinstance(token, str) and isinstance(evse_id, int):
            self._hardware.intended[token.upper()] = evse_id
        try:
            with trio.fail_after(DEVICES_S):
                stream = await trio.open_unix_socket(str(self._devices))
                async with stream:
                    await stream.send_all(line.strip() + b"\n")
                    answer = await _line_of(stream)
        except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
            raise Refused(f"{op}: the emulated devices do not answer: {error}") from error
        if not answer.pop("ok", False):
            raise Refused(str(answer.get("error", "refused")))
        if op in RELEASES:
            # Whoever takes an emulated fault away is the person a latched one waits for.
            self._hardware.release(RELEASES[op] or told.get("device"), told.get("evse_id"))
        return answer


async def _line_of(stream: trio.SocketStream) -> Reply:
    data = b""
    while not data.endswith(b"\n"):
        more = await stream.receive_some()
        if not more:
            break
        data += more
    found = json.loads(data or b"{}")
    return found if isinstance(found, dict) else {}


def _only(told: Reply, op: str) -> None:
    """Refuse arguments nobody knows."""
    for name in told:
        raise Refused(f"{op} takes no {name}")


def _nearest(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"


def _number(value: Any) -> float | int:
    """A decimal as JSON carries it: whole where it is whole."""
    if value is None:
        return 0
    return int(value) if value == int(value) else float(value)
