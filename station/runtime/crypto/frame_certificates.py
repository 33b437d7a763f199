"""Read the certificates of a received frame before it is decided.

Three CALLs have certificates. They are read together with the installed ones that may have signed
them, in a thread that waits for another process, so neither the loop nor the memory of the station
pays for it. The decision finds the result in `known_facts`.

The installed certificates are those of the last commit. If a CSMS installs a root and uses it
without waiting for the answer, the decision itself reads what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import trio

from journal.projections.certificates import CertificateInstalled
from station.core.certificates import known_facts
from station.core.certificates.facts import Examination
from station.core.x509 import pem_blocks
from station.runtime.crypto.process import Execute
from station.runtime.crypto.program import ExaminationOrder, Examined

ACTIONS: Final = ("InstallCertificate", "CertificateSigned", "UpdateFirmware")
TEXT_CHARS_MAX: Final = 10_000  # of certificateChain, the longest; the schema refuses more


class _Firmware(msgspec.Struct, rename="camel"):
    signing_certificate: str = ""


class _Payload(msgspec.Struct, rename="camel"):
    certificate: str = ""
    certificate_chain: str = ""
    firmware: _Firmware = msgspec.field(default_factory=_Firmware)


# Made here and not in the threads: see `journal.codec`.
_decoder: Final = msgspec.json.Decoder(tuple[int, str, str, _Payload])


async def read_certificates(
    frame: str, installed: Iterable[CertificateInstalled], execute: Execute
) -> None:
    """Make known what the decision on a frame needs.

    Args:
        frame: any frame.
        installed: all installed certificates.
        execute: reads certificates; blocks.
    """
    if _may_have_certificates(frame):
        examination = await trio.to_thread.run_sync(
            _examine_frame, frame, tuple(installed), execute, abandon_on_cancel=True
        )
        known_facts.remember(examination)


def _may_have_certificates(frame: str) -> bool:
    """Whether a frame has such an action; the name may be escaped, and anywhere in the frame."""
    return "\\u" in frame or any(f'"{action}"' in frame for action in ACTIONS)


def _examine_frame(
    frame: str, installed: tuple[CertificateInstalled, ...], execute: Execute
) -> Examination:
    """What is not known of the certificates in a frame. Blocks."""
    order = _order_for(frame, installed)
    if order is None or known_facts.knows(order.blocks, order.texts, order.issuers):
        return Examination()
    answer = execute(order)
    assert isinstance(answer, Examined)
    return answer.examination


def _order_for(frame: str, installed: tuple[CertificateInstalled, ...]) -> ExaminationOrder | None:
    """The certificates in a frame; None: there are none, or the frame is malformed."""
    try:
        _, _, _, payload = _decoder.decode(frame)
    except (msgspec.DecodeError, RecursionError):
        return None
    blocks = [
        block
        for text in (payload.certificate, payload.certificate_chain)
        if len(text) <= TEXT_CHARS_MAX
        for block in pem_blocks(text)
    ]
    signing = payload.firmware.signing_certificate
    texts = (signing,) if 0 < len(signing) <= TEXT_CHARS_MAX else ()
    if not blocks and not texts:
        return None
    issuers = (pem_blocks(certificate.pem)[0] for certificate in installed)
    return ExaminationOrder(tuple(blocks), texts, tuple(dict.fromkeys(issuers)))
