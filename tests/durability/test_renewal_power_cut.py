"""A power cut at every step of a renewal: never without a certificate, never two left. A02, A03.

The core runs a whole renewal with the secret store on a real directory. After each commit and each
file operation the disk is kept as an image: entries are durable when their commit returns, a secret
when `store_secret` returns; a file that is being written may be there in part, and one that is
being deleted may still be there. From every image the station starts as `StationApp` does, and the
renewal goes on: once with a CSMS that accepts the new certificate, once with one that refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from journal.events import Decision, Entry
from journal.observations import CertificatePreset, CsmsConfigured, KeyPairCreated
from journal.state import State, apply_entries
from station.core.desired import compute_desired_state
from station.runtime.secrets.key_pairs import create_key_pair
from station.runtime.secrets.references import secrets_in_use
from station.runtime.secrets.store import SecretStore
from tests.support.renewal import (
    ROOT_INSTALLED,
    SERIAL_NUMBER,
    SERIAL_NUMBER_SET,
    URL,
    USE,
    certificate_signed,
    open_link_with_newest,
    open_link_with_oldest,
    own_certificates,
    sign_csr,
    trigger_signing,
)
from tests.support.story import (
    BOOTED,
    IDLE,
    JOURNAL_ID,
    LINK_LOST,
    NOON,
    Json,
    Station,
    Step,
    accept_everything,
    load_product,
    station_restarted,
    time_passed,
)

Files = dict[str, bytes]


@dataclass(frozen=True)
class Image:
    """What a power cut leaves."""

    step: str
    entries: tuple[Entry, ...]
    secrets: Files


class RenewingStation(Station):
    """A station whose secret store is a directory, and that keeps an image at every step."""

    def __init__(self, directory: Path) -> None:
        super().__init__(load_product())
        self.directory = directory
        self.store = SecretStore(directory)
        self.images: list[Image] = []

    def keep_image(self, step: str, secrets: Files | None = None) -> None:
        files = self.read_secrets() if secrets is None else secrets
        self.images.append(Image(step, tuple(self.entries), files))

    def read_secrets(self) -> Files:
        if not self.directory.is_dir():
            return {}
        return {path.name: path.read_bytes() for path in sorted(self.directory.iterdir())}

    def when(self, *steps: Step) -> list[Decision]:
        decisions = super().when(*steps)
        self.keep_image(f"after {type(self.entries[-1].event).__name__}")
        return decisions

    def store_key(self, key: str) -> str:
        """Store a private key; on the way the file is empty, or holds a part of it."""
        before = self.read_secrets()
        reference = self.store.store_secret(key)
        [name] = self.read_secrets().keys() - before.keys()
        for part in (b"", key.encode()[:100]):
            self.keep_image("while a key is stored", {**before, name: part})
        self.keep_image("after a key is stored, before its entry")
        return reference

    def create_ordered_keys(self) -> None:
        """As `KeyPairJob` does."""
        for request in self.desired.key_pair_orders:
            order = request.order
            pair = create_key_pair(order.key_type, order.common_name, order.organization)
            reference = self.store_key(pair.private_key)
            self.when(
                KeyPairCreated(request.order_seq, pair.csr, pair.public_key_sha256, reference)
            )

    def delete_unneeded_keys(self, needed_before: set[str]) -> None:
        """As `KeyPairJob` does, one file after the other."""
        for reference in needed_before - set(self.desired.private_key_references or ()):
            self.store.delete_secret(reference)
            self.keep_image("after a key is deleted")


def accept_signing(action: str, payload: Json) -> Json | None:
    return (
        {"status": "Accepted"}
        if action == "SignCertificate"
        else accept_everything(action, payload)
    )


def renewed_station(directory: Path) -> RenewingStation:
    """A station after a whole renewal; its images are all moments of it."""
    station = RenewingStation(directory)
    factory = create_key_pair("ECDSA-P256", SERIAL_NUMBER, "Factory")
    reference = station.store.store_secret(factory.private_key)
    certificate = sign_csr(factory.csr, valid_from=NOON - timedelta(days=10))
    station.with_csms(
        accept_signing,
        SERIAL_NUMBER_SET,
        ROOT_INSTALLED,
        CertificatePreset(USE, certificate, reference),
        CsmsConfigured(URL, 3),
        BOOTED,
        IDLE,
        open_link_with_newest,
    )
    station.images.clear()
    finish_renewal(station, open_link_with_newest)
    return station


def finish_renewal(station: RenewingStation, open_link: Step) -> None:
    """Order a renewal unless one runs, and go on until one certificate is left."""
    if not station.state.link.online:
        station.with_csms(accept_signing, open_link)
    requests = station.state.certificate_signing.requests
    if not requests:
        station.when(trigger_signing())
    needed = set(station.desired.private_key_references or ())
    station.create_ordered_keys()
    station.with_csms(accept_signing, time_passed(seconds=400))  # the back-off of a lost answer
    request = station.state.certificate_signing.requests[0]
    if request.end is None:
        station.when(certificate_signed(sign_csr(request.csr)))
    needed |= set(station.desired.private_key_references or ())
    station.when(LINK_LOST)
    station.with_csms(accept_signing, open_link, time_passed(seconds=1))
    station.delete_unneeded_keys(needed)


def boot(image: Image, directory: Path) -> RenewingStation:
    """The station started from an image, as `StationApp` starts."""
    directory.mkdir(mode=0o700)
    for name, content in image.secrets.items():
        (directory / name).write_bytes(content)
    station = RenewingStation(directory)
    station.entries = list(image.entries)
    station.state = apply_entries(State(JOURNAL_ID), station.entries)
    last = station.entries[-1]
    station.host_at, station.uptime_ms = last.at, last.uptime_ms
    station.desired = compute_desired_state(station.product, station.state, last)
    station.csms_call_count = len(image.entries)  # messageIds that were not used before
    station.store.delete_unreferenced(set(secrets_in_use(station.state)))
    return station


def check_usable(station: RenewingStation) -> None:
    """There is a certificate to connect with, at most two, and each has its whole private key."""
    certificates = station.desired.link.client_certificates
    assert 1 <= len(certificates) <= 2
    for certificate in certificates:
        key = station.store.read_secret(certificate.private_key_ref)
        assert key is not None
        assert key.endswith("-----END PRIVATE KEY-----\n")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Image]:
    station = renewed_station(tmp_path_factory.mktemp("renewal") / "secrets")
    [certificate] = own_certificates(station)
    assert list(station.read_secrets()) == [certificate.private_key_ref[8:-1]]
    return station.images


def test_every_step_is_cut(images: list[Image]) -> None:
    kinds = {type(entry.event).__name__ for entry in images[-1].entries}
    assert {"KeyPairCreated", "CertificateInstalled", "CertificateDeleted"} <= kinds
    steps = {image.step for image in images}
    assert {"while a key is stored", "after a key is deleted"} <= steps
    assert len(images) >= 20, len(images)


@pytest.mark.parametrize("open_link", [open_link_with_newest, open_link_with_oldest])
def test_a_power_cut_at_any_step_leaves_a_certificate_a02_fr_10(
    images: list[Image], open_link: Step, tmp_path: Path
) -> None:
    """A02.FR.10, A02.FR.28, A03.FR.10, A03.FR.24: at the end there is one, with its key."""
    for number, image in enumerate(images):
        station = boot(image, tmp_path / f"{number}")
        check_usable(station)
        station.when(station_restarted(boot_id="boot-2", gap_s=20))
        check_usable(station)
        finish_renewal(station, open_link)
        assert len(own_certificates(station)) == 1, image.step
        check_usable(station)
        needed = {each.private_key_ref[8:-1] for each in own_certificates(station)}
        needed |= {
            request.private_key_ref[8:-1]
            for request in station.state.certificate_signing.requests
            if request.private_key_ref
        }
        station.store.delete_unreferenced(set(secrets_in_use(station.state)))
        assert set(station.read_secrets()) == needed, image.step
        assert len(needed) == 1, image.step
