"""Faults: the rule of each fault, and the registry of active ones.

`FAULT_RULES` defines for every fault the devices can report how a session stops, when charging is
forbidden, and what the CSMS is sent. `FaultRegistry` keeps the active faults and reports each once
when it begins and once when it ends.

    good ──(finding)──▶ active ──(good for the dwell)──▶ good
                          │                               ▲
                          └─ latched ──(release_faults)───┘

* A fault is *active* from the first finding until it has not been found for its dwell time. The
  dwell keeps a loose contact from ending and starting sessions.
* A *latched* fault needs a person: it stays active until `release_faults`, then ends as soon as it
  is good for the dwell. Faults are latched where good readings prove nothing (a welded contactor
  without power) or where a person must look (emergency stop, doors).
* A fault that forbids charging only when idle (`BlockMode.WHEN_IDLE`) lets the running session end
  regularly.
* With emulated devices, the person who clears a fault releases it too; faults that are visible
  without power are released in every round, since they come back if they are not gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, IntEnum
from typing import Final

import msgspec

from journal.events import Observation
from journal.observations import DeviceFaulted, DeviceRecovered


class StopMode(IntEnum):
    """How power goes off; the greater is the more urgent."""

    NONE = 0
    NORMAL = 1
    EMERGENCY = 2


class BlockMode(Enum):
    """When a fault forbids charging."""

    NEVER = "never"
    WHEN_IDLE = "when idle"  # a session may end regularly, none may start
    ALWAYS = "always"


class FaultRule(msgspec.Struct, frozen=True):
    """One fault and its consequences.

    Attributes:
        device, fault: its name.
        stop_mode: how a session ends because of it.
        block_mode: when it forbids charging.
        stopped_reason: stoppedReason of the transaction that ends.
        tech_code: techCode of its NotifyEvent (ChargeX MREC).
        latched: needs a person; see `FaultRegistry.release_faults`.
        visible_when_idle: it is found without power too. A latched fault that is not stays active
            until it is released, even if all readings are good.
        dwell_s: how long it must have been good to end, with emulated devices.
        field_dwell_s: the same with real devices; None: as `dwell_s`.
        note: for README.md: what the protections decide for each finding.
    """

    device: str
    fault: str
    stop_mode: StopMode
    block_mode: BlockMode
    stopped_reason: str = "Other"
    tech_code: str = ""
    latched: bool = False
    visible_when_idle: bool = True
    dwell_s: float = 2.0
    field_dwell_s: float | None = None
    note: str = ""


class Finding(msgspec.Struct, frozen=True):
    """A fault found in this round. `blocks_charging` and `latched` override the rule's."""

    rule: FaultRule
    evse_id: int
    info: str = ""
    blocks_charging: bool | None = None
    latched: bool | None = None


_EMERGENCY, _NORMAL, _NONE = StopMode.EMERGENCY, StopMode.NORMAL, StopMode.NONE
_ALWAYS, _IDLE, _NEVER = BlockMode.ALWAYS, BlockMode.WHEN_IDLE, BlockMode.NEVER

