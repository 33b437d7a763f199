"""Firmware images and their signatures, for firmware tests."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.support.authorities import CertifiedKey, make_authority, make_server_certificate

PAST = "2020-01-01T00:00:00Z"


class Manufacturer:
    """A manufacturer: its root certificate, which stations trust, and keys that sign firmware."""

    def __init__(self) -> None:
        self.root = make_authority("Maker root")
        self.signer = self._make_signer(self.root, ec.generate_private_key(ec.SECP256R1()))
        self.rsa_signer = self._make_signer(self.root, rsa.generate_private_key(65537, 2048))
        self.untrusted_signer = self._make_signer(make_authority("Unknown root"), None)

    @staticmethod
    def _make_signer(issuer: CertifiedKey, key: Any) -> CertifiedKey:
        return make_server_certificate(issuer, common_name="Firmware", key=key)

    def station_toml(self, directory: Path) -> str:
        """The part of `station.toml` by which a station trusts this manufacturer."""
        file = directory / "maker.pem"
        file.write_text(self.root.pem)
        return (
            '\n[[certificate]]\nuse = "ManufacturerRootCertificate"\n'
            f"file = {json.dumps(str(file))}\n"
        )

    def update_firmware_request(
        self, url: str, image: bytes, request_id: int = 1, **firmware: Any
    ) -> dict[str, Any]:
        """An UpdateFirmwareRequest for the image at `url`."""
        return {
            "requestId": request_id,
            "retries": 2,
            "retryInterval": 1,
            "firmware": {
                "location": url,
                "retrieveDateTime": PAST,
                "signingCertificate": self.signer.pem,
                "signature": sign_image(self.signer, image),
            }
            | firmware,
        }


def sign_image(signer: CertifiedKey, image: bytes) -> str:
    """The signature of an image, base64. L01.FR.04."""
    if isinstance(signer.key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        signature = signer.key.sign(image, pss, hashes.SHA256())
    else:
        signature = signer.key.sign(image, ec.ECDSA(hashes.SHA256()))
    return base64.b64encode(signature).decode()


def make_firmware_image(
    version: str, content: bytes = b"program", *, declared_content: bytes | None = None
) -> bytes:
    """A firmware image; `declared_content`: the manifest has the digest of this instead."""
    digest = hashlib.sha256(content if declared_content is None else declared_content).hexdigest()
    manifest = json.dumps({"version": version, "files": {"bin/station": digest}}).encode()
    image = io.BytesIO()
    with tarfile.open(fileobj=image, mode="w") as archive:
        for name, data in (("manifest.json", manifest), ("bin/station", content)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return image.getvalue()


def future_timestamp(seconds: float) -> str:
    """A time in the future, RFC 3339."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
