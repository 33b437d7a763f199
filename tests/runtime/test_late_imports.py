"""Imports that take long are made beside the loop."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from station.runtime.late_imports import MODULES_BY_ACTION

PROGRAM = """
import sys, threading, trio
from station.runtime.late_imports import MODULES_BY_ACTION, import_for_frame
action = sys.argv[1]
modules = MODULES_BY_ACTION.get(action, ())
assert not set(modules) & set(sys.modules), "imported at the start"
main = threading.get_ident()
import builtins
original = builtins.__import__
def watched(name, *rest, **more):
    if name.startswith("cryptography"):
        assert threading.get_ident() != main, f"{name} imported in the loop"
    return original(name, *rest, **more)
builtins.__import__ = watched
trio.run(import_for_frame, sys.argv[2])
print(all(module in sys.modules for module in modules))
"""


@pytest.mark.parametrize("action", [*MODULES_BY_ACTION, "Reset"])
def test_what_a_decision_imports_is_imported_in_a_thread(action: str) -> None:
    frame = json.dumps([2, "m" * 36, action, {}])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, action, frame], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
