"""What is wrong, since when, and is it over?

`ROWS` says for every trouble the devices can tell of what the station does about it; `Ledger`
holds what is wrong now and says so, once when it comes and once when it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, IntEnum
from typing import Final

import msgspec

from journal.observations import DeviceFaulted, DeviceRecovered
from journal.terms import Observation


class Stop(IntEnum):
    """How power goes off; the greater is the more urgent."""

    NONE = 0
    NORMAL = 1
    EMERGENCY = 2


class Blocks(Enum):
    """When a fault forbids charging."""

    NEVER = "never"
    WHEN_IDLE = "when idle"  # what runs may end in peace, nothing new begins
    ALWAYS = "always"


class Row(msgspec.Struct, frozen=True):
    """One trouble and what follows.

    Attributes:
        device, fault: its name.
        stop: how a session ends because of it.
        blocks: when it forbids charging.
        reason: stoppedReason of the transaction that ends.
        code: techCode of its NotifyEvent (ChargeX MREC).
        latched: needs a person; see `Ledger.release`.
        seen_idle: it shows without power too. One that is latched and does not stays until it
            is released, however good things look.
        dwell_s: how long it must have been good, with emulated devices.
        field_dwell_s: the same with real ones; None: as long.
    """

    device: str
    fault: str
    stop: Stop
    blocks: Blocks
    reason: str = "Other"
    code: str = ""
    latched: bool = False
    seen_idle: bool = True
    dwell_s: float = 2.0
    field_dwell_s: float | None = None


class Finding(msgspec.Struct, frozen=True):
    """A row that is true right now. `blocks` and `latched` override the row's."""

    row: Row
    evse_id: int
    info: str = ""
    blocks: bool | None = None
    latched: bool | None = None


_EMERGENCY, _NORMAL, _NONE = Stop.EMERGENCY, Stop.NORMAL, Stop.NONE
_ALWAYS, _IDLE, _NEVER = Blocks.ALWAYS, Blocks.WHEN_IDLE, Blocks.NEVER

_ROWS = (
    # device, fault, stop, blocks, stoppedReason, techCode
    Row("emergency_stop", "pressed", _EMERGENCY, _ALWAYS, "EmergencyStop", "CX008", latched=True,
        dwell_s=1.0),
    Row("door", "open", _EMERGENCY, _ALWAYS, latched=True),
    Row("dispenser_door", "open", _EMERGENCY, _ALWAYS, latched=True),
    Row("dispenser", "tilted", _EMERGENCY, _ALWAYS, latched=True),
    Row("arrester", "dead", _NONE, _IDLE, code="CX004", latched=True),
    Row("breaker", "tripped", _EMERGENCY, _ALWAYS, "PowerLoss", "CX004", latched=True),
    Row("cooling", "fault", _NONE, _NEVER, code="CX003"),
    Row("mains", "lost", _EMERGENCY, _ALWAYS, "PowerLoss", "CX015", field_dwell_s=30.0),
    Row("mains", "phase_missing", _EMERGENCY, _ALWAYS, "PowerQuality", "CX006",
        field_dwell_s=30.0),
    Row("mains", "under_voltage", _EMERGENCY, _ALWAYS, "PowerQuality", "CX006",
        field_dwell_s=30.0),
    Row("mains", "over_voltage", _EMERGENCY, _ALWAYS, "PowerQuality", "CX006",
        field_dwell_s=30.0),
    Row("io", "lost", _EMERGENCY, _ALWAYS, dwell_s=1.0),
    Row("io", "watchdog", _EMERGENCY, _ALWAYS, dwell_s=3.0),
    Row("io", "reset", _EMERGENCY, _ALWAYS),
    Row("secc", "silent", _EMERGENCY, _ALWAYS, field_dwell_s=10.0),
    Row("secc", "unknown_values", _EMERGENCY, _ALWAYS),
    Row("secc", "emergency_stop", _EMERGENCY, _ALWAYS),
    Row("pilot", "error", _EMERGENCY, _ALWAYS, code="CX014", dwell_s=1.0),
    Row("ev", "emergency_stop", _EMERGENCY, _ALWAYS, dwell_s=1.0),
    Row("ev", "no_precharge", _EMERGENCY, _ALWAYS, code="CX012"),
    Row("ev", "session_aborted", _EMERGENCY, _ALWAYS),
    Row("insulation", "low", _EMERGENCY, _ALWAYS, "GroundFault", "CX022"),
    Row("insulation", "alarm", _EMERGENCY, _ALWAYS, "GroundFault", "CX022"),
    Row("insulation", "warning", _NONE, _NEVER),
    Row("insulation", "cable_check", _EMERGENCY, _ALWAYS, "GroundFault", "CX011",
        seen_idle=False),
    Row("insulation", "self_test", _EMERGENCY, _ALWAYS, "GroundFault", "CX011"),
    Row("insulation", "device_error", _EMERGENCY, _ALWAYS, field_dwell_s=10.0),
    Row("insulation", "earth_lost", _EMERGENCY, _ALWAYS, field_dwell_s=10.0),
    Row("insulation", "lost", _EMERGENCY, _ALWAYS, dwell_s=1.0, field_dwell_s=10.0),
    Row("can", "lost", _EMERGENCY, _ALWAYS, dwell_s=1.0),
    Row("module", "all_dead", _EMERGENCY, _ALWAYS, dwell_s=0.5),
    Row("module", "none_left", _EMERGENCY, _ALWAYS, dwell_s=1.0),
    Row("module", "fault", _NONE, _NEVER),
    Row("module", "over_temperature", _NONE, _NEVER, code="CX003"),
    Row("module", "silent", _NONE, _NEVER),
    Row("module", "derating", _NONE, _NEVER, code="CX003"),
    Row("module", "warning", _NONE, _NEVER),
    Row("module", "wrong_count", _NONE, _NEVER),
    Row("cabinet", "hot", _NONE, _NEVER, code="CX003"),
    Row("contactor", "welded", _EMERGENCY, _ALWAYS, code="CX017", latched=True),
    Row("contactor", "stuck_open", _NORMAL, _ALWAYS, code="CX017", seen_idle=False),
    Row("output", "over_voltage", _EMERGENCY, _ALWAYS, code="CX005", latched=True,
        seen_idle=False),
    Row("output", "over_current", _EMERGENCY, _ALWAYS, "OvercurrentFault", "CX004", latched=True,
        seen_idle=False),
    Row("output", "keeps_voltage", _NONE, _ALWAYS, code="CX024"),
    Row("cable", "hot", _NONE, _NEVER, code="CX018"),
    Row("cable", "over_temperature", _NORMAL, _ALWAYS, code="CX019"),
    Row("cable", "sensor_broken", _NORMAL, _ALWAYS, code="CX019"),
    Row("meter", "silent", _NORMAL, _ALWAYS, dwell_s=1.0),
    Row("meter", "broken_wire", _NORMAL, _ALWAYS, dwell_s=1.0),
    Row("lock", "stuck", _NONE, _IDLE),
    Row("reader", "lost", _NONE, _NEVER, dwell_s=0.0),
    Row("display", "lost", _NONE, _NEVER, dwell_s=0.0),
)  # fmt: skip
ROWS: Final = {f"{row.device}/{row.fault}": row for row in _ROWS}


