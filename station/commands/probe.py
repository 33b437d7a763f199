"""`station probe`: which of the configured devices answer, and what they report."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import trio

from drivers.ports import (
    CableTemperature,
    DeviceReport,
    DigitalInputs,
    InsulationReading,
    MeterReading,
    ModuleSilent,
    ModuleState,
    PilotState,
    SeccHeartbeat,
    TokenPresented,
)
from drivers.settings import DeviceSettings
from drivers.wire.can_bus import SLCAN, SOCKETCAN
from drivers.wire.can_interface import find_interface_problem
from drivers.wiring import NORMALLY_OFF, StationWiring, wire_name
from station.commands.shared.control_client import (
    DEVICES_SOCKET,
    STATION_SOCKET,
    find_listener_pid,
)
from station.config.hardware import HardwareSettings, emulated_settings, parse_hardware
from station.config.station_toml import Config, load_config
from station.runtime.hardware.probe import DeviceProbe, HardwareProbe, ProofResult

WATCH_INTERVAL_S: Final = 1.0
CLEAR_SCREEN: Final = "\x1b[H\x1b[J"
CONTACTOR_WARNING: Final = (
    "This closes the DC contactors of every EVSE for a moment, without voltage. "
    "Plugs must be in their holsters and nobody may work at the outputs. Continue?"
)


@click.command("probe")
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The station.toml.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=5.0,
    show_default=True,
    help="How long to wait for the devices.",
)
@click.option("--watch", is_flag=True, help="Print what they report every second, until Ctrl-C.")
@click.option("--mains", is_flag=True, help="Switch the supply of the power modules on.")
@click.option(
    "--prove-watchdogs",
    is_flag=True,
    help="Send nothing until the watchdog of each I/O module acts; check that its outputs are off.",
)
@click.option(
    "--prove-contactors",
    is_flag=True,
    help="Close and open the contactors of each EVSE and check their feedback.",
)
@click.option("--yes", is_flag=True, help="Do not ask before contactors close.")
@click.pass_context
def probe_command(
    ctx: click.Context,
    path: Path,
    seconds: float,
    watch: bool,
    mains: bool,
    prove_watchdogs: bool,
    prove_contactors: bool,
    yes: bool,
) -> None:
    """Open each configured port and report which devices answer.

    The station must not run. Contactors stay open and modules off, unless a test is requested.
    Exit code 0: every device answers and every requested test passed; 1: otherwise.
    """
    config = load_config(path)
    settings = _hardware_settings(config, path)
    _refuse_beside_station(config)
    if prove_contactors and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("--prove-contactors needs --yes without a terminal.")
        click.confirm(CONTACTOR_WARNING, abort=True)
    probe = HardwareProbe(settings, config.profile.evse_ids, with_mains=mains)
    proofs = trio.run(_run_probe, probe, seconds, watch, prove_watchdogs, prove_contactors)
    for proof in proofs:
        click.echo(f"{'pass' if proof.passed else 'FAIL'}  {proof.device}: {proof.text}")
    silent, wrong = list(_silent_devices(probe)), list(_wrong_devices(probe))
    if silent:
        click.echo(f"No answer: {', '.join(silent)}.", err=True)
    if wrong:
        click.echo(f"Wrong answer: {', '.join(wrong)}.", err=True)
    if silent or wrong or not all(proof.passed for proof in proofs):
        ctx.exit(1)


def _hardware_settings(config: Config, path: Path) -> HardwareSettings:
    """`[hardware]`, or the emulated devices if they run as a process of their own."""
    if config.hardware:
        return parse_hardware(config.hardware)
    if find_listener_pid(config.data_directory / DEVICES_SOCKET) is None:
        raise click.UsageError(
            f"{path} has no [hardware], so there is no port to open. To probe emulated devices,"
            f" start them: `station emulate --data {config.data_directory}`."
        )
    return emulated_settings(config.data_directory / "emulated")


def _refuse_beside_station(config: Config) -> None:
    pid = find_listener_pid(config.data_directory / STATION_SOCKET)
    if pid is not None:
        raise click.UsageError(
            f"the station runs (process {pid}) and has the ports. Stop it first."
        )


async def _run_probe(
    probe: HardwareProbe,
    seconds: float,
    watch: bool,
    prove_watchdogs: bool,
    prove_contactors: bool,
) -> list[ProofResult]:
    proofs: list[ProofResult] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe.run)
        await _wait_for_devices(probe, seconds)
        if prove_watchdogs:
            proofs += await probe.prove_watchdogs()
        if prove_contactors:
            proofs += await probe.prove_contactors()
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                await _watch(probe)
        else:
            _print_lines(_probe_lines(probe))
        nursery.cancel_scope.cancel()
    return proofs


async def _wait_for_devices(probe: HardwareProbe, seconds: float) -> None:
    """Wait until every device answered and had time for its first values."""
    with trio.move_on_after(seconds):
        while not all(device.answers for device in probe.devices.values()):
            await trio.sleep(0.1)
        await trio.sleep(min(1.5, seconds / 2))


async def _watch(probe: HardwareProbe) -> None:
    while True:
        if sys.stdout.isatty():
            click.echo(CLEAR_SCREEN, nl=False)
        _print_lines(_probe_lines(probe))
        click.echo()
        await trio.sleep(WATCH_INTERVAL_S)


def _print_lines(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)


def _probe_lines(probe: HardwareProbe) -> Iterator[str]:
    """A heading for each table of station.toml, below it a line for each of its devices."""
    heading = ""
    for device in sorted(probe.devices.values(), key=lambda device: (device.kind, device.name)):
        if device.kind != heading:
            heading = device.kind
            yield _heading(heading, probe.settings_of(heading))
        if device.is_bus:
            yield f"  {'bus':<13} {_bus_text(probe, device)}"
            continue
        yield f"  {device.name:<13} {_state_text(probe, device)}"
        if not device.answers:
            yield from (
                f"  {'':<13} {'likely' if n == 1 else '':<6} {n}. {reason}"
                for n, reason in enumerate(probe.likely_reasons(device), start=1)
            )


def _wrong_devices(probe: HardwareProbe) -> Iterator[str]:
    """Names of devices that answer with an error, or not as their protocol allows."""
    return (device.name for device in probe.devices.values() if device.answers_wrongly)


def _silent_devices(probe: HardwareProbe) -> Iterator[str]:
    """Names of devices that do not answer, of buses, and of single rectifier modules."""
    for device in probe.devices.values():
        if not device.answers and not device.answers_wrongly:
            yield f"{device.kind} bus" if device.is_bus else device.name
        elif device.answers:
            yield from (f"module {address}" for address in _silent_modules(probe, device))


def _heading(kind: str, settings: DeviceSettings) -> str:
    return f"[hardware.{kind}] {settings.driver} at {settings.port}"


def _bus_text(probe: HardwareProbe, device: DeviceProbe) -> str:
    if device.fault is not None:
        return f"NOT OPEN: {device.fault}"
    bus = probe.can_buses[device.name]
    if bus.frames_received:
        return f"{bus.frames_received} frames received, load {bus.load_percent():.0f} %"
    if bus.is_adapter_silent:
        return "open, no frame received, no reply of the adapter: is it one for CAN (slcan)?"
    settings = probe.settings_of(device.kind)
    problem = None
    if getattr(settings, "interface", SLCAN) == SOCKETCAN:
        problem = find_interface_problem(settings.port, bus.bit_rate)
    return f"open, no frame received{'' if problem is None else f'. {problem}'}"


def _state_text(probe: HardwareProbe, device: DeviceProbe) -> str:
    if device.answers_wrongly:
        return f"WRONG ANSWER: {device.fault}"
    if device.fault is not None:
        return f"NO ANSWER: {device.fault}"
    if not device.report_count:
        return "NO ANSWER" if probe.is_bus_open(device.kind) else "NO ANSWER: its bus is not open"
    texts = (describe_report(device, report, probe.wiring) for report in device.iter_reports())
    values = [*filter(None, texts), *_module_texts(probe, device)]
    return ", ".join(filter(None, (device.identity, *values))) or "answers"


def describe_report(device: DeviceProbe, report: DeviceReport, wiring: StationWiring) -> str:
    """The values of a report for a person; empty: it has none to show."""
    match report:
        case MeterReading():
            wire = ", BROKEN WIRE" if report.broken_wire else ""
            return (
                f"{report.energy_wh} Wh, {report.voltage_v} V, {report.current_a} A,"
                f" {report.power_w} W{wire}"
            )
        case InsulationReading(resistance_ohm=ohm):
            value = "no valid value" if ohm is None else f"{ohm / 1000:.0f} kΩ"
            return f"insulation {value}" + (f", alarm {report.alarm}" if report.alarm else "")
        case DigitalInputs():
            return _input_text(int(device.name.partition(" ")[2]), report, wiring)
        case PilotState(letter=letter):
            return f"control pilot {letter}"
        case SeccHeartbeat(state=state):
            return f"state {state.name}"
        case CableTemperature(hottest_c=hottest):
            return f"cable {hottest} °C"
        case TokenPresented():
            return "a card was read"
        case _:
            return ""


def _input_text(module: int, report: DigitalInputs, wiring: StationWiring) -> str:
    """Which inputs are not in their normal state; with its watchdog."""
    unusual = [
        wire_name(key, evse_id)
        for key, evse_id, number in wiring.inputs_of_module(module)
        if bool(report.bits >> number & 1) is (key in NORMALLY_OFF)
    ]
    watchdog = ", WATCHDOG FIRED" if report.watchdog_fired else ""
    return f"inputs {report.bits:08b}, not normal: {', '.join(unusual) or 'none'}{watchdog}"


def _module_texts(probe: HardwareProbe, device: DeviceProbe) -> list[str]:
    """How many rectifier modules answer, with the addresses of the others and of faulty ones."""
    answering = _answering_modules(device)
    if not answering:
        return []
    texts = [f"{len(answering)} modules answer"]
    if silent := _silent_modules(probe, device):
        texts.append(f"NO ANSWER: {', '.join(map(str, silent))}")
    texts += [
        f"module {address}: {', '.join(sorted(state.faults))}"
        for address, state in answering.items()
        if state.faults
    ]
    return texts


def _answering_modules(device: DeviceProbe) -> dict[int, ModuleState]:
    """The newest state of each rectifier module that is not silent, by address."""
    reports = list(device.iter_reports())
    lost = {report.address for report in reports if isinstance(report, ModuleSilent)}
    states = {report.address: report for report in reports if isinstance(report, ModuleState)}
    return {address: state for address, state in states.items() if address not in lost}


def _silent_modules(probe: HardwareProbe, device: DeviceProbe) -> list[int]:
    """Configured addresses without an answer; none for other devices than rectifier modules."""
    if device.is_bus or device.kind != "modules":
        return []
    return sorted(probe.rectifier_addresses - set(_answering_modules(device)))
