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

from journal.events import Observation
from journal.observations import CertificatePreset, CsmsConfigured, VariablePreset
from journal.state import State
from station.config.station_toml import CERTIFICATE_USES, CertificateConfig, Config
from station.core import x509
from station.core.x509 import CertificateUnusable

log = logging.getLogger("station")

CSMS_ROOT: Final = "CSMSRootCertificate"


def initial_observations(
    config: Config,
    state: State,
    journal_empty: bool,
    store_secret: Callable[[str], str],
    *,
    journal_damaged: bool = False,
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
    if journal_empty:
        for path, value in sorted(config.variables.items()):
            yield VariablePreset(path, value)
        for row in sorted(config.certificates, key=lambda row: CERTIFICATE_USES[row.use]):
            yield from _certificate_presets(row, store_secret)
    elif journal_damaged:
        for path, value in sorted(config.variables.items()):
            if path not in state.variables.values:
                yield VariablePreset(path, value)
        for row in _missing_certificates(config, state):
            yield from _certificate_presets(row, store_secret)
    else:
        _log_ignored_certificates(config, state)
    yield from _csms_observations(config, state)


def _csms_observations(config: Config, state: State) -> Iterator[Observation]:
    csms = config.csms
    room = config.profile.limits.certificate_entries
    before = state.network_profiles.last_configured
    known = before.ca_certificates if before else ()
    roots = tuple(_usable_roots(csms.ca_file, known)) if csms.ca_file else ()
    if len(roots) > room:
        log.error("[csms] ca_file has %d roots, %d fit: the first are taken", len(roots), room)
    told = CsmsConfigured(csms.url, csms.security_profile, roots[:room])
    if told != before:
        yield told


def _usable_roots(file: Path, accepted: tuple[str, ...]) -> Iterator[str]:
    """The usable roots in a PEM file; of each that is none, the log says why.

    What an earlier start has looked at is not looked at again: it would cost this one dearly.
    """
    for number, block in enumerate(_read_pem_blocks("[csms] ca_file", file), start=1):
        if block in accepted:
            yield block
            continue
        try:
            x509.parse_root(CSMS_ROOT, block, (), None)
        except CertificateUnusable as fault:
            log.error("[csms] ca_file %s: certificate %d %s; it is left out", file, number, fault)
        else:
            yield block


def _read_pem_blocks(setting: str, file: Path) -> tuple[str, ...]:
    """The certificates in a PEM file; none where it cannot be read, and the log says so."""
    try:
        blocks = x509.pem_blocks(file.read_text("ascii", "replace"))
    except OSError as error:
        log.error("%s %s cannot be read: %s", setting, file, error.strerror)
        return ()
    if not blocks:
        log.error("%s %s holds no certificate in PEM", setting, file)
    return blocks


def _certificate_presets(
    row: CertificateConfig, store_secret: Callable[[str], str]
) -> Iterator[CertificatePreset]:
    """One `[[certificate]]`: each root by itself, a chain of ours as a whole."""
    blocks = _read_pem_blocks("[[certificate]] file", row.file)
    try:
        if not CERTIFICATE_USES[row.use]:
            for block in blocks:
                x509.parse_root(row.use, block, (), None)
                yield CertificatePreset(row.use, block)
        elif blocks:
            chain = "".join(blocks)
            x509.parse_own_chain(row.use, chain, (), "")
            yield CertificatePreset(row.use, chain, store_secret(_read_private_key(row, blocks[0])))
    except CertificateUnusable as fault:
        log.error("[[certificate]] file %s: it %s; it is left out", row.file, fault)


def _read_private_key(row: CertificateConfig, leaf_pem: str) -> str:
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
        raise CertificateUnusable(
            f"has no usable key in {row.key_file.name}: {type(error).__name__}"
        ) from None
    if x509.load_pem_x509_certificate(leaf_pem.encode()).public_key() != key.public_key():
        raise CertificateUnusable(f"does not belong to the key in {row.key_file.name}")
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _log_ignored_certificates(config: Config, state: State) -> None:
    """A file that was changed after the first start says so in the log."""
    for row in _missing_certificates(config, state):
        log.warning(
            "[[certificate]] %s %s is not in the store; it counts before the first start only",
            row.use,
            row.file,
        )


def _missing_certificates(config: Config, state: State) -> Iterator[CertificateConfig]:
    """Those of the file of which something is not in the store."""
    held = {block for one in state.certificates.installed for block in _split_pem(one.pem)}
    for row in config.certificates:
        if any(block not in held for block in _read_pem_blocks("[[certificate]] file", row.file)):
            yield row


def _split_pem(pem: str) -> tuple[str, ...]:
    return x509.pem_blocks(pem)
