"""The job that creates and deletes key pairs of the station. A02.FR.02, A02.FR.05."""

from __future__ import annotations

import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from journal.events import Observation
from journal.observations import KeyPairCreated, KeyPairFailed
from journal.projections.certificate_signing import CertificateSigningOrdered, SigningRequest
from station.core.desired import DesiredState
from station.runtime.jobs import key_pairs
from station.runtime.jobs.key_pairs import CreateKeyPair, KeyPairJob
from station.runtime.secrets.key_pairs import KeyPair, KeyTypeUnknown, create_key_pair
from station.runtime.secrets.store import SecretStore
from station.runtime.watched_value import WatchedValue

PAIR = KeyPair("a private key", "a CSR", "00")


def request(order_seq: int = 7) -> SigningRequest:
    order = CertificateSigningOrdered(
        use="ChargingStationCertificate",
        trigger="csms",
        key_type="ECDSA-P256",
        common_name="EVS-1",
        organization="CSO",
    )
    return SigningRequest(order_seq, order, "2026-03-01T12:00:00+00:00")


async def create_pair(*_: Any) -> KeyPair:
    return PAIR


async def refuse_pair(*_: Any) -> KeyPair:
    raise KeyTypeUnknown("RSA-512 is no type of key pair")


class RunningJob:
    """A job on a secret store in a directory, with its observations."""

    def __init__(self, directory: Path, secrets: SecretStore | None = None) -> None:
        self.secrets = secrets or SecretStore(directory)
        self.directory = directory
        self.desired: WatchedValue[DesiredState] = WatchedValue(DesiredState())
        self.observed: list[Observation] = []

    async def settle(self) -> None:
        for _ in range(20):
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.005)

    @property
    def files(self) -> list[Path]:
        return sorted(self.directory.iterdir()) if self.directory.is_dir() else []


@asynccontextmanager
async def running_job(
    directory: Path,
    create: CreateKeyPair | None = create_pair,
    secrets: SecretStore | None = None,
) -> AsyncIterator[RunningJob]:
    running = RunningJob(directory, secrets)
    job = KeyPairJob(running.secrets, observe=running.observed.append, create=create)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.run, running.desired)
        yield running
        nursery.cancel_scope.cancel()


async def test_an_ordered_key_pair_is_stored_before_it_is_reported_a02_fr_02(
    tmp_path: Path,
) -> None:
    async with running_job(tmp_path / "secrets") as running:
        running.desired.set(DesiredState(key_pair_orders=(request(),)))
        await running.settle()
        [created] = running.observed
        assert isinstance(created, KeyPairCreated)
        assert (created.order_seq, created.csr, created.public_key_sha256) == (7, "a CSR", "00")
        [file] = running.files
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert running.secrets.read_secret(created.private_key_ref) == "a private key"


async def test_a_key_pair_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    async with running_job(tmp_path, refuse_pair) as running:
        running.desired.set(DesiredState(key_pair_orders=(request(),)))
        await running.settle()
        assert running.observed == [KeyPairFailed(7, "RSA-512 is no type of key pair")]


async def test_a_disk_without_space_is_reported(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("a file, no directory")
    async with running_job(tmp_path / "secrets") as running:
        running.desired.set(DesiredState(key_pair_orders=(request(),)))
        await running.settle()
        [failed] = running.observed
        assert isinstance(failed, KeyPairFailed)


async def test_a_key_that_is_not_needed_any_more_is_deleted_a02_fr_10(tmp_path: Path) -> None:
    async with running_job(tmp_path) as running:
        old, new = running.secrets.store_secret("old"), running.secrets.store_secret("new")
        running.desired.set(DesiredState(private_key_references=(old, new)))
        await running.settle()
        running.desired.set(DesiredState(private_key_references=(new,)))
        await running.settle()
        assert running.secrets.read_secret(old) is None
        assert running.secrets.read_secret(new) == "new"


async def test_no_key_is_deleted_while_the_desired_state_is_unknown(tmp_path: Path) -> None:
    """After a programming error the safe state does not have the references."""
    async with running_job(tmp_path) as running:
        key = running.secrets.store_secret("key")
        running.desired.set(DesiredState(private_key_references=(key,)))
        await running.settle()
        running.desired.set(DesiredState(failure="ValueError: …"))
        await running.settle()
        running.desired.set(DesiredState(private_key_references=(key,)))
        await running.settle()
        assert running.secrets.read_secret(key) == "key"


async def test_the_key_pair_of_a_replaced_order_is_not_kept(tmp_path: Path) -> None:
    release = trio.Event()

    class SlowStore(SecretStore):
        def store_secret(self, secret: str) -> str:
            trio.from_thread.run(release.wait)
            return super().store_secret(secret)

    async with running_job(tmp_path, secrets=SlowStore(tmp_path)) as running:
        running.desired.set(DesiredState(key_pair_orders=(request(7),)))
        await running.settle()
        running.desired.set(DesiredState(key_pair_orders=(request(8),)))
        await running.settle()
        release.set()
        await running.settle()
        assert [getattr(each, "order_seq", 0) for each in running.observed] == [8]
        assert len(running.files) == 1


async def test_no_stop_waits_for_a_key_pair_and_two_are_never_created_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    release = threading.Event()

    def create_slowly(*_: Any) -> KeyPair:
        started.append(len(started))
        assert release.wait(30)
        return PAIR

    monkeypatch.setattr(key_pairs, "create_key_pair_apart", create_slowly)
    try:
        async with running_job(tmp_path, create=None) as running:
            for order_seq in (7, 8, 9):
                running.desired.set(DesiredState(key_pair_orders=(request(order_seq),)))
                await running.settle()
        assert started == [0]  # and the job has ended
    finally:
        release.set()
    assert running.observed == []
    assert running.files == []


@pytest.mark.parametrize("bits", [2048, 3072])
def test_rsa_keys_have_the_ordered_length_a00_fr_502(bits: int) -> None:
    pair = create_key_pair(f"RSA-{bits}", "EVS-1", "CSO")
    key = load_pem_private_key(pair.private_key.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == bits


def test_an_elliptic_curve_key_is_p_256_a00_fr_503() -> None:
    pair = create_key_pair("ECDSA-P256", "EVS-1", "CSO")
    key = load_pem_private_key(pair.private_key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)


@pytest.mark.parametrize("key_type", ["RSA-1024", "RSA-", "DSA-2048", "", "ECDSA-P192"])
def test_no_other_key_is_created_a00_fr_501(key_type: str) -> None:
    with pytest.raises(KeyTypeUnknown):
        create_key_pair(key_type, "EVS-1", "CSO")
