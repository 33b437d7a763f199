"""Observations made from station.toml at each start, before StationStarted.

    first start               every [[variable]] and [[certificate]].
    start after damage        those of which the journal holds nothing any more.
    any other start           none of them. A value or certificate that is not in effect, and a
                              changed identity, are reported in the log.
    every start               [csms], if it differs from the last start's.

A certificate that cannot be used is left out with an error in the log: the station starts without
it (P8).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from journal.events import Observation
from journal.observations import CertificatePreset, CsmsConfigured, VariablePreset
from journal.state import State
from station.config.station_toml import CERTIFICATE_USES, CertificateConfig, Config
from station.core import x509
from station.core.certificates import known_facts
from station.core.x509 import CertificateUnusable
from station.runtime.crypto.process import Execute
from station.runtime.crypto.program import (
    ExaminationOrder,
    Examined,
    PrivateKeyOrder,
    PrivateKeyRead,
    Refused,
    execute,
)

log = logging.getLogger("station")

CSMS_ROOT: Final = "CSMSRootCertificate"


def initial_observations(
    config: Config,
    state: State,
    journal_empty: bool,
    store_secret: Callable[[str], str],
    *,
    journal_damaged: bool = False,
    execute: Execute = execute,
) -> Iterator[Observation]:
    """The observations to record before StationStarted.

    Args:
        config: station.toml.
        state: at the head of the journal.
        journal_empty: this is the first start.
        store_secret: stores a private key and returns its reference.
        journal_damaged: a part of the journal is lost; use settings missing in the state again.
        execute: reads certificates and private keys; blocks.

    Raises:
        OSError: a private key cannot be stored.
    """
    rows: Sequence[CertificateConfig] = ()
    if journal_empty:
        rows = sorted(config.certificates, key=lambda row: CERTIFICATE_USES[row.use])
    elif journal_damaged:
        rows = tuple(_missing_certificates(config, state))
    _examine_certificates(config, rows, state, execute)
    if journal_empty:
        for path, value in sorted(config.variables.items()):
            yield VariablePreset(path, value)
    elif journal_damaged:
        for path, value in sorted(config.variables.items()):
            if path not in state.variables.values:
                yield VariablePreset(path, value)
    else:
        _log_changed_identity(config, state)
        _log_ignored_variables(config, state)
        _log_ignored_certificates(config, state)
    for row in rows:
        yield from _certificate_presets(row, store_secret, execute)
    yield from _csms_observations(config, state)


def _examine_certificates(
    config: Config, rows: Iterable[CertificateConfig], state: State, execute: Execute
) -> None:
    """Make known what the observations of this start, and the decisions on them, need. Blocks."""
    blocks = [block for row in rows for block in _read_blocks(row.file)]
    if config.csms.ca_file:
        previous = state.network_profiles.last_configured
        csms_roots = _read_blocks(config.csms.ca_file)
        if previous != CsmsConfigured(config.csms.url, config.csms.security_profile, csms_roots):
            blocks += csms_roots
    if blocks:
        installed = (x509.pem_blocks(each.pem)[0] for each in state.certificates.installed)
        issuers = tuple(dict.fromkeys((*blocks, *installed)))
        answer = execute(ExaminationOrder(tuple(blocks), (), issuers))
        assert isinstance(answer, Examined)
        known_facts.remember(answer.examination)


def _read_blocks(file: Path) -> tuple[str, ...]:
    """The certificates in a PEM file; none if it cannot be read."""
    try:
        return x509.pem_blocks(file.read_text("ascii", "replace"))
    except OSError:
        return ()


def _csms_observations(config: Config, state: State) -> Iterator[Observation]:
    csms = config.csms
    roots_max = config.profile.limits.certificate_entries
    previous = state.network_profiles.last_configured
    accepted = previous.ca_certificates if previous else ()
    roots = tuple(_usable_roots(csms.ca_file, accepted)) if csms.ca_file else ()
    if len(roots) > roots_max:
        log.error(
            "[csms] ca_file %s: %d roots, the product stores %d; the first %d are used",
            csms.ca_file,
            len(roots),
            roots_max,
            roots_max,
        )
    configured = CsmsConfigured(csms.url, csms.security_profile, roots[:roots_max])
    if configured != previous:
        yield configured


def _usable_roots(file: Path, accepted: tuple[str, ...]) -> Iterator[str]:
    """The usable roots in a PEM file; the log has the reason for each other certificate.

    Roots accepted at an earlier start are not checked again.
    """
    for number, block in enumerate(_read_pem_blocks("[csms] ca_file", file), start=1):
        if block in accepted:
            yield block
            continue
        try:
            x509.parse_root(CSMS_ROOT, block, (), None)
        except CertificateUnusable as error:
            log.error("[csms] ca_file %s: certificate %d %s; it is left out", file, number, error)
        else:
            yield block


def _read_pem_blocks(setting: str, file: Path) -> tuple[str, ...]:
    """The certificates in a PEM file; none, with an error in the log, if it cannot be read."""
    try:
        blocks = x509.pem_blocks(file.read_text("ascii", "replace"))
    except OSError as error:
        log.error("%s %s cannot be read: %s; it is left out", setting, file, error.strerror)
        return ()
    if not blocks:
        log.error("%s %s contains no certificate in PEM; it is left out", setting, file)
    return blocks


def _certificate_presets(
    row: CertificateConfig, store_secret: Callable[[str], str], execute: Execute
) -> Iterator[CertificatePreset]:
    """One `[[certificate]]`: one preset per root, one for a whole chain of the station."""
    blocks = _read_pem_blocks("[[certificate]] file", row.file)
    try:
        if not CERTIFICATE_USES[row.use]:
            for block in blocks:
                x509.parse_root(row.use, block, (), None)
                yield CertificatePreset(row.use, block)
        elif blocks:
            chain = "".join(blocks)
            x509.parse_own_chain(row.use, chain, (), "")
            key = _read_private_key(row, blocks[0], execute)
            yield CertificatePreset(row.use, chain, store_secret(key))
    except CertificateUnusable as error:
        log.error("[[certificate]] file %s: it %s; it is left out", row.file, error)


def _read_private_key(row: CertificateConfig, leaf_pem: str, execute: Execute) -> str:
    """The private key in PEM without its password; the secret store protects it from then on.

    Raises:
        CertificateUnusable: it cannot be read, or does not belong to the certificate.
    """
    assert row.key_file is not None, f"{row.use} without key_file"
    name = row.key_file.name
    password = row.key_password.reveal() if row.key_password else None
    try:
        text = row.key_file.read_bytes()
    except OSError as error:
        raise CertificateUnusable(f"has no usable key in {name}: {type(error).__name__}") from None
    if password and not _is_encrypted(text):
        log.warning("[[certificate]] key_password is not needed: %s has none", name)
        password = None
    answer = execute(PrivateKeyOrder(name, text, password, leaf_pem))
    if isinstance(answer, Refused):
        raise CertificateUnusable(answer.reason)
    assert isinstance(answer, PrivateKeyRead)
    return answer.pem


def _is_encrypted(private_key_pem: bytes) -> bool:
    """Whether a private key has a password: PKCS #8 (RFC 5958) or the older form of OpenSSL."""
    return b"ENCRYPTED" in private_key_pem


