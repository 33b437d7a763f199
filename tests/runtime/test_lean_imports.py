"""What `station run` imports, and what it leaves out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

THIRD_PARTY = {
    "attr",
    "attrs",
    "h11",
    "msgspec",
    "outcome",
    "rpds",
    "serial",
    "sniffio",
    "sortedcontainers",
    "trio",
    "trio_websocket",
    "wsproto",
}
LEFT_OUT = (
    "asyncio",
    "bz2",
    "can",
    "click",
    "cryptography",
    "csv",
    "ctypes.util",
    "difflib",
    "email",
    "gettext",
    "html",
    "httpx",
    "idna",
    "importlib.metadata",
    "journal.maintenance.rebuild",
    "locale",
    "lzma",
    "paramiko",
    "platform",
    "rich",
    "sqlite_utils",
    "typing_extensions",
    "zipfile",
)

IMPORTED = f"""
import sys
before = set(sys.modules)
import station.cli, station.runtime.process
print(*sorted(set({LEFT_OUT}) & (set(sys.modules) - before)))
names = {{name.partition(".")[0] for name in set(sys.modules) - before}}
ours = {{"station", "journal", "drivers", "migrations"}}
print(*sorted(name for name in names - ours - sys.stdlib_module_names if name[0] != "_"))
import bz2, importlib.metadata, lzma, typing_extensions
print(importlib.metadata.version("trio") == sys.modules["trio"].__version__)
"""

USED_LATER = """
import station.runtime.lean_imports, subprocess, sys, trio
before = "locale" in sys.modules or "idna" in sys.modules
print(before, subprocess.run(["echo", "ä"], stdout=subprocess.PIPE, text=True).stdout.strip())

async def resolve():
    try:
        await trio.socket.getaddrinfo("bücher.invalid", 80)
    except OSError:
        print("not found")

trio.run(resolve)
print(*(name for name in ("idna", "locale") if hasattr(sys.modules[name], "__file__")))
"""

WITH_OTHER_RELEASE = """
import station.runtime.lean_imports, trio_websocket, sys
print(trio_websocket.__name__, trio_websocket.distribution("trio").metadata["Name"])
"""


def run_program(program: str, *paths: Path) -> list[str]:
    added = f"import sys; sys.path[:0] = {[str(path) for path in paths]}\n"
    done = subprocess.run(
        [sys.executable, "-c", added + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_run_imports_these_packages_and_nothing_that_it_seldom_uses() -> None:
    left_out, third_party, later_works = run_program(IMPORTED)
    assert left_out == ""
    assert set(third_party.split()) == THIRD_PARTY
    assert later_works == "True"


def test_a_module_that_is_needed_later_is_imported_then() -> None:
    assert run_program(USED_LATER) == ["False ä", "not found", "idna locale"]


def test_a_start_runs_no_other_program() -> None:
    program = """
import os, sys
sys.addaudithook(lambda event, _: event == "subprocess.Popen" and print(event))
import station.runtime.process
"""
    assert run_program(program) == []


def test_a_release_that_needs_more_is_imported_as_usual(tmp_path: Path) -> None:
    other = "from importlib.metadata import distribution, version\n"
    (tmp_path / "trio_websocket.py").write_text(other, encoding="utf-8")
    assert run_program(WITH_OTHER_RELEASE, tmp_path) == ["trio_websocket trio"]
