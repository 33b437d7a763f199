"""The mirror of the store in the data directory."""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from journal.projections.certificates import CertificateHash, CertificateInstalled
from station.core.desired import DesiredState
from station.runtime.jobs.certificate_export import export_certificates, write_certificate_files
from station.runtime.watched_value import WatchedValue


def certificate_installed(name: str, use: str = "CSMSRootCertificate") -> CertificateInstalled:
    return CertificateInstalled(
        use=use,
        pem=f"PEM of {name}\n",
        sha256=name,
        hash_data=CertificateHash("", "", ""),
        subject="",
        issuer="",
        not_before="",
        not_after="",
        private_key_ref="<secret>",
    )


def mirrored_files(directory: Path) -> dict[str, str]:
    found = sorted(directory.glob("*/*"))
    return {str(path.relative_to(directory)): path.read_text() for path in found}


def test_each_certificate_is_a_file_of_its_own_that_only_the_station_reads(tmp_path: Path) -> None:
    place = tmp_path / "certificates"
    write_certificate_files(
        [certificate_installed("a"), certificate_installed("b", "MORootCertificate")], place
    )
    assert mirrored_files(place) == {
        "CSMSRootCertificate/a.pem": "PEM of a\n",
        "MORootCertificate/b.pem": "PEM of b\n",
    }
    modes = {path.stat().st_mode & 0o777 for path in (place, *place.glob("*"))}
    assert modes == {0o700}
    assert {path.stat().st_mode & 0o777 for path in place.glob("*/*")} == {0o600}


def test_what_is_deleted_goes_and_what_was_changed_by_others_comes_back(tmp_path: Path) -> None:
    write_certificate_files([certificate_installed("a"), certificate_installed("b")], tmp_path)
    (tmp_path / "CSMSRootCertificate" / "a.pem").write_text("mine")
    (tmp_path / "CSMSRootCertificate" / "stranger.pem").write_text("trust me")
    write_certificate_files([certificate_installed("a")], tmp_path)
    assert mirrored_files(tmp_path) == {"CSMSRootCertificate/a.pem": "PEM of a\n"}


def test_an_empty_store_needs_no_directory(tmp_path: Path) -> None:
    write_certificate_files([], tmp_path / "certificates")
    assert not (tmp_path / "certificates").exists()


async def test_the_mirror_follows_the_level(tmp_path: Path) -> None:
    wanted = WatchedValue(DesiredState(certificates=(certificate_installed("a"),)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(export_certificates, wanted, tmp_path)
        with trio.fail_after(10):
            while list(mirrored_files(tmp_path)) != ["CSMSRootCertificate/a.pem"]:
                await trio.sleep(0.01)
            wanted.set(
                msgspec.structs.replace(wanted.value, certificates=(certificate_installed("b"),))
            )
            while list(mirrored_files(tmp_path)) != ["CSMSRootCertificate/b.pem"]:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
