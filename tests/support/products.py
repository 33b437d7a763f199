"""Product profiles for tests: the hardware of `development` with another number of EVSEs."""

from __future__ import annotations

from pathlib import Path

EVSE_POWER_W = 150_000


def write_profile(
    directory: Path,
    evse_count: int,
    *,
    power_max_w: int = 300_000,
    inherits: str = "development",
    more: str = "",
) -> Path:
    """Write a profile and return its path.

    Args:
        directory: of the file.
        evse_count: HFS-8.
        power_max_w: of the whole station.
        inherits: the profile it is made of.
        more: tables that are added as they are.
    """
    evses = "\n".join(
        f"[[evse]]\nid = {evse_id}\npower_max_w = {min(EVSE_POWER_W, power_max_w)}\n"
        'connectors = [{ id = 1, type = "cCCS1", cable = "fixed" }]'
        for evse_id in range(1, evse_count + 1)
    )
    path = directory / f"product-{evse_count}.toml"
    path.write_text(
        f'name = "product-{evse_count}"\ninherits = "{inherits}"\n{more}\n'
        f"[hardware]\nHFS-8 = {evse_count}\n[supply]\npower_max_w = {power_max_w}\n{evses}\n"
    )
    return path
