"""The certificates of a frame are read beside the loop, so that its decision need not."""

from __future__ import annotations

import base64
import json
import random
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from journal.projections.certificates import CertificateInstalled
from station.core import x509
from station.core.certificates import known_facts, parser
from station.core.certificates.facts import CertificateFacts
from station.core.signing_certificate import SigningCertificateRefused, check_signing_certificate
from station.core.x509 import CertificateUnusable, ExpectedLeaf
from station.runtime.crypto.frame_certificates import TEXT_CHARS_MAX, read_certificates
from station.runtime.crypto.program import Answer, ExaminationOrder, Order, execute
from tests.support.authorities import CertifiedKey, make_authority, make_server_certificate
from tests.support.signers import encode_pem

NOW = datetime.now(UTC)
ROOT = make_authority()
OTHER = make_authority("other")
NEXT = make_authority(issuer=ROOT)  # the same name, signed by ROOT: a renewed key
SUB_CA = make_authority("sub-CA", issuer=ROOT)
LEAF = make_server_certificate(SUB_CA, common_name="SN-1")
SIGNER = make_server_certificate(ROOT, common_name="signer")


class Examiner:
    """Executes orders in a thread of this process, and keeps them."""

    def __init__(self) -> None:
        self.orders: list[ExaminationOrder] = []

    def __call__(self, order: Order) -> Answer:
        assert threading.current_thread() is not threading.main_thread()
        assert isinstance(order, ExaminationOrder)
        self.orders.append(order)
        return execute(order)


@pytest.fixture
def examiner() -> Examiner:
    known_facts.forget_all()
    return Examiner()


def frame_of(action: str, payload: dict[str, Any]) -> str:
    return json.dumps([2, "m" * 36, action, payload])


def install(*holders: CertifiedKey, use: str = "CSMSRootCertificate") -> str:
    pem = "".join(holder.pem for holder in holders)
    return frame_of("InstallCertificate", {"certificateType": use, "certificate": pem})


def installed_roots(*holders: CertifiedKey) -> tuple[CertificateInstalled, ...]:
    roots = tuple(x509.parse_root("root", holder.pem, (), None) for holder in holders)
    known_facts.forget_all()
    return roots


def forbid_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("parse_block", "parse_first", "is_signed_by"):
        monkeypatch.setattr(parser, name, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"InstallCertificate"', '"Install\\u0043ertificate"'),
        ('"InstallCertificate"', f'{" " * 1_000}"InstallCertificate"'),
    ],
    ids=["escaped", "padded"],
)
async def test_an_action_is_found_however_its_frame_is_written(
    old: str, new: str, examiner: Examiner
) -> None:
    frame = install(ROOT).replace(old, new)
    assert json.loads(frame) == json.loads(install(ROOT))
    await read_certificates(frame, (), examiner)
    assert known_facts.knows((ROOT.pem,), (), ())


