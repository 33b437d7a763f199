"""Look up the contents and signatures of certificates.

A memory of the parser's results: they depend on the bytes of the certificates only, so a decision
is the same whether they were read before or not. What is not known is read here, which imports
`cryptography` and holds the loop for 0.1 s; the running station makes it known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from station.core.certificates.facts import (
    CertificateFacts,
    Contents,
    Examination,
    may_be_signed_by,
    possible_signatures,
)

CERTIFICATES_MAX: Final = 256  # a chain of CertificateSigned has 180 blocks at most
SIGNATURES_MAX: Final = 1024

Key = TypeVar("Key")
Value = TypeVar("Value")

_by_block: Final[dict[str, Contents]] = {}
_by_text: Final[dict[str, Contents]] = {}
_signatures: Final[dict[tuple[str, str], bool]] = {}  # (child, parent): SHA-256 of their DER


def read_block(block: str) -> Contents:
    """The contents of one certificate in PEM."""
    contents = _by_block.get(block)
    if contents is None:
        from station.core.certificates.parser import parse_block

        contents = parse_block(block)
        _keep(_by_block, block, contents, CERTIFICATES_MAX)
    return contents


def read_first(text: str) -> Contents:
    """The contents of the first certificate of a text."""
    contents = _by_text.get(text)
    if contents is None:
        from station.core.certificates.parser import parse_first

        contents = parse_first(text)
        _keep(_by_text, text, contents, CERTIFICATES_MAX)
    return contents


def is_signed_by(child: CertificateFacts, parent: CertificateFacts) -> bool:
    """Whether a certificate names the other as its issuer, and was signed with its key."""
    if not may_be_signed_by(child, parent):
        return False
    pair = child.sha256, parent.sha256
    is_valid = _signatures.get(pair)
    if is_valid is None:
        from station.core.certificates.parser import is_signed_by as check_signature

        is_valid = check_signature(child.pem, parent.pem)
        _keep(_signatures, pair, is_valid, SIGNATURES_MAX)
    return is_valid


def knows(blocks: Sequence[str], texts: Sequence[str], issuers: Sequence[str]) -> bool:
    """Whether everything is known that `parser.examine` finds out. Arguments as there."""
    chain = [*map(_by_block.get, blocks), *map(_by_text.get, texts)]
    possible_issuers = [*map(_by_block.get, issuers)]
    if None in chain or None in possible_issuers:
        return False
    pairs = possible_signatures(
        [each for each in chain if each], [each for each in possible_issuers if each]
    )
    return all((child.sha256, parent.sha256) in _signatures for child, parent in pairs)


def remember(examination: Examination) -> None:
    """Keep what was read elsewhere."""
    for block, contents in examination.blocks:
        _keep(_by_block, block, contents, CERTIFICATES_MAX)
    for text, contents in examination.texts:
        _keep(_by_text, text, contents, CERTIFICATES_MAX)
    for each in examination.signatures:
        _keep(_signatures, (each.child, each.parent), each.is_valid, SIGNATURES_MAX)


def forget_all() -> None:
    """Forget everything, for tests and measurements."""
    for memory in (_by_block, _by_text, _signatures):
        memory.clear()


def _keep(memory: dict[Key, Value], key: Key, value: Value, count_max: int) -> None:
    """Keep a value as the newest; the oldest one goes if there are too many."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > count_max:
        del memory[next(iter(memory))]