_FAULT_RULES = (
    # device, fault, stop_mode, block_mode, stopped_reason, tech_code
    FaultRule("emergency_stop", "pressed", _EMERGENCY, _ALWAYS, "EmergencyStop", "CX008",
        latched=True, dwell_s=1.0),
    FaultRule("door", "open", _EMERGENCY, _ALWAYS, latched=True),
    FaultRule("dispenser_door", "open", _EMERGENCY, _ALWAYS, latched=True),
    FaultRule("dispenser", "tilted", _EMERGENCY, _ALWAYS, latched=True),
    FaultRule("arrester", "dead", _NONE, _IDLE, tech_code="CX004", latched=True),
    FaultRule("breaker", "tripped", _EMERGENCY, _ALWAYS, "PowerLoss", "CX004", latched=True),
    FaultRule("cooling", "fault", _NONE, _NEVER, tech_code="CX003"),
    FaultRule("mains", "lost", _EMERGENCY, _ALWAYS, "PowerLoss", "CX015", field_dwell_s=30.0),
    FaultRule("mains", "phase_missing", _EMERGENCY, _ALWAYS, "PowerQuality", "CX006",
        field_dwell_s=30.0),
    FaultRule("mains", "under_voltage", _EMERGENCY, _ALWAYS, "PowerQuality", "CX006",
        field_dwell_s=30.0),
    FaultRule("mains", "over_voltage", _EMERGENCY, _ALWAYS, "PowerQuality", "CX006",
        field_dwell_s=30.0),
    FaultRule("io", "lost", _EMERGENCY, _ALWAYS, dwell_s=1.0),
    FaultRule("io", "watchdog", _EMERGENCY, _ALWAYS, dwell_s=3.0),
    FaultRule("io", "reset", _EMERGENCY, _ALWAYS),
    FaultRule("secc", "silent", _EMERGENCY, _ALWAYS, field_dwell_s=10.0),
    FaultRule("secc", "unknown_values", _EMERGENCY, _ALWAYS),
    FaultRule("secc", "emergency_stop", _EMERGENCY, _ALWAYS),
    FaultRule("pilot", "error", _EMERGENCY, _ALWAYS, tech_code="CX014", dwell_s=1.0,
        note="ends with pilot A"),
    FaultRule("ev", "emergency_stop", _EMERGENCY, _ALWAYS, dwell_s=1.0),
    FaultRule("ev", "no_precharge", _EMERGENCY, _ALWAYS, tech_code="CX012"),
    FaultRule("ev", "session_aborted", _EMERGENCY, _ALWAYS),
    FaultRule("insulation", "low", _EMERGENCY, _ALWAYS, "GroundFault", "CX022",
        note="latched if energy was transferred"),
    FaultRule("insulation", "alarm", _EMERGENCY, _ALWAYS, "GroundFault", "CX022",
        note="latched if energy was transferred"),
    FaultRule("insulation", "warning", _NONE, _NEVER),
    FaultRule("insulation", "cable_check", _EMERGENCY, _ALWAYS, "GroundFault", "CX011",
        visible_when_idle=False, note="latched after 3 in a row"),
    FaultRule("insulation", "self_test", _EMERGENCY, _ALWAYS, "GroundFault", "CX011",
        note="ends with a passed test; latched after 3 in a row"),
    FaultRule("insulation", "device_error", _EMERGENCY, _ALWAYS, field_dwell_s=10.0),
    FaultRule("insulation", "earth_lost", _EMERGENCY, _ALWAYS, field_dwell_s=10.0),
    FaultRule("insulation", "lost", _EMERGENCY, _ALWAYS, dwell_s=1.0, field_dwell_s=10.0),
    FaultRule("can", "lost", _EMERGENCY, _ALWAYS, dwell_s=1.0),
    FaultRule("module", "all_dead", _EMERGENCY, _ALWAYS, dwell_s=0.5),
    FaultRule("module", "none_left", _EMERGENCY, _ALWAYS, dwell_s=1.0),
    FaultRule("module", "fault", _NONE, _NEVER),
    FaultRule("module", "over_temperature", _NONE, _NEVER, tech_code="CX003"),
    FaultRule("module", "silent", _NONE, _NEVER),
    FaultRule("module", "derating", _NONE, _NEVER, tech_code="CX003"),
    FaultRule("module", "warning", _NONE, _NEVER),
    FaultRule("module", "wrong_count", _NONE, _NEVER),
    FaultRule("cabinet", "hot", _NONE, _NEVER, tech_code="CX003"),
    FaultRule("contactor", "welded", _EMERGENCY, _ALWAYS, tech_code="CX017", latched=True),
    FaultRule("contactor", "stuck_open", _NORMAL, _ALWAYS, tech_code="CX017",
        visible_when_idle=False, note="latched after 2 in a row"),
    FaultRule("output", "over_voltage", _EMERGENCY, _ALWAYS, tech_code="CX005", latched=True,
        visible_when_idle=False),
    FaultRule("output", "over_current", _EMERGENCY, _ALWAYS, "OvercurrentFault", "CX004",
        latched=True, visible_when_idle=False),
    FaultRule("output", "keeps_voltage", _NONE, _ALWAYS, tech_code="CX024"),
    FaultRule("cable", "hot", _NONE, _NEVER, tech_code="CX018"),
    FaultRule("cable", "over_temperature", _NORMAL, _ALWAYS, tech_code="CX019",
        note="ends below `cable_restart_c`"),
    FaultRule("cable", "sensor_broken", _NORMAL, _ALWAYS, tech_code="CX019"),
    FaultRule("meter", "silent", _NORMAL, _ALWAYS, dwell_s=1.0,
        note="when idle; a session only after `lost_s`"),
    FaultRule("meter", "broken_wire", _NORMAL, _ALWAYS, dwell_s=1.0,
        note="when idle; a session only after `lost_s`"),
    FaultRule("lock", "stuck", _NONE, _IDLE),
    FaultRule("reader", "lost", _NONE, _NEVER, dwell_s=0.0),
    FaultRule("display", "lost", _NONE, _NEVER, dwell_s=0.0),
)  # fmt: skip
FOUND_S: Final = 0.5  # a fault found within this time, a few rounds, is still there
FAULT_RULES: Final = {f"{rule.device}/{rule.fault}": rule for rule in _FAULT_RULES}


class _ActiveFault(msgspec.Struct):
    """A fault that was reported and has not ended."""

    finding: Finding
    blocks_charging: bool
    latched: bool
    last_seen_at: float
    began_at: float


class FaultStatus(msgspec.Struct, frozen=True):
    """An active fault, for people.

    Attributes:
        evse_id: 0: the whole station.
        info: details of the finding.
        latched: it needs a release.
        found: the last round still found it.
        age_s: since the first finding.
    """

    evse_id: int
    device: str
    fault: str
    blocks_charging: bool
    latched: bool
    found: bool
    age_s: float
    tech_code: str
    info: str