@pytest.mark.parametrize("chain", [(LEAF, SUB_CA), (LEAF, SUB_CA, ROOT)])
async def test_a_chain_is_decided_without_the_parser_a02_fr_06(
    chain: tuple[CertifiedKey, ...], examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = installed_roots(OTHER, ROOT)
    pem = "".join(holder.pem for holder in chain)
    payload = {"certificateChain": pem, "certificateType": "ChargingStationCertificate"}
    await read_certificates(frame_of("CertificateSigned", payload), roots, examiner)
    forbid_parser(monkeypatch)
    facts = known_facts.read_block(LEAF.pem)
    expected = ExpectedLeaf(facts.public_key_sha256, "SN-1", "key")  # type: ignore[union-attr]
    assert x509.first_certificate_sha256(pem) == facts.sha256  # type: ignore[union-attr]
    new = x509.parse_signed_chain("leaf", pem, roots, NOW, expected)
    assert len(new.child_hash_data) == 1


async def test_a_root_is_decided_without_the_parser_m05_fr_10(
    examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = installed_roots(ROOT)
    for holder in (NEXT, SUB_CA, OTHER):
        await read_certificates(install(holder), roots, examiner)
    forbid_parser(monkeypatch)
    assert x509.parse_successor("root", NEXT.pem, roots[0], NOW).pem == NEXT.pem
    assert x509.parse_root("root", SUB_CA.pem, roots, NOW).pem == SUB_CA.pem
    assert x509.parse_root("root", OTHER.pem, roots, NOW).pem == OTHER.pem
    with pytest.raises(CertificateUnusable, match="not signed by"):
        x509.parse_successor("root", OTHER.pem, roots[0], NOW)


async def test_a_signer_is_decided_without_the_parser_l01_fr_21(
    examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = installed_roots(OTHER, ROOT)
    payload = {"firmware": {"location": "http://x", "signingCertificate": SIGNER.pem}}
    await read_certificates(frame_of("UpdateFirmware", payload), roots, examiner)
    forbid_parser(monkeypatch)
    pems = [root.pem for root in roots]
    assert check_signing_certificate(SIGNER.pem, pems, NOW).pem == SIGNER.pem


async def test_what_is_known_is_not_read_again(examiner: Examiner) -> None:
    for holder in (SUB_CA, SUB_CA, OTHER):
        await read_certificates(install(holder), installed_roots_without_forgetting(), examiner)
    assert [order.blocks for order in examiner.orders] == [(SUB_CA.pem,), (OTHER.pem,)]


def installed_roots_without_forgetting() -> Iterable[CertificateInstalled]:
    return (x509.parse_root("root", ROOT.pem, (), None),)


@pytest.mark.parametrize(
    "frame",
    [
        frame_of("Reset", {"certificate": ROOT.pem}),
        frame_of("InstallCertificate", {"certificate": "no PEM"}),
        frame_of("InstallCertificate", {"certificate": 1}),
        frame_of("InstallCertificate", {"certificate": ROOT.pem * (TEXT_CHARS_MAX // 500)}),
        frame_of("UpdateFirmware", {"firmware": {"location": "http://x"}}),
        frame_of("UpdateFirmware", {"firmware": None}),
        '[2,"1","InstallCertificate",' + "[" * 100_000,
        '[2,"1","InstallCertificate"]',
        '["InstallCertificate"',
    ],
    ids=lambda frame: frame[:60],
)
async def test_other_frames_start_no_process(frame: str, examiner: Examiner) -> None:
    await read_certificates(frame, (), examiner)
    assert examiner.orders == []


async def test_a_hostile_frame_is_read_as_a_whole(
    examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = [
        f"-----BEGIN CERTIFICATE-----{number:03}-----END CERTIFICATE-----" for number in range(175)
    ]
    chain = "".join(blocks)
    assert len(chain) <= TEXT_CHARS_MAX
    roots = installed_roots(ROOT, OTHER)
    payload = {"certificateChain": chain}
    await read_certificates(frame_of("CertificateSigned", payload), roots, examiner)
    assert len(examiner.orders) == 1
    forbid_parser(monkeypatch)
    with pytest.raises(CertificateUnusable, match="cannot be read"):
        x509.parse_signed_chain("leaf", chain, roots, NOW, ExpectedLeaf("", "", ""))


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
async def test_no_decision_on_a_damaged_certificate_needs_the_parser(
    examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three CALLs with chains of right and damaged certificates."""
    roots = installed_roots(ROOT, OTHER)
    source = random.Random(7)
    accepted = 0
    for _ in range(150):
        pems = [damage(source, source.choice([ROOT, NEXT, SUB_CA, LEAF, SIGNER])) for _ in range(2)]
        chain = "".join(pems)
        for action, payload in (
            ("InstallCertificate", {"certificate": pems[0]}),
            ("CertificateSigned", {"certificateChain": chain}),
            ("UpdateFirmware", {"firmware": {"signingCertificate": chain}}),
        ):
            await read_certificates(frame_of(action, payload), roots, examiner)
        with monkeypatch.context() as patch:
            forbid_parser(patch)
            accepted += sum(is_accepted(check) for check in checks_of(pems[0], chain, roots))
    assert accepted > 40
    assert len(examiner.orders) > 60


def damage(source: random.Random, holder: CertifiedKey) -> str:
    """The certificate in PEM; of every other one some bytes are changed, inserted or left out."""
    der = bytearray(base64.b64decode("".join(holder.pem.splitlines()[1:-1])))
    for _ in range(source.choice([0, 0, 1, 3])):
        at = source.randrange(len(der))
        der[at : at + source.randrange(3)] = source.randbytes(source.randrange(3))
    return encode_pem(bytes(der))


def checks_of(
    pem: str, chain: str, roots: tuple[CertificateInstalled, ...]
) -> tuple[Callable[[], object], ...]:
    contents = known_facts.read_block(x509.pem_blocks(pem)[0])
    key = contents.public_key_sha256 if isinstance(contents, CertificateFacts) else ""
    expected = ExpectedLeaf(key, "SN-1", "key")
    return (
        lambda: x509.parse_root("root", pem, roots, NOW),
        lambda: x509.parse_successor("root", pem, roots[0], NOW),
        lambda: x509.parse_signed_chain("leaf", chain, roots, NOW, expected),
        lambda: check_signing_certificate(chain, [root.pem for root in roots], NOW),
    )


def is_accepted(check: Callable[[], object]) -> bool:
    try:
        check()
    except (CertificateUnusable, SigningCertificateRefused):
        return False
    return True
