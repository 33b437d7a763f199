"""Another release of the station: some code of its state differs from that of this one."""

from __future__ import annotations

import pytest

from station.runtime.loop import projection_code, state_snapshot
from station.runtime.loop.state_snapshot import STATE_MODULES, projection_fingerprints


def pretend_other_release(monkeypatch: pytest.MonkeyPatch, *changed: str) -> None:
    """From now on the code of these projections is another one; without any, of all of them."""
    fingerprints = projection_code.compute_fingerprints()
    fingerprints |= dict.fromkeys(changed or fingerprints, b"other")
    other_module = "journal.maintenance.verify"
    monkeypatch.setattr(state_snapshot, "STATE_MODULES", (*STATE_MODULES, other_module))
    monkeypatch.setattr(projection_code, "compute_fingerprints", lambda: fingerprints)
    projection_fingerprints.cache_clear()
