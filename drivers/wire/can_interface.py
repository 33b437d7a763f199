"""How the kernel has set up a CAN interface, as `ip` of iproute2 reports it. For commands only."""

from __future__ import annotations

import json
import subprocess
from typing import Any, Final

TIMEOUT_S: Final = 5.0
BUS_OFF: Final = "BUS-OFF"


def find_interface_problem(name: str, bit_rate: int) -> str | None:
    """Why frames cannot pass a CAN interface, with the remedy, as one line.

    Args:
        name: of the interface.
        bit_rate: of its devices, bit/s.

    Returns:
        None: nothing is known to be wrong; `ip` may not be there, or know no bit rate.
    """
    link = _read_link(name)
    if link is None:
        return None
    start = f"`ip link set {name} up type can bitrate {bit_rate}`"
    data = link.get("linkinfo", {}).get("info_data", {})
    found = data.get("bittiming", {}).get("bitrate", bit_rate)
    if "UP" not in link.get("flags", ()):
        return f"{name}: the interface is down. Run {start}."
    if found != bit_rate:
        return (
            f"{name}: the interface has {found} bit/s, its devices have {bit_rate}."
            f" Run `ip link set {name} down`, then {start}."
        )
    if data.get("state") == BUS_OFF:
        return (
            f"{name}: the interface is off the bus after errors (BUS-OFF). Are CAN high and low"
            f" swapped or shorted? Then run `ip link set {name} down` and {start}."
        )
    return None


def _read_link(name: str) -> dict[str, Any] | None:
    """The object of the interface in the output of `ip`; None without an answer of that form."""
    command = ("ip", "-details", "-json", "link", "show", "dev", name)
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT_S)
        [link] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return link if isinstance(link, dict) else None
