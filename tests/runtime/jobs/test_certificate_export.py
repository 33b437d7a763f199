"""Export of installed certificates to the data directory."""

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
    paths = sorted(directory.glob("*/*"))
    return {str(path.relative_to(directory)): path.read_text() for path in paths}


def test_each_certificate_is_a_file_that_only_the_station_can_read(tmp_path: Path) -> None:
    directory = tmp_path / "certificates"
    write_certificate_files(
        [certificate_installed("a"), certificate_installed("b", "MORootCertificate")], directory
    )
    assert mirrored_files(directory) == {
        "CSMSRootCertificate/a.pem": "PEM of a\n",
        "MORootCertificate/b.pem": "PEM of b\n",
    }
    modes = {path.stat().st_mode & 0o777 for path in (directory, *directory.glob("*"))}
    assert modes == {0o700}
    assert {path.stat().st_mode & 0o777 for path in directory.glob("*/*")} == {0o600}


def test_deleted_certificates_are_removed_and_changed_files_restored(tmp_path: Path) -> None:
    write_certificate_files([certificate_installed("a"), certificate_installed("b")], tmp_path)
    (tmp_path / "CSMSRootCertificate" / "a.pem").write_text("mine")
    (tmp_path / "CSMSRootCertificate" / "stranger.pem").write_text("trust me")
    write_certificate_files([certificate_installed("a")], tmp_path)
    assert mirrored_files(tmp_path) == {"CSMSRootCertificate/a.pem": "PEM of a\n"}


def test_an_empty_store_needs_no_directory(tmp_path: Path) -> None:
    write_certificate_files([], tmp_path / "certificates")
    assert not (tmp_path / "certificates").exists()


async def test_the_files_follow_the_desired_state(tmp_path: Path) -> None:
    desired_state = WatchedValue(DesiredState(certificates=(certificate_installed("a"),)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(export_certificates, desired_state, tmp_path)
        with trio.fail_after(10):
            while list(mirrored_files(tmp_path)) != ["CSMSRootCertificate/a.pem"]:
                await trio.sleep(0.01)
            desired_state.set(
                msgspec.structs.replace(
                    desired_state.value, certificates=(certificate_installed("b"),)
                )
            )
            while list(mirrored_files(tmp_path)) != ["CSMSRootCertificate/b.pem"]:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
