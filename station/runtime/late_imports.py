"""Imports that take long, made in a thread when they are needed for the first time.

`cryptography`, `httpx` and `paramiko` take 0.1 to 0.5 s of processor time and several MiB, which
every start would pay for if they were imported with the rest. Imported in the loop when first
used, they would hold the loop that protects the power path. In a thread, the loop gets its turns:
the interpreter switches threads every 5 ms.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import trio

ACTION_SEARCH_MAX: Final = 200  # characters of a frame: `[2,"<36 characters>","<action>",`
CERTIFICATE_MODULES: Final = (
    "cryptography.x509",
    "cryptography.x509.ocsp",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "cryptography.hazmat.primitives.serialization",
)

# CALL -> modules that deciding on it imports
MODULES_BY_ACTION: Final = {
    "InstallCertificate": CERTIFICATE_MODULES,
    "CertificateSigned": CERTIFICATE_MODULES,
    "UpdateFirmware": (*CERTIFICATE_MODULES, "station.firmware.signature"),
}


async def import_in_thread(*names: str) -> None:
    """Import modules, in a thread unless all of them are imported."""
    missing = [name for name in names if name not in sys.modules]
    if missing:
        await trio.to_thread.run_sync(_import_modules, missing)


def import_all() -> None:
    """Import everything now: in a simulation, time would jump while a thread imports."""
    for modules in MODULES_BY_ACTION.values():
        _import_modules([*modules])


def _import_modules(names: list[str]) -> None:
    for name in names:
        import_module(name)


async def import_for_frame(text: str) -> None:
    """Import what deciding on a received frame needs, before it is decided in the loop."""
    beginning = text[:ACTION_SEARCH_MAX]
    for action, modules in MODULES_BY_ACTION.items():
        if f'"{action}"' in beginning:
            await import_in_thread(*modules)
