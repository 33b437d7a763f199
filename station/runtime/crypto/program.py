"""One piece of work. A program of its own: `python -m station.runtime.crypto.program`.

It reads an order from stdin and writes the answer to stdout, both JSON. Private keys are on stdin
and stdout only. The program ends after `RUN_TIME_MAX_S` at the latest, also when the station has
ended. SIGTERM does not end it: at the stop of a service every process gets it, and the answer must
not be missing because the program was faster than the station.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final, TypeAlias

import msgspec

from station.core.certificates.facts import Examination
from station.runtime.secrets.key_pairs import (
    KeyPair,
    PrivateKeyUnusable,
    create_key_pair,
    read_private_key,
)

NICENESS: Final = 5  # of work for jobs, which have time
RUN_TIME_MAX_S: Final = 70  # longer than the station waits


class ExaminationOrder(msgspec.Struct, frozen=True, tag="examine"):
    """Read certificates. Arguments of `station.core.certificates.parser.examine`."""

    blocks: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()


class KeyPairOrder(msgspec.Struct, frozen=True, tag="create_key_pair"):
    """Create a key pair and a CSR. Arguments of `secrets.key_pairs.create_key_pair`."""

    key_type: str
    common_name: str
    organization: str


class PrivateKeyOrder(msgspec.Struct, frozen=True, tag="read_private_key"):
    """Read a private key. Arguments of `secrets.key_pairs.read_private_key`."""

    name: str
    text: bytes
    password: str | None
    certificate_pem: str


class SignatureOrder(msgspec.Struct, frozen=True, tag="check_signature"):
    """Check a signature. Arguments of `station.firmware.signature.check_signature`."""

    certificate_pem: str
    digest: bytes
    signature: str


class Examined(msgspec.Struct, frozen=True, tag="examined"):
    """What the certificates contain."""

    examination: Examination


class KeyPairCreated(msgspec.Struct, frozen=True, tag="key_pair"):
    """A key pair and a CSR for it."""

    pair: KeyPair


class PrivateKeyRead(msgspec.Struct, frozen=True, tag="private_key"):
    """The private key in PEM, without a password."""

    pem: str


class SignatureValid(msgspec.Struct, frozen=True, tag="signature_valid"):
    """The signature is that of the certificate."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The order cannot be executed, and could not at another time: one line without secrets."""

    reason: str


JOB_ORDERS: Final = (KeyPairOrder, SignatureOrder)
Order: TypeAlias = ExaminationOrder | KeyPairOrder | PrivateKeyOrder | SignatureOrder
Answer: TypeAlias = Examined | KeyPairCreated | PrivateKeyRead | SignatureValid | Refused


def execute(order: Order) -> Answer:
    """Execute an order in this process. Blocks; imports `cryptography`."""
    match order:
        case ExaminationOrder(blocks, texts, issuers):
            from station.core.certificates.parser import examine

            return Examined(examine(blocks, texts, issuers))
        case KeyPairOrder():
            return _create_key_pair(order)
        case PrivateKeyOrder():
            return _read_private_key(order)
        case SignatureOrder():
            return _check_signature(order)


def _create_key_pair(order: KeyPairOrder) -> Answer:
    try:
        pair = create_key_pair(order.key_type, order.common_name, order.organization)
    except ValueError as error:
        return Refused(str(error))
    return KeyPairCreated(pair)


def _read_private_key(order: PrivateKeyOrder) -> Answer:
    try:
        pem = read_private_key(order.name, order.text, order.password, order.certificate_pem)
    except PrivateKeyUnusable as error:
        return Refused(str(error))
    return PrivateKeyRead(pem)


def _check_signature(order: SignatureOrder) -> Answer:
    from station.firmware.signature import SignatureRefused, check_signature

    try:
        check_signature(order.certificate_pem, order.digest, order.signature)
    except SignatureRefused as refusal:
        return Refused(str(refusal))
    return SignatureValid()


def main() -> None:
    """Execute the order on stdin; print the answer."""
    signal.alarm(RUN_TIME_MAX_S)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    if isinstance(order, JOB_ORDERS):
        os.nice(NICENESS)
    sys.stdout.buffer.write(msgspec.json.encode(execute(order)))


if __name__ == "__main__":
    main()
