"""What does station.toml tell the journal when the program starts?

`[[variable]]` and `[[certificate]]` count before the first start; `[csms]` counts whenever it is
not what it was. A certificate that cannot be used is complained of and left out: the station
starts all the same, and says what is missing (DESIGN P8 of a station that always boots).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from journal.observations import CertificatePreset, CsmsConfigured, VariablePreset
from journal.state import State
from journal.terms import Observation
from station import certificates
from station.certificates import Unfit
from station.config import CERTIFICATE_USES, CertificateConfig, Config

log = logging.getLogger("station")

CSMS_ROOT: Final = "CSMSRootCertificate"


def presets(
    config: Config,
    state: State,
    first: bool,
    keep_secret: Callable[[str], str],
    *,
    damaged: bool = False,
) -> Iterator[Observation]:
    """What the journal has to hear before StationStarted.

    Args:
        config: station.toml.
        state: the memory so far.
        first: the journal is empty.
        damaged: a part of the journal is lost: what nothing is known of any more counts again.
        keep_secret: stores a private key and gives its reference.

    Raises:
        OSError: a private key cannot be stored.
    """
    if first:
        for path, value in sorted(config.variables.items()):
            yield VariablePreset(path, value)
        for row in sorted(config.certificates, key=lambda row: CERTIFICATE_USES[row.use]):
            yield from _certificates(row, keep_secret)
    elif damaged:
        for path, value in sorted(config.variables.items()):
            if path not in state.variables.values:
                yield VariablePreset(path, value)
        for row in _not_held(config, state):
            yield from _certificates(row, keep_secret)
    else:
        _mention_ignored(config, state)
    yield from _csms(config, state)


def _csms(config: Config, state: State) -> Iterator[Observation]:
    csms = config.csms
    room = config.profile.limits.certificate_entries
    before = state.networks.configured
    known = before.roots if before else ()
    roots = tuple(_roots(csms.ca_file, known)) if csms.ca_file else ()
    if len(roots) > room:
        log.error("[csms] ca_file has %d roots, %d fit: the first are taken", len(roots), room)
    told = CsmsConfigured(csms.url, csms.security_profile, roots[:room])
    if told != before:
        yield told


def _roots(file: Path, known: tuple[str, ...]) -> Iterator[str]:
    """The usable roots in a PEM file; of each that is none, the log says why.

    What an earlier start has looked at is not looked at again: it would cost this one dearly.
    """
    for number, block in enumerate(_blocks("[csms] ca_file", file), start=1):
        if block in known:
            yield block
            continue
        try:
            certificates.root(CSMS_ROOT, block, (), None)
        except Unfit as fault:
            log.error("[csms] ca_file %s: certificate %d %s; it is left out", file, number, fault)
        else:
            yield block


def _blocks(place: str, file: Path) -> tuple[str, ...]:
    """The certificates in a PEM file; none where it cannot be read, and the log says so."""
    try:
        blocks = certificates.pem_blocks(file.read_text("ascii", "replace"))
    except OSError as error:
        log.error("%s %s cannot be read: %s", place, file, error.strerror)
        return ()
    if not blocks:
        log.error("%s %s holds no certificate in PEM", place, file)
    return blocks


def _certificates(
    row: CertificateConfig, keep_secret: Callable[[str], str]
) -> Iterator[CertificatePreset]:
    """One `[[certificate]]`: each root by itself, a chain of ours as a whole."""
    blocks = _blocks("[[certificate]] file", row.file)
    try:
        if not CERTIFICATE_USES[row.use]:
            for block in blocks:
                certificates.root(row.use, block, (), None)
                yield CertificatePreset(row.use, block)
        elif blocks:
            chain = "".join(blocks)
            certificates.own_chain(row.use, chain, (), "")
            yield CertificatePreset(row.use, chain, keep_secret(_key(row, blocks[0])))
    except Unfit as fault:
        log.error("[[certificate]] file %s: it %s; it is left out", row.file, fault)


def _key(row: CertificateConfig, leaf: str) -> str:
    """The private key in PEM, without its password: the file it goes to is only ours to read.

    Raises:
        Unfit: it cannot be read, or is not the certificate's.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    assert row.key_file is not None, f"{row.use} without key_file"
    password = row.key_password.reveal().encode() if row.key_password else None
    try:
        key = serialization.load_pem_private_key(row.key_file.read_bytes(), password)
    except (OSError, ValueError, TypeError) as error:
        raise Unfit(f"has no usable key in {row.key_file.name}: {type(error).__name__}") from None
    if x509.load_pem_x509_certificate(leaf.encode()).public_key() != key.public_key():
        raise Unfit(f"does not belong to the key in {row.key_file.name}")
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _mention_ignored(config: Config, state: State) -> None:
    """A file that was changed after the first start says so in the log."""
    for row in _not_held(config, state):
        log.warning(
            "[[certificate]] %s %s is not in the store; it counts before the first start only",
            row.use,
            row.file,
        )


def _not_held(config: Config, state: State) -> Iterator[CertificateConfig]:
    """Those of the file of which something is not in the store."""
    held = {block for one in state.certificates.installed for block in _of(one.pem)}
    for row in config.certificates:
        if any(block not in held for block in _blocks("[[certificate]] file", row.file)):
            yield row


def _of(pem: str) -> tuple[str, ...]:
    return certificates.pem_blocks(pem)
