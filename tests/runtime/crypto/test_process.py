"""Work with keys and certificates is done in another process, or in the station if that fails."""

from __future__ import annotations

import base64
import logging
import os
import signal
import subprocess
import sys
from hashlib import sha256

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from station.runtime.crypto import process, program
from station.runtime.crypto.process import PROGRAM, create_key_pair_apart, execute_apart
from station.runtime.crypto.program import (
    Answer,
    ExaminationOrder,
    Examined,
    KeyPairCreated,
    KeyPairOrder,
    Order,
    PrivateKeyOrder,
    PrivateKeyRead,
    Refused,
    SignatureOrder,
    SignatureValid,
    execute,
)
from tests.support.authorities import make_authority

ROOT = make_authority()
OTHER = make_authority("other")
IMAGE = b"firmware"


def sign_image() -> str:
    assert isinstance(ROOT.key, ec.EllipticCurvePrivateKey)
    return base64.b64encode(ROOT.key.sign(IMAGE, ec.ECDSA(hashes.SHA256()))).decode()


def private_key_order(password: str | None, certificate_pem: str = ROOT.pem) -> PrivateKeyOrder:
    text = ROOT.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"s3cret"),
    )
    return PrivateKeyOrder("key.pem", text, password, certificate_pem)


EXAMINATION = ExaminationOrder((ROOT.pem,), (OTHER.pem + ROOT.pem, "no PEM"), (OTHER.pem,))
SIGNATURE = SignatureOrder(ROOT.pem, sha256(IMAGE).digest(), sign_image())


@pytest.mark.parametrize(
    ("order", "answer"),
    [
        (EXAMINATION, execute(EXAMINATION)),
        (private_key_order("s3cret"), PrivateKeyRead(ROOT.key_pem)),
        (SIGNATURE, SignatureValid()),
    ],
    ids=["certificates", "private key", "signature"],
)
def test_the_process_gives_the_answer(
    order: Order, answer: Answer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "execute", None)  # not in this process
    assert execute_apart(order) == answer
    assert caplog.messages == []


def test_a_key_pair_of_the_process_is_one_a02_fr_02(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "execute", None)
    pair = create_key_pair_apart("ECDSA-P256", "SN-1", "Example")
    key = serialization.load_pem_private_key(pair.private_key.encode(), None)
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert sha256(public).hexdigest() == pair.public_key_sha256
    assert "CERTIFICATE REQUEST" in pair.csr


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (KeyPairOrder("DSA-1024", "SN-1", "Example"), "DSA-1024 is no type of key pair"),
        (private_key_order("wrong"), "has no usable key in key.pem: ValueError"),
        (private_key_order(None), "has no usable key in key.pem: TypeError"),
        (private_key_order("s3cret", OTHER.pem), "does not belong to the key in key.pem"),
        (
            SignatureOrder(OTHER.pem, SIGNATURE.digest, SIGNATURE.signature),
            "the signature does not match the file",
        ),
    ],
)
def test_a_refusal_is_an_answer(order: Order, reason: str) -> None:
    assert execute(order) == Refused(reason)


def test_a_refused_key_pair_is_an_error_for_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "execute_apart", execute)
    with pytest.raises(ValueError, match="no type of key pair"):
        create_key_pair_apart("DSA-1024", "SN-1", "Example")


FAILURES = {
    "cannot be started": (("/no/such/program",), "/no/such/program: No such file or directory"),
    "ends without an answer": (
        (sys.executable, "-c", "import sys; sys.exit('out of memory')"),
        "exit code 1: out of memory",
    ),
    "is killed": (
        (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"),
        "exit code -9: ",
    ),
    "writes something else": ((sys.executable, "-c", "print('{}')"), "exit code 0: "),
    "does not end": ((sys.executable, "-c", "import time; time.sleep(60)"), "no answer within 1 s"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_without_an_answer_the_station_does_it_itself(
    failure: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "TIMEOUT_S", 0.6 if failure == "does not end" else 60.0)
    command, problem = FAILURES[failure]
    order = private_key_order("s3cret")
    assert execute_apart(order, program=command) == PrivateKeyRead(ROOT.key_pem)
    assert caplog.record_tuples == [
        (
            "station.crypto",
            logging.WARNING,
            f"the process for keys and certificates failed: {problem}",
        )
    ]


def test_the_stop_of_the_service_does_not_end_the_process() -> None:
    """Every process of a service gets SIGTERM."""
    with subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdin is not None
        while not is_ignoring(started.pid, signal.SIGTERM):
            assert started.poll() is None
        os.kill(started.pid, signal.SIGTERM)
        answer, _ = started.communicate(msgspec.json.encode(EXAMINATION))
    assert msgspec.json.decode(answer, type=program.Answer) == execute(EXAMINATION)


def is_ignoring(pid: int, number: int) -> bool:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        masks = dict(line.split(":", 1) for line in status)
    return bool(int(masks["SigIgn"], 16) >> (number - 1) & 1)


def test_the_examination_says_who_signed() -> None:
    answer = execute(EXAMINATION)
    assert isinstance(answer, Examined)
    assert [
        (each.child == each.parent, each.is_valid) for each in answer.examination.signatures
    ] == [
        (True, True),
        (True, True),
    ]


def test_a_created_key_pair_passes_as_json() -> None:
    created = execute(KeyPairOrder("ECDSA-P256", "SN-1", "Example"))
    assert isinstance(created, KeyPairCreated)
    assert msgspec.json.decode(msgspec.json.encode(created), type=program.Answer) == created