def _log_changed_identity(config: Config, state: State) -> None:
    previous = state.lifecycle.identity
    if previous and previous != config.identity:
        log.warning(
            "[station] identity changed from %s to %s: to the CSMS this is another station; open"
            " transactions and queued messages of %s are sent as %s",
            previous,
            config.identity,
            previous,
            config.identity,
        )


def _log_ignored_variables(config: Config, state: State) -> None:
    """Warn of each `[[variable]]` that differs from the value in effect."""
    for path, value in sorted(config.variables.items()):
        in_profile = config.device_model.by_path[path].attributes[0].value or ""
        in_effect = state.variables.values.get(path, in_profile)
        if value != in_effect:
            log.warning(
                '[[variable]] %s = "%s" is ignored: it is used at the first start only. The value'
                ' is "%s"; the CSMS can change it',
                path,
                value,
                in_effect,
            )


def _log_ignored_certificates(config: Config, state: State) -> None:
    """Warn of each `[[certificate]]` that was added or changed after the first start."""
    for row in _missing_certificates(config, state):
        log.warning(
            "[[certificate]] %s %s is not in the store and is ignored: "
            "it is used at the first start only",
            row.use,
            row.file,
        )


def _missing_certificates(config: Config, state: State) -> Iterator[CertificateConfig]:
    """The `[[certificate]]` rows of which at least one certificate is not in the store."""
    installed = {
        block
        for certificate in state.certificates.installed
        for block in x509.pem_blocks(certificate.pem)
    }
    for row in config.certificates:
        blocks = _read_pem_blocks("[[certificate]] file", row.file)
        if not installed.issuperset(blocks):
            yield row
