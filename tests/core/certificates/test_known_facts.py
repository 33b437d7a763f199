"""Contents and signatures of certificates are read once, and kept within a limit."""

from __future__ import annotations

import pytest
from cryptography import x509

from station.core.certificates import known_facts, parser
from station.core.certificates.facts import CertificateFacts, Examination, Unreadable
from tests.support.authorities import CertifiedKey, make_authority, make_server_certificate

ROOT = make_authority()
SUB_CA = make_authority("sub-CA", issuer=ROOT)
LEAF = make_server_certificate(SUB_CA, common_name="leaf")
NAMESAKE = make_authority()  # another root of the same name
PEMS = (LEAF.pem, SUB_CA.pem, ROOT.pem, NAMESAKE.pem)
GARBAGE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    known_facts.forget_all()


def facts_of(holder: CertifiedKey) -> CertificateFacts:
    contents = known_facts.read_block(holder.pem)
    assert isinstance(contents, CertificateFacts)
    return contents


def forbid_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call of the parser fail."""
    for name in ("parse_block", "parse_first", "is_signed_by"):
        monkeypatch.setattr(parser, name, None)


@pytest.mark.parametrize("examined", [False, True])
def test_a_signature_needs_the_name_and_the_key_of_the_issuer(
    examined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if examined:
        known_facts.remember(parser.examine(PEMS, (), PEMS))
        forbid_parser(monkeypatch)
    leaf, sub_ca, root, namesake = map(facts_of, (LEAF, SUB_CA, ROOT, NAMESAKE))
    signed = {
        (child, parent)
        for child in (leaf, sub_ca, root, namesake)
        for parent in (leaf, sub_ca, root, namesake)
        if known_facts.is_signed_by(child, parent)
    }
    assert signed == {(leaf, sub_ca), (sub_ca, root), (root, root), (namesake, namesake)}


def test_what_was_examined_is_known() -> None:
    blocks, texts, issuers = (LEAF.pem, SUB_CA.pem), (LEAF.pem + ROOT.pem,), (ROOT.pem,)
    assert not known_facts.knows(blocks, texts, issuers)
    known_facts.remember(parser.examine(blocks, texts, issuers))
    assert known_facts.knows(blocks, texts, issuers)
    assert not known_facts.knows(blocks, texts, (ROOT.pem, NAMESAKE.pem))
    known_facts.read_block(NAMESAKE.pem)  # the signature is still missing
    assert not known_facts.knows(blocks, texts, (ROOT.pem, NAMESAKE.pem))
    first = known_facts.read_first(texts[0])
    assert isinstance(first, CertificateFacts)
    assert first.pem == LEAF.pem


def test_what_cannot_be_read_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    known_facts.remember(parser.examine((GARBAGE,), (GARBAGE, ""), ()))
    assert known_facts.knows((GARBAGE,), (GARBAGE, ""), ())
    forbid_parser(monkeypatch)
    for contents in (known_facts.read_block(GARBAGE), known_facts.read_first("")):
        assert contents == Unreadable("ValueError", contents.text)  # type: ignore[union-attr]


def test_a_parser_that_panics_found_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """As PyO3's, which is no Exception."""

    def panic(*_: object) -> None:
        raise Panic("index out of bounds")

    monkeypatch.setattr(x509, "load_pem_x509_certificate", panic)
    assert parser.parse_block(LEAF.pem) == Unreadable("Panic", "index out of bounds")


def test_the_oldest_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(known_facts.CERTIFICATES_MAX):
        unreadable = Unreadable("ValueError", "")
        known_facts.remember(
            Examination(((str(number), unreadable),), ((str(number), unreadable),))
        )
    known_facts.remember(Examination((("0", unreadable),)))  # is the newest now
    known_facts.remember(parser.examine((LEAF.pem,), (LEAF.pem,), ()))
    forbid_parser(monkeypatch)
    assert known_facts.read_block("0") == known_facts.read_first("1") == unreadable
    assert not known_facts.knows(("1",), (), ())
    assert not known_facts.knows((), ("0",), ())
