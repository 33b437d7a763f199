"""Imports that take long, made in a thread when they are needed for the first time.

`cryptography` takes 0.1 s of processor time and 8 to 11 MiB, which every start would pay for if
it were imported with the rest. Imported in the loop when first used, it would hold the loop that
protects the power path. In a thread, the loop gets its turns: the interpreter switches threads
every 5 ms.
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
            missing = [name for name in modules if name not in sys.modules]
            if missing:
                await trio.to_thread.run_sync(_import_modules, missing)