class _Wrong(msgspec.Struct):
    """A fault that was told and is not over."""

    finding: Finding
    blocks: bool
    latched: bool
    seen_at: float


class Ledger:
    """What is wrong, told as DeviceFaulted and DeviceRecovered."""

    def __init__(
        self,
        observe: Callable[[Observation], None],
        in_session: Callable[[int], bool],
        *,
        in_field: bool,
    ) -> None:
        """`in_session` says whether an EVSE has a session, 0 asks for any; `in_field` whether
        the field's dwell counts."""
        self._in_field = in_field
        self._observe = observe
        self._in_session = in_session
        self._wrong: dict[tuple[int, str], _Wrong] = {}

    def settle(self, findings: Iterable[Finding], now: float) -> None:
        """Take everything that is wrong right now; what is not among it is good."""
        for finding in findings:
            self.add(finding, now)
        for key, wrong in tuple(self._wrong.items()):
            row = wrong.finding.row
            if not wrong.latched and now - wrong.seen_at > self._dwell_s(row):
                del self._wrong[key]
                self._observe(DeviceRecovered(wrong.finding.evse_id, row.device, row.fault))

    def _dwell_s(self, row: Row) -> float:
        field_s = row.field_dwell_s
        return row.dwell_s if field_s is None or not self._in_field else field_s

    def add(self, finding: Finding, now: float) -> None:
        """Something is wrong at this moment; told if that is new, or forbids more than before."""
        row = finding.row
        blocks = self._blocks(finding)
        latched = row.latched if finding.latched is None else finding.latched
        key = (finding.evse_id, f"{row.device}/{row.fault}")
        wrong = self._wrong.get(key)
        if wrong is not None:
            wrong.seen_at = now
            wrong.latched = wrong.latched or latched
            if blocks <= wrong.blocks:
                return
        self._wrong[key] = _Wrong(finding, blocks, latched, now)
        self._observe(
            DeviceFaulted(
                evse_id=finding.evse_id,
                device=row.device,
                fault=row.fault,
                blocks=blocks,
                stopped_reason=row.reason,
                tech_code=row.code,
                tech_info=finding.info[:500],  # NotifyEvent techInfo, Part 2 EventDataType
            )
        )

    def _blocks(self, finding: Finding) -> bool:
        if finding.blocks is not None:
            return finding.blocks
        if finding.row.blocks is Blocks.WHEN_IDLE:
            return not self._in_session(finding.evse_id)
        return finding.row.blocks is Blocks.ALWAYS

    def release(
        self, device: str | None = None, evse_id: int | None = None, *, shown_only: bool = False
    ) -> None:
        """A person has seen to it: what is latched goes as soon as it is good.

        Args:
            device: None: all.
            evse_id: None: all; what the whole station has goes with any.
            shown_only: only what shows without power too, so that it comes back if it is not
                good.
        """
        for (where, _), wrong in self._wrong.items():
            row = wrong.finding.row
            meant = device in (None, row.device) and (evse_id is None or where in (0, evse_id))
            if meant and (row.seen_idle or not shown_only):
                wrong.latched = False

    def has(self, name: str, evse_id: int) -> bool:
        """Whether a row is wrong at an EVSE, dwell included."""
        return (evse_id, name) in self._wrong

    def blocking(self, evse_id: int) -> bool:
        """Whether an EVSE may not charge."""
        return any(wrong.blocks for wrong in self._at(evse_id))

    def stop(self, evse_id: int) -> Stop:
        """How power must go off at an EVSE."""
        stops = (wrong.finding.row.stop for wrong in self._at(evse_id) if wrong.blocks)
        return max(stops, default=Stop.NONE)

    def _at(self, evse_id: int) -> list[_Wrong]:
        return [wrong for (where, _), wrong in self._wrong.items() if where in (0, evse_id)]