class FaultRegistry:
    """Active faults, reported as DeviceFaulted and DeviceRecovered."""

    def __init__(
        self,
        observe: Callable[[Observation], None],
        has_session: Callable[[int], bool],
        *,
        in_field: bool,
    ) -> None:
        """No fault is active.

        Args:
            observe: takes each observation.
            has_session: whether an EVSE has a session; 0: any EVSE.
            in_field: whether `field_dwell_s` applies.
        """
        self._in_field = in_field
        self._observe = observe
        self._has_session = has_session
        self._active_faults: dict[tuple[int, str], _ActiveFault] = {}

    def update_faults(self, findings: Iterable[Finding], now: float) -> None:
        """Take all findings of a round; what is not among them is good."""
        for finding in findings:
            self.add_finding(finding, now)
        for key, active in tuple(self._active_faults.items()):
            rule = active.finding.rule
            if not active.latched and now - active.last_seen_at > self._dwell_s(rule):
                del self._active_faults[key]
                self._observe(DeviceRecovered(active.finding.evse_id, rule.device, rule.fault))

    def _dwell_s(self, rule: FaultRule) -> float:
        field_s = rule.field_dwell_s
        return rule.dwell_s if field_s is None or not self._in_field else field_s

    def add_finding(self, finding: Finding, now: float) -> None:
        """Add a finding; report it if the fault is new or now blocks charging."""
        rule = finding.rule
        blocks = self._finding_blocks(finding)
        latched = rule.latched if finding.latched is None else finding.latched
        key = (finding.evse_id, f"{rule.device}/{rule.fault}")
        active = self._active_faults.get(key)
        if active is not None:
            active.last_seen_at = now
            active.latched = active.latched or latched
            if blocks <= active.blocks_charging:
                return
        began_at = active.began_at if active else now
        self._active_faults[key] = _ActiveFault(finding, blocks, latched, now, began_at)
        self._observe(
            DeviceFaulted(
                evse_id=finding.evse_id,
                device=rule.device,
                fault=rule.fault,
                blocks_charging=blocks,
                stopped_reason=rule.stopped_reason,
                tech_code=rule.tech_code,
                tech_info=finding.info[:500],  # NotifyEvent techInfo, Part 2 EventDataType
            )
        )

    def _finding_blocks(self, finding: Finding) -> bool:
        if finding.blocks_charging is not None:
            return finding.blocks_charging
        if finding.rule.block_mode is BlockMode.WHEN_IDLE:
            return not self._has_session(finding.evse_id)
        return finding.rule.block_mode is BlockMode.ALWAYS

    def active_faults(self, now: float) -> list[FaultStatus]:
        """Every active fault, in the order in which they were reported."""
        return [
            FaultStatus(
                evse_id=evse_id,
                device=active.finding.rule.device,
                fault=active.finding.rule.fault,
                blocks_charging=active.blocks_charging,
                latched=active.latched,
                found=now - active.last_seen_at < FOUND_S,
                age_s=now - active.began_at,
                tech_code=active.finding.rule.tech_code,
                info=active.finding.info,
            )
            for (evse_id, _), active in self._active_faults.items()
        ]

    def release_faults(
        self,
        device: str | None = None,
        evse_id: int | None = None,
        fault: str | None = None,
        *,
        visible_only: bool = False,
    ) -> None:
        """Release latched faults after a person has checked: each ends as soon as it is good.

        Args:
            device: None: all.
            fault: kind of fault; None: all.
            evse_id: None: all; faults of the whole station are released with any EVSE.
            visible_only: only faults that are visible without power too, which come back if they
                are not gone.
        """
        for (fault_evse_id, _), active in self._active_faults.items():
            rule = active.finding.rule
            matches = (
                device in (None, rule.device)
                and fault in (None, rule.fault)
                and (evse_id is None or fault_evse_id in (0, evse_id))
            )
            if matches and (rule.visible_when_idle or not visible_only):
                active.latched = False

    def has_fault(self, name: str, evse_id: int) -> bool:
        """Whether a fault is active at an EVSE, dwell included."""
        return (evse_id, name) in self._active_faults

    def blocks_charging(self, evse_id: int) -> bool:
        """Whether an EVSE may not charge."""
        return any(active.blocks_charging for active in self._faults_on_evse(evse_id))

    def stop_mode(self, evse_id: int) -> StopMode:
        """How power must go off at an EVSE."""
        modes = (
            active.finding.rule.stop_mode
            for active in self._faults_on_evse(evse_id)
            if active.blocks_charging
        )
        return max(modes, default=StopMode.NONE)

    def _faults_on_evse(self, evse_id: int) -> list[_ActiveFault]:
        return [
            active
            for (fault_evse_id, _), active in self._active_faults.items()
            if fault_evse_id in (0, evse_id)
        ]
